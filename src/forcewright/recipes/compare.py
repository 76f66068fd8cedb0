"""Compare: several families of potentials side by side, on the same frames, in one table and on one page.

All are evaluated in the same way: one thread, the same frames, the same structure for the time of an evaluation. A
family that fails is listed with its reason and never costs the others anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from forcewright.accuracy.errors import ErrorTable
from forcewright.data import read
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import write_table
from forcewright.fitting.settings import STRICT, applies
from forcewright.models import family_of
from forcewright.models.pretrained import PretrainedPotential
from forcewright.plain_data import read_json
from forcewright.recipes import compare_page
from forcewright.recipes.config import Name, Paths, TuneConfig, parse_config, paths_from, with_files
from forcewright.recipes.evaluation import evaluate_source
from forcewright.recipes.outputs import data_files, stored_summary
from forcewright.recipes.provenance import file_hashes
from forcewright.recipes.run_folder import RunFolder, read_config, with_absolute_paths
from forcewright.recipes.tune import tune
from forcewright.structure import Dataset
from forcewright.tables import Tabular

log = logging.getLogger("forcewright")

#: what is told of a family on each set, by its name in `forcewright.accuracy.Errors`
_ERRORS = {
    "energy_mae_meV_per_atom": "energy_mae_meV_per_atom",
    "energy_rmse_meV_per_atom": "energy_rmse_meV_per_atom",
    "r2_energy": "energy_r2",
    "force_norm_mae_eV_per_A": "force_norm_mae_eV_per_A",
    "force_norm_rmse_eV_per_A": "force_norm_rmse_eV_per_A",
    "r2_force_norm": "force_norm_r2",
    "force_mae_eV_per_A": "force_mae_eV_per_A",
    "force_rmse_eV_per_A": "force_rmse_eV_per_A",
}


def _named_sets(value: Any) -> Any:
    return value if isinstance(value, Mapping) else {"test": value}


def _named_families(value: Any) -> Any:
    """Give the members of a list the names of their folders."""
    if not isinstance(value, list):
        return value
    paths = [Path(str(path)) for path in value]
    names = [path.parent.name if path.name == "potential" and path.parent.name else path.name for path in paths]
    if len(set(names)) < len(names):
        raise ValueError("holds two of the same name; give a mapping from names to folders")
    return dict(zip(names, value, strict=True))


class ComparisonData(BaseModel):
    """What is fitted to, and what is predicted; paths are relative to the config."""

    model_config = STRICT

    train: Paths | None = None
    """File or files to fit to; not needed where all families are given."""
    test: Annotated[dict[Name, Paths], BeforeValidator(_named_sets)] = Field(min_length=1)
    """File or files that every family predicts, or several sets by name; the first is the one that ranks families."""
    labels: dict[str, str] | None = None
    """Names of the labels in the files, such as {energy: dft_energy, forces: dft_forces}."""
    skip_broken: bool = False
    """Leave out frames that cannot be read, and say so."""


class ComparisonConfig(BaseModel):
    """Everything `forcewright compare` needs."""

    model_config = STRICT

    data: ComparisonData
    """Where the labelled structures lie."""
    families: Annotated[dict[Name, str | dict[str, Any]], BeforeValidator(_named_families)] = Field(min_length=1)
    """By name: what `forcewright tune` takes beside data and output (model, weights, study …); or the folder of a
    finished study, or a saved potential; or {lammps: {pair_style: …, pair_coeff: …}},
    {pretrained: chgnet} or {ase: module:factory}."""
    common: dict[str, Any] = Field(default_factory=dict)
    """What every study here has unless it says otherwise: validation, loss, study …"""
    output: Path
    """Folder for everything that comes out; studies lie in studies/NAME."""
    power_W_per_core: float = Field(default=15.0, gt=0)
    """Power in W that one busy core takes, with its share of memory and losses: energy used is CPU time times this."""

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        fitted = [family for family in self.families.values() if isinstance(family, dict) and "model" in family]
        if self.data.train is None and fitted:
            raise ValueError("data.train is missing; a family that is fitted needs it")
        return self


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Tabular):
    """What came out; ``summary`` is the content of result.json, ``tables`` holds errors by family and set."""

    summary: dict[str, Any]
    tables: dict[str, dict[str, ErrorTable]]
    folder: Path

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.summary['families'])}; {self.folder})"

    def __str__(self) -> str:
        return compare_page.text_table(self.summary)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each family: errors on the first set, times and memory."""
        left_out = ("settings", "sets", "warnings")
        return [
            {"family": name, **{key: value for key, value in row.items() if key not in left_out}}
            for name, row in self.summary["families"].items()
        ]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A potential ready to be evaluated: where it is, and the summary of its study, where there is one.

    ``program`` and ``kind`` are those that its config names, where it was fitted here.
    """

    source: str | Mapping[str, Any]
    origin: str
    study: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    program: Mapping[str, Any] | bool = False
    kind: str | None = None


def compare(
    config: str | Path | Mapping[str, Any], *, fresh: bool = False, on_family: Callable[[str], None] = lambda name: None
) -> Comparison:
    """Fit or take every family, evaluate all on the same frames, and write table, figures and result.json.

    A study that has finished with the same config and data is taken as it is; an unfinished one goes on.

    Parameters
    ----------
    config
        A YAML file, or its content (paths are then relative to the working directory).
    fresh
        Discard earlier studies in the output folder.
    on_family
        Called with the name of each family before it is worked on.

    Raises
    ------
    InputError
        If the config or the data are not usable, or every family failed.
    """
    settings = read_comparison(config)
    sets, hashes = judging_sets(settings.data)
    summary: dict[str, Any] = {"families": {}, "failed": {}}
    tables: dict[str, dict[str, ErrorTable]] = {}
    with RunFolder(settings.output, "compare") as folder:
        for name, family in settings.families.items():
            on_family(name)
            try:
                candidate = _obtain(settings, name, family, fresh)
                tables[name], cost = evaluate_source(
                    candidate.source, sets, allow_commands=candidate.program, kind=candidate.kind
                )
            except ForcewrightError as error:
                log.warning("%s: %s", name, error)
                summary["failed"][name] = str(error)
                continue
            summary["families"][name] = row_of(candidate, tables[name], cost, settings.power_W_per_core)
        if not tables:
            name, reason = next(iter(summary["failed"].items()))
            raise InputError(f"every family failed; {name}: {reason}", field="families")
        summary |= {**about_sets(sets), "power_W_per_core": settings.power_W_per_core}
        return Comparison(_write(folder, settings, summary, tables, hashes), tables, settings.output)


def judging_sets(data: ComparisonData) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Return the sets that judge, by name, and the hashes of all files of the data."""
    files = [*(data.train or []), *(path for paths in data.test.values() for path in paths)]
    hashes = file_hashes(path for path in files if path.is_file())
    strict = not data.skip_broken
    return {name: read(paths, labels=data.labels, strict=strict) for name, paths in data.test.items()}, hashes


def about_sets(sets: Mapping[str, Dataset]) -> dict[str, Any]:
    """Return what a summary says of the sets that judge, the first of which ranks."""
    return {
        "judged_on": next(iter(sets)),
        "sets": {name: {"frames": len(data), "groups": data.group_sizes} for name, data in sets.items()},
    }


def read_comparison(config: str | Path | Mapping[str, Any]) -> ComparisonConfig:
    """Read and check a config; every family's part is checked before anything is fitted.

    Raises
    ------
    InputError
        If anything in it is not usable; names the field.
    """
    config_read = read_config(
        ComparisonConfig, with_files(config, Path.cwd()) if isinstance(config, Mapping) else config
    )
    folder = config_read.folder
    families = {
        name: str(folder / family) if isinstance(family, str) else _with_folder(family, folder)
        for name, family in config_read.settings.families.items()
    }
    common = paths_from(config_read.settings.common, folder)
    settings = with_absolute_paths(config_read.settings, folder).model_copy(
        update={"families": families, "common": common}
    )
    for name, family in families.items():
        if isinstance(family, dict) and "model" in family:
            try:
                checked = _study_config(settings, name, family)
            except InputError as error:
                field = f"families.{name}.{error.field}"
                raise InputError(error.problem, file=config_read.file, field=field) from None
            checked.family.require_packages()  # not after hours of other families
    return settings


def _with_folder(family: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Refuse what is no family; remember the folder that files of a pair style lie in."""
    if "model" in family:
        return paths_from(family, folder)
    kinds = set(family) - {"kwargs"}
    if kinds not in ({"lammps"}, {"pretrained"}, {"ase"}):
        raise InputError(
            "needs model, a path, or one of {lammps: ...}, {pretrained: ...} and {ase: ...}", field="families"
        )
    if kinds == {"pretrained"}:
        PretrainedPotential(str(family["pretrained"]))  # not after hours of other families
    return {**family, "folder": str(folder)}


def _study_config(settings: ComparisonConfig, name: str, family: Mapping[str, Any]) -> TuneConfig:
    output = settings.output / "studies" / name
    return family_config(
        settings.common,
        family,
        settings.data.train or (),
        output,
        settings.data.labels,
        skip_broken=settings.data.skip_broken,
    )


def family_config(
    common: Mapping[str, Any], family: Mapping[str, Any], train: Sequence[Path], output: Path,
    labels: Mapping[str, str] | None, *, skip_broken: bool = False,
) -> TuneConfig:  # fmt: skip
    """Return the config of one family's study over what is common to all families.

    Raises
    ------
    InputError
        If it is not usable, or names data or output, which all share.
    """
    if taken := sorted({"data", "output"} & (set(family) | set(common))):
        raise InputError("is the same for all families; take it out here", field=taken[0])
    if isinstance(model := family.get("model"), Mapping):
        record = family_of(str(model.get("kind", "")))
        common = {name: value for name, value in common.items() if applies(name, value, record)}
    data: dict[str, Any] = {"train": [str(path) for path in train], "labels": None if labels is None else dict(labels)}
    data |= {"skip_broken": True} if skip_broken else {}
    return parse_config({**common, **family, "data": data, "output": str(output)}, folder=output)


def _obtain(settings: ComparisonConfig, name: str, family: str | dict[str, Any], fresh: bool) -> Candidate:
    """Return a family's potential, after fitting it where it is to be fitted here."""
    if isinstance(family, dict) and "model" in family:
        return study_of(_study_config(settings, name, family), fresh=fresh)
    if isinstance(family, dict):
        return Candidate(family, "given")
    folder = Path(family)
    if (folder / "result.json").is_file() and (folder / "potential").is_dir():
        study = read_json(folder / "result.json")
        return Candidate(str(folder / "potential"), "study", study, folder)
    return Candidate(family, "given")


def study_of(config: TuneConfig, *, fresh: bool) -> Candidate:
    """Return the potential of a study: one that has finished with this config and these data, or done or resumed now.

    Raises
    ------
    ForcewrightError
        If the study fails.
    """
    summary = None if fresh else stored_summary(config, file_hashes(data_files(config)))
    origin = "fitted before" if summary else "fitted"
    if summary is None:
        summary = tune(config, fresh=fresh).summary
    potential = str(config.output / "potential")
    return Candidate(potential, origin, summary, config.output, config.program, config.family.kind)


def row_of(
    candidate: Candidate, tables: Mapping[str, ErrorTable], cost: float, power_W_per_core: float
) -> dict[str, Any]:
    """Return what is told of a potential, ready for JSON; what only a study knows is None without one."""
    by_set = {
        name: {key: getattr(table.overall, measure) for key, measure in _ERRORS.items()}
        for name, table in tables.items()
    }
    study = candidate.study
    study_s, cpu_s = (study[key] + study.get("earlier_trials_s", 0.0) if study else None for key in ("wall_s", "cpu_s"))
    return {
        **next(iter(by_set.values())),
        "fit_s": study.get("fit_s"),
        "study_s": study_s,
        "cpu_s": cpu_s,
        "energy_used_kWh": None if cpu_s is None else cpu_s * power_W_per_core / 3.6e6,
        "cost_us_per_atom": cost,
        "peak_memory_bytes": study.get("peak_memory_bytes"),
        "kind": study.get("settings", {}).get("model", {}).get("kind"),
        "trials": study.get("trials"),
        "origin": candidate.origin,
        "folder": None if candidate.folder is None else str(candidate.folder),
        "settings": study.get("settings"),
        "warnings": study.get("warnings", []),
        "sets": by_set,
    }


# -------------------------------------------------------------------------------------------------- writing


def _write(
    folder: RunFolder, settings: ComparisonConfig, content: Mapping[str, Any],
    tables: dict[str, dict[str, ErrorTable]], hashes: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """Write result, tables and page; return the content of result.json."""
    (folder / "errors").mkdir(exist_ok=True)
    text = folder.write_config(settings)
    summary = folder.write_result(content, hashes)
    write_table(folder / "comparison.csv", compare_page.rows_by_set(summary))
    for family, by_set in tables.items():
        for name, table in by_set.items():
            table.write_csv(folder / "errors" / f"{family} - {name}.csv")
    compare_page.write_page(folder.path, summary, tables, text)
    return summary
