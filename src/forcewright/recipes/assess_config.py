"""The config of an assessment: sets with labels of a reference, and models that are compared with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from forcewright.accuracy.alignment import Alignment
from forcewright.configs import StrictModel
from forcewright.protocols.structures import StructureSource
from forcewright.recipes.config import Name, Paths
from forcewright.reference import ReferenceSettings
from forcewright.reference.offered import offered_names

_SEED = "{seed}"


def _files_alone(value: Any) -> Any:
    return {"files": value} if isinstance(value, str | Path | list) else value


class SetSettings(StrictModel):
    """One set; a path or a list of paths alone is short for files."""

    files: Paths
    """File or files with labels of the reference."""
    family: Name | None = None
    """What it belongs to, for errors and ranks over several sets; its own name where not given."""
    labels: dict[str, str] | None = None
    """Names of the labels in the files, such as {energy: castep_energy, forces: castep_forces}; those of the whole
    config where not given."""
    alignment: Alignment | None = None
    """How energies are made comparable; that of the whole config where not given."""
    path: bool = False
    """Whether the frames are the points of a reaction, in their order: barriers are then compared."""
    same_atoms: bool | None = None
    """Whether atoms of one index are the same atom in all frames; seen from elements and bonds where not given."""


def _model(value: Any) -> Any:
    """Take a path for a potential, and what is known of a reference for one."""
    if isinstance(value, str | Path | list):
        return {"potential": value}
    if not isinstance(value, Mapping):
        return value
    known = (set(ReferenceSettings.model_fields) - {"potential"}) | offered_names()
    computed = {key: part for key, part in value.items() if key in known}
    return {**{k: v for k, v in value.items() if k not in known}, **({"computed": computed} if computed else {})}


class ModelSettings(StrictModel):
    """A model: predictions in files, one or several saved potentials, or what else computes energies and forces."""

    energy: str | None = None
    """Key that its energies stand under in the files of the sets; with {seed} where it has several seeds."""
    forces: str | None = None
    """Key of its forces."""
    seeds: list[int | str] = Field(default_factory=list)
    """What stands in place of {seed}, one after the other."""
    files: dict[str, Paths] = Field(default_factory=dict)
    """By set: other files with its predictions of the same frames."""
    potential: Paths = Field(default_factory=list)
    """A saved potential, or several that differ by their seeds."""
    computed: ReferenceSettings | None = None
    """What stands behind reference: elsewhere: {xtb: GFN2-xTB}, {ase: module:factory}, {lammps: …}."""
    sets: list[str] | None = None
    """The sets that it is assessed on; all where not given."""

    @property
    def is_stored(self) -> bool:
        """Whether its predictions stand in files."""
        return self.energy is not None or self.forces is not None

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> Self:
        kinds = [self.is_stored, bool(self.potential), self.computed is not None]
        if sum(kinds) != 1:
            raise ValueError(
                "is a path of a potential, keys of predictions in files (energy, forces), or one of xtb, lammps, ase "
                "and pretrained"
            )
        if (self.seeds or self.files) and not self.is_stored:
            raise ValueError(
                "has seeds or files, which are for predictions in files; give their keys, energy and forces"
            )
        keys = [key for key in (self.energy, self.forces) if key is not None]
        if bool(self.seeds) != any(_SEED in key for key in keys):
            raise ValueError(f"has seeds and no key with {_SEED}, or the other way round; give both or neither")
        if self.seeds and not all(_SEED in key for key in keys):
            raise ValueError(f"has a key without {_SEED} beside one with it; both need it")
        return self

    def keys(self) -> list[dict[str, str]]:
        """Return the keys of energy and forces, for each seed."""
        chosen = {name: key for name, key in (("energy", self.energy), ("forces", self.forces)) if key is not None}
        return [{name: key.replace(_SEED, str(seed)) for name, key in chosen.items()} for seed in self.seeds or [""]]


class SpectrumSettings(StrictModel):
    """Spectra in files of two columns, frequency and value: a reference's and those of models by name."""

    reference: Path
    """That of the reference."""
    models: dict[Name, Path] = Field(min_length=1)
    """Those of models."""


class VibrationSettings(StrictModel):
    """Vibrations of a molecule that models and a reference compute here."""

    structure: StructureSource
    """The molecule: a file, or {molecule: H2O}; each method relaxes it first."""
    reference: ReferenceSettings
    """What is right, such as {xtb: GFN2-xTB}."""
    models: list[str] | None = None
    """Models that are compared; all that compute energies and forces where not given."""
    displacement_A: float = Field(default=0.01, gt=0)
    """By which atoms are displaced."""
    width_THz: float = Field(default=0.3, gt=0)
    """Standard deviation of the Gaussians of the density of states."""


class NoveltySettings(StrictModel):
    """What novelty is measured against; a path or a list of paths alone is short for training."""

    training: Paths
    """Files of the frames that a model was trained on; labels are not looked at."""


class AssessConfig(StrictModel):
    """Everything `forcewright assess` needs; paths are relative to the file."""

    sets: dict[Name, Annotated[SetSettings, BeforeValidator(_files_alone)]] = Field(default_factory=dict)
    """By name."""
    models: dict[Name, Annotated[ModelSettings, BeforeValidator(_model)]] = Field(default_factory=dict)
    """By name."""
    reference: str = "the reference"
    """Name of what the labels are by."""
    labels: dict[str, str] | None = None
    """Names of the labels in all files."""
    alignment: Alignment = "first_frame"
    """How energies are made comparable: none, first_frame, constant (a mean per atom of each set) or per_element
    (a constant for each element over all sets)."""
    novelty: Annotated[NoveltySettings, BeforeValidator(
        lambda value: {"training": value} if isinstance(value, str | Path | list) else value
    )] | None = None  # fmt: skip
    """Training set that novelty is measured against."""
    spectra: dict[Name, SpectrumSettings] = Field(default_factory=dict)
    """By molecule: vibrational spectra in files."""
    vibrations: dict[Name, VibrationSettings] = Field(default_factory=dict)
    """By molecule: vibrations that are computed."""
    workers: int = Field(default=1, ge=0)
    """Processes that compute predictions; 0 for none beside this one."""
    seed: int = Field(default=0, ge=0)
    """Of the frames and seeds that are drawn for intervals."""
    output: Path
    """Folder for everything that comes out."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.sets and not self.spectra and not self.vibrations:
            raise ValueError("has no sets and no spectra; give sets and models, spectra, or vibrations and models")
        if bool(self.sets or self.vibrations) != bool(self.models):
            raise ValueError(
                "has sets or vibrations without models, or models without both; give both, or spectra alone"
            )
        if both := sorted(set(self.spectra) & set(self.vibrations)):
            raise ValueError(f"has {both[0]!r} under spectra and under vibrations; give them different names")
        for molecule, entry in self.vibrations.items():
            for other in entry.models or []:
                if other not in self.models or self.models[other].is_stored:
                    raise ValueError(f"has no model {other!r} that computes forces, which vibrations.{molecule} names")
        for name, model in self.models.items():
            for other in [*model.files, *(model.sets or [])]:
                if other not in self.sets:
                    raise ValueError(f"has no set {other!r}, which the model {name!r} names")
        return self
