"""What `check` and `statistics` say of properties."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import forcewright as fw
from forcewright.cli import app
from forcewright.data import Target, audit, read_property
from forcewright.errors import InputError

FRAME = '2\nProperties=species:S:1:pos:R:3:t:R:9:has:L:1 mu="{mu}" {more} pbc="{pbc}" Lattice="9 0 0 0 9 0 0 0 9"\nO 0 0 {z} {first} T\nH 0 0 1 {second} {has}\n'
SYMMETRIC, OTHER = "1 2 3 2 5 6 3 6 -6", "1 2 3 0 5 6 3 6 -6"


def written(folder: Path, *frames: dict[str, object]) -> Path:
    path = folder / "set.xyz"
    blank = {"mu": "0 0 1", "more": "", "pbc": "F F F", "first": SYMMETRIC, "second": SYMMETRIC, "has": "T"}
    path.write_text("".join(FRAME.format(**{**blank, "z": 0.01 * n, **frame}) for n, frame in enumerate(frames)))
    return path


def test_every_property_of_a_file_has_a_line(tmp_path: Path) -> None:
    lines = audit(written(tmp_path, {}, {"more": "gap=1.5", "has": "F"})).label_lines
    assert "property t: per atom, 9 numbers, a tensor (2e), 2 of 2 frames, -6 to 6" in lines
    assert "property gap: per structure, 1 number (0e), 1 of 2 frames, 1.5 to 1.5" in lines
    assert "property has: per atom, 3 of 4 atoms true: a mask" in lines
    other = audit(written(tmp_path, {"first": OTHER})).label_lines
    assert "a tensor (0e+1e+2e)" in other


@pytest.mark.parametrize(
    ("frame", "target", "severity", "said"),
    [
        ({"more": "charge=1"}, {"name": "dipole", "key": "mu"}, "warning", "charged system depends on the origin"),
        ({}, {"name": "dipole", "key": "mu"}, "note", "odd number of electrons"),
        ({"pbc": "T T T"}, {"name": "dipole", "key": "mu"}, "note", "multiples of e times a lattice vector"),
        ({"first": "0 " * 9}, {"name": "efg", "key": "t"}, "warning", "name a mask"),
        ({"z": 0, "mu": "0 0 2"}, {"name": "dipole", "key": "mu"}, "warning", "its value differs by 1"),
        ({}, {"name": "shielding", "key": "t"}, "note", "no value has a trace or an antisymmetric part"),
        ({"first": OTHER}, {"name": "efg", "key": "t"}, "error", "an antisymmetric part of 1.41"),
        ({"first": OTHER}, {"name": "polarizability", "key": "t", "per": "atom"}, "error", "irreps 0e[+]1e[+]2e"),
        ({"first": "1 0 0 0 1 0 0 0 1"}, {"name": "efg", "key": "t"}, "error", "a trace of 1.73 .* irreps 0e[+]2e"),
        ({"mu": "0 0"}, {"name": "dipole", "key": "mu"}, "error", "expected 3 numbers"),
        ({}, {"name": "x", "key": "mu", "irreps": "1o"}, "note", "target has no unit"),
    ],
)
def test_doubtful_values_are_named(tmp_path: Path, frame: dict, target: dict, severity: str, said: str) -> None:
    audited = audit(written(tmp_path, {}, frame), target=target)
    matching = [finding for finding in audited.findings if re.search(said, finding.message)]
    assert [finding.severity for finding in matching] == [severity]
    assert all(finding.code != "missing labels" for finding in audited.findings)


def test_a_density_of_states_says_what_its_grid_cuts_off(tmp_path: Path) -> None:
    path = written(tmp_path, {"more": 'e="-5 0 3" n=4'})
    grid = {"low": -4, "high": 2, "step": 0.5}
    target = {"name": "dos", "grid": grid, "smearing_eV": 0.1, "eigenvalues": {"values": "e", "electrons": "n"}}
    messages = [finding.message for finding in audit(path, target=target).findings]
    assert any("2 electrons lie below the grid" in message for message in messages)
    assert any("finer than the grid" in message for message in messages)
    low = target | {"grid": {"low": -9, "high": -3, "step": 0.1}}
    assert any("below the highest occupied state" in f.message for f in audit(path, target=low).findings)


def test_commands_take_a_target_of_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, {}, {"mu": "0 0 3"})
    target = tmp_path / "target.yaml"
    target.write_text("data: {train: set.xyz}\ntarget: {name: dipole, key: mu, unit: debye}\n")
    checked = CliRunner().invoke(app, ["check", str(path), "--target", str(target)])
    assert checked.exit_code == 0
    line = "property dipole (mu): 1o, 2 of 2 frames, 2 structures; length 1 to 3, mean 2, std 1, debye"
    assert line in checked.output.replace("\n", " ")
    told = fw.statistics(path, tmp_path / "out", target=target)
    assert line in str(told) and told.to_rows()[-1]["max"] == 3
    assert "dipole (mu)" in (tmp_path / "out/report.html").read_text()
    assert "mu: per structure" in (tmp_path / "out/report.html").read_text()
    target.write_text("key: mu\n")
    with pytest.raises(InputError, match="name"):
        audit(path, target=target)
    target.write_text("data: 1\n")
    with pytest.raises(InputError, match="has no target"):
        audit(path, target=target)


def test_values_beside_structures_lie_where_the_target_does(tmp_path: Path) -> None:
    path = written(tmp_path, {})
    (tmp_path / "deep").mkdir()
    np.savez(tmp_path / "deep/values.npz", mu=[[1.0, 2, 3]])
    target = tmp_path / "deep/target.yaml"
    target.write_text("{name: dipole, key: mu, file: values.npz}\n")
    assert "length 3.742 to 3.742" in audit(path, target=target).label_lines


@pytest.mark.parametrize(
    ("name", "target", "values"),
    [
        ("nmr/si29_shielding.extxyz.gz", {"name": "shielding", "mask": "has_ms"}, 1164),
        ("nmr/gehlenite_efg_2.extxyz.gz", {"name": "efg"}, 24 * 288),
        ("dipoles/tensoap_water_bulk.extxyz.gz", {"name": "polarizability", "key": "alpha", "unit": "a.u."}, 1000),
    ],
)
def test_published_sets_hold_what_their_readme_says(shared_data: Path, name: str, target: dict, values: int) -> None:
    assert read_property(shared_data / name, Target(**target)).count == values


def test_convert_and_split_keep_numbers_of_atoms(tmp_path: Path) -> None:
    path = written(tmp_path, {"has": "F"}, {}, {}, {})
    said = []
    fw.convert(path, tmp_path / "out.extxyz.gz", on_read=lambda summary: said.append(str(summary)))
    target = Target(name="efg", key="t", mask="has")
    back, first = read_property(tmp_path / "out.extxyz.gz", target), read_property(path, target)
    assert back.stacked().tolist() == first.stacked().tolist() and back.count == 7
    assert read_property(tmp_path / "out.extxyz.gz", Target(name="dipole", key="mu")).count == 4
    outputs = [tmp_path / "train.extxyz", tmp_path / "test.extxyz"]
    fw.split(path, outputs, by="random", test=0.25)
    assert sum(read_property(output, target).count for output in outputs) == 7
    fw.select(path, tmp_path / "few.extxyz", by="random", count=2)
    assert len(read_property(tmp_path / "few.extxyz", target)) == 2
