"""Static protocols with calculators of ASE: exact identities, and what users are told when a calculation fails."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential

from forcewright.errors import ForcewrightError, InputError, MissingExtraError
from forcewright.protocols.compression import compression
from forcewright.protocols.defects import antisite, defect_energy, interstitials, vacancy
from forcewright.protocols.dimer import dimer_curve
from forcewright.protocols.elastic import elastic_constants, summarize_elastic_tensor
from forcewright.protocols.equation_of_state import BirchMurnaghan, equation_of_state, fit_birch_murnaghan
from forcewright.protocols.phases import phase, phase_energies
from forcewright.protocols.phonons import phonons
from forcewright.protocols.relaxation import relax
from forcewright.protocols.surfaces import slab, surface_energies
from forcewright.structure import Structure
from forcewright.units import GPA

SIGMA, EPSILON = 3.4, 0.0104


def argon() -> LennardJones:
    """Smooth at its cutoff, so that forces and stress are derivatives."""
    return LennardJones(sigma=SIGMA, epsilon=EPSILON, rc=2.5 * SIGMA, ro=2.0 * SIGMA, smooth=True)


class Broken(Calculator):
    """Gives what it is told to."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, give: Callable[[Atoms], dict[str, Any]]) -> None:
        super().__init__()
        self.give = give

    def calculate(
        self, atoms: Atoms | None = None, properties: Sequence[str] = (), system_changes: Sequence[str] = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = self.give(self.atoms)


def not_a_number(atoms: Atoms) -> dict[str, Any]:
    return {"energy": float("nan"), "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}


def expanding(atoms: Atoms) -> dict[str, Any]:
    return {
        "energy": -0.1 * atoms.cell.volume,
        "forces": np.zeros((len(atoms), 3)),
        "stress": np.r_[[-0.1] * 3, 0, 0, 0],
    }


def raising(atoms: Atoms) -> dict[str, Any]:
    raise FloatingPointError("overflow in the radial part")


# --- relaxation -----------------------------------------------------------------------------------------------------


def test_relaxed_copper_has_the_lattice_constant_of_emt() -> None:
    """3.5895 Å minimizes EMT's energy for fcc copper (found here by golden section, without forces)."""
    from scipy.optimize import minimize_scalar

    def energy(a: float) -> float:
        atoms = bulk("Cu", a=a)
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    expected = minimize_scalar(energy, bounds=(3.4, 3.8), method="bounded", options={"xatol": 1e-6}).x
    start = bulk("Cu", a=3.7, cubic=True)
    start.rattle(0.05, seed=1)
    for cell in ("isotropic", "full"):
        end = relax(EMT, start, cell=cell, fmax=1e-4, smax_GPa=1e-3)
        assert np.cbrt(end.structure.volume) == pytest.approx(expected, abs=1e-4)
        assert end.max_force_eV_per_A <= 1e-4 and end.energies_eV[-1] == pytest.approx(end.energy_eV)


def test_relaxation_under_pressure_ends_at_that_pressure() -> None:
    end = relax(EMT(), bulk("Cu"), cell="full", pressure_GPa=10.0)
    np.testing.assert_allclose(end.stress_GPa, [-10, -10, -10, 0, 0, 0], atol=0.02)


def test_shape_relaxation_keeps_the_volume() -> None:
    start = bulk("Cu", cubic=True)
    start.set_cell(start.cell.array * [1.03, 1.0, 1.0], scale_atoms=True)
    end = relax(EMT(), start, cell="shape")
    assert end.structure.volume == pytest.approx(start.cell.volume, rel=1e-6)
    np.testing.assert_allclose(np.linalg.norm(end.cell_A, axis=1), np.cbrt(start.cell.volume), rtol=1e-3)


def test_symmetry_is_kept_where_it_is_unstable() -> None:
    start = bulk("Cu", "bcc", a=2.9, cubic=True)
    start.set_cell(start.cell.array * [1.0, 1.0, 1.02], scale_atoms=True)
    tetragonal = relax(EMT(), start, cell="full", keep_symmetry=True).cell_A
    assert tetragonal[0, 0] == pytest.approx(tetragonal[1, 1], abs=1e-9)


@pytest.mark.parametrize(
    ("give", "cell", "words"),
    [
        (not_a_number, "none", "Broken gives an energy that is not finite for Cu"),
        (expanding, "full", "relaxation of Cu exploded: after .* steps its volume went from"),
        (raising, "none", "Broken failed on Cu: overflow in the radial part"),
    ],
)
def test_failing_calculators_are_told_in_one_sentence(give: Any, cell: Any, words: str) -> None:
    with pytest.raises(ForcewrightError, match=words):
        relax(Broken(give), bulk("Cu"), cell=cell)


def test_unfinished_relaxation_says_how_far_it_came() -> None:
    start = bulk("Cu", cubic=True)
    start.rattle(0.1, seed=0)
    with pytest.raises(
        ForcewrightError, match=r"not converged after 2 steps: the largest force is .* \(wanted 0.001\)"
    ):
        relax(EMT(), start, max_steps=2)


def test_senseless_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="'all'; allowed are none, isotropic, shape and full"):
        relax(EMT(), bulk("Cu"), cell="all")
    with pytest.raises(InputError, match="positive number"):
        relax(EMT(), bulk("Cu"), fmax=0.0)
    with pytest.raises(InputError, match="only on a cell that may change"):
        relax(EMT(), bulk("Cu"), pressure_GPa=1.0)
    with pytest.raises(InputError, match="not periodic in three directions"):
        relax(EMT(), Atoms("Cu"), cell="full")
    with pytest.raises(InputError, match="gives a str; give an ASE calculator"):
        relax("emt", bulk("Cu"))
    with pytest.raises(InputError, match="is a str; give a Structure"):
        relax(EMT(), "Cu.cif")


# --- equation of state ----------------------------------------------------------------------------------------------


def test_birch_murnaghan_is_recovered_from_its_own_energies() -> None:
    truth = BirchMurnaghan(20.0, -4.6, 0.6, 4.7)
    volumes = np.linspace(18, 22, 9)
    np.testing.assert_allclose(fit_birch_murnaghan(volumes, truth.energies(volumes)), truth, rtol=1e-6)
    step = 1e-4
    slope = (truth.energies(volumes + step) - truth.energies(volumes - step)) / (2 * step)
    np.testing.assert_allclose(truth.pressures(volumes), -slope, atol=1e-8)


def test_bulk_modulus_agrees_with_elastic_constants_and_the_derivative_with_pressure() -> None:
    curve = equation_of_state(EMT(), bulk("Cu"), volume_range=0.03)
    elastic = elastic_constants(EMT(), bulk("Cu"))
    assert curve.bulk_modulus_GPa == pytest.approx((elastic.c11_GPa + 2 * elastic.c12_GPa) / 3, rel=0.01)
    assert curve.bulk_modulus_GPa == pytest.approx(elastic.bulk_modulus_GPa, rel=0.01)


def test_energies_without_a_minimum_are_told() -> None:
    with pytest.raises(ForcewrightError, match="no minimum between"):
        equation_of_state(EMT(), bulk("Cu", a=4.2), center=False)
    with pytest.raises(InputError, match="at least 5 points"):
        equation_of_state(EMT(), bulk("Cu"), points=4)


# --- elastic constants ----------------------------------------------------------------------------------------------


def test_pair_potential_obeys_the_cauchy_relation() -> None:
    """C12 = C44 for central forces, atoms at centers of inversion and no stress (Born and Huang 1954)."""
    elastic = elastic_constants(argon(), bulk("Ar", a=5.25))
    assert elastic.c12_GPa == pytest.approx(elastic.c44_GPa, rel=1e-3)
    assert elastic.c11_GPa > elastic.c12_GPa and elastic.stable


def test_averages_of_an_isotropic_tensor_are_its_moduli() -> None:
    bulk_modulus, shear = 100.0, 40.0
    tensor = np.diag([2 * shear] * 3 + [shear] * 3)
    tensor[:3, :3] += bulk_modulus - 2 * shear / 3
    found = summarize_elastic_tensor(tensor)
    for value in (found.bulk_modulus_voigt_GPa, found.bulk_modulus_reuss_GPa, found.bulk_modulus_GPa):
        assert value == pytest.approx(bulk_modulus)
    for value in (found.shear_modulus_voigt_GPa, found.shear_modulus_reuss_GPa, found.shear_modulus_GPa):
        assert value == pytest.approx(shear)


def test_hexagonal_crystal_is_not_called_cubic() -> None:
    elastic = elastic_constants(argon(), bulk("Ar", "hcp", a=3.71, c=6.06))
    c = elastic.tensor_GPa
    assert np.isnan(elastic.c11_GPa) and elastic.stable
    assert c[5, 5] == pytest.approx((c[0, 0] - c[0, 1]) / 2, rel=0.01)  # C66 = (C11 - C12) / 2
    assert c[3, 3] == pytest.approx(c[4, 4], rel=0.01)


def test_unstable_crystal_breaks_born_s_condition() -> None:
    elastic = elastic_constants(argon(), bulk("Ar", "bcc", a=4.2), relax_cell=False)
    assert not elastic.stable and elastic.smallest_eigenvalue_GPa < 0


# --- defects --------------------------------------------------------------------------------------------------------


def test_unrelaxed_vacancy_of_a_pair_potential_costs_the_cohesive_energy() -> None:
    crystal = relax(argon(), bulk("Ar", a=5.25, cubic=True), cell="full").structure
    found = vacancy(argon(), crystal, repeat=4, fmax=0.001)  # wider than twice the cutoff
    cohesive = relax(argon(), crystal).energy_eV / 4
    assert found.unrelaxed_energies_eV["vacancy Ar"] == pytest.approx(-cohesive, rel=1e-4)
    assert 0 < found.formation_energies_eV["vacancy Ar"] < -cohesive
    assert len(found.structure("vacancy Ar")) == found.crystal_atoms - 1 == 255


def test_given_interstitial_of_another_element_needs_its_chemical_potential() -> None:
    octahedral = {"octahedral": (1.8, 1.8, 1.8)}
    with pytest.raises(InputError, match="missing for Ni; give them in eV"):
        interstitials(EMT(), bulk("Cu", cubic=True), sites=(), positions_A=octahedral, species="Ni", repeat=2)
    mixed = interstitials(
        EMT(), bulk("Cu", cubic=True), sites=(), positions_A=octahedral, species="Ni", repeat=2,
        chemical_potentials_eV={"Ni": 0.0},
    )  # fmt: skip
    shifted = interstitials(
        EMT(), bulk("Cu", cubic=True), sites=(), positions_A=octahedral, species="Ni", repeat=2,
        chemical_potentials_eV={"Ni": 0.5},
    )  # fmt: skip
    energy = mixed.formation_energies_eV["octahedral"]
    assert shifted.formation_energies_eV["octahedral"] == pytest.approx(energy - 0.5, abs=1e-6)


def test_antisite_pair_of_exchanged_elements_costs_nothing_in_chemical_potentials() -> None:
    """An atom of the crystal's own element on its site is no defect."""
    found = antisite(EMT(), bulk("Cu"), atom=0, species="Cu", chemical_potentials_eV={}, repeat=2)
    assert found.formation_energies_eV["Cu on Cu"] == pytest.approx(0.0, abs=1e-9)


# --- surfaces -------------------------------------------------------------------------------------------------------


def test_slabs_are_cut_between_layers_and_keep_the_crystal() -> None:
    made = slab(bulk("Si", cubic=True), (1, 1, 1), thickness_A=9.0, vacuum_A=12.0)
    heights = np.sort(made.positions[:, 2])
    assert heights[1] - heights[0] < 1.0  # cut through the single bonds: double layers remain whole
    assert made.cell[2, 2] - np.ptp(heights) == pytest.approx(12.0, abs=1e-6)


def test_close_packed_surface_of_copper_costs_least() -> None:
    found = surface_energies(EMT(), bulk("Cu", cubic=True), thickness_A=10.0)
    energies = dict(zip(found.labels, found.relaxed_J_per_m2, strict=True))
    assert energies["(111)"] == min(energies.values())
    assert (found.relaxed_eV_per_A2 <= found.unrelaxed_eV_per_A2).all()


# --- dimers ---------------------------------------------------------------------------------------------------------


def test_dimer_of_lennard_jones_has_its_textbook_minimum() -> None:
    free = LennardJones(sigma=SIGMA, epsilon=EPSILON, rc=100 * SIGMA, smooth=False)
    curve = dimer_curve(free, ("Ar", "Ar"), r_min_A=2.5, r_max_A=8.0)
    assert curve.bond_A == pytest.approx(2 ** (1 / 6) * SIGMA, abs=1e-3)
    assert curve.well_depth_eV == pytest.approx(EPSILON, rel=1e-4)
    assert curve.wall_monotonic and np.isnan(curve.hole_A)
    slopes = np.gradient(curve.energies_eV, curve.distances_A)
    np.testing.assert_allclose(curve.forces_eV_per_A[80:-1], -slopes[80:-1], atol=1e-4)


def test_hole_behind_the_wall_is_found() -> None:
    """Buckingham's potential falls to -∞ at short range; the top of its wall is where both terms balance."""
    a, b, c = 1690.0, 3.66, 63.0  # eV, 1/Å, eV Å⁶

    def buckingham(atoms: Atoms) -> dict[str, Any]:
        forces = np.zeros((len(atoms), 3))
        if len(atoms) == 1:
            return {"energy": 0.0, "forces": forces}
        r = atoms.get_distance(0, 1)
        push = a * b * np.exp(-b * r) - 6 * c / r**7
        forces[:, 2] = [-push, push]
        return {"energy": a * np.exp(-b * r) - c / r**6, "forces": forces}

    from scipy.optimize import brentq

    top, bond = (brentq(lambda r: a * b * np.exp(-b * r) - 6 * c / r**7, *ends) for ends in ((0.8, 1.6), (1.6, 6.0)))
    curve = dimer_curve(Broken(buckingham), ("Ar", "Ar"), r_min_A=0.8, r_max_A=8.0, points=400)
    assert not curve.wall_monotonic
    assert curve.hole_A == pytest.approx(top, abs=1e-3)
    assert curve.bond_A == pytest.approx(bond, abs=1e-3) and curve.well_depth_eV > 0


def test_purely_repulsive_pair_has_no_bond() -> None:
    def repulsive(atoms: Atoms) -> dict[str, Any]:
        forces, r = np.zeros((len(atoms), 3)), atoms.get_distance(0, 1) if len(atoms) == 2 else np.inf
        forces[:, 2] = [-1 / r**2, 1 / r**2] if len(atoms) == 2 else 0.0
        return {"energy": 1 / r, "forces": forces}

    curve = dimer_curve(Broken(repulsive), ("Cu", "Cu"))
    assert np.isnan(curve.bond_A) and curve.wall_monotonic


def test_unknown_element_is_refused() -> None:
    with pytest.raises(InputError, match="unknown element"):
        dimer_curve(EMT(), ("Cu", "Xx"))


# --- phonons --------------------------------------------------------------------------------------------------------


def test_symmetry_without_spglib_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spglib", None)
    with pytest.raises(MissingExtraError, match="needs the package 'spglib'"):
        relax(EMT(), bulk("Cu"), cell="full", keep_symmetry=True)


def test_phonons_without_phonopy_say_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonopy", None)
    with pytest.raises(MissingExtraError, match=r"pip install \"forcewright\[phonons\]\""):
        phonons(EMT(), bulk("Cu"), repeat=2)


def test_zone_boundary_of_nearest_neighbor_springs() -> None:
    """fcc with springs K between neighbors: m ω² = 8 K and 4 K at X (Ashcroft and Mermin 1976, problem 22.3)."""
    well, stiffness, bond = 0.1, 1.0, 2.6
    springs = MorsePotential(epsilon=well, r0=bond, rho0=stiffness * bond, rcut1=1.2, rcut2=1.3)
    spring = 2 * well * stiffness**2
    waves = phonons(
        springs, bulk("Cu", a=bond * np.sqrt(2)), path="GX", points=3, repeat=4, mesh=4, displacement_A=1e-3
    )
    thz = np.sqrt(spring / 63.546 * np.array([4, 4, 8])) * 98.22694743 / (2 * np.pi)  # √(eV/Å²/u) in THz
    np.testing.assert_allclose(waves.frequencies_THz[-1], thz, rtol=2e-3)
    assert waves.stable


# --- phases and the list --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "atoms", "neighbors"), [("hexagonal_diamond", 4, 4), ("bc8", 8, 4), ("st12", 12, 4), ("beta_tin", 2, 6)]
)
def test_phases_have_the_coordination_of_the_textbook(name: str, atoms: int, neighbors: int) -> None:
    from ase.neighborlist import neighbor_list

    made = phase("Si", name, 18.0)
    assert len(made) == atoms and made.cell.volume / atoms == pytest.approx(18.0)
    counts = np.bincount(neighbor_list("i", made, 2.85))
    np.testing.assert_array_equal(counts, neighbors)


def test_unknown_phase_and_compounds_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'beta_tin'"):
        phase("Si", "betatin", 18.0)
    with pytest.raises(InputError, match="phases are those of one element"):
        phase_energies(EMT(), bulk("CuAu", "cesiumchloride", a=3.0))


def test_phase_that_was_given_lies_at_zero() -> None:
    found = phase_energies(EMT(), bulk("Cu"), phases=("fcc", "bcc"))
    assert found.energies_eV["fcc"] == pytest.approx(0, abs=1e-6)
    assert found.energies_eV["bcc"] > 0


PROTOCOLS: tuple[Any, ...] = (
    antisite, compression, defect_energy, dimer_curve, elastic_constants, equation_of_state, interstitials,
    phase_energies, phonons, relax, surface_energies, vacancy,
)  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "antisite": {"atom": 0, "species": "Ni", "chemical_potentials_eV": {"Ni": 0.0}, "repeat": 2},
    "compression": {"pressures_GPa": (0, 5)},
    "dimer_curve": {},
    "elastic_constants": {},
    "equation_of_state": {},
    "relax": {},
    "defect_energy": {"defective": bulk("Cu", cubic=True) * (1, 1, 1)},
    "interstitials": {"sites": (), "positions_A": {"octahedral": (1.8, 1.8, 1.8)}, "repeat": 2},
    "phase_energies": {"phases": ("hcp",)},
    "phonons": {"repeat": 2, "mesh": 2, "points": 10},
    "surface_energies": {"miller": [(1, 1, 1)], "thickness_A": 5.0},
    "vacancy": {"repeat": 2},
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_static_protocol_takes_either_form_of_its_inputs_and_saves_and_draws(
    protocol: Any, tmp_path: Any
) -> None:
    structure: Any = Structure.from_ase(bulk("Cu", cubic=True))
    if protocol is dimer_curve:
        structure = ("Cu", "Cu")
    result = protocol(EMT, structure, **SMALL[protocol.__name__])
    again = protocol(EMT(), structure, **SMALL[protocol.__name__])
    assert (tmp_path / "result.json") == result.save(tmp_path / "result.json")
    assert result.to_dict() == again.to_dict()
    assert result.plot().has_data()


def test_stress_of_results_is_in_gpa() -> None:
    squeezed = relax(EMT(), bulk("Cu"), cell="isotropic", pressure_GPa=5.0)
    atoms = squeezed.structure.to_ase()
    atoms.calc = EMT()
    np.testing.assert_allclose(squeezed.stress_GPa * GPA, atoms.get_stress())
