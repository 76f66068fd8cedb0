"""Densities of states of silicon that are not ours: errors on structures held back."""

from pathlib import Path

import numpy as np
import pytest

from forcewright.data import Target, read_property
from forcewright.errors import InputError
from forcewright.properties.dos_model import DosData, DosSettings, cross_validate_dos

DATA = Path(__file__).parents[3] / "shared" / "data" / "dos"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the densities of states of ../shared/data/dos are absent")


def read(**more):
    target = Target(
        name="dos", key="dos_per_atom", grid={"low": -15.0, "high": 9.9, "step": 0.1, "zero": "fermi"}, reduce="mean",
        file=DATA / "si_deepdos.npz", **more,
    )  # fmt: skip
    return read_property(DATA / "si_deepdos.extxyz", target, strict=False)


def test_label_without_states_is_refused_by_frame():
    with pytest.raises(InputError, match="frame 162 is zero"):
        DosData.of_properties(read())


@pytest.mark.slow
@pytest.mark.parametrize(("more", "most"), [({"smearing_eV": 0.3}, 15.0), ({}, 24.0)])
def test_errors_on_structures_held_back(more, most):
    properties = read(**more)
    data = DosData.of_properties(properties[[k for k, values in enumerate(properties.values) if np.any(values)]])
    folds = np.random.default_rng(0).permutation(np.arange(len(data)) % 5)
    result = cross_validate_dos(data, [DosSettings(reference="filling")], folds, rng=np.random.default_rng(0))
    assert result.errors.percent < most
    assert result.free_energy_errors(5000.0)[0] < 0.005
