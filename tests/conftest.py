"""Fixtures shared by all tests: the real data beside the repository, and a small study on copper."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from xdist.scheduler import LoadScopeScheduling

from forcewright.data import write
from forcewright.execution.processes import WORKER_ENVIRONMENT
from forcewright.stability import Probed
from forcewright.structure import Dataset, Structure


def pytest_configure(config: pytest.Config) -> None:
    """Prepare workers: how their threads wait, and the loops of ACE compiled, which both would otherwise do at once."""
    # Threads that wait for one another would spin: torch, on a busy machine, for ten times as long as it computes.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        return
    # Each of the many processes would otherwise compile the package anew where the environment forbids to keep it.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # As in workers of ours: one thread for linear algebra, and memory kept for the next arrays. OMP_NUM_THREADS would
    # also turn off threads of our own.
    for name in WORKER_ENVIRONMENT.keys() - {"OMP_NUM_THREADS"}:
        os.environ.setdefault(name, WORKER_ENVIRONMENT[name])
    compiled = Path(find_spec("forcewright").origin).parent / "features" / "ace" / "__pycache__"
    if any(compiled.glob("kernels.*.nbc")):
        return
    from forcewright.models.ace import AceModel

    structure = Structure([6, 6], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.5]])
    model = AceModel(functions=2, rcut=3.0, repulsion=None)
    basis = model.basis((6,))
    basis.rows(structure)
    basis.project(structure)
    model.potential(basis, np.zeros(basis.size), {}).predict([structure])


class _ByFile(LoadScopeScheduling):
    """Gives the tests of a file to one worker, so that what they share is made once; all that load torch to one."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        return "torch" if "[graph " in name or file.endswith("test_graph.py") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _unprobed() -> Iterator[Any]:
    """Spare fits, those of fixtures too, the seconds of looking for holes; yield what looks for them."""
    from forcewright.recipes import stability

    probe = stability.probe
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stability, "probe", lambda potential, train, settings, seed, study_s: Probed(settings, 0))
        yield probe


@pytest.fixture(autouse=True)
def _probed_where_marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _unprobed: Any) -> None:
    """Let tests marked ``probed`` look for holes as users do."""
    if request.node.get_closest_marker("probed"):
        monkeypatch.setattr("forcewright.recipes.stability.probe", _unprobed)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[1] / "../shared/data"
    if not folder.is_dir():
        pytest.skip("the real data in ../shared/data is absent")
    return folder.resolve()


def _frames(count: int, seed: int) -> list:
    """Rattled and strained copper labelled by effective medium theory, in two groups."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        surface = number % 4 == 3
        atoms = fcc111("Cu", (2, 2, 2), vacuum=5.0) if surface else bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.pbc = True
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.08, rng=rng)
        atoms.calc = EMT()
        atoms.get_forces()
        atoms.get_stress()
        atoms.info["config_type"] = "surface" if surface else "bulk"
        frames.append(atoms)
    return frames


@pytest.fixture(scope="session")
def copper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.extxyz (40 frames) and test.extxyz (12 frames)."""
    folder = tmp_path_factory.mktemp("copper")
    write(Dataset.from_ase(_frames(40, 0), "train"), folder / "train.extxyz")
    write(Dataset.from_ase(_frames(12, 1), "test"), folder / "test.extxyz")
    return folder


@pytest.fixture
def config(copper: Path, tmp_path: Path) -> dict[str, Any]:
    """A small study: two hyperparameters, three settings."""
    return {
        "data": {"train": str(copper / "train.extxyz"), "test": str(copper / "test.extxyz")},
        "validation": {"kfold": 4},
        "model": {"kind": "snap", "twojmax": 2, "rcut": {"low": 3.0, "high": 4.5}, "rfac0": {"low": 0.7, "high": 1.0}},
        "study": {"settings": 3, "initial": 2, "seed": 1},
        "search": {"starts": 2, "evaluations": 15},
        "workers": 1,
        "stability": "off",
        "output": str(tmp_path / "run"),
    }
