"""Heat capacity by a difference of two simulations."""

import numpy as np
import pytest

from forcewright.analyze.heat_capacity import heat_capacity_by_difference
from forcewright.errors import InputError


def test_difference_and_error_are_those_of_independent_samples():
    rng = np.random.default_rng(0)
    low, high = rng.normal(10.0, 0.5, 4096), rng.normal(12.5, 0.5, 4096)
    result = heat_capacity_by_difference(low, high, 50.0)
    assert result.value == pytest.approx(2.5 / 50.0, abs=5 * result.standard_error)
    assert result.standard_error == pytest.approx(np.sqrt(2 * 0.25 / 4096) / 50.0, rel=0.4)
    with pytest.raises(InputError, match="above 0"):
        heat_capacity_by_difference(low, high, 0.0)
