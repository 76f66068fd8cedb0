"""Molecules cut out of a structure, pairs of them, and the pieces that are left where a bond is cut.

A potential that has seen nothing but a liquid does not know what a molecule in a vacuum weighs, nor what holds it
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from ase.data import covalent_radii
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from forcewright.errors import InputError
from forcewright.generation.generated import Generated, generated, require_count
from forcewright.neighbors import Neighbors, find_neighbors
from forcewright.structure import FloatArray, IntArray, Structure

_ALIKE_A = 0.02  # fragments of the same elements whose sorted distances differ by less are the same
_PAIR_A = 4.0  # between the nearest atoms of two molecules that are neighbors


def fragments(
    structure: Structure, rng: np.random.Generator, *, bonds: float = 1.25, count: int = 20, pieces: bool = True,
    pairs: int = 0, box_A: float | None = None, group: str | None = None,
) -> Iterator[Generated]:  # fmt: skip
    """Yield the molecules of a structure, pairs of neighboring ones, and their pieces; each shape once.

    Parameters
    ----------
    bonds
        Atoms nearer than this times the sum of their covalent radii are bonded.
    count
        How many molecules are drawn, at most.
    pieces
        Whether each bond of theirs whose cut takes a molecule apart is cut, for the two pieces as they are.
    pairs
        How many pairs of molecules are drawn from all that have atoms within 4 Å of each other.
    box_A
        Gap around a fragment in a periodic box; without it there is no cell.

    Raises
    ------
    InputError
        If the structure is one molecule without an end, such as a crystal.
    """
    require_count(count)
    radii: FloatArray = covalent_radii[structure.numbers]
    reach = 2.0 * bonds * float(radii.max(initial=0.0))
    near = find_neighbors(structure, max(reach, _PAIR_A))
    bonded = near.distances < bonds * (radii[near.centers] + radii[near.indices])
    molecules = _molecules(structure, near, bonded)
    seen: list[tuple[tuple[int, ...], FloatArray]] = []

    def made(atoms: Sequence[int], positions: FloatArray, what: str) -> Iterator[Generated]:
        fragment = _alone(structure.numbers[list(atoms)], positions, box_A)
        signature = (tuple(sorted(map(int, fragment.numbers))), _distances(positions))
        if any(signature[0] == z and np.abs(signature[1] - d).max(initial=0.0) < _ALIKE_A for z, d in seen):
            return
        seen.append(signature)
        yield generated(fragment, "fragments", structure, group=group, fragment=what)

    drawn = [molecules[k] for k in rng.permutation(len(molecules))[:count]]
    for atoms, positions in drawn:
        yield from made(atoms, positions, "molecule")
    if pieces:
        for atoms, positions in drawn:
            for part in _pieces(structure, atoms, positions, bonds):
                yield from made([atoms[k] for k in part], positions[part], "piece")
    for atoms, positions in _neighboring(near, molecules, pairs, rng):
        yield from made(atoms, positions, "pair")


def _molecules(structure: Structure, near: Neighbors, bonded: np.ndarray) -> list[tuple[list[int], FloatArray]]:
    """Return the atoms of each molecule and their positions (n, 3), whole across boundaries."""
    placed: dict[int, FloatArray] = {}
    molecules = []
    rows = [np.flatnonzero(bonded[start:end]) + start for start, end in pairwise(near.starts)]
    for first in range(len(structure)):
        if first in placed:
            continue
        placed[first] = structure.positions[first]
        atoms = [first]
        for atom in atoms:  # grows while it is gone through
            for pair in rows[atom]:
                other, position = int(near.indices[pair]), placed[atom] + near.vectors[pair]
                if other not in placed:
                    placed[other] = position
                    atoms.append(other)
                elif np.abs(placed[other] - position).max() > 1e-6:
                    raise InputError(
                        "holds a molecule without an end, such as a crystal or a surface; fragments are those of "
                        "molecules: leave it out, or make bonds smaller", field="structure",
                    )  # fmt: skip
        molecules.append((atoms, np.array([placed[atom] for atom in atoms])))
    return molecules


def _pieces(structure: Structure, atoms: Sequence[int], positions: FloatArray, bonds: float) -> Iterator[IntArray]:
    """Yield the two pieces of a molecule for each bond that holds it together, as indices into its atoms."""
    radii: FloatArray = covalent_radii[structure.numbers[list(atoms)]]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    joined = (distances < bonds * (radii[:, None] + radii[None])) & ~np.eye(len(atoms), dtype=bool)
    for i, j in np.argwhere(np.triu(joined)):
        cut = joined.copy()
        cut[i, j] = cut[j, i] = False
        count, labels = connected_components(coo_matrix(cut), directed=False)
        if count == 2:
            yield from (np.flatnonzero(labels == part) for part in range(2))


def _neighboring(
    near: Neighbors, molecules: Sequence[tuple[list[int], FloatArray]], count: int, rng: np.random.Generator
) -> Iterator[tuple[list[int], FloatArray]]:
    """Yield atoms and positions of pairs of molecules that are near each other, drawn at random."""
    owner = {atom: (number, row) for number, (atoms, _) in enumerate(molecules) for row, atom in enumerate(atoms)}
    contacts = [
        (int(a), int(b), vector) for a, b, vector in zip(near.centers, near.indices, near.vectors, strict=True)
        if owner[int(a)][0] < owner[int(b)][0] and np.linalg.norm(vector) < _PAIR_A
    ]  # fmt: skip
    for index in rng.permutation(len(contacts))[:count]:
        a, b, vector = contacts[index]
        (atoms, here), (more_atoms, there) = molecules[owner[a][0]], molecules[owner[b][0]]
        shift = here[owner[a][1]] + vector - there[owner[b][1]]
        yield [*atoms, *more_atoms], np.concatenate([here, there + shift])


def _alone(numbers: IntArray, positions: FloatArray, gap: float | None) -> Structure:
    """Return atoms without a cell, or in the middle of a periodic box."""
    if gap is None:
        return Structure(numbers, positions - positions.mean(axis=0), np.zeros((3, 3)), np.zeros(3, dtype=bool))
    low, high = positions.min(axis=0), positions.max(axis=0)
    return Structure(numbers, positions - low + gap / 2, np.diag(high - low + gap), np.ones(3, dtype=bool))


def _distances(positions: FloatArray) -> FloatArray:
    """Return all distances between positions (n, 3), ascending."""
    rows, columns = np.triu_indices(len(positions), 1)
    return np.sort(np.linalg.norm(positions[rows] - positions[columns], axis=1))
