"""Formation energies of point defects: vacancies, interstitials and antisites, relaxed in a supercell of fixed size.

E_f = E(defect) - E(crystal) - Σ_s n_s μ_s, with n_s atoms of species s added (Zhang and Northrup 1991, without charge).
In an elemental crystal μ is its energy per atom; in a compound the chemical potentials must be given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from forcewright.analyze.result import Axes, Result
from forcewright.errors import ForcewrightError, InputError
from forcewright.neighbors import IndexArray, find_neighbors
from forcewright.protocols.relaxation import Relaxation, relax, relaxed_atoms
from forcewright.protocols.system import (
    AnyStructure,
    CalculatorSource,
    new_crystal,
    potential_energy,
    supercell_repeats,
    with_calculator,
)
from forcewright.structure import FloatArray, IntArray, Structure

_MIN_HEIGHT = 15.0  # Å between opposite faces of the supercell, by default
_TETRAHEDRAL_COSINE = -1 / 3


@dataclass(frozen=True, eq=False)
class DefectEnergies(Result):
    """Formation energies by name of the defect, relaxed and unrelaxed, and the relaxed structures.

    ``numbers`` and ``positions_A`` hold the relaxed atoms of each defect in the common ``cell_A``; ``crystal_atoms``
    is the number of atoms of the supercell without the defect. ``failures`` says why defects are missing.
    """

    formation_energies_eV: dict[str, float]
    unrelaxed_energies_eV: dict[str, float]
    numbers: dict[str, IntArray]
    positions_A: dict[str, FloatArray]
    cell_A: FloatArray
    crystal_atoms: int
    crystal_energy_eV: float
    failures: dict[str, str]

    def structure(self, name: str) -> Structure:
        """Return the relaxed structure of a defect."""
        return Structure(self.numbers[name], self.positions_A[name], self.cell_A, np.ones(3, dtype=bool))

    def _draw(self, ax: Axes) -> None:
        names = list(self.formation_energies_eV)
        rows = np.arange(len(names))
        ax.barh(rows + 0.2, [self.formation_energies_eV[n] for n in names], height=0.4, label="relaxed")
        ax.barh(rows - 0.2, [self.unrelaxed_energies_eV[n] for n in names], height=0.4, label="unrelaxed", alpha=0.5)
        ax.set(yticks=rows, yticklabels=names, xlabel="formation energy (eV)")
        ax.legend()


class _Host:
    """The supercell that defects are made in, its energy and the chemical potentials."""

    def __init__(self, atoms: Any, chemical_potentials: Mapping[str, float] | None, fmax: float) -> None:
        self.atoms, self.fmax = atoms, fmax
        self.energy = potential_energy(atoms)
        species = sorted(set(atoms.get_chemical_symbols()))
        self.chemical_potentials = dict(chemical_potentials or {})
        if len(species) == 1:
            self.chemical_potentials.setdefault(species[0], self.energy / len(atoms))

    def formation_energy(self, defective: Any, energy: float) -> float:
        added: Counter[str] = Counter(defective.get_chemical_symbols())
        added.subtract(self.atoms.get_chemical_symbols())
        missing = [symbol for symbol, count in added.items() if count and symbol not in self.chemical_potentials]
        if missing:
            raise InputError(f"are missing for {', '.join(missing)}; give them in eV", field="chemical_potentials_eV")
        return energy - self.energy - sum(count * self.chemical_potentials[s] for s, count in added.items() if count)

    def lowest(self, starts: Sequence[Atoms]) -> tuple[float, Relaxation]:
        """Relax the starts; return the lowest formation energy of those that converge, and its relaxation."""
        relaxed: list[Relaxation] = []
        errors: list[ForcewrightError] = []
        for start in starts:
            try:
                relaxed.append(relax(self.atoms.calc, start, fmax=self.fmax))
            except ForcewrightError as error:
                errors.append(error)
        if not relaxed:
            raise errors[0]
        best = min(relaxed, key=lambda r: r.energy_eV)
        return self.formation_energy(starts[0], best.energy_eV), best

    def energies(self, defects: Mapping[str, Sequence[Atoms]]) -> DefectEnergies:
        """Return the energies of defects, each relaxed from its starts; the first start is the unrelaxed defect."""
        unrelaxed: dict[str, float] = {}
        relaxed: dict[str, tuple[float, Relaxation]] = {}
        failures: dict[str, str] = {}
        for name, starts in defects.items():
            first = with_calculator(self.atoms.calc, starts[0])
            try:
                unrelaxed[name] = self.formation_energy(first, potential_energy(first))
                relaxed[name] = self.lowest(starts)
            except InputError:
                raise
            except ForcewrightError as error:
                if len(defects) == 1:
                    raise
                failures[name] = str(error)
        return DefectEnergies(
            formation_energies_eV={name: energy for name, (energy, _) in relaxed.items()},
            unrelaxed_energies_eV=unrelaxed,
            numbers={name: r.numbers for name, (_, r) in relaxed.items()},
            positions_A={name: r.positions_A for name, (_, r) in relaxed.items()},
            cell_A=self.atoms.cell.array.copy(), crystal_atoms=len(self.atoms), crystal_energy_eV=self.energy,
            failures=failures,
        )  # fmt: skip


def _host(
    calculator: CalculatorSource, structure: AnyStructure, repeat: int | Sequence[int] | None, relax_cell: bool,
    chemical_potentials: Mapping[str, float] | None, fmax: float,
) -> tuple[Any, _Host]:  # fmt: skip
    """Return the unit cell, relaxed if asked for, and its supercell."""
    atoms = new_crystal(calculator, structure)
    if relax_cell:
        atoms = relaxed_atoms(atoms, cell="full", fmax=fmax)
    supercell = atoms.repeat(supercell_repeats(atoms, repeat, _MIN_HEIGHT))
    supercell.calc = atoms.calc
    return atoms, _Host(supercell, chemical_potentials, fmax)


def defect_energy(
    calculator: CalculatorSource, crystal: AnyStructure, defective: AnyStructure, *, name: str = "defect",
    chemical_potentials_eV: Mapping[str, float] | None = None, fmax: float = 1e-3,
) -> DefectEnergies:  # fmt: skip
    """Compute the formation energy of any defect from a supercell without and one with it, relaxing the latter.

    Raises
    ------
    InputError
        If a chemical potential is missing.
    ForcewrightError
        If the relaxation fails.
    """
    host = _Host(with_calculator(calculator, crystal), chemical_potentials_eV, fmax)
    return host.energies({name: [with_calculator(host.atoms.calc, defective)]})


def vacancy(
    calculator: CalculatorSource, structure: AnyStructure, *, atoms: Sequence[int] = (0,),
    repeat: int | Sequence[int] | None = None, inward: float = 0.15, perturbation_A: float = 0.02, seed: int = 0,
    relax_cell: bool = True, chemical_potentials_eV: Mapping[str, float] | None = None, fmax: float = 1e-3,
) -> DefectEnergies:  # fmt: skip
    """Compute vacancy formation energies.

    Parameters
    ----------
    structure
        A unit cell of the crystal.
    atoms
        Which atoms of the unit cell are removed, each in turn.
    repeat
        Unit cells of the supercell along each vector; by default enough for 15 Å between faces.
    inward
        The lower energy of two relaxations counts: from the ideal positions, and from nearest neighbors moved by this
        share of their distance towards the vacancy. The first alone may end on a saddle point.
    perturbation_A
        Standard deviation of the random displacements of all atoms in the second of them.
    seed
        Seed of the displacements.
    relax_cell
        Relax cell and positions of the crystal first.
    chemical_potentials_eV
        Energy of an atom of each element that leaves or enters; by default, in a crystal of one element, its energy
        per atom.
    fmax
        Largest force in eV/Å at which a relaxation ends.

    Raises
    ------
    InputError
        If an argument is invalid, or a chemical potential is missing.
    ForcewrightError
        If a relaxation fails and no other defect was asked for.
    """
    unit, host = _host(calculator, structure, repeat, relax_cell, chemical_potentials_eV, fmax)
    defects = {}
    for index in atoms:
        if not 0 <= index < len(unit):
            raise InputError(f"holds {index}; the unit cell has atoms 0 to {len(unit) - 1}", field="atoms")
        displaced = _rattled(_vacancy_start(host.atoms, index, inward), perturbation_A, seed)
        name = f"vacancy {unit.symbols[index]}" + (f" {index}" if len(atoms) > 1 else "")
        defects[name] = [_vacancy_start(host.atoms, index, 0.0), displaced]
    return host.energies(defects)


def _vacancy_start(crystal: Any, index: int, inward: float) -> Any:
    neighbors, vectors = nearest_neighbors(crystal, index)
    start = crystal.copy()
    np.subtract.at(start.positions, neighbors, inward * vectors)
    del start[index]
    return start


def _rattled(atoms: Any, deviation: float, seed: int) -> Any:
    rattled = atoms.copy()
    rattled.positions += np.random.default_rng(seed).normal(scale=deviation, size=(len(atoms), 3))
    return rattled


def nearest_neighbors(atoms: Atoms, index: int) -> tuple[IndexArray, FloatArray]:
    """Return the atoms of the first shell of one atom and the vectors (k, 3) to them, within 1.2 nearest distances."""
    cutoff = 3.0
    while True:
        pairs = find_neighbors(Structure.from_ase(atoms), cutoff)
        bonds = slice(*pairs.starts[index : index + 2])
        lengths = pairs.distances[bonds]
        if len(lengths) and lengths.min() * 1.2 <= cutoff:
            first = lengths < 1.2 * lengths.min()
            return pairs.indices[bonds][first], pairs.vectors[bonds][first]
        cutoff *= 1.5


def interstitials(
    calculator: CalculatorSource, structure: AnyStructure, *,
    sites: Sequence[str] = ("tetrahedral", "hexagonal", "dumbbell"),
    positions_A: Mapping[str, Sequence[float]] | None = None, species: str | None = None,
    repeat: int | Sequence[int] | None = None, perturbation_A: float = 0.0, seed: int = 0, relax_cell: bool = True,
    chemical_potentials_eV: Mapping[str, float] | None = None, fmax: float = 1e-3,
) -> DefectEnergies:  # fmt: skip
    """Compute interstitial formation energies.

    Parameters
    ----------
    structure
        As in `vacancy`.
    repeat
        Unit cells of the supercell along each vector; by default enough for 15 Å between faces.
    sites
        Sites of the diamond structure by name: tetrahedral, hexagonal, dumbbell (<110> split), bond_center.
    positions_A
        Other sites by name: Cartesian positions in the relaxed unit cell.
    species
        The element inserted; that of the crystal by default.
    perturbation_A
        Standard deviation of random displacements at the start. Without them a site keeps its symmetry, even at a
        saddle point.
    seed
        Seed of the displacements.
    relax_cell
        Relax cell and positions of the crystal first.
    chemical_potentials_eV
        Energy of an atom of each element that leaves or enters; by default, in a crystal of one element, its energy
        per atom.
    fmax
        Largest force in eV/Å at which a relaxation ends.

    Raises
    ------
    InputError
        If a site is unknown or the crystal is not diamond, or a chemical potential is missing.
    ForcewrightError
        If a relaxation fails and no other defect was asked for.
    """
    unit, host = _host(calculator, structure, repeat, relax_cell, chemical_potentials_eV, fmax)
    symbol = species or unit.symbols[0]
    added = {name: _with_atom(host.atoms, symbol, position) for name, position in (positions_A or {}).items()}
    added |= {site: _diamond_site(host.atoms, symbol, site) for site in sites}
    return host.energies({name: [_rattled(atoms, perturbation_A, seed)] for name, atoms in added.items()})


def antisite(
    calculator: CalculatorSource, structure: AnyStructure, *, atom: int, species: str,
    chemical_potentials_eV: Mapping[str, float], repeat: int | Sequence[int] | None = None, relax_cell: bool = True,
    fmax: float = 1e-3,
) -> DefectEnergies:  # fmt: skip
    """Compute the formation energy of another element on the site of an atom of the unit cell; see `vacancy`."""
    unit, host = _host(calculator, structure, repeat, relax_cell, chemical_potentials_eV, fmax)
    if not 0 <= atom < len(unit):
        raise InputError(f"is {atom}; the unit cell has atoms 0 to {len(unit) - 1}", field="atom")
    defective = host.atoms.copy()
    defective.symbols[atom] = species
    return host.energies({f"{species} on {unit.symbols[atom]}": [defective]})


def _with_atom(crystal: Any, symbol: str, position: Any) -> Any:
    atoms = crystal.copy()
    atoms.extend(Atoms(symbol, positions=[position]))
    return atoms


def _diamond_site(crystal: Any, symbol: str, site: str) -> Any:
    """Add an atom at a named site; d_1 ... d_4 are the bonds of atom 0 of the crystal."""
    if site not in _DIAMOND_SITES:
        raise InputError(f"{site!r} is not known; allowed are {', '.join(_DIAMOND_SITES)}", field="sites")
    bonds = nearest_neighbors(crystal, 0)[1]
    cosines = [a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for k, a in enumerate(bonds) for b in bonds[:k]]
    if len(bonds) != 4 or not np.allclose(cosines, _TETRAHEDRAL_COSINE, atol=0.05):
        raise InputError(f"{site!r} is a site of the diamond structure, which this crystal does not have; give "
                         "positions_A", field="sites")  # fmt: skip
    return _DIAMOND_SITES[site](crystal, symbol, bonds)


def _dumbbell(crystal: Any, symbol: str, bonds: FloatArray) -> Any:
    """Replace atom 0 by two along <110>, both moved to where the pair keeps a bond to each other neighbor."""
    along = (bonds[0] - bonds[1]) / np.linalg.norm(bonds[0] - bonds[1])
    length = float(np.linalg.norm(bonds[0]))
    across = -(bonds[0] + bonds[1]) / np.linalg.norm(bonds[0] + bonds[1])
    atoms = crystal.copy()
    center = crystal.positions[0] + 0.3 * length * across
    atoms.positions[0] = center + 0.5 * length * along
    return _with_atom(atoms, symbol, center - 0.5 * length * along)


# The tetrahedral hollow lies opposite to a bond; the hexagonal one, in a ring of six, between two of these.
_DIAMOND_SITES: dict[str, Callable[[Any, str, FloatArray], Any]] = {
    "tetrahedral": lambda crystal, symbol, bonds: _with_atom(crystal, symbol, crystal.positions[0] - bonds[0]),
    "hexagonal": lambda crystal, symbol, bonds: _with_atom(crystal, symbol, crystal.positions[0] - 1.5 * bonds[0]),
    "bond_center": lambda crystal, symbol, bonds: _with_atom(crystal, symbol, crystal.positions[0] + 0.5 * bonds[0]),
    "dumbbell": _dumbbell,
}
