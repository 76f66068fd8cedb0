"""Elastic constants from stress under small strains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.protocols.relaxation import relaxed_atoms
from forcewright.protocols.system import AnyStructure, CalculatorSource, new_crystal, stress, with_calculator
from forcewright.structure import VOIGT, FloatArray
from forcewright.units import GPA

_CUBIC_TOLERANCE = 0.01  # of the largest constant


@dataclass(frozen=True, eq=False)
class ElasticConstants(Result):
    """The elastic tensor C (6, 6) in GPa, Voigt order xx yy zz yz xz xy, symmetrized, and derived moduli.

    ``asymmetry_GPa`` is the largest |C_ij - C_ji| before symmetrizing. ``c11_GPa`` ... are averages over the cubic
    axes, NaN where the tensor is not cubic along x, y and z within 1 % of its largest constant. ``stable`` says
    whether the crystal resists every small strain: all eigenvalues of C are positive (Born 1940; Mouhat and Coudert
    2014, condition i).
    """

    tensor_GPa: FloatArray
    asymmetry_GPa: float
    c11_GPa: float
    c12_GPa: float
    c44_GPa: float
    bulk_modulus_voigt_GPa: float
    bulk_modulus_reuss_GPa: float
    bulk_modulus_GPa: float
    shear_modulus_voigt_GPa: float
    shear_modulus_reuss_GPa: float
    shear_modulus_GPa: float
    smallest_eigenvalue_GPa: float
    stable: bool

    def _draw(self, ax: Axes) -> None:
        limit = float(np.abs(self.tensor_GPa).max())
        ax.imshow(self.tensor_GPa, cmap="RdBu_r", vmin=-limit, vmax=limit)
        for (i, j), value in np.ndenumerate(self.tensor_GPa):
            color = "white" if abs(value) > 0.6 * limit else "black"
            ax.text(j, i, f"{round(value) + 0.0:.0f}", ha="center", va="center", fontsize=8, color=color)
        names = ["xx", "yy", "zz", "yz", "xz", "xy"]
        ax.set(xticks=range(6), yticks=range(6), xticklabels=names, yticklabels=names, title="elastic constants (GPa)")


def elastic_constants(
    calculator: CalculatorSource, structure: AnyStructure, *, strain: float = 0.005, relax_cell: bool = True,
    relax_ions: bool = True, fmax: float = 1e-4,
) -> ElasticConstants:  # fmt: skip
    """Compute C_ij = dσ_i / dε_j by central differences of the stress, internal coordinates relaxed.

    Parameters
    ----------
    strain
        Strain in Voigt notation (twice the tensor component for shear) in either direction.
    relax_cell
        Relax cell and positions first; the constants are defined for a crystal without stress.
    relax_ions
        Relax the positions under strain; without it the constants are those of clamped ions.
    fmax
        Largest force in eV/Å at which a relaxation ends.

    Raises
    ------
    InputError
        If the structure is not a crystal, or an argument is invalid.
    ForcewrightError
        If a relaxation fails.
    """
    if not 0 < strain <= 0.05:
        raise InputError(f"is {strain}; give a number between 0 and 0.05", field="strain")
    atoms = new_crystal(calculator, structure)
    if relax_cell:
        atoms.set_constraint()
        atoms = relaxed_atoms(atoms, cell="full", fmax=fmax, smax_GPa=1e-3)
    up, down = ([_strained_stress(atoms, j, e, relax_ions, fmax) for j in range(6)] for e in (strain, -strain))
    return summarize_elastic_tensor(((np.array(up) - np.array(down)) / (2 * strain * GPA)).T)


def _strained_stress(atoms: Any, component: int, strain: float, relax_ions: bool, fmax: float) -> FloatArray:
    """Return the stress (6,) in eV/Å³ under one Voigt strain."""
    i, j = VOIGT[component]
    tensor = np.zeros((3, 3))
    tensor[i, j] = tensor[j, i] = strain if i == j else strain / 2
    strained = with_calculator(atoms.calc, atoms)
    strained.set_cell(atoms.cell.array @ (np.eye(3) + tensor), scale_atoms=True)
    if relax_ions:
        strained = relaxed_atoms(strained, fmax=fmax)
    return stress(strained)


def summarize_elastic_tensor(tensor: FloatArray) -> ElasticConstants:
    """Return the moduli of an elastic tensor (6, 6) in GPa: Voigt, Reuss and Hill averages (Hill 1952)."""
    c = (tensor + tensor.T) / 2
    s = np.linalg.pinv(c)
    normal, shear = slice(0, 3), slice(3, 6)
    k_voigt = float(c[normal, normal].sum() / 9)
    k_reuss = float(1 / s[normal, normal].sum())
    g_voigt = float((1.5 * np.trace(c[normal, normal]) - 0.5 * c[normal, normal].sum()) / 15)
    g_voigt += float(np.trace(c[shear, shear]) / 5)
    g_reuss = 15 / float(6 * np.trace(s[normal, normal]) - 2 * s[normal, normal].sum() + 3 * np.trace(s[shear, shear]))
    c11, c12, c44 = _cubic_constants(c)
    smallest = float(np.linalg.eigvalsh(c)[0])
    return ElasticConstants(
        tensor_GPa=c, asymmetry_GPa=float(np.abs(tensor - tensor.T).max()), c11_GPa=c11, c12_GPa=c12, c44_GPa=c44,
        bulk_modulus_voigt_GPa=k_voigt, bulk_modulus_reuss_GPa=k_reuss, bulk_modulus_GPa=(k_voigt + k_reuss) / 2,
        shear_modulus_voigt_GPa=g_voigt, shear_modulus_reuss_GPa=g_reuss, shear_modulus_GPa=(g_voigt + g_reuss) / 2,
        smallest_eigenvalue_GPa=smallest, stable=smallest > 0,
    )  # fmt: skip


def _cubic_constants(c: FloatArray) -> tuple[float, float, float]:
    """Return C11, C12, C44 averaged over the axes, or NaN where the tensor is not cubic along them."""
    c11, c44 = float(np.diag(c)[:3].mean()), float(np.diag(c)[3:].mean())
    c12 = float((c[0, 1] + c[0, 2] + c[1, 2]) / 3)
    cubic = np.diag([c11 - c12] * 3 + [c44] * 3)
    cubic[:3, :3] += c12
    if np.abs(c - cubic).max() > _CUBIC_TOLERANCE * np.abs(c).max():
        return float("nan"), float("nan"), float("nan")
    return c11, c12, c44
