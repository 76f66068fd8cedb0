"""Vibrations of molecules by models and references, kept by content, and their errors mode by mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.accuracy.spectra import Spectrum
from forcewright.errors import ForcewrightError, InputError
from forcewright.files import read_arrays, write_arrays
from forcewright.force_field import ForceField
from forcewright.potential import Reference
from forcewright.protocols.molecular_vibrations import (
    MolecularVibrations,
    compare_vibrations,
    molecular_vibrations,
)
from forcewright.protocols.structures import build_structure
from forcewright.recipes.assess_config import AssessConfig, VibrationSettings
from forcewright.recipes.assess_predictions import references_of
from forcewright.reference import reference_from
from forcewright.reference.identity import hash_settings
from forcewright.structure import Structure


@dataclass(frozen=True, eq=False)
class VibrationsCompared:
    """Rows for each molecule and model, for each of their modes, densities of states, and what failed and why."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    modes: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, dict[str, Spectrum]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def compared_vibrations(settings: AssessConfig, folder: Path) -> VibrationsCompared:
    """Compute the vibrations that a config names, those of a model with several seeds by its first.

    Parameters
    ----------
    folder
        Keeps what was computed.

    Raises
    ------
    InputError
        If a molecule or a reference cannot be used.
    """
    made = VibrationsCompared()
    for molecule, asked in settings.vibrations.items():
        structure = build_structure(asked.structure, settings.output).structure
        try:
            right = reference_from(asked.reference, settings.output)
            known = _vibrations(right, structure, asked, folder)
        except InputError as error:
            raise InputError(error.problem, file=error.file, field=f"vibrations.{molecule}") from None
        made.curves[molecule] = {right.name: known.spectrum}
        for name, model in settings.models.items():
            if model.is_stored or (asked.models is not None and name not in asked.models):
                continue
            try:
                computed = _vibrations(references_of(name, model, settings.output)[0], structure, asked, folder)
                row, modes = _errors(computed, known)
            except ForcewrightError as error:
                made.failures[f"{name} on the vibrations of {molecule}"] = str(error)
                continue
            about = {"molecule": molecule, "model": name}
            made.curves[molecule][name] = computed.spectrum
            made.rows.append({**about, **row})
            made.modes.extend({**about, **mode} for mode in modes)
    return made


def _errors(model: MolecularVibrations, known: MolecularVibrations) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    errors = compare_vibrations(model, known)
    row = {
        "overlap": errors.overlap, "wasserstein_THz": errors.wasserstein_THz, "matched_modes_rms_THz": errors.rms_THz,
        "zero_point_error_eV": errors.zero_point_error_eV, "imaginary_modes": int(np.sum(model.frequencies_THz < 0)),
    }  # fmt: skip
    modes = [
        {
            "mode": k, "reference_per_cm": float(known.frequencies_per_cm[k]),
            "model_per_cm": float(model.frequencies_per_cm[errors.partners[k]]),
            "likeness": float(errors.likeness[k]), "error_THz": float(errors.errors_THz[k]),
        }
        for k in range(len(errors.partners))
    ]  # fmt: skip
    return row, modes


def _vibrations(source: Reference, structure: Structure, asked: VibrationSettings, folder: Path) -> MolecularVibrations:
    """Return the vibrations of a molecule, computed unless they were before."""
    if not isinstance(source, ForceField):
        raise InputError(f"{source.name} has no ASE calculator, which vibrations need; give another", field="reference")
    options: Mapping[str, Any] = {"displacement_A": asked.displacement_A, "width_THz": asked.width_THz}
    about = {"by": source.content_hash, "of": structure.content_hash, **options}
    path = folder / f"{hash_settings('molecular vibrations', about)[:24]}.npz"
    try:
        kept = read_arrays(path)
        plain: dict[str, Any] = {name: value.item() if value.ndim == 0 else value for name, value in kept.items()}
        return MolecularVibrations(**plain)
    except (InputError, TypeError):  # absent, damaged, or of another version
        computed = molecular_vibrations(source.calculator, structure, **options)
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(path, {part.name: np.asarray(getattr(computed, part.name)) for part in fields(computed)})
    return computed
