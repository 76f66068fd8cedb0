"""The configuration of a study: one YAML file in which a search range stands where a number would stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from forcewright.configs import validate
from forcewright.errors import InputError
from forcewright.models import model_class
from forcewright.optimize.settings import StudySettings
from forcewright.optimize.space import Range, is_range, parse_range
from forcewright.recipes.run_folder import read_yaml

_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | Path) else value


Paths = Annotated[list[Path], BeforeValidator(_as_list)]


class DataSettings(BaseModel):
    """Where the labelled structures lie; paths are relative to the config."""

    model_config = _STRICT

    train: Paths
    """File or files to fit to."""
    test: Paths | None = None
    """File or files that are touched once, at the end."""
    labels: dict[str, str] | None = None
    """Names of the labels in the file, such as {energy: dft_energy, forces: dft_forces}."""


class ValidationSettings(BaseModel):
    """What the loss is measured on: exactly one of the three."""

    model_config = _STRICT

    kfold: int | None = Field(default=None, ge=2)
    """Number of folds of the training data; each is predicted by a fit to the others."""
    external: Paths | None = None
    """A separate validation set."""
    holdout: float | None = Field(default=None, gt=0, lt=1)
    """Share of the training data held back; the final fit uses all of it."""
    nested: bool = False
    """With kfold: also redo the whole selection inside each fold, for an error free of selection bias."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("kfold", "external", "holdout") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"has {' and '.join(given)}; give one of kfold, external and holdout")
        if self.nested and given and given != ["kfold"]:
            raise ValueError("nested needs kfold")
        return self

    @property
    def folds(self) -> int | None:
        """Number of folds, 5 where nothing is said."""
        return self.kfold or (None if self.external or self.holdout else 5)


class LogRange(BaseModel):
    """A range searched on a logarithmic scale."""

    model_config = _STRICT

    low: float = Field(gt=0)
    high: float = Field(gt=0)
    log: Literal[True] = True

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


Positive = Annotated[float, Field(gt=0)]


class GroupWeights(BaseModel):
    """Weights of one group that differ from the others'."""

    model_config = _STRICT

    energy: Positive | LogRange | None = None
    force: Positive | LogRange | None = None
    stress: Positive | LogRange | None = None


#: Stands for the groups that share their weights.
SHARED = "(all)"


class WeightSettings(BaseModel):
    """Row weights of the fit: of energies per atom (eV), force components (eV/Å) and virials per atom (eV)."""

    model_config = _STRICT

    energy: Positive | LogRange = LogRange(low=100, high=15000)
    force: Positive | LogRange = LogRange(low=0.1, high=500)
    stress: Positive | LogRange | None = None
    """Stress is fitted only where a weight is given."""
    by: Literal["group", "all"] = "group"
    """Whether every group has weights of its own or all share one."""
    groups: dict[str, GroupWeights] = Field(default_factory=dict)
    """Groups whose weights are given apart."""

    def group_of(self, group: str) -> str:
        """Return the group whose weights the frames of a group have: its own, or `SHARED`."""
        return group if self.by == "group" or group in self.groups else SHARED


class TargetAccuracy(BaseModel):
    """Accuracies wanted; α then makes energy and force contribute evenly to the loss at these errors."""

    model_config = _STRICT

    energy_meV_per_atom: float = Field(gt=0)
    force_eV_per_A: float = Field(gt=0)


class LossSettings(BaseModel):
    """What is minimized: α·(energy error per √N) + (1 - α)·(force error); du Toit 2025, equation 3.4."""

    model_config = _STRICT

    metric: Literal["rmse", "mae", "huber"] = "rmse"
    """How errors are averaged. Weights and ridge are always searched on the RMSE, which normal equations give."""
    alpha: Annotated[float, Field(ge=0, le=1)] | TargetAccuracy = 0.75
    """Share of the energy, or the accuracies wanted."""
    stress: float = Field(default=0.0, ge=0)
    """Coefficient of the virial error per √N in the loss."""
    huber_delta: float = Field(default=0.1, gt=0)
    """Error in eV (energy per √N) and eV/Å (force) at which Huber's loss turns from squared to absolute."""


class SearchSettings(BaseModel):
    """The search for weights and ridge inside every descriptor setting."""

    model_config = _STRICT

    starts: int = Field(default=6, ge=1)
    """Descents from different points."""
    evaluations: int = Field(default=50, ge=1)
    """Weight/ridge trials per descent at most."""


class TuneStudySettings(StudySettings):
    """How settings of the descriptors are searched; the cost of the potential can be an objective and have a limit."""

    objectives: tuple[Literal["loss", "cost"], ...] = ("loss",)
    """What is minimized: the loss alone, or [loss, cost] for the whole front of accuracy against the time that an
    evaluation of the potential takes. That time is measured: the settings tried then differ between machines and
    runs, while a study that is resumed still goes on from what it has measured."""

    max_cost_us_per_atom: Positive | None = None
    """Longest time of an evaluation of energy, forces and stress in µs per atom; the best setting within it is
    chosen, or the cheapest, with a warning, where none is."""

    def searched(self) -> StudySettings:
        """Return the settings of the search, which knows the cost by the name it has among the metrics of a trial."""
        general = {name: getattr(self, name) for name in StudySettings.model_fields}
        names = {"cost": "cost_us_per_atom"}
        return StudySettings(**{**general, "objectives": tuple(names.get(name, name) for name in self.objectives)})

    @property
    def limits(self) -> dict[str, float]:
        """Limits of metrics that the chosen setting keeps to."""
        return {} if self.max_cost_us_per_atom is None else {"cost_us_per_atom": self.max_cost_us_per_atom}


class TuneConfig(BaseModel):
    """Everything `forcewright tune` needs."""

    model_config = _STRICT

    data: DataSettings
    model: dict[str, Any]
    """The family (`kind`) and its hyperparameters; a range may stand for every number."""
    output: Path
    """Folder for everything that comes out."""
    validation: ValidationSettings = ValidationSettings()
    weights: WeightSettings = WeightSettings()
    ridge: Positive | LogRange = LogRange(low=1e-12, high=1e-3)
    """Ridge in units of the normal equations, whose columns are scaled by the weights: those given, or the middle of
    their ranges. A ridge that was found beside ranges is therefore another number beside fixed weights."""
    prior: Literal["none", "free"] | tuple[float, ...] = "free"
    """How much harder rough columns of the basis are damped, where the family tells which are rough: exponents found
    with the weights (free), given numbers, or all columns alike (none)."""
    loss: LossSettings = LossSettings()
    study: TuneStudySettings = TuneStudySettings()
    search: SearchSettings = SearchSettings()
    reference_energies: Literal["auto", "least_squares", "isolated", "zero"] | dict[str, float] = "auto"
    """Energy of the isolated atoms: from isolated atoms in the data (isolated), by least squares, zero (codes whose
    zero of energy is the atom, such as VASP), given per element, or auto: isolated atoms if present, else least
    squares. With isolated atoms, zero or given energies the model's isolated atom has exactly that energy; with
    least squares each element gets a free constant."""
    protocol: Literal["honest", "xpot"] = "honest"
    """xpot: select on the test set, as XPOT does, whatever validation says; for comparison only."""
    workers: int | None = Field(default=None, ge=1)
    """Worker processes; as many as there are cores where not given. The result does not depend on it."""
    threads: int = Field(default=1, ge=1)
    """Threads of each fit of a family that has a fit of its own (such as GAP). More threads may change last digits."""
    cache_GB: float = Field(default=1.0, ge=0)
    """Size limit of the cache of design rows during a run."""

    @model_validator(mode="after")
    def _protocol(self) -> Self:
        if self.protocol == "xpot" and self.data.test is None:
            raise ValueError("protocol xpot selects on the test set; give data.test")
        return self


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
    config = validate(TuneConfig, content, file)
    try:
        split_model(config.model)
        _refuse_what_does_not_apply(config)
    except InputError as error:
        raise InputError(error.problem, file=file, field=error.field) from None

    def absolute(paths: list[Path] | None) -> list[Path] | None:
        return None if paths is None else [(folder / p).resolve() for p in paths]

    data = config.data.model_copy(update={"train": absolute(config.data.train), "test": absolute(config.data.test)})
    validation = config.validation.model_copy(update={"external": absolute(config.validation.external)})
    return config.model_copy(
        update={
            "data": data, "validation": validation, "output": (folder / config.output).resolve(),
            "model": _with_absolute_paths(config.model, folder),
        }
    )  # fmt: skip


def _with_absolute_paths(model: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a model's config with the files it names, such as a potential to start from, taken from a folder."""
    fields = model_class(str(model.get("kind", ""))).model_fields
    files = {name for name, field in fields.items() if Path in (field.annotation, *get_args(field.annotation))}
    return {
        name: str((folder / value).resolve()) if name in files and isinstance(value, str) else value
        for name, value in model.items()
    }


#: fields of `TuneConfig` that are about normal equations
LINEAR_ONLY = ("weights", "ridge", "prior", "search", "cache_GB")


def is_black_box(model: Mapping[str, Any]) -> bool:
    """Tell whether a model's family has a fit of its own, and no design rows that normal equations are made of."""
    return not hasattr(model_class(str(model.get("kind", ""))), "basis")


def applies(name: str, value: Any, model: Mapping[str, Any]) -> bool:
    """Tell whether a field of `TuneConfig` has a meaning for a model's family."""
    if not is_black_box(model):
        return True
    if name == "reference_energies":  # such a family settles its own
        return value in ("auto", "isolated")
    return name not in LINEAR_ONLY


def _refuse_what_does_not_apply(config: TuneConfig) -> None:
    """Refuse what is given explicitly and has no meaning for a family with a fit of its own."""
    if not is_black_box(config.model):
        return
    kind = config.model["kind"]
    for name in LINEAR_ONLY:
        if name in config.model_fields_set and name != "cache_GB":
            raise InputError(
                f"applies to linear families; {kind} has fields of its own under model, take {name} out", field=name
            )
    if config.validation.nested:
        raise InputError(
            f"would need a fit of {kind} for every pair of folds; take it out, or fit a linear family",
            field="validation.nested",
        )
    if not applies("reference_energies", config.reference_energies, config.model):
        raise InputError(
            f"cannot be given to {kind}, which settles its own; give isolated atoms among the training data",
            field="reference_energies",
        )


def split_model(model: Mapping[str, Any]) -> dict[str, Range]:
    """Return the search ranges in a model's config by dotted name, after checking the model at both their ends.

    Raises
    ------
    InputError
        If the family is unknown, a hyperparameter is unknown or out of bounds, or a range is malformed.
    """
    family = model_class(str(model.get("kind", "")))
    ranges: dict[str, Range] = {}

    def collect(items: Iterable[tuple[Any, Any]], prefix: str) -> None:
        for key, value in items:
            name = f"{prefix}{key}"
            if is_range(value):
                ranges[name] = parse_range(value, _takes_integers(family, name.split(".")), field=f"model.{name}")
            elif isinstance(value, Mapping):
                collect(value.items(), f"{name}.")
            elif isinstance(value, list):
                collect(enumerate(value), f"{name}.")

    collect(model.items(), "")
    for end in ("low", "high"):
        fill_model(model, {name: _end(r, end) for name, r in ranges.items()})
    return ranges


def _takes_integers(annotation: Any, place: Sequence[str]) -> bool:
    """Tell whether what stands at a place below an annotated field is a whole number."""
    if not place:
        return annotation is int
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        return place[0] in fields and _takes_integers(fields[place[0]].annotation, place[1:])
    inner = get_args(annotation)
    if get_origin(annotation) in (dict, list, tuple):
        return _takes_integers(inner[get_origin(annotation) is dict], place[1:])
    return any(_takes_integers(one, place) for one in inner)  # a union


def _end(r: Range, end: str) -> Any:
    if hasattr(r, "choices"):
        return r.choices[0] if end == "low" else r.choices[-1]
    return getattr(r, end)


def fill_model(model: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
    """Return the hyperparameters of the family with values in place of the ranges."""

    def fill(value: Any, name: str) -> Any:
        if name in params:
            return params[name]
        prefix = f"{name}." if name else ""
        if isinstance(value, Mapping):
            return {key: fill(part, f"{prefix}{key}") for key, part in value.items()}
        return [fill(part, f"{prefix}{k}") for k, part in enumerate(value)] if isinstance(value, list) else value

    family = model_class(str(model.get("kind", "")))
    try:
        return validate(family, fill(model, ""))
    except InputError as error:
        raise InputError(error.problem, field=f"model.{error.field}" if error.field else "model") from None
