"""The products of an ACE potential as a graph: shared sub-products, coupled to angular momenta where that saves work.

=========  ==================================================================================================
symbol     meaning
=========  ==================================================================================================
leaf       A_μnlm with m ≥ 0; the others are A_l,-m = (-1)^m conj(A_lm)
sum        an inner node, Σ_terms (c_re Re u + i c_im Im u) with u = x·y or conj(x)·y of earlier nodes
row        a contribution to the densities, ρ_p += c_p Re(x·y) or c_p Re(conj(x)·y); never stored
Q_LM(a,b)  Σ_m <l_a m l_b M-m | L M> A_a,m A_b,M-m: a pair coupled to angular momentum L (a sum)
=========  ==================================================================================================

A function of rank 3 or 4 is rotation invariant, so its many products of A are a few products of coupled pairs:
Σ_M (-1)^M Q_LM(a,b) A_c,-M with L = l_c, and Σ_L b_L Σ_M (-1)^M Q_LM(a,b) Q_L,-M(c,d). The b_L follow from the values
of both sides for random A, which two polynomials share only if they are the same; where no b_L do, and for other ranks,
the products stay as they are and share sub-products.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

from forcewright.features.ace.clebsch_gordan import coupling_tensor
from forcewright.features.ace.expansion import ProductFunction
from forcewright.structure import FloatArray

IndexArray = NDArray[np.int32]
ComplexArray = NDArray[np.complex128]

Leaf = tuple[int, int, int]
Codes = tuple[int, ...]
_Pair = tuple[int, int]

# Kinds of a product of two nodes: as it stands, and with x conjugated.
PLAIN, CONJUGATE = 0, 1
#: Coupled and raw form must agree to this, relative to the function's largest value.
COUPLING_TOLERANCE = 1e-11
_SAMPLES = 24


@dataclass(frozen=True, eq=False)
class ProductGraph:
    """Index tables of one center species, in the order in which the sweeps read them.

    ``leaves`` (V, 4) holds μ, n, l, m ≥ 0, nodes 0 … V - 1; sums follow in an order that uses earlier nodes only.

    - Forward: sum k is Σ over ``term_starts[k:k+2]``, first plain products, from ``term_splits[k]`` on conjugate ones,
      of ``term_x``, ``term_y`` with ``term_weights`` (terms, 2) for real and imaginary part.
    - Reverse: groups of products with the same ``group_x`` between ``group_starts``, conjugate ones from
      ``group_splits`` on; each has ``product_y`` and, between ``product_starts``, the ``targets`` it goes to with
      ``target_weights``.
    - Rows: groups with the same ``row_x``; ``row_bounds`` (groups, 4) delimits real, plain and conjugate ones;
      ``row_y`` and ``row_weights`` (rows, P).
    """

    leaves: IndexArray
    nodes: int
    term_starts: IndexArray
    term_splits: IndexArray
    term_x: IndexArray
    term_y: IndexArray
    term_weights: FloatArray
    group_x: IndexArray
    group_starts: IndexArray
    group_splits: IndexArray
    product_y: IndexArray
    product_starts: IndexArray
    targets: IndexArray
    target_weights: FloatArray
    row_x: IndexArray
    row_bounds: IndexArray
    row_y: IndexArray
    row_weights: FloatArray


def build_graph(functions: Sequence[ProductFunction], densities: int) -> ProductGraph:
    """Build the graph of the functions of rank 2 and more of one center species; ``densities`` is P."""
    builder = _Builder([function for function in functions if function.rank > 1], densities)
    builder.add_coupled()
    builder.add_raw()
    return builder.finish()


def _bounds(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where rows of ``keys`` (sorted, (rows, k)) differ from the row before, with 0 and the end."""
    if len(keys) == 0:
        return np.zeros(1, dtype=np.int64)
    return np.concatenate([[0], 1 + np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)), [len(keys)]])


class _Builder:
    """Nodes, terms and rows as they are found; `finish` sorts them into a `ProductGraph`."""

    def __init__(self, functions: Sequence[ProductFunction], densities: int) -> None:
        self.densities = densities
        self.functions = list(functions)
        kinds: set[Leaf] = {leaf for f in functions for leaf in zip(f.species, f.ns, f.ls, strict=True)}
        self.base: dict[Leaf, int] = {}
        leaves: list[tuple[int, int, int, int]] = []
        for species, n, l in sorted(kinds, key=lambda leaf: (leaf[0], leaf[2], leaf[1])):
            self.base[species, n, l] = len(leaves)
            leaves += [(species, n, l, m) for m in range(l + 1)]
        self.leaves = np.array(leaves, dtype=np.int32).reshape(-1, 4)
        self.real = [leaf[3] == 0 for leaf in leaves]
        self.levels = [0] * len(leaves)
        self.terms: list[tuple[int, int, int, int, float, float]] = []  # target, kind, x, y, weights
        self.rows: list[tuple[NDArray[np.int64], FloatArray]] = []  # (n, 3) of x, y, conjugate?; weights (n, P)

    def add_sum(self, terms: dict[tuple[int, int, int], tuple[float, float]], real: bool = False) -> int:
        """Add the node Σ weights · products, keyed by (x, y, kind), and return its number."""
        node = len(self.levels)
        self.terms += [(node, kind, x, y, re, im) for (x, y, kind), (re, im) in terms.items()]
        self.levels.append(1 + max(max(self.levels[x], self.levels[y]) for x, y, _ in terms))
        self.real.append(real)
        return node

    # ---- functions of rank 3 and 4, as coupled pairs

    def add_coupled(self) -> None:
        """Take out of ``functions`` those that coupled pairs express, and add their pairs and rows."""
        coupling = _Coupling(self)
        options = [coupling.options(function) for function in self.functions]
        chosen = _choose(options)
        self.functions = [f for f, option in zip(self.functions, chosen, strict=True) if option is None]
        picked = [option for option in chosen if option is not None]
        needs = sorted({need for option in picked for need in option.needs})
        made = {need: coupling.add_pair(*need) for need in needs}
        for option in picked:
            for first, second, weights in option.products:
                self._add_scalar_product(coupling.node(first, made), coupling.node(second, made), weights)

    def _add_scalar_product(self, first: _Moments, second: _Moments, weights: FloatArray) -> None:
        """Add Σ_M (-1)^M X_M Y_-M as rows: with Y_-M = ± (-1)^M conj(Y_M), ± Re(X_M conj(Y_M)), doubled for M > 0."""
        m = np.arange(first.momentum + 1)
        index = np.column_stack([first.node + m, second.node + m, np.ones_like(m)])
        factor = second.parity * np.where(m > 0, 2.0, 1.0)
        self.rows.append((index, factor[:, None] * weights[None]))

    # ---- all others, as products of A with shared sub-products

    def add_raw(self) -> None:
        """Add the products of what is left in ``functions``."""
        shared = _SharedProducts(self)
        for rank in sorted({function.rank for function in self.functions}):
            codes, weights = self._raw_rows([f for f in self.functions if f.rank == rank])
            if rank == 2:
                index = np.column_stack([codes >> 1, (codes[:, 0] ^ codes[:, 1]) & 1])
                self.rows.append((index, weights))
            else:
                shared.count([tuple(row) for row in codes.tolist()], 1.0 if rank < 5 else 0.3)
                self.rows.append((shared.split_rows([tuple(row) for row in codes.tolist()]), weights))

    def _raw_rows(self, functions: Sequence[ProductFunction]) -> tuple[NDArray[np.int64], FloatArray]:
        """Return distinct products, each a sorted row of codes 2·leaf + conjugate, and their summed weights."""
        parts, weights = [], []
        for f in functions:
            base = np.array([self.base[leaf] for leaf in zip(f.species, f.ns, f.ls, strict=True)])
            m = np.asarray(f.ms)
            sign = np.where((np.where(m < 0, m, 0).sum(axis=1)) % 2, -1.0, 1.0)
            parts.append(2 * (base + np.abs(m)) + (m < 0))
            weights.append(sign[:, None] * f.coefficients)
        codes = np.sort(np.concatenate(parts), axis=1)
        real = np.array(self.real)[codes >> 1]
        mirrored = np.sort(np.where(real, codes, codes ^ 1), axis=1)
        differs = codes != mirrored
        first = differs.argmax(axis=1)
        at = np.arange(len(codes))
        swap = differs.any(axis=1) & (mirrored[at, first] < codes[at, first])
        codes = np.where(swap[:, None], mirrored, codes)  # equal real parts: take the smaller of the two
        order = np.lexsort(codes.T[::-1])
        codes, stacked = codes[order], np.concatenate(weights)[order]
        bounds = _bounds(codes)
        return codes[bounds[:-1]], np.add.reduceat(stacked, bounds[:-1], axis=0)

    # ---- tables

    def finish(self) -> ProductGraph:
        """Sort everything into the order in which the sweeps read it."""
        terms = np.array([term[:4] for term in self.terms], dtype=np.int64).reshape(-1, 4)
        weights = np.array([term[4:] for term in self.terms], dtype=np.float64).reshape(-1, 2)
        return ProductGraph(
            self.leaves, len(self.levels), *self._forward(terms, weights), *self._reverse(terms, weights), *self._rows()
        )

    def _forward(self, terms: NDArray[np.int64], weights: FloatArray) -> tuple[NDArray[Any], ...]:
        order = np.lexsort((terms[:, 3], terms[:, 2], terms[:, 1], terms[:, 0]))
        terms, weights = terms[order], weights[order]
        first = len(self.leaves)
        starts = np.searchsorted(terms[:, 0], np.arange(first, len(self.levels) + 1))
        splits = starts[:-1] + np.bincount(
            terms[terms[:, 1] == PLAIN, 0] - first, minlength=len(self.levels) - first
        ).astype(np.int64)
        return _int32(starts), _int32(splits), _int32(terms[:, 2]), _int32(terms[:, 3]), weights

    def _reverse(self, terms: NDArray[np.int64], weights: FloatArray) -> tuple[NDArray[Any], ...]:
        level = -np.array(self.levels, dtype=np.int64)[terms[:, 0]]
        keys = np.column_stack([level, terms[:, 2], terms[:, 1], terms[:, 3], terms[:, 0]])
        order = np.lexsort(keys.T[::-1])
        keys, weights = keys[order], weights[order]
        products = _bounds(keys[:, :4])
        heads = keys[products[:-1]]
        groups = _bounds(heads[:, :2])
        plain = np.concatenate([[0], np.cumsum(heads[:, 2] == PLAIN)])
        splits = groups[:-1] + plain[groups[1:]] - plain[groups[:-1]]
        return (
            _int32(heads[groups[:-1], 1]), _int32(groups), _int32(splits), _int32(heads[:, 3]), _int32(products),
            _int32(keys[:, 4]), weights,
        )  # fmt: skip

    def _rows(self) -> tuple[NDArray[Any], ...]:
        empty = (np.zeros((0, 3), dtype=np.int64), np.zeros((0, self.densities)))
        index = np.concatenate([part[0] for part in [empty, *self.rows]])
        weights = np.concatenate([part[1] for part in [empty, *self.rows]])
        real = np.array(self.real, dtype=bool)
        kind = np.where(real[index[:, 0]] | real[index[:, 1]], 0, 1 + index[:, 2])
        x, y = index[:, 0], index[:, 1]
        degree = np.bincount(index[:, :2].ravel(), minlength=len(self.levels))
        # The operand in more rows is the one whose group shares its loads.
        swap = (degree[y] > degree[x]) | ((degree[y] == degree[x]) & (y > x))
        x, y = np.where(swap, y, x), np.where(swap, x, y)
        order = np.lexsort((y, kind, x))
        keys, weights = np.column_stack([x, kind, y])[order], weights[order]
        merged = _bounds(keys)
        keys = keys[merged[:-1]]
        weights = np.add.reduceat(weights, merged[:-1], axis=0) if len(keys) else weights
        groups = _bounds(keys[:, :1])
        counts = [np.concatenate([[0], np.cumsum(keys[:, 1] == k)]) for k in (0, 1)]
        bounds = np.empty((len(groups) - 1, 4), dtype=np.int64)
        bounds[:, 0], bounds[:, 3] = groups[:-1], groups[1:]
        bounds[:, 1] = bounds[:, 0] + np.diff(counts[0][groups])
        bounds[:, 2] = bounds[:, 1] + np.diff(counts[1][groups])
        return _int32(keys[groups[:-1], 0]), _int32(bounds), _int32(keys[:, 2]), np.ascontiguousarray(weights)


def _int32(values: NDArray[np.int64]) -> IndexArray:
    return np.ascontiguousarray(values, dtype=np.int32)


# ---- shared sub-products of raw rows


@cache
def _halves(count: int) -> list[tuple[Codes, Codes]]:
    """Ways to part places 0 … count - 1 into half of them (rounded down) and the others."""
    chosen = combinations(range(count), count // 2)
    return [(half, tuple(i for i in range(count) if i not in half)) for half in chosen]


class _SharedProducts:
    """Nodes for sub-products of rows; a product and its conjugate are one node, under the smaller of their codes."""

    def __init__(self, builder: _Builder) -> None:
        self.builder = builder
        self.nodes: dict[Codes, tuple[int, int]] = {}  # canonical codes -> node, and whether it holds the conjugate
        self.popularity: defaultdict[Codes, float] = defaultdict(float)
        self._canonical: dict[Codes, tuple[Codes, int]] = {}

    def canonical(self, codes: Codes) -> tuple[Codes, int]:
        """Return the smaller of the codes and those of the conjugate, and whether that is the conjugate."""
        if codes not in self._canonical:
            real = self.builder.real
            mirrored = tuple(sorted(code if real[code >> 1] else code ^ 1 for code in codes))
            self._canonical[codes] = (codes, 0) if codes <= mirrored else (mirrored, 1)
        return self._canonical[codes]

    def count(self, rows: Sequence[Codes], weight: float) -> None:
        """Note which pairs occur in ``rows``: those in many are worth a node."""
        for codes in rows:
            for pair in {self.canonical(pair)[0] for pair in combinations(codes, 2)}:
                self.popularity[pair] += weight

    def _new_nodes(self, codes: Codes) -> int:
        """Number of nodes still to be made for a canonical product."""
        if len(codes) == 1 or codes in self.nodes:
            return 0
        return 1 if len(codes) == 2 else 1 + self._best_split(codes)[0][0]

    def _best_split(self, codes: Codes) -> tuple[tuple[int, float], Codes, Codes]:
        """Return the halves that need the fewest new nodes, and among those the most popular, with that score."""
        best: tuple[tuple[int, float], Codes, Codes] | None = None
        for chosen, others in _halves(len(codes)):
            a, b = tuple([codes[i] for i in chosen]), tuple([codes[i] for i in others])
            first, second = self.canonical(a)[0], self.canonical(b)[0]
            cost = self._new_nodes(first) + self._new_nodes(second)
            score = (cost, -self.popularity[first] - self.popularity[second])
            if best is None or score < best[0]:
                best = (score, a, b)
        assert best is not None
        return best

    def node(self, codes: Codes) -> tuple[int, int]:
        """Return the node of a product, made if need be, and whether the product is its conjugate."""
        if len(codes) == 1:
            return codes[0] >> 1, codes[0] & 1
        key, flipped = self.canonical(codes)
        if key not in self.nodes:
            a, b = (key[:1], key[1:]) if len(key) == 2 else self._best_split(key)[1:]
            (x, conjugate_x), (y, conjugate_y) = self.node(a), self.node(b)
            # conj^p(x)·conj^q(y) = conj^q(conj^(p xor q)(x)·y)
            kind = CONJUGATE if conjugate_x ^ conjugate_y else PLAIN
            real = self.builder.real[x] and self.builder.real[y]
            self.nodes[key] = (self.builder.add_sum({(x, y, kind): (1.0, 1.0)}, real=real), conjugate_y)
        made, conjugate = self.nodes[key]
        return made, conjugate ^ flipped

    def split_rows(self, rows: Sequence[Codes]) -> NDArray[np.int64]:
        """Return x, y and whether one is conjugated for each row, cheap rows first so that later ones may share."""
        result = np.empty((len(rows), 3), dtype=np.int64)
        pending = list(range(len(rows)))
        for limit in (0, 1, len(self.builder.levels)):
            later = []
            for row in pending:
                (cost, _), a, b = self._best_split(rows[row])
                if cost > limit:
                    later.append(row)
                    continue
                (x, p), (y, q) = self.node(a), self.node(b)
                result[row] = x, y, p ^ q
            pending = later
        return result


# ---- coupled pairs


def _by_projections(l1: int, l2: int, momentum: int) -> FloatArray:
    """Return ⟨l1 m1 l2 m2 | L m1+m2⟩ (2 l1 + 1, 2 l2 + 1): the one entry in M that is not 0."""
    table: FloatArray = coupling_tensor(l1, l2, momentum).sum(axis=2)
    return table


@dataclass(frozen=True)
class _Moments:
    """Consecutive nodes X_M, M = 0 … L, with X_-M = parity · (-1)^M conj(X_M)."""

    node: int
    momentum: int
    parity: int


_Operand = tuple[_Pair | int, int]  # a pair of leaf functions, or one, and its angular momentum


@dataclass(frozen=True, eq=False)
class _Option:
    """One way to write a function: scalar products of operands, with weights (P,)."""

    products: list[tuple[_Operand, _Operand, FloatArray]]

    @property
    def needs(self) -> list[tuple[_Pair, int]]:
        """The coupled pairs it takes."""
        return [
            (operand, momentum)
            for first, second, _ in self.products
            for operand, momentum in (first, second)
            if isinstance(operand, tuple)
        ]

    @property
    def size(self) -> int:
        """Number of rows."""
        return sum(first[1] + 1 for first, _, _ in self.products)


class _Coupling:
    """Finds how functions are written in coupled pairs, by their values for random A."""

    def __init__(self, builder: _Builder) -> None:
        self.builder = builder
        self.leaf_functions = list(builder.base)
        self.number = {leaf: k for k, leaf in enumerate(self.leaf_functions)}
        rng = np.random.default_rng(7)
        self.values: list[ComplexArray] = []  # A_m, m = -l … l, (2l + 1, samples)
        for _, _, l in self.leaf_functions:
            half = (rng.normal(size=(l + 1, _SAMPLES)) + 1j * rng.normal(size=(l + 1, _SAMPLES))) / sqrt(2 * l + 1)
            half[0] = half[0].real * sqrt(2)
            sign = (-1.0) ** np.arange(l, 0, -1)
            self.values.append(np.concatenate([sign[:, None] * half[:0:-1].conj(), half]))
        self._pairs: dict[tuple[_Pair, int], ComplexArray] = {}

    def momentum(self, leaf: int) -> int:
        """Angular momentum l of a leaf function."""
        return self.leaf_functions[leaf][2]

    def _moments(self, operand: _Pair | int, momentum: int) -> ComplexArray:
        """Return X_M for M = 0 … L, (L + 1, samples)."""
        if not isinstance(operand, tuple):
            return self.values[operand][momentum:]
        key = (operand, momentum)
        if key not in self._pairs:
            a, b = (self.values[leaf] for leaf in operand)
            l1, l2 = (self.momentum(leaf) for leaf in operand)
            table, result = _by_projections(l1, l2, momentum), np.zeros((momentum + 1, _SAMPLES), dtype=np.complex128)
            for total in range(momentum + 1):
                m1 = np.arange(max(-l1, total - l2), min(l1, total + l2) + 1)
                weights = table[m1 + l1, total - m1 + l2]
                result[total] = weights @ (a[m1 + l1] * b[total - m1 + l2])
            self._pairs[key] = result
        return self._pairs[key]

    def _parity(self, operand: _Pair | int, momentum: int) -> int:
        if not isinstance(operand, tuple):
            return 1
        return 1 - 2 * ((self.momentum(operand[0]) + self.momentum(operand[1]) + momentum) % 2)

    def _scalar_product(self, first: _Operand, second: _Operand) -> FloatArray:
        x, y = self._moments(*first), self._moments(*second)
        products = (x * y.conj()).real
        value: FloatArray = self._parity(*second) * (products[0] + 2 * products[1:].sum(axis=0))
        return value

    def _function_values(self, function: ProductFunction, leaves: Sequence[int]) -> FloatArray:
        """Return the densities' parts (P, samples)."""
        ms = np.asarray(function.ms)
        product = np.ones((len(ms), _SAMPLES), dtype=np.complex128)
        for t, leaf in enumerate(leaves):
            product *= self.values[leaf][ms[:, t] + self.momentum(leaf)]
        return function.coefficients.T @ product.real

    def options(self, function: ProductFunction) -> list[_Option]:
        """Return the ways to write a function of rank 3 or 4 in coupled pairs; none if there is no such way."""
        if function.rank not in (3, 4) or sum(function.ls) % 2 or not function.coefficients.any():
            return []
        leaves = [self.number[leaf] for leaf in zip(function.species, function.ns, function.ls, strict=True)]
        wanted = self._function_values(function, leaves)
        options = []
        for candidates in self._candidates(leaves):
            option = self._solve(candidates, wanted)
            if option is None:
                return []
            options.append(option)
        return options

    def _candidates(self, leaves: Sequence[int]) -> Iterator[list[tuple[_Operand, _Operand]]]:
        """Yield for each distinct way to pair the factors the scalar products it allows."""
        seen = set()
        for i, j in ((0, 1), (0, 2), (1, 2)) if len(leaves) == 3 else ((0, 1), (0, 2), (0, 3)):
            first, second = sorted((leaves[i], leaves[j]))
            a, rest = (first, second), sorted(leaf for k, leaf in enumerate(leaves) if k not in (i, j))
            b: _Pair | int = rest[0] if len(rest) == 1 else (rest[0], rest[1])
            if isinstance(b, tuple) and b < a:
                a, b = b, a
            if (a, b) in seen:
                continue
            seen.add((a, b))
            (low, high), (other_low, other_high) = self._range(a), self._range(b)
            momenta = range(max(low, other_low), min(high, other_high) + 1)
            yield [((a, momentum), (b, momentum)) for momentum in momenta]

    def _range(self, operand: _Pair | int) -> tuple[int, int]:
        """Smallest and largest angular momentum an operand can have."""
        if not isinstance(operand, tuple):
            return self.momentum(operand), self.momentum(operand)
        l1, l2 = self.momentum(operand[0]), self.momentum(operand[1])
        return abs(l1 - l2), l1 + l2

    def _solve(self, candidates: list[tuple[_Operand, _Operand]], wanted: FloatArray) -> _Option | None:
        """Return the weights with which the fewest candidates sum to ``wanted``, or None if none do."""
        if not candidates:
            return None
        columns = np.array([self._scalar_product(*candidate) for candidate in candidates]).T
        norms = np.linalg.norm(columns, axis=0)
        norms[norms < 1e-12] = np.inf  # antisymmetric in equal factors: always 0
        columns /= norms
        if len(candidates) == 1:
            chosen, solution = np.zeros(1, dtype=int), columns.T @ wanted.T
        else:
            q, r, order = qr(columns, mode="economic", pivoting=True, check_finite=False)
            diagonal = np.abs(np.diag(r))
            rank = int((diagonal > 1e-8 * max(diagonal[0], 1e-300)).sum())
            solution = solve_triangular(r[:rank, :rank], q[:, :rank].T @ wanted.T, check_finite=False)
            chosen = order[:rank]
        residual = columns[:, chosen] @ solution - wanted.T
        if not np.abs(residual).max() <= COUPLING_TOLERANCE * np.abs(wanted).max():
            return None
        weights = solution / norms[chosen][:, None]
        large = np.abs(solution).max(axis=1) > 1e-13 * np.abs(solution).max()
        return _Option([(*candidates[c], w) for c, w, keep in zip(chosen, weights, large, strict=True) if keep])

    # ---- nodes

    def add_pair(self, pair: _Pair, momentum: int) -> int:
        """Add the nodes Q_LM, M = 0 … L, of a pair of leaf functions and return the first."""
        l1, l2 = self.momentum(pair[0]), self.momentum(pair[1])
        base1, base2 = (self.builder.base[self.leaf_functions[leaf]] for leaf in pair)
        table = _by_projections(l1, l2, momentum)
        first = len(self.builder.levels)
        for total in range(momentum + 1):
            terms: dict[tuple[int, int, int], tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
            for m1 in range(max(-l1, total - l2), min(l1, total + l2) + 1):
                m2 = total - m1
                weight = float(table[m1 + l1, m2 + l2]) * (-1) ** (min(m1, 0) + min(m2, 0))
                key, imaginary = _positive_product(base1, m1, base2, m2)
                re, im = terms[key]
                terms[key] = (re + weight, im + imaginary * weight)
            kept = {key: pair_ for key, pair_ in terms.items() if abs(pair_[0]) + abs(pair_[1]) > 1e-14}
            real = total == 0 and self._parity(pair, momentum) == 1
            self.builder.add_sum(kept or {(base1, base2, PLAIN): (0.0, 0.0)}, real=real)
        return first

    def node(self, operand: _Operand, made: dict[tuple[_Pair, int], int]) -> _Moments:
        """Return the nodes of an operand."""
        what, momentum = operand
        if isinstance(what, tuple):
            return _Moments(made[what, momentum], momentum, self._parity(what, momentum))
        return _Moments(self.builder.base[self.leaf_functions[what]], momentum, 1)


def _positive_product(base1: int, m1: int, base2: int, m2: int) -> tuple[tuple[int, int, int], int]:
    """Return the product of nodes with m ≥ 0 that A_m1·A_m2 is, up to (-1)^m, and the sign of its imaginary part."""
    x, y = base1 + abs(m1), base2 + abs(m2)
    if m1 >= 0 and m2 >= 0:
        return (min(x, y), max(x, y), PLAIN), 1
    if m1 < 0 and m2 < 0:
        return (min(x, y), max(x, y), PLAIN), -1
    conjugated, other = (x, y) if m1 < 0 else (y, x)
    # conj(c)·o or, as its conjugate, c·conj(o): the smaller node is x, so that equal products meet.
    return ((conjugated, other, CONJUGATE), 1) if conjugated <= other else ((other, conjugated, CONJUGATE), -1)


def _choose(options: Sequence[Sequence[_Option]]) -> list[_Option | None]:
    """Choose one option for each function (None where there is none), preferring pairs that others use."""
    popularity = Counter(need for several in options for option in several for need in option.needs)
    have: set[tuple[_Pair, int]] = set()

    def cost(option: _Option) -> tuple[float, float]:
        new = sum(1.5 * (momentum + 1) for _, momentum in set(option.needs) - have)
        return option.size + new, -float(sum(popularity[need] for need in option.needs))

    chosen: list[_Option | None] = [None] * len(options)
    # Functions with little choice first: what they need is there for the others.
    largest = [max((option.size for option in several), default=0) for several in options]
    for k in sorted(range(len(options)), key=lambda k: (len(options[k]), -largest[k])):
        if options[k]:
            best = min(options[k], key=cost)
            chosen[k] = best
            have |= set(best.needs)
    return chosen
