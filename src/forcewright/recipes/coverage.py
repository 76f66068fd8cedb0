"""Errors apart on frames that hold what the training data lack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from forcewright.accuracy.errors import evaluate
from forcewright.data.coverage import Coverage
from forcewright.potential import Potential
from forcewright.report.numbers import significant
from forcewright.structure import Dataset


def coverage_of(potential: Potential, train: Dataset, test: Dataset | None) -> dict[str, Any] | None:
    """Return which test frames are unlike the training data, with the errors on them and on the others.

    Returns
    -------
    dict
        ``frames`` unlike, and of what kinds; errors of both parts. None where there is no test set.
    """
    if test is None:
        return None
    kinds = Coverage(train).unlike(test)
    unlike = sorted({index for frames in kinds.values() for index in frames})
    others = sorted(set(range(len(test))) - set(unlike))
    parts = {"unlike": unlike, "like": others}
    errors = {
        name: evaluate(potential, test[np.array(frames)]).overall.to_dict()
        for name, frames in parts.items()
        if frames and len(unlike)
    }
    return {
        "frames": len(unlike), "of": len(test), "kinds": {words: len(frames) for words, frames in kinds.items()},
        "errors": errors,
    }  # fmt: skip


def coverage_warnings(coverage: Mapping[str, Any] | None) -> list[str]:
    """Return a sentence on the frames that are unlike the training data, where there are any."""
    if coverage is None or not coverage["frames"]:
        return []
    kinds = "; ".join(f"{count} hold {words}" for words, count in coverage["kinds"].items())
    apart = ", elsewhere ".join(_in_words(errors) for errors in coverage["errors"].values())
    return [
        f"{coverage['frames']} of {coverage['of']} test frames hold what no training frame does ({kinds}); errors "
        f"there are {apart}."
    ]


def _in_words(errors: Mapping[str, Any]) -> str:
    energy, force = errors["energy_rmse_meV_per_atom"], errors["force_rmse_eV_per_A"]
    known = [(energy, "meV/atom"), (force, "eV/Å")]
    return " and ".join(f"{significant(value)} {unit}" for value, unit in known if value is not None)


def coverage_sections(coverage: Mapping[str, Any] | None) -> list[list[Any]]:
    """Return what the report shows of it, where some test frames are unlike the training data."""
    if coverage is None or not coverage["frames"]:
        return []
    names = {"unlike": "that hold what training lacks", "like": "others"}
    frames = {"unlike": coverage["frames"], "like": coverage["of"] - coverage["frames"]}
    keys = ("energy_rmse_meV_per_atom", "force_rmse_eV_per_A")
    apart = {
        "headings": [["frames", ""], ["number", ""], ["energy RMSE", "meV/atom"], ["force RMSE", "eV/Å"]],
        "rows": [
            [names[name], str(frames[name]), *(significant(errors[key]) for key in keys)]
            for name, errors in coverage["errors"].items()
        ],
        "style": "plain",
    }
    kinds = {
        "headings": [["what test frames hold and no training frame does", ""], ["frames", ""]],
        "rows": [[words, str(count)] for words, count in coverage["kinds"].items()],
        "style": "plain",
    }
    text = "The potential has to extrapolate there, which cross-validation within the training data does not measure."
    return [["Test frames unlike the training data", text, {"tables": [apart, kinds], "rank": 32}]]
