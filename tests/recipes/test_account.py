"""What result.json and the report tell of an ACE potential beyond its errors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import forcewright as fw
from forcewright.fitting.settings import TuneStudySettings
from forcewright.models.ace import AceModel
from forcewright.recipes import account
from forcewright.recipes.provenance import citations

MODEL = {
    "kind": "ace", "functions": 40, "rcut": 4.0, "nradmax": [6, 3, 2], "lmax": [0, 3, 2], "densities": 2,
    "prune": {"products": 60}, "nonlinear": {"iterations": 3},
}  # fmt: skip
TOLD = {
    "densities": 2, "exponents": [1.0, 0.5], "fitted": True, "kept": True, "iterations": 2, "linear_loss": 0.2,
    "loss": 0.15, "change_percent": -25.0, "curve": [0.2, 0.17, 0.15, 0.16],
}  # fmt: skip


def test_a_pruned_fit_of_two_densities_is_told(config: dict[str, Any]) -> None:
    result = fw.tune({**config, "model": MODEL, "study": {"settings": 1, "initial": 1}})
    summary = json.loads((result.folder / "result.json").read_text())
    assert summary == result.summary
    basis = result.potential.fitted.basis
    assert summary["size"]["functions"] == basis.size == sum(summary["size"]["elements"].values())
    products = [f for own in result.potential.expansion.functions for f in own]
    assert summary["size"]["products"] == sum(len(f.ms) for f in products)
    assert summary["size"]["multiplications"] == sum(f.ms.size for f in products)
    pruning = summary["pruning"]
    assert pruning["before"]["functions"] == 40 > pruning["after"]["functions"] == basis.size and pruning["nested"]
    densities = summary["densities"]
    assert densities["fitted"] and densities["kept"] == (densities["loss"] < densities["linear_loss"])
    grades = summary["extrapolation"]
    expected = np.concatenate(
        [result.potential.extrapolation_grades(s) for s in fw.read(config["data"]["test"]).structures]
    )
    assert grades["set"] == "test" and grades["atoms"] == len(expected) == sum(
        row["atoms"] for row in grades["groups"].values()
    )
    assert grades["max"] == pytest.approx(expected.max()) == max(row["max"] for row in grades["groups"].values())
    assert grades["share_above_1"] == np.mean(expected > 1)
    page = (result.folder / "report.html").read_text()
    for words in ("Pruned from 40 functions", "Further densities", "Extrapolation grades", "frames outside",
                  "validation loss", "Size by rank", "Hassibi", "043801", "submatrix", "Phys. Rev. B 99, 014104"):  # fmt: skip
        assert words in page, words
    assert "Thompson" not in page and "twojmax" not in page
    assert (result.folder / "potential" / "model.yace").exists() and (
        result.folder / "potential" / "in.lammps"
    ).exists()


def test_size_counts_products_that_functions_share_once() -> None:
    basis = AceModel(functions=60, nradmax=(3, 2, 2, 2), lmax=(0, 2, 2, 2)).basis((6, 14))
    size = account.size_of(basis, densities=2)
    products = [f for own in basis.expansion(np.ones(basis.size), {}).functions for f in own]
    assert size["functions"] == basis.size and size["parameters"] == 2 * basis.size
    assert size["products"] == sum(len(f.ms) for f in products)
    for rank, row in size["ranks"].items():
        assert row["functions"] == sum(f.rank == int(rank) for f in basis.columns)
        assert row["multiplications"] == int(rank) * row["products"]
    assert account.size_of(object()) is None


def test_sentences_of_further_densities() -> None:
    assert "fell by 25.0 %, from 0.2" in account.densities_text(TOLD)
    worse = {**TOLD, "kept": False, "loss": 0.21, "change_percent": 5.0}
    assert "did not help, and the linear fit was kept" in account.densities_text(worse)
    assert "(+5.0 %)" in account.densities_text(worse)
    assert "singular" in account.densities_text(
        {"densities": 3, "exponents": [1, 0.5, 2], "fitted": False, "kept": False}
    )


def test_chosen_table_leaves_out_what_had_no_part() -> None:
    model = AceModel(radial="SBessel", repulsion=None).model_dump(mode="json", exclude_none=True)
    size = account.size_of(AceModel().basis((42,)))
    shown = account.chosen_table(model, {"size": size, "densities": None})
    assert not {"decay", "dcut", "nonlinear", "embedding", "exponents"} & set(shown)
    assert shown["size by rank"]["all"]["functions"] == shown["functions"] == 300
    both = account.chosen_table({**model, "densities": 2}, {"size": size, "densities": {**TOLD, "kept": False}})
    assert both["densities"] == "1 (of 2)" and both["exponents"] == [1.0, 0.5]
    assert set(both["nonlinear"]) == {"iterations", "patience", "amplitude", "damping"}
    assert account.chosen_table({"kind": "snap", "radii": {}, "twojmax": 4}, {}) == {"kind": "snap", "twojmax": 4}


def test_only_what_was_used_is_cited() -> None:
    def keys(model: dict[str, Any], **options: Any) -> set[str]:
        return {entry["key"] for entry in citations(model, TuneStudySettings(), False, **options)}

    assert keys({"kind": "ace"}) == {"forcewright", "xpot", "ace", "pace", "pacemaker", "numba", "ase"}
    full = keys({"kind": "ace", "prune": {"products": 10}, "repulsion": {"inner": 1.0}}, graded=True)
    assert {"obs", "grades", "maxvol", "zbl"} <= full and not {"snap", "lammps"} & full
    assert not {"ace", "numba"} & keys({"kind": "snap"}, graded=False)
