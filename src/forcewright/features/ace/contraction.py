"""Radial functions that are combinations of those of a family: R_nl = Σ_k c_nlk g_k, as `.yace` files have them.

They end in the same splines as those of the family itself, so that evaluation costs no more.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from forcewright.structure import FloatArray


@dataclass(frozen=True, eq=False)
class Contraction:
    """Coefficients c_nlk of every pair of species.

    Attributes
    ----------
    blocks
        Coefficients (blocks, n, l + 1, K).
    block_of
        Which of them an ordered pair of species has (S, S).
    """

    blocks: FloatArray
    block_of: tuple[tuple[int, ...], ...]

    @classmethod
    def identity(cls, species: int, functions: int, momenta: int, primitives: int) -> Contraction:
        """Return R_nl = g_n, with coefficients of its own for every pair of species whichever is the center."""
        block = np.repeat(np.eye(functions, primitives)[:, None, :], momenta, axis=1)
        count = species * (species + 1) // 2
        pairs = {(i, j): k for k, (i, j) in enumerate((i, j) for i in range(species) for j in range(i, species))}
        block_of = tuple(tuple(pairs[min(i, j), max(i, j)] for j in range(species)) for i in range(species))
        return cls(np.repeat(block[None], count, axis=0), block_of)

    def of(self, center: int, neighbor: int) -> FloatArray:
        """Return the coefficients (n, l + 1, K) of an ordered pair of species."""
        return np.asarray(self.blocks[self.block_of[center][neighbor]])

    @property
    def primitives(self) -> int:
        """Number K of functions of the family."""
        return int(self.blocks.shape[3])

    @property
    def columns(self) -> int:
        """Number of all radial functions: the K of the family, then every R_nl."""
        return self.primitives + int(self.blocks.shape[1] * self.blocks.shape[2])

    def column(self, n: int, l: int) -> int:  # noqa: E741
        """Return where R_nl, n from 1 on, stands behind the K functions of the family, from 1 on as well."""
        return self.primitives + (n - 1) * int(self.blocks.shape[2]) + l + 1

    @cached_property
    def _key(self) -> str:
        content = np.ascontiguousarray(self.blocks).tobytes()
        return hashlib.sha256(repr((self.blocks.shape, self.block_of)).encode() + content).hexdigest()

    def __repr__(self) -> str:
        """Tell the content by its hash: design rows are cached by it."""
        return f"Contraction({self._key[:16]})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contraction) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)
