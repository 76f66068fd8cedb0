from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forcewright.data import isolated_or_fitted_energies, read
from forcewright.errors import InputError
from forcewright.structure import Dataset, Frame, Labels, Structure


def molecule(numbers: list[int], energy: float | None, group: str = "default", box: float = 0.0) -> Frame:
    positions = np.arange(3 * len(numbers), dtype=float).reshape(-1, 3)
    return Frame(Structure(numbers, positions, box * np.eye(3), [box > 0] * 3), Labels(energy, group=group))


def test_isolated_atoms_of_the_real_set_are_found(shared_data: Path) -> None:
    data = read([shared_data / "acac/train_300K.xyz", shared_data / "acac/isolated_atoms.xyz"])
    found = isolated_or_fitted_energies(data)
    assert found.source == "isolated atoms"
    assert found.isolated == (500, 501, 502)
    assert found.per_species == {1: -13.568422178253735, 6: -1026.8538996116154, 8: -2037.796869412825}


def test_one_composition_determines_only_the_sum(shared_data: Path) -> None:
    data = read(shared_data / "acac/train_300K.xyz")
    found = isolated_or_fitted_energies(data)
    assert (found.source, found.rank_deficient) == ("least squares", True)
    assert "only their sum" in str(found)
    mean = np.mean([labels.energy for labels in data.labels])
    assert found.total(data[0].structure) == pytest.approx(mean, abs=1e-6)


def test_least_squares_recovers_additive_energies() -> None:
    energies = {1: -1.0, 8: -7.0}
    data = Dataset(tuple(molecule(n, sum(energies[z] for z in n)) for n in ([1, 8], [1, 1, 8], [8, 8], [1, 1])))
    found = isolated_or_fitted_energies(data)
    assert found.per_species == pytest.approx(energies)
    assert not found.rank_deficient


def test_a_missing_isolated_atom_means_a_fit_that_leaves_the_others_out() -> None:
    data = Dataset((molecule([1], -13.6), molecule([1, 8], -8.0), molecule([1, 1, 8], -9.0)))
    found = isolated_or_fitted_energies(data)
    assert (found.source, found.isolated) == ("least squares", (0,))
    assert found.per_species == pytest.approx({1: -1.0, 8: -7.0})


@pytest.mark.parametrize(("box", "group", "isolated"), [(15.0, "a", 1), (2.5, "a", 0), (2.5, "IsolatedAtom", 1)])
def test_a_periodic_atom_is_isolated_in_a_large_cell_or_by_name(box: float, group: str, isolated: int) -> None:
    found = isolated_or_fitted_energies(Dataset((molecule([14], -0.8, group, box), molecule([14, 14], -3.0))))
    assert len(found.isolated) == isolated


def test_contradictions_and_absence_are_refused() -> None:
    with pytest.raises(InputError, match="an isolated H atom has -13.000000 eV here and -13.600000 eV elsewhere"):
        isolated_or_fitted_energies(Dataset((molecule([1], -13.6), molecule([1], -13.0))))
    with pytest.raises(InputError, match="no frame has an energy"):
        isolated_or_fitted_energies(Dataset((molecule([1, 1], None),)))
