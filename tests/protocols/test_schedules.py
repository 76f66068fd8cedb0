"""Schedules: rates, order of temperatures, and what makes no sense."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from forcewright.errors import InputError
from forcewright.protocols.schedules import SCHEDULES, Compress, HeatUntilFailure, MeltQuench, Ramp


def test_a_quench_takes_as_long_as_its_rate_says() -> None:
    # 1e13 K/s is 10 K/ps
    stages = MeltQuench(melt_K=3000, liquid_K=2000, final_K=500, rate_K_per_s=1e13, pressure_GPa=0).stages()
    assert [stage.name for stage in stages] == ["melt", "liquid", "quench", "anneal", "relax"]
    melt, liquid, quench, anneal, relax = stages
    assert quench.time_ps == pytest.approx(150) and quench.steps == 150_000
    assert quench.temperature_K == (2000, 500)
    assert (melt.ensemble, liquid.ensemble, quench.ensemble) == ("nvt", "npt", "npt")
    assert anneal.temperature_K == (500, 500)
    assert relax.ensemble == "relax" and relax.pressure_GPa == (0, 0) and relax.steps == 0


def test_each_stage_begins_where_the_one_before_ended() -> None:
    for schedule in (
        MeltQuench(melt_K=3000, final_K=500, anneal_ps=2, relax=False),
        Ramp(temperature_K=(300, 900), rate_K_per_s=1e13, hold_ps=1),
        HeatUntilFailure(),
    ):
        temperatures = [stage.temperature_K for stage in schedule.stages()]
        assert all(before[1] == after[0] for before, after in zip(temperatures, temperatures[1:], strict=False))


def test_melting_at_a_pressure_where_it_is_asked_for() -> None:
    assert MeltQuench(melt_K=2500, pressure_GPa=1, melt_at="pressure").stages()[0].ensemble == "npt"


def test_compression_ramps_the_pressure() -> None:
    hold, ramp = Compress(temperature_K=500, pressures_GPa=(0, 20), rate_GPa_per_ps=0.1).stages()
    assert ramp.time_ps == pytest.approx(200) and ramp.pressure_GPa == (0, 20) and ramp.temperature_K == (500, 500)
    assert hold.pressure_GPa == (0, 0)
    assert Compress(temperature_K=500, pressures_GPa=(5, 0), rate_GPa_per_ps=1).stages()[1].name == "decompress"


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("melt_quench", {"melt_K": 300, "final_K": 500}, "must fall"),
        ("melt_quench", {"melt_K": 2000, "liquid_K": 2500}, "must fall"),
        ("melt_quench", {"melt_K": 2000, "rate_K_per_s": -1}, "greater than 0"),
        ("compress", {"temperature_K": 300, "pressures_GPa": (1, 1), "rate_GPa_per_ps": 1}, "equal"),
        ("compress", {"temperature_K": 300, "pressures_GPa": (0, 1), "rate_GPa_per_ps": 1, "pressure_GPa": 0}, "place"),
        ("equilibrate", {"temperature_K": -3, "time_ps": 1}, "greater than or equal to 0"),
        ("equilibrate", {"temperature_K": 3, "time_ps": 1, "tiem": 1}, "not permitted"),
    ],
)
def test_what_makes_no_sense_is_refused(kind: str, values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SCHEDULES[kind].model_validate(values)


def test_a_ramp_needs_two_temperatures() -> None:
    with pytest.raises(InputError, match="begins and ends at 300 K"):
        Ramp(temperature_K=(300, 300), rate_K_per_s=1e13).stages()
