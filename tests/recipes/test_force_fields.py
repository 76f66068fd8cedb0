"""What stands behind ``potential:`` in a settings file."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write

from forcewright.errors import InputError, MissingExtraError
from forcewright.lammps_session import potentials_folder
from forcewright.models import load
from forcewright.models.snap import SnapModel
from forcewright.recipes.force_fields import force_field, refuse_unrepresented
from forcewright.reference import reference_from
from forcewright.reference.ase_factory import AseFactory
from forcewright.reference.calculators import CalculatorReference
from forcewright.reference.checks import Scope
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

TERSOFF = {"lammps": {"pair_style": "tersoff", "pair_coeff": "* * Si.tersoff Si"}}
EMT_SOURCE = {"ase": "ase.calculators.emt:EMT", "kwargs": {"asap_cutoff": False}}


def snap_folder(folder: Path, scale: float = 1.0) -> Path:
    basis = SnapModel(twojmax=2).basis((14,))
    coefficients = scale * np.arange(1.0, basis.size + 1)
    return SnapModel(twojmax=2).potential(basis, coefficients, {14: -5.0}).save(folder)


def test_path_of_a_potential(tmp_path: Path) -> None:
    snap_folder(tmp_path / "si")
    found = force_field("si", tmp_path)
    assert found.species == (14,) and found.potential is not None and found.name == "si"
    assert found.pair_style is not None and found.pair_style.cutoff == found.potential.cutoff
    atoms = bulk("Si")
    structure = Structure.from_ase(atoms)
    atoms.calc = found.calculator()
    expected = found.potential.predict([structure])[0]
    assert atoms.get_potential_energy() == pytest.approx(expected.energy)
    assert found.pair_style.evaluate(structure)[0] == pytest.approx(expected.energy)


def test_hash_is_of_contents(tmp_path: Path) -> None:
    one, other = snap_folder(tmp_path / "a"), snap_folder(tmp_path / "b", 1.001)
    first = force_field(one, tmp_path).content_hash
    moved = shutil.copytree(one, tmp_path / "elsewhere")
    (moved / "in.lammps").write_text("run 5")
    assert force_field(moved, tmp_path).content_hash == first
    assert force_field(moved / "potential.json", tmp_path).content_hash == first
    assert force_field(other, tmp_path).content_hash != first
    assert force_field(load(one), tmp_path).content_hash == first
    shutil.copy(potentials_folder() / "Si.tersoff", tmp_path / "Si.tersoff")
    tersoff = force_field(TERSOFF, Path("/")).content_hash
    assert force_field(TERSOFF, tmp_path).content_hash == tersoff
    changed = (tmp_path / "Si.tersoff").read_text().replace("3264.7", "3264.8")
    (tmp_path / "Si.tersoff").write_text(changed)
    assert force_field(TERSOFF, tmp_path).content_hash != tersoff


def test_pair_style(tmp_path: Path) -> None:
    found = force_field(TERSOFF, tmp_path)
    assert found.name == "pair_style tersoff (Si.tersoff)" and found.species == (14,)
    assert found.pair_style is not None and found.potential is not None
    several = {"pair_style": "eam", "pair_coeff": ["1 1 Cu_u3.eam"], "species": ["Cu"], "cutoff": 4.95}
    assert force_field({"lammps": several}, tmp_path).pair_style.cutoff == 4.95


def test_calculator_of_ase_by_name(tmp_path: Path) -> None:
    found = force_field(EMT_SOURCE, tmp_path)
    assert found.species is None and found.pair_style is None
    energies = []
    for calculator in (found.calculator(), pickle.loads(pickle.dumps(found)).calculator(), EMT(asap_cutoff=False)):
        atoms = bulk("Cu")
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[1] == energies[2]
    hashes = {
        force_field(source, tmp_path).content_hash
        for source in (EMT_SOURCE, {**EMT_SOURCE, "kwargs": {"asap_cutoff": True}}, {"ase": "ase.calculators.emt:EMT"})
    }
    assert len(hashes) == 3 and found.content_hash in hashes


def test_module_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module beside the settings runs only if the user put its folder on the path."""
    module = tmp_path / "my_calculator_for_a_test.py"
    module.write_text("from ase.calculators.emt import EMT\ndef make(): return EMT()\ndef wrong(): return 5\n")
    source = {"ase": "my_calculator_for_a_test:make"}
    monkeypatch.setenv("FORCEWRIGHT_ALLOW_COMMANDS", "1")
    with pytest.raises(InputError, match="PYTHONPATH"):
        force_field(source, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    first = force_field(source, tmp_path).content_hash
    with pytest.raises(InputError, match="returns a int, expected an ASE calculator"):
        force_field({"ase": "my_calculator_for_a_test:wrong"}, tmp_path)
    module.write_text(module.read_text() + "# another\n")
    assert force_field(source, tmp_path).content_hash != first
    del sys.modules["my_calculator_for_a_test"]


def test_a_reference_starts_from_no_slab_and_no_ion(tmp_path: Path) -> None:
    factory = AseFactory("ase.calculators.emt", "EMT", partly_periodic=False)
    source = CalculatorReference("whole", factory, "whole", scope=Scope(partly_periodic=False))
    slab = bulk("Cu", cubic=True)
    slab.pbc = (True, True, False)
    with pytest.raises(InputError, match="periodic in 2 of 3 directions"):
        refuse_unrepresented(source, Snapshot(Structure.from_ase(slab)), None, -1)
    slab.calc = factory()
    with pytest.raises(InputError, match="pbc T T F"):
        slab.get_potential_energy()
    slab.pbc = True
    assert np.isfinite(slab.get_potential_energy())
    slab.calc, slab.info["charge"] = None, 1
    write(tmp_path / "ion.extxyz", slab)
    with pytest.raises(InputError, match="ion.extxyz.*charge=1"):
        refuse_unrepresented(source, Snapshot(Structure.from_ase(slab)), tmp_path / "ion.extxyz", -1)


def test_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tblite", None)
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    monkeypatch.setattr("forcewright.reference.xtb.find_spec", lambda _: None)
    for source in ({"ase": "tblite.ase:TBLite", "kwargs": {"method": "GFN1-xTB"}}, {"xtb": "GFN1-xTB"}):
        with pytest.raises(MissingExtraError, match=r"forcewright\[xtb\]"):
            force_field(source, tmp_path)


@pytest.mark.parametrize(
    ("given", "own_words"),
    [
        ("GFN1-xTB", {"method": "GFN1-xTB"}),
        (
            {"method": "GFN2-xTB", "accuracy": 0.1, "electronic_temperature_K": 5000},
            {"method": "GFN2-xTB", "accuracy": 0.1, "electronic_temperature": 5000},
        ),
    ],
)
def test_xtb_moves_atoms_as_it_labels_them(given: Any, own_words: dict[str, Any], tmp_path: Path) -> None:
    """Forces of a simulation are those of `forcewright label` with the same words, and of tblite's own interface."""
    tblite = pytest.importorskip("tblite.ase", reason="tblite is absent (extra xtb)")
    found, reference = force_field({"xtb": given}, tmp_path), reference_from({"xtb": given}, tmp_path)
    assert found.content_hash == reference.content_hash and found.species == reference.species
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=0)
    (labels,) = reference.label([Structure.from_ase(atoms)])
    for calculator in (found.calculator(), tblite.TBLite(**own_words, verbosity=0)):
        atoms.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(labels.energy, abs=1e-10)
        np.testing.assert_allclose(atoms.get_forces(), labels.forces, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"lamps": {}}, "potential.lamps.*did you mean 'lammps'"),
        ({"lammps": {"pair_style": "sw", "pair_coef": "x"}}, "potential.lammps"),
        ({"lammps": {"pair_style": "sw"}}, "potential.lammps.pair_coeff.*is missing"),
        ({"lammps": {"pair_style": "sww", "pair_coeff": "* * Si.sw Si"}}, "potential.lammps.pair_style.*did you mean"),
        ({**TERSOFF, "ase": "ase.calculators.emt:EMT"}, "has lammps and ase; give a path, or one of"),
        ({"xtb": "GFN1-xTB", **EMT_SOURCE}, "has xtb and ase"),
        ({}, "is empty; give a path, or one of {xtb"),
        ({"cp2k": {}}, "potential.cp2k.*not known"),
        ({"xtb": "GFN9-xTB"}, "potential.xtb.method.*GFN9-xTB"),
        ({"xtb": {"methode": "GFN2-xTB"}}, "potential.xtb.methode.*did you mean 'method'"),
        ({"xtb": "GFN1-xTB", "kwargs": {"a": 1}}, "kwargs are for ase"),
        ({**TERSOFF, "kwargs": {"a": 1}}, "kwargs are for ase"),
        ({"ase": "ase.calculators.emt"}, "potential.ase"),
        ({"ase": "os:system('ls')"}, "potential.ase"),
        ({"ase": "ase.calculators.emt:ETM"}, "has no ETM"),
        ({"ase": "ase.calculators.mixing:SumCalculator", "kwargs": {"wrong": 5}}, "potential.kwargs.*unexpected"),
        ({"ase": "ase.calculators.lj:LennardJones.nothing"}, "has no LennardJones.nothing"),
        ("nowhere", "nowhere.*does not exist"),
        (5, "is a int"),
    ],
)
def test_mistakes_are_told(source: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        force_field(source, tmp_path)
