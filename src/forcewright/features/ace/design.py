"""Values and derivatives of every invariant function of every atom: the design rows of linear ACE.

For one atom with neighbors j of species μ_j,

    A_μnlm = Σ_j R_n(r_j) Y_lm(r̂_j),   B_f = Σ_rows C Re Π_t A_t,
    ∂B_f/∂r_j = Σ_v [ Re(∂B_f/∂A_v) ∂Re A_v/∂r_j + Im-part likewise ],

the last sum over the few A_v that occur in f only (Dusson et al., J. Comput. Phys. 454, 110946 (2022), section 4).
A complex A_v makes two *components*, its real and imaginary parts; with m = 0 only the first is not zero.

=========  =====================================================================================
symbol     meaning
=========  =====================================================================================
N, M       atoms and ordered pairs of a structure
p          number of functions of all center species
leaf       one A_v with m ≥ 0, an (μ, n, l, m)
V, W       leaves of one center species; atoms taken together, in lanes of vector instructions
=========  =====================================================================================
"""

from __future__ import annotations

import numba
import numpy as np

from forcewright.structure import FloatArray

_STRIDE = 32  # numbers a loop takes at a time where it has vector instructions for all of them
LANES = 8  # atoms whose functions are evaluated together

# Loops copy and scale arrays one number at a time: for an assignment of arrays Numba compiles a check of their shapes
# with an error message, whose strings take longer to compile than the loops.
_kernel = numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")


def recursion(lmax: int) -> FloatArray:
    """Return what `spherical_harmonics` needs (L + 1, L + 1, 2): a and b of Pbar_lm = a (z Pbar_l-1,m + b Pbar_l-2,m).

    At l = m stands the factor from Pbar_m-1,m-1 instead.
    """
    table = np.zeros((lmax + 1, lmax + 1, 2))
    table[0, 0] = 1.0
    for m in range(lmax + 1):
        if m:
            table[m, m] = -np.sqrt(1.0 + 0.5 / m)
        for l in range(m + 1, lmax + 1):
            table[l, m, 0] = np.sqrt((4.0 * l * l - 1.0) / (l * l - m * m))
            if l > m + 1:
                table[l, m, 1] = -np.sqrt(((l - 1.0) ** 2 - m * m) / (4.0 * (l - 1.0) ** 2 - 1.0))
    return table


@_kernel
def spherical_harmonics(x, y, z, table, values, gradients):  # type: ignore[no-untyped-def]
    """Fill Y_lm (Y_00 = 1, Condon-Shortley phase) of a unit vector and its gradient on the sphere, for m ≥ 0.

    ``values`` (L + 1, L + 1, 2) holds the real and imaginary parts at [l, m], ``gradients`` (L + 1, L + 1, 2, 3) the
    derivative with respect to the vector before normalization, times its length.
    """
    lmax = values.shape[0] - 1
    diagonal = 1.0
    re, im, re_before, im_before = 1.0, 0.0, 0.0, 0.0  # (x + iy)^m and its predecessor
    for m in range(lmax + 1):
        diagonal *= table[m, m, 0]
        p, p_before, d, d_before = diagonal, 0.0, 0.0, 0.0
        for l in range(m, lmax + 1):
            if l > m:
                a, b = table[l, m]
                d, d_before = a * (p + z * d + b * d_before), d
                p, p_before = a * (z * p + b * p_before), p
            values[l, m, 0] = p * re
            values[l, m, 1] = p * im
            # d/dx (x+iy)^m = m (x+iy)^(m-1); d/dy is i times that
            gx, gy, gz = m * p * re_before, -m * p * im_before, d * re
            radial = gx * x + gy * y + gz * z
            gradients[l, m, 0, 0] = gx - radial * x
            gradients[l, m, 0, 1] = gy - radial * y
            gradients[l, m, 0, 2] = gz - radial * z
            gx, gy, gz = m * p * im_before, m * p * re_before, d * im
            radial = gx * x + gy * y + gz * z
            gradients[l, m, 1, 0] = gx - radial * x
            gradients[l, m, 1, 1] = gy - radial * y
            gradients[l, m, 1, 2] = gz - radial * z
        re_before, im_before = re, im
        re, im = re * x - im * y, re * y + im * x


@_kernel
def fill_harmonics(segments, vectors, table, harmonics, slopes):  # type: ignore[no-untyped-def]
    """Fill the harmonics and their gradients of all pairs of one atom, ``segments`` (S + 1,) by neighbor species."""
    for pair in range(segments[0], segments[-1]):
        x, y, z = vectors[pair]
        r = np.sqrt(x * x + y * y + z * z)
        k = pair - segments[0]
        spherical_harmonics(x / r, y / r, z / r, table, harmonics[k], slopes[k])


@_kernel
def sum_leaves(leaves, segments, vectors, g, table, harmonics, slopes, sums, lane):  # type: ignore[no-untyped-def]
    """Fill A of one atom: ``sums`` (V, 2, W) at its lane, and the harmonics of its pairs on the way.

    ``segments`` (S + 1,) are the pairs of each neighbor species of this atom, ``leaves`` (V, 4) those of its species.
    """
    first = segments[0]
    fill_harmonics(segments, vectors, table, harmonics, slopes)
    for v in range(len(leaves)):
        mu, n, l, m = leaves[v]
        re, im = 0.0, 0.0
        for pair in range(segments[mu], segments[mu + 1]):
            re += g[pair, n] * harmonics[pair - first, l, m, 0]
            im += g[pair, n] * harmonics[pair - first, l, m, 1]
        sums[v, 0, lane] = re
        sums[v, 1, lane] = im


@_kernel
def fill_gradients(leaves, segments, vectors, g, dg, table, harmonics, slopes, gradients):  # type: ignore[no-untyped-def]
    """Fill the gradients (2V, 3 neighbors + 9) of A of one atom; arguments as in `sum_leaves`.

    The last nine columns are the sum over the neighbors, and Σ r ⊗ ∂A/∂r in Voigt order xx yy zz yz xz xy.
    """
    first, last = segments[0], segments[-1]
    fill_harmonics(segments, vectors, table, harmonics, slopes)
    end = 3 * (last - first)
    for v in range(len(leaves)):
        mu, n, l, m = leaves[v]
        for part in range(2 if m > 0 else 1):
            row = gradients[2 * v + part]
            row[:] = 0.0
            for pair in range(segments[mu], segments[mu + 1]):
                k = pair - first
                x, y, z = vectors[pair]
                r = np.sqrt(x * x + y * y + z * z)
                tangent, slope = g[pair, n] / r, dg[pair, n] * harmonics[k, l, m, part] / r
                gx = slope * x + tangent * slopes[k, l, m, part, 0]
                gy = slope * y + tangent * slopes[k, l, m, part, 1]
                gz = slope * z + tangent * slopes[k, l, m, part, 2]
                row[3 * k] = gx
                row[3 * k + 1] = gy
                row[3 * k + 2] = gz
                row[end] += gx
                row[end + 1] += gy
                row[end + 2] += gz
                row[end + 3] += x * gx
                row[end + 4] += y * gy
                row[end + 5] += z * gz
                row[end + 6] += y * gz
                row[end + 7] += x * gz
                row[end + 8] += x * gy


@_kernel
def function_values(f, rows, factors, slot, conjugate, coupling, touched, weights, before, value):  # type: ignore[no-untyped-def]
    """Fill B_f and ∂B_f/∂(Re, Im) of the leaves it touches for a block of atoms, by products from both ends.

    The last axis of ``touched`` (slots, 2, W), ``weights`` (slots, 2, W), ``before`` (rank + 1, 2, W) and ``value``
    (W,) is the atom, so that its loops become vector instructions.
    """
    value[:] = 0.0
    weights[:] = 0.0
    for row in range(rows[f], rows[f + 1]):
        first, last = factors[row], factors[row + 1]
        for w in range(LANES):
            before[0, 0, w] = coupling[row]
            before[0, 1, w] = 0.0
        for t in range(first, last):
            a, b, c = before[t - first], touched[slot[t]], before[t - first + 1]
            sign = -1.0 if conjugate[t] else 1.0
            for w in range(LANES):
                im = sign * b[1, w]
                c[0, w] = a[0, w] * b[0, w] - a[1, w] * im
                c[1, w] = a[0, w] * im + a[1, w] * b[0, w]
        for w in range(LANES):
            value[w] += before[last - first, 0, w]
        after = before[last - first]
        for w in range(LANES):
            after[0, w] = 1.0
            after[1, w] = 0.0
        for t in range(last - 1, first - 1, -1):
            a, b, c = before[t - first], touched[slot[t]], weights[slot[t]]
            sign = -1.0 if conjugate[t] else 1.0
            for w in range(LANES):
                c[0, w] += a[0, w] * after[0, w] - a[1, w] * after[1, w]
                c[1, w] -= sign * (a[0, w] * after[1, w] + a[1, w] * after[0, w])
                im = sign * b[1, w]
                re = after[0, w] * b[0, w] - after[1, w] * im
                after[1, w] = after[0, w] * im + after[1, w] * b[0, w]
                after[0, w] = re


@_kernel
def _working_memory(atoms, segments, table, leaves, factors, slots):  # type: ignore[no-untyped-def]
    """Return what a block of atoms needs: harmonics, slopes, A, touched leaves, partial products, B and ∂B/∂A.

    Also the largest number of neighbors.
    """
    neighbors, touched, rank, size = 0, 0, 0, len(table)
    for i in atoms:
        neighbors = max(neighbors, segments[i, -1] - segments[i, 0])
    for f in range(len(slots) - 1):
        touched = max(touched, slots[f + 1] - slots[f])
    for row in range(len(factors) - 1):
        rank = max(rank, factors[row + 1] - factors[row])
    return (
        np.zeros((neighbors, size, size, 2)), np.zeros((neighbors, size, size, 2, 3)),
        np.zeros((len(leaves), 2, LANES)), np.zeros((touched, 2, LANES)), np.zeros((rank + 1, 2, LANES)),
        np.zeros((len(slots) - 1, LANES)), np.zeros((slots[-1] + 1, 2, LANES)), neighbors,
    )  # fmt: skip


@_kernel
def _evaluate_block(  # type: ignore[no-untyped-def]
    block, segments, vectors, g, table, leaves, rows, factors, slot, conjugate, coupling, slots, slot_leaf,
    harmonics, slopes, sums, touched, before, values, weights,
):  # fmt: skip
    """Fill A (``sums``), B (``values``) and ∂B/∂A by slot (``weights``) of a block of atoms, one to a lane."""
    for w in range(len(block)):
        sum_leaves(leaves, segments[block[w]], vectors, g, table, harmonics, slopes, sums, w)
    for f in range(len(slots) - 1):
        for s in range(slots[f], slots[f + 1]):
            for w in range(LANES):
                touched[s - slots[f], 0, w] = sums[slot_leaf[s], 0, w]
                touched[s - slots[f], 1, w] = sums[slot_leaf[s], 1, w]
        weight = weights[slots[f] : slots[f + 1]]
        function_values(f, rows, factors, slot, conjugate, coupling, touched, weight, before, values[f])


@_kernel
def add_rows(  # type: ignore[no-untyped-def]
    atoms, segments, indices, vectors, g, dg, scale, slope, closest, table,
    leaves, rows, factors, slot, conjugate, coupling, slots, slot_leaf, chunks, chunk_component, chunk_weight,
    energy, forces, virial,
):  # fmt: skip
    """Add the rows of the ``atoms`` of one species: ``energy`` (p,), ``forces`` (p, 3N) and ``virial`` (p, 6), -dE/dε.

    The first two lines of arguments are `Pairs` and `recursion`, the third a `FunctionTable`.
    """
    harmonics, slopes, sums, touched, before, values, weights, most = _working_memory(
        atoms, segments, table, leaves, factors, slots
    )
    gradients = np.zeros((2 * len(leaves), 3 * most + 9 + _STRIDE))
    out = np.zeros(3 * most + 9 + _STRIDE)
    for begin in range(0, len(atoms), LANES):
        block = atoms[begin : begin + LANES]
        _evaluate_block(
            block, segments, vectors, g, table, leaves, rows, factors, slot, conjugate, coupling, slots, slot_leaf,
            harmonics, slopes, sums, touched, before, values, weights,
        )  # fmt: skip
        for w in range(len(block)):
            i = block[w]
            first, last = segments[i, 0], segments[i, -1]
            end = 3 * (last - first)
            width = (end + 9 + _STRIDE - 1) // _STRIDE * _STRIDE
            fill_gradients(leaves, segments[i], vectors, g, dg, table, harmonics, slopes, gradients)
            for f in range(len(values)):
                _combine(f, w, chunks, chunk_component, chunk_weight, weights, gradients, out[:width])
                energy[f] += scale[i] * values[f, w]
                if closest[i] >= 0:  # the core takes over: s B has the gradient s ∂B + B ∂s
                    for k in range(width):
                        out[k] *= scale[i]
                    _add_along(out, end, closest[i] - first, vectors[closest[i]], values[f, w] * slope[i])
                _scatter(i, indices[first:last], out, forces[f], virial[f])


@_kernel
def add_tangent_rows(  # type: ignore[no-untyped-def]
    atoms, segments, indices, vectors, g, dg, scale, slope, closest, table,
    leaves, rows, factors, slot, conjugate, coupling, slots, slot_leaf, chunks, chunk_component, chunk_weight,
    start, coefficients, first_derivative, second_derivative, energy, forces, virial,
):  # fmt: skip
    """Add the rows of ∂E/∂c_fp, E = Σ_i s F(ρ_1 … ρ_P), for the ``atoms`` of one species, its functions from ``start``.

    ``coefficients`` (p, P); ``first_derivative`` and ``second_derivative`` (N, P) are those of F in each density. The
    rows are ``energy`` (P, p), ``forces`` (P, p, 3N) and ``virial`` (P, p, 6), p counting those of all species, so that
    arrays are contiguous however many species there are, and the loops are compiled once:

        ∂E/∂c_fp = Σ_i s F' B_f,  with the gradient  s F' ∂B_f + (s F'' ∂ρ_p + F' ∂s) B_f.
    """
    harmonics, slopes, sums, touched, before, values, weights, most = _working_memory(
        atoms, segments, table, leaves, factors, slots
    )
    gradients = np.zeros((2 * len(leaves), 3 * most + 9 + _STRIDE))
    count, densities = len(values), coefficients.shape[1]
    gradient = np.zeros((count, 3 * most + 9 + _STRIDE))
    turned, out = np.zeros(3 * most + 9 + _STRIDE), np.zeros(3 * most + 9 + _STRIDE)
    for begin in range(0, len(atoms), LANES):
        block = atoms[begin : begin + LANES]
        _evaluate_block(
            block, segments, vectors, g, table, leaves, rows, factors, slot, conjugate, coupling, slots, slot_leaf,
            harmonics, slopes, sums, touched, before, values, weights,
        )  # fmt: skip
        for w in range(len(block)):
            i = block[w]
            first, last = segments[i, 0], segments[i, -1]
            end = 3 * (last - first)
            width = (end + 9 + _STRIDE - 1) // _STRIDE * _STRIDE
            fill_gradients(leaves, segments[i], vectors, g, dg, table, harmonics, slopes, gradients)
            for f in range(count):
                _combine(f, w, chunks, chunk_component, chunk_weight, weights, gradients, gradient[f, :width])
            for p in range(densities):
                straight = scale[i] * first_derivative[i, p]
                turned[:width] = 0.0
                for f in range(count):
                    c = coefficients[start + f, p]
                    for k in range(width):
                        turned[k] += c * gradient[f, k]
                for k in range(width):
                    turned[k] *= scale[i] * second_derivative[i, p]
                if closest[i] >= 0:
                    along = first_derivative[i, p] * slope[i]
                    _add_along(turned, end, closest[i] - first, vectors[closest[i]], along)
                for f in range(count):
                    value = values[f, w]
                    energy[p, start + f] += straight * value
                    for k in range(width):
                        out[k] = straight * gradient[f, k] + value * turned[k]
                    _scatter(i, indices[first:last], out, forces[p, start + f], virial[p, start + f])


@_kernel
def _combine(f, w, chunks, chunk_component, chunk_weight, weights, gradients, out):  # type: ignore[no-untyped-def]
    """Set ``out`` to the gradient of function f in lane w: the gradients of its leaves, weighted."""
    out[:] = 0.0
    for chunk in range(chunks[f], chunks[f + 1]):
        c0, c1, c2, c3 = chunk_component[chunk]
        s0, s1, s2, s3 = chunk_weight[chunk]
        w0, w1 = weights[s0 >> 1, s0 & 1, w], weights[s1 >> 1, s1 & 1, w]
        w2, w3 = weights[s2 >> 1, s2 & 1, w], weights[s3 >> 1, s3 & 1, w]
        a0, a1, a2, a3 = gradients[c0], gradients[c1], gradients[c2], gradients[c3]
        for k in range(len(out)):
            out[k] += w0 * a0[k] + w1 * a1[k] + w2 * a2[k] + w3 * a3[k]


@_kernel
def _scatter(i, neighbors, out, forces, virial):  # type: ignore[no-untyped-def]
    """Add a gradient (see `fill_gradients`) to one function's row of forces (3N,) and virial (6,)."""
    for k in range(len(neighbors)):
        j = 3 * neighbors[k]
        forces[j] -= out[3 * k]
        forces[j + 1] -= out[3 * k + 1]
        forces[j + 2] -= out[3 * k + 2]
    end = 3 * len(neighbors)
    for c in range(3):
        forces[3 * i + c] += out[end + c]
    for c in range(6):
        virial[c] -= out[end + 3 + c]


@_kernel
def _add_along(out, end, pair, vector, amount):  # type: ignore[no-untyped-def]
    """Add a gradient along one pair to the gradients, their sum and their virial (see `fill_gradients`)."""
    x, y, z = vector
    amount /= np.sqrt(x * x + y * y + z * z)
    for c in range(3):
        out[3 * pair + c] += amount * vector[c]
        out[end + c] += amount * vector[c]
    out[end + 3] += amount * x * x
    out[end + 4] += amount * y * y
    out[end + 5] += amount * z * z
    out[end + 6] += amount * y * z
    out[end + 7] += amount * x * z
    out[end + 8] += amount * x * y


@_kernel
def project(  # type: ignore[no-untyped-def]
    atoms, segments, vectors, g, table,
    leaves, rows, factors, slot, conjugate, coupling, slots, slot_leaf, chunks, chunk_component, chunk_weight,
):  # fmt: skip
    """Return the functions (len(atoms), p) of the ``atoms`` of one species."""
    harmonics, slopes, sums, touched, before, values, weights, most = _working_memory(
        atoms, segments, table, leaves, factors, slots
    )
    result = np.zeros((len(atoms), len(slots) - 1))
    for begin in range(0, len(atoms), LANES):
        block = atoms[begin : begin + LANES]
        _evaluate_block(
            block, segments, vectors, g, table, leaves, rows, factors, slot, conjugate, coupling, slots, slot_leaf,
            harmonics, slopes, sums, touched, before, values, weights,
        )  # fmt: skip
        for w in range(len(block)):
            for f in range(len(values)):
                result[begin + w, f] = values[f, w]
    return result


@_kernel
def pull(  # type: ignore[no-untyped-def]
    atoms, segments, indices, vectors, g, dg, table,
    leaves, rows, factors, slot, conjugate, coupling, slots, slot_leaf, chunks, chunk_component, chunk_weight,
    adjoint, forces, virial,
):  # fmt: skip
    """Add forces (N, 3) and virial (6,), -dE/dε, of E = Σ_i Σ_f adjoint[i, f] B_f(i) at fixed ``adjoint``.

    By the reverse sweep: adjoints of A first, then one pass over the pairs.
    """
    harmonics, slopes, sums, touched, before, values, weights, most = _working_memory(
        atoms, segments, table, leaves, factors, slots
    )
    sweep, lane = np.zeros((len(leaves), 2, LANES)), np.zeros((len(leaves), 2))
    amount = np.zeros(LANES)
    for begin in range(0, len(atoms), LANES):
        block = atoms[begin : begin + LANES]
        _evaluate_block(
            block, segments, vectors, g, table, leaves, rows, factors, slot, conjugate, coupling, slots, slot_leaf,
            harmonics, slopes, sums, touched, before, values, weights,
        )  # fmt: skip
        sweep[:] = 0.0
        for f in range(len(values)):
            for w in range(len(block)):
                amount[w] = adjoint[begin + w, f]
            for s in range(slots[f], slots[f + 1]):
                a, b = sweep[slot_leaf[s]], weights[s]
                for w in range(LANES):
                    a[0, w] += amount[w] * b[0, w]
                    a[1, w] += amount[w] * b[1, w]
        for w in range(len(block)):
            i = block[w]
            first = segments[i, 0]
            fill_harmonics(segments[i], vectors, table, harmonics, slopes)
            for v in range(len(leaves)):
                lane[v, 0] = sweep[v, 0, w]
                lane[v, 1] = sweep[v, 1, w]
            stop = 0
            for mu in range(segments.shape[1] - 1):
                start = stop
                while stop < len(leaves) and leaves[stop, 0] == mu:
                    stop += 1
                for pair in range(segments[i, mu], segments[i, mu + 1]):
                    x, y, z = vectors[pair]
                    inverse = 1.0 / np.sqrt(x * x + y * y + z * z)
                    k, along, gx, gy, gz, v = pair - first, 0.0, 0.0, 0.0, 0.0, start
                    while v < stop:  # Σ_n of all leaves of one (l, m), which stand together
                        l, m = leaves[v, 2], leaves[v, 3]
                        value_re, value_im, slope_re, slope_im = 0.0, 0.0, 0.0, 0.0
                        while v < stop and leaves[v, 2] == l and leaves[v, 3] == m:
                            n = leaves[v, 1]
                            value_re += lane[v, 0] * g[pair, n]
                            value_im += lane[v, 1] * g[pair, n]
                            slope_re += lane[v, 0] * dg[pair, n]
                            slope_im += lane[v, 1] * dg[pair, n]
                            v += 1
                        along += slope_re * harmonics[k, l, m, 0] + slope_im * harmonics[k, l, m, 1]
                        gx += value_re * slopes[k, l, m, 0, 0] + value_im * slopes[k, l, m, 1, 0]
                        gy += value_re * slopes[k, l, m, 0, 1] + value_im * slopes[k, l, m, 1, 1]
                        gz += value_re * slopes[k, l, m, 0, 2] + value_im * slopes[k, l, m, 1, 2]
                    gx, gy, gz = (gx + along * x) * inverse, (gy + along * y) * inverse, (gz + along * z) * inverse
                    _add_pair(i, indices[pair], x, y, z, gx, gy, gz, forces, virial)


@_kernel
def _add_pair(i, j, x, y, z, gx, gy, gz, forces, virial):  # type: ignore[no-untyped-def]
    """Add the gradient of the energy with respect to one pair vector to forces and virial."""
    forces[i, 0] += gx
    forces[i, 1] += gy
    forces[i, 2] += gz
    forces[j, 0] -= gx
    forces[j, 1] -= gy
    forces[j, 2] -= gz
    virial[0] -= x * gx
    virial[1] -= y * gy
    virial[2] -= z * gz
    virial[3] -= y * gz
    virial[4] -= x * gz
    virial[5] -= x * gy


@_kernel
def differentiate(  # type: ignore[no-untyped-def]
    atoms, segments, vectors, g, dg, table,
    leaves, rows, factors, slot, conjugate, coupling, slots, slot_leaf, chunks, chunk_component, chunk_weight, change,
):  # fmt: skip
    """Return the derivative (len(atoms), p) of the functions when pair vectors (M, 3) change by ``change`` (M, 3)."""
    harmonics, slopes, sums, touched, before, values, weights, most = _working_memory(
        atoms, segments, table, leaves, factors, slots
    )
    size = len(table)
    stretch, turn = np.zeros(most), np.zeros((most, size, size, 2))
    moved, value = np.zeros((len(leaves), 2, LANES)), np.zeros(LANES)
    result = np.zeros((len(atoms), len(slots) - 1))
    for begin in range(0, len(atoms), LANES):
        block = atoms[begin : begin + LANES]
        _evaluate_block(
            block, segments, vectors, g, table, leaves, rows, factors, slot, conjugate, coupling, slots, slot_leaf,
            harmonics, slopes, sums, touched, before, values, weights,
        )  # fmt: skip
        for w in range(len(block)):
            i = block[w]
            first = segments[i, 0]
            fill_harmonics(segments[i], vectors, table, harmonics, slopes)
            for pair in range(first, segments[i, -1]):
                k = pair - first
                x, y, z = vectors[pair]
                dx, dy, dz = change[pair]
                inverse = 1.0 / np.sqrt(x * x + y * y + z * z)
                stretch[k] = (x * dx + y * dy + z * dz) * inverse
                for l in range(size):
                    for m in range(l + 1):
                        for part in range(2):
                            slope = slopes[k, l, m, part]
                            turn[k, l, m, part] = (slope[0] * dx + slope[1] * dy + slope[2] * dz) * inverse
            for v in range(len(leaves)):
                mu, n, l, m = leaves[v]
                re, im = 0.0, 0.0
                for pair in range(segments[i, mu], segments[i, mu + 1]):
                    k = pair - first
                    tangent, radial = g[pair, n], dg[pair, n] * stretch[k]
                    re += radial * harmonics[k, l, m, 0] + tangent * turn[k, l, m, 0]
                    im += radial * harmonics[k, l, m, 1] + tangent * turn[k, l, m, 1]
                moved[v, 0, w] = re
                moved[v, 1, w] = im
        for f in range(len(values)):
            value[:] = 0.0
            for s in range(slots[f], slots[f + 1]):
                a, b = moved[slot_leaf[s]], weights[s]
                for w in range(LANES):
                    value[w] += a[0, w] * b[0, w] + a[1, w] * b[1, w]
            for w in range(len(block)):
                result[begin + w, f] = value[w]
    return result
