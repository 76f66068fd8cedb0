"""Point defects: vacancies, interstitials, X-vacancy centers and pairs of interstitials in a bond.

The X-vacancy center (NV, HV, SiV …) of diamond: two neighboring carbon atoms are removed and X is put on one of their
sites. The pair X2* of interstitials, known for hydrogen as H2*: one X in the center of a stretched bond and one
antibonding, behind an atom of the same bond (Goss et al., Phys. Rev. B 72, 035214 (2005)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from ase.data import chemical_symbols

from forcewright.errors import InputError
from forcewright.generation.generated import Generated, generated, require_count, require_periodic
from forcewright.generation.separations import MinimumSeparations, Separations
from forcewright.generation.voids import largest_voids
from forcewright.neighbors import find_neighbors
from forcewright.structure import FloatArray, IntArray, Structure, atomic_number

_ATTEMPTS = 2000  # random positions tried for one interstitial
_SHELL = 1.2  # a neighbor is an atom within this multiple of the nearest distance


def vacancies(
    structure: Structure, number: int, count: int, rng: np.random.Generator, *, species: str | None = None,
    group: str | None = None,
) -> Iterator[Generated]:  # fmt: skip
    """Yield ``count`` structures without ``number`` atoms drawn at random, of one species if given.

    Raises
    ------
    InputError
        If there are not enough atoms.
    """
    require_count(count)
    candidates = _atoms_of(structure, species)
    if not 1 <= number <= len(candidates) or number == len(structure):
        raise InputError(f"is {number}; {len(candidates)} atoms may be removed, and at least one must stay",
                         field="number")  # fmt: skip
    for _ in range(count):
        removed = np.sort(rng.choice(candidates, number, replace=False))
        new, indices = without(structure, removed), " ".join(map(str, removed))
        yield generated(new, "vacancy", structure, group=group, removed=indices)


def without(structure: Structure, atoms: Sequence[int] | IntArray) -> Structure:
    """Return the structure without some of its atoms."""
    kept = np.setdiff1d(np.arange(len(structure)), atoms)
    return Structure(structure.numbers[kept], structure.positions[kept], structure.cell, structure.pbc)


def with_atoms(structure: Structure, numbers: Sequence[int], positions: FloatArray) -> Structure:
    """Return the structure with atoms added at the end."""
    return Structure(
        np.concatenate([structure.numbers, numbers]), np.vstack([structure.positions, positions]), structure.cell,
        structure.pbc,
    )  # fmt: skip


def interstitials(
    structure: Structure, species: str, number: int, count: int, rng: np.random.Generator, *,
    sites: Literal["random", "voids"] = "random", separations: Separations = None, factor: float = 0.7,
    group: str | None = None,
) -> Iterator[Generated]:  # fmt: skip
    """Yield ``count`` structures with ``number`` additional atoms.

    Parameters
    ----------
    species
        Element of the atoms added.
    sites
        Random positions that respect the separations; or voids: structure k starts with the center of the k-th largest
        void, and every further atom goes to the largest void that is left.
    separations, factor
        See `MinimumSeparations`; they hold between added atoms and all others.

    Raises
    ------
    InputError
        If the structure is not periodic, or there is no room; says how much there is.
    """
    require_count(count)
    require_count(number)
    require_periodic(structure, "putting in interstitials")
    if sites not in ("random", "voids"):
        raise InputError(f"is {sites!r}; use random or voids", field="sites")
    added, allowed = atomic_number(species, "species"), MinimumSeparations(separations, factor)
    for index in range(count):
        new = structure
        for k in range(number):
            if sites == "random":
                position = _random_position(new, added, allowed, rng)
            else:
                position = _void_center(new, added, allowed, index if k == 0 else 0)
            new = with_atoms(new, [added], position[None])
        yield generated(new, "interstitial", structure, group=group, species=species, sites=sites, number=number)


def _random_position(
    structure: Structure, added: int, allowed: MinimumSeparations, rng: np.random.Generator
) -> FloatArray:
    for _ in range(_ATTEMPTS):
        position = rng.random(3) @ structure.cell
        if _room(structure, added, position, allowed) >= 1:
            return np.asarray(position)
    raise InputError(f"no position for {chemical_symbols[added]} in {_ATTEMPTS} attempts is far enough from all atoms; "
                     "choose smaller separations or a larger cell", field="separations")  # fmt: skip


def _void_center(structure: Structure, added: int, allowed: MinimumSeparations, index: int) -> FloatArray:
    centers, radii = largest_voids(structure, index + 1)
    if index >= len(centers):
        raise InputError(f"asks for {index + 1} voids; the structure has {len(centers)}", field="count")
    if _room(structure, added, centers[index], allowed) < 1:
        raise InputError(f"void {index} leaves {radii[index]:.2f} Å, too little for {chemical_symbols[added]}; choose "
                         "smaller separations", field="separations")  # fmt: skip
    return np.asarray(centers[index])


def _room(structure: Structure, added: int, position: FloatArray, allowed: MinimumSeparations) -> float:
    """Return the smallest ratio of the distance of an added atom to the allowed one, its own images included."""
    table = np.array([allowed(added, int(z)) for z in [*structure.numbers, added]])
    new = with_atoms(structure, [added], position[None])
    pairs = find_neighbors(new, float(table.max()))
    last = slice(pairs.starts[-2], pairs.starts[-1])
    ratios = pairs.distances[last] / table[pairs.indices[last]]
    return float(ratios.min()) if len(ratios) else np.inf


def x_vacancies(
    structure: Structure, species: str, count: int, rng: np.random.Generator, *, host: str | None = None,
    center: int | None = None, group: str | None = None,
) -> Iterator[Generated]:  # fmt: skip
    """Yield ``count`` X-vacancy centers: an atom becomes X and one of its nearest neighbors is removed.

    Parameters
    ----------
    species
        X, such as H for the HV center or N for the NV center of diamond.
    host
        Which atoms may be replaced, by element.
    center
        The atom that is replaced; random by default. The neighbor that is removed is always random.

    Raises
    ------
    InputError
        If the atom does not exist or has no neighbor.
    """
    require_count(count)
    replaced = atomic_number(species, "species")
    for _ in range(count):
        atom = _pick(structure, host, center, rng)
        neighbor, _ = _neighbor(structure, atom, rng)
        numbers = structure.numbers.copy()
        numbers[atom] = replaced
        whole = Structure(numbers, structure.positions, structure.cell, structure.pbc)
        yield generated(
            without(whole, [neighbor]), "x_vacancy", structure, group=group, species=species, site=atom,
            vacancy=neighbor,
        )  # fmt: skip


def x2_interstitials(
    structure: Structure, species: str, count: int, rng: np.random.Generator, *, host: str | None = None,
    center: int | None = None, bond_A: float | None = None, outward_A: tuple[float, float] = (0.25, 0.45),
    group: str | None = None,
) -> Iterator[Generated]:  # fmt: skip
    """Yield ``count`` pairs X2*: one X in the center of a bond A–B, one antibonding behind B; A and B move apart.

    A moves back by ``outward_A[0]`` and B forward by ``outward_A[1]`` along the bond; the first X stands ``bond_A``
    from A towards B, the second ``bond_A`` beyond B. A relaxation has to follow.

    Parameters
    ----------
    bond_A
        Distance between X and its neighbor in Å; the sum of covalent radii by default.
    host, center
        As in `x_vacancies`, for the atom A.

    Raises
    ------
    InputError
        If the atom does not exist or has no neighbor, or a length is invalid.
    """
    require_count(count)
    added = atomic_number(species, "species")
    if bond_A is not None and not bond_A > 0:
        raise InputError(f"is {bond_A}; it must be a length above 0 Å", field="bond_A")
    bonds = MinimumSeparations(bond_A, 1.0)
    for _ in range(count):
        first = _pick(structure, host, center, rng)
        second, vector = _neighbor(structure, first, rng)
        axis = vector / np.linalg.norm(vector)
        positions = structure.positions.copy()
        positions[first] -= outward_A[0] * axis
        positions[second] += outward_A[1] * axis
        places = np.array([positions[k] + bonds(added, int(structure.numbers[k])) * axis for k in (first, second)])
        moved = Structure(structure.numbers, positions, structure.cell, structure.pbc)
        yield generated(
            with_atoms(moved, [added, added], places), "x2_interstitial", structure, group=group, species=species,
            site=first, behind=second,
        )  # fmt: skip


def _atoms_of(structure: Structure, species: str | None) -> IntArray:
    if species is None:
        return np.arange(len(structure))
    atoms = np.flatnonzero(structure.numbers == atomic_number(species, "species"))
    if not len(atoms):
        raise InputError(f"{species} does not occur in {structure.formula}", field="species")
    return atoms


def _pick(structure: Structure, host: str | None, center: int | None, rng: np.random.Generator) -> int:
    if center is None:
        return int(rng.choice(_atoms_of(structure, host)))
    if not 0 <= center < len(structure):
        raise InputError(f"is {center}; the structure has atoms 0 to {len(structure) - 1}", field="center")
    return int(center)


def _neighbor(structure: Structure, atom: int, rng: np.random.Generator) -> tuple[int, FloatArray]:
    """Return a random one of the nearest neighbors of an atom, and the vector to it."""
    cutoff, longest = 3.0, 12.0
    while cutoff <= longest:
        pairs = find_neighbors(structure, cutoff)
        bonds = np.arange(pairs.starts[atom], pairs.starts[atom + 1])
        bonds = bonds[pairs.indices[bonds] != atom]
        if len(bonds) and pairs.distances[bonds].min() * _SHELL <= cutoff:
            shell = bonds[pairs.distances[bonds] < _SHELL * pairs.distances[bonds].min()]
            # sorted, because the choice must not depend on the order of neighbors
            order = np.lexsort((*np.round(pairs.vectors[shell].T, 6), pairs.indices[shell]))
            chosen = shell[order][rng.integers(len(shell))]
            return int(pairs.indices[chosen]), pairs.vectors[chosen]
        cutoff *= 2
    raise InputError(f"atom {atom} has no neighbor within {longest:g} Å; repeat the cell", field="structure")
