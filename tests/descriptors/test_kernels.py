"""Kernels of structures: a metric's axioms, both limits, other programs' numbers, and the entropy's own minimum."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.optimize import linprog
from scipy.spatial.transform import Rotation

from forcewright.descriptors import (
    AceDescriptor,
    Soap,
    StructureKernel,
    best_match,
    kernel_distances,
    largest_atomic_distance,
)
from forcewright.descriptors import kernels as module
from forcewright.errors import InputError
from forcewright.structure import FloatArray, Structure

KINDS = ("average", "best", "rematch")


def environments(seed: int, sizes: tuple[int, ...], width: int = 12, spread: float = 1.0) -> list[FloatArray]:
    """Rows of positive numbers, as power spectra are, of structures of several sizes."""
    rng = np.random.default_rng(seed)
    rows = [1.0 + spread * rng.random((size, width)) for size in sizes]
    return [part / np.linalg.norm(part, axis=1, keepdims=True) for part in rows]


def snapshots(count: int = 5, displacement: float = 0.4) -> list[Atoms]:
    rng, frames = np.random.default_rng(0), []
    for _ in range(count):
        atoms = bulk("NaCl", "rocksalt", 5.8, cubic=True)
        atoms.positions += rng.normal(0, displacement, (8, 3))
        frames.append(atoms)
    return frames


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(6, 6, 6, 6, 6, 6), (1, 2, 3, 5, 6, 7)], ids=["equal", "unequal"])
def test_a_distance_is_a_metric(kind: str, sizes: tuple[int, ...]) -> None:
    sets = environments(0, sizes)
    distances = StructureKernel(kind=kind).distances(sets)  # type: ignore[arg-type]
    assert (np.diag(distances) == 0).all()
    assert (distances == distances.T).all()
    assert (distances + np.eye(6) > 1e-3).all()  # others are apart
    for i, j, k in permutations(range(6), 3):
        assert distances[i, k] <= distances[i, j] + distances[j, k] + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_two_sets_give_the_part_of_one(kind: str) -> None:
    sets = environments(1, (4, 5, 6, 3, 7))
    kernel = StructureKernel(kind=kind, gamma=0.02)  # type: ignore[arg-type]
    whole = kernel.matrix(sets)
    assert kernel.matrix(sets[:2], sets[2:]) == pytest.approx(whole[:2, 2:], abs=1e-10)
    assert kernel.matrix(sets[2:], sets[:2]) == pytest.approx(whole[:2, 2:].T, abs=1e-10)


def test_permutations_and_rotations_leave_the_distance_at_zero() -> None:
    descriptor = AceDescriptor.of((11, 17), 4.0, 20)
    atoms = snapshots(1)[0]
    other = atoms[np.random.default_rng(1).permutation(8)]
    other.rotate(50, (1, 2, 3), rotate_cell=True)
    other.positions += 3.0
    rows = [descriptor.rows(Structure.from_ase(frame)) for frame in (atoms, other, snapshots(2)[1])]
    for kind in KINDS:
        distances = StructureKernel(kind=kind).distances(rows)  # type: ignore[arg-type]
        assert distances[0, 1] < 1e-5 < 1e-3 < distances[0, 2]
    assert largest_atomic_distance(rows)[0, 1] < 1e-5


@pytest.mark.parametrize("sizes", [(8, 8, 8), (5, 8, 3)], ids=["equal", "unequal"])
def test_rematch_lies_between_the_best_match_and_the_average(sizes: tuple[int, ...]) -> None:
    sets = environments(2, sizes)
    limits = {kind: StructureKernel(kind, normalized=False).matrix(sets) for kind in KINDS}  # type: ignore[arg-type]
    matrices = [StructureKernel(gamma=g, normalized=False).matrix(sets) for g in (1e-6, 1e-4, 3e-3, 0.03, 0.3, 1e6)]
    assert matrices[0] == pytest.approx(limits["best"], abs=1e-5)
    assert matrices[-1] == pytest.approx(limits["average"], abs=1e-7)
    for sharper, softer in zip(matrices, matrices[1:], strict=False):
        assert (sharper >= softer - 1e-9).all()  # entropy costs similarity


@pytest.mark.parametrize("gamma", [1.0, 0.1, 0.01, 0.002])
def test_the_match_is_the_minimum_with_entropy(gamma: float) -> None:
    first, second = environments(3, (3, 5), width=4, spread=2.0)
    similarity = first @ second.T
    # a plain iteration on logarithms, run to the end
    f, g = np.zeros(3), np.zeros(5)
    for _ in range(200_000 if gamma < 0.01 else 20_000):
        exponent = (similarity - 1.0) / gamma + g
        f = -np.log(3) - np.logaddexp.reduce(exponent, axis=1)
        exponent = ((similarity - 1.0) / gamma).T + f
        before, g = g, -np.log(5) - np.logaddexp.reduce(exponent, axis=1)
        if np.abs(g - before).max() < 1e-15:
            break
    plan = np.exp((similarity - 1.0) / gamma + f[:, None] + g)
    expected = float((plan * similarity).sum())
    found = StructureKernel(gamma=gamma, normalized=False).matrix([first], [second])
    assert found[0, 0] == pytest.approx(expected, abs=1e-10)


def test_the_best_match_is_that_of_the_linear_program() -> None:
    for sizes in ((4, 4), (4, 6), (1, 3)):
        first, second = environments(4, sizes)
        similarity = first @ second.T
        n, m = similarity.shape
        sums = np.concatenate([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
        wanted = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
        solved = linprog(-similarity.ravel(), A_eq=sums, b_eq=wanted)
        assert best_match(similarity) == pytest.approx(-solved.fun, abs=1e-9)


@pytest.mark.parametrize(
    "kind, gamma, threshold, error",
    [("average", 0.1, 0.0, 1e-12), ("rematch", 0.1, 1e-12, 1e-8), ("rematch", 0.3, 1e-20, 1e-11)],
)
def test_numbers_of_dscribe(kind: str, gamma: float, threshold: float, error: float) -> None:
    kernels = pytest.importorskip("dscribe.kernels")
    soap = Soap((11, 17), 4.0, n_max=4, l_max=3)
    rows = [soap.rows(Structure.from_ase(atoms)) for atoms in snapshots(3)]
    rows.append(soap.rows(Structure.from_ase(snapshots(1)[0] * (2, 1, 1))))  # with 16 atoms
    theirs = (
        kernels.AverageKernel(metric="linear") if kind == "average"
        else kernels.REMatchKernel(metric="linear", alpha=gamma, threshold=threshold)
    )  # fmt: skip
    expected = theirs.create(rows)
    assert StructureKernel(kind, gamma).matrix(rows) == pytest.approx(expected, abs=error)  # type: ignore[arg-type]
    power = type(theirs)(metric="polynomial", degree=2, gamma=1.0, coef0=0.0)
    if kind == "average":
        expected = power.create(rows)
        assert StructureKernel("average", zeta=2).matrix(rows) == pytest.approx(expected, abs=1e-10)


def test_single_precision_for_what_principal_components_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    low = rng.random((6, 150))  # environments near a space of few dimensions, with noise in all
    sets = [rng.random((9, 6)) @ low + 0.05 * rng.normal(size=(9, 150)) for _ in range(12)]
    kernel = StructureKernel()
    plain = kernel.matrix(sets), largest_atomic_distance(sets)
    monkeypatch.setattr(module, "_FEWEST_ROWS", 1)
    split = module._Sets(sets, None).a
    assert split.rows.shape[1] == 32 and split.rest.shape[1] == 150 and split.rest.dtype == np.float32
    assert kernel.matrix(sets) == pytest.approx(plain[0], abs=1e-10)
    assert largest_atomic_distance(sets) == pytest.approx(plain[1], abs=1e-6)
    far = [rng.normal(size=(9, 150)) for _ in range(4)]  # of no few dimensions: all in double precision
    assert module._Sets(far, None).a.rest.shape[1] == 0


def test_threads_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = environments(6, (4, 9, 2, 7, 5))
    results = []
    for threads, rows in (("1", 512), ("3", 10)):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        monkeypatch.setattr(module, "_BLOCK_ROWS", rows)
        results.append((StructureKernel().matrix(sets), largest_atomic_distance(sets[:2], sets)))
    for first, second in zip(*results, strict=True):
        assert first == pytest.approx(second, abs=1e-12)


def test_one_bad_atom_shows_in_the_largest_atomic_distance_alone() -> None:
    good = environments(7, (64, 64), spread=0.2)
    bad = good[0].copy()
    bad[5] = np.eye(12)[0]
    kernel = StructureKernel().distances([good[0], good[1], bad])
    largest = largest_atomic_distance([good[0], good[1], bad])
    assert largest[0, 2] > 5 * largest[0, 1]
    assert largest[0, 2] > 6 * kernel[0, 2]  # √64 is 8
    similarity = good[0] @ bad.T
    expected = np.sqrt(2 - 2 * min(similarity.max(axis=1).min(), similarity.max(axis=0).min()))
    assert largest[0, 2] == pytest.approx(expected)
    toward = largest_atomic_distance([good[0]], [bad], directed=True)
    assert toward[0, 0] == pytest.approx(np.sqrt(2 - 2 * similarity.max(axis=1).min()))
    toward = largest_atomic_distance([good[0], bad], directed=True)
    back = largest_atomic_distance([bad], [good[0]], directed=True)
    assert toward[0, 1] == pytest.approx(np.sqrt(2 - 2 * similarity.max(axis=1).min()))
    assert toward[1, 0] == pytest.approx(back[0, 0]) and toward[1, 0] > 2 * toward[0, 1]
    assert (largest == largest.T).all() and (np.diag(largest) == 0).all()
    sets = environments(8, (2, 3, 4, 5))
    hausdorff = largest_atomic_distance(sets)
    for i, j, k in permutations(range(4), 3):
        assert hausdorff[i, k] <= hausdorff[i, j] + hausdorff[j, k] + 1e-9


def test_atoms_without_neighbors_are_alike() -> None:
    descriptor = AceDescriptor.of((18,), 4.0, 10)
    alone = descriptor.rows(Structure.from_ase(Atoms("Ar")))
    pair = descriptor.rows(Structure.from_ase(Atoms("Ar2", [[0, 0, 0], [3.5, 0, 0]])))
    for kind in KINDS:
        matrix = StructureKernel(kind).matrix([alone, alone, pair])  # type: ignore[arg-type]
        assert matrix[0, 1] == pytest.approx(1.0) and matrix[0, 2] < 0.5


def test_a_rotated_molecule_in_no_cell() -> None:
    pytest.importorskip("dscribe")
    soap = Soap((1, 8), 4.0, n_max=4, l_max=3)
    water = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    turned = Atoms("HOH", (water.positions @ Rotation.from_rotvec([1, 2, 3]).as_matrix())[[1, 0, 2]])
    rows = [soap.rows(Structure.from_ase(atoms)) for atoms in (water, turned)]
    assert StructureKernel().distances(rows)[0, 1] < 1e-5


def test_what_cannot_be_compared_is_said() -> None:
    sets = environments(9, (3, 4))
    with pytest.raises(InputError, match="best"):
        StructureKernel("worst")  # type: ignore[arg-type]
    for wrong in ({"gamma": 0.0}, {"gamma": np.nan}, {"zeta": 0}, {"zeta": 1.5}):
        with pytest.raises(InputError):
            StructureKernel(**wrong)
    with pytest.raises(InputError, match="normalized"):
        StructureKernel(normalized=False).distances(sets)
    with pytest.raises(InputError, match="same descriptor"):
        StructureKernel().matrix(sets, environments(9, (3,), width=5))
    with pytest.raises(InputError, match="frame 1"):
        StructureKernel().matrix([sets[0], np.full((2, 12), np.nan)])
    with pytest.raises(InputError, match="no structure"):
        StructureKernel().matrix([])
    assert kernel_distances(np.array([1.0 + 1e-15, 1.0, 0.5])) == pytest.approx([0, 0, 1])
