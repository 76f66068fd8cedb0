from __future__ import annotations

import numpy as np
import pytest

from forcewright.linalg.gram import (
    RowAccumulator,
    RowReducer,
    diagonal_positions,
    pack,
    pack_product,
    unpack,
    unpack_upper,
)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(5000, 17))


def test_packing_is_undone_by_unpacking() -> None:
    matrix = np.random.default_rng(0).normal(size=(9, 9))
    symmetric = matrix + matrix.T
    packed = pack(symmetric)
    np.testing.assert_array_equal(unpack(packed, 9), symmetric)
    np.testing.assert_array_equal(np.triu(unpack_upper(packed, 9)), np.triu(symmetric))
    np.testing.assert_array_equal(packed[diagonal_positions(9)], np.diag(symmetric))


def test_packed_product_is_the_bilinear_form() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(7, 7))
    symmetric = matrix + matrix.T
    left, right = rng.normal(size=(2, 7))
    assert pack(symmetric) @ pack_product(left, right) == pytest.approx(left @ symmetric @ right, rel=1e-13)


@pytest.mark.parametrize("chunk", [1, 17, 999, 5000])
def test_folding_in_chunks_gives_the_gram_matrix(rows: np.ndarray, chunk: int) -> None:
    folder = RowAccumulator(17)
    for start in range(0, len(rows), chunk):
        folder.add(rows[start : start + chunk])
    np.testing.assert_allclose(unpack(folder.result(), 17), rows.T @ rows, rtol=1e-12, atol=1e-9)
    assert folder.count == 5000


@pytest.mark.parametrize("chunk", [100, 2500])
def test_reduced_rows_have_the_same_gram_matrix(rows: np.ndarray, chunk: int) -> None:
    reducer = RowReducer(17)
    for start in range(0, len(rows), chunk):
        reducer.add(rows[start : start + chunk].copy())
    factor = reducer.result()
    assert factor.shape == (17, 17)
    np.testing.assert_allclose(factor.T @ factor, rows.T @ rows, rtol=1e-12, atol=1e-9)


def test_few_rows_stay_as_they_are() -> None:
    rows = np.arange(6.0).reshape(2, 3)
    reducer = RowReducer(3)
    reducer.add(rows)
    np.testing.assert_array_equal(reducer.result(), rows)
    assert RowReducer(3).result().shape == (0, 3)


def test_nothing_folded_is_zero() -> None:
    assert not RowAccumulator(4).result().any()
