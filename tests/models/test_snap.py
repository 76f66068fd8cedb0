from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from forcewright.configs import validate
from forcewright.errors import InputError
from forcewright.features.ace.radial import zbl_repulsion
from forcewright.features.bispectrum import Bispectrum, Zbl
from forcewright.fitting.linear_fit import predict_rows
from forcewright.lammps_session import write_lammps_data
from forcewright.models import load
from forcewright.models.snap import SnapModel, SnapPotential
from forcewright.structure import Structure

PUBLISHED = {  # energy RMSE meV/atom, force-component RMSE eV/Å on Zuo's test sets
    "Mo-snap": (9.25, 0.376),
    "Mo-qsnap": (4.04, 0.333),
    "Si-snap": (8.06, 0.205),
    "Si-qsnap": (5.51, 0.177),
}


BY_PAIR = Zbl(((0.8, 1.0), (1.0, 1.4)), ((2.1, 2.3), (2.3, 2.8)))  # radii of C-C, C-Si and Si-Si


def carbide(seed: int = 0) -> Structure:
    atoms = bulk("SiC", "zincblende", a=4.36) * (2, 2, 2)
    atoms.set_cell(atoms.cell.array @ [[1.0, 0.03, 0.0], [0.0, 0.97, 0.05], [0.02, 0.0, 1.04]], scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return Structure.from_ase(atoms)


def make(quadratic: bool = True, zbl: Zbl | None = None) -> SnapPotential:
    basis = Bispectrum((6, 14), 4, 4.0, 0.9, quadratic=quadratic, radii=(0.45, 0.5), weights=(0.8, 1.0), zbl=zbl)
    rng = np.random.default_rng(7)
    coefficients = 1e-3 * rng.normal(size=basis.size)
    return SnapPotential(basis, coefficients, {6: -9.1, 14: -5.2}, provenance={"made": "in a test"})


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_potentials_have_their_published_errors(name: str, shared_data: Path) -> None:
    from forcewright import evaluate, read

    potential = load(shared_data / "zuo2020" / "published-snap" / name)
    errors = evaluate(potential, read(shared_data / "zuo2020" / f"{name[:2]}_test.extxyz")).overall
    energy, force = PUBLISHED[name]
    assert errors.energy_rmse_meV_per_atom == pytest.approx(energy, abs=0.006)
    assert errors.force_rmse_eV_per_A == pytest.approx(force, abs=0.0006)


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("zbl", [None, Zbl(1.0, 2.5), BY_PAIR])
def test_pair_style_and_design_rows_agree(quadratic: bool, zbl: Zbl | None) -> None:
    """Two different LAMMPS codes: `pair_style snap` predicts, `compute snap` makes the rows of a fit."""
    potential, structure = make(quadratic, zbl), carbide()
    by_rows = predict_rows(
        structure, potential.basis.rows(structure), potential.coefficients, potential.reference_energies
    )
    by_pair = potential.predict([structure])[0]
    assert by_pair.energy == pytest.approx(by_rows.energy, abs=1e-8)
    np.testing.assert_allclose(by_pair.forces, by_rows.forces, atol=1e-8)
    np.testing.assert_allclose(by_pair.stress, by_rows.stress, atol=1e-8)


def test_each_pair_has_its_own_repulsion() -> None:
    """Differences of ZBL's energies inside the inner radius, from its formula; nothing beyond the outer one."""
    basis = Bispectrum((6, 14), 2, 4.0, zbl=BY_PAIR)
    potential = SnapPotential(basis, np.zeros(basis.size), {})
    for numbers, (inner, outer) in (((6, 6), (0.8, 2.1)), ((6, 14), (1.0, 2.3)), ((14, 14), (1.4, 2.8))):
        r = np.array([0.5 * inner, inner, outer + 0.001])
        energies = np.array(
            [p.energy for p in potential.predict([Structure(numbers, [[0.0, 0.0, 0.0], [0.0, 0.0, x]]) for x in r])]
        )
        expected, _ = zbl_repulsion(*numbers, r)
        assert energies[0] - energies[1] == pytest.approx(expected[0] - expected[1], rel=1e-4)
        assert energies[1] > 0.1 and energies[2] == 0.0


@pytest.mark.parametrize(
    ("zbl", "words"),
    [
        ({"inner": 1.0, "outer": {"C-C": 2.0}}, "name different pairs"),
        ({"inner": {"C-C": 1.0}, "outer": {"C-C": 2.0}}, "the pairs are"),
    ],
)
def test_repulsion_of_pairs_is_given_for_all_of_them(zbl: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        validate(SnapModel, {"zbl": zbl}).basis((6, 14))


def test_prediction_does_not_depend_on_what_was_predicted_before() -> None:
    potential = make()
    structures = [carbide(0), carbide(1), Structure.from_ase(bulk("SiC", "zincblende", a=4.36)), carbide(0)]
    together = potential.predict(structures)
    alone = [make().predict([s])[0] for s in structures]
    for a, b in zip(together, alone, strict=True):
        assert a.energy == pytest.approx(b.energy, abs=1e-10)
        np.testing.assert_allclose(a.forces, b.forces, atol=1e-10)


@pytest.mark.parametrize("zbl", [None, Zbl(1.0, 2.5), BY_PAIR])
def test_saved_potential_loads_back_and_a_pickled_one_works(tmp_path: Path, zbl: Zbl | None) -> None:
    potential, structure = make(zbl=zbl), carbide()
    before = potential.predict([structure])[0]
    loaded = load(potential.save(tmp_path / "potential"))
    sent = pickle.loads(pickle.dumps(potential))
    for other in (loaded, sent):
        after = other.predict([structure])[0]
        assert after.energy == before.energy
        np.testing.assert_array_equal(after.forces, before.forces)
    assert loaded.provenance == potential.provenance


@pytest.mark.parametrize("zbl", [None, Zbl(1.0, 2.5), BY_PAIR])
def test_lammps_run_of_the_export_equals_predict(tmp_path: Path, zbl: Zbl | None) -> None:
    """The exported input runs in LAMMPS on its own, in another process."""
    potential, structure = make(zbl=zbl), carbide()
    potential.save(tmp_path)
    write_lammps_data(tmp_path / "structure.data", structure, potential.species, potential.cutoff)
    script = (
        "from forcewright.lammps_session import new_instance\n"
        "import numpy as np\n"
        "lmp = new_instance()\n"
        "text = open('in.lammps').read().split('velocity')[0]\n"
        "lmp.commands_string(text)\n"
        "ids = np.array(lmp.numpy.extract_atom('id')).ravel()[: lmp.get_natoms()]\n"
        "forces = np.empty((len(ids), 3)); forces[ids - 1] = lmp.numpy.extract_atom('f')[: len(ids)]\n"
        "press = [lmp.get_thermo(k) for k in ('pxx', 'pyy', 'pzz', 'pyz', 'pxz', 'pxy')]\n"
        "np.savez('out.npz', energy=lmp.get_thermo('pe'), forces=forces, press=press)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=120)
    found = np.load(tmp_path / "out.npz", allow_pickle=False)
    from forcewright.lammps_session import BAR_ANGSTROM3_PER_EV, to_lammps_box

    expected = potential.predict([structure])[0]
    rotation = to_lammps_box(structure, potential.cutoff).rotation
    assert float(found["energy"]) == pytest.approx(expected.energy, abs=1e-8)
    np.testing.assert_allclose(found["forces"], expected.forces @ rotation, atol=1e-8)
    stress = -(rotation.T @ expected.stress @ rotation) * BAR_ANGSTROM3_PER_EV
    np.testing.assert_allclose(found["press"], stress.ravel()[[0, 4, 8, 5, 2, 1]], rtol=1e-8, atol=1e-4)


def test_exported_input_runs_to_its_end_and_conserves_energy(tmp_path: Path) -> None:
    basis = Bispectrum((14,), 2, 4.0)
    potential = SnapPotential(basis, np.array([0.05, 0.01, 0.0, 0.0, 0.01]), {14: -5.0})
    structure = Structure.from_ase(bulk("Si", cubic=True) * (2, 2, 2))
    potential.save(tmp_path)
    write_lammps_data(tmp_path / "structure.data", structure, potential.species, potential.cutoff)
    script = (
        "from forcewright.lammps_session import new_instance\n"
        "lmp = new_instance(); lmp.file('in.lammps'); open('etotal', 'w').write(str(lmp.get_thermo('etotal')))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=120)
    kinetic = 1.5 * (len(structure) - 1) * 8.617333262e-5 * 300.0
    start = potential.predict([structure])[0].energy + kinetic
    assert float((tmp_path / "etotal").read_text()) == pytest.approx(start, abs=0.02)


def test_standard_error_of_a_prediction_matches_refits() -> None:
    """Posterior standard error against the scatter of fits to resampled noise (a parametric bootstrap)."""
    rng = np.random.default_rng(11)
    basis = Bispectrum((6, 14), 2, 4.0, 0.9)
    structures = [carbide(seed) for seed in range(30)]
    rows = np.array([basis.rows(s).energy for s in structures])
    truth = rng.normal(size=basis.size) * 0.1
    sigma, ridge = 0.05, 1e-6
    inverse = np.linalg.inv(rows.T @ rows + ridge * np.eye(basis.size))
    potential = SnapPotential(basis, truth, {}, sigma**2 * inverse)
    new = carbide(99)
    row = basis.rows(new).energy
    fits = [inverse @ rows.T @ (rows @ truth + sigma * rng.normal(size=30)) for _ in range(4000)]
    scatter = np.std([row @ fit for fit in fits])
    assert potential.energy_standard_error([new])[0] == pytest.approx(scatter, rel=0.1)
    with pytest.raises(InputError, match="without its posterior"):
        make().energy_standard_error([new])


def test_lammps_pair_of_two_elements_in_any_order(tmp_path: Path) -> None:
    """Si before C in the file: atomic numbers must not decide."""
    potential = make()
    potential.save(tmp_path)
    head, *_ = lines = (tmp_path / "model.snapcoeff").read_text().splitlines()
    length = potential.basis.columns_per_species + 1
    carbon, silicon = lines[2 : 3 + length], lines[3 + length :]
    other = tmp_path / "swapped"
    other.mkdir()
    (other / "x.snapcoeff").write_text("\n".join([head, lines[1], *silicon, *carbon]))
    (other / "x.snapparam").write_text((tmp_path / "model.snapparam").read_text())
    structure = carbide()
    expected = potential.predict([structure])[0]
    found = load(other / "x.snapcoeff").predict([structure])[0]
    assert found.energy == pytest.approx(expected.energy, abs=1e-9)


def _pair(folder: Path, coefficients: str, parameters: str) -> Path:
    (folder / "m.snapcoeff").write_text(coefficients)
    (folder / "m.snapparam").write_text(parameters)
    return folder / "m.snapcoeff"


GOOD = "1 6\nSi 0.5 1.0\n" + "0.1\n" * 6


@pytest.mark.parametrize(
    ("coefficients", "parameters", "words"),
    [
        (GOOD, "rcutfac 4.0\n", "twojmax is missing"),
        (GOOD, "rcutfac 4.0\ntwojmax 2\nchemflag 1\n", "chemflag 1 is a variant of SNAP that is not supported"),
        (GOOD, "rcutfac 4.0\ntwojmax 2\nswitchinnerflag 1\nsinner 1.0\ndinner 0.5\n", "switchinnerflag 1 is a variant"),
        (GOOD, "rcutfac 4.0\ntwojmax 2\nsinner 1.0\n", "unknown or unsupported parameter 'sinner'"),
        (GOOD, "rcutfac 4.0\ntwojmax 2\nrcutfac 5.0\n", "the parameter rcutfac stands twice"),
        (GOOD, "rcutfac 4.0 5.0\ntwojmax 2\n", "holds more than a name and a number"),
        (GOOD, "rcutfac 4.0\ntwojmax 2\nquadraticflag 1\n", "quadraticflag 1 contradicts the 6 coefficients"),
        (GOOD, "rcutfac 4.0\ntwojmax 2\nfoo 1\n", "unknown or unsupported parameter 'foo'"),
        (GOOD, "rcutfac 4_0\ntwojmax 2\n", "is not a name and a number"),
        (GOOD, "rcutfac 4.0\ntwojmax 2\nbzeroflag 2\n", "bzeroflag is 2, expected 0 or 1"),
        (GOOD, "rcutfac four\ntwojmax 2\n", "is not a name and a number"),
        (GOOD, "rcutfac 4.0\ntwojmax 4\n", "twojmax 4 needs 15 or 120 coefficients"),
        (GOOD[:-8], "rcutfac 4.0\ntwojmax 2\n", "is not a SNAP coefficient file"),
        ("1 6\nXx 0.5 1.0\n" + "0.1\n" * 6, "rcutfac 4.0\ntwojmax 2\n", "is not a SNAP coefficient file"),
        ("", "rcutfac 4.0\ntwojmax 2\n", "is not a SNAP coefficient file"),
    ],
)
def test_broken_lammps_files_are_refused(tmp_path: Path, coefficients: str, parameters: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(_pair(tmp_path, coefficients, parameters))


def test_damaged_or_foreign_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "nothing")
    with pytest.raises(InputError, match="0 .snapcoeff files"):
        load(tmp_path)
    file = make().save(tmp_path / "p") / "potential.json"
    text = file.read_text()
    for broken, words in [
        (text[:200], "is damaged"),
        (text.replace('"kind": "snap"', '"kind": "spam"'), "unknown kind 'spam'"),
        (text.replace('"version": 1', '"version": 99'), "format version 99"),
        (text.replace('"rcut"', '"rkut"'), "is damaged"),
        ("{}", "is not a potential saved by Forcewright"),
    ]:
        file.write_text(broken)
        with pytest.raises(InputError, match=words):
            load(tmp_path / "p")


def test_model_names_elements_it_does_not_find() -> None:
    with pytest.raises(InputError, match="names Fe; the data hold C, Si"):
        SnapModel(radii={"Fe": 0.4}).basis((6, 14))
