"""Mean squared displacement and non-Gaussian parameter, averaged over all time origins by Fourier transforms.

With positions a at a time t and b a lag τ later, relative to the mean position of the atom over the whole trajectory,

    |b - a|² = a² + b² - 2 a·b
    |b - a|⁴ = a⁴ + b⁴ + 2 a² b² + 4 Σ_ij a_i a_j b_i b_j - 4 Σ_i (a² a_i) b_i - 4 Σ_i a_i (b² b_i)

Summed over t, the terms of a or b alone are cumulative sums and the others correlations, which are products of Fourier
transforms of r_i, r_i r_j and r² r_i, padded by zeros (Wiener-Khinchin). The second line is the first one squared.

=========  ===========  ==============================================
symbol     shape        meaning
=========  ===========  ==============================================
T, L                    frames; lags 0 ... L - 1
second     (L, 3)       Σ (b_i - a_i)² over atoms and origins
fourth     (L,)         Σ |b - a|⁴
=========  ===========  ==============================================
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from scipy import fft

from forcewright.analyze.pair_histogram import worker_threads
from forcewright.analyze.result import Axes, Result
from forcewright.analyze.time_series import VectorSeries
from forcewright.analyze.unwrapping import unwrapped_positions
from forcewright.errors import InputError
from forcewright.structure import FloatArray, IntArray
from forcewright.trajectory import Frames

_BLOCK = 1.0  # MB of positions transformed at a time: the transforms of a few atoms stay near the caches
_CANCELLATION = 2e-6  # below this share of the mean a⁴, fourth moments lose too many digits in the differences above
_LEVEL = 0.1  # exponent of time below which the mean squared displacement has leveled off
_MOST_DIRECT = 64  # lags that are summed directly where that happens


@dataclass(frozen=True, eq=False)
class MeanSquaredDisplacement(Result):
    """Displacements by species and in ``"total"``.

    ===============  ======  ==============================================================================
    time             (L,)    lags in fs, from 0
    msd              (L,)    mean squared displacement in Å²
    msd_error        (L,)    its standard error
    msd_xyz          (L, 3)  its part along x, y, z
    ngp              (L,)    non-Gaussian parameter, not defined at lag 0 (nan)
    samples          (L,)    independent samples: atoms times lags that follow one another in the trajectory
    ===============  ======  ==============================================================================

    All but ``time`` are mappings; ``counts`` has the number of atoms, ``volume`` the mean volume in Å³, ``plateau`` the
    mean squared displacement in Å² at which it levels off, nan where it keeps growing.
    """

    units = {"plateau": "Å²", "volume": "Å³"}

    time: FloatArray
    msd: dict[str, FloatArray]
    msd_error: dict[str, FloatArray]
    msd_xyz: dict[str, FloatArray]
    ngp: dict[str, FloatArray]
    samples: dict[str, FloatArray]
    counts: dict[str, int]
    volume: float
    plateau: dict[str, float] = field(default_factory=dict)

    def _draw(self, ax: Axes) -> None:
        for name, values in self.msd.items():
            if name != "total" or len(self.msd) > 2:
                level = self.plateau.get(name, np.nan)
                legend = name if np.isnan(level) else f"{name}: levels off at {level:.3g} Å²"
                line = ax.plot(self.time[1:] / 1000, values[1:], label=legend)[0]
                low, high = values - self.msd_error[name], values + self.msd_error[name]
                floor = 1e-3 * values[1:]
                ax.fill_between(self.time[1:] / 1000, np.maximum(low[1:], floor), high[1:],
                                color=line.get_color(), alpha=0.2, linewidth=0)  # fmt: skip
        ax.set(xscale="log", yscale="log", xlabel="time (ps)", ylabel="mean squared displacement (Å²)")
        ax.legend(frameon=False)


def msd(
    frames: Frames, *, dt_fs: float | None = None, max_lag_fs: float | None = None, remove_drift: bool = True,
    unwrap: bool = True,
) -> MeanSquaredDisplacement:  # fmt: skip
    """Compute the mean squared displacement and the non-Gaussian parameter of each species and in total.

    MSD(τ) = ⟨|r(t + τ) - r(t)|²⟩ over atoms and all origins t (Allen & Tildesley, Computer Simulation of Liquids
    (1987), Eq. 2.111), in Fourier time (Calandrini, Pellegrini, Calligari, Hinsen & Kneller, Collection SFN 12, 201
    (2011)). α₂(τ) = 3⟨r⁴⟩ / (5⟨r²⟩²) - 1 (Rahman, Phys. Rev. 136, A405 (1964)) is 0 for free diffusion.

    The standard error is that of displacements that do not overlap: the variance of |r(t + τ) - r(t)|² over
    N (T - 1) Δt / τ samples (McCluskey, Coles & Morgan, J. Chem. Theory Comput. 21, 79 (2025)). It takes the atoms for
    independent of each other.

    Parameters
    ----------
    dt_fs
        Time between frames in fs; that of the frames if None.
    max_lag_fs
        Longest lag; that of the trajectory if None.
    remove_drift
        Whether the motion of the center of mass of all atoms is subtracted; that of a single atom never is.
    unwrap
        Whether atoms are followed across periodic boundaries, as `forcewright.analyze.unwrap` does; no for positions
        that are already unwrapped and move by more than half a cell between frames.

    Raises
    ------
    InputError
        If there are fewer than two frames, their atoms change, or their times are unknown or not equally spaced.
    """
    positions = unwrapped_positions(frames, dt_fs=dt_fs, unwrap=unwrap, remove_drift=remove_drift)
    return displacements(positions, max_lag_fs=max_lag_fs)


def displacements(positions: VectorSeries, *, max_lag_fs: float | None = None) -> MeanSquaredDisplacement:
    """Return what `msd` says of positions that are already gathered."""
    lags = count_lags(positions, max_lag_fs)
    pairs = (len(positions) - np.arange(lags)).astype(float)
    moments = {name: _moments(positions, atoms, lags) for name, atoms in positions.species.items()}
    counts = {name: len(atoms) for name, atoms in positions.species.items()}
    seconds, fourths = zip(*moments.values(), strict=True)
    moments["total"] = (np.sum(seconds, axis=0), np.sum(fourths, axis=0))
    counts["total"] = len(positions.structure)
    xyz = {name: second / (counts[name] * pairs)[:, None] for name, (second, _) in moments.items()}
    mean = {name: values.sum(axis=1) for name, values in xyz.items()}
    fourth = {name: values / (counts[name] * pairs) for name, (_, values) in moments.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        ngp = {name: 3 * fourth[name] / (5 * mean[name] ** 2) - 1 for name in mean}
        samples = {name: counts[name] * (len(positions) - 1) / np.arange(lags) for name in mean}
    variance = {name: np.maximum(fourth[name] - mean[name] ** 2, 0.0) for name in mean}
    # The mean over all atoms has less spread than that of a mixture drawn at random: each species has its own atoms.
    parts = [counts[name] / counts["total"] * variance[name] for name in positions.species]
    variance["total"] = np.sum(parts, axis=0)
    error = {name: np.sqrt(variance[name] / samples[name]) for name in mean}
    plateau = {name: _plateau(values, len(positions)) for name, values in mean.items()}
    return MeanSquaredDisplacement(
        positions.times[:lags], mean, error, xyz, ngp, samples, counts, positions.volume, plateau
    )


def _plateau(values: FloatArray, frames: int) -> float:
    """Return the mean of the last octave of lags, up to half the trajectory, if the three last hardly differ."""
    last = min(len(values) - 1, frames // 2)
    if last < 8 or not values[1:].max(initial=0.0) > 0:
        return float("nan")
    means = [values[last // (2 * k) + 1 : last // k + 1].mean() for k in (4, 2, 1)]
    growth = np.abs(np.diff(np.log2(means)))
    return float(means[-1]) if (growth < _LEVEL).all() else float("nan")


def count_lags(positions: VectorSeries, max_lag_fs: float | None) -> int:
    """Return the number of lags, 0 included, up to the longest that is asked and there is; InputError if none is."""
    if max_lag_fs is None:
        return len(positions)
    if not max_lag_fs >= positions.dt * (1 - 1e-9):
        raise InputError(f"is {max_lag_fs:g} fs, the frames are {positions.dt:g} fs apart; give a longer one",
                         field="max_lag_fs")  # fmt: skip
    return min(len(positions), int(max_lag_fs / positions.dt + 1e-6) + 1)


def _moments(positions: VectorSeries, atoms: IntArray, lags: int) -> tuple[FloatArray, FloatArray]:
    """Return second (L, 3) and fourth (L,) moments of displacements, summed over atoms and origins."""
    size = max(1, int(_BLOCK * 2**20 / (24 * len(positions))))
    blocks = [atoms[start : start + size] for start in range(0, len(atoms), size)]
    with worker_threads() as pool:
        # Summed in the order of the blocks, so that the result does not depend on the number of threads.
        correlated = pool.map(lambda block: _correlate(positions.of(block), lags), blocks)
        spectra, ends = next(correlated)
        for block_spectra, block_ends in correlated:
            spectra += block_spectra
            ends += block_ends
        second, fourth = _combine(spectra, ends, len(positions), lags)
        # Up to which lag the fourth moments are too small beside the terms whose differences they are.
        small = np.flatnonzero(fourth / (len(positions) - np.arange(lags)) < _CANCELLATION * ends[3].mean())
        direct = int(min(small[-1], _MOST_DIRECT)) if len(small) else 0
        if direct:
            sums = np.zeros((direct, 4))
            for part in pool.map(lambda block: _sum_directly(positions.of(block), direct), blocks):
                sums += part
            second[1 : direct + 1], fourth[1 : direct + 1] = sums[:, :3], sums[:, 3]
    return second, fourth


def _correlate(r: FloatArray, lags: int) -> tuple[FloatArray, FloatArray]:
    """Return spectra (4, F) of correlations (of x, y, z, and the mixed terms of |b - a|⁴) and r_i², r⁴ (4, T)."""
    r = r - r.mean(axis=2, keepdims=True)
    size = fft.next_fast_len(r.shape[2] + lags - 1, real=True)
    spectra = np.zeros((4, size // 2 + 1))
    squared = np.einsum("nit,nit->nt", r, r)
    ends = np.concatenate([np.einsum("nit,nit->it", r, r), np.einsum("nt,nt->t", squared, squared)[None]])
    trace = np.zeros((len(r), size // 2 + 1), dtype=complex)
    for i in range(3):
        transformed = fft.rfft(r[:, i], size)
        _add_product(transformed, transformed, 1.0, spectra[i])
        _add_product(transformed, fft.rfft(squared * r[:, i], size), -8.0, spectra[3])
        for j in range(i, 3):
            product = fft.rfft(r[:, i] * r[:, j], size)
            _add_product(product, product, 4.0 if i == j else 8.0, spectra[3])
            if i == j:
                trace += product
    _add_product(trace, trace, 2.0, spectra[3])
    return spectra, ends


def _combine(spectra: FloatArray, ends: FloatArray, frames: int, lags: int) -> tuple[FloatArray, FloatArray]:
    """Return the moments from spectra (4, F) and the sums r_i², r⁴ (4, T) at the ends of displacements."""
    size = fft.next_fast_len(frames + lags - 1, real=True)
    correlations = fft.irfft(spectra, size)[:, :lags]
    until = np.concatenate([np.zeros((4, 1)), np.cumsum(ends, axis=1)], axis=1)
    lag = np.arange(lags)
    both = until[:, frames - lag] + until[:, [-1]] - until[:, lag]
    second = both[:3] - 2 * correlations[:3]
    fourth = both[3] + correlations[3]
    second[:, 0] = fourth[0] = 0.0
    return np.maximum(second, 0.0).T.copy(), np.maximum(fourth, 0.0)


@njit(cache=True, nogil=True)
def _add_product(a, b, factor, into):  # type: ignore[no-untyped-def]
    """Add factor Re(a* b), summed over atoms, to ``into`` (F,)."""
    for n in range(a.shape[0]):
        for f in range(a.shape[1]):
            into[f] += factor * (a[n, f].real * b[n, f].real + a[n, f].imag * b[n, f].imag)


@njit(cache=True, nogil=True)
def _sum_directly(r, longest):  # type: ignore[no-untyped-def]
    """Return Σ (b_i - a_i)² and Σ |b - a|⁴ (longest, 4) of the lags 1 ... longest."""
    sums = np.zeros((longest, 4))
    for n in range(r.shape[0]):
        for lag in range(1, longest + 1):
            x = y = z = fourth = 0.0
            for t in range(r.shape[2] - lag):
                dx = r[n, 0, t + lag] - r[n, 0, t]
                dy = r[n, 1, t + lag] - r[n, 1, t]
                dz = r[n, 2, t + lag] - r[n, 2, t]
                xx, yy, zz = dx * dx, dy * dy, dz * dz
                x += xx
                y += yy
                z += zz
                fourth += (xx + yy + zz) ** 2
            sums[lag - 1, 0] += x
            sums[lag - 1, 1] += y
            sums[lag - 1, 2] += z
            sums[lag - 1, 3] += fourth
    return sums
