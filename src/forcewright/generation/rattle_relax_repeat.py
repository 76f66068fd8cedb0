"""New structures from old by rattling, relaxing a little, and repeating with what came out.

A family tree grows from one structure. A parent is drawn from it, its atoms are displaced at random and its cell is
strained; a few short steps along the forces of a teacher take out what the displacement has put into stiff bonds, and
what is then thermally plausible joins the tree (Gardner et al., "Distillation of atomistic foundation models across
architectures and chemical domains", arXiv:2506.10956 (2025); written anew). No dynamics is needed, and no two members
are correlated as frames of a trajectory are. What counts is how often the teacher is called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase.units import kB

from forcewright.errors import ForcewrightError, InputError
from forcewright.generation.generated import Generated, generated, require_count
from forcewright.generation.separations import MinimumSeparations, Separations
from forcewright.potential import Failure
from forcewright.structure import Dataset, FloatArray, Labels, Structure

log = logging.getLogger("forcewright")

#: Energies and forces of several structures at a time, or why there are none.
Teacher = Callable[[Sequence[Structure]], Sequence[Labels | Failure]]
#: Whether a structure is worth a call of the teacher.
IsNew = Callable[[Structure], bool]

_LONGEST = 2.0  # a force in units of |F| that still counts in full
_TRIED = 200  # candidates without a call for one that gets one
_FRUITLESS = 25  # candidates with a call for one that is kept


@dataclass(frozen=True, eq=False)
class _Member:
    """A structure of the tree, its energy per atom in eV, and how many steps from the root it is."""

    structure: Structure
    energy: float
    generation: int


@dataclass(eq=False)
class _Candidate:
    """A structure on its way into the tree."""

    structure: Structure
    parent: _Member
    sigma: float
    calls: int = 0
    energy: float = np.inf


def rattle_relax_repeat(
    structure: Structure, teacher: Teacher, count: int, rng: np.random.Generator, *,
    sigma_A: tuple[float, float] = (0.03, 0.2), strain: float = 0.02, temperature_K: float = 500.0,
    generation_power: float = 1.0, relax_steps: int = 5, energy_above_eV_per_atom: float | None = None,
    largest_force_eV_per_A: float = 10.0, least_displacement_A: float = 0.08, separations: Separations = None,
    factor: float = 0.6, batch: int = 8, is_new: IsNew | None = None, group: str | None = None,
) -> Iterator[Generated]:  # fmt: skip
    """Yield ``count`` structures of the family tree of a structure.

    A parent of energy e per atom and generation g (0 for the root) is drawn with the weight exp(-e/kT) (1 + g)^p. Its
    atoms are displaced by normal deviates of the standard deviation σ, its cell is that of the root under a random
    symmetric strain. Then R ← R + (σ/x) F/|F| for x = 1, 2, …, where |F| is the root mean square of all components, so
    that a step is as long as the displacement; forces longer than 2 |F| count as so long, or one bond that is pressed
    would take the whole step. It ends as soon as the energy per atom and the forces lie within their limits.

    A candidate is refused before its first call where atoms are too near, where it is too like a member, or where it is
    not new; and after the last where it has come back to a member.

    Parameters
    ----------
    teacher
        Called with up to ``batch`` structures at a time.
    sigma_A
        Range of σ in Å, which is drawn uniformly in its logarithm.
    strain
        Standard deviation of the components of the strain; only of cells that are periodic in all directions.
    temperature_K
        T of the weights, and of the limit where none is stated: 3/2 kT per atom, the mean potential energy of
        harmonic motion.
    generation_power
        p: above 0 later generations are preferred, which leads away from the root; 0 for the energy alone.
    relax_steps
        Most steps along the forces.
    energy_above_eV_per_atom
        The limit of the energy per atom, from the root's.
    largest_force_eV_per_A
        Limit of the forces' lengths: large forces at a low energy are those of a hole in the teacher.
    least_displacement_A
        Least root mean square displacement of the atoms from every member.
    separations, factor
        Smallest distances; see `MinimumSeparations`. Pairs that are nearer in the root may stay 0.9 times as near.
    batch
        Candidates that are relaxed at the same time; results depend on it, as all have parents of the tree before.
    is_new
        Whether a candidate is worth a call.

    Yields
    ------
    Generated
        ``info`` holds the tree (formula and first digits of the hash of its root), the generation, σ, the energy
        per atom above the root, the calls for this structure, and ``calls_so_far`` of the whole tree, with those for
        candidates that were not kept.

    Raises
    ------
    InputError
        If a number is invalid, the teacher does not know the root, or nothing is kept.
    """
    require_count(count)
    _require(sigma_A, strain, temperature_K, relax_steps, batch, least_displacement_A)
    labels = teacher([structure])[0]
    if isinstance(labels, Failure) or labels.energy is None or labels.forces is None:
        reason = labels.reason if isinstance(labels, Failure) else "it has no energy or no forces"
        raise InputError(f"cannot be computed by the teacher: {reason}", field="structure")
    thermal = kB * temperature_K
    tree = _Tree(
        structure, labels.energy / len(structure), thermal, generation_power, least_displacement_A,
        _allowed(structure, separations, factor),
    )  # fmt: skip
    above = 1.5 * thermal if energy_above_eV_per_atom is None else energy_above_eV_per_atom
    limit = tree.members[0].energy + above
    name = f"{structure.formula}-{structure.content_hash[:12]}"
    calls, kept, tried, failures = 1, 0, 0, list[str]()
    while kept < count:
        candidates = _candidates(tree, min(batch, count - kept), sigma_A, strain, is_new, rng)
        if not candidates or tried >= _FRUITLESS * (kept + batch):
            _conclude(structure, kept, count, tried, failures, bool(candidates))
            return
        tried += len(candidates)
        moving = list(candidates)
        finished: list[_Candidate] = []
        for x in range(1, relax_steps + 2):
            still = []
            for candidate, said in zip(moving, teacher([c.structure for c in moving]), strict=True):
                candidate.calls += 1
                if isinstance(said, Failure) or said.energy is None or said.forces is None:
                    failures.append(said.reason if isinstance(said, Failure) else "it has no energy or no forces")
                    continue
                candidate.energy = said.energy / len(structure)
                largest = float(np.linalg.norm(said.forces, axis=1).max())
                if candidate.energy <= limit and largest <= largest_force_eV_per_A:
                    finished.append(candidate)
                elif x <= relax_steps and _step(candidate, said.forces, x) and tree.has_room(candidate.structure):
                    still.append(candidate)
            moving = still
            if not moving:
                break
        calls += sum(candidate.calls for candidate in candidates)
        for candidate in candidates:  # in their order, whatever the number of their steps
            if candidate not in finished or tree.is_like_a_member(candidate.structure):
                continue
            member = tree.add(candidate)
            kept += 1
            yield generated(
                candidate.structure, "rattle_relax_repeat", candidate.parent.structure, group=group,
                generation=member.generation, sigma_A=candidate.sigma,
                energy_above_start_eV_per_atom=candidate.energy - tree.members[0].energy,
                teacher_calls=candidate.calls, calls_so_far=calls, tree=name,
            )  # fmt: skip


def mean_teacher_calls(dataset: Dataset) -> float | None:
    """Return how often the teacher was called for each structure that was kept; None where there is none.

    Calls for candidates that were not kept count, and that for each root.
    """
    known = [labels.info for labels in dataset.labels if "calls_so_far" in labels.info]
    of_tree: dict[str, int] = {}
    for info in known:
        of_tree[str(info["tree"])] = max(of_tree.get(str(info["tree"]), 0), int(info["calls_so_far"]))
    return sum(of_tree.values()) / len(known) if known else None


class _Tree:
    """The members so far, and what may join them."""

    def __init__(
        self, root: Structure, energy: float, thermal: float, power: float, least: float, allowed: MinimumSeparations
    ) -> None:
        self.members = [_Member(root, energy, 0)]
        self._thermal, self._power, self._least, self._allowed = thermal, power, least, allowed
        self._scaled = [_fractions(root)]

    def parent(self, rng: np.random.Generator) -> _Member:
        energies = np.array([member.energy for member in self.members])
        generations = np.array([member.generation for member in self.members])
        weights = np.exp(-(energies - energies.min()) / self._thermal) * (1.0 + generations) ** self._power
        return self.members[int(rng.choice(len(self.members), p=weights / weights.sum()))]

    def has_room(self, structure: Structure) -> bool:
        return self._allowed.ratio(structure)[0] >= 1

    def is_like_a_member(self, structure: Structure) -> bool:
        """Tell whether the atoms have moved too little from where they are in a member, the cell's strain aside."""
        root = self.members[0].structure
        scaled = _fractions(structure)
        return any(_displacement(scaled - other, root) < self._least for other in self._scaled)

    def add(self, candidate: _Candidate) -> _Member:
        member = _Member(candidate.structure, candidate.energy, candidate.parent.generation + 1)
        self.members.append(member)
        self._scaled.append(_fractions(candidate.structure))
        return member


def _fractions(structure: Structure) -> FloatArray:
    """Return positions in units of the cell, or in Å where there is none."""
    return structure.positions @ np.linalg.inv(structure.cell) if structure.volume > 0 else structure.positions


def _displacement(moves: FloatArray, root: Structure) -> float:
    """Return the root mean square length in Å of moves (N, 3) in fractions, that of the center aside."""
    moves = moves - moves.mean(axis=0) if len(moves) > 1 else moves
    lengths = moves @ root.cell if root.volume > 0 else moves
    return float(np.sqrt(np.mean(np.sum(lengths**2, axis=1))))


def _candidates(
    tree: _Tree, wanted: int, sigma_A: tuple[float, float], strain: float, is_new: IsNew | None,
    rng: np.random.Generator,
) -> list[_Candidate]:  # fmt: skip
    """Return up to so many rattled members that are worth a call."""
    chosen: list[_Candidate] = []
    for _ in range(_TRIED * wanted):
        parent = tree.parent(rng)
        sigma = float(np.exp(rng.uniform(*np.log(sigma_A))))
        rattled = _rattled(parent.structure, tree.members[0].structure, sigma, strain, rng)
        if tree.has_room(rattled) and not tree.is_like_a_member(rattled) and (is_new is None or is_new(rattled)):
            chosen.append(_Candidate(rattled, parent, sigma))
            if len(chosen) == wanted:
                break
    return chosen


def _rattled(
    parent: Structure, root: Structure, sigma: float, strain: float, rng: np.random.Generator
) -> Structure:  # fmt: skip
    """Return a parent with displaced atoms in the root's cell under a strain of its own."""
    moves = rng.normal(scale=sigma, size=(len(parent), 3))
    if not (strain > 0 and root.pbc.all() and root.volume > 0):
        return Structure(parent.numbers, parent.positions + moves, parent.cell, parent.pbc)
    tensor = rng.normal(scale=strain, size=(3, 3))
    tensor = np.triu(tensor) + np.triu(tensor, 1).T
    cell = root.cell @ (np.eye(3) + tensor)
    return Structure(parent.numbers, _fractions(parent) @ cell + moves, cell, parent.pbc)


def _step(candidate: _Candidate, forces: FloatArray, x: int) -> bool:
    """Move the atoms along the forces; tell whether there are any to move along."""
    size = float(np.sqrt(np.mean(forces**2)))
    if not 0.0 < size < np.inf:
        return False
    old = candidate.structure
    lengths = np.linalg.norm(forces, axis=1, keepdims=True) / size
    moves = (candidate.sigma / x / size) * forces * (_LONGEST / np.maximum(lengths, _LONGEST))
    positions = old.positions + moves
    candidate.structure = Structure(old.numbers, positions, old.cell, old.pbc)
    return True


def _allowed(root: Structure, separations: Separations, factor: float) -> MinimumSeparations:
    """Return the smallest distances; bonds of the root that are shorter may stay nearly as short."""
    allowed = MinimumSeparations(separations, factor)
    ratio, _ = allowed.ratio(root)
    return allowed if ratio * 0.9 >= 1 or separations is not None else MinimumSeparations(None, factor * 0.9 * ratio)


def _require(
    sigma_A: tuple[float, float], strain: float, temperature_K: float, relax_steps: int, batch: int, least: float
) -> None:
    """Raise for numbers that make no sense."""
    low, high = sigma_A
    if not 0 < low <= high < np.inf:
        raise InputError(f"are {low} and {high} Å; they must be above 0 and rise", field="sigma_A")
    if not 0 <= strain < 0.2:
        raise InputError(f"is {strain}; it must lie between 0 and 0.2", field="strain")
    if not 0 < temperature_K < np.inf:
        raise InputError(f"is {temperature_K} K; it must be above 0", field="temperature_K")
    if relax_steps < 0 or batch < 1:
        raise InputError("needs relax_steps from 0 on and a batch from 1 on", field="relax_steps")
    if not 0 <= least < high * np.sqrt(3):
        raise InputError(
            f"is {least} Å; displacements by σ up to {high} Å are about {high * np.sqrt(3):.2g} Å long, so it must be "
            "smaller", field="least_displacement_A",
        )  # fmt: skip


def _conclude(root: Structure, kept: int, count: int, tried: int, failures: Sequence[str], any_left: bool) -> None:
    """Say why a tree stays smaller than was asked for; raise where it has nothing but its root."""
    why = f"{tried} candidates were tried" if any_left else "no further candidate passed before its first call"
    if failures:
        why += f", {len(failures)} calls of the teacher failed, such as: {failures[0]}"
    said = f"rattle_relax_repeat of {root.formula} kept {kept} of {count} structures: {why}"
    if not kept:
        raise ForcewrightError(f"{said}; take smaller sigma_A or strain, or more energy_above_eV_per_atom")
    log.warning("%s", said)
