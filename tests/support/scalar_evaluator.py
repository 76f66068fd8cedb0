"""ACE energies as the definition reads, one atom and one product at a time: the truth for the fast evaluator."""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers
from ase.neighborlist import neighbor_list
from scipy.special import sph_harm_y

from forcewright.features.ace.expansion import Embedding, Expansion
from forcewright.features.ace.product_graph import ProductGraph
from forcewright.features.ace.radial import RadialTable, switch, tabulate
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


def interpolate(table: RadialTable, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return f(r) and df/dr, each (K + 1, len(r)), spline error included."""
    inside = np.minimum((r / table.width).astype(np.int64), table.bins - 1)
    w = (r / table.width - inside)[:, None]
    f0, f1 = table.values[inside], table.values[inside + 1]
    d0, d1 = table.width * table.slopes[inside], table.width * table.slopes[inside + 1]
    c2, c3 = 3 * (f1 - f0) - 2 * d0 - d1, -2 * (f1 - f0) + d0 + d1
    below = (r < table.bins * table.width)[:, None]
    value = np.where(below, f0 + w * (d0 + w * (c2 + w * c3)), 0.0)
    return value.T, np.where(below, (d0 + w * (2 * c2 + 3 * w * c3)) / table.width, 0.0).T


def graph_densities(graph: ProductGraph, values: np.ndarray) -> np.ndarray:
    """Return ρ_p (P, samples) for values (V, samples) of the leaves: the graph spelled out."""
    nodes = np.zeros((graph.nodes, values.shape[1]), dtype=np.complex128)
    nodes[: len(graph.leaves)] = values
    for k, target in enumerate(range(len(graph.leaves), graph.nodes)):
        for t in range(graph.term_starts[k], graph.term_starts[k + 1]):
            x = nodes[graph.term_x[t]]
            u = (x if t < graph.term_splits[k] else x.conj()) * nodes[graph.term_y[t]]
            nodes[target] += graph.term_weights[t, 0] * u.real + 1j * graph.term_weights[t, 1] * u.imag
    rho = np.zeros((graph.row_weights.shape[1], values.shape[1]))
    for x, (start, plain, conjugate, end) in zip(graph.row_x, graph.row_bounds, strict=True):
        y = nodes[graph.row_y[start:end]]
        y[conjugate - start :] = y[conjugate - start :].conj()
        y[: plain - start] = y[: plain - start].real if nodes[x].imag.any() else y[: plain - start]
        rho += graph.row_weights[start:end].T @ (nodes[x] * y).real
    return rho


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
            values = interpolate(tables[own, mu], np.linalg.norm(part, axis=1))[0]
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
