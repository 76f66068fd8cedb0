"""Hyperparameters of SNAP and quadratic SNAP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from ase.data import chemical_symbols
from pydantic import Field

from forcewright.configs import StrictModel
from forcewright.errors import InputError
from forcewright.features.bispectrum import Bispectrum, Zbl
from forcewright.models.active_sets import GRADE_CITATIONS
from forcewright.models.family import LinearHyperparameters
from forcewright.models.snap.potential import MAX_TWOJMAX, SnapPotential
from forcewright.potential import Basis
from forcewright.structure import FloatArray

_CITATIONS = {
    "snap": "A. P. Thompson, L. P. Swiler, C. R. Trott, S. M. Foiles and G. J. Tucker, Spectral neighbor analysis "
    "method for automated generation of quantum-accurate interatomic potentials, J. Comput. Phys. 285, 316 (2015).",
    "qsnap": "M. A. Wood and A. P. Thompson, Extending the accuracy of the SNAP interatomic potential form, "
    "J. Chem. Phys. 148, 241721 (2018).",
    "lammps": "A. P. Thompson et al., LAMMPS - a flexible simulation tool for particle-based materials modeling, "
    "Comput. Phys. Commun. 271, 108171 (2022).",
}


class ZblSettings(StrictModel):
    """A ZBL repulsion that is part of the model and not fitted."""

    inner: float = Field(gt=0)
    """Distance in Å at which the repulsion starts to be switched off."""
    outer: float = Field(gt=0)
    """Distance in Å beyond which it is zero."""


class SnapModel(LinearHyperparameters):
    """Hyperparameters of SNAP, as they stand in the config; a range may stand in the place of every number."""

    kind: Literal["snap"] = "snap"
    twojmax: int = Field(default=6, ge=0, le=MAX_TWOJMAX)
    """Twice the largest angular momentum J; cost and accuracy grow with it."""
    quadratic: bool = False
    """Add products of two bispectrum components."""
    rcut: float = Field(default=4.7, gt=0)
    """Cutoff in Å between two atoms of radius 0.5."""
    rfac0: float = Field(default=0.99363, gt=0)
    """Share of the 3-sphere that distances are mapped to."""
    rmin0: float = Field(default=0.0, ge=0)
    """Distance in Å that is mapped to the pole."""
    radii: dict[str, float] = Field(default_factory=dict)
    """Radius of each element; the cutoff of a pair is rcut·(R_i + R_j); 0.5 where not given."""
    element_weights: dict[str, float] = Field(default_factory=dict)
    """Weight of each element in its neighbors' densities; 1 where not given."""
    zbl: ZblSettings | None = None
    """Repulsion at short range."""

    def basis(self, species: Sequence[int]) -> Bispectrum:
        """Return the descriptors for given species (atomic numbers).

        Raises
        ------
        InputError
            If radii or element_weights name an element that is not among the species.
        """
        symbols = [chemical_symbols[z] for z in sorted(species)]
        for name, by_element in (("radii", self.radii), ("element_weights", self.element_weights)):
            if unknown := sorted(set(by_element) - set(symbols)):
                raise InputError(
                    f"names {', '.join(unknown)}; the data hold {', '.join(symbols)}", field=f"model.{name}"
                )
        return Bispectrum(
            tuple(sorted(species)), self.twojmax, self.rcut, self.rfac0, self.rmin0, self.quadratic,
            tuple(self.radii.get(s, 0.5) for s in symbols), tuple(self.element_weights.get(s, 1.0) for s in symbols),
            zbl=Zbl(self.zbl.inner, self.zbl.outer) if self.zbl else None,
        )  # fmt: skip

    def potential(
        self, basis: Basis, coefficients: FloatArray, energies: Mapping[int, float],
        covariance: FloatArray | None = None, provenance: Mapping[str, object] | None = None,
    ) -> SnapPotential:  # fmt: skip
        """Return the potential of fitted coefficients."""
        assert isinstance(basis, Bispectrum)
        return SnapPotential(basis, coefficients, dict(energies), covariance, dict(provenance or {}))

    def citations(self, *, graded: bool = False) -> dict[str, str]:
        """Return what to cite: SNAP, its quadratic form, extrapolation grades, and LAMMPS, which computes it."""
        quadratic = {"qsnap": _CITATIONS["qsnap"]} if self.quadratic else {}
        grades = GRADE_CITATIONS if graded else {}
        return {"snap": _CITATIONS["snap"], **quadratic, "lammps": _CITATIONS["lammps"], **grades}
