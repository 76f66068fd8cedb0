"""One setting of the hyperparameters: fold, search weights and ridge, judge. Runs in worker processes.

A `Problem` is everything a worker needs and travels there once; a trial's parameters travel each time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from numpy.typing import NDArray

from forcewright import metrics
from forcewright.accuracy.errors import ErrorTable, compare
from forcewright.errors import ForcewrightError, InputError
from forcewright.features.row_cache import RowCache
from forcewright.linalg.gram import FloatArray
from forcewright.linalg.pruning import prune_groups
from forcewright.linalg.ridge import CholeskySolver, NotPositiveDefinite
from forcewright.linalg.weight_search import SearchResult, WeightSpace, search_weights, starting_points
from forcewright.models import family_of, register_families
from forcewright.models.linear import (
    LABEL_OF,
    FitProblem,
    FoldedData,
    LossWeights,
    Term,
    fit_problem,
    fold_dataset,
    predict_rows,
    predicted_memory,
    split_constants,
)
from forcewright.optimize.workers import Outcome
from forcewright.potential import Basis, DesignRows, Potential, Prediction, Smooth
from forcewright.recipes.config import LogRange, SearchSettings, WeightSettings, fill_model
from forcewright.recipes.nonlinear import refine
from forcewright.structure import Dataset, Structure, to_voigt

_PRUNING_EVALUATIONS = 8  # of the search for the weights at which the pool is pruned
_EXPONENT = 3.0  # exponents of the prior are searched between -3 and 3
_SINGULAR = 1e-15  # below this reciprocal condition Cholesky's digits are gone; QR takes over
_MISMATCH = 1e-6  # relative difference of Gram-only and direct validation errors at which QR takes over


@dataclass(frozen=True, eq=False)
class Problem:
    """Data and settings that all trials of a study share."""

    train: Dataset
    splits: NDArray[np.int64]
    external: Dataset | None
    energies: Mapping[int, float]
    constant: bool
    model: Mapping[str, Any]
    weights: WeightSettings
    ridge: float | LogRange
    prior: Literal["none", "free"] | tuple[float, ...]
    loss: LossWeights
    metric: str
    huber_delta: float
    search: SearchSettings
    seed: int
    nested: bool
    cache: Path
    cache_bytes: int
    workers: int
    alone: bool = False
    """Whether there is one setting and nothing to choose: further densities are then fitted at the end only."""

    @property
    def constants(self) -> tuple[int, ...]:
        """Species whose constant is fitted."""
        return self.train.species if self.constant else ()

    @property
    def judged(self) -> Dataset:
        """The frames the loss is measured on."""
        return self.train if self.external is None else self.external

    @property
    def properties(self) -> tuple[str, ...]:
        """Properties that are fitted or judged."""
        stress = self.weights.stress is not None or self.loss.stress > 0
        return ("energy", "force", "stress") if stress else ("energy", "force")

    @property
    def judged_properties(self) -> tuple[str, ...]:
        """Properties that some judged frame is labelled with."""
        counts = self.judged.count_labels()
        return tuple(name for name in self.properties if counts[LABEL_OF[name]])


@dataclass(frozen=True, eq=False)
class FittedSetting:
    """What is found at one setting: the search's result, predictions of the judged frames, and the final fit.

    ``energies`` are the reference energies with the fitted constants in them; ``iterations`` is how many a fit of
    several densities did in each stage, none where the linear fit predicts better.
    """

    basis: Any
    search: SearchResult
    predictions: list[Prediction]
    coefficients: FloatArray
    energies: Mapping[int, float]
    covariance: FloatArray | None
    terms: tuple[Term, ...]
    diagnostics: dict[str, Any]
    iterations: tuple[int, ...] | None = None


def prior_features(problem: Problem, basis: Basis) -> FloatArray:
    """Return the features (p, K) that the prior is made of, zero for the constants; K = 0 without a prior.

    Raises
    ------
    InputError
        If exponents are given and their number is not that of the basis.
    """
    features = basis.prior_features() if isinstance(basis, Smooth) else np.zeros((basis.size, 0))
    if isinstance(problem.prior, tuple) and len(problem.prior) != features.shape[1]:
        raise InputError(f"has {len(problem.prior)} numbers; this basis takes {features.shape[1]}", field="prior")
    if problem.prior == "none":
        features = features[:, :0]
    return np.vstack([np.zeros((len(problem.constants), features.shape[1])), features])


def weight_space(problem: Problem, terms: Sequence[Term], exponents: int = 0) -> WeightSpace:
    """Return which weights are free and within which bounds; the ridge and ``exponents`` of the prior follow them."""
    offset = np.zeros(len(terms) + 1 + exponents)
    low: list[float] = []
    high: list[float] = []
    columns: dict[str, int] = {}
    mapping: list[dict[int, float]] = []
    for position, term in enumerate([*terms, None]):
        value, key = (problem.ridge, "ridge") if term is None else _weight_of(problem.weights, term)
        row: dict[int, float] = {}
        if isinstance(value, LogRange):
            if key not in columns:
                columns[key] = len(columns)
                low.append(math.log(value.low))
                high.append(math.log(value.high))
            row[columns[key]] = 1.0
        else:
            offset[position] = np.log(value)
        mapping.append(row)
    if exponents and isinstance(problem.prior, tuple):
        offset[len(terms) + 1 :] = problem.prior
        mapping += [{}] * exponents
    else:
        mapping += [{len(columns) + k: 1.0} for k in range(exponents)]
        columns |= {f"prior/{k}": len(columns) + k for k in range(exponents)}
        low += [-_EXPONENT] * exponents
        high += [_EXPONENT] * exponents
    matrix = np.array([[row.get(column, 0.0) for column in range(len(columns))] for row in mapping])
    return WeightSpace(offset, matrix, np.array(low), np.array(high))


def _weight_of(weights: WeightSettings, term: Term) -> tuple[float | LogRange, str]:
    """Return a term's weight or range and the name under which terms share it."""
    own = weights.groups.get(term.group)
    value = getattr(own, term.property) if own is not None else None
    if value is not None:
        return value, f"{term.group}/{term.property}"
    value = getattr(weights, term.property)
    if value is None:
        value = 1e-30  # judged, not fitted
    return value, f"{term.group}/{term.property}" if weights.by == "group" else term.property


def fit_setting(
    problem: Problem, params: Mapping[str, Any], index: int, theta: FloatArray | None = None,
    chosen: FittedSetting | None = None, iterations: Sequence[int] | None = None,
) -> FittedSetting:  # fmt: skip
    """Fold the data over one setting, search weights and ridge (unless ``theta`` gives them), judge and fit.

    Where the model prunes, the basis is chosen first, and the judged frames are predicted with the basis that the data
    without them choose. Where it has several densities, they are fitted from there. Basis and iterations of an earlier
    fit may be given as ``chosen``, or the iterations alone.

    Raises
    ------
    ForcewrightError
        If the descriptors cannot be computed, the memory does not suffice, or no weights give a solvable fit.
    """
    model = fill_model(problem.model, params)
    pruning = model.pruning()
    if chosen is not None:
        return _fit(problem, model, chosen.basis, index, theta, chosen.iterations)
    if pruning is None:
        return _fit(problem, model, model.basis(problem.train.species), index, theta, iterations)
    start = time.perf_counter()
    basis, without = prune(problem, model.basis(problem.train.species), pruning)
    seconds = time.perf_counter() - start
    fitted = _fit(problem, model, basis, index, theta, iterations)
    predictions = list(fitted.predictions)

    def of_fold(outer: Problem, own: Any) -> list[Prediction]:
        return _fit(outer, model, own, index, fitted.search.theta, fitted.iterations).predictions

    for fold, own in enumerate(without):
        inner, held = without_fold(problem, fold)
        outer = replace(inner, splits=np.zeros(len(inner.train), dtype=np.int64), external=problem.train[held])
        for i, prediction in zip(held, of_fold(outer, own), strict=True):
            predictions[i] = prediction
    return replace(fitted, predictions=predictions, diagnostics={**fitted.diagnostics, "prune_s": seconds})


def _fit(
    problem: Problem, model: Any, basis: Any, index: int, theta: FloatArray | None,
    iterations: Sequence[int] | None = None,
) -> FittedSetting:  # fmt: skip
    """Do `fit_setting` with a given basis, and given nonlinear iterations."""
    start = time.perf_counter()
    workspace = _Workspace(problem, basis)
    fit, space = workspace.assemble(factored=False)
    fold_s = time.perf_counter() - start
    rng = np.random.default_rng([problem.seed, index, 1])
    if theta is None:
        starts = starting_points(space, problem.search.starts, rng)
        found = search_weights(fit.ridge, space, starts, problem.search.evaluations)
    else:
        found = SearchResult(np.zeros(0), theta, fit.ridge.loss_and_gradient(theta)[0], 1)
    search_s = time.perf_counter() - start - fold_s
    system: Any = None
    try:
        coefficients, system = fit.fit_everything(found.theta)
        condition = system.reciprocal_condition() if isinstance(system, CholeskySolver) else 0.0
        predictions, mismatch = workspace.judge(fit, found.theta)
    except NotPositiveDefinite:  # given weights may be those that QR has solved
        condition, mismatch = 0.0, math.inf
    if condition < _SINGULAR or mismatch > _MISMATCH:
        # the weights found stand: errors differ far less between the two solvers than between weights
        del fit, system  # the memory is needed for the factors
        fit, space = workspace.assemble(factored=True)
        coefficients, system = fit.fit_everything(found.theta)
        predictions, mismatch = workspace.judge(fit, found.theta)
    covariance = fit.covariance(found.theta, coefficients, system)
    workspace.cache.prune()
    diagnostics = {
        "solver": "qr" if fit.folded.factored else "cholesky", "reciprocal_condition": condition,
        "gram_mismatch": mismatch, "columns": len(coefficients), "fold_s": fold_s, "search_s": search_s,
    }  # fmt: skip
    own, energies = split_constants(coefficients, problem.energies, problem.constants)
    fitted = FittedSetting(basis, found, predictions, own, energies, covariance, fit.terms, diagnostics)
    if (refinement := model.refinement()) is not None:
        return refine(problem, refinement, fit, fitted, iterations)
    return fitted


class _Workspace:
    """The data of a problem over one basis: folded, and judged."""

    def __init__(self, problem: Problem, basis: Any) -> None:
        require_memory(problem, basis.size + len(problem.constants))
        self.problem, self.basis = problem, basis
        self.features = prior_features(problem, basis)
        self.cache = RowCache(problem.cache, problem.cache_bytes)
        self._rows = self.cache.rows_of(basis)

    def assemble(self, factored: bool) -> tuple[FitProblem, WeightSpace]:
        """Fold the data; return the problem of the weights and where they are searched."""
        problem = self.problem
        folded = self._fold(problem.train, problem.splits, factored)
        external = problem.external
        judged = None
        if external is problem.train:
            judged = folded
        elif external is not None:
            judged = self._fold(external, np.zeros(len(external), dtype=np.int64), factored)
        space = weight_space(problem, folded.terms, self.features.shape[1])
        nominal = space.theta(space.middle)[: len(folded.terms)]
        fit = fit_problem(folded, nominal, problem.loss, judged, features=self.features)
        if np.all(fit.folded.scale[len(problem.constants) :] == 1.0):  # columns that are zero are left as they are
            raise InputError(
                "leaves every atom of the training data without a neighbor: all descriptors are zero; raise it",
                field="model.rcut",
            )
        return fit, space

    def _fold(self, dataset: Dataset, splits: NDArray[np.int64], factored: bool) -> FoldedData:
        problem = self.problem
        return fold_dataset(
            dataset, _source(self._rows, dataset), self.basis.size, problem.energies, splits, problem.properties,
            constants=problem.constants, groups=[problem.weights.group_of(group) for group in dataset.groups],
            factored=factored,
        )  # fmt: skip

    def judge(self, fit: FitProblem, at: FloatArray) -> tuple[list[Prediction], float]:
        """Predict the judged frames, and compare with the errors that the normal equations tell."""
        problem = self.problem
        fits = [split_constants(c, problem.energies, problem.constants) for c in fit.fold_coefficients(at)]
        splits = problem.splits if problem.external is None else np.zeros(len(problem.judged), dtype=np.int64)
        source = _source(self._rows, problem.judged)
        predictions = [
            predict_rows(frame.structure, source(i), *fits[splits[i]]) for i, frame in enumerate(problem.judged)
        ]
        told = fit.ridge.errors(fit.ridge.solutions(at))
        direct = pooled_errors(problem, predictions, "rmse")
        return predictions, float(np.max(np.abs(told - direct) / np.maximum(direct, np.finfo(float).tiny)))


def prune(problem: Problem, pool: Any, settings: Any) -> tuple[Any, list[Any]]:
    """Return the basis that all training data choose from the pool, and those that they choose without each fold.

    Weights are those of a short search with the whole pool. Without folds (an external set judges) the list is empty.
    """
    fit, space = _Workspace(problem, pool).assemble(factored=False)
    found = search_weights(fit.ridge, space, starting_points(space, 1, np.random.default_rng(0)), _PRUNING_EVALUATIONS)
    groups, costs = pool.pruning_groups()
    held = len(problem.constants)
    groups = np.concatenate([np.full(held, -1), groups])

    def choose(without: int | None) -> Any:
        matrix, right = fit.normal_equations(found.theta, without)
        damping = 0.0
        while True:  # a part of barely definite normal equations need not be definite to the last digit
            try:
                damped = matrix + damping * np.diag(np.diag(matrix))
                kept = prune_groups(damped, right, groups, costs, settings.products, gamma=settings.gamma).columns
                return pool.select(kept[kept >= held] - held)
            except NotPositiveDefinite:
                if damping > 1e-6:
                    raise
                damping = max(10.0 * damping, 1e-13)

    folds = range(int(problem.splits.max()) + 1) if problem.external is None and problem.splits.max() > 0 else range(0)
    return choose(None), [choose(fold) for fold in folds]


def _source(cached: Callable[[Any], DesignRows], dataset: Dataset) -> Callable[[int], DesignRows]:
    def rows(index: int) -> DesignRows:
        try:
            return cached(dataset[index].structure)
        except InputError as error:
            file, _, number = dataset[index].origin.partition("#")
            raise InputError(error.problem, file=file or None, frame=int(number or index), field=error.field) from None

    return rows


def require_memory(problem: Problem, columns: int) -> None:
    """Refuse a setting whose normal equations will not fit into the memory that is free now.

    Raises
    ------
    ForcewrightError
        With both numbers and what to change.
    """
    splits = int(problem.splits.max()) + 1
    terms = len(set(map(problem.weights.group_of, problem.train.groups))) * len(problem.properties)
    needed = predicted_memory(columns, terms, splits, len(problem.properties)) * problem.workers
    available = psutil.virtual_memory().available
    if needed > available:
        size = family_of(str(problem.model["kind"])).shrink
        raise ForcewrightError(
            f"{columns} columns in {terms} terms and {splits} splits need {needed / 1e9:.1f} GB in {problem.workers} "
            f"worker(s), {available / 1e9:.1f} GB are free; lower {size}, the number of folds or groups, or workers"
        )


def loss_parts(
    problem: Problem, predictions: Sequence[Prediction], metric: str
) -> tuple[FloatArray, NDArray[np.float64]]:
    """Return, per judged frame and judged property, the summed errors and their number, both (frames, properties).

    Errors are those of equation 3.4: energy per √N, force vector of an atom, virial component per √N; squared for
    ``rmse``, absolute for ``mae``, Huber's for ``huber``.
    """
    sums = np.zeros((len(problem.judged), len(problem.judged_properties)))
    counts = np.zeros_like(sums)
    for index, ((structure, labels, _), prediction) in enumerate(zip(problem.judged, predictions, strict=True)):
        root = np.sqrt(len(structure))
        errors: dict[str, FloatArray] = {}
        if labels.energy is not None:
            errors["energy"] = np.array([prediction.energy - labels.energy]) / root
        if labels.forces is not None and prediction.forces is not None:
            errors["force"] = np.linalg.norm(prediction.forces - labels.forces, axis=1)
        if labels.stress is not None and prediction.stress is not None:
            errors["stress"] = to_voigt(prediction.stress - labels.stress) * structure.volume / root
        for column, name in enumerate(problem.judged_properties):
            if name in errors:
                sums[index, column] = _summed(errors[name], metric, problem.huber_delta)
                counts[index, column] = len(errors[name])
    return sums, counts


def _summed(errors: FloatArray, metric: str, delta: float) -> float:
    zeros = np.zeros_like(errors)
    if metric == "huber":
        return len(errors) * metrics.huber(zeros, errors, delta=delta)
    return float(np.sum(np.abs(errors))) if metric == "mae" else float(errors @ errors)


def pooled_errors(problem: Problem, predictions: Sequence[Prediction], metric: str) -> FloatArray:
    """Return the parts of the loss, one per judged property."""
    means = metrics.pool(*loss_parts(problem, predictions, metric))
    return np.sqrt(means) if metric == "rmse" else means


def loss_of(problem: Problem, predictions: Sequence[Prediction]) -> float:
    """Return the study's loss of predictions of the judged frames."""
    weights = np.array([problem.loss.of(name) for name in problem.judged_properties])
    return float(weights @ pooled_errors(problem, predictions, problem.metric))


def loss_standard_error(problem: Problem, predictions: Sequence[Prediction], rng: np.random.Generator) -> float:
    """Return the bootstrap standard error of the loss over the judged frames."""
    means = metrics.resample(*loss_parts(problem, predictions, problem.metric), rng=rng)
    weights = np.array([problem.loss.of(name) for name in problem.judged_properties])
    return float(np.nanstd((np.sqrt(means) if problem.metric == "rmse" else means) @ weights, ddof=1))


def measure_cost(problem: Problem, params: Mapping[str, Any], fitted: FittedSetting) -> float:
    """Return the median time of an energy-force-stress evaluation in µs per atom, on the largest training frame."""
    potential = fill_model(problem.model, params).potential(fitted.basis, fitted.coefficients, fitted.energies)
    return time_per_atom(potential, max(problem.train.structures, key=len))


def time_per_atom(potential: Potential, structure: Structure) -> float:
    """Return the median time of an energy-force-stress evaluation of a structure in µs per atom."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        potential.predict([structure])
        times.append(time.perf_counter() - start)
    return float(1e6 * np.median(times[1:]) / len(structure))


def trial_metrics(problem: Problem, params: Mapping[str, Any], fitted: FittedSetting) -> dict[str, Any]:
    """Return what is kept of a trial beside its loss."""
    table: ErrorTable = compare(problem.judged, fitted.predictions)
    return {
        **fitted.diagnostics,
        "errors": table.to_dict(),
        "theta": fitted.search.theta.tolist(),
        "evaluations": fitted.search.evaluations,
        "cost_us_per_atom": measure_cost(problem, params, fitted),
    }


_PROBLEM: list[Problem] = []  # set once in each worker process


def receive_problem(problem: Problem, homes: Mapping[str, str]) -> None:
    """Keep the problem in this worker process, and where families are found that were registered at run time."""
    _PROBLEM[:] = [problem]
    register_families(homes)


def evaluate_setting(params: dict[str, Any], index: int) -> Outcome:
    """Evaluate one setting in a worker that has received its problem; the study's objective."""
    problem = _PROBLEM[0]
    fitted = fit_setting(problem, params, index, iterations=() if problem.alone else None)
    values = trial_metrics(problem, params, fitted)
    if problem.nested:
        values["nested"] = nested_losses(problem, params, index)
    return Outcome(loss_of(problem, fitted.predictions), values)


def without_fold(problem: Problem, fold: int) -> tuple[Problem, NDArray[np.int64]]:
    """Return the problem with one fold taken out entirely, and the indices of the frames in that fold."""
    kept = np.flatnonzero(problem.splits != fold)
    splits = problem.splits[kept]
    return replace(problem, train=problem.train[kept], splits=splits - (splits > fold)), np.flatnonzero(
        problem.splits == fold
    )


def nested_losses(problem: Problem, params: Mapping[str, Any], index: int) -> list[dict[str, Any]]:
    """Return, for each fold, the loss and weights found by cross-validation on all the other folds."""
    results = []
    for fold in range(int(problem.splits.max()) + 1):
        inner, _ = without_fold(problem, fold)
        fitted = fit_setting(inner, params, index)
        own = {"loss": loss_of(inner, fitted.predictions), "theta": fitted.search.theta.tolist()}
        results.append({**own, "iterations": fitted.iterations})
    return results
