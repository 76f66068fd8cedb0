"""Short runs of dynamics from frames of the training data, hot and at zero pressure; how many survive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ase.data import atomic_masses, chemical_symbols, covalent_radii
from ase.geometry import find_mic
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from forcewright.errors import InputError
from forcewright.files import scratch_folder
from forcewright.force_field import ForceField
from forcewright.neighbors import find_neighbors
from forcewright.potential import Potential
from forcewright.simulation import DenseSettings, Monitors, Progress, RunSettings, Stage, TrajectorySettings, run
from forcewright.stability.holes import FAILURES, Clock, Hole, OutOfTimeError, closest_allowed
from forcewright.structure import Dataset, FloatArray, IntArray, Structure

MOST_ATOMS = 64
_HOTTER = 1.5  # times the temperature of runs at constant volume
_BONDED = 1.3  # sums of covalent radii within which atoms belong to one molecule
_LIGHT = 3.0  # u: hydrogen is followed in half as long steps
_GAP = 4.0  # Å without atoms along a cell vector: a slab, whose cell is not to relax


def runs(
    potential: Potential, dataset: Dataset, shortest: Mapping[str, float], kelvin: float, time_ps: float, count: int,
    seed: int, clock: Clock,
) -> Iterator[tuple[dict[str, Any], Hole | None]]:  # fmt: skip
    """Yield what became of each run as plain data, and the hole where it did not survive.

    Runs at constant volume (Langevin) and, in periodic cells, at zero pressure take turns.

    Raises
    ------
    OutOfTimeError
        If the time is over within a run.
    """
    force_field = ForceField.of_potential(potential, "the potential", "probed")
    few = [i for i, structure in enumerate(dataset.structures) if 1 < len(structure) <= MOST_ATOMS]
    for number in range(count):
        rng = np.random.default_rng([seed, 2, number])
        index = int(rng.choice(few if few else len(dataset)))
        start = _start(dataset[index].structure, rng)
        npt = number % 2 == 1 and bool(start.pbc.all()) and not _has_vacuum(start)
        stage = _stage(start, kelvin if npt else _HOTTER * kelvin, npt, time_ps)
        row = {
            "run": number, "frame": dataset[index].origin, "atoms": len(start), "ensemble": stage.ensemble,
            "temperature_K": stage.temperature_K[0] if stage.temperature_K else None,
        }  # fmt: skip
        yield _survives(force_field, start, stage, int(rng.integers(2**31)), shortest, row, clock)


def _stage(start: Structure, kelvin: float, npt: bool, time_ps: float) -> Stage:
    timestep = 0.5 if atomic_masses[start.numbers].min() < _LIGHT else 1.0
    held = {"ensemble": "npt", "pressure_GPa": 0.0} if npt else {"ensemble": "nvt", "thermostat": "langevin"}
    return Stage.model_validate({**held, "temperature_K": kelvin, "time_ps": time_ps, "timestep_fs": timestep})


def _survives(
    force_field: ForceField, start: Structure, stage: Stage, seed: int, shortest: Mapping[str, float],
    row: dict[str, Any], clock: Clock,
) -> tuple[dict[str, Any], Hole | None]:  # fmt: skip
    def in_time(progress: Progress) -> None:
        if clock.is_over:
            raise OutOfTimeError

    symbols = {chemical_symbols[z] for z in start.numbers}
    closest = {pair: d for pair, d in closest_allowed(shortest).items() if set(pair.split("-")) <= symbols}
    long = 1000.0 * (stage.time_ps or 0.0)  # fs: what nobody looks at is written at the end alone
    settings = RunSettings(
        trajectory=TrajectorySettings(every_fs=long), thermo_every_fs=long, checkpoint_every_steps=10**7,
        # outside of the training data is where holes are looked for
        monitors=Monitors(
            closest_A=closest, volume_factor=2.0, every_fs=10.0, extrapolation_factor="off", pair_distance="off"
        ),
        dense_frames=DenseSettings(count=0),
    )  # fmt: skip
    with scratch_folder("probe") as folder:
        try:
            result = run(force_field, start, [stage], folder / "run", seed=seed, settings=settings, on_progress=in_time)
        except InputError:
            raise
        except FAILURES as error:
            row = {**row, "survived": False, "time_ps": 0.0, "reason": str(error)}
            return row, Hole("dynamics", f"a run from {start.formula} fails: {error}", start)
    row = {**row, "survived": result.completed, "time_ps": result.time_ps, "reason": result.reason}
    if result.completed:
        return row, None
    where = f"{stage.ensemble.upper()} run of {start.formula} at {row['temperature_K']:g} K"
    blamed = () if result.alarm is None else result.alarm.atoms
    return row, Hole("dynamics", f"the {where} ends: {result.reason}", result.final.structure, blamed)


def _start(structure: Structure, rng: np.random.Generator) -> Structure:
    """Return a structure of at most `MOST_ATOMS` atoms: repeated where it is small, cut out where it is large."""
    if len(structure) > MOST_ATOMS:
        return _cut_out(structure, rng)
    if not structure.pbc.all():
        return structure
    repeats = np.ones(3, dtype=int)
    lengths = np.linalg.norm(structure.cell, axis=1)
    while True:
        more = repeats.copy()
        more[np.argmin(lengths * repeats)] += 1
        if len(structure) * more.prod() > MOST_ATOMS:
            break
        repeats = more
    return Structure.from_ase(structure.to_ase() * tuple(int(n) for n in repeats))


def _cut_out(structure: Structure, rng: np.random.Generator) -> Structure:
    """Return the molecules, or atoms of a network, nearest to an atom, as an open system."""
    center = int(rng.integers(len(structure)))
    molecule = _molecules(structure)
    offsets = structure.positions - structure.positions[center]
    if structure.pbc.any():
        offsets = _nearest_images(offsets, structure)
    order = np.argsort(np.linalg.norm(offsets, axis=1), kind="stable")
    sizes = np.bincount(molecule)
    chosen: list[int] = []
    if sizes.max() > MOST_ATOMS // 2:
        chosen = order[:MOST_ATOMS].tolist()
    else:
        for label in dict.fromkeys(molecule[order].tolist()):
            if len(chosen) + sizes[label] > MOST_ATOMS:
                break
            chosen += np.flatnonzero(molecule == label).tolist()
    first = {int(label): offsets[np.flatnonzero(molecule == label)[0]] for label in set(molecule[chosen].tolist())}
    positions = offsets[chosen].copy()
    if structure.pbc.any() and sizes.max() <= MOST_ATOMS // 2:  # every molecule around its first atom
        for k, atom in enumerate(chosen):
            anchor = first[int(molecule[atom])]
            positions[k] = anchor + _nearest_images((positions[k] - anchor)[None], structure)[0]
    return Structure(structure.numbers[chosen], positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))


def _nearest_images(vectors: FloatArray, structure: Structure) -> FloatArray:
    """Return the shortest of the periodic images of vectors (n, 3)."""
    shortest: Any = find_mic
    return np.asarray(shortest(vectors, structure.cell, structure.pbc)[0])


def _molecules(structure: Structure) -> IntArray:
    """Return the number of the molecule each atom belongs to (N,)."""
    radii = covalent_radii[structure.numbers]
    pairs = find_neighbors(structure, float(2 * _BONDED * radii.max()))
    bonded = pairs.distances < _BONDED * (radii[pairs.centers] + radii[pairs.indices])
    count = len(structure)
    graph = coo_array((np.ones(bonded.sum()), (pairs.centers[bonded], pairs.indices[bonded])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _has_vacuum(structure: Structure) -> bool:
    """Tell whether there is a gap without atoms along a cell vector."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
    for along, height in zip(np.linalg.solve(structure.cell.T, structure.positions.T), heights, strict=True):
        ordered = np.sort(along % 1.0)
        if float(np.diff(np.append(ordered, ordered[0] + 1.0)).max()) * height > _GAP:
            return True
    return False
