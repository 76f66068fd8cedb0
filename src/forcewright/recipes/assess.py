"""Assess: what models trained on one chemistry say of another, by set, family, element and atom, on one page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.accuracy.assessment import (
    QUANTITIES,
    Assessment,
    LabelledSet,
    ModelPredictions,
    assess_models,
)
from forcewright.accuracy.novelty import Novelty, domain_map, relation
from forcewright.accuracy.spectra import Spectrum, overlap, read_spectrum, wasserstein
from forcewright.data import dataset_of, read
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import write_table
from forcewright.recipes.assess_config import AssessConfig
from forcewright.recipes.assess_page import crossed, write_assess_page
from forcewright.recipes.assess_predictions import RawFiles, computed_predictions, references_of, stored_predictions
from forcewright.recipes.assess_vibrations import compared_vibrations
from forcewright.recipes.provenance import file_hashes
from forcewright.recipes.run_folder import RunFolder, read_config, with_absolute_paths
from forcewright.reference import Progress
from forcewright.report.numbers import significant
from forcewright.structure import Dataset, FloatArray
from forcewright.tables import Tabular

log = logging.getLogger("forcewright")

_REAL = 0.0  # THz from which on spectra are compared: imaginary modes stand below


@dataclass(frozen=True, eq=False, repr=False)
class Assessed(Tabular):
    """What came out; ``summary`` is the content of result.json, ``assessment`` holds the values behind it."""

    summary: dict[str, Any]
    assessment: Assessment
    folder: Path

    def __repr__(self) -> str:
        return f"Assessed({len(self.summary['models'])} models on {len(self.summary['sets'])} sets; {self.folder})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each model and set."""
        return list(self.summary["errors"])

    def __str__(self) -> str:
        """Return a table for each quantity, a row for each model and a column for each set, and what to beware of."""
        blocks = [
            block for _, key, unit in QUANTITIES
            if (block := _text_table(self.summary, key, f"{key.split('_')[0]} RMSE ({unit})"))
        ]  # fmt: skip
        spectra = [
            f"{row['molecule']}: {row['model']} overlap {row['overlap']:.2f}, Wasserstein distance "
            f"{row['wasserstein_THz']:.2f} THz" for row in self.summary["spectra"]
        ]  # fmt: skip
        return "\n\n".join([*blocks, *(["\n".join(spectra)] if spectra else []),
                            *(["\n".join(notes)] if (notes := self.summary["warnings"]) else [])])  # fmt: skip


def _text_table(summary: Mapping[str, Any], key: str, title: str) -> str:
    values: dict[str, dict[str, float]] = {}
    for row in summary["errors"]:
        if row[key] is not None:
            values.setdefault(row["model"], {})[row["set"]] = row[key]
    if not values:
        return ""
    lines = crossed(values, list(summary["sets"]), lambda model, name: significant(values[model].get(name)))
    lines[0][0] = title
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    text = ["  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines]  # fmt: skip
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def assess(config: str | Path | Mapping[str, Any], *, on_step: Callable[[str], None] = lambda step: None) -> Assessed:
    """Compare models with the labels of sets: errors, ranks, barriers, spectra, novelty and a map, on one page.

    Predictions that are computed are kept by content in the output folder: run again, it goes on where it was stopped.

    Parameters
    ----------
    config
        A YAML file, or its content (paths are then relative to the working directory).
    on_step
        Called with what is done next.

    Raises
    ------
    InputError
        If the config or a file is not usable, or no model can be assessed on any set.
    """
    read_settings = read_config(AssessConfig, config)
    settings = with_absolute_paths(read_settings.settings, read_settings.folder)
    files = [
        *(path for part in settings.sets.values() for path in part.files),
        *(path for model in settings.models.values() for paths in model.files.values() for path in paths),
        *(settings.novelty.training if settings.novelty else []),
        *(path for entry in settings.spectra.values() for path in (entry.reference, *entry.models.values())),
    ]
    with RunFolder(settings.output, "assess") as folder:
        hashes = file_hashes(path for path in files if path.is_file())
        on_step("reading spectra")
        spectra, curves = _spectra(settings)
        on_step("vibrations")
        vibrations = compared_vibrations(settings, folder / "vibrations")
        spectra, curves = [*spectra, *vibrations.rows], {**curves, **vibrations.curves}
        on_step("reading sets")
        sets = [_labelled_set(name, settings) for name in settings.sets]
        predictions, missing, failures = _predictions(settings, sets, folder / "predictions", on_step)
        failures |= vibrations.failures
        if settings.sets and not predictions:
            name, reason = next(iter(failures.items()), ("", ""))
            raise InputError(f"no model says anything of any set; {name}: {reason}", field="models")
        on_step("comparing")
        made = assess_models(sets, predictions, np.random.default_rng(settings.seed))
        on_step("novelty")
        training = _training(settings)
        novelty, learned = _novelty(training, made)
        on_step("drawing")
        points, shares = domain_map([s for d in [*([training] if training else []), *(p.dataset for p in sets)]
                                     for s in d.structures]) if sets else (np.zeros((0, 2)), np.zeros(2))  # fmt: skip
        text = folder.write_config(settings)
        summary = folder.write_result(
            {
                "reference": settings.reference, "models": list(settings.models),
                "sets": {part.name: _about(part) for part in sets},
                "errors": made.rows, "families": made.families, "groups": made.groups, "elements": made.elements,
                "rankings": made.rankings, "worst_atoms": made.worst,
                "profiles": {
                    name: {model or settings.reference: None if known is None else known.to_dict()
                           for model, (_, known) in by_model.items()}
                    for name, by_model in made.profiles.items()
                },
                "spectra": spectra, "modes": vibrations.modes, "novelty": learned,
                "warnings": made.warnings, "missing": missing, "failures": failures,
            }, hashes,
        )  # fmt: skip
        _write_tables(folder, made, summary, novelty)
        drawn = {"points": points, "shares": shares, "training": 0 if training is None else len(training),
                 "curves": curves, "novelty": novelty}  # fmt: skip
        write_assess_page(folder.path, made, summary, text, drawn)
    return Assessed(summary, made, settings.output)


def _about(part: LabelledSet) -> dict[str, Any]:
    return {
        "family": part.family, "frames": len(part.dataset), "atoms": int(part.sizes.sum()),
        "alignment": part.alignment, "path": part.path, "same_atoms": part.atoms.same,
    }  # fmt: skip


def _labelled_set(name: str, settings: AssessConfig) -> LabelledSet:
    asked = settings.sets[name]
    labels = asked.labels or settings.labels
    dataset = read(asked.files, labels=labels, name=name)
    return LabelledSet(
        name, asked.family or name, dataset, asked.alignment or settings.alignment, asked.path, asked.same_atoms
    )


def _predictions(
    settings: AssessConfig, sets: Iterable[LabelledSet], cache: Path, on_step: Callable[[str], None]
) -> tuple[dict[str, dict[str, ModelPredictions]], dict[str, dict[str, list[str]]], dict[str, str]]:
    """Return what each model says of each set, the keys that are missing by model and set, and what failed and why."""
    raw_files = RawFiles()
    predictions: dict[str, dict[str, ModelPredictions]] = {}
    missing: dict[str, dict[str, list[str]]] = {}
    failures: dict[str, str] = {}
    for name, model in settings.models.items():
        references = []
        if not model.is_stored:
            try:
                references = references_of(name, model, settings.output)
            except ForcewrightError as error:
                if isinstance(error, InputError) and len(settings.models) == 1:
                    raise
                failures[name] = str(error)
                log.warning("%s: %s", name, error)
                continue
        for part in sets:
            if model.sets is not None and part.name not in model.sets:
                continue
            on_step(f"{name} on {part.name}")
            if model.is_stored:
                files = model.files.get(part.name, settings.sets[part.name].files)
                said = stored_predictions(part, model.keys(), files, raw_files)
            else:

                def show(progress: Progress, what: str = f"{name} on {part.name}") -> None:
                    on_step(f"{what}: {progress.done} of {progress.total}")

                said = computed_predictions(part, references, cache, settings.workers, show)
            if said.failure:
                failures[f"{name} on {part.name}"] = said.failure
            if said.missing:
                missing.setdefault(name, {})[part.name] = list(said.missing)
            if said.predictions is not None:
                predictions.setdefault(name, {})[part.name] = said.predictions
        if name not in predictions and name in missing:
            part_name, keys = next(iter(missing[name].items()))
            raise InputError(
                f"says nothing of any set; no frame of {part_name} has {', '.join(keys)}: check the keys",
                field=f"models.{name}",
            )
    return predictions, missing, failures


def _spectra(settings: AssessConfig) -> tuple[list[dict[str, Any]], dict[str, dict[str, Spectrum]]]:
    rows = []
    curves: dict[str, dict[str, Spectrum]] = {}
    for molecule, entry in settings.spectra.items():
        reference = read_spectrum(entry.reference)
        curves[molecule] = {settings.reference: reference}
        for model, path in entry.models.items():
            curves[molecule][model] = read_spectrum(path)
            pair = [spectrum.above(_REAL) for spectrum in (reference, curves[molecule][model])]
            if any(not spectrum.values.any() or len(spectrum.values) < 2 for spectrum in pair):
                raise InputError("has no values above frequency 0 to compare", file=path, field=f"spectra.{molecule}")
            rows.append(
                {
                    "molecule": molecule,
                    "model": model,
                    "overlap": overlap(*pair),
                    "wasserstein_THz": wasserstein(*pair),
                    "matched_modes_rms_THz": None,
                    "zero_point_error_eV": None,
                    "imaginary_modes": None,
                }  # fmt: skip
            )
    return rows, curves


def _training(settings: AssessConfig) -> Dataset | None:
    return None if settings.novelty is None else dataset_of(settings.novelty.training, labels={"energy": "none"})


def _novelty(training: Dataset | None, made: Assessment) -> tuple[dict[str, FloatArray], dict[str, Any] | None]:
    """Return the novelty of all atoms (A,) of each set, and what it tells of the errors."""
    if training is None:
        return {}, None
    known = Novelty.of(training)
    by_set: dict[str, FloatArray] = {}
    sets: dict[str, Any] = {}
    for name, part in made.sets.items():
        each = [known.environments.distances(structure) for structure in part.dataset.structures]
        by_set[name] = np.concatenate(each)
        outside = [known.outside(distances) for distances in each]
        finite = by_set[name][np.isfinite(by_set[name])]
        sets[name] = {
            "frames_outside": None if None in outside else int(sum(map(bool, outside))),
            "median": float(np.median(finite)) if finite.size else None,
            "percentile_99": float(np.percentile(finite, 99)) if finite.size else None,
        }  # fmt: skip
    models: dict[str, Any] = {}
    for model in dict.fromkeys(row["model"] for row in made.rows):
        names = [name for name in made.sets if model in made.atoms.get(name, {})]
        pooled = relation(
            np.concatenate([by_set[name] for name in names]), np.concatenate([made.atoms[n][model] for n in names])
        )
        models[model] = {
            "all": pooled,
            "sets": {name: relation(by_set[name], made.atoms[name][model]) for name in names},
        }
    limit = None if known.calibration is None else known.calibration.to_dict()
    return by_set, {"frames": len(training), "calibration": limit, "sets": sets, "models": models}


def _write_tables(
    folder: RunFolder, made: Assessment, summary: Mapping[str, Any], novelty: Mapping[str, FloatArray]
) -> None:
    def flat(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [
            {key: " ".join(f"{v:.6g}" for v in value) if isinstance(value, list) else value
             for key, value in row.items()} for row in rows
        ]  # fmt: skip

    ranks = [
        {"family": family, "quantity": quantity, **row}
        for family, by_quantity in made.rankings.items() for quantity, rows in by_quantity.items() for row in rows
    ]  # fmt: skip
    profiles = [
        {"set": name, "frame": k, **{model or summary["reference"]: float(curve[k])
                                     for model, (curve, _) in by_model.items()}}
        for name, by_model in made.profiles.items() for k in range(len(made.sets[name].dataset))
    ]  # fmt: skip
    tables = {
        "errors": made.rows, "families": made.families, "groups": made.groups, "elements": made.elements,
        "worst-atoms": made.worst, "spectra": summary["spectra"], "modes": summary["modes"],
        "ranking": ranks, "profiles": profiles, "atoms": _atom_rows(made, summary["models"], novelty),
    }  # fmt: skip
    for name, rows in tables.items():
        if rows:
            write_table(folder / f"{name}.csv", flat(rows))


def _atom_rows(made: Assessment, models: Sequence[str], novelty: Mapping[str, FloatArray]) -> list[dict[str, Any]]:
    rows = []
    for name, by_model in made.atoms.items():
        atoms = made.sets[name].atoms
        for k in range(len(atoms.frame)):
            row = {"set": name, "frame": int(atoms.frame[k]), "atom": atoms.name(k)}
            forces = {"reference_force_eV_per_A": _number(np.linalg.norm(made.sets[name].forces[k]))}
            new = {"novelty": _number(novelty[name][k])} if name in novelty else {}
            errors = {model: _number(by_model[model][k]) if model in by_model else None for model in models}
            rows.append({**row, **forces, **new, **errors})
    return rows


def _number(value: Any) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None
