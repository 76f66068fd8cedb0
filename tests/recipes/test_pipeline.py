"""Pipelines run what has changed and what follows it, alone and by the real DVC."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import run_here

import forcewright as fw
from forcewright.errors import ForcewrightError, InputError
from forcewright.recipes import pipeline as module

MAKE = {
    "structures": {"cu": {"bulk": "Cu", "cubic": True}}, "seed": 1, "output": "data/made.extxyz",
    "recipes": [{"kind": "rattle", "amplitudes_A": [0.05, 0.1], "count": 6}],
}  # fmt: skip
LABEL = {
    "reference": {"ase": "ase.calculators.emt:EMT"}, "structures": "data/made.extxyz", "output": "data/labelled.extxyz",
}  # fmt: skip
FIT = {
    "data": {"train": "data/train.extxyz"}, "validation": {"kfold": 3}, "search": {"starts": 1, "evaluations": 5},
    "model": {"kind": "snap", "twojmax": 2, "rcut": 4.0}, "stability": "off", "workers": 1, "output": "runs/cu",
}  # fmt: skip
STAGES: dict[str, Any] = {
    "fit": {"fit": "fit.yaml"},
    "structures": {"generate": "make.yaml"},
    "labels": {"label": "label.yaml"},
    "sets": {
        "split": "data/labelled.extxyz", "by": "random", "test": 0.25,
        "output": ["data/train.extxyz", "data/test.extxyz"],
    },
    "errors": {"predict": "data/test.extxyz", "potential": "runs/cu", "output": "predicted.extxyz"},
}  # fmt: skip


def write_yaml(path: Path, content: Any) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name, content in (("make", MAKE), ("label", LABEL), ("fit", FIT)):
        write_yaml(tmp_path / f"{name}.yaml", content)
    return write_yaml(tmp_path / "pipeline.yaml", {"stages": STAGES})


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run stages in this process, and list them; labels and fits write files and no more."""
    ran: list[str] = []

    def run(words: list[str], folder: Path) -> int:
        ran.append(" ".join(words))
        if words[0] == "label":  # a process of its own
            shutil.copy(folder / "data/made.extxyz", folder / "data/labelled.extxyz")
            return 0
        if words[0] in ("fit", "predict"):
            output = folder / ("predicted.extxyz" if words[0] == "predict" else "runs/cu/result.json")
            (folder / "runs/cu/potential").mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "fit.yaml", folder / "runs/cu/potential/model")
            shutil.copy(folder / "data/train.extxyz", output)
            return 0
        return run_here(*words, cwd=folder).returncode

    monkeypatch.setattr(module, "_run", run)
    return ran


def test_only_what_changed_and_what_follows_it_runs(file: Path, here: list[str]) -> None:
    assert set(fw.pipeline(file).states.values()) == {"ran"}
    assert [words.split()[0] for words in here] == ["generate", "label", "split", "fit", "predict"]
    assert set(fw.pipeline(file).states.values()) == {"unchanged"} and len(here) == 5
    text = file.with_name("fit.yaml").read_text()
    file.with_name("fit.yaml").write_text(f"# a comment\n{text}")
    assert set(fw.pipeline(file).states.values()) == {"unchanged"}  # configs count by what they say
    write_yaml(file.with_name("fit.yaml"), FIT | {"validation": {"kfold": 4}})
    done = fw.pipeline(file)
    assert [name for name, state in done.states.items() if state == "ran"] == ["fit", "errors"]
    assert here[-2] == "fit fit.yaml --fresh"
    write_yaml(file, {"stages": STAGES | {"sets": {**STAGES["sets"], "test": 0.5}}})
    done = fw.pipeline(file, only="labels")
    assert done.states == {"labels": "unchanged"}
    assert [name for name, state in fw.pipeline(file).states.items() if state == "ran"] == ["sets", "fit", "errors"]
    (file.parent / "data/made.extxyz").unlink()
    assert [name for name, state in fw.pipeline(file).states.items() if state == "ran"] == ["structures"]


def test_a_stage_that_was_stopped_goes_on(file: Path, here: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fw.pipeline(file)
    write_yaml(file.with_name("fit.yaml"), FIT | {"validation": {"kfold": 4}})
    going = module._run
    monkeypatch.setattr(module, "_run", lambda words, folder: here.append(" ".join(words)) or 130)
    with pytest.raises(ForcewrightError, match=r"the stage fit failed .*ended with 130"):
        fw.pipeline(file)
    monkeypatch.setattr(module, "_run", going)
    assert fw.pipeline(file).states["fit"] == "ran"
    assert [words for words in here if words.startswith("fit")] == [
        "fit fit.yaml",
        "fit fit.yaml --fresh",
        "fit fit.yaml",
    ]


def test_analyses_within_the_folder_they_read_do_not_wait_for_each_other(tmp_path: Path) -> None:
    run = {"potential": "runs/cu", "structure": "x.extxyz", "output": "runs/md", "trajectory": {"format": "h5"},
           "stages": [{"ensemble": "nve", "time_ps": 1}]}  # fmt: skip
    write_yaml(tmp_path / "run.yaml", run)
    write_yaml(tmp_path / "physics.yaml", {"potential": "runs/cu", "output": "runs/cu/physics"})
    write_yaml(tmp_path / "fit.yaml", FIT)
    stages = {
        "physics": {"validate": "physics.yaml"},
        "rdf": {"analyze": "runs/md", "what": ["rdf", "msd"], "set": {"rdf.r_max": 6}, "output": "runs/md/a"},
        "vdos": {"analyze": "runs/md", "what": "vdos", "output": "runs/md/b"},
        "run": {"simulate": "run.yaml"}, "fit": {"fit": "fit.yaml"},
    }  # fmt: skip
    file = write_yaml(tmp_path / "pipeline.yaml", {"stages": stages})
    made = module.ordered(module.stages_of(module.PipelineConfig(stages=stages), tmp_path, file), file)
    assert list(made) == ["fit", "physics", "run", "rdf", "vdos"]
    assert made["rdf"].reads == tuple(
        f"runs/md/{name}" for name in ("result.json", "trajectory.h5", "thermo.csv", "final.extxyz")
    )
    assert made["rdf"].words[2:] == ("--what=rdf,msd", "--set=rdf.r_max=6", "-o", "runs/md/a")
    assert made["physics"].reads == ("runs/cu/potential", "runs/cu/result.json")


def test_runs_are_labelled_diagnosed_and_compared_by_stages(tmp_path: Path) -> None:
    write_yaml(tmp_path / "label.yaml", LABEL)
    write_yaml(tmp_path / "run.yaml", {"potential": "p", "structure": "x.extxyz", "output": "runs/md", "stages": []})
    stages = {
        "why": {"diagnose": "runs/md", "reference": "label.yaml", "labels": 5, "output": "why"},
        "again": {"rerun": "runs/md", "reference": "xtb: GFN1-xTB", "output": "runs/md/again"},
        "spaces": {"compare-spaces": ["runs/md", "a.extxyz"], "frames": 9, "output": "spaces"},
        "run": {"simulate": "run.yaml"},
        "two": {"split": "a.extxyz", "label": ["energy=e", "forces=f"], "output": ["b.extxyz", "c.extxyz"]},
    }  # fmt: skip
    file = write_yaml(tmp_path / "pipeline.yaml", {"stages": stages})
    made = module.stages_of(module.PipelineConfig(stages=stages), tmp_path, file)
    assert made["two"].words == (
        "split", "a.extxyz", "--label=energy=e", "--label=forces=f", "-o", "b.extxyz", "c.extxyz"
    )  # fmt: skip
    assert all(made[name].after == ("run",) for name in ("why", "again", "spaces"))
    assert "label.yaml" in made["why"].reads and "xtb: GFN1-xTB" not in made["again"].reads
    assert made["why"].words == ("diagnose", "runs/md", "--reference=label.yaml", "--labels=5", "-o", "why")
    assert made["spaces"].words == ("compare-spaces", "runs/md", "a.extxyz", "--frames=9", "-o", "spaces")


@pytest.mark.parametrize("looks", ["diagnose", "rerun", ""])
def test_a_run_that_breaks_ends_the_pipeline_unless_it_is_looked_into(
    looks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Solid argon at zero pressure and 400 K boils away within 0.5 ps."""
    argon = {"lammps": {"pair_style": "lj/cut 6.0", "pair_coeff": "* * 0.0103 3.4", "species": ["Ar"]}}
    stage = {"ensemble": "npt", "temperature_K": 400, "pressure_GPa": 0, "time_ps": 2, "timestep_fs": 4}
    content = {"potential": argon, "structure": {"bulk": "Ar", "cubic": True}, "stages": [stage], "output": "runs/md"}
    write_yaml(tmp_path / "run.yaml", content)

    def run(words: list[str], folder: Path) -> int:
        if words[0] == "simulate":
            return run_here(*words, cwd=folder).returncode
        (folder / "why").mkdir(exist_ok=True)
        return 0 if (folder / "why/result.json").write_text("{}") else 1

    monkeypatch.setattr(module, "_run", run)
    later = {"reference": "lammps: none", "output": "why"}
    stages = {"run": {"simulate": "run.yaml"}} | ({"why": {looks: "runs/md", **later}} if looks else {})
    file = write_yaml(tmp_path / "pipeline.yaml", {"stages": stages})
    said: list[str] = []
    if not looks:
        with pytest.raises(ForcewrightError, match="ended with 1"):
            fw.pipeline(file)
        return
    fw.pipeline(file, on_stage=lambda name, state: said.append(f"{name}: {state}"))
    assert [line.partition(",")[0] for line in said] == [
        "run: running", "run: stopped before its end", "why: running"
    ]  # fmt: skip
    assert set(fw.pipeline(file).states.values()) == {"unchanged"}
    write_yaml(
        tmp_path / "run.yaml", content | {"potential": "nothing"}
    )  # an error is one, also where a run lies there
    with pytest.raises(ForcewrightError, match="ended with 1"):
        fw.pipeline(file)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sets": {"splitt": "x"}}, r"stages.sets.*did you mean 'split'"),
        ({"sets": {**STAGES["sets"], "tset": 1}}, r"stages.sets.tset.*did you mean 'test'"),
        ({"sets": {**STAGES["sets"], "output": ["a.xyz"]}}, "names 1 files or folders; split writes 2"),
        ({"more": {"fit": "fit.yaml"}}, "writes runs/cu/potential, as does the stage more"),
        ({"labels": {"label": "nothing.yaml"}}, r"nothing.yaml.*does not exist"),
        ({"labels": {"label": "label.yaml", "workers": 2}}, "belongs into label.yaml"),
        ({"structures": {"split": "data/labelled.extxyz", "output": ["data/made.extxyz", "b.xyz"]}}, "wait for each other"),
        ({"structures": {"check": "data/nothing.extxyz"}}, r"data/made.extxyz.*no stage writes it|nothing.extxyz.*no stage"),
        ({"a b": {"check": "x"}}, "stages"),
    ],
)  # fmt: skip
def test_mistakes_are_sentences(changes: dict[str, Any], words: str, file: Path, here: list[str]) -> None:
    write_yaml(file, {"stages": STAGES | changes})
    with pytest.raises(InputError, match=words):
        fw.pipeline(file)


def test_the_file_of_what_is_known_may_be_damaged(file: Path, here: list[str]) -> None:
    fw.pipeline(file)
    file.with_name("pipeline.lock.json").write_text("[")
    with pytest.raises(InputError, match=r"pipeline.lock.json: .*remove it"):
        fw.pipeline(file)


@pytest.mark.slow
def test_dvc_runs_what_changed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real DVC: twice in a row nothing is left to do, and a parameter reruns what follows it alone."""
    pytest.importorskip("dvc", reason="the package dvc is not installed")
    programs = file.parent / "programs"
    programs.mkdir()
    (programs / "forcewright").write_text(f'#!/bin/sh\nexec {sys.executable} -m forcewright "$@"\n')
    (programs / "forcewright").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")

    def dvc(*words: str) -> str:
        done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=file.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    dvc("init", "--no-scm", "-q")
    dvc("config", "core.analytics", "false")
    assert run_here("pipeline", file, "--dvc", cwd=file.parent).returncode == 0
    assert dvc("repro").count("Running stage") == 5
    again = dvc("repro")
    assert "Running stage" not in again and "up to date" in again
    write_yaml(file.with_name("fit.yaml"), FIT | {"validation": {"kfold": 4}})
    changed = dvc("repro")
    assert [name for name in STAGES if f"Running stage '{name}'" in changed] == ["fit", "errors"]
    assert set(fw.pipeline(file).states.values()) == {"unchanged"}  # both know the same


def test_a_study_that_no_pipeline_began_is_not_discarded(file: Path, here: list[str]) -> None:
    (file.parent / "runs/cu").mkdir(parents=True)
    fw.pipeline(file)
    assert "fit fit.yaml" in here and "fit fit.yaml --fresh" not in here
