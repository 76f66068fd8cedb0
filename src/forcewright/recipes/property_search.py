"""The search for the settings of a property's model: a trial is a candidate, judged for every fold by the other folds.

The search learns from the error of all folds, but which trial a fold takes is decided by what the other folds say of
each other: its held-back errors are those of a choice that has not seen it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.data.properties import PropertySet
from forcewright.errors import InputError
from forcewright.execution.processes import InProcess
from forcewright.fitting.hyperparameters import filled
from forcewright.fitting.range_ends import params_at_ends
from forcewright.optimize.evaluation import StudyError
from forcewright.optimize.journal import TrialRecord
from forcewright.optimize.settings import StudySettings
from forcewright.optimize.space import Range, Space
from forcewright.optimize.study import Study
from forcewright.optimize.workers import Outcome
from forcewright.properties.tensor_model import affordable, judge_tensors, settings_class
from forcewright.structure import IntArray

log = logging.getLogger("forcewright")


@dataclass(frozen=True)
class SearchResult:
    """What a search leaves.

    Attributes
    ----------
    params
        Those of the trials that at least one fold or the whole takes, the best of the whole first.
    records
        All trials.
    warnings
        What lies at an end of its range, and trials that failed.
    """

    params: list[dict[str, Any]]
    records: list[TrialRecord]
    warnings: list[str]


def search_settings(
    data: PropertySet, content: Mapping[str, Any], ranges: Mapping[str, Range], settings: StudySettings,
    folds: IntArray, *, journal: Path | None, fingerprint: str, robust: bool, frame_error: float,
) -> SearchResult:  # fmt: skip
    """Search the ranges among a model's settings, or go on where the journal ends.

    Parameters
    ----------
    content
        The settings, with ranges.
    journal
        Where finished trials are kept.
    fingerprint
        Of all that the trials depend on.

    Raises
    ------
    InputError
        If no trial can be fitted, or the journal is another study's.
    """

    def objective(params: dict[str, Any], index: int) -> Outcome:
        del index
        candidate = settings_class(content).model_validate(filled(content, params))
        candidate = affordable(candidate, data, folds, robust=robust)
        judged = judge_tensors(data, candidate, folds, robust=robust, frame_error=frame_error)
        return Outcome(sum(whole for _, whole in judged.values()), {"scores": {k: s for k, (s, _) in judged.items()}})

    def finished(record: TrialRecord) -> None:
        text = f"{record.loss:.5g}" if record.loss is not None else f"failed: {record.error}"
        log.info("trial %d: %s, %s, %.1f s", record.index, record.params, text, record.seconds)

    with Study(Space(ranges), journal, settings, fingerprint) as study:
        records = study.run(objective, InProcess(), finished, in_flight=1)
        try:
            best = study.best
        except StudyError as error:
            raise InputError(f"no trial could be fitted: {error}", field="model") from None
    complete = [record for record in records if record.loss is not None]
    taken = {best.index, *_taken(complete)}
    failed = [record for record in records if record.loss is None]
    warnings = params_at_ends(ranges, best.params)
    if failed:
        warnings.append(f"{len(failed)} of {len(records)} trials failed, the first by: {failed[0].error}")
    order = sorted(complete, key=lambda record: (record.index != best.index, record.index))
    return SearchResult([dict(record.params) for record in order if record.index in taken], records, warnings)


def _taken(complete: Sequence[TrialRecord]) -> set[int]:
    """Return the trials that do best for any part and fold."""
    result: set[int] = set()
    for part in complete[0].metrics["scores"]:
        table = np.array([record.metrics["scores"][part] for record in complete])
        result |= {complete[int(k)].index for k in table.argmin(axis=0)}
    return result
