"""Compiled loops of the ACE evaluator: blocks of atoms through neighbor sums, the product graph and back to forces.

A block is up to 16 atoms of one species. Per atom, neighbors stand in vector lanes for spherical harmonics and forces,
radial functions in lanes for splines and the sums A; an 8 × 8 transposition then brings A into atom lanes, in which the
product graph is swept forward and in reverse. Everything that differs between potentials is data, so the code compiles
once and is kept on disk.

=========  ==================================================================================================
array      layout (flat)
=========  ==================================================================================================
harmonics  [l² + component][16 neighbors]; components: m = 0, then real and imaginary part of m = 1 … l
radial     [neighbor][column]; columns: R_nl by l, those of l = 0 followed by the P densities of rank 1 and the core
sums       [atom][species, l: component][columns of that l, in eights]: A, and on the way back dE/dA
values     [node][real, imaginary][16 atoms], then rows for densities and core; `adjoints` alike
contracted [l² + component][value, slope][8 neighbors]: Σ_n dE/dA R_n(r) and the same of R'
=========  ==================================================================================================

All of it stands in one file: Numba notices a change of a cached function by its file alone.
"""

# Numba types these functions itself, from how they are called.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated"

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from forcewright.features.ace import vector as simd
from forcewright.features.ace.vector import add, fma, fnma, load8, load16, mul, splat8, splat16, store, sub, transpose8

#: Atoms per block.
LANES = 16
#: Neighbors whose radial functions are held at a time: they stay in the first cache.
CHUNK = 16

DENSITY, DISTANCE, ZBL = 0, 1, 2
SHIFTED_SCALED, PLAIN_POWER = 0, 1
DONE, TOO_CLOSE = 0, 1


class CenterTables(NamedTuple):
    """Everything the loops read for one center species; S neighbor species, L the largest l, P densities."""

    spline: Any  # flat [species][bin][eight columns][4 coefficients][8]
    spline_starts: Any  # (S,) int64
    bins: Any  # (S,) int64
    inverse_widths: Any  # (S,)
    cutoffs: Any  # (S,)
    columns: Any  # (S,) int64, a multiple of 8
    momenta: Any  # (S,) int64, largest l
    counts: Any  # (S, L + 1) int64, columns of each l
    firsts: Any  # (S, L + 1) int64, first column of each l
    sum_starts: Any  # (S, L + 1) int64, offset in the sums of an atom
    sum_rows: Any  # (size,) int32, row of values for each element of the sums
    recursion_a: Any  # ((L + 1)²,)
    recursion_b: Any  # ((L + 1)²,)
    diagonal: Any  # (L + 1,)
    term_starts: Any
    term_splits: Any
    term_x: Any
    term_y: Any
    term_weights: Any  # flat
    group_x: Any
    group_starts: Any
    group_splits: Any
    product_y: Any
    product_starts: Any
    targets: Any
    target_weights: Any  # flat
    row_x: Any
    row_bounds: Any
    row_y: Any
    row_weights: Any  # flat, [density][row]
    nodes: int
    embedding_weights: Any  # (P,)
    exponents: Any  # (P,)
    embedding: int
    core_mode: int
    core_limit: float
    core_width: float
    inner: Any  # (S,)
    inner_width: Any  # (S,)
    reference_energy: float


class Buffers(NamedTuple):
    """Room of one thread, aligned to cache lines."""

    values: Any
    adjoints: Any
    partial: Any
    sums: Any
    harmonics: Any
    radial: Any
    transposed: Any
    contracted: Any
    ux: Any  # pairs of a block, from here on
    uy: Any
    uz: Any
    distance: Any
    inverse: Any
    fraction: Any
    offset: Any  # int64
    neighbor: Any  # int64
    extra: Any  # radial slope added to single pairs
    fx: Any  # forces of eight pairs at a time of one atom
    fy: Any
    fz: Any


@njit
def switch(r, upper, width):
    """S(r; upper, width) and its derivative (see `forcewright.features.ace.radial.switch`)."""
    if r >= upper:
        return 0.0, 0.0
    if r <= upper - width:
        return 1.0, 0.0
    x = 1 - 2 * (1 + (r - upper) / width)
    return 0.5 + 3.75 * (x / 4 - x**3 / 6 + x**5 / 20), -7.5 / width * (0.25 - x * x / 2 + x**4 / 4)


@njit
def embed(rho, exponent, kind):
    """f(ρ; m) and df/dρ, odd in ρ, about |ρ|^m away from 0 and linear near it."""
    sign, a = (1.0 if rho >= 0 else -1.0), abs(rho)
    if kind == SHIFTED_SCALED:
        if abs(exponent - 1) < 1e-10:
            return rho, 1.0
        q, decay = 1 / exponent, math.exp(-a)
        x, y = q ** (q / (1 - q)) * decay, q ** (1 / (1 - q)) * decay
        power = (x + a) ** (exponent - 1)
        return sign * (power * (x + a) - y), y + exponent * (1 - x) * power
    scale = 1e6
    slope = scale ** (1 - exponent)
    if a <= 1e-10:
        return slope * rho, slope
    cube = (scale * a) ** 3
    g = 0.0 if cube > 30 else math.exp(-cube)
    power = a**exponent
    derivative = exponent * power / a * (1 - g) + slope * g - 3 * scale**3 * a * a * g * (slope * a - power)
    return sign * ((1 - g) * power + slope * g * a), derivative


# ---- neighbors in lanes


@njit
def multiply(scalars, s, s_stride, rows, vectors, v, v_stride, columns, count, out, o, o_stride, keep):
    """Product of `rows` strips of scalars with `columns` × 8 lanes of vectors, in tiles that fill the registers."""
    c = 0
    while columns - c >= 2:
        strips = (rows + 5) // 6
        size = (rows + strips - 1) // strips
        r = 0
        while r < rows:
            n = min(size, rows - r)
            a, b, d = s + r * s_stride, v + 8 * c, o + r * o_stride + 8 * c
            if n == 1:
                simd.tile1x2(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            elif n == 2:
                simd.tile2x2(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            elif n == 3:
                simd.tile3x2(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            elif n == 4:
                simd.tile4x2(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            elif n == 5:
                simd.tile5x2(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            else:
                simd.tile6x2(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            r += n
        c += 2
    if c < columns:
        strips = (rows + 7) // 8
        size = (rows + strips - 1) // strips
        r = 0
        while r < rows:
            n = min(size, rows - r)
            a, b, d = s + r * s_stride, v + 8 * c, o + r * o_stride + 8 * c
            if n == 1:
                simd.tile1x1(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            elif n == 2:
                simd.tile2x1(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            elif n == 3:
                simd.tile3x1(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            elif n == 4:
                simd.tile4x1(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            elif n == 5:
                simd.tile5x1(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            elif n == 6:
                simd.tile6x1(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            elif n == 7:
                simd.tile7x1(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            else:
                simd.tile8x1(scalars, a, s_stride, vectors, b, v_stride, count, out, d, o_stride, keep)
            r += n


@njit
def write_harmonics(t, b, pair, momentum, place):
    """Y_lm = P_lm(z) (x + iy)^m of eight pairs, with the recursion in l of the P_lm at fixed m."""
    x, y, z = load8(b.ux, pair), load8(b.uy, pair), load8(b.uz, pair)
    out, stride = b.harmonics, len(t.diagonal)
    re, im = splat8(1.0), splat8(0.0)
    for m in range(momentum + 1):
        p, before = splat8(t.diagonal[m]), splat8(0.0)
        for l in range(m, momentum + 1):
            if l > m:
                k = l * stride + m
                p, before = mul(splat8(t.recursion_a[k]), fma(z, p, mul(splat8(t.recursion_b[k]), before))), p
            if m == 0:
                store(out, l * l * CHUNK + place, p)
            else:
                o = (l * l + 2 * m - 1) * CHUNK + place
                store(out, o, mul(p, re))
                store(out, o + CHUNK, mul(p, im))
        re, im = fnma(y, im, mul(x, re)), fma(y, re, mul(x, im))


@njit
def write_radial(t, b, pair, count, columns):
    """All radial functions of ``count`` pairs, in function lanes."""
    for j in range(count):
        o = b.offset[pair + j]
        w = splat8(b.fraction[pair + j])
        for f in range(0, columns, 8):
            q = o + 4 * f
            high = fma(w, load8(t.spline, q + 24), load8(t.spline, q + 16))
            store(b.radial, j * columns + f, fma(w, fma(w, high, load8(t.spline, q + 8)), load8(t.spline, q)))


@njit(forceinline=True)
def cubic(table, q, w, scale):
    """Value and slope of eight functions of one pair."""
    first, second, third = load8(table, q + 8), load8(table, q + 16), load8(table, q + 24)
    high = fma(w, third, second)
    value = fma(w, fma(w, high, first), load8(table, q))
    return value, mul(scale, fma(w, fma(w, third, add(high, high)), first))


@njit
def write_transposed(t, b, pair, columns, inverse_width):
    """Values and slopes of all radial functions of eight pairs, in neighbor lanes."""
    o0, o1, o2, o3 = b.offset[pair], b.offset[pair + 1], b.offset[pair + 2], b.offset[pair + 3]
    o4, o5, o6, o7 = b.offset[pair + 4], b.offset[pair + 5], b.offset[pair + 6], b.offset[pair + 7]
    w0, w1 = splat8(b.fraction[pair]), splat8(b.fraction[pair + 1])
    w2, w3 = splat8(b.fraction[pair + 2]), splat8(b.fraction[pair + 3])
    w4, w5 = splat8(b.fraction[pair + 4]), splat8(b.fraction[pair + 5])
    w6, w7 = splat8(b.fraction[pair + 6]), splat8(b.fraction[pair + 7])
    scale, table, out = splat8(inverse_width), t.spline, b.transposed
    for f in range(0, columns, 8):
        q = 4 * f
        v0, d0 = cubic(table, o0 + q, w0, scale)
        v1, d1 = cubic(table, o1 + q, w1, scale)
        v2, d2 = cubic(table, o2 + q, w2, scale)
        v3, d3 = cubic(table, o3 + q, w3, scale)
        v4, d4 = cubic(table, o4 + q, w4, scale)
        v5, d5 = cubic(table, o5 + q, w5, scale)
        v6, d6 = cubic(table, o6 + q, w6, scale)
        v7, d7 = cubic(table, o7 + q, w7, scale)
        store_columns(transpose8(v0, v1, v2, v3, v4, v5, v6, v7), out, 16 * f)
        store_columns(transpose8(d0, d1, d2, d3, d4, d5, d6, d7), out, 16 * f + 8)


@njit(forceinline=True)
def store_columns(rows, out, o):
    """Store eight vectors, 16 elements apart."""
    store(out, o, rows[0])
    store(out, o + 16, rows[1])
    store(out, o + 32, rows[2])
    store(out, o + 48, rows[3])
    store(out, o + 64, rows[4])
    store(out, o + 80, rows[5])
    store(out, o + 96, rows[6])
    store(out, o + 112, rows[7])


@njit
def add_atom(t, b, pair, count, species, out):
    """Add the neighbors of one species to the sums A of one atom, which begin at ``out``."""
    columns, momentum = t.columns[species], t.momenta[species]
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        for place in range(0, size, 8):
            write_harmonics(t, b, pair + start + place, momentum, place)
        write_radial(t, b, pair + start, size, columns)
        for l in range(momentum + 1):
            eights = (t.counts[species, l] + 7) // 8
            if eights:
                multiply(
                    b.harmonics, l * l * CHUNK, CHUNK, 2 * l + 1, b.radial, t.firsts[species, l], columns, eights, size,
                    b.sums, out + t.sum_starts[species, l], 8 * eights, True,
                )  # fmt: skip


@njit
def pair_forces(t, b, pair, species, sums):
    """dE_i/dr_ij of eight neighbors of one species, from dE/dA of their center at ``sums``, into fx, fy, fz."""
    write_transposed(t, b, pair, t.columns[species], t.inverse_widths[species])
    momentum, stride = t.momenta[species], len(t.diagonal)
    for l in range(momentum + 1):
        count = t.counts[species, l]
        if count:
            multiply(
                b.sums, sums + t.sum_starts[species, l], 8 * ((count + 7) // 8), 2 * l + 1, b.transposed,
                16 * t.firsts[species, l], 16, 2, count, b.contracted, 16 * l * l, 16, False,
            )  # fmt: skip
    x, y, z, zero = load8(b.ux, pair), load8(b.uy, pair), load8(b.uz, pair), splat8(0.0)
    re, im, re_before, im_before = splat8(1.0), zero, zero, zero
    gx, gy, gz, radial = zero, zero, zero, load8(b.extra, pair)
    for m in range(momentum + 1):
        # p and q: P_lm(z) and its derivative; sums over l of the contracted parts times either.
        p, p_before, q, q_before = splat8(t.diagonal[m]), zero, zero, zero
        value_re, value_im, polar_re, polar_im, slope_re, slope_im = zero, zero, zero, zero, zero, zero
        for l in range(m, momentum + 1):
            if l > m:
                k = l * stride + m
                a, c = splat8(t.recursion_a[k]), splat8(t.recursion_b[k])
                q, q_before = mul(a, add(p, fma(z, q, mul(c, q_before)))), q
                p, p_before = mul(a, fma(z, p, mul(c, p_before))), p
            if t.counts[species, l] == 0:
                continue
            if m == 0:
                o = 16 * l * l
                gz = fma(load8(b.contracted, o), q, gz)
                radial = fma(load8(b.contracted, o + 8), p, radial)
            else:
                o = 16 * (l * l + 2 * m - 1)
                s_re, s_im = load8(b.contracted, o), load8(b.contracted, o + 16)
                value_re, value_im = fma(s_re, p, value_re), fma(s_im, p, value_im)
                polar_re, polar_im = fma(s_re, q, polar_re), fma(s_im, q, polar_im)
                slope_re = fma(load8(b.contracted, o + 8), p, slope_re)
                slope_im = fma(load8(b.contracted, o + 24), p, slope_im)
        if m > 0:
            order = splat8(float(m))
            gx = fma(order, fma(value_re, re_before, mul(value_im, im_before)), gx)
            gy = fma(order, fnma(value_re, im_before, mul(value_im, re_before)), gy)
            gz = fma(polar_re, re, fma(polar_im, im, gz))
            radial = fma(slope_re, re, fma(slope_im, im, radial))
        re_before, im_before = re, im
        re, im = fnma(y, im, mul(x, re)), fma(y, re, mul(x, im))
    inverse = load8(b.inverse, pair)
    gx, gy, gz = mul(gx, inverse), mul(gy, inverse), mul(gz, inverse)
    radial = sub(radial, fma(gx, x, fma(gy, y, mul(gz, z))))
    store(b.fx, 0, fma(radial, x, gx))
    store(b.fy, 0, fma(radial, y, gy))
    store(b.fz, 0, fma(radial, z, gz))


@njit
def to_values(b, size, rows):
    """Bring the sums of 16 atoms into atom lanes."""
    a, out = b.sums, b.values
    for half in range(0, LANES, 8):
        for g in range(0, size, 8):
            o = half * size + g
            t = transpose8(
                load8(a, o), load8(a, o + size), load8(a, o + 2 * size), load8(a, o + 3 * size),
                load8(a, o + 4 * size), load8(a, o + 5 * size), load8(a, o + 6 * size), load8(a, o + 7 * size),
            )  # fmt: skip
            store(out, rows[g] * LANES + half, t[0])
            store(out, rows[g + 1] * LANES + half, t[1])
            store(out, rows[g + 2] * LANES + half, t[2])
            store(out, rows[g + 3] * LANES + half, t[3])
            store(out, rows[g + 4] * LANES + half, t[4])
            store(out, rows[g + 5] * LANES + half, t[5])
            store(out, rows[g + 6] * LANES + half, t[6])
            store(out, rows[g + 7] * LANES + half, t[7])


@njit
def from_adjoints(b, size, rows):
    """Bring the adjoints of the sums back to one strip per atom."""
    a, out = b.adjoints, b.sums
    for half in range(0, LANES, 8):
        for g in range(0, size, 8):
            t = transpose8(
                load8(a, rows[g] * LANES + half), load8(a, rows[g + 1] * LANES + half),
                load8(a, rows[g + 2] * LANES + half), load8(a, rows[g + 3] * LANES + half),
                load8(a, rows[g + 4] * LANES + half), load8(a, rows[g + 5] * LANES + half),
                load8(a, rows[g + 6] * LANES + half), load8(a, rows[g + 7] * LANES + half),
            )  # fmt: skip
            o = half * size + g
            store(out, o, t[0])
            store(out, o + size, t[1])
            store(out, o + 2 * size, t[2])
            store(out, o + 3 * size, t[3])
            store(out, o + 4 * size, t[4])
            store(out, o + 5 * size, t[5])
            store(out, o + 6 * size, t[6])
            store(out, o + 7 * size, t[7])


# ---- atoms in lanes


@njit
def forward_sums(t, values, first):
    """Inner nodes from their terms."""
    for k in range(len(t.term_splits)):
        re, im = splat16(0.0), splat16(0.0)
        for j in range(t.term_starts[k], t.term_splits[k]):
            x, y = t.term_x[j] * 32, t.term_y[j] * 32
            xr, xi, yr, yi = load16(values, x), load16(values, x + 16), load16(values, y), load16(values, y + 16)
            re = fma(splat16(t.term_weights[2 * j]), fnma(xi, yi, mul(xr, yr)), re)
            im = fma(splat16(t.term_weights[2 * j + 1]), fma(xi, yr, mul(xr, yi)), im)
        for j in range(t.term_splits[k], t.term_starts[k + 1]):
            x, y = t.term_x[j] * 32, t.term_y[j] * 32
            xr, xi, yr, yi = load16(values, x), load16(values, x + 16), load16(values, y), load16(values, y + 16)
            re = fma(splat16(t.term_weights[2 * j]), fma(xi, yi, mul(xr, yr)), re)
            im = fma(splat16(t.term_weights[2 * j + 1]), fnma(xi, yr, mul(xr, yi)), im)
        o = (first + k) * 32
        store(values, o, re)
        store(values, o + 16, im)


@njit
def reverse_sums(t, values, adjoints):
    """Adjoints of what inner nodes were made from."""
    weights = t.target_weights
    for g in range(len(t.group_x)):
        x = t.group_x[g] * 32
        xr, xi, ar, ai = load16(values, x), load16(values, x + 16), splat16(0.0), splat16(0.0)
        for j in range(t.group_starts[g], t.group_splits[g]):
            re, im = splat16(0.0), splat16(0.0)
            for z in range(t.product_starts[j], t.product_starts[j + 1]):
                o = t.targets[z] * 32
                re = fma(splat16(weights[2 * z]), load16(adjoints, o), re)
                im = fma(splat16(weights[2 * z + 1]), load16(adjoints, o + 16), im)
            y = t.product_y[j] * 32
            yr, yi = load16(values, y), load16(values, y + 16)
            ar, ai = fma(re, yr, fma(im, yi, ar)), fma(im, yr, fnma(re, yi, ai))
            store(adjoints, y, fma(re, xr, fma(im, xi, load16(adjoints, y))))
            store(adjoints, y + 16, fma(im, xr, fnma(re, xi, load16(adjoints, y + 16))))
        for j in range(t.group_splits[g], t.group_starts[g + 1]):
            re, im = splat16(0.0), splat16(0.0)
            for z in range(t.product_starts[j], t.product_starts[j + 1]):
                o = t.targets[z] * 32
                re = fma(splat16(weights[2 * z]), load16(adjoints, o), re)
                im = fma(splat16(weights[2 * z + 1]), load16(adjoints, o + 16), im)
            y = t.product_y[j] * 32
            yr, yi = load16(values, y), load16(values, y + 16)
            ar, ai = fma(re, yr, fma(im, yi, ar)), fma(re, yi, fnma(im, yr, ai))
            store(adjoints, y, fma(re, xr, fnma(im, xi, load16(adjoints, y))))
            store(adjoints, y + 16, fma(im, xr, fma(re, xi, load16(adjoints, y + 16))))
        store(adjoints, x, add(ar, load16(adjoints, x)))
        store(adjoints, x + 16, add(ai, load16(adjoints, x + 16)))


@njit
def forward_rows(t, b, density, out):
    """Add the rows of one density to the values at ``out``, and keep Σ_rows c y of each group for the way back."""
    values, partial = b.values, b.partial
    groups, shift = len(t.row_x), density * len(t.row_y)
    rho = load16(values, out)
    for g in range(groups):
        re, im = splat16(0.0), splat16(0.0)
        for j in range(t.row_bounds[g, 0], t.row_bounds[g, 1]):
            re = fma(splat16(t.row_weights[shift + j]), load16(values, t.row_y[j] * 32), re)
        for j in range(t.row_bounds[g, 1], t.row_bounds[g, 2]):
            y, weight = t.row_y[j] * 32, splat16(t.row_weights[shift + j])
            re, im = fma(weight, load16(values, y), re), fnma(weight, load16(values, y + 16), im)
        for j in range(t.row_bounds[g, 2], t.row_bounds[g, 3]):
            y, weight = t.row_y[j] * 32, splat16(t.row_weights[shift + j])
            re, im = fma(weight, load16(values, y), re), fma(weight, load16(values, y + 16), im)
        o, x = (density * groups + g) * 32, t.row_x[g] * 32
        store(partial, o, re)
        store(partial, o + 16, im)
        rho = fma(load16(values, x), re, fma(load16(values, x + 16), im, rho))
    store(values, out, rho)


@njit
def reverse_rows(t, b, density, at):
    """Adjoints of the operands of one density's rows; dE/dρ stands in the adjoints at ``at``."""
    values, adjoints, partial = b.values, b.adjoints, b.partial
    groups, shift = len(t.row_x), density * len(t.row_y)
    slope = load16(adjoints, at)
    for g in range(groups):
        x, o = t.row_x[g] * 32, (density * groups + g) * 32
        re, im = mul(slope, load16(values, x)), mul(slope, load16(values, x + 16))
        for j in range(t.row_bounds[g, 0], t.row_bounds[g, 1]):
            y = t.row_y[j] * 32
            store(adjoints, y, fma(splat16(t.row_weights[shift + j]), re, load16(adjoints, y)))
        for j in range(t.row_bounds[g, 1], t.row_bounds[g, 2]):
            y, weight = t.row_y[j] * 32, splat16(t.row_weights[shift + j])
            store(adjoints, y, fma(weight, re, load16(adjoints, y)))
            store(adjoints, y + 16, fnma(weight, im, load16(adjoints, y + 16)))
        for j in range(t.row_bounds[g, 2], t.row_bounds[g, 3]):
            y, weight = t.row_y[j] * 32, splat16(t.row_weights[shift + j])
            store(adjoints, y, fma(weight, re, load16(adjoints, y)))
            store(adjoints, y + 16, fma(weight, im, load16(adjoints, y + 16)))
        store(adjoints, x, fma(slope, load16(partial, o), load16(adjoints, x)))
        store(adjoints, x + 16, fma(slope, load16(partial, o + 16), load16(adjoints, x + 16)))


# ---- blocks


@njit
def gather_pairs(t, b, begin, end, species, pair, indices, vectors):
    """Write the pairs within the cutoff from ``pair`` on, filled up to eights; return their number and the shortest."""
    limit, inverse_width, bins = t.cutoffs[species], t.inverse_widths[species], t.bins[species]
    stride, base = 4 * t.columns[species], t.spline_starts[species]
    count, shortest = 0, np.inf
    for k in range(begin, end):
        x, y, z = vectors[k, 0], vectors[k, 1], vectors[k, 2]
        r = math.sqrt(x * x + y * y + z * z)
        if r >= limit:
            continue
        o = pair + count
        inverse = 1 / r
        b.ux[o], b.uy[o], b.uz[o] = x * inverse, y * inverse, z * inverse
        b.distance[o], b.inverse[o], b.neighbor[o], b.extra[o] = r, inverse, indices[k], 0.0
        scaled = r * inverse_width
        interval = min(int(scaled), bins)
        b.fraction[o], b.offset[o] = scaled - interval, base + interval * stride
        shortest = min(shortest, r)
        count += 1
    for o in range(pair + count, pair + (count + 7) // 8 * 8):
        # Beyond the last interval everything is 0: these lanes count for nothing.
        b.ux[o], b.uy[o], b.uz[o], b.distance[o], b.inverse[o], b.neighbor[o], b.extra[o] = 0, 0, 1.0, 0, 0, -1, 0
        b.fraction[o], b.offset[o] = 0.0, base + bins * stride
    return count, shortest


@njit(cache=True, nogil=True)
def run_blocks(t, b, centers, rows, starts, indices, vectors, want_forces, energies, forces, virial, problem):
    """Evaluate the atoms ``centers`` of one species, whose pairs are ``rows`` of ``starts``, ``indices``, ``vectors``.

    Adds to ``energies`` (N,), ``forces`` (N, 3) and ``virial`` (6,) in the order xx yy zz yz xz xy. Returns DONE, or
    TOO_CLOSE after writing the atoms and their distance into ``problem`` (3,).
    """
    species_count, densities = len(t.bins), len(t.exponents)
    leaf_count = t.nodes - len(t.term_splits)
    size = len(t.sum_rows)
    density_rows = 2 * t.nodes * LANES
    block_starts = np.zeros((LANES, species_count), np.int64)
    block_counts = np.zeros((LANES, species_count), np.int64)
    nearest, nearest_gap = np.zeros(LANES, np.int64), np.zeros(LANES)
    nearest_species = np.zeros(LANES, np.int64)
    for k in range(2 * leaf_count * LANES):
        b.values[k] = 0.0  # imaginary parts for m = 0 are never written
    for first in range(0, len(centers), LANES):
        atoms = min(LANES, len(centers) - first)
        pair = 0
        for k in range(LANES * size):
            b.sums[k] = 0.0
        for w in range(atoms):
            nearest[w], nearest_gap[w] = -1, np.inf
            row = rows[first + w] * species_count
            for s in range(species_count):
                count, shortest = gather_pairs(t, b, starts[row + s], starts[row + s + 1], s, pair, indices, vectors)
                block_starts[w, s], block_counts[w, s] = pair, count
                if count and shortest * t.inverse_widths[s] < 1.0:
                    for k in range(pair, pair + count):
                        if b.distance[k] == shortest:
                            problem[0], problem[1], problem[2] = centers[first + w], b.neighbor[k], shortest
                    return TOO_CLOSE
                if t.core_mode == ZBL and count:
                    gap = shortest - (t.inner[s] - t.inner_width[s])
                    if gap < nearest_gap[w]:
                        nearest_gap[w], nearest_species[w] = gap, s
                        for k in range(pair, pair + count):
                            if b.distance[k] == shortest:
                                nearest[w] = k
                add_atom(t, b, pair, count, s, w * size)
                pair += (count + 7) // 8 * 8
        to_values(b, size, t.sum_rows)
        forward_sums(t, b.values, leaf_count)
        # The first species' rows gather the densities and cores of all.
        for s in range(1, species_count):
            for k in range((densities + 1) * LANES):
                b.values[density_rows + k] += b.values[density_rows + s * (densities + 1) * LANES + k]
        for p in range(densities):
            forward_rows(t, b, p, density_rows + p * LANES)
        for w in range(LANES):
            total = 0.0
            core = b.values[density_rows + densities * LANES + w]
            for p in range(densities):
                value, slope = embed(b.values[density_rows + p * LANES + w], t.exponents[p], t.embedding)
                total += t.embedding_weights[p] * value
                b.adjoints[density_rows + p * LANES + w] = t.embedding_weights[p] * slope
            if t.core_mode == ZBL:
                keep, keep_slope = 1.0, 0.0
                if w < atoms and nearest[w] >= 0:
                    width = t.inner_width[nearest_species[w]]
                    keep, keep_slope = switch(width - nearest_gap[w], width, width)
                    b.extra[nearest[w]] = -keep_slope * (total - core)
                energy, core_slope = total * keep + core * (1 - keep), 1 - keep
            else:
                keep, keep_slope = switch(core, t.core_limit, t.core_width)
                energy, core_slope = total * keep + core, 1 + total * keep_slope
            for p in range(densities):
                b.adjoints[density_rows + p * LANES + w] *= keep
            b.adjoints[density_rows + densities * LANES + w] = core_slope
            if w < atoms:
                energies[centers[first + w]] = energy + t.reference_energy
        if not want_forces:
            continue
        zero = splat16(0.0)
        for k in range(0, density_rows, LANES):
            store(b.adjoints, k, zero)
        for s in range(1, species_count):
            for k in range((densities + 1) * LANES):
                b.adjoints[density_rows + s * (densities + 1) * LANES + k] = b.adjoints[density_rows + k]
        for p in range(densities):
            reverse_rows(t, b, p, density_rows + p * LANES)
        reverse_sums(t, b.values, b.adjoints)
        from_adjoints(b, size, t.sum_rows)
        for w in range(atoms):
            center = centers[first + w]
            for s in range(species_count):
                for k in range(block_starts[w, s], block_starts[w, s] + block_counts[w, s], 8):
                    pair_forces(t, b, k, s, w * size)
                    for j in range(min(8, block_starts[w, s] + block_counts[w, s] - k)):
                        neighbor, fx, fy, fz = b.neighbor[k + j], b.fx[j], b.fy[j], b.fz[j]
                        r = b.distance[k + j]
                        x, y, z = r * b.ux[k + j], r * b.uy[k + j], r * b.uz[k + j]
                        forces[center, 0] += fx
                        forces[center, 1] += fy
                        forces[center, 2] += fz
                        forces[neighbor, 0] -= fx
                        forces[neighbor, 1] -= fy
                        forces[neighbor, 2] -= fz
                        virial[0] += x * fx
                        virial[1] += y * fy
                        virial[2] += z * fz
                        virial[3] += y * fz
                        virial[4] += x * fz
                        virial[5] += x * fy
    return DONE
