"""A study of densities of states: from labeled structures to a model, its held-back errors and a page.

`forcewright tune` runs it for a config whose ``target:`` has a grid. Hyperparameters are searched by the errors of
structures held back in folds of the training data: every trial is a ridge regression in closed form. For the errors
that are printed, each fold takes the trial that is best by the folds its fits have seen. Test files are predicted once,
by the model that is saved.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field, model_validator
from threadpoolctl import threadpool_limits

from forcewright.configs import StrictModel
from forcewright.data.properties import PropertySet, Target
from forcewright.data.property_reading import read_property
from forcewright.errors import InputError
from forcewright.files import atomic_path, write_arrays, write_table
from forcewright.fitting.hyperparameters import fill_settings, search_ranges
from forcewright.fitting.range_ends import params_at_ends
from forcewright.optimize.journal import TrialRecord
from forcewright.optimize.settings import StudySettings
from forcewright.optimize.space import Range
from forcewright.optimize.workers import Outcome
from forcewright.properties.density_of_states import Components, dos_errors, find_empty, trapezoid
from forcewright.properties.dos_model import (
    DosData,
    DosModel,
    DosSettings,
    DosValidation,
    HeldBack,
    compare_dos,
    require_electrons,
)
from forcewright.recipes import provenance
from forcewright.recipes.dos_page import citations, draw_curves, draw_parity, page_of
from forcewright.recipes.property_config import LeaveOut, PropertyData, cut
from forcewright.recipes.property_search import SEARCHED, Listener, run_trials
from forcewright.recipes.run_folder import RunFolder, read_config, with_absolute_paths
from forcewright.report import write_report
from forcewright.tables import Tabular

#: what --fresh removes
_EARLIER = (*SEARCHED, "result.json", "predictions.csv", "held_back.npz", "test.npz", "report.html",
            "config.resolved.yaml")  # fmt: skip
#: what is searched where the config says nothing of it
_SEARCHED: Mapping[str, Any] = {
    "length": {"low": 0.4, "high": 2.0, "log": True}, "scaling": {"low": 0.3, "high": 1.0},
}  # fmt: skip
_DECISIONS = ("reference", "target", "electrons")
_MOST_CHARGED = 50  # structures of the training data whose charges are shown


class DosStudySettings(StudySettings):
    """How many trials there are, how their hyperparameters are chosen and when the search ends."""

    trials: int = Field(default=16, ge=1)
    """Number of trials; may be raised later to continue the same study."""


class DosConfig(StrictModel):
    """Everything `forcewright tune` needs for a density of states: a config whose target has a grid."""

    target: Target
    """What the labels are and where they stand, with a grid of energies."""
    data: PropertyData
    """Where structures with values lie."""
    output: Path
    """Folder for everything that comes out."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Settings of the model (`forcewright.properties.dos_model.DosSettings`), in which a range ``{low, high, log}``
    may stand for every number, and ``{choices: [...]}`` for every name. ``environment.length`` and
    ``environment.scaling`` are searched where nothing is said of them."""
    study: DosStudySettings = DosStudySettings()
    """How many trials there are and how they are chosen; the first ones, or with ``sampler: hammersley`` all, know
    nothing of the errors of others."""
    folds: int = Field(default=5, ge=2, le=100)
    """Parts of the frames that are held back in turn: within groups, and by blocks of trajectories."""
    leave_out: LeaveOut | None = None
    """Leave whole groups out in turn: each group (``groups``), or named sets of groups such as {liquid: [melt]};
    frames in no set are dealt to folds."""
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Weights of the structures of a group in the fit; 1 where not named."""
    seed: int = Field(default=0, ge=0)
    """Of the folds, and of the environments that kernels are taken with."""

    @model_validator(mode="after")
    def _on_a_grid(self) -> DosConfig:
        if self.target.grid is None or self.target.per != "structure":
            raise ValueError(f"{self.target.name} is no density of states of structures: it needs a grid")
        for key in _DECISIONS:
            if isinstance(self.model.get(key), Mapping) and {"low", "high", "choices"} & set(self.model[key]):
                raise ValueError(f"model.{key} is to be decided, not searched: its errors do not compare; give a value")
        if not isinstance(self.model.get("environment"), Mapping | None):
            raise ValueError("model.environment is no mapping; write keys and values, such as {cutoff: 5}")
        return self

    @property
    def counts_from_fermi_level(self) -> bool:
        """Whether energies count from a Fermi level, which a gap leaves undetermined."""
        reference = self.model.get("reference", "labels")
        return reference == "fermi" or (
            reference == "labels" and self.target.grid is not None and self.target.grid.zero == "fermi"
        )

    def searched(self) -> tuple[dict[str, Any], dict[str, Range]]:
        """Return the model with the usual ranges where it says nothing, and its ranges by dotted name."""
        environment = dict(self.model.get("environment") or {})
        usual = {key: held for key, held in _SEARCHED.items()
                 if key != "length" or environment.get("kernel", "gaussian") != "linear"}  # fmt: skip
        content = {**self.model, "environment": {**usual, **environment}}
        return content, search_ranges(content, DosSettings)


@dataclass(frozen=True, eq=False, repr=False)
class DosResult(Tabular):
    """What a study of densities of states leaves: its model, the content of result.json, and where they lie."""

    model: DosModel
    summary: dict[str, Any]
    folder: Path

    def __repr__(self) -> str:
        return f"DosResult({self.model!r}, {self.folder})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the held-back errors, those by group, and those of the test set."""
        return [{"set": name, **row} for name, row in self.summary["errors"].items()]

    def text(self) -> str:
        """Return the errors in lines."""
        return "\n".join(f"{row['set']}: {error_line(row)}" for row in self.to_rows())


def error_line(row: Mapping[str, Any]) -> str:
    """Return the errors of a set of densities in one line."""
    words = [f"RMSE {row['rmse_per_eV']:.4f}/eV", f"moved by {row['wasserstein_eV']:.3f} eV"]
    for key, name in (("label_percent", "in the labels' energies"), ("percent_occupied", "occupied"),
                      ("percent", "%RMSE")):  # fmt: skip
        words.insert(0, "" if row[key] is None else f"{name} {row[key]:.1f}")
    for key, name, unit in (("fermi_eV", "Fermi level", "eV"), ("band_energy_eV", "band energy", "eV/atom"),
                            ("at_fermi", "D(E_F)", "1/eV")):  # fmt: skip
        words.append("" if row[key] is None else f"{name} {row[key]:.3g} {unit}")
    return f"{row['frames']} structures, {', '.join(word for word in words if word)}"


def tune_dos(
    config: str | Path | Mapping[str, Any] | DosConfig, *, output: str | Path | None = None, fresh: bool = False,
    on_trial: Listener | None = None,
) -> DosResult:  # fmt: skip
    """Fit densities of states, predict every frame by a fit without its fold, and write model, tables and page.

    A study that was stopped goes on after the last trial that had finished; one that has finished with the same config
    and data is read back.

    Parameters
    ----------
    config
        A YAML file or its content, see `DosConfig`.
    output
        Folder for everything, in place of that of the config.
    fresh
        Do the study again.
    on_trial
        Called with every finished trial and the number of trials wanted.

    Raises
    ------
    InputError
        If config or data are not usable; names file, frame and field.
    StudyError
        If every trial fails.
    """
    read = read_config(DosConfig, config)
    settings = with_absolute_paths(read.settings, read.folder)
    if output is not None:
        settings = settings.model_copy(update={"output": Path(output).resolve()})
    content, ranges = settings.searched()
    files = settings.data.files(settings.target)
    with RunFolder(settings.output, "tune") as folder, folder.logging():
        properties, left_out = read_labels(settings.data.train, settings.target, settings.data.skip_broken)
        hashes = provenance.file_hashes(files)
        identity = _identity(settings, hashes)
        earlier = folder.read_result()
        if earlier is not None and earlier.get("study") == identity and not fresh and (folder / "model").is_dir():
            return DosResult(DosModel.load(folder / "model"), earlier, folder.path)
        if fresh:
            folder.discard(_EARLIER)
        test = None
        if settings.data.test is not None:
            test, more = read_labels(settings.data.test, settings.target, settings.data.skip_broken)
            left_out += more
        begun, cpu = time.monotonic(), time.process_time()
        data = weighted(properties, settings.weights)
        if settings.model.get("electrons") is None:
            require_electrons(data)
        if settings.counts_from_fermi_level:
            left_out = [*data.warnings(), *left_out]
        folds = cut(properties.dataset, settings.folds, settings.leave_out, settings.seed)
        validation = DosValidation(data, folds, seed=settings.seed)
        with threadpool_limits(1):  # so that results depend on no number of threads
            records, best = _search(settings, content, ranges, validation, folder, on_trial)
            chosen = choose(records, validation)
            held = validation.held_back([fill_settings(DosSettings, content, record.params) for record in chosen])
            model = validation.fit_all(fill_settings(DosSettings, content, best.params), settings.target)
            judged = {"held back": held}
            if test is not None:
                judged["test"] = compare_dos(model, DosData.of_properties(test))
            charges = _charges(model, data)
        summary: dict[str, Any] = {
            "study": identity, "property": settings.target.name, "grid": data.grid.model_dump(mode="json"),
            "frames": len(data), "atoms": sum(map(len, data.structures)), "trials": len(records),
            "errors": _all_errors(judged, properties), "best_trial": best.index,
            "choices": [{"fold": fold, "trial": record.index}
                        for fold, record in zip(validation.folds, chosen, strict=True)],
            "settings": model.settings.model_dump(mode="json"), "ridge": model.ridge,
            "electrons": {chemical_symbols[z]: n for z, n in zip(model.species, model.electrons.tolist(), strict=True)},
            "truncation_percent": _truncation(held, folds) if model.settings.target == "components" else None,
            "search_learned": any(record.phase not in ("initial", "hammersley", "random") for record in records),
            "warnings": left_out, "at_range_ends": params_at_ends(ranges, best.params),
            "citations": citations(), "wall_s": time.monotonic() - begun, "cpu_s": time.process_time() - cpu,
        }  # fmt: skip
        about = {"held_back": summary["errors"]["held back"], "frames": len(data), "files": list(map(str, files))}
        model = replace(model, about=about)
        model.save(folder / "model")
        return _write(folder, settings, model, judged, (properties, test), records, charges, summary, hashes)


def read_labels(files: Sequence[Path], target: Target, skip_broken: bool) -> tuple[PropertySet, list[str]]:
    """Return densities, and what was wrong with those left out: frames without a label, or one that holds no state.

    Raises
    ------
    InputError
        If a frame has no usable label, and such frames are not to be left out.
    """
    properties = read_property(list(files), target, strict=not skip_broken)
    left_out = [str(error) for error in properties.left_out]
    if empty := find_empty(properties.stacked()):
        problem = "the density of states is zero at all energies: the label is missing"
        where = [properties.frames[index] for index in empty]
        if not skip_broken:
            raise InputError(f"{problem}; leave the frame out (skip_broken: true)", file=Path(where[0][0]),
                             frame=where[0][1], field=target.where)  # fmt: skip
        left_out += [f"{file}, frame {frame}: {problem}" for file, frame in where]
        properties = properties[np.setdiff1d(np.arange(len(properties)), empty)]
    return properties, left_out


def weighted(properties: PropertySet, weights: Mapping[str, float]) -> DosData:
    """Return densities with the weights of their groups; `InputError` if there is no such group."""
    known = properties.dataset.group_sizes
    for group in weights:
        if group not in known:
            raise InputError(f"names {group}; the groups are {', '.join(known)}", field="weights")
    data = DosData.of_properties(properties)
    return DosData.of(
        data.structures, data.grid, data.densities, data.fermi,
        [weights.get(group, 1.0) for group in properties.dataset.groups],
    )  # fmt: skip


def _identity(settings: DosConfig, hashes: Mapping[str, str]) -> str:
    words = settings.model_dump(mode="json", exclude={"output", "data"})
    content = {"settings": words, "data": sorted(hashes.values()), "sets": len(settings.data.train)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _search(
    settings: DosConfig, content: Mapping[str, Any], ranges: Mapping[str, Range], validation: DosValidation,
    folder: RunFolder, on_trial: Listener | None,
) -> tuple[list[TrialRecord], TrialRecord]:  # fmt: skip
    """Return all trials, those of an earlier run first, and the best."""

    def objective(params: dict[str, Any], index: int) -> Outcome:
        held, inner = validation.judge(fill_settings(DosSettings, content, params))
        errors = held.errors
        return Outcome(held.target_percent, {"inner": inner, "percent": errors.percent,
                                             "percent_occupied": errors.percent_occupied})  # fmt: skip

    words = settings.model_dump(mode="json", exclude={"output", "data", "study"})
    hashes = provenance.file_hashes(
        settings.data.model_copy(update={"test": None}).files(settings.target)
    )  # fmt: skip
    whole = json.dumps({"settings": words, "data": sorted(hashes.values())}, sort_keys=True)
    fingerprint = hashlib.sha256(whole.encode()).hexdigest()[:16]
    return run_trials(
        objective, ranges, settings.study, folder=folder, fingerprint=fingerprint, on_trial=on_trial
    )  # fmt: skip


def choose(records: Sequence[TrialRecord], validation: DosValidation) -> list[TrialRecord]:
    """Return the trial that each fold takes, by errors in which it has no part."""
    done = [record for record in records if record.loss is not None]

    def inner_loss(record: TrialRecord, fold: int) -> float:
        loss = record.metrics["inner"][fold]
        return np.inf if loss is None else float(loss)  # the other folds do not vary, or are too few to say

    return [min(done, key=lambda record: inner_loss(record, fold)) for fold in range(len(validation.folds))]


def errors_of(held: HeldBack, rows: Sequence[int] | None = None) -> dict[str, Any]:
    """Return the errors of all structures, or of some, as plain numbers; None where a number is not known."""
    part = held if rows is None else held.some(rows)
    errors = part.errors
    numbers = {
        "frames": len(part.predicted), "percent": errors.percent, "percent_occupied": errors.percent_occupied,
        "label_percent": part.label_errors.percent, "rmse_per_eV": errors.rmse, "wasserstein_eV": errors.wasserstein,
        **part.derived_errors(),
    }  # fmt: skip
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}


def _all_errors(judged: Mapping[str, HeldBack], properties: PropertySet) -> dict[str, Any]:
    rows = {name: errors_of(held) for name, held in judged.items()}
    groups = np.array(properties.dataset.groups)
    if len(set(groups)) > 1:
        for group in properties.dataset.group_sizes:
            rows[f"held back, {group}"] = errors_of(judged["held back"], np.flatnonzero(groups == group).tolist())
    return rows


def _truncation(held: HeldBack, folds: Any) -> float:
    """Return the error (%) of held-back densities in the components of the others: what no prediction can mend."""
    cut_off = np.empty_like(held.reference)
    for fold in np.unique(folds):
        kept, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        count = min(held.settings[0].components, len(kept), held.reference.shape[1])
        parts = Components.of(held.reference[kept], count)
        cut_off[out] = parts.densities(parts.amplitudes(held.reference[out]))
    return dos_errors(held.data.grid, held.reference, cut_off, held.training_mean).percent


def _charges(model: DosModel, data: DosData) -> dict[str, Any]:
    """Return charges of atoms by element, of structures spread over the training data; none where they have none."""
    shown = np.unique(np.linspace(0, len(data) - 1, _MOST_CHARGED).astype(int))
    by_element: dict[str, list[float]] = {}
    for index in shown:
        structure = data.structures[index]
        try:
            charges = model.charges(structure)
        except InputError:
            continue
        for z in np.unique(structure.numbers):
            by_element.setdefault(chemical_symbols[z], []).extend(charges[structure.numbers == z].tolist())
    return {symbol: np.array(values) for symbol, values in by_element.items()}


def _write(
    folder: RunFolder, settings: DosConfig, model: DosModel, judged: Mapping[str, HeldBack],
    sets: tuple[PropertySet, PropertySet | None], records: Sequence[TrialRecord], charges: Mapping[str, Any],
    summary: dict[str, Any], hashes: Mapping[str, str],
) -> DosResult:  # fmt: skip
    rows: list[dict[str, Any]] = []
    for (name, held), properties in zip(judged.items(), sets, strict=False):
        assert properties is not None
        rows += _rows(name, held, properties)
    write_table(folder / "predictions.csv", rows)
    write_table(folder / "trials.csv", [
        {"trial": r.index, "phase": r.phase, "percent": r.loss, "error": r.error or "", **r.params} for r in records
    ])  # fmt: skip
    for name, held in judged.items():
        arrays = {"energies_eV": held.data.grid.points, "reference": held.reference, "predicted": held.predicted,
                  "labels": held.data.densities, "predicted_in_labels_energies": held.relabeled,
                  "fold": held.folds}  # fmt: skip
        write_arrays(folder / f"{name.replace(' ', '_')}.npz", arrays, compressed=True)
    figures = {
        f"{which}-{name.replace(' ', '-')}": draw(held)
        for name, held in judged.items()
        for which, draw in (("parity", draw_parity), ("curves", draw_curves))
    }
    for name, figure in figures.items():
        with atomic_path(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=150)
    text = folder.write_config(settings, exclude_none=True)
    content = folder.write_result(summary, hashes)
    write_report(folder / "report.html", page_of(folder.path.name, model, judged, records, charges, content, text))
    return DosResult(model, content, folder.path)


def _rows(name: str, held: HeldBack, properties: PropertySet) -> list[dict[str, Any]]:
    """Return a row for each structure: its errors, and what follows from label and prediction."""
    weights = trapezoid(held.data.grid)
    spread = np.square(held.reference - held.training_mean) @ weights
    whole = max(float(spread.mean()), 1e-300)
    wrong = np.square(held.predicted - held.reference) @ weights
    derived = held.derived()
    rows = []
    for index, ((file, frame), structure) in enumerate(zip(properties.frames, held.data.structures, strict=True)):
        row: dict[str, Any] = {
            "set": name, "file": Path(file).name, "frame": frame, "group": properties.dataset.groups[index],
            "atoms": len(structure), "fold": int(held.folds[index]),
            "percent": 100.0 * float(np.sqrt(wrong[index] / whole)),
        }  # fmt: skip
        for key, values in derived.items():
            row |= {f"label_{key}": float(values[index, 0]), f"predicted_{key}": float(values[index, 1])}
        rows.append(row)
    return rows
