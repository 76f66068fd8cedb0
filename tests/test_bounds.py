"""Numbers that would fill the memory are refused in a sentence before anything is allocated."""

from __future__ import annotations

import numpy as np
import pytest

from forcewright.errors import InputError
from forcewright.features.ace.expansion import Bond
from forcewright.features.ace.radial import tabulate
from forcewright.neighbors import find_neighbors
from forcewright.structure import Structure


def test_a_cutoff_with_too_many_images_is_refused() -> None:
    cell = Structure(np.array([14]), np.zeros((1, 3)), np.eye(3) * 2.5, np.ones(3, dtype=bool))
    with pytest.raises(InputError, match="periodic images"):
        find_neighbors(cell, 1000.0)


def test_bins_too_narrow_for_a_table_are_refused() -> None:
    bond = Bond("ChebExpCos", 5.0, np.ones((1, 1, 1)), 5.0, 0.1, 0.0, 1.0, 0.0, 0.0)
    with pytest.raises(InputError, match="bins"):
        tabulate(bond, "density", 14, 14, 1e-10)
