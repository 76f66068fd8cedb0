"""The page of an assessment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.accuracy.assessment import EVERYTHING, QUANTITIES, Assessment
from forcewright.recipes import provenance
from forcewright.report import Card, PageContent, Section, write_report
from forcewright.report.assessment_figures import (
    draw_domain,
    draw_errors_by_set,
    draw_novelty,
    draw_path,
    draw_ranks,
    draw_spectra,
)
from forcewright.report.numbers import DASH, significant, with_error
from forcewright.structure import FloatArray

_NAMED = 20  # atoms that are listed
_EACH = 3  # of each model
_RANKED = 4  # families beside all sets whose ranks are drawn

_ALIGNMENTS = {
    "none": "are compared as they are",
    "first_frame": "are relative to the first frame of the set, which is not counted",
    "constant": "are compared after their mean difference per atom is taken away",
    "per_element": "are compared after a constant for each element, the same for all sets, is taken away",
}


def write_assess_page(
    folder: Path, made: Assessment, summary: Mapping[str, Any], config_text: str, drawn: Mapping[str, Any]
) -> Path:
    """Write report.html and return its path.

    Parameters
    ----------
    drawn
        ``points`` (M, 2) and ``shares`` (2,) of the map, first those of ``training`` frames; ``curves`` of spectra.
    """
    page = PageContent(
        title=f"Assessment: {folder.name}", kicker="Forcewright assessment",
        warnings=[*summary["warnings"], *(f"{name}: {why}" for name, why in summary["failures"].items())],
        summary=_text(summary), cards=list(_cards(made)),
        facts=[("reference", summary["reference"]), ("models", str(len(summary["models"]))),
               ("sets", str(len(summary["sets"]))),
               ("frames", significant(sum(part["frames"] for part in summary["sets"].values())))],
        sections=[*_error_sections(made, summary), *_ranking_section(made), *_atom_section(made, summary),
                  *_path_section(made, summary), *_spectra_section(summary, drawn["curves"]),
                  *_novelty_section(summary), *_map_section(made, drawn)],
        result=summary, config_text=config_text, citations=provenance.cited(["forcewright", "ase"]),
    )  # fmt: skip
    return write_report(folder / "report.html", page)


def _count(named: Sized, noun: str) -> str:
    return f"{len(named)} {noun}{'' if len(named) == 1 else 's'}"


def _text(summary: Mapping[str, Any]) -> str:
    used = sorted({part["alignment"] for part in summary["sets"].values()})
    parts = [
        f"{_count(summary['models'], 'model')} against {summary['reference']} on {_count(summary['sets'], 'set')}."
        if summary["sets"] else f"Spectra of {len({row['molecule'] for row in summary['spectra']})} molecules."
    ]  # fmt: skip
    if summary["missing"]:
        parts.append(
            " ".join(
                f"{model} says nothing of {', '.join(by_set)}."
                if len(by_set) < 4
                else f"{model} says nothing of {len(by_set)} of the sets."
                for model, by_set in summary["missing"].items()
            )
        )
    if used:
        parts.append(
            " ".join(
                f"Energies {_ALIGNMENTS[way]}" + (
                    "." if len(used) == 1 else
                    f" ({', '.join(n for n, p in summary['sets'].items() if p['alignment'] == way)})."
                ) for way in used
            )
        )  # fmt: skip
        parts.append(
            "Of a model with several seeds the mean of their errors is shown. ± is the standard error over frames and "
            "seeds, by a bootstrap; frames are drawn together for all models."
        )
    return "\n\n".join(parts)


def _cards(made: Assessment) -> Iterator[Card]:
    def ranked(family: str) -> int:
        return max(map(len, made.rankings[family].values()))

    if not made.rankings:
        return
    family = max(made.rankings, key=lambda name: (ranked(name), name == EVERYTHING))
    for quantity, _, unit in QUANTITIES:
        rows = made.rankings[family][quantity]
        if len(rows) > 1:
            yield Card(f"lowest error of {'energies' if quantity == 'energy' else quantity}",
                       significant(rows[0]["score"]), unit, f"{rows[0]['model']}, {family}")  # fmt: skip


def _error_sections(made: Assessment, summary: Mapping[str, Any]) -> Iterator[Section]:
    if not made.rows:
        return
    figures, tables = [], []
    for quantity, key, unit in QUANTITIES:
        errors: dict[str, dict[str, float]] = {}
        spreads: dict[str, dict[str, float]] = {}
        for row in made.rows:
            if row[key] is not None:
                errors.setdefault(row["model"], {})[row["set"]] = row[key]
                spreads.setdefault(row["model"], {})[row["set"]] = row[f"{key}_standard_error"]
        figure = draw_errors_by_set(errors, spreads, list(made.sets), f"{quantity} RMSE ({unit})")
        if figure is not None:
            figures.append(figure)
            tables.append(_table(errors, spreads, list(made.sets), f"RMSE of {quantity} ({unit})"))
    yield Section("Errors by set", "", figures, tables)
    families = {row["family"] for row in made.families}
    if 1 < len(families) < len(made.sets) or any(row["of"] > 1 for row in made.families):
        tables = []
        for quantity, key, unit in QUANTITIES:
            errors, spreads = {}, {}
            for row in made.families:
                if row[key] is not None and row["sets"] == row["of"]:
                    errors.setdefault(row["model"], {})[row["family"]] = row[key]
                    spreads.setdefault(row["model"], {})[row["family"]] = row[f"{key}_standard_error"]
            if errors:
                names = list(dict.fromkeys(row["family"] for row in made.families))
                tables.append(_table(errors, spreads, names, f"RMSE of {quantity} ({unit}), all frames of a family"))
        yield Section("Errors by family", "Only models that have all sets of a family.", [], tables)


def _table(
    errors: Mapping[str, Mapping[str, float]], spreads: Mapping[str, Mapping[str, float]], names: list[str],
    caption: str,
) -> dict[str, Any]:  # fmt: skip
    head, *rows = crossed(errors, names, lambda model, name: with_error(
        errors[model].get(name), spreads[model].get(name)))  # fmt: skip
    return {"caption": caption, "headings": [(name, "") for name in head], "rows": rows, "style": "plain"}


def crossed(
    values: Mapping[str, Mapping[str, Any]], names: Sequence[str], show: Callable[[str, str], str]
) -> list[list[str]]:
    """Return a table of models and sets as lines of texts, the headings first: what there is more of goes down.

    Parameters
    ----------
    values
        By model, then by set.
    names
        Sets, in their order; those of which no model knows anything are left out.
    show
        Returns the text of a model and a set.
    """
    shown = [name for name in names if any(name in by_set for by_set in values.values())]
    if len(shown) < len(values):
        return [["model", *shown], *([model, *(show(model, name) for name in shown)] for model in values)]
    return [["set", *values], *([name, *(show(model, name) for model in values)] for name in shown)]


def _ranking_section(made: Assessment) -> Iterator[Section]:
    figures, tables = [], []
    names = [family for family, by in made.rankings.items() if any(len(rows) > 1 for rows in by.values())]
    names = sorted(names, key=lambda family: family != EVERYTHING)[: _RANKED + 1]
    for family in names:
        ranked = {q: rows for q, rows in made.rankings[family].items() if len(rows) > 1}
        if ranked:
            if any(len(rows) > 2 for rows in ranked.values()) and (figure := draw_ranks(ranked, family)) is not None:
                figures.append(figure)
            for quantity, rows in ranked.items():
                tables.append(
                    {
                        "caption": f"{family}: {quantity}",
                        "headings": [("rank", ""), ("model", ""), ("score", ""), ("90 % of scores", ""),
                                     ("90 % of ranks", "")],
                        "rows": [
                            [str(row["rank"]), row["model"], significant(row["score"]),
                             " to ".join(map(significant, row["score_interval"])),
                             " to ".join(map(str, dict.fromkeys(row["rank_interval"])))] for row in rows
                        ], "style": "plain",
                    }
                )  # fmt: skip
    if tables:
        text = (
            "Models by the geometric mean of their errors over the sets; only those that have all of them. The "
            "intervals hold 90 % of the resamples of frames and seeds: where those of ranks overlap, who is ahead is "
            "not settled."
        )
        yield Section("Ranking", text, figures, tables)


def _atom_section(made: Assessment, summary: Mapping[str, Any]) -> Iterator[Section]:
    worst = sorted(made.worst, key=lambda row: -row["force_error_eV_per_A"])
    if not worst:
        return
    chosen: list[dict[str, Any]] = []
    seen: set[tuple[str, str]] = set()
    for row in worst:  # one of each set, and not only those of the worst model
        if (row["model"], row["set"]) not in seen and sum(row["model"] == model for model, _ in seen) < _EACH:
            seen.add((row["model"], row["set"]))
            chosen.append(row)
    atoms = {
        "caption": "The worst atom of a model and a set; worst-atoms.csv has more of them, atoms.csv all atoms",
        "headings": [("model", ""), ("set", ""), ("atom", ""), ("frame", ""), ("force error", "eV/Å"),
                     ("reference force", "eV/Å"), ("of the frame's squared error", "")],
        "rows": [[row["model"], row["set"], row["atom"], str(row["frame"]), significant(row["force_error_eV_per_A"]),
                  significant(row["reference_force_eV_per_A"]), f"{100 * row['share_of_frame']:.0f} %"]
                 for row in chosen[:_NAMED]], "style": "plain",
    }  # fmt: skip
    by_element = _element_table(made)
    text = (
        "A mean over a set can hide that a model fails at a single place. Of molecules whose atoms are the same in all "
        "frames the two worst atoms are named, with their share of the squared force error; elsewhere the share is the "
        "mean of the two worst atoms of each frame."
    )
    yield Section("Errors by element and atom", text, [], [atoms, by_element])


def _element_table(made: Assessment) -> dict[str, Any]:
    elements = list(dict.fromkeys(row["element"] for row in made.elements))
    sums: dict[tuple[str, str], dict[str, FloatArray]] = {}
    for row in made.elements:
        of_model = sums.setdefault((row["model"], made.sets[row["set"]].family), {})
        part = row["atoms"] * np.array([row["force_rmse_eV_per_A"] ** 2, 1.0])
        of_model[row["element"]] = of_model.get(row["element"], np.zeros(2)) + part
    rows = []
    for (model, family), by in sums.items():
        cells = [significant(float(np.sqrt(by[z][0] / by[z][1]))) if z in by else DASH for z in elements]
        rows.append([model, family, *cells, _share(made, model, family)])
    return {
        "caption": "Force RMSE by element (eV/Å); elements.csv has it by set",
        "headings": [("model", ""), ("family", ""), *((name, "") for name in elements), ("two worst atoms have", "")],
        "rows": rows, "style": "plain",
    }  # fmt: skip


def _share(made: Assessment, model: str, family: str) -> str:
    """Return the largest share of two atoms in the sets of a family, and which atoms these are."""
    here = [row for row in made.rows if row["model"] == model and row["family"] == family]
    here = [row for row in here if row["two_worst_atoms_share"] is not None]
    if not here:
        return DASH
    row = max(here, key=lambda known: known["two_worst_atoms_share"])
    where = [part for part in (row["worst_atoms"], row["set"] if row["set"] != family else None) if part]
    return f"{100 * row['two_worst_atoms_share']:.0f} %" + (f" ({' in '.join(where)})" if where else "")


def _path_section(made: Assessment, summary: Mapping[str, Any]) -> Iterator[Section]:
    if not made.profiles:
        return
    figures, rows = [], []
    for name, by_model in made.profiles.items():
        if None not in by_model:
            continue
        models = {model: curve for model, (curve, _) in by_model.items() if model is not None}
        figures.append(draw_path(name, by_model[None][0], models, summary["reference"]))
        right = by_model[None][1]
        for model, (_, known) in by_model.items():
            if known is not None and right is not None:
                rows.append(
                    [name, model or summary["reference"], significant(known.forward_barrier_eV),
                     significant(known.backward_barrier_eV), significant(known.reaction_energy_eV), str(known.top),
                     DASH if model is None else f"{known.forward_barrier_eV - right.forward_barrier_eV:+.2f}"]
                )  # fmt: skip
    headings = [("set", ""), ("model", ""), ("barrier", "eV"), ("barrier back", "eV"), ("reaction energy", "eV"),
                ("frame of the barrier", ""), ("error of the barrier", "eV")]  # fmt: skip
    text = "Energies along reactions, relative to the first frame; the barrier is the highest point of each curve."
    yield Section("Reactions", text, figures, [{"headings": headings, "rows": rows, "style": "plain"}], paired=True)


def _spectra_section(summary: Mapping[str, Any], curves: Mapping[str, Any]) -> Iterator[Section]:
    if not summary["spectra"]:
        return
    figures = [
        draw_spectra(name, {model: (s.frequencies, s.values) for model, s in by.items()}) for name, by in curves.items()
    ]
    columns = [("matched modes", "THz", "matched_modes_rms_THz"), ("zero point off by", "eV", "zero_point_error_eV"),
               ("imaginary modes", "", "imaginary_modes")]  # fmt: skip
    columns = [column for column in columns if any(row[column[2]] is not None for row in summary["spectra"])]
    rows = [
        [row["molecule"], row["model"], f"{row['overlap']:.3f}", significant(row["wasserstein_THz"]),
         *(significant(row[key]) for _, _, key in columns)]
        for row in summary["spectra"]
    ]  # fmt: skip
    text = (
        "Vibrational densities of states. The overlap is the area that two spectra, each of unit area above frequency "
        "0, have in common, ∫ min(a, b) dν: 1 if they are the same. The Wasserstein distance is how far intensity has "
        "to be moved on the average."
    )
    if columns:
        text += (
            " Matched modes are those whose motions are most alike; the root mean square error of their frequencies is "
            "told, and modes.csv has each."
        )
    headings = [("molecule", ""), ("model", ""), ("overlap", ""), ("Wasserstein distance", "THz"),
                *((name, unit) for name, unit, _ in columns)]  # fmt: skip
    yield Section("Vibrational spectra", text, figures, [{"headings": headings, "rows": rows, "style": "plain"}], True)


def _novelty_section(summary: Mapping[str, Any]) -> Iterator[Section]:
    novelty = summary["novelty"]
    if novelty is None:
        return
    limit = novelty["calibration"]["limit"] if novelty["calibration"] else None
    curves = {model: known["all"]["curve"] for model, known in novelty["models"].items() if known["all"]}
    figure = draw_novelty(curves, limit)
    frames = {name: part["frames"] for name, part in summary["sets"].items()}
    sets = {
        "headings": [("set", ""), ("frames outside", ""), ("median novelty", ""), ("99th percentile", "")],
        "rows": [
            [name, DASH if row["frames_outside"] is None else f"{row['frames_outside']} of {frames[name]}",
             significant(row["median"]), significant(row["percentile_99"])] for name, row in novelty["sets"].items()
        ], "style": "plain",
    }  # fmt: skip
    models = {
        "headings": [("model", ""), ("rank correlation of novelty and force error, all sets", "")],
        "rows": [[model, DASH if not known["all"] else f"{known['all']['spearman']:.2f}"]
                 for model, known in novelty["models"].items()], "style": "plain",
    }  # fmt: skip
    text = (
        f"Novelty is the distance of an atom's surroundings to the nearest of the {novelty['frames']} training frames: "
        "1 where every function is off by as much as it varies there. A frame is outside where its newest atom exceeds "
        "what 99 % of training frames have, each half by the other."
    )
    yield Section("Novelty and error", text, [] if figure is None else [figure], [sets, models])


def _map_section(made: Assessment, drawn: Mapping[str, Any]) -> Iterator[Section]:
    if len(drawn["points"]) < 3:
        return
    parts = {"training": drawn["training"]} if drawn["training"] else {}
    parts |= {name: len(part.dataset) for name, part in made.sets.items()}
    figure = draw_domain(np.asarray(drawn["points"]), parts, drawn["shares"], "training" if drawn["training"] else "")
    text = "Frames by the mean of their atoms' descriptors, in the two directions in which these vary most."
    yield Section("Map of the frames", text, [figure])
