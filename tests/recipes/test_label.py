"""`forcewright label`: one YAML in, labelled structures and a list of failures out."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from typer.testing import CliRunner

from forcewright.cli import app, main
from forcewright.data import read, write
from forcewright.errors import InputError
from forcewright.recipes.label import label
from forcewright.structure import Dataset, Frame, Labels, Structure

EMT_NAME = "ase.calculators.emt:EMT"


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Six copper cells and, third and last, silicon, which effective medium theory does not know."""
    frames = []
    for number in range(8):
        atoms = bulk("Si" if number in (2, 7) else "Cu", cubic=True)
        atoms.rattle(0.05, seed=number)
        labels = Labels(-1.0, group="liquid" if number % 2 else "solid", info={"temperature": 300.0 + number})
        frames.append(Frame(Structure.from_ase(atoms), labels))
    return write(Dataset(tuple(frames)), tmp_path / "mixed.extxyz")


def write_config(folder: Path, **changes: Any) -> Path:
    content = {
        "reference": {"ase": EMT_NAME}, "structures": "mixed.extxyz", "output": "out/labelled.extxyz", "workers": 2,
        "cache": "cache", **changes,
    }  # fmt: skip
    path = folder / "label.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path


def test_labels_are_written_and_failures_listed(mixed: Path, tmp_path: Path) -> None:
    seen = []
    result = label(write_config(tmp_path), on_done=seen.append)
    assert len(seen) == 8 and result.labelled == 6
    given, labelled = read(mixed), read(tmp_path / "out/labelled.extxyz")
    kept = [frame for index, frame in enumerate(given) if index not in (2, 7)]
    assert [f.labels.group for f in labelled] == [f.labels.group for f in kept]
    assert [f.labels.info["temperature"] for f in labelled] == [f.labels.info["temperature"] for f in kept]
    for frame in labelled:
        atoms = frame.structure.to_ase()
        atoms.calc = EMT()
        assert frame.labels.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(frame.labels.forces, atoms.get_forces(), rtol=0, atol=1e-7)
        np.testing.assert_allclose(frame.labels.stress, atoms.get_stress(voigt=False), rtol=0, atol=1e-8)
    with (tmp_path / "out/labelled.failures.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["structure"], row["formula"], row["state"]) for row in rows] == [
        ("2", "Si8", "failed"), ("7", "Si8", "failed"),
    ]  # fmt: skip
    assert all("No EMT-potential for Si" in row["reason"] for row in rows) and rows[0]["origin"].endswith("#2")
    assert "6 of 8 structures labelled by EMT" in str(result) and "structure 7" in str(result)


def test_again_only_what_is_missing(mixed: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, workers=1)
    first = label(config)
    content = (tmp_path / "out/labelled.extxyz").read_bytes()
    (tmp_path / "out/labelled.extxyz").unlink()
    again = label(config)
    assert (first.labelling.cached, again.labelling.cached) == (0, 6)
    assert (tmp_path / "out/labelled.extxyz").read_bytes() == content
    # without the failing ones the list of failures is gone
    good = write(read(mixed)[[0, 1, 3]], tmp_path / "good.extxyz")
    last = label(write_config(tmp_path, structures=str(good)))
    assert last.labelling.cached == 3 and last.failures is None
    assert not (tmp_path / "out/labelled.failures.csv").exists()


def test_command_line(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    runner = CliRunner()
    found = runner.invoke(app, ["label", str(write_config(tmp_path, workers=1))])
    assert found.exit_code == 0 and "6 of 8 structures labelled" in found.output and "2 failed" in found.output
    none = write(read(mixed)[[2, 7]], tmp_path / "none.extxyz")
    found = runner.invoke(app, ["label", str(write_config(tmp_path, structures=str(none), output="none.out.extxyz"))])
    assert found.exit_code == 1 and not (tmp_path / "none.out.extxyz").exists()
    monkeypatch.setattr("sys.argv", ["forcewright", "label", str(write_config(tmp_path, workers=0))])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "'workers'" in capsys.readouterr().err


def test_xtb_and_a_teacher_from_yaml(tmp_path: Path) -> None:
    pytest.importorskip("tblite", reason="tblite is absent (extra xtb)")
    write(Dataset((Frame(Structure.from_ase(molecule("H2O")), Labels()),)), tmp_path / "mixed.extxyz")
    result = label(write_config(tmp_path, reference={"xtb": {"method": "GFN2-xTB"}}, workers=1))
    # GFN2-xTB's water in tblite's own documentation
    assert read(result.output)[0].labels.energy == pytest.approx(-137.9677, abs=1e-3)


def test_structures_of_other_formats(mixed: Path, tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.write(tmp_path / "cu.cif")
    atoms.write(tmp_path / "POSCAR", format="vasp")
    (tmp_path / "words.cif").write_text("nothing of the kind")
    files = ["cu.cif", "POSCAR", "mixed.extxyz"]
    result = label(write_config(tmp_path, structures=files, workers=1))
    energies = [frame.labels.energy for frame in read(result.output)]
    atoms.calc = EMT()
    assert len(energies) == 8 and energies[:2] == pytest.approx([atoms.get_potential_energy()] * 2, abs=1e-6)
    with pytest.raises(InputError, match="words.cif"):
        label(write_config(tmp_path, structures="words.cif"))


def test_vasp_by_hand(shared_data: Path, tmp_path: Path) -> None:
    sources = [shared_data / f"vasp/Si_bulk_{number}.vasprun.xml.gz" for number in (1, 12)]
    wanted = [read(source)[0] for source in sources]
    write(Dataset(tuple(Frame(f.structure, Labels(), f.origin) for f in wanted)), tmp_path / "si.db")
    vasp = {"folder": "runs", "incar": {"ENCUT": 400}}
    config = write_config(tmp_path, reference={"vasp": vasp}, structures="si.db", cache=None)
    found = CliRunner().invoke(app, ["label", str(config)])
    assert found.exit_code == 0 and "2 wait for another program" in found.output
    assert not (tmp_path / "out/labelled.extxyz").exists() and len(list((tmp_path / "runs").iterdir())) == 2
    shutil.copy(sources[0], tmp_path / "runs" / wanted[0].structure.content_hash[:16] / "vasprun.xml.gz")
    result = label(config)
    (frame,) = read(result.output)
    assert frame.labels.energy == pytest.approx(wanted[0].labels.energy, abs=1e-8)
    assert list(result.labelling.pending) == [1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": {"xtb": "GFN9-xTB"}}, "reference.xtb.method.*GFN9-xTB"),
        ({"reference": {"xtbb": "GFN1-xTB"}}, "reference.xtbb.*did you mean 'xtb'"),
        ({"reference": {"xtb": "GFN1-xTB", "ase": EMT_NAME}}, "field 'reference'.*has xtb and ase"),
        ({"reference": {"ase": "ase.calculators.emt:ETM"}}, "field 'reference.ase'.*has no ETM"),
        ({"reference": {"ase": "ase.calculators.mixing:SumCalculator", "kwargs": {"wrong": 1}}}, "field 'reference.kwargs'"),
        ({"reference": {"lammps": {"pair_style": "sww", "pair_coeff": "* * Si.sw Si"}}},
         "reference.lammps.pair_style.*did you mean"),
        ({"reference": {"vasp": {"folder": "runs", "incar": {}}}}, "reference.vasp.incar.*ENCUT"),
        ({"reference": {"potential": "nowhere"}}, "nowhere.*does not exist"),
        ({"structures": "nothing.extxyz"}, "nothing.extxyz.*does not exist"),
        ({"output": "labelled.json"}, "can only be read"),
        ({"output": "labelled.exyz"}, "did you mean"),
        ({"worker": 2}, "did you mean 'workers'"),
        ({"reference": None}, "reference.*is missing"),
    ],
)  # fmt: skip
def test_mistakes_are_told(mixed: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        label(write_config(tmp_path, **changes))
    assert not (tmp_path / "cache").exists()
