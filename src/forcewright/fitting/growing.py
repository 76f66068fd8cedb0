"""Fits of the same settings to a dataset that grows: only new frames are accumulated while the basis stays the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from forcewright.features.row_cache import RowMemory
from forcewright.fitting.alternatives import has_alternatives, settle_model
from forcewright.fitting.frame_equations import FrameEquations, accumulate_frames
from forcewright.fitting.hyperparameters import fill_model, linear_model, search_ranges
from forcewright.fitting.in_memory import StudyOutcome, run_study
from forcewright.fitting.loss import properties_of
from forcewright.fitting.problem import make_problem
from forcewright.fitting.settings import FitSettings
from forcewright.fitting.stresses import settle_stress
from forcewright.structure import Dataset


class GrowingFits:
    """Fits to a dataset that grows at its end.

    Each frame is accumulated by itself, so that a fit does not depend on how often it was fitted before: a process that
    begins with all the frames comes to the same potential as one that has seen them come in.
    """

    def __init__(self, settings: FitSettings) -> None:
        self.settings = settings
        self._rows = RowMemory(int(settings.cache_GB * 1e9))
        self._equations: FrameEquations | None = None

    def chosen(self, dataset: Dataset) -> tuple[dict[str, Any], StudyOutcome | None]:
        """Return the model with what is open settled and its ranges searched, and the study if there was one."""
        settings = self.settings
        model = dict(settings.model)
        with_core = settings.family.hyperparameters.with_data(model, dataset)
        if has_alternatives(settings.family, with_core):
            problem = make_problem(settings, dataset, rows=self._rows, scratch=Path())
            choice = settle_model(problem).choice
            model |= {} if choice is None else choice.model
        if not search_ranges(model):
            return model, None
        outcome = run_study(settings.model_copy(update={"model": model}), dataset, graded=False, rows=self._rows)
        named = fill_model(model, outcome.best.params).model_dump(mode="json", exclude_none=True)
        return {name: named[name] for name in model}, outcome

    def fit(self, dataset: Dataset, model: Mapping[str, Any], *, graded: bool) -> StudyOutcome:
        """Fit a model without ranges.

        Parameters
        ----------
        graded
            Whether the potential gets the active set that extrapolation grades need.

        Raises
        ------
        ForcewrightError
            As `run_study`.
        """
        settings = self.settings.model_copy(update={"model": dict(model)})
        equations = self._accumulated(settings, dataset) if settings.family.is_linear else None
        return run_study(settings, dataset, graded=graded, rows=self._rows, frame_equations=equations)

    def _accumulated(self, settings: FitSettings, dataset: Dataset) -> FrameEquations | None:
        """Return the normal equations of every frame, adding those of frames that are new; None without memory."""
        content = settings.family.hyperparameters.with_data(settings.model, dataset)
        basis = linear_model(content, {}).basis(dataset.species)
        before = self._equations
        if before is None or repr(before.basis) != repr(basis) or not _begins_with(dataset, before.dataset):
            before = None
        new = dataset if before is None else dataset[len(before.dataset) :]
        rows = self._rows.rows_of(basis)
        properties = properties_of(settle_stress(settings, dataset, dataset))
        added = accumulate_frames(new, basis, lambda index: rows(new[index].structure), properties)
        if added is None or before is None:
            self._equations = added
        elif len(new):
            frames = {key: index + len(before.dataset) for key, index in added.frames.items()}
            self._equations = replace(
                before, frames={**before.frames, **frames}, dataset=dataset, rows=[*before.rows, *added.rows],
                forces=[*before.forces, *added.forces],
            )  # fmt: skip
        return self._equations


def _begins_with(dataset: Dataset, earlier: Dataset) -> bool:
    """Tell whether the first frames of a dataset are the very frames of an earlier one."""
    pairs = zip(dataset.frames, earlier.frames, strict=False)
    return len(dataset) >= len(earlier) and all(a.structure is b.structure and a.labels is b.labels for a, b in pairs)
