"""Generated structures against textbook geometry, exact identities and ASE's neighbor list."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from forcewright.data import read, write
from forcewright.errors import InputError
from forcewright.generation import (
    MODES,
    MinimumSeparations,
    as_dataset,
    deform,
    dimers,
    interstitials,
    largest_voids,
    random_structures,
    rattle,
    sample_md,
    strain,
    strain_along_modes,
    supercells,
    vacancies,
    volume_scan,
    x2_interstitials,
    x_vacancies,
)
from forcewright.generation.molecular_dynamics import spaced_times
from forcewright.generation.random_structures import random_cell
from forcewright.simulation import ForceField, Stage
from forcewright.structure import Structure

BOND = 3.549 * np.sqrt(3) / 4


def crystal(symbol: str, kind: str, a: float, repeat: int = 1) -> Structure:
    return Structure.from_ase(bulk(symbol, kind, a=a, cubic=True).repeat(repeat))


@pytest.fixture(scope="module")
def diamond() -> Structure:
    return crystal("C", "diamond", 3.549, 2)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_rattle_moves_by_the_amplitude(diamond: Structure) -> None:
    made = list(rattle(diamond, [0.02, 0.1], 20, rng()))
    assert [m.info["amplitude_A"] for m in made] == [0.02] * 20 + [0.1] * 20
    for amplitude, part in ((0.02, made[:20]), (0.1, made[20:])):
        moves = np.concatenate([(m.structure.positions - diamond.positions).ravel() for m in part])
        error = amplitude / np.sqrt(2 * len(moves))  # of the standard deviation of normal deviates
        assert abs(moves.std() - amplitude) < 4 * error
        assert abs(moves.mean()) < 4 * amplitude / np.sqrt(len(moves))


def test_strains_are_symmetric_and_do_what_they_say(diamond: Structure) -> None:
    for structure, info in strain(diamond, 0.06, 10, rng()):
        deformation = np.linalg.solve(diamond.cell, structure.cell)
        np.testing.assert_allclose(deformation, deformation.T, atol=1e-12)
        assert np.abs(deformation - np.eye(3)).max() <= 0.06
        assert info["volume_factor"] == pytest.approx(np.linalg.det(deformation))
        np.testing.assert_allclose(structure.positions, diamond.positions @ deformation, atol=1e-12)
    shear = deform(diamond, 0.02 * MODES["xy"])  # engineering strain γ: the angle between x and y shrinks by it
    a, b = shear.cell[0], shear.cell[1]
    assert np.arcsin(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) == pytest.approx(0.02, rel=1e-3)
    for mode in ("tetragonal", "orthorhombic"):
        assert np.trace(MODES[mode]) == 0
    made = list(strain_along_modes(diamond, ["x", "yz"], [-0.01, 0.01]))
    assert made[1].structure.cell[0, 0] == pytest.approx(1.01 * diamond.cell[0, 0])
    with pytest.raises(InputError, match="unknown mode"):
        list(strain_along_modes(diamond, ["diagonal"], [0.1]))
    with pytest.raises(InputError, match="inside out"):
        deform(diamond, -1.2 * MODES["x"])


def test_volumes_and_supercells(diamond: Structure) -> None:
    made = list(volume_scan(diamond, 0.9, 1.1, 5))
    factors = [m.structure.volume / diamond.volume for m in made]
    np.testing.assert_allclose(factors, [0.9, 0.95, 1.0, 1.05, 1.1])
    np.testing.assert_allclose(made[2].structure.positions, diamond.positions)
    doubled, long = (m.structure for m in supercells(diamond, [2, (1, 1, 3)]))
    assert len(doubled) == 8 * 64 and len(long) == 3 * 64
    assert long.volume == pytest.approx(3 * diamond.volume)


@pytest.mark.parametrize(
    ("symbol", "kind", "radius", "count"),
    [
        ("C", "diamond", np.sqrt(3) / 4, 8),  # tetrahedral voids: as far from atoms as atoms from each other
        ("Cu", "fcc", 0.5, 4),  # octahedral
        ("Fe", "bcc", np.sqrt(5) / 4, 12),  # tetrahedral
        ("Po", "sc", np.sqrt(3) / 2, 1),  # cube center
    ],
)
def test_largest_voids_are_those_of_the_textbook(symbol: str, kind: str, radius: float, count: int) -> None:
    structure = crystal(symbol, kind, 4.0)
    centers, radii = largest_voids(structure)
    assert radii[0] == pytest.approx(4.0 * radius)
    assert np.isclose(radii, radii[0], atol=1e-4).sum() == count
    moved = Structure(structure.numbers, structure.positions + 1.234, structure.cell, structure.pbc)
    assert largest_voids(moved, 1)[1][0] == pytest.approx(radii[0])


def test_voids_of_a_skewed_cell_are_nowhere_beaten() -> None:
    random = rng(3)
    structure = Structure([6] * 5, random.random((5, 3)) * 4, random_cell(60.0, random), [True] * 3)
    radius = largest_voids(structure, 1)[1][0]
    shifts = np.array([[i, j, k] for i in range(-3, 4) for j in range(-3, 4) for k in range(-3, 4)]) @ structure.cell
    atoms = (structure.positions + shifts[:, None]).reshape(-1, 3)
    points = random.random((3000, 3)) @ structure.cell
    nearest = np.linalg.norm(points[:, None] - atoms, axis=2).min(axis=1)
    assert nearest.max() <= radius + 1e-9
    assert nearest.max() > 0.85 * radius


def test_vacancies_and_interstitials(diamond: Structure) -> None:
    made = list(vacancies(diamond, 2, 5, rng()))
    assert all(len(m.structure) == 62 for m in made) and len({m.structure.content_hash for m in made}) == 5
    held = next(iter(interstitials(diamond, "H", 1, 1, rng(), sites="voids"))).structure
    assert nearest(held, 64) == pytest.approx(BOND)
    for structure, _ in interstitials(diamond, "H", 3, 4, rng(), separations={"H-C": 1.0}):
        assert structure.formula == "C64H3"
        i, j, d = neighbor_list("ijd", structure.to_ase(), 1.0)
        assert not ((i >= 64) | (j >= 64)).any() or d[(i >= 64) | (j >= 64)].min() >= 1.0
    with pytest.raises(InputError, match="far enough from all atoms"):
        list(interstitials(diamond, "H", 1, 1, rng(), separations=2.0))
    with pytest.raises(InputError, match="leaves 1.54 Å"):
        list(interstitials(diamond, "H", 1, 1, rng(), sites="voids", separations=2.0))
    with pytest.raises(InputError, match="at least one must stay"):
        list(vacancies(diamond, 64, 1, rng()))


def nearest(structure: Structure, atom: int) -> float:
    i, d = neighbor_list("id", structure.to_ase(), 3.0)
    return float(d[i == atom].min())


def test_hydrogen_vacancy_is_that_of_diamond(diamond: Structure) -> None:
    """C62H: H on one site with three carbon neighbors, an empty site in the fourth direction."""
    for structure, info in x_vacancies(diamond, "H", 6, rng()):
        assert structure.formula == "C62H"
        atoms = structure.to_ase()
        hydrogen = int(np.flatnonzero(structure.numbers == 1)[0])
        i, vectors = neighbor_list("iD", atoms, 1.2 * BOND)
        vectors = vectors[i == hydrogen]
        assert len(vectors) == 3
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), BOND)
        empty = structure.positions[hydrogen] - vectors.sum(axis=0)  # the four bonds add up to zero
        gone = diamond.positions[info["vacancy"]]
        difference = (empty - gone) @ np.linalg.inv(structure.cell)
        np.testing.assert_allclose(difference, np.round(difference), atol=1e-9)
    neighbors = {m.info["vacancy"] for m in x_vacancies(diamond, "N", 60, rng(), center=5)}
    assert len(neighbors) == 4


def test_hydrogen_pair_in_a_bond(diamond: Structure) -> None:
    structure, info = next(iter(x2_interstitials(diamond, "H", 1, rng(), bond_A=1.1)))
    assert structure.formula == "C64H2"
    atoms = structure.to_ase()
    first, second = info["site"], info["behind"]
    assert atoms.get_distance(first, second, mic=True) == pytest.approx(BOND + 0.7)
    assert atoms.get_distance(first, 64, mic=True) == pytest.approx(1.1)
    assert atoms.get_distance(64, second, mic=True) == pytest.approx(BOND + 0.7 - 1.1)
    assert atoms.get_distance(second, 65, mic=True) == pytest.approx(1.1)
    assert atoms.get_angle(first, second, 65, mic=True) == pytest.approx(180.0, abs=1e-4)


def test_dimers() -> None:
    made = list(dimers(["C", "H"], 0.6, 3.0, 13))
    assert [m.info["pair"] for m in made[::13]] == ["C-C", "C-H", "H-H"]
    lengths = [np.linalg.norm(np.diff(m.structure.positions, axis=0)) for m in made[:13]]
    np.testing.assert_allclose(lengths, np.linspace(0.6, 3.0, 13))
    assert next(iter(dimers(["H"], 0.6, 3.0, 2, box_A=10.0))).structure.volume == pytest.approx(1000)
    with pytest.raises(InputError, match="twice"):
        list(dimers(["H"], 0.6, 3.0, 2, box_A=5.0))


@pytest.mark.parametrize("seed", range(3))
def test_random_structures_respect_every_image(seed: int) -> None:
    made = list(
        random_structures(
            {"C": 6, "H": 4}, 4, rng(seed), volume_per_atom_A3=(7.0, 12.0), separations={"C-C": 1.3, "H-C": 1.0}
        )
    )
    limits = {("C", "C"): 1.3, ("C", "H"): 1.0, ("H", "H"): 0.8 * 2 * covalent_radii[1]}
    for structure, info in made:
        assert 7.0 <= structure.volume / 10 <= 12.0 and info["config_type"] == "random"
        for pair, limit in limits.items():
            found = neighbor_list("d", structure.to_ase(), {pair: limit})  # ASE counts images, also of an atom itself
            assert len(found) == 0
    assert len({m.structure.content_hash for m in made}) == 4


def test_random_structures_at_a_density() -> None:
    for structure, _ in random_structures({"C": 8}, 3, rng(), density_g_per_cm3=(2.0, 3.0), separations=1.2):
        density = structure.to_ase().get_masses().sum() / structure.volume * 1.66053907
        assert 2.0 <= density <= 3.0


def test_one_atom_keeps_away_from_its_own_images() -> None:
    for structure, _ in random_structures({"C": 1}, 10, rng(), volume_per_atom_A3=(6.0, 8.0), separations=1.7):
        assert len(neighbor_list("d", structure.to_ase(), 1.7)) == 0


def test_what_cannot_fit_is_said() -> None:
    with pytest.raises(InputError, match="densest packing"):
        list(random_structures({"C": 8}, 1, rng(), volume_per_atom_A3=(2.0, 3.0), separations=2.0))
    with pytest.raises(InputError, match=r"could not be respected in 2 random cells .* at best"):
        list(random_structures({"C": 8}, 1, rng(), volume_per_atom_A3=(5.7, 5.8), separations=2.0, attempts=2))
    with pytest.raises(InputError, match="give one of"):
        list(random_structures({"C": 8}, 1, rng()))
    with pytest.raises(InputError, match="unknown element"):
        list(random_structures({"Q": 8}, 1, rng(), volume_per_atom_A3=(5.0, 6.0)))


def test_ratio_of_separations_is_that_of_the_closest_pair() -> None:
    structure = crystal("Cu", "fcc", 3.6)
    assert MinimumSeparations(2.5).ratio(structure)[0] == np.inf  # nothing stands that near
    ratio, (i, j) = MinimumSeparations(3.0).ratio(structure)
    assert ratio == pytest.approx(3.6 / np.sqrt(2) / 3.0) and i != j


@pytest.mark.parametrize("seed", range(5))
def test_times_are_spaced_and_spread(seed: int) -> None:
    times = np.arange(0, 2001, 10.0)
    chosen = times[spaced_times(times, 20, 50.0, rng(seed))]
    assert len(chosen) == 20 and np.diff(chosen).min() >= 50.0
    assert len(np.unique(np.diff(chosen))) > 3
    np.testing.assert_array_equal(times[spaced_times(times, 41, 50.0, rng(seed))], np.arange(0, 2001, 50.0))
    with pytest.raises(InputError, match="does not hold 42"):
        spaced_times(times, 42, 50.0, rng(seed))


def test_frames_of_molecular_dynamics() -> None:
    start = crystal("Cu", "fcc", 3.6)
    stage = Stage(ensemble="nvt", time_ps=0.3, timestep_fs=5.0, temperature_K=300.0, thermostat="langevin")
    field = ForceField("EMT", EMT, "0" * 64, (29,))

    def sample() -> list:
        return list(sample_md(field, start, [stage], rng(1), count=4, spacing_fs=50.0, equilibration_ps=0.05))

    made = sample()
    times = [m.info["time_fs"] for m in made]
    assert len(made) == 4 and times[0] >= 50 and np.diff(times).min() >= 50.0
    assert all(m.info["trajectory"] == "md" and m.info["recipe"] == "md" for m in made)
    assert [m.structure.content_hash for m in sample()] == [m.structure.content_hash for m in made]
    with pytest.raises(InputError, match="make the stages longer"):
        list(sample_md(field, start, [stage], rng(1), count=40, spacing_fs=50.0))


def test_provenance_survives_a_file(diamond: Structure, tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = [*rattle(diamond, [0.1], 2, rng(), group="hv_rattle"), *dimers(["H"], 0.6, 1.0, 2)]
    written = read(write(as_dataset(made), tmp_path / "made.extxyz"), require_energy=False)
    assert written.group_sizes == {"dimer": 2, "hv_rattle": 2}
    assert written[0].labels.info["parent"] == f"C64-{diamond.content_hash[:12]}"
    assert written[0].labels.info["amplitude_A"] == 0.1
    assert written[3].structure.content_hash == made[3].structure.content_hash


def test_same_seed_same_structures(diamond: Structure) -> None:
    def everything() -> list[str]:
        random = rng(7)
        made = [*rattle(diamond, [0.1], 1, random), *strain(diamond, 0.1, 1, random), *vacancies(diamond, 1, 1, random)]
        made += [*x_vacancies(diamond, "H", 2, random), *x2_interstitials(diamond, "H", 2, random)]
        made += random_structures({"C": 4}, 1, random, volume_per_atom_A3=(6.0, 9.0))
        return [m.structure.content_hash for m in made]

    assert everything() == everything()
