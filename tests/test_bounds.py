"""Numbers that would fill the memory are refused in a sentence before anything is allocated."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import forcewright as fw
from forcewright.errors import InputError
from forcewright.features.ace.expansion import Bond
from forcewright.features.ace.radial import tabulate
from forcewright.generation.generated import require_count
from forcewright.neighbors import find_neighbors
from forcewright.recipes.simulate import protocol_of
from forcewright.structure import Structure


def test_a_cutoff_with_too_many_images_is_refused() -> None:
    cell = Structure(np.array([14]), np.zeros((1, 3)), np.eye(3) * 2.5, np.ones(3, dtype=bool))
    with pytest.raises(InputError, match="periodic images"):
        find_neighbors(cell, 1000.0)


def test_bins_too_narrow_for_a_table_are_refused() -> None:
    bond = Bond("ChebExpCos", 5.0, np.ones((1, 1, 1)), 5.0, 0.1, 0.0, 1.0, 0.0, 0.0)
    with pytest.raises(InputError, match="bins"):
        tabulate(bond, "density", 14, 14, 1e-10)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rcut: 400", "model.rcut"), ("rcut: .inf", "model.rcut"), ("twojmax: 1_0", "1_0"), ("twojmax: 1:30", "another number"), ("twojmax: true", "is true, expected a number"),
    ],
)  # fmt: skip
def test_numbers_in_yaml_are_what_they_look_like(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "fit.yaml").write_text(f"data: {{train: x.extxyz}}\noutput: o\nmodel: {{kind: snap, {text}}}\n")
    (tmp_path / "x.extxyz").write_text("1\nenergy=0.0\nSi 0 0 0\n")
    with pytest.raises(InputError, match=words):
        fw.fit(tmp_path / "fit.yaml")


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "x.npz", z=np.array([14]), R=np.zeros((1, 1, 3)), E=np.zeros(1))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=100))
    with pytest.raises(InputError, match="unpacks to"):
        fw.read(tmp_path / "x.npz")


def test_counts_have_bounds() -> None:
    require_count(10)
    for count in (0, 10**7):
        with pytest.raises(InputError, match="ask for 1 to 1,000,000"):
            require_count(count)


HOLD = {"ensemble": "nvt", "temperature_K": 300}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"stages": [{**HOLD, "time_ps": 1e30}]}, "stages.*1e.33 steps of 1 fs; at most 10,000,000,000"),
        ({"stages": [{**HOLD, "time_ps": 1.0, "timestep_fs": 1e-30}]}, "stages.*1e.33 steps of 1e-30 fs"),
        ({"stages": [{**HOLD, "time_ps": 1.0, "thermostat_time_fs": 1e300}]}, "stages.*thermostat_time_fs.*is 1e.300"),
        ({"stages": [{"ensemble": "relax", "max_steps": 10**30}]}, "max_steps"),
        ({"protocol": {"kind": "heat_until_failure", "hold_ps": 1e30}}, "stage 'hold'.*at most 10,000,000,000"),
        ({"protocol": {"kind": "heat_until_failure", "rate_K_per_s": 1e-300}}, "stage 'heat until it fails'.*is inf"),
        ({"protocol": {"kind": "heat_until_failure", "rate_K_per_s": 1e30}}, "stage .*less than one step"),
    ],
)
def test_durations_have_bounds(config: dict[str, Any], words: str, tmp_path: Path) -> None:
    reference = {"lammps": {"pair_style": "lj/cut 4", "pair_coeff": "1 1 0.4 2.3", "species": ["Cu"]}}
    crystal = {"structure": {"bulk": "Cu", "cubic": True}, **config}
    with pytest.raises(InputError, match=words):
        fw.simulate({"potential": reference, "output": tmp_path / "run", **crystal})
    learner = {"model": {"kind": "ace"}, "start": "start.extxyz", "reference": reference, "output": tmp_path / "run"}
    with pytest.raises(InputError, match=f"walkers.*{words}"):
        fw.learn({**learner, "walkers": crystal})
    assert not (tmp_path / "run").exists()


def test_durations_of_growth_and_of_properties_have_bounds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stage 'grow'.*at most 10,000,000,000"):
        protocol_of({"kind": "growth", "temperature_K": 300, "melt_K": 3000, "time_ps": 1e30})
    config = {"potential": "p", "structure": {"bulk": "Cu"}, "output": tmp_path / "run"}
    for name, key in (("liquid", "settle_ps"), ("energy_conservation", "time_ps"), ("survival", "time_ps")):
        with pytest.raises(InputError, match=f"{name}.{key}.*is 1e.30"):
            fw.validate({**config, "properties": {name: {"temperature_K": 300, key: 1e30}}})
