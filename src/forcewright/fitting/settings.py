"""Everything that decides a fit beside its data: hyperparameters, weights, ridge, loss, validation, search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from forcewright.errors import InputError
from forcewright.execution.settings import ExecutorSettings
from forcewright.models import family_of
from forcewright.models.family import Family
from forcewright.optimize.settings import StudySettings
from forcewright.potential import Potential

STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

Positive = Annotated[float, Field(gt=0)]


class ValidationSettings(BaseModel):
    """What the loss is measured on, where no set of its own is: folds of the training data, or a part held back."""

    model_config = STRICT

    kfold: int | None = Field(default=None, ge=2)
    """Number of folds of the training data; each is predicted by a fit to the others."""
    holdout: float | None = Field(default=None, gt=0, lt=1)
    """Share of the training data held back; the final fit uses all of it."""
    leave_out: Literal["groups"] | dict[str, list[str]] | None = None
    """Leave whole groups out in turn: each group of the training data, or named sets of groups such as
    {MoTa: [MoTa_SS]}; each is predicted by a fit that has seen none of it. Frames in no set are dealt to kfold folds
    (5 where not given), for which all the sets are fitted."""
    nested: bool = False
    """With kfold: also redo the whole selection inside each fold, for an error free of selection bias."""

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.kfold is not None and self.holdout is not None:
            raise ValueError("has kfold and holdout; give one of them")
        if self.nested and self.holdout is not None:
            raise ValueError("nested needs kfold")
        if self.leave_out is not None and self.holdout is not None:
            raise ValueError("has leave_out and holdout; give one of them")
        if self.leave_out == "groups" and self.kfold is not None:
            raise ValueError(
                "leave_out: groups leaves no frame for kfold; take it out, or name the groups to leave out"
            )
        return self


class LogRange(BaseModel):
    """A range searched on a logarithmic scale."""

    model_config = STRICT

    low: float = Field(gt=0)
    """Lower end of the range."""
    high: float = Field(gt=0)
    """Upper end of the range."""
    log: Literal[True] = True
    """Always true here: the range is searched on a logarithmic scale."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class GroupWeights(BaseModel):
    """Weights of one group that differ from the others'."""

    model_config = STRICT

    energy: Positive | LogRange | None = None
    """Weight of the group's energies per atom (eV), or a range; the weight of all groups where not given."""
    force: Positive | LogRange | None = None
    """Weight of the group's force components (eV/Å), or a range; the weight of all groups where not given."""
    stress: Positive | LogRange | None = None
    """Weight of the group's virials per atom (eV), or a range; the weight of all groups where not given."""


def _named(groups: Any) -> Any:
    """Take numbers, as YAML reads them, for names of groups."""
    if not isinstance(groups, Mapping):
        return groups
    return {str(name) if type(name) in (int, float) else name: weights for name, weights in groups.items()}


#: Stands for the groups that share their weights.
SHARED = "(all)"


class WeightSettings(BaseModel):
    """Row weights of the fit: of energies per atom (eV), force components (eV/Å) and virials per atom (eV)."""

    model_config = STRICT

    energy: Positive | LogRange | None = LogRange(low=100, high=15000)
    """Weight of energies per atom, or a range that is searched. null: energies settle their zero alone (a constant of
    each element, where those are free)."""
    force: Positive | LogRange | None = LogRange(low=0.1, high=500)
    """Weight of force components, or a range that is searched. null: forces are not fitted."""
    stress: Literal["auto"] | Positive | LogRange | None = "auto"
    """Weight of virials per atom, or a range that is searched. auto: searched from 1 to 10,000 where frames have
    stresses; null: stresses are not fitted."""
    by: Literal["group", "all"] = "group"
    """Whether every group has weights of its own or all share one."""
    groups: Annotated[dict[str, GroupWeights], BeforeValidator(_named)] = Field(default_factory=dict)
    """Groups whose weights are given apart."""

    def group_of(self, group: str) -> str:
        """Return the group whose weights the frames of a group have: its own, or `SHARED`."""
        return group if self.by == "group" or group in self.groups else SHARED

    def of(self, group: str, name: str) -> tuple[float | LogRange | None, str]:
        """Return the weight or range of a property of a group, and the name under which terms share it."""
        if group in self.groups and (value := getattr(self.groups[group], name)) is not None:
            return value, f"{group}/{name}"
        return getattr(self, name), f"{group}/{name}" if self.by == "group" else name

    def fits(self, name: str) -> bool:
        """Whether a property of some group has a weight."""
        return any(getattr(weights, name) is not None for weights in (self, *self.groups.values()))

    @property
    def fits_stress(self) -> bool:
        """Whether the stresses of some group have a weight."""
        return self.fits("stress")


#: share of the energy in the loss where nothing else is said
ALPHA = 0.75


NotNegative = Annotated[float, Field(ge=0)]


class PriorSettings(BaseModel):
    """How much harder some coefficients of a linear model are damped than others."""

    model_config = STRICT

    scale: Literal["basis", "data"] = "basis"
    """Units of the ridge: forces that the functions make in random packings of the elements (basis), or the norms of
    their columns in the training data (data), as it was before there was a choice."""
    smoothness: Literal["none", "free"] | tuple[float, ...] = "free"
    """Exponents by which rough functions are damped harder, where the family tells which are rough: searched with the
    weights (free), numbers, or none."""
    sharing: Literal["none", "free"] | NotNegative | tuple[NotNegative, ...] = (2.5, 1.7)
    """Exponents by which parts are damped harder that tell like elements apart: of neighbors and of the center, or one
    number for both (the defaults predict each binary of Nb, Mo, Ta and W best from all the others); searched with the
    weights (free), or none. It takes validation.leave_out to search them for what they are for. Only with scale:
    basis."""

    @model_validator(mode="before")
    @classmethod
    def _without_sharing(cls, content: Any) -> Any:
        """With scale: data nothing is shared; what is written out can be read back."""
        if isinstance(content, dict) and content.get("scale") == "data" and "sharing" not in content:
            return {**content, "sharing": "none"}
        return content

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.scale == "basis" and isinstance(self.smoothness, tuple) and min(self.smoothness, default=0.0) < 0:
            raise ValueError("smoothness has negative exponents, which would damp smooth functions harder")
        if self.scale == "data" and self.sharing != "none":
            raise ValueError("sharing needs scale: basis")
        return self

    @model_serializer(mode="wrap")
    def _without_what_has_no_meaning(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out sharing where it cannot be: what is written can be read."""
        return {name: value for name, value in handler(self).items() if self.scale == "basis" or name != "sharing"}


def _prior_of(value: Any) -> Any:
    """Take what earlier versions had, which scaled by the data: free, none, or exponents."""
    if isinstance(value, str):
        return {"scale": "data", "smoothness": value} if value in ("free", "none") else {"scale": value}
    if isinstance(value, list | tuple):
        return {"scale": "data", "smoothness": value}
    return value


class TargetAccuracy(BaseModel):
    """Accuracies wanted.

    With those of energy and force, α makes both contribute evenly to the loss at these errors. That of the stress is
    what `LossSettings.stress` takes where it is auto; it may stand alone, and α is then 0.75.
    """

    model_config = STRICT

    energy_meV_per_atom: float | None = Field(default=None, gt=0)
    """Energy error wanted; goes together with force_eV_per_A."""
    force_eV_per_A: float | None = Field(default=None, gt=0)
    """Force error wanted; goes together with energy_meV_per_atom."""
    stress_GPa: float | None = Field(default=None, gt=0)
    """Stress error wanted; 0.1 GPa where not given."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.energy_meV_per_atom is None) != (self.force_eV_per_A is None):
            raise ValueError("energy_meV_per_atom and force_eV_per_A go together; give both, or stress_GPa alone")
        if self.energy_meV_per_atom is None and self.stress_GPa is None:
            raise ValueError("names no accuracy; give energy_meV_per_atom and force_eV_per_A, stress_GPa, or all three")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_open(self, handler: SerializerFunctionWrapHandler) -> dict[str, float]:
        """Leave out what is not given: studies know their config by its content, whose keys stay those of before."""
        return {name: value for name, value in handler(self).items() if value is not None}


class LossSettings(BaseModel):
    """What is minimized: α·(energy error per √N) + (1 - α)·(force error); du Toit 2025, equation 3.4."""

    model_config = STRICT

    metric: Literal["rmse", "mae", "huber"] = "rmse"
    """How errors are averaged. Weights and ridge are always searched on the RMSE, which normal equations give."""
    alpha: Annotated[float, Field(ge=0, le=1)] | TargetAccuracy = ALPHA
    """Share of the energy, or the accuracies wanted: {energy_meV_per_atom: 2, force_eV_per_A: 0.1, stress_GPa: 0.1}."""
    stress: Literal["auto"] | Annotated[float, Field(ge=0)] | None = "auto"
    """Coefficient of the virial error per √N (eV) in the loss; null or 0 counts no stress. auto: where stresses are
    fitted, the one at which the stress error wanted (0.1 GPa unless alpha says another) counts as much as the force
    error wanted (0.03 eV/Å unless alpha says another), at the volumes of the training frames."""
    huber_delta: float = Field(default=0.1, gt=0)
    """Error in eV (energy per √N) and eV/Å (force) at which Huber's loss turns from squared to absolute."""


class SearchSettings(BaseModel):
    """The search for weights and ridge inside every trial."""

    model_config = STRICT

    starts: int = Field(default=6, ge=1)
    """Descents from different points."""
    evaluations: int = Field(default=50, ge=1)
    """Weight/ridge trials per descent at most."""
    caution: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto"
    """By which fraction the validation loss may rise for a ridge ten times as large, once weights are found. The least
    loss (0) says nothing for directions in which no data lie: there a larger ridge keeps coefficients small. auto: 0.03
    where elements share coefficients, whose data never hold all that may meet, and else 0.01."""


class TuneStudySettings(StudySettings):
    """How hyperparameters are searched; the cost of the potential can be an objective and have a limit."""

    objectives: tuple[Literal["loss", "cost"], ...] = ("loss",)
    """What is minimized: the loss alone, or [loss, cost] for the whole front of accuracy against the time that an
    evaluation of the potential takes. That time (CPU time of one thread) is measured: the trials then differ between
    machines and runs, while a study that is resumed still goes on from what it has measured."""

    max_cost_us_per_atom: Positive | None = None
    """Longest CPU time of an evaluation of energy, forces and stress in µs per atom; the best trial within it is
    chosen, or the cheapest, with a warning, where none is."""

    def searched(self) -> StudySettings:
        """Return the settings of the search, which knows the cost by the name it has among the metrics of a trial."""
        general = {name: getattr(self, name) for name in StudySettings.model_fields}
        objectives = tuple("cost_us_per_atom" if name == "cost" else name for name in self.objectives)
        return StudySettings(**{**general, "objectives": objectives})

    @property
    def limits(self) -> dict[str, float]:
        """Limits of metrics that the chosen trial keeps to."""
        return {} if self.max_cost_us_per_atom is None else {"cost_us_per_atom": self.max_cost_us_per_atom}


class CommitteeSettings(BaseModel):
    """Further fits of the chosen hyperparameters that together tell how sure a prediction is."""

    model_config = STRICT

    members: int = Field(default=8, ge=2, le=1_000)
    """Number of potentials; with by: folds as many as there are folds."""
    by: Literal["bootstrap", "folds"] = "bootstrap"
    """Bayesian bootstrap over blocks of frames, or the fits that leave out each fold."""
    blocks: int = Field(default=20, ge=20, le=10_000)
    """Blocks of frames that the bootstrap weights, at least; memory grows with them."""


def validation_of(value: Any) -> Any:
    """Take a number of folds, or a share held back, for the settings."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return {"kfold": value} if isinstance(value, int) else {"holdout": value}


#: Kinds of uncertainty that a fit can be asked for.
FittedKind = Literal["committee", "standard_error", "distance", "rematch"]


def _kinds_of(value: Any) -> Any:
    """Take the name of one kind for a list."""
    return (value,) if isinstance(value, str) else value


def _committee_of(value: Any) -> Any:
    """Take a number of members for the settings."""
    return {"members": value} if isinstance(value, int) and not isinstance(value, bool) else value


class StabilitySettings(BaseModel):
    """How a fitted potential is probed for holes: pairs of atoms, packings, short runs of dynamics."""

    model_config = STRICT

    temperature_K: Positive | None = None
    """Temperature of the runs at constant pressure, 1,000 K by default; those at constant volume have 1.5 times it."""
    runs: int = Field(default=20, ge=0, le=10_000)
    """Number of runs of dynamics."""
    time_ps: float = Field(default=1.0, gt=0, le=10_000)
    """How long each of them is."""
    packings: int = Field(default=20, ge=0, le=10_000)
    """Number of packings that are relaxed."""
    budget_s: Positive | None = None
    """Wall time in seconds; a minute or a tenth of the study by default, whichever is longer."""
    seed: int | None = Field(default=None, ge=0)
    """Seed of packings and velocities; that of the study by default."""

    @property
    def kelvin(self) -> float:
        """The temperature that applies."""
        return self.temperature_K or 1000.0


def _switch_of(value: Any) -> Any:
    """Take what YAML makes of off and on for the words."""
    return {True: "auto", False: "off"}[value] if isinstance(value, bool) else value


def _stability_of(value: Any) -> Any:
    """Take on, auto and nothing for the defaults, and what YAML makes of off."""
    value = _switch_of(value)
    return {} if value is None or value in ("auto", "on") else value


class FitSettings(BaseModel):
    """Everything that decides a fit beside its data."""

    model_config = STRICT

    model: dict[str, Any]
    """The family (`kind`) and its hyperparameters; a range may stand for every number."""
    baseline: str | dict[str, Any] | InstanceOf[Potential] | None = None
    """What is fitted on top of: a saved potential, or {lammps: {pair_style: …, pair_coeff: …, charges: …}}, such as
    point charges. Its energies, forces and stresses are subtracted from the labels and added back by the potential."""
    validation: Annotated[ValidationSettings, BeforeValidator(validation_of)] = ValidationSettings()
    """What the loss is measured on."""
    weights: WeightSettings = WeightSettings()
    """Row weights of the fit; for linear families."""
    ridge: Positive | LogRange = LogRange(low=1e-12, high=1e-3)
    """Ridge λ: the damping of a function that makes forces of 1 eV/Å, relative to the sum of all squared weights of
    rows; it means the same beside ranges of weights and beside numbers. With prior.scale: data it is in units of the
    normal equations, scaled by the weights or the middle of their ranges, as in earlier versions."""
    prior: Annotated[PriorSettings, BeforeValidator(_prior_of)] = PriorSettings()
    """How much harder some coefficients are damped than others."""
    loss: LossSettings = LossSettings()
    """What is minimized."""
    study: TuneStudySettings = TuneStudySettings()
    """How hyperparameters are searched."""
    search: SearchSettings = SearchSettings()
    """The search for weights and ridge inside every trial; for linear families."""
    reference_energies: Literal["auto", "least_squares", "isolated", "zero"] | dict[str, float] = "auto"
    """Energy of the isolated atoms: from isolated atoms in the data (isolated), by least squares, zero (codes whose
    zero of energy is the atom, such as VASP), given per element, or auto: isolated atoms if present, else least
    squares. With isolated atoms, zero or given energies the model's isolated atom has exactly that energy; with
    least squares the energy of each element's atom is fitted."""
    short_range: Annotated[Literal["auto", "off"], BeforeValidator(_switch_of)] = "auto"
    """Whether pairs of atoms are made to repel each other below their shortest distances in the training data (auto);
    for linear families."""
    stability: Annotated[StabilitySettings | Literal["off"], BeforeValidator(_stability_of)] = StabilitySettings()
    """How the potential is probed for holes once it is fitted, or off."""
    protocol: Literal["honest", "xpot"] = "honest"
    """xpot: select on the test set, as XPOT does, whatever validation says; for comparison only."""
    committee: Annotated[CommitteeSettings | None, BeforeValidator(_committee_of)] = None
    """Fit a committee of potentials as well; for linear families."""
    uncertainty: Annotated[tuple[FittedKind, ...], BeforeValidator(_kinds_of)] = ()
    """Kinds of uncertainty that are calibrated on frames held back, beside the grades or variance that the family has
    anyway: standard_error and committee (linear families), distance and rematch (all)."""
    workers: int | None = Field(default=None, ge=1)
    """Worker processes; as many as there are cores where not given. The result does not depend on it."""
    executor: ExecutorSettings = "local"
    """Where trials run: local (processes of this machine), dask, {dask: {address: …}} or {slurm: {…}}. The result does
    not depend on it."""
    threads: int = Field(default=1, ge=1)
    """Threads of each fit of a family that has a fit of its own (such as GAP). More threads may change last digits."""
    cache_GB: float = Field(default=1.0, ge=0, le=1e6)
    """Size limit of the cache of design rows during a run."""

    @property
    def family(self) -> Family:
        """The family of the model."""
        return family_of(str(self.model.get("kind", "")))

    @property
    def kinds(self) -> tuple[FittedKind, ...]:
        """The kinds of uncertainty that are asked for, a committee among them where its settings are given."""
        named = dict.fromkeys([*self.uncertainty, *(["committee"] if self.committee else [])])
        return tuple(named)  # type: ignore[arg-type]

    @property
    def committee_settings(self) -> CommitteeSettings:
        """The settings of a committee, its defaults where none are given."""
        return self.committee or CommitteeSettings()

    @property
    def left_out(self) -> tuple[str, ...]:
        """Labels that are not fitted, though frames may have them."""
        names = {"energy": "energy", "force": "forces", "stress": "stress"}
        return tuple(label for name, label in names.items() if not self.weights.fits(name))

    @property
    def program(self) -> Mapping[str, Any] | bool:
        """What potentials of this model may run, as `forcewright.models.load` allows it: False for nothing."""
        return False if self.family.describe_program is None else self.model

    def refuse_what_does_not_apply(self) -> None:
        """Refuse what was given explicitly and has no meaning for the family.

        Raises
        ------
        InputError
            Names the field.
        """
        if self.family.is_linear:
            return
        kind = self.family.kind
        if linear := [name for name in self.uncertainty if name not in ("distance", "rematch")]:
            problem = f"has {linear[0]}, which linear families know; {kind} can have distance"
            raise InputError(problem, field="uncertainty")
        for name in LINEAR_ONLY:
            if (
                name in self.model_fields_set
                and name != "cache_GB"
                and not applies(name, getattr(self, name), self.family)
            ):
                raise InputError(
                    f"applies to linear families; {kind} has fields of its own under model, take {name} out"
                    + (" (null, which leaves a label out, applies to all)" if name == "weights" else ""),
                    field=name,
                )
        if self.validation.nested:
            raise InputError(
                f"would need a fit of {kind} for every pair of folds; take it out, or fit a linear family",
                field="validation.nested",
            )
        if not applies("reference_energies", self.reference_energies, self.family):
            raise InputError(
                f"cannot be given to {kind}, which settles its own; give isolated atoms among the training data",
                field="reference_energies",
            )


#: fields of `FitSettings` that are about normal equations
LINEAR_ONLY = ("weights", "ridge", "prior", "search", "short_range", "committee", "cache_GB")


def applies(name: str, value: Any, family: Family) -> bool:
    """Tell whether a field of `FitSettings` has a meaning for a family."""
    if family.is_linear:
        return True
    if name == "reference_energies":  # such a family settles its own
        return value in ("auto", "isolated")
    if name == "weights":  # null leaves a label out of any fit
        stated = value.model_dump(include=value.model_fields_set) if isinstance(value, WeightSettings) else value
        return isinstance(stated, Mapping) and bool(stated) and all(weight is None for weight in stated.values())
    return name not in LINEAR_ONLY
