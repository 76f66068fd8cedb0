"""Hyperparameters of ACE, and what the training data settle of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field, model_validator

from forcewright.configs import StrictModel
from forcewright.data.closest_pairs import shortest_distances
from forcewright.errors import InputError
from forcewright.features.ace.basis import AceBasis, Core, RadialSettings
from forcewright.features.ace.basis_functions import generate_functions
from forcewright.features.ace.expansion import Embedding, EmbeddingKind, RadialFamily
from forcewright.models.ace.densities import DensityRefinement, NonlinearSettings
from forcewright.models.ace.potential import AcePotential, FittedBasis
from forcewright.models.active_sets import GRADE_CITATIONS
from forcewright.models.family import Alternative, LinearHyperparameters, Pruning
from forcewright.potential import Basis
from forcewright.structure import Dataset, FloatArray

_INSIDE = 0.9  # where the core begins, of the smallest distance in the data

#: radial families and λ that a short search chooses from; benchmarks/radial_defaults.py compares them with others
_RADIALS: tuple[tuple[RadialFamily, float | None], ...] = (
    ("SBessel", None), ("ChebPow", 2.5), ("ChebPow", 4.0), ("ChebPow", 6.0), ("ChebExpCos", 5.25),
)  # fmt: skip
_FEW_FUNCTIONS = 150  # per element, in that search

_CITATIONS = {
    "ace": "R. Drautz, Atomic cluster expansion for accurate and transferable interatomic potentials, "
    "Phys. Rev. B 99, 014104 (2019).",
    "pace": "Y. Lysogorskiy et al., Performant implementation of the atomic cluster expansion (PACE) and application "
    "to copper and silicon, npj Comput. Mater. 7, 97 (2021).",
    "pacemaker": "A. Bochkarev, Y. Lysogorskiy, S. Menon, M. Qamar, M. Mrovec and R. Drautz, Efficient parametrization "
    "of the atomic cluster expansion, Phys. Rev. Mater. 6, 013804 (2022): functions, densities and file format.",
    "zbl": "J. F. Ziegler, J. P. Biersack and U. Littmark, The Stopping and Range of Ions in Solids, Pergamon (1985): "
    "the repulsion at short range.",
    "obs": "B. Hassibi and D. G. Stork, Second order derivatives for network pruning: Optimal brain surgeon, "
    "Advances in Neural Information Processing Systems 5, 164 (1993): pruning.",
    "numba": "S. K. Lam, A. Pitrou and S. Seibert, Numba: A LLVM-based Python JIT compiler, LLVM-HPC 2015.",
}


class RepulsionSettings(StrictModel):
    """A ZBL core that takes over from the expansion at short range, as pacemaker writes it."""

    inner: float | dict[str, float] = Field()
    """Distance in Å below which the core starts to take over: for all pairs, or per pair such as {Si-C: 1.5}."""
    width: float = Field(default=0.2, gt=0)
    """Width in Å of the region in which it takes over, ending at inner."""


class PruneSettings(StrictModel):
    """Start from all the model's functions and keep those that are worth their cost."""

    products: int = Field(default=10_000, ge=1)
    """Multiplications that are kept: the sum over the products of A of their ranks, which evaluation costs."""
    gamma: float = Field(default=0.5, ge=0)
    """Exponent of the cost that saliencies are divided by: 0 prunes for accuracy alone, 1 for accuracy per cost."""


class AceModel(LinearHyperparameters):
    """Hyperparameters of ACE, as they stand in the config; a range may stand in the place of every number."""

    earlier_defaults: ClassVar[Mapping[str, object]] = {"radial": "SBessel"}

    kind: Literal["ace"] = "ace"
    """The family: ACE."""
    functions: int = Field(default=300, ge=1, le=100_000)
    """Invariant functions per element, the first of a ladder in the order of their degree."""
    densities: int = Field(default=1, ge=1, le=8)
    """Densities P that each atom's energy is a function of; 1 is linear."""
    exponents: tuple[float, ...] | None = None
    """Exponent of each density; 1, then 0.5, where not given."""
    prefactors: tuple[float, ...] | None = None
    """Prefactor of each density; 1 where not given."""
    embedding: EmbeddingKind = "FinnisSinclairShiftedScaled"
    """Form of the function of a density."""
    rcut: float = Field(default=5.0, gt=0, le=40)
    """Cutoff in Å."""
    rcut_pairs: dict[str, float] = Field(default_factory=dict)
    """Cutoffs of single pairs that differ, such as {C-H: 3.5}."""
    radial: Literal["auto", RadialFamily] = "auto"
    """Family of the radial functions; auto: the family and λ that predict a few of the training frames best."""
    decay: float = Field(default=5.25, gt=0)
    """λ of ChebExpCos and ChebPow; SBessel has none. With radial: auto, that of all families that have one."""
    dcut: float = Field(default=0.01, gt=0)
    """Width in Å of the outer switch of ChebExpCos."""
    nradmax: tuple[int, ...] = (15, 8, 8, 6, 4)
    """Largest radial index by rank, from rank 1 on; the number of entries is the largest rank, at most 6."""
    lmax: tuple[int, ...] = (0, 5, 5, 4, 2)
    """Largest angular momentum by rank."""
    order: Literal["degree", "pacemaker"] = "degree"
    """Order of the functions: by degree Σ(n - 1) + l_weight Σ l + rank_weight (rank - 1), or as pacemaker has it."""
    l_weight: float = Field(default=0.5, ge=0)
    """Weight of l in the degree."""
    rank_weight: float = Field(default=1.5, ge=0)
    """Weight of the rank in the degree."""
    repulsion: Literal["auto"] | RepulsionSettings | None = "auto"
    """Core at short range; auto: it takes over below 0.9 times each pair's smallest distance in the training data."""
    prune: PruneSettings | None = None
    """Keep only the functions that contribute most for what they cost."""
    nonlinear: NonlinearSettings = NonlinearSettings()
    """Settings of the fit with several densities."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("exponents", "prefactors"):
            numbers = getattr(self, name)
            if numbers is not None and len(numbers) != self.densities:
                raise ValueError(f"{name} has {len(numbers)} numbers for {self.densities} densities")
        if self.exponents is not None and (self.exponents[0] != 1.0 or min(self.exponents) <= 0):
            raise ValueError(
                f"exponents is {list(self.exponents)}; all must be above 0, and the first is 1: the linear fit that "
                "others start from"
            )
        if self.prefactors is not None and 0.0 in self.prefactors:
            raise ValueError(f"prefactors is {list(self.prefactors)}; none may be 0")
        if self.prefactors is not None and self.densities == 1 and self.prefactors[0] != 1.0:
            raise ValueError("prefactors of a single density is 1: its coefficients say the rest")
        try:  # whatever the elements are, what the limits allow begins like this
            generate_functions(1, nradmax=self.nradmax, lmax=self.lmax, count=1)
        except InputError as error:
            raise ValueError(f"{error.field} {error.problem}") from None
        return self

    @property
    def full_embedding(self) -> Embedding:
        """The function of the densities."""
        exponents = self.exponents or (1.0,) + (0.5,) * (self.densities - 1)
        return Embedding(self.embedding, self.prefactors or (1.0,) * self.densities, exponents)

    @classmethod
    def with_data(cls, content: Mapping[str, object], train: Dataset) -> dict[str, object]:
        """Return a model's config with the core placed below the smallest distances of ``train``.

        pacemaker places it at them, with a width of 0.1 Å. As the core takes over the whole energy of an atom, a frame
        in which any pair is but a little closer than in the training data then goes wrong altogether.
        """
        if content.get("repulsion", "auto") != "auto":
            return dict(content)
        inner = {pair: _INSIDE * distance for pair, distance in shortest_distances(train).items()}
        return {**content, "repulsion": {"inner": inner}}

    @classmethod
    def alternatives(cls, content: Mapping[str, object]) -> list[Alternative]:
        """Return the radial families with their λ, where the config leaves both open.

        Few functions tell which is good: of one density, before pruning.
        """
        if content.get("radial", "auto") != "auto":
            return []
        functions = content.get("functions", cls.model_fields["functions"].default)
        few = min(functions, _FEW_FUNCTIONS) if isinstance(functions, int) else _FEW_FUNCTIONS
        plain = {"functions": few, "densities": 1, "exponents": None, "prefactors": None, "prune": None}
        choices: list[dict[str, object]] = [
            {"radial": family} if decay is None or "decay" in content else {"radial": family, "decay": decay}
            for family, decay in _RADIALS
        ]
        distinct = [choice for k, choice in enumerate(choices) if choice not in choices[:k]]
        return [
            Alternative(
                str(choice["radial"]) + (f" λ {choice['decay']:g}" if "decay" in choice else ""),
                choice, {**content, **plain, **choice},
            )
            for choice in distinct
        ]  # fmt: skip

    def basis(self, species: Sequence[int]) -> AceBasis:
        """Return the invariant functions for given species (atomic numbers), before pruning.

        Where the radial functions are still open, they are SBessel's.

        Raises
        ------
        InputError
            If a pair names an element that is not among the species, or the limits allow no function.
        """
        species = tuple(sorted(species))
        symbols = [chemical_symbols[z] for z in species]
        functions = generate_functions(
            symbols, nradmax=self.nradmax, lmax=self.lmax, count=self.functions,
            order=self.order, l_weight=self.l_weight, rank_weight=self.rank_weight,
        )  # fmt: skip
        cutoffs = _pair_table(symbols, self.rcut_pairs, self.rcut, "model.rcut_pairs")
        core = None
        if isinstance(self.repulsion, RepulsionSettings):
            inner = self.repulsion.inner
            default, pairs = (0.0, inner) if isinstance(inner, dict) else (inner, {})
            core = Core(_pair_table(symbols, pairs, default, "model.repulsion.inner"), self.repulsion.width)
        radial: RadialFamily = "SBessel" if self.radial == "auto" else self.radial
        return AceBasis(species, RadialSettings(radial, self.decay, self.dcut), cutoffs, functions, core)

    def potential(
        self, basis: Basis, coefficients: FloatArray, energies: Mapping[int, float],
        covariance: FloatArray | None = None, provenance: Mapping[str, object] | None = None,
    ) -> AcePotential:  # fmt: skip
        """Return the potential of fitted coefficients (p,), or (p, P) of several densities."""
        assert isinstance(basis, AceBasis)
        linear = coefficients.ndim == 1
        embedding = Embedding() if linear else self.full_embedding
        table = coefficients.reshape(basis.size, -1)
        expansion = basis.expansion(table, energies, embedding)
        fitted = FittedBasis(basis, table, embedding, covariance if linear else None)
        return AcePotential(expansion, fitted, dict(provenance or {}))

    def pruning(self) -> Pruning | None:
        """Return how functions are left out; None where all of them are kept."""
        return None if self.prune is None else Pruning(self.prune.products, self.prune.gamma)

    def refinement(self) -> DensityRefinement | None:
        """Return the fit of several densities; None for one, which is linear."""
        return DensityRefinement(self.full_embedding, self.nonlinear) if self.densities > 1 else None

    def citations(self, *, graded: bool = False) -> dict[str, str]:
        """Return what to cite: ACE and its files, the core, pruning, extrapolation grades and the compiler."""
        keys = ["ace", "pace", "pacemaker", *(["zbl"] if self.repulsion else []), *(["obs"] if self.prune else [])]
        cited = {key: _CITATIONS[key] for key in keys}
        return {**cited, **(GRADE_CITATIONS if graded else {}), "numba": _CITATIONS["numba"]}


def _pair_table(
    symbols: Sequence[str], pairs: Mapping[str, float], default: float, name: str
) -> tuple[tuple[float, ...], ...]:
    """Return a symmetric (S, S) table from values by pair such as "C-H"."""
    table = np.full((len(symbols), len(symbols)), default)
    for pair, value in pairs.items():
        ends = pair.split("-")
        if len(ends) != 2 or not set(ends) <= set(symbols) or value <= 0:
            raise InputError(
                f"has {pair}: {value}; expected pairs of {', '.join(symbols)} such as {symbols[0]}-{symbols[-1]} "
                "and a length above 0 Å", field=name,
            )  # fmt: skip
        i, j = (symbols.index(end) for end in ends)
        table[i, j] = table[j, i] = value
    return tuple(tuple(row) for row in table.tolist())
