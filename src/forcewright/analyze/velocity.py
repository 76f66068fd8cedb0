"""Velocity autocorrelation and the vibrational density of states."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import fft

from forcewright.analyze.displacement import count_lags
from forcewright.analyze.result import Axes, Result
from forcewright.analyze.time_series import VectorSeries, collect
from forcewright.errors import InputError
from forcewright.structure import FloatArray
from forcewright.trajectory import Frames, Snapshot

_log = logging.getLogger(__name__)

_THZ = 1000.0  # THz in 1/fs
UNLIKE = 0.4  # a vibration at three quarters of the highest frequency has that much, one beyond it 0.64 and more

#: Windows W(τ) for x = τ / longest lag, 1 at 0.
WINDOWS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "none": np.ones_like,
    "hann": lambda x: 0.5 + 0.5 * np.cos(np.pi * x),
    "blackman": lambda x: 0.42 + 0.5 * np.cos(np.pi * x) + 0.08 * np.cos(2 * np.pi * x),
}


@dataclass(frozen=True, eq=False)
class VelocityAutocorrelation(Result):
    """⟨v(0)·v(τ)⟩ in Å²/fs² at ``time`` (L,) in fs, by species and in ``"total"``: ``vacf`` and, divided by its value
    at 0, ``normalized``.
    """  # noqa: D205

    time: FloatArray
    vacf: dict[str, FloatArray]
    normalized: dict[str, FloatArray]

    def _draw(self, ax: Axes) -> None:
        for name, values in self.normalized.items():
            if name != "total" or len(self.vacf) > 2:
                ax.plot(self.time / 1000, values, label=name)
        ax.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
        ax.set(xlabel="time (ps)", ylabel="velocity autocorrelation")
        ax.legend(frameon=False)


@dataclass(frozen=True, eq=False)
class VibrationalDensity(Result):
    """Vibrational density of states ``density`` (F,) in 1/THz at ``frequency`` (F,) in THz, by species and ``"total"``.

    ``resolution`` is the width in THz that the longest lag allows. ``highest`` is the highest frequency in THz that
    frames so far apart can hold, 1/(2 dt) (Nyquist); ``sampled`` tells whether the atoms move slowly enough for it, or
    faster vibrations appear at frequencies that are not theirs.
    """

    units = {"resolution": "THz", "highest": "THz"}

    frequency: FloatArray
    density: dict[str, FloatArray]
    resolution: float
    highest: float = np.nan
    sampled: bool = True

    def _draw(self, ax: Axes) -> None:
        for name, values in self.density.items():
            if name != "total" or len(self.density) > 2:
                ax.plot(self.frequency, values, label=name)
        below = np.cumsum(np.maximum(self.density["total"], 0.0))
        # Up to where all but a thousandth of the states lie.
        highest = self.frequency[min(np.searchsorted(below, 0.999 * below[-1]) + 1, len(below) - 1)]
        ax.set(xlabel="frequency (THz)", ylabel="density of states (1/THz)", xlim=(0, float(highest)))
        legend = (
            None if self.sampled else f"frames too far apart: nothing above {self.highest:.4g} THz is seen as it is"
        )
        ax.legend(frameon=False, title=legend)


def vacf(frames: Frames, *, dt_fs: float | None = None, max_lag_fs: float | None = None) -> VelocityAutocorrelation:
    """Compute the velocity autocorrelation of each species and in total, averaged over all time origins.

    C(τ) = ⟨v(t)·v(t + τ)⟩; its integral is three times the diffusion coefficient (Allen & Tildesley, Computer
    Simulation of Liquids (1987), Eq. 2.110).

    Parameters
    ----------
    dt_fs
        Time between frames in fs; that of the frames if None.
    max_lag_fs
        Longest lag; half the trajectory if None.

    Raises
    ------
    InputError
        If velocities are missing, there are fewer than two frames, their atoms change, or their times are unknown or
        not equally spaced.
    """
    velocities = _velocities(frames, dt_fs)
    half = max(velocities.times[-1] / 2, velocities.dt)
    lags = count_lags(velocities, half if max_lag_fs is None else max_lag_fs)
    sums = _autocorrelations(velocities, lags, np.ones(len(velocities.structure)))
    counts = {name: len(atoms) for name, atoms in velocities.species.items()} | {"total": len(velocities.structure)}
    means = {name: values / counts[name] for name, values in sums.items()}
    normalized = {name: values / (values[0] if values[0] > 0 else np.nan) for name, values in means.items()}
    return VelocityAutocorrelation(velocities.times[:lags], means, normalized)


def vdos(
    frames: Frames, *, dt_fs: float | None = None, max_lag_fs: float | None = None,
    window: Literal["none", "hann", "blackman"] = "hann", normalize: Literal["modes", "unit"] = "modes",
) -> VibrationalDensity:  # fmt: skip
    """Compute the vibrational density of states of each species and in total.

    g(ν) ∝ Σ_i m_i ∫ W(τ) ⟨v_i(0)·v_i(τ)⟩ cos(2πντ) dτ (Dickey & Paskin, Phys. Rev. 188, 1407 (1969)), with a window W
    that falls to 0 at the longest lag (Blackman & Tukey). Weighted by mass, each mode of a classical harmonic crystal
    counts the same. The parts of the species add up to the total.

    Parameters
    ----------
    dt_fs
        Time between frames in fs; that of the frames if None. Frequencies reach 1/(2 dt). A logged warning tells where
        frames are too far apart for what moves: there, what the positions do between two frames is not what the
        velocities say.
    max_lag_fs
        Longest lag, which limits the resolution; a quarter of the trajectory, but at most 5 ps, if None.
    window
        How the correlation is made to vanish at the longest lag.
    normalize
        Whether the integral of the total over ν is 3N - 3, the number of modes (3 for one atom), or 1.

    Raises
    ------
    InputError
        As `vacf`, and if all atoms are at rest.
    """
    if window not in WINDOWS:
        raise InputError(f"is {window!r}; it may be {', '.join(WINDOWS)}", field="window")
    if normalize not in ("modes", "unit"):
        raise InputError(f"is {normalize!r}; it may be modes or unit", field="normalize")
    motion = Motion()
    velocities = _velocities(frames, dt_fs, motion)
    quarter = max(min(velocities.times[-1] / 4, 5000.0), velocities.dt)
    lags = count_lags(velocities, quarter if max_lag_fs is None else max_lag_fs)
    sums = _autocorrelations(velocities, lags, velocities.masses)
    if not sums["total"][0] > 0:
        raise InputError("are all zero; a density of states needs atoms that move", field="velocities")
    shape = WINDOWS[window](np.arange(lags) / lags)
    # Padded: twice as fine as the resolution.
    frequency = np.arange(2 * lags, dtype=float) * (_THZ / (4 * lags * velocities.dt))
    density = {name: cosine_transform(shape * values) for name, values in sums.items()}
    atoms = len(velocities.structure)
    states = 1.0 if normalize == "unit" else float(3 * atoms - 3 if atoms > 1 else 3)
    scale = states / np.trapezoid(density["total"], frequency)
    scaled = {name: scale * values for name, values in density.items()}
    highest, unlike = _THZ / (2 * velocities.dt), motion.unlike(velocities.dt)
    if not (sampled := unlike <= UNLIKE):
        _log.warning(
            "frames %g fs apart hold frequencies up to %.4g THz, and atoms move faster than that: vibrations above it "
            "appear below it; write frames more often", velocities.dt, highest,
        )  # fmt: skip
    return VibrationalDensity(frequency, scaled, _THZ / (2 * lags * velocities.dt), highest, sampled)


class Motion:
    """Compares displacements between frames with the velocities at both ends.

    For a vibration of frequency ν the mean of the velocities is cos(π ν dt) of that in the middle, the displacement
    divided by dt is sinc(π ν dt) of it: alike where frames are close, unlike from three quarters of 1/(2 dt) on.
    """

    def __init__(self) -> None:
        self._before: Snapshot | None = None
        self._sums: dict[int, FloatArray] = {}  # of each species: Σ Δr², Σ Δr·v, Σ v², Σ of squared velocities

    def add(self, snapshot: Snapshot) -> None:
        """Take the next frame."""
        before, self._before = self._before, snapshot
        if before is None or before.velocities is None or snapshot.velocities is None:
            return
        moved = snapshot.structure.positions - before.structure.positions
        if (periodic := snapshot.structure.pbc).any():
            lattice = snapshot.structure.cell[periodic]
            moved = moved - np.rint(moved @ np.linalg.pinv(lattice)) @ lattice
        between = 0.5 * (before.velocities + snapshot.velocities)
        squares = [moved**2, moved * between, between**2, snapshot.velocities**2]
        numbers = snapshot.structure.numbers
        for z in np.unique(numbers).tolist():
            sums = np.array([square[numbers == z].sum() for square in squares])
            self._sums[z] = self._sums.get(z, np.zeros(4)) + sums

    def unlike(self, dt: float) -> float:
        """Return how unlike both are, relative to the velocities, for the species where they are most."""
        moving = [sums for sums in self._sums.values() if sums[0] > 0 and sums[3] > 0]  # frozen ones tell nothing
        shares = [(s[0] / dt**2 - 2 * s[1] / dt + s[2]) / s[3] for s in moving]
        return float(np.sqrt(max(*shares, 0.0))) if shares else 0.0


def _velocities(frames: Frames, dt_fs: float | None, motion: Motion | None = None) -> VectorSeries:
    count = 0

    def velocities_of(snapshot: Snapshot) -> FloatArray:
        nonlocal count
        if snapshot.velocities is None:
            raise InputError("has no velocities; write them when simulating", frame=count, field="velocities")
        count += 1
        if motion is not None:
            motion.add(snapshot)
        return snapshot.velocities

    return collect(frames, velocities_of, dt_fs=dt_fs)


def _autocorrelations(velocities: VectorSeries, lags: int, weights: FloatArray) -> dict[str, FloatArray]:
    """Return Σ_i w_i ⟨v_i(t)·v_i(t + τ)⟩ over origins, for each species and in total."""
    frames = len(velocities)
    size = fft.next_fast_len(frames + lags - 1, real=True)
    sums = {}
    for name, atoms in velocities.species.items():
        power = np.zeros(size // 2 + 1)
        weight = np.sqrt(weights[atoms])
        done = 0
        for block in velocities.blocks(atoms, megabytes=4.0):
            transformed = fft.rfft(block * weight[done : done + len(block), None, None], size, workers=-1)
            power += np.einsum("nif,nif->f", transformed, transformed.conj()).real
            done += len(block)
        sums[name] = fft.irfft(power, size)[:lags] / (frames - np.arange(lags))
    return sums | {"total": np.sum(list(sums.values()), axis=0)}


def cosine_transform(values: FloatArray) -> FloatArray:
    """Return Σ_τ over positive and negative lags of C(τ) cos(2πντ), at twice as many frequencies as lags."""
    lags = len(values)
    symmetric = np.zeros(4 * lags)
    symmetric[:lags], symmetric[-lags + 1 :] = values, values[:0:-1]
    return fft.rfft(symmetric).real[: 2 * lags]
