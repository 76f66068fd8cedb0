"""Normal equations of single frames: sums of any of them against accumulating those frames directly."""

from __future__ import annotations

import numpy as np
import pytest

from forcewright.fitting.frame_equations import accumulate_frames
from forcewright.fitting.normal_equations import NormalEquations, accumulate
from forcewright.potential import DesignRows
from forcewright.structure import Dataset, Frame, Labels, Structure

PROPERTIES = ("energy", "force", "stress")
ENERGIES = {13: -1.5, 29: 0.25}


class Basis:
    """Design rows that are random numbers, the same for the same structure."""

    size = 5

    def rows(self, structure: Structure) -> DesignRows:
        rng = np.random.default_rng(int(structure.content_hash[:8], 16))
        n = len(structure)
        return DesignRows(
            rng.normal(size=5), rng.normal(size=(3 * n, 5)), rng.normal(size=(6, 5)), rng.normal(size=7 + 3 * n)
        )

    def __repr__(self) -> str:
        return "Basis()"


@pytest.fixture
def dataset() -> Dataset:
    """Frames of different sizes in two groups, some without an energy, forces or a stress."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(14):
        n = 2 + number % 3
        structure = Structure(rng.choice([13, 29], n), rng.random((n, 3)), 4.0 * np.eye(3), [True] * 3)
        tensor = rng.normal(size=(3, 3))
        labels = Labels(
            None if number == 3 else float(rng.normal()), None if number == 5 else rng.normal(size=(n, 3)),
            None if number % 4 == 0 else tensor + tensor.T, f"group {number % 2}",
        )  # fmt: skip
        frames.append(Frame(structure, labels))
    return Dataset(tuple(frames))


def same(one: NormalEquations, other: NormalEquations) -> None:
    assert one.terms == other.terms and one.properties == other.properties
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_allclose(one.training, other.training, rtol=1e-12, atol=1e-12)
    for a, b in zip(one.validation, other.validation, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("free_species", [(), (13, 29)])
@pytest.mark.parametrize("groups", [None, "shared"])
def test_sums_over_frames_are_what_accumulating_them_gives(
    dataset: Dataset, free_species: tuple[int, ...], groups: str | None
) -> None:
    basis = Basis()
    equations = accumulate_frames(dataset, basis, lambda i: basis.rows(dataset[i].structure), PROPERTIES)
    for indices in ([0, 1, 2, 3, 4, 5], [13, 5, 8, 2], list(range(14))):
        part = dataset[indices]
        folds = np.arange(len(part)) % 2
        group_of = list(part.groups) if groups is None else [groups] * len(part)
        expected = accumulate(
            part, lambda i, part=part: basis.rows(part[i].structure), 5, ENERGIES, folds, PROPERTIES,
            free_species=free_species, groups=group_of,
        )  # fmt: skip
        assert equations.holds(part, basis)
        same(equations.add(part, folds, group_of, ENERGIES, PROPERTIES, free_species), expected)


def test_frames_of_another_dataset_are_not_among_them(dataset: Dataset) -> None:
    basis = Basis()
    equations = accumulate_frames(dataset[:5], basis, lambda i: basis.rows(dataset[i].structure), PROPERTIES)
    assert not equations.holds(dataset, basis) and equations.holds(dataset[[2, 4]], basis)


def test_merged_blocks_are_the_folds_they_belong_to(dataset: Dataset) -> None:
    basis = Basis()

    def of(folds: np.ndarray, factored: bool) -> NormalEquations:
        return accumulate(
            dataset, lambda i: basis.rows(dataset[i].structure), 5, ENERGIES, folds, PROPERTIES, factored=factored
        )

    block_of, fold_of_block = np.arange(14) % 6, np.array([0, 1, 0, 2, 2, 1])
    same(of(block_of, False).merge(fold_of_block), of(fold_of_block[block_of], False))
    merged, direct = of(block_of, True).merge(fold_of_block), of(fold_of_block[block_of], True)
    for one, other in zip(merged.training, direct.training, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a.T @ a, b.T @ b, rtol=1e-10, atol=1e-10)
