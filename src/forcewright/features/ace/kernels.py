"""Compiled loops of the ACE evaluator: blocks of atoms through neighbor sums, the product graph and back to forces.

A block is up to 16 atoms of one species. Per atom, neighbors stand in vector lanes for spherical harmonics and forces,
radial functions in lanes for splines and the sums A; an 8 × 8 transposition then brings A into atom lanes, in which the
product graph is swept forward and in reverse. Everything that differs between potentials is data, so the code compiles
once and is kept on disk.

=========  ==================================================================================================
array      layout (flat)
=========  ==================================================================================================
harmonics  [l² + component][32 neighbors]; components: m = 0, then real and imaginary part of m = 1 … l
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
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from forcewright.features.ace import vector as simd
from forcewright.features.ace.vector import (
    add,
    div,
    floor,
    fma,
    fnma,
    load8,
    load16,
    mul,
    smaller,
    splat8,
    splat16,
    sqrt,
    store,
    store_integers,
    sub,
    transpose8,
)

#: Atoms per block.
LANES = 16
#: Largest number of neighbors whose radial functions are held at a time, half as many where there are many functions:
#: they stay in the first cache.
CHUNK = 32

DENSITY, DISTANCE, ZBL = 0, 1, 2
SHIFTED_SCALED, PLAIN_POWER = 0, 1
DONE, TOO_CLOSE = 0, 1


# A division by zero gives infinity: coincident atoms are noticed afterwards, in words.
kernel = partial(njit, error_model="numpy")


class CenterTables(NamedTuple):
    """Everything the loops read for one center species; S neighbor species, L the largest l, P densities."""

    spline: Any  # flat [species][node][eight columns][value, slope · width][8]
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
    pair_force: Any  # forces of eight pairs at a time of one atom
    totals: Any  # in lanes: virial, and the force on one atom from its own energy


@kernel()
def switch(r, upper, width):
    """S(r; upper, width) and its derivative (see `forcewright.features.ace.radial.switch`)."""
    if r >= upper:
        return 0.0, 0.0
    if r <= upper - width:
        return 1.0, 0.0
    x = 1 - 2 * (1 + (r - upper) / width)
    return 0.5 + 3.75 * (x / 4 - x**3 / 6 + x**5 / 20), -7.5 / width * (0.25 - x * x / 2 + x**4 / 4)


@kernel()
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


@kernel(forceinline=True)
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


@kernel()
def write_harmonics(ux, uy, uz, pair, momentum, recursion_a, recursion_b, diagonal, out, begin):
    """Y_lm = P_lm(z) (x + iy)^m of eight pairs, with the recursion in l of the P_lm at fixed m."""
    x, y, z = load8(ux, pair), load8(uy, pair), load8(uz, pair)
    stride = len(diagonal)
    re, im = splat8(1.0), splat8(0.0)
    for m in range(momentum + 1):
        p, before = splat8(diagonal[m]), splat8(0.0)
        for l in range(m, momentum + 1):
            if l > m:
                k = l * stride + m
                p, before = mul(splat8(recursion_a[k]), fma(z, p, mul(splat8(recursion_b[k]), before))), p
            if m == 0:
                store(out, l * l * CHUNK + begin, p)
            else:
                o = (l * l + 2 * m - 1) * CHUNK + begin
                store(out, o, mul(p, re))
                store(out, o + CHUNK, mul(p, im))
        re, im = fnma(y, im, mul(x, re)), fma(y, re, mul(x, im))


@kernel(forceinline=True)
def hermite(spline, q, step, w, two):
    """Value and slope · width of eight functions of one pair, a fraction ``w`` from node ``q`` on to the next."""
    value0, slope0 = load8(spline, q), load8(spline, q + 8)
    rise = sub(load8(spline, q + step), value0)
    third = fnma(two, rise, add(slope0, load8(spline, q + step + 8)))
    second = sub(sub(rise, slope0), third)
    high = fma(w, third, second)
    return fma(w, fma(w, high, slope0), value0), fma(w, fma(w, third, add(high, high)), slope0)


@kernel()
def write_radial(table, offsets, fractions, pair, count, columns, out):
    """The values of all radial functions of ``count`` pairs, in function lanes."""
    two, step = splat8(2.0), 2 * columns
    for j in range(count):
        o, w = offsets[pair + j], splat8(fractions[pair + j])
        for f in range(0, columns, 8):
            store(out, j * columns + f, hermite(table, o + 2 * f, step, w, two)[0])


@kernel()
def write_transposed(table, offsets, fractions, pair, columns, out, at, radial, row, want_rows):
    """Values and slopes (times the width of a bin) of all radial functions of eight pairs, in neighbor lanes.

    If ``want_rows``, the values go also to the ``radial`` functions from row ``row`` on, in function lanes.
    """
    o0, o1, o2, o3 = offsets[pair], offsets[pair + 1], offsets[pair + 2], offsets[pair + 3]
    o4, o5, o6, o7 = offsets[pair + 4], offsets[pair + 5], offsets[pair + 6], offsets[pair + 7]
    w0, w1 = splat8(fractions[pair]), splat8(fractions[pair + 1])
    w2, w3 = splat8(fractions[pair + 2]), splat8(fractions[pair + 3])
    w4, w5 = splat8(fractions[pair + 4]), splat8(fractions[pair + 5])
    w6, w7 = splat8(fractions[pair + 6]), splat8(fractions[pair + 7])
    two, step = splat8(2.0), 2 * columns
    for f in range(0, columns, 8):
        q, o = 2 * f, at + 16 * f
        v0, d0 = hermite(table, o0 + q, step, w0, two)
        v1, d1 = hermite(table, o1 + q, step, w1, two)
        v2, d2 = hermite(table, o2 + q, step, w2, two)
        v3, d3 = hermite(table, o3 + q, step, w3, two)
        v4, d4 = hermite(table, o4 + q, step, w4, two)
        v5, d5 = hermite(table, o5 + q, step, w5, two)
        v6, d6 = hermite(table, o6 + q, step, w6, two)
        v7, d7 = hermite(table, o7 + q, step, w7, two)
        if want_rows:
            store_rows((v0, v1, v2, v3, v4, v5, v6, v7), radial, row * columns + f, columns)
        store_rows(transpose8(v0, v1, v2, v3, v4, v5, v6, v7), out, o, 16)
        store_rows(transpose8(d0, d1, d2, d3, d4, d5, d6, d7), out, o + 8, 16)


@kernel(forceinline=True)
def store_rows(rows, out, o, stride):
    """Store eight vectors, ``stride`` elements apart."""
    store(out, o, rows[0])
    store(out, o + stride, rows[1])
    store(out, o + 2 * stride, rows[2])
    store(out, o + 3 * stride, rows[3])
    store(out, o + 4 * stride, rows[4])
    store(out, o + 5 * stride, rows[5])
    store(out, o + 6 * stride, rows[6])
    store(out, o + 7 * stride, rows[7])


@kernel(forceinline=True)
def add_sums(harmonics, radial, counts, firsts, sum_starts, species, momentum, columns, size, sums, out):
    """Add the products of harmonics and radial functions of ``size`` neighbors to A of one atom, at ``out``."""
    for l in range(momentum + 1):
        eights = (counts[species, l] + 7) // 8
        if eights:
            multiply(
                harmonics, l * l * CHUNK, CHUNK, 2 * l + 1, radial, firsts[species, l], columns, eights, size,
                sums, out + sum_starts[species, l], 8 * eights, True,
            )  # fmt: skip


@kernel(forceinline=True)
def contract(transposed, pairs_at, sums, at, counts, firsts, sum_starts, species, momentum, out):
    """Σ_n dE/dA_nlm R_nl(r) and Σ_n dE/dA_nlm R_nl'(r) of eight neighbors."""
    for l in range(momentum + 1):
        count = counts[species, l]
        if count:
            multiply(
                sums, at + sum_starts[species, l], 8 * ((count + 7) // 8), 2 * l + 1, transposed,
                pairs_at + 16 * firsts[species, l], 16, 2, count, out, 16 * l * l, 16, False,
            )  # fmt: skip


@kernel()
def pair_forces(
    ux, uy, uz, distances, inverses, extra, pair, contracted, inverse_width, counts, species, momentum, recursion_a,
    recursion_b, diagonal, out, totals,
):  # fmt: skip
    """dE_i/dr_ij of eight neighbors from the contracted radial functions; adds them and r ⊗ dE/dr to ``totals``."""
    stride = len(diagonal)
    x, y, z, zero = load8(ux, pair), load8(uy, pair), load8(uz, pair), splat8(0.0)
    re, im, re_before, im_before = splat8(1.0), zero, zero, zero
    gx, gy, gz, radial = zero, zero, zero, zero
    for m in range(momentum + 1):
        # p and q: P_lm(z) and its derivative; sums over l of the contracted parts times either.
        p, p_before, q, q_before = splat8(diagonal[m]), zero, zero, zero
        value_re, value_im, polar_re, polar_im, slope_re, slope_im = zero, zero, zero, zero, zero, zero
        for l in range(m, momentum + 1):
            if l > m:
                k = l * stride + m
                a, c = splat8(recursion_a[k]), splat8(recursion_b[k])
                q, q_before = mul(a, add(p, fma(z, q, mul(c, q_before)))), q
                p, p_before = mul(a, fma(z, p, mul(c, p_before))), p
            if counts[species, l] == 0:
                continue
            if m == 0:
                o = 16 * l * l
                gz = fma(load8(contracted, o), q, gz)
                radial = fma(load8(contracted, o + 8), p, radial)
            else:
                o = 16 * (l * l + 2 * m - 1)
                s_re, s_im = load8(contracted, o), load8(contracted, o + 16)
                value_re, value_im = fma(s_re, p, value_re), fma(s_im, p, value_im)
                polar_re, polar_im = fma(s_re, q, polar_re), fma(s_im, q, polar_im)
                slope_re = fma(load8(contracted, o + 8), p, slope_re)
                slope_im = fma(load8(contracted, o + 24), p, slope_im)
        if m > 0:
            order = splat8(float(m))
            gx = fma(order, fma(value_re, re_before, mul(value_im, im_before)), gx)
            gy = fma(order, fnma(value_re, im_before, mul(value_im, re_before)), gy)
            gz = fma(polar_re, re, fma(polar_im, im, gz))
            radial = fma(slope_re, re, fma(slope_im, im, radial))
        re_before, im_before = re, im
        re, im = fnma(y, im, mul(x, re)), fma(y, re, mul(x, im))
    inverse = load8(inverses, pair)
    gx, gy, gz = mul(gx, inverse), mul(gy, inverse), mul(gz, inverse)
    radial = fma(radial, splat8(inverse_width), load8(extra, pair))
    radial = sub(radial, fma(gx, x, fma(gy, y, mul(gz, z))))
    fx, fy, fz = fma(radial, x, gx), fma(radial, y, gy), fma(radial, z, gz)
    store(out, 0, fx)
    store(out, 8, fy)
    store(out, 16, fz)
    r = load8(distances, pair)
    x, y, z = mul(r, x), mul(r, y), mul(r, z)
    store(totals, 0, fma(x, fx, load8(totals, 0)))
    store(totals, 8, fma(y, fy, load8(totals, 8)))
    store(totals, 16, fma(z, fz, load8(totals, 16)))
    store(totals, 24, fma(y, fz, load8(totals, 24)))
    store(totals, 32, fma(x, fz, load8(totals, 32)))
    store(totals, 40, fma(x, fy, load8(totals, 40)))
    store(totals, 48, add(fx, load8(totals, 48)))
    store(totals, 56, add(fy, load8(totals, 56)))
    store(totals, 64, add(fz, load8(totals, 64)))


@kernel()
def to_values(a, size, rows, out):
    """Bring the sums of 16 atoms into atom lanes."""
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


@kernel()
def from_adjoints(a, size, rows, out):
    """Bring the adjoints of the sums back to one strip per atom."""
    for half in range(0, LANES, 8):
        for g in range(0, size, 8):
            t = transpose8(
                load8(a, rows[g] * LANES + half), load8(a, rows[g + 1] * LANES + half),
                load8(a, rows[g + 2] * LANES + half), load8(a, rows[g + 3] * LANES + half),
                load8(a, rows[g + 4] * LANES + half), load8(a, rows[g + 5] * LANES + half),
                load8(a, rows[g + 6] * LANES + half), load8(a, rows[g + 7] * LANES + half),
            )  # fmt: skip
            store_rows(t, out, half * size + g, size)


# ---- atoms in lanes


@kernel()
def forward_sums(term_starts, term_splits, term_x, term_y, term_weights, values, first):
    """Inner nodes from their terms."""
    for k in range(len(term_splits)):
        re, im = splat16(0.0), splat16(0.0)
        for j in range(term_starts[k], term_splits[k]):
            x, y = term_x[j] * 32, term_y[j] * 32
            xr, xi, yr, yi = load16(values, x), load16(values, x + 16), load16(values, y), load16(values, y + 16)
            re = fma(splat16(term_weights[2 * j]), fnma(xi, yi, mul(xr, yr)), re)
            im = fma(splat16(term_weights[2 * j + 1]), fma(xi, yr, mul(xr, yi)), im)
        for j in range(term_splits[k], term_starts[k + 1]):
            x, y = term_x[j] * 32, term_y[j] * 32
            xr, xi, yr, yi = load16(values, x), load16(values, x + 16), load16(values, y), load16(values, y + 16)
            re = fma(splat16(term_weights[2 * j]), fma(xi, yi, mul(xr, yr)), re)
            im = fma(splat16(term_weights[2 * j + 1]), fnma(xi, yr, mul(xr, yi)), im)
        o = (first + k) * 32
        store(values, o, re)
        store(values, o + 16, im)


@kernel()
def reverse_sums(
    group_x, group_starts, group_splits, product_y, product_starts, targets, weights, values, adjoints
):  # fmt: skip
    """Adjoints of what inner nodes were made from."""
    for g in range(len(group_x)):
        x = group_x[g] * 32
        xr, xi, ar, ai = load16(values, x), load16(values, x + 16), splat16(0.0), splat16(0.0)
        for j in range(group_starts[g], group_splits[g]):
            re, im = splat16(0.0), splat16(0.0)
            for z in range(product_starts[j], product_starts[j + 1]):
                o = targets[z] * 32
                re = fma(splat16(weights[2 * z]), load16(adjoints, o), re)
                im = fma(splat16(weights[2 * z + 1]), load16(adjoints, o + 16), im)
            y = product_y[j] * 32
            yr, yi = load16(values, y), load16(values, y + 16)
            ar, ai = fma(re, yr, fma(im, yi, ar)), fma(im, yr, fnma(re, yi, ai))
            store(adjoints, y, fma(re, xr, fma(im, xi, load16(adjoints, y))))
            store(adjoints, y + 16, fma(im, xr, fnma(re, xi, load16(adjoints, y + 16))))
        for j in range(group_splits[g], group_starts[g + 1]):
            re, im = splat16(0.0), splat16(0.0)
            for z in range(product_starts[j], product_starts[j + 1]):
                o = targets[z] * 32
                re = fma(splat16(weights[2 * z]), load16(adjoints, o), re)
                im = fma(splat16(weights[2 * z + 1]), load16(adjoints, o + 16), im)
            y = product_y[j] * 32
            yr, yi = load16(values, y), load16(values, y + 16)
            ar, ai = fma(re, yr, fma(im, yi, ar)), fma(re, yi, fnma(im, yr, ai))
            store(adjoints, y, fma(re, xr, fnma(im, xi, load16(adjoints, y))))
            store(adjoints, y + 16, fma(im, xr, fma(re, xi, load16(adjoints, y + 16))))
        store(adjoints, x, add(ar, load16(adjoints, x)))
        store(adjoints, x + 16, add(ai, load16(adjoints, x + 16)))


@kernel()
def forward_rows(row_x, row_bounds, row_y, row_weights, density, values, partial, out):
    """Add the rows of one density to the values at ``out``, and keep Σ_rows c y of each group for the way back."""
    groups, shift = len(row_x), density * len(row_y)
    rho = load16(values, out)
    for g in range(groups):
        re, im = splat16(0.0), splat16(0.0)
        for j in range(row_bounds[g, 0], row_bounds[g, 1]):
            re = fma(splat16(row_weights[shift + j]), load16(values, row_y[j] * 32), re)
        for j in range(row_bounds[g, 1], row_bounds[g, 2]):
            y, weight = row_y[j] * 32, splat16(row_weights[shift + j])
            re, im = fma(weight, load16(values, y), re), fnma(weight, load16(values, y + 16), im)
        for j in range(row_bounds[g, 2], row_bounds[g, 3]):
            y, weight = row_y[j] * 32, splat16(row_weights[shift + j])
            re, im = fma(weight, load16(values, y), re), fma(weight, load16(values, y + 16), im)
        o, x = (density * groups + g) * 32, row_x[g] * 32
        store(partial, o, re)
        store(partial, o + 16, im)
        rho = fma(load16(values, x), re, fma(load16(values, x + 16), im, rho))
    store(values, out, rho)


@kernel()
def forward_rows_of_two(row_x, row_bounds, row_y, row_weights, density, values, partial, out):
    """`forward_rows` of a density and the next in one pass."""
    groups, shift = len(row_x), density * len(row_y)
    other = shift + len(row_y)
    rho, rho_ = load16(values, out), load16(values, out + 16)
    for g in range(groups):
        re, im, re_, im_ = splat16(0.0), splat16(0.0), splat16(0.0), splat16(0.0)
        for j in range(row_bounds[g, 0], row_bounds[g, 1]):
            y = load16(values, row_y[j] * 32)
            re, re_ = fma(splat16(row_weights[shift + j]), y, re), fma(splat16(row_weights[other + j]), y, re_)
        for j in range(row_bounds[g, 1], row_bounds[g, 2]):
            y, yi = load16(values, row_y[j] * 32), load16(values, row_y[j] * 32 + 16)
            weight, weight_ = splat16(row_weights[shift + j]), splat16(row_weights[other + j])
            re, im, re_, im_ = fma(weight, y, re), fnma(weight, yi, im), fma(weight_, y, re_), fnma(weight_, yi, im_)
        for j in range(row_bounds[g, 2], row_bounds[g, 3]):
            y, yi = load16(values, row_y[j] * 32), load16(values, row_y[j] * 32 + 16)
            weight, weight_ = splat16(row_weights[shift + j]), splat16(row_weights[other + j])
            re, im, re_, im_ = fma(weight, y, re), fma(weight, yi, im), fma(weight_, y, re_), fma(weight_, yi, im_)
        o, x = (density * groups + g) * 32, row_x[g] * 32
        o_ = o + groups * 32
        store(partial, o, re)
        store(partial, o + 16, im)
        store(partial, o_, re_)
        store(partial, o_ + 16, im_)
        xr, xi = load16(values, x), load16(values, x + 16)
        rho, rho_ = fma(xr, re, fma(xi, im, rho)), fma(xr, re_, fma(xi, im_, rho_))
    store(values, out, rho)
    store(values, out + 16, rho_)


@kernel()
def reverse_rows(row_x, row_bounds, row_y, row_weights, density, values, partial, adjoints, at):
    """Adjoints of the operands of one density's rows; dE/dρ stands in the adjoints at ``at``."""
    groups, shift = len(row_x), density * len(row_y)
    slope = load16(adjoints, at)
    for g in range(groups):
        x, o = row_x[g] * 32, (density * groups + g) * 32
        re, im = mul(slope, load16(values, x)), mul(slope, load16(values, x + 16))
        for j in range(row_bounds[g, 0], row_bounds[g, 1]):
            y = row_y[j] * 32
            store(adjoints, y, fma(splat16(row_weights[shift + j]), re, load16(adjoints, y)))
        for j in range(row_bounds[g, 1], row_bounds[g, 2]):
            y, weight = row_y[j] * 32, splat16(row_weights[shift + j])
            store(adjoints, y, fma(weight, re, load16(adjoints, y)))
            store(adjoints, y + 16, fnma(weight, im, load16(adjoints, y + 16)))
        for j in range(row_bounds[g, 2], row_bounds[g, 3]):
            y, weight = row_y[j] * 32, splat16(row_weights[shift + j])
            store(adjoints, y, fma(weight, re, load16(adjoints, y)))
            store(adjoints, y + 16, fma(weight, im, load16(adjoints, y + 16)))
        store(adjoints, x, fma(slope, load16(partial, o), load16(adjoints, x)))
        store(adjoints, x + 16, fma(slope, load16(partial, o + 16), load16(adjoints, x + 16)))


@kernel()
def reverse_rows_of_two(row_x, row_bounds, row_y, row_weights, density, values, partial, adjoints, at):
    """`reverse_rows` of a density and the next in one pass."""
    groups, shift = len(row_x), density * len(row_y)
    other = shift + len(row_y)
    slope, slope_ = load16(adjoints, at), load16(adjoints, at + 16)
    for g in range(groups):
        x, o = row_x[g] * 32, (density * groups + g) * 32
        o_ = o + groups * 32
        xr, xi = load16(values, x), load16(values, x + 16)
        re, im, re_, im_ = mul(slope, xr), mul(slope, xi), mul(slope_, xr), mul(slope_, xi)
        for j in range(row_bounds[g, 0], row_bounds[g, 1]):
            y, weight, weight_ = row_y[j] * 32, splat16(row_weights[shift + j]), splat16(row_weights[other + j])
            store(adjoints, y, fma(weight, re, fma(weight_, re_, load16(adjoints, y))))
        for j in range(row_bounds[g, 1], row_bounds[g, 2]):
            y, weight, weight_ = row_y[j] * 32, splat16(row_weights[shift + j]), splat16(row_weights[other + j])
            store(adjoints, y, fma(weight, re, fma(weight_, re_, load16(adjoints, y))))
            store(adjoints, y + 16, fnma(weight, im, fnma(weight_, im_, load16(adjoints, y + 16))))
        for j in range(row_bounds[g, 2], row_bounds[g, 3]):
            y, weight, weight_ = row_y[j] * 32, splat16(row_weights[shift + j]), splat16(row_weights[other + j])
            store(adjoints, y, fma(weight, re, fma(weight_, re_, load16(adjoints, y))))
            store(adjoints, y + 16, fma(weight, im, fma(weight_, im_, load16(adjoints, y + 16))))
        sum_re = fma(slope, load16(partial, o), fma(slope_, load16(partial, o_), load16(adjoints, x)))
        sum_im = fma(slope, load16(partial, o + 16), fma(slope_, load16(partial, o_ + 16), load16(adjoints, x + 16)))
        store(adjoints, x, sum_re)
        store(adjoints, x + 16, sum_im)


# ---- blocks


@kernel()
def gather_pairs(begin, end, pair, indices, vectors, limit, ux, uy, uz, neighbors):
    """Write the pairs within the cutoff from ``pair`` on, filled up to eights; return their number and the shortest."""
    count, shortest, square = 0, np.inf, limit * limit
    for k in range(begin, end):
        x, y, z, o = vectors[k, 0], vectors[k, 1], vectors[k, 2], pair + count
        ux[o], uy[o], uz[o], neighbors[o] = x, y, z, indices[k]
        r2 = x * x + y * y + z * z
        if r2 < square:
            count += 1
            shortest = min(shortest, r2)
    for o in range(pair + count, pair + (count + 7) // 8 * 8):
        ux[o], uy[o], uz[o] = 0.0, 0.0, 2 * limit
    return count, math.sqrt(shortest)


@kernel()
def write_geometry(
    pair, count, inverse_width, bins, base, stride, ux, uy, uz, distances, inverses, fractions, offsets, extra
):  # fmt: skip
    """Distances r, r / r, and the place of r in the table of radial functions, in neighbor lanes.

    Beyond the last node everything is 0: the lanes filled up count for nothing.
    """
    unit, per_width, last, width, start = (
        splat8(1.0), splat8(inverse_width), splat8(float(bins)), splat8(float(stride)), splat8(float(base)),
    )  # fmt: skip
    for o in range(pair, pair + count, 8):
        x, y, z = load8(ux, o), load8(uy, o), load8(uz, o)
        r = sqrt(fma(x, x, fma(y, y, mul(z, z))))
        inverse, scaled = div(unit, r), mul(r, per_width)
        interval = smaller(floor(scaled), last)
        store(ux, o, mul(x, inverse))
        store(uy, o, mul(y, inverse))
        store(uz, o, mul(z, inverse))
        store(distances, o, r)
        store(inverses, o, inverse)
        store(fractions, o, sub(scaled, interval))
        store_integers(offsets, o, fma(interval, width, start))
        store(extra, o, splat8(0.0))


@kernel()
def find_shortest(distances, begin, end):
    """Index of the shortest of some pairs, or -1."""
    best, at = np.inf, -1
    for k in range(begin, end):
        if distances[k] < best:
            best, at = distances[k], k
    return at


@kernel()
def scatter(begin, count, neighbors, pair_forces, forces):
    """Add the forces of up to eight pairs of one center to the neighbors."""
    for j in range(count):
        neighbor = neighbors[begin + j]
        forces[neighbor, 0] -= pair_forces[j]
        forces[neighbor, 1] -= pair_forces[8 + j]
        forces[neighbor, 2] -= pair_forces[16 + j]


@kernel()
def add_lanes(totals, first, out):
    """Add the sums of lanes of ``totals`` from row ``first`` on to the elements of ``out``."""
    for k in range(len(out)):
        o = 8 * (first + k)
        pairs = totals[o] + totals[o + 1] + (totals[o + 2] + totals[o + 3])
        out[k] += pairs + (totals[o + 4] + totals[o + 5] + (totals[o + 6] + totals[o + 7]))


@kernel()
def embed_lane(
    rho, slopes, w, gap, width, weights, exponents, embedding, core_mode, core_limit, core_width
):  # fmt: skip
    """Energy of the atom in lane ``w``, without its reference; its densities' slopes into ``slopes`` (rows of lanes).

    ``gap`` is the distance of the nearest neighbor beyond the start of its blend to a ZBL core and ``width`` that of
    the blend; infinite without a neighbor. Also returned: the slope of the energy by that gap.
    """
    densities = len(exponents)
    total, core = 0.0, rho[densities * LANES + w]
    for p in range(densities):
        value, slope = embed(rho[p * LANES + w], exponents[p], embedding)
        total += weights[p] * value
        slopes[p * LANES + w] = weights[p] * slope
    if core_mode == ZBL:
        keep, change = (1.0, 0.0) if gap == np.inf else switch(width - gap, width, width)
        energy, core_slope, gap_slope = total * keep + core * (1 - keep), 1 - keep, -change * (total - core)
    else:
        keep, change = switch(core, core_limit, core_width)
        energy, core_slope, gap_slope = total * keep + core, 1 + total * change, 0.0
    for p in range(densities):
        slopes[p * LANES + w] *= keep
    slopes[densities * LANES + w] = core_slope
    return energy, gap_slope


@kernel(cache=True, nogil=True)
def run_blocks(t, b, centers, rows, starts, indices, vectors, want_forces, energies, forces, virial, problem):
    """Evaluate the atoms ``centers`` of one species, whose pairs are ``rows`` of ``starts``, ``indices``, ``vectors``.

    Adds to ``energies`` (N,), ``forces`` (N, 3) and ``virial`` (6,) in the order xx yy zz yz xz xy. Returns DONE, or
    TOO_CLOSE after writing the atoms and their distance into ``problem`` (3,).
    """
    # Local names, because every array taken from a tuple is counted as a reference, atomically.
    spline, spline_starts, all_bins, inverse_widths = t.spline, t.spline_starts, t.bins, t.inverse_widths
    cutoffs, all_columns, momenta, counts = t.cutoffs, t.columns, t.momenta, t.counts
    firsts, sum_starts, sum_rows, inner, inner_width = t.firsts, t.sum_starts, t.sum_rows, t.inner, t.inner_width
    recursion_a, recursion_b, diagonal = t.recursion_a, t.recursion_b, t.diagonal
    term_starts, term_splits, term_x, term_y, term_weights = (
        t.term_starts, t.term_splits, t.term_x, t.term_y, t.term_weights,
    )  # fmt: skip
    group_x, group_starts, group_splits, product_y = t.group_x, t.group_starts, t.group_splits, t.product_y
    product_starts, targets, target_weights = t.product_starts, t.targets, t.target_weights
    row_x, row_bounds, row_y, row_weights = t.row_x, t.row_bounds, t.row_y, t.row_weights
    values, adjoints, partial, sums, harmonics = b.values, b.adjoints, b.partial, b.sums, b.harmonics
    radial, transposed, contracted, extra = b.radial, b.transposed, b.contracted, b.extra
    ux, uy, uz, distances, inverses, fractions = b.ux, b.uy, b.uz, b.distance, b.inverse, b.fraction
    offsets, neighbors, pair_force, totals = b.offset, b.neighbor, b.pair_force, b.totals

    embedding_weights, exponents, core_mode = t.embedding_weights, t.exponents, t.core_mode

    species_count, densities = len(all_bins), len(exponents)
    leaf_count, size, zero = t.nodes - len(term_splits), len(sum_rows), splat16(0.0)
    tail, tail_size = 2 * t.nodes * LANES, (densities + 1) * LANES
    rho, slopes = values[tail:], adjoints[tail:]
    # Per pair, what the table gives is kept from the first pass for the second, if there is room for a block.
    zero8, kept = splat8(0.0), 0
    if want_forces and len(transposed) >= 2 * all_columns.max() * len(ux):
        kept = 2 * all_columns.max()
    for k in range(0, 72, 8):
        store(totals, k, zero8)
    begins = np.zeros((LANES, species_count), np.int64)
    ends = np.zeros((LANES, species_count), np.int64)
    gaps, widths, nearest = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES, np.int64)
    for k in range(0, 2 * leaf_count * LANES, LANES):
        store(values, k, zero)  # imaginary parts for m = 0 are never written
    for first in range(0, len(centers), LANES):
        atoms = min(LANES, len(centers) - first)
        pair = 0
        for k in range(0, LANES * size, LANES):
            store(sums, k, zero)
        for w in range(atoms):
            nearest[w], gaps[w] = -1, np.inf
            row = rows[first + w] * species_count
            for s in range(species_count):
                columns, momentum, base = all_columns[s], momenta[s], spline_starts[s]
                count, shortest = gather_pairs(
                    starts[row + s], starts[row + s + 1], pair, indices, vectors, cutoffs[s], ux, uy, uz, neighbors
                )
                write_geometry(
                    pair, count, inverse_widths[s], all_bins[s], base, 2 * columns, ux, uy, uz, distances, inverses,
                    fractions, offsets, extra,
                )  # fmt: skip
                begins[w, s], ends[w, s] = pair, pair + count
                if shortest * inverse_widths[s] < 1.0:
                    k = find_shortest(distances, pair, pair + count)
                    problem[0], problem[1], problem[2] = centers[first + w], neighbors[k], shortest
                    return TOO_CLOSE
                if core_mode == ZBL and shortest - (inner[s] - inner_width[s]) < gaps[w]:
                    gaps[w], widths[w] = shortest - (inner[s] - inner_width[s]), inner_width[s]
                    nearest[w] = find_shortest(distances, pair, pair + count)
                largest = CHUNK if columns + (momentum + 1) ** 2 <= 96 else CHUNK // 2
                for start in range(pair, pair + count, largest):
                    chunk = min(largest, pair + count - start)
                    for o in range(0, chunk, 8):
                        write_harmonics(
                            ux, uy, uz, start + o, momentum, recursion_a, recursion_b, diagonal, harmonics, o
                        )
                    if kept:
                        for o in range(0, chunk, 8):
                            write_transposed(
                                spline, offsets, fractions, start + o, columns, transposed, (start + o) * kept,
                                radial, o, True,
                            )  # fmt: skip
                    else:
                        write_radial(spline, offsets, fractions, start, chunk, columns, radial)
                    add_sums(harmonics, radial, counts, firsts, sum_starts, s, momentum, columns, chunk, sums, w * size)
                pair += (count + 7) // 8 * 8
        to_values(sums, size, sum_rows, values)
        # The rows of the first species gather the densities and cores of all.
        for s in range(1, species_count):
            for k in range(tail_size):
                rho[k] += rho[s * tail_size + k]
        forward_sums(term_starts, term_splits, term_x, term_y, term_weights, values, leaf_count)
        for p in range(0, densities - 1, 2):
            forward_rows_of_two(row_x, row_bounds, row_y, row_weights, p, values, partial, tail + p * LANES)
        if densities % 2:
            p = densities - 1
            forward_rows(row_x, row_bounds, row_y, row_weights, p, values, partial, tail + p * LANES)
        for w in range(LANES):
            if w < atoms:
                energy, gap_slope = embed_lane(
                    rho, slopes, w, gaps[w], widths[w], embedding_weights, exponents, t.embedding, core_mode,
                    t.core_limit, t.core_width,
                )  # fmt: skip
                energies[centers[first + w]] = energy + t.reference_energy
                if nearest[w] >= 0:
                    extra[nearest[w]] = gap_slope
            else:
                for p in range(densities + 1):
                    slopes[p * LANES + w] = 0.0
        if not want_forces:
            continue
        for k in range(0, tail, LANES):
            store(adjoints, k, zero)
        for s in range(1, species_count):
            for k in range(tail_size):
                slopes[s * tail_size + k] = slopes[k]
        for p in range(0, densities - 1, 2):
            at = tail + p * LANES
            reverse_rows_of_two(row_x, row_bounds, row_y, row_weights, p, values, partial, adjoints, at)
        if densities % 2:
            p = densities - 1
            reverse_rows(row_x, row_bounds, row_y, row_weights, p, values, partial, adjoints, tail + p * LANES)
        reverse_sums(
            group_x, group_starts, group_splits, product_y, product_starts, targets, target_weights, values, adjoints
        )
        from_adjoints(adjoints, size, sum_rows, sums)
        for w in range(atoms):
            for s in range(species_count):
                columns, momentum = all_columns[s], momenta[s]
                for k in range(begins[w, s], ends[w, s], 8):
                    if not kept:
                        write_transposed(
                            spline, offsets, fractions, k, columns, transposed, 0, radial, 0, False
                        )  # fmt: skip
                    contract(
                        transposed, k * kept, sums, w * size, counts, firsts, sum_starts, s, momentum, contracted
                    )  # fmt: skip
                    pair_forces(
                        ux, uy, uz, distances, inverses, extra, k, contracted, inverse_widths[s], counts, s, momentum,
                        recursion_a, recursion_b, diagonal, pair_force, totals,
                    )  # fmt: skip
                    scatter(k, min(8, ends[w, s] - k), neighbors, pair_force, forces)
            add_lanes(totals, 6, forces[centers[first + w]])
            for k in range(48, 72, 8):
                store(totals, k, zero8)
    add_lanes(totals, 0, virial)
    return DONE
