"""Simulate: from a config to a trajectory, a table of what was measured, and a page that says how it went."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from forcewright.configs import validate
from forcewright.errors import InputError
from forcewright.files import atomic_write
from forcewright.force_field import ForceField
from forcewright.protocols.growth import GrowthSettings, growth
from forcewright.protocols.schedules import SCHEDULES, Schedule
from forcewright.protocols.structures import StructureSource, build_structure
from forcewright.protocols.survival import Survival, survival
from forcewright.recipes import provenance
from forcewright.recipes.force_fields import force_field
from forcewright.recipes.run_folder import read_settings
from forcewright.recipes.simulation_page import write_run_page, write_survival_page
from forcewright.simulation import RunSettings, SimulationResult, Stage, run
from forcewright.trajectory import Snapshot

Progress = Callable[..., None]


class SimulateConfig(RunSettings):
    """Everything `forcewright simulate` needs."""

    potential: str | dict[str, Any]
    """A potential by path, {xtb: GFN1-xTB}, {lammps: {...}} or {ase: "module:factory", kwargs: {...}}."""
    structure: StructureSource
    """What to start from."""
    stages: list[Stage] | None = None
    """What to do, one after the other."""
    protocol: dict[str, Any] | None = None
    """A named schedule (`kind`) and its numbers, in place of stages."""
    engine: Literal["ase", "lammps"] = "ase"
    """What moves the atoms."""
    seed: int = Field(default=0, ge=0)
    """Seed of velocities and random forces."""
    runs: int = Field(default=1, ge=1)
    """Number of independent runs; with more than one the share that survives is counted."""
    output: Path
    """Folder for everything that comes out."""

    @model_validator(mode="after")
    def _one_plan(self) -> Self:
        if (self.stages is None) == (self.protocol is None):
            raise ValueError("give stages or a protocol, one of the two")
        return self

    def run_settings(self) -> RunSettings:
        """Return the settings of a run alone."""
        return RunSettings(**{name: getattr(self, name) for name in RunSettings.model_fields})

    def plan(self) -> list[Stage] | GrowthSettings:
        """Return the stages, those of the protocol where one is given, or what growth from a template needs."""
        if self.stages is not None:
            return list(self.stages)
        protocol = protocol_of(self.protocol or {})
        return protocol if isinstance(protocol, GrowthSettings) else protocol.stages()


def protocol_of(content: Mapping[str, Any]) -> Schedule | GrowthSettings:
    """Return the protocol that a config describes.

    Raises
    ------
    InputError
        If its kind is unknown or a number is missing or makes no sense.
    """
    known: dict[str, type[Schedule] | type[GrowthSettings]] = {**SCHEDULES, "growth": GrowthSettings}
    kind = str(content.get("kind"))
    if kind not in known:
        raise InputError(f"{kind!r} is not known; allowed are {', '.join(sorted(known))}", field="protocol.kind")
    try:
        return validate(known[kind], {key: value for key, value in content.items() if key != "kind"})
    except InputError as error:
        raise InputError(error.problem, field=f"protocol.{error.field}" if error.field else "protocol") from None


def simulate(
    config: str | Path | Mapping[str, Any], *, fresh: bool = False, on_progress: Progress | None = None
) -> SimulationResult | Survival:
    """Run or resume the simulation of a config and write its results to the config's output folder.

    Parameters
    ----------
    config
        A YAML file, or its content (paths are then relative to the working directory).
    fresh
        Discard an earlier run in the output folder.
    on_progress
        Called as the driver calls it (`forcewright.simulation.run`).

    Returns
    -------
    result
        How the run ended; with more than one run, how many survived.

    Raises
    ------
    InputError
        If the config is not usable, or the output folder holds a run of another config.
    """
    settings, folder, file = read_settings(SimulateConfig, config)
    try:
        plan, start = settings.plan(), build_structure(settings.structure, folder)
    except InputError as error:
        raise InputError(error.problem, file=error.file or file, frame=error.frame, field=error.field) from None
    source, output = force_field(settings.potential, folder), (folder / settings.output).resolve()
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    if isinstance(plan, GrowthSettings):
        return _grow(settings, plan, source, start, output, text, fresh, on_progress)
    if settings.runs > 1:
        return _survive(settings, source, start, plan, output, text, fresh, on_progress)
    result = run(
        source, start, plan, output, engine=settings.engine, seed=settings.seed, settings=settings.run_settings(),
        fresh=fresh, on_progress=on_progress,
    )  # fmt: skip
    atomic_write(output / "config.resolved.yaml", text)
    write_run_page(output, result, plan, source.name, text)
    return result


def _grow(
    settings: SimulateConfig, plan: GrowthSettings, source: ForceField, start: Snapshot, output: Path, text: str,
    fresh: bool, on_progress: Progress | None,
) -> SimulationResult:  # fmt: skip
    if settings.runs > 1:
        raise InputError(f"is {settings.runs}; growth is one run", field="runs")
    result, grown = growth(
        source, start, output, plan, engine=settings.engine, seed=settings.seed,
        run_settings=settings.run_settings(), fresh=fresh, on_progress=on_progress,
    )  # fmt: skip
    atomic_write(result.folder / "config.resolved.yaml", text)
    if grown is not None:
        grown.save(result.folder / "growth.json")
    stages = plan.melting() if grown is None else plan.growing()
    write_run_page(result.folder, result, stages, source.name, text, grown)
    return result


def _survive(
    settings: SimulateConfig, source: ForceField, start: Snapshot, stages: list[Stage], output: Path, text: str,
    fresh: bool, on_progress: Progress | None,
) -> Survival:  # fmt: skip
    def on_run(index: int, result: SimulationResult) -> None:
        write_run_page(output / f"run-{index}", result, stages, source.name, text)

    output.mkdir(parents=True, exist_ok=True)
    outcome = survival(
        source, start, stages, output, runs=settings.runs, engine=settings.engine, seed=settings.seed,
        settings=settings.run_settings(), fresh=fresh, on_run=on_run, on_progress=on_progress,
    )  # fmt: skip
    summary = {**outcome.to_dict(), "seed": settings.seed, **provenance.record()}
    atomic_write(output / "result.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    atomic_write(output / "config.resolved.yaml", text)
    write_survival_page(output, outcome, stages, source.name, text, summary)
    return outcome
