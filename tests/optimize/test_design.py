from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc

from forcewright.optimize.design import hammersley, hammersley_point, primes, radical_inverse


def test_radical_inverse_by_hand() -> None:
    assert [radical_inverse(i, 2) for i in range(6)] == [0, 1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8]
    np.testing.assert_allclose([radical_inverse(i, 3) for i in range(1, 6)], [1 / 3, 2 / 3, 1 / 9, 4 / 9, 7 / 9])
    np.testing.assert_allclose(
        radical_inverse(np.arange(1, 31), 5), [radical_inverse(i, 5) for i in range(1, 31)], rtol=1e-14
    )


def test_primes() -> None:
    assert primes(8) == [2, 3, 5, 7, 11, 13, 17, 19]


def test_hammersley_set_by_hand() -> None:
    expected = [[1 / 8, 1 / 2, 1 / 3], [3 / 8, 1 / 4, 2 / 3], [5 / 8, 3 / 4, 1 / 9], [7 / 8, 1 / 8, 4 / 9]]
    np.testing.assert_allclose(hammersley(4, 3), expected)
    np.testing.assert_allclose([hammersley_point(i, 4, 3) for i in range(4)], expected)


def test_points_beyond_the_set_are_a_halton_sequence() -> None:
    beyond = np.array([hammersley_point(i, 16, 3) for i in range(16, 32)])
    halton = qmc.Halton(3, scramble=False).random(33)  # coordinates in base 2, 3, 5; point 0 is the origin
    np.testing.assert_allclose(beyond[:, 1:], halton[17:33, :2])
    np.testing.assert_allclose(beyond[:, 0], halton[1:17, 2])


@pytest.mark.parametrize("d", [2, 4, 6])
def test_hammersley_fills_the_cube_more_evenly_than_random(d: int) -> None:
    random = [qmc.discrepancy(np.random.default_rng(seed).random((32, d))) for seed in range(10)]
    assert qmc.discrepancy(hammersley(32, d)) < min(random)
