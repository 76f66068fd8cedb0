"""From evidence to a verdict: was it new to the potential, was the potential wrong there, what is the cause, what now.

=========  ========  ==========================================================================
novelty    labels    what to do
=========  ========  ==========================================================================
novel      wrong     label these structures and fit again
known      wrong     fit what is missing: stresses, weights, more functions
known      right     it is no matter of the potential: the time step, thermostat or barostat
novel      right     watch: it extrapolates well so far
=========  ========  ==========================================================================
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Cause = Literal[
    "no repulsive core",
    "one density or no stresses",
    "too long a time step",
    "hotter than the data",
    "too few data",
    "too little capacity",
    "thermostat or barostat",
    "none",
    "unknown",
]

#: What to do about each cause.
REMEDIES: dict[Cause, str] = {
    "no repulsive core": "Let the fit keep pairs apart (`short_range: auto`, and a core: `repulsion: auto` of ACE, "
    "`zbl: auto` of SNAP), and label the structures in which the pair came close.",
    "one density or no stresses": "Fit stresses (`weights: {stress: …}`), and label structures of several densities "
    "around that of the run: a potential that has seen one volume, or no stress, knows no pressure.",
    "too long a time step": "Shorten the time step: the potential is right where the run goes wrong. A quarter of it "
    "keeps the energy.",
    "hotter than the data": "Label structures at the temperature and density of the run; the data are of milder ones.",
    "too few data": "Label the structures that are new, those of the first anomaly and of the moments before the "
    "break, and fit again.",
    "too little capacity": "The data hold such structures and the fit misses them: raise their weight, or take more "
    "functions, a longer cutoff or another family.",
    "thermostat or barostat": "Take longer time constants of thermostat and barostat, or another ensemble, and start "
    "from a structure closer to equilibrium.",
    "none": "Nothing broke. Watch what lies outside the training data, and label some of it.",
    "unknown": "Ask a reference (`--reference`) whether the potential is wrong there.",
}  # fmt: skip

#: What to do where the training data have stresses and densities, and the pressure is wrong all the same.
_PRESSURE_ALL_THE_SAME = (
    "The training data have stresses, at several densities: see that they are fitted, raise their weight "
    "(`weights: {stress: …}`) or take more functions, and label structures around the density of the run. A reference "
    "other than that of the training data has another pressure by itself."
)

#: Share of what motion adds to the pressure by which it may be wrong, and standard errors that may be chance.
BIAS, SIGMAS = 0.1, 3.0


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on; None for what is not known.

    Times are in ps. ``novel_ps`` is when the surroundings of an atom first lay outside the training data, ``close_ps``
    when a distance of a pair did, ``volume_ps`` when the volume did; ``wrong_ps`` when a force was first wrong,
    ``pressure_ps`` when the pressure was, and went on to be. ``pressure_bias`` is in units of what motion adds to the
    pressure, ``pressure_sigmas`` in its standard errors; ``force_scale`` is the root mean square force in equilibrium
    over that of the training data; ``force_error`` is the error in equilibrium over the root mean square force there.
    ``stopped`` says that a monitor ended a run before anything broke, ``stopped_outside`` that it did because the run
    had left the training data.
    """

    broke: bool
    break_ps: float
    novel_ps: float | None = None
    close_ps: float | None = None
    wrong_ps: float | None = None
    volume_ps: float | None = None
    asked: bool = False
    falls_in: bool = False
    has_wall: bool = True
    pressure_bias: float | None = None
    pressure_sigmas: float | None = None
    pressure_ps: float | None = None
    pushes_outward: bool = False
    stress_labels: int | None = None
    density_range: float | None = None
    step_too_long: bool = False
    force_scale: float | None = None
    force_error: float | None = None
    novelty_known: bool = True
    stopped: bool = False
    stopped_outside: bool = False

    @property
    def pressure_wrong(self) -> bool:
        """Whether the pressure is wrong by more than a tenth of what motion adds to it, and beyond chance."""
        return bool(
            self.pressure_bias is not None and abs(self.pressure_bias) > BIAS
            and (self.pressure_sigmas or 0.0) > SIGMAS
        )  # fmt: skip

    @property
    def went_wrong_ps(self) -> float:
        """When a force or the pressure was first wrong; the time of the break where neither was."""
        wrong = [self.wrong_ps, self.pressure_ps if self.pressure_wrong else None]
        return min((t for t in wrong if t is not None), default=self.break_ps)

    @property
    def novel_first_ps(self) -> float | None:
        """When anything first lay outside the training data."""
        times = [t for t in (self.novel_ps, self.close_ps, self.volume_ps) if t is not None]
        return min(times) if times else None


_HOTTER = 1.15  # root mean square forces over those of the training data
_SAME_VOLUME = 1.06  # largest over smallest volume of the training data
_EQUILIBRIUM = 0.5  # of the time before the break: in which nothing else is wrong where the pressure is to blame
_MISSES = 0.3  # errors over root mean square forces


@dataclass(frozen=True)
class Verdict:
    """``novel`` and ``wrong`` say it of where the run went wrong; None for what is not known."""

    novel: bool | None
    wrong: bool | None
    cause: Cause
    remedy: str
    reasons: tuple[str, ...]

    @property
    def quadrant(self) -> str:
        """Return novelty and labels in two words, such as "novel and wrong"."""
        known = {True: "novel", False: "known", None: "novelty not known"}[self.novel]
        right = {True: "wrong", False: "right", None: "labels not known"}[self.wrong]
        return f"{known} and {right}" if None not in (self.novel, self.wrong) else f"{known}, {right}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "reasons": list(self.reasons), "quadrant": self.quadrant}


def judge(evidence: Evidence) -> Verdict:
    """Return what follows from the evidence; causes that bring about others are asked for first."""
    cause, reasons = _cause(evidence)
    wrong: bool | None = None
    if evidence.asked:
        wrong = evidence.wrong_ps is not None or evidence.pressure_wrong or _misses(evidence)
        wrong = wrong or cause == "too little capacity"
    if cause == "no repulsive core":  # it shows where atoms are pushed together, by the reference or by itself
        wrong = True
    novel: bool | None = None
    first = evidence.novel_first_ps
    if evidence.novelty_known or first is not None:
        novel = first is not None and first <= evidence.went_wrong_ps + 1e-9
    if cause in ("too long a time step", "thermostat or barostat"):
        novel, wrong = False, False if evidence.asked else wrong  # what came of it is new, where it began is not
    if cause == "too little capacity":
        novel = False
    if cause == "none" and evidence.stopped_outside:
        novel = True
    remedy = REMEDIES[cause]
    if cause == "one density or no stresses" and _has_stresses_and_densities(evidence):
        remedy = _PRESSURE_ALL_THE_SAME
    return Verdict(novel, wrong, cause, remedy, tuple(reasons))


def _has_stresses_and_densities(x: Evidence) -> bool:
    return bool(x.stress_labels) and x.density_range is not None and x.density_range >= _SAME_VOLUME


def _cause(x: Evidence) -> tuple[Cause, list[str]]:
    """Return the cause and, in sentences, why."""
    if not x.broke:
        return _of_unbroken(x)
    if x.step_too_long:
        return "too long a time step", [
            "At constant energy the total energy changes with the run's time step, and does not with a quarter of it."
        ]
    density = _density(x)
    if x.falls_in and not x.has_wall and not (density and (x.volume_ps or x.break_ps) < (x.close_ps or 0.0)):
        return "no repulsive core", [
            f"A pair comes closer than ever in the training data at {x.close_ps or 0:.3g} ps, and the potential pulls "
            "it further in, without end."
        ]
    if density:
        return "one density or no stresses", density
    if x.asked and x.wrong_ps is None and not x.pressure_wrong and not _misses(x):
        if x.stopped_outside:
            return "none", ["A watch stopped the run outside the training data, where the potential is right."]
        if x.stopped:
            return "none", ["A monitor stopped the run as it was asked to, and the potential is right up to there."]
        return "thermostat or barostat", ["The potential is right, by the reference, up to the break."]
    if x.novel_first_ps is not None:
        return _of_novel(x)
    if x.asked:
        return "too little capacity", ["The potential is wrong in structures like those it was fitted to."]
    end = "it was stopped" if x.stopped else "the break"
    return "unknown", [f"Nothing left the training data before {end}, and no reference was asked."]


def _of_novel(x: Evidence) -> tuple[Cause, list[str]]:
    """Return the cause where structures are new, and why."""
    if x.force_scale is not None and x.force_scale > _HOTTER:
        return "hotter than the data", [
            f"Forces in the run are {x.force_scale:.2g} times those of the training data from the beginning."
        ]
    hole = "A pair that comes closer than ever in the training data is pulled further in, down to a wall."
    when = f"Structures leave the training data at {x.novel_first_ps or 0:.3g} ps, under conditions that the data hold."
    return "too few data", [when, *([hole] if x.falls_in else [])]


def _of_unbroken(x: Evidence) -> tuple[Cause, list[str]]:
    reasons = _density(x)
    if x.pressure_wrong and (reasons or x.novel_first_ps is None):
        return "one density or no stresses", reasons or [_bias_text(x)]
    if x.wrong_ps is not None or x.pressure_wrong or _misses(x):
        missed = [f"Forces are wrong by {100 * (x.force_error or 0):.0f} % of their size."] if _misses(x) else []
        if x.novel_first_ps is None:
            return "too little capacity", missed or ["Forces are wrong in structures like the training data."]
        cause, reasons = _of_novel(x)
        return cause, [*reasons, *missed]
    return "none", ["The run came to its end."]


def _density(x: Evidence) -> list[str]:
    """Return why the pressure is to blame; empty where it is not."""
    narrow = x.density_range is not None and x.density_range < _SAME_VOLUME
    reasons = []
    early = x.volume_ps is not None and all(
        x.volume_ps <= other for other in (x.novel_ps, x.close_ps, x.wrong_ps) if other is not None
    )
    if x.pressure_wrong:
        reasons.append(_bias_text(x))
    if x.volume_ps is not None and early:
        reasons.append(f"The volume leaves those of the training data at {x.volume_ps:.3g} ps.")
    if reasons and x.stress_labels == 0:
        reasons.append("No stress was fitted.")
    if reasons and narrow:
        reasons.append("All training frames have nearly one volume per atom.")
    if reasons and x.pushes_outward:
        reasons.append("The potential pushes outward where the structure is stretched, and the reference does not.")
    others = [t for t in (x.novel_ps, x.close_ps, x.wrong_ps) if t is not None]
    blamed = early or (x.pressure_wrong and (not others or min(others) > _EQUILIBRIUM * x.break_ps))
    return reasons if blamed and (narrow or x.stress_labels == 0 or x.pressure_wrong) else []


def _bias_text(x: Evidence) -> str:
    return (
        f"The pressure is wrong by {100 * (x.pressure_bias or 0):+.0f} % of what motion adds to it, in equilibrium "
        f"({x.pressure_sigmas or 0:.1f} standard errors)."
    )


def _misses(x: Evidence) -> bool:
    return x.force_error is not None and x.force_error > _MISSES
