"""Fits of the same settings to parts of one dataset, which share design rows and normal equations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from forcewright.features.row_cache import KeptRows, RowMemory
from forcewright.fitting.alternatives import has_alternatives, settle_model
from forcewright.fitting.frame_equations import FrameEquations, accumulate_frames
from forcewright.fitting.hyperparameters import linear_model, search_ranges
from forcewright.fitting.in_memory import StudyOutcome, run_study
from forcewright.fitting.loss import properties_of
from forcewright.fitting.on_baseline import BaselineRows, baseline_for
from forcewright.fitting.problem import make_problem
from forcewright.fitting.settings import FitSettings
from forcewright.fitting.stresses import settle_stress
from forcewright.structure import Dataset


class SubsetFits:
    """Fits to parts of a dataset.

    What data settle in a model (such as the core of ACE below the shortest distances) is settled by the whole dataset.
    Where the family is linear and its basis is given, every frame is accumulated once, and the normal equations of a
    part are sums of those of its frames; as long as memory holds them.

    Parameters
    ----------
    external
        A separate validation set, in place of folds.
    stored
        File that keeps what was chosen where the model leaves something open.
    """

    def __init__(
        self, settings: FitSettings, dataset: Dataset, external: Dataset | None = None, stored: Path | None = None
    ) -> None:
        self._rows: KeptRows = RowMemory(int(settings.cache_GB * 1e9))
        if (baseline := baseline_for(settings.baseline, (dataset, external))) is not None:
            self._rows = BaselineRows(self._rows, baseline)
        model = settings.family.hyperparameters.with_data(settings.model, dataset)
        if has_alternatives(settings.family, model):
            problem = make_problem(settings, dataset, external=external, rows=self._rows, scratch=Path())
            model = dict(settle_model(problem, stored).model)
        self.settings = settings.model_copy(update={"model": model})
        self._unsettled = settings
        self.dataset, self.external = dataset, external

    @cached_property
    def _equations(self) -> FrameEquations | None:
        """Normal equations of every frame, accumulated at the first fit; None where they cannot be shared."""
        model, dataset = self.settings.model, self.dataset
        if not self.settings.family.is_linear or search_ranges(model):
            return None
        basis = linear_model(model, {}).basis(dataset.species)
        rows = self._rows.rows_of(basis)
        settled = settle_stress(self.settings, dataset, dataset if self.external is None else self.external)
        return accumulate_frames(dataset, basis, lambda index: rows(dataset[index].structure), properties_of(settled))

    def fit(self, indices: Sequence[int]) -> StudyOutcome:
        """Fit to some of the frames; the potential knows no extrapolation grades.

        Raises
        ------
        ForcewrightError
            As `run_study`.
        """
        subset = self.dataset[list(indices)]
        if subset.species != self.dataset.species:  # the whole dataset settles what names elements that are not here
            return run_study(self._unsettled, subset, external=self.external, graded=False)
        return run_study(
            self.settings, subset, external=self.external, graded=False, rows=self._rows,
            frame_equations=self._equations,
        )  # fmt: skip
