from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

import forcewright as fw
from forcewright.configs import validate
from forcewright.errors import InputError
from forcewright.recipes import physics_search
from forcewright.recipes.physics_search import PhysicsSearchSettings


@pytest.fixture
def config(copper: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "data": {"train": str(copper / "train.extxyz")}, "output": str(tmp_path / "out"), "workers": 1,
        "validation": {"kfold": 3}, "weights": {"by": "all"}, "search": {"starts": 1, "evaluations": 4},
        "stability": "off", "short_range": "off", "study": {"trials": 3, "initial": 3, "sampler": "random"},
        "model": {"kind": "snap", "twojmax": 2, "rcut": {"low": 3.0, "high": 4.5}},
        "physics": {
            "structure": {"bulk": "Cu", "cubic": True}, "properties": {"equation_of_state": {}},
            "sets": {"apart": [str(copper / "test.extxyz")]},
            "limits": {"equation_of_state.a0_A": {"at_least": 3.0, "at_most": 4.2}}, "candidates": 3,
        },
    }  # fmt: skip


def test_a_limit_chooses_another_trial_than_the_loss(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config["physics"]["limits"]["apart.force_rmse_eV_per_A"] = {"at_most": 1e3}
    real = physics_search.evaluate
    judged: list[Any] = []

    def evaluated(potential: Any, dataset: Any, **options: Any) -> Any:
        judged.append(potential)
        table = real(potential, dataset, **options)
        if len(judged) == 1:  # the one of the lowest loss is beyond a limit
            table = type(table)(
                type(table.overall)(**{**table.overall.to_dict(), "force_rmse_eV_per_A": 1e4}), {}, table.parity
            )
        return table

    monkeypatch.setattr(physics_search, "evaluate", evaluated)
    result = fw.tune(config)
    search = result.summary["physics_search"]
    order = sorted(result.trials, key=lambda trial: trial.loss)
    first = order[0].index
    assert search["best_by_loss"] == first and result.summary["best_trial"] == search["best"] == order[1].index
    assert [row["exceeds"] for row in search["candidates"]] == ["apart.force_rmse_eV_per_A", None]
    lattice = search["candidates"][1]["values"]["equation_of_state.a0_A"]
    assert 3.3 < lattice < 4.0  # of copper
    assert "equation_of_state.a0_A" not in search["candidates"][0]["values"]
    page = Path(config["output"], "report.html").read_text()
    assert "Physics that selected" in page and f"The loss alone would have chosen trial {first}" in page

    # what was computed is kept: another limit asks for nothing again
    config["physics"]["limits"]["apart.force_rmse_eV_per_A"] = {"at_most": 1e5}
    again = fw.tune(config).summary["physics_search"]
    assert again["best"] == first and len(judged) == 2
    kept = json.loads(Path(config["output"], physics_search.FILE).read_text())
    assert len(kept["values"]) == 4


@pytest.mark.slow
@pytest.mark.probed
def test_survival_as_a_limit_picks_a_potential_that_survives_where_the_loss_picks_one_that_does_not(
    tmp_path: Path,
) -> None:
    rng, frames = np.random.default_rng(0), []
    for _ in range(12):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell * (1 + 0.02 * rng.normal()), scale_atoms=True)
        atoms.positions += 0.05 * rng.normal(size=(4, 3))
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(atoms)
    # as little damped as gives the least loss, and without a core: few cold frames say nothing of hot ones
    study = {
        "data": {"train": frames}, "validation": {"kfold": 3}, "workers": 1, "short_range": "off",
        "stability": {"temperature_K": 2500, "runs": 4, "time_ps": 0.5, "packings": 0, "seed": 5,
                      "budget_s": 600},
        "model": {"kind": "ace", "functions": {"choices": [10, 30, 150, 400]}, "rcut": 4.5, "radial": "SBessel",
                  "repulsion": None},
        "weights": {"by": "all"}, "prior": {"scale": "data"}, "search": {"starts": 1, "evaluations": 6, "caution": 0},
        "study": {"trials": 6, "initial": 6},
    }  # fmt: skip
    physics = {"probe": {"temperature_K": 2500, "runs": 4, "time_ps": 0.5},
               "limits": {"probe.survived": {"at_least": 1}}}  # fmt: skip
    by_loss = fw.tune({**study, "output": str(tmp_path / "loss")}).summary
    by_both = fw.tune({**study, "physics": physics, "output": str(tmp_path / "both")}).summary
    assert by_both["physics_search"]["best_by_loss"] == by_loss["best_trial"] != by_both["best_trial"]
    # told by runs from other starts, with other velocities, than those that selected
    runs = [summary["stability"]["runs"] for summary in (by_loss, by_both)]
    assert [part["done"] for part in runs] == [4, 4]
    assert runs[0]["survived"] < runs[1]["survived"] == 4, runs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limits": {}}, "needs limits or objectives"),
        ({"limits": {"elastic.C11_GPa": {"at_least": 1}}}, "is no quantity"),
        ({"limits": {"probe.survived": {"at_least": 1}}}, "is no quantity"),
        ({"limits": {"equation_of_state.a0_A": {}}}, "at_least, at_most, or both"),
        ({"structure": None}, "need structure"),
    ],
)
def test_mistakes_are_named(config: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate(PhysicsSearchSettings, {**config["physics"], **change})


def test_a_number_that_no_property_has_is_named(config: dict[str, Any]) -> None:
    config["physics"]["limits"] = {"equation_of_state.a1_A": {"at_least": 1.0}}
    with pytest.raises(InputError, match=r"a1_A; of equation_of_state there are .*a0_A"):
        fw.tune(config)
