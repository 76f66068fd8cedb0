"""`forcewright validate`: the physics of a potential against another program's numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from forcewright.cli import app
from forcewright.errors import InputError, MissingExtraError
from forcewright.recipes.validate import validate

COPPER = Path(__file__).parent / "earlier_version" / "made" / "finished" / "potential"
SW = {"lammps": {"pair_style": "sw", "pair_coeff": "* * Si.sw Si"}}
TERSOFF = {"lammps": {"pair_style": "tersoff", "pair_coeff": "* * SiCGe.tersoff Si(D)", "species": ["Si"]}}
SILICON = {"bulk": "Si", "crystalstructure": "diamond", "cubic": True}


def silicon(folder: Path, **changes: Any) -> dict[str, Any]:
    content = {
        "potential": SW,
        "structure": SILICON,
        # Stillinger and Weber (1985) put the minimum at 5.431 Å; the bulk modulus is 101.4 GPa (Cowley 1988)
        "properties": {"equation_of_state": {"reference": {"a0_A": 5.431, "bulk_modulus_GPa": 101.4}}},
        "output": str(folder / "physics"),
    }
    return {**content, **changes}


@pytest.mark.whole
def test_numbers_are_judged_and_written(tmp_path: Path) -> None:
    report = validate(silicon(tmp_path))
    verdicts = {row.number: row.verdict for row in report.rows}
    assert verdicts["a0_A"] == verdicts["bulk_modulus_GPa"] == "pass"
    stored = json.loads((tmp_path / "physics" / "result.json").read_text())
    first = next(row for row in stored["rows"] if row["number"] == "a0_A")
    assert first["value"] == pytest.approx(5.431, abs=1e-3) and first["unit"] == "Å" and first["tolerance"] == "1%"
    assert "energy above the minimum" in (tmp_path / "physics" / "report.html").read_text()


def test_a_missing_extra_is_noticed_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forcewright.validation.properties.find_spec", lambda name: None)
    started: list[str] = []
    with pytest.raises(MissingExtraError, match=r"pip install \"forcewright\[phonons\]\""):
        validate(silicon(tmp_path, properties={"elastic": {}, "phonons": {}}), on_property=started.append)
    assert not started and not (tmp_path / "physics").exists()


def test_the_same_potential_as_reference_passes_everything(tmp_path: Path) -> None:
    properties = {"equation_of_state": {}, "elastic": {}, "dimer": {}}
    report = validate(silicon(tmp_path, reference=SW, properties=properties))
    assert report.passed and report.count("pass") == len(report.rows) >= 12


@pytest.mark.parametrize(
    ("name", "potential", "volume"),
    [("SW", SW, 19.4), pytest.param("Tersoff", TERSOFF, 20.4, marks=pytest.mark.slow)],
)
def test_a_stored_curve_of_the_liquid(
    name: str, potential: dict[str, Any], volume: float, tmp_path: Path, shared_data: Path
) -> None:
    stored = shared_data / "si-castep" / f"model-{name}-test-liquid-properties.json"
    liquid = {"temperature_K": 2500, "rdf": str(stored), "r_max_A": 5.2, "timestep_fs": 2, "time_ps": 20,
              "settle_ps": 4, "melt_ps": 4}  # fmt: skip
    report = validate(silicon(tmp_path, potential=potential, properties={"liquid": liquid}))
    rows = {row.number: row for row in report.rows}
    assert rows["stored_rdf_rms"].value < 0.05 and rows["stored_rdf_rms"].verdict == "pass"
    assert rows["volume_A3_per_atom"].value == pytest.approx(volume, abs=0.5)


def test_energy_is_conserved_and_cold_crystals_survive(tmp_path: Path) -> None:
    short = {"settle_ps": 0.3, "time_ps": 1.0}
    properties = {"energy_conservation": short, "survival": {"temperature_K": 600, "time_ps": 0.3, "runs": 2}}
    report = validate(silicon(tmp_path, properties=properties))
    assert {row.number: row.verdict for row in report.rows}["drift_eV_per_atom_per_ps"] == "pass"
    assert {row.number: row.value for row in report.rows}["share"] == 1.0


def test_what_breaks_becomes_a_row(tmp_path: Path) -> None:
    # Atoms that hardly hold together boil away.
    weak = {"ase": "ase.calculators.lj:LennardJones", "kwargs": {"epsilon": 1e-4, "sigma": 2.1, "rc": 4.0}}
    liquid = {"temperature_K": 2000, "melt_ps": 0.2, "settle_ps": 3, "time_ps": 1, "timestep_fs": 2}
    report = validate(silicon(tmp_path, potential=weak, properties={"liquid": liquid, "dimer": {}}))
    broken = next(row for row in report.rows if row.property == "liquid")
    assert broken.verdict == "failed" and "volume" in broken.reason
    assert any(row.property == "dimer" and row.value is not None for row in report.rows)
    assert not report.passed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"properties": {}}, "names none"),
        ({"properties": {"elasticity": {}}}, "did you mean 'elastic'"),
        ({"properties": {"elastic": {"tolerance": "ten"}}}, "not a tolerance"),
        ({"potential": None}, "say it on the command line"),
        ({"structure": {"bulk": "Xx"}}, "not known"),
        ({"properties": {"liquid": {"rdf": "a.csv"}}}, "temperature_K"),
    ],
)
def test_mistakes_are_one_sentence(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        validate(silicon(tmp_path, **changes))


def test_the_command_line_tells_by_its_exit_code(tmp_path: Path, shared_data: Path) -> None:
    potential = shared_data / "zuo2020" / "published-snap"
    folder = next(folder for folder in [potential, *sorted(potential.iterdir())] if _is_silicon(folder))
    path = tmp_path / "validate.yaml"
    wrong = {"equation_of_state": {"reference": {"a0_A": 6.0}, "points": 5}}
    path.write_text(yaml.safe_dump({"structure": SILICON, "properties": wrong}))
    done = CliRunner().invoke(app, ["validate", str(folder), str(path), "-o", str(tmp_path / "out")])
    assert done.exit_code == 1 and "fail" in done.output
    stored = json.loads((tmp_path / "out" / "result.json").read_text())
    assert np.isclose(stored["rows"][0]["value"], 5.46, atol=0.03)  # Zuo et al. (2020): 5.46 Å


def test_the_config_says_what_is_validated_and_where_it_is_written(tmp_path: Path) -> None:
    """Alone, with a study in place of its potential, and with another output on the command line."""
    study = tmp_path / "study"
    shutil.copytree(COPPER, study / "potential")
    content = {"structure": {"bulk": "Cu", "cubic": True}, "properties": {"dimer": {}}}
    (tmp_path / "configs").mkdir()
    for name, said in (
        ("whole", {"potential": "../study", "output": "mine"}),
        ("nowhere", {"potential": "../study/potential"}),
        ("bare", {"output": "bare"}),
        ("empty", {}),
    ):
        (tmp_path / "configs" / f"{name}.yaml").write_text(yaml.safe_dump({**content, **said}))

    def run(*arguments: object) -> str:
        done = CliRunner().invoke(app, ["validate", *map(str, arguments)])
        return f"{done.output} {done.exception}"

    whole, nowhere, bare, empty = (tmp_path / "configs" / f"{n}.yaml" for n in ("whole", "nowhere", "bare", "empty"))
    for arguments, expected in (
        ((whole,), "configs/mine"),
        ((study, bare), "configs/bare"),
        ((study / "potential", whole, "-o", tmp_path / "else"), "else"),
        ((nowhere,), "study/physics"),
    ):
        before = {path.parent for path in tmp_path.rglob("result.json")}
        assert f"written to {tmp_path / expected};" in run(*arguments)
        assert {path.parent for path in tmp_path.rglob("result.json")} - before == {tmp_path / expected}
        stored = json.loads((tmp_path / expected / "result.json").read_text())
        assert stored["potential"] == "study/potential" and len(stored["hashes"]["potential"]) == 64
        resolved = yaml.safe_load((tmp_path / expected / "config.resolved.yaml").read_text())
        assert resolved["output"] == str(tmp_path / expected) and "study" in resolved["potential"]
    assert "field 'potential': is missing" in run(empty)
    assert "3 paths are too many" in run(study, study, whole)


def _is_silicon(path: Path) -> bool:
    return "Si" in path.name and (path.is_dir() or path.suffix == ".snapcoeff")


@pytest.mark.whole
def test_physics_stand_in_the_report_of_the_study(tmp_path: Path, config: dict[str, Any]) -> None:
    from forcewright.recipes.outputs import rebuild_report
    from forcewright.recipes.tune import fit

    fixed = {"kind": "snap", "twojmax": 2, "rcut": 4.0}
    fit({**config, "model": fixed, "output": str(tmp_path / "study")})
    copper = {"bulk": "Cu", "cubic": True}
    physics = {
        "structure": copper,
        "properties": {"equation_of_state": {"volume_range": 0.02, "reference": {"a0_A": 3.6}}},
    }
    validate(physics, potential=tmp_path / "study" / "potential", output=tmp_path / "physics")
    for _ in range(2):  # and stay there
        page = (tmp_path / "study" / "report.html").read_text()
        assert "Physics: numbers" in page and "energy above the minimum" in page
        assert '<a href="../physics/report.html">physics of the potential</a>' in page
        assert page.index("numbers within their tolerance") < page.index("Loss over trials</h2>")
        rebuild_report(tmp_path / "study")
    own = (tmp_path / "physics" / "report.html").read_text()
    assert '<a href="../study/report.html">study of the potential</a>' in own
