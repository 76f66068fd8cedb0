"""How far predictions can be trusted: the uncertainty of each atom, and what it is on frames that a fit has not seen.

A grade of 1 is the edge of the active set, not that of the data: of frames from the very distribution of the training
data a third can lie beyond it. So a potential keeps the quantiles of its uncertainty over frames that were held back,
graded by what the others know, and a structure is *outside* where its most uncertain atom exceeds all but 1 % of these
frames (split conformal prediction: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, ch. 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
from scipy.special import stdtrit

from forcewright.errors import InputError
from forcewright.potential import Graded, Potential, Varying
from forcewright.structure import FloatArray, Structure

#: Share of frames like those of the training data that are inside.
COVERAGE = 0.99
#: Limits above this say that the frames held back are themselves extrapolations of the others.
MEANINGLESS = 1e3

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
class Calibration:
    """The uncertainty of a potential over frames that were held back.

    Attributes
    ----------
    measure
        What the uncertainty is: ``extrapolation grade``, or ``standard deviation`` of an atom's energy.
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

    def limit_of(self, atoms: int) -> float:
        """Return the limit of a frame with so many atoms: the largest of more atoms is larger."""
        return float(self.limit * max(1.0, atoms * self.frames / self.atoms) ** self.tail)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Return what `to_dict` gave; ValueError, KeyError or TypeError where that is not what the values are."""
        numbers = [values["limit"], *values["frame_quantiles"].values(), *values["atom_quantiles"].values()]
        if not all(isinstance(x, int | float) and math.isfinite(x) and x >= 0 for x in numbers):
            raise ValueError("a quantile is not a finite number of 0 or more")
        if not (values["frames"] >= 1 and values["atoms"] >= values["frames"] and 0 <= values["tail"] <= 1):
            raise ValueError("frames, atoms or tail cannot be those of a calibration")
        spans = {symbol: Span(**span) for symbol, span in values["spans"].items()}
        return cls(**{**values, "spans": spans})

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
    frames: Sequence[FloatArray], *, measure: str, unit: str, source: str, spans: Mapping[str, Span] | None = None
) -> Calibration | None:
    """Return the quantiles of uncertainties, the atoms' (N,) of each held-back frame; None for too few frames.

    Frames of which an uncertainty is not finite (an element that occurs in no other) are left out.
    """
    known = [values for values in frames if len(values) and np.isfinite(values).all()]
    if len(known) < _FEWEST:
        return None
    largest, atoms = np.sort([float(values.max()) for values in known]), np.sort(np.concatenate(known))
    return Calibration(
        measure, unit, source, len(known), len(atoms), _limit(largest), _tail_of(atoms), _quantiles(largest),
        _quantiles(atoms), dict(spans or {}),
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
    """What a potential knows of how sure it is of each atom.

    Attributes
    ----------
    measure, unit
        As in `Calibration`.
    of
        Returns the uncertainty of each atom (N,) of a structure.
    calibration
        Its quantiles over frames that were held back; None for a potential that was saved without.
    """

    measure: str
    unit: str
    of: Callable[[Structure], FloatArray]
    calibration: Calibration | None


def uncertainty_of(potential: Potential | None) -> Uncertainty | None:
    """Return what a potential knows of its uncertainty; None where it knows none."""
    if isinstance(potential, Graded) and potential.knows_grades:
        name, unit, of = "extrapolation grade", "", potential.extrapolation_grades
    elif isinstance(potential, Varying):
        name, unit, of = "standard deviation", "eV", potential.atomic_standard_deviations
    else:
        return None
    return Uncertainty(name, unit, cast(Callable[[Structure], FloatArray], of), calibration_of(potential))


def calibration_of(potential: Potential) -> Calibration | None:
    """Return the calibration that lies in a potential's folder, if any does.

    Raises
    ------
    InputError
        If what lies there is damaged.
    """
    stored = getattr(potential, "provenance", {}).get("uncertainty")
    if stored is None:
        return None
    try:
        return Calibration.from_dict(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"the calibration of its uncertainty is damaged ({error}); save the potential again"
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
    values = uncertainty.of(structure)
    if not len(values):
        return Judged(0.0, 0, None)
    atom = int(np.argmax(np.where(np.isnan(values), np.inf, values)))
    calibration = uncertainty.calibration
    return Judged(float(values[atom]), atom, None if calibration is None else calibration.limit_of(len(values)))
