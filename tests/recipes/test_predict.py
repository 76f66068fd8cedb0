"""Predictions are written so that nothing takes them for what a reference says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

import forcewright as fw
from forcewright.data import read_with_summary

STUDY = Path(__file__).parent / "earlier_version" / "made" / "finished"  # of copper
POTENTIAL = STUDY / "potential"
POTENTIALS = STUDY.parent / "potentials"


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Three rattled copper cells with labels of effective medium theory under keys of their own, one not periodic."""
    frames = []
    for seed in range(3):
        cell = bulk("Cu", cubic=True)
        cell.rattle(0.05, seed=seed)
        cell.pbc = seed < 2
        copy = cell.copy()
        cell.calc = EMT()
        copy.info |= {"REF_energy": cell.get_potential_energy(), "config_type": "x", "note": "kept"}
        copy.arrays["REF_forces"] = cell.get_forces()
        frames.append(copy)
    ase.io.write(tmp_path / "labelled.extxyz", frames)
    return tmp_path / "labelled.extxyz"


@pytest.mark.parametrize("name", ["out.extxyz", "out.db"])
def test_predictions_stand_beside_the_labels(labelled: Path, tmp_path: Path, name: str) -> None:
    before, potential = fw.read(labelled), fw.load(POTENTIAL)
    predicted = fw.predict(POTENTIAL, labelled, tmp_path / name)
    after, summary = read_with_summary(tmp_path / name)
    assert after.content_hash == before.content_hash == predicted.dataset.content_hash
    said = potential.predict(before)
    for frame, prediction, (_, known, _) in zip(after, said, before, strict=True):
        info = dict(frame.labels.info)
        assert info.pop("forcewright_energy") == prediction.energy
        np.testing.assert_allclose(info.pop("forcewright_stress"), prediction.stress.ravel())
        assert len(info.pop("forcewright_potential")) == 64
        assert info == dict(known.info) and info["note"] == "kept"
    assert summary.dropped == {"forcewright_forces": 3}
    named = fw.read(tmp_path / name, labels={"energy": "forcewright_energy", "forces": "forcewright_forces"})
    np.testing.assert_allclose(named[0].labels.forces, said[0].forces)
    assert named[0].labels.energy == said[0].energy
    # the same again, of what was predicted: the errors are those of the potential, not zero
    again = fw.predict(POTENTIAL, tmp_path / name, tmp_path / f"again-{name}")
    assert again.errors.to_dict() == predicted.errors.to_dict() and again.errors.overall.energy_rmse_meV_per_atom > 1
    assert read_with_summary(tmp_path / f"again-{name}")[1].present == summary.present


def test_another_potential_has_another_hash(labelled: Path, tmp_path: Path) -> None:
    hashes = []
    for number, model in enumerate((POTENTIAL, STUDY, fw.load(POTENTIAL), POTENTIALS / "ace")):
        fw.predict(model, labelled, tmp_path / f"{number}.extxyz")
        hashes.append(fw.read(tmp_path / f"{number}.extxyz")[0].labels.info["forcewright_potential"])
    assert hashes[0] == hashes[1] == hashes[2] != hashes[3]  # the folder of a study stands for its potential


@pytest.mark.parametrize("form", ["file", "calculator", "results.traj", "results.db"])
def test_nothing_trains_on_predictions_that_are_not_named(labelled: Path, tmp_path: Path, form: str) -> None:
    bare = [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in ase.io.read(labelled, ":")]
    given: Any = tmp_path / "out.extxyz"
    if form == "file":
        fw.predict(POTENTIAL, bare, given)
    else:
        given, potential = bare, fw.load(POTENTIAL)
        for atoms in bare:
            atoms.calc = potential.calculator()
            atoms.get_forces()
        if form.startswith("results"):
            ase.io.write(tmp_path / form, bare)
            given = tmp_path / form if form.endswith("db") else ase.io.read(tmp_path / form, ":")
    model = {"kind": "snap", "twojmax": 2, "rcut": 3.5}
    with pytest.raises(fw.InputError, match="forcewright_energy, forcewright_forces.* is what a potential predicted"):
        fw.fit(given, model=model)
    assert fw.audit(given).errors
    names = {"energy": "forcewright_energy", "forces": "forcewright_forces"}
    dataset, summary = read_with_summary(given, labels=names)
    assert dataset.count_labels() == {"energy": 3, "forces": 3, "stress": 0}
    assert "forcewright_energy is what a potential predicted" in str(summary)


def test_a_format_that_cannot_hold_both_is_refused_before_anything_is_computed(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(*_: Any, **__: Any) -> Callable[..., None]:
        raise AssertionError("predicted")

    monkeypatch.setattr(fw.load(POTENTIAL).__class__, "predict", called)
    with pytest.raises(fw.InputError, match="out.npz: npz files cannot hold forcewright_forces; write .extxyz or .db"):
        fw.predict(POTENTIAL, labelled, tmp_path / "out.npz")


def test_nothing_trains_on_a_simulation_with_a_potential_unless_it_is_named(tmp_path: Path) -> None:
    stages = [{"ensemble": "nvt", "temperature_K": 300, "time_ps": 0.01}]
    copper = {"bulk": "Cu", "cubic": True, "repeat": [2, 2, 2]}
    run = {"potential": str(POTENTIAL), "structure": copper, "stages": stages, "trajectory": {"every_fs": 2}}
    fw.simulate({**run, "output": str(tmp_path / "md")})
    model = {"kind": "snap", "twojmax": 2, "rcut": 3.5}
    config = {"data": {"train": str(tmp_path / "md" / "trajectory.extxyz")}, "model": model,
              "output": str(tmp_path / "fit"), "weights": {"energy": 1, "force": 1}, "ridge": 1e-6}  # fmt: skip
    with pytest.raises(
        fw.InputError, match="trajectory.extxyz.*the potential finished/potential predicted in a simulation"
    ):
        fw.fit(config)
    assert not (tmp_path / "fit" / "potential").exists()
