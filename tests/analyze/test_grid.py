"""Density on a grid: where atoms are, how many, whatever the cell; and the cube file as another program reads it."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io.cube import read_cube

from forcewright import analyze
from forcewright.errors import InputError

CELL = np.array([[8.0, 0, 0], [3.0, 9.0, 0], [-2.0, 4.0, 10.0]])


def test_an_atom_lies_in_its_box() -> None:
    atom = Atoms("Li", cell=CELL, pbc=True, scaled_positions=[[0.26, -0.49, 1.76]])
    grid = analyze.density_grid([atom], spacing=1.0)
    shape = grid.density.shape
    assert shape == (8, 10, 11)
    assert np.argwhere(grid.density).tolist() == [[2, 5, 8]]
    assert grid.density.max() == pytest.approx(np.prod(shape) / atom.cell.volume)


def test_integral_is_the_number_of_atoms() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for scale in (1.0, 1.1):
        atoms = Atoms("Li10O20", cell=CELL * scale, pbc=True, scaled_positions=rng.random((30, 3)))
        frames.append(atoms)
    grid = analyze.density_grid(frames, "Li", width=0.8)
    per_frame = [analyze.density_grid([atoms], "Li") for atoms in frames]
    assert [one.density.mean() * abs(np.linalg.det(one.cell)) for one in per_frame] == pytest.approx([10, 10])
    assert grid.density.mean() == pytest.approx(np.mean([one.density.mean() for one in per_frame]))
    assert grid.cell == pytest.approx(CELL * 1.05)


def test_smoothing_makes_a_gaussian_in_a_triclinic_cell() -> None:
    cell = 2 * CELL
    atom = Atoms("Li", cell=cell, pbc=True, scaled_positions=[[0.5, 0.5, 0.5]])
    grid = analyze.density_grid([atom], spacing=0.4, width=1.2)
    shape = np.array(grid.density.shape)
    at = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    box = np.floor(0.5 * shape)  # the box the atom was counted in
    distance = np.linalg.norm((at - box) / shape @ cell, axis=-1)
    near = distance < 5.0
    expected = np.exp(-0.5 * (distance / 1.2) ** 2) / (2 * np.pi * 1.2**2) ** 1.5
    assert grid.density[near] == pytest.approx(expected[near], abs=1e-6)


def test_folded_and_unfolded_positions_give_the_same() -> None:
    atoms = bulk("NaCl", "rocksalt", 5.64) * 2
    atoms.rattle(0.3, seed=0)
    far = atoms.copy()
    far.positions += np.random.default_rng(0).integers(-3, 4, (len(atoms), 3)) @ atoms.cell.array
    assert np.array_equal(analyze.density_grid([atoms]).density, analyze.density_grid([far]).density)


def test_cube_file(tmp_path) -> None:
    atoms = Atoms("LiO", cell=CELL, pbc=True, scaled_positions=[[0.1, 0.2, 0.3], [0.6, 0.6, 0.6]])
    grid = analyze.density_grid([atoms], spacing=1.3, width=1.0)
    with grid.write_cube(tmp_path / "li.cube").open() as file:
        read = read_cube(file)
    assert read["data"] == pytest.approx(grid.density * 0.529177210903**3, rel=1e-4)
    assert read["atoms"].numbers.tolist() == [3, 8]
    assert read["atoms"].cell.array == pytest.approx(CELL, abs=1e-4)
    assert read["atoms"].positions == pytest.approx(atoms.positions, abs=1e-5)
    first = 0.5 * (CELL / np.array(grid.density.shape)[:, None]).sum(axis=0)
    assert read["origin"] == pytest.approx(first, abs=1e-5)


def test_bad_input_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="open directions"):
        analyze.density_grid([molecule("H2O")])
    with pytest.raises(InputError, match="which makes"):
        analyze.density_grid([bulk("Si")], spacing=1e-3)
    with pytest.raises(InputError, match="'Li', the frames hold Si"):
        analyze.density_grid([bulk("Si")], "Li")
    with pytest.raises(InputError, match="at least 0"):
        analyze.density_grid([bulk("Si")], width=-1)
    with pytest.raises(InputError, match="holds no frame"):
        analyze.density_grid([])


def test_figure_can_be_drawn() -> None:
    assert analyze.density_grid([bulk("Si")]).plot().get_xlabel() == "along a (Å)"
