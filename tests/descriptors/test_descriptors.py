"""Descriptors: what no rotation, order or choice of the cell changes; textbook formulas; finite differences."""

from __future__ import annotations

import builtins
from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

from forcewright.descriptors import (
    AceDescriptor,
    BispectrumDescriptor,
    CoulombMatrix,
    Descriptor,
    EwaldSumMatrix,
    Soap,
    SymmetryFunctions,
)
from forcewright.errors import InputError, MissingExtraError
from forcewright.features.bispectrum import Bispectrum
from forcewright.structure import Structure

pytest.importorskip("dscribe")

SALT = (11, 17)


def salt() -> Structure:
    atoms = bulk("NaCl", "rocksalt", 5.6, cubic=True)
    atoms.positions += np.random.default_rng(0).normal(0, 0.3, (8, 3))
    return Structure.from_ase(atoms)


def ethanol() -> Structure:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=0)  # no two hydrogens are alike, whose order would be arbitrary
    return Structure.from_ase(atoms)


PERIODIC = {
    "soap": Soap(SALT, 3.5, n_max=3, l_max=2),
    "soap weighted": Soap(SALT, 3.5, n_max=3, l_max=2, weighted=True),
    "acsf": SymmetryFunctions(SALT, 4.0, g3=(1.0,), g4=((0.1, 2.0, 1.0),)),
    "ewald": EwaldSumMatrix(10),
    "ace": AceDescriptor.of(SALT, 4.0, 20),
    "bispectrum": BispectrumDescriptor(Bispectrum(SALT, twojmax=4, rcut=4.0)),
}
OPEN = {
    "soap": Soap((1, 6, 8), 3.5, n_max=3, l_max=2),
    "acsf": SymmetryFunctions((1, 6, 8), 4.0),
    "coulomb": CoulombMatrix(12),
    "coulomb, sorted": CoulombMatrix(9, "sorted_l2"),
    "ace": AceDescriptor.of((1, 6, 8), 4.0, 20),
}
CASES = [*((name, d, salt()) for name, d in PERIODIC.items()), *((name, d, ethanol()) for name, d in OPEN.items())]


@pytest.mark.parametrize("descriptor, structure", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_rotations_shifts_and_the_order_of_atoms_change_nothing(descriptor: Descriptor, structure: Structure) -> None:
    rows = descriptor.rows(structure)
    assert rows.shape == (len(structure) if descriptor.per_atom else 1, descriptor.size)
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    order = np.random.default_rng(1).permutation(len(structure))
    positions = (structure.positions @ turn + [0.5, 9.0, -2.0])[order]
    turned = Structure(structure.numbers[order], positions, structure.cell @ turn, structure.pbc)
    expected = rows[order] if descriptor.per_atom else rows
    assert descriptor.rows(turned) == pytest.approx(expected, rel=1e-6, abs=1e-6 * np.abs(rows).max())


@pytest.mark.parametrize("name", [name for name in PERIODIC if name != "ewald"])
def test_a_repeated_cell_has_the_same_environments(name: str) -> None:
    structure = salt()
    double = Structure.from_ase(structure.to_ase() * (1, 2, 1))
    rows = PERIODIC[name].rows(structure)
    assert PERIODIC[name].rows(double) == pytest.approx(np.tile(rows, (2, 1)), abs=1e-8 * np.abs(rows).max())


@pytest.mark.parametrize(
    "descriptor, structure", [case[1:] for case in CASES if case[1].differentiable and case[0] != "soap weighted"],
    ids=[case[0] for case in CASES if case[1].differentiable and case[0] != "soap weighted"],
)  # fmt: skip
def test_gradients_are_finite_differences(descriptor: Descriptor, structure: Structure) -> None:
    gradients = descriptor.gradients(structure)
    rows = len(structure) if descriptor.per_atom else 1
    assert gradients.shape == (rows, len(structure), 3, descriptor.size)
    assert np.abs(gradients.sum(axis=1)).max() < 1e-6 * np.abs(gradients).max()  # a shift of all atoms
    step = 1e-4
    for atom, axis in ((0, 0), (3, 2), (5, 1)):
        moved = []
        for sign in (1, -1):
            positions = structure.positions.copy()
            positions[atom, axis] += sign * step
            moved.append(descriptor.rows(Structure(structure.numbers, positions, structure.cell, structure.pbc)))
        slopes = (moved[0] - moved[1]) / (2 * step)
        assert gradients[:, atom, axis] == pytest.approx(slopes, abs=1e-5 * np.abs(gradients).max())


def test_symmetry_functions_are_those_of_the_paper() -> None:
    structure, cutoff = salt(), 3.6
    eta, shift, kappa, (eta3, zeta, sign) = 0.8, 2.0, 1.3, (0.2, 2.0, -1.0)
    made = SymmetryFunctions((11, 17), cutoff, ((eta, shift),), (kappa,), ((eta3, zeta, sign),), ((eta3, zeta, sign),))
    rows = made.rows(structure)

    def f(r: float) -> float:
        return 0.5 * (np.cos(np.pi * r / cutoff) + 1.0) if r < cutoff else 0.0

    images = [np.array(shift) @ structure.cell for shift in product((-1, 0, 1), repeat=3)]
    center = structure.positions[0]
    near = [(z, p + image - center) for z, p in zip(structure.numbers, structure.positions, strict=True)
            for image in images if 0.1 < np.linalg.norm(p + image - center) < cutoff]  # fmt: skip
    radial = {z: np.zeros(3) for z in (11, 17)}
    for z, vector in near:
        r = float(np.linalg.norm(vector))
        radial[z] += np.array([1.0, np.exp(-eta * (r - shift) ** 2), np.cos(kappa * r)]) * f(r)
    angular = {pair: np.zeros(2) for pair in ((11, 11), (11, 17), (17, 17))}
    for j, (z_j, v_j) in enumerate(near):
        for z_k, v_k in near[:j]:
            r_j, r_k, r_jk = (float(np.linalg.norm(v)) for v in (v_j, v_k, v_j - v_k))
            bend = 2 ** (1 - zeta) * (1 + sign * (v_j @ v_k) / (r_j * r_k)) ** zeta * f(r_j) * f(r_k)
            g4 = bend * np.exp(-eta3 * (r_j**2 + r_k**2 + r_jk**2)) * f(r_jk)
            angular[min(z_j, z_k), max(z_j, z_k)] += [g4, bend * np.exp(-eta3 * (r_j**2 + r_k**2))]
    expected = np.sort(np.concatenate([*radial.values(), *angular.values()]))
    assert np.sort(rows[0]) == pytest.approx(expected, abs=1e-10)


def test_the_coulomb_matrix_is_that_of_the_paper() -> None:
    water = Structure.from_ase(molecule("H2O"))
    charges, positions = water.numbers.astype(float), water.positions
    with np.errstate(divide="ignore"):
        matrix = np.outer(charges, charges) / np.linalg.norm(positions[:, None] - positions, axis=2)
    np.fill_diagonal(matrix, 0.5 * charges**2.4)
    values = np.linalg.eigvalsh(matrix)
    values = values[np.argsort(-np.abs(values))]
    assert CoulombMatrix(4).rows(water)[0] == pytest.approx([*values, 0.0], rel=1e-6, abs=1e-9)


def test_the_ewald_matrix_holds_the_energy_of_a_lattice() -> None:
    # charges on a simple cubic lattice in a uniform background: -2.837297 Z² / (2 a)
    hydrogen = Structure.from_ase(Atoms("H", cell=[2.0] * 3, pbc=True))
    row = EwaldSumMatrix(1, accuracy=1e-9).rows(hydrogen)[0]
    assert row[0] == pytest.approx(-2.837297 / (2 * 2.0), abs=1e-5)


def test_what_a_descriptor_cannot_do_is_said() -> None:
    with pytest.raises(InputError, match="ewald"):
        CoulombMatrix(10).rows(salt())
    with pytest.raises(InputError, match="coulomb"):
        EwaldSumMatrix(10).rows(ethanol())
    with pytest.raises(InputError, match="9 atoms, more than the 4"):
        CoulombMatrix(4).rows(ethanol())
    with pytest.raises(InputError, match="no gradients"):
        PERIODIC["soap weighted"].gradients(salt())
    with pytest.raises(InputError, match="no gradients"):
        PERIODIC["ewald"].gradients(salt())
    for name in ("soap", "acsf", "ace", "bispectrum"):
        with pytest.raises(InputError, match="C"):
            PERIODIC[name].rows(ethanol())
    for wrong in ({"cutoff": 0.5}, {"n_max": 0}, {"l_max": -1}, {"l_max": 99}, {"sigma": 0.0}, {"cutoff": np.nan}):
        with pytest.raises(InputError):
            Soap(SALT, **{"cutoff": 4.0, **wrong})
    with pytest.raises(InputError):
        SymmetryFunctions(SALT, -1.0)
    with pytest.raises(InputError):
        SymmetryFunctions(SALT, g2=((1.0,),))  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [lambda: Soap(SALT), lambda: SymmetryFunctions(SALT), lambda: CoulombMatrix(4)])
def test_a_missing_library_is_named_with_the_extra(make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object, **options: object) -> object:
        if name.startswith("dscribe"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"forcewright\[soap\]"):
        make()  # type: ignore[operator]
