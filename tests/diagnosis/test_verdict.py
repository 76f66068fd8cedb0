"""The same evidence gives the same verdict, whatever system it came from."""

from __future__ import annotations

from typing import Any

import pytest

from forcewright.diagnosis.verdict import Evidence, judge

CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"falls_in": True, "has_wall": False, "close_ps": 0.5, "asked": True, "wrong_ps": 0.6},
     "no repulsive core", "novel and wrong"),
    ({"pressure_bias": 2.0, "pressure_sigmas": 40.0, "pressure_ps": 0.0, "volume_ps": 0.3, "stress_labels": 0,
      "density_range": 1.0, "asked": True}, "one density or no stresses", "known and wrong"),
    ({"volume_ps": 0.3, "novel_ps": 0.5, "stress_labels": 0, "density_range": 1.0}, "one density or no stresses",
     "novel, labels not known"),
    ({"step_too_long": True, "novel_ps": 0.9, "wrong_ps": 0.95, "asked": True}, "too long a time step", "known and right"),
    ({"novel_ps": 0.1, "wrong_ps": 0.4, "asked": True, "force_scale": 1.6}, "hotter than the data", "novel and wrong"),
    ({"novel_ps": 0.1, "wrong_ps": 0.4, "asked": True, "force_scale": 1.0, "pressure_bias": 0.4,
      "pressure_sigmas": 4.0, "density_range": 1.02, "pressure_ps": 0.3, "falls_in": True}, "too few data", "novel and wrong"),
    ({"wrong_ps": 0.4, "asked": True}, "too little capacity", "known and wrong"),
    ({"asked": True}, "thermostat or barostat", "known and right"),
    ({"asked": True, "novel_ps": 0.2, "stopped_outside": True}, "none", "novel and right"),
    ({"asked": True, "stopped": True}, "none", "known and right"),
    ({"novelty_known": False}, "unknown", "novelty not known, labels not known"),
    ({"broke": False, "asked": True, "novel_ps": 0.2}, "none", "novel and right"),
    ({"broke": False, "asked": True, "pressure_bias": -0.5, "pressure_sigmas": 9.0, "pressure_ps": 0.0},
     "one density or no stresses", "known and wrong"),
]  # fmt: skip


@pytest.mark.parametrize(("evidence", "cause", "quadrant"), CASES)
def test_what_follows_from_what(evidence: dict[str, Any], cause: str, quadrant: str) -> None:
    verdict = judge(Evidence(**{"broke": True, "break_ps": 1.0, **evidence}))
    assert (verdict.cause, verdict.quadrant) == (cause, quadrant)
    assert verdict.remedy and verdict.reasons


def test_where_the_data_have_stresses_of_several_densities_fitting_stresses_is_no_advice() -> None:
    wrong = {"broke": False, "break_ps": 1.0, "asked": True, "pressure_bias": 0.5, "pressure_sigmas": 9.0}
    assert judge(Evidence(**wrong, stress_labels=0, density_range=1.5)).remedy.startswith("Fit stresses")
    known = judge(Evidence(**wrong, stress_labels=37, density_range=1.5))
    assert known.cause == "one density or no stresses" and "raise their weight" in known.remedy
