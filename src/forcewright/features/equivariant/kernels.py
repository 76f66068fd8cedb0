"""Loops over atoms: A_qnlm = Σ_j w_q(j) g_n(r_j) R_lm(r̂_j) over neighbors, and products coupled two by two."""

from __future__ import annotations

import numba
import numpy as np

from forcewright.features.ace.design import spherical_harmonics

_kernel = numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")


@_kernel
def _real_parts(values, real):  # type: ignore[no-untyped-def]
    """Fill ``real`` ((L + 1)²,) with R_lm of complex harmonics (L + 1, L + 1, 2), those of m from 0 on."""
    for l in range(len(values)):  # noqa: E741
        middle = l * l + l
        real[middle] = values[l, 0, 0]
        scale = np.sqrt(2.0)
        for m in range(1, l + 1):
            scale = -scale
            real[middle + m] = scale * values[l, m, 0]
            real[middle - m] = scale * values[l, m, 1]


@_kernel
def sum_neighbors(starts, vectors, g, weights, table, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (atoms, Q, K, (L + 1)²) from the pairs of every atom, ``starts`` (atoms + 1,).

    ``vectors`` (M, 3), ``g`` (M, K) and ``weights`` (M, Q) are those of pairs; ``table`` is the recursion of harmonics.
    """
    size = len(table)
    values, slopes = np.zeros((size, size, 2)), np.zeros((size, size, 2, 3))
    real = np.zeros(size * size)
    for i in range(len(starts) - 1):
        for pair in range(starts[i], starts[i + 1]):
            x, y, z = vectors[pair]
            r = np.sqrt(x * x + y * y + z * z)
            spherical_harmonics(x / r, y / r, z / r, table, values, slopes)
            _real_parts(values, real)
            for q in range(weights.shape[1]):
                if weights[pair, q] != 0.0:
                    for n in range(g.shape[1]):
                        scaled = weights[pair, q] * g[pair, n]
                        for k in range(len(real)):
                            out[i, q, n, k] += scaled * real[k]


@_kernel
def run_program(  # type: ignore[no-untyped-def]
    leaves, steps, starts, entries, coefficients, size, outputs, out
):
    """Fill ``out`` (atoms, columns) with the numbers at ``outputs`` (columns,) of each atom's working memory.

    The memory, ``size`` numbers, begins with the atom's ``leaves`` (atoms, V). Every step (left, right, coupling,
    target) adds Σ C a_left b_right to its target, C being the ``coefficients`` [starts[c]:starts[c + 1]] at the
    ``entries`` (m1, m2, m3) of its coupling c.
    """
    memory = np.zeros(size)
    count = leaves.shape[1]
    for i in range(len(leaves)):
        for k in range(count):
            memory[k] = leaves[i, k]
        for k in range(count, size):
            memory[k] = 0.0
        for s in range(len(steps)):
            left, right, coupling, target = steps[s]
            for e in range(starts[coupling], starts[coupling + 1]):
                a, b, c = entries[e]
                memory[target + c] += coefficients[e] * memory[left + a] * memory[right + b]
        for k in range(len(outputs)):
            out[i, k] = memory[outputs[k]]


@_kernel
def pull_program(  # type: ignore[no-untyped-def]
    leaves, steps, starts, entries, coefficients, size, begins, weights, out
):
    """Fill ``out`` (atoms, 2l + 1, V) with the derivatives of Σ_f w_f φ_fm with the leaves; else as `run_program`.

    ``begins`` (F,) is where the functions of one irrep begin in the memory, and ``weights`` (atoms, F) are w.
    """
    memory, slopes = np.zeros(size), np.zeros(size)
    count = leaves.shape[1]
    for i in range(len(leaves)):
        memory[:count] = leaves[i]
        memory[count:] = 0.0
        for s in range(len(steps)):
            left, right, coupling, target = steps[s]
            for e in range(starts[coupling], starts[coupling + 1]):
                a, b, c = entries[e]
                memory[target + c] += coefficients[e] * memory[left + a] * memory[right + b]
        for m in range(out.shape[1]):
            slopes[:] = 0.0
            for f in range(len(begins)):
                slopes[begins[f] + m] += weights[i, f]
            for s in range(len(steps) - 1, -1, -1):
                left, right, coupling, target = steps[s]
                for e in range(starts[coupling], starts[coupling + 1]):
                    a, b, c = entries[e]
                    amount = coefficients[e] * slopes[target + c]
                    slopes[left + a] += amount * memory[right + b]
                    slopes[right + b] += amount * memory[left + a]
            out[i, m] = slopes[:count]


@_kernel
def pull_neighbors(  # type: ignore[no-untyped-def]
    starts, centers, indices, vectors, g, dg, weights, table, slopes, rows, out
):
    """Add to ``out`` (rows, 2l + 1, N, 3) what the ``slopes`` (atoms, 2l + 1, Q, K, (L + 1)²) make of moving atoms.

    ``centers`` (atoms,) are the atoms, ``indices`` (M,) their neighbors, ``dg`` (M, K) the derivatives of ``g``, and
    ``rows`` (atoms,) where each atom is added; else as `sum_neighbors`.
    """
    size = len(table)
    values, gradients = np.zeros((size, size, 2)), np.zeros((size, size, 2, 3))
    real, moved = np.zeros(size * size), np.zeros((3, size * size))
    for i in range(len(starts) - 1):
        for pair in range(starts[i], starts[i + 1]):
            x, y, z = vectors[pair]
            r = np.sqrt(x * x + y * y + z * z)
            spherical_harmonics(x / r, y / r, z / r, table, values, gradients)
            _real_parts(values, real)
            for axis in range(3):
                _real_parts(gradients[:, :, :, axis], moved[axis])
            j = indices[pair]
            for m in range(slopes.shape[1]):
                radial, gx, gy, gz = 0.0, 0.0, 0.0, 0.0
                for q in range(weights.shape[1]):
                    if weights[pair, q] == 0.0:
                        continue
                    for n in range(g.shape[1]):
                        slope, tangent = weights[pair, q] * dg[pair, n], weights[pair, q] * g[pair, n] / r
                        for k in range(len(real)):
                            amount = slopes[i, m, q, n, k]
                            radial += amount * slope * real[k]
                            gx += amount * tangent * moved[0, k]
                            gy += amount * tangent * moved[1, k]
                            gz += amount * tangent * moved[2, k]
                gx += radial * x / r
                gy += radial * y / r
                gz += radial * z / r
                for axis, amount in enumerate((gx, gy, gz)):
                    out[rows[i], m, j, axis] += amount
                    out[rows[i], m, centers[i], axis] -= amount
