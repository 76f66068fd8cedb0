"""Radial functions g_k(r) and core repulsion φ(r) of a pair of species, their derivatives and their tabulation.

=========  ==============================================================================================
symbol     meaning
=========  ==============================================================================================
r_c, d_c   ``bond.cutoff``, ``bond.cutoff_width``
λ          ``bond.decay``
T_k        Chebyshev polynomial of the first kind
S(r; a,d)  descending switch: 1 for r ≤ a - d, 0 for r ≥ a, twice differentiable in between
K          ``bond.nradbase``, number of functions g_k
=========  ==============================================================================================

The formulas are those of PACE: Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021) and its public code, whose quirks
are kept because published potentials were fitted with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from forcewright.errors import InputError
from forcewright.features.ace.expansion import Bond, CoreMode
from forcewright.structure import FloatArray

#: e²/(4πε₀) in eV Å.
COULOMB = 14.399645351950543
#: Σ_k c_k exp(-b_k r/a): the universal screening function of Ziegler, Biersack and Littmark (1985).
SCREENING_AMPLITUDES = np.array([0.18175, 0.50986, 0.28022, 0.02817])
SCREENING_DECAYS = np.array([3.19980, 0.94229, 0.40290, 0.20162])
#: Below this distance (Å) a ZBL bond without an inner width has no basis functions: a quirk of PACE.
ZBL_DEFAULT_INNER = 1.0

_Pair = tuple[FloatArray, FloatArray]


def switch(r: ArrayLike, upper: float, width: float) -> _Pair:
    """Return S(r; upper, width) and dS/dr, each shaped as ``r``; a step at ``upper`` where ``width`` is 0."""
    r = np.asarray(r, dtype=np.float64)
    value, slope = np.where(r >= upper, 0.0, 1.0), np.zeros_like(r)
    inside = (r > upper - width) & (r < upper)
    x = 1 - 2 * (1 + (r[inside] - upper) / width) if inside.any() else r[inside]
    value[inside] = 0.5 + 3.75 * (x / 4 - x**3 / 6 + x**5 / 20)
    if inside.any():
        slope[inside] = -7.5 / width * (0.25 - x**2 / 2 + x**4 / 4)
    return value, slope


def _product(a: _Pair, b: _Pair) -> _Pair:
    return a[0] * b[0], a[1] * b[0] + a[0] * b[1]


def _cosine_cutoff(r: FloatArray, start: float, end: float) -> _Pair:
    """Return (1 + cos π t)/2 with t running from 0 at ``start`` to 1 at ``end``, and 1 before ``start``."""
    wave = np.pi / (end - start)
    t = wave * np.clip(r - start, 0.0, None)
    return 0.5 * (1 + np.cos(t)), -0.5 * wave * np.sin(t)


def _chebyshev(x: FloatArray, count: int) -> _Pair:
    """Return T_0 … T_count and dT/dx, each (count + 1, len(x))."""
    value, slope = np.zeros((count + 1, x.size)), np.zeros((count + 1, x.size))
    value[0] = 1.0
    if count:
        value[1], slope[1] = x, 1.0
    for k in range(2, count + 1):
        value[k] = 2 * x * value[k - 1] - value[k - 2]
        slope[k] = 2 * value[k - 1] + 2 * x * slope[k - 1] - slope[k - 2]
    return value, slope


def _cheb_exp_cos(bond: Bond, r: FloatArray) -> _Pair:
    end, decay = np.exp(-bond.decay), np.exp(-bond.decay * r / bond.cutoff)
    x, dx = 1 - 2 * (decay - end) / (1 - end), 2 * bond.decay / bond.cutoff * decay / (1 - end)
    chebyshev, slope = _chebyshev(x, bond.nradbase - 1)
    value, derivative = 0.5 - 0.5 * chebyshev, -0.5 * slope * dx
    value[0] = 1.0  # the derivative is already 0: T_0 is constant
    functions = _product((value, derivative), _cosine_cutoff(r, 0.0, bond.cutoff))
    if bond.cutoff_width <= 0:
        return functions
    return _product(functions, _cosine_cutoff(r, bond.cutoff - bond.cutoff_width, bond.cutoff))


def _cheb_pow(bond: Bond, r: FloatArray) -> _Pair:
    t = 1 - r / bond.cutoff
    chebyshev, slope = _chebyshev(1 - 2 * t**bond.decay, bond.nradbase)
    dx = 2 * bond.decay / bond.cutoff * t ** (bond.decay - 1)
    return 0.5 - 0.5 * chebyshev[1:], -0.5 * slope[1:] * dx


def _cheb_linear(bond: Bond, r: FloatArray) -> _Pair:
    chebyshev, slope = _chebyshev(1 - r / bond.cutoff, bond.nradbase)
    return 0.5 - 0.5 * chebyshev[1:], 0.5 * slope[1:] / bond.cutoff


def _sinc(x: FloatArray) -> _Pair:
    """Return sin(x)/x and its derivative."""
    small = np.abs(x) < 1e-4
    safe = np.where(small, 1.0, x)
    value = np.where(small, 1 - x**2 / 6, np.sin(safe) / safe)
    return value, np.where(small, -x / 3, (np.cos(safe) - np.sin(safe) / safe) / safe)


def _simplified_bessel(bond: Bond, r: FloatArray) -> _Pair:
    """Functions whose value and slope vanish at the cutoff, orthonormal under r² dr (Kocer et al., 2020, eqs. 9-15)."""
    count, cutoff = bond.nradbase, bond.cutoff
    value, slope = np.zeros((count, r.size)), np.zeros((count, r.size))
    norm = 1.0
    for n in range(count):
        wave1, wave2 = (n + 1) * np.pi / cutoff, (n + 2) * np.pi / cutoff
        scale = (-1) ** n * np.sqrt(2) * np.pi * cutoff**-1.5 * (n + 1) * (n + 2) / np.hypot(n + 1, n + 2)
        (s1, d1), (s2, d2) = _sinc(wave1 * r), _sinc(wave2 * r)
        value[n], slope[n] = scale * (s1 + s2), scale * (wave1 * d1 + wave2 * d2)
        if n:
            overlap = n**2 * (n + 2) ** 2 / (4 * (n + 1) ** 4 + 1)
            mixing, norm = np.sqrt(overlap / norm), 1 - overlap / norm
            value[n] = (value[n] + mixing * value[n - 1]) / np.sqrt(norm)
            slope[n] = (slope[n] + mixing * slope[n - 1]) / np.sqrt(norm)
    return value, slope


_FAMILIES = {
    "ChebExpCos": _cheb_exp_cos, "ChebPow": _cheb_pow, "ChebLinear": _cheb_linear, "SBessel": _simplified_bessel,
}  # fmt: skip


def radial_functions(bond: Bond, r: ArrayLike, core_mode: CoreMode) -> _Pair:
    """Return g_k(r) and dg_k/dr, each (K, len(r)), with the inner cut that goes with the core repulsion.

    Zero from the cutoff on, and below ``inner - inner_width``. "distance" switches on smoothly between there and
    ``inner``; "density" cuts sharply if either inner length is set; "zbl" cuts sharply too (unseen, because the
    energy has faded to the core there), or at 1 Å where ``inner_width`` is 0.

    Parameters
    ----------
    r
        Distances in Å, (n,), above 0.
    """
    r = np.asarray(r, dtype=np.float64)
    below = r < bond.cutoff
    # ChebPow takes roots of 1 - r/r_c: nothing is evaluated beyond the cutoff, where everything is 0.
    value, slope = _FAMILIES[bond.family](bond, np.where(below, r, 0.5 * bond.cutoff))
    if core_mode == "distance":
        step, dstep = switch(r, bond.inner, bond.inner_width)
        value, slope = _product((value, slope), (1 - step, -dstep))
    if core_mode == "zbl" and bond.inner_width == 0:
        cut = ZBL_DEFAULT_INNER
    elif core_mode == "distance" or bond.inner != 0 or bond.inner_width != 0:
        cut = bond.inner - bond.inner_width
    else:
        cut = -np.inf
    keep = below & (r > cut)
    return np.where(keep, value, 0.0), np.where(keep, slope, 0.0)


def _gaussian_core(bond: Bond, mode: CoreMode, r: FloatArray) -> _Pair:
    """φ = |p| exp(-|λ_c| r²)/r times a cosine cutoff; in mode "distance" only inside the inner switch."""
    height, decay = abs(bond.core_prefactor), abs(bond.core_decay)
    exponent = decay * r**2
    value = np.where(exponent < 50, height * np.exp(-np.minimum(exponent, 50)) / r, 0.0)
    core = _product((value, -value / r - 2 * decay * r * value), _cosine_cutoff(r, 0.0, bond.cutoff))
    return _product(core, switch(r, bond.inner, bond.inner_width)) if mode == "distance" else core


def _screened_coulomb(r: FloatArray, length: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return e(r) = (1/r) Σ c_k exp(-b_k r/a) and its first two derivatives."""
    rates = SCREENING_DECAYS / length
    terms = SCREENING_AMPLITUDES * np.exp(-rates * r[:, None])
    s0, s1, s2 = terms.sum(1), -(terms @ rates), terms @ rates**2
    return s0 / r, (s1 - s0 / r) / r, (s2 - 2 * s1 / r + 2 * s0 / r**2) / r


def zbl_repulsion(z_i: int, z_j: int, r: ArrayLike) -> _Pair:
    """Return the ZBL repulsion of two nuclei in eV and its derivative in eV/Å, each (n,), at distances r (n,) in Å."""
    e, slope, _ = _screened_coulomb(np.asarray(r, dtype=np.float64), 0.46850 / (z_i**0.23 + z_j**0.23))
    return COULOMB * z_i * z_j * e, COULOMB * z_i * z_j * slope


def _zbl_core(bond: Bond, z_i: int, z_j: int, r: FloatArray) -> _Pair:
    """Half of the ZBL repulsion, shifted and switched to end at the cutoff as LAMMPS's pair style zbl does."""
    end, width = bond.cutoff, bond.cutoff_width
    if width <= 0:
        raise InputError("is 0, but a ZBL core needs a width over which it ends; give a positive one", field="dcut")
    length = 0.46850 / (z_i**0.23 + z_j**0.23)
    e, e1, e2 = (float(part[0]) for part in _screened_coulomb(np.array([end]), length))
    cubic, quartic = (-3 * e1 + width * e2) / width**2, (2 * e1 - width * e2) / width**3
    constant = -e + width * e1 / 2 - width**2 * e2 / 12
    t = np.clip(r - (end - width), 0.0, None)
    bare, dbare, _ = _screened_coulomb(r, length)
    value = bare + constant + cubic / 3 * t**3 + quartic / 4 * t**4
    scale = bond.core_prefactor * COULOMB / 2 * z_i * z_j
    shifted = scale * value, scale * (dbare + cubic * t**2 + quartic * t**3)
    return _product(shifted, switch(r, end, width))


def core_repulsion(bond: Bond, mode: CoreMode, z_i: int, z_j: int, r: ArrayLike) -> _Pair:
    """Return φ(r) in eV and dφ/dr in eV/Å, each (n,), of distances r (n,) in Å, above 0; atoms sum φ over neighbors.

    The atomic numbers are used by mode "zbl" alone. Raises `InputError` if a ZBL core has no cutoff width.
    """
    r = np.asarray(r, dtype=np.float64)
    value, slope = _zbl_core(bond, z_i, z_j, r) if mode == "zbl" else _gaussian_core(bond, mode, r)
    below = r < bond.cutoff
    return np.where(below, value, 0.0), np.where(below, slope, 0.0)


@dataclass(frozen=True, eq=False)
class RadialTable:
    """Nodes k·width, k = 0 … bins, of cubic Hermite splines: K radial functions, then the core repulsion.

    ``values`` and ``slopes`` (bins + 1, K + 1) hold f and df/dr. The last node is 0 in both; node 0, where the core is
    infinite, repeats node 1: distances within the first bin are an error of the structure.
    """

    width: float
    values: FloatArray
    slopes: FloatArray

    @property
    def bins(self) -> int:
        """Number of intervals."""
        return len(self.values) - 1


_MOST_BINS = 1_000_000  # a hundred times as many as the usual 0.001 Å makes of 10 Å


def tabulate(bond: Bond, mode: CoreMode, z_i: int, z_j: int, spline_bin: float) -> RadialTable:
    """Tabulate g_k and φ at the nodes of bins of about ``spline_bin`` Å (a whole number of them fits the cutoff).

    Raises `InputError` if the bins are wider than half the cutoff, or not above 0.
    """
    if not 0 < spline_bin <= bond.cutoff / 2:
        raise InputError(
            f"is {spline_bin} Å; it must be above 0 and at most half the cutoff of {bond.cutoff} Å",
            field="deltaSplineBins",
        )
    if bond.cutoff / spline_bin > _MOST_BINS:
        raise InputError(
            f"is {spline_bin} Å, which makes more than {_MOST_BINS} bins of the cutoff of {bond.cutoff} Å; widen it",
            field="deltaSplineBins",
        )
    bins = int(bond.cutoff / spline_bin)
    width = bond.cutoff / bins
    r = width * np.arange(bins + 1)
    r[0] = r[1]
    g, dg = radial_functions(bond, r, mode)
    phi, dphi = core_repulsion(bond, mode, z_i, z_j, r)
    values, slopes = np.vstack([g, phi[None]]).T, np.vstack([dg, dphi[None]]).T
    values[-1] = slopes[-1] = 0.0
    return RadialTable(width, np.ascontiguousarray(values), np.ascontiguousarray(slopes))
