"""What a learner is told: its walkers, novelty, policy, filter and caps."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from forcewright.configs import StrictModel, validate
from forcewright.errors import InputError
from forcewright.generation.random_structures import random_structures
from forcewright.protocols.schedules import SCHEDULES
from forcewright.protocols.structures import StructureSource
from forcewright.simulation.monitors import Monitors
from forcewright.simulation.stages import Stage
from forcewright.structure import Structure
from forcewright.uncertainty import Kind


def _range_of(value: Any) -> Any:
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class PackingSettings(StrictModel):
    """Random packings, another in every round, as random structure searching grows a data set by them."""

    compositions: list[dict[str, Annotated[int, Field(ge=0)]]] = Field(min_length=1)
    """Numbers of atoms of each element; every round takes one of them at random."""
    volume_per_atom_A3: Annotated[tuple[float, float], BeforeValidator(_range_of)] | None = None
    """Range that the volume is drawn from, or a number."""
    density_g_per_cm3: Annotated[tuple[float, float], BeforeValidator(_range_of)] | None = None
    """The same as a density; one of the two."""
    factor: float = Field(default=0.8, gt=0)
    """Smallest distances, in sums of covalent radii."""

    @model_validator(mode="after")
    def _volume_or_density(self) -> Self:
        if (self.volume_per_atom_A3 is None) == (self.density_g_per_cm3 is None):
            raise ValueError("give volume_per_atom_A3 or density_g_per_cm3, one of the two")
        return self

    def draw(self, rng: np.random.Generator) -> Structure:
        """Return a packing.

        Raises
        ------
        InputError
            If atoms do not fit.
        """
        composition = self.compositions[int(rng.integers(len(self.compositions)))]
        made = random_structures(
            composition, 1, rng, volume_per_atom_A3=self.volume_per_atom_A3, density_g_per_cm3=self.density_g_per_cm3,
            factor=self.factor,
        )  # fmt: skip
        return next(made).structure


class WalkerSettings(StrictModel):
    """A simulation that looks for what the potential does not know."""

    name: str | None = Field(default=None, pattern=r"^[\w-]+$", max_length=40)
    """Its name on the page and of its folders; numbered where not given."""
    structure: StructureSource | None = None
    """Where it begins."""
    packing: PackingSettings | None = None
    """A random packing to begin with, in place of a structure: every round begins anew."""
    stages: list[Stage] | None = None
    """What it does, one after the other."""
    protocol: dict[str, Any] | None = None
    """A named schedule (kind) and its numbers, in place of stages."""
    engine: Literal["ase", "lammps"] = "ase"
    """What moves the atoms."""
    copies: int = Field(default=1, ge=1, le=1000)
    """Number of walkers of the kind, which differ in their velocities."""
    monitors: Monitors = Monitors()
    """What else stops it; when novelty is looked at is the learner's."""

    @model_validator(mode="after")
    def _stages_or_protocol(self) -> Self:
        if (self.stages is None) == (self.protocol is None):
            raise ValueError("give stages or a protocol, one of the two")
        if (self.structure is None) == (self.packing is None):
            raise ValueError("give a structure or a packing, one of the two")
        return self

    def plan(self) -> list[Stage]:
        """Return its stages.

        Raises
        ------
        InputError
            If its protocol is not known, or no schedule of stages.
        """
        if self.stages is not None:
            return list(self.stages)
        content = dict(self.protocol or {})
        kind = str(content.pop("kind", ""))
        if kind not in SCHEDULES:
            raise InputError(
                f"{kind!r} is not known; allowed are {', '.join(sorted(SCHEDULES))}", field="protocol.kind"
            )
        try:
            return validate(SCHEDULES[kind], content).stages()
        except InputError as error:
            raise InputError(error.problem, field=".".join(filter(None, ["protocol", error.field]))) from None


class NoveltySettings(StrictModel):
    """What counts as new."""

    kind: Kind = "committee"
    """Kind of uncertainty that tells it: committee, standard_error, grade, variance, distance or rematch."""
    quantile: float = Field(default=0.99, ge=0.5, le=0.99)
    """Share of frames held back of the training data that are below the limit: its scale is theirs, never a number."""
    factor: float = Field(default=2.0, ge=1.0)
    """A walker is stopped where the novelty of an atom exceeds this multiple of the limit."""
    every_fs: float = Field(default=50.0, gt=0, le=1e9)
    """Time between two looks, and between the frames of a walker that are kept."""
    members: int = Field(default=8, ge=2, le=1000)
    """Members of a committee."""


class PolicySettings(StrictModel):
    """When walkers stop, which frames are labelled, and when the learner ends."""

    kind: Literal["stop", "failure"] = "stop"
    """stop: at the first frame that is new; failure: go on until the run breaks, and take frames from before that."""
    take: Literal["novel", "evenly"] = "novel"
    """Frames that may be labelled: those that are new, or all up to the end of a walk that was stopped, evenly."""
    frames: int = Field(default=3, ge=1, le=10**6)
    """Frames labelled in a round, chosen by CUR among those of all walkers."""
    max_labels: int = Field(default=100, ge=0, le=10**9)
    """Structures that the reference computes at most."""
    max_hours: float | None = Field(default=None, gt=0)
    """Wall time after which no round begins and walks under way stop; with more hours the learner goes on."""
    max_reference_s: float | None = Field(default=None, gt=0)
    """Time that labels may take in all; no round begins beyond it."""
    max_rounds: int = Field(default=1000, ge=1, le=10**9)
    """Rounds at most."""
    retune_every: int | None = Field(default=None, ge=1)
    """Rounds after which what the model leaves open, and its ranges, are searched again; once where not given."""
    passes: int = Field(default=1, ge=1, le=10**6)
    """How often every walker has to come to its end from its beginning, with nothing new, until the learner is done."""


class FilterSettings(StrictModel):
    """Frames and labels that make no sense: such configurations occur in no realistic simulation, and spoil a fit."""

    closest_fraction: float | None = Field(default=0.5, gt=0)
    """Frames are not labelled whose atoms are closer than this fraction of the sum of their covalent radii."""
    force_factor: float | None = Field(default=10.0, gt=0)
    """Labels are not used that hold a force larger than this multiple of the largest in the starting data."""
    energy_eV_per_atom: float | None = Field(default=2.0, gt=0)
    """Labels are not used whose energy per atom lies further above, or below, all those of the starting data."""
