"""Objectives that worker processes import: this file is light, and so are their starts."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from forcewright.errors import InputError
from forcewright.optimize.settings import StudySettings
from forcewright.optimize.space import Categorical, Integer, Params, Real, Space
from forcewright.optimize.workers import Outcome

if TYPE_CHECKING:
    from forcewright.optimize.journal import TrialRecord

SPACE = Space({"x": Real(1e-2, 1e2, log=True), "n": Integer(1, 9), "kind": Categorical(("a", "b"))})
SETTINGS = StudySettings(trials=16, initial=6, acquisition="gp_hedge")


def smooth(params: Params, index: int) -> Outcome:
    loss = (np.log10(params["x"]) - 1) ** 2 + 0.05 * (params["n"] - 4) ** 2 + (params["kind"] == "a") + 0.1
    return Outcome(float(loss), {"index": index, "array": np.arange(2), "bad": np.nan})


def sleepy(params: Params, index: int) -> Outcome:
    time.sleep(np.random.default_rng().uniform(0, 0.03))  # another time in every run
    return failing(params, index)


def failing(params: Params, index: int) -> Outcome:
    if index == 4:
        raise ValueError("no such basis")
    if index == 7:
        raise InputError("the cutoff is too short", field="rcut")
    if index == 8:
        return Outcome(float("nan"))
    if index == 9:
        return Outcome(float("inf"))
    if index == 10:
        raise SystemExit("gone")
    return smooth(params, index)


def dying(params: Params, index: int) -> Outcome:
    if index in (1, 8):
        os._exit(3)
    return smooth(params, index)


def essence(trials: list[TrialRecord]) -> list[tuple[Any, ...]]:
    return [(t.index, t.state, t.phase, t.params, t.loss, t.metrics, t.error, t.portfolio) for t in trials]


def napping(params: Params, index: int) -> Outcome:
    time.sleep(0.02 + 0.03 * (index % 3 == 0))
    return smooth(params, index)
