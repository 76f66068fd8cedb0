"""The stages of a simulation, run one after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from forcewright.configs import validate
from forcewright.errors import InputError


def _ends(value: Any) -> Any:
    """Accept one number for both ends of a ramp."""
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


#: Of heavy atoms; light ones need less (see `protocol_checks`).
LONGEST_TIMESTEP_FS = 10.0
#: Of a stage, which no computer takes in months: 10 µs at 1 fs.
MOST_STEPS = 10**10

Ramp = Annotated[tuple[float, float], BeforeValidator(_ends)]


class Stage(BaseModel):
    """One stage of a simulation: an ensemble for some time, or a relaxation.

    Two numbers for a temperature or a pressure are a linear ramp over the stage.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = ""
    """Its name in tables; numbered by default."""
    ensemble: Literal["nve", "nvt", "npt", "relax"]
    """Constant energy, temperature, or temperature and pressure; or a relaxation to zero force."""
    time_ps: float | None = Field(default=None, gt=0)
    """Duration; needed unless the stage relaxes."""
    timestep_fs: float = Field(default=1.0, gt=0)
    """Time step."""
    temperature_K: Ramp | None = None
    """Target temperature, or its two ends."""
    pressure_GPa: Ramp | None = None
    """Target pressure, compression positive, or its two ends; 0 by default in an npt stage."""
    thermostat: Literal["langevin", "nose-hoover", "bussi"] = "nose-hoover"
    """How an nvt stage holds its temperature; npt stages use Nosé–Hoover chains. Langevin at 0 K is friction alone."""
    thermostat_time_fs: float = Field(default=100.0, gt=0, le=1e9)
    """Time constant of the thermostat; for Langevin the inverse of the friction."""
    cell: Literal["isotropic", "full"] = "isotropic"
    """What may change in an npt stage or a relaxation at a pressure: the volume, or the whole cell."""
    barostat_time_fs: float = Field(default=1000.0, gt=0, le=1e9)
    """Time constant of the barostat."""
    fmax_eV_per_A: float = Field(default=0.01, gt=0)
    """A relaxation ends when no force is larger."""
    max_steps: int = Field(default=1000, gt=0, le=10**9)
    """A relaxation gives up after this many steps."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.ensemble != "relax" and self.time_ps is None:
            raise ValueError("time_ps is missing: say how long the stage lasts")
        if self.ensemble in ("nvt", "npt") and self.temperature_K is None:
            raise ValueError(f"an {self.ensemble} stage needs temperature_K")
        if self.ensemble in ("nve", "relax") and self.temperature_K is not None:
            raise ValueError(f"an {self.ensemble} stage holds no temperature; leave temperature_K out")
        if self.ensemble in ("nve", "nvt") and self.pressure_GPa is not None:
            raise ValueError(f"an {self.ensemble} stage holds no pressure; use ensemble: npt")
        self._check_temperature()
        if self.timestep_fs > LONGEST_TIMESTEP_FS:
            raise ValueError(f"timestep_fs is {self.timestep_fs:g}, which no atom can follow: vibrations take 10 to "
                             f"200 fs, and a step is a twentieth of the fastest; 1 is usual, {LONGEST_TIMESTEP_FS:g} "
                             "the maximum")  # fmt: skip
        if self.time_ps is not None:
            steps = 1000.0 * self.time_ps / self.timestep_fs
            if steps > MOST_STEPS:
                raise ValueError(f"time_ps is {self.time_ps:g}, which is {steps:.3g} steps of {self.timestep_fs:g} fs; "
                                 f"at most {MOST_STEPS:,} can be asked for")  # fmt: skip
            if self.steps < 1:
                raise ValueError(f"time_ps is {self.time_ps:g}, less than one step of {self.timestep_fs:g} fs")
        return self

    def _check_temperature(self) -> None:
        """Refuse absolute zero, where thermostat masses vanish, except for friction without random forces."""
        if self.temperature_K is None or min(self.temperature_K) > 0:
            return
        damped = self.ensemble == "nvt" and self.thermostat == "langevin"
        if min(self.temperature_K) < 0 or not damped:
            raise ValueError(f"temperature_K is {min(self.temperature_K):g}; it must be above 0 K (0 with thermostat: "
                             "langevin, which is then friction alone), or use ensemble: relax")  # fmt: skip

    @property
    def constant(self) -> bool:
        """Whether temperature and pressure targets stay the same."""
        return all(ends is None or ends[0] == ends[1] for ends in (self.temperature_K, self.pressure_GPa))

    @property
    def steps(self) -> int:
        """Number of time steps; a relaxation counts as none."""
        return 0 if self.time_ps is None else round(1000.0 * self.time_ps / self.timestep_fs)

    def temperature_at(self, step: int) -> float | None:
        """Return the target in K at which step 1 ... n of the stage is done, or at which it starts (0)."""
        return _on_ramp(self.temperature_K, step, self.steps)

    def pressure_at(self, step: int) -> float | None:
        """Return the target in GPa, like `temperature_at`; 0 in an npt stage without one."""
        none = (0.0, 0.0) if self.ensemble == "npt" else None
        return _on_ramp(self.pressure_GPa or none, step, self.steps)


def planned_stage(content: Mapping[str, Any]) -> Stage:
    """Return a stage of numbers that were worked out.

    Raises
    ------
    InputError
        If they make no stage, such as one of too many steps; names the stage.
    """
    try:
        return validate(Stage, content)
    except InputError as error:
        of = f"of the stage {content['name']!r}: " if content.get("name") else ""
        raise InputError(f"{of}{error.problem}", field=error.field) from None


def _on_ramp(ends: Ramp | None, step: int, steps: int) -> float | None:
    if ends is None:
        return None
    return ends[0] + (ends[1] - ends[0]) * (step / steps if steps else 1.0)
