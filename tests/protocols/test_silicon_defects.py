"""Defects, surfaces and phonons of silicon against another program's results, bond counting and elasticity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from silicon_reference import potential, reference

from forcewright.errors import InputError
from forcewright.protocols.defects import defect_energy, interstitials, nearest_neighbors, vacancy
from forcewright.protocols.elastic import elastic_constants
from forcewright.protocols.phonons import phonons
from forcewright.protocols.relaxation import relax
from forcewright.protocols.surfaces import surface_energies
from forcewright.units import GPA

MODELS = ("SW", "Tersoff")
EPSILON = 2.1683  # eV, of Stillinger and Weber: the energy of a bond


@pytest.mark.parametrize("model", MODELS)
def test_interstitials_equal_those_of_another_program(model: str, shared_data: Path) -> None:
    theirs = reference(shared_data, model, "interstitial-energy")
    ours = interstitials(potential(model).calculator(), bulk("Si", cubic=True))
    assert ours.crystal_atoms == 216
    for site in ("tetrahedral", "hexagonal", "dumbbell"):
        assert ours.formation_energies_eV[site] == pytest.approx(theirs[f"{site}_interstitial_energy"], abs=0.005)
        assert len(ours.structure(site)) == 217


def test_vacancy_of_stillinger_weber_equals_that_of_another_program(shared_data: Path) -> None:
    ours = vacancy(potential("SW").calculator(), bulk("Si", cubic=True))
    theirs = reference(shared_data, "SW", "vacancy-energy")["vacancy_energy"]
    assert ours.formation_energies_eV["vacancy Si"] == pytest.approx(theirs, abs=0.005)
    # unrelaxed: four bonds broken, two gained per atom taken out to the crystal
    assert ours.unrelaxed_energies_eV["vacancy Si"] == pytest.approx(2 * EPSILON, abs=1e-4)


def test_vacancy_of_tersoff_lies_below_the_metastable_one_of_the_other_program(shared_data: Path) -> None:
    """It ended with one pair of neighbors bonded; from such a start we get its number, from ours a lower one."""
    theirs = reference(shared_data, "Tersoff", "vacancy-energy")["vacancy_energy"]
    calculator = potential("Tersoff").calculator()
    ours = vacancy(calculator, bulk("Si", cubic=True)).formation_energies_eV["vacancy Si"]
    crystal = relax(calculator, bulk("Si", cubic=True), cell="full").structure.to_ase() * 3
    (first, second), vectors = (part[:2] for part in nearest_neighbors(crystal, 0))
    paired = crystal.copy()
    paired.positions[first] += 0.15 * (vectors[1] - vectors[0])
    paired.positions[second] -= 0.15 * (vectors[1] - vectors[0])
    del paired[0]
    metastable = defect_energy(calculator, crystal, paired, name="paired").formation_energies_eV["paired"]
    assert metastable == pytest.approx(theirs, abs=0.005)
    assert ours < theirs - 0.4
    assert ours == pytest.approx(3.70, abs=0.01)  # Balamane, Halicioglu and Tiller 1992


def test_cut_surfaces_of_stillinger_weber_cost_their_broken_bonds() -> None:
    """Second neighbors are out of reach, and remaining bonds are at the ideal angle: γ = bonds · ε / 2 per area."""
    a = 5.430947
    ours = surface_energies(potential("SW").calculator(), bulk("Si", cubic=True), relaxed=False)
    expected = EPSILON / a**2 * np.array([2, np.sqrt(2), 2 / np.sqrt(3)])
    np.testing.assert_allclose(ours.unrelaxed_eV_per_A2, expected, rtol=1e-4)
    np.testing.assert_allclose(ours.unrelaxed_J_per_m2, expected * 16.0217663, rtol=1e-4)
    assert np.isnan(ours.relaxed_J_per_m2).all() and ours.thicknesses_A.min() > 13


def test_relaxation_lowers_surface_energies() -> None:
    ours = surface_energies(potential("Tersoff").calculator(), bulk("Si", cubic=True), miller=[(1, 1, 1)])
    assert 0 < ours.relaxed_J_per_m2[0] < ours.unrelaxed_J_per_m2[0]


@pytest.mark.parametrize("model", MODELS)
def test_phonon_bands_equal_those_of_another_program(model: str, shared_data: Path) -> None:
    theirs = reference(shared_data, model, "phonon_diamond")
    corners = [(0, 0, 0), (0, 0.5, 0.5), (1, 1, 1), (0.5, 0.5, 0.5)]
    calculator = potential(model).calculator()
    ours = [
        phonons(calculator, bulk("Si"), repeat=4, displacement_A=0.03, path=corners[k : k + 2], points=50, mesh=8)
        for k in range(3)
    ]
    for one, bands in zip(ours, theirs["phonon_diamond_band_frequencies"], strict=True):
        np.testing.assert_allclose(one.frequencies_THz, bands, atol=0.005)
    assert ours[0].stable
    np.testing.assert_allclose(ours[0].gamma_frequencies_THz[:3], 0, atol=1e-5)  # acoustic sum rule
    assert np.trapezoid(ours[0].density_of_states, ours[0].dos_frequencies_THz) == pytest.approx(6, rel=0.05)


def test_sound_travels_as_the_elastic_constants_say() -> None:
    """Along [100] ω/q of the acoustic branches goes to √(C44/ρ), twice, and √(C11/ρ)."""
    calculator = potential("SW").calculator()
    elastic = elastic_constants(calculator, bulk("Si"))
    waves = phonons(calculator, bulk("Si"), path=[(0, 0, 0), (0, 0.005, 0.005)], points=2, mesh=2)
    density = 2 * 28.085 / np.linalg.det(waves.primitive_cell_A)  # u/Å³
    speeds = np.sqrt(np.array([elastic.c44_GPa, elastic.c44_GPa, elastic.c11_GPa]) * GPA / density)  # √(eV/u)
    thz = speeds * waves.path_distances[-1] * 98.22694743  # √(eV/u)/Å in THz
    np.testing.assert_allclose(waves.frequencies_THz[-1][:3], thz, rtol=0.005)


def test_standard_path_and_conventional_cell_give_the_primitive_bands() -> None:
    conventional = phonons(potential("SW").calculator(), bulk("Si", cubic=True), path="GX", points=5, mesh=2)
    primitive = phonons(potential("SW").calculator(), bulk("Si"), path="GX", points=5, mesh=2)
    assert conventional.corner_labels == ("Γ", "X")
    np.testing.assert_allclose(conventional.frequencies_THz, primitive.frequencies_THz, atol=0.02)


def test_saddle_of_the_lattice_has_imaginary_modes() -> None:
    simple_cubic = bulk("Si", "sc", a=2.5)
    waves = phonons(potential("SW").calculator(), simple_cubic, repeat=4, points=20, mesh=4, relax_cell=False)
    assert not waves.stable and waves.lowest_THz < -1


def test_wrong_site_and_path_are_refused_in_words() -> None:
    calculator = potential("SW").calculator()
    with pytest.raises(InputError, match="'tetragonal' is not known; allowed are tetrahedral"):
        interstitials(calculator, bulk("Si"), sites=("tetragonal",), repeat=2)
    with pytest.raises(InputError, match="diamond structure, which this crystal does not have"):
        interstitials(calculator, bulk("Si", "fcc", a=4.15), sites=("dumbbell",), repeat=3, relax_cell=False)
    with pytest.raises(InputError, match="is not a path"):
        phonons(calculator, bulk("Si"), path="GQ", repeat=1)
    with pytest.raises(InputError, match="unit cell has atoms 0 to 1"):
        vacancy(calculator, bulk("Si"), atoms=(2,), repeat=2)
    with pytest.raises(InputError, match="three whole numbers"):
        surface_energies(calculator, bulk("Si", cubic=True), miller=[(0, 0, 0)])
