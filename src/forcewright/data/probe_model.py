r"""A small linear potential that is fitted to energies and forces only, to ask what the stress should be.

Because the stress labels take no part in the fit, its stress is a witness of its own about their sign, unit and order.

=========  ==============================================================================================
symbol     meaning
=========  ==============================================================================================
phi_k(r)   radial functions, Gaussians times a smooth cutoff; k = 1 ... PAIRS
A_nq(i)    moments of atom i: sum_j w_n(Z_j) h_nl(r_ij) m_q(r_ij), m_q a monomial of degree l = 0 ... 3
B_nn'l(i)  sum over the monomials q of degree l of (l! / a! b! c!) A_nq A_n'q: invariant under rotation
=========  ==============================================================================================

E = sum_i [ e(Z_i) + sum_jk c_k phi_k(r_ij) + sum d_nn'l B_nn'l(i) ], the form of Shapeev's moment tensors
(Multiscale Model. Simul. 14, 1153 (2016), eqs. 5-7) cut at two moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from math import factorial
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from forcewright.neighbors import find_neighbors
from forcewright.structure import VOIGT, FloatArray, IntArray, Structure

PAIRS = 12
MOMENTS = 4
DEGREES = 3
_MONOMIALS = [(a, b, d - a - b) for d in range(DEGREES + 1) for a in range(d, -1, -1) for b in range(d - a, -1, -1)]
_DEGREE = np.array([sum(m) for m in _MONOMIALS])
_WEIGHTS = np.array([factorial(sum(m)) / (factorial(m[0]) * factorial(m[1]) * factorial(m[2])) for m in _MONOMIALS])


class ProbeRows(NamedTuple):
    """Rows of one structure: energy (p,), forces (3N, p), stress (6, p) in Voigt order, in eV, eV/Å, eV/Å³."""

    energy: FloatArray
    forces: FloatArray
    stress: FloatArray


@dataclass(frozen=True)
class ProbeBasis:
    """The descriptors for a set of species and a cutoff in Å."""

    species: tuple[int, ...]
    cutoff: float = 5.0

    @cached_property
    def _channel_weights(self) -> FloatArray:
        # One species needs one density; several get a second one in which their signs differ.
        ones = np.ones(len(self.species))
        if len(self.species) == 1:
            return np.ones((1, MOMENTS))
        tilt = np.linspace(-1.0, 1.0, len(self.species))
        return np.repeat(np.stack([ones, tilt], axis=1), MOMENTS - 1, axis=1)

    @cached_property
    def _products(self) -> list[tuple[int, int]]:
        return list(combinations_with_replacement(range(self._channel_weights.shape[1]), 2))

    @property
    def size(self) -> int:
        """Number of columns."""
        count = len(self.species)
        return count * (1 + count * PAIRS + len(self._products) * (DEGREES + 1))

    def rows(self, structure: Structure) -> ProbeRows:
        """Return the rows of one structure; the stress is zero where there is no volume."""
        pairs = find_neighbors(structure, self.cutoff)
        first, second, vectors = pairs.centers, pairs.indices.astype(np.int64), pairs.vectors
        kind = np.searchsorted(self.species, structure.numbers)
        values, gradients = self._pairs_and_moments(kind, first, second, vectors, len(structure))
        return _assemble(structure, kind, first, second, vectors, values, gradients, len(self.species))

    def _pairs_and_moments(
        self, kind: IntArray, first: IntArray, second: IntArray, vectors: FloatArray, count: int
    ) -> tuple[FloatArray, FloatArray]:
        """Return values per atom (N, q) and gradients per pair (P, q, 3), columns without the center's species."""
        distances = np.linalg.norm(vectors, axis=1)
        phi, dphi = _radial(distances, self.cutoff, PAIRS)
        toward = np.eye(len(self.species))[kind[second]]
        pair_values = (toward[:, :, None] * phi[:, None, :]).reshape(len(phi), len(self.species) * PAIRS)
        pair_slopes = (toward[:, :, None] * dphi[:, None, :]).reshape(len(phi), len(self.species) * PAIRS)
        pair_gradients = pair_slopes[:, :, None] * (vectors / distances[:, None])[:, None, :]
        density, dens_gradients = self._densities(kind[second], vectors, distances)
        sums = _gather(first, count)
        flat = density.reshape(len(first), density.shape[1] * density.shape[2])
        moments = (sums @ flat).reshape(count, *density.shape[1:])
        left, right = np.array(self._products).T
        values, gradients = [], []
        for degree in range(DEGREES + 1):
            q = slice(*np.flatnonzero(degree == _DEGREE)[[0, -1]] + [0, 1])
            weighted = moments[:, :, q] * _WEIGHTS[q]
            values.append((weighted @ moments[:, :, q].transpose(0, 2, 1))[:, left, right])
            slopes = dens_gradients[:, :, q].transpose(0, 2, 1, 3)
            slopes = slopes.reshape(len(first), q.stop - q.start, 3 * density.shape[1])
            half = (weighted[first] @ slopes).reshape(len(first), *[density.shape[1]] * 2, 3)
            gradients.append(half[:, left, right] + half[:, right, left])
        return np.hstack([sums @ pair_values, *values]), np.concatenate([pair_gradients, *gradients], axis=1)

    def _densities(
        self, neighbor_kind: IntArray, vectors: FloatArray, distances: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return contributions to the moments (P, n, q) and their gradients (P, n, q, 3)."""
        weights = self._channel_weights
        radial, slope = _radial(distances, self.cutoff, weights.shape[1] // (1 if len(self.species) == 1 else 2))
        copies = weights.shape[1] // radial.shape[1]
        radial, slope = np.tile(radial, (1, copies)), np.tile(slope, (1, copies))
        radial, slope = radial * weights[neighbor_kind], slope * weights[neighbor_kind]
        unit = vectors / distances[:, None]
        powers = unit[:, None, :] ** np.arange(DEGREES + 1)[None, :, None]
        angular = np.stack([powers[:, a, 0] * powers[:, b, 1] * powers[:, c, 2] for a, b, c in _MONOMIALS], axis=1)
        tangential = _unit_gradients(powers, angular, unit, distances)
        gradients = (
            slope[:, :, None, None] * angular[:, None, :, None] * unit[:, None, None, :]
            + radial[:, :, None, None] * tangential[:, None]
        )
        return radial[:, :, None] * angular[:, None, :], gradients


def _gather(index: IntArray, count: int) -> csr_array:
    """Return the (N, P) matrix that sums pairs into atoms; many times faster than `numpy.add.at`."""
    pairs = np.arange(len(index))
    return csr_array((np.ones(len(index)), (index, pairs)), shape=(count, len(index)))


def _radial(distances: FloatArray, cutoff: float, count: int) -> tuple[FloatArray, FloatArray]:
    """Return Gaussians times (1 - (r/rc)^2)^3 and their slopes, (P, count)."""
    centers = np.linspace(0.3, 0.9, count) * cutoff
    width = (0.6 * cutoff) / max(count - 1, 1)
    offset = (distances[:, None] - centers) / width
    bell = np.exp(-0.5 * offset**2)
    inside = 1.0 - (distances[:, None] / cutoff) ** 2
    fade, dfade = inside**3, -6.0 * distances[:, None] / cutoff**2 * inside**2
    return bell * fade, bell * (dfade - offset / width * fade)


def _unit_gradients(powers: FloatArray, angular: FloatArray, unit: FloatArray, distances: FloatArray) -> FloatArray:
    """Return d m_q(r/|r|) / dr, (P, q, 3): the projection of the monomial's gradient, divided by the distance."""
    partial = np.zeros((*angular.shape, 3))
    for q, exponents in enumerate(_MONOMIALS):
        for x, power in enumerate(exponents):
            if power:
                lowered = [e - (y == x) for y, e in enumerate(exponents)]
                partial[:, q, x] = (
                    power * powers[:, lowered[0], 0] * powers[:, lowered[1], 1] * powers[:, lowered[2], 2]
                )
    # A monomial of degree l is homogeneous, so that its radial derivative is l m_q (Euler).
    radial = _DEGREE[None, :, None] * angular[:, :, None] * unit[:, None, :]
    return (partial - radial) / distances[:, None, None]


def _assemble(
    structure: Structure, kind: IntArray, first: IntArray, second: IntArray, vectors: FloatArray,
    values: FloatArray, gradients: FloatArray, species: int,
) -> ProbeRows:  # fmt: skip
    """Sum atoms and pairs into rows, each block of columns standing for the species of the central atom."""
    count, width = values.shape
    energy = np.zeros((species, 1 + width))
    forces = np.zeros((count, 3, species, 1 + width))
    stress = np.zeros((6, species, 1 + width))
    volume = structure.volume
    for s in range(species):
        energy[s, 0] = np.count_nonzero(kind == s)
        energy[s, 1:] = values[kind == s].sum(axis=0)
        chosen = kind[first] == s
        slopes = gradients[chosen].transpose(0, 2, 1)  # (P, 3, q)
        # r_ij = r_j - r_i: the slope pulls at j and, reversed, at i.
        pull = _gather(first[chosen], count) - _gather(second[chosen], count)
        forces[:, :, s, 1:] = (pull @ slopes.reshape(len(slopes), 3 * width)).reshape(count, 3, width)
        if volume > 0:
            tensor = np.tensordot(vectors[chosen], slopes, axes=(0, 0)) / volume
            stress[:, s, 1:] = [tensor[x, y] for x, y in VOIGT]
    return ProbeRows(energy.ravel(), forces.reshape(3 * count, -1), stress.reshape(6, -1))
