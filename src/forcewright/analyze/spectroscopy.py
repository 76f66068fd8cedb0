"""Infrared and Raman spectra of trajectories, from correlations of the dipole and of the polarizability.

With the rate of change j = dM/dt of the dipole and classical dynamics at the temperature T, absorption is

    κ(ν̃) = N_A/(6 ε₀ c k_B T) ∫ ⟨j(0)·j(t)⟩ cos(2πcν̃t) dt        (integral over all times)

molar, to base e. For a harmonic molecule it integrates to N_A/(12 ε₀ c²) Σ_k |∂μ/∂Q_k|², whatever the temperature. Of
a periodic cell of the volume V, κ/(N_A V) is the absorption coefficient times the refractive index n(ν̃) α(ν̃)
(McQuarrie, Statistical Mechanics, 1976, ch. 21; Thomas, Brehm, Fligg, Vöhringer and Kirchner, Phys. Chem. Chem. Phys.
15, 6608 (2013)). This is the correlation of the dipole itself with the harmonic quantum correction βħω/(1 - e^(-βħω)).

Raman spectra are the same of the polarizability, apart into its isotropic value a = tr α/3 and its anisotropy, for
which γ² = 3/2 tr β² with β = α - a·1. Scaled as here, the areas under the peaks of a harmonic molecule are its Raman
activities 45 a'² + 7 γ'² (Å⁴/u). The light that is scattered to the Stokes side, per solid angle at a right angle to
the incoming beam, is 16π⁴ (ν̃₀ - ν̃)⁴ h/(8π² c ν̃ (1 - e^(-hcν̃/k_BT))) times that over 45 (Long, The Raman Effect, 2002).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import units
from ase.data import chemical_symbols, covalent_radii
from scipy import fft

from forcewright.analyze.property_sources import PropertySource, property_source
from forcewright.analyze.result import Axes, Result
from forcewright.analyze.time_series import VectorSeries, collect
from forcewright.analyze.velocity import UNLIKE, WINDOWS, Motion, cosine_transform
from forcewright.errors import ForcewrightError, InputError
from forcewright.neighbors import find_neighbors
from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.trajectory import Frames, Snapshot

Window = Literal["none", "hann", "blackman"]
Correction = Literal["harmonic", "standard", "schofield", "none"]

#: |∂μ/∂Q|² of 1 (e Å)² / (u Å²) as an integrated absorption in km/mol
KM_PER_MOL = 1e-3 * units._Nav * units._e**2 / units._amu / (12.0 * units._eps0 * units._c**2)
_SPEED = 1e-13 * units._c  # of light, in cm/fs
_SECOND = 100 * units._hplanck * units._c / (units._k)  # hc/k_B in K cm
_BONDED = 1.3  # times the sum of covalent radii
_MOST_BONDS = 2000  # that are watched
_FASTEST = 5000.0  # cm⁻¹; hydrogen has 4,400

#: What the spectrum with each quantum correction is times that with the harmonic one, of x = ħω/(k_B T). The
#: corrections of the correlation itself are x/(1 - e^-x), 2/(1 + e^-x), e^(x/2) and 1 (Ramírez, López-Ciudad, Kumar and
#: Marx, J. Chem. Phys. 121, 3973 (2004)).
_CORRECTIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "harmonic": np.ones_like,
    "standard": lambda x: 2 / (1 + np.exp(-x)) * _occupied(x),
    "schofield": lambda x: np.exp(x / 2) * _occupied(x),
    "none": lambda x: _occupied(x),
}


def _occupied(x: FloatArray) -> FloatArray:
    """Return (1 - e^-x)/x, which is 1 at 0."""
    return np.where(x > 1e-8, -np.expm1(-x) / np.maximum(x, 1e-300), 1.0)


@dataclass(frozen=True, eq=False)
class InfraredSpectrum(Result):
    """Infrared absorption ``intensity`` (F,) in ``unit`` at ``frequency_per_cm`` (F,) in cm⁻¹.

    The unit is km/mol per cm⁻¹ of a molecule, and cm⁻¹ of a periodic cell: n(ν̃) α(ν̃), to base e. ``resolution_per_cm``
    is the width that the longest lag allows, ``highest_per_cm`` the highest frequency that frames so far apart hold.
    ``total_km_per_mol`` is the integral of the molar absorption of everything in the cell. ``mean_dipole_eA`` is the
    mean length of the dipole in e·Å, NaN where only its rate of change is known.
    """

    frequency_per_cm: FloatArray
    intensity: FloatArray
    unit: str
    source: str
    quantum_correction: str
    window: str
    temperature_K: float
    resolution_per_cm: float
    highest_per_cm: float
    total_km_per_mol: float
    mean_dipole_eA: float
    frames: int

    def _draw(self, ax: Axes) -> None:
        name = "n α" if self.unit == "cm⁻¹" else "molar absorption"
        ax.plot(self.frequency_per_cm, self.intensity, color="C0", linewidth=1.2)
        ax.set(xlabel="wavenumber (cm⁻¹)", ylabel=f"{name} ({self.unit})",
               xlim=(0, _upper(self.frequency_per_cm, self.intensity)))  # fmt: skip


@dataclass(frozen=True, eq=False)
class RamanSpectrum(Result):
    """Raman activity ``isotropic`` and ``anisotropic`` (F,), 45 a'² and 7 γ'² in Å⁴/u per cm⁻¹, over wavenumbers.

    ``frequency_per_cm`` (F,); ``activity`` is their sum, and ``stokes`` (F,) the differential cross section in
    10⁻³² cm²/sr per cm⁻¹ with light of ``laser_nm``, polarized at a right angle to the plane of scattering.
    ``total_A4_per_u`` is the integral of the activity, and ``depolarization`` 3 γ'²/(45 a'² + 4 γ'²) of all of it.
    """

    frequency_per_cm: FloatArray
    activity: FloatArray
    isotropic: FloatArray
    anisotropic: FloatArray
    stokes: FloatArray
    source: str
    quantum_correction: str
    window: str
    laser_nm: float
    temperature_K: float
    resolution_per_cm: float
    highest_per_cm: float
    total_A4_per_u: float
    depolarization: float
    mean_polarizability_A3: float
    frames: int

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.frequency_per_cm, self.activity, color="0.6", linewidth=2.2, label="activity")
        ax.plot(self.frequency_per_cm, self.isotropic, color="C0", linewidth=1, label="isotropic")
        ax.plot(self.frequency_per_cm, self.anisotropic, color="C3", linewidth=1, label="anisotropic")
        # What turns molecules lies below; it would flatten the vibrations.
        above = self.frequency_per_cm > 4 * self.resolution_per_cm
        highest = float(self.activity[above].max()) if above.any() else 1.0
        ax.set(xlabel="wavenumber (cm⁻¹)", ylabel="Raman activity (Å⁴/u per cm⁻¹)")
        ax.set(xlim=(0, _upper(self.frequency_per_cm, self.activity)), ylim=(-0.03 * highest, 1.08 * highest))
        ax.legend(frameon=False)


def _upper(frequency: FloatArray, values: FloatArray) -> float:
    """Return up to where a spectrum is drawn: a little beyond the last point that can be seen."""
    seen = np.flatnonzero(values > 0.004 * values.max())
    return float(min(1.08 * frequency[seen[-1]], frequency[-1])) if len(seen) else float(frequency[-1])


def ir(
    frames: Frames, *, model: Any, temperature_K: float | None = None, dt_fs: float | None = None,
    max_lag_fs: float | None = None, window: Window = "hann", detrend: bool = True,
    quantum_correction: Correction = "harmonic",
) -> InfraredSpectrum:  # fmt: skip
    """Compute the infrared spectrum from the autocorrelation of the dipole's rate of change.

    Parameters
    ----------
    model
        Folder of a model of dipoles, Born charges or charges (that of its study will do); in Python also a model or an
        ASE calculator. With Born charges the rate of change is Σ Z* v; charges need positions that are not folded
        back into a cell, and molecules in one piece.
    temperature_K
        Temperature; that of the velocities if None.
    dt_fs
        Time between frames in fs; that of the frames if None.
    max_lag_fs
        Longest lag, which limits the resolution; a quarter of the trajectory, but at most 2 ps, if None.
    window
        How the correlation is made to vanish at the longest lag: hann, blackman, none.
    detrend
        Whether the mean rate of change, the straight line in the dipole, is taken away.
    quantum_correction
        harmonic, standard, schofield or none (Ramírez et al., J. Chem. Phys. 121, 3973 (2004)). Schofield's grows
        exponentially, and with it the noise at high frequencies.

    Raises
    ------
    InputError
        If the model gives none of these or does not know an element, frames are too far apart for what vibrates, the
        temperature is not known, positions are folded back where that matters, or times are not equally spaced.
    """
    source = property_source(model, ("dipole", "born_charges", "charges"))
    series = _Series(source, window, quantum_correction)
    values = series.collect(frames, _dipole_of(source), dt_fs, temperature_K)
    if source.kind == "born_charges":
        rates, correct = values, False
    else:
        rates, correct = np.diff(values, axis=1) / series.dt, True
    if detrend:
        rates = rates - rates.mean(axis=1, keepdims=True)
    spectrum = series.spectrum([rates], max_lag_fs, differences=correct)
    molar = KM_PER_MOL * spectrum.parts[0]
    periodic = bool(series.structure.pbc.all())
    volume_cm3 = 1e-24 * series.volume
    return InfraredSpectrum(
        spectrum.frequency, 1e5 * molar * 1e2 / (units._Nav * volume_cm3) if periodic else molar,
        "cm⁻¹" if periodic else "km/mol per cm⁻¹", source.kind.replace("_", " "), quantum_correction, window,
        series.temperature, spectrum.resolution, spectrum.highest,
        float(np.trapezoid(molar, spectrum.frequency)),
        float(np.linalg.norm(values, axis=0).mean()) if correct else float("nan"), series.count,
    )  # fmt: skip


def raman(
    frames: Frames, *, model: Any, laser_nm: float = 532.0, temperature_K: float | None = None,
    dt_fs: float | None = None, max_lag_fs: float | None = None, window: Window = "hann", detrend: bool = True,
    quantum_correction: Correction = "harmonic",
) -> RamanSpectrum:  # fmt: skip
    """Compute the isotropic and anisotropic Raman spectra from autocorrelations of the polarizability.

    Parameters
    ----------
    model
        Folder of a model of polarizabilities (that of its study will do); in Python also a model or an ASE calculator.
    laser_nm
        Wavelength of the light, for the cross section.
    temperature_K
        Temperature; that of the velocities if None.
    dt_fs
        Time between frames in fs; that of the frames if None.
    max_lag_fs
        Longest lag, which limits the resolution; a quarter of the trajectory, but at most 2 ps, if None.
    window
        How the correlation is made to vanish at the longest lag: hann, blackman, none.
    detrend
        Whether the mean rate of change of the polarizability is taken away.
    quantum_correction
        harmonic, standard, schofield or none (Ramírez et al., J. Chem. Phys. 121, 3973 (2004)).

    Raises
    ------
    InputError
        As `ir`, and if the wavelength is not positive.
    """
    if not (np.isfinite(laser_nm) and laser_nm > 0):
        raise InputError(f"is {laser_nm}; it must be a wavelength above 0 nm", field="laser_nm")
    source = property_source(model, ("polarizability",))
    series = _Series(source, window, quantum_correction)
    values = series.collect(frames, lambda snapshot: source.values(snapshot.structure).reshape(3, 3), dt_fs,
                            temperature_K)  # fmt: skip
    rates = np.diff(values, axis=1) / series.dt
    if detrend:
        rates = rates - rates.mean(axis=1, keepdims=True)
    trace = rates[[0, 4, 8]].mean(axis=0, keepdims=True)
    anisotropy = rates - np.eye(3).reshape(9, 1) * trace
    spectrum = series.spectrum([trace, anisotropy], max_lag_fs, differences=True)
    isotropic, anisotropic = 45.0 * spectrum.parts[0], 7.0 * 1.5 * spectrum.parts[1]
    activity, frequency = isotropic + anisotropic, spectrum.frequency
    total, rest = (float(np.trapezoid(part, frequency)) for part in (isotropic, anisotropic))
    return RamanSpectrum(
        frequency, activity, isotropic, anisotropic, _stokes(frequency, activity, laser_nm, series.temperature),
        source.kind, quantum_correction, window, laser_nm, series.temperature, spectrum.resolution, spectrum.highest,
        total + rest, 3 * rest / 7 / (total + 4 * rest / 7) if total + rest > 0 else float("nan"),
        float(values[[0, 4, 8]].mean()), series.count,
    )  # fmt: skip


def _stokes(frequency: FloatArray, activity: FloatArray, laser_nm: float, temperature: float) -> FloatArray:
    """Return the differential cross section in 10⁻³² cm²/sr per cm⁻¹ of activities in Å⁴/u per cm⁻¹; NaN at 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wavenumber, shift = 100.0 * frequency, np.maximum(1e9 / laser_nm - 100.0 * frequency, 0.0)  # 1/m
        states = -np.expm1(-_SECOND * frequency / temperature)
        per_mass = activity * 1e-40 / units._amu / 45.0
        square_meters = 16 * np.pi**4 * shift**4 * units._hplanck / (8 * np.pi**2 * units._c * wavenumber * states)
        result: FloatArray = np.where(frequency > 0, 1e36 * square_meters * per_mass, np.nan)
    return result


@dataclass(frozen=True)
class _Spectrum:
    """Power of rates of change, each 1/(π k_B T) ∫ ⟨j j⟩ cos dt, over wavenumbers in cm⁻¹."""

    frequency: FloatArray
    parts: list[FloatArray]
    resolution: float
    highest: float


class _Series:
    """Values along a trajectory, and what is checked and remembered on the way."""

    def __init__(self, source: PropertySource, window: str, correction: str) -> None:
        if window not in WINDOWS:
            raise InputError(f"is {window!r}; it may be {', '.join(WINDOWS)}", field="window")
        if correction not in _CORRECTIONS:
            raise InputError(f"is {correction!r}; it may be {', '.join(_CORRECTIONS)}", field="quantum_correction")
        self.source, self.window, self.correction = source, window, correction
        self.count, self.temperature, self.dt, self.volume = 0, 0.0, 0.0, 0.0
        self.structure: Structure
        self._before: FloatArray | None = None

    def collect(
        self, frames: Frames, values_of: Callable[[Snapshot], FloatArray], dt_fs: float | None,
        temperature_K: float | None,
    ) -> FloatArray:  # fmt: skip
        """Return values (components, T) of all frames; see `ir` for what is refused."""
        motion, held = Motion(), _Bonds()
        temperatures: list[float | None] = []

        def checked(snapshot: Snapshot) -> FloatArray:
            frame, self.count = self.count, self.count + 1
            try:
                if not self.source.local:
                    self._require_whole(snapshot.structure)
                values = values_of(snapshot)
            except InputError as error:
                raise InputError(error.problem, frame=frame, field=error.field) from None
            except ForcewrightError as error:
                raise ForcewrightError(f"frame {frame}: {error}") from error
            if not np.isfinite(values).all():
                raise InputError(f"the {self.source.kind} is not finite", frame=frame)
            motion.add(snapshot)
            held.add(snapshot)
            temperatures.append(snapshot.temperature)
            return values

        series = collect(frames, checked, dt_fs=dt_fs)
        self.count, self.dt, self.structure = len(series), series.dt, series.structure
        self.volume = series.volume
        self.temperature = _temperature(temperatures[: len(series)], temperature_K)
        _require_close_frames(series, motion, held, self.temperature)
        vectors = series.of(slice(None))  # (rows, 3, T)
        return vectors.reshape(-1, len(series))

    def _require_whole(self, structure: Structure) -> None:
        """Refuse positions that depend on where the cell begins: folded back, or molecules in pieces."""
        if not structure.pbc.any():
            return
        what = f"{self.source.kind} times positions make a dipole only where they are not folded back into the cell"
        if self.source.kind == "dipole":
            what = "the dipole of a periodic cell by this calculator depends on where the cell begins"
        rest = "; give unwrapped positions with molecules in one piece, or a model of dipoles or Born charges"
        inverse = np.linalg.pinv(structure.cell[structure.pbc])
        if self._before is None:
            first, second, nearest, direct = bonds(structure)
            if len(cut := np.flatnonzero(direct > nearest + 1e-6)):
                atom, other = int(first[cut[0]]), int(second[cut[0]])
                raise InputError(f"{what}, and the bond of atoms {atom} and {other} crosses its boundary{rest}",
                                 field="positions")  # fmt: skip
        else:
            jumps = np.abs((structure.positions - self._before) @ inverse).max(axis=1)
            if jumps.max() > 0.5:
                raise InputError(f"{what}, and atom {int(jumps.argmax())} jumps across it{rest}", field="positions")
        self._before = structure.positions

    def spectrum(self, rates: list[FloatArray], max_lag_fs: float | None, *, differences: bool) -> _Spectrum:
        """Return the spectra of rates of change (components, T) per fs, each summed over its components."""
        steps = rates[0].shape[1]
        span = (steps - 1) * self.dt
        longest = max(min(span / 4, 2000.0), self.dt) if max_lag_fs is None else max_lag_fs
        if not longest >= self.dt * (1 - 1e-9):
            raise InputError(f"is {longest:g} fs, the frames are {self.dt:g} fs apart; give a longer one",
                             field="max_lag_fs")  # fmt: skip
        lags = min(steps, int(longest / self.dt + 1e-6) + 1)
        if lags < 8:
            raise InputError(f"holds {steps + 1} frames, which allow {lags} lags; a spectrum needs some hundred frames",
                             field="frames")  # fmt: skip
        shape = WINDOWS[self.window](np.arange(lags) / lags)
        frequency = np.arange(2 * lags) / (4 * lags * self.dt * _SPEED)
        x = _SECOND * frequency / self.temperature
        scale = _CORRECTIONS[self.correction](x)
        if differences:
            scale = scale / np.sinc(frequency * _SPEED * self.dt) ** 2
        # k_B T in u Å²/fs²; 1/(π k_B T) ∫ cos, and 2πc from a density over ω to one over ν̃
        scale = scale * 2 * np.pi * _SPEED * self.dt / (np.pi * units.kB * self.temperature * units.fs**2)
        parts = [scale * cosine_transform(shape * _autocorrelation(part, lags)) for part in rates]
        return _Spectrum(frequency, parts, 1 / (2 * lags * self.dt * _SPEED), 1 / (2 * self.dt * _SPEED))


def _autocorrelation(series: FloatArray, lags: int) -> FloatArray:
    """Return Σ over components of ⟨x(t) x(t + τ)⟩ (lags,) of a series (components, T)."""
    steps = series.shape[1]
    size = fft.next_fast_len(steps + lags - 1, real=True)
    power = np.square(np.abs(fft.rfft(series, size, axis=1))).sum(axis=0)
    correlated: FloatArray = fft.irfft(power, size)[:lags] / (steps - np.arange(lags))
    return correlated


def _dipole_of(source: PropertySource) -> Callable[[Snapshot], FloatArray]:
    """Return what gives the dipole (1, 3) of a snapshot, or with Born charges its rate of change."""

    def born(snapshot: Snapshot) -> FloatArray:
        if snapshot.velocities is None:
            raise InputError("has no velocities, which Born charges need; write them when simulating",
                             field="velocities")  # fmt: skip
        charges = source.values(snapshot.structure).reshape(-1, 3, 3)
        rate: FloatArray = np.einsum("nab,nb->a", charges, snapshot.velocities)
        return rate[None]

    def charges(snapshot: Snapshot) -> FloatArray:
        held = source.values(snapshot.structure)[:, 0]
        positions = snapshot.structure.positions
        center = snapshot.masses @ positions / snapshot.masses.sum()  # of an ion: about its center of mass
        dipole: FloatArray = held @ (positions - center)
        return dipole[None]

    if source.kind == "dipole":
        return lambda snapshot: source.values(snapshot.structure).reshape(1, 3)
    return born if source.kind == "born_charges" else charges


def _temperature(kinetic: list[float | None], asked: float | None) -> float:
    if asked is not None:
        if not (np.isfinite(asked) and asked > 0):
            raise InputError(f"is {asked}; it must be a temperature above 0 K", field="temperature_K")
        return float(asked)
    known = [temperature for temperature in kinetic if temperature is not None]
    if len(known) < len(kinetic) or not np.mean(known) > 0:
        raise InputError("frames hold no velocities that a temperature could be read from; give temperature_K",
                         field="temperature_K")  # fmt: skip
    return float(np.mean(known))


class _Bonds:
    """How much the bonds of the first frame change their length; by equipartition that is how fast they vibrate."""

    def __init__(self) -> None:
        self._pairs: IntArray | None = None  # (P, 2)
        self._names: list[str] = []
        self._reduced: FloatArray
        self._sums = np.zeros((2, 0))
        self._count = 0

    def add(self, snapshot: Snapshot) -> None:
        """Take the next frame."""
        structure = snapshot.structure
        if self._pairs is None:
            first, second, _, _ = bonds(structure)
            kept = np.flatnonzero(first < second)[:_MOST_BONDS]
            self._pairs = np.stack([first[kept], second[kept]], axis=1)
            masses, symbols = snapshot.masses, [chemical_symbols[z] for z in structure.numbers]
            self._reduced = 1.0 / (1.0 / masses[first[kept]] + 1.0 / masses[second[kept]])
            self._names = [
                "-".join(sorted((symbols[i], symbols[j]), key=lambda s: (s == "H", s))) for i, j in self._pairs
            ]
            self._sums = np.zeros((2, len(kept)))
        vectors = structure.positions[self._pairs[:, 1]] - structure.positions[self._pairs[:, 0]]
        if structure.pbc.any():
            lattice = structure.cell[structure.pbc]
            vectors = vectors - np.rint(vectors @ np.linalg.pinv(lattice)) @ lattice
        lengths = np.linalg.norm(vectors, axis=1)
        self._sums += np.stack([lengths, lengths**2])
        self._count += 1

    def fastest(self, temperature: float) -> tuple[float, str]:
        """Return the frequency in cm⁻¹ and the kind of the bonds that vibrate fastest, √(k_BT/(μ ⟨δr²⟩))/(2πc)."""
        mean, squares = self._sums / max(self._count, 1)
        spread = np.maximum(squares - mean**2, 1e-30)
        angular = np.sqrt(units.kB * temperature * units.fs**2 / (self._reduced * spread)) if len(mean) else mean
        frequency, names = angular / (2 * np.pi * _SPEED), np.array(self._names)
        kinds = {name: float(np.median(frequency[names == name])) for name in sorted(set(self._names))}
        # faster ones are held at their length by a constraint
        return max(((value, name) for name, value in kinds.items() if value < _FASTEST), default=(0.0, ""))


def bonds(structure: Structure) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Return the two atoms of each bond, in both directions, the distance of their images, and that of their positions.

    Atoms are bonded up to 1.3 times the sum of their covalent radii.
    """
    radii = covalent_radii[structure.numbers]
    pairs = find_neighbors(structure, 2 * float(radii.max()) * _BONDED)
    centers, distances = np.asarray(pairs.centers), pairs.distances
    near = distances <= _BONDED * (radii[centers] + radii[pairs.indices])
    first, second = centers[near].astype(np.int64), pairs.indices[near].astype(np.int64)
    direct = np.linalg.norm(structure.positions[second] - structure.positions[first], axis=1)
    return first, second, distances[near], direct


def _require_close_frames(series: VectorSeries, motion: Motion, held: _Bonds, temperature: float) -> None:
    """Refuse frames between which atoms vibrate more than half a period: their peaks would lie elsewhere."""
    highest = 1 / (2 * series.dt * _SPEED)
    frequency, name = held.fastest(temperature)
    why = "atoms vibrate faster than that" if motion.unlike(series.dt) > UNLIKE else ""
    if frequency > highest:
        why = f"bonds {name} vibrate at about {frequency:.0f} cm⁻¹"
    if why:
        raise InputError(
            f"are {series.dt:g} fs apart, which holds frequencies up to {highest:.0f} cm⁻¹, and {why}: peaks would "
            "appear where there are none; write frames more often (every 2 fs with hydrogen, 5 fs without)",
            field="frames",
        )  # fmt: skip
