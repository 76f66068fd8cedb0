"""Static structure factor S(q): total, partial, and as X-rays and neutrons see it.

==========  =====================================================================================================
symbol      meaning
==========  =====================================================================================================
ρ_a(q)      Σ_j∈a exp(i q·r_j), for a wave vector q that the periodic cell allows
c_a         share of species a among the N atoms
S_ab        Faber-Ziman partial: ``1 + (<ρ_a ρ_b*>/N - c_a δ_ab) / (c_a c_b)``; 1 for an ideal gas
A_ab        Ashcroft-Langreth partial: ``<ρ_a ρ_b*> / sqrt(N_a N_b) = δ_ab + sqrt(c_a c_b) (S_ab - 1)``
f_a(q)      X-ray form factor of the neutral atom, or coherent neutron scattering length b_a
==========  =====================================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from forcewright.analyze.frames import at_least, length, require_periodic, same_atoms, species_index, symbols_of
from forcewright.analyze.pair_histogram import worker_threads
from forcewright.analyze.radial import Pair, RadialDistribution
from forcewright.analyze.result import Axes, Result
from forcewright.errors import InputError
from forcewright.structure import FloatArray, IntArray, Structure
from forcewright.trajectory import Frames

_WEIGHTS = ("xray", "neutron")
_BLOCK = 128  # atoms whose phases are held at a time


@dataclass(frozen=True, eq=False)
class StructureFactor(Result):
    """Averages over directions and frames; see `structure_factor`.

    ==============  ===============================================================================================
    q               wave numbers (Q,) in 1/Å
    s               of all atoms alike (Q,): ``<|Σ_j exp(i q·r_j)|²> / N``
    partial         Faber-Ziman partials (Q,) for every pair of species, in both orders
    xray, neutron   ``Σ_ab c_a c_b f_a f_b S_ab / (Σ_a c_a f_a)²`` (Q,), which goes to 1 at large q; None where not
                    asked for, nan where a form factor or scattering length is unknown or their mean is zero
    concentrations  share of each species among the atoms
    frames          number of frames
    ==============  ===============================================================================================
    """

    q: FloatArray
    s: FloatArray
    partial: dict[Pair, FloatArray]
    xray: FloatArray | None
    neutron: FloatArray | None
    concentrations: dict[str, float]
    frames: int

    @property
    def ashcroft_langreth(self) -> dict[Pair, FloatArray]:
        """The Ashcroft-Langreth partials A_ab (Q,)."""
        c = self.concentrations
        return {(a, b): (a == b) + np.sqrt(c[a] * c[b]) * (part - 1) for (a, b), part in self.partial.items()}

    def _draw(self, ax: Axes) -> None:
        ax.plot(self.q, self.s, color="black", label="all atoms alike")
        for name, values in (("X-ray", self.xray), ("neutron", self.neutron)):
            if values is not None and len(self.concentrations) > 1:
                ax.plot(self.q, values, lw=1, label=name)
        ax.axhline(1.0, color="0.8", lw=0.8, zorder=0)
        ax.set(xlabel="q (1/Å)", ylabel="S(q)", xlim=(0, None))
        if len(self.concentrations) > 1:
            ax.legend(frameon=False)


def structure_factor(
    frames: Frames, q_max: float = 12.0, bins: int = 240, vectors: int = 60, weights: Sequence[str] = _WEIGHTS,
    rng: np.random.Generator | None = None,
) -> StructureFactor:  # fmt: skip
    """Compute S(q) from the positions, at wave vectors that the cell of each frame allows.

    Exact for what is periodic: no window, no truncation (Hansen and McDonald, Theory of Simple Liquids, 4th ed. (2013),
    sec. 4.1; partials as in the table of this module). Use it for crystals, for small q, and whenever there
    are frames. `structure_factor_from_rdf` reaches larger q for less, but smears peaks to a width of about π / r_max.

    Parameters
    ----------
    frames
        Periodic in all directions; cells may change.
    q_max
        Largest wave number in 1/Å.
    bins
        Number of shells of equal width; those without an allowed wave vector are left out.
    vectors
        Largest number of wave vectors per shell, one of each pair ±q; where there are more, as many are drawn.
    weights
        What to compute besides: ``"xray"`` (form factors of Waasmaier and Kirfel, Acta Cryst. A 51, 416 (1995), valid
        to 75 1/Å) and ``"neutron"`` (coherent scattering lengths of natural isotope mixtures, Sears, Neutron News 3, 26
        (1992) and later), both from the package periodictable.
    rng
        Draws the wave vectors; always the same ones if not given.

    Raises
    ------
    InputError
        If there is no frame, the composition changes, a direction is open, or an argument is invalid.
    """
    q_max, bins, vectors = length(q_max, "q_max"), at_least(bins, 1, "bins"), at_least(vectors, 1, "vectors")
    _check_weights(weights)
    rng = np.random.default_rng(0) if rng is None else rng
    species: tuple[str, ...] = ()
    with worker_threads() as pool:
        for count, snapshot in enumerate(same_atoms(frames), start=1):
            structure = snapshot.structure
            require_periodic(structure, "S(q)")
            if count == 1:
                species = symbols_of(structure)
                sums = np.zeros((len(species), len(species), bins))
                lengths, hits = np.zeros(bins), np.zeros(bins)
            kinds = species_index(structure, species)
            chosen, shell, q = _wave_vectors(structure.cell, q_max, bins, vectors, rng)
            rho = _densities_in_threads(structure, kinds, len(species), chosen, pool)
            for a, b in product(range(len(species)), repeat=2):
                sums[a, b] += np.bincount(shell, (rho[a] * rho[b].conj()).real / len(structure), bins)
            lengths += np.bincount(shell, q, bins)
            hits += np.bincount(shell, minlength=bins)
    kept = hits > 0
    if not kept.any():
        raise InputError(f"is {q_max} 1/Å; the cell allows no wave vector as short as that", field="q_max")
    shares = np.bincount(kinds) / len(kinds)
    plain = sums[:, :, kept] / hits[kept]
    faber_ziman = 1 + (plain - np.diag(shares)[:, :, None]) / np.multiply.outer(shares, shares)[:, :, None]
    return _result(lengths[kept] / hits[kept], faber_ziman, dict(zip(species, shares, strict=True)), weights, count)


def structure_factor_from_rdf(
    distribution: RadialDistribution, q: FloatArray | None = None, window: str = "lorch",
    weights: Sequence[str] = _WEIGHTS,
) -> StructureFactor:  # fmt: skip
    """Compute S(q) by Fourier transform of g(r).

    ``S_ab(q) = 1 + 4π ρ ∫ r² (g_ab(r) - 1) sin(qr)/(qr) w(r) dr`` up to r_max (Faber and Ziman, Philos. Mag. 11, 153
    (1965)). Without a window the end of g(r) makes ripples of wavelength 2π / r_max; that of Lorch,
    ``w = sin(πr/r_max) / (πr/r_max)`` (J. Phys. C 2, 229 (1969)), damps them and broadens peaks.

    Parameters
    ----------
    distribution
        From `rdf`, with r_max no more than half the cell if correlations repeat in it.
    q
        Wave numbers (Q,) in 1/Å above 0; else 0.05, 0.10 … up to a quarter of π per bin of g(r), at most 25.
    window
        ``"lorch"`` or ``"none"``.
    weights
        As in `structure_factor`.

    Raises
    ------
    InputError
        If an argument is invalid.
    """
    _check_weights(weights)
    if window not in ("lorch", "none"):
        raise InputError(f"is {window!r}; it must be 'lorch' or 'none'", field="window")
    r = distribution.r
    width = 2.0 * r[0]
    steps = int(min(25.0, np.pi / (4 * width)) / 0.05)
    q = np.asarray(0.05 * np.arange(1, steps + 1) if q is None else q, dtype=np.float64)
    if q.ndim != 1 or not (q > 0).all():
        raise InputError("must be wave numbers above 0 in a row", field="q")
    damping = np.sinc(r / (r[-1] + 0.5 * width)) if window == "lorch" else np.ones(len(r))
    kernel = 4 * np.pi * distribution.density * np.sinc(np.multiply.outer(q, r) / np.pi) * (r**2 * damping * width)
    species = distribution.species
    parts = np.array([[1 + kernel @ (distribution.partial[a, b] - 1) for b in species] for a in species])
    return _result(q, parts, distribution.concentrations, weights, distribution.frames)


def _result(
    q: FloatArray, parts: FloatArray, concentrations: dict[str, float], weights: Sequence[str], frames: int
) -> StructureFactor:
    """Weight the Faber-Ziman partials ``parts`` (S, S, Q)."""
    species = tuple(concentrations)
    shares = np.array([concentrations[a] for a in species])
    return StructureFactor(
        q=q,
        s=1 + np.einsum("a,b,abq->q", shares, shares, parts - 1),
        partial={
            (species[k], species[m]): parts[k, m]
            for i, j in combinations_with_replacement(range(len(species)), 2)
            for k, m in ((i, j), (j, i))
        },
        xray=_weighted(parts, shares, _form_factors(species, q)) if "xray" in weights else None,
        neutron=_weighted(parts, shares, _scattering_lengths(species, q)) if "neutron" in weights else None,
        concentrations={a: float(concentrations[a]) for a in species},
        frames=frames,
    )


def _weighted(parts: FloatArray, shares: FloatArray, factors: FloatArray) -> FloatArray:
    """Return ``Σ c_a c_b f_a f_b S_ab / (Σ c_a f_a)²`` (Q,) for factors (S, Q)."""
    scaled = shares[:, None] * factors
    mean = scaled.sum(axis=0)
    mean[abs(mean) < 1e-6 * abs(scaled).sum(axis=0)] = np.nan
    total: FloatArray = np.einsum("aq,bq,abq->q", scaled, scaled, parts) / mean**2
    return total


def _check_weights(weights: Sequence[str]) -> None:
    unknown = sorted(set(weights) - set(_WEIGHTS))
    if unknown:
        raise InputError(f"holds {unknown[0]!r}; there are 'xray' and 'neutron'", field="weights")


def _form_factors(species: Sequence[str], q: FloatArray) -> FloatArray:
    """Return the X-ray form factors (S, Q) of neutral atoms in electrons, nan for elements without one."""
    from periodictable.cromermann import fxrayatq

    def factor(symbol: str) -> FloatArray:
        try:
            return np.asarray(fxrayatq(symbol, q), dtype=np.float64)
        except KeyError:
            return np.full(len(q), np.nan)

    return np.array([factor(symbol) for symbol in species])


def _scattering_lengths(species: Sequence[str], q: FloatArray) -> FloatArray:
    """Return the coherent neutron scattering lengths (S, Q) in fm, nan for elements without one."""
    import periodictable as table

    lengths = [table.elements.symbol(symbol).neutron.b_c for symbol in species]
    return np.array([np.full(len(q), np.nan if b is None else float(b)) for b in lengths])


def _wave_vectors(
    cell: FloatArray, q_max: float, bins: int, vectors: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return indices (M, 3) of wave vectors, their shells (M,) and wave numbers (M,)."""
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    # |h_d| = |q · a_d| / 2π is largest where q is parallel to the cell vector a_d.
    reach = np.floor(q_max * np.linalg.norm(cell, axis=1) / (2 * np.pi) * (1 + 1e-12)).astype(np.int64)
    chosen, seen = _choose(reciprocal, reach, q_max, bins, vectors, np.uint64(rng.integers(1, 2**63)))
    shell = np.repeat(np.arange(bins), np.minimum(seen, vectors))
    picked = chosen[np.arange(vectors)[None, :] < seen[:, None]]
    return picked, shell, np.linalg.norm(picked @ reciprocal, axis=1)


@njit(cache=True, nogil=True)
def _choose(reciprocal: Any, reach: Any, q_max: float, bins: int, vectors: int, state: Any) -> Any:
    """Return up to ``vectors`` index triples of each shell (bins, vectors, 3), all equally likely, and their numbers.

    Of q and -q one is looked at. Vitter's reservoir sampling, Algorithm R, with a linear congruential generator.
    """
    chosen = np.zeros((bins, vectors, 3), np.int64)
    seen = np.zeros(bins, np.int64)
    for h in range(reach[0] + 1):
        for k in range(-reach[1] if h > 0 else 0, reach[1] + 1):
            for m in range(-reach[2] if h > 0 or k > 0 else 1, reach[2] + 1):
                square = 0.0
                for d in range(3):
                    square += (h * reciprocal[0, d] + k * reciprocal[1, d] + m * reciprocal[2, d]) ** 2
                shell = int(np.sqrt(square) / q_max * bins)
                if shell >= bins:
                    continue
                slot = seen[shell]
                seen[shell] += 1
                if slot >= vectors:
                    state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
                    slot = np.int64((state >> np.uint64(33)) % np.uint64(seen[shell]))
                if slot < vectors:
                    chosen[shell, slot, 0], chosen[shell, slot, 1], chosen[shell, slot, 2] = h, k, m
    return chosen, seen


def _densities_in_threads(
    structure: Structure, kinds: IntArray, species: int, chosen: IntArray, pool: ThreadPoolExecutor
) -> NDArray[np.complex128]:
    """Return ρ_a(q) (species, M), complex, of each species at the wave vectors ``chosen`` (M, 3)."""
    fractions = structure.positions @ np.linalg.inv(structure.cell)
    fractions -= np.floor(fractions)
    order = np.argsort(kinds, kind="stable")
    bounds = np.searchsorted(kinds[order], np.arange(species + 1))
    jobs = [
        (a, low, min(low + 8 * _BLOCK, high))
        for a, (low, high) in enumerate(zip(bounds[:-1], bounds[1:], strict=True))
        for low in range(low, high, 8 * _BLOCK)
    ]
    reach = np.abs(chosen).max(axis=0, initial=0)
    parts = pool.map(lambda job: _density(fractions[order[job[1] : job[2]]], chosen, reach, _BLOCK), jobs)
    rho = np.zeros((species, len(chosen)), dtype=np.complex128)
    for (a, _, _), part in zip(jobs, parts, strict=True):
        rho[a] += part[0] + 1j * part[1]
    return rho


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _density(fractions: Any, chosen: Any, reach: Any, block: int) -> Any:
    """Return real and imaginary part (2, M) of Σ_j exp(2πi h·f_j)."""
    out = np.zeros((2, len(chosen)))
    widest = max(reach[0], reach[1], reach[2]) + 1
    cosines, sines = np.empty((3, widest, block)), np.empty((3, widest, block))
    for low in range(0, len(fractions), block):
        size = min(block, len(fractions) - low)
        for d in range(3):
            for j in range(size):
                angle = 2 * np.pi * fractions[low + j, d]
                c, s = np.cos(angle), np.sin(angle)
                cosines[d, 0, j], sines[d, 0, j] = 1.0, 0.0
                for h in range(1, reach[d] + 1):
                    cosines[d, h, j] = cosines[d, h - 1, j] * c - sines[d, h - 1, j] * s
                    sines[d, h, j] = sines[d, h - 1, j] * c + cosines[d, h - 1, j] * s
        for m in range(len(chosen)):
            h, k, n = chosen[m, 0], chosen[m, 1], chosen[m, 2]
            flip_k, flip_n = 1.0 if k >= 0 else -1.0, 1.0 if n >= 0 else -1.0
            cx, sx = cosines[0, h], sines[0, h]
            cy, sy = cosines[1, abs(k)], sines[1, abs(k)]
            cz, sz = cosines[2, abs(n)], sines[2, abs(n)]
            real, imaginary = 0.0, 0.0
            for j in range(size):
                y, z = flip_k * sy[j], flip_n * sz[j]
                c = cx[j] * cy[j] - sx[j] * y
                s = sx[j] * cy[j] + cx[j] * y
                real += c * cz[j] - s * z
                imaginary += s * cz[j] + c * z
            out[0, m] += real
            out[1, m] += imaginary
    return out
