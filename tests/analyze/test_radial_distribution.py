"""g(r) against freud, LAMMPS, an ideal gas, and the shells of perfect crystals."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from forcewright import analyze
from forcewright.analyze.radial import height_that_shows
from forcewright.errors import InputError
from forcewright.lammps_session import LammpsSystem, to_lammps_box, type_of_species
from forcewright.structure import Structure


def two_species(count: int = 60, seed: int = 3) -> Atoms:
    """Random atoms of two species in a triclinic cell narrower than 2 r_max."""
    rng = np.random.default_rng(seed)
    cell = [[9.0, 0, 0], [2.5, 8.0, 0], [-1.5, 2.0, 9.5]]
    return Atoms(["Si", "O", "O"] * (count // 3), cell=cell, pbc=True, scaled_positions=rng.random((count, 3)))


def shells(result: analyze.RadialDistribution) -> list[tuple[float, float]]:
    """Distance and number of neighbors of each shell of a crystal."""
    steps = np.diff(result.coordination_total, prepend=0.0)
    return [(result.r[k], steps[k]) for k in np.flatnonzero(steps)]


@pytest.mark.parametrize(
    ("atoms", "radii", "numbers"),
    [
        (bulk("Cu", a=3.6), np.sqrt([1 / 2, 1, 3 / 2, 2, 5 / 2]) * 3.6, [12, 6, 24, 12, 24]),
        (bulk("Fe", a=2.9), np.sqrt([3 / 4, 1, 2, 11 / 4, 3]) * 2.9, [8, 6, 12, 24, 8]),
        (bulk("Si", a=5.4), np.sqrt([3, 8, 11, 16, 19]) / 4 * 5.4, [4, 12, 12, 6, 12]),
    ],
    ids=["fcc", "bcc", "diamond"],
)
def test_shells_of_perfect_crystals(atoms: Atoms, radii: np.ndarray, numbers: list[int]) -> None:
    found = shells(analyze.rdf([atoms], r_max=8.0, bins=800))[:5]
    assert [number for _, number in found] == pytest.approx(numbers)
    assert [r for r, _ in found] == pytest.approx(radii, abs=0.0051)


def test_equals_freud() -> None:
    freud = pytest.importorskip("freud")
    # freud computes in single precision: squared distances of multiples of 1/64 Å are exact there.
    cell = np.array([24.0, 22.5, 21.25])
    positions = np.random.default_rng(0).integers(0, (cell * 64).astype(int), (600, 3)) / 64
    theirs = freud.density.RDF(40, 10.0)
    theirs.compute((freud.Box(*cell), positions - cell / 2))
    ours = analyze.rdf([Atoms("Ar600", positions=positions, cell=cell, pbc=True)], r_max=10.0, bins=40)
    assert ours.g == pytest.approx(theirs.rdf, rel=1e-6)
    assert ours.coordination_total == pytest.approx(theirs.n_r, rel=1e-6)


def test_equals_lammps() -> None:
    atoms = two_species()
    r_max, bins = 7.3, 50
    structure = Structure.from_ase(atoms)
    box = to_lammps_box(structure, r_max)
    commands = [
        f"pair_style zero {r_max + 0.5}", "pair_coeff * *",
        f"compute g all rdf {bins} * * 1 1 1 2 2 1 2 2 cutoff {r_max}", f"comm_modify cutoff {r_max + 1.0}",
        "thermo_style custom step c_g[1][1]",
    ]  # fmt: skip
    lmp = LammpsSystem().run(box, type_of_species(structure, (8, 14)), (8, 14), None, lambda: commands, "0.0 nsq")
    table = np.array(lmp.numpy.extract_compute("g", 0, 2))
    ours = analyze.rdf([atoms, atoms], r_max=r_max, bins=bins)
    assert ours.frames == 2
    assert ours.r == pytest.approx(table[:, 0], abs=1e-9)
    n = {"O": 40, "Si": 20}
    for column, (a, b) in enumerate([("O", "O"), ("O", "Si"), ("Si", "O"), ("Si", "Si")], start=1):
        # LAMMPS divides by the number of other atoms, N - 1 of the same species.
        scale = n[a] / (n[a] - 1) if a == b else 1.0
        assert ours.partial[a, b] * scale == pytest.approx(table[:, 1 + 2 * column], abs=1e-6)
        assert ours.coordination[a, b] == pytest.approx(table[:, 2 + 2 * column], abs=1e-6)
    assert ours.g * 60 / 59 == pytest.approx(table[:, 1], abs=1e-6)


def test_ideal_gas_is_one() -> None:
    rng = np.random.default_rng(0)
    frames = [Atoms("H500", cell=[20, 21, 22], pbc=True, scaled_positions=rng.random((500, 3))) for _ in range(40)]
    result = analyze.rdf(frames, r_max=12.0, bins=24)
    pairs = 0.5 * 500 * 40 * np.diff(np.linspace(0, 12, 25) ** 3) * 4 / 3 * np.pi * result.density
    assert (abs(result.g - (1 - 1 / 500)) < 4 / np.sqrt(pairs)).all()
    assert result.coordination_total[-1] == pytest.approx(499 / (20 * 21 * 22) * 4 / 3 * np.pi * 12**3, rel=0.01)


def test_same_crystal_in_another_cell_or_a_supercell_gives_the_same() -> None:
    atoms = two_species(12)
    reference = analyze.rdf([atoms], r_max=11.0, bins=40)
    skew = atoms.copy()
    skew.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ atoms.cell.array)
    far = atoms.copy()
    far.positions += np.random.default_rng(0).integers(-5, 6, (len(atoms), 3)) @ atoms.cell.array
    for other in (skew, far, atoms.repeat((2, 1, 3))):
        result = analyze.rdf([other], r_max=11.0, bins=40)
        assert result.g == pytest.approx(reference.g, abs=1e-9)
        assert result.partial["O", "Si"] == pytest.approx(reference.partial["O", "Si"], abs=1e-9)


def test_partials_sum_to_the_total() -> None:
    result = analyze.rdf([two_species()], r_max=6.0, bins=30)
    c = result.concentrations
    assert sum(c[a] * c[b] * g for (a, b), g in result.partial.items()) == pytest.approx(result.g)
    assert result.partial["O", "Si"] == pytest.approx(result.partial["Si", "O"])
    assert c["O"] * result.coordination["O", "Si"] == pytest.approx(c["Si"] * result.coordination["Si", "O"])


def test_frames_of_changing_cell_are_normalized_each_by_its_own() -> None:
    small, large = bulk("Cu", a=3.6), bulk("Cu", a=4.0)
    parts = [analyze.rdf([atoms], r_max=8.0, bins=100) for atoms in (small, large)]
    both = analyze.rdf(iter([small, large]), r_max=8.0, bins=100)
    assert both.g == pytest.approx(0.5 * (parts[0].g + parts[1].g))
    assert both.density == pytest.approx(0.5 * (parts[0].density + parts[1].density))


def test_crowded_and_empty_corners_of_a_cell() -> None:
    rng = np.random.default_rng(5)
    atoms = Atoms("C80", cell=[60, 40, 50], pbc=True, positions=rng.random((80, 3)) * 6)
    result = analyze.rdf([atoms], r_max=12.0, bins=20)
    assert result.coordination_total[-1] == pytest.approx(79.0)


def test_reads_a_file_and_saves(tmp_path) -> None:
    ase.io.write(tmp_path / "run.extxyz", [bulk("Cu"), bulk("Cu")])
    result = analyze.rdf(tmp_path / "run.extxyz", r_max=4.0, bins=40)
    assert result.frames == 2
    assert result.save(tmp_path / "g.csv").read_text().startswith("r,g,")
    assert result.plot().get_xlabel() == "r (Å)"


@pytest.mark.parametrize(
    ("frames", "options", "sentence"),
    [
        ([], {}, "holds no frame"),
        ([bulk("Cu"), bulk("Ag")], {}, "frame 1.*holds Ag, the first frame Cu"),
        ([molecule("H2O")], {}, "open directions"),
        ([bulk("Cu")], {"r_max": -1.0}, "length above 0"),
        ([bulk("Cu")], {"bins": 2.5}, "whole number"),
        ([Atoms("H", positions=[[np.nan, 0, 0]], cell=np.eye(3), pbc=True)], {}, "finite"),
        ("no_such_file.extxyz", {}, "does not exist"),
    ],
)
def test_bad_input_gets_a_sentence(frames, options, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        analyze.rdf(frames, **options)


def test_first_shell_of_crystals_that_vibrate() -> None:
    """Rock salt: six of the other kind at a/2, twelve of its own at a/√2."""
    rng, frames = np.random.default_rng(0), []
    for _ in range(10):
        salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 2)
        salt.positions += rng.normal(0, 0.08, salt.positions.shape)
        frames.append(salt)
    found = analyze.rdf(frames, r_max=7.0)
    assert found.first_peak["Na-Cl"] == pytest.approx(2.82, abs=0.08) == found.first_peak["total"]
    assert found.first_peak["Na-Na"] == pytest.approx(5.64 / np.sqrt(2), abs=0.12)
    assert {name: round(number, 2) for name, number in found.neighbors.items()} == {
        "total": 6.0, "Na-Cl": 6.0, "Cl-Na": 6.0, "Na-Na": 12.0, "Cl-Cl": 12.0
    }  # fmt: skip
    assert 3.0 < found.first_minimum["Na-Cl"] < 4.0 and found.images_from == np.inf
    gas = [Atoms("H99", cell=[9, 9, 9], pbc=True, scaled_positions=rng.random((99, 3))) for _ in range(40)]
    assert np.isnan(analyze.rdf(gas, r_max=4.0, bins=20).first_peak["total"])


def test_a_lone_atom_does_not_meet_its_own_images() -> None:
    """Nor do two of them, who still meet each other; a species of a small cell is no defect and does."""
    crystal = bulk("C", "diamond", a=3.57, cubic=True) * (2, 2, 2)
    lone = crystal + Atoms("H", positions=[(1.0, 1.1, 0.9)])
    found, bare = analyze.rdf(lone, r_max=10.0), analyze.rdf(crystal, r_max=10.0)
    assert found.partial["H", "H"].max() == 0.0 and found.coordination["H", "H"][-1] == 0.0
    np.testing.assert_allclose(found.partial["C", "C"], bare.partial["C", "C"], atol=1e-9)
    assert found.images_from == pytest.approx(7.14)
    two = lone + Atoms("H", positions=[(4.57, 4.67, 4.47)])  # half a diagonal of the cell away: 8 neighbors
    steps = np.diff(analyze.rdf(two, r_max=7.5).coordination["H", "H"])
    assert np.flatnonzero(steps).tolist() == [int(3.57 * np.sqrt(3) / 7.5 * 200) - 1] and steps.max() == 8
    salt = analyze.rdf(bulk("NaCl", "rocksalt", a=5.64), r_max=4.2, bins=400)
    assert salt.coordination["Na", "Na"][-1] == 12


def test_high_peaks_do_not_flatten_the_rest() -> None:
    r = np.linspace(0.02, 10, 500)
    rest = 1 + np.exp(-(((r - 2.8) / 0.3) ** 2)) - (r < 2)
    bond = 40 * np.exp(-(((r - 0.97) / 0.03) ** 2))
    for curves in ([rest + bond], [rest, bond, bond * 0.8]):
        assert rest.max() < height_that_shows(curves) < 4 * rest.max()
    assert height_that_shows([rest]) == rest.max() and height_that_shows([bond]) == bond.max()
    crystal = analyze.rdf(bulk("Cu", cubic=True) * (3, 3, 3), r_max=9.0)
    assert height_that_shows([crystal.g]) == crystal.g.max()
    water, rng = Atoms(cell=[12, 12, 12], pbc=True), np.random.default_rng(0)
    for k in range(64):
        one = molecule("H2O")
        one.rotate(360 * rng.random(), rng.normal(size=3))
        one.positions += np.array(np.unravel_index(k, (4, 4, 4))) * 3.0 + rng.normal(0, 0.3, 3)
        water += one
    water.rattle(0.03, seed=1)
    ax = analyze.rdf(water).plot()
    assert ax.get_ylim()[1] < 10 and "H-O 19.1 at 0.975 Å" in ax.texts[0].get_text()
