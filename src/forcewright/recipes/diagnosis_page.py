"""The page of a diagnosis: the verdict, when each indicator spoke, and the environment that went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import kB

from forcewright.diagnosis import Culprit, Diagnosis, structure_around
from forcewright.neighbors import find_neighbors
from forcewright.recipes import provenance
from forcewright.recipes.rerun import pressure_section
from forcewright.report import (
    Card,
    PageContent,
    Section,
    draw_frame_errors,
    draw_histograms,
    draw_indicators,
    draw_parts,
    draw_pressures,
    draw_squeeze,
    draw_structure,
    write_report,
)
from forcewright.report.numbers import significant
from forcewright.structure import FloatArray, Structure
from forcewright.units import FS

_REACH = 4.5  # Å around an atom that is drawn
_NEAREST = 6  # neighbors that are listed
_LAST = 5  # frames that stand for the break


def write_diagnosis_page(folder: Path, made: Diagnosis, summary: Mapping[str, Any], reference: str) -> Path:
    """Write report.html and return its path; ``summary`` is the content of result.json."""
    verdict, broke, first = made.verdict, made.broke, made.first
    noun = "break" if broke is None else broke.noun
    cards = [Card("cause", verdict.cause, "", verdict.quadrant)]
    if broke is not None:
        caption = "stopped at" if broke.ending == "stopped" else "broke at"
        cards.append(Card(caption, f"{broke.time_ps:.4g}", "ps", f"of {made.run.thermo['time_ps'][-1]:.4g} ps"))
    if first is not None and first.time_ps is not None:
        lead = "" if first.lead_ps is None else f"{significant(first.lead_ps)} ps before the {noun}"
        cards.append(Card("first anomaly", f"{first.time_ps:.4g}", "ps", f"{first.indicator}; {lead}"))
    page = PageContent(
        title=f"Diagnosis of {made.run.folder.name}", kicker="Forcewright diagnosis",
        summary="\n\n".join([_ending(made), " ".join(verdict.reasons), verdict.remedy]),
        warnings=[] if broke is None else [f"{str(broke)[0].upper()}{str(broke)[1:]}."],
        cards=cards,
        facts=[
            ("potential", made.run.force_field.name), ("reference", reference or "not asked"),
            ("frames", significant(len(made.run.frames))), ("atoms", significant(len(made.run.frames[0]))),
            ("novelty by", "not known" if made.novelty is None else made.novelty.measure),
            ("labelled frames", "–" if made.errors is None else significant(len(made.errors.frames))),
        ],
        sections=[
            _table_section(made), _series_section(made), *_environment_sections(made), *_probe_sections(made),
            *_error_sections(made), *_histogram_sections(made),
        ],
        result=summary, citations=provenance.cited(["forcewright", "ase"]),
    )  # fmt: skip
    return write_report(folder / "report.html", page)


def _ending(made: Diagnosis) -> str:
    verdict = made.verdict
    what = {
        True: "Where it went wrong, the structures are new to the potential",
        False: "Where it went wrong, the structures are like those the potential was fitted to",
        None: "Whether the structures are new to the potential is not known",
    }[verdict.novel]
    right = {
        True: "and it is wrong there", False: "and it is right there",
        None: "and no reference was asked whether it is right there",
    }[verdict.wrong]  # fmt: skip
    return f"{what}, {right}. The cause: {verdict.cause}."


def _table_section(made: Diagnosis) -> Section:
    rows, noun = [], "break" if made.broke is None else made.broke.noun
    for anomaly in sorted(made.anomalies, key=lambda a: np.inf if a.time_ps is None else a.time_ps):
        limits = [significant(limit) for limit in (anomaly.low, anomaly.high) if limit is not None]
        unit = "" if anomaly.unit.startswith("of ") else f" {anomaly.unit}"
        rows.append(
            [
                anomaly.indicator, " to ".join(limits) + unit if limits else "–",
                "–" if anomaly.time_ps is None else f"{anomaly.time_ps:.4g}",
                significant(anomaly.value) + (unit if anomaly.value is not None else ""),
                "–" if anomaly.lead_ps is None else significant(1000 * anomaly.lead_ps), anomaly.meaning,
            ]
        )  # fmt: skip
    headings = [("indicator", ""), ("limits", ""), ("first beyond", "ps"), ("value", ""), (f"before the {noun}", "fs"),
                ("limits are", "")]  # fmt: skip
    text = f"When each indicator first left its limits, and how long before the {noun}; a dash where it never did."
    return Section("What spoke when", text, [], [{"headings": headings, "rows": rows, "style": "plain"}])


def _series_section(made: Diagnosis) -> Section:
    when = {anomaly.indicator: anomaly for anomaly in made.anomalies}
    series = [
        {
            "name": x.name, "unit": x.unit, "times": x.times_ps, "values": x.values,
            "low": when[x.name].low, "high": when[x.name].high, "anomaly": when[x.name].time_ps,
        }
        for x in made.indicators
        if x.name != "volume against training"  # the same curve as the volume's
    ]  # fmt: skip
    broke = None if made.broke is None else made.broke.time_ps
    return Section("Over time", "Dashed: limits.", draw_indicators(series, broke, made.end_ps), paired=True)


def _environment_sections(made: Diagnosis) -> list[Section]:
    culprit = made.culprit
    if culprit is None:
        return []
    structure = made.run.frames[culprit.frame].structure
    cluster, center = structure_around(structure, culprit.atom, _REACH)
    title = f"atom {culprit.atom} at {culprit.time_ps:.4g} ps"
    figures = [draw_structure(vars(structure), [culprit.atom], title), draw_structure(vars(cluster), [center], title)]
    tables = [_neighbors(structure, culprit.atom, "of it")]
    text = f"Atom {culprit.atom} at {culprit.time_ps:.4g} ps: {culprit.why}."
    near = culprit.nearest
    if near is not None and made.run.training is not None:
        trained = made.run.training[near.index].structure
        like, middle = structure_around(trained, near.atom, _REACH)
        figures.append(draw_structure(vars(like), [middle], "nearest in training"))
        tables.append(_neighbors(trained, near.atom, "of the nearest in training"))
        text += f" The most similar in training: atom {near.atom} of {near.file}, frame {near.frame}"
        if near.ratio is not None:
            text += f", at {near.ratio:.3g} times the distance that 1 % of training atoms exceed"
        text += "."
    section = Section("The environment that went wrong", text, figures, tables, True)
    return [section, *_parts_section(made, culprit)]


def _parts_section(made: Diagnosis, culprit: Culprit) -> list[Section]:
    broke = None if made.broke is None else made.broke.time_ps
    figure = draw_parts(culprit.part_times, culprit.parts, broke)
    if figure is None:
        return []
    text = (
        "What each part of the potential adds to the length of the force on this atom, in the moments before the break."
    )
    return [Section("The force by parts", text, [figure])]


def _neighbors(structure: Structure, atom: int, whose: str) -> dict[str, Any]:
    pairs = find_neighbors(structure, 2 * _REACH)
    around = np.flatnonzero(pairs.centers == atom)
    around = around[np.argsort(pairs.distances[around], kind="stable")][:_NEAREST]
    symbols = structure.to_ase().get_chemical_symbols()  # type: ignore[no-untyped-call]
    rows = [[f"{j} ({symbols[j]})", f"{d:.3f}"]
            for j, d in zip(pairs.indices[around].tolist(), pairs.distances[around].tolist(), strict=True)]  # fmt: skip
    return {"caption": f"Nearest neighbors {whose}", "headings": [("atom", ""), ("distance", "Å")], "rows": rows,
            "style": "plain"}  # fmt: skip


def _probe_sections(made: Diagnosis) -> list[Section]:
    figures, sentences = [], []
    if (pushed := made.squeeze) is not None:
        figures.append(draw_squeeze(pushed.distances, pushed.energies, pushed.reference, pushed.shortest, pushed.pair))
        state = "pulls it further in" if pushed.falls_in else "keeps it apart"
        sentences.append(
            f"Atoms {pushed.atoms[0]} and {pushed.atoms[1]} ({pushed.pair}) are pushed together, nothing else moves: "
            f"below the shortest distance in training the potential {state}."
        )
    if (scaled := made.scaled) is not None:
        figures.append(draw_pressures(scaled.ratios, scaled.pressures, scaled.reference))
        state = "pushes outward where the cell is stretched" if scaled.pushes_outward else "pulls back or lets go"
        sentences.append(
            f"The cell and the atoms in it are scaled together: the potential {state}. Motion adds "
            f"{significant(scaled.thermal)} GPa at the volume of equilibrium."
        )
    if (step := made.step) is not None:
        state = "is too long" if step.is_too_long else "is short enough"
        sentences.append(
            f"At constant energy the total energy changes by {significant(step.change)} eV/atom with steps of "
            f"{step.timestep_fs:g} fs, by {significant(step.finer_change)} with a quarter of it: the time step {state}."
        )
    return (
        [Section("Walls, pressures and the time step", " ".join(sentences), figures, paired=True)] if sentences else []
    )


def _error_sections(made: Diagnosis) -> list[Section]:
    errors = made.errors
    if errors is None:
        return []
    figures = draw_frame_errors(errors.times_ps, errors.energy, errors.force_rmse, errors.largest, errors.pressure)
    text = f"Predicted less reference, in {len(errors.frames)} frames."
    sections = [Section("Errors", text, figures, paired=True)]
    return [*sections, pressure_section(made.pressures)] if made.pressures is not None else sections


def _histogram_sections(made: Diagnosis) -> list[Section]:
    """Return the distributions of speeds and forces in equilibrium and at the break."""
    run, end = made.run, made.end_ps
    usable = [k for k, s in enumerate(run.frames) if np.isfinite(s.structure.positions).all()]
    calm = [k for k in usable if 0.1 * end <= run.times_ps[k] <= 0.5 * end]
    last = [k for k in usable if run.times_ps[k] >= end - 1e-9][:_LAST] or usable[-1:]
    if len(last) < _LAST:
        last = [k for k in usable if run.times_ps[k] <= end + 1e-9][-_LAST:]
    if not calm:
        return []
    figures = []
    if all(run.frames[k].velocities is not None for k in (*calm, *last)):
        before, after = (np.concatenate([_reduced_speeds(made, k) for k in frames]) for frames in (calm, last))
        x = np.linspace(0.0, 5.0, 100)
        figures.append(draw_histograms(before, after, "speed / √(k_B T / m)",
                                       (x, np.sqrt(2 / np.pi) * x**2 * np.exp(-(x**2) / 2))))  # fmt: skip
    lengths = [np.concatenate([_force_lengths(made, k) for k in frames]) for frames in (calm, last)]
    figures.append(draw_histograms(lengths[0], lengths[1], "force (eV/Å)"))
    text = (
        f"Of all atoms, in {len(calm)} frames of the first half and the last {len(last)} at the break. A few "
        "atoms that go wrong hide in them."
    )
    return [Section("Speeds and forces", text, figures, paired=True)]


def _force_lengths(made: Diagnosis, frame: int) -> FloatArray:
    """Return the lengths (N,) of the forces of a frame in eV/Å; none where they are not known."""
    forces = made.run.predictions[frame].forces
    return np.zeros(0) if forces is None else np.asarray(np.linalg.norm(forces, axis=1))


def _reduced_speeds(made: Diagnosis, frame: int) -> FloatArray:
    """Return the speeds (N,) of a frame in units of √(k_B T / m) at the temperature that its stage aims at."""
    run = made.run
    snapshot, stage = run.frames[frame], run.stages[int(run.frame_stages[frame])]
    assert snapshot.velocities is not None
    kelvin = stage.temperature_at(stage.steps) or snapshot.temperature or 300.0
    speeds = np.linalg.norm(snapshot.velocities, axis=1) / FS
    return np.asarray(speeds / np.sqrt(kB * max(kelvin, 1.0) / snapshot.masses))
