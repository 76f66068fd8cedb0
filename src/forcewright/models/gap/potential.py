"""A fitted GAP, evaluated by QUIP in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from forcewright.errors import MissingExtraError
from forcewright.files import scratch_folder
from forcewright.models.gap.files import INIT_ARGS, PARAMETERS, check_files, descriptors_of
from forcewright.models.storage import PotentialFolder, hashes_of, write_files, write_potential
from forcewright.open_cell import closed_cell
from forcewright.plain_data import number
from forcewright.potential import PotentialBase, Prediction
from forcewright.structure import FloatArray, Frame, Structure, as_structure, require_known_species
from forcewright.trajectory.reading import StructuresOrFile, structures_of

_LOG = "logs/gap_fit.log"  # in a folder of its own: it holds times, and decides nothing


@dataclass(frozen=True, eq=False, repr=False)
class GapPotential(PotentialBase):
    """A Gaussian approximation potential.

    Parameters
    ----------
    species
        Atomic numbers it was fitted to, ascending.
    cutoff
        Range in Å.
    files
        What gap_fit wrote, by name (see `forcewright.models.gap.files`).
    log
        What gap_fit said.

    Raises
    ------
    InputError
        If the files hold anything else than one GAP.
    """

    species: tuple[int, ...]
    cutoff: float
    files: Mapping[str, bytes] = field(repr=False)
    log: str = field(default="", repr=False)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_files(self.files)

    def predict_structures(self, structures: Sequence[Structure], forces: bool, stress: bool) -> list[Prediction]:
        """Predict structures of known elements.

        Raises
        ------
        MissingExtraError
            If quippy-ase is not installed.
        """
        wanted = ["energy", *(["forces"] if forces else []), *(["stress"] if stress else [])]
        predictions = []
        for structure in structures:
            results, extra = self._evaluate(structure, wanted)
            virial = extra["config"].get("virial")
            predictions.append(
                Prediction(
                    float(results["energy"]), np.asarray(results["forces"], dtype=np.float64) if forces else None,
                    -np.asarray(virial) / structure.volume if stress and structure.volume > 0 else None,
                )
            )  # fmt: skip
        return predictions

    def energy_standard_error(self, structures: StructuresOrFile) -> FloatArray:
        """Return the standard error of each predicted energy in eV.

        It is the sum of the standard deviations of the atomic energies: the largest value that their correlation
        allows, and the exact one where all atoms are alike. Their variance is that of the Gaussian process given
        the sparse environments, k(x, x) - k(x, M) K(M, M)⁻¹ k(M, x) (Bartók, Kermode, Bernstein, Csányi,
        Phys. Rev. X 8, 041048, 2018): it tells novelty, not the noise of the labels.
        """
        return np.array([self.atomic_standard_deviations(s).sum() for s in structures_of(structures)])

    def atomic_standard_deviations(self, structure: Atoms | Frame | Structure) -> FloatArray:
        """Return the standard deviation of each atom's energy (N,) in eV, as in `energy_standard_error`."""
        name = "gap_variance"
        extra = self._evaluate(as_structure(structure), ["energy"], f"local_gap_variance={name}")[1]
        return np.sqrt(np.maximum(np.asarray(extra["atoms"][name], dtype=np.float64), 0.0))

    def force_parts(self, structure: Structure) -> dict[str, FloatArray]:
        """Return the forces (N, 3) of each descriptor, such as pairs and SOAP, by its name; their sum is the force."""
        parts: dict[str, FloatArray] = {}
        for k, name in enumerate(descriptors_of(self.files), 1):
            results = self._evaluate(structure, ["energy", "forces"], f"only_descriptor={k}")[0]
            parts[name] = parts.get(name, 0.0) + np.array(results["forces"], dtype=np.float64)
        return parts

    def _evaluate(
        self, structure: Structure, properties: list[str], arguments: str = ""
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        require_known_species(structure, self.species)
        atoms = closed_cell(structure, self.cutoff + 1.0).to_ase()
        quip = self._quip
        quip.calculate(atoms, properties, calc_args=arguments or None)
        return quip.results, quip.extra_results

    @cached_property
    def _quip(self) -> Any:
        if find_spec("quippy") is None:
            raise MissingExtraError("quippy-ase", "gap", "evaluating a GAP")
        from quippy.potential import Potential as QuipPotential

        with scratch_folder("gap") as folder:
            write_files(folder, self.files)
            parameters = str(folder / PARAMETERS)
            quip = QuipPotential(INIT_ARGS, param_filename=parameters, calculation_always_required=True)
        quip.set_default_properties(["energy"])
        return quip

    def save(self, folder: str | Path) -> Path:
        """Write ``potential.json``, the files of gap_fit (which LAMMPS's and ASE's QUIP read too) and its log."""
        content = {
            "species": [chemical_symbols[z] for z in self.species], "cutoff": self.cutoff,
            "files": hashes_of(self.files), "provenance": dict(self.provenance),
        }  # fmt: skip
        return write_potential(folder, "gap", content, files={**self.files, _LOG: self.log.encode()})

    @classmethod
    def load(cls, folder: Path) -> GapPotential:
        """Read a folder written by `save`; `InputError` if a file is altered or asks QUIP for anything but a GAP."""
        with PotentialFolder(folder, "gap") as saved:
            files = saved.files()
            check_files(files, folder / PARAMETERS)
            cutoff = number(saved.content["cutoff"], "cutoff", above=0)
            return cls(saved.species, cutoff, files, saved.text(_LOG), saved.provenance)
