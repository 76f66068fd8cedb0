"""Self-diffusion coefficients with their uncertainty, and the conductivity they stand for.

The mean squared displacements of one trajectory at different lags say much the same thing, since a longer displacement
is a sum of shorter ones. A straight line through them by ordinary least squares takes them for independent: its error
is many times too small, and its value scatters more than it must. Here the line is that of generalized least squares
with the covariance of a random walk (McCluskey, Coles & Morgan, J. Chem. Theory Comput. 21, 79 (2025)),

    Σ_ij = σ_i² n_i / n_j    for i ≤ j,

where σ_i² is the variance of the mean at lag i and n_i the number of independent samples in it. In other words n_i x_i
is a Brownian path in the clock q_i = n_i² σ_i²: its increments are independent with variance q_(i+1) - q_i, so that the
line follows from weighted least squares of increments, however many lags there are.

Variances as observed make a clock that now and then runs backwards, and a matrix that is not a covariance. The clock is
therefore made smooth: σ_i² n_i, the variance of a squared displacement, is proportional to the square of its mean, as
for Gaussian displacements, with one factor from the data; the mean is the line itself, found in a few rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import units
from scipy.stats import truncnorm

from forcewright.analyze.displacement import MeanSquaredDisplacement, displacements
from forcewright.analyze.result import Axes, Result
from forcewright.analyze.unwrapping import unwrapped_positions
from forcewright.errors import InputError
from forcewright.structure import FloatArray, IntArray
from forcewright.trajectory import Frames

_CM2_PER_S = 0.1  # cm²/s in Å²/fs
_ROUNDS = 5
_SLOWEST_CLOCK = 0.01  # of that of a random walk: keeps the covariance positive definite far from the diffusive regime
_PER_DECADE = 10  # lags looked at for the start of the diffusive regime
_SIGMAS = 3.0
_STEADY = 1.0  # standard errors: a start too early is seen before it matters beside the error


@dataclass(frozen=True, eq=False)
class Diffusion(Result):
    """Self-diffusion by species and in ``"total"``.

    ==========  =============================================================================================
    D           diffusion coefficient in cm²/s: the mean of the posterior
    D_error     its standard deviation
    D_low       95 % of the posterior lie between D_low
    D_high      and D_high
    intercept   mean squared displacement in Å² of the fitted line at lag 0
    start       lag in fs at which the diffusive regime, and the fit, begins
    end         lag in fs at which the fit ends
    diffusive   whether the motion is diffusive from ``start`` on; if not, D is not to be trusted
    reason      why it is not; empty where it is
    ==========  =============================================================================================

    ``time`` (L,) in fs, ``msd`` and ``msd_error`` (L,) in Å², ``counts`` and ``volume`` are those of the displacements.
    """

    units = {**dict.fromkeys(("D", "D_error", "D_low", "D_high"), "cm²/s"), "intercept": "Å²", "start": "fs",
             "end": "fs", "volume": "Å³"}  # fmt: skip

    time: FloatArray
    msd: dict[str, FloatArray]
    msd_error: dict[str, FloatArray]
    D: dict[str, float]
    D_error: dict[str, float]
    D_low: dict[str, float]
    D_high: dict[str, float]
    intercept: dict[str, float]
    start: dict[str, float]
    end: dict[str, float]
    diffusive: dict[str, bool]
    reason: dict[str, str]
    counts: dict[str, int]
    volume: float

    def _draw(self, ax: Axes) -> None:
        for name, values in self.msd.items():
            if name == "total" and len(self.msd) == 2:
                continue
            until = self.time <= self.end[name]
            legend = f"{name}: D = {self.D[name]:.2e} ± {self.D_error[name]:.0e} cm²/s"
            legend += "" if self.diffusive[name] else " (not diffusive)"
            line = ax.plot(self.time[until] / 1000, values[until], label=legend)[0]
            ends = np.array([self.start[name], self.end[name]])
            fit = 6 * self.D[name] / _CM2_PER_S * ends + self.intercept[name]
            ax.plot(ends / 1000, fit, color=line.get_color(), linestyle="--" if self.diffusive[name] else ":")
        ax.set(xlabel="time (ps)", ylabel="mean squared displacement (Å²)", xlim=(0, None), ylim=(0, None))
        ax.legend(frameon=False)


def diffusion(
    frames: Frames | MeanSquaredDisplacement, *, start_fs: float | None = None, end_fs: float | None = None,
    ngp_limit: float = 0.2, slope_limit: float = 0.1, dt_fs: float | None = None, remove_drift: bool = True,
    unwrap: bool = True,
) -> Diffusion:  # fmt: skip
    """Estimate the self-diffusion coefficient of each species with an honest error.

    MSD = 6 D τ + c (Einstein) is fitted by generalized least squares with the covariance of a random walk (see the top
    of this module). With flat priors for c and D ≥ 0 the posterior of D is a Gaussian cut off at 0. As the covariance
    has it, atoms move independently of each other; where they do not, the error is larger than it says.

    The diffusive regime begins at the first lag from which on the slope of log MSD against log τ stays within
    ``slope_limit`` of 1 and the non-Gaussian parameter below ``ngp_limit``, both up to 3 standard errors of a random
    walk, and at which D changes by no more than its standard error if the fit begins at twice the lag. For hops at
    random α₂ = 3/(5n) after n hops of each atom: 0.2 is reached after three. Without such a regime the last part of the
    lags is fitted and ``diffusive`` is False.

    Parameters
    ----------
    frames
        Frames, or the displacements `forcewright.analyze.msd` found in them.
    start_fs
        Lag at which the fit begins, instead of the one found; whether it is diffusive is judged from there.
    end_fs
        Lag at which the fit ends; half the trajectory if None.
    dt_fs, remove_drift, unwrap
        As in `forcewright.analyze.msd`.

    Raises
    ------
    InputError
        As `forcewright.analyze.msd`, and if there are fewer than 8 lags to fit.
    """
    displaced = frames
    if not isinstance(displaced, MeanSquaredDisplacement):
        positions = unwrapped_positions(displaced, dt_fs=dt_fs, unwrap=unwrap, remove_drift=remove_drift)
        half = positions.times[len(positions) // 2]
        displaced = displacements(positions, max_lag_fs=half if end_fs is None else end_fs)
    last = _last_lag(displaced, end_fs)
    if start_fs is not None and not 0 < start_fs <= displaced.time[last] / 2:
        raise InputError(f"is {start_fs:g} fs; it must lie between 0 and {displaced.time[last] / 2:g} fs, half the "
                         "longest lag of the fit", field="start_fs")  # fmt: skip
    first = None if start_fs is None else max(1, int(np.ceil(start_fs / displaced.time[1] - 1e-6)))
    regimes = {name: _find_regime(displaced, name, first, last, ngp_limit, slope_limit) for name in displaced.msd}
    lines = {name: _fit(displaced, name, regime.start, last) for name, regime in regimes.items()}
    posteriors = {name: _posterior(line) for name, line in lines.items()}
    keys = ("D", "D_error", "D_low", "D_high")
    return Diffusion(
        time=displaced.time, msd=displaced.msd, msd_error=displaced.msd_error,
        **{key: {name: posterior[k] for name, posterior in posteriors.items()} for k, key in enumerate(keys)},
        intercept={name: line.intercept for name, line in lines.items()},
        start={name: float(displaced.time[regime.start]) for name, regime in regimes.items()},
        end={name: float(displaced.time[last]) for name in regimes},
        diffusive={name: not regime.reason for name, regime in regimes.items()},
        reason={name: regime.reason for name, regime in regimes.items()},
        counts=displaced.counts, volume=displaced.volume,
    )  # fmt: skip


def _last_lag(displaced: MeanSquaredDisplacement, end_fs: float | None) -> int:
    frames = round(float(displaced.samples["total"][1]) / displaced.counts["total"])  # T - 1
    last = min(len(displaced.time) - 1, frames // 2)
    if end_fs is not None:
        last = min(len(displaced.time) - 1, int(end_fs / displaced.time[1] + 1e-6))
    if last < 8:
        raise InputError(f"leave {last} lags to fit a line to; at least 8 are needed, from 17 frames", field="frames")
    return last


class _Regime(NamedTuple):
    start: int
    reason: str


def _find_regime(
    displaced: MeanSquaredDisplacement, name: str, first: int | None, last: int, ngp_limit: float, slope_limit: float
) -> _Regime:
    """Return the lag from which on the motion is diffusive; where it never is, a late lag and the reason."""
    values, ngp, samples = displaced.msd[name], displaced.ngp[name], displaced.samples[name]
    late = max(last // 4, 1) if first is None else first
    if not values[1] > 0:
        return _Regime(late, "the atoms do not move")
    low, high = first or 1, last // 2
    number = max(2, int(_PER_DECADE * np.log10(max(high / low, 1))) + 1)
    lags = np.unique(np.rint(np.geomspace(low, high, number)).astype(int))
    slope = np.log2(values[2 * lags] / values[lags])
    # Relative variances of a Gaussian random walk: 2/(3n) of the mean squared displacement, 8/(15n) of α₂.
    slope_noise = _SIGMAS * np.sqrt(2 / (3 * samples[lags])) / np.log(2)
    ngp_noise = _SIGMAS * np.sqrt(8 / (15 * samples[lags]))
    linear = np.abs(slope - 1) <= slope_limit + slope_noise
    gaussian = np.abs(ngp[lags]) <= ngp_limit + ngp_noise
    bad = np.flatnonzero(~(linear & gaussian))
    if first is not None and not len(bad):
        return _Regime(first, "")
    if first is None and not len(bad[bad == len(lags) - 1]):
        return _steady_start(displaced, name, lags[bad[-1] + 1 if len(bad) else 0 :], last)
    worst = bad[-1]
    if linear[worst]:
        reason = f"the non-Gaussian parameter is {ngp[lags[worst]]:.2f}, it has not decayed to {ngp_limit:g}"
    else:
        reason = f"the mean squared displacement grows as t^{slope[worst]:.2f}, not within {slope_limit:g} of t^1"
    return _Regime(late, f"at {displaced.time[lags[worst]] / 1000:.3g} ps {reason}; simulate longer")


def _steady_start(displaced: MeanSquaredDisplacement, name: str, lags: IntArray, last: int) -> _Regime:
    """Return the first of ``lags`` at which D is what it would be if the fit began at twice the lag."""
    if lags[0] > last // 4:
        begins, end = displaced.time[lags[0]] / 1000, displaced.time[last] / 1000
        return _Regime(int(lags[0]), f"the diffusive regime begins at {begins:.3g} ps, later than a quarter of the "
                       f"{end:.3g} ps of the fit; simulate longer")  # fmt: skip
    candidates = lags[lags <= last // 4]
    changes = []
    for lag in candidates:
        here, there = _fit(displaced, name, int(lag), last), _fit(displaced, name, 2 * int(lag), last)
        # The scatter of the difference, as the later fit uses a part of the same data (Hausman, Econometrica 46, 1251).
        scatter = np.sqrt(max(there.slope_error**2 - here.slope_error**2, 0.0))
        changes.append(abs(there.slope - here.slope) / scatter if scatter > 0 else np.inf)
        if changes[-1] <= _STEADY:
            return _Regime(int(lag), "")
    best = int(np.argmin(changes))
    changing = "the slope of the mean squared displacement still changes; simulate longer"
    return _Regime(int(candidates[best]), "" if changes[best] < _SIGMAS else changing)


class _Line(NamedTuple):
    slope: float  # Å²/fs
    slope_error: float
    intercept: float  # Å²


def _fit(displaced: MeanSquaredDisplacement, name: str, first: int, last: int) -> _Line:
    """Fit MSD = slope τ + intercept to the lags first ... last."""
    lags = slice(first, last + 1)
    tau, x, n = displaced.time[lags], displaced.msd[name][lags], displaced.samples[name][lags]
    variance = displaced.msd_error[name][lags] ** 2 * n
    if not x.max() > 0:
        return _Line(0.0, 0.0, 0.0)
    line = np.maximum(x, 1e-6 * x.max())
    for _ in range(_ROUNDS):
        factor = np.average(variance / line**2, weights=n)
        clock = n * factor * line**2
        slope, intercept, error = _regress(tau, x, n, clock)
        fitted = slope * tau + intercept
        if fitted.min() <= 0:  # no mean squared displacement: such a line would make the clock, and the error, anything
            break
        line = fitted
    return _Line(slope, error, intercept)


def _regress(tau: FloatArray, x: FloatArray, n: FloatArray, clock: FloatArray) -> tuple[float, float, float]:
    """Return slope, intercept and the error of the slope by least squares of the increments of n x."""
    # A random walk's clock goes with τ: from one lag to the next by this much.
    usual = clock * np.diff(tau, prepend=0.0) / tau
    variances = np.maximum(np.diff(clock, prepend=0.0), _SLOWEST_CLOCK * usual)
    design = np.diff(np.column_stack([n * tau, n]), axis=0, prepend=0.0) / np.sqrt(variances)[:, None]
    target = np.diff(n * x, prepend=0.0) / np.sqrt(variances)
    scale = np.linalg.norm(design, axis=0)
    q, r = np.linalg.qr(design / scale)
    slope, intercept = np.linalg.solve(r, q.T @ target) / scale
    inverse = np.linalg.inv(r)
    return float(slope), float(intercept), float(np.linalg.norm(inverse[0]) / scale[0])


def _posterior(line: _Line) -> tuple[float, float, float, float]:
    """Return mean, standard deviation and the 95 % interval of D ≥ 0 in cm²/s."""
    mean, error = line.slope / 6 * _CM2_PER_S, line.slope_error / 6 * _CM2_PER_S
    if not error > 0:
        return max(mean, 0.0), 0.0, max(mean, 0.0), max(mean, 0.0)
    posterior = truncnorm(-mean / error, np.inf, loc=mean, scale=error)
    low, high = posterior.ppf([0.025, 0.975])
    return float(posterior.mean()), float(posterior.std()), float(low), float(high)


@dataclass(frozen=True, eq=False)
class Conductivity(Result):
    """Ionic conductivity in S/m and mS/cm, with its standard deviation and what each species adds (S/m)."""

    conductivity_S_per_m: float
    error_S_per_m: float
    conductivity_mS_per_cm: float
    error_mS_per_cm: float
    species: dict[str, float]
    temperature_K: float
    haven_ratio: float
    diffusive: bool

    def _draw(self, ax: Axes) -> None:
        names = list(self.species)
        ax.bar(names, [10 * self.species[name] for name in names])
        ax.set(ylabel="conductivity (mS/cm)")


def nernst_einstein(
    diffusion: Diffusion, charges: Mapping[str, float], temperature_K: float, *, haven_ratio: float = 1.0
) -> Conductivity:
    """Turn self-diffusion into an ionic conductivity.

    σ = Σ_s N_s q_s² D_s / (V k_B T H) (Nernst-Einstein; e.g. Murch, Solid State Ionics 7, 177 (1982)). With a Haven
    ratio H of 1 the ions move independently of each other.

    Parameters
    ----------
    found
        What `diffusion` returned.
    charges
        Charge of each species that carries current, in elementary charges.
    temperature_K
        Temperature in K.

    Raises
    ------
    InputError
        If a species does not occur, a number is not above 0, or there is no volume.
    """
    if not charges or any(name not in diffusion.D or name == "total" for name in charges):
        known = ", ".join(name for name in diffusion.D if name != "total")
        raise InputError(f"name {', '.join(charges) or 'nothing'}; the frames hold {known}", field="charges")
    if not (temperature_K > 0 and haven_ratio > 0 and diffusion.volume > 0):
        raise InputError("must be above 0, as must the Haven ratio and the volume of the cell", field="temperature_K")
    # D in m²/s, density in 1/m³, e in C, k_B T in J
    factor = {
        name: diffusion.counts[name] / (diffusion.volume * 1e-30) * (charge * units._e) ** 2
        / (units._k * temperature_K * haven_ratio) * 1e-4
        for name, charge in charges.items()
    }  # fmt: skip
    parts = {name: factor[name] * diffusion.D[name] for name in charges}
    total = sum(parts.values())
    error = float(np.sqrt(sum((factor[name] * diffusion.D_error[name]) ** 2 for name in charges)))
    return Conductivity(total, error, 10 * total, 10 * error, parts, temperature_K, haven_ratio,
                        all(diffusion.diffusive[name] for name in charges))  # fmt: skip
