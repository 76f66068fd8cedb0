"""Random structures of hard spheres: the start of random structure searching (RSS).

Cells are drawn at random in shape and volume, atoms are put in at random and pushed apart until no two are nearer than
their pair allows, periodic images included (Pickard and Needs, J. Phys.: Condens. Matter 23, 053201 (2011)).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from scipy.optimize import minimize

from forcewright.errors import InputError
from forcewright.generation.generated import Generated, generated, require_count
from forcewright.generation.separations import MinimumSeparations, Separations
from forcewright.neighbors import find_neighbors
from forcewright.structure import FloatArray, IntArray, Structure, atomic_number, require_atoms

Range = tuple[float, float]

#: Densest packing of equal spheres, π/√18 (Kepler's conjecture; Hales et al., Forum of Mathematics, Pi 5, e2 (2017)).
DENSEST_PACKING = np.pi / np.sqrt(18)
_U_PER_A3_IN_G_PER_CM3 = 1.66053906660
_ANGLES = (60.0, 120.0)  # degrees between cell vectors
_EDGES = (0.7, 1.4)  # lengths of cell vectors relative to each other, before scaling to the volume
_SLENDEREST = 0.35  # least volume of the unit vectors along the cell; a flatter cell is drawn again
_STRICTER = 1.002  # atoms are pushed apart a little more than required


def random_structures(
    composition: Mapping[str, int], count: int, rng: np.random.Generator, *, volume_per_atom_A3: Range | None = None,
    density_g_per_cm3: Range | None = None, separations: Separations = None, factor: float = 0.8, attempts: int = 30,
    group: str | None = None,
) -> Iterator[Generated]:  # fmt: skip
    """Yield ``count`` periodic structures of hard spheres in random cells.

    Parameters
    ----------
    composition
        Number of atoms of each element in a cell.
    volume_per_atom_A3, density_g_per_cm3
        Range the volume or the density is drawn from; exactly one of them.
    separations, factor
        Smallest distances; see `MinimumSeparations`. Every structure respects them, across periodic images too.
    attempts
        Cells tried for each structure.

    Raises
    ------
    InputError
        If an argument is invalid, the spheres cannot fit, or no attempt respects the separations; says how far off it
        was.
    """
    require_count(count)
    require_count(attempts)
    numbers = _numbers_of(composition)
    volumes = _volume_range(numbers, volume_per_atom_A3, density_g_per_cm3)
    allowed = MinimumSeparations(separations, factor)
    _require_room(numbers, allowed, volumes)
    for _ in range(count):
        structure, tried = _pack(numbers, volumes, allowed, attempts, rng)
        volume = structure.volume / len(structure)
        yield generated(structure, "random", group=group, volume_per_atom_A3=volume, attempts=tried)


def _numbers_of(composition: Mapping[str, int]) -> IntArray:
    for symbol, count in composition.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise InputError(f"asks for {count!r} atoms of {symbol}; give whole numbers from 0 on", field="composition")
    require_atoms(sum(composition.values()), "composition")
    numbers = [atomic_number(symbol, "composition") for symbol, count in composition.items() for _ in range(count)]
    if not numbers:
        raise InputError("holds no atom; give elements and how many of each", field="composition")
    return np.array(numbers)


def _volume_range(numbers: IntArray, volume: Range | None, density: Range | None) -> Range:
    """Return the range of the cell's volume in Å³."""
    if (volume is None) == (density is None):
        raise InputError("give one of volume_per_atom_A3 and density_g_per_cm3")
    name = "volume_per_atom_A3" if density is None else "density_g_per_cm3"
    low, high = volume or density or (0.0, 0.0)
    if not 0 < low <= high:
        raise InputError(f"is {low} to {high}; the numbers must be above 0 and rise", field=name)
    if density is None:
        return low * len(numbers), high * len(numbers)
    mass = float(atomic_masses[numbers].sum()) * _U_PER_A3_IN_G_PER_CM3
    return mass / high, mass / low


def _require_room(numbers: IntArray, allowed: MinimumSeparations, volumes: Range) -> None:
    """Raise if the spheres of one species alone would fill more of the largest cell than spheres can."""
    for number in np.unique(numbers):
        diameter = allowed(int(number), int(number))
        needed = float((numbers == number).sum() * np.pi / 6 * diameter**3 / DENSEST_PACKING)
        if needed > volumes[1]:
            raise InputError(f"cannot be respected: {chemical_symbols[number]} atoms {diameter:.2f} Å apart need at "
                             f"least {needed:.0f} Å³ in the densest packing, the cell has at most {volumes[1]:.0f} Å³; "
                             "choose a larger volume or smaller separations", field="separations")  # fmt: skip


def _pack(
    numbers: IntArray, volumes: Range, allowed: MinimumSeparations, attempts: int, rng: np.random.Generator
) -> tuple[Structure, int]:
    """Return a structure that respects the separations, and how many cells were tried."""
    best = 0.0
    for tried in range(1, attempts + 1):
        cell = random_cell(rng.uniform(*volumes), rng)
        start = Structure(numbers, rng.random((len(numbers), 3)) @ cell, cell, np.ones(3, dtype=bool))
        structure = push_apart(start, allowed)
        ratio, _ = allowed.ratio(structure)
        if ratio >= 1:
            return structure, tried
        best = max(best, ratio)
    raise InputError(f"could not be respected in {attempts} random cells of {volumes[0]:.0f} to {volumes[1]:.0f} Å³: "
                     f"at best two atoms were at {best:.0%} of the required distance; choose a larger volume, smaller "
                     "separations or more attempts", field="separations")  # fmt: skip


def random_cell(volume: float, rng: np.random.Generator) -> FloatArray:
    """Return cell vectors (3, 3) of random lengths and angles, scaled to a volume in Å³; never a very flat cell."""
    while True:
        alpha, beta, gamma = np.cos(np.radians(rng.uniform(*_ANGLES, 3)))
        sine = np.sqrt(1 - gamma**2)
        across = (alpha - beta * gamma) / sine
        up = 1 - beta**2 - across**2
        if up > 0 and sine * np.sqrt(up) > _SLENDEREST:
            break
    vectors = np.array([[1, 0, 0], [gamma, sine, 0], [beta, across, np.sqrt(up)]])
    vectors *= rng.uniform(*_EDGES, 3)[:, None]
    return np.asarray(vectors * (volume / np.linalg.det(vectors)) ** (1 / 3))


def push_apart(structure: Structure, allowed: MinimumSeparations) -> Structure:
    """Return the structure after minimizing Σ (1 - r/d)² over pairs nearer than d, the separation; the cell stays."""
    species: IntArray = np.unique(structure.numbers)
    table = _STRICTER * allowed.table([int(z) for z in species])
    kinds = np.searchsorted(species, structure.numbers)

    def overlap(flat: FloatArray) -> tuple[float, FloatArray]:
        moved = Structure(structure.numbers, flat.reshape(-1, 3), structure.cell, structure.pbc)
        pairs = find_neighbors(moved, float(table.max()))
        centers, wanted = pairs.centers, table[kinds[pairs.centers], kinds[pairs.indices]]
        depth = np.maximum(1 - pairs.distances / wanted, 0.0)
        slopes = (2 * depth / wanted / np.maximum(pairs.distances, 1e-9))[:, None] * pairs.vectors
        gradient = np.zeros((len(structure), 3))
        np.add.at(gradient, centers, slopes)  # each pair occurs twice, and so does half of its derivative
        return 0.5 * float((depth**2).sum()), gradient.ravel()

    minimum = minimize(overlap, structure.positions.ravel(), jac=True, method="L-BFGS-B",
                       options={"maxiter": 500, "ftol": 1e-14, "gtol": 1e-8})  # fmt: skip
    return Structure(structure.numbers, minimum.x.reshape(-1, 3), structure.cell, structure.pbc)
