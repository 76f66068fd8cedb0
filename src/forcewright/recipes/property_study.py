"""A study of a property beside the energy: from labeled structures to a model, its held-back errors and a page.

A config with ``target:`` describes one; `forcewright tune` runs it, and `forcewright predict` uses its model.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field, field_validator

from forcewright.configs import StrictModel, validate
from forcewright.data import write
from forcewright.data.labelling import PREDICTED
from forcewright.data.properties import PropertySet, Target
from forcewright.data.property_reading import read_property
from forcewright.errors import InputError
from forcewright.files import as_path, atomic_path, write_table
from forcewright.fitting.hyperparameters import ends_of, filled, ranges_within
from forcewright.optimize.settings import StudySettings
from forcewright.optimize.space import Range
from forcewright.properties.dos_model import DosModel
from forcewright.properties.tensor_errors import errors_of, tensor_errors
from forcewright.properties.tensor_model import (
    Settings,
    TensorFit,
    TensorModel,
    TensorSettings,
    affordable,
    fit_tensors,
    settings_class,
)
from forcewright.recipes import provenance
from forcewright.recipes.dos_predictions import predict_densities
from forcewright.recipes.dos_study import DosConfig, DosResult, tune_dos
from forcewright.recipes.property_config import LeaveOut, PropertyData, cut
from forcewright.recipes.property_kind import density_folder, describes_density, property_folder
from forcewright.recipes.property_page import citations, draw_parity, page_of
from forcewright.recipes.property_search import SEARCHED, Listener, search_settings
from forcewright.recipes.reading import read_with_property
from forcewright.recipes.run_folder import RunFolder, read_config, with_absolute_paths
from forcewright.report import write_report
from forcewright.structure import Dataset, FloatArray, Frame, Structure
from forcewright.tables import Tabular

_AXES = {1: [""], 3: ["_x", "_y", "_z"], 9: [f"_{a}{b}" for a in "xyz" for b in "xyz"]}  # in the names of columns


def candidates_of(content: Mapping[str, Any]) -> list[Settings]:
    """Return the settings under ``model:``, and those that differ as ``alternatives`` say.

    Raises `InputError` if a setting is unknown or out of bounds.
    """
    mine = {key: value for key, value in content.items() if key != "alternatives"}
    others = content.get("alternatives", ())
    if not isinstance(others, list | tuple) or len(others) > 20 or not all(isinstance(o, Mapping) for o in others):
        raise InputError("is a list of at most 20 mappings, such as - {cutoff: 6}", field="model.alternatives")
    result: list[Settings] = []
    for changes in ({}, *others):
        whole = {**mine, **changes}
        try:
            result.append(validate(settings_class(whole), whole))
        except InputError as error:
            raise InputError(error.problem, field=f"model.{error.field}" if error.field else "model") from None
    return result


class PropertyStudySettings(StudySettings):
    """How many trials there are, how their settings are chosen and when the search ends."""

    trials: int = Field(default=16, ge=1)
    """Number of trials; may be raised later to continue the same study."""
    initial: int = Field(default=8, ge=1)
    """Trials spread evenly over the space (Hammersley points) before the search begins to learn."""


class PropertyConfig(StrictModel):
    """Everything `forcewright tune` needs for a property: a config whose target has irreps."""

    target: Target
    """What the labels are and where they stand."""
    data: PropertyData
    """Where structures with values lie."""
    output: Path
    """Folder for everything that comes out."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Settings of functions that turn with the atoms, or with ``kind: kernel`` of a kernel. Ranges such as ``{low: 4,
    high: 6}`` are searched; without ranges the best is taken of these settings and of those that differ from them as
    ``alternatives: [{cutoff: 6}]`` says."""
    study: PropertyStudySettings = PropertyStudySettings()
    """How ranges are searched; without any nothing is."""
    folds: int = Field(default=5, ge=2, le=100)
    """Parts of the frames that are held back in turn."""
    robust: bool = False
    """Choose by absolute errors, and let frames count less the worse fits without them predict them: for data in which
    some labels are off."""
    frame_error: float = Field(default=0.0, ge=0, le=1e6)
    """Variance of an error that the invariant values of a frame's atoms have in common, such as the shift of computed
    shieldings of a crystal, relative to that of each atom's own error; 0 if they have none."""
    leave_out: LeaveOut | None = None
    """Leave whole groups out in turn: each group (``groups``), or named sets of groups such as {liquid: [melt]};
    frames in no set are dealt to folds."""
    seed: int = Field(default=0, ge=0)
    """Of the folds."""

    @field_validator("model")
    @classmethod
    def _model_is_usable(cls, model: dict[str, Any]) -> dict[str, Any]:
        ranges = ranges_within(model, settings_class(model))
        if ranges and "alternatives" in model:
            raise ValueError("has ranges and alternatives; search the ones or list the others")
        for end in ends_of(ranges):
            candidates_of(filled(model, end))
        return model

    @property
    def ranges(self) -> dict[str, Range]:
        """The ranges to search, by name."""
        return ranges_within(self.model, settings_class(self.model))


@dataclass(frozen=True, eq=False, repr=False)
class PropertyResult(Tabular):
    """What a study of a property leaves: its model, the content of result.json, and where they lie."""

    model: TensorModel
    summary: dict[str, Any]
    folder: Path

    def __repr__(self) -> str:
        return f"PropertyResult({self.model!r}, {self.folder})"

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the held-back errors, and those of the test set: a row for each part of the property."""
        return [
            {"set": name, **row} for name, rows in self.summary["errors"].items() for row in rows
        ]  # fmt: skip


#: What journals say of the study, so that more trials may be asked for later.
_ANY_STUDY = PropertyStudySettings(trials=32, initial=16)


def tune_property(
    config: str | Path | Mapping[str, Any] | PropertyConfig | DosConfig, *, output: str | Path | None = None,
    fresh: bool = False, on_trial: Listener | None = None,
) -> PropertyResult | DosResult:  # fmt: skip
    """Fit a property, predict every frame by a fit without its fold, and write model, tables, figure and page.

    A study that has finished with the same config and data is read back. A target with a grid is a density of states
    (`forcewright.recipes.dos_study.tune_dos`).

    Parameters
    ----------
    config
        A YAML file or its content, see `PropertyConfig` and `DosConfig`.
    output
        Folder for everything, in place of that of the config.
    fresh
        Do the study again.
    on_trial
        Called with every finished trial of a search and the number of trials wanted.

    Raises
    ------
    InputError
        If config or data are not usable; names file, frame and field.
    """
    if isinstance(config, DosConfig) or describes_density(config):
        return tune_dos(config, output=output, fresh=fresh, on_trial=on_trial)  # type: ignore[arg-type]
    read = read_config(PropertyConfig, config)
    settings = with_absolute_paths(read.settings, read.folder)
    if output is not None:
        settings = settings.model_copy(update={"output": Path(output).resolve()})
    ranges = settings.ranges
    candidates = [] if ranges else candidates_of(settings.model)
    files = settings.data.files(settings.target)
    with RunFolder(settings.output, "tune") as folder, folder.logging():
        data = read_property(list(settings.data.train), settings.target, strict=not settings.data.skip_broken)
        test = None
        if settings.data.test is not None:
            test = read_property(list(settings.data.test), settings.target, strict=not settings.data.skip_broken)
        hashes = provenance.file_hashes(files)
        identity = _identity(settings, hashes)
        earlier = folder.read_result()
        if earlier is not None and earlier.get("study") == identity and not fresh and (folder / "model").is_dir():
            return PropertyResult(TensorModel.load(folder / "model"), earlier, folder.path)
        begun = time.monotonic()
        folds = cut(data.dataset, settings.folds, settings.leave_out, settings.seed)
        how: dict[str, Any] = {"robust": settings.robust, "frame_error": settings.frame_error}
        warnings = [str(error) for error in data.left_out]
        if fresh:
            folder.discard(SEARCHED)
        if ranges:
            searched = search_settings(
                data, settings.model, ranges, settings.study, folds, folder=folder, on_trial=on_trial,
                fingerprint=_identity(settings.model_copy(update={"study": _ANY_STUDY}), hashes), **how,
            )  # fmt: skip
            write_table(folder / "trials.csv", [
                {"trial": r.index, "state": r.state, **r.params, "loss": r.loss, "seconds": r.seconds}
                for r in searched.records
            ])  # fmt: skip
            warnings += searched.warnings
            candidates = [candidates_of(filled(settings.model, params))[0] for params in searched.params]
        asked, candidates = candidates, [affordable(c, data, folds, robust=settings.robust) for c in candidates]
        for usual, lower in zip(asked, candidates, strict=True):
            if usual != lower and isinstance(usual, TensorSettings) and isinstance(lower, TensorSettings):
                warnings.append(
                    f"the usual degrees {list(usual.degrees)} need too much memory for so many elements, so that "
                    f"{list(lower.degrees)} were taken; `model: {{groups: …, spread: 2}}` allows more"
                )
        fit = fit_tensors(data, candidates, folds, **how)
        fit.model.save(folder / "model")
        errors, tested = {"held back": errors_of(fit)}, None
        if test is not None:
            tested = _stack(test, [fit.model.predict(structure) for structure in test.structures])
            errors["test"] = tensor_errors(test.stacked(), tested, test.target)
        summary = {
            "study": identity, "property": settings.target.name, "irreps": settings.target.irreps,
            "unit": settings.target.unit, "frames": len(data), "values": data.count, "errors": errors,
            "choices": fit.choices, "settings": fit.model.settings.model_dump(mode="json"),
            "warnings": warnings, "citations": citations(), "wall_s": time.monotonic() - begun,
        }  # fmt: skip
        return _write(folder, settings, fit, test, tested, summary, hashes)


def _identity(settings: PropertyConfig, hashes: Mapping[str, str]) -> str:
    words = settings.model_dump(mode="json", exclude={"output", "data"})
    for name in ("robust", "frame_error", "study"):  # studies of the version before these keys go on
        if words[name] == PropertyConfig.model_fields[name].get_default(call_default_factory=True) or (
            name == "study" and not settings.ranges
        ):
            del words[name]
    if not settings.ranges:
        words["model"] = candidates_of(settings.model)[0].model_dump(mode="json")
        if words["model"].get("spread") == 1:
            del words["model"]["spread"]
        words["model"]["alternatives"] = settings.model.get("alternatives", [])
    if settings.leave_out is None:  # studies of earlier versions go on
        del words["leave_out"]
    content = {"settings": words, "data": sorted(hashes.values()), "sets": [len(settings.data.train)]}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _stack(data: PropertySet, predicted: Sequence[FloatArray]) -> FloatArray:
    """Return predictions (count, components) of all atoms with values, or of structures."""
    if data.target.per == "structure":
        return np.array(predicted)
    return np.concatenate([values[mask] for values, mask in zip(predicted, data.mask, strict=True)])


def _write(
    folder: RunFolder, settings: PropertyConfig, fit: TensorFit, test: PropertySet | None, tested: FloatArray | None,
    summary: dict[str, Any], hashes: Mapping[str, str],
) -> PropertyResult:  # fmt: skip
    labels, predicted = fit.stacked()
    rows = _rows("held back", fit.data, labels, predicted)
    if test is not None and tested is not None:
        rows += _rows("test", test, test.stacked(), tested)
    write_table(folder / "predictions.csv", rows)
    figure = draw_parity(fit.data.target, labels, predicted)
    with atomic_path(folder / "parity.png") as temporary:
        figure.savefig(temporary, dpi=150)
    text = folder.write_config(settings, exclude_none=True)
    content = folder.write_result(summary, hashes)
    write_report(folder / "report.html", page_of(folder.path.name, fit, content, figure, text))
    return PropertyResult(fit.model, content, folder.path)


def _rows(name: str, data: PropertySet, labels: FloatArray, predicted: FloatArray) -> list[dict[str, Any]]:
    """Return a row for each value: frame, atom, labels and predictions component by component."""
    axes = _AXES[data.target.components]
    known = []
    for (_, frame), structure, mask in zip(data.frames, data.structures, data.mask, strict=True):
        atoms = np.flatnonzero(mask) if data.target.per == "atom" else [None]
        known += [
            {"set": name, "frame": frame, **({} if k is None else {"atom": int(k), "element":
                                                                  chemical_symbols[structure.numbers[k]]})}
            for k in atoms
        ]  # fmt: skip
    return [
        {**row, **{f"label{a}": float(v) for a, v in zip(axes, left, strict=True)},
         **{f"predicted{a}": float(v) for a, v in zip(axes, right, strict=True)}}
        for row, left, right in zip(known, labels, predicted, strict=True)
    ]  # fmt: skip


def predict_property(
    model: str | Path | TensorModel | DosModel, structures: Any, output: str | Path | None = None
) -> tuple[list[FloatArray], list[dict[str, Any]]]:
    """Predict a property, and compare it with the labels where all frames have them.

    Parameters
    ----------
    model
        A model, its folder, or that of a study.
    structures
        Files or ASE atoms.
    output
        File for the predictions: .csv, one value a row with its label, or .extxyz, the structures with
        ``forcewright_NAME`` of the target's name; for densities of states .npz or .csv (`predict_densities`).

    Returns
    -------
    The property of each frame, and rows of errors; no rows where there are no labels.

    Raises
    ------
    InputError
        If there is no model of a property, a frame holds an element that it does not know, or ``output`` ends
        otherwise.
    """
    if isinstance(model, DosModel):
        return predict_densities(model, structures, output)
    if not isinstance(model, TensorModel):
        if (densities := density_folder(Path(model))) is not None:
            return predict_densities(DosModel.load(densities), structures, output)
        folder = property_folder(Path(model))
        if folder is None:
            raise InputError("is not the folder of a property model", file=Path(model))
        model = TensorModel.load(folder)
    target = model.target
    path = None if output is None else as_path(output)
    packed = path is not None and path.name.endswith((".extxyz", ".extxyz.gz"))
    if path is not None and not packed and path.suffix != ".csv":
        raise InputError("predictions of this property are written as .csv or .extxyz", file=path)
    dataset, data = read_with_property(structures, target)
    predicted = [model.predict(structure) for structure in dataset.structures]
    if data is not None:
        labels, stacked = data.stacked(), _stack(data, predicted)
        rows, errors = _rows("predicted", data, labels, stacked), tensor_errors(labels, stacked, target)
    else:
        rows, errors = _unlabeled(target, dataset.structures, predicted), []
    if path is not None and packed:
        _write_structures(target, dataset, predicted, path)
    elif path is not None:
        write_table(path, rows)
    return predicted, errors


def _write_structures(target: Target, dataset: Dataset, predicted: Sequence[FloatArray], path: Path) -> None:
    """Write structures with what they had, and predictions under a name that nothing takes for a reference."""
    key = f"{PREDICTED}{target.name}"
    if target.per == "atom":
        columns = [{key: np.asarray(values).reshape(len(values), -1)} for values in predicted]
        write(dataset, path, columns=columns)
        return
    frames = tuple(
        Frame(structure, replace(labels, info={**labels.info, key: np.asarray(values).ravel()}), origin)
        for (structure, labels, origin), values in zip(dataset, predicted, strict=True)
    )
    write(Dataset(frames, dataset.name), path)


def _unlabeled(
    target: Target, structures: Sequence[Structure], predicted: Sequence[FloatArray]
) -> list[dict[str, Any]]:
    """Return a row for each predicted value, of atoms that have one."""
    axes = _AXES[target.components]
    rows = []
    for frame, (structure, values) in enumerate(zip(structures, predicted, strict=True)):
        for atom, row in enumerate(np.atleast_2d(values)):
            if np.isfinite(row).all():
                which = {"atom": atom, "element": chemical_symbols[structure.numbers[atom]]}
                named = {f"predicted{axis}": float(v) for axis, v in zip(axes, row, strict=True)}
                rows.append({"frame": frame, **(which if target.per == "atom" else {}), **named})
    return rows
