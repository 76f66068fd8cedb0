"""Schedules: named sequences of stages, from one equilibration to melt and quench.

Each is a model of a few parameters with ``stages()``: ``MeltQuench(melt_K=3000, rate_K_per_s=1e13).stages()``.
`SCHEDULES` lists them by their names in a config.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from forcewright.errors import InputError
from forcewright.simulation.stages import Stage, planned_stage

Positive = Annotated[float, Field(gt=0)]
Kelvin = Annotated[float, Field(ge=0)]

_PS_PER_S = 1e12


class Schedule(BaseModel):
    """What all schedules share: the time step, and how temperature and pressure are held."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    timestep_fs: Positive = 1.0
    """Time step."""
    pressure_GPa: float | None = None
    """Pressure that is held; without it the volume is held."""
    thermostat: Literal["langevin", "nose-hoover", "bussi"] = "nose-hoover"
    """How the temperature is held at constant volume; with a pressure it is Nosé–Hoover chains."""
    thermostat_time_fs: Positive = 100.0
    """Time constant of the thermostat."""
    barostat_time_fs: Positive = 1000.0
    """Time constant of the barostat."""
    cell: Literal["isotropic", "full"] = "isotropic"
    """What may change at a pressure: the volume, or the whole cell."""

    def _stage(self, name: str, temperature: float | tuple[float, float], time_ps: float) -> Stage:
        """Return a stage at the pressure, or at constant volume; InputError where it has too many steps, or none."""
        stage = {"name": name, "temperature_K": temperature, "time_ps": time_ps, "timestep_fs": self.timestep_fs,
                 "thermostat_time_fs": self.thermostat_time_fs}  # fmt: skip
        if self.pressure_GPa is None:
            return planned_stage({**stage, "ensemble": "nvt", "thermostat": self.thermostat})
        pressure = {"pressure_GPa": self.pressure_GPa, "cell": self.cell, "barostat_time_fs": self.barostat_time_fs}
        return planned_stage({**stage, **pressure, "ensemble": "npt"})

    def _ramp(self, name: str, start_K: float, end_K: float, rate_K_per_s: float) -> Stage:
        """Return a stage that changes the temperature at a rate; InputError if start and end are equal."""
        if start_K == end_K:
            raise InputError(f"the ramp begins and ends at {start_K:g} K; use equilibrate", field="temperature_K")
        return self._stage(name, (start_K, end_K), abs(end_K - start_K) / rate_K_per_s * _PS_PER_S)

    def stages(self) -> list[Stage]:
        """Return the stages."""
        raise NotImplementedError


class Equilibrate(Schedule):
    """Hold a temperature."""

    temperature_K: Kelvin
    """Temperature."""
    time_ps: Positive
    """Duration."""

    def stages(self) -> list[Stage]:
        """Return one stage."""
        return [self._stage("equilibrate", self.temperature_K, self.time_ps)]


class Ramp(Schedule):
    """Heat or cool at a rate, after a hold at the first temperature."""

    temperature_K: tuple[Kelvin, Kelvin]
    """First and last temperature."""
    rate_K_per_s: Positive
    """Heating or cooling rate, always positive."""
    hold_ps: Annotated[float, Field(ge=0)] = 0.0
    """How long the first temperature is held."""

    def stages(self) -> list[Stage]:
        """Return the hold, if there is one, and the ramp."""
        start, end = self.temperature_K
        ramp = self._ramp("heat" if end > start else "cool", start, end, self.rate_K_per_s)
        return [self._stage("hold", start, self.hold_ps), ramp] if self.hold_ps else [ramp]


class HeatUntilFailure(Schedule):
    """Heat at a rate until a monitor stops the run, to see how hot it can get."""

    start_K: Kelvin = 300.0
    """Where the heating begins."""
    end_K: Kelvin = 6000.0
    """Where it ends if nothing fails."""
    rate_K_per_s: Positive = 1e14
    """Heating rate."""
    hold_ps: Annotated[float, Field(ge=0)] = 1.0
    """How long the first temperature is held."""

    def stages(self) -> list[Stage]:
        """Return the hold and the heating."""
        heating = self._ramp("heat until it fails", self.start_K, self.end_K, self.rate_K_per_s)
        return [self._stage("hold", self.start_K, self.hold_ps), heating] if self.hold_ps else [heating]


class MeltQuench(Schedule):
    """Melt, hold the liquid, quench at a rate, anneal, relax (du Toit 2025, sections 3.3.2 and 4.5.2)."""

    melt_K: Kelvin
    """Temperature at which the starting structure is lost."""
    melt_ps: Positive = 5.0
    """How long it is held there."""
    melt_at: Literal["volume", "pressure"] = "volume"
    """What is held meanwhile: at constant volume a superheated liquid cannot boil away; a pressure is then applied
    from the liquid on."""
    liquid_K: Kelvin | None = None
    """Temperature at which the liquid is held and the quench begins; ``melt_K`` by default."""
    liquid_ps: Positive = 5.0
    """How long the liquid is held."""
    final_K: Kelvin = 300.0
    """Where the quench ends."""
    rate_K_per_s: Positive = 1e13
    """Cooling rate; 1e11 to 1e14 is usual."""
    anneal_K: Kelvin | None = None
    """Temperature of the annealing; ``final_K`` by default."""
    anneal_ps: Annotated[float, Field(ge=0)] = 5.0
    """How long the glass is annealed."""
    relax: bool = True
    """Whether the glass is relaxed to zero force at the end, and to the pressure if one is held."""
    fmax_eV_per_A: Positive = 0.01
    """Largest force left by the relaxation."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        liquid = self.melt_K if self.liquid_K is None else self.liquid_K
        if not self.final_K < liquid <= self.melt_K:
            raise ValueError(f"temperatures must fall from melt_K ({self.melt_K:g}) over liquid_K ({liquid:g}) to "
                             f"final_K ({self.final_K:g})")  # fmt: skip
        return self

    def stages(self) -> list[Stage]:
        """Return melt, liquid, quench, anneal and relax."""
        liquid = self.melt_K if self.liquid_K is None else self.liquid_K
        kept = self if self.melt_at == "pressure" else self.model_copy(update={"pressure_GPa": None})
        stages = [
            kept._stage("melt", self.melt_K, self.melt_ps),
            self._stage("liquid", liquid, self.liquid_ps),
            self._ramp("quench", liquid, self.final_K, self.rate_K_per_s),
        ]
        if self.anneal_ps:
            anneal = self.final_K if self.anneal_K is None else self.anneal_K
            stages.append(self._stage("anneal", anneal, self.anneal_ps))
        if self.relax:
            relaxation = {"pressure_GPa": self.pressure_GPa, "cell": self.cell, "fmax_eV_per_A": self.fmax_eV_per_A}
            stages.append(planned_stage({"name": "relax", "ensemble": "relax", **relaxation}))
        return stages


class Compress(Schedule):
    """Isothermal compression at a rate, after a hold at the first pressure."""

    temperature_K: Kelvin
    """Temperature that is held."""
    pressures_GPa: tuple[float, float]
    """First and last pressure."""
    rate_GPa_per_ps: Positive
    """Rate of change of the pressure, always positive."""
    hold_ps: Annotated[float, Field(ge=0)] = 2.0
    """How long the first pressure is held."""

    @model_validator(mode="after")
    def _pressures_differ(self) -> Self:
        if self.pressure_GPa is not None:
            raise ValueError("give pressures_GPa, first and last, in place of pressure_GPa")
        if self.pressures_GPa[0] == self.pressures_GPa[1]:
            raise ValueError("the two pressures are equal; use equilibrate")
        return self

    def stages(self) -> list[Stage]:
        """Return the hold, if there is one, and the compression."""
        first, last = self.pressures_GPa
        held = self.model_copy(update={"pressure_GPa": first})
        hold = [held._stage("hold", self.temperature_K, self.hold_ps)] if self.hold_ps else []
        name = "compress" if last > first else "decompress"
        ramp = held._stage(name, self.temperature_K, abs(last - first) / self.rate_GPa_per_ps)
        return [*hold, ramp.model_copy(update={"pressure_GPa": (first, last)})]


#: Schedules by name in a config.
SCHEDULES: dict[str, type[Schedule]] = {
    "compress": Compress, "equilibrate": Equilibrate, "heat_until_failure": HeatUntilFailure, "melt_quench": MeltQuench,
    "ramp": Ramp,
}  # fmt: skip
