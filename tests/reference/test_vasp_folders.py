"""VASP without its program: inputs are read back by ASE, finished folders hold VASP's own files or copies of them."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.vasp import Vasp
from ase.io.vasp import read_vasp

from forcewright.data import read
from forcewright.errors import InputError
from forcewright.potential import Failure
from forcewright.reference import VaspReference, label_all
from forcewright.reference.vasp import atom_order
from forcewright.structure import Labels, Structure

INCAR = {"ENCUT": 520}


def mixed() -> Structure:
    """Elements in turns, so that the POSCAR must sort them."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.positions += 0.1 * np.random.default_rng(0).normal(size=(8, 3))
    return Structure.from_ase(atoms)


def test_inputs_are_what_ase_reads_back(tmp_path: Path) -> None:
    structure = mixed()
    reference = VaspReference(tmp_path, {**INCAR, "ISMEAR": 1, "LASPH": True, "MAGMOM": [1, 2]}, potcar={"Na": "Na_pv"})
    (failure,) = reference.label([structure])
    assert isinstance(failure, Failure) and failure.pending and "waits for VASP" in failure.reason
    folder = tmp_path / structure.content_hash[:16]
    assert {path.name for path in folder.iterdir()} == {"POSCAR", "INCAR", "KPOINTS", "POTCAR.txt"}
    atoms = read_vasp(folder / "POSCAR")
    order = atom_order(structure)
    np.testing.assert_array_equal(atoms.numbers, structure.numbers[order])
    np.testing.assert_allclose(atoms.positions, structure.positions[order], rtol=0, atol=1e-14)
    np.testing.assert_allclose(atoms.cell.array, structure.cell, rtol=0, atol=1e-14)
    vasp = Vasp()
    vasp.read_incar(folder / "INCAR")
    vasp.read_kpoints(folder / "KPOINTS")
    assert (vasp.float_params["encut"], vasp.int_params["ismear"], vasp.int_params["nsw"]) == (520, 1, 0)
    assert vasp.bool_params["lasph"] is True and vasp.exp_params["ediff"] == 1e-6
    assert list(vasp.input_params["kpts"]) == [6, 6, 6]  # 2π/5.64 Å / 0.2 = 5.6
    assert vasp.input_params["gamma"]
    recipe = (folder / "POTCAR.txt").read_text()
    assert "Na_pv, Cl" in recipe and "cat $VASP_PP/Na_pv/POTCAR $VASP_PP/Cl/POTCAR > POTCAR" in recipe


def finished(reference: VaspReference, source: Path, name: str = "vasprun.xml.gz") -> Structure:
    """Put VASP's output into the folder of its own structure."""
    structure = read(source)[0].structure
    reference.label([structure])
    shutil.copy(source, reference.folder_of(structure) / name)
    return structure


def test_finished_folders_are_read_back(shared_data: Path, tmp_path: Path) -> None:
    sources = [shared_data / f"vasp/{name}.vasprun.xml.gz" for name in ("Si_bulk_1", "Si_bulk_12", "Si_isolated_1")]
    for energy, consistent in (("free", True), ("sigma_0", False)):
        reference = VaspReference(tmp_path / energy, INCAR, energy=energy)
        structures = [finished(reference, source) for source in sources]
        found = label_all(reference, [*structures, mixed()], workers=0)
        for labels, source in zip(found.results, sources, strict=False):
            atoms = ase.io.read(source, format="vasp-xml")
            assert isinstance(labels, Labels), labels
            assert labels.energy == pytest.approx(atoms.get_potential_energy(force_consistent=consistent), abs=1e-10)
            np.testing.assert_allclose(labels.forces, atoms.get_forces(apply_constraint=False), rtol=0, atol=1e-12)
        assert list(found.pending) == [3] and not found.failures


def test_forces_return_to_the_order_of_the_structure(shared_data: Path, tmp_path: Path) -> None:
    """The water of the file lists oxygen first; the same atoms in another order get the same forces."""
    source = shared_data / "vasp/H2O_md10.vasprun.xml.gz"
    frame = read(source)[0]
    shuffle = np.random.default_rng(1).permutation(len(frame.structure))
    given = Structure(
        frame.structure.numbers[shuffle], frame.structure.positions[shuffle], frame.structure.cell, frame.structure.pbc
    )
    reference = VaspReference(tmp_path, INCAR)
    reference.label([given])
    folder = reference.folder_of(given)
    poscar = read_vasp(folder / "POSCAR")
    text = gzip.decompress(source.read_bytes()).decode()
    shutil.copy(source, folder / "vasprun.xml.gz")
    (refused,) = reference.label([given])  # VASP would have kept the POSCAR's order; this file has another one
    assert isinstance(refused, Failure) and "is of another structure" in refused.reason
    (folder / "vasprun.xml.gz").unlink()
    fractional = np.linalg.solve(given.cell.T, poscar.positions.T).T
    back = [int(np.abs(d - np.round(d)).sum(axis=1).argmin()) for d in
            (np.linalg.solve(given.cell.T, frame.structure.positions.T).T - row for row in fractional)]  # fmt: skip
    (folder / "vasprun.xml").write_text(reorder(text, back, poscar.get_chemical_symbols()))
    labels = reference.label([given])[0]
    assert isinstance(labels, Labels), labels
    np.testing.assert_allclose(labels.forces, frame.labels.forces[shuffle], rtol=0, atol=1e-12)


def reorder(text: str, order: list[int], symbols: list[str]) -> str:
    """Return a vasprun.xml with the first step alone and its atoms in another order."""
    from xml.etree import ElementTree

    root = ElementTree.fromstring(text)
    for step in root.findall("calculation")[1:]:
        root.remove(step)
    step = root.find("calculation")
    for array in (step.find("structure/varray[@name='positions']"), step.find("varray[@name='forces']")):
        rows = [row.text for row in array]
        for row, source in zip(array, order, strict=True):
            row.text = rows[source]
    for row, symbol in zip(root.findall("atominfo/array[@name='atoms']/set/rc"), symbols, strict=True):
        row.find("c").text = symbol
    return ElementTree.tostring(root, encoding="unicode")


def test_unfinished_and_wrong_folders_are_listed(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "vasp/Si_bulk_1.vasprun.xml.gz"
    whole = gzip.decompress(source.read_bytes()).decode()
    reference = VaspReference(tmp_path, INCAR)
    structure = finished(reference, source)
    output = reference.folder_of(structure) / "vasprun.xml"
    (reference.folder_of(structure) / "vasprun.xml.gz").unlink()
    last = whole.rindex("</calculation>")
    for content, words in (
        (whole[: last - 200], "is not finished"),
        ("", "is empty"),
        (whole.replace('<i type="int" name="NELM">', '<i type="int" name="NELM">1 </i><i name="old">'), "raise NELM"),
        (whole.replace("<c>Si</c>", "<c>Ge</c>"), "another structure"),
    ):
        output.write_text(content)
        (failure,) = reference.label([structure])
        assert isinstance(failure, Failure) and words in failure.reason and not failure.repeatable, failure


def test_structures_vasp_cannot_take(tmp_path: Path) -> None:
    reference = VaspReference(tmp_path / "runs", INCAR)
    molecule = Structure(np.array([1]), np.zeros((1, 3)))
    left = Structure(np.array([14]), np.zeros((1, 3)), np.diag([5.0, 5.0, -5.0]), [True] * 3)
    first, second = reference.label([molecule, left])
    assert "has no cell" in first.reason and "left-handed" in second.reason and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"incar": {}}, "has no ENCUT"),
        ({"incar": {"encut": 500, "nsw": 10}}, "NSW = 10"),
        ({"incar": INCAR, "kpoints": 0.0}, "above zero"),
        ({"incar": INCAR, "kpoints": (0, 1, 1)}, "above zero"),
    ],
)
def test_settings_of_vasp(tmp_path: Path, settings, words: str) -> None:
    with pytest.raises(InputError, match=words):
        VaspReference(tmp_path, **settings)
