"""Several models on several sets: errors by set, family, group, element and atom, and who is ahead of whom.

A model may have several seeds: its error is the mean over them of the root mean square error over frames. What is told
of an atom is the root mean square over seeds of the length of its force error.

==========  ==============  ==========================================================
symbol      shape           meaning
==========  ==============  ==========================================================
s           number          seeds of a model
M, A        numbers         frames of a set, and atoms in all of them together
==========  ==============  ==========================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.accuracy.alignment import Alignment, aligned, aligned_per_element
from forcewright.accuracy.atom_errors import AtomTable, share_of_worst
from forcewright.accuracy.parity import locate
from forcewright.accuracy.profiles import Profile, profile
from forcewright.accuracy.ranking import Sampled, draw_frames, rank, sampled_rmse
from forcewright.errors import InputError
from forcewright.structure import Dataset, FloatArray, IntArray, count_species

_WORST = 5  # atoms of each model and set that are named
_CONCENTRATED = 0.5  # share of the squared errors in two atoms of a molecule that is warned of
_UNEVEN = 2.5  # times what two atoms would have if all were alike
EVERYTHING = "all sets"

#: what is told of each model and set, with its unit
QUANTITIES: tuple[tuple[str, str, str], ...] = (
    ("energy", "energy_rmse_meV_per_atom", "meV/atom"), ("forces", "force_rmse_eV_per_A", "eV/Å"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """A set of frames with the labels of a reference.

    Attributes
    ----------
    name, family
        What it is called, and what sets it belongs to.
    dataset
        Its frames.
    alignment
        How energies of a model are made comparable.
    path
        Whether its frames are the points of a reaction, in their order.
    same_atoms
        Whether atoms of one index are the same in all frames; seen from the bonds where not said.
    """

    name: str
    family: str
    dataset: Dataset
    alignment: Alignment = "none"
    path: bool = False
    same_atoms: bool | None = None

    @cached_property
    def atoms(self) -> AtomTable:
        """Its atoms."""
        return AtomTable.of(self.dataset.structures, self.same_atoms)

    @cached_property
    def sizes(self) -> FloatArray:
        """Atoms of each frame (M,)."""
        return np.array([len(structure) for structure in self.dataset.structures], dtype=np.float64)

    @cached_property
    def energies(self) -> FloatArray:
        """Energies (M,) in eV, NaN where there is none."""
        return np.array([np.nan if x.energy is None else x.energy for x in self.dataset.labels])

    @cached_property
    def forces(self) -> FloatArray:
        """Forces (A, 3) in eV/Å, NaN where there are none."""
        return stacked_forces([x.forces for x in self.dataset.labels], self.sizes)

    def composition(self, species: Sequence[int]) -> FloatArray:
        """Return how many atoms of each element each frame has (M, S)."""
        return np.array([count_species(structure, species) for structure in self.dataset.structures])


@dataclass(frozen=True, eq=False)
class ModelPredictions:
    """Energies (s, M) in eV and forces (s, A, 3) in eV/Å of a model on a set; NaN where it says nothing."""

    energies: FloatArray
    forces: FloatArray


def stacked_forces(forces: Sequence[FloatArray | None], sizes: FloatArray) -> FloatArray:
    """Return the forces of all frames (A, 3) one below the other, NaN for frames without."""
    parts = [
        np.full((int(size), 3), np.nan) if part is None else part for part, size in zip(forces, sizes, strict=True)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, 3))


@dataclass(frozen=True, eq=False)
class _Errors:
    """Errors of a model on a set: of energies per atom (s, M) in eV, of forces (s, A, 3)."""

    energy: FloatArray
    forces: FloatArray

    @cached_property
    def lengths(self) -> FloatArray:
        """Length of the force error of each atom (A,), root mean square over seeds."""
        return np.asarray(np.sqrt(np.mean(np.sum(self.forces**2, axis=2), axis=0)))

    def squares(self, quantity: str, frame: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return summed squared errors (s, M) of a quantity, and how many were summed (M,)."""
        if quantity == "energy":
            known = np.asarray(np.isfinite(self.energy).all(axis=0))
            return np.asarray(np.where(known, 1e6 * self.energy**2, 0.0)), known.astype(np.float64)
        of_atom = np.sum(self.forces**2, axis=2)
        known = np.isfinite(of_atom).all(axis=0)
        frames = self.energy.shape[1]
        sums = [np.bincount(frame[known], weights=seed[known], minlength=frames) for seed in of_atom]
        counts: FloatArray = 3.0 * np.bincount(frame[known], minlength=frames).astype(np.float64)
        return np.array(sums), counts


@dataclass(frozen=True, eq=False)
class Assessment:
    """What models are off by.

    Attributes
    ----------
    sets
        By name.
    rows
        A row for each model and set.
    families, groups, elements
        A row for each model and family of sets, group of a set, and element of a set.
    rankings
        By family (and `EVERYTHING`), then by quantity: rows of `forcewright.accuracy.ranking.rank`.
    atoms
        By set and model: length of the force error of each atom (A,) in eV/Å.
    worst
        The worst atoms of each model and set.
    profiles
        By set that is a path: curves relative to the first frame in eV (M,) and what they tell, by model; that of the
        reference is under None.
    warnings
        What a mean over a set would hide, in sentences.
    """

    sets: Mapping[str, LabelledSet]
    rows: list[dict[str, Any]] = field(default_factory=list)
    families: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    elements: list[dict[str, Any]] = field(default_factory=list)
    rankings: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    atoms: dict[str, dict[str, FloatArray]] = field(default_factory=dict)
    worst: list[dict[str, Any]] = field(default_factory=list)
    profiles: dict[str, dict[str | None, tuple[FloatArray, Profile | None]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def assess_models(
    sets: Sequence[LabelledSet], predictions: Mapping[str, Mapping[str, ModelPredictions]], rng: np.random.Generator
) -> Assessment:
    """Compare predictions with the labels of sets.

    Parameters
    ----------
    sets
        With one name each.
    predictions
        By model, then by set; a model need not have all sets.
    rng
        Draws frames and seeds for the intervals.

    Raises
    ------
    InputError
        If the energies of a set cannot be aligned as asked; names file and frame.
    """
    by_name = {part.name: part for part in sets}
    made = Assessment(by_name)
    errors = {model: _errors_of(by_name, by_set) for model, by_set in predictions.items()}
    drawn = {part.name: draw_frames(len(part.dataset), rng) for part in sets}
    sampled: dict[str, dict[str, dict[str, Sampled]]] = {quantity: {} for quantity, _, _ in QUANTITIES}
    for model, by_set in errors.items():
        for name, off in by_set.items():
            row, of_quantity = _row(by_name[name], model, off, drawn[name], rng)
            made.rows.append(row)
            made.atoms.setdefault(name, {})[model] = off.lengths
            made.groups.extend(_by_group(by_name[name], model, off))
            made.elements.extend(_by_element(by_name[name], model, off))
            made.worst.extend(_worst_atoms(by_name[name], model, off))
            for quantity, value in of_quantity.items():
                sampled[quantity].setdefault(model, {})[name] = value
        made.families.extend(_by_family(by_name, model, by_set, drawn, rng))
    made.warnings.extend(_hidden(made))
    for family, names in {**_families(sets), EVERYTHING: [part.name for part in sets]}.items():
        ranked = {q: rank(_complete(sampled[q], names)) for q, _, _ in QUANTITIES}
        if any(ranked.values()):
            made.rankings[family] = ranked
    for part in sets:
        if part.path:
            made.profiles[part.name] = _profiles(part, {m: p[part.name] for m, p in predictions.items()
                                                        if part.name in p})  # fmt: skip
    return made


def _complete(sampled: Mapping[str, Mapping[str, Sampled]], names: Sequence[str]) -> dict[str, dict[str, Sampled]]:
    """Return the errors of models that have all of some sets, or all of those that any model has."""
    some = [name for name in names if any(name in by_set for by_set in sampled.values())]
    return {
        model: {name: by_set[name] for name in some}
        for model, by_set in sampled.items()
        if some and all(name in by_set for name in some)
    }


def _families(sets: Sequence[LabelledSet]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for part in sets:
        members.setdefault(part.family, []).append(part.name)
    return members


def _errors_of(sets: Mapping[str, LabelledSet], predictions: Mapping[str, ModelPredictions]) -> dict[str, _Errors]:
    """Return the errors of a model on its sets, energies aligned."""
    jointly = [name for name in predictions if sets[name].alignment == "per_element"]
    species = sorted({z for name in predictions for z in sets[name].dataset.species})
    composition = {name: sets[name].composition(species) for name in predictions}
    differences = {name: predictions[name].energies - sets[name].energies for name in predictions}
    energy = {name: np.empty_like(part) for name, part in differences.items()}
    seeds = max((len(part) for part in differences.values()), default=0)
    for seed in range(seeds):
        together = [name for name in jointly if seed < len(differences[name])]
        parts = aligned_per_element([differences[name][seed] for name in together], [composition[n] for n in together])
        for name, part in zip(together, parts, strict=True):
            energy[name][seed] = part
        for name in predictions:
            if name not in jointly and seed < len(differences[name]):
                try:
                    energy[name][seed] = aligned(differences[name][seed], composition[name], sets[name].alignment)
                except InputError as error:
                    file, frame = locate(sets[name].dataset, error.frame or 0)
                    raise InputError(error.problem, file=file, frame=frame, field=error.field) from None
    return {
        name: _Errors(energy[name] / sets[name].sizes, predictions[name].forces - sets[name].forces)
        for name in predictions
    }


def _row(
    part: LabelledSet, model: str, off: _Errors, drawn: FloatArray, rng: np.random.Generator
) -> tuple[dict[str, Any], dict[str, Sampled]]:
    row: dict[str, Any] = {
        "model": model, "set": part.name, "family": part.family, "frames": len(part.dataset),
        "seeds": len(off.energy), "alignment": part.alignment,
    }  # fmt: skip
    sampled = {}
    for quantity, key, _ in QUANTITIES:
        squares, counts = off.squares(quantity, part.atoms.frame)
        value = sampled_rmse(squares, counts, drawn, rng)
        row |= _described(key, value)
        if value is not None:
            sampled[quantity] = value
    row["energy_mae_meV_per_atom"] = _known(1e3 * _mean(np.abs(off.energy)))
    row["force_mae_eV_per_A"] = _known(_mean(np.abs(off.forces)))
    row["force_slope"] = _slope(part.forces, off.forces)
    row |= _concentration(part, off)
    return row, sampled


def _slope(forces: FloatArray, errors: FloatArray) -> float | None:
    """Return the slope of predicted forces on the reference's, through the origin: below 1 a model is too soft.

    ``forces`` (A, 3) are the reference's, ``errors`` (s, A, 3) those of each seed, whose mean slope it is.
    """
    known = np.isfinite(errors).all(axis=0) & np.isfinite(forces)
    squares = float(np.sum(forces[known] ** 2))
    return (
        None
        if not squares
        else 1.0 + float(np.mean([np.sum(seed[known] * forces[known]) for seed in errors])) / squares
    )


def _described(key: str, value: Sampled | None) -> dict[str, Any]:
    if value is None:
        return {key: None, f"{key}_standard_error": None, f"{key}_by_seed": None}
    return {
        key: value.value, f"{key}_standard_error": _known(value.standard_error),
        f"{key}_by_seed": list(value.by_seed) if len(value.by_seed) > 1 else None,
    }  # fmt: skip


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _concentration(part: LabelledSet, off: _Errors) -> dict[str, Any]:
    """Return the share of the squared force errors that the two worst atoms of a molecule have, and the worst atom."""
    squares = off.lengths**2
    if not np.isfinite(squares).any():
        names = ("two_worst_atoms_share", "even_share", "worst_atoms", "largest_force_error_eV_per_A")
        return dict.fromkeys(names)
    worst, share = None, _mean(np.array([share_of_worst(part) for part in _of_frames(part, squares)]))
    if part.atoms.same:
        of_index = part.atoms.by_index(squares)
        first_two = np.argsort(-np.nan_to_num(of_index, nan=-1.0), kind="stable")[:2]
        worst, share = ", ".join(part.atoms.name(int(i)) for i in first_two), share_of_worst(of_index)
    return {
        "two_worst_atoms_share": _known(share), "even_share": float(np.mean(np.minimum(1.0, 2.0 / part.sizes))),
        "worst_atoms": worst, "largest_force_error_eV_per_A": float(np.nanmax(off.lengths)),
    }  # fmt: skip


def _of_frames(part: LabelledSet, values: FloatArray) -> list[FloatArray]:
    """Return values of atoms (A,) frame by frame."""
    return np.split(values, np.cumsum(part.sizes.astype(int))[:-1])


def _by_group(part: LabelledSet, model: str, off: _Errors) -> Iterator[dict[str, Any]]:
    groups = np.array(part.dataset.groups)
    if len(set(part.dataset.groups)) < 2:
        return
    sums = {key: off.squares(quantity, part.atoms.frame) for quantity, key, _ in QUANTITIES}
    for group in part.dataset.group_sizes:
        at = groups == group
        row: dict[str, Any] = {"model": model, "set": part.name, "group": group, "frames": int(at.sum())}
        for key, (squares, counts) in sums.items():
            count = float(counts[at].sum())
            row[key] = float(np.sqrt(squares[:, at].sum(axis=1) / count).mean()) if count else None
        yield row


def _by_element(part: LabelledSet, model: str, off: _Errors) -> Iterator[dict[str, Any]]:
    for z in part.dataset.species:
        at = part.atoms.numbers == z
        errors, lengths = off.forces[:, at], off.lengths[at]
        if np.isfinite(lengths).any():
            known = errors[:, np.isfinite(lengths)]
            yield {
                "model": model, "set": part.name, "element": chemical_symbols[z], "atoms": known.shape[1],
                "force_rmse_eV_per_A": float(np.sqrt((known**2).mean(axis=(1, 2))).mean()),
                "force_mae_eV_per_A": float(np.abs(known).mean()),
                "largest_force_error_eV_per_A": float(np.nanmax(lengths)),
            }  # fmt: skip


def _worst_atoms(part: LabelledSet, model: str, off: _Errors) -> Iterator[dict[str, Any]]:
    lengths = off.lengths
    order = np.argsort(-np.nan_to_num(lengths, nan=-1.0), kind="stable")[:_WORST]
    for atom in map(int, order):
        if not lengths[atom] > 0:
            return
        frame = int(part.atoms.frame[atom])
        file, number = locate(part.dataset, frame)
        inside = lengths[part.atoms.frame == frame]
        yield {
            "model": model, "set": part.name, "atom": part.atoms.name(atom), "file": file, "frame": number,
            "formula": part.dataset[frame].structure.formula, "force_error_eV_per_A": float(lengths[atom]),
            "reference_force_eV_per_A": float(np.linalg.norm(part.forces[atom])),
            "share_of_frame": float(lengths[atom] ** 2 / np.nansum(inside**2)),
        }  # fmt: skip


def _by_family(
    sets: Mapping[str, LabelledSet], model: str, errors: Mapping[str, _Errors], drawn: Mapping[str, FloatArray],
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    for family, names in _families(list(sets.values())).items():
        here = [name for name in names if name in errors]
        seeds = {len(errors[name].energy) for name in here}
        if not here or len(seeds) > 1:
            continue
        row: dict[str, Any] = {
            "model": model, "family": family, "sets": len(here), "of": len(names),
            "frames": sum(len(sets[name].dataset) for name in here),
        }  # fmt: skip
        draws = np.concatenate([drawn[name] for name in here], axis=1)
        for quantity, key, _ in QUANTITIES:
            parts = [errors[name].squares(quantity, sets[name].atoms.frame) for name in here]
            squares, counts = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
            row |= _described(key, sampled_rmse(squares, counts, draws, rng))
        yield row


def _hidden(made: Assessment) -> Iterator[str]:
    """Yield what the mean over a set hides: molecules in which two atoms have most of the error."""
    for row in made.rows:
        share, even = row["two_worst_atoms_share"], row["even_share"]
        if row["worst_atoms"] and share and share > _CONCENTRATED and share > _UNEVEN * even:
            yield (
                f"{row['model']} on {row['set']}: two atoms, {row['worst_atoms']}, have {100 * share:.0f} % of the "
                f"squared force error (an even share is {100 * even:.0f} %)"
            )


def _profiles(
    part: LabelledSet, predictions: Mapping[str, ModelPredictions]
) -> dict[str | None, tuple[FloatArray, Profile | None]]:
    curves: dict[str | None, FloatArray] = {None: part.energies}
    curves |= {model: predicted.energies.mean(axis=0) for model, predicted in predictions.items()}
    return {model: (curve - curve[0], profile(curve)) for model, curve in curves.items() if np.isfinite(curve).any()}
