"""How far predictions can be trusted: the uncertainty of each atom, and what it is on frames that a fit has not seen.

A grade of 1 is the edge of the active set, not that of the data: of frames from the very distribution of the training
data a third can lie beyond it. So a potential keeps the quantiles of its uncertainty over frames that were held back,
graded by what the others know, and a structure is *outside* where its most uncertain atom exceeds all but 1 % of these
frames (split conformal prediction: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, ch. 2).

Every kind of uncertainty is asked for in the same way, `uncertainty_of`, and gives a number for each atom:

==============  =============================================================  ====================================
kind            what it is                                                     which potentials know it
==============  =============================================================  ====================================
grade           extrapolation grade                                            ACE, SNAP (`Graded`)
variance        standard deviation of the atom's energy in eV                  GAP (`Varying`)
committee       spread of the forces of a committee in eV/Å                    linear ones (`Parametric`)
standard_error  standard error of the force from the posterior in eV/Å         linear ones (`Parametric`)
distance        distance to the nearest environment of the training data       all
rematch         distance of the whole structure to the nearest training frame  all
                by the REMatch kernel, the same for each of its atoms
==============  =============================================================  ====================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast, get_args

import numpy as np
from scipy.special import gammainc, gammaincinv, stdtrit

from forcewright.descriptors.environments import Environments
from forcewright.descriptors.known_structures import KnownStructures
from forcewright.errors import InputError
from forcewright.potential import DesignRows, Graded, Parametric, Potential, Varying
from forcewright.structure import FloatArray, Structure

#: Kinds of uncertainty; those before are preferred where nobody asks for one.
Kind = Literal["grade", "variance", "committee", "standard_error", "distance", "rematch"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: What each kind is called, and its unit.
MEASURES: Mapping[Kind, tuple[str, str]] = {
    "grade": ("extrapolation grade", ""), "variance": ("standard deviation", "eV"),
    "committee": ("spread of the committee's forces", "eV/Å"),
    "standard_error": ("standard error of the force", "eV/Å"),
    "distance": ("distance to the training environments", ""),
    "rematch": ("REMatch distance to the training frames", ""),
}  # fmt: skip

#: Share of frames like those of the training data that are inside.
COVERAGE = 0.99
#: Limits above this say that the frames held back are themselves extrapolations of the others.
MEANINGLESS = 1e3

#: In the information of labels: the frame is there because it was new to a potential. What was chosen by its
#: uncertainty is not exchangeable with other frames, and would raise the limit that it has exceeded.
NOVEL = "novel"

_QUANTILES = (50, 90, 95, 99)
_FEWEST = 8  # frames below which nothing is said about a quantile of 99 %
_TAIL = 0.05  # share of atoms from which the tail is estimated


@dataclass(frozen=True)
class Span:
    """What the atoms of one element in the training data tell of its functions.

    Attributes
    ----------
    atoms
        Their number.
    functions
        Number of functions p.
    spanned
        Directions along which they vary.
    rank
        Directions that they have at all, to within rounding.
    """

    atoms: int
    functions: int
    spanned: int
    rank: int


@dataclass(frozen=True)
class Reliability:
    """How well the uncertainties of atoms in frames held back tell the errors of their forces.

    Attributes
    ----------
    spearman
        Rank correlation of uncertainty and error.
    scale
        What an uncertainty is multiplied by to be the root mean squared error of the force vector, in eV/Å per its
        unit: such that half of the atoms have an error below the median of a normal distribution.
    coverage
        Share of atoms whose error is below what 68 % and 95 % of normal errors would be below, so scaled.
    miscalibration_area
        Area between that share and the share expected, over all shares from 0 to 1 (Tran et al., Mach. Learn.: Sci.
        Technol. 1, 025006, 2020); 0 is perfect, 0.5 the worst.
    curve
        Median uncertainty and root mean squared force error in eV/Å of the atoms in ten groups of rising uncertainty.
    """

    spearman: float
    scale: float
    coverage: Mapping[str, float]
    miscalibration_area: float
    curve: Sequence[Sequence[float]]


_SHARES = np.linspace(0.0, 1.0, 101)
_GROUPS = 10


def reliability(uncertainties: FloatArray, errors: FloatArray) -> Reliability | None:
    """Return how well uncertainties (n,) of atoms tell the lengths of their force errors (n,); None for too few.

    A vector of three independent normal errors has a length that follows a χ distribution with three degrees of
    freedom.
    """
    known = np.isfinite(uncertainties) & np.isfinite(errors)
    u, e = uncertainties[known], errors[known]
    if len(u) < 2 * _GROUPS or not np.ptp(u) or not np.ptp(e):
        return None
    ratios = e / np.maximum(u, 1e-6 * np.median(u) or 1e-300)
    scale = float(np.median(ratios) * math.sqrt(1.5 / gammaincinv(1.5, 0.5)))
    expected = np.sort(gammainc(1.5, 1.5 * (ratios / (scale or 1.0)) ** 2))  # of each atom: the share it is within
    shares = np.searchsorted(expected, _SHARES, side="right") / len(expected)
    area = float(np.trapezoid(np.abs(shares - _SHARES), _SHARES))
    groups = np.array_split(np.argsort(u, kind="stable"), _GROUPS)
    curve = [[float(np.median(u[group])), float(np.sqrt(np.mean(e[group] ** 2)))] for group in groups]
    coverage = {name: float(np.mean(expected <= share)) for name, share in (("68", 0.68), ("95", 0.95))}
    return Reliability(rank_correlation(u, e), scale, coverage, area, curve)


def rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Return Spearman's rank correlation of two quantities (n,)."""
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (first, second)]
    return float(np.asarray(np.corrcoef(np.array(ranks, dtype=np.float64)))[0, 1])


@dataclass(frozen=True)
class Calibration:
    """The uncertainty of a potential over frames that were held back.

    Attributes
    ----------
    measure
        What the uncertainty is, see `MEASURES`.
    unit
        Its unit; empty for a pure number.
    source
        Which frames were held back, in words.
    frames, atoms
        Their number, and that of their atoms.
    limit
        A frame is outside where the largest uncertainty of its atoms is above this.
    tail
        By which power of its number of atoms the limit of a frame grows that is larger than those held back (Hill's
        estimate of the tail).
    frame_quantiles, atom_quantiles
        Quantiles by percentage, of the largest of each frame and of all atoms.
    spans
        By element, for grades.
    reliability
        How the uncertainties compare with the errors of forces, where these are labelled.
    """

    measure: str
    unit: str
    source: str
    frames: int
    atoms: int
    limit: float
    tail: float
    frame_quantiles: Mapping[str, float]
    atom_quantiles: Mapping[str, float]
    spans: Mapping[str, Span] = field(default_factory=dict)
    reliability: Reliability | None = None

    def limit_of(self, atoms: int, quantile: float = COVERAGE) -> float:
        """Return the limit of a frame with so many atoms: the largest of more atoms is larger.

        Parameters
        ----------
        quantile
            Share of frames like those held back that are below it, from 0.5 to 0.99.
        """
        limit = self.limit
        if quantile != COVERAGE:  # on a straight line between those that are known, in the logarithm of what is left
            left = [1.0 - float(percent) / 100.0 for percent in self.frame_quantiles]
            limit = float(np.interp(-math.log(1.0 - quantile), -np.log(left), [*self.frame_quantiles.values()]))
        return float(limit * max(1.0, atoms * self.frames / self.atoms) ** self.tail)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        values = asdict(self)
        if self.reliability is None:
            del values["reliability"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Return what `to_dict` gave; ValueError, KeyError or TypeError where that is not what the values are."""
        numbers = [values["limit"], *values["frame_quantiles"].values(), *values["atom_quantiles"].values()]
        if not all(isinstance(x, int | float) and math.isfinite(x) and x >= 0 for x in numbers):
            raise ValueError("a quantile is not a finite number of 0 or more")
        if not (values["frames"] >= 1 and values["atoms"] >= values["frames"] and 0 <= values["tail"] <= 1):
            raise ValueError("frames, atoms or tail cannot be those of a calibration")
        spans = {symbol: Span(**span) for symbol, span in values["spans"].items()}
        known = values.get("reliability")
        return cls(**{**values, "spans": spans, "reliability": None if known is None else Reliability(**known)})

    def warnings(self) -> list[str]:
        """Return in sentences what makes the uncertainty say less than it seems to."""
        sentences = []
        if missing := {symbol: span for symbol, span in self.spans.items() if span.rank < span.functions}:
            counts = ", ".join(f"{s.rank} of {s.functions} ({symbol})" for symbol, s in missing.items())
            sentences.append(
                f"The environments in the training data span fewer directions than there are functions: {counts}. "
                "Grades are those of the directions that they do span, and what leaves these counts as outside; fewer "
                "functions or more varied data would settle more of the coefficients."
            )
        if self.limit > MEANINGLESS:
            sentences.append(
                f"1 % of the frames held back have a {self.measure} above {self.limit:.3g}: parts of the training data "
                "are extrapolations of the others, so that it hardly tells inside from outside."
            )
        return sentences


def calibrate(
    frames: Sequence[FloatArray], *, measure: str, unit: str, source: str, spans: Mapping[str, Span] | None = None,
    errors: Sequence[FloatArray] = (),
) -> Calibration | None:  # fmt: skip
    """Return the quantiles of uncertainties, the atoms' (N,) of each held-back frame; None for too few frames.

    Frames of which an uncertainty is not finite (an element that occurs in no other) are left out.

    Parameters
    ----------
    errors
        Lengths of the force errors (N,) in eV/Å of each frame, empty where forces are not labelled; none of all.
    """
    pairs = [(u, e) for u, e in zip(frames, errors, strict=bool(errors)) if len(u) and len(u) == len(e)]
    rated = reliability(*(np.concatenate(part) for part in zip(*pairs, strict=True))) if pairs else None
    known = [values for values in frames if len(values) and np.isfinite(values).all()]
    if len(known) < _FEWEST:
        return None
    largest, atoms = np.sort([float(values.max()) for values in known]), np.sort(np.concatenate(known))
    return Calibration(
        measure, unit, source, len(known), len(atoms), _limit(largest), _tail_of(atoms), _quantiles(largest),
        _quantiles(atoms), dict(spans or {}), rated,
    )  # fmt: skip


def _limit(largest: FloatArray) -> float:
    """Return what a further frame exceeds with a probability of 1 %, from sorted values of n exchangeable ones.

    That is the ⌈0.99 (n + 1)⌉-th of them where there are so many. Fewer do not reach that far: the prediction bound of
    a lognormal distribution with their mean and spread then stands in, but not below the largest that was seen.
    """
    count = len(largest)
    position = math.ceil(COVERAGE * (count + 1))
    if position <= count:
        return float(largest[position - 1])
    logs = np.log(np.maximum(largest, 1e-300))
    reach = float(stdtrit(count - 1, COVERAGE)) * logs.std(ddof=1) * math.sqrt(1.0 + 1.0 / count)
    return float(max(largest[-1], min(np.exp(logs.mean() + reach), 10.0 * largest[-1])))


def _tail_of(atoms: FloatArray) -> float:
    """Return Hill's estimate of the exponent of the tail of sorted values, from 0 to 1."""
    top = atoms[-max(2, int(_TAIL * len(atoms))) :]
    if top[0] <= 0:
        return 0.0
    return float(np.clip(np.mean(np.log(top[1:] / top[0])), 0.0, 1.0))


def _quantiles(values: FloatArray) -> dict[str, float]:
    return {str(percent): float(np.percentile(values, percent)) for percent in _QUANTILES}


# --------------------------------------------------------------------------------- of potentials


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What a potential knows of how sure it is of each atom: the contract of all kinds.

    Attributes
    ----------
    kind
        One of `KINDS`.
    of
        Returns the uncertainty of each atom (N,) of a structure.
    calibration
        Its quantiles over frames that were held back; None for a potential that was saved without.
    """

    kind: Kind
    of: Callable[[Structure], FloatArray]
    calibration: Calibration | None

    @property
    def measure(self) -> str:
        """What it is, in words."""
        return MEASURES[self.kind][0]

    @property
    def unit(self) -> str:
        """Its unit; empty for a pure number."""
        return MEASURES[self.kind][1]


def uncertainty_of(potential: Potential | None, kind: str | None = None) -> Uncertainty | None:
    """Return what a potential knows of its uncertainty.

    Parameters
    ----------
    kind
        The kind wanted; where not given the first of `KINDS` that the potential knows.

    Returns
    -------
    uncertainty
        None where it knows none and no kind is asked for.

    Raises
    ------
    InputError
        If the potential does not know the kind.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"{kind!r} is no kind of uncertainty; allowed are {', '.join(KINDS)}", field="uncertainty")
    for name in KINDS if kind is None else (kind,):
        of = None if potential is None else _KNOWN[name](potential)
        if potential is not None and of is not None:
            return Uncertainty(name, of, calibration_of(potential, name))
    if kind is None:
        return None
    known = ", ".join(kinds_of(potential)) or "none"
    raise InputError(
        f"is {kind}, which this potential does not know ({_WHERE[kind]}); it knows {known}",
        field="uncertainty",
    )


def kinds_of(potential: Potential | None) -> tuple[Kind, ...]:
    """Return the kinds of uncertainty that a potential knows."""
    return () if potential is None else tuple(kind for kind in KINDS if _KNOWN[kind](potential) is not None)


_Of = Callable[[Structure], FloatArray]


def _grade(potential: Potential) -> _Of | None:
    known = isinstance(potential, Graded) and potential.knows_grades
    return cast(_Of, cast(Graded, potential).extrapolation_grades) if known else None


def _variance(potential: Potential) -> _Of | None:
    return cast(_Of, potential.atomic_standard_deviations) if isinstance(potential, Varying) else None


def _committee(potential: Potential) -> _Of | None:
    stored = stored_kind(potential, "committee")
    if stored is None or not isinstance(potential, Parametric):
        return None
    with _damage_named("committee"):
        rows, energies = np.asarray(stored["coefficients"]), np.asarray(stored["energies"])
        if rows.ndim != 2 or len(rows) < 2 or energies.shape != (len(rows), len(potential.species)):
            raise ValueError(f"{rows.shape} coefficients and {energies.shape} energies are no committee")
    design = potential.design
    if design is None or design.size != rows.shape[1]:
        return None
    members: list[Callable[[Structure], Any]] = []

    def spread(structure: Structure) -> FloatArray:
        if not members:  # made at the first use: a committee is as many potentials
            for coefficients, of_atoms in zip(rows, energies.tolist(), strict=True):
                member = potential.with_coefficients(coefficients, dict(zip(potential.species, of_atoms, strict=True)))
                members.append(cast(Any, member).evaluator())
        return spread_of([member(structure).forces for member in members])

    return spread


def spread_of(forces: Sequence[FloatArray]) -> FloatArray:
    """Return the root of the summed variances (N,) of force components (N, 3) over the members of a committee."""
    return np.asarray(np.sqrt(np.var(forces, axis=0, ddof=1).sum(axis=-1)))


def _standard_error(potential: Potential) -> _Of | None:
    if not isinstance(potential, Parametric):
        return None
    basis, covariance = potential.design, potential.posterior
    if basis is None or covariance is None:
        return None
    return lambda structure: force_standard_errors(basis.rows(structure), covariance)


def force_standard_errors(rows: DesignRows, covariance: FloatArray) -> FloatArray:
    """Return the standard error (N,) of each force vector in eV/Å: the root of the summed variances of components.

    Parameters
    ----------
    covariance
        Posterior covariance of the coefficients (p, p), or of constants as well, which come first and exert no force.
    """
    of_coefficients = covariance[-rows.forces.shape[1] :, -rows.forces.shape[1] :]
    variances = np.einsum("ij,ij->i", rows.forces @ of_coefficients, rows.forces)
    return np.asarray(np.sqrt(np.maximum(variances.reshape(-1, 3).sum(axis=1), 0.0)))


def _distance(potential: Potential) -> _Of | None:
    stored = stored_kind(potential, "distance")
    if stored is None:
        return None
    with _damage_named("distance"):
        return Environments.from_arrays(stored["environments"]).distances


def _rematch(potential: Potential) -> _Of | None:
    stored = stored_kind(potential, "rematch")
    if stored is None:
        return None
    with _damage_named("rematch"):
        return KnownStructures.from_arrays(stored["structures"]).distances


_KNOWN: Mapping[Kind, Callable[[Potential], _Of | None]] = {
    "grade": _grade, "variance": _variance, "committee": _committee, "standard_error": _standard_error,
    "distance": _distance, "rematch": _rematch,
}  # fmt: skip

_WHERE: Mapping[Kind, str] = {
    "grade": "ACE and SNAP fitted here do", "variance": "GAP does",
    "committee": "linear families do, fitted with committee: 8 or another number",
    "standard_error": "linear families with one density do, fitted here",
    "distance": "potentials do that were fitted here with uncertainty: [distance]",
    "rematch": "potentials do that were fitted here with uncertainty: [rematch]",
}  # fmt: skip


# --------------------------------------------------------------------------------- as it is stored


def stored_kind(potential: Potential, kind: Kind) -> Mapping[str, Any] | None:
    """Return what a potential remembers of a kind: its calibration, and the arrays that the kind needs."""
    remembered = getattr(potential, "provenance", {}).get("uncertainties", {})
    stored = remembered.get(kind) if isinstance(remembered, Mapping) else None
    return stored if isinstance(stored, Mapping) else None


def calibration_of(potential: Potential, kind: Kind | None = None) -> Calibration | None:
    """Return the calibration that lies in a potential's folder, if any does.

    Parameters
    ----------
    kind
        The kind of uncertainty; where not given that of the grades or the variance.

    Raises
    ------
    InputError
        If what lies there is damaged.
    """
    if kind in (None, "grade", "variance"):
        stored = getattr(potential, "provenance", {}).get("uncertainty")
    else:
        stored = (stored_kind(potential, kind) or {}).get("calibration")
    if stored is None:
        return None
    with _damage_named("calibration"):
        return Calibration.from_dict(stored)


@contextmanager
def _damage_named(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"the {what} of its uncertainty is damaged ({error}); save the potential again"
        raise InputError(problem, field="provenance.uncertainty") from None


@dataclass(frozen=True)
class Judged:
    """One frame by its uncertainty: the largest of its atoms, which atom that is, and what is allowed."""

    largest: float
    atom: int
    limit: float | None

    @property
    def is_outside(self) -> bool:
        """Whether it lies outside what the training data cover; False where there is no calibration."""
        return self.limit is not None and not self.largest <= self.limit


def judge(uncertainty: Uncertainty, structure: Structure) -> Judged:
    """Return how a structure compares with the frames that were held back."""
    return judged(uncertainty, uncertainty.of(structure))


def judged(uncertainty: Uncertainty, values: FloatArray) -> Judged:
    """Return how a structure with these uncertainties of its atoms (N,) compares with frames that were held back."""
    if not len(values):
        return Judged(0.0, 0, None)
    atom = int(np.argmax(np.where(np.isnan(values), np.inf, values)))
    calibration = uncertainty.calibration
    return Judged(float(values[atom]), atom, None if calibration is None else calibration.limit_of(len(values)))
