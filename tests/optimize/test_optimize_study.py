from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optimize_objectives import SETTINGS, SPACE, dying, essence, failing, sleepy, smooth
from pydantic import ValidationError

from forcewright.errors import ForcewrightError, InputError
from forcewright.execution.processes import process_pool
from forcewright.optimize.evaluation import StudyError
from forcewright.optimize.journal import TrialRecord, read_trials
from forcewright.optimize.settings import StudySettings
from forcewright.optimize.space import Integer, Params, Real, Space
from forcewright.optimize.study import Study
from forcewright.optimize.workers import Outcome


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "study" / "journal.jsonl"


EXECUTORS: list[Callable[[], Executor]] = [
    partial(ThreadPoolExecutor, 1),
    partial(ThreadPoolExecutor, 2),
    partial(ThreadPoolExecutor, 4),
    partial(ProcessPoolExecutor, 2, get_context("spawn")),
    partial(process_pool, 4),
]


def test_same_trials_whatever_the_workers(tmp_path: Path) -> None:
    runs = []
    for k, executor in enumerate(EXECUTORS):
        with Study(SPACE, tmp_path / f"{k}.jsonl", SETTINGS) as study:
            runs.append(essence(study.run(sleepy, executor, in_flight=None if k % 2 else 4)))
    assert len(runs[0]) == 16
    assert all(run == runs[0] for run in runs[1:])


def test_failures_are_recorded_and_never_the_end(journal: Path, pool: Executor) -> None:
    seen: list[int] = []
    with Study(SPACE, journal, SETTINGS) as study:
        trials = study.run(failing, pool, lambda record: seen.append(record.index))
    assert sorted(seen) == [t.index for t in trials] == list(range(16))
    assert {t.index: t.error for t in trials if t.state == "failed"} == {
        4: "ValueError: no such basis",
        7: "field 'rcut': the cutoff is too short",
        8: "the loss is nan, not a finite number",
        9: "the loss is inf, not a finite number",
        10: "SystemExit: gone",
    }
    assert trials[4].traceback is not None and "in failing" in trials[4].traceback
    assert trials[7].traceback is None
    assert study.best.loss == min(t.loss for t in trials if t.loss is not None)
    assert trials[0].metrics == {"index": 0, "array": [0, 1], "bad": None}


def test_a_dead_worker_fails_only_the_trial_that_killed_it(journal: Path, tmp_path: Path) -> None:
    with Study(SPACE, journal, SETTINGS) as study:
        trials = study.run(dying, partial(process_pool, 2), in_flight=3)
    assert [t.index for t in trials if t.state == "failed"] == [1, 8]
    assert "the worker process died" in str(trials[1].error)
    with Study(SPACE, tmp_path / "alone.jsonl", SETTINGS) as study:
        assert essence(study.run(dying, partial(process_pool, 1), in_flight=1)) == essence(trials)


def test_a_given_executor_that_breaks_ends_the_run_in_words(journal: Path) -> None:
    with Study(SPACE, journal, SETTINGS) as study, process_pool(1) as executor:
        with pytest.raises(StudyError, match="a worker process died.*resumed"):
            study.run(dying, executor, in_flight=1)
        assert [(t.index, t.state) for t in study.trials] == [(0, "complete"), (1, "failed")]


@pytest.mark.parametrize("result", [3.0, Outcome(1.0, {"f": object()}), Outcome("low")])  # type: ignore[arg-type]
def test_unusable_outcome_is_a_failed_trial(journal: Path, pool: Executor, result: Any) -> None:
    with Study(SPACE, journal, StudySettings(trials=2, initial=2)) as study:
        trials = study.run(lambda params, index: result, pool)
        with pytest.raises(StudyError, match=r"all 2 trials failed; the most frequent error \(2 times\) is:"):
            _ = study.best
    assert [t.state for t in trials] == ["failed"] * 2


def test_resume_evaluates_only_what_is_missing(journal: Path, tmp_path: Path, pool: Executor) -> None:
    with Study(SPACE, tmp_path / "whole.jsonl", SETTINGS) as study:
        whole = essence(study.run(smooth, pool))
    evaluated: list[int] = []

    def counted(params: Params, index: int) -> Outcome:
        evaluated.append(index)
        return smooth(params, index)

    for trials in (3, 9, 16):
        with Study(SPACE, journal, SETTINGS.model_copy(update={"trials": trials})) as study:
            finished = study.run(counted, pool)
            assert len(finished) == trials
    assert essence(finished) == whole
    assert sorted(evaluated) == list(range(16))
    with Study(SPACE, journal, SETTINGS) as study:
        assert essence(study.trials) == whole
        assert study.run(counted, pool) == finished
    assert len(evaluated) == 16


@pytest.mark.parametrize("missing", [{15}, {8}, {0, 9}, {2, 10, 12, 14}])
def test_gaps_are_filled_with_the_same_trials(tmp_path: Path, pool: Executor, missing: set[int]) -> None:
    with Study(SPACE, tmp_path / "whole.jsonl", SETTINGS) as study:
        whole = essence(study.run(smooth, pool))
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not any(f'"index":{k},"seed"' in line for k in missing)]
    assert len(lines) - len(kept) == len(missing)
    (tmp_path / "gaps.jsonl").write_text("".join(kept))
    with Study(SPACE, tmp_path / "gaps.jsonl", SETTINGS) as study:
        assert essence(study.run(smooth, pool)) == whole


@pytest.mark.parametrize("tail", ['{"op_code":4,"worker', '{"op_code"', '{"op_code":4,"value":1}', "\0\0\0"])
def test_torn_last_line_is_cut_off(journal: Path, pool: Executor, tail: str) -> None:
    with Study(SPACE, journal, SETTINGS) as study:
        before = study.run(smooth, pool)
    text = journal.read_text()
    journal.write_text(text + tail)
    assert read_trials(journal) == before
    with Study(SPACE, journal, SETTINGS) as study:
        assert study.trials == before
    assert journal.read_text() == text


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda lines: ["a note\n"], "line 1 is not from a study"),
        (lambda lines: [*lines[:3], lines[3][:40] + "\n", *lines[4:]], "line 4 is not from a study"),
        (lambda lines: [*lines, lines[-1]], "occurs twice"),
    ],
)
def test_damaged_journal_is_refused_and_left_alone(
    journal: Path, pool: Executor, damage: Callable[[list[str]], list[str]], words: str
) -> None:
    with Study(SPACE, journal, SETTINGS) as study:
        study.run(smooth, pool)
    damaged = "".join(damage(journal.read_text().splitlines(keepends=True)))
    journal.write_text(damaged)
    for _ in range(2):  # a refused journal is not held
        with pytest.raises(InputError, match=words):
            Study(SPACE, journal, SETTINGS)
    assert journal.read_text() == damaged


def test_changed_config_is_refused(journal: Path) -> None:
    Study(SPACE, journal, SETTINGS, "abc").close()
    Study(SPACE, journal, SETTINGS.model_copy(update={"trials": 99, "patience": 3, "timeout_s": 1.0}), "abc").close()
    other = Space({**SPACE.ranges, "n": Integer(1, 10)})
    changes: list[tuple[Space, StudySettings, str, str]] = [
        (SPACE, SETTINGS, "abd", "its hash differs"),
        (SPACE, SETTINGS.model_copy(update={"seed": 3}), "abc", "settings.seed was 0, is 3"),
        (other, SETTINGS, "abd", "space.n.high was 9, is 10"),
    ]
    for space, settings, fingerprint, words in changes:
        with pytest.raises(InputError, match=f"begun with another config.*{words}.*--fresh"):
            Study(space, journal, settings, fingerprint)


def test_two_at_once_are_refused(journal: Path) -> None:
    with (
        Study(SPACE, journal, SETTINGS),
        pytest.raises(InputError, match=rf"run by another process \(id {os.getpid()}\)"),
    ):
        Study(SPACE, journal, SETTINGS)
    Study(SPACE, journal, SETTINGS).close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_does_not_keep_the_lock(journal: Path) -> None:
    study = Study(SPACE, journal, SETTINGS)
    child = get_context("fork").Process(target=time.sleep, args=(30,))
    child.start()
    study.close()
    for _ in range(100):  # the child closes it when it comes to run
        try:
            Study(SPACE, journal, SETTINGS).close()
            break
        except InputError:
            time.sleep(0.1)
    else:
        pytest.fail("the child still holds the lock")
    child.kill()
    child.join()


def test_patience(tmp_path: Path) -> None:
    def flat(params: Params, index: int) -> Outcome:
        time.sleep(np.random.default_rng().uniform(0, 0.01))
        return Outcome({0: 5.0, 2: 3.0, 9: 2.0}.get(index, 4.0))

    lengths = []
    for sampler in ("gp", "random"):
        for workers in (1, 3):
            settings = StudySettings(trials=40, initial=6, patience=5, sampler=sampler)
            with Study(SPACE, tmp_path / f"{sampler}{workers}", settings) as study:
                lengths.append(len(study.run(flat, partial(ThreadPoolExecutor, workers))))
                lengths.append(len(study.run(flat, partial(ThreadPoolExecutor, workers))))
    # the last gain is trial 9, trials 10 to 14 bring none, and trial 15 is open by then (batch 2)
    assert lengths == [16] * 8


def test_time_stop_finishes_what_is_under_way(journal: Path) -> None:
    def slow(params: Params, index: int) -> Outcome:
        time.sleep(0.1)
        return smooth(params, index)

    start = time.monotonic()
    with Study(SPACE, journal, SETTINGS.model_copy(update={"timeout_s": 0.25})) as study:
        first = study.run(slow, partial(ThreadPoolExecutor, 2))
        assert time.monotonic() - start < 2.0
        assert 2 <= len(first) <= 8
    with Study(SPACE, journal, SETTINGS) as study:
        assert essence(study.run(smooth, partial(ThreadPoolExecutor, 2)))[: len(first)] == essence(first)


def test_interrupt_leaves_a_study_that_can_be_resumed(journal: Path, tmp_path: Path, pool: Executor) -> None:
    def stop(record: TrialRecord) -> None:
        if record.index == 9:
            raise KeyboardInterrupt

    def interrupted(params: Params, index: int) -> Outcome:
        if index == 12 and threading.current_thread() is not threading.main_thread():
            raise KeyboardInterrupt  # Ctrl-C reaches the workers as well; it is no failed trial
        return smooth(params, index)

    with Study(SPACE, journal, SETTINGS) as study:
        with pytest.raises(KeyboardInterrupt):
            study.run(smooth, pool, stop)
        with pytest.raises(KeyboardInterrupt):
            study.run(interrupted, pool)
        assert all(t.state == "complete" for t in study.trials)
        assert len(study.trials) < 16
        resumed = essence(study.run(smooth, pool))
    with Study(SPACE, tmp_path / "whole.jsonl", SETTINGS) as study:
        assert essence(study.run(smooth, pool)) == resumed


def test_reading_while_another_runs(journal: Path, pool: Executor) -> None:
    with pytest.raises(InputError, match="no study here"):
        read_trials(journal)
    seen: list[int] = []
    with Study(SPACE, journal, SETTINGS) as study:
        with pytest.raises(InputError, match="no finished trial"):
            _ = study.best
        study.run(smooth, pool, lambda record: seen.append(len(read_trials(journal))))
    assert seen == list(range(1, 17))


@pytest.mark.parametrize("trials", [8, 30])
def test_importances(journal: Path, pool: Executor, trials: int) -> None:
    def loss(params: Params, index: int) -> Outcome:
        return Outcome(1 + 5 * np.log10(params["x"]) ** 3 + 0.2 * params["n"] + 20)

    with Study(SPACE, journal, StudySettings(trials=trials, initial=trials, sampler="hammersley")) as study:
        assert study.importances() == {"x": 0.0, "n": 0.0, "kind": 0.0}
        study.run(loss, pool)
        found = study.importances()
        assert found == study.importances()
    assert next(iter(found)) == "x"
    assert found["x"] > 0.6
    assert sum(found.values()) == pytest.approx(1.0)


def test_importances_of_one_parameter_or_a_flat_loss(tmp_path: Path, pool: Executor) -> None:
    settings = StudySettings(trials=14, initial=14)
    with Study(Space({"x": Real(0, 1)}), tmp_path / "one", settings) as study:
        study.run(lambda params, index: Outcome(params["x"]), pool)
        assert study.importances() == {"x": 1.0}
    with Study(SPACE, tmp_path / "flat", settings) as study:
        study.run(lambda params, index: Outcome(1.0), pool)
        assert set(study.importances().values()) == {0.0}


def test_settings_as_in_a_config() -> None:
    settings = StudySettings.model_validate({"settings": 40, "initial": 8, "timeout_s": 60})
    assert settings.trials == 40
    assert all(field.description for field in StudySettings.model_fields.values())
    with pytest.raises(ValidationError, match=r"initial \(16\) exceeds the number of trials \(4\)"):
        StudySettings.model_validate({"settings": 4, "initial": 16})
    assert StudySettings.model_validate({"trials": 4}).initial == 4  # all of few trials are initial ones
    with pytest.raises(ValidationError, match="aquisition"):
        StudySettings.model_validate({"aquisition": "ei"})


def test_study_error_is_shown_as_one_sentence() -> None:
    assert issubclass(StudyError, ForcewrightError)
