"""References that misbehave on purpose; importable by worker processes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, SCFError
from ase.calculators.lj import LennardJones

from forcewright.potential import Failure
from forcewright.structure import Labels, Structure


@dataclass(frozen=True)
class Odd:
    """Labels with the number of atoms; what structures of certain sizes do is the point. Counts its calls in a file."""

    log: Path
    name: str = "odd"
    content_hash: str = "0123456789abcdef0123"
    seconds: float = 0.0

    def label(self, structures: Sequence[Structure]) -> list[Labels | Failure]:
        return [self._one(structure) for structure in structures]

    def _one(self, structure: Structure) -> Labels | Failure:
        with self.log.open("a") as stream:
            stream.write(f"{len(structure)}\n")
        time.sleep(self.seconds)
        if len(structure) == 2:
            return Failure("would fail again", repeatable=True)
        if len(structure) == 3:
            return Failure("the disk was full")
        if len(structure) == 4:
            raise RuntimeError("raised")
        if len(structure) == 5:
            os._exit(11)
        return Labels(
            float(len(structure)), np.zeros((len(structure), 3)), info={"threads": os.environ.get("OMP_NUM_THREADS")}
        )


class Wrong(Calculator):
    """An ASE calculator that fails in the way it is told to."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        super().calculate(atoms, properties, system_changes)
        if self.how == "scf":
            raise SCFError("did not converge in 60 cycles")
        if self.how == "bug":
            raise ZeroDivisionError("division by zero")
        forces = np.zeros((len(atoms), 3))
        if self.how == "nan":
            forces[0, 0] = np.nan
        if self.how == "shape":
            forces = forces[:-1]
        self.results = {"energy": np.inf if self.how == "inf" else 1.0, "forces": forces}


class Counted(LennardJones):
    """Lennard-Jones that counts how often it was made and closed."""

    made = closed = 0

    def __init__(self) -> None:
        super().__init__(sigma=3.0, rc=6.0)
        Counted.made += 1

    def close(self) -> None:
        Counted.closed += 1
