"""The search for the settings of a property's model: a trial is a candidate, judged for every fold by the other folds.

The search learns from the error of all folds, but which trial a fold takes is decided by what the other folds say of
each other: its held-back errors are those of a choice that has not seen it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from forcewright.optimize.workers import Objective, Outcome
from forcewright.properties.tensor_model import affordable, judge_tensors, settings_class
from forcewright.recipes.run_folder import RunFolder
from forcewright.structure import IntArray

log = logging.getLogger("forcewright")

Listener = Callable[[TrialRecord, int], None]
"""Called with every finished trial and the number of trials wanted."""

_JOURNAL = ("journal.log", "journal.log.lock")

#: What of an earlier search a study that begins anew removes.
SEARCHED = (*_JOURNAL, "trials.csv")


def run_trials(
    objective: Objective, ranges: Mapping[str, Range], settings: StudySettings, *, folder: RunFolder,
    fingerprint: str, on_trial: Listener | None = None,
) -> tuple[list[TrialRecord], TrialRecord]:  # fmt: skip
    """Evaluate trials in this process, or go on where the journal in the folder ends; return all, and the best.

    Without ranges there is one trial. Trials that have all failed leave no journal, which a mended config could not go
    on with.

    Parameters
    ----------
    fingerprint
        Of all that the trials depend on.

    Raises
    ------
    StudyError
        If every trial fails.
    InputError
        If the journal is another study's.
    """
    if not ranges:
        settings = settings.single()

    def finished(record: TrialRecord) -> None:
        text = f"failed: {record.error}" if record.loss is None else f"loss {record.loss:.5g}"
        log.info("trial %d (%s): %s, %s, %.1f s", record.index, record.phase, record.params, text, record.seconds)
        if on_trial is not None:
            on_trial(record, settings.trials)

    try:
        with Study(Space(ranges), folder / _JOURNAL[0], settings, fingerprint) as study:
            if on_trial is not None:
                for record in study.trials:
                    on_trial(record, settings.trials)
            records = study.run(objective, InProcess(), finished, in_flight=1)
            log.info("best trial: %d", study.best.index)
            return records, study.best
    except StudyError:
        folder.discard(_JOURNAL)
        raise


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
    folds: IntArray, *, folder: RunFolder, fingerprint: str, robust: bool, frame_error: float,
    on_trial: Listener | None = None,
) -> SearchResult:  # fmt: skip
    """Search the ranges among a model's settings, or go on where the journal ends.

    Parameters
    ----------
    content
        The settings, with ranges.
    folder
        Where the journal of finished trials lies.
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

    try:
        records, best = run_trials(
            objective, ranges, settings, folder=folder, fingerprint=fingerprint, on_trial=on_trial
        )  # fmt: skip
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
