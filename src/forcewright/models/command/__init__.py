"""Any program that fits potentials, described by the list of its arguments and the files it reads and writes."""

from forcewright.models.command.hyperparameters import CommandModel
from forcewright.models.command.potential import CommandPotential, describe_program, runs_as_stated
from forcewright.models.family import Family

FAMILY = Family(
    kind="command", hyperparameters=CommandModel, load=CommandPotential.load, shrink="what the program asks for",
    describe_program=describe_program, runs_as_stated=runs_as_stated,
)  # fmt: skip

__all__ = ["FAMILY", "CommandModel", "CommandPotential"]
