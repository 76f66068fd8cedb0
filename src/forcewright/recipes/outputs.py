"""Everything a study leaves behind: result.json, tables, potential/, the resolved config and the report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import yaml
from ase.data import chemical_symbols
from jinja2 import TemplateError

from forcewright.accuracy.errors import ErrorTable
from forcewright.accuracy.parity import Parity
from forcewright.accuracy.worst import worst_frames
from forcewright.data import audit
from forcewright.errors import InputError
from forcewright.files import write_json, write_table
from forcewright.fitting.committee import Committee
from forcewright.fitting.cost import THREADS
from forcewright.fitting.hyperparameters import fill_model
from forcewright.fitting.in_memory import StudyOutcome
from forcewright.fitting.linear_trial import LinearTrial
from forcewright.fitting.problem import Problem
from forcewright.fitting.range_ends import at_range_ends
from forcewright.fitting.settings import LINEAR_ONLY, FitSettings, applies
from forcewright.fitting.stresses import unused_labels
from forcewright.lammps_session import write_lammps_data
from forcewright.models import load
from forcewright.models.baseline import BaselinePotential, charges_by_element
from forcewright.models.storage import PotentialFolder
from forcewright.optimize.journal import TrialRecord
from forcewright.optimize.pareto import non_dominated
from forcewright.plain_data import parse_json, read_yaml
from forcewright.potential import Exportable, Potential
from forcewright.recipes import account, physics_search, provenance, stability
from forcewright.recipes.config import TuneConfig, as_before, parse_config
from forcewright.recipes.coverage import coverage_of, coverage_warnings
from forcewright.recipes.extrapolation import reliability_of, reliability_sections, summary_of
from forcewright.recipes.inputs import Inputs, baseline_files
from forcewright.recipes.resources import ResourceMonitor
from forcewright.recipes.run_folder import RunFolder
from forcewright.reference.identity import hash_files, identify, potential_files
from forcewright.report.numbers import DASH, significant
from forcewright.tables import Tabular

log = logging.getLogger("forcewright")

#: folder of the design rows while a study runs
ROWS = "design_rows"

#: what a study writes last: they are there if it has finished
_LAST = ("result.json", "report.html")

#: what the report is made of, beside tables
_REPORTED = ("result.json", "report.json", "config.resolved.yaml")

#: what showing stored results can raise that were changed or cut off
_DAMAGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TemplateError, TypeError, ValueError)

_TABLE = (
    "energy_rmse_meV_per_atom", "energy_mae_meV_per_atom", "energy_r2", "energy_total_rmse_eV", "energy_total_mae_eV",
    "force_rmse_eV_per_A", "force_mae_eV_per_A", "force_r2", "stress_rmse_GPa", "stress_mae_GPa",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class TuneResult(Tabular):
    """What a study found; as a table, its trials.

    Attributes
    ----------
    potential
        The potential, fitted to everything.
    summary
        Content of result.json.
    validation, test
        Errors of frames that the fit has not seen.
    trials
        All trials.
    folder
        Where everything was written; None for a study in memory.
    committee
        Further potentials whose spread tells how sure a prediction is, where they were asked for.
    """

    potential: Potential
    summary: dict[str, Any]
    validation: ErrorTable
    test: ErrorTable | None
    trials: list[TrialRecord]
    folder: Path | None
    committee: Committee | None = None

    def __repr__(self) -> str:
        sets = {"validation": self.validation, "test": self.test}
        errors = ", ".join(f"{name} {table!r}" for name, table in sets.items() if table is not None)
        trials = "1 trial" if len(self.trials) == 1 else f"{len(self.trials)} trials"
        return f"TuneResult({self.potential!r}; {trials}; {errors})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a mapping per trial in which every hyperparameter is a column."""
        return flat_trials(self.trials, self.summary["best_trial"])


def result_in_memory(
    settings: FitSettings, inputs: Inputs, outcome: StudyOutcome, monitor: ResourceMonitor
) -> TuneResult:
    """Return the result of a study that writes nothing."""
    probed = stability.after_fit(settings, outcome, outcome.final.potential, monitor.wall_s)
    potential = stability.with_stability(outcome.final.potential, probed)
    monitor.update()
    summary = {**summarize(settings, inputs, outcome, monitor, probed), **provenance.record()}
    return _result(outcome, potential, summary, None)


def _result(outcome: StudyOutcome, potential: Potential, summary: dict[str, Any], folder: Path | None) -> TuneResult:
    final = outcome.final
    return TuneResult(potential, summary, final.validation, final.test, outcome.records, folder, final.committee)


def write_outputs(
    folder: RunFolder, config: TuneConfig, inputs: Inputs, outcome: StudyOutcome, monitor: ResourceMonitor,
    earlier_s: float = 0.0,
) -> TuneResult:  # fmt: skip
    """Write all results of a study to its output folder; the report comes last.

    ``earlier_s`` is what the trials took that earlier runs of the study have left.
    """
    final, problem = outcome.final, outcome.problem
    folder.discard(
        [*_LAST, "committee", "errors_test.csv", "parity_test.npz"]
    )  # until all is written, this is no finished study
    folder.write_config(resolved_config(config))
    probed = stability.after_fit(config, outcome, final.potential, monitor.wall_s + earlier_s)
    delivered = stability.with_stability(final.potential, probed)
    potential_folder = delivered.save(folder / "potential")
    if final.committee is not None:
        final.committee.save(folder / "committee")
    if isinstance(final.potential, Exportable):
        largest = max(problem.everything.structures, key=len)
        write_lammps_data(
            potential_folder / "structure.data", largest, final.potential.species, final.potential.cutoff,
            final.potential.charges if isinstance(final.potential, BaselinePotential) else None,
        )  # fmt: skip
    write_table(folder / "trials.csv", flat_trials(outcome.records, outcome.best.index))
    write_table(folder / "trials_by_group.csv", _trials_by_group(outcome.records))
    for name, table in {"validation": final.validation, "test": final.test}.items():
        if table is not None:
            table.write_csv(folder / f"errors_{name}.csv")
            table.parity.save(folder / f"parity_{name}.npz")
    findings = audit(problem.everything, test=inputs.test).to_rows()
    log.info("best trial: %d, loss %.6g, %s", outcome.best.index, outcome.best.loss, outcome.best.params)
    monitor.update()
    content = {**summarize(config, inputs, outcome, monitor, probed), "earlier_trials_s": round(earlier_s, 3)}
    for warning in content["warnings"]:
        log.warning("%s", warning)
    content["potential_hash"] = _potential_hash(config)
    summary = folder.write_result(content, inputs.hashes)
    write_json(folder / "report.json", report_fields(config, inputs, outcome, summary, findings))
    rebuild_report(folder.path)
    # a family with a fit of its own may still read from where it was fitted, which goes now
    potential = delivered if final.trial is not None else _load_stored(config)
    folder.discard([ROWS, "cache"])
    return _result(outcome, potential, summary, folder.path)


def _load_stored(config: TuneConfig) -> Potential:
    """Return the potential of a study from its folder; a command is one that its config names."""
    return load(config.output / "potential", allow_commands=config.program, kind=config.family.kind)


def _potential_hash(config: TuneConfig) -> str:
    """Return the SHA-256 of the files that decide what the potential of a study predicts."""
    return hash_files(potential_files(config.output / "potential"))


def stored_summary(config: TuneConfig, hashes: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the content of result.json of a study that has finished with this config and these data, if it has.

    ``hashes`` are those of the data. A study whose potential is another one by now has not.
    """
    folder = config.output
    names = ("config.resolved.yaml", *_LAST)
    if not (all((folder / name).is_file() for name in names) and (folder / "potential").is_dir()):
        return None
    try:
        content = read_yaml(folder / "config.resolved.yaml")
        stored = parse_config(content, folder=folder)
        if "short_range" not in content:  # an earlier version wrote it
            stored = as_before(stored)
        summary: dict[str, Any] = parse_json((folder / "result.json").read_text())
    except (OSError, ValueError, TypeError, InputError):
        return None
    if stored not in (config, as_before(config)) or summary.get("data_hashes") != dict(hashes):
        return None
    if _was_swapped(config, summary):
        log.warning("%s is not the potential that the study left, which is fitted again", folder / "potential")
        return None
    return summary


def _was_swapped(config: TuneConfig, summary: Mapping[str, Any]) -> bool:
    """Tell whether the potential is another one, of the same kind, than the study left; earlier versions do not tell.

    One of another kind, or a damaged one, is refused by who reads it.
    """
    try:
        PotentialFolder(config.output / "potential", config.family.kind)
    except InputError:
        return False
    return summary.get("potential_hash") not in (None, _potential_hash(config))


def stored_result(config: TuneConfig, trials: list[TrialRecord], hashes: Mapping[str, str]) -> TuneResult | None:
    """Return what a study has left that has finished with this config, these data and these trials, if it has."""
    summary = stored_summary(config, hashes)
    if summary is None or summary["trials"] != len(trials):
        return None
    folder = config.output
    committee = None
    try:
        tables = {
            name: ErrorTable.from_dict(summary[name], Parity.load(folder / f"parity_{name}.npz"))
            for name in ("validation", "test")
            if summary[name] is not None
        }
        potential = _load_stored(config)
        if config.committee is not None:
            committee = Committee.load(folder / "committee", config.family.kind)
            if len(committee) != summary["committee"]:
                raise InputError(f"has {len(committee)} members", file=folder / "committee")
    except (InputError, KeyError, TypeError, ValueError, OSError) as error:  # damaged, or of another version
        log.warning("the study has finished, but not all of it can be read back, and is written anew: %s", error)
        return None
    return TuneResult(potential, summary, tables["validation"], tables.get("test"), trials, folder, committee)


def rebuild_report(folder: str | Path, sections: Sequence[Any] = (), *, absolute_paths: bool = False) -> Path:
    """Write report.html from what a finished study has stored in its folder.

    Parameters
    ----------
    sections
        Further `forcewright.report.Section`s to show.
    absolute_paths
        Whether paths stay absolute.

    Raises
    ------
    InputError
        If the folder is not that of a finished study.
    """
    from forcewright.report import write_report  # matplotlib: not before it is needed

    folder = Path(folder)
    for name in _REPORTED:
        if not (folder / name).is_file():
            raise InputError("does not exist; is this the output folder of a finished study?", file=folder / name)
    try:
        texts = {name: (folder / name).read_text(encoding="utf-8") for name in _REPORTED}
        content = _stored_report(folder, texts, sections)
        return write_report(folder / "report.html", content, absolute_paths=absolute_paths)
    except _DAMAGE as error:
        raise InputError(
            f"holds a damaged result.json, report.json or physics.json ({type(error).__name__}: {error}); run the "
            "study again", file=folder,
        ) from None  # fmt: skip


def _stored_report(folder: Path, texts: Mapping[str, str], sections: Sequence[Any]) -> Any:
    """Return the content of a report from the texts of its files, by name."""
    from forcewright.report import ReportContent

    fields = parse_json(texts["report.json"])
    physics, links = _stored_physics(folder)
    stored = [*(_stored_section(*section) for section in fields.pop("sections")), *physics]
    files = {name: folder / f"parity_{name}.npz" for name in ("validation", "test")}
    parity = {name: Parity.load(file) for name, file in files.items() if file.exists()}
    result = parse_json(texts["result.json"])
    if result.get("solver") is None:  # a family with a fit of its own: there are no weights and ridge settings to count
        result.pop("evaluations", None)
    return ReportContent(
        result=result, config_text=texts["config.resolved.yaml"], parity=parity,
        sections=[*stored, *sections], links=links, **fields,
    )  # fmt: skip


def _stored_physics(folder: Path) -> tuple[list[Any], list[tuple[str, str]]]:
    """Return the sections that `forcewright validate` left for the report of the study whose potential it judged.

    The second part is a link to its own page, where that lies where it did.
    """
    from forcewright.report import Section, Svg

    path = folder / "physics.json"
    if not path.is_file():
        return [], []
    stored = [dict(part) for part in parse_json(path.read_text())]
    pages = [str(part.pop("page")) for part in stored if "page" in part][:1]
    sections = [
        Section(**{"rank": 36, **part, "figures": [Svg(*drawn) for drawn in part["figures"]]}) for part in stored
    ]  # fmt: skip
    safe = [page for page in pages if page.endswith("report.html") and not Path(page).is_absolute()]
    return sections, [("physics of the potential", quote(page)) for page in safe if (folder / page).is_file()]


def _stored_section(title: str, text: str, shown: Mapping[str, Any] | None = None) -> Any:
    """Return a section of a report as it was stored, with its figures and tables drawn.

    ``shown`` may hold ``rank`` and ``cards`` (`forcewright.report.Section`), ``tables``, and what makes further ones:
    ``grades``, ``reliability``, ``convergence``, ``stability``, and ``worst``, frames as `worst_frames` describes them.
    """
    from forcewright.report import Card, Section, draw_convergence, draw_reliability, draw_stability, grade_table

    shown = shown or {}
    figures = [draw_convergence(shown["convergence"])] if "convergence" in shown else []
    tables = [*shown.get("tables", []), *([grade_table(shown["grades"])] if "grades" in shown else [])]
    if "worst" in shown:
        tables.append(worst_table(shown["worst"]))
        figures += _worst_pictures(shown["worst"])
    if "reliability" in shown:
        figures.append(draw_reliability(shown["reliability"]))
    if "stability" in shown:
        figures += draw_stability(shown["stability"])
    rank = shown.get("rank", 34 if "grades" in shown else 60)
    cards = [Card(*card) for card in shown.get("cards", [])]
    return Section(title, text, [figure for figure in figures if figure is not None], tables, "worst" in shown, rank,
                   cards)  # fmt: skip


def worst_table(worst: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the table of the worst frames."""
    headings = [("", ""), ("file", ""), ("frame", ""), ("group", ""), ("formula", ""), ("energy error", "meV/atom"),
                ("force RMSE", "eV/Å"), ("largest at atom", ""), ("its error", "eV/Å")]  # fmt: skip
    rows = []
    for number, frame in enumerate(worst, start=1):
        element = ""
        if frame["structure"] is not None and frame["atom"] is not None:
            element = f" ({chemical_symbols[frame['structure']['numbers'][frame['atom']]]})"
        rows.append([
            str(number), Path(frame["file"] or "memory").name, str(frame["frame"]), frame["group"], frame["formula"],
            significant(frame["energy_error_meV_per_atom"]), significant(frame["force_rmse_eV_per_A"]),
            DASH if frame["atom"] is None else f"{frame['atom']}{element}", significant(frame["force_error_eV_per_A"]),
        ])  # fmt: skip
    return {"headings": headings, "rows": rows, "style": "plain"}


def _worst_pictures(worst: Sequence[Mapping[str, Any]]) -> list[Any]:
    from forcewright.report import draw_structure

    return [
        draw_structure(
            frame["structure"], [] if frame["atom"] is None else [frame["atom"]],
            f"{number}: {Path(frame['file'] or 'memory').name} frame {frame['frame']}",
        )
        for number, frame in enumerate(worst, start=1) if frame["structure"] is not None
    ]  # fmt: skip


def resolved_config(config: TuneConfig) -> str:
    """Return the config with every default that applies written out and absolute paths, as YAML."""
    idle = {"threads"} if config.family.is_linear else set(LINEAR_ONLY)
    content = config.model_dump(mode="json", by_alias=True, exclude=idle)
    if "weights" in idle and applies("weights", config.weights, config.family):
        content["weights"] = config.weights.model_dump(include=config.weights.model_fields_set)
    for name in ("committee", "uncertainty", "physics"):
        if not content.get(name):
            content.pop(name, None)
    first = {name: content.pop(name) for name in ("data", "model", "output")}
    return yaml.safe_dump({**first, **content}, sort_keys=False, allow_unicode=True)


def chosen_settings(content: Mapping[str, Any], best: TrialRecord, trial: LinearTrial | None) -> dict[str, Any]:
    """Return the chosen hyperparameters, weights by group and ridge in the words of the config.

    ``content`` is the model's part of the config, with what the data settle in it.
    """
    model = fill_model(content, best.params).model_dump(mode="json", exclude_none=True)
    if trial is None:
        return {"model": model}
    theta = np.exp(trial.search.theta)
    weights: dict[str, dict[str, float]] = {}
    for term, weight in zip(trial.terms, theta, strict=False):
        weights.setdefault(term.group, {})[term.property] = float(weight)
    return {"model": model, "weights": weights, "ridge": float(theta[len(trial.terms)]), "prior": dict(trial.prior)}


def loss_terms(problem: Problem) -> dict[str, Any]:
    """Return metric and coefficients of the loss in the words of the config, with what the data settle."""
    loss = problem.loss
    delta = {"huber_delta": loss.huber_delta} if loss.metric == "huber" else {}
    return {"metric": loss.metric, "alpha": loss.weights.energy, "stress": loss.weights.stress, **delta}


def summarize(
    settings: FitSettings, inputs: Inputs, outcome: StudyOutcome, monitor: ResourceMonitor, probed: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of result.json, but for where it comes from; ``probed`` is what `stability` found."""
    problem, final, best, trials = outcome.problem, outcome.final, outcome.best, outcome.records
    graded = (inputs.test, "test")
    if inputs.test is None and not settings.validation.holdout:
        graded = (problem.external, "validation")
    extrapolation = summary_of(final.potential, *graded)
    coverage = coverage_of(final.potential, problem.everything, inputs.test)
    return {
        "settings": {**chosen_settings(problem.model, best, final.trial), "loss": loss_terms(problem)},
        **account.account_of(problem, best, final.trial),
        "at_range_ends": at_range_ends(problem, best.params, final.trial),
        "model_search": None if problem.choice is None else asdict(problem.choice),
        "extrapolation": extrapolation,
        "uncertainties": reliability_of(final.potential),
        "coverage": coverage,
        "stability": dict(probed),
        "physics_search": None if outcome.selection is None else dict(outcome.selection),
        "short_range": None if final.short_range is None else final.short_range.to_dict(),
        "loss": final.loss,
        "validation": final.validation.to_dict(),
        "test": None if final.test is None else final.test.to_dict(),
        "nested": None if outcome.nested is None else outcome.nested.to_dict(),
        "trials": len(trials),
        "failed_trials": sum(trial.loss is None for trial in trials),
        "evaluations": sum(trial.metrics.get("evaluations", 0) for trial in trials),
        "fit_s": round(final.fit_s, 3),
        "wall_s": round(monitor.wall_s, 3),
        "cpu_s": round(monitor.cpu_s, 3),
        "peak_memory_bytes": monitor.peak_memory_bytes,
        "cost_us_per_atom": final.cost_us_per_atom,
        "cost_threads": THREADS,
        "max_cost_us_per_atom": settings.study.max_cost_us_per_atom,
        "warnings": [
            *limit_warnings(settings, best),
            *coverage_warnings(coverage),
            *physics_search.warnings(outcome.selection),
            *stability.warnings(probed),
            *(extrapolation["warnings"] if extrapolation else []),
            *unused_labels(problem.settings, problem.everything, problem.validation),
        ],
        "protocol": settings.protocol,
        "seed": settings.study.seed,
        "best_trial": best.index,
        "committee": None if final.committee is None else len(final.committee),
        "baseline": baseline_of(problem),
        "reference_energies": {
            "source": problem.reference.source,
            "eV": {chemical_symbols[z]: energy for z, energy in problem.energies.items()},
            "isolated_atoms": final.isolated_atoms,
        },
    }


def data_files(config: TuneConfig) -> list[Path]:
    """Return the files that a study reads."""
    return [
        *config.data.train, *(config.data.test or []), *(config.validation.external or []), *baseline_files(config),
        *(path for paths in (config.physics.sets if config.physics else {}).values() for path in paths),
    ]  # fmt: skip


def limit_warnings(settings: FitSettings, best: TrialRecord) -> list[str]:
    """Return in a sentence what the chosen trial exceeds, if it does."""
    limit, cost = settings.study.max_cost_us_per_atom, best.metrics.get("cost_us_per_atom")
    if limit is None or (cost is not None and cost <= limit):
        return []
    if cost is None:
        return [f"The cost of trial {best.index} is unknown; it was taken without regard to max_cost_us_per_atom."]
    return [
        f"No trial keeps to max_cost_us_per_atom ({limit:g} µs). The cheapest was taken, trial {best.index} with "
        f"{cost:.3g} µs per atom; raise the limit, or let the ranges reach cheaper hyperparameters."
    ]


def trial_rows(trials: Sequence[TrialRecord], best: int) -> list[dict[str, Any]]:
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
            "chosen": trial.index == best,
            "evaluations": trial.metrics.get("evaluations"), "solver": trial.metrics.get("solver"),
            "columns": trial.metrics.get("columns"), "wall_s": trial.seconds, "error": trial.error,
        }
        for trial in trials
    ]  # fmt: skip


def flat_trials(trials: Sequence[TrialRecord], best: int) -> list[dict[str, Any]]:
    """Return one mapping per trial in which every hyperparameter is a column."""
    names = sorted({name for trial in trials for name in trial.params})
    flat = []
    for row in trial_rows(trials, best):
        params = row.pop("params")
        head = {key: row.pop(key) for key in ("index", "state", "phase", "loss")}
        flat.append({**head, **{name: params.get(name) for name in names}, **row})
    return flat


def _trials_by_group(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Return one mapping per trial and group."""
    return [
        {"index": trial.index, "group": group, "frames": errors["frames"], **{key: errors[key] for key in _TABLE}}
        for trial in trials
        for group, errors in trial.metrics.get("errors", {}).get("groups", {}).items()
    ]


def report_fields(
    config: TuneConfig, inputs: Inputs, outcome: StudyOutcome, summary: Mapping[str, Any], findings: Sequence[Any]
) -> dict[str, Any]:
    """Return what the report shows beyond result.json and the parity plots, as plain data."""
    chosen, problem = summary["settings"], outcome.problem
    symbols = [chemical_symbols[z] for z in problem.everything.species]
    external = None if config.validation.holdout and config.protocol == "honest" else problem.external
    sets = {"train": problem.everything, "test": inputs.test, "validation": external}
    shown = {name: chosen[name] for name in ("ridge", "weights", "prior", "loss") if name in chosen}
    nested = [["Nested cross-validation", _nested_text(summary["nested"])]] if summary["nested"] else []
    return {
        "title": f"{'-'.join(symbols)}: {config.output.name}",
        "trials": trial_rows(outcome.records, outcome.best.index),
        "importance": dict(outcome.importance),
        "findings": list(findings),
        "reference_energies": summary["reference_energies"]["eV"],
        "reference_energies_source": "{source}; the model's isolated atoms are {isolated_atoms}".format_map(
            summary["reference_energies"]
        ),
        "label_counts": {name: data.count_labels() for name, data in sets.items() if data is not None},
        "group_sizes": problem.everything.group_sizes,
        "citations": provenance.citations(
            chosen["model"], config.study, bool(outcome.records[0].params), graded=summary["extrapolation"] is not None
        ),
        "chosen": {**account.chosen_table(chosen["model"], summary), **shown},
        "sections": [
            *nested,
            *_baseline_section(summary["baseline"]),
            *account.sections(summary),
            *reliability_sections(summary["uncertainties"]),
            *stability.sections(summary),
            *physics_search.sections(summary),
            *_worst_section(outcome, inputs),
        ],
        "loss": account.loss_text(problem.loss),
        "units": account.units_of(config.family.hyperparameters),
    }


def _worst_section(outcome: StudyOutcome, inputs: Inputs) -> list[list[Any]]:
    """Return the section of the worst frames: of the test set, or where there is none of validation."""
    final, problem = outcome.final, outcome.problem
    name, dataset, table = "test", inputs.test, final.test
    if dataset is None or table is None:
        name, dataset, table = "validation", problem.validation, final.validation
    worst = worst_frames(dataset, table.parity) if len(table.parity.atoms) == len(dataset) else []
    text = (
        f"The frames of the {name} set with the largest errors, of the energy per atom or of the forces, each relative "
        "to the RMSE of all frames. The atom with the largest force error is ringed."
    )
    return [["Worst frames", text, {"worst": worst, "rank": 33}]] if worst else []


def baseline_of(problem: Problem) -> dict[str, Any] | None:
    """Return what a study is fitted on top of, as plain data: name, charges by element, SHA-256 of its files."""
    if problem.baseline is None:
        return None
    potential = problem.baseline.potential
    charges = charges_by_element(potential)
    return {"name": problem.baseline.name, "charges": charges, "hash": identify(potential)[2]}


def _baseline_section(baseline: Mapping[str, Any] | None) -> list[list[Any]]:
    """Return the section that names the baseline, where there is one."""
    if baseline is None:
        return []
    parts = ", ".join(f"{symbol} {charge:+g}" for symbol, charge in baseline["charges"].items())
    charges = f" (charges {parts})" if parts else ""
    text = (
        f"Fitted on top of {baseline['name']}{charges}. Its energies, forces and stresses were subtracted from the "
        "labels before the fit, and the potential adds them back: all errors are those of the sum. It lies in "
        "potential/baseline."
    )
    return [["Baseline", text, {"rank": 31}]]


def _nested_text(nested: Mapping[str, Any]) -> str:
    return (
        "Selection redone inside each fold: every frame is predicted with the hyperparameters, weights and ridge that "
        f"the other folds select. Energy {nested['energy_rmse_meV_per_atom']:.3g} meV/atom, force "
        f"{nested['force_rmse_eV_per_A']:.3g} eV/Å (RMSE). The trials to choose from were suggested with all "
        "folds in view."
    )
