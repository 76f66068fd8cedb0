"""Configuration spaces from distances alone: known point sets, a part of a set, and what the errors say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from forcewright.analyze.configuration_space import compare_distances, missing_frames, principal_map
from forcewright.errors import InputError
from forcewright.structure import FloatArray


def compared(a: FloatArray, b: FloatArray, **options: object) -> tuple[object, object]:
    return compare_distances(cdist(a, a), cdist(b, b), cdist(a, b), **options)  # type: ignore[arg-type]


def test_two_draws_of_one_distribution_cover_each_other_as_they_do_themselves() -> None:
    rng = np.random.default_rng(0)
    for sizes in ((400, 400), (100, 800)):  # however many there are to choose from
        a, b = compared(*(rng.normal(size=(n, 2)) for n in sizes))
        for side in (a, b):
            coverage = side.coverage  # type: ignore[attr-defined]
            assert coverage.value == pytest.approx(0.95, abs=max(4 * coverage.error, 0.06))
            assert 0.0 < coverage.error < 0.1


def test_a_part_is_covered_by_the_whole_and_not_the_other_way_round() -> None:
    rng = np.random.default_rng(1)
    whole = rng.random((400, 2))
    part = rng.random((300, 2)) * [0.4, 1.0]
    side_whole, side_part = compared(whole, part)
    assert side_part.coverage.value > 0.9  # type: ignore[attr-defined]
    value, error = side_whole.coverage[:2]  # type: ignore[attr-defined]
    assert value == pytest.approx(0.4, abs=3 * error + 0.06)


def test_distances_and_matches_are_those_of_the_points() -> None:
    a, b = np.arange(6.0)[:, None], np.array([[0.1], [2.2], [2.9], [7.0]])
    side_a, side_b = compared(a, b)
    assert side_b.first == pytest.approx([0.0, 2.1, 2.8, 6.9])  # type: ignore[attr-defined]
    assert side_b.nearest == pytest.approx([0.1, 0.2, 0.1, 2.0])  # type: ignore[attr-defined]
    assert side_b.match.tolist() == [0, 2, 3, 5]  # type: ignore[attr-defined]
    assert side_b.by_half == pytest.approx(np.array([[0.1, 0.2, 0.9, 5.0], [2.9, 0.8, 0.1, 2.0]]))  # type: ignore[attr-defined]
    assert side_a.baseline == pytest.approx([3, 2, 1, 1, 2, 3])  # type: ignore[attr-defined]
    side_a, _ = compared(a, b, halves="alternating")
    assert side_a.baseline == pytest.approx(np.ones(6))  # type: ignore[attr-defined]


def test_frames_to_add_are_far_from_the_set_and_from_each_other() -> None:
    a, b = np.zeros((4, 1)), np.array([[0.5], [9.0], [9.1], [-5.0], [3.0], [0.2]])
    to_a, among = cdist(b, a), cdist(b, b)
    assert missing_frames(to_a, among, 1.0, 10).tolist() == [2, 3, 4]  # 9.0 is near 9.1, the others near 0
    assert missing_frames(to_a, among, 1.0, 2).tolist() == [2, 3]
    assert missing_frames(to_a, among, 20.0, 10).tolist() == []


def test_the_map_of_points_is_their_principal_components() -> None:
    points = np.random.default_rng(2).normal(size=(40, 5)) * [5, 3, 1, 0.5, 0.1]
    pca = PCA(2).fit(points)
    coordinates, shares = principal_map(cdist(points, points))
    expected = pca.transform(points)
    assert np.abs(coordinates) == pytest.approx(np.abs(expected))
    assert shares == pytest.approx(pca.explained_variance_ratio_)
    alike, none = principal_map(np.zeros((3, 3)))
    assert (alike == 0).all() and (none == 0).all()


def test_too_few_frames_are_refused() -> None:
    points = np.zeros((3, 1))
    with pytest.raises(InputError, match="at least 4"):
        compared(points, np.zeros((9, 1)))
    with pytest.raises(InputError, match="between 0 and 1"):
        compared(np.zeros((9, 1)), np.zeros((9, 1)), share=1.0)
