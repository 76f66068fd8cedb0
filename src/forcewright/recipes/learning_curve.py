"""Learning curve: how the error of a family falls with the number of training frames.

Subsets are random and nested: within a repeat each smaller one is part of every
larger one, so that sizes differ by what was added. All fits are tested on the same frames, which are in none of the
subsets. The error falls as a power of the number of frames while data are what is missing (Cortes, Jackel, Solla,
Vapnik and Denker, NIPS 6, 327, 1993); the slope is fitted to the logarithms.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from forcewright.accuracy.errors import evaluate
from forcewright.data import read, require_forces, require_sound
from forcewright.data.reference_energies import is_isolated_atom
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import write_json, write_table
from forcewright.fitting.hyperparameters import fill_model, search_ranges
from forcewright.fitting.settings import STRICT, TuneStudySettings
from forcewright.fitting.stresses import settle_stress, unused_labels
from forcewright.fitting.subsets import SubsetFits
from forcewright.plain_data import parse_json
from forcewright.recipes import provenance
from forcewright.recipes.compare import family_config
from forcewright.recipes.config import (
    Name,
    Paths,
    TuneConfig,
    as_before,
    in_earlier_words,
    paths_from,
    with_files,
)  # fmt: skip
from forcewright.recipes.provenance import file_hashes
from forcewright.recipes.resources import ResourceMonitor
from forcewright.recipes.run_folder import RunFolder, read_config, with_absolute_paths
from forcewright.report.numbers import DASH, duration, significant
from forcewright.structure import Dataset, FloatArray
from forcewright.tables import Tabular

#: what is told at every size: key, as in `forcewright.accuracy.Errors`, heading, unit
_ERRORS = (
    ("energy_mae_meV_per_atom", "energy MAE", "meV/atom"),
    ("energy_rmse_meV_per_atom", "energy RMSE", "meV/atom"),
    ("force_rmse_eV_per_A", "force RMSE", "eV/Å"),
    ("force_norm_mae_eV_per_A", "force-norm MAE", "eV/Å"),
)


class CurveData(BaseModel):
    """What is fitted to and what judges; paths are relative to the config."""

    model_config = STRICT

    train: Paths
    """File or files that subsets are drawn from."""
    test: Paths
    """File or files that judge every fit."""
    labels: dict[str, str] | None = None
    """Names of the labels in the files, such as {energy: dft_energy, forces: dft_forces}."""
    skip_broken: bool = False
    """Leave out frames that cannot be read, and say so."""


class LearningCurveConfig(BaseModel):
    """Everything `forcewright learning-curve` needs."""

    model_config = STRICT

    data: CurveData
    """Where the labelled structures lie."""
    families: dict[Name, dict[str, Any]] = Field(min_length=1)
    """By name: what `forcewright fit` takes beside data and output; hyperparameters are numbers, not ranges."""
    common: dict[str, Any] = Field(default_factory=dict)
    """What every fit has unless it says otherwise: validation, loss …"""
    sizes: tuple[int, ...] | None = None
    """Numbers of training frames, isolated atoms not counted; six from a 32nd to all where not given."""
    repeats: int = Field(default=3, ge=1)
    """Independent draws of the subsets. A size that takes all frames is fitted once."""
    seed: int = Field(default=0, ge=0)
    """Same seed, same subsets."""
    output: Path
    """Folder for everything that comes out; the errors of each fit are kept in fits/FAMILY/SIZE-REPEAT."""


@dataclass(frozen=True, eq=False, repr=False)
class LearningCurve(Tabular):
    """What came out; ``summary`` is the content of result.json."""

    summary: dict[str, Any]
    folder: Path

    def __repr__(self) -> str:
        return f"LearningCurve({', '.join(self.summary['families'])}; sizes {self.summary['sizes']}; {self.folder})"

    def __str__(self) -> str:
        return text_table(self.summary)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each fit."""
        return [
            {"family": name, **point} for name, curve in self.summary["families"].items() for point in curve["points"]
        ]


def learning_curve(
    config: str | Path | Mapping[str, Any], *, on_fit: Callable[[str], None] = lambda name: None
) -> LearningCurve:
    """Fit every family to nested subsets of the training data and write how its errors fall.

    Fits that have finished with the same config and data are taken as they are. One that fails is listed.

    Parameters
    ----------
    config
        A YAML file, or its content (paths are then relative to the working directory).
    on_fit
        Called with family and size before each fit.

    Raises
    ------
    InputError
        If the config or the data are not usable, or no fit succeeds.
    """
    settings = read_learning_curve(config)
    hashes = file_hashes(path for path in (*settings.data.train, *settings.data.test) if path.is_file())
    chosen: dict[str, Any] = {"labels": settings.data.labels, "strict": not settings.data.skip_broken}
    train, test = (read(paths, **chosen) for paths in (settings.data.train, settings.data.test))
    require_sound(train)
    require_forces(train, settings.data.labels)
    alone = [i for i, frame in enumerate(train) if is_isolated_atom(frame)]
    others = [i for i in range(len(train)) if i not in set(alone)]
    sizes = _sizes(settings.sizes, len(others))
    parts = [
        (repeat, len(chosen), [*alone, *(others[i] for i in chosen)])
        for repeat, chosen in subsets(len(others), sizes, settings.repeats, settings.seed)
    ]
    with RunFolder(settings.output, "learning-curve") as folder:
        warnings: list[str] = []
        curves = {
            name: _curve(settings, name, family, folder, train, test, parts, on_fit, warnings)
            for name, family in settings.families.items()
        }
        if not any(curve["points"] for curve in curves.values()):
            reason = next(reason for curve in curves.values() for reason in curve["failed"].values())
            raise InputError(f"no fit succeeded: {reason}", field="families")
        summary = {
            "families": curves, "sizes": list(sizes), "repeats": settings.repeats, "seed": settings.seed,
            "test_frames": len(test), "warnings": warnings,
        }  # fmt: skip
        return LearningCurve(_write(folder, settings, summary, hashes), settings.output)


def _curve(
    settings: LearningCurveConfig, name: str, family: Mapping[str, Any], folder: RunFolder, train: Dataset,
    test: Dataset, parts: Sequence[tuple[int, int, list[int]]], on_fit: Callable[[str], None], warnings: list[str],
) -> dict[str, Any]:  # fmt: skip
    """Return points, failures and power laws of one family; what is stored from before is not fitted again.

    What is to be warned of is added to ``warnings``.
    """
    asked = _fit_config(settings, name, family)
    config = _as_begun(asked, folder / "fits" / name)
    if config is not asked:
        warnings.append(
            f"{name}: begun by an earlier version, and goes on with its defaults; another output begins anew."
        )
    points: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    # what the folds of the data do not tell: the content of a separate set, and what all training data settle
    files = config.validation.external
    external = read(files, labels=config.data.labels, strict=not config.data.skip_broken) if files else None
    stored = folder / "fits" / name / "model_search.json"
    stored.parent.mkdir(parents=True, exist_ok=True)
    fits = SubsetFits(config, train, external, stored)
    hashes = [] if external is None else [external.content_hash]
    earlier = set(config.model) - set(asked.model)  # defaults that an earlier version did not write out
    settled = {key: value for key, value in fits.settings.model.items() if key not in earlier}
    if settled != asked.model:
        hashes.append(hashlib.sha256(json.dumps(settled, sort_keys=True, default=str).encode()).hexdigest())
    validation = train if external is None else external
    unused = unused_labels(settle_stress(fits.settings, train, validation), train, validation)
    warnings += [f"{name}: {warning}" for warning in unused]
    for repeat, frames, indices in parts:
        label = f"{frames}-{repeat}"
        subset = train[indices]
        identity: dict[str, Any] = {
            "data": [subset.content_hash, test.content_hash, *hashes],
            "config": _identity(config, asked),
        }
        stored = folder / "fits" / name / label / "point.json"
        point = _stored_point(stored, identity)
        if point is None:
            on_fit(f"{name}, {frames} frames")
            try:
                point = _measure(fits, indices, test)
            except ForcewrightError as error:
                failed[label] = str(error)
                continue
            stored.parent.mkdir(parents=True, exist_ok=True)
            write_json(stored, {"identity": identity, "point": point})
        points.append({"frames": frames, "repeat": repeat, **point})
    laws = {key: law for key, *_ in _ERRORS if (law := _power_law(points, key)) is not None}
    return {"points": points, "failed": failed, "fits": laws}


def _identity(config: TuneConfig, asked: TuneConfig) -> dict[str, Any]:
    """Return what of a config the errors of a fit depend on."""
    left_out = ("workers", "executor", "output", "data", "committee")
    return {name: value for name, value in in_earlier_words(config, asked).items() if name not in left_out}


def _as_begun(config: TuneConfig, folder: Path) -> TuneConfig:
    """Return a config as it is, or as an earlier version took it if that has made points of the curve."""
    before = as_before(config)
    known = [_stored_config(path) for path in folder.glob("*/point.json")]
    if before == config or _identity(config, config) in known or _identity(before, config) not in known:
        return config
    return before


def _stored_config(path: Path) -> Any:
    try:
        return parse_json(path.read_text())["identity"]["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measure(fits: SubsetFits, indices: Sequence[int], test: Dataset) -> dict[str, float | None]:
    """Return the errors of one fit on the test set, and what it took."""
    with ResourceMonitor() as monitor:
        outcome = fits.fit(indices)
    overall = evaluate(outcome.final.potential, test, resamples=0).overall
    errors = {key: getattr(overall, key) for key, *_ in _ERRORS}
    return {**errors, "fit_s": round(outcome.final.fit_s, 3), "cpu_s": round(monitor.cpu_s, 3)}


def _stored_point(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the point of an earlier fit to the same data with the same config, if there is one."""
    try:
        content = parse_json(path.read_text())
        if content["identity"] != identity:
            return None
        point = {key: content["point"][key] for key in (*(key for key, *_ in _ERRORS), "fit_s", "cpu_s")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = all(value is None or isinstance(value, int | float) for value in point.values())
    return point if known and point["fit_s"] is not None else None


def read_learning_curve(config: str | Path | Mapping[str, Any]) -> LearningCurveConfig:
    """Read and check a config; every family's part is checked before anything is fitted.

    Raises
    ------
    InputError
        If anything in it is not usable; names the field.
    """
    config_read = read_config(
        LearningCurveConfig, with_files(config, Path.cwd()) if isinstance(config, Mapping) else config
    )
    folder = config_read.folder
    families = {name: paths_from(family, folder) for name, family in config_read.settings.families.items()}
    settings = with_absolute_paths(config_read.settings, folder).model_copy(
        update={"families": families, "common": paths_from(config_read.settings.common, folder)}
    )
    for name, family in settings.families.items():
        try:
            checked = _fit_config(settings, name, family)
            if ranges := search_ranges(checked.model):
                raise InputError("is a range; give a number", field=f"model.{next(iter(ranges))}")
            checked.family.require_packages()  # not after hours of other families
        except InputError as error:
            raise InputError(error.problem, file=config_read.file, field=f"families.{name}.{error.field}") from None
    return settings


def _fit_config(settings: LearningCurveConfig, name: str, family: Mapping[str, Any]) -> TuneConfig:
    """Return the config of a family's fits; those of external validation sets are read with the same labels."""
    output = settings.output / "fits" / name
    return family_config(
        settings.common,
        family,
        settings.data.train,
        output,
        settings.data.labels,
        skip_broken=settings.data.skip_broken,
    )


def _sizes(asked: Sequence[int] | None, available: int) -> tuple[int, ...]:
    """Return the sizes in rising order; none may be below 2 or above what there is."""
    if asked is None:
        return tuple(sorted({max(2, round(available / 2**k)) for k in range(6)}))
    if wrong := [size for size in asked if not 2 <= size <= available]:
        raise InputError(f"has {wrong[0]}; allowed are 2 to {available}, the frames there are", field="sizes")
    return tuple(sorted(set(asked)))


def subsets(available: int, sizes: Sequence[int], repeats: int, seed: int) -> list[tuple[int, list[int]]]:
    """Return the repeat and the sorted indices of each subset: random, and within a repeat each part of the next.

    Parameters
    ----------
    available
        Number of frames to draw from; a subset of all of them is made once.
    sizes
        In rising order.
    """
    drawn: list[tuple[int, list[int]]] = []
    for repeat in range(repeats):
        order = np.random.default_rng([seed, repeat]).permutation(available)
        drawn += [(repeat, sorted(order[:size].tolist())) for size in sizes if size < available or repeat == 0]
    return sorted(drawn, key=lambda entry: (len(entry[1]), entry[0]))


def _power_law(points: Sequence[Mapping[str, Any]], key: str) -> dict[str, float | None] | None:
    known = [(point["frames"], point[key]) for point in points if point[key]]
    if len({frames for frames, _ in known}) < 2:
        return None
    frames, errors = (np.array(values, dtype=np.float64) for values in zip(*known, strict=True))
    return power_law(frames, errors)


def power_law(frames: FloatArray, errors: FloatArray) -> dict[str, float | None]:
    """Fit error = prefactor · frames^slope by least squares of the logarithms.

    Parameters
    ----------
    frames, errors
        (n,), above 0, with two different sizes at least.

    Returns
    -------
    fit
        ``slope``, ``slope_standard_error`` (None with fewer than three points), ``prefactor``.
    """
    x, y = np.log(frames), np.log(errors)
    spread = float(np.sum((x - x.mean()) ** 2))
    slope = float(np.sum((x - x.mean()) * (y - y.mean())) / spread)
    level = float(y.mean() - slope * x.mean())
    residual = float(np.sum((y - level - slope * x) ** 2))
    error = math.sqrt(residual / (len(x) - 2) / spread) if len(x) > 2 else None
    return {"slope": slope, "slope_standard_error": error, "prefactor": math.exp(level)}


# -------------------------------------------------------------------------------------------------- writing


def text_table(summary: Mapping[str, Any]) -> str:
    """Return what the command line shows: the mean errors by family and size, and the slopes."""
    lines = []
    for name, curve in summary["families"].items():
        lines += ["  ".join(row) for row in _rows(name, curve, summary["sizes"])]
        lines += [f"{name}: {key} falls as frames^{fit['slope']:.2f}" for key, fit in curve["fits"].items()]
        lines += [f"{name}, {label}: failed: {reason}" for label, reason in curve["failed"].items()]
    return "\n".join([*lines, *summary.get("warnings", [])])


def _rows(name: str, curve: Mapping[str, Any], sizes: Sequence[int]) -> list[list[str]]:
    rows = []
    for size in sizes:
        points = [point for point in curve["points"] if point["frames"] == size]
        cells = []
        for key, _, unit in _ERRORS:
            values = [point[key] for point in points if point[key] is not None]
            cells.append(f"{significant(float(np.mean(values)))} {unit}" if values else DASH)
        mean = float(np.mean([point["fit_s"] for point in points])) if points else None
        rows.append([name, str(size), str(len(points)), *cells, duration(mean)])
    return rows


def _write(
    folder: RunFolder, settings: LearningCurveConfig, content: Mapping[str, Any], hashes: Mapping[str, str]
) -> dict[str, Any]:
    """Write result, table and page; return the content of result.json."""
    from forcewright.report import PageContent, Section, write_report  # matplotlib: not before it is needed
    from forcewright.report.compare_figures import draw_learning_curve

    config_text = folder.write_config(settings)
    summary = folder.write_result(content, hashes)
    columns = ["family", "frames", "repeat", *(key for key, *_ in _ERRORS), "fit_s", "cpu_s"]
    table = [{"family": name, **point} for name, curve in summary["families"].items() for point in curve["points"]]
    write_table(folder / "learning_curve.csv", table, columns)
    curves = summary["families"]
    figures = [
        figure for key, heading, unit in _ERRORS if key != "energy_rmse_meV_per_atom"
        and (figure := draw_learning_curve(curves, key, f"{heading} ({unit})")) is not None
    ]  # fmt: skip
    rows = [row for name, curve in curves.items() for row in _rows(name, curve, summary["sizes"])]
    headings = [("family", ""), ("frames", ""), ("fits", ""), *((heading, "") for _, heading, _ in _ERRORS),
                ("one fit", "")]  # fmt: skip
    configs = [_fit_config(settings, name, family) for name, family in settings.families.items()]
    models = [fill_model(config.model, {}).model_dump(mode="json", exclude_none=True) for config in configs]
    cited = {c["key"]: c for model in models for c in provenance.citations(model, TuneStudySettings(), False)}
    page = PageContent(
        title=f"Learning curve: {folder.path.name}", kicker="Forcewright learning curve",
        warnings=[*(f"{name}, {label}: {reason}" for name, curve in curves.items()
                    for label, reason in curve["failed"].items()), *summary["warnings"]],
        summary=(
            f"Errors on the same {summary['test_frames']} frames of fits to random, nested subsets of the training "
            f"data, {summary['repeats']} draws. Lines are powers of the number of frames, fitted to all points; a line "
            "that still falls at its end says that more data would help."
        ),
        sections=[Section("Errors by number of frames", "", figures),
                  Section("Mean over the draws", "", [], [{"headings": headings, "rows": rows, "style": "plain"}])],
        result=summary, config_text=config_text, citations=list(cited.values()),
    )  # fmt: skip
    write_report(folder / "report.html", page)
    return summary
