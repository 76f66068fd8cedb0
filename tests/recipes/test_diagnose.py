"""`forcewright rerun` and `forcewright diagnose`: a potential fitted to one density without stresses, at zero pressure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from command_line import run_here

import forcewright as fw
from forcewright.errors import InputError
from forcewright.models.ace.hyperparameters import AceModel, RepulsionSettings
from forcewright.recipes.finished_run import any_reference, read_run
from forcewright.units import GPA

LJ = {"epsilon": 0.0104, "sigma": 3.4, "rc": 6.0, "smooth": True}
REFERENCE = {"ase": "ase.calculators.lj:LennardJones", "kwargs": LJ}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with training data, a potential that knows no pressure, and a run of it that broke."""
    folder = tmp_path_factory.mktemp("argon")
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(10):
        atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * 2
        atoms.rattle(0.08, rng=rng)
        atoms.calc = LennardJones(**LJ)
        results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    fw.write(frames, folder / "train.extxyz")
    fw.fit(
        {
            "data": {"train": str(folder / "train.extxyz")}, "output": str(folder / "study"), "stability": "off",
            "model": {"kind": "ace", "functions": 12, "rcut": 5.0, "radial": "ChebPow", "repulsion": None},
            "short_range": "off", "validation": {"kfold": 2}, "workers": 1, "weights": {"energy": 1000, "force": 10, "stress": None},
            "ridge": 1e-9,
        }
    )  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump({
        "potential": "study", "structure": {"file": "train.extxyz", "index": 0}, "output": "run", "seed": 1,
        "stages": [{"ensemble": "npt", "temperature_K": 60, "time_ps": 2.0, "timestep_fs": 4}],
        "trajectory": {"every_fs": 40}, "dense_frames": {"every_fs": 4, "count": 20},
    }))  # fmt: skip
    assert not fw.simulate(folder / "run.yaml").completed
    return folder


def test_a_run_that_expands_is_told_why(study: Path) -> None:
    result = fw.diagnose(study / "run", REFERENCE, labels=16)
    made = result.diagnosis
    assert result.cause == "one density or no stresses" and made.verdict.quadrant == "known and wrong"
    assert made.broke is not None and made.broke.time_ps > 0.05
    first = made.first
    assert first is not None and first.indicator == "volume against training" and (first.lead_ps or 0) > 0
    assert made.evidence.stress_labels == 0 and made.scaled is not None and made.scaled.pushes_outward
    assert made.pressures is not None and made.pressures.bias is not None
    assert made.pressures.bias.value > 5 * made.pressures.bias.error
    assert made.errors is not None and 12 < len(made.errors.frames) <= 16
    written = json.loads((result.folder / "result.json").read_text())
    assert written["verdict"]["cause"] == result.cause and written["written_by"] == "diagnose"
    page = (result.folder / "report.html").read_text()
    for title in ("What spoke when", "Over time", "Walls, pressures and the time step", "Errors", "Mean pressure",
                  "Speeds and forces"):  # fmt: skip
        assert title in page
    text = str(result)
    assert "cause: one density or no stresses (known and wrong)" in text and "fs before the break" in text


def test_without_a_reference_the_command_line_says_what_it_can(study: Path, tmp_path: Path) -> None:
    done = run_here("diagnose", study / "run", "-o", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cause: one density or no stresses" in done.stdout and "labels not known" in done.stdout


def test_a_rerun_labels_every_frame_once(study: Path, tmp_path: Path) -> None:
    (tmp_path / "label.yaml").write_text(yaml.safe_dump({"reference": REFERENCE, "structures": "x", "output": "y"}))
    first = fw.rerun(study / "run", tmp_path / "label.yaml", output=tmp_path / "a", cache=tmp_path / "cache")
    again = fw.rerun(study / "run", REFERENCE, output=tmp_path / "b", cache=tmp_path / "cache")
    count = len(first.run.frames)
    assert first.labelling.cached == 0 and again.labelling.cached == count == len(first.errors.frames)
    np.testing.assert_array_equal(first.errors.forces, again.errors.forces)
    potential = fw.load(study / "study")
    for k in (0, count - 1):  # ASE says the same of a frame
        structure = first.run.frames[k].structure
        atoms: Any = structure.to_ase()
        atoms.calc = LennardJones(**LJ)
        predicted = potential.predict([structure])[0]
        assert predicted.forces is not None and predicted.stress is not None
        np.testing.assert_allclose(first.errors.forces[k], predicted.forces - atoms.get_forces(), atol=1e-10)
        pressure = (atoms.get_stress()[:3].mean() - np.trace(predicted.stress) / 3) / GPA
        assert first.errors.pressure[k] == pytest.approx(pressure, abs=1e-9)
    assert len(fw.read(tmp_path / "a" / "rerun.extxyz")) == count
    assert len((tmp_path / "a" / "atoms.csv").read_text().splitlines()) == 33
    assert "run − rerun" in str(first) and "Mean pressure" in (tmp_path / "a" / "report.html").read_text()


def test_what_cannot_be_diagnosed_is_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished run"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="was run with another potential"):
        read_run(study / "run", potential=REFERENCE)
    with pytest.raises(InputError, match="neither a file nor settings"):
        any_reference("no such thing")
    with pytest.raises(InputError, match="whatever"):
        any_reference("whatever: GFN1-xTB")
    shutil.copytree(study / "run", tmp_path / "moved")
    resolved = tmp_path / "moved" / "config.resolved.yaml"
    resolved.write_text(resolved.read_text().replace(str(study / "study"), str(tmp_path / "gone")))
    with pytest.raises(InputError, match="does not lie there any more"):
        read_run(tmp_path / "moved")
    assert read_run(tmp_path / "moved", potential=study / "study").training is not None


def test_the_force_is_the_sum_of_its_parts() -> None:
    rng = np.random.default_rng(3)
    model = AceModel(functions=30, rcut=5.0, repulsion=RepulsionSettings(inner=3.6))
    basis = model.basis((18,))
    potential = model.potential(basis, rng.normal(size=basis.size), {18: 0.0})
    atoms: Any = bulk("Ar", "fcc", a=5.3, cubic=True) * 2
    atoms.rattle(0.3, rng=rng)
    structure = fw.Structure.from_ase(atoms)
    parts = potential.force_parts(structure)
    assert {"2-body", "3-body", "core"} <= set(parts)
    forces = potential.predict([structure])[0].forces
    np.testing.assert_allclose(sum(parts.values()), forces, atol=1e-9)
    assert all(np.abs(part).max() > 1e-6 for part in parts.values())
