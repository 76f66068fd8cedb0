"""`forcewright analyze`: analyses by name over a trajectory."""

from __future__ import annotations

import json
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from forcewright import analyze as analyses
from forcewright.cli import app
from forcewright.errors import InputError
from forcewright.recipes.analyze import analyze, names


@pytest.fixture
def trajectory(tmp_path: Path) -> Path:
    rng, frames = np.random.default_rng(0), []
    for k in range(12):
        atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 2)
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        atoms.info["time"] = 10.0 * k
        frames.append(atoms)
    ase.io.write(tmp_path / "salt.extxyz", frames)
    return tmp_path / "salt.extxyz"


def test_the_same_numbers_as_the_functions(trajectory: Path, tmp_path: Path) -> None:
    results = analyze(trajectory, ["rdf"], tmp_path / "out", options={"rdf": {"r_max": 6.0}}, skip=2, every=5)
    direct = analyses.rdf(ase.io.read(trajectory, "2::5"), r_max=6.0)
    np.testing.assert_array_equal(results["rdf"].g, direct.g)
    for name in ("rdf.json", "rdf.csv", "rdf.png", "report.html", "result.json"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    stored = json.loads((tmp_path / "out" / "rdf.json").read_text())
    np.testing.assert_array_equal(stored["g"], direct.g)


def test_every_analysis_that_needs_no_options_runs(trajectory: Path) -> None:
    assert {"rdf", "adf", "msd"} <= set(names())
    np.testing.assert_array_equal(analyze(trajectory, ["msd"])["msd"].time[0], 0.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"what": ["rdff"]}, "did you mean 'rdf'"),
        ({"options": {"rdf": {"rmax": 3}}}, "no option 'rmax'; it has r_max"),
        ({"options": {"adf": {}}}, "not among the analyses"),
        ({"skip": 99}, "no frame beyond the 99"),
        ({"every": 0}, "at least"),
        ({"options": {"rdf": {"r_max": -1.0}}}, "r_max"),
        ({"options": {"rdf": {"r_max": "far"}}}, r"rdf\.r_max.*is 'far'.*number"),
        ({"what": ["adf"], "options": {"adf": {"cutoff": [1]}}}, r"adf\.cutoff"),
        ({"what": ["soap_similarity"], "options": {"soap_similarity": {"reference": "none.cif"}}}, "does not exist"),
    ],
)
def test_mistakes_are_one_sentence(trajectory: Path, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        analyze(trajectory, **arguments)


def test_options_as_a_config_writes_them(trajectory: Path) -> None:
    found = analyze(trajectory, ["adf"], options={"adf": {"cutoff": {"Na-Cl": 3.2}}})["adf"]
    direct = analyses.adf(ase.io.read(trajectory, ":"), cutoff={("Na", "Cl"): 3.2})
    np.testing.assert_array_equal(found.p, direct.p)


def test_one_frame_alone() -> None:
    salt = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    np.testing.assert_array_equal(analyses.rdf(salt).g, analyses.rdf([salt]).g)


def test_a_frame_that_differs_is_named_with_its_file(trajectory: Path) -> None:
    frames = [*ase.io.read(trajectory, ":"), ase.build.bulk("NaCl", "rocksalt", a=5.64)]
    ase.io.write(trajectory, frames)
    with pytest.raises(InputError, match=r"salt\.extxyz, frame 12"):
        analyze(trajectory, ["rdf"], skip=4, every=4)


def test_the_command_line(trajectory: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["analyze", str(trajectory), "--what", "rdf,adf", "--set", "rdf.r_max=5"])
    assert done.exit_code == 0, done.output
    assert (trajectory.parent / "analysis" / "adf.csv").exists()
    assert "rdf" in CliRunner().invoke(app, ["analyze", "x", "--what", "list"]).output.split()
    wrong = CliRunner().invoke(app, ["analyze", str(trajectory), "--set", "r_max=5"])
    assert wrong.exit_code != 0


def test_one_analysis_that_fails_does_not_end_the_others(trajectory: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["analyze", str(trajectory), "--what", "rdf,vdos,coordination"])
    assert done.exit_code == 1, done.output
    folder = tmp_path / "analysis"
    assert (folder / "rdf.csv").exists() and (folder / "coordination.json").exists() and not list(folder.glob("vdos*"))
    page = (folder / "report.html").read_text()
    assert "Could not be computed" in page and "has no velocities" in page
    stored = json.loads((folder / "result.json").read_text())
    assert "has no velocities" in stored["failures"]["vdos"]
    found = analyze(trajectory, ["vdos", "rdf"])
    assert list(found) == ["rdf"] and "velocities" in found.failures["vdos"]
    with pytest.raises(InputError, match="has no velocities"):
        analyze(trajectory, ["vdos", "vacf"])


def test_only_what_text_can_ask_for_is_listed(trajectory: Path) -> None:
    assert "site_occupation" not in names()
    with pytest.raises(InputError, match="needs sites, which only Python can give: call forcewright.analyze.site_occ"):
        analyze(trajectory, "site_occupation", options={"site_occupation": {"mobile": "Na"}})


def test_numbers_carry_their_units_and_warnings_stand_beside_them(trajectory: Path, tmp_path: Path) -> None:
    frames = ase.io.read(trajectory, ":")
    frames[-1].info["time"] = frames[-2].info["time"]
    ase.io.write(trajectory, frames)
    done = CliRunner().invoke(app, ["analyze", str(trajectory), "--what", "rdf,msd,coordination"])
    assert done.exit_code == 0, done.output
    for words in ("density 0.0445", "atoms/Å³", "cutoff Na-Cl", "Å", "first peak Na-Cl", "coordination number Na-Cl"):
        assert words in done.output
    page = (tmp_path / "analysis" / "report.html").read_text()
    assert "atoms/Å³" in page and "Note: " in page and "repeats the time of the one before" in page
    assert "repeats" in str(json.loads((tmp_path / "analysis" / "result.json").read_text())["notes"]["msd"])
