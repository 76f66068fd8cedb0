"""NMR along a trajectory: tensors averaged over time, as motion faster than the spectrum averages them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase.data import chemical_symbols

from forcewright.analyze.block_average import block_mean
from forcewright.analyze.frames import same_atoms
from forcewright.analyze.property_sources import PropertySource, property_source
from forcewright.analyze.result import Axes, Result
from forcewright.errors import ForcewrightError, InputError
from forcewright.properties.nuclear_resonance import QUADRUPOLE_MOMENTS, describe_field_gradient, describe_shielding
from forcewright.properties.powder_spectra import Map, Sites, powder_spectra, require_mrsimulator
from forcewright.structure import FloatArray, IntArray
from forcewright.trajectory import Frames, Snapshot

_BINS = 200
_MOST_NUCLEI = 2000  # of frames that do not move, for each model
_PPM = dict.fromkeys(("isotropic", "shift", "anisotropy", "span"), "_ppm")
_POINTS = {"none": 2048, "anisotropy": 256, "3qmas": 256}


@dataclass(frozen=True, eq=False)
class NuclearResonance(Result):
    """Quantities of NMR of each atom with a tensor, of its average over time and averaged themselves.

    ``atom`` (n,) are the atoms and ``elements`` theirs. ``averaged`` has quantities (n,) of the averaged tensors,
    ``instantaneous`` the means of the same quantities of every frame: what would be seen if nothing moved during a
    measurement. For shieldings in ppm these are ``isotropic`` (with a reference, ``shift``), ``anisotropy`` Δσ and
    ``asymmetry`` η of Haeberlen, ``span`` and ``skew``; for electric field gradients ``coupling_MHz`` C_Q and
    ``asymmetry`` η_Q. ``error`` (n,) is the standard error of the first of them, by blocks, NaN where there are less
    than two frames; ``spread`` (n,) its standard deviation over frames. ``tensors`` (n, 3, 3) are the averages.
    ``density`` has the distribution over atoms and frames of that quantity by element, per unit, at ``values`` (B,).
    ``averaged_tensors`` and ``single_frames`` are means of the quantities over atoms, of C_Q those of |C_Q|.
    """

    atom: IntArray
    averaged: dict[str, FloatArray]
    instantaneous: dict[str, FloatArray]
    error: FloatArray
    spread: FloatArray
    tensors: FloatArray
    elements: tuple[str, ...]
    averaged_tensors: dict[str, float]
    single_frames: dict[str, float]
    quantities: tuple[str, ...]
    values: FloatArray
    density: dict[str, FloatArray]
    kind: str
    isotopes: str | None
    frames: int

    def _draw(self, ax: Axes) -> None:
        main = self.quantities[0]
        for k, (element, density) in enumerate(self.density.items()):
            ax.fill_between(self.values, density, color=f"C{k}", alpha=0.3, linewidth=0)
            ax.plot(self.values, density, color=f"C{k}", linewidth=1, label=f"{element}, all frames")
            chosen = np.array([symbol == element for symbol in self.elements])
            ax.vlines(self.averaged[main][chosen], 0, 0.35 * density.max(), color=f"C{k}", linewidth=1.2,
                      label=f"{element}, averaged tensors")  # fmt: skip
        unit = {"coupling_MHz": "MHz"}.get(main, "ppm")
        name = {"coupling_MHz": "C_Q", "shift": "chemical shift", "isotropic": "isotropic shielding"}[main]
        ax.set(xlabel=f"{name} ({unit})", ylabel=f"distribution (1/{unit})")
        if main == "shift":
            ax.invert_xaxis()
        ax.legend(frameon=False)


def nmr(
    frames: Frames, *, model: Any, isotope: str | None = None, element: str | None = None,
    reference_ppm: float | None = None,
) -> NuclearResonance:  # fmt: skip
    """Average tensors of magnetic shielding or of the electric field gradient over time, and describe the averages.

    Motion that is fast on the scale of a spectrum averages the tensor, not its eigenvalues: of silicon in
    β-cristobalite the average has next to no anisotropy, though no single moment is without. Tensors are averaged in
    the frame of the cell, so that a molecule that turns freely ends with an isotropic one.

    Parameters
    ----------
    model
        Folder of a model of shieldings or field gradients (that of its study will do); in Python also a model or an
        ASE calculator.
    isotope
        Such as 27Al, for C_Q; that of the element with a quadrupole moment if None.
    element
        Atoms of which element; all that have a tensor if None.
    reference_ppm
        Shielding of the reference compound: chemical shifts δ = reference - σ are then written instead of σ.

    Raises
    ------
    InputError
        If the model gives neither tensor or does not know an element of the frames, no atom has a tensor, or the
        isotope has no quadrupole moment that is known.
    """
    source = property_source(model, ("shielding", "efg"))
    if reference_ppm is not None and source.kind != "shielding":
        raise InputError("is for shieldings; the model predicts field gradients", field="reference_ppm")
    sums: FloatArray | None = None
    described: dict[str, FloatArray] = {}
    atoms: IntArray = np.zeros(0, dtype=np.int64)
    symbols: tuple[str, ...] = ()
    series: list[FloatArray] = []
    for frame, snapshot in enumerate(same_atoms(frames, ordered=True)):
        tensors = _tensors(source, snapshot, frame)
        if sums is None:
            atoms, symbols = _atoms(tensors, snapshot.structure.numbers, element)
            sums = np.zeros((len(atoms), 9))
        chosen = tensors[atoms]
        if not np.isfinite(chosen).all():
            raise InputError("a tensor is not finite", frame=frame)
        now = _quantities(source, chosen, symbols, isotope, reference_ppm)
        sums += chosen
        for name, values in now.items():
            described[name] = described.get(name, np.zeros(len(atoms))) + values
        series.append(next(iter(now.values())))
    assert sums is not None  # same_atoms raises where there is no frame
    count = len(series)
    averaged = _quantities(source, sums / count, symbols, isotope, reference_ppm)
    instantaneous = {name: values / count for name, values in described.items()}
    stacked = np.array(series)
    deviation = np.array([block_mean(column).error if count > 1 else np.nan for column in stacked.T])
    names = sorted(set(symbols), key=symbols.index)
    of = {name: np.array([symbol == name for symbol in symbols]) for name in names}
    means: list[dict[str, float]] = []
    for parts in (averaged, instantaneous):
        means.append({})
        for quantity, values in parts.items():
            for name, mask in of.items():
                key = f"{'' if len(of) == 1 else f'{name} '}{quantity}{_PPM.get(quantity, '')}"
                means[-1][key] = float(_size(quantity, values[mask]).mean())
    grid, density = _distribution(stacked, of)
    isotopes = {name: isotope or _isotope(name) for name in names} if source.kind == "efg" else {}
    return NuclearResonance(
        atoms, averaged, instantaneous, deviation, stacked.std(axis=0), (sums / count).reshape(-1, 3, 3), symbols,
        means[0], means[1], tuple(averaged), grid, density, source.kind, ", ".join(isotopes.values()) or None, count,
    )  # fmt: skip


def _tensors(source: PropertySource, snapshot: Snapshot, frame: int) -> FloatArray:
    """Return the tensors (N, 9) of a frame, which errors name."""
    try:
        return source.values(snapshot.structure)
    except InputError as error:
        raise InputError(error.problem, frame=frame, field=error.field) from None
    except ForcewrightError as error:
        raise ForcewrightError(f"frame {frame}: {error}") from error


def _atoms(tensors: FloatArray, numbers: IntArray, element: str | None) -> tuple[IntArray, tuple[str, ...]]:
    """Return the atoms that have a tensor, of one element or of any, with their symbols."""
    symbols = np.array([chemical_symbols[z] for z in numbers])
    known = np.isfinite(tensors).all(axis=1)
    chosen = known if element is None else known & (symbols == element)
    if not chosen.any():
        there = ", ".join(sorted(set(symbols[known]))) or "none"
        which = "" if element is None else f" of {element}"
        raise InputError(f"no atom{which} in these frames has a tensor; elements with tensors are {there}",
                         field="element")  # fmt: skip
    atoms = np.flatnonzero(chosen)
    return atoms, tuple(symbols[atoms].tolist())


def _isotope(symbol: str) -> str:
    """Return the isotope of an element whose quadrupole moment is known; `InputError` if there is none."""
    known = [name for name in QUADRUPOLE_MOMENTS if name.lstrip("0123456789") == symbol]
    if not known:
        raise InputError(f"no quadrupole moment of {symbol} is known here; choose the element of one of "
                         f"{', '.join(QUADRUPOLE_MOMENTS)}", field="element")  # fmt: skip
    return known[0]


def _quantities(
    source: PropertySource, tensors: FloatArray, symbols: tuple[str, ...], isotope: str | None,
    reference: float | None,
) -> dict[str, FloatArray]:  # fmt: skip
    """Return quantities (n,) of tensors (n, 9), the one that is drawn first."""
    if source.kind == "shielding":
        of = describe_shielding(tensors)
        first = {"isotropic": of.isotropic} if reference is None else {"shift": reference - of.isotropic}
        return {**first, "anisotropy": of.anisotropy, "asymmetry": of.asymmetry, "span": of.span, "skew": of.skew}
    coupling, asymmetry = np.zeros(len(tensors)), np.zeros(len(tensors))
    for symbol in set(symbols):
        chosen = np.array([s == symbol for s in symbols])
        gradient = describe_field_gradient(tensors[chosen], isotope or _isotope(symbol))
        coupling[chosen], asymmetry[chosen] = gradient.coupling_MHz, gradient.asymmetry
    return {"coupling_MHz": coupling, "asymmetry": asymmetry}


def _size(quantity: str, values: FloatArray) -> FloatArray:
    return np.abs(values) if quantity == "coupling_MHz" else values


def _distribution(series: FloatArray, of: dict[str, Any]) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Return values (B,) and the density of a series (T, n) there, by element, smoothed a little."""
    low, high = float(series.min()), float(series.max())
    width = max((high - low) / 60, 1e-6 * max(abs(low), abs(high), 1.0))
    edges = np.linspace(low - 4 * width, high + 4 * width, _BINS + 1)
    grid = (edges[1:] + edges[:-1]) / 2
    kernel = np.exp(-0.5 * ((grid - grid[_BINS // 2]) / width) ** 2)
    density = {}
    for name, mask in of.items():
        smooth = np.convolve(np.histogram(series[:, mask], edges)[0], kernel, mode="same")
        density[name] = smooth / (smooth.sum() * (grid[1] - grid[0]))
    return grid, density


@dataclass(frozen=True, eq=False)
class NuclearSpectrum(Result):
    """Spectra of a powder, by model: ``intensity`` (P,) of unit area at ``shift_ppm`` (P,).

    ``center_ppm`` are their first moments. Of a map ``maps`` (Q, P) have ``second_ppm`` (Q,) as their other axis.
    ``frames`` were read, ``nuclei`` make each spectrum.
    """

    shift_ppm: FloatArray
    intensity: dict[str, FloatArray]
    center_ppm: dict[str, float]
    second_ppm: FloatArray
    maps: dict[str, FloatArray]
    isotope: str
    field_T: float
    spinning: str
    linewidth_ppm: float
    motion: str
    map: str
    frames: int
    nuclei: int

    def _draw(self, ax: Axes) -> None:
        if self.maps:
            for k, (name, values) in enumerate(self.maps.items()):
                levels = values.max() * np.geomspace(0.03, 0.9, 9)
                ax.contour(self.shift_ppm, self.second_ppm, values, levels=levels, colors=f"C{k}", linewidths=0.8)
                ax.plot([], [], color=f"C{k}", label=name)
            words = {"anisotropy": "anisotropic shift (ppm)", "3qmas": "isotropic 3QMAS shift (ppm)"}
            ax.set(xlabel=f"{self.isotope} shift (ppm)", ylabel=words[self.map])
            ax.invert_yaxis()
        else:
            height = max(float(values.max()) for values in self.intensity.values())
            for k, (name, values) in enumerate(self.intensity.items()):
                ax.plot(self.shift_ppm, values - 1.08 * k * height, color=f"C{k}", linewidth=1.2, label=name)
            ax.set(xlabel=f"{self.isotope} shift (ppm)", ylabel="intensity", yticks=[], title=self.spinning)
        together = np.sum(list(self.intensity.values()), axis=0)
        seen = self.shift_ppm[together > 0.002 * together.max()]
        beside = 0.08 * (seen[-1] - seen[0])
        ax.set_xlim(float(seen[-1] + beside), float(seen[0] - beside))
        if len(self.intensity) > 1:
            ax.legend(frameon=False)


def nmr_spectrum(
    frames: Frames, *, isotope: str, model: Any = None, gradients: Any = None, reference_ppm: float = 0.0,
    field_T: float = 9.4, spinning_kHz: float = 0.0, linewidth_ppm: float = 0.5,
    range_ppm: tuple[float, float] | None = None, motion: Literal["fast", "frozen"] = "fast", map: Map = "none",
) -> NuclearSpectrum:  # fmt: skip
    """Compute the NMR spectrum of a powder of what a trajectory shows: static, spinning, or a map of two shifts.

    Needs mrsimulator (extra nmr).

    Parameters
    ----------
    isotope
        Such as 29Si.
    model
        Folder of a model of shieldings (that of its study will do), or several by name, whose spectra are put beside
        one another; in Python also models and ASE calculators.
    gradients
        The same of electric field gradients; one goes with all models of shieldings.
    reference_ppm
        Shielding of the reference compound; shifts are this less the shielding.
    field_T
        Magnetic flux density.
    spinning_kHz
        Spinning at the magic angle; 0 for a static sample, .inf without sidebands.
    linewidth_ppm
        Full width at half maximum of the Gaussian that everything is broadened with.
    range_ppm
        Lowest and highest shift; by default as far as there is intensity.
    motion
        Whether motion is fast, so that the tensors of each atom are averaged, or frozen, so that every frame is a
        sample of its own.
    map
        none, anisotropy (anisotropic over isotropic shift) or 3qmas.

    Raises
    ------
    MissingExtraError
        If mrsimulator is not installed.
    InputError
        If there is no model, a model does not fit, no atom of the isotope has a tensor, or a setting is not valid.
    """
    require_mrsimulator()  # before minutes are spent
    if motion not in ("fast", "frozen"):
        raise InputError(f"is {motion!r}; it may be fast or frozen", field="motion")
    shieldings = {name: property_source(part, ("shielding",)) for name, part in _named(model).items()}
    fields = {name: property_source(part, ("efg",), "gradients") for name, part in _named(gradients).items()}
    if not shieldings and not fields:
        raise InputError(
            "is missing; give a model of shieldings, or one of field gradients as gradients", field="model"
        )
    if len(fields) == 1 and shieldings:
        fields = dict.fromkeys(shieldings, next(iter(fields.values())))
    if shieldings and fields and set(fields) != set(shieldings):
        raise InputError(f"are named {', '.join(fields)}, the models {', '.join(shieldings)}; give the same names",
                         field="gradients")  # fmt: skip
    symbol = isotope.lstrip("0123456789")
    held: dict[tuple[str, str], list[FloatArray]] = {}
    atoms: IntArray | None = None
    count = 0
    for frame, snapshot in enumerate(same_atoms(frames, ordered=True)):
        count += 1
        for kind, sources in (("shielding", shieldings), ("gradient", fields)):
            for name, source in sources.items():
                tensors = _tensors(source, snapshot, frame)
                if atoms is None:
                    atoms, _ = _atoms(tensors, snapshot.structure.numbers, symbol)
                if not np.isfinite(tensors[atoms]).all():
                    raise InputError(
                        f"the {kind} of an atom of {symbol} by {name} is missing or not finite", frame=frame
                    )
                held.setdefault((kind, name), []).append(tensors[atoms])
    assert atoms is not None
    step = max(1, -(-count * len(atoms) // _MOST_NUCLEI))
    chosen = {
        key: np.mean(parts, axis=0) if motion == "fast" else np.concatenate(parts[::step])
        for key, parts in held.items()
    }
    sites = {
        name: Sites(isotope, chosen.get(("shielding", name)), chosen.get(("gradient", name)), reference_ppm)
        for name in shieldings or fields
    }
    made = powder_spectra(
        sites, field_T=field_T, spinning_kHz=spinning_kHz, linewidth_ppm=linewidth_ppm, range_ppm=range_ppm,
        points=_POINTS.get(map, 2048), map=map,
    )  # fmt: skip
    first = next(iter(made.values()))
    spinning = {0.0: "static", np.inf: "spinning without sidebands"}.get(
        spinning_kHz, f"spinning at {spinning_kHz:g} kHz"
    )
    return NuclearSpectrum(
        first.shift_ppm, {name: part.intensity for name, part in made.items()},
        {name: part.center_ppm for name, part in made.items()}, first.second_ppm,
        {name: part.map for name, part in made.items() if map != "none"}, isotope, field_T, spinning, linewidth_ppm,
        motion, map, count, len(next(iter(sites.values()))),
    )  # fmt: skip


def _named(model: Any) -> dict[str, Any]:
    """Return models by name; a command line gives names as parts of pairs."""
    if model is None:
        return {}
    if isinstance(model, Mapping):
        return {"-".join(map(str, key)) if isinstance(key, tuple) else str(key): part for key, part in model.items()}
    return {"model": model}
