"""Which settings stand in the config of each command, also where a key takes the settings of something chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel

from forcewright.fitting.settings import FitSettings
from forcewright.generation.steps import STEPS, RattleRelaxRepeat
from forcewright.models import families, family_of
from forcewright.models.baseline_settings import BaselineSettings
from forcewright.properties.dos_model import DosSettings
from forcewright.protocols.growth import GrowthSettings
from forcewright.protocols.schedules import SCHEDULES
from forcewright.recipes.ablate import AblationConfig
from forcewright.recipes.assess_config import AssessConfig
from forcewright.recipes.compare import ComparisonConfig
from forcewright.recipes.config import TuneConfig
from forcewright.recipes.distil import DistilConfig
from forcewright.recipes.dos_study import DosConfig
from forcewright.recipes.force_fields import ForceFieldSettings
from forcewright.recipes.generate import GenerateConfig
from forcewright.recipes.label import LabelConfig
from forcewright.recipes.learn import LearnConfig
from forcewright.recipes.learning_curve import LearningCurveConfig
from forcewright.recipes.pipeline import PipelineConfig
from forcewright.recipes.property_config import KernelCandidates, LinearCandidates
from forcewright.recipes.property_study import PropertyConfig
from forcewright.recipes.simulate import SimulateConfig
from forcewright.reference import ReferenceSettings
from forcewright.validation.physics import PROPERTIES, ValidationConfig

#: The settings of each command that reads a config; those of `tune` for properties beside the energy go
#: by tune-property, and for densities of states by tune-dos.
CONFIGS: Mapping[str, type[BaseModel]] = {
    "tune": TuneConfig, "fit": TuneConfig, "compare": ComparisonConfig, "learning-curve": LearningCurveConfig,
    "simulate": SimulateConfig, "validate": ValidationConfig, "label": LabelConfig, "generate": GenerateConfig,
    "learn": LearnConfig, "distil": DistilConfig, "assess": AssessConfig, "pipeline": PipelineConfig,
    "ablate": AblationConfig, "tune-property": PropertyConfig, "tune-dos": DosConfig,
}  # fmt: skip

#: Commands in whose models no range may stand.
WITHOUT_RANGES = ("fit", "learning-curve")


def command_of(name: str) -> str:
    """Return the command that reads a config of `CONFIGS`."""
    return "tune" if name in ("tune-property", "tune-dos") else name


@dataclass(frozen=True)
class Choice:
    """What may stand at a key that a settings model leaves open.

    Attributes
    ----------
    models
        Settings by name.
    key
        The key whose value is that name; None where one kind of settings is possible alone.
    also
        Whether a text, such as a path, may stand there too.
    part
        Whether only some of the settings need to stand there, as the rest comes from elsewhere.
    """

    models: Mapping[str, type[BaseModel]]
    key: str | None = None
    also: bool = False
    part: bool = False


def hyperparameters() -> dict[str, type[BaseModel]]:
    """Return the hyperparameters of every family that can be imported, by kind."""
    return {kind: family_of(kind).hyperparameters for kind in sorted(families())}


def searched() -> list[type[BaseModel]]:
    """Return the settings in which a range may stand in the place of every number and word."""
    return [*hyperparameters().values(), LinearCandidates, KernelCandidates, DosSettings]


def choices() -> dict[str, Choice]:
    """Return what may stand at keys that are open, by the name of the settings model and the key."""
    model = Choice(hyperparameters(), "kind")
    protocol = Choice({**dict(sorted(SCHEDULES.items())), "growth": GrowthSettings}, "kind")
    walk = Choice(dict(sorted(SCHEDULES.items())), "kind")
    steps = Choice(STEPS, "kind")
    force_field = Choice({"force field": ForceFieldSettings}, also=True)
    fit = Choice({"fit": FitSettings}, part=True)
    fits = Choice({"fit": FitSettings, "no fit": BaselineSettings}, also=True, part=True)
    return {
        "FitSettings.model": model, "TuneConfig.model": model, "LearnConfig.model": model,
        "FitSettings.baseline": Choice({"baseline": BaselineSettings}, also=True),
        "TuneConfig.baseline": Choice({"baseline": BaselineSettings}, also=True),
        "SimulateConfig.protocol": protocol, "WalkerSettings.protocol": walk,
        "GenerateConfig.recipes": steps, **{f"{step.__name__}.then": steps for step in STEPS.values()},
        "SimulateConfig.potential": force_field, "Relax.potential": force_field,
        "RattleRelaxRepeat.teacher": Choice({"reference": ReferenceSettings}, also=True),
        "HotElectronSettings.potential": force_field, "MolecularDynamics.potential": force_field,
        "ValidationConfig.potential": force_field,
        "ValidationConfig.reference": force_field,
        "AblationConfig.base": fit,
        "ComparisonConfig.families": fits, "ComparisonConfig.common": fit, "LearningCurveConfig.families": fit,
        "PropertyConfig.model": Choice({"linear": LinearCandidates, "kernel": KernelCandidates}),
        "DosConfig.model": Choice({"density of states": DosSettings}),
        "LearningCurveConfig.common": fit, "LearnConfig.fit": fit,
        "DistilConfig.teacher": Choice({"reference": ReferenceSettings}, also=True), "DistilConfig.student": fit,
        "DistilConfig.correction": fit, "DistilConfig.generate": Choice({"tree": RattleRelaxRepeat}, part=True),
        "DistilConfig.further": steps, "DistilConfig.physics": Choice({"validate": ValidationConfig}, part=True),
    }  # fmt: skip


#: Keys under which any keys may stand: what belongs to another program, or to the user, or a part of the base.
FREE = frozenset({
    "AblationConfig.changes", "LinearCandidates.alternatives", "KernelCandidates.alternatives",
    "CalculatorSettings.kwargs", "ReferenceSettings.kwargs", "ForceFieldSettings.kwargs", "Cp2kSettings.settings",
    "BaselineSettings.kwargs", "ReferenceSettings.offered", "VaspSettings.incar", "EspressoSettings.input",
    "Predicting.kwargs", "CommandModel.parameters", "PipelineConfig.stages",
})  # fmt: skip


@dataclass(frozen=True)
class Short:
    """A short form that a key takes as well, in words and as a JSON schema."""

    words: str
    schema: Mapping[str, Any]


_NUMBER = {"type": "number"}
_PATH = {"type": "string"}
_LIST = {"type": "array"}
_SINGLE_PATH = Short("one path for a list", _PATH)
_SINGLE_PATHS = Short("one path for a list", {"type": "object", "additionalProperties": {"anyOf": [_PATH, _LIST]}})
_OFF = Short("false for off", {"enum": [False, None]})  # YAML reads a plain off as false
_STRUCTURE = Short("a path for {file: …}, one number for three repeats", _PATH)
_ENDS = Short("one number for both ends", _NUMBER)

#: Short forms by the name of the settings model and the key.
SHORT_FORMS: Mapping[str, Short] = {
    "TuneConfig.validation": Short("5 for {kfold: 5}, 0.1 for {holdout: 0.1}", _NUMBER),
    "FitSettings.validation": Short("5 for {kfold: 5}, 0.1 for {holdout: 0.1}", _NUMBER),
    **{f"{name}.{key}": short for name in ("TuneConfig", "FitSettings") for key, short in {
        "prior": Short("free, none or a list of exponents, as earlier versions had them: with scale: data",
                       {"anyOf": [{"enum": ["free", "none", "basis", "data"]}, _LIST]}),
        "short_range": Short("on or off", {"type": "boolean"}),
        "stability": Short("on, auto or off", {"anyOf": [{"type": "boolean"}, {"enum": ["on", "auto"]},
                                                         {"type": "null"}]}),
        "committee": Short("8 for {members: 8}", {"type": "integer"}),
        "uncertainty": Short("one name for a list", {"type": "string"}),
    }.items()},
    "DataSettings.train": _SINGLE_PATH, "DataSettings.test": _SINGLE_PATH, "StudyValidation.external": _SINGLE_PATH,
    "ComparisonData.train": _SINGLE_PATH,
    "ComparisonData.test": Short(
        "a path or a list of paths for a set named test", {"anyOf": [_PATH, _LIST, {"type": "object"}]}
    ),
    "ComparisonConfig.families": Short("a list of folders, which are named by themselves", _LIST),
    "CurveData.train": _SINGLE_PATH, "CurveData.test": _SINGLE_PATH, "LabelConfig.structures": _SINGLE_PATH,
    **{f"{name}.executor": Short("dask or slurm for {dask: {}} or {slurm: {}}", {"enum": ["dask", "slurm"]})
       for name in ("TuneConfig", "FitSettings", "LabelConfig")},
    "ClusterSettings.dask": Short("tcp://… for {address: tcp://…}", _PATH),
    "GenerateConfig.files": _SINGLE_PATHS, "DistilConfig.files": _SINGLE_PATHS,
    "DistilConfig.labels": _SINGLE_PATH, "DistilConfig.test": _SINGLE_PATH,
    "Monitors.extrapolation_factor": _OFF, "Monitors.pair_distance": _OFF,
    "LearnConfig.start": _SINGLE_PATH, "LearnConfig.validation": _SINGLE_PATH,
    "LearnConfig.walkers": Short("one walker for a list", {"type": "object"}),
    "AssessConfig.sets": Short("a path or a list of paths for {files: …}", {"type": "object"}),
    "AssessConfig.models": Short("a path for {potential: …}, {xtb: …} for {computed: {xtb: …}}", {"type": "object"}),
    "AssessConfig.novelty": Short("a path or a list of paths for {training: …}", {"anyOf": [_PATH, _LIST]}),
    "PropertyData.train": _SINGLE_PATH, "PropertyData.test": _SINGLE_PATH, "NoveltySettings.training": _SINGLE_PATH,
    "SetSettings.files": _SINGLE_PATH,
    "ModelSettings.potential": _SINGLE_PATH,
    "SimulateConfig.structure": _STRUCTURE, "ValidationConfig.structure": _STRUCTURE,
    "PhysicsSearchSettings.structure": _STRUCTURE,
    "GenerateConfig.structures": _STRUCTURE, "WalkerSettings.structure": _STRUCTURE,
    "StructureSettings.repeat": Short("2 for [2, 2, 2]", {"type": "integer"}),
    "Stage.temperature_K": _ENDS, "Stage.pressure_GPa": _ENDS,
    "PackingSettings.volume_per_atom_A3": _ENDS, "PackingSettings.density_g_per_cm3": _ENDS,
    "CalculatorSettings.xtb": Short("GFN1-xTB for {method: GFN1-xTB}", {"type": "string"}),
    **{f"PropertiesSettings.{name}": Short("true for the defaults", {"anyOf": [{"type": "boolean"}, _LIST]})
       for name in PROPERTIES},
}  # fmt: skip


def short_form(owner: type[BaseModel], key: str) -> Short | None:
    """Return the short form of a key of a settings model or of one it derives from."""
    return cast(Short | None, _of(SHORT_FORMS, owner, key))


def choice(owner: type[BaseModel], key: str, known: Mapping[str, Choice]) -> Choice | None:
    """Return what may stand at an open key; ``known`` is what `choices` returned."""
    return cast(Choice | None, _of(known, owner, key))


def _of(table: Mapping[str, Any], owner: type[BaseModel], key: str) -> Any:
    names = (f"{kind.__name__}.{key}" for kind in owner.__mro__)
    return next((table[name] for name in names if name in table), None)
