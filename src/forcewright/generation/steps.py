"""The functions of this package as steps: the entries of ``recipes`` in a config.

A step makes structures from one structure, or from nothing. `STEPS` lists them by their ``kind`` in a config.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from forcewright.errors import InputError
from forcewright.generation.dimers import dimers
from forcewright.generation.distortions import rattle, strain, strain_along_modes, supercells, volume_scan
from forcewright.generation.fragments import fragments
from forcewright.generation.generated import Generated, generated
from forcewright.generation.molecular_dynamics import sample_md
from forcewright.generation.point_defects import interstitials, vacancies, x2_interstitials, x_vacancies
from forcewright.generation.random_structures import random_structures
from forcewright.generation.rattle_relax_repeat import Teacher, rattle_relax_repeat
from forcewright.potential import Potential
from forcewright.protocols.relaxation import relax
from forcewright.simulation import ForceField, Stage
from forcewright.structure import Structure
from forcewright.uncertainty import Kind, judge, uncertainty_of


@dataclass(frozen=True)
class Sources:
    """What entries of a config stand for.

    Attributes
    ----------
    force_field
        Turns the entry ``potential`` into a force field.
    teacher
        Turns the entry ``teacher``, and a number of workers, into what computes several structures at a time.
    student
        Reads the potential at a path.
    """

    force_field: Callable[[str | Mapping[str, Any]], ForceField]
    teacher: Callable[[str | Mapping[str, Any], int], Teacher]
    student: Callable[[Path], Potential]


Count = Annotated[int, Field(ge=1)]
Range = tuple[float, float]


class Step(BaseModel):
    """What all steps share."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    needs_start: ClassVar[bool] = True
    function: ClassVar[Callable[..., Iterator[Generated]]]

    kind: str
    """The kind of step."""
    of: list[str] | None = None
    """Names of the structures to start from; all of them by default."""
    group: str | None = None
    """Group of the structures made; by default composed of the names of the start and the step."""
    then: list[dict[str, Any]] = Field(default_factory=list)
    """Steps that start from the structures this one makes, which are then not written themselves."""
    keep: bool = False
    """Write the structures of this step even if other steps start from them."""

    def make(
        self, start: Structure | None, group: str, rng: np.random.Generator, sources: Sources
    ) -> Iterator[Generated]:
        """Yield the structures this step makes from a structure: by default its fields are the function's arguments."""
        function = type(self).function
        arguments = {name: getattr(self, name) for name in type(self).model_fields if name not in Step.model_fields}
        if self.needs_start:
            arguments["structure"] = _needed(start)
        if "rng" in signature(function).parameters:
            arguments["rng"] = rng
        return function(**arguments, group=group)


def _needed(start: Structure | None) -> Structure:
    if start is None:
        raise InputError("needs a structure to start from; give structures")
    return start


class Unchanged(Step):
    """The structure as it is."""

    kind: Literal["unchanged"] = "unchanged"
    """The kind of step."""

    def make(self, start, group, rng, sources):  # type: ignore[no-untyped-def]  # noqa: D102
        return iter([generated(_needed(start), "unchanged", start, group=group)])


class Rattle(Step):
    """Normal displacements."""

    function = rattle
    kind: Literal["rattle"] = "rattle"
    """The kind of step."""
    amplitudes_A: list[float]
    """Standard deviations of a coordinate."""
    count: Count = 1
    """Structures for each amplitude."""


class Strain(Step):
    """Random strains, or strains along named modes."""

    kind: Literal["strain"] = "strain"
    """The kind of step."""
    largest: float | None = None
    """Bound of random components; with count."""
    count: Count = 1
    """Number of random strains."""
    modes: list[str] = Field(default_factory=list)
    """Modes by name instead; with amplitudes."""
    amplitudes: list[float] = Field(default_factory=list)
    """Amplitudes for every mode."""

    def make(self, start, group, rng, sources):  # type: ignore[no-untyped-def]  # noqa: D102
        if (self.largest is None) == (not self.modes):
            raise InputError("needs either largest, for random strains, or modes and amplitudes")
        if self.largest is not None:
            return strain(_needed(start), self.largest, self.count, rng, group=group)
        return strain_along_modes(_needed(start), self.modes, self.amplitudes, group=group)


class VolumeScan(Step):
    """Evenly spaced volumes."""

    kind: Literal["volume_scan"] = "volume_scan"
    """The kind of step."""
    factors: Range = (0.9, 1.1)
    """First and last volume as factors."""
    count: Count = 11
    """Number of volumes."""

    def make(self, start, group, rng, sources):  # type: ignore[no-untyped-def]  # noqa: D102
        return volume_scan(_needed(start), *self.factors, self.count, group=group)


class Supercell(Step):
    """The cell repeated."""

    function = supercells
    kind: Literal["supercell"] = "supercell"
    """The kind of step."""
    repeats: list[int | tuple[int, int, int]]
    """How often, along all vectors or each."""


class Vacancy(Step):
    """Atoms removed."""

    function = vacancies
    kind: Literal["vacancy"] = "vacancy"
    """The kind of step."""
    number: Count = 1
    """How many atoms of each structure."""
    count: Count = 1
    """Number of structures."""
    species: str | None = None
    """Element of the removed atoms."""


class Separated(Step):
    """What steps that add atoms share."""

    separations: float | dict[str, float] | None = None
    """Smallest distances in Å, for all pairs or per pair such as {C-H: 0.9}."""
    factor: float = Field(default=0.7, gt=0)
    """Share of the sum of covalent radii for other pairs."""


class Interstitial(Separated):
    """Atoms added."""

    function = interstitials
    kind: Literal["interstitial"] = "interstitial"
    """The kind of step."""
    species: str
    """Element."""
    number: Count = 1
    """How many in each structure."""
    count: Count = 1
    """Number of structures."""
    sites: Literal["random", "voids"] = "random"
    """Anywhere, or in the largest voids."""


class XVacancy(Step):
    """An atom replaced and a neighbor removed: HV, NV, SiV."""

    function = x_vacancies
    kind: Literal["x_vacancy"] = "x_vacancy"
    """The kind of step."""
    species: str
    """The element X."""
    count: Count = 1
    """Number of structures."""
    host: str | None = None
    """Which element is replaced."""
    center: int | None = Field(default=None, ge=0)
    """Which atom is replaced."""


class X2Interstitial(XVacancy):
    """The pair X2*: one atom in a bond, one behind it."""

    function = x2_interstitials
    kind: Literal["x2_interstitial"] = "x2_interstitial"  # type: ignore[assignment]
    """The kind of step."""
    bond_A: float | None = Field(default=None, gt=0)
    """Distance of X from its neighbor; the sum of covalent radii by default."""


class Dimers(Step):
    """Two atoms at a grid of distances."""

    needs_start: ClassVar[bool] = False
    kind: Literal["dimers"] = "dimers"
    """The kind of step."""
    species: list[str]
    """Elements; every pair of them is made."""
    distances_A: Range
    """Shortest and longest distance."""
    count: Count = 20
    """Distances of each pair."""
    box_A: float | None = Field(default=None, gt=0)
    """Edge of a periodic box, for references that need one."""

    def make(self, start, group, rng, sources):  # type: ignore[no-untyped-def]  # noqa: D102
        return dimers(self.species, *self.distances_A, self.count, box_A=self.box_A, group=group)


class Random(Separated):
    """Hard spheres in random cells."""

    needs_start: ClassVar[bool] = False
    function = random_structures
    kind: Literal["random"] = "random"
    """The kind of step."""
    factor: float = Field(default=0.8, gt=0)
    """Share of the sum of covalent radii for other pairs."""
    composition: dict[str, Annotated[int, Field(ge=0)]]
    """Atoms of each element in a cell."""
    count: Count = 1
    """Number of structures."""
    volume_per_atom_A3: Range | None = None
    """Range of volumes; or else density."""
    density_g_per_cm3: Range | None = None
    """Range of densities."""
    attempts: Count = 30
    """Cells tried for each structure."""


class Relax(Step):
    """The structure relaxed by a force field."""

    kind: Literal["relax"] = "relax"
    """The kind of step."""
    potential: str | dict[str, Any]
    """Path of a potential, {xtb: ...}, {lammps: ...}, {ase: ...} or {pretrained: ...}."""
    cell: Literal["none", "isotropic", "shape", "full"] = "none"
    """What of the cell may change."""
    fmax_eV_per_A: float = Field(default=0.02, gt=0)
    """Largest force at the end."""
    max_steps: Count = 500
    """Steps after which it gives up."""

    def make(self, start, group, rng, sources):  # type: ignore[no-untyped-def]  # noqa: D102
        field = sources.force_field(self.potential)
        relaxation = relax(
            field.calculator, _needed(start), cell=self.cell, fmax=self.fmax_eV_per_A, max_steps=self.max_steps
        )
        return iter([generated(relaxation.structure, "relax", start, group=group, force_field=field.name)])


class MolecularDynamics(Step):
    """Frames of molecular dynamics with a force field."""

    kind: Literal["md"] = "md"
    """The kind of step."""
    potential: str | dict[str, Any]
    """Path of a potential, {xtb: ...}, {lammps: ...}, {ase: ...} or {pretrained: ...}."""
    stages: list[Stage]
    """The stages of the simulation."""
    count: Count
    """Number of frames."""
    spacing_fs: float = Field(gt=0)
    """Shortest time between two frames."""
    equilibration_ps: float = Field(default=0.0, ge=0)
    """Time at the start from which no frame is taken."""
    engine: Literal["ase", "lammps"] = "ase"
    """What moves the atoms."""
    volumes_per_atom_A3: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list)
    """A ladder of densities: the stages run at each of these volumes, to which the start is scaled; each gives count
    frames, in a group of its own."""
    volume_factors: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list)
    """The same by factors of the volume of the start."""

    @model_validator(mode="after")
    def _ladder_alone(self) -> Self:
        if self.volumes_per_atom_A3 and self.volume_factors:
            raise ValueError("has volumes_per_atom_A3 and volume_factors; give one of them")
        if (self.volumes_per_atom_A3 or self.volume_factors) and any(s.ensemble == "npt" for s in self.stages):
            raise ValueError("has volumes for stages that change the volume; take nvt or nve, or leave the volumes out")
        return self

    def make(self, start, group, rng, sources):  # type: ignore[no-untyped-def]  # noqa: D102
        field = sources.force_field(self.potential)
        for begin, name in self._rungs(_needed(start), group):
            yield from sample_md(
                field, begin, self.stages, rng, count=self.count, spacing_fs=self.spacing_fs,
                equilibration_ps=self.equilibration_ps, engine=self.engine, group=name,
                trajectory=f"{name}-{begin.content_hash[:6]}",
            )  # fmt: skip

    def _rungs(self, start: Structure, group: str) -> Iterator[tuple[Structure, str]]:
        """Yield the start at each volume of the ladder, and its group; without a ladder both as they are."""
        if not (self.volumes_per_atom_A3 or self.volume_factors):
            yield start, group
            return
        if not (start.pbc.all() and start.volume > 0):
            raise InputError("need a structure that is periodic in all directions", field="volumes_per_atom_A3")
        now = start.volume / len(start)
        for volume in self.volumes_per_atom_A3 or [factor * now for factor in self.volume_factors]:
            scale = (volume / now) ** (1 / 3)
            scaled = Structure(start.numbers, scale * start.positions, scale * start.cell, start.pbc)
            yield scaled, f"{group}_{volume:.4g}A3"


class RattleRelaxRepeat(Separated):
    """A family tree of rattled and briefly relaxed structures."""

    kind: Literal["rattle_relax_repeat"] = "rattle_relax_repeat"
    """The kind of step."""
    teacher: str | dict[str, Any]
    """What relaxes and judges them: what may stand behind reference: of label, or the path of a potential."""
    count: Count
    """Structures for each start."""
    sigma_A: Range = (0.03, 0.2)
    """Range of the displacements' standard deviation, drawn uniformly in its logarithm."""
    strain: float = Field(default=0.02, ge=0)
    """Standard deviation of the components of a strain of the start's cell; 0 keeps the cell."""
    temperature_K: float = Field(default=500.0, gt=0)
    """Temperature T of the Boltzmann factor of the energy per atom by which parents are drawn."""
    generation_power: float = 1.0
    """Later generations g are preferred by (1 + g) to this power; 0 for the energy alone."""
    relax_steps: int = Field(default=5, ge=0)
    """Most steps along the forces."""
    energy_above_eV_per_atom: float | None = Field(default=None, gt=0)
    """Relaxation ends, and a structure is kept, below this energy above the start's; 3/2 kT where not given."""
    largest_force_eV_per_A: float = Field(default=10.0, gt=0)
    """And where no force is larger: large forces at a low energy are those of a hole in the teacher."""
    least_displacement_A: float = Field(default=0.08, ge=0)
    """Root mean square displacement below which a structure is too like one that is there."""
    factor: float = Field(default=0.6, gt=0)
    """Share of the sum of covalent radii for other pairs."""
    batch: Count = 8
    """Structures that the teacher computes at a time."""
    workers: int = Field(default=0, ge=0)
    """Processes that compute them, started for each batch: for teachers that take long; 0 for none beside this one."""
    student: Path | None = None
    """A potential that knows how uncertain it is: only structures that are new to it are computed and kept."""
    uncertainty: Kind | None = None
    """By which uncertainty it knows that, such as grade or committee; the first that it knows where not given."""

    def make(self, start, group, rng, sources):  # type: ignore[no-untyped-def]  # noqa: D102
        names = set(signature(rattle_relax_repeat).parameters) & set(type(self).model_fields)
        arguments = {name: getattr(self, name) for name in sorted(names)}
        arguments |= {"teacher": sources.teacher(self.teacher, self.workers), "group": group}
        if self.student is not None:
            arguments["is_new"] = _outside(sources.student(self.student), self.uncertainty)
        return rattle_relax_repeat(_needed(start), rng=rng, **arguments)


def _outside(student: Potential, kind: Kind | None) -> Callable[[Structure], bool]:
    """Return what tells whether a structure lies outside the training data of a potential."""
    uncertainty = uncertainty_of(student, kind)
    if uncertainty is None:
        raise InputError("needs a potential that knows how uncertain it is, such as one fitted here", field="student")
    if uncertainty.calibration is None:
        raise InputError(
            f"knows no limit of its {uncertainty.measure}, above which a structure is new; take one fitted here with "
            "validation by folds", field="student",
        )  # fmt: skip
    return lambda structure: judge(uncertainty, structure).is_outside


class Fragments(Step):
    """Molecules of the structure, and their pieces."""

    function = fragments
    kind: Literal["fragments"] = "fragments"
    """The kind of step."""
    bonds: float = Field(default=1.25, gt=0)
    """Atoms nearer than this times the sum of their covalent radii are bonded."""
    count: Count = 20
    """How many molecules are drawn, at most."""
    pieces: bool = True
    """Whether each bond of theirs that holds a molecule together is cut, for the two pieces."""
    pairs: int = Field(default=0, ge=0)
    """How many pairs of neighboring molecules are cut out."""
    box_A: float | None = Field(default=None, gt=0)
    """Gap around a fragment in a periodic box, for references that need one; open boundaries where not given."""


#: Steps by their kind.
STEPS: Mapping[str, type[Step]] = {
    "unchanged": Unchanged, "relax": Relax, "rattle": Rattle, "strain": Strain, "volume_scan": VolumeScan,
    "supercell": Supercell, "vacancy": Vacancy, "interstitial": Interstitial, "x_vacancy": XVacancy,
    "x2_interstitial": X2Interstitial, "dimers": Dimers, "random": Random, "md": MolecularDynamics,
    "rattle_relax_repeat": RattleRelaxRepeat, "fragments": Fragments,
}  # fmt: skip
