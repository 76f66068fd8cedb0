"""Init: from labelled structures to a config that runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from command_line import run_here

import forcewright as fw
from forcewright.errors import InputError
from forcewright.recipes.config import read_config


def labelled(atoms: Atoms, rng: np.random.Generator, *, forces: bool = True, stress: bool = True) -> Atoms:
    atoms.rattle(0.05, rng=rng)
    computed = atoms.copy()
    computed.calc = EMT()
    results: dict[str, Any] = {"energy": computed.get_potential_energy()}
    results |= {"forces": computed.get_forces()} if forces else {}
    results |= {"stress": computed.get_stress()} if stress else {}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@pytest.fixture(scope="module")
def alloy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.extxyz and test.extxyz of copper and gold, some of them with stresses."""
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("alloy")
    for name, count in (("train", 12), ("test", 4)):
        frames = []
        for number in range(count):
            atoms = bulk("Cu" if number % 2 else "Au", cubic=True)
            atoms[0].symbol = "Cu"
            frames.append(labelled(atoms, rng, stress=number % 2 == 1))
        fw.write(frames, folder / f"{name}.extxyz")
    return folder


@pytest.mark.parametrize("kind", ["ace", "snap"])
def test_the_config_fits_the_data(kind: str, alloy: Path, tmp_path: Path) -> None:
    done = run_here(
        "init",
        alloy / "train.extxyz",
        "--test",
        alloy / "test.extxyz",
        "--model",
        kind,
        "-o",
        "first.yaml",
        cwd=tmp_path,
    )
    assert done.returncode == 0 and "12 frames" in done.stdout and "forcewright tune first.yaml" in done.stdout
    config = read_config(tmp_path / "first.yaml")
    assert config.weights.stress.low == 1 and config.weights.by == "all" and config.model["kind"] == kind
    assert config.data.train == [alloy / "train.extxyz"] and config.data.test == [alloy / "test.extxyz"]
    assert 3.0 <= config.model["rcut"]["low"] < 2.9 * np.sqrt(3) < config.model["rcut"]["high"] <= 7.5  # third shell


@pytest.mark.parametrize("trials", [2, pytest.param(16, marks=pytest.mark.slow)])
def test_the_config_runs(trials: int, alloy: Path, tmp_path: Path) -> None:
    """As it is written; among the fast tests with fewer trials."""
    fw.init(alloy / "train.extxyz", tmp_path / "first.yaml", test=alloy / "test.extxyz")
    text = (tmp_path / "first.yaml").read_text()
    assert "study: {trials: 16, initial: 8, seed: 0}" in text
    (tmp_path / "first.yaml").write_text(text.replace("trials: 16, initial: 8", f"trials: {trials}, initial: 1"))
    done = run_here("tune", "first.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "runs/train/report.html").is_file() and f"{trials} trials" in done.stdout


def test_nothing_is_overwritten(alloy: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine")
    done = run_here("init", alloy / "train.extxyz", cwd=tmp_path)
    assert done.returncode == 1 and "not overwritten" in done.stderr
    assert (tmp_path / "config.yaml").read_text() == "mine"


def test_data_with_errors_get_no_config(tmp_path: Path) -> None:
    broken = Path(__file__).parents[1] / "broken/nan_force.extxyz"
    done = run_here("init", broken, "-o", "x.yaml", cwd=tmp_path)
    assert done.returncode == 1 and "forces" in done.stdout and "the data have errors" in done.stderr
    assert not (tmp_path / "x.yaml").exists()


def text_of(frames: list[Atoms], folder: Path, **options: Any) -> tuple[str, dict[str, Any]]:
    fw.write(frames, folder / "train.extxyz")
    text = fw.init(folder / "train.extxyz", folder / "made.yaml", **options).text
    read_config(folder / "made.yaml")
    return text, yaml.safe_load(text)


def test_what_the_data_lack_is_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [labelled(bulk("Cu", cubic=True), rng, forces=False, stress=False) for _ in range(8)]
    text, content = text_of(frames, tmp_path)
    assert content["weights"]["stress"] is None and content["weights"]["force"] is None
    assert content["data"]["labels"] == {"forces": "none"} and content["model"]["functions"] == 20
    assert content["validation"] == {"kfold": 2} and content["weights"]["by"] == "all"
    assert "# There is no test set." in text and "test" not in content["data"]


def test_molecules_and_isolated_atoms(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [labelled(molecule("H2O"), rng, stress=False) for _ in range(6)]
    frames += [labelled(Atoms("H"), rng, stress=False), labelled(Atoms("O"), rng, stress=False)]
    text, content = text_of(frames, tmp_path)
    assert content["reference_energies"] == "auto" and content["model"]["rcut"]["low"] == 3.0
    assert "0.9" in re.search(r"nearest neighbors are (\S+) Å", text)[1]  # O-H is 0.97 Å long
    assert "8 frames of H O" in text


def test_many_groups_share_weights_and_odd_names_stay_comments(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = []
    for number in range(20):
        frames.append(labelled(bulk("Cu", cubic=True), rng))
        frames[-1].info["config_type"] = f"g{number % 10}: {{x}} #"
    text, content = text_of(frames, tmp_path, run=tmp_path / "elsewhere")
    assert content["weights"]["by"] == "all" and "10 groups" in text and content["output"] == "elsewhere"
    for number, atoms in enumerate(frames):
        atoms.info["config_type"] = "hot" if number % 2 else "cold"
    (tmp_path / "made.yaml").unlink()
    text, content = text_of(frames, tmp_path)
    assert content["weights"]["by"] == "group" and "# Groups: cold 10, hot 10." in text


@pytest.mark.parametrize("kind", ["gap", "graph", "sgdml"])
def test_other_families(kind: str, alloy: Path, tmp_path: Path) -> None:
    from forcewright.errors import MissingExtraError

    try:
        fw.init(alloy / "train.extxyz", tmp_path / "made.yaml", model=kind)
    except MissingExtraError:
        pytest.skip(f"the extra of {kind} is not installed")
    assert read_config(tmp_path / "made.yaml").model["kind"] == kind


def test_mistakes(alloy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean ace"):
        fw.init(alloy / "train.extxyz", tmp_path / "x.yaml", model="acee")
    with pytest.raises(InputError, match="forcewright config tune --model command"):
        fw.init(alloy / "train.extxyz", tmp_path / "x.yaml", model="command")
    with pytest.raises(InputError, match="a config names files"):
        fw.init([bulk("Cu")], tmp_path / "x.yaml")
    with pytest.raises(InputError, match="does not exist"):
        fw.init(alloy / "train.extxyz", tmp_path / "no" / "x.yaml")
