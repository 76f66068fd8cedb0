"""Simulate: from a config to a trajectory, a table of what was measured, and a page that says how it went."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, InstanceOf, model_validator

from forcewright.configs import validate
from forcewright.errors import InputError
from forcewright.force_field import ForceField
from forcewright.potential import Potential
from forcewright.protocols.growth import Growth, GrowthSettings, growth
from forcewright.protocols.schedules import SCHEDULES, Schedule
from forcewright.protocols.structures import StructureSource, build_structure
from forcewright.protocols.survival import Survival, survival
from forcewright.recipes import stability
from forcewright.recipes.force_fields import force_field, refuse_unrepresented, shown_name
from forcewright.recipes.run_folder import RunFolder, config_text, read_config, with_absolute_paths
from forcewright.recipes.simulation_page import write_run_page, write_survival_page
from forcewright.simulation import RunSettings, SimulationResult, Stage, run
from forcewright.trajectory import Snapshot

log = logging.getLogger("forcewright")

Progress = Callable[..., None]


class SimulateConfig(RunSettings):
    """Everything `forcewright simulate` needs."""

    potential: str | dict[str, Any] | InstanceOf[Potential]
    """A potential by path (in Python also itself), {xtb: GFN1-xTB}, {lammps: {...}} or {ase: "module:factory",
    kwargs: {...}}."""
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
    runs: int = Field(default=1, ge=1, le=100_000)
    """Number of independent runs; with more than one the share that survives is counted."""
    output: Path
    """Folder for everything that comes out."""

    @model_validator(mode="after")
    def _check_plan(self) -> Self:
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
        If its kind is unknown or a number is missing or invalid.
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
    config: str | Path | Mapping[str, Any] | SimulateConfig, *, fresh: bool = False, on_progress: Progress | None = None
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
    settings, folder, file = read_config(SimulateConfig, config)
    settings = with_absolute_paths(settings, folder)
    try:
        plan, start = settings.plan(), build_structure(settings.structure, folder)
    except InputError as error:
        raise InputError(error.problem, file=error.file or file, frame=error.frame, field=error.field) from None
    if isinstance(plan, GrowthSettings) and settings.runs > 1:
        raise InputError(f"is {settings.runs}; growth is one run", file=file, field="runs")
    source = force_field(settings.potential, folder)
    refuse_unrepresented(source, start, settings.structure.file, settings.structure.index)
    if isinstance(settings.potential, str):  # who reads the resolved config does not know where this one lay
        settings = settings.model_copy(update={"potential": str((folder / settings.potential).resolve())})
    source = replace(source, name=shown_name(settings.potential, folder, source))
    planned = [*plan.melting(), *plan.growing()] if isinstance(plan, GrowthSettings) else plan
    if expected := stability.before_a_run(source.potential, planned):
        log.warning("%s", expected)
    shared: dict[str, Any] = {
        "engine": settings.engine,
        "seed": settings.seed,
        "fresh": fresh,
        "on_progress": on_progress,
    }
    run_settings = settings.run_settings()
    with RunFolder(settings.output, "simulate") as output:
        if isinstance(plan, GrowthSettings):
            result, grown = growth(source, start, output.path, plan, run_settings=run_settings, **shared)
            with RunFolder(result.folder, "simulate") as inner:
                stages = plan.melting() if grown is None else plan.growing()
                _finish(inner, settings, result, stages, source, folder, grown)
            return result
        if settings.runs > 1:
            return _survive(settings, source, start, plan, output, folder, shared)
        result = run(source, start, plan, output.path, settings=run_settings, **shared)
        _finish(output, settings, result, plan, source, folder)
        return result


def _finish(
    output: RunFolder, settings: SimulateConfig, result: SimulationResult, stages: list[Stage], source: ForceField,
    folder: Path, grown: Growth | None = None,
) -> None:  # fmt: skip
    """Add to result.json of a finished run where it comes from, and write config and page."""
    summary = output.read_result() or {}
    if "written_by" not in summary:
        summary = output.write_result({**summary, "config_folder": str(folder)})
    text = output.write_config(settings)
    if grown is not None:
        grown.save(output / "growth.json")
    write_run_page(output.path, result, stages, source.name, summary, text, grown, source.potential)


def _survive(
    settings: SimulateConfig, source: ForceField, start: Snapshot, stages: list[Stage], output: RunFolder,
    folder: Path, shared: Mapping[str, Any],
) -> Survival:  # fmt: skip
    text = config_text(settings)

    def on_run(index: int, result: SimulationResult) -> None:
        inner = RunFolder(output / f"run-{index}", "simulate")
        write_run_page(
            inner.path, result, stages, source.name, inner.read_result() or {}, text, potential=source.potential
        )

    outcome = survival(
        source, start, stages, output.path, runs=settings.runs, settings=settings.run_settings(), on_run=on_run,
        **shared,
    )  # fmt: skip
    summary = output.write_result({**outcome.to_dict(), "seed": settings.seed, "config_folder": str(folder)})
    output.write_config(text)
    write_survival_page(output.path, outcome, stages, source.name, text, summary)
    return outcome
