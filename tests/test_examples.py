"""The diamond study from start to end, with a cheap calculator in the place of the reference and two small families."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.calculators.emt import EMT
from single_process import stay_in_process

import forcewright as fw
from forcewright.errors import ForcewrightError

STUDY = Path(__file__).parents[1] / "examples" / "hv-diamond" / "study.py"
PLAN: dict[str, Any] = {
    "workers": 1,
    "reference": {"ase": "ase.calculators.emt:EMT"},
    "cells": {
        "structures": {"metal": {"bulk": "Cu", "a_A": 3.6, "cubic": True, "repeat": 2}},
        "recipes": [{"kind": "x_vacancy", "species": "H", "group": "hv"}, {"kind": "x_vacancy", "species": "H", "center": 9, "group": "hw"}],
        "seed": 1,
    },
    "dynamics": {
        "temperatures_K": [300],
        "equilibrate": {"ensemble": "nvt", "thermostat": "langevin", "thermostat_time_fs": 20, "time_ps": 0.02},
        "sample": {"ensemble": "npt", "time_ps": 0.12},
        "every_fs": 6,
    },
    "scans": [{"kind": "volume_scan", "factors": [0.9, 1.1], "count": 3}],
    "explore": {
        "rounds": 1, "family": "SNAP", "runs": 2, "every_fs": 10, "count": 3,
        "stage": {"ensemble": "nvt", "thermostat": "langevin", "temperature_K": 400, "time_ps": 0.05},
    },
    "split": {"test": 0.25, "options": {"gap": 1}},
    "common": {"validation": {"kfold": 3}, "search": {"starts": 1, "evaluations": 8}, "stability": "off"},
    "families": {
        "SNAP": {"model": {"kind": "snap", "twojmax": 2, "rcut": 4.0}},
        "ACE": {"model": {"kind": "ace", "functions": 12, "rcut": 4.0}},
    },
    "physics": "ACE",
    "equation_of_state": {"volume_range": 0.06, "points": 5, "relaxed": "none"},
    "nvt": {"temperatures_K": [0, 300], "friction": 0.001, "timestep_fs": 1, "time_ps": 0.05},
}  # fmt: skip


def run_study(folder: Path, plan: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    (folder / "study.yaml").write_text(yaml.safe_dump({**plan, "output": "out"}))
    return subprocess.run(
        [sys.executable, str(STUDY), str(folder / "study.yaml")], capture_output=True, text=True, check=False
    )


def run_here(folder: Path, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the study without processes of its own."""
    stay_in_process(monkeypatch)
    monkeypatch.syspath_prepend(str(STUDY.parent))
    (folder / "study.yaml").write_text(yaml.safe_dump({**plan, "output": "out"}))
    import_module("study").main(folder / "study.yaml", ship=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    told = run_study(folder, PLAN)
    assert told.returncode == 0, told.stdout + told.stderr
    return folder / "out"


def test_frames_carry_what_the_reference_says_of_them(finished: Path) -> None:
    frames = fw.read(finished / "frames.extxyz")
    sizes = {"300K": 20, "volume_scan": 3, "explored": 6}
    assert frames.group_sizes == {f"{cell}_{kind}": size for cell in ("hv", "hw") for kind, size in sizes.items()}
    assert set(fw.read(finished / "test.extxyz").group_sizes) == {"hv_300K", "hw_300K"}
    for index in (0, 25, 41, 56):
        atoms = frames[index].structure.to_ase()
        atoms.calc = EMT()
        assert frames[index].labels.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(frames[index].labels.forces, atoms.get_forces(), atol=1e-9)
    assert len(fw.read(finished / "frames.db")) == 58 and len(fw.read(finished / "hv.npz")) == 29


def test_result_holds_errors_of_families_and_moduli_of_cells(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    for row in result["families"].values():
        assert row["energy_mae_meV_per_atom"] > 0 and row["fit_s"] > 0 and row["peak_memory_bytes"] > 1e7
        assert row["r2_force_norm"] <= 1
    for cell in result["cells"].values():
        assert set(cell["bulk_modulus_GPa"]["families"]) == {"reference", "SNAP", "ACE"}
        assert cell["bulk_modulus_GPa"]["reference"] == pytest.approx(140, abs=30)  # copper in EMT: 134 GPa
    assert all(run["completed"] for runs in result["nvt"].values() for run in runs.values())
    assert result["nvt"]["hv"]["0"]["mean_temperature_K"] < 1
    page = (finished / "report.html").read_text()
    assert "The path of hydrogen" in page and "thesis: GemNet, model 12" in page


def test_run_again_it_does_nothing_twice_and_takes_own_frames(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("families/studies/*/potential/potential.json")}
    before |= {path: path.stat().st_mtime_ns for path in finished.glob("n*/*/trajectory.extxyz")}
    assert len(before) == 2 + 2 + 4
    run_here(finished.parent, PLAN, monkeypatch)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    own = {
        **PLAN,
        "frames": {"hv_a": [str(finished / "npt/hv_300K/trajectory.extxyz")]},
        "reference": None,
        "scans": [],
    }
    own |= {"families": {"SNAP": PLAN["families"]["SNAP"]}, "physics": "SNAP"}
    run_here(tmp_path, own, monkeypatch)
    assert json.loads((tmp_path / "out/result.json").read_text())["cells"]["hv"]["bulk_modulus_GPa"]["potential"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"physics": "GAP"}, "field 'physics': is 'GAP'; choose one of ACE, SNAP"),
        ({"reference": None}, "field 'reference': is missing, and there are no frames"),
        ({"reference": {"ase": "ase.calculators.emt:EMM"}}, "EMM"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(
    tmp_path: Path, change: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ForcewrightError, match=message):
        run_here(tmp_path, {**PLAN, **change}, monkeypatch)


def test_the_refusal_is_a_sentence(tmp_path: Path) -> None:
    told = run_study(tmp_path, {**PLAN, "familys": {}})
    assert told.returncode != 0 and "did you mean 'families'" in told.stderr and "Traceback" not in told.stderr


def test_configs_of_molten_salt_are_read() -> None:
    from forcewright.recipes.config import read_config as read_study
    from forcewright.recipes.generate import GenerateConfig
    from forcewright.recipes.label import LabelConfig
    from forcewright.recipes.run_folder import read_config

    folder = Path(__file__).parents[1] / "examples" / "nacl-npt"
    for name in ("one", "five"):
        assert read_config(GenerateConfig, folder / f"{name}.yaml").settings.recipes
        assert read_config(LabelConfig, folder / f"label-{name}.yaml").settings.reference.lammps.charges["Na"] == 1
        for fitted, left_out in (("ef", ("stress",)), ("efv", ())):
            assert read_study(folder / f"fit-{name}-{fitted}.yaml").left_out == left_out
