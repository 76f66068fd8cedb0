"""Folders of potentials that were changed by hand or cut off: what lies out of bounds is one sentence with its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forcewright.errors import InputError
from forcewright.models import load
from forcewright.models.ace import AceModel
from forcewright.models.snap import SnapModel
from forcewright.models.storage import PotentialFolder, species_of, write_potential
from forcewright.plain_data import flag, number, whole

GOOD = "1 6\nSi 0.5 1.0\n" + "0.1\n" * 6


@pytest.fixture
def snap(tmp_path: Path) -> Path:
    basis = SnapModel(twojmax=2, rcut=4.0).basis((6, 14))
    coefficients = 1e-3 * np.random.default_rng(0).normal(size=basis.size)
    potential = SnapModel(twojmax=2, rcut=4.0).potential(basis, coefficients, {6: -9.0, 14: -5.0}, np.eye(basis.size))
    return potential.save(tmp_path / "snap")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("twojmax", 2.5, "twojmax is 2.5, expected a whole number from 0 to 16"),
        ("twojmax", 40, "twojmax is 40, expected a whole number from 0 to 16"),
        ("twojmax", True, "twojmax is True"),
        ("twojmax", 4, "coefficients are needed"),
        ("rcut", -4.0, "rcut is -4.0, expected a finite number above 0"),
        ("rcut", float("inf"), "rcut is inf"),
        ("rcut", "4.0", "rcut is '4.0'"),
        ("rfac0", 0, "rfac0 is 0, expected a finite number above 0"),
        ("rmin0", -0.1, "rmin0 is -0.1, expected a finite number of 0 or more"),
        ("rmin0", 4.5, "must be smaller than rcut"),
        ("radii", {"C": 0.5, "Si": float("nan")}, "a radius is nan"),
        ("radii", {"C": 0.5}, "there is no 'Si'"),
        ("quadratic", "no", "quadratic is 'no', expected true or false"),
        ("quadratic", True, "coefficients are needed"),
        ("species", ["Si", "C"], "not ascending"),
        ("species", ["C", "Xx"], "'Xx' is an unknown element"),
        ("species", ["C", "X"], "'X' is an unknown element"),
        ("species", [], "not ascending"),
        ("coefficients", [0.1], "coefficients are needed"),
        ("coefficients", [float("nan")] * 10, "a coefficient is not a finite number"),
        ("coefficients", "0.1", "expected numbers"),
        ("reference_energies_eV", {"C": None, "Si": 1.0}, "reference_energies_eV of C is None"),
        ("zbl", [0.0, 1.0], "zbl is 0.0"),
        ("version", 99, "format version 99, this Forcewright reads up to 2"),
        ("version", "new", "format version new"),
        ("format", "other", "is not a potential saved by Forcewright"),
    ],
)
def test_numbers_out_of_bounds_are_one_sentence(snap: Path, key: str, value: Any, words: str) -> None:
    file = snap / "potential.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(InputError, match=words) as caught:
        load(snap)
    assert caught.value.file == file


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "posterior.npy: is damaged: .*; save the potential"),
        (lambda path: path.write_bytes(b""), "posterior.npy: is damaged"),
        (lambda path: np.save(path, np.full((10, 10), np.nan)), "holds a number that is not finite"),
        (lambda path: np.save(path, np.eye(3)), r"a covariance of \(3, 3\) is not that of 10 coefficients"),
        (lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True), "posterior.npy: is damaged"),
    ],
)
def test_a_damaged_posterior_is_one_sentence(snap: Path, change: Callable[[Path], None], words: str) -> None:
    change(snap / "posterior.npy")
    with pytest.raises(InputError, match=words):
        load(snap)


def test_what_an_earlier_potential_left_in_the_folder_is_not_read(snap: Path) -> None:
    potential = load(snap)
    type(potential)(potential.basis, potential.coefficients, potential.reference_energies).save(snap)
    assert not (snap / "posterior.npy").exists() and load(snap).covariance is None


@pytest.mark.parametrize(
    ("name", "values"),
    [("coefficients", np.full((12, 1), np.inf)), ("coefficients", np.zeros((3, 1))), ("active_C", np.zeros((2, 2))),
     ("covariance", np.full((12, 12), np.nan)), ("covariance", np.eye(3))],
)  # fmt: skip
def test_arrays_of_ace_out_of_bounds_are_one_sentence(tmp_path: Path, name: str, values: np.ndarray) -> None:
    model = AceModel(functions=12, rcut=3.5, nradmax=(4, 2, 1), lmax=(0, 1, 1), repulsion=None)
    basis = model.basis((6,))
    folder = model.potential(basis, np.ones(basis.size), {6: -9.0}, np.eye(basis.size)).save(tmp_path / "ace")
    assert basis.size == 12
    with np.load(folder / "fit.npz") as held:
        np.savez(folder / "fit.npz", **{**held, name: values})
    with pytest.raises(InputError, match=r"(fit.npz|potential.json): is damaged: .*; save the potential again"):
        load(folder)


@pytest.mark.parametrize(
    ("coefficients", "parameters", "words"),
    [
        (GOOD, "rcutfac 4.0\ntwojmax 2.5\n", "m.snapparam: cannot be used: twojmax is 2.5"),
        (GOOD, "rcutfac 4.0\ntwojmax 2000\n", "twojmax is 2000, expected a whole number from 0 to 16"),
        (GOOD, "rcutfac -4.0\ntwojmax 2\n", "rcut is -4.0"),
        (GOOD, "rcutfac nan\ntwojmax 2\n", "rcut is nan"),
        (GOOD.replace("0.5", "0"), "rcutfac 4.0\ntwojmax 2\n", "a radius is 0"),
        (GOOD.replace("0.1\n", "nan\n", 1), "rcutfac 4.0\ntwojmax 2\n", "a coefficient of Si is nan"),
        ("2 6" + (GOOD[3:]) * 2, "rcutfac 4.0\ntwojmax 2\n", "it holds 1 of 2 elements"),
        ("0 6\n", "rcutfac 4.0\ntwojmax 2\n", "it holds 0 of 0 elements"),
    ],
)
def test_numbers_out_of_bounds_in_lammps_files(tmp_path: Path, coefficients: str, parameters: str, words: str) -> None:
    (tmp_path / "m.snapcoeff").write_text(coefficients)
    (tmp_path / "m.snapparam").write_text(parameters)
    with pytest.raises(InputError, match=words):
        load(tmp_path)


def test_what_may_be_read() -> None:
    assert number(3, "x") == 3.0 and whole(4.0, "n", 0, 5) == 4 and flag(False, "f") is False
    assert species_of(["H", "Og"]) == (1, 118)


def test_a_folder_holds_arrays_and_texts(tmp_path: Path) -> None:
    arrays = {"a.npz": {"x": np.arange(3)}, "b.npy": np.eye(2), "c.npy": None}
    (tmp_path / "c.npy").write_text("from before")
    folder = write_potential(tmp_path, "some", {"number": 1.5}, arrays=arrays, files={"logs/note": b"text"})
    with PotentialFolder(folder, "some") as saved:
        np.testing.assert_array_equal(saved.arrays("a.npz")["x"], [0, 1, 2])
        np.testing.assert_array_equal(saved.array("b.npy"), np.eye(2))
        assert saved.array("c.npy") is None and saved.text("logs/note") == "text" and saved.text("none") == ""
        assert saved.content["number"] == 1.5 and saved.provenance == {}
    with pytest.raises(InputError, match="is of kind 'some', expected 'other'"):
        PotentialFolder(folder, "other")
    with pytest.raises(KeyboardInterrupt), PotentialFolder(folder):
        raise KeyboardInterrupt  # what is not damage passes
