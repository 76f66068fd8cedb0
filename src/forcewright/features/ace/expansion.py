"""What an ACE potential is made of, as data: bonds, embeddings, and basis functions before and after summing couplings.

=========  ==================================================================================================
symbol     meaning
=========  ==================================================================================================
μ          species, as its position in ``elements``; μ_i of the center, μ_j of the neighbor
n, l, m    radial index (from 1), angular momentum, and its projection
A_μnlm     Σ_j R_nl(r_ij) Y_lm(r̂_ij) over neighbors j of species μ, with Y_00 = 1; for rank 1 Σ_j g_n(r_ij)
B          rotation-invariant function of one center: Σ_rows C Re Π_t A_t (Drautz 2019, eq. 27)
P          number of densities ρ_p = Σ_B c_Bp B, and E_i = F(ρ_1 … ρ_P) + core + E0
c̃         c_Bp C, summed over the couplings of equal (μ, n, l): what a `.yace` file holds
=========  ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from forcewright.structure import FloatArray, IntArray

RadialFamily = Literal["SBessel", "ChebExpCos", "ChebPow", "ChebLinear"]
EmbeddingKind = Literal["FinnisSinclairShiftedScaled", "FinnisSinclair"]
CoreMode = Literal["density", "distance", "zbl"]
RADIAL_FAMILIES: tuple[RadialFamily, ...] = get_args(RadialFamily)
EMBEDDINGS: tuple[EmbeddingKind, ...] = get_args(EmbeddingKind)
CORE_MODES: tuple[CoreMode, ...] = get_args(CoreMode)


@dataclass(frozen=True, eq=False)
class Bond:
    """Radial functions and core repulsion of an ordered pair of species, center first; lengths in Å.

    ``coefficients`` (nradmax, lmax + 1, nradbase) contract the family's functions: R_nl = Σ_k c_nlk g_k.
    ``inner`` and ``inner_width`` are r_cut_in and d_cut_in; the switched interval is [inner - inner_width, inner].
    """

    family: RadialFamily
    cutoff: float
    coefficients: FloatArray
    decay: float = 5.25
    cutoff_width: float = 0.01
    core_prefactor: float = 0.0
    core_decay: float = 1.0
    inner: float = 0.0
    inner_width: float = 0.0

    @property
    def nradmax(self) -> int:
        """Number of radial functions R_nl per l."""
        return int(self.coefficients.shape[0])

    @property
    def lmax(self) -> int:
        """Largest l of R_nl."""
        return int(self.coefficients.shape[1]) - 1

    @property
    def nradbase(self) -> int:
        """Number of functions g_k."""
        return int(self.coefficients.shape[2])


@dataclass(frozen=True, eq=False)
class Embedding:
    """F(ρ) = Σ_p w_p f(ρ_p; m_p) with ``weights`` (P,) and ``exponents`` (P,); core limits in eV."""

    kind: EmbeddingKind = "FinnisSinclairShiftedScaled"
    weights: tuple[float, ...] = (1.0,)
    exponents: tuple[float, ...] = (1.0,)
    core_limit: float = 1e5
    core_width: float = 250.0

    @property
    def densities(self) -> int:
        """Number of densities P."""
        return len(self.weights)


@dataclass(frozen=True, eq=False)
class BasisFunction:
    """One invariant function B: factors (μ, n, l), the intermediate L of its coupling, and its expansion in products.

    B = Σ_rows C Re Π_t A_(μ_t n_t l_t m_t); ``ms`` (rows, rank) holds m, ``coupling`` (rows,) the coefficients C, with
    the omitted half of the rows (m → -m) already counted.
    """

    center: int
    species: tuple[int, ...]
    ns: tuple[int, ...]
    ls: tuple[int, ...]
    intermediate: tuple[int, ...]
    ms: IntArray = field(repr=False)
    coupling: FloatArray = field(repr=False)

    @property
    def rank(self) -> int:
        """Number of factors."""
        return len(self.ns)


@dataclass(frozen=True, eq=False)
class ProductFunction:
    """All products of one (μ, n, l): ``ms`` (rows, rank) and ``coefficients`` c̃ (rows, P)."""

    species: tuple[int, ...]
    ns: tuple[int, ...]
    ls: tuple[int, ...]
    ms: IntArray = field(repr=False)
    coefficients: FloatArray = field(repr=False)

    @property
    def rank(self) -> int:
        """Number of factors."""
        return len(self.ns)


@dataclass(frozen=True, eq=False)
class Expansion:
    """An ACE potential in products of A (C-tilde form): the content of a `.yace` file.

    ``bonds`` holds every ordered pair of species, ``functions`` the products of each center species,
    ``reference_energies`` (S,) is added per atom in eV, ``spline_bin`` is the width in Å of the tabulation.
    """

    elements: tuple[str, ...]
    reference_energies: FloatArray
    bonds: Mapping[tuple[int, int], Bond]
    embeddings: tuple[Embedding, ...]
    functions: tuple[tuple[ProductFunction, ...], ...]
    core_mode: CoreMode = "distance"
    spline_bin: float = 0.001

    @property
    def cutoff(self) -> float:
        """The largest cutoff of any pair in Å."""
        return max(bond.cutoff for bond in self.bonds.values())
