"""Molecules by PySCF: Hartree–Fock and density functional theory in Gaussians, with properties of the response.

Sun et al., J. Chem. Phys. 153, 024109 (2020). Shieldings are those of gauge-including orbitals by the package
pyscf-properties, which must fit the version of PySCF.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, SCFError, all_changes

from forcewright.errors import InputError, MissingExtraError
from forcewright.reference.ase_factory import AseFactory
from forcewright.reference.calculators import CalculatorReference
from forcewright.reference.checks import Scope
from forcewright.reference.identity import hash_settings, version_of
from forcewright.structure import FloatArray
from forcewright.units import BOHR, HARTREE

#: Electric field (atomic units) of the central differences of a polarizability: their error is of its square.
_FIELD = 1e-3


def pyscf_reference(
    xc: str | None = None, basis: str = "def2-svp", *, charge: int = 0, multiplicity: int | None = None,
    max_iterations: int = 100,
) -> CalculatorReference:  # fmt: skip
    """Return PySCF as a reference for molecules.

    Parameters
    ----------
    xc
        A functional such as pbe or b3lyp; Hartree–Fock where not given.
    basis
        Name of a basis set.
    charge, multiplicity
        Of the molecule; the lowest multiplicity where not given.
    max_iterations
        Longest self-consistent cycle; a molecule that needs more fails.

    Raises
    ------
    MissingExtraError
        If PySCF is not installed.
    """
    if find_spec("pyscf") is None:
        raise MissingExtraError("pyscf", "pyscf", "the reference pyscf")
    settings: dict[str, Any] = {
        "xc": xc, "basis": basis, "charge": charge, "multiplicity": multiplicity, "max_iterations": max_iterations,
    }  # fmt: skip
    factory = AseFactory(__name__, PyscfCalculator.__name__, settings, "pyscf", allowed=True)
    identity = hash_settings("pyscf", {**settings, "pyscf": version_of("pyscf")})
    return CalculatorReference(f"PySCF {xc or 'HF'}/{basis}", factory, identity, scope=Scope(charge, multiplicity))


class PyscfCalculator(Calculator):
    """PySCF as an ASE calculator of molecules; parameters as of `pyscf_reference`."""

    implemented_properties = [  # noqa: RUF012  # as ASE has it
        "energy", "free_energy", "forces", "dipole", "charges", "polarizability", "shielding",
    ]  # fmt: skip

    def __init__(
        self, xc: str | None = None, basis: str = "def2-svp", charge: int = 0, multiplicity: int | None = None,
        max_iterations: int = 100,
    ) -> None:  # fmt: skip
        super().__init__()  # type: ignore[no-untyped-call]
        self.xc, self.basis, self.charge, self.multiplicity = xc, basis, charge, multiplicity
        self.max_iterations = max_iterations
        self._field_free: Any = None

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Compute what is asked for; the cycle is gone through again only for other atoms.

        Raises
        ------
        SCFError
            If a cycle does not converge.
        InputError
            If the atoms are periodic, or the shieldings cannot be computed.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        if self.atoms.pbc.any():
            raise InputError("is periodic; the reference pyscf computes molecules", field="pbc")
        if system_changes or self._field_free is None:
            self._field_free = self._converged(self.atoms, np.zeros(3))
        field_free = self._field_free
        self.results |= {"energy": field_free.e_tot * HARTREE, "free_energy": field_free.e_tot * HARTREE}
        if "forces" in properties:
            gradient = field_free.nuc_grad_method()
            gradient.verbose = 0
            self.results["forces"] = -np.asarray(gradient.kernel()) * HARTREE / BOHR
        if "dipole" in properties:
            self.results["dipole"] = _dipole(field_free) * BOHR
        if "charges" in properties:
            self.results["charges"] = np.asarray(field_free.mulliken_pop(verbose=0)[1])
        if "polarizability" in properties:
            self.results["polarizability"] = self._polarizability(self.atoms)
        if "shielding" in properties:
            self.results["shielding"] = self._shieldings()

    def _converged(self, atoms: Atoms, field: FloatArray) -> Any:
        """Return the converged mean field in an electric field (atomic units)."""
        scf, dft = import_module("pyscf.scf"), import_module("pyscf.dft")
        electrons = int(atoms.numbers.sum()) - self.charge
        spin = self.multiplicity - 1 if self.multiplicity else electrons % 2
        molecule = import_module("pyscf.gto").M(
            atom=list(zip(atoms.symbols, atoms.positions.tolist(), strict=True)), unit="Angstrom",
            basis=self.basis, charge=self.charge, spin=spin, verbose=0,
        )  # fmt: skip
        restricted = spin == 0
        if self.xc is None:
            mean = (scf.RHF if restricted else scf.UHF)(molecule)
        else:
            mean = (dft.RKS if restricted else dft.UKS)(molecule)
            mean.xc = self.xc
        mean.conv_tol, mean.max_cycle, mean.verbose = 1e-11, self.max_iterations, 0
        mean.chkfile = None  # of thousands of structures nothing is read back
        if (scratch := getattr(mean, "_chkfile", None)) is not None:
            scratch.close()
        if field.any():
            core = mean.get_hcore() + np.einsum("x,xij->ij", field, molecule.intor_symmetric("int1e_r"))
            mean.get_hcore = lambda *rest: core
        mean.kernel()
        if not mean.converged:
            raise SCFError(f"the cycle did not converge in {self.max_iterations} steps")
        return mean

    def _polarizability(self, atoms: Atoms) -> FloatArray:
        """Return the polarizability (3, 3) in Å³ by central differences of dipoles in a field."""
        slopes = np.zeros((3, 3))
        for axis, direction in enumerate(np.eye(3)):
            plus, minus = (_dipole(self._converged(atoms, sign * _FIELD * direction)) for sign in (1, -1))
            slopes[:, axis] = (plus - minus) / (2 * _FIELD)
        return (slopes + slopes.T) / 2 * BOHR**3

    def _shieldings(self) -> FloatArray:
        """Return the absolute shieldings (N, 3, 3) in ppm."""
        kind = {"RHF": "rhf", "UHF": "uhf", "RKS": "rks", "UKS": "uks"}[type(self._field_free).__name__]
        try:
            nmr = import_module(f"pyscf.prop.nmr.{kind}").NMR(self._field_free)
            nmr.verbose = 0
            return np.asarray(nmr.kernel())
        except ImportError:
            raise InputError("shieldings need the package pyscf-properties; install it with: pip install "
                             "pyscf-properties", field="shielding") from None  # fmt: skip
        except Exception as error:  # versions of the two that do not fit fail in many ways
            raise InputError(
                f"pyscf-properties {version_of('pyscf-properties')} computes no shieldings with PySCF "
                f"{version_of('pyscf')} ({type(error).__name__}: {error})", field="shielding",
            ) from None  # fmt: skip

    def get_number_of_spins(self) -> int:
        """Return 2 where orbitals of the two spins differ."""
        return 1 if np.ndim(self._field_free.mo_energy) == 1 else 2

    def get_k_point_weights(self) -> FloatArray:
        """Return the weight of the only point."""
        return np.ones(1)

    def get_eigenvalues(self, kpt: int = 0, spin: int = 0) -> FloatArray:
        """Return orbital energies in eV."""
        energies: FloatArray = np.atleast_2d(self._field_free.mo_energy)[spin] * HARTREE
        return energies

    def get_occupation_numbers(self, kpt: int = 0, spin: int = 0) -> FloatArray:
        """Return occupations, at most 2 where orbitals of the two spins do not differ."""
        filled: FloatArray = np.atleast_2d(self._field_free.mo_occ)[spin]
        return filled

    def get_number_of_electrons(self) -> float:
        """Return the number of electrons."""
        return float(np.sum(self._field_free.mo_occ))

    def get_fermi_level(self) -> float:
        """Return the middle between the highest occupied and the lowest empty orbital, in eV."""
        energies, filled = np.ravel(self._field_free.mo_energy), np.ravel(self._field_free.mo_occ) > 0
        highest = energies[filled].max()
        return float((highest + energies[~filled].min()) / 2 if (~filled).any() else highest) * HARTREE


def _dipole(mean: Any) -> FloatArray:
    return np.asarray(mean.dip_moment(unit="AU", verbose=0), dtype=np.float64)
