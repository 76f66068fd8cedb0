"""Distillation from start to end with classical teachers: what a student must have, resuming, sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT

import forcewright as fw
from forcewright.data import write
from forcewright.errors import InputError
from forcewright.models import load
from forcewright.models.calculator_potential import NamedCalculator
from forcewright.recipes import distil as module
from forcewright.reference import label_all, potential_reference, reference_from
from forcewright.structure import Dataset, Structure

TERSOFF = {"lammps": {"pair_style": "tersoff", "pair_coeff": "* * Si.tersoff Si"}}
WEBER = {"lammps": {"pair_style": "sw", "pair_coeff": "* * Si.sw Si"}}
STUDENT = {"model": {"kind": "ace", "functions": 15, "rcut": 4.0, "radial": "ChebExpCos"}, "stability": "off",
           "validation": 2, "weights": {"energy": 100, "force": 1}, "ridge": 1e-8}  # fmt: skip


@pytest.fixture(autouse=True)
def _timed_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMED_S", 0.0)


def silicon(count: int, seed: int) -> Dataset:
    """Rattled silicon labelled by Tersoff's potential, which stands for the method that is wanted."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        atoms = bulk("Si", cubic=True)
        atoms.positions += rng.normal(scale=0.08, size=(8, 3))
        made.append(Structure.from_ase(atoms))
    return label_all(reference_from(TERSOFF, Path()), made, workers=0).dataset(made)


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    write(silicon(5, 0), tmp_path / "labels.extxyz")
    write(silicon(3, 1), tmp_path / "test.extxyz")
    return {
        "teacher": WEBER, "labels": "labels.extxyz", "test": "test.extxyz", "generate": {"count": 2}, "sizes": [6],
        "correction": STUDENT, "student": STUDENT, "data_license": "CC0", "output": "distilled",
    }  # fmt: skip


def run(folder: Path, content: dict[str, Any]) -> Any:
    (folder / "distil.yaml").write_text(yaml.safe_dump(content))
    return fw.distil(folder / "distil.yaml")


def test_from_a_teacher_to_a_student(tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(tmp_path, config)
    summary, folder = made.summary, tmp_path / "distilled"
    assert summary["made"]["structures"] == 10 == summary["made"]["labelled"]
    assert [row["frames"] for row in summary["students"]] == [6, 10]
    test = fw.read(tmp_path / "test.extxyz")
    known = np.concatenate([frame.labels.forces.ravel() for frame in test])

    def forces(potential: Any) -> np.ndarray:
        return np.concatenate([p.forces.ravel() for p in potential.predict(test)])

    raw = np.concatenate([labels.forces.ravel() for labels in reference_from(WEBER, Path()).label(test.structures)])
    assert summary["audit"]["force_mae_eV_per_A"] == pytest.approx(np.abs(raw - known).mean())
    assert summary["audit"]["force_slope"] == pytest.approx(raw @ known / (known @ known))
    teacher, student = forces(load(folder / "corrected")), forces(load(folder / "student"))
    row = summary["students"][-1]
    assert row["teacher_to_labels"] == pytest.approx(np.abs(teacher - known).mean())
    assert row["to_teacher"] == pytest.approx(np.abs(student - teacher).mean())
    assert row["to_labels"] == pytest.approx(np.abs(student - known).mean())
    assert row["teacher_to_labels"] < summary["audit"]["force_mae_eV_per_A"]  # the labels have told it something
    assert summary["direct"]["frames"] == 5 and summary["direct"]["to_labels"] > 0
    assert summary["speed"]["ratio"] > 0
    notice = (folder / "student" / "potential" / "NOTICE.txt").read_text()
    assert "pair_style sw" in notice and "CC0" in notice
    page = (folder / "report.html").read_text()
    assert "pair_style sw" in page and "CC0" in page and "too soft" in page
    assert "x = " in str(made) and len(made.to_rows()) == 2

    cached = {path: path.stat().st_mtime_ns for path in (folder / "label-cache").rglob("*.npz")}
    fitted = (folder / "student" / "result.json").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(module, "generate", lambda *args, **options: pytest.fail("was made before"))
        again = run(tmp_path, config)
    assert {path: path.stat().st_mtime_ns for path in (folder / "label-cache").rglob("*.npz")} == cached
    assert (folder / "student" / "result.json").read_bytes() == fitted
    assert again.summary["students"] == summary["students"]
    changed = run(tmp_path, {**config, "generate": {"count": 1}, "sizes": []})  # other structures: the fit begins anew
    assert [row["frames"] for row in changed.summary["students"]] == [5]


def test_without_any_label(tmp_path: Path) -> None:
    physics = {"structure": {"bulk": "Si", "cubic": True}, "properties": {"equation_of_state": {}}}
    further = [
        {"kind": "rattle_relax_repeat", "teacher": "{teacher}", "count": 2, "group": "hot", "temperature_K": 2000}
    ]
    content = {"teacher": TERSOFF, "structures": {"si": {"bulk": "Si", "cubic": True}}, "generate": {"count": 6},
               "further": further, "student": STUDENT, "physics": physics, "output": "distilled"}  # fmt: skip
    made = run(tmp_path, content)
    assert made.summary["audit"] is None and made.summary["direct"] is None
    assert made.summary["made"]["groups"] == {"hot": 2, "si_rattle_relax_repeat": 6}
    row = made.summary["students"][-1]
    assert row["to_labels"] is None and row["force_rmse_eV_per_A"] > 0
    numbers = {r["number"]: r for r in made.summary["physics"]["rows"]}
    assert numbers["a0_A"]["teacher"] == pytest.approx(5.432, abs=2e-3)  # Tersoff, Phys. Rev. B 38, 9902 (1988)
    assert numbers["a0_A"]["student"] == pytest.approx(5.432, abs=0.05)


class Counting(EMT):
    calls = 0

    def calculate(self, *arguments: Any, **named: Any) -> None:
        Counting.calls += 1
        super().calculate(*arguments, **named)


class Kept(NamedCalculator):
    def calculator(self, *, grades: bool = False) -> Counting:
        return Counting()


def test_what_a_calculator_remembers_is_not_timed() -> None:
    slow = Kept("ase.calculators.emt:EMT")
    copper = Structure.from_ase(bulk("Cu", cubic=True))
    speed = module._speed(potential_reference(slow), slow, [copper])
    assert Counting.calls >= 2 * 3 + 1  # three repeats of each, computed every time
    assert speed["atoms"] == 4 and speed["ratio"] > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": None, "test": None}, "nothing to start from"),
        ({"student": {}}, "student has no model"),
        ({"student": {**STUDENT, "output": "x"}}, "student has output, which is settled here"),
        ({"generate": {"count": 2, "teacher": "x"}}, "generate has teacher"),
        ({"teacher": {"vasp": {"folder": "x", "incar": {"ENCUT": 300}}}}, "waits for another program"),
        ({"teacher": {"xtb": "GFN9"}}, r"teacher\.xtb"),
        ({"teacher": "nowhere"}, "nowhere"),
        ({"sizes": [1]}, "below 2"),
    ],
)
def test_mistakes_are_sentences(tmp_path: Path, config: dict[str, Any], change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(tmp_path, {**config, **change})


@pytest.mark.slow
def test_a_student_has_the_elasticity_of_its_teacher(tmp_path: Path) -> None:
    physics = {"structure": {"bulk": "Si", "cubic": True}, "properties": {"equation_of_state": {}, "elastic": {}}}
    content = {
        "teacher": TERSOFF, "structures": {"si": {"bulk": "Si", "cubic": True, "repeat": 2}}, "generate": {"count": 60},
        "student": {"model": {"kind": "ace", "functions": 120, "rcut": 4.0, "radial": "ChebExpCos"}, "stability": "off"},
        "sizes": [15, 30], "physics": physics, "output": "distilled",
    }  # fmt: skip
    made = run(tmp_path, content)
    assert made.summary["made"]["calls_each"] <= 5
    errors = [row["force_rmse_eV_per_A"] for row in made.summary["students"]]
    assert errors[-1] < errors[0]
    numbers = {row["number"]: (row["student"], row["teacher"]) for row in made.summary["physics"]["rows"]}
    published = {"a0_A": 5.432, "c11_GPa": 121.7, "c12_GPa": 85.5, "c44_GPa": 10.3}  # Tersoff, Phys. Rev. B 37, 6991
    for name, value in published.items():
        student, teacher = numbers[name]
        assert teacher == pytest.approx(value, rel=0.02), name
        assert student == pytest.approx(teacher, rel=0.05, abs=2.0 if name.endswith("GPa") else 0.0), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"student": {"model": {"kind": "ace", "rcutt": 4.0}}}, r"student\.model.*rcut"),
        ({"student": {**STUDENT, "studdy": {}}}, r"student\.studdy"),
        ({"correction": {"model": {"kind": "aces"}}}, r"correction\.model"),
        ({"generate": {"count": 0}}, r"generate\.count"),
        ({"further": [{"kind": "dimer"}]}, r"further\.0"),
        ({"physics": {"structure": {"bulk": "Si"}, "properties": {"elastik": {}}}}, r"physics\.properties\.elastik"),
        ({"physics": {"potential": "x"}}, r"physics\.potential"),
    ],
)
def test_what_later_stages_take_is_refused_before_any_work(
    tmp_path: Path, config: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        run(tmp_path, {**config, **change})
    assert not (tmp_path / "distilled").exists()
