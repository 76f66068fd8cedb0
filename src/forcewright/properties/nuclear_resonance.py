"""What NMR reads from tensors of magnetic shielding and electric field gradient, in the field's conventions.

With σ_iso = tr σ/3 and the eigenvalues of the symmetric part (the antisymmetric part changes spectra in second order
alone; Anet and O'Leary, Concepts Magn. Reson. 3, 193 (1991)):

===========  =====================================================================================================
convention   definition
===========  =====================================================================================================
Haeberlen    |σ_zz - σ_iso| ≥ |σ_xx - σ_iso| ≥ |σ_yy - σ_iso|; Δσ = σ_zz - (σ_xx + σ_yy)/2, reduced anisotropy
             ζ = σ_zz - σ_iso = 2 Δσ/3, η = (σ_yy - σ_xx)/ζ between 0 and 1 (Haeberlen, Adv. Magn. Reson. Suppl. 1
             (1976))
Maryland     σ_11 ≤ σ_22 ≤ σ_33; span Ω = σ_33 - σ_11, skew κ = 3 (σ_iso - σ_22)/Ω between -1 and 1 (Mason, Solid State
             Nucl. Magn. Reson. 2, 285 (1993))
EFG          |V_zz| ≥ |V_yy| ≥ |V_xx|; C_Q = e Q V_zz/h, η_Q = (V_xx - V_yy)/V_zz between 0 and 1 (Pyykkö, Mol. Phys.
             106, 1965 (2008), has the moments Q)
===========  =====================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from forcewright.errors import InputError
from forcewright.structure import FloatArray

#: C_Q in MHz of a field gradient of 1 a.u. and a moment of 1 barn: e · 1 E_h/(e a₀²) · 10⁻²⁸ m²/h (CODATA 2018).
MHZ_PER_AU_BARN = 234.9647778

#: Quadrupole moments in barn, by isotope (Pyykkö 2008).
QUADRUPOLE_MOMENTS = {
    "2H": 0.00286, "7Li": -0.0401, "9Be": 0.05288, "11B": 0.04059, "14N": 0.02044, "17O": -0.02558, "23Na": 0.104,
    "25Mg": 0.1994, "27Al": 0.1466, "35Cl": -0.0817, "43Ca": -0.0408, "71Ga": 0.107, "91Zr": -0.176, "93Nb": -0.32,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Shielding:
    """Quantities of shielding tensors (n,), in the unit of the tensors where they have one.

    Attributes
    ----------
    isotropic
        σ_iso.
    anisotropy, reduced_anisotropy, asymmetry
        Δσ, ζ and η of Haeberlen; η is 0 where there is no anisotropy.
    span, skew
        Ω and κ; the skew is 0 where there is no span.
    axes
        Principal axes (n, 3, 3) of ``principal`` in its order, columns, right-handed.
    principal
        σ_11 ≤ σ_22 ≤ σ_33 (n, 3).
    """

    isotropic: FloatArray
    anisotropy: FloatArray
    reduced_anisotropy: FloatArray
    asymmetry: FloatArray
    span: FloatArray
    skew: FloatArray
    principal: FloatArray
    axes: FloatArray


@dataclass(frozen=True, eq=False)
class FieldGradient:
    """Quantities of electric field gradients (n,): V_zz, C_Q (MHz), η_Q, and V_xx, V_yy, V_zz with their axes."""

    largest: FloatArray
    coupling_MHz: FloatArray
    asymmetry: FloatArray
    principal: FloatArray
    axes: FloatArray


def describe_shielding(tensors: ArrayLike) -> Shielding:
    """Return the quantities of shielding tensors (n, 9) or (n, 3, 3)."""
    values, axes = _principal(tensors)
    isotropic = values.mean(axis=1)
    order = np.argsort(np.abs(values - isotropic[:, None]), axis=1, kind="stable")  # yy, xx, zz
    yy, xx, zz = np.take_along_axis(values, order, axis=1).T
    reduced = zz - isotropic
    span = values[:, 2] - values[:, 0]
    return Shielding(
        isotropic, zz - (xx + yy) / 2, reduced, _ratio(yy - xx, reduced), span,
        _ratio(3 * (isotropic - values[:, 1]), span), values, axes,
    )  # fmt: skip


def describe_field_gradient(tensors: ArrayLike, isotope: str | float) -> FieldGradient:
    """Return the quantities of electric field gradients.

    Parameters
    ----------
    tensors
        In atomic units (n, 9) or (n, 3, 3); their trace is taken away.
    isotope
        Such as 27Al, or its quadrupole moment in barn.

    Raises
    ------
    InputError
        If the isotope is not one of `QUADRUPOLE_MOMENTS`.
    """
    if isinstance(isotope, str) and isotope not in QUADRUPOLE_MOMENTS:
        known = ", ".join(QUADRUPOLE_MOMENTS)
        raise InputError(f"{isotope!r} has no quadrupole moment here; known are {known}, or give the moment in barn",
                         field="isotope")  # fmt: skip
    moment = QUADRUPOLE_MOMENTS[isotope] if isinstance(isotope, str) else float(isotope)
    values, axes = _principal(tensors)
    values = values - values.mean(axis=1)[:, None]
    order = np.argsort(np.abs(values), axis=1, kind="stable")
    values = np.take_along_axis(values, order, axis=1)
    axes = np.take_along_axis(axes, order[:, None, :], axis=2)
    axes[:, :, 0] *= np.sign(np.linalg.det(axes))[:, None]
    largest = values[:, 2]
    return FieldGradient(largest, MHZ_PER_AU_BARN * moment * largest, _ratio(values[:, 0] - values[:, 1], largest),
                         values, axes)  # fmt: skip


def _principal(tensors: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return eigenvalues (n, 3), ascending, and axes (n, 3, 3), columns, of the symmetric parts."""
    full = np.asarray(tensors, dtype=np.float64)
    if full.ndim < 2 or full.size % 9 or full.shape[-1] not in (3, 9):
        raise InputError(f"has shape {full.shape}, expected (n, 9) or (n, 3, 3)", field="tensors")
    full = full.reshape(-1, 3, 3)
    if not np.isfinite(full).all():
        raise InputError("holds numbers that are not finite", field="tensors")
    values, axes = np.linalg.eigh((full + np.swapaxes(full, 1, 2)) / 2)
    axes[:, :, 0] *= np.sign(np.linalg.det(axes))[:, None]
    return values, axes


def _ratio(upper: FloatArray, lower: FloatArray) -> FloatArray:
    return np.divide(upper, lower, out=np.zeros_like(lower), where=np.abs(lower) > 1e-12)
