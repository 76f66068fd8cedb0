"""A learner asks for what its simulations come across, and no kill costs a label or changes what it learns."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

import forcewright as fw
from forcewright.errors import InputError
from forcewright.learning import time_limit
from forcewright.learning.contracts import Walk
from forcewright.learning.parts import DiversePolicy, closest_share, outlier, remaining_stages
from forcewright.learning.settings import FilterSettings, PolicySettings
from forcewright.potential import Failure
from forcewright.recipes.learn import LearnConfig, identity_of
from forcewright.reference.identity import hash_files, potential_files
from forcewright.simulation import Alarm, Snapshot, Stage
from forcewright.structure import Dataset, Frame, Labels, Structure
from forcewright.uncertainty import calibration_of


@dataclass(frozen=True)
class Copper:
    """Labels copper by effective medium theory, and writes down every structure that it has labelled."""

    log: Path
    ends_at: int | None = None  # the label at which the process is killed
    begun: list[int] = field(default_factory=list)
    name: str = "EMT"
    content_hash: str = "emt"

    def label(self, structures: Sequence[Structure]) -> list[Labels | Failure]:
        labels: list[Labels | Failure] = []
        for structure in structures:
            self.begun.append(1)
            if self.ends_at == len(self.begun):
                os.kill(os.getpid(), signal.SIGKILL)
            atoms = structure.to_ase()
            atoms.calc = EMT()
            labels.append(Labels(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)))
            with self.log.open("a") as stream:
                stream.write(f"{structure.content_hash}\n")
        return labels


def copper(spread: float, rng: np.random.Generator) -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.positions += spread * rng.normal(size=(len(atoms), 3))
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder, rng = tmp_path_factory.mktemp("learn"), np.random.default_rng(0)
    fw.write([copper(0.02, rng) for _ in range(16)], folder / "start.extxyz")
    fw.write([copper(0.12, rng) for _ in range(4)], folder / "fixed.extxyz")
    stage = {
        "ensemble": "nvt", "time_ps": 0.4, "temperature_K": [200, 1200], "thermostat": "langevin", "timestep_fs": 4,
    }  # fmt: skip
    return {
        "model": {"kind": "ace", "functions": 15, "rcut": 4.5, "radial": "ChebExpCos"},
        "fit": {"reference_energies": "zero", "weights": {"energy": 100, "force": 1}, "ridge": 1e-8},
        "start": folder / "start.extxyz", "validation": folder / "fixed.extxyz",
        "reference": {"ase": "ase.calculators.emt:EMT"},
        "walkers": {
            "structure": {"bulk": "Cu", "cubic": True, "repeat": [2, 1, 1]}, "stages": [stage], "copies": 2,
            "name": "hot",
        },
        "novelty": {"kind": "committee", "every_fs": 20, "members": 4},
        "policy": {"frames": 2, "max_labels": 8}, "workers": 0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("uninterrupted")
    costs: list[str] = []
    result = fw.learn({**config, "output": folder / "run"}, reference=Copper(folder / "log"), on_start=costs.append)
    assert costs[0].startswith("at most 8 labels, 1000 rounds; a label takes about")
    return result, (folder / "log").read_text().split()


def test_a_learner_labels_what_is_new_until_nothing_is(uninterrupted: Any) -> None:
    result, log = uninterrupted
    assert result.reason == "every walker came to its end with nothing new" and 1 <= result.labels <= 8
    assert len(log) == len(set(log)) == result.labels + 1  # and the frame that tells what a label costs
    rows = result.to_rows()
    assert rows[0]["frames"] == 16 and rows[-1]["frames"] == 16 + sum(row["taken"] for row in rows)
    assert rows[0]["completed"] < 2 == rows[-1]["completed"]
    assert rows[-1]["force_rmse_eV_per_A"] < 0.5 * rows[0]["force_rmse_eV_per_A"]
    learned = [frame for frame in result.data if frame.labels.group == "learned"]
    for frame in learned:
        atoms = frame.structure.to_ase()
        atoms.calc = EMT()
        np.testing.assert_allclose(frame.labels.forces, atoms.get_forces(), atol=1e-12)
        assert "times the limit" in frame.labels.info["why"] and frame.labels.info["walker"].startswith("hot-")
    assert fw.read(result.folder / "train.extxyz").content_hash == result.data.content_hash
    page = (result.folder / "report.html").read_text()
    assert "What each round added, and why" in page and "times the limit" in page


def forked(work: Callable[[], Any], after_s: float | None = None) -> int:
    """Do work in a fork, killed after some time if it is not done before; return how it ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def what_is_left(folder: Path) -> dict[str, Any]:
    """Return the frames that were learned in each round, and the potentials, by their content."""
    rounds = sorted((folder / "rounds").iterdir())
    frames = {
        path.name: (path / "learned.extxyz").read_bytes() for path in rounds if (path / "learned.extxyz").exists()
    }
    potentials = {path.name: hash_files(potential_files(path / "fit" / "potential")) for path in rounds}
    return {"frames": frames, "potentials": potentials}


def test_kills_at_any_step_change_nothing_and_cost_no_label(
    config: dict[str, Any], uninterrupted: Any, tmp_path: Path
) -> None:
    settings = {**config, "output": tmp_path / "run"}

    def learn(ends_at: int | None = None, step: int | None = None) -> None:
        steps: list[str] = []

        def on_step(words: str) -> None:
            steps.append(words)
            if step == len(steps):
                os.kill(os.getpid(), signal.SIGKILL)

        fw.learn(settings, reference=Copper(tmp_path / "log", ends_at), on_step=on_step)

    # before the first fit, before and after walking, in the midst of labels, and in the next round
    for kill in ({"step": 1}, {"step": 2}, {"step": 2}, {"ends_at": 2}, {"step": 3}):
        assert forked(lambda kill=kill: learn(**kill)) == -signal.SIGKILL  # type: ignore[misc]
    assert forked(learn) == 0
    result, log = uninterrupted
    assert what_is_left(tmp_path / "run") == what_is_left(result.folder)
    assert sorted((tmp_path / "log").read_text().split()) == sorted(log)
    again = fw.learn(settings, reference=Copper(tmp_path / "log"))  # a learner that is done computes nothing
    assert again.labels == result.labels and len((tmp_path / "log").read_text().split()) == len(log)
    with pytest.raises(InputError, match="a learner of another config"):
        fw.learn({**settings, "seed": 1}, reference=Copper(tmp_path / "log"))


@pytest.mark.slow
def test_twenty_kills_at_random_times(config: dict[str, Any], uninterrupted: Any, tmp_path: Path) -> None:
    settings = {**config, "output": tmp_path / "run"}
    result, log = uninterrupted
    rng, kills, longest = np.random.default_rng(1), 0, 0.4
    while kills < 20:
        wait = float(rng.uniform(0.02, longest))
        code = forked(lambda: fw.learn(settings, reference=Copper(tmp_path / "log")), wait)
        kills += code == -signal.SIGKILL
        if code == 0:  # it was faster; another, killed sooner
            assert what_is_left(tmp_path / "run") == what_is_left(result.folder)
            shutil.rmtree(tmp_path / "run")
            (tmp_path / "log").unlink()
            longest *= 0.7
    assert forked(lambda: fw.learn(settings, reference=Copper(tmp_path / "log"))) == 0
    assert what_is_left(tmp_path / "run") == what_is_left(result.folder)
    paid = (tmp_path / "log").read_text().split()
    assert (
        set(paid) == set(log) and len(paid) <= len(log) + 1
    )  # one may have been killed between its end and its storing


def test_caps_end_a_learner_and_may_be_raised(config: dict[str, Any], uninterrupted: Any, tmp_path: Path) -> None:
    settings = {**config, "output": tmp_path / "run", "policy": {"frames": 1, "max_labels": 1}}
    few = fw.learn(settings, reference=Copper(tmp_path / "log"))
    assert few.labels == 1 and "1 structures are labelled, as many as are allowed" in few.reason
    assert few.rounds[-1]["last"] and len(few.data) == 17  # how far the potential of all labels comes is seen as well
    rounds = fw.learn({**settings, "policy": {"frames": 1, "max_rounds": 1}}, reference=Copper(tmp_path / "log"))
    assert "rounds are done" in rounds.reason


def test_walks_under_way_stop_when_the_time_is_over_and_go_on_with_more(
    config: dict[str, Any], uninterrupted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**config, "output": tmp_path / "run"}
    hours = iter(range(10**6))  # an hour passes whenever the clock is looked at
    with monkeypatch.context() as patched:
        patched.setattr(time_limit, "time", SimpleNamespace(monotonic=lambda: 3600.0 * next(hours)))
        few = {**settings, "policy": {**config["policy"], "max_hours": 9.5}}
        stopped = fw.learn(few, reference=Copper(tmp_path / "log"))
    assert next(hours) == 11 and stopped.rounds == () and stopped.potential.species == (29,)
    assert "as long as is allowed; with more it goes on in round 0" in stopped.reason
    trajectory = tmp_path / "run/rounds/0000/walks/hot-0/trajectory.extxyz"
    assert 1 <= trajectory.read_text().count("Lattice") < 10  # stopped on its way
    fw.learn(settings, reference=Copper(tmp_path / "log"))
    assert what_is_left(tmp_path / "run") == what_is_left(uninterrupted[0].folder)
    assert sorted((tmp_path / "log").read_text().split()) == sorted(uninterrupted[1])


@pytest.mark.slow
def test_ranges_are_searched_again_after_so_many_rounds(config: dict[str, Any], tmp_path: Path) -> None:
    settings = {
        **config, "output": tmp_path / "run", "model": {**config["model"], "rcut": {"low": 4.0, "high": 5.0}},
        "fit": {**config["fit"], "study": {"trials": 2, "initial": 2, "sampler": "random"}},
        "novelty": {**config["novelty"], "factor": 1.0, "quantile": 0.5},  # always something to learn
    }  # fmt: skip
    fits: list[Any] = []
    for rounds in (2, 4):  # killed between, it would go on likewise
        policy = {"frames": 1, "max_rounds": rounds, "retune_every": 2}
        result = fw.learn({**settings, "policy": policy}, reference=Copper(tmp_path / "log"))
        fits = [done["fit"] for done in result.rounds]
    assert [of["searched"] for of in fits] == [True, False, True, False]
    cutoffs = [of["settled"]["rcut"] for of in fits]
    assert cutoffs[0] == cutoffs[1] and cutoffs[2] == cutoffs[3] and 4.0 < min(cutoffs) <= max(cutoffs) < 5.0
    assert 4.0 < result.potential.cutoff < 5.0


@pytest.mark.slow
def test_walkers_of_lammps_learn_as_well(config: dict[str, Any], uninterrupted: Any, tmp_path: Path) -> None:
    walker = {**config["walkers"], "engine": "lammps", "copies": 1, "name": "lmp"}
    settings = {
        **config, "output": tmp_path / "run", "walkers": walker, "policy": {"frames": 2, "max_rounds": 1},
        "novelty": {**config["novelty"], "factor": 1.0},
    }  # fmt: skip
    first = fw.learn(settings, reference=Copper(tmp_path / "log"))
    (walk,) = first.rounds[0]["walks"]
    assert "times the limit" in walk["reason"] and not walk["completed"] and first.labels == 2
    assert (tmp_path / "run/rounds/0000/waypoints").exists()
    result = fw.learn({**settings, "policy": {"frames": 2, "max_rounds": 2}}, reference=Copper(tmp_path / "log"))
    assert result.rounds[1]["walks"][0]["reached_ps"] > walk["reached_ps"]


def test_a_second_learner_in_the_same_folder_is_refused(config: dict[str, Any], tmp_path: Path) -> None:
    settings = {**config, "output": tmp_path / "run"}
    ready = tmp_path / "ready"

    def holds(words: str) -> None:
        ready.touch()
        time.sleep(60)

    child = os.fork()
    if child == 0:
        try:
            fw.learn(settings, reference=Copper(tmp_path / "log"), on_step=holds)
        finally:
            os._exit(1)
    try:
        while not ready.exists():
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
            time.sleep(0.02)
        with pytest.raises(InputError, match="another process"):
            fw.learn(settings, reference=Copper(tmp_path / "log"))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    few = {**settings, "policy": {**settings["policy"], "max_rounds": 1}}
    assert fw.learn(few, reference=Copper(tmp_path / "log")).labels  # and goes on once the other is gone


def test_random_packings_are_relaxed_and_heated_until_they_fail(config: dict[str, Any], tmp_path: Path) -> None:
    packing = {"compositions": [{"Cu": 4}, {"Cu": 5}], "volume_per_atom_A3": [13.0, 16.0], "factor": 0.92}
    heat = {
        "ensemble": "nvt", "time_ps": 0.2, "temperature_K": [300, 9000], "timestep_fs": 4, "thermostat": "langevin",
    }  # fmt: skip
    walker = {
        "packing": packing, "stages": [{"ensemble": "relax", "max_steps": 5}, heat],
        "monitors": {"temperature_factor": None},
    }  # fmt: skip
    result = fw.learn(
        {
            **config, "output": tmp_path / "run", "walkers": walker, "filter": {"force_factor": None},
            "policy": {"kind": "failure", "take": "evenly", "frames": 3, "max_rounds": 2},
            "novelty": {"kind": "distance", "every_fs": 20, "factor": 5.0},
        },
        reference=Copper(tmp_path / "log"),
    )  # fmt: skip
    assert len(result.rounds) == 2 and result.labels >= 3
    sizes = {len(frame.structure) for frame in result.data if frame.labels.group == "learned"}
    assert sizes <= {4, 5} and all(walk["from_ps"] == 0 for done in result.rounds for walk in done["walks"])
    times = [row["time_ps"] for row in result.rounds[0]["chosen"]]
    assert times == sorted(times) and len(set(times)) == 3


def walk_of(novelty: Sequence[float], structures: Sequence[Structure]) -> Walk:
    """Return a walk that was stopped, with these novelties of its frames."""
    frames = [Snapshot(structure, time=float(k)) for k, structure in enumerate(structures)]
    alarm = Alarm("extrapolation_factor", "outside", len(frames), 0.001 * len(frames))
    result: Any = SimpleNamespace(alarm=alarm)
    return Walk("w", 0.0, 1.0, result, frames, np.array(novelty), [0] * len(frames))


def test_what_is_chosen_is_new_but_not_far_outside_and_never_twice() -> None:
    policy = DiversePolicy(PolicySettings(frames=3), FilterSettings(), factor=2.0)
    rng = np.random.default_rng(0)
    structures = [Structure.from_ase(copper(0.1, rng)) for _ in range(6)]

    def chosen(novelty: Sequence[float], count: int = 3, of: Sequence[Structure] = structures) -> list[int]:
        picked = policy.choose([walk_of(novelty, of)], count, np.random.default_rng(0))
        assert all(candidate.novel for candidate in picked)
        return [candidate.index for candidate in picked]

    assert chosen([0.5, 1.2, 0.9, 3.0, 40.0, 900.0]) == [1, 3]  # beyond 5 times the factor nothing is sound
    assert chosen([0.5, 0.9, 0.9, 0.9, 900.0, 40.0]) == [5]  # unless there is nothing else
    assert len(chosen([2.0] * 6)) == 3 and chosen([2.0] * 6, count=0) == []  # when all labels are used up
    assert chosen([2.0, 3.0], of=[structures[0]] * 2) == [0]
    walks = [walk_of([2.5], structures[:1])] * 2  # two walkers that are stopped where they begin
    assert len(policy.choose(walks, 3, rng)) == 1


def test_frames_that_were_chosen_as_new_do_not_raise_the_limit(config: dict[str, Any]) -> None:
    start, rng = fw.read(config["start"]), np.random.default_rng(3)
    far = fw.Dataset.from_ase([copper(0.15, rng) for _ in range(6)])
    marked = [Frame(s, replace(known, info={"novel": True}), f"#{k}") for k, (s, known, _) in enumerate(far.frames)]
    study = {"model": config["model"], **config["fit"], "stability": "off", "committee": 4, "uncertainty": "rematch"}
    limits = []
    for data in (start, start + Dataset(tuple(marked)), start + far):
        potential = fw.fit(data, **study).potential
        known = [calibration_of(potential, kind) for kind in ("committee", "rematch", "grade")]
        assert all(of is not None and of.frames == (22 if data[-1].labels.info == {} and len(data) > 16 else 16)
                   for of in known)  # fmt: skip
        limits.append([of.limit for of in known if of is not None])
    assert (np.array(limits[1]) < 0.5 * np.array(limits[2]))[:2].all()


def test_settings_that_earlier_versions_did_not_know_make_no_other_learner() -> None:
    """The hash is of the version before references had properties: what is new must not enter it at its default."""
    pair = {"pair_style": "lj/cut 8.5", "pair_coeff": "1 1 0.01 3.4", "species": ["Ar"]}
    settings = LearnConfig.model_validate({
        "model": {"kind": "ace"}, "start": "start.extxyz", "reference": {"lammps": pair}, "output": "run",
        "walkers": {"structure": {"bulk": "Ar"}, "stages": [{"ensemble": "nvt", "temperature_K": 9, "time_ps": 1}]},
    })  # fmt: skip
    atom = Structure(np.array([18]), np.zeros((1, 3)))
    identity = identity_of(settings, [Dataset((Frame(atom, Labels(-1.0), "#0"),))], {}, Copper(Path("log")))
    assert identity == "c83ec17be753ba136ee6cc7310db4d39be81b9b7d7d0a8e1eec89911f08bbe37"


def test_what_is_left_of_stages() -> None:
    relax = Stage(ensemble="relax")
    heat = Stage(ensemble="nvt", time_ps=1.0, temperature_K=(100.0, 300.0), timestep_fs=2.0)
    hold = Stage(ensemble="npt", time_ps=2.0, temperature_K=300.0, pressure_GPa=(0.0, 2.0))
    plan = [relax, heat, hold]
    assert remaining_stages(plan, 0.0) == plan
    first, second = remaining_stages(plan, 0.25)
    assert first.time_ps == 0.75 and first.temperature_K == (150.0, 300.0) and second == hold
    (only,) = remaining_stages(plan, 2.0)
    assert only.time_ps == 1.0 and only.pressure_GPa == (1.0, 2.0)
    assert remaining_stages(plan, 3.0) == []


def test_what_makes_no_sense_is_neither_labelled_nor_learned(config: dict[str, Any]) -> None:
    start, sense = fw.read(config["start"]), FilterSettings()
    pair = Structure(np.array([29, 29]), np.array([[0, 0, 0], [0, 0, 1.1]]), np.zeros((3, 3)), np.zeros(3, dtype=bool))
    assert closest_share(pair, 0.5) == pytest.approx(1.1 / 2.64, abs=0.01)
    energies = [known.energy / 8 for known in start.labels]
    forces = max(np.linalg.norm(known.forces, axis=1).max() for known in start.labels)
    usual = start.labels[0].forces
    assert outlier(Labels(8 * energies[0], usual), 8, start, sense) is None
    assert "an energy of" in (outlier(Labels(8 * (max(energies) + 2.1), usual), 8, start, sense) or "")
    assert "an energy of" in (outlier(Labels(8 * (min(energies) - 2.1), usual), 8, start, sense) or "")
    far = np.zeros((8, 3))
    far[3] = [11 * forces, 0, 0]
    assert "a force of" in (outlier(Labels(8 * energies[0], far), 8, start, sense) or "")


def test_mistakes_are_sentences(config: dict[str, Any], tmp_path: Path) -> None:
    wrong = [
        ({"fit": {"committee": 3}}, "committee, which the learner settles"),
        ({"model": {"kind": "gap"}}, "novelty.kind.*take distance for gap"),
        ({"walkers": [{**config["walkers"], "structure": {"bulk": "Ni"}}]}, "holds no Ni, which walker hot-0 has"),
        ({"walkers": [config["walkers"]] * 2}, "the name of two walkers"),
        ({"novelty": {"kind": "surprise"}}, "novelty.kind"),
        (
            {"reference": {"lammps": {"pair_style": "lj/cut 4", "pair_coeff": "1 1 0.4 2.3", "species": ["Ni"]}}},
            "label",
        ),
    ]
    for change, words in wrong:
        with pytest.raises(InputError, match=words):
            fw.learn({**config, **change, "output": tmp_path / "wrong"})


def test_rounds_that_are_not_known_to_be_of_this_config_are_refused(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run/rounds/0000").mkdir(parents=True)
    (tmp_path / "run/rounds/0000/round.json").write_text("{}")
    with pytest.raises(InputError, match="holds a learner of another config"):
        fw.learn({**config, "output": tmp_path / "run"}, reference=Copper(tmp_path / "log"))
