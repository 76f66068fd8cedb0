"""Structures as a config says them."""

from __future__ import annotations

from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest
from ase import units
from pydantic import TypeAdapter, ValidationError

from forcewright.errors import InputError
from forcewright.protocols.structures import StructureSource, build_structure

_SOURCE = TypeAdapter(StructureSource)


def build(source: object, folder: Path = Path()):
    return build_structure(_SOURCE.validate_python(source), folder)


def test_crystals_by_name() -> None:
    silicon = build({"bulk": "Si", "cubic": True, "repeat": [2, 2, 3]})
    assert len(silicon) == 8 * 12 and silicon.structure.volume == pytest.approx(12 * 5.43**3)
    salt = build({"bulk": "NaCl", "crystalstructure": "rocksalt", "a_A": 5.64, "cubic": True, "repeat": 2})
    assert salt.structure.formula == "Cl32Na32"
    assert not build({"molecule": "H2O"}).structure.pbc.any()


def test_frames_of_a_file_with_their_velocities(tmp_path: Path) -> None:
    frames = []
    for k in range(3):
        atoms = ase.build.bulk("Cu", cubic=True)
        atoms.positions += 0.01 * k
        atoms.set_velocities(np.full((4, 3), 0.001 * (k + 1)) / units.fs)
        frames.append(atoms)
    ase.io.write(tmp_path / "three.traj", frames)
    last, middle = build("three.traj", tmp_path), build({"file": "three.traj", "index": 1, "repeat": 2}, tmp_path)
    np.testing.assert_allclose(last.velocities, 0.003)
    np.testing.assert_allclose(middle.velocities, np.full((32, 3), 0.002))
    np.testing.assert_allclose(middle.structure.positions[0], 0.01)
    assert build({"file": "three.traj", "index": -3}, tmp_path).structure.positions[0, 0] == 0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"bulk": "Qq"}, "'Qq' is not known"),
        ({"bulk": "Ga"}, "give a file"),
        ({"molecule": "unobtainium"}, "not known"),
        ("absent.xyz", "does not exist"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(source: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        build(source, tmp_path)


@pytest.mark.parametrize("index", [3, -4])
def test_frames_beyond_the_file(index: int, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "two.xyz", [ase.build.bulk("Cu")] * 2)
    with pytest.raises(InputError, match=f"has no frame {index}"):
        build({"file": "two.xyz", "index": index}, tmp_path)


@pytest.mark.parametrize("source", [{}, {"bulk": "Si", "file": "x"}, {"bulk": "Si", "crystalstructure": "cube"}])
def test_one_source_is_asked_for(source: object) -> None:
    with pytest.raises(ValidationError, match=r"give one of|is not one of"):
        build(source)
