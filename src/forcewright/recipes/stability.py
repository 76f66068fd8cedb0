"""Probing a fitted potential for holes, and what summary and report say of it.

`after_fit` is called once a study has its potential; `sections` turns what it leaves in result.json into the report's.
The potential remembers it in short (`with_stability`), so that `before_a_run` can say what is to be expected of a run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from forcewright.errors import InputError
from forcewright.fitting.calibration import remember
from forcewright.fitting.in_memory import StudyOutcome
from forcewright.fitting.settings import FitSettings, StabilitySettings
from forcewright.potential import Potential
from forcewright.simulation import Stage
from forcewright.stability import probe

log = logging.getLogger("forcewright")

_KINDS = {"packing": "packings", "dynamics": "runs of dynamics"}


def after_fit(settings: FitSettings, outcome: StudyOutcome, potential: Potential, study_s: float) -> dict[str, Any]:
    """Probe the potential of a study; return what belongs into result.json, as plain data."""
    if not isinstance(settings.stability, StabilitySettings):
        return {"status": "off"}
    if not settings.family.predicts_other_cells:
        return {"status": "impossible", "problem": "it knows only the atoms that it was fitted to"}
    problem = outcome.problem
    # energies that are not fitted have a zero of their own
    frames = problem.everything.without_labels([name for name in settings.left_out if name == "energy"])
    probed = probe(potential, frames, settings.stability, problem.seed, study_s)
    log.info("stability: %d holes", len(probed.holes))
    return {"status": "probed", **probed.to_dict()}


def with_stability(potential: Potential, stability: Mapping[str, Any]) -> Potential:
    """Return a potential that remembers what probing it has found; one without a provenance as it is."""
    if stability["status"] != "probed" or not hasattr(potential, "provenance"):
        return potential
    runs: dict[float, list[bool]] = {}
    for row in stability["runs"]["each"]:
        runs.setdefault(float(row["temperature_K"]), []).append(bool(row["survived"]))
    dynamics = [
        {"temperature_K": kelvin, "done": len(rows), "survived": sum(rows)} for kelvin, rows in sorted(runs.items())
    ]
    holes = [sentence for sentence in warnings(stability) if sentence.startswith("hole: ")]
    return remember(potential, stability={"runs": dynamics, "holes": holes})


def before_a_run(potential: Potential | None, stages: Sequence[Stage]) -> str:
    """Return in words what probing lets expect of a run; empty where it found nothing, or was not done.

    Raises
    ------
    InputError
        If what the potential remembers is damaged.
    """
    stored = getattr(potential, "provenance", {}).get("stability")
    if not stored:
        return ""
    try:
        runs = [(float(row["temperature_K"]), int(row["done"]), int(row["survived"])) for row in stored["runs"]]
        holes = [str(sentence) for sentence in stored["holes"]]
    except (KeyError, TypeError, ValueError) as error:
        problem = f"what it remembers of its probing is damaged ({error}); save the potential again"
        raise InputError(problem, field="provenance.stability") from None
    if not holes:
        return ""
    text = f"when it was fitted, the potential was found to let atoms fall ({'; '.join(holes)})"
    failed = [(kelvin, done, survived) for kelvin, done, survived in runs if survived < done]
    hottest = max((max(stage.temperature_K) for stage in stages if stage.temperature_K), default=None)
    if not failed or hottest is None:
        return text
    counts = ", ".join(f"{survived} of {done} runs survived at {kelvin:g} K" for kelvin, done, survived in failed)
    coolest = failed[0][0]
    if hottest >= coolest:
        return f"{text}: {counts}, so that this run at {hottest:g} K is not expected to last"
    return (
        f"{text}: {counts}; whether a run at {hottest:g} K lasts, nobody has probed (stability: {{temperature_K: "
        f"{hottest:g}}} in the config of the fit does)"
    )


def warnings(stability: Mapping[str, Any]) -> list[str]:
    """Return in a sentence each what is wrong with the stability of a potential."""
    holes = stability.get("holes") or []
    sentences = [f"hole: {hole['text']}" for hole in holes if hole["probe"] == "dimer"]
    done = {"packing": "packings", "dynamics": "runs"}
    for kind, words in _KINDS.items():
        fallen = [hole["text"] for hole in holes if hole["probe"] == kind]
        if fallen:
            sentences.append(f"hole: {len(fallen)} of {stability[done[kind]]['done']} {words}; first {fallen[0]}")
    if stability.get("problem"):
        sentences.append(f"The potential could not be probed for holes: {stability['problem']}.")
    return sentences


def sections(result: Mapping[str, Any]) -> list[list[Any]]:
    """Return the section of the report, [title, text, what is shown beside], from the content of result.json."""
    stability = result["stability"]
    text = "\n\n".join(part for part in (_core_text(result.get("short_range")), _probed_text(stability)) if part)
    shown = {"curves": stability.get("curves") or [], "holes": stability.get("holes") or []}
    return [["Stability", text, {"stability": shown, "rank": 32, "cards": _cards(stability)}]]


def _cards(stability: Mapping[str, Any]) -> list[list[str]]:
    """Return what stands beside the errors: runs that survived, and how many holes there are."""
    if stability["status"] != "probed" or not stability["runs"]["done"]:
        return []
    runs, holes = stability["runs"], len(stability["holes"])
    under = "no hole" if holes == 0 else "1 hole" if holes == 1 else f"{holes} holes"
    return [["Survival", f"{runs['survived']} of {runs['done']}", "runs", under]]


def _core_text(short_range: Mapping[str, Any] | None) -> str:
    """Say how pairs are kept apart."""
    if short_range is None:
        return "Pairs of atoms were not kept apart below their shortest distances in the data."
    pairs = ", ".join(f"{pair.replace('-', '–')} {d:.2f} Å" for pair, d in short_range["shortest_A"].items())
    text = f"Shortest distances in the training data: {pairs}. Below them every pair of atoms is to repel. "
    if not short_range["changed"]:
        return text + "The fit has that by itself."
    changed = ", ".join(pair.replace("-", "–") for pair in short_range["changed"])
    text += f"The coefficients were changed for it as little as the data allow ({changed}); the squared error of the "
    text += f"fit has grown by {100 * short_range['error_growth']:.2g} %."
    if short_range["attracting"]:
        left = ", ".join(pair.replace("-", "–") for pair in short_range["attracting"])
        text += f" Not all of it was possible without worse errors: {left}."
    return text


def _probed_text(stability: Mapping[str, Any]) -> str:
    """Say what was probed and what was found."""
    if stability["status"] == "off":
        return "The potential was not probed for holes: stability is off in the config."
    if stability["status"] == "impossible":
        return f"The potential was not probed for holes: {stability['problem']}."
    packings, runs, kelvin = stability["packings"], stability["runs"], stability["temperature_K"]
    default = " (by default: stability.temperature_K sets it)" if stability["temperature_defaulted"] else ""
    text = (
        f"Probed for {stability['used_s']:.0f} of {stability['budget_s']:.0f} s: {len(stability['curves'])} pairs of "
        f"atoms from 0.4 Å on, {packings['done']} packings relaxed, {runs['done']} runs of dynamics at "
        f"{1.5 * kelvin:g} K (constant volume) and {kelvin:g} K (zero pressure){default}, of which {runs['survived']} "
        "survived."
    )
    if stability["cut"]:
        text += f" The time did not suffice for {', '.join(stability['cut'])}."
    if stability["problem"]:
        text += f" It ended early: {stability['problem']}."
    holes = stability["holes"]
    if not holes:
        return text + " No hole was found."
    return text + "\n\n" + "\n\n".join(f"Hole: {hole['text']}." for hole in holes)
