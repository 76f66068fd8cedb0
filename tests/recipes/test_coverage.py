"""What test frames hold that training lacks is named, and errors there are shown apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

import forcewright as fw
from forcewright.data.coverage import Coverage
from forcewright.recipes.coverage import coverage_sections, coverage_warnings

QUICK: dict[str, Any] = {"search": {"starts": 1, "evaluations": 5}, "validation": 3, "workers": 1}


def crystals(symbols: str, count: int, rng: np.random.Generator, *, a: float = 3.8) -> list[Atoms]:
    frames = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True, a=a) * (1, 1, 2)
        atoms.symbols = list(rng.permutation(np.resize(Atoms(symbols).get_chemical_symbols(), len(atoms))))
        atoms.rattle(0.05, rng=rng)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def sets() -> tuple[fw.Dataset, fw.Dataset]:
    rng = np.random.default_rng(2)
    train = [f for symbols in ("CuAu", "AuAg", "CuAg") for f in crystals(symbols, 6, rng)]
    test = [*crystals("CuAu", 3, rng), *crystals("CuAuAg", 4, rng), *crystals("CuAg", 2, rng, a=4.3)]
    close = crystals("CuAu", 1, rng)[0]
    close.positions[1] = close.positions[0] + [0.0, 0.0, 1.4]
    close.get_forces()
    return fw.Dataset.from_ase(train, "train"), fw.Dataset.from_ase([*test, close], "test")


def test_each_kind_is_named(sets: tuple[fw.Dataset, fw.Dataset]) -> None:
    train, test = sets
    kinds = Coverage(train).unlike(test)
    assert kinds["elements Cu, Ag, Au together"] == [3, 4, 5, 6]
    assert kinds[next(words for words in kinds if "volumes above" in words)] == [7, 8]
    assert any("distances below" in words and 9 in frames for words, frames in kinds.items())
    assert Coverage(train).unlike(train) == {}
    findings = [f for f in fw.audit(train, test=test).findings if f.code == "test unlike training"]
    assert any("4 test frames hold elements Cu, Ag, Au together" in f.message and f.frame == 3 for f in findings)


def test_errors_there_are_shown_apart(sets: tuple[fw.Dataset, fw.Dataset], tmp_path: Path) -> None:
    train, test = sets
    result = fw.fit(train, model={"kind": "snap", "twojmax": 2, "rcut": 4.0}, test=test, output=tmp_path / "o", **QUICK)
    coverage = result.summary["coverage"]
    unlike = test[np.array([3, 4, 5, 6, 7, 8, 9])]
    expected = fw.evaluate(result.potential, unlike).overall.force_rmse_eV_per_A
    assert coverage["frames"] == 7 and coverage["errors"]["unlike"]["force_rmse_eV_per_A"] == pytest.approx(expected)
    warning = next(text for text in result.summary["warnings"] if "what no training frame does" in text)
    assert "4 hold elements Cu, Ag, Au together" in warning and "elsewhere" in warning
    assert "Test frames unlike the training data" in (tmp_path / "o" / "report.html").read_text()
    assert coverage_warnings(None) == [] and coverage_sections({"frames": 0}) == []
