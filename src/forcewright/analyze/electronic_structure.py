"""Electronic densities of states along a trajectory, by a model of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.analyze.cutoff import Cutoff, bonded
from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.properties.density_of_states import cumulative
from forcewright.properties.dos_model import DosModel
from forcewright.properties.electrons import electronic_state
from forcewright.structure import FloatArray
from forcewright.trajectory import Frames

_log = logging.getLogger(__name__)

_MOST = 24  # neighbors that are told apart
_RARE = 0.01  # share of the atoms of a species below which a class is joined to the next


@dataclass(frozen=True, eq=False)
class ElectronicDensity(Result):
    """Densities of states over the frames; see `dos`.

    ======================  =========================================================================================
    energies_eV             energies (m,) as the model counts them
    mean                    mean density per atom (m,) in states/eV
    deviation               its standard deviation over the frames (m,)
    by_coordination         mean density of an atom (m,) by class of its number of neighbors, and by species where
                            there are several
    share                   share of the atoms in each class
    time_ps                 times (F,); not a number where the trajectory has none
    fermi_level_eV          Fermi level of each frame (F,)
    band_energy_eV          band energy per atom (F,)
    at_fermi_level          density per atom at the Fermi level (F,) in states/eV
    shares                  share of the atoms in each class, by frame (F,)
    at_fermi_by_class       mean density of an atom of each class at the Fermi level (F,) in states/eV; not a number in
                            frames without such an atom
    charges_by_class        mean charge of an atom of each class, in electrons in excess
    fermi_level_error_eV    standard error of the Fermi level (F,) against a calculation; empty where not asked for
    band_energy_error_eV    standard error of the band energy per atom (F,); empty where not asked for
    cutoff                  longest bonds in Å, for pairs of species
    mean_...                means over the frames
    frames                  number of frames
    ======================  =========================================================================================
    """

    units = {
        "cutoff": "Å", "charges_by_class": "e", "mean_fermi_level_eV": "eV", "mean_band_energy_eV": "eV per atom",
        "mean_dos_at_fermi_level": "states/eV per atom",
    }  # fmt: skip

    energies_eV: FloatArray
    mean: FloatArray
    deviation: FloatArray
    by_coordination: dict[str, FloatArray]
    share: dict[str, float]
    time_ps: FloatArray
    fermi_level_eV: FloatArray
    band_energy_eV: FloatArray
    at_fermi_level: FloatArray
    shares: dict[str, FloatArray]
    at_fermi_by_class: dict[str, FloatArray]
    charges_by_class: dict[str, float]
    fermi_level_error_eV: FloatArray
    band_energy_error_eV: FloatArray
    mean_fermi_level_eV: float
    mean_band_energy_eV: float
    mean_dos_at_fermi_level: float
    cutoff: dict[tuple[str, str], float]
    frames: int

    def _draw(self, ax: Axes) -> None:
        from matplotlib.figure import Figure

        figure, known = ax.figure, [ax]
        if (
            isinstance(figure, Figure) and figure.axes == [ax] and self.frames > 1
        ):  # a figure of its own: what changes goes beside the mean
            figure.set_size_inches(9.6, 3.6)
            grid = figure.add_gridspec(1, 2)
            ax.set_subplotspec(grid[0])
            known.append(figure.add_subplot(grid[1]))
        energies = self.energies_eV - self.mean_fermi_level_eV
        ax.fill_between(energies, self.mean, color="0.88", label="all atoms")
        for name, density in self.by_coordination.items():
            ax.plot(energies, density, lw=1.2, label=f"{name}: {100 * self.share[name]:.0f} %")
        ax.axvline(0.0, color="0.6", lw=0.8, ls=":")
        ax.set(xlabel="energy from the mean Fermi level (eV)", ylabel="states/eV per atom", ylim=(0, None))
        ax.set_title("neighbors and share of atoms", fontsize="medium")
        ax.legend(frameon=False, fontsize="small")
        if len(known) == 1:
            return
        timed = bool(np.isfinite(self.time_ps).all())
        x = self.time_ps if timed else np.arange(self.frames)
        level, energy = known[1], known[1].twinx()
        level.plot(x, self.fermi_level_eV, color="C0", lw=1.2)
        energy.plot(x, self.band_energy_eV, color="C3", lw=1.2)
        level.set(xlabel="time (ps)" if timed else "frame", ylabel="Fermi level (eV), blue")
        energy.set(ylabel="band energy (eV per atom), red")
        energy.spines["right"].set_visible(True)


def dos(
    frames: Frames, model: Any, cutoff: Cutoff = None, errors: bool = False, classes: tuple[int, int] | None = None
) -> ElectronicDensity:  # fmt: skip
    """Average densities of states, of all atoms and by coordination; follow Fermi level and band energy.

    Densities are averaged at the energies that the model counts, as they are. The Fermi level follows from the density
    of each frame and its number of electrons.

    Parameters
    ----------
    frames
        With periodic or open directions; cells of any size.
    model
        Folder of a model of densities of states or of its study (`forcewright tune` with a target that has a grid), or
        the model itself.
    cutoff
        Longest bond in Å that counts a neighbor, as in `coordination`.
    errors
        Whether standard errors of Fermi level and band energy are computed, which takes as long again.
    classes
        Smallest and largest number of neighbors that are told apart; fewer and more join these. Where not given,
        numbers at either end that less than 1 % of the atoms have join the next.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, the model cannot be read or does not know an element, or a
        density does not hold the electrons.
    """
    if classes is not None and not 0 <= classes[0] < classes[1] <= _MOST:
        raise InputError(f"are {classes}; give two numbers of neighbors, the smaller first, up to {_MOST}",
                         field="classes")  # fmt: skip
    known = model if isinstance(model, DosModel) else _load(model)
    bonds, stream = bonded(frames, cutoff)
    grid, species = known.grid, bonds.species
    tally = _Tally(len(species), grid.count)
    total, squares = np.zeros(grid.count), np.zeros(grid.count)
    times: list[float] = []
    states: list[tuple[float, float, float]] = []
    wrong: list[tuple[float, float]] = []
    for index, snapshot in enumerate(stream):
        structure = snapshot.structure
        try:
            local = known.local(structure)
            density = local.sum(axis=0)
            state = electronic_state(grid, density, known.electrons_of(structure), 0.0)
        except InputError as error:
            raise InputError(error.problem, frame=index, field=error.field or "model") from None
        count = len(structure)
        total += density / count
        squares += (density / count) ** 2
        times.append(np.nan if snapshot.time is None else snapshot.time / 1000.0)
        states.append((state.fermi, state.band_energy / count, state.at_fermi / count))
        if errors:
            derived = known.derived_errors(structure, state)
            wrong.append((derived["fermi"], derived["band_energy"]))
        neighbors = np.diff(bonds.neighbors(structure).starts)
        tally.add(bonds.kinds(structure), neighbors, local, _at(grid.points, local, state.fermi),
                  known.charges(structure, local))  # fmt: skip
    number = len(times)
    mean = total / number
    followed, of_errors = np.array(states), np.array(wrong).reshape(-1, 2)
    beyond = float(cumulative(grid, mean)[-1] * count - known.electrons_of(structure)) / count
    if beyond < 0.05:
        _log.warning("the grid holds only %.3f states per atom above the Fermi level", beyond)
    names, parts = tally.classes(species, classes)
    return ElectronicDensity(
        energies_eV=grid.points, mean=mean, deviation=np.sqrt(np.maximum(squares / number - mean**2, 0.0)),
        by_coordination={name: tally.mean(part) for name, part in zip(names, parts, strict=True)},
        share={name: tally.share(part) for name, part in zip(names, parts, strict=True)},
        time_ps=np.array(times), fermi_level_eV=followed[:, 0], band_energy_eV=followed[:, 1],
        at_fermi_level=followed[:, 2],
        shares={name: tally.shares(part) for name, part in zip(names, parts, strict=True)},
        at_fermi_by_class={name: tally.at_fermi(part) for name, part in zip(names, parts, strict=True)},
        charges_by_class={name: tally.charge(part) for name, part in zip(names, parts, strict=True)},
        fermi_level_error_eV=of_errors[:, 0], band_energy_error_eV=of_errors[:, 1],
        mean_fermi_level_eV=float(followed[:, 0].mean()), mean_band_energy_eV=float(followed[:, 1].mean()),
        mean_dos_at_fermi_level=float(followed[:, 2].mean()), cutoff=bonds.table, frames=number,
    )  # fmt: skip


def _load(folder: Any) -> DosModel:
    if not isinstance(folder, str | Path):
        raise InputError(f"is a {type(folder).__name__}; give the folder of a model of densities of states",
                         field="model")  # fmt: skip
    return DosModel.load(folder)


def _at(points: FloatArray, local: FloatArray, energy: float) -> FloatArray:
    """Return the densities (N,) of atoms at an energy."""
    index = int(np.clip(np.searchsorted(points, energy) - 1, 0, len(points) - 2))
    part = (energy - points[index]) / (points[index + 1] - points[index])
    return np.asarray((1.0 - part) * local[:, index] + part * local[:, index + 1])


class _Tally:
    """Sums over atoms by species and number of neighbors, frame by frame."""

    def __init__(self, species: int, points: int) -> None:
        self.local = np.zeros((species, _MOST + 1, points))
        self.charges = np.zeros((species, _MOST + 1))
        self.counts: list[FloatArray] = []  # (species, numbers) of each frame
        self.levels: list[FloatArray] = []

    def add(self, kinds: Any, neighbors: Any, local: FloatArray, at_fermi: FloatArray, charges: FloatArray) -> None:
        where = kinds, np.minimum(neighbors, _MOST)
        shape = self.charges.shape
        np.add.at(self.local, where, local)
        np.add.at(self.charges, where, charges)
        counts, levels = np.zeros(shape), np.zeros(shape)
        np.add.at(counts, where, 1.0)
        np.add.at(levels, where, at_fermi)
        self.counts.append(counts)
        self.levels.append(levels)

    def classes(self, species: tuple[str, ...], ends: tuple[int, int] | None) -> tuple[list[str], list[Any]]:
        """Return names and masks (species, numbers) of classes; those beyond ends, or rare ones, join the next."""
        counts = np.sum(self.counts, axis=0)
        names, masks = [], []
        for kind, symbol in enumerate(species):
            first, last = counts[kind].nonzero()[0][[0, -1]] if ends is None else (0, _MOST)
            for low, high in _joined(counts[kind]) if ends is None else _by_class(counts[kind], *ends):
                mask = np.zeros(counts.shape, dtype=bool)
                mask[kind, low : high + 1] = True
                number = str(low) if low == high else f"{high} or fewer" if low == first else f"{low} or more"
                if first == low and high == last and low < high:
                    number = f"{low} to {high}"
                names.append(number if len(species) == 1 else f"{symbol} {number}")
                masks.append(mask)
        return names, masks

    def mean(self, mask: Any) -> FloatArray:
        return np.asarray(self.local[mask].sum(axis=0) / np.sum(self.counts, axis=0)[mask].sum())

    def charge(self, mask: Any) -> float:
        return round(float(self.charges[mask].sum() / np.sum(self.counts, axis=0)[mask].sum()), 9)

    def share(self, mask: Any) -> float:
        return float(np.sum(self.counts, axis=0)[mask].sum() / np.sum(self.counts))

    def shares(self, mask: Any) -> FloatArray:
        return np.array([counts[mask].sum() / counts.sum() for counts in self.counts])

    def at_fermi(self, mask: Any) -> FloatArray:
        pairs = [(levels[mask].sum(), counts[mask].sum())
                 for levels, counts in zip(self.levels, self.counts, strict=True)]  # fmt: skip
        return np.array([level / count if count else np.nan for level, count in pairs])


def _by_class(counts: FloatArray, least: int, most: int) -> list[tuple[int, int]]:
    """Return the first and last number of neighbors of each class that has atoms, with everything beyond two ends."""
    classes = [(0, least), *((number, number) for number in range(least + 1, most)), (most, _MOST)]
    return [(low, high) for low, high in classes if counts[low : high + 1].any()]


def _joined(counts: FloatArray) -> list[tuple[int, int]]:
    """Return the first and last number of neighbors of each class of atoms that are so many (numbers,)."""
    classes = [(int(number), int(number)) for number in np.flatnonzero(counts)]
    least = _RARE * counts.sum()
    while len(classes) > 1 and counts[classes[0][0] : classes[0][1] + 1].sum() < least:
        (low, _), (_, high) = classes.pop(0), classes.pop(0)
        classes.insert(0, (low, high))
    while len(classes) > 1 and counts[classes[-1][0] : classes[-1][1] + 1].sum() < least:
        (_, high), (low, _) = classes.pop(), classes.pop()
        classes.append((low, high))
    return classes
