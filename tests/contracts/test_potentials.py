"""What every potential must do, for all families: `SMALL` holds small hyperparameters of each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from potential_contract import CHECKS, training_data
from toy_linear_family import HOME

from forcewright.models import FAMILIES, family_of
from forcewright.potential import Potential

ACE = {
    "functions": 30, "rcut": 4.0, "rcut_pairs": {"C-C": 3.6}, "nradmax": (4, 3, 2, 1), "lmax": (0, 2, 1, 1),
    "repulsion": {"inner": {"Si-C": 1.75, "C-C": 1.3}, "width": 0.3},  # some rattled bonds are shorter
}  # fmt: skip
GRAPH = {"cutoff": 4.0, "channels": 4, "layers": 2, "radial_features": 6, "epochs": 4, "precision": "float64"}
SMALL = {
    "ace": ACE,
    "ace of two densities": {**ACE, "densities": 2, "prefactors": (1.0, 0.8)},
    "command": {
        "cutoff": 4.0,
        "labels": {"energy": "REF_energy", "forces": "REF_forces", "virial": "REF_virial"},
        "fit": [
            "gap_fit",
            "at_file=${train}",
            "gp_file=gp.xml",
            "rnd_seed=${seed}",
            "do_copy_at_file=F",
            "gap={soap cutoff=${cutoff} cutoff_transition_width=1.0 n_max=4 l_max=3 atom_sigma=0.5 zeta=4 n_sparse=20 "
            "delta=0.3 covariance_type=dot_product sparse_method=cur_points}",
            "e0={C:${e0_C}:Si:${e0_Si}}",
            "default_sigma={0.001 0.05 0.02 0.0}",
            "energy_parameter_name=REF_energy",
            "force_parameter_name=REF_forces",
            "virial_parameter_name=REF_virial",
        ],
        "outputs": ["gp.xml", "gp.xml.sparseX*"],
        "predict": {"ase": "quippy.potential:Potential", "kwargs": {"param_filename": "${potential}/gp.xml"}},
    },
    "gaussian_pairs": {"gaussians": 5, "reach": 4.0},
    "gap": {
        "two_body": {"cutoff": 4.0, "n_sparse": 10, "delta": 0.2},
        "soap": {"cutoff": 4.0, "n_max": 4, "l_max": 3, "n_sparse": 20},
    },
    **{f"graph {name}": {**GRAPH, "architecture": name} for name in ("schnet", "painn", "tensornet", "nequip", "mace")},
    "snap": {"twojmax": 4, "quadratic": True, "rcut": 4.0, "element_weights": {"C": 0.7}},
}
NEEDS = {"command": "quippy", "gap": "quippy", "graph": "graph_pes"}  # package of a family that is an extra
WHOLE_CELL = {"sgdml"}  # a model of one cell knows no other: tests/models/test_sgdml.py


@cache
def fitted(name: str) -> Potential:
    """A family that is a program of others, fitted to a few cells of a Morse potential."""
    kind = name.split()[0]
    model = family_of(kind).hyperparameters(kind=kind, **SMALL[name])
    return model.fit(training_data(), rng=np.random.default_rng(0))


@pytest.fixture(params=sorted(SMALL))
def potential(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Potential:
    monkeypatch.setenv("FORCEWRIGHT_ALLOW_COMMANDS", "1")  # or the family `command` is not read back
    monkeypatch.setitem(FAMILIES, "gaussian_pairs", HOME)
    kind = request.param.split()[0]
    if kind in NEEDS and find_spec(NEEDS[kind]) is None:
        pytest.skip(f"the package {NEEDS[kind]} is not installed")
    family = family_of(kind)
    if not family.is_linear:
        return fitted(request.param)
    model = family.hyperparameters(kind=kind, **SMALL[request.param])
    basis, refinement = model.basis((6, 14)), model.refinement()
    densities = 1 if refinement is None else refinement.densities
    coefficients = 1e-3 * np.random.default_rng(0).normal(size=(basis.size, densities))
    if densities > 1:  # such a model is not linear: its coefficients have no posterior
        return model.potential(basis, coefficients, {6: -9.0, 14: -5.0})
    return model.potential(basis, coefficients[:, 0], {6: -9.0, 14: -5.0}, covariance=1e-6 * np.eye(basis.size))


def test_every_family_is_tested() -> None:
    assert {name.split()[0] for name in SMALL} - {"gaussian_pairs"} | WHOLE_CELL == set(FAMILIES)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_potential(potential: Potential, check: Callable[[Potential, Path], None], tmp_path: Path) -> None:
    check(potential, tmp_path)
