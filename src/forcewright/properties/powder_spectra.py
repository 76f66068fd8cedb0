"""Spectra of solid-state NMR of powders, by mrsimulator (Srivastava, Vosegaard, Massiot and Grandinetti 2020).

Each site has a tensor of magnetic shielding, of the electric field gradient, or both; their relative orientation
counts. Frequencies are those of first-order shielding and of first- and second-order quadrupolar interaction, averaged
over all orientations of the crystal; nuclei do not see each other. Of nuclei with a half-integer spin above 1/2 the
central transition alone is shown.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from scipy.spatial.transform import Rotation

from forcewright.errors import InputError, MissingExtraError
from forcewright.properties.nuclear_resonance import describe_field_gradient
from forcewright.structure import FloatArray

Map = Literal["none", "anisotropy", "3qmas"]

_FAST = 1e12  # Hz: what mrsimulator takes for spinning without sidebands
_MAGIC = math.acos(1 / math.sqrt(3))
_SHARE = 0.12  # of the width of a spectrum that is left empty at either end
_MOST_SITES = 20_000
_ROWS = 128  # points of the second dimension of a map
_TWO = 2.0 * math.sqrt(2.0 * math.log(2.0))  # full width at half maximum of a Gaussian by its standard deviation


@dataclass(frozen=True, eq=False)
class Sites:
    """Nuclei of one isotope with their tensors.

    Attributes
    ----------
    isotope
        Such as 29Si.
    shieldings
        Absolute shieldings (n, 3, 3) in ppm, None where there is none.
    gradients
        Electric field gradients (n, 3, 3) in atomic units, None where there is none.
    reference_ppm
        Shielding of the reference compound: shifts are this less the shielding.
    """

    isotope: str
    shieldings: FloatArray | None = None
    gradients: FloatArray | None = None
    reference_ppm: float = 0.0

    def __post_init__(self) -> None:
        if self.shieldings is None and self.gradients is None:
            raise InputError("have neither shieldings nor field gradients", field="sites")
        for name in ("shieldings", "gradients"):
            values = getattr(self, name)
            if values is not None:
                tensors = np.asarray(values, dtype=np.float64).reshape(-1, 3, 3)
                if not np.isfinite(tensors).all():
                    raise InputError("hold numbers that are not finite", field=name)
                object.__setattr__(self, name, (tensors + np.swapaxes(tensors, 1, 2)) / 2)
        if self.shieldings is not None and self.gradients is not None and len(self.shieldings) != len(self.gradients):
            raise InputError(f"are those of {len(self.gradients)} nuclei, the shieldings of {len(self.shieldings)}",
                             field="gradients")  # fmt: skip
        if not 0 < len(self) <= _MOST_SITES:
            raise InputError(f"are {len(self)}; from 1 to {_MOST_SITES} make a spectrum", field="sites")

    def __len__(self) -> int:
        held = self.shieldings if self.shieldings is not None else self.gradients
        return 0 if held is None else len(held)

    @property
    def shifts(self) -> FloatArray:
        """Isotropic shifts (n,) in ppm; 0 where there are no shieldings."""
        if self.shieldings is None:
            return np.zeros(len(self))
        shifts: FloatArray = self.reference_ppm - np.trace(self.shieldings, axis1=1, axis2=2) / 3.0
        return shifts


@dataclass(frozen=True, eq=False)
class PowderSpectrum:
    """A spectrum ``intensity`` (P,) of unit area over ``shift_ppm`` (P,), ascending.

    Of a map ``second_ppm`` (Q,) and ``map`` (Q, P): the anisotropic shift with the isotropic one set to 0, or of 3QMAS
    the isotropic one, δ - 10/17 δ_QIS with the quadrupole-induced shift δ_QIS (Amoureux and Fernandez, Solid State
    Nucl. Magn. Reson. 10, 211 (1998)); empty otherwise.
    """

    shift_ppm: FloatArray
    intensity: FloatArray
    second_ppm: FloatArray
    map: FloatArray

    @property
    def center_ppm(self) -> float:
        """First moment."""
        return float(np.trapezoid(self.intensity * self.shift_ppm, self.shift_ppm))


def require_mrsimulator() -> None:
    """Raise `MissingExtraError` if mrsimulator is not installed."""
    if find_spec("mrsimulator") is None:
        raise MissingExtraError("mrsimulator", "nmr", "an NMR spectrum of a powder")


def powder_spectra(
    sites: Mapping[str, Sites], *, field_T: float = 9.4, spinning_kHz: float = 0.0, linewidth_ppm: float = 0.5,
    range_ppm: tuple[float, float] | None = None, points: int = 1024, map: Map = "none",
) -> dict[str, PowderSpectrum]:  # fmt: skip
    """Return the spectra of several sets of nuclei over the same shifts.

    Parameters
    ----------
    sites
        Nuclei of one isotope, by a name.
    field_T
        Magnetic flux density.
    spinning_kHz
        Of the sample at the magic angle; 0 for a static one, inf without sidebands.
    linewidth_ppm
        Full width at half maximum of the Gaussian that everything is broadened with.
    range_ppm
        Lowest and highest shift; by default as far as there is intensity.
    points
        Of the spectrum.
    map
        ``anisotropy`` for a map of the anisotropic over the isotropic shift, as magic-angle flipping measures it;
        ``3qmas`` for that of triple-quantum spinning, of quadrupolar nuclei.

    Raises
    ------
    MissingExtraError
        If mrsimulator is not installed.
    InputError
        If an argument is not valid, the isotope is not known, or a map is not one of such nuclei.
    """
    require_mrsimulator()
    if map not in ("none", "anisotropy", "3qmas"):
        raise InputError(f"is {map!r}; it may be none, anisotropy or 3qmas", field="map")
    for name, value in {"field_T": field_T, "linewidth_ppm": linewidth_ppm}.items():
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"is {value}; give a positive number", field=name)
    if not spinning_kHz >= 0:
        raise InputError(f"is {spinning_kHz}; give 0 or more, or inf", field="spinning_kHz")
    if not 16 <= points <= 65536:
        raise InputError(f"is {points}; from 16 to 65536 are allowed", field="points")
    isotopes = {part.isotope for part in sites.values()}
    if len(isotopes) != 1:
        raise InputError(f"are of {', '.join(sorted(isotopes)) or 'none'}; give those of one isotope", field="sites")
    nucleus = _Nucleus.of(isotopes.pop(), field_T)
    gradients = any(part.gradients is not None for part in sites.values())
    if gradients and nucleus.spin == 0.5:
        raise InputError(f"{nucleus.isotope} has the spin 1/2, and field gradients mean nothing to it", field="isotope")
    if map == "3qmas" and not (gradients and nucleus.spin > 1 and nucleus.spin % 1 == 0.5):
        raise InputError("is 3qmas, which needs field gradients and a half-integer spin above 1/2", field="map")
    spin = _FAST if math.isinf(spinning_kHz) or map != "none" else 1e3 * spinning_kHz
    low, high = _range(sites.values(), nucleus, spin, linewidth_ppm) if range_ppm is None else range_ppm
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"is {range_ppm}; give a lower and a higher shift", field="range_ppm")
    frame = _Frame(low, high, points, linewidth_ppm, spin)
    second = _second_frame(sites.values(), nucleus, frame, map, linewidth_ppm)
    return {name: _simulated(part, nucleus, frame, second, map) for name, part in sites.items()}


def mixed(spectra: Sequence[PowderSpectrum], shares: Sequence[float]) -> PowderSpectrum:
    """Return the spectrum of a mixture by the shares of its parts, such as 0.5 of α- and 0.5 of β-cristobalite.

    Raises
    ------
    InputError
        If the spectra are not over the same shifts, or the shares are not positive.
    """
    if len(spectra) != len(shares) or not spectra or not (np.asarray(shares) >= 0).all() or not sum(shares) > 0:
        raise InputError(
            f"are {list(shares)} for {len(spectra)} spectra; give one of 0 or more for each", field="shares"
        )
    first = spectra[0]
    for other in spectra[1:]:
        same = [
            getattr(other, name).shape == getattr(first, name).shape
            and np.allclose(getattr(other, name), getattr(first, name))
            for name in ("shift_ppm", "second_ppm")
        ]
        if not all(same):
            raise InputError("are not over the same shifts; compute them with one range_ppm", field="spectra")
    parts = np.asarray(shares, dtype=np.float64) / sum(shares)
    intensity: FloatArray = sum(share * part.intensity for share, part in zip(parts, spectra, strict=True))
    maps: FloatArray = sum(share * part.map for share, part in zip(parts, spectra, strict=True))
    return replace(first, intensity=intensity, map=maps)


def _imported(name: str) -> Any:
    """Return a module of mrsimulator; versions of it warn of Python's to come while they are imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


@dataclass(frozen=True)
class _Nucleus:
    isotope: str
    field_T: float
    spin: float
    larmor_MHz: float  # its size

    @classmethod
    def of(cls, isotope: str, field_T: float) -> _Nucleus:
        library = _imported("mrsimulator.spin_system.isotope")
        try:
            known = library.Isotope.parse(isotope)
            return cls(isotope, field_T, float(known.spin), abs(float(known.gyromagnetic_ratio)) * field_T)
        except Exception:  # pydantic's or its own
            raise InputError(f"{isotope!r} is not an isotope that mrsimulator knows; write such as 29Si or 27Al",
                             field="isotope") from None  # fmt: skip


@dataclass(frozen=True)
class _Frame:
    """An axis of shifts."""

    low: float
    high: float
    points: int
    linewidth: float
    spin: float

    @property
    def center(self) -> float:
        """The point in the middle; mrsimulator's shifts are small beside it, as its scale of ppm asks for."""
        return self.low + (self.high - self.low) / self.points * (self.points // 2)

    def dimension(self, larmor_MHz: float, scale: float = 1.0) -> dict[str, Any]:
        """Return the axis about its center as mrsimulator has it, in Hz; it ends before the highest shift."""
        return {"count": self.points, "spectral_width": scale * (self.high - self.low) * larmor_MHz}

    @property
    def shifts(self) -> FloatArray:
        """Shifts (P,) in ppm."""
        return self.low + (self.high - self.low) / self.points * np.arange(self.points, dtype=np.float64)

    def broadened(self, values: FloatArray) -> FloatArray:
        """Return values (..., P) broadened by a Gaussian; nothing comes in at one end that leaves at the other."""
        padded = np.concatenate([values, np.zeros_like(values)], axis=-1)
        step = (self.high - self.low) / self.points
        waves = np.fft.rfftfreq(padded.shape[-1], step)
        damping = np.exp(-2 * (np.pi * waves * self.linewidth / _TWO) ** 2)
        smooth = np.fft.irfft(np.fft.rfft(padded, axis=-1) * damping, padded.shape[-1], axis=-1)
        return np.asarray(smooth[..., : self.points], dtype=np.float64)


def _range(sites: Any, nucleus: _Nucleus, spin: float, linewidth: float) -> tuple[float, float]:
    """Return shifts that hold a spectrum: its isotropic shifts, what orientations add, and sidebands."""
    lows, highs = [], []
    for part in sites:
        low, high = np.full(len(part), -linewidth), np.full(len(part), linewidth)
        if part.shieldings is not None:
            values = np.linalg.eigvalsh(part.shieldings)
            mean = values.mean(axis=1)
            low, high = low + np.minimum(mean - values[:, 2], 0), high + (mean - values[:, 0])
            if 0 < spin < _FAST:  # sidebands go a little beyond the static pattern
                low, high = low - 2 * spin / nucleus.larmor_MHz, high + 2 * spin / nucleus.larmor_MHz
        if part.gradients is not None:
            coupling = np.abs(describe_field_gradient(part.gradients, nucleus.isotope).coupling_MHz)
            order = nucleus.spin
            rate = 3 * coupling / (2 * order * (2 * order - 1))
            if order % 1 == 0.5:
                second = 1e6 * rate**2 / (6 * nucleus.larmor_MHz**2) * (order * (order + 1) - 0.75)
                # Of a static sample the ends are -4/3 and 2/3 for η = 1; spinning without sidebands about halves it.
                below, above = (0.65, 0.2) if spin >= _FAST else (1.4, 0.75)
                low, high = low - below * second, high + above * second
            else:
                low, high = low - 1e6 * rate / nucleus.larmor_MHz, high + 1e6 * rate / nucleus.larmor_MHz
        lows.append((part.shifts + low).min())
        highs.append((part.shifts + high).max())
    lowest, highest = float(min(lows)), float(max(highs))
    empty = max(_SHARE * (highest - lowest), 3 * linewidth)
    return lowest - empty, highest + empty


def _second_frame(sites: Any, nucleus: _Nucleus, frame: _Frame, map: str, linewidth: float) -> _Frame | None:
    if map == "none":
        return None
    if map == "3qmas":
        return replace(frame, points=_ROWS)
    centered = []
    for part in sites:
        if part.shieldings is not None:
            mean = np.trace(part.shieldings, axis1=1, axis2=2)[:, None, None] / 3.0
            centered.append(Sites(part.isotope, part.shieldings - mean * np.eye(3)))
    if not centered:
        raise InputError("is anisotropy, which needs shieldings", field="map")
    low, high = _range(centered, nucleus, 0.0, linewidth)
    return replace(frame, low=-max(-low, high), high=max(-low, high), points=_ROWS)


def _simulated(sites: Sites, nucleus: _Nucleus, frame: _Frame, second: _Frame | None, map: str) -> PowderSpectrum:
    package = _imported("mrsimulator")
    described = _sites(sites, nucleus.isotope, frame.center)
    systems = [package.SpinSystem(sites=[package.Site(**site)]) for site in described]
    simulator = package.Simulator(spin_systems=systems, methods=[_method(nucleus, frame, second, map)])
    both = sites.shieldings is not None and sites.gradients is not None
    simulator.config.integration_volume = "hemisphere" if both else "octant"
    simulator.config.integration_density = 70 if len(sites) < 200 else 40
    if 0 < frame.spin < _FAST:
        width = (frame.high - frame.low) * nucleus.larmor_MHz
        simulator.config.number_of_sidebands = int(min(2 ** math.ceil(math.log2(max(2 * width / frame.spin, 8))), 4096))
    simulator.run(n_jobs=1)
    data = simulator.methods[0].simulation
    values = np.asarray(data.y[0].components[0].real, dtype=np.float64)
    if second is None:
        line = _unit_area(frame.broadened(values), frame.shifts)
        return PowderSpectrum(frame.shifts, line, np.zeros(0), np.zeros((0, 0)))
    values = values.reshape(second.points, frame.points)
    if map == "3qmas" and _slope(nucleus) < 0:
        values = np.roll(values[::-1], 1, axis=0)
    whole = second.broadened(frame.broadened(values).T).T
    total = float(whole.sum()) * (frame.shifts[1] - frame.shifts[0]) * (second.shifts[1] - second.shifts[0])
    whole = whole / (total or 1.0)
    return PowderSpectrum(frame.shifts, _unit_area(whole.sum(axis=0), frame.shifts), second.shifts, whole)


def _unit_area(values: FloatArray, shifts: FloatArray) -> FloatArray:
    total = float(values.sum()) * (shifts[1] - shifts[0])
    if not total > 0:
        raise InputError("holds no intensity; choose other shifts", field="range_ppm")
    normal: FloatArray = values / total
    return normal


def _slope(nucleus: _Nucleus) -> float:
    """Return how much a chemical shift moves a line of mrsimulator's sheared triple-quantum dimension."""
    shear = _imported("mrsimulator.method.lib.mqvas").shear_factor_MQ_MAS[3][nucleus.spin]
    order = 3 if nucleus.spin == 1.5 else -3
    return float((order + shear) / (1 + shear))


def _sites(sites: Sites, isotope: str, zero: float) -> list[dict[str, Any]]:
    """Return sites as mrsimulator has them: shifts in ppm, couplings in Hz, Euler angles to the frame of the cell."""
    described: list[dict[str, Any]] = [
        {"isotope": isotope, "isotropic_chemical_shift": s} for s in (sites.shifts - zero).tolist()
    ]
    both = (
        sites.shieldings is not None and sites.gradients is not None
    )  # one alone is averaged in the frame of its axes
    if sites.shieldings is not None:
        for site, (zeta, eta, angles) in zip(described, _haeberlen(sites.shieldings), strict=True):
            site["shielding_symmetric"] = {"zeta": zeta, "eta": eta, **(angles if both else {})}
    if sites.gradients is not None:
        coupling = describe_field_gradient(sites.gradients, isotope).coupling_MHz
        for site, (_, eta, angles), held in zip(described, _haeberlen(sites.gradients), coupling, strict=True):
            site["quadrupolar"] = {"Cq": 1e6 * float(held), "eta": eta, **(angles if both else {})}
    return described


def _haeberlen(tensors: FloatArray) -> list[tuple[float, float, dict[str, float]]]:
    """Return ζ, η and the angles, about z, y, z in turn, of the axes of |zz| ≥ |xx| ≥ |yy| without trace."""
    values, axes = np.linalg.eigh(tensors)
    values = values - values.mean(axis=1, keepdims=True)
    order = np.argsort(np.abs(values), axis=1, kind="stable")[:, [1, 0, 2]]
    values = np.take_along_axis(values, order, axis=1)
    axes = np.take_along_axis(axes, order[:, None, :], axis=2)
    axes[:, :, 1] *= np.sign(np.linalg.det(axes))[:, None]
    made = []
    for (_, yy, zz), turn in zip(values, axes, strict=True):
        xx = -yy - zz
        eta = float(np.clip((yy - xx) / zz, 0.0, 1.0)) if abs(zz) > 1e-12 else 0.0
        cosine = float(np.clip(turn[2, 2], -1.0, 1.0))
        if 1 - abs(cosine) < 1e-10:  # z stays where it is: one of the two angles about it is enough
            angles = np.array([math.atan2(turn[1, 0], turn[0, 0]), 0.0, 0.0])
        else:
            angles = Rotation.from_matrix(turn).as_euler("zyz")
        made.append((float(zz), eta, dict(zip(("alpha", "beta", "gamma"), angles.tolist(), strict=True))))
    return made


def _method(nucleus: _Nucleus, frame: _Frame, second: _Frame | None, map: str) -> Any:
    """Return what is measured: the transitions p = -1, of half-integer spins between -1/2 and 1/2 alone."""
    library = _imported("mrsimulator.method.lib")
    common: dict[str, Any] = {"channels": [nucleus.isotope], "magnetic_flux_density": nucleus.field_T}
    direct = frame.dimension(nucleus.larmor_MHz)
    if second is None:
        kind = library.BlochDecayCTSpectrum if nucleus.spin % 1 == 0.5 else library.BlochDecaySpectrum
        return kind(**common, rotor_frequency=frame.spin, spectral_dimensions=[direct])
    if map == "3qmas":  # scaled so that chemical shifts are the same along both axes
        indirect = second.dimension(nucleus.larmor_MHz, abs(_slope(nucleus)))
        return library.ThreeQ_VAS(**common, spectral_dimensions=[indirect, direct])
    indirect = second.dimension(nucleus.larmor_MHz)
    query = [{"ch1": {"P": [-1], "D": [0]}}]
    along = {"rotor_angle": 0.0, "transition_queries": query}  # spinning along the field averages nothing
    return _imported("mrsimulator.method").Method(
        **common, rotor_frequency=_FAST, rotor_angle=_MAGIC,
        spectral_dimensions=[{**indirect, "events": [along]}, {**direct, "events": [{"transition_queries": query}]}],
        affine_matrix=[1, -1, 0, 1],
    )  # fmt: skip
