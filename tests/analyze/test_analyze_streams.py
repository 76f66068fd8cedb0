"""Analyses of structure keep few frames at a time, however many there are."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from ase.build import bulk

from forcewright import analyze
from forcewright.errors import InputError
from forcewright.structure import Structure

CRYSTAL = bulk("NaCl", "rocksalt", 5.64, cubic=True)

ANALYSES: dict[str, Callable[[Iterator[Structure]], object]] = {
    "rdf": lambda frames: analyze.rdf(frames, r_max=4.0, bins=10),
    "adf": analyze.adf,
    "aligned_bonds": analyze.aligned_bonds,
    "structure_factor": lambda frames: analyze.structure_factor(frames, q_max=3.0, bins=10),
    "coordination": analyze.coordination,
    "bond_statistics": analyze.bond_statistics,
    "tetrahedral_order": analyze.tetrahedral_order,
    "steinhardt": analyze.steinhardt,
    "rings": lambda frames: analyze.rings(frames, max_size=4),
    "density_grid": analyze.density_grid,
    "distance_from_center": analyze.distance_from_center,
}


def frames_counting_the_living(count: int, most: list[int]) -> Iterator[Structure]:
    rng = np.random.default_rng(0)
    living: weakref.WeakSet[Structure] = weakref.WeakSet()
    for _ in range(count):
        atoms = CRYSTAL.copy()
        atoms.rattle(0.05, rng=rng)
        structure = Structure.from_ase(atoms)
        living.add(structure)
        most[0] = max(most[0], len(living))
        yield structure


@pytest.mark.parametrize("name", ANALYSES)
def test_frames_are_let_go(name: str) -> None:
    most = [0]
    result = ANALYSES[name](frames_counting_the_living(60, most))
    assert getattr(result, "frames", len(getattr(result, "time", []))) == 60
    assert most[0] <= 23  # 20 to find the first minimum of g(r), and those in hand


@pytest.mark.parametrize("name", ANALYSES)
def test_other_atoms_in_a_later_frame_are_an_error(name: str) -> None:
    frames = [CRYSTAL] * 25 + [bulk("KCl", "rocksalt", 6.3, cubic=True)]
    with pytest.raises(InputError, match="frame 25.*the first frame Na4Cl4"):
        ANALYSES[name](iter(frames))


@pytest.mark.parametrize("name", ANALYSES)
def test_every_result_can_be_saved(name: str, tmp_path) -> None:
    result = ANALYSES[name](iter([CRYSTAL] * 2))
    assert result.save(tmp_path / "all.json").stat().st_size > 100
    assert len(np.load(result.save(tmp_path / "arrays.npz")).files) + (name == "bond_statistics") > 0
