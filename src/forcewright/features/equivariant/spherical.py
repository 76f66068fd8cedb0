"""Real spherical components: harmonics, Clebsch-Gordan coefficients, and Cartesian tensors written in them.

Real components of degree l are R_lm = √2 (-1)^m Im Y_l|m| for m < 0, Y_l0, and √2 (-1)^m Re Y_lm for m > 0, Y being the
harmonics of `forcewright.features.ace` with their Condon-Shortley phase (Blanco, Flórez and Bermejo, J. Mol. Struct.
THEOCHEM 419, 19 (1997)). Of l = 1 they are (y, z, x). All changes of components here are orthogonal.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcewright.errors import InputError
from forcewright.features.ace.clebsch_gordan import coupling_tensor
from forcewright.features.ace.design import recursion
from forcewright.features.equivariant.kernels import sum_neighbors
from forcewright.structure import FloatArray


class Irrep(NamedTuple):
    """An irreducible representation of O(3): degree l, and parity 1 or -1 under inversion."""

    l: int  # noqa: E741 - the symbol of the field
    parity: int

    def __str__(self) -> str:
        return f"{self.l}{'e' if self.parity == 1 else 'o'}"

    @property
    def size(self) -> int:
        """Number of components, 2l + 1."""
        return 2 * self.l + 1

    @property
    def natural(self) -> bool:
        """Whether it has the parity of spherical harmonics; else its tensors are pseudotensors."""
        return bool(self.parity == (-1) ** self.l)


@cache
def real_from_complex(l: int) -> NDArray[np.complex128]:  # noqa: E741
    """Return the unitary matrix (2l + 1, 2l + 1) of R_lm = Σ_m' U[m, m'] Y_lm', rows and columns from -l to l."""
    matrix = np.zeros((2 * l + 1, 2 * l + 1), dtype=np.complex128)
    matrix[l, l] = 1.0
    for m in range(1, l + 1):
        sign = (-1) ** m  # and Y_l,-m = (-1)^m Y*_lm
        matrix[l + m, l + m], matrix[l + m, l - m] = sign * 0.5**0.5, 0.5**0.5
        matrix[l - m, l + m], matrix[l - m, l - m] = -1j * sign * 0.5**0.5, 1j * 0.5**0.5
    matrix.flags.writeable = False
    return matrix


@cache
def real_coupling(l1: int, l2: int, l3: int) -> FloatArray:
    """Return coefficients that couple real components of l1 and l2 to l3, (2 l1 + 1, 2 l2 + 1, 2 l3 + 1); read only.

    Σ over the first two axes of its square is the identity in l3. With an odd l1 + l2 + l3 the sum of
    ⟨l1 m1 l2 m2 | l3 m3⟩ is imaginary and its imaginary part stands here: antisymmetric like a cross product.
    """
    left, right, out = (real_from_complex(l) for l in (l1, l2, l3))  # noqa: E741
    tensor = np.einsum("abc,ia,jb,kc->ijk", coupling_tensor(l1, l2, l3), left.conj(), right.conj(), out, optimize=True)
    real: FloatArray = np.ascontiguousarray(tensor.imag if (l1 + l2 + l3) % 2 else tensor.real)
    real.flags.writeable = False
    return real


@cache
def cartesian_basis(rank: int, irrep: Irrep) -> FloatArray:
    """Return orthonormal Cartesian tensors of an irrep's components, (2l + 1, 3 ** rank); read only.

    Rank 0 is 0e, rank 1 (a vector) 1o, rank 2 the sum 0e + 1e + 2e: its trace over √3, the vector
    ε_ijk T_jk / √2, and what is symmetric and traceless. Raises `InputError` where a rank holds no such irrep.
    """
    to_xyz = np.zeros((3, 3))  # rows (y, z, x)
    to_xyz[[0, 1, 2], [1, 2, 0]] = 1.0
    allowed = {0: (Irrep(0, 1),), 1: (Irrep(1, -1),), 2: (Irrep(0, 1), Irrep(1, 1), Irrep(2, 1))}
    if irrep not in allowed.get(rank, ()):
        held = " + ".join(map(str, allowed.get(rank, ()))) or "none that is known"
        raise InputError(f"a Cartesian tensor of rank {rank} has no part {irrep}; it has {held}", field="irreps")
    basis = np.eye(1) if rank == 0 else to_xyz
    if rank == 2:
        basis = np.einsum("abm,ai,bj->mij", real_coupling(1, 1, irrep.l), to_xyz, to_xyz).reshape(irrep.size, 9)
    if irrep == Irrep(0, 1):
        basis = np.abs(basis)  # ⟨1 m 1 -m | 0 0⟩ has the trace with a minus
    basis.flags.writeable = False
    return basis


def to_spherical(values: FloatArray, irreps: tuple[Irrep, ...], rank: int) -> dict[Irrep, FloatArray]:
    """Return the components (rows, 2l + 1) of each irrep of Cartesian tensors (rows, 3 ** rank)."""
    return {irrep: values @ cartesian_basis(rank, irrep).T for irrep in irreps}


def to_cartesian(parts: dict[Irrep, FloatArray], rank: int) -> FloatArray:
    """Return the Cartesian tensors (rows, 3 ** rank) whose parts are given and whose other parts are zero."""
    total: Any = sum(values @ cartesian_basis(rank, irrep) for irrep, values in parts.items())
    return np.asarray(total)


@cache
def _sample_directions(l: int) -> tuple[FloatArray, FloatArray]:  # noqa: E741
    """Return directions (k, 3) and the pseudoinverse of R_l there (2l + 1, k), for `rotation_matrix`."""
    directions = np.random.default_rng(l).normal(size=(6 * l + 6, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    return directions, np.asarray(np.linalg.pinv(harmonics_of(directions, l)[:, l * l :]), dtype=np.float64)


def rotation_matrix(l: int, rotation: FloatArray) -> FloatArray:  # noqa: E741
    """Return D (2l + 1, 2l + 1) with R_l(Q r) = D R_l(r) for a rotation Q (3, 3): a real Wigner matrix."""
    directions, inverse = _sample_directions(l)
    return np.asarray((inverse @ harmonics_of(directions @ rotation.T, l)[:, l * l :]).T)


def harmonics_of(vectors: FloatArray, lmax: int) -> FloatArray:
    """Return R_lm, Y_00 = 1, of the directions of vectors (k, 3) as (k, (lmax + 1)²)."""
    count = len(vectors)
    values = np.zeros((count, 1, 1, (lmax + 1) ** 2))
    alone = np.arange(count + 1)  # every vector is the only neighbor of an atom
    sum_neighbors(
        alone, np.ascontiguousarray(vectors), np.ones((count, 1)), np.ones((count, 1)), recursion(lmax), values,
    )  # fmt: skip
    return values[:, 0, 0]
