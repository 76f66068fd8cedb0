from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule

from forcewright.errors import InputError
from forcewright.features.bispectrum import Bispectrum, Zbl
from forcewright.features.row_cache import RowCache
from forcewright.lammps_session import to_lammps_box
from forcewright.structure import VOIGT, Structure

STEP = 1e-4


def skewed() -> Structure:
    """A rattled NaCl cell under a strong shear, left-handed on purpose."""
    rng = np.random.default_rng(0)
    atoms = bulk("NaCl", "rocksalt", a=4.6) * (2, 2, 1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.15 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.rattle(0.2, seed=2)
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    return Structure.from_ase(atoms)


def open_cluster() -> Structure:
    atoms = molecule("CH4")
    atoms.numbers[:] = [17, 11, 11, 11, 11]
    atoms.positions *= 2.0
    return Structure.from_ase(atoms)


def slab() -> Structure:
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.1, seed=3)
    atoms.pbc = (True, False, True)
    return Structure.from_ase(atoms)


BASES = {
    "linear": Bispectrum((11, 17), 4, 4.1, 0.9, radii=(0.5, 0.45), weights=(1.0, 0.6)),
    "quadratic": Bispectrum((11, 17), 3, 4.1, 0.8, 0.2, quadratic=True, radii=(0.5, 0.45), weights=(1.0, 0.6)),
    "zbl": Bispectrum((11, 17), 2, 4.1, 0.9, zbl=Zbl(1.5, 3.5)),
}


def energy(basis: Bispectrum, structure: Structure, x: np.ndarray) -> float:
    rows = basis.rows(structure)
    return float(rows.energy @ x + rows.offset[0])


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("make", [skewed, open_cluster, slab])
def test_force_rows_are_minus_the_gradient_of_the_energy_row(name: str, make) -> None:
    basis, structure = BASES[name], make()
    x = np.random.default_rng(1).normal(size=basis.size)
    rows = basis.rows(structure)
    forces = (rows.forces @ x + rows.offset[1:-6]).reshape(-1, 3)
    assert rows.forces.shape == (3 * len(structure), basis.size)
    for atom, axis in [(0, 0), (2, 1), (4, 2)]:
        energies = []
        for sign in (1, -1):
            moved = np.array(structure.positions)
            moved[atom, axis] += sign * STEP
            energies.append(energy(basis, Structure(structure.numbers, moved, structure.cell, structure.pbc), x))
        difference = -(energies[0] - energies[1]) / (2 * STEP)
        assert forces[atom, axis] == pytest.approx(difference, rel=1e-5, abs=1e-4 * np.abs(forces).max())


@pytest.mark.parametrize("name", BASES)
def test_virial_rows_are_minus_the_strain_derivative_of_the_energy_row(name: str) -> None:
    basis, structure = BASES[name], skewed()
    x = np.random.default_rng(1).normal(size=basis.size)
    rows = basis.rows(structure)
    virial = rows.virial @ x + rows.offset[-6:]
    for component, (i, j) in enumerate(VOIGT):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * STEP / 2
            strain[j, i] += sign * STEP / 2
            energies.append(
                energy(basis, Structure(structure.numbers, structure.positions @ strain, structure.cell @ strain, structure.pbc), x)
            )  # fmt: skip
        difference = -(energies[0] - energies[1]) / (2 * STEP)
        assert virial[component] == pytest.approx(difference, rel=1e-5, abs=1e-5 * np.abs(virial).max())


@pytest.mark.parametrize(("twojmax", "components"), [(0, 1), (2, 5), (4, 14), (6, 30), (8, 55)])
def test_number_of_components_is_the_published_one(twojmax: int, components: int) -> None:
    """Thompson et al. 2015, and the tables of LAMMPS's documentation."""
    basis = Bispectrum((42,), twojmax, quadratic=True)
    assert basis.components == components
    assert basis.size == components + components * (components + 1) // 2


def test_quadratic_columns_are_products_with_one_half_on_the_diagonal() -> None:
    """One atom in a cell: per-cell columns are per-atom ones."""
    structure = Structure.from_ase(bulk("Mo"))
    linear = Bispectrum((42,), 4, 4.5).rows(structure).energy
    quadratic = Bispectrum((42,), 4, 4.5, quadratic=True).rows(structure).energy
    upper = np.triu_indices(len(linear))
    products = np.outer(linear, linear)
    np.fill_diagonal(products, 0.5 * linear**2)
    np.testing.assert_allclose(quadratic, np.concatenate([linear, products[upper]]), rtol=1e-10)


def test_rotation_and_translation_leave_energy_rows_unchanged() -> None:
    structure = skewed()
    basis = BASES["quadratic"]
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    turned = Structure(
        structure.numbers, (structure.positions + [7.0, -3.0, 11.0]) @ turn, structure.cell @ turn, structure.pbc
    )
    first, second = basis.rows(structure), basis.rows(turned)
    np.testing.assert_allclose(second.energy, first.energy, rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(
        second.forces.reshape(-1, 3, basis.size), np.einsum("ji,ajp->aip", turn, first.forces.reshape(-1, 3, basis.size)),
        rtol=1e-7, atol=1e-6,
    )  # fmt: skip


def test_lammps_box_is_lower_triangular_and_keeps_distances() -> None:
    structure = skewed()
    box = to_lammps_box(structure, 4.0)
    assert np.all(np.diag(box.cell) > 0) and np.allclose(np.triu(box.cell, 1), 0)
    np.testing.assert_allclose(structure.cell @ box.rotation, box.cell, atol=1e-10)
    difference = (structure.positions @ box.rotation - box.positions) @ np.linalg.inv(box.cell)
    np.testing.assert_allclose(difference, np.rint(difference), atol=1e-9)


def test_unknown_species_is_told() -> None:
    with pytest.raises(InputError, match="holds Mo, but the potential knows only"):
        BASES["linear"].rows(Structure.from_ase(bulk("Mo")))


def test_cache_gives_back_the_same_rows_and_survives_damage(tmp_path) -> None:
    structure, basis = skewed(), BASES["zbl"]
    cache = RowCache(tmp_path / "cache", 10**8)
    first = cache.rows_of(basis)(structure)
    files = list((tmp_path / "cache").rglob("*.npy"))
    assert len(files) == 1
    second = cache.rows_of(basis)(structure)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    files[0].write_bytes(files[0].read_bytes()[:100])
    third = cache.rows_of(basis)(structure)
    np.testing.assert_array_equal(third.forces, first.forces)
    RowCache(tmp_path / "cache", 10).prune()
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_cache_can_be_pruned_from_several_threads_at_once(tmp_path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    for setting in range(60):
        folder = tmp_path / "cache" / f"{setting:024x}"
        folder.mkdir(parents=True)
        for number in range(20):
            (folder / f"{number}.npy").write_bytes(b"0" * 100)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(RowCache(tmp_path / "cache", 1000).prune) for _ in range(12)]:
            done.result()
    assert sum(1 for _ in (tmp_path / "cache").rglob("*.npy")) <= 10


def test_descriptors_of_atoms_add_up_whatever_structure_came_before() -> None:
    """Cells of one composition that differ in shape and size follow one another in one instance of LAMMPS."""
    rng, basis = np.random.default_rng(0), Bispectrum((14,), twojmax=2, rcut=4.0)
    for _ in range(20):
        atoms = bulk("Si", cubic=True)
        strain = np.eye(3) * rng.uniform(0.8, 1.6) + np.triu(0.3 * rng.normal(size=(3, 3)), 1)
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += 9.0 * rng.normal(size=(8, 3))
        structure = Structure.from_ase(atoms)
        np.testing.assert_allclose(basis.environments(structure).sum(axis=0), basis.rows(structure).energy, rtol=1e-9)
