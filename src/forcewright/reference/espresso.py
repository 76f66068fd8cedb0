"""Quantum ESPRESSO's pw.x: labels, eigenvalues and densities of states of crystals.

ASE writes the input; results are read from pw.x's XML, which has all digits
(`forcewright.data.quantum_espresso`). Every structure gets a process of its own in a folder of its own.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, SCFError, all_changes
from ase.io.espresso import write_espresso_in

from forcewright.data.eigenvalues import Eigenvalues
from forcewright.data.quantum_espresso import read_quantum_espresso
from forcewright.errors import InputError
from forcewright.files import scratch_folder
from forcewright.reference.calculators import CalculatorReference
from forcewright.reference.checks import Scope
from forcewright.reference.identity import hash_files, hash_settings
from forcewright.structure import FloatArray, to_voigt

PROGRAM = ("pw.x",)
_PREFIX = "forcewright"
_BOX = re.compile(r"%%%%+\s*(.*?)\s*%%%%+", re.DOTALL)


class EspressoCalculator(Calculator):
    """One run of pw.x for each structure; parameters as of `espresso_reference`."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012  # as ASE has it

    def __init__(self, command: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.command, self.folder, self.settings = tuple(command), folder, dict(settings)
        self.states: Eigenvalues | None = None

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Compute everything at once.

        Raises
        ------
        SCFError
            If the self-consistent cycle does not converge.
        CalculationFailed
            If the program ends with an error, with its own words.
        InputError
            If the atoms are not periodic.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        if not self.atoms.pbc.all():
            raise InputError("is not periodic in all directions; give it a cell with a gap", field="pbc")
        with scratch_folder("espresso") as folder:
            self._write_input(self.atoms, folder)
            output = folder / "pw.out"
            try:
                with output.open("wb") as stream:
                    subprocess.run(
                        [*self.command, "-in", "pw.in"], cwd=folder, stdout=stream, stderr=stream, check=False
                    )
            except OSError as error:
                raise CalculationFailed(f"{self.command[0]!r} cannot be started: {error}") from None
            self._take(folder / "out" / f"{_PREFIX}.xml", output.read_text(errors="replace"))

    def _write_input(self, atoms: Atoms, folder: Path) -> None:
        sections = {str(name).lower(): dict(content) for name, content in self.settings["input"].items()}
        sections["control"] = {
            **sections.get("control", {}), "calculation": "scf", "prefix": _PREFIX, "outdir": "out",
            "pseudo_dir": str(self.folder), "tprnfor": True, "tstress": True, "disk_io": "low",
        }  # fmt: skip
        kpoints = self.settings["kpoints"]
        if isinstance(kpoints, int | float):
            lengths = 2 * math.pi * np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
            kpoints = [max(1, math.ceil(length / kpoints - 1e-9)) for length in lengths]
        with (folder / "pw.in").open("w", encoding="utf-8") as file:
            write_espresso_in(
                file, atoms, input_data=sections, pseudopotentials=self.settings["pseudopotentials"],
                kpts=tuple(kpoints),
            )  # fmt: skip

    def _take(self, xml: Path, output: str) -> None:
        """Take the results of a run that ended, or raise what it says."""
        if "convergence NOT achieved" in output:
            raise SCFError("the self-consistent cycle did not converge")
        if box := _BOX.search(output):
            raise CalculationFailed(f"pw.x ended with an error: {' '.join(box[1].split())}")
        if not xml.exists():
            last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "it says nothing")
            raise CalculationFailed(f"pw.x wrote no results: {last}")
        (frame,) = read_quantum_espresso(xml)
        if isinstance(frame, InputError):
            raise CalculationFailed(f"the results of pw.x cannot be read: {frame.problem}")
        energy = frame.info["energy"]
        self.results |= {"energy": energy, "free_energy": energy, "forces": frame.arrays["forces"]}
        if "stress" in frame.info:
            self.results["stress"] = to_voigt(frame.info["stress"])
        self.states = frame.eigenvalues

    def _known_states(self) -> Eigenvalues:
        if self.states is None:
            raise InputError("pw.x wrote no eigenvalues", field="eigenvalues")
        return self.states

    def get_number_of_spins(self) -> int:
        """Return the number of spin channels."""
        return len(self._known_states().values)

    def get_k_point_weights(self) -> FloatArray:
        """Return the weights of the k-points, which add up to 1."""
        return self._known_states().weights

    def get_eigenvalues(self, kpt: int = 0, spin: int = 0) -> FloatArray:
        """Return eigenvalues in eV."""
        values: FloatArray = self._known_states().values[spin, kpt]
        return values

    def get_number_of_electrons(self) -> float:
        """Return the number of valence electrons."""
        electrons = self._known_states().electrons
        if electrons is None:
            raise InputError("pw.x wrote no number of electrons", field="electrons")
        return electrons

    def get_fermi_level(self) -> float:
        """Return the Fermi level in eV; of fixed occupations the highest occupied level."""
        level = self._known_states().fermi
        if level is None:
            raise InputError("pw.x wrote no Fermi level", field="fermi_level")
        return level


@dataclass(frozen=True)
class EspressoFactory:
    """Makes `EspressoCalculator`s; travels to worker processes."""

    command: tuple[str, ...]
    folder: Path
    settings: Mapping[str, Any]

    def __call__(self) -> EspressoCalculator:
        """Return a new calculator."""
        return EspressoCalculator(self.command, self.folder, self.settings)


def espresso_reference(
    pseudopotentials: Mapping[str, str], folder: Path, input: Mapping[str, Mapping[str, Any]],
    kpoints: float | tuple[int, int, int] = 0.2, command: Sequence[str] | None = None,
) -> CalculatorReference:  # fmt: skip
    """Return pw.x as a reference.

    Parameters
    ----------
    pseudopotentials
        File of each element's pseudopotential.
    folder
        Where these files lie.
    input
        Namelists of pw.x, such as ``{"system": {"ecutwfc": 40, "occupations": "smearing", "degauss": 0.01}}``.
    kpoints
        Largest distance of k-points in 1/Å (with the factor 2π), or the numbers of points along three directions.
    command
        The program and its arguments, where it is not found by itself.

    Raises
    ------
    InputError
        If the program is not installed, a pseudopotential is not there, or the plane waves have no cutoff.
    """
    words = tuple(command or PROGRAM)
    if shutil.which(words[0]) is None:
        raise InputError(
            f"the program {words[0]} is not installed (Debian: apt install quantum-espresso); give its command as a "
            "list, such as [mpirun, -n, '4', pw.x]", field="espresso.command",
        )  # fmt: skip
    files = [folder / name for name in pseudopotentials.values()]
    if missing := [file for file in files if not file.is_file()]:
        raise InputError("does not exist", file=missing[0], field="espresso.pseudopotentials")
    system = {
        key.lower(): value for name, part in input.items() if name.lower() == "system" for key, value in part.items()
    }
    if "ecutwfc" not in system:
        raise InputError("has no ecutwfc; give it under system, in Rydberg", field="espresso.input")
    settings = {"pseudopotentials": dict(pseudopotentials), "input": {k: dict(v) for k, v in input.items()},
                "kpoints": kpoints}  # fmt: skip
    identity = hash_settings("espresso", {**settings, "command": words, "files": hash_files(sorted(files))})
    scope = Scope(float(system.get("tot_charge", 0.0)))
    return CalculatorReference("Quantum ESPRESSO", EspressoFactory(words, folder, settings), identity, scope=scope)
