"""Predict densities of states: grids, what follows from them, and their errors where there are labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from forcewright.data.property_reading import read_property
from forcewright.errors import InputError
from forcewright.files import as_path, write_arrays, write_table
from forcewright.properties.density_of_states import excitation_spectrum, find_empty
from forcewright.properties.dos_model import DosData, DosModel, compare_dos
from forcewright.properties.electrons import ElectronicState, electronic_state
from forcewright.recipes.dos_study import errors_of
from forcewright.recipes.reading import read_structures
from forcewright.structure import FloatArray, Structure

_EXCITATIONS = np.arange(0.0, 10.05, 0.1)  # eV


def predict_densities(
    model: DosModel, structures: Any, output: str | Path | None = None
) -> tuple[list[FloatArray], list[dict[str, Any]]]:  # fmt: skip
    """Predict densities of states, and compare them with the labels of those frames that have one.

    Parameters
    ----------
    structures
        Files or ASE atoms.
    output
        ``.npz`` with everything: ``dos`` (n, m) in states/eV of each structure at ``energies_eV`` (m,), its
        ``dos_standard_error``, and for each structure its number of ``atoms``, ``fermi_level_eV``, ``band_energy_eV``,
        ``dos_at_fermi_level`` (states/eV) and ``excitation_spectrum`` (n, k) at ``excitation_energies_eV`` (k,), with
        standard errors under ``..._standard_error``; ``charges`` (N,) of all atoms one after the other (electrons in
        excess). ``.csv`` with a row for each structure: the same numbers without errors of the grid, excitations and
        charges, and the density in columns.

    Returns
    -------
    The density of each structure (m,) in states/eV, and a row of errors; none where there are no labels.

    Raises
    ------
    InputError
        If a frame holds an element that the model does not know, or the file has another ending.
    """
    path = None if output is None else as_path(output)
    if path is not None and path.suffix not in (".npz", ".csv"):
        raise InputError("densities of states are written as .npz or .csv", file=path)
    dataset = read_structures(structures)
    for index, frame in enumerate(dataset):
        if missing := set(np.unique(frame.structure.numbers).tolist()) - set(model.species):
            symbols, known_symbols = (
                ", ".join(chemical_symbols[z] for z in sorted(x)) for x in (missing, model.species)
            )
            file, _, number = frame.origin.rpartition("#")
            raise InputError(f"holds {symbols}, and the model knows {known_symbols}", file=Path(file) if file else None,
                             frame=int(number) if number else index, field="numbers")  # fmt: skip
    known = [_Known.of(model, structure) for structure in dataset.structures]
    rows = _errors(model, structures)
    if path is not None and path.suffix == ".npz":
        write_arrays(path, _arrays(model, dataset.structures, known), compressed=True)
    elif path is not None:
        write_table(path, _table(model, dataset.structures, known))
    return [each.density for each in known], rows


class _Known:
    """What a model says of one structure."""

    def __init__(self, density: FloatArray, spread: FloatArray | None) -> None:
        self.density, self.spread = density, spread
        self.state: ElectronicState | None = None
        self.errors: dict[str, float] = {}
        self.charges: FloatArray | None = None

    @classmethod
    def of(cls, model: DosModel, structure: Structure) -> _Known:
        local = model.local(structure)
        made, features = cls(local.sum(axis=0), None), None
        if model.spread is not None:
            features = model.environments.mean_of(structure)
            made.spread = len(structure) * model.spread.errors(features)
        try:
            made.state = electronic_state(model.grid, made.density, model.electrons_of(structure), 0.0)
        except InputError:  # the grid does not hold the electrons
            return made
        if features is not None:
            made.errors = model.derived_errors(structure, made.state, features)
        made.charges = model.charges(structure, local)
        return made

    def numbers(self, atoms: int) -> dict[str, float]:
        """Return what follows from the density with its standard errors, of the whole structure."""
        state, errors = self.state, self.errors
        nan = float("nan")
        return {
            "fermi_level_eV": nan if state is None else state.fermi,
            "fermi_level_eV_standard_error": errors.get("fermi", nan),
            "band_energy_eV": nan if state is None else state.band_energy,
            "band_energy_eV_standard_error": atoms * errors.get("band_energy", nan),
            "dos_at_fermi_level": nan if state is None else state.at_fermi,
            "dos_at_fermi_level_standard_error": atoms * errors.get("at_fermi", nan),
        }


def _arrays(model: DosModel, structures: Sequence[Structure], known: Sequence[_Known]) -> dict[str, FloatArray]:
    numbers = [each.numbers(len(structure)) for each, structure in zip(known, structures, strict=True)]
    missing = np.full(model.grid.count, np.nan)
    excitations = [
        np.full(len(_EXCITATIONS), np.nan) if each.state is None
        else excitation_spectrum(model.grid, each.density, each.state.fermi, _EXCITATIONS) for each in known
    ]  # fmt: skip
    charges = [np.full(len(structure), np.nan) if each.charges is None else each.charges
               for each, structure in zip(known, structures, strict=True)]  # fmt: skip
    return {
        "energies_eV": model.grid.points, "dos": np.array([each.density for each in known]),
        "dos_standard_error": np.array([missing if each.spread is None else each.spread for each in known]),
        "atoms": np.array([len(structure) for structure in structures]),
        **{name: np.array([row[name] for row in numbers]) for name in (numbers[0] if numbers else {})},
        "excitation_energies_eV": _EXCITATIONS, "excitation_spectrum": np.array(excitations),
        "charges": np.concatenate(charges) if charges else np.zeros(0),
    }  # fmt: skip


def _table(model: DosModel, structures: Sequence[Structure], known: Sequence[_Known]) -> list[dict[str, Any]]:
    names = [f"dos_at_{energy:.6g}_eV" for energy in model.grid.points]
    return [
        {"frame": frame, "atoms": len(structure), **each.numbers(len(structure)),
         **dict(zip(names, each.density.tolist(), strict=True))}
        for frame, (each, structure) in enumerate(zip(known, structures, strict=True))
    ]  # fmt: skip


def _belong(model: DosModel, structures: Any) -> bool:
    """Tell whether an npz file that is named alone holds the labels of these structures: those of the study's files."""
    file = model.target.file if model.target is not None else None
    if file is None or "{stem}" in file.name:
        return True
    listed = [structures] if isinstance(structures, str | Path) else list(structures)
    known = model.about.get("files", [])
    return all(isinstance(part, str | Path) and str(Path(part).resolve()) in known for part in listed)


def _errors(model: DosModel, structures: Any) -> list[dict[str, Any]]:
    """Return the errors against the labels of frames that have one; none where there are none."""
    if model.target is None or not _belong(model, structures):
        return []
    try:
        properties = read_property(structures, model.target, strict=False)
    except InputError:
        return []
    empty = find_empty(properties.stacked())
    if len(empty) == len(properties):
        return []
    properties = properties[np.setdiff1d(np.arange(len(properties)), empty)]
    return [{"set": "predicted", **errors_of(compare_dos(model, DosData.of_properties(properties)))}]
