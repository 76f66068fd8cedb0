"""The regularized-entropy match of two sets of environments, for many pairs of structures at a time.

Of the local similarities C (n, m) of two structures the match is ``K = Σ P_ij C_ij``, with P the minimum of
``Σ P_ij (1 - C_ij + γ ln P_ij)`` over the matrices with row sums 1/n and column sums 1/m (De, Bartók, Csányi and
Ceriotti, Phys. Chem. Chem. Phys. 18, 13754 (2016), eqs. 10 to 12). P is ``u_i exp((C_ij - 1) / γ) v_j``, and Sinkhorn's
iteration finds u and v (Cuturi, Adv. Neural Inf. Process. Syst. 26, 2292 (2013)).

One sweep over the matrix makes both the new u and the sums that the new v needs. Once the sums are nearly right the
iteration is over-relaxed (Thibault et al., Algorithms 14, 143 (2021)); where that converges slowly, steps of Newton's
method follow. Where γ is so small that the exponential would underflow, the logarithms of u and v move into the
exponent, and γ falls by halves to its value (Schmitzer, SIAM J. Sci. Comput. 41, A1443 (2019)).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np

from forcewright.structure import FloatArray, IntArray

_kernel = numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")

_SAFE_GAMMA = 0.01  # from here on exp((C - 1) / γ) ≥ e^-200, whose products fit a double
_SWEEPS = 150  # after which steps of Newton's method come between them
_LARGEST = 1e100  # factors u, v beyond this move into the exponent
_LOWEST = -700.0  # exponents below this are zero in a double
_LOG2E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10


class Scratch(NamedTuple):
    """Arrays that one thread works in, for structures of at most n and m atoms."""

    factors: FloatArray  # (n, m)
    u: FloatArray
    v: FloatArray
    f: FloatArray  # logarithms that have moved into the exponent
    g: FloatArray
    sums: FloatArray
    mantissa: FloatArray
    bits: IntArray
    powers: FloatArray  # the same memory as ``bits``


def scratch(n: int, m: int) -> Scratch:
    """Return arrays to work in."""
    bits = np.empty(m, dtype=np.int64)
    return Scratch(
        np.empty((n, m)), np.empty(n), np.empty(m), np.empty(n), np.empty(m), np.empty(m), np.empty(m), bits,
        bits.view(np.float64),
    )  # fmt: skip


@_kernel
def add_single(similarities: FloatArray, rest: Any) -> None:
    """Add an array in single precision to one in double precision."""
    for i in range(similarities.shape[0]):
        for j in range(similarities.shape[1]):
            similarities[i, j] += rest[i, j]


@_kernel
def match_blocks(
    similarities: FloatArray, starts: IntArray, ends: IntArray, gamma: float, tolerance: float, most: int,
    result: FloatArray, work: Any,
) -> int:  # fmt: skip
    """Fill ``result`` (A, B) with the matches of blocks of ``similarities``; return how many did not converge.

    Parameters
    ----------
    similarities
        (rows of all A structures, rows of all B structures).
    starts, ends
        (A + 1,) and (B + 1,): first rows and columns of the structures, and the end of the last.
    tolerance
        Largest sum of the deviations of all row and column sums.
    most
        Iterations.
    work
        `Scratch`.
    """
    failed = 0
    for a in range(len(starts) - 1):
        for b in range(len(ends) - 1):
            block = (starts[a], ends[b], starts[a + 1] - starts[a], ends[b + 1] - ends[b])
            result[a, b], converged = _match(similarities, block, gamma, tolerance, most, work)
            failed += not converged
    return failed


@_kernel
def _match(
    similarities: FloatArray, block: tuple[int, int, int, int], gamma: float, tolerance: float, most: int, work: Any
) -> tuple[float, bool]:
    """Return the match of one pair, and whether it has converged; ``block`` is its corner and its size n, m."""
    top, left, n, m = block
    factors, u, v, f, g = work.factors, work.u, work.v, work.f, work.g
    f[:n], g[:m] = 0.0, 0.0
    stage = gamma if gamma >= _SAFE_GAMMA else max(gamma, 0.16)
    converged = False
    while True:
        last = stage <= gamma
        u[:n], v[:m] = 0.0, 1.0 / m
        _fill(similarities, block, stage, work)
        converged = _balance(similarities, block, stage, tolerance if last else 1e-3, most, work)
        if last:
            break
        halved = max(0.5 * stage, gamma)
        for i in range(n):
            f[i] = (f[i] + math.log(u[i])) * stage / halved
        for j in range(m):
            g[j] = (g[j] + math.log(v[j])) * stage / halved
        stage = halved
    total = 0.0
    for i in range(n):
        share = 0.0
        for j in range(m):
            share += factors[i, j] * v[j] * similarities[top + i, left + j]
        total += u[i] * share
    return total, converged


@_kernel
def _fill(similarities: FloatArray, block: tuple[int, int, int, int], gamma: float, work: Any) -> None:
    """Fill the factors with exp((C - 1) / γ + f + g), to the last digits; compilers make vector instructions of it."""
    top, left, n, m = block
    factors, f, g, mantissa, bits, powers = (
        work.factors, work.f, work.g, work.mantissa, work.bits, work.powers
    )  # fmt: skip
    scale = 1.0 / gamma
    for i in range(n):
        for j in range(m):
            x = max((similarities[top + i, left + j] - 1.0) * scale + f[i] + g[j], _LOWEST)
            k = math.floor(x * _LOG2E + 0.5)
            r = (x - k * _LN2_HIGH) - k * _LN2_LOW  # |r| ≤ ½ ln 2: the series ends after the twelfth power
            p = 1.0 / 479001600.0
            p = p * r + 1.0 / 39916800.0
            p = p * r + 1.0 / 3628800.0
            p = p * r + 1.0 / 362880.0
            p = p * r + 1.0 / 40320.0
            p = p * r + 1.0 / 5040.0
            p = p * r + 1.0 / 720.0
            p = p * r + 1.0 / 120.0
            p = p * r + 1.0 / 24.0
            p = p * r + 1.0 / 6.0
            p = p * r + 0.5
            p = p * r + 1.0
            mantissa[j] = p * r + 1.0
            bits[j] = (numba.int64(k) + 1023) << 52  # the double 2^k
        for j in range(m):
            factors[i, j] = mantissa[j] * powers[j]


@_kernel
def _balance(
    similarities: FloatArray, block: tuple[int, int, int, int], gamma: float, tolerance: float, most: int, work: Any
) -> bool:
    """Iterate u and v until the row and column sums are 1/n and 1/m; return whether they are."""
    _, _, n, m = block
    factors, u, v, sums = work.factors, work.u, work.v, work.sums
    row, column = 1.0 / n, 1.0 / m
    mild = 0.1 * min(row, column)  # from here on no sum is wrong by more than a tenth, and no factor turns negative
    omega, before = 1.0, 0.0
    for step in range(most):
        error = _sweep(factors, u, v, sums, omega, row, column, n, m)
        if error <= tolerance:
            return True
        if gamma < _SAFE_GAMMA and step % 8 == 7 and _absorbed(u, v, work.f, work.g, n, m):
            _fill(similarities, block, gamma, work)
        if step >= _SWEEPS:
            omega = 1.0
            _newton_step(factors, u, v, n, m)
        elif omega == 1.0:
            if error < mild and 0.1 * before < error < before:
                omega = 2.0 / (1.0 + math.sqrt(1.0 - error / before))
        elif error > 4.0 * mild:
            omega, error = 1.0, 0.0
        before = error
    return False


@_kernel
def _newton_step(factors: FloatArray, u: FloatArray, v: FloatArray, n: int, m: int) -> None:
    """Move the logarithms of u and v by a step of Newton's method for the dual problem, which is convex.

    The plan P = u K v has the row sums r and the column sums c. The step (df, dg) solves ``r df + P dg = 1/n - r`` and
    ``Pᵀ df + c dg = 1/m - c``; df is eliminated. No logarithm moves by more than 1.
    """
    plan = np.empty((n, m))
    r, c = np.zeros(n), np.zeros(m)
    for i in range(n):
        for j in range(m):
            plan[i, j] = u[i] * factors[i, j] * v[j]
            r[i] += plan[i, j]
            c[j] += plan[i, j]
    # of the equations for dg, c dg - Pᵀ (P dg) / r, the lower half; a constant added to g and taken from f changes
    # nothing, which 1/m² fixes
    matrix = np.full((m, m), 1.0 / (m * m))
    dg, df = np.empty(m), np.empty(n)
    for j in range(m):
        matrix[j, j] += c[j] * (1.0 + 1e-13)
        dg[j] = 1.0 / m - c[j]
    for i in range(n):
        wrong = 1.0 / n - r[i]
        for j in range(m):
            share = plan[i, j] / r[i]
            dg[j] -= share * wrong
            for k in range(j + 1):
                matrix[j, k] -= share * plan[i, k]
    _solve(matrix, dg)
    largest = 1.0
    for i in range(n):
        change = 1.0 / n - r[i]
        for j in range(m):
            change -= plan[i, j] * dg[j]
        df[i] = change / r[i]
        largest = max(largest, abs(df[i]))
    for j in range(m):
        largest = max(largest, abs(dg[j]))
    for i in range(n):
        u[i] *= math.exp(df[i] / largest)
    for j in range(m):
        v[j] *= math.exp(dg[j] / largest)


@_kernel
def _solve(matrix: FloatArray, vector: FloatArray) -> None:
    """Overwrite a vector with the solution for a positive definite matrix of which the lower half is there."""
    size = len(vector)
    for j in range(size):
        for i in range(j):
            total = matrix[j, i]
            for k in range(i):
                total -= matrix[j, k] * matrix[i, k]
            matrix[j, i] = total / matrix[i, i]
        total = matrix[j, j]
        for k in range(j):
            total -= matrix[j, k] * matrix[j, k]
        matrix[j, j] = math.sqrt(max(total, 1e-30))
    for j in range(size):
        for k in range(j):
            vector[j] -= matrix[j, k] * vector[k]
        vector[j] /= matrix[j, j]
    for j in range(size - 1, -1, -1):
        for k in range(j + 1, size):
            vector[j] -= matrix[k, j] * vector[k]
        vector[j] /= matrix[j, j]


@_kernel
def _sweep(
    factors: FloatArray, u: FloatArray, v: FloatArray, sums: FloatArray, omega: float, row: float, column: float,
    n: int, m: int,
) -> float:  # fmt: skip
    """Renew u and v, and return by how much the sums were wrong with the old ones; four rows at a time."""
    error = 0.0
    sums[:m] = 0.0
    fours = n - n % 4
    for i in range(0, fours, 4):
        s0 = s1 = s2 = s3 = 0.0
        for j in range(m):
            s0 += factors[i, j] * v[j]
            s1 += factors[i + 1, j] * v[j]
            s2 += factors[i + 2, j] * v[j]
            s3 += factors[i + 3, j] * v[j]
        error += abs(u[i] * s0 - row) + abs(u[i + 1] * s1 - row) + abs(u[i + 2] * s2 - row) + abs(u[i + 3] * s3 - row)
        u0 = u[i] + omega * (row / s0 - u[i])
        u1 = u[i + 1] + omega * (row / s1 - u[i + 1])
        u2 = u[i + 2] + omega * (row / s2 - u[i + 2])
        u3 = u[i + 3] + omega * (row / s3 - u[i + 3])
        u[i], u[i + 1], u[i + 2], u[i + 3] = u0, u1, u2, u3
        for j in range(m):
            sums[j] += u0 * factors[i, j] + u1 * factors[i + 1, j] + u2 * factors[i + 2, j] + u3 * factors[i + 3, j]
    for i in range(fours, n):
        s0 = 0.0
        for j in range(m):
            s0 += factors[i, j] * v[j]
        error += abs(u[i] * s0 - row)
        u0 = u[i] + omega * (row / s0 - u[i])
        u[i] = u0
        for j in range(m):
            sums[j] += u0 * factors[i, j]
    for j in range(m):
        error += abs(v[j] * sums[j] - column)
        v[j] += omega * (column / sums[j] - v[j])
    return error


@_kernel
def _absorbed(u: FloatArray, v: FloatArray, f: FloatArray, g: FloatArray, n: int, m: int) -> bool:
    """Move factors that have grown out of bounds into the exponent; tell whether they have."""
    largest = 1.0
    for i in range(n):
        largest = max(largest, u[i], 1.0 / u[i])
    for j in range(m):
        largest = max(largest, v[j], 1.0 / v[j])
    if largest < _LARGEST:
        return False
    for i in range(n):
        f[i] += math.log(u[i])
        u[i] = 1.0
    for j in range(m):
        g[j] += math.log(v[j])
        v[j] = 1.0
    return True


@_kernel
def farthest_nearest(
    similarities: FloatArray, starts: IntArray, ends: IntArray, forward: FloatArray, backward: FloatArray
) -> None:
    """Fill ``forward`` (A, B) with the least, over the rows of a block, of the largest similarity in the row.

    ``backward`` (A, B) has the same for the columns. The blocks are those of `match_blocks`.
    """
    nearest = np.empty(similarities.shape[1])
    for a in range(len(starts) - 1):
        nearest[:] = -np.inf
        for b in range(len(ends) - 1):
            least = np.inf
            for i in range(starts[a], starts[a + 1]):
                largest = -np.inf
                for j in range(ends[b], ends[b + 1]):
                    largest = max(largest, similarities[i, j])
                    nearest[j] = max(nearest[j], similarities[i, j])
                least = min(least, largest)
            forward[a, b] = least
            backward[a, b] = nearest[ends[b] : ends[b + 1]].min()
