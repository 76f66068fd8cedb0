"""Python as ASE's users expect it: every command is a function that takes atoms, datasets or file names."""

from __future__ import annotations

import errno
import inspect
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

import forcewright as fw
from forcewright import cli
from forcewright.verbs import VERBS

POTENTIAL = Path(__file__).parent / "recipes/earlier_version/made/potentials/snap"  # of copper
NAMES = {"check": "audit", "compare-spaces": "compare_spaces", "learning-curve": "learning_curve"}
COMMANDS = [command.name or command.callback.__name__ for command in cli.app.registered_commands]
ARGUMENTS = {
    "predict": ["p", "x"], "convert": ["x", "y"], "select": ["x", "-o", "y"], "split": ["x", "-o", "y", "z"],
    "validate": ["p", "x"], "analyze": ["x"], "compare-spaces": ["x", "y"], "rerun": ["x", "--reference", "y"],
}  # fmt: skip


@pytest.fixture(scope="module")
def atoms() -> list[Atoms]:
    """Twelve rattled copper cells with results of effective medium theory, in two groups."""
    rng, made = np.random.default_rng(0), []
    for number in range(12):
        cell = bulk("Cu", cubic=True)
        cell.rattle(0.05, rng=rng)
        cell.info |= {"config_type": "even" if number % 2 == 0 else "odd", "time": 10.0 * number}
        cell.calc = EMT()
        cell.get_forces(), cell.get_stress()
        made.append(cell)
    return made


class Called(Exception):
    pass


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_calls_the_function_of_its_name(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = NAMES.get(command, command)
    assert name in VERBS and name in dir(fw) and callable(getattr(fw, name))

    def called(*arguments: Any, **options: Any) -> None:
        raise Called

    monkeypatch.setattr(fw, name, called)
    arguments = ARGUMENTS.get(command, ["x"])
    with pytest.raises(Called):
        cli.app([command, *arguments], standalone_mode=False)


def test_the_names_are_public_and_documented() -> None:
    assert set(dir(fw)) == set(fw.__all__) and not {"Any", "annotations"} & set(dir(fw))
    assert set(VERBS) < set(dir(fw))
    for name in fw.__all__:
        thing = getattr(fw, name)
        assert inspect.getdoc(thing) and (
            inspect.isclass(thing) or isinstance(thing, ModuleType) or inspect.isfunction(thing)
        )


def test_packages_that_are_verbs_stay_packages() -> None:
    from forcewright import analyze
    from forcewright.analyze import rdf
    from forcewright.report import PageContent, write_report

    assert fw.analyze is analyze and analyze.rdf is rdf and "rdf" in dir(analyze)
    assert fw.report.write_report is write_report and fw.report.PageContent is PageContent
    crystal = bulk("Cu", cubic=True) * 2
    np.testing.assert_array_equal(fw.analyze([crystal], "rdf")["rdf"].g, rdf(crystal).g)


# ------------------------------------------------------------------------------------- what is taken


def test_everything_that_takes_structures_takes_them_in_any_form(atoms: list[Atoms], tmp_path: Path) -> None:
    file = fw.write(atoms, tmp_path / "atoms.extxyz")
    dataset = fw.read(file)
    assert fw.read(atoms).content_hash == dataset.content_hash
    forms = [atoms, tuple(atoms), iter(atoms), dataset, list(dataset), str(file), file, [file], [str(file)]]
    for given in forms:
        assert fw.select(given, by="random", count=4).content_hash == fw.select(file, by="random", count=4).content_hash
    mixed = [file, atoms[0], dataset[1], dataset[2].structure]
    assert [frame.origin for frame in fw.select(mixed, by="random", count=15)][-3:] == ["#1", f"{file}#1", "#3"]
    table = fw.evaluate(POTENTIAL, file)
    for given in (atoms, dataset):
        assert fw.evaluate(fw.load(POTENTIAL), given).to_dict() == table.to_dict()
        assert (
            fw.predict(POTENTIAL, given).errors.overall.energy_rmse_meV_per_atom
            == table.overall.energy_rmse_meV_per_atom
        )
        assert len(fw.split(given, by="random", test=0.25).test) == 3
        # further values, which a dataset does not keep, stand in the last lines
        ours, of_file = (str(fw.statistics(form)).split("\n  property")[0] for form in (given, file))
        assert ours == of_file
        assert fw.audit(given).errors == () == fw.audit(given, test=atoms).errors
    one = fw.predict(POTENTIAL, atoms[0])
    assert one.predictions[0].energy == fw.load(POTENTIAL).predict(dataset.structures)[0].energy
    assert one.dataset[0].labels.energy == dataset[0].labels.energy
    assert fw.read(fw.write(atoms[0], tmp_path / "one.extxyz")).content_hash == fw.read(atoms[:1]).content_hash


def test_labels_of_atoms_follow_the_rules_of_files(atoms: list[Atoms], tmp_path: Path) -> None:
    plain = bulk("Cu", cubic=True)
    plain.info |= {"REF_energy": -1.0, "energy": -9.0, "config_type": "x", "note": "kept"}
    plain.arrays["REF_forces"] = np.ones((4, 3))
    plain.info["virial"] = np.diag([1.0, 2.0, 3.0])
    labels = fw.read(plain)[0].labels
    assert (labels.energy, labels.group, dict(labels.info)) == (-1.0, "x", {"note": "kept"})
    np.testing.assert_array_equal(labels.forces, np.ones((4, 3)))
    np.testing.assert_allclose(labels.stress, -np.diag([1.0, 2.0, 3.0]) / plain.get_volume())
    assert fw.read(plain, labels={"energy": "energy"})[0].labels.energy == -9.0
    plain.calc = SinglePointCalculator(plain, energy=-5.0)
    assert fw.read(plain, labels={"energy": "energy"})[0].labels.energy == -5.0  # the calculator's
    import ase.io

    ase.io.write(tmp_path / "ase.extxyz", atoms)
    from_ase, from_file = fw.read(ase.io.read(tmp_path / "ase.extxyz", ":")), fw.read(tmp_path / "ase.extxyz")
    assert from_ase.content_hash == from_file.content_hash


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (3, "is a int; give names of files, ASE atoms"),
        ([bulk("Cu"), 3], "frame 1, field 'structures': is a int"),
        ([], "give at least one"),
        (bulk("Cu"), "no frame has an energy"),
        ("nowhere.extxyz", "does not exist"),
    ],
)
def test_what_cannot_be_taken_is_named(given: Any, words: str) -> None:
    with pytest.raises(fw.InputError, match=words):
        fw.read(given)


def test_results_of_other_positions_are_no_labels() -> None:
    """One calculator for many atoms holds the results of the last alone."""
    calculator, frames = EMT(), [bulk("Cu", cubic=True) for _ in range(2)]
    for number, cell in enumerate(frames):
        cell.rattle(0.1, seed=number)
        cell.calc = calculator
        cell.get_forces()
    with pytest.raises(fw.InputError, match="frame 0, field 'calculator'.*other positions"):
        fw.read(frames)
    assert [finding.frame for finding in fw.audit(frames).errors][0] == 0
    idle = bulk("Cu")
    idle.calc = Calculator()
    assert fw.select([idle, idle], by="random", count=1)[0].labels.energy is None  # nothing is computed


# ------------------------------------------------------------------------------------- the twins


def test_files_are_written_only_where_they_are_asked_for(
    atoms: list[Atoms], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dimers = {"recipes": [{"kind": "dimers", "species": ["H"], "distances_A": [0.5, 2], "count": 5}]}
    copper = {"bulk": "Cu", "cubic": True}
    physics = {"structure": copper, "properties": {"equation_of_state": {}}}
    labels = {"reference": {"potential": str(POTENTIAL)}, "structures": atoms}
    assert len(fw.generate(dimers)) == 5
    labelled = fw.label(labels)
    assert labelled.dataset[3].labels.energy == pytest.approx(fw.predict(POTENTIAL, atoms[3]).predictions[0].energy)
    potential = fw.load(POTENTIAL)
    assert fw.validate(physics, potential=potential).rows
    fw.analyze(atoms, ["rdf", "msd"], options={"rdf": {"r_max": 4.0}})
    fw.select(atoms, by="fps", count=3), fw.split(atoms), fw.statistics(atoms), fw.predict(POTENTIAL, atoms)
    assert not list(tmp_path.iterdir())

    assert fw.read(fw.convert(atoms, "a.db") and "a.db").content_hash == fw.read(atoms).content_hash
    fw.generate(dimers, output="dimers.extxyz"), fw.predict(potential, atoms, "p.extxyz")
    fw.select(atoms, "s.extxyz", by="energy", count=3), fw.split(atoms, ["train.extxyz", "test.extxyz"])
    fw.statistics(atoms, "statistics"), fw.analyze(atoms, output="analysis")
    fw.validate(physics, potential=potential, output="physics")
    # a structure and a potential in memory, and results of another command in the way
    run = {"potential": potential, "structure": atoms[0], "output": "md",
           "stages": [{"ensemble": "nvt", "temperature_K": 100, "time_ps": 0.005}],
           "trajectory": {"every_fs": 1}}  # fmt: skip
    assert fw.simulate(run).completed
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.db", "dimers.extxyz", "p.extxyz", "s.extxyz", "train.extxyz", "test.extxyz", "statistics", "analysis",
        "physics", "md",
    }  # fmt: skip
    for verb, folder in (
        ("statistics", "statistics"),
        ("analyze", "analysis"),
        ("validate", "physics"),
        ("simulate", "md"),
    ):
        assert yaml.safe_load((tmp_path / folder / "result.json").read_text())["written_by"] == verb
        assert (tmp_path / folder / "report.html").is_file() and not list((tmp_path / folder).glob(".*"))
    with pytest.raises(fw.InputError, match="holds the results of `forcewright simulate`"):
        fw.analyze(atoms, output="md")
    with pytest.raises(fw.InputError, match="holds the results of `forcewright analyze`"):
        fw.simulate({**run, "output": "analysis"}, fresh=True)


def test_a_config_in_a_file_names_its_output(tmp_path: Path) -> None:
    for verb, content in (
        (fw.generate, {"recipes": [{"kind": "dimers", "species": ["H"]}]}),
        (fw.label, {"reference": {"potential": "x"}, "structures": "x.extxyz"}),
    ):
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(fw.InputError, match="c.yaml, field 'output': is missing"):
            verb(tmp_path / "c.yaml")


# ------------------------------------------------------------------------------------- how results show themselves


def test_results_show_themselves_in_a_line_and_as_a_table(atoms: list[Atoms], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is absent (extra pandas)")
    hostile = [one.copy() for one in atoms]
    for one, known in zip(hostile, atoms, strict=True):
        one.calc = known.calc
        one.info["config_type"] = "<script>"
    dataset = fw.read(hostile)
    predicted = fw.predict(POTENTIAL, hostile)
    analysis = fw.analyze(atoms, ["rdf", "msd"], options={"rdf": {"r_max": 4.0}})
    tables = [dataset, predicted, predicted.errors, fw.audit(hostile), fw.statistics(hostile), fw.split(hostile),
              *analysis.values()]  # fmt: skip
    for result in [*tables, dataset[0], dataset[0].structure, dataset[0].labels, predicted.predictions[0]]:
        assert len(repr(result)) < 400 and "\n" not in repr(result), repr(result)
    for result in tables:
        frame = result.to_dataframe()
        assert isinstance(frame, pandas.DataFrame) and len(frame) == len(result.to_rows())
        page = result._repr_html_()
        assert page.startswith("<table>") and "<script>" not in page
    assert "&lt;script&gt;" in dataset._repr_html_()
    assert list(analysis["rdf"].to_dataframe()["g"]) == list(analysis["rdf"].g)
    assert (
        predicted.errors.to_dataframe().iloc[-1]["energy_rmse_meV_per_atom"]
        == predicted.errors.overall.energy_rmse_meV_per_atom
    )


def test_without_pandas_the_extra_is_named(atoms: list[Atoms], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(fw.ForcewrightError, match=r'pip install "forcewright\[pandas\]"'):
        fw.read(atoms).to_dataframe()


def test_a_frame_becomes_atoms_again(atoms: list[Atoms]) -> None:
    again = fw.read(atoms)[2].to_ase()
    assert again.get_potential_energy() == atoms[2].get_potential_energy() and again.info["config_type"] == "even"
    np.testing.assert_array_equal(again.get_forces(), atoms[2].get_forces())


# ------------------------------------------------------------------------------------- disks


def commands(folder: Path, atoms: list[Atoms]) -> dict[str, list[str]]:
    """Return a call of every command that writes, by its name."""
    file = str(fw.write(atoms, folder / "in.extxyz"))
    data = {"train": file, "test": file}
    snap = {"kind": "snap", "twojmax": 2, "rcut": 4.0}
    study = {"data": data, "model": snap, "output": "out", "workers": 1, "validation": {"kfold": 2}}
    configs = {
        "tune": study, "fit": study,
        "assess": {"sets": {"a": file}, "models": {"p": str(POTENTIAL)}, "alignment": "none", "output": "out",
                   "workers": 0},
        "compare": {"data": {"test": file}, "families": {"p": str(POTENTIAL)}, "output": "out"},
        "ablate": {"data": data, "base": {"model": snap}, "changes": {"a": {"model": {"rcut": 3.5}}}, "output": "out"},
        "learning-curve": {"data": data, "families": {"p": {"model": snap}}, "output": "out", "sizes": [4]},
        "simulate": {"potential": str(POTENTIAL), "structure": {"bulk": "Cu"}, "output": "out",
                     "stages": [{"ensemble": "nvt", "temperature_K": 100, "time_ps": 0.002}], "trajectory": {"every_fs": 1}},
        "generate": {"recipes": [{"kind": "dimers", "species": ["H"], "distances_A": [0.5, 2], "count": 2}], "output": "out/x.extxyz"},
        "learn": {"model": snap, "start": file, "reference": {"potential": str(POTENTIAL)}, "output": "out",
                  "walkers": [{"structure": {"bulk": "Cu"}, "stages": [{"ensemble": "relax"}]}]},
        "label": {"reference": {"potential": str(POTENTIAL)}, "structures": file, "output": "out/x.extxyz", "cache": "out"},
        "distil": {"teacher": str(POTENTIAL), "structures": {"cu": {"bulk": "Cu", "cubic": True}}, "generate": {"count": 2},
                   "student": {"model": snap, "validation": {"kfold": 2}}, "output": "out"},
        "validate": {"structure": {"bulk": "Cu", "cubic": True}, "properties": {"equation_of_state": {}}},
    }  # fmt: skip
    for name, content in configs.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    calls = {name: [f"{name}.yaml"] for name in configs}
    calls["validate"] = [str(POTENTIAL), "validate.yaml", "-o", "out"]
    calls |= {
        "predict": [str(POTENTIAL), file, "-o", "out/x.extxyz"], "convert": [file, "out/x.extxyz"],
        "select": [file, "--by", "random", "--count", "2", "-o", "out/x.extxyz"],
        "split": [file, "--by", "random", "-o", "out/a.extxyz", "out/b.extxyz"],
        "statistics": [file, "-o", "out"], "compare-spaces": [file, file, "--descriptor", "ace", "-o", "out"],
        "analyze": [file, "-o", "out"], "report": ["out"], "init": [file, "-o", "out/x.yaml"],
        "rerun": ["md", "--reference", str(POTENTIAL), "-o", "out"], "diagnose": ["md", "-o", "out"],
    }  # fmt: skip
    return calls


def no_space_in(folder: Path) -> Any:
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).is_relative_to(folder) or Path(target).parts[0] == folder.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    return replace


# a full disk is met after minutes; these stop at the folder
STUDIES = ("ablate", "tune", "fit", "compare", "learning-curve")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("check", "cite", "config", "pipeline")])
@pytest.mark.parametrize("kind", ["file in place of a folder", "full disk"])
def test_a_disk_that_cannot_be_written_to_ends_in_a_sentence(
    command: str, kind: str, atoms: list[Atoms], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    if kind == "full disk" and command in STUDIES:
        pytest.skip("stops at the folder")
    arguments = commands(tmp_path, atoms)[command]
    monkeypatch.chdir(tmp_path)
    if command in ("rerun", "diagnose"):  # of a run of three frames
        run = yaml.safe_load((tmp_path / "simulate.yaml").read_text())
        assert fw.simulate({**run, "output": "md"}).completed
    monkeypatch.setattr(sys, "argv", ["forcewright", command, *arguments])
    if kind == "full disk":
        if command == "report":
            shutil.copytree(POTENTIAL.parents[1] / "finished", tmp_path / "out")
        (tmp_path / "out").mkdir(exist_ok=True)
        monkeypatch.setattr(os, "replace", no_space_in(tmp_path / "out"))
    else:
        (tmp_path / "out").write_text("in the way")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1 and "error: " in said and "out" in said and "Traceback" not in said
    if kind == "full disk":
        assert "No space left on device; make room" in said
    else:
        assert (tmp_path / "out").read_text() == "in the way"
