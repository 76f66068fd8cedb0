"""ACE energies as the definition reads, one atom and one product at a time: the truth for the fast evaluator."""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers
from ase.neighborlist import neighbor_list
from scipy.special import sph_harm_y

from forcewright.features.ace.expansion import Embedding, Expansion
from forcewright.features.ace.radial import switch, tabulate
from forcewright.structure import Structure


def harmonics(degree: int, m: int, vectors: np.ndarray) -> np.ndarray:
    """Y_lm with Y_00 = 1 (Condon-Shortley phase) of vectors (n, 3) of any length."""
    x, y, z = vectors.T / np.linalg.norm(vectors, axis=1)
    return np.sqrt(4 * np.pi) * sph_harm_y(degree, m, np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x))


def embedded(embedding: Embedding, rho: np.ndarray) -> float:
    """F(ρ): the weighted powers of the densities, softened around 0."""
    total = 0.0
    for value, weight, m in zip(rho, embedding.weights, embedding.exponents, strict=True):
        a, sign = abs(value), np.sign(value)
        if m == 1:
            f = value
        elif embedding.kind == "FinnisSinclairShiftedScaled":
            q, decay = 1 / m, np.exp(-a)
            f = sign * ((q ** (q / (1 - q)) * decay + a) ** m - q ** (1 / (1 - q)) * decay)
        else:
            g = np.exp(-((1e6 * a) ** 3)) if a < 3e-6 else 0.0
            f = sign * ((1 - g) * a**m + 1e6 ** (1 - m) * g * a)
        total += weight * f
    return total


def energies(expansion: Expansion, structure: Structure) -> np.ndarray:
    """Energy of each atom in eV, reference energies included."""
    species = np.array([expansion.elements.index(symbol) for symbol in structure.to_ase().symbols])
    numbers = [atomic_numbers[element] for element in expansion.elements]
    mode, width = expansion.core_mode, expansion.spline_bin
    tables = {
        pair: tabulate(bond, mode, numbers[pair[0]], numbers[pair[1]], width) for pair, bond in expansion.bonds.items()
    }
    i, j, vectors = neighbor_list("ijD", structure.to_ase(), expansion.cutoff)
    result = np.empty(len(structure))
    for center in range(len(structure)):
        own = species[center]
        # For each species of neighbors: vectors (n, 3), radial functions (K, n) and core (n,).
        shells = []
        for mu in range(len(expansion.elements)):
            part = vectors[(i == center) & (species[j] == mu)]
            part = part[np.linalg.norm(part, axis=1) < expansion.bonds[own, mu].cutoff]
            values = tables[own, mu].interpolate(np.linalg.norm(part, axis=1))[0]
            shells.append((part, values[:-1], values[-1]))
        cache: dict[tuple[int, ...], complex] = {}

        def projection(mu: int, n: int, degree: int, m: int, own=own, shells=shells, cache=cache) -> complex:
            if (mu, n, degree, m) not in cache:
                bond, (part, g, _) = expansion.bonds[own, mu], shells[mu]
                known = n <= bond.nradmax and degree <= bond.lmax
                radial = bond.coefficients[n - 1, degree] @ g if known else np.zeros(len(part))
                cache[mu, n, degree, m] = np.sum(radial * harmonics(degree, m, part))
            return cache[mu, n, degree, m]

        rho = np.zeros(expansion.embeddings[own].densities)
        for function in expansion.functions[own]:
            if function.rank == 1:
                g = shells[function.species[0]][1]
                if function.ns[0] <= len(g):
                    rho += function.coefficients.sum(axis=0) * g[function.ns[0] - 1].sum()
                continue
            for ms, c in zip(function.ms, function.coefficients, strict=True):
                factors = zip(function.species, function.ns, function.ls, ms, strict=True)
                rho += c * np.prod([projection(*factor) for factor in factors]).real
        total, core = embedded(expansion.embeddings[own], rho), sum(shell[2].sum() for shell in shells)
        if mode == "zbl":
            keep, nearest = 1.0, np.inf
            for mu, (part, _, _) in enumerate(shells):
                bond = expansion.bonds[own, mu]
                gap = np.linalg.norm(part, axis=1).min(initial=np.inf) - bond.inner + bond.inner_width
                if gap < nearest:
                    nearest = gap
                    keep = float(switch(bond.inner_width - gap, bond.inner_width, bond.inner_width)[0])
            energy = total * keep + core * (1 - keep)
        else:
            embedding = expansion.embeddings[own]
            energy = total * float(switch(core, embedding.core_limit, embedding.core_width)[0]) + core
        result[center] = energy + expansion.reference_energies[own]
    return result
