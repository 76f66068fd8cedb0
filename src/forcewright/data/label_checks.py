"""What the labels of a whole set give away: placeholders, atoms held fixed, charges, another zero, other units."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from forcewright.data.findings import Finding, locate
from forcewright.data.frame_checks import closest_pair
from forcewright.data.reference_energies import is_isolated_atom
from forcewright.neighbors import find_neighbors
from forcewright.structure import Dataset, FloatArray, Structure

#: Neighbors within this distance (Å) tell whether a site is symmetric; their pull in all directions together is zero
#: there, to this share of what one of them pulls.
_SITE_CUTOFF, _SYMMETRIC = 5.0, 1e-3
#: Energy per atom (eV) by which no solid or molecule is bound.
_STRONGEST = 15.0
#: Share of the sum of covalent radii below which some pair of every bound system lies, and frames that are looked at.
_BOUND, _LOOKED_AT = 1.4, 50
#: Forces over displacements (eV/Å²) outside of which no solid or molecule lies; copper has about 20.
_SOFTEST, _STIFFEST = 0.7, 150.0
_NOBLE = {2, 10, 18, 36, 54, 86}
_DECLARED = {
    "charge": ("charge", "total_charge", "net_charge"), "spin": ("multiplicity", "spin_multiplicity", "spin"),
    "level of theory": ("functional", "xc", "level_of_theory", "theory", "method", "calculator"),
}  # fmt: skip


def check_placeholders(dataset: Dataset) -> Iterator[Finding]:
    """Yield labels of exact zeros where there is something to pull: placeholders, and atoms that were held fixed."""
    empty: dict[str, list[int]] = {"energy": [], "forces": [], "stress": []}
    held: dict[int, int] = {}
    for index, (structure, labels, _) in enumerate(dataset):
        if len(structure) < 2:
            continue
        if labels.energy == 0.0 and not _is_zeroed(labels.forces):
            empty["energy"].append(index)
        zero_rows = np.zeros(0, dtype=bool) if labels.forces is None else ~labels.forces.any(axis=1)
        if zero_rows.any():
            pulled = zero_rows & ~symmetric_sites(structure)
            if zero_rows.all() and pulled.any():
                empty["forces"].append(index)
            elif pulled.any():
                held[index] = int(pulled.sum())
        no_stress = labels.stress is not None and not labels.stress.any() and structure.pbc.all()
        if no_stress and ((labels.forces is not None and labels.forces.any()) or not symmetric_sites(structure).all()):
            empty["stress"].append(index)
    counts = dataset.count_labels()
    for name, indices in empty.items():
        if indices:
            plural = "have forces" if name == "forces" else f"have {'an' if name == 'energy' else 'a'} {name}"
            message = (
                f"{len(indices)} of {counts[name]} frames {plural} of exact zeros though their atoms stand in no "
                "symmetric places (this is the first); zeros that stand for nothing are labels to a fit: leave them out"
            )
            yield Finding("warning", "placeholder", message, field=name, **locate(dataset[indices[0]], indices[0]))
    if held:
        first = min(held)
        message = (
            f"{held[first]} atoms feel forces of exactly zero while others do not ({len(held)} frames, this is the "
            "first): atoms that were held fixed? Their forces are no labels; compute them without constraints"
        )
        yield Finding("warning", "constrained atoms", message, field="forces", **locate(dataset[first], first))


def _is_zeroed(forces: FloatArray | None) -> bool:
    return forces is not None and not forces.any()


def symmetric_sites(structure: Structure) -> NDArray[np.bool_]:
    """Return which atoms (N,) feel no force by symmetry, as far as their neighbors tell."""
    pairs = find_neighbors(structure, _SITE_CUTOFF)
    if not len(pairs.indices):
        return np.ones(len(structure), dtype=bool)
    distances = pairs.distances
    # any smooth function of distance and element pulls equally from all sides at a symmetric site
    strength = np.exp(-distances) * (1 + 0.01 * structure.numbers[pairs.indices]) * (1 - distances / _SITE_CUTOFF) ** 2
    pull = np.zeros((len(structure), 3))
    np.add.at(pull, pairs.centers, pairs.vectors * (strength / np.maximum(distances, 1e-9))[:, None])
    strongest = np.zeros(len(structure))
    np.maximum.at(strongest, pairs.centers, strength)
    return np.asarray(np.linalg.norm(pull, axis=1) <= _SYMMETRIC * strongest)


def check_declared(dataset: Dataset) -> Iterator[Finding]:
    """Yield charges, spins and methods that frames declare and that differ within the set."""
    for what, keys in _DECLARED.items():
        for key in sorted({key for labels in dataset.labels for key in labels.info if key.lower() in keys}):
            said = [labels.info.get(key) for labels in dataset.labels]
            plain = [value for value in said if isinstance(value, str | int | float)]
            counted = Counter(map(str, plain))
            if len(counted) < 2:
                continue
            usual = counted.most_common(1)[0][0]
            first = next(i for i, value in enumerate(said) if value is not None and str(value) != usual)
            listed = ", ".join(f"{value} in {count} frames" for value, count in counted.most_common(5))
            message = (
                f"frames differ in their {what} ({listed}), of which a potential knows nothing; keep those of one kind"
            )
            yield Finding("warning", f"mixed {what}", message, field=key, **locate(dataset[first], first))


def check_zero_of_energy(dataset: Dataset) -> Iterator[Finding]:
    """Yield isolated atoms whose energies count from another zero than those of the other frames."""
    alone: dict[int, tuple[int, float]] = {}
    for index, frame in enumerate(dataset):
        if is_isolated_atom(frame) and frame.labels.energy is not None and np.isfinite(frame.labels.energy):
            alone.setdefault(int(frame.structure.numbers[0]), (index, frame.labels.energy))
    binding = [
        (sum(alone[int(z)][1] for z in structure.numbers) - labels.energy) / len(structure)
        for structure, labels, _ in dataset
        if len(structure) > 1 and labels.energy is not None and all(int(z) in alone for z in structure.numbers)
    ]
    if len(binding) < 4:
        return
    strongest = float(np.max(binding))
    if 0 < strongest < _STRONGEST:
        return
    names = ", ".join(f"{chemical_symbols[z]} {energy:.6g} eV" for z, (_, energy) in alone.items())
    index = next(iter(alone.values()))[0]
    problem = "no frame is bound" if strongest <= 0 else f"frames are bound by up to {strongest:.4g} eV/atom"
    message = (
        f"{problem} against the isolated atoms ({names}): do they count from another zero, or stem from another "
        "method? Compute them with the settings of the data, or leave them out"
    )
    yield Finding("warning", "zero of energy", message, field="energy", **locate(dataset[index], index))


def check_lengths(dataset: Dataset) -> Iterator[Finding]:
    """Yield a set in which no two atoms are within bonding distance: positions in Bohr."""
    frames = [i for i, structure in enumerate(dataset.structures) if len(structure) > 1 or structure.pbc.all()]
    frames = [i for i in frames if not is_isolated_atom(dataset[i])]
    if len(frames) < 4 or set(dataset.species) <= _NOBLE:
        return
    some = [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, _LOOKED_AT).astype(int))]
    if any(_is_bound(dataset[i].structure) for i in some):
        return
    message = (
        f"no two atoms are nearer than {_BOUND:g} times the sum of their covalent radii, in any of {len(some)} frames; "
        "are positions and cell in Å? In Bohr all distances are 1.89 times too long"
    )
    file = dataset[frames[0]].origin.rpartition("#")[0] or None
    yield Finding("warning", "unit of length", message, file=file, field="positions")


def _is_bound(structure: Structure) -> bool:
    if not (np.isfinite(structure.positions).all() and np.isfinite(structure.cell).all()):
        return True  # told elsewhere
    try:
        return closest_pair(structure, _BOUND) is not None
    except ValueError:
        return True


def check_stiffness(dataset: Dataset) -> Iterator[Finding]:
    """Yield a note where forces are far weaker, or stronger, than the distances between neighbors let expect."""
    nearest: dict[tuple[str, int], list[float]] = defaultdict(list)
    squares: list[float] = []
    for structure, labels, _ in dataset:
        if labels.forces is None or not labels.forces.any() or len(structure) < 2 or len(squares) >= _LOOKED_AT:
            continue
        pairs = find_neighbors(structure, _SITE_CUTOFF)
        shortest = np.full(len(structure), np.inf)
        np.minimum.at(shortest, pairs.centers, pairs.distances)
        for z in np.unique(structure.numbers):
            those = shortest[structure.numbers == z]
            nearest[labels.group, int(z)] += those[np.isfinite(those)].tolist()
        squares.append(float(np.mean(labels.forces**2)))
    spreads = [np.std(values) for values in nearest.values() if len(values) >= _LOOKED_AT]
    spread = float(np.median(spreads)) if spreads else 0.0
    if len(squares) < 8 or spread < 0.01 or set(dataset.species) <= _NOBLE:
        return
    force = float(np.sqrt(3 * np.median(squares)))  # a few atoms far too close must not speak for all
    stiffness = force / spread
    if _SOFTEST < stiffness < _STIFFEST:
        return
    unit = "Hartree/Bohr, Rydberg/Bohr or meV/Å" if stiffness <= _SOFTEST else "kcal/mol/Å, kJ/mol/Å or meV/Å"
    message = (
        f"forces of {force:.2g} eV/Å on average, where distances to the nearest neighbor vary by {spread:.2g} Å, are "
        f"unusually {'weak' if stiffness <= _SOFTEST else 'strong'}; are they, and the energies, in {unit}?"
    )
    yield Finding("note", "unit of force", message, file=dataset[0].origin.rpartition("#")[0] or None, field="forces")
