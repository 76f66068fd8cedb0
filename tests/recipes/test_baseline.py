"""Fits on top of a baseline: point charges under a short-ranged potential, of molten salt (Tosi and Fumi 1964)."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.build import bulk
from toy_family import HOME

import forcewright as fw
from forcewright.errors import InputError
from forcewright.force_field import ForceField
from forcewright.lammps_session import LammpsNative
from forcewright.models import FAMILIES
from forcewright.models.baseline import BaselinePotential, with_baseline
from forcewright.models.baseline_settings import baseline_of
from forcewright.models.overlay import overlay
from forcewright.potential import Exportable, Graded, Linear, PerAtom, Uncertain, Varying
from forcewright.reference import label_all, reference_from
from forcewright.structure import Structure

PAIRS = ("1 1 424.097 0.317 0 1.05 0.499", "1 2 1256.31 0.317 0 7.0 8.676", "2 2 3488.998 0.317 0 72.5 145.427")
CHARGES = {"Na": 1, "Cl": -1}
SALT = {"pair_style": "born/coul/long 6.0", "pair_coeff": PAIRS, "species": ("Na", "Cl"), "charges": CHARGES,
        "kspace_style": "ewald 1.0e-6"}  # fmt: skip
#: types in the other order than the elements'
POINTS = {"lammps": {"pair_style": "coul/long 6.0", "pair_coeff": "* *", "species": ["Cl", "Na"], "charges": CHARGES,
                     "kspace_style": "ewald 1.0e-6"}}  # fmt: skip
MODEL = {"kind": "snap", "twojmax": 2, "rcut": 4.5}
SETTINGS: dict[str, Any] = {
    "validation": {"kfold": 3}, "search": {"starts": 1, "evaluations": 8}, "stability": "off", "short_range": "off",
}  # fmt: skip


def salt(seed: int) -> Structure:
    atoms = bulk("NaCl", "rocksalt", a=5.6 + 0.1 * seed / 3, cubic=True)
    atoms.rattle(0.15, seed=seed)
    return Structure.from_ase(atoms)


@pytest.fixture(scope="module")
def train() -> fw.Dataset:
    structures = [salt(seed) for seed in range(12)]
    return label_all(reference_from({"lammps": SALT}, Path()), structures, workers=0).dataset(structures, "salt")


@pytest.fixture(scope="module")
def fitted(train: fw.Dataset) -> Any:
    return fw.fit(train, model=MODEL, baseline=POINTS, **SETTINGS)


def without_points(dataset: fw.Dataset) -> fw.Dataset:
    """The labels less the points' predictions, by hand."""
    frames = [atoms.copy() for atoms in dataset.to_ase()]
    points = baseline_of(POINTS)
    predictions = points.predict(dataset)
    from ase.calculators.singlepoint import SinglePointCalculator

    for atoms, labels, part in zip(frames, dataset.labels, predictions, strict=True):
        stress = labels.stress - part.stress
        atoms.calc = SinglePointCalculator(
            atoms, energy=labels.energy - part.energy, forces=labels.forces - part.forces,
            stress=stress.ravel()[[0, 4, 8, 5, 2, 1]],
        )  # fmt: skip
    return fw.Dataset.from_ase(frames)


def test_the_fit_is_that_to_labels_without_the_baseline(train: fw.Dataset, fitted: Any) -> None:
    by_hand = fw.fit(without_points(train), model=MODEL, **SETTINGS)
    potential = fitted.potential
    np.testing.assert_allclose(potential.coefficients, by_hand.potential.coefficients, rtol=1e-5, atol=1e-7)
    assert fitted.validation.overall.force_rmse_eV_per_A == pytest.approx(
        by_hand.validation.overall.force_rmse_eV_per_A, rel=1e-6
    )
    points, structure = baseline_of(POINTS).predict(train[0])[0], train[0].structure
    total, part = potential.predict(structure)[0], by_hand.potential.predict(structure)[0]
    assert total.energy == pytest.approx(part.energy + points.energy, abs=1e-5)
    np.testing.assert_allclose(total.forces, part.forces + points.forces, atol=1e-5)
    np.testing.assert_allclose(total.stress, part.stress + points.stress, atol=1e-6)
    assert fitted.summary["baseline"]["name"] == "pair_style coul/long 6.0"
    assert fitted.summary["baseline"]["charges"] == {"Cl": -1.0, "Na": 1.0}


def test_a_family_with_a_fit_of_its_own_fits_the_rest(
    train: fw.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "toy", HOME)
    settings = {"model": {"kind": "toy"}, "validation": {"holdout": 0.3}, "stability": "off"}
    potential = fw.fit(train, baseline=POINTS, **settings).potential
    by_hand = fw.fit(without_points(train), **settings).potential.predict([train[1].structure])[0]
    points, total = baseline_of(POINTS).predict(train[1])[0], potential.predict(train[1])[0]
    assert total.energy == pytest.approx(by_hand.energy + points.energy, abs=1e-4)
    np.testing.assert_allclose(total.forces, by_hand.forces + points.forces, atol=1e-4)
    assert isinstance(potential, BaselinePotential) and not isinstance(potential, Exportable)
    assert fw.load(potential.save(tmp_path / "toy")).predict(train[1])[0].energy == pytest.approx(total.energy)


def test_it_knows_what_the_fitted_part_knows(train: fw.Dataset, fitted: Any) -> None:
    potential = fitted.potential
    assert isinstance(potential, BaselinePotential) and isinstance(potential, LammpsNative)
    assert all(isinstance(potential, protocol) for protocol in (Linear, Uncertain, Graded, Exportable))
    assert not isinstance(potential, Varying) and not isinstance(potential, PerAtom)
    structure = train[0].structure
    assert potential.knows_grades and potential.extrapolation_grades(structure).shape == (8,)
    assert potential.energy_standard_error([structure]) == potential.fitted.energy_standard_error([structure])
    atoms = structure.to_ase()
    atoms.calc = potential.calculator()
    expected = potential.predict(structure)[0]
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-12)
    assert "coul/long" in repr(potential) and potential.cutoff == 6.0
    sent = pickle.loads(pickle.dumps(potential))
    assert sent.predict(structure)[0].energy == expected.energy


def test_lammps_computes_the_sum_as_one_pair_style(fitted: Any, train: fw.Dataset, tmp_path: Path) -> None:
    potential, structure = fitted.potential, train[3].structure
    expected = potential.predict(structure)[0]
    energy, forces, virial = ForceField.of_potential(potential, "sum", "hash").pair_style.evaluate(structure)
    assert energy == pytest.approx(expected.energy, abs=1e-8)
    np.testing.assert_allclose(forces, expected.forces, atol=1e-8)
    np.testing.assert_allclose(-virial / structure.volume, expected.stress, atol=1e-9)
    from forcewright.lammps_session import write_lammps_data

    folder = potential.save(tmp_path / "sum")
    write_lammps_data(folder / "structure.data", structure, potential.species, potential.cutoff, potential.charges)
    script = (
        "from forcewright.lammps_session import new_instance\n"
        "lmp = new_instance(); lmp.commands_string(open('in.lammps').read().split('velocity')[0])\n"
        "print(repr(lmp.get_thermo('pe')))\n"
    )
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=120)
    assert float(found.stdout) == pytest.approx(expected.energy, abs=1e-6)
    text = (folder / "in.lammps").read_text()
    assert "pair_style hybrid/overlay snap zbl" in text and "coul/long 6.0\npair_modify table 0" in text


def test_saved_with_its_baseline_and_never_without(fitted: Any, train: fw.Dataset, tmp_path: Path) -> None:
    folder = fitted.potential.save(tmp_path / "sum")
    expected = fitted.potential.predict(train[0])[0]
    assert fw.load(folder, kind="snap").predict(train[0])[0].energy == pytest.approx(expected.energy, abs=1e-9)
    assert json.loads((folder / "potential.json").read_text())["version"] == 2
    other = shutil.copytree(folder, tmp_path / "other")
    shutil.rmtree(other / "baseline")
    with pytest.raises(InputError, match="baseline.*is missing"):
        fw.load(other)
    changed = folder / "baseline" / "potential.json"
    changed.write_text(changed.read_text().replace("6.0", "5.0"))
    with pytest.raises(InputError, match="not the baseline that was saved"):
        fw.load(folder)
    plain = fitted.potential.fitted.save(tmp_path / "other")
    assert not isinstance(fw.load(plain), BaselinePotential)


def test_a_config_names_it_by_path_or_words(train: fw.Dataset, fitted: Any, tmp_path: Path) -> None:
    from forcewright.data import write

    write(train, tmp_path / "train.extxyz")
    baseline_of(POINTS).save(tmp_path / "points")
    config = {"data": {"train": "train.extxyz"}, "model": MODEL, "output": "run", "baseline": "points", **SETTINGS}
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(config))
    result = fw.fit(tmp_path / "fit.yaml")
    np.testing.assert_allclose(result.potential.coefficients, fitted.potential.coefficients, rtol=1e-4, atol=1e-6)
    assert "coul/long 6.0" in (tmp_path / "run" / "report.html").read_text()
    assert "charge" in (tmp_path / "run" / "potential" / "structure.data").read_text()
    again = fw.fit(tmp_path / "fit.yaml")
    assert again.summary == result.summary and isinstance(again.potential, BaselinePotential)
    predicted = fw.predict(tmp_path / "run" / "potential", tmp_path / "train.extxyz")
    assert predicted.errors.overall.force_rmse_eV_per_A < 0.5
    baseline_of({"lammps": {**POINTS["lammps"], "charges": {"Na": 0.9, "Cl": -0.9}}}).save(tmp_path / "points")
    with pytest.raises(InputError, match="fresh"):
        fw.fit(tmp_path / "fit.yaml")
    with pytest.raises(InputError, match="baseline"):
        fw.fit(train, model=MODEL, baseline="nowhere", **SETTINGS)
    with pytest.raises(InputError, match="has xtb.*the path of one"):
        baseline_of({"xtb": "GFN1-xTB"})
    with pytest.raises(InputError, match=r"baseline\.lammps\.pair_style"):
        fw.fit(train, model=MODEL, baseline={"lammps": {"pair_style": "col/long 6.0", "pair_coeff": "* *"}})


def test_frames_that_the_baseline_refuses_are_named(train: fw.Dataset) -> None:
    structure = train[0].structure
    charged = Structure(structure.numbers[1:], structure.positions[1:], structure.cell, structure.pbc)
    reference = label_all(reference_from({"lammps": {**SALT, "pair_style": "born 6.0", "charges": None,
                          "pair_coeff": PAIRS, "kspace_style": None}}, Path()), [charged], workers=0)  # fmt: skip
    with pytest.raises(InputError, match="frame 0.*refuses the frame: it is a periodic cell with a charge of -1 e"):
        fw.fit(reference.dataset([charged], "bad") + train, model=MODEL, baseline=POINTS, **SETTINGS)
    argon = baseline_of({"lammps": {"pair_style": "lj/cut 5.0", "pair_coeff": "* * 0.01 3.4", "species": ["Ar"]}})
    with pytest.raises(InputError, match="does not know"):
        with_baseline(baseline_of(POINTS), argon)


@pytest.mark.probed
def test_pairs_are_probed_in_vacuum(train: fw.Dataset) -> None:
    """Opposite charges attract each other by 14.4 eV Å / r², which pairs that are kept apart have to overcome."""
    settings = {**SETTINGS, "short_range": "auto", "stability": {"runs": 0, "packings": 1, "budget_s": 900}}
    result = fw.fit(train, model={**MODEL, "rcut": 4.0}, baseline=POINTS, **settings)
    stability = result.summary["stability"]
    assert not stability["problem"] and stability["packings"]["done"] == 1
    (curve,) = (curve for curve in stability["curves"] if curve["pair"] == "Na-Cl")
    at = int(np.argmin(np.abs(np.array(curve["distances_A"]) - 5.5)))  # beyond what is fitted
    assert curve["energies_eV"][at] == pytest.approx(-14.3996 / curve["distances_A"][at], abs=1e-3)


def test_commands_of_two_styles_are_one_overlay() -> None:
    """Types are renumbered, elements that there are not left out, and styles that both have are numbered."""
    first = ["pair_style hybrid/overlay snap zbl 1 2", "pair_coeff * * snap a b Na Cl", "pair_coeff 1 2 zbl 11 17"]
    second = ["set type 1 charge -1.0", "set type 3 charge 1.0", "pair_style zbl 2.0 3.0", "pair_modify table 0",
              "pair_coeff 1*2 * 17 17", "kspace_style pppm 1e-4"]  # fmt: skip
    assert overlay(first, (11, 17), second, (17, 18, 11)) == [
        "set type 2 charge -1.0", "set type 1 charge 1.0",
        "pair_style hybrid/overlay snap zbl 1 2 zbl 2.0 3.0", "pair_modify table 0",
        "pair_coeff * * snap a b Na Cl", "pair_coeff 1 2 zbl 1 11 17",
        "pair_coeff 2 2 zbl 2 17 17", "pair_coeff 1 2 zbl 2 17 17", "kspace_style pppm 1e-4",
    ]  # fmt: skip
    named = overlay(["pair_style snap", "pair_coeff * * a b Na Cl"], (11, 17),
                    ["pair_style eam/alloy", "pair_coeff * * file Cl Na"], (17, 11))  # fmt: skip
    assert named[-1] == "pair_coeff * * eam/alloy file Na Cl"
    with pytest.raises(InputError, match="hybrid/overlay"):
        overlay(["pair_style hybrid a b"], (1,), ["pair_style c"], (1,))
