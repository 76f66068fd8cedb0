"""Ablate: what each part of a fit is worth, by leaving it out or changing it with everything else as it was.

One base config and a list of changes, of the model, the data or the weights: every variant is a study like any other,
evaluated on the same frames in the same way as `forcewright.recipes.compare` does it. What a study settles by itself,
such as weights that are searched, is settled anew in each. A variant that fails is listed with its reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from forcewright.accuracy.differences import paired_differences
from forcewright.accuracy.errors import ErrorTable
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import write_table
from forcewright.fitting.settings import STRICT
from forcewright.recipes import ablate_page
from forcewright.recipes.compare import ComparisonData, about_sets, family_config, judging_sets, row_of, study_of
from forcewright.recipes.config import Name, TuneConfig, paths_from, with_files
from forcewright.recipes.evaluation import evaluate_source
from forcewright.recipes.run_folder import RunFolder, read_config, with_absolute_paths
from forcewright.tables import Tabular

log = logging.getLogger("forcewright")

#: Name of the base among the variants.
BASE = "base"

_SEED = 11  # of the resamples of frames
_RESAMPLES = 2000


class AblationConfig(BaseModel):
    """Everything `forcewright ablate` needs."""

    model_config = STRICT

    data: ComparisonData
    """Where the labelled structures lie."""
    base: dict[str, Any]
    """What `forcewright tune` takes beside data and output: model, weights, validation, study, stability …"""
    changes: dict[Name, dict[str, Any]] = Field(min_length=1)
    """By name: keys of the base that are another now, the rest being as it was, such as {model: {rcut: 4}} or
    {weights: {stress: null}}; and without: [names of groups, or of training files] for data that are left out. A model
    of another kind replaces the base's."""
    output: Path
    """Folder for everything that comes out; studies lie in variants/NAME."""
    power_W_per_core: float = Field(default=15.0, gt=0)
    """Power in W that one busy core takes, with its share of memory and losses: energy used is CPU time times this."""


@dataclass(frozen=True, eq=False, repr=False)
class Ablation(Tabular):
    """What came out; ``summary`` is the content of result.json, ``tables`` holds errors by variant and set."""

    summary: dict[str, Any]
    tables: dict[str, dict[str, ErrorTable]]
    folder: Path

    def __repr__(self) -> str:
        return f"Ablation({', '.join(self.summary['variants'])}; {self.folder})"

    def __str__(self) -> str:
        return ablate_page.text_table(self.summary)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each variant and set: errors, differences from the base, cost and survival."""
        return ablate_page.rows_by_set(self.summary)


def ablate(
    config: str | Path | Mapping[str, Any],
    *,
    fresh: bool = False,
    on_variant: Callable[[str], None] = lambda name: None,
) -> Ablation:
    """Fit the base and every change of it, evaluate all on the same frames, and write table, page and result.json.

    A study that has finished with the same config and data is taken as it is; an unfinished one goes on.

    Parameters
    ----------
    config
        A YAML file, or its content (paths are then relative to the working directory).
    fresh
        Discard earlier studies in the output folder.
    on_variant
        Called with the name of each variant before it is worked on.

    Raises
    ------
    InputError
        If the config or the data are not usable, or the base fails.
    """
    settings = read_ablation(config)
    sets, hashes = judging_sets(settings.data)
    summary: dict[str, Any] = {"variants": {}, "failed": {}}
    tables: dict[str, dict[str, ErrorTable]] = {}
    with RunFolder(settings.output, "ablate") as folder:
        for name, variant in _variants(settings).items():
            on_variant(name)
            try:
                candidate = study_of(variant, fresh=fresh)
                tables[name], cost = evaluate_source(
                    candidate.source, sets, allow_commands=candidate.program, kind=candidate.kind
                )
            except ForcewrightError as error:
                if name == BASE:
                    raise
                log.warning("%s: %s", name, error)
                summary["failed"][name] = str(error)
                continue
            row = row_of(candidate, tables[name], cost, settings.power_W_per_core)
            summary["variants"][name] = {
                **row, "changed": settings.changes.get(name, {}), "survival": _survival(candidate.study),
                "differences": _differences(tables[name], tables[BASE]) if name != BASE else {},
            }  # fmt: skip
        summary |= {**about_sets(sets), "power_W_per_core": settings.power_W_per_core}
        return Ablation(_write(folder, settings, summary, tables, hashes), tables, settings.output)


def _differences(tables: Mapping[str, ErrorTable], base: Mapping[str, ErrorTable]) -> dict[str, Any]:
    """Return by set and kind of error what a variant has more than the base, as plain data."""
    return {
        name: {
            key: difference.to_dict()
            for key, difference in paired_differences(
                table, base[name], ablate_page.KEYS, rng=np.random.default_rng(_SEED), resamples=_RESAMPLES
            ).items()
        }
        for name, table in tables.items()
    }  # fmt: skip


def _survival(study: Mapping[str, Any]) -> dict[str, int] | None:
    """Return how many of the runs survived in which the study probed its potential; None where it did not."""
    runs = study.get("stability", {}).get("runs")
    return None if not runs or not runs["done"] else {"done": runs["done"], "survived": runs["survived"]}


# -------------------------------------------------------------------------------------------------- config


def read_ablation(config: str | Path | Mapping[str, Any]) -> AblationConfig:
    """Read and check a config; every change is checked before anything is fitted.

    Raises
    ------
    InputError
        If anything in it is not usable; names the field.
    """
    config_read = read_config(AblationConfig, with_files(config, Path.cwd()) if isinstance(config, Mapping) else config)
    folder = config_read.folder
    settings = with_absolute_paths(config_read.settings, folder)
    changes = {name: paths_from(change, folder) for name, change in settings.changes.items()}
    settings = settings.model_copy(update={"base": paths_from(settings.base, folder), "changes": changes})
    if settings.data.train is None:
        raise InputError("is missing; every variant is fitted", file=config_read.file, field="data.train")
    if BASE in settings.changes:
        raise InputError(f"has {BASE!r}, which is what all are compared with; choose another name", field="changes")
    for name in (BASE, *settings.changes):
        where = "base" if name == BASE else f"changes.{name}"
        try:
            _variant(settings, name).family.require_packages()  # not after hours of other variants
        except InputError as error:
            field = f"{where}.{error.field}" if error.field else where
            raise InputError(error.problem, file=config_read.file, field=field) from None
    return settings


def _variants(settings: AblationConfig) -> dict[str, TuneConfig]:
    return {name: _variant(settings, name) for name in (BASE, *settings.changes)}


def _variant(settings: AblationConfig, name: str) -> TuneConfig:
    """Return the config of one variant's study."""
    change = dict(settings.changes.get(name, {}))
    train, groups = _left(settings.data.train or [], change.pop("without", ()))
    base, merged = dict(settings.base), merge(settings.base, change)
    if isinstance(merged.get("model"), Mapping) and _kind(merged) != _kind(base):
        # what is of no meaning for another family is taken out of the base, not of the change
        common = {key: value for key, value in base.items() if key != "model"}
        content = {key: merged[key] for key in ("model", *change)}
    else:
        common, content = {}, merged
    if groups and isinstance(weights := content.get("weights", common.get("weights")), Mapping) and "groups" in weights:
        kept = {group: value for group, value in weights["groups"].items() if str(group) not in groups}
        content = {**content, "weights": {**weights, "groups": kept}}
    output = settings.output / "variants" / name
    config = family_config(common, content, train, output, settings.data.labels, skip_broken=settings.data.skip_broken)
    return config.model_copy(update={"data": config.data.model_copy(update={"without": groups})}) if groups else config


def _kind(content: Mapping[str, Any]) -> Any:
    model = content.get("model")
    return model.get("kind") if isinstance(model, Mapping) else None


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain data in which a change stands over a base: mappings are merged, all else is replaced.

    Ranges, and a mapping with another ``kind``, are replaced as a whole.
    """
    merged = dict(base)
    for key, value in change.items():
        old = base.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and not _is_whole(old, value):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def _is_whole(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    is_range = any({"low", "choices"} & set(part) for part in (old, new))
    return is_range or new.get("kind", old.get("kind")) != old.get("kind")


def _left(train: Sequence[Path], without: Any) -> tuple[list[Path], tuple[str, ...]]:
    """Return the training files that are left, and the groups that are left out of them."""
    names = [without] if isinstance(without, str) else without
    if not isinstance(names, list | tuple) or not all(isinstance(name, str | int) for name in names):
        raise InputError("is a list of names of groups, or of training files", field="without")
    words = [str(name) for name in names]
    kept = [path for path in train if path.name not in words]
    files = {path.name for path in train}
    if not kept:
        raise InputError("leaves no training file; name fewer of them", field="without")
    return kept, tuple(word for word in words if word not in files)


# -------------------------------------------------------------------------------------------------- writing


def _write(
    folder: RunFolder, settings: AblationConfig, content: Mapping[str, Any],
    tables: dict[str, dict[str, ErrorTable]], hashes: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """Write result, tables and page; return the content of result.json."""
    (folder / "errors").mkdir(exist_ok=True)
    text = folder.write_config(settings)
    summary = folder.write_result(content, hashes)
    write_table(folder / "ablation.csv", ablate_page.rows_by_set(summary))
    for variant, by_set in tables.items():
        for name, table in by_set.items():
            table.write_csv(folder / "errors" / f"{variant} - {name}.csv")
    ablate_page.write_page(folder.path, summary, text)
    return summary
