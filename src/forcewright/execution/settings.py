"""The `executor` of a config: where its tasks run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator

from forcewright.configs import StrictModel, validate
from forcewright.errors import InputError

_DIRECTIVE = re.compile(r"--[a-z][a-z-]*(=[\w.,:/@+%-]+)?", re.ASCII)
_WALLTIME = re.compile(r"(\d+-)?\d{1,3}(:\d{2}){0,2}", re.ASCII)
_ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://\S+", re.ASCII)


class DaskSettings(StrictModel):
    """Workers of a Dask scheduler that runs already, or of one that is started on this machine."""

    address: str | None = None
    """Address of a running scheduler, such as tcp://node1:8786; its workers need forcewright and the same folders.
    Where not given, a scheduler and `workers` processes are started here."""

    @field_validator("address")
    @classmethod
    def _is_address(cls, address: str | None) -> str | None:
        if address is not None and not _ADDRESS.fullmatch(address):
            raise ValueError("expected an address such as tcp://node1:8786")
        return address


class SlurmSettings(StrictModel):
    """Jobs of Slurm that wait for tasks; all nodes need this Python environment and the same folders."""

    jobs: int = Field(default=1, ge=1, le=10_000)
    """Number of jobs that are kept running until the work is done; one that ends early is submitted again."""
    cores: int = Field(default=1, ge=1, le=1024)
    """Cores of a job, each with one worker."""
    memory_GB: float = Field(default=4.0, gt=0, le=1e5)
    """Memory of a job."""
    walltime: str = "01:00:00"
    """Time limit of a job; no task may take longer."""
    partition: str | None = Field(default=None, pattern=r"^[\w.,-]+$")
    """Partition; Slurm's default where not given."""
    account: str | None = Field(default=None, pattern=r"^[\w.-]+$")
    """Account that is charged."""
    interface: str | None = Field(default=None, pattern=r"^[\w.-]+$")
    """Network interface that nodes reach each other on, such as ib0."""
    options: tuple[str, ...] = ()
    """Further options of sbatch, such as --qos=short or --gres=gpu:1."""

    @field_validator("walltime")
    @classmethod
    def _is_walltime(cls, walltime: str) -> str:
        if not _WALLTIME.fullmatch(walltime):
            raise ValueError("expected minutes, HH:MM:SS or D-HH:MM:SS")
        return walltime

    @field_validator("options")
    @classmethod
    def _are_directives(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if not _DIRECTIVE.fullmatch(option) or option.partition("=")[0] == "--wrap":
                raise ValueError(f"{option!r} is not an option of sbatch such as --qos=short")
        return options


class ClusterSettings(StrictModel):
    """Where tasks run: one of `dask` and `slurm`."""

    dask: DaskSettings | None = None
    """Workers of a Dask scheduler."""
    slurm: SlurmSettings | None = None
    """Jobs of Slurm."""

    def model_post_init(self, context: Any) -> None:
        """Refuse none and both."""
        if (self.dask is None) == (self.slurm is None):
            raise ValueError("give one of dask and slurm")


def _executor_of(value: Any) -> Any:
    """Return a value from its short forms: local, dask, slurm, and {dask: ADDRESS}."""
    if value in ("dask", "slurm"):
        return {value: {}}
    if isinstance(value, Mapping):
        return {
            key: {"address": part} if key == "dask" and isinstance(part, str) else {} if part is None else part
            for key, part in value.items()
        }
    return value


ExecutorSettings: TypeAlias = Annotated[Literal["local"] | ClusterSettings, BeforeValidator(_executor_of)]
"""Type of the field `executor`: "local", or a cluster."""


class _Alone(StrictModel):
    executor: ExecutorSettings = "local"
    """Where tasks run."""


def executor_from(value: Any) -> Literal["local"] | ClusterSettings:
    """Return checked settings from what a config may say, or from ``dask=ADDRESS`` or ``slurm=PARTITION``.

    Raises
    ------
    InputError
        If it is none of these.
    """
    if isinstance(value, str) and "=" in value:
        kind, _, rest = value.partition("=")
        if kind not in ("dask", "slurm") or not rest:
            raise InputError(
                f"is {value!r}; give local, dask, dask=ADDRESS, slurm or slurm=PARTITION", field="executor"
            )
        value = {kind: {"address" if kind == "dask" else "partition": rest}}
    return validate(_Alone, {"executor": value}).executor
