"""Which structures lie outside what a potential was fitted to: counted, named and told in sentences.

Everything is plain data and goes to result.json; `extrapolation_sections` turns it into what the report shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from scipy.special import bdtrc

from forcewright.potential import Potential
from forcewright.structure import Dataset, FloatArray
from forcewright.uncertainty import (
    COVERAGE,
    Calibration,
    Judged,
    Uncertainty,
    calibration_of,
    judged,
    kinds_of,
    uncertainty_of,
)

_WORST = 10  # frames that are named
_CHANCE = 0.011  # groups with so many frames outside by chance alone are not warned of
_SOME = 0.05  # nor those with a smaller share of them


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """How far the frames of a dataset lie outside.

    Attributes
    ----------
    dataset
        The frames.
    uncertainty
        What the potential knows; its calibration is None for one that was saved without.
    frames
        Each frame by its most uncertain atom.
    atoms
        The uncertainties of the atoms (N,) of each frame.
    """

    dataset: Dataset
    uncertainty: Uncertainty
    frames: tuple[Judged, ...]
    atoms: tuple[FloatArray, ...] = ()

    @property
    def outside(self) -> int:
        """Number of frames outside."""
        return sum(judged.is_outside for judged in self.frames)

    def worst(self, count: int = _WORST) -> list[dict[str, Any]]:
        """Return the frames outside as rows, the furthest first, at most ``count``: file, frame and atom."""
        far = [index for index, judged in enumerate(self.frames) if judged.is_outside]
        far.sort(key=lambda index: -self.frames[index].largest / (self.frames[index].limit or 1.0))
        rows = []
        for index in far[:count]:
            frame, judged = self.dataset[index], self.frames[index]
            file, _, number = frame.origin.rpartition("#")
            rows.append(
                {
                    "file": file or self.dataset.name or "the data",
                    "frame": int(number) if file and number.isdigit() else index,
                    "atom": judged.atom,
                    "element": chemical_symbols[frame.structure.numbers[judged.atom]],
                    "value": _finite(judged.largest),
                    "limit": judged.limit,
                }
            )
        return rows

    def text(self) -> str:
        """Return in lines how many frames are outside, and which are the furthest."""
        calibration, measure = self.uncertainty.calibration, self.uncertainty.measure
        if calibration is None:
            return (
                f"The potential knows its {measure}s, but was saved without their quantiles over frames that were held "
                "back, so nothing tells inside from outside; fit it again to get them."
            )
        count = len(self.frames)
        verb = "is" if self.outside == 1 else "are"
        head = (
            f"{self.outside} of {count} {_plural(count, 'frame')} ({100 * self.outside / max(count, 1):.3g} %) "
            f"{verb} outside what the potential was fitted to: {_limit_text(calibration)}."
        )
        rows = [
            f"  {row['file']}, frame {row['frame']}, atom {row['atom']} ({row['element']}): "
            f"{_ratio(row['value'], row['limit'])} times the limit"
            for row in self.worst()
        ]
        listed = ["The furthest:", *rows] if rows else []
        return "\n".join([head, *listed])


def extrapolation_of(potential: Potential, dataset: Dataset, kind: str | None = None) -> Extrapolation | None:
    """Return how far the frames of a dataset lie outside; None for a potential that knows no uncertainty of atoms.

    Parameters
    ----------
    kind
        Kind of uncertainty; the first that the potential knows where not given.

    Raises
    ------
    InputError
        If the potential does not know the kind.
    """
    uncertainty = uncertainty_of(potential, kind)
    if uncertainty is None:
        return None
    values = tuple(uncertainty.of(structure) for structure in dataset.structures)
    return Extrapolation(dataset, uncertainty, tuple(judged(uncertainty, of_frame) for of_frame in values), values)


def summary_of(potential: Potential, dataset: Dataset | None, name: str) -> dict[str, Any] | None:
    """Return the uncertainties of a dataset in all and by group, as plain data; None where they are not known.

    Parameters
    ----------
    name
        What the dataset is called: test or validation.
    """
    uncertainty = uncertainty_of(potential)
    if uncertainty is None:
        return None
    calibration = uncertainty.calibration
    known: dict[str, Any] = {
        "measure": uncertainty.measure, "unit": uncertainty.unit,
        "calibration": None if calibration is None else calibration.to_dict(),
        "warnings": [] if calibration is None else calibration.warnings(),
    }  # fmt: skip
    if dataset is None or not len(dataset):
        return {**known, "set": None}
    values = [uncertainty.of(structure) for structure in dataset.structures]
    groups = np.array(dataset.groups)
    members = {group: np.flatnonzero(groups == group).tolist() for group in dataset.group_sizes}
    frames = tuple(judged(uncertainty, of_frame) for of_frame in values)
    table = {
        group: _spread([values[i] for i in indices], [frames[i] for i in indices]) for group, indices in members.items()
    }
    result = {
        **known, "set": name, **_spread(values, frames), "groups": table,
        "worst": Extrapolation(dataset, uncertainty, frames).worst(),
    }  # fmt: skip
    result["warnings"] = [*known["warnings"], *_group_warnings(result)]
    return result


def _spread(values: Sequence[FloatArray], judged: Sequence[Judged]) -> dict[str, Any]:
    atoms = np.concatenate(values)
    outside = sum(frame.is_outside for frame in judged)
    known = all(frame.limit is not None for frame in judged)
    return {
        "atoms": len(atoms), "frames": len(values), "median": _finite(float(np.median(atoms))),
        "percentile_95": _finite(float(np.percentile(atoms, 95))), "max": _finite(float(atoms.max())),
        "share_above_1": float(np.mean(~(atoms <= 1.0))),
        "frames_outside": outside if known else None,
        "share_outside": outside / len(values) if known else None,
    }  # fmt: skip


def _group_warnings(summary: Mapping[str, Any]) -> list[str]:
    """Return which groups of frames lie outside more often than chance has it."""
    name = f"{summary['set']} set"
    far = {}
    for group, row in summary["groups"].items():
        outside, frames = row["frames_outside"], row["frames"]
        if outside and outside > _SOME * frames and bdtrc(outside - 1, frames, 1.0 - COVERAGE) <= _CHANCE:
            far[group] = f"{group} ({outside} of {frames} {_plural(frames, 'frame')})"
    if not far:
        return []
    if len(summary["groups"]) == 1:
        share = f"{summary['frames_outside']} of {summary['frames']} frames"
        return [f"The {name} lies outside the training data in {share}: errors there need not be those elsewhere."]
    return [
        f"Outside the training data in the {name}: {', '.join(far.values())}. Errors there need not be those elsewhere."
    ]


def extrapolation_sections(summary: Mapping[str, Any] | None) -> list[list[Any]]:
    """Return the section of the report, [title, text, what is shown beside], from what `summary_of` returned."""
    if not summary:
        return []
    title = "Extrapolation grades" if summary.get("measure", "extrapolation grade").endswith("grade") else "Uncertainty"
    shown: dict[str, Any] = {"grades": summary} if summary.get("set") else {}
    if shown and summary.get("share_outside") is not None:  # stands beside the errors at the top of the page
        under = f"{summary['frames_outside']} of {summary['frames']} frames of the {summary['set']} set"
        shown["cards"] = [["outside the training data", f"{100 * summary['share_outside']:.3g}", "%", under]]
    return [[title, _text(summary), shown]]


def _text(summary: Mapping[str, Any]) -> str:
    stored, set_name = summary.get("calibration"), summary.get("set")
    if summary.get("measure") == "standard deviation":
        meaning = "The standard deviation of an atom's energy tells how far its surroundings lie from those fitted to. "
    else:
        meaning = "The extrapolation grade γ of an atom tells how far its surroundings lie from those fitted to. "
    if stored is None:
        return meaning + "Too few frames were held back to tell from which value on a frame is outside."
    calibration = Calibration.from_dict(stored)
    quantiles = calibration.frame_quantiles
    text = meaning + (
        f"Over {calibration.frames} frames that were held back ({calibration.source}) the largest of a frame has the "
        f"median {quantiles['50']:.3g} and the 99 % quantile {quantiles['99']:.3g}. A frame counts as outside where "
        f"{_limit_text(calibration)}."
    )
    if set_name:
        share = 100.0 * summary["share_outside"]
        text += (
            f" Of the {summary['frames']} frames of the {set_name} set, {summary['frames_outside']} ({share:.3g} %) "
            "are outside."
        )
    return "\n\n".join([text, *summary["warnings"]])


def reliability_of(potential: Potential) -> dict[str, Any]:
    """Return the calibration of each kind of uncertainty that a potential knows, as plain data, by kind."""
    known = {kind: calibration_of(potential, kind) for kind in kinds_of(potential)}
    return {kind: calibration.to_dict() for kind, calibration in known.items() if calibration is not None}


def reliability_sections(known: Mapping[str, Mapping[str, Any]] | None) -> list[list[Any]]:
    """Return the section of the report about errors against uncertainties, from what `reliability_of` returned."""
    rated = {kind: values for kind, values in (known or {}).items() if values.get("reliability")}
    if not rated:
        return []
    source = next(iter(rated.values()))["source"]
    text = (
        f"The uncertainty of each atom against the error of the force on it, over frames that were held back "
        f"({source}) and judged by what has not seen them. The rank correlation tells whether more uncertain atoms "
        "have larger errors. The scale makes an error in eV/Å of an uncertainty; the shares of atoms within 68 % and "
        "95 % of normal errors of that size tell how far errors are normal. The miscalibration area sums that up over "
        "all shares: 0 is perfect, 0.5 the worst. The limit is what the most uncertain atom exceeds in 1 % of such "
        "frames."
    )
    headings = [("uncertainty", ""), ("limit", ""), ("rank correlation", ""), ("scale", ""), ("within 68 %", "%"),
                ("within 95 %", "%"), ("miscalibration area", "")]  # fmt: skip
    rows = []
    for values in rated.values():
        of = values["reliability"]
        unit = f" {values['unit']}" if values["unit"] else ""
        shares = [f"{100 * of['coverage'][name]:.3g}" for name in ("68", "95")]
        rows.append([
            values["measure"], f"{values['limit']:.3g}{unit}", f"{of['spearman']:.2f}", f"{of['scale']:.3g}", *shares,
            f"{of['miscalibration_area']:.3f}",
        ])  # fmt: skip
    curves = {values["measure"]: values["reliability"]["curve"] for values in rated.values()}
    table = {"headings": headings, "rows": rows, "style": "plain"}
    return [["Uncertainty against error", text, {"tables": [table], "reliability": curves, "rank": 35}]]


def _limit_text(calibration: Calibration) -> str:
    unit = f" {calibration.unit}" if calibration.unit else ""
    return (
        f"the {calibration.measure} of an atom exceeds {calibration.limit:.4g}{unit}, which 1 % of frames like the "
        "training data do"
    )


def _ratio(value: float | None, limit: float) -> str:
    return "infinitely many" if value is None else f"{value / limit:.3g}" if limit else "many"


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
