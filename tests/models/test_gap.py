"""GAP: what gap_fit is asked for, what it gives, and what is refused on the way back from disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from forcewright.errors import InputError, MissingExtraError
from forcewright.models import load
from forcewright.models.gap import GapModel
from forcewright.structure import Dataset, Structure

pytest.importorskip("quippy", reason="the package quippy-ase is not installed")

SMALL = {"two_body": {"cutoff": 4.0, "n_sparse": 10}, "soap": {"cutoff": 4.0, "n_max": 4, "l_max": 3, "n_sparse": 20}}


def model(**changes):
    return GapModel(**{**SMALL, **changes})


def frames(count: int = 12, seed: int = 0, rattle: float = 0.1) -> Dataset:
    """Copper and gold by effective medium theory, in groups with awkward names."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        atoms = bulk("Cu", cubic=True) * (1, 1, 2)
        atoms.symbols[0] = "Au"
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(rattle, rng=rng)
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        atoms.info["config_type"] = "hot: 300 K" if number % 2 else "{cold}"
        found.append(atoms)
    return Dataset.from_ase(found)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small fits lose by more; waiting threads of OpenMP burn a busy machine."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def train() -> Dataset:
    return frames()


@pytest.fixture(scope="module")
def fitted(train):
    return model(soap={**SMALL["soap"], "n_sparse": 40}).fit(train, rng=np.random.default_rng(0))


def rmse(potential, dataset: Dataset) -> tuple[float, float, float]:
    """Energy per atom in meV, force components in eV/Å, stress in eV/Å³."""
    found = potential.predict(dataset.structures)
    energy = [(p.energy - f.labels.energy) / len(f.structure) for p, f in zip(found, dataset, strict=True)]
    force = np.concatenate([(p.forces - f.labels.forces).ravel() for p, f in zip(found, dataset, strict=True)])
    stress = [p.stress - f.labels.stress for p, f in zip(found, dataset, strict=True)]
    return tuple(float(np.sqrt(np.mean(np.square(values)))) * scale for values, scale in
                 ((energy, 1e3), (force, 1.0), (stress, 1.0)))  # fmt: skip


def test_it_learns_energies_forces_and_stresses(fitted) -> None:
    unseen = frames(6, seed=1)
    spread = np.std([f.labels.forces for f in unseen])
    energy, force, stress = rmse(fitted, unseen)
    assert energy < 20 and force < 0.25 * spread and stress < 0.01


def test_same_seed_same_files(train) -> None:
    first, second, other = (model().fit(train, rng=np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.files == second.files
    assert first.files != other.files  # its random numbers decide the sparse environments


def test_virials_and_group_sigmas_reach_the_fit(train) -> None:
    rng = np.random.default_rng
    bare = {"energy": 1e-3, "force": 10.0, "virial": 10.0}
    with_virials = model(sigma={**bare, "virial": 1e-3}).fit(train, rng=rng(0))
    without = model(sigma=bare).fit(train, rng=rng(0))
    assert rmse(with_virials, train)[2] < 0.5 * rmse(without, train)[2]
    loose = model(group_sigma={"hot: 300 K": {"energy": 1.0, "force": 10.0, "virial": 10.0}}).fit(train, rng=rng(0))
    hot = train[[group != "{cold}" for group in train.groups]]
    assert rmse(loose, hot)[1] > rmse(model().fit(train, rng=rng(0)), hot)[1]


def test_arguments_are_those_of_gap_fit(train) -> None:
    arguments = model(group_sigma={"{cold}": {"force": 0.2}}).arguments(
        "a b.extxyz", {29: -0.1, 79: 0.5}, {"{cold}": "g0"}, 7
    )
    assert arguments[0] == "at_file=a b.extxyz"
    assert "e0={Cu:-0.1:Au:0.5}" in arguments and "rnd_seed=7" in arguments
    assert "default_sigma={0.001 0.05 0.02 0.0}" in arguments
    assert "config_type_sigma={g0:0.001:0.2:0.02:0.0}" in arguments
    assert "distance_2b" in arguments[1] and " : soap " in arguments[1] and "sparse_method=cur_points" in arguments[1]


def test_energies_of_isolated_atoms(train) -> None:
    atoms = Dataset.from_ase([_atom(symbol, energy) for symbol, energy in (("Cu", -0.3), ("Au", 0.2))])
    assert model().reference_energies(train + atoms) == {29: -0.3, 79: 0.2}
    fitted = model(e0="least_squares").reference_energies(train + atoms)
    assert fitted == pytest.approx(model().reference_energies(train)) and fitted[29] != -0.3
    assert model(e0="zero").reference_energies(train) == {29: 0.0, 79: 0.0}
    assert model(e0={"Cu": -1.0, "Au": 2.0, "H": 0.0}).reference_energies(train) == {29: -1.0, 79: 2.0}
    with pytest.raises(InputError, match="no energy for Au"):
        model(e0={"Cu": -1.0}).reference_energies(train)


def _atom(symbol: str, energy: float):
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms(symbol)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((1, 3)))
    return atoms


def test_clusters_slabs_and_crystals_are_fitted_together(train) -> None:
    whole = []
    for pbc in ([False] * 3, [True, True, False]):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=1)
        atoms.pbc = pbc
        if not any(pbc):
            atoms.cell = None
        atoms.calc = EMT()
        atoms.get_forces()
        whole.append(atoms)
    mixed = train + Dataset.from_ase(whole)
    potential = model().fit(mixed, rng=np.random.default_rng(0))
    cluster, slab = potential.predict(mixed.structures)[-2:]
    assert cluster.stress is None and slab.stress is not None
    assert np.abs(cluster.forces - mixed[-2].labels.forces).max() < 0.3
    assert np.abs(slab.forces - mixed[-1].labels.forces).max() < 0.3


def test_variance_grows_away_from_the_data(fitted, train) -> None:
    far = [Structure.from_ase(a) for a in (f.structure.to_ase() for f in train)]
    far = [Structure(s.numbers, s.positions * 0.9, s.cell * 0.9, s.pbc) for s in far]
    near_error, far_error = fitted.energy_standard_error(train.structures), fitted.energy_standard_error(far)
    assert (near_error > 0).all() and far_error.mean() > 1.5 * near_error.mean()


def test_the_force_is_the_sum_of_its_parts(fitted, train) -> None:
    structure = train[1].structure
    parts = fitted.force_parts(structure)
    assert len(parts) > 1 and any("soap" in name for name in parts)
    whole = fitted.predict([structure])[0].forces
    np.testing.assert_allclose(sum(parts.values()), whole, atol=1e-8)
    assert all(np.abs(part).max() > 1e-3 for part in parts.values())


def test_quip_reads_the_saved_file_itself(fitted, train, tmp_path: Path) -> None:
    from quippy.potential import Potential

    folder = fitted.save(tmp_path / "saved")
    atoms = train[0].structure.to_ase()
    atoms.calc = Potential(param_filename=str(folder / "gp.xml"))
    assert atoms.get_potential_energy() == pytest.approx(fitted.predict(train.structures[:1])[0].energy, abs=1e-10)
    assert "Number of target forces" in (folder / "logs" / "gap_fit.log").read_text()


def test_a_failing_fit_is_one_sentence(train, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="did not end within 0.001 s"):
        model(timeout_s=0.001).fit(train, rng=np.random.default_rng(0))
    whole = GapModel.arguments
    monkeypatch.setattr(GapModel, "arguments", lambda *given: [a for a in whole(*given) if "default_sigma" not in a])
    with pytest.raises(InputError, match="gap_fit failed with exit status 1; it said: .*missing .*default_sigma"):
        model().fit(train, rng=np.random.default_rng(0))


def test_a_missing_package_is_told(fitted, train, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("hyperparameters", "potential"):
        monkeypatch.setattr(f"forcewright.models.gap.{module}.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"forcewright\[gap\]"):
        model().fit(train, rng=np.random.default_rng(0))
    copy = type(fitted)(fitted.species, fitted.cutoff, fitted.files)
    with pytest.raises(MissingExtraError, match=r"forcewright\[gap\]"):
        copy.predict(train.structures[:1])


def test_nothing_to_fit_and_unknown_groups_are_told(train) -> None:
    bare = Dataset.from_ase([bulk("Cu")])
    with pytest.raises(InputError, match="nothing to fit"):
        model().fit(bare, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="names the group 'warm'"):
        GapModel.with_data({"group_sigma": {"warm": {}}}, train)


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        ('init_args="IP GAP label=GAP_forcewright"', 'init_args="FilePot command=touch"', "could run a program"),
        ("<gpSparse ", "<Potential init_args='FilePot command=touch' label='x'/><gpSparse ", "which no GAP has"),
        ('sparseX_filename="gp.xml', 'sparseX_filename="/etc/gp.xml', "not among its files"),
        ("<GAP_forcewright>", "<!DOCTYPE a [<!ENTITY b 'c'>]><GAP_forcewright>", "document type"),
        ("</GAP_params>", "", "is damaged"),
    ],
)  # fmt: skip
def test_a_file_that_asks_quip_for_more_than_a_gap_is_refused(
    fitted, tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    import hashlib

    folder = fitted.save(tmp_path / "saved")
    changed = (folder / "gp.xml").read_text().replace(old, new, 1)
    assert changed != (folder / "gp.xml").read_text()
    (folder / "gp.xml").write_text(changed)
    with pytest.raises(InputError, match="SHA-256"):
        load(folder)
    content = json.loads((folder / "potential.json").read_text())
    content["files"]["gp.xml"] = hashlib.sha256(changed.encode()).hexdigest()
    (folder / "potential.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=sentence):
        load(folder)


def test_missing_files_and_names_that_lead_elsewhere_are_told(fitted, tmp_path: Path) -> None:
    folder = fitted.save(tmp_path / "saved")
    shutil.copytree(folder, tmp_path / "copy")
    next(folder.glob("gp.xml.sparseX*")).unlink()
    with pytest.raises(InputError, match="is missing"):
        load(folder)
    content = json.loads((tmp_path / "copy" / "potential.json").read_text())
    content["files"]["../../outside"] = "0"
    (tmp_path / "copy" / "potential.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="not the name of a file inside"):
        load(tmp_path / "copy")
