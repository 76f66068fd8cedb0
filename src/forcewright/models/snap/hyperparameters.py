"""Hyperparameters of SNAP and quadratic SNAP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from ase.data import chemical_symbols
from pydantic import Field, model_validator

from forcewright.configs import StrictModel
from forcewright.data.closest_pairs import shortest_distances
from forcewright.errors import InputError
from forcewright.features.bispectrum import Bispectrum, Zbl
from forcewright.models.active_sets import GRADE_CITATIONS
from forcewright.models.family import LinearHyperparameters
from forcewright.models.snap.potential import MAX_TWOJMAX, SnapPotential
from forcewright.potential import Basis
from forcewright.structure import Dataset, FloatArray

_CITATIONS = {
    "snap": "A. P. Thompson, L. P. Swiler, C. R. Trott, S. M. Foiles and G. J. Tucker, Spectral neighbor analysis "
    "method for automated generation of quantum-accurate interatomic potentials, J. Comput. Phys. 285, 316 (2015).",
    "qsnap": "M. A. Wood and A. P. Thompson, Extending the accuracy of the SNAP interatomic potential form, "
    "J. Chem. Phys. 148, 241721 (2018).",
    "zbl": "J. F. Ziegler, J. P. Biersack and U. Littmark, The Stopping and Range of Ions in Solids, Pergamon (1985): "
    "the repulsion at short range.",
    "lammps": "A. P. Thompson et al., LAMMPS - a flexible simulation tool for particle-based materials modeling, "
    "Comput. Phys. Commun. 271, 108171 (2022).",
}


_SWITCHED = 0.7  # where the repulsion starts to be switched off, of the smallest distance in the data

Length = Annotated[float, Field(gt=0)]


class ZblSettings(StrictModel):
    """A ZBL repulsion that is part of the model and not fitted."""

    inner: Length | dict[str, Length] = Field()
    """Distance in Å at which the repulsion starts to be switched off: for all pairs, or per pair such as {C-H: 0.9}."""
    outer: Length | dict[str, Length] = Field()
    """Distance in Å beyond which it is zero: for all pairs, or per pair."""

    @model_validator(mode="after")
    def _of_the_same_pairs(self) -> Self:
        inner, outer = self.inner, self.outer
        if isinstance(inner, dict) != isinstance(outer, dict) or (
            isinstance(inner, dict) and isinstance(outer, dict) and set(inner) != set(outer)
        ):
            raise ValueError("inner and outer name different pairs; give both as one number, or both for each pair")
        return self

    def table(self, symbols: Sequence[str]) -> Zbl:
        """Return the repulsion of the pairs of some elements.

        Raises
        ------
        InputError
            If a pair is missing, or names another element.
        """
        if not isinstance(self.inner, dict):
            assert isinstance(self.outer, float)
            return Zbl(self.inner, self.outer)
        assert isinstance(self.outer, dict)
        return Zbl(_pair_table(symbols, self.inner), _pair_table(symbols, self.outer))


def _pair_table(symbols: Sequence[str], pairs: Mapping[str, float]) -> tuple[tuple[float, ...], ...]:
    """Return a symmetric (S, S) table from values by pair such as "C-H"."""
    by_pair = {frozenset(pair.split("-")): value for pair, value in pairs.items()}
    wanted = {frozenset((a, b)) for a in symbols for b in symbols}
    if set(by_pair) != wanted:
        named = ", ".join("-".join(sorted(pair if len(pair) > 1 else [*pair, *pair])) for pair in wanted)
        raise InputError(f"names {', '.join(pairs)}; the pairs are {named}", field="model.zbl")
    return tuple(tuple(by_pair[frozenset((a, b))] for b in symbols) for a in symbols)


class SnapModel(LinearHyperparameters):
    """Hyperparameters of SNAP, as they stand in the config; a range may stand in the place of every number."""

    earlier_defaults: ClassVar[Mapping[str, object]] = {"zbl": None}
    kind: Literal["snap"] = "snap"
    """The family: SNAP."""
    twojmax: int = Field(default=6, ge=0, le=MAX_TWOJMAX)
    """Twice the largest angular momentum J; cost and accuracy grow with it."""
    quadratic: bool = False
    """Add products of two bispectrum components."""
    rcut: float = Field(default=4.7, gt=0, le=40)
    """Cutoff in Å between two atoms of radius 0.5."""
    rfac0: float = Field(default=0.99363, gt=0)
    """Share of the 3-sphere that distances are mapped to."""
    rmin0: float = Field(default=0.0, ge=0)
    """Distance in Å that is mapped to the pole."""
    radii: dict[str, float] = Field(default_factory=dict)
    """Radius of each element; the cutoff of a pair is rcut·(R_i + R_j); 0.5 where not given."""
    element_weights: dict[str, float] = Field(default_factory=dict)
    """Weight of each element in its neighbors' densities; 1 where not given."""
    zbl: Literal["auto"] | ZblSettings | None = "auto"
    """Repulsion at short range; auto: within each pair's smallest distance in the training data."""

    @classmethod
    def with_data(cls, content: Mapping[str, object], train: Dataset) -> dict[str, object]:
        """Return a model's config with the repulsion placed within the smallest distances of ``train``."""
        if content.get("zbl", "auto") != "auto":
            return dict(content)
        outer = shortest_distances(train)
        inner = {pair: _SWITCHED * distance for pair, distance in outer.items()}
        return {**content, "zbl": {"inner": inner, "outer": outer}}

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
            zbl=self.zbl.table(symbols) if isinstance(self.zbl, ZblSettings) else None,
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
        zbl = {"zbl": _CITATIONS["zbl"]} if self.zbl else {}
        grades = GRADE_CITATIONS if graded else {}
        return {"snap": _CITATIONS["snap"], **quadratic, **zbl, "lammps": _CITATIONS["lammps"], **grades}
