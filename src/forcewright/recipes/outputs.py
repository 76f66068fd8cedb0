"""Everything a study leaves behind: result.json, tables, potential/, the resolved config and the report."""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase.data import chemical_symbols

from forcewright.accuracy.errors import ErrorTable
from forcewright.accuracy.parity import Parity
from forcewright.data import audit
from forcewright.errors import InputError
from forcewright.files import atomic_write
from forcewright.lammps_session import write_lammps_data
from forcewright.models import load
from forcewright.optimize.journal import TrialRecord
from forcewright.optimize.pareto import non_dominated
from forcewright.potential import Exportable, Potential
from forcewright.recipes import account, provenance
from forcewright.recipes.config import LINEAR_ONLY, TuneConfig, fill_model, is_black_box
from forcewright.recipes.inputs import Inputs
from forcewright.recipes.refit import Finished
from forcewright.recipes.resources import ResourceMonitor
from forcewright.recipes.setting import FittedSetting, Problem

log = logging.getLogger("forcewright")

#: what a study writes last: they are there if it has finished
_LAST = ("result.json", "report.html")

_TABLE = (
    "energy_rmse_meV_per_atom", "energy_mae_meV_per_atom", "energy_r2", "energy_total_rmse_eV", "energy_total_mae_eV",
    "force_rmse_eV_per_A", "force_mae_eV_per_A", "force_r2", "stress_rmse_GPa", "stress_mae_GPa",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class TuneResult:
    """What a study found; ``summary`` is the content of result.json."""

    potential: Potential
    summary: dict[str, Any]
    validation: ErrorTable
    test: ErrorTable | None
    trials: list[TrialRecord]
    folder: Path


def write_outputs(
    settings: TuneConfig, inputs: Inputs, problem: Problem, trials: list[TrialRecord], best: TrialRecord,
    finished: Finished, nested: ErrorTable | None, importance: Mapping[str, float], monitor: ResourceMonitor,
    earlier_s: float = 0.0,
) -> TuneResult:  # fmt: skip
    """Write all results of a study to its output folder; the report comes last.

    ``earlier_s`` is what the trials took that earlier runs of the study have left.
    """
    folder = settings.output
    for name in _LAST:  # until all is written, this is no finished study
        (folder / name).unlink(missing_ok=True)
    config_text = resolved_config(settings)
    atomic_write(folder / "config.resolved.yaml", config_text)
    potential_folder = finished.potential.save(folder / "potential")
    if isinstance(finished.potential, Exportable):
        _write_example_structure(potential_folder, inputs, finished)
    _write_trials(folder, trials, best)
    finished.validation.write_csv(folder / "errors_validation.csv")
    if finished.test is not None:
        finished.test.write_csv(folder / "errors_test.csv")
    findings = audit(inputs.train, test=inputs.test).to_rows()
    monitor.update()
    summary = summarize(settings, inputs, problem, trials, best, finished, nested, monitor)
    summary["earlier_trials_s"] = round(earlier_s, 3)
    atomic_write(folder / "result.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    finished.validation.parity.save(folder / "parity_validation.npz")
    if finished.test is not None:
        finished.test.parity.save(folder / "parity_test.npz")
    page = report_fields(settings, inputs, trials, best, summary, importance, findings)
    atomic_write(folder / "report.json", json.dumps(page, indent=1, allow_nan=False) + "\n")
    rebuild_report(folder)
    # a family with a fit of its own may still read from where it was fitted, which goes now
    potential = load(potential_folder, allow_commands=True) if finished.fitted is None else finished.potential
    shutil.rmtree(problem.cache, ignore_errors=True)
    return TuneResult(potential, summary, finished.validation, finished.test, trials, folder)


def stored_summary(settings: TuneConfig) -> dict[str, Any] | None:
    """Return the content of result.json of a study that has finished with this config and these data, if it has."""
    folder = settings.output
    names = ("config.resolved.yaml", *_LAST)
    if not (all((folder / name).is_file() for name in names) and (folder / "potential").is_dir()):
        return None
    try:
        known = yaml.safe_load((folder / "config.resolved.yaml").read_text())
        summary: dict[str, Any] = json.loads((folder / "result.json").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return None
    same = known == yaml.safe_load(resolved_config(settings))
    return summary if same and summary.get("data_hashes") == provenance.file_hashes(_data_files(settings)) else None


def stored_result(settings: TuneConfig, trials: list[TrialRecord]) -> TuneResult | None:
    """Return what a study has left that has finished with this config, these data and these trials, if it has."""
    summary = stored_summary(settings)
    if summary is None or summary["trials"] != len(trials):
        return None
    folder = settings.output
    try:
        tables = {
            name: ErrorTable.from_dict(summary[name], Parity.load(folder / f"parity_{name}.npz"))
            for name in ("validation", "test")
            if summary[name] is not None
        }
        potential = load(folder / "potential", allow_commands=True)  # a command is one that this config names
    except (InputError, KeyError, TypeError) as error:  # damaged, or written by another version: all is made again
        log.warning("the study has finished, but not all of it can be read back, and is written anew: %s", error)
        return None
    return TuneResult(potential, summary, tables["validation"], tables.get("test"), trials, folder)


def rebuild_report(folder: str | Path, sections: Sequence[Any] = ()) -> Path:
    """Write report.html from what a finished study has stored in its folder.

    Parameters
    ----------
    sections
        Further `forcewright.report.Section`s to show at the end.

    Raises
    ------
    InputError
        If the folder is not that of a finished study.
    """
    from forcewright.report import ReportContent, write_report  # matplotlib: not before it is needed

    folder = Path(folder)
    texts = {}
    for name in ("result.json", "report.json", "config.resolved.yaml"):
        if not (folder / name).is_file():
            raise InputError("does not exist; is this the output folder of a finished study?", file=folder / name)
        texts[name] = (folder / name).read_text()
    fields = json.loads(texts["report.json"])
    stored = [_stored_section(*section) for section in fields.pop("sections")]
    stored += stored_physics(folder)
    parity = {
        name: Parity.load(path) for name in ("validation", "test") if (path := folder / f"parity_{name}.npz").exists()
    }
    result = json.loads(texts["result.json"])
    if result.get("solver") is None:  # a family with a fit of its own: there are no weights and ridge settings to count
        result.pop("evaluations", None)
    content = ReportContent(
        result=result, config_text=texts["config.resolved.yaml"], parity=parity,
        sections=[*stored, *sections], **fields,
    )  # fmt: skip
    return write_report(folder / "report.html", content)


def stored_physics(folder: Path) -> list[Any]:
    """Return the sections that `forcewright validate` left for the report of the study whose potential it judged."""
    from forcewright.report import Section, Svg

    path = folder / "physics.json"
    if not path.is_file():
        return []
    sections = json.loads(path.read_text())
    return [
        Section(one["title"], one["text"], [Svg(*drawn) for drawn in one["figures"]], one["tables"], one["paired"])
        for one in sections
    ]


def _stored_section(title: str, text: str, shown: Mapping[str, Any] | None = None) -> Any:
    """Return a section of a report as it was stored, with its figure and table drawn."""
    from forcewright.report import Section, draw_convergence, grade_table

    shown = shown or {}
    figure = draw_convergence(shown["convergence"]) if "convergence" in shown else None
    tables = [grade_table(shown["grades"])] if "grades" in shown else []
    return Section(title, text, [] if figure is None else [figure], tables)


def resolved_config(settings: TuneConfig) -> str:
    """Return the config with every default that applies written out and absolute paths, as YAML."""
    idle = set(LINEAR_ONLY) if is_black_box(settings.model) else {"threads"}
    content = settings.model_dump(mode="json", by_alias=True, exclude=idle)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def chosen_settings(content: Mapping[str, Any], best: TrialRecord, fitted: FittedSetting | None) -> dict[str, Any]:
    """Return the chosen hyperparameters, weights by group and ridge in the words of the config.

    ``content`` is the model's part of the config, with what the data settle in it.
    """
    model = fill_model(content, best.params).model_dump(mode="json", exclude_none=True)
    if fitted is None:
        return {"model": model}
    theta = np.exp(fitted.search.theta)
    weights: dict[str, dict[str, float]] = {}
    for term, weight in zip(fitted.terms, theta, strict=False):
        weights.setdefault(term.group, {})[term.property] = float(f"{weight:.6g}")
    count = len(fitted.terms)
    chosen = {"model": model, "weights": weights, "ridge": float(f"{theta[count]:.6g}")}
    exponents = fitted.search.theta[count + 1 :]
    return {**chosen, "prior": [float(f"{eta:.6g}") for eta in exponents]} if len(exponents) else chosen


def summarize(
    settings: TuneConfig, inputs: Inputs, problem: Problem, trials: Sequence[TrialRecord], best: TrialRecord,
    finished: Finished, nested: ErrorTable | None, monitor: ResourceMonitor,
) -> dict[str, Any]:  # fmt: skip
    """Return the content of result.json."""
    graded = (inputs.test, "test") if inputs.test is not None else (inputs.external, "validation")
    return {
        "settings": chosen_settings(problem.model, best, finished.fitted),
        **account.account_of(problem, fill_model(problem.model, best.params), best, finished.fitted),
        "extrapolation": account.grades_of(finished.potential, *graded),
        "loss": best.loss,
        "validation": finished.validation.to_dict(),
        "test": None if finished.test is None else finished.test.to_dict(),
        "nested": None if nested is None else nested.to_dict(),
        "trials": len(trials),
        "failed_trials": sum(trial.loss is None for trial in trials),
        "evaluations": sum(trial.metrics.get("evaluations", 0) for trial in trials),
        "fit_s": round(finished.fit_s, 3),
        "wall_s": round(monitor.wall_s, 3),
        "cpu_s": round(monitor.cpu_s, 3),
        "peak_memory_bytes": monitor.peak_memory_bytes,
        "cost_us_per_atom": finished.cost_us_per_atom,
        "max_cost_us_per_atom": settings.study.max_cost_us_per_atom,
        "warnings": limit_warnings(settings, best),
        "protocol": settings.protocol,
        "seed": settings.study.seed,
        "best_trial": best.index,
        "reference_energies": {
            "source": inputs.energies.source,
            "eV": {chemical_symbols[z]: energy for z, energy in inputs.energies.per_species.items()},
            "isolated_atoms": finished.anchor,
        },
        **provenance.record(_data_files(settings)),
    }


def _data_files(settings: TuneConfig) -> list[Path]:
    return [*settings.data.train, *(settings.data.test or []), *(settings.validation.external or [])]


def limit_warnings(settings: TuneConfig, best: TrialRecord) -> list[str]:
    """Return in a sentence what the chosen trial exceeds, if it does."""
    limit, cost = settings.study.max_cost_us_per_atom, best.metrics.get("cost_us_per_atom")
    if limit is None or (cost is not None and cost <= limit):
        return []
    if cost is None:
        return [f"The cost of trial {best.index} is unknown; it was taken without regard to max_cost_us_per_atom."]
    return [
        f"No setting keeps to max_cost_us_per_atom ({limit:g} µs). The cheapest was taken, trial {best.index} with "
        f"{cost:.3g} µs per atom; raise the limit, or let the ranges reach cheaper settings."
    ]


def trial_rows(trials: Sequence[TrialRecord], best: TrialRecord) -> list[dict[str, Any]]:
    """Return one plain mapping per trial, for the CSV file and the report.

    ``pareto`` tells whether no other trial is as accurate and as cheap and better in one; None without a cost.
    """
    values = {trial.index: v for trial in trials if (v := trial.values(("loss", "cost_us_per_atom"))) is not None}
    front = dict(zip(values, non_dominated(np.array([*values.values()]).reshape(-1, 2)).tolist(), strict=True))
    return [
        {
            "index": trial.index, "state": trial.state,
            "phase": "initial" if trial.phase == "initial" else "bayesian", "loss": trial.loss,
            "params": trial.params,
            **{key: trial.metrics.get("errors", {}).get(key) for key in _TABLE},
            "cost_us_per_atom": trial.metrics.get("cost_us_per_atom"), "pareto": front.get(trial.index),
            "chosen": trial.index == best.index,
            "evaluations": trial.metrics.get("evaluations"), "solver": trial.metrics.get("solver"),
            "columns": trial.metrics.get("columns"), "wall_s": trial.seconds, "error": trial.error,
        }
        for trial in trials
    ]  # fmt: skip


def _write_trials(folder: Path, trials: Sequence[TrialRecord], best: TrialRecord) -> None:
    """Write trials.csv, a row per trial, and trials_by_group.csv, a row per trial and group."""
    names = sorted({name for trial in trials for name in trial.params})
    flat = []
    for row in trial_rows(trials, best):
        params = row.pop("params")
        head = {key: row.pop(key) for key in ("index", "state", "phase", "loss")}
        flat.append({**head, **{name: params.get(name) for name in names}, **row})
    _write_csv(folder / "trials.csv", flat)
    by_group = [
        {"index": trial.index, "group": group, "frames": errors["frames"], **{key: errors[key] for key in _TABLE}}
        for trial in trials
        for group, errors in trial.metrics.get("errors", {}).get("groups", {}).items()
    ]
    _write_csv(folder / "trials_by_group.csv", by_group)


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    atomic_write(path, text.getvalue())


def _write_example_structure(folder: Path, inputs: Inputs, finished: Finished) -> None:
    """Write the structure that the potential's LAMMPS input starts from."""
    structure = max(inputs.train.structures, key=len)
    write_lammps_data(folder / "structure.data", structure, finished.potential.species, finished.potential.cutoff)


def report_fields(
    settings: TuneConfig, inputs: Inputs, trials: Sequence[TrialRecord], best: TrialRecord, summary: Mapping[str, Any],
    importance: Mapping[str, float], findings: Sequence[Any],
) -> dict[str, Any]:  # fmt: skip
    """Return what the report shows beyond result.json and the parity plots, as plain data."""
    chosen = summary["settings"]
    symbols = [chemical_symbols[z] for z in inputs.train.species]
    sets = {"train": inputs.train, "test": inputs.test, "validation": inputs.external}
    return {
        "title": f"{'-'.join(symbols)}: {settings.output.name}",
        "trials": trial_rows(trials, best),
        "importance": dict(importance),
        "findings": list(findings),
        "reference_energies": summary["reference_energies"]["eV"],
        "reference_energies_source": "{source}; the model's isolated atoms are {isolated_atoms}".format_map(
            summary["reference_energies"]
        ),
        "label_counts": {name: data.count_labels() for name, data in sets.items() if data is not None},
        "group_sizes": inputs.train.group_sizes,
        "citations": provenance.citations(
            chosen["model"], settings.study, bool(trials[0].params), graded=summary["extrapolation"] is not None
        ),
        "chosen": {
            **account.chosen_table(chosen["model"], summary),
            **{name: chosen[name] for name in ("ridge", "weights", "prior") if name in chosen},
        },
        "sections": [
            *([["Nested cross-validation", _nested_text(summary["nested"])]] if summary["nested"] else []),
            *account.sections(summary),
        ],
    }  # fmt: skip


def _nested_text(nested: Mapping[str, Any]) -> str:
    return (
        "Selection redone inside each fold: every frame is predicted with the setting, weights and ridge that the "
        f"other folds select. Energy {nested['energy_rmse_meV_per_atom']:.3g} meV/atom, force "
        f"{nested['force_rmse_eV_per_A']:.3g} eV/Å (RMSE). The list of settings to choose from was proposed with all "
        "folds in view."
    )
