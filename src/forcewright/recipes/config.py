"""The configuration of a study: one YAML file in which a search range stands where a number would stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from forcewright.configs import validate
from forcewright.data import dataset_of, write
from forcewright.errors import InputError
from forcewright.files import writing
from forcewright.fitting.hyperparameters import search_ranges
from forcewright.fitting.settings import STRICT, FitSettings, PriorSettings, ValidationSettings, validation_of
from forcewright.models import family_of
from forcewright.models.baseline_settings import baseline_from
from forcewright.plain_data import read_yaml
from forcewright.potential import Potential
from forcewright.recipes.physics_search import PhysicsSearchSettings
from forcewright.recipes.run_folder import with_absolute_paths
from forcewright.reference.identity import identify


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | Path) else value


Paths = Annotated[list[Path], BeforeValidator(_as_list)]

#: A name of the user's that becomes part of a path.
Name = Annotated[str, Field(pattern=r"^[\w(][\w .+()=-]*$", max_length=60)]


class DataSettings(BaseModel):
    """Where the labelled structures lie; paths are relative to the config."""

    model_config = STRICT

    train: Paths
    """File or files to fit to."""
    test: Paths | None = None
    """File or files that are touched once, at the end."""
    labels: dict[str, str] | None = None
    """Names of the labels in the file, such as {energy: dft_energy, forces: dft_forces}; none leaves one unread."""
    skip_broken: bool = False
    """Leave out frames that cannot be read, such as the unfinished step of an interrupted run, and say so."""
    without: tuple[str, ...] = ()
    """Groups of the training data that are left out."""


class StudyValidation(ValidationSettings):
    """What the loss is measured on: exactly one of kfold, external and holdout."""

    external: Paths | None = None
    """A separate validation set."""

    @model_validator(mode="after")
    def _external_alone(self) -> Self:
        others = [name for name in ("kfold", "holdout") if getattr(self, name) is not None]
        if self.external is not None and others:
            raise ValueError(f"has external and {' and '.join(others)}; give one of kfold, external and holdout")
        if self.external is not None and self.nested:
            raise ValueError("nested needs kfold")
        return self


class TuneConfig(FitSettings):
    """Everything `forcewright tune` needs."""

    data: DataSettings
    """Where the labelled structures lie."""
    output: Path
    """Folder for everything that comes out."""
    validation: Annotated[StudyValidation, BeforeValidator(validation_of)] = StudyValidation()
    """What the loss is measured on: folds (5 where nothing is said), a share held back, or a separate set."""

    physics: PhysicsSearchSettings | None = None
    """Physics that chooses among the trials beside the loss: survival, properties of crystals, errors on other sets."""

    @model_validator(mode="after")
    def _protocol(self) -> Self:
        if self.protocol == "xpot" and self.data.test is None:
            raise ValueError("protocol xpot selects on the test set; give data.test")
        return self


def as_before(config: TuneConfig) -> TuneConfig:
    """Return a config with what it leaves open as earlier versions took it.

    They used stresses only where they were told to, damped as the data scale and as little as gives the least loss,
    and kept no pairs apart.
    """
    weights, loss, prior = config.weights, config.loss, config.prior
    if weights.stress == "auto" and config.family.is_linear:
        weights = weights.model_copy(update={"stress": None})
    if loss.stress == "auto":
        loss = loss.model_copy(update={"stress": 0.0})
    if prior == PriorSettings() and config.family.is_linear:
        prior = PriorSettings(scale="data", smoothness="free")
    model = {**config.family.hyperparameters.earlier_defaults, **config.model}
    settled: dict[str, Any] = {"weights": weights, "loss": loss, "prior": prior, "model": model}
    if config.family.is_linear:
        settled |= {"short_range": "off", "search": config.search.model_copy(update={"caution": 0.0})}
    return config.model_copy(update=settled)


def in_earlier_words(config: TuneConfig, asked: TuneConfig) -> dict[str, Any]:
    """Return a config as plain data, as earlier versions wrote it where they had words for it.

    Studies and curves know their config by this, so that those of earlier versions go on.

    Parameters
    ----------
    config
        The config, or `as_before` of it.
    asked
        The config as the user has it.
    """
    later = {"stability", "uncertainty", "physics"}  # which begin once all is fitted
    content = config.model_dump(mode="json", exclude=later)
    content["model"] = asked.model_dump(mode="json")["model"]
    defaults = config.family.hyperparameters.earlier_defaults
    if open_names := sorted(name for name in defaults if name not in config.model):
        content["left_open"] = open_names  # and settled in another way than by earlier versions
    if content["baseline"] is None:
        content.pop("baseline")
    if content["validation"]["leave_out"] is None:
        content["validation"].pop("leave_out")
    if config.search.caution == 0 or not config.family.is_linear:
        content["search"].pop("caution")
    if config.prior.scale == "data":
        content["prior"] = content["prior"]["smoothness"]
    if not config.family.is_linear:  # of no meaning, and as it always was
        content["prior"] = "free"
        if asked.left_out:
            content["left_out"] = list(asked.left_out)
        content["weights"]["stress"] = None
    if config.short_range == "off" or not config.family.is_linear:
        content.pop("short_range")
    return content


def with_files(content: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return a config in which structures in memory are files in its output folder, which are written now.

    Their names hold a hash of the structures, so that no file of anybody else is replaced.

    Parameters
    ----------
    content
        Under ``data``, and under ``validation: {external: ...}``, structures may stand in the place of files.
    base
        Folder that the output is relative to.
    """
    folder = base / str(content.get("output", ""))

    def written(value: Any, name: str) -> Any:
        several = value if isinstance(value, list | tuple) else [value]
        if value is None or all(isinstance(part, str | Path) for part in several):
            return value
        if isinstance(value, Mapping):
            plain = {key: re.sub(r"[^\w-]", "_", str(key)) for key in value}  # no name leads to another folder
            return {key: written(part, f"{name}-{plain[key]}") for key, part in value.items()}
        dataset = dataset_of(value)
        path = folder / "structures" / f"{name}-{dataset.content_hash[:12]}.extxyz"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write(dataset, path)
        return str(path.resolve())

    changed = dict(content)
    if isinstance(baseline := content.get("baseline"), Potential):
        changed["baseline"] = str(_saved(baseline, folder / "structures"))
    if isinstance(data := content.get("data"), Mapping):
        sets = {name: written(data[name], name) for name in ("train", "test") if name in data}
        changed["data"] = {**data, **sets}
    if isinstance(validation := content.get("validation"), Mapping) and "external" in validation:
        changed["validation"] = {**validation, "external": written(validation["external"], "validation")}
    return changed


def _saved(baseline: Potential, folder: Path) -> Path:
    """Save a baseline that was given in memory under a name that holds its hash."""
    path = folder / f"baseline-{identify(baseline)[2][:12]}"
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
    return baseline.save(path).resolve()


def read_config(path: str | Path) -> TuneConfig:
    """Read a YAML config; relative paths are taken from its folder.

    Raises
    ------
    InputError
        If the file is missing, no YAML, or a value is not allowed; names the field.
    """
    path = Path(path)
    return parse_config(read_yaml(path), folder=path.parent, file=path)


def parse_config(content: dict[str, Any], *, folder: Path, file: Path | None = None) -> TuneConfig:
    """Validate plain data as a config and make its paths absolute (see `read_config`)."""
    if "baseline" in content:
        content = {**content, "baseline": baseline_from(content["baseline"], folder)}
    config = validate(TuneConfig, content, file)
    try:
        search_ranges(config.model)
        config.refuse_what_does_not_apply()
    except InputError as error:
        raise InputError(error.problem, file=file, field=error.field) from None

    absolute = with_absolute_paths(config, folder)
    return absolute.model_copy(update={"model": _with_absolute_paths(config.model, folder)})


def paths_from(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return part of a config, not validated yet, in which the files it names are taken from a folder."""
    changed = dict(content)
    if "baseline" in content:
        changed["baseline"] = baseline_from(content["baseline"], folder)
    if isinstance(model := content.get("model"), Mapping):
        with suppress(InputError):  # a kind that is not known is told where the config is read
            changed["model"] = _with_absolute_paths(model, folder)
    validation = content.get("validation")
    if isinstance(validation, Mapping) and isinstance(external := validation.get("external"), str | Path | list):
        several = external if isinstance(external, list) else [external]
        if all(isinstance(path, str | Path) for path in several):
            changed["validation"] = {**validation, "external": [str((folder / path).resolve()) for path in several]}
    physics = content.get("physics")
    if isinstance(physics, Mapping):
        changed["physics"] = dict(physics)
        if isinstance(sets := physics.get("sets"), Mapping):
            changed["physics"]["sets"] = {
                name: [str((folder / path).resolve()) if isinstance(path, str | Path) else path for path in paths]
                if isinstance(paths, list) else paths for name, paths in sets.items()
            }  # fmt: skip
        if isinstance(structure := physics.get("structure"), str):
            changed["physics"]["structure"] = str((folder / structure).resolve())
    return changed


def _with_absolute_paths(model: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a model's config with the files it names, such as a potential to start from, taken from a folder."""
    fields = family_of(str(model.get("kind", ""))).hyperparameters.model_fields
    files = {name for name, field in fields.items() if Path in (field.annotation, *get_args(field.annotation))}
    return {
        name: str((folder / value).resolve()) if name in files and isinstance(value, str) else value
        for name, value in model.items()
    }
