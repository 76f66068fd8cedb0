"""One trial of a linear family: accumulate normal equations, search weights and ridge, predict what was not fitted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil

from forcewright.accuracy.errors import compare
from forcewright.errors import ForcewrightError, InputError
from forcewright.fitting.cost import time_per_atom
from forcewright.fitting.hyperparameters import linear_model
from forcewright.fitting.linear_fit import LinearFit, Prior, SquaredError, linear_fit, predict_rows, split_coefficients
from forcewright.fitting.normal_equations import NormalEquations, Term, accumulate, predicted_memory
from forcewright.fitting.prior import make_prior
from forcewright.fitting.problem import Problem
from forcewright.fitting.refinement import refine
from forcewright.fitting.settings import LogRange
from forcewright.linalg.gram import CholeskySolver, FloatArray, NotPositiveDefinite
from forcewright.linalg.pruning import prune_groups
from forcewright.linalg.weight_search import SearchResult, WeightSpace, search_weights, starting_points
from forcewright.models.family import LinearHyperparameters, Pruning
from forcewright.optimize.workers import Outcome
from forcewright.potential import Basis, DesignRows, Potential, Prediction, Prunable
from forcewright.structure import Dataset, IntArray

_PRUNING_EVALUATIONS = 8  # of the search for the weights at which the pool is pruned
_CAUTION = {False: 0.01, True: 0.03}  # where elements share coefficients
_SINGULAR = 1e-15  # below this reciprocal condition Cholesky's digits are gone; QR takes over
_ZERO_OF_ENERGY = 1e-3  # weight of energies that settle the constants of elements alone
_MISMATCH = 1e-6  # relative difference of validation errors from normal equations and from rows at which QR takes over


@dataclass(frozen=True, eq=False)
class LinearTrial:
    """What one trial gives: the search's result, predictions of the validation frames, and the fit to everything.

    ``energies`` are the reference energies with those fitted on top; ``covariance`` and ``squared_error`` are those of
    the linear fit, constants of free species first; ``prior`` is what to write into a config; ``iterations`` is how
    many a fit of several densities did in each stage, none where the linear fit predicts better. ``fit`` is kept for a
    committee alone.
    """

    basis: Basis
    search: SearchResult
    predictions: list[Prediction]
    coefficients: FloatArray
    energies: Mapping[int, float]
    covariance: FloatArray | None
    squared_error: SquaredError
    terms: tuple[Term, ...]
    prior: Mapping[str, Any]
    diagnostics: dict[str, Any]
    iterations: tuple[int, ...] | None = None
    fit: LinearFit | None = None


def weight_space(problem: Problem, terms: Sequence[Term], prior: Prior) -> WeightSpace:
    """Return which weights are free and within which bounds; the ridge and the exponents of the prior follow them."""
    settings = problem.settings
    offset = np.zeros(len(terms) + 1 + len(prior.exponents))
    bounds: dict[str, tuple[float, float]] = {}  # of each free number
    stands: list[str | None] = []  # the free number behind each weight
    for position, term in enumerate([*terms, None]):
        value, key = (settings.ridge, "ridge") if term is None else settings.weights.of(term.group, term.property)
        if isinstance(value, LogRange):
            bounds.setdefault(key, (math.log(value.low), math.log(value.high)))
        else:
            offset[position] = np.log(_weight_left_out(term) if value is None else value)
        stands.append(key if isinstance(value, LogRange) else None)
    for position, exponent in enumerate(prior.exponents, start=len(terms) + 1):
        key = f"prior/{position}"
        offset[position] = 0.0 if np.isnan(exponent) else exponent
        stands.append(key if np.isnan(exponent) else None)
        if np.isnan(exponent):
            bounds[key] = prior.bounds
    matrix = np.array([[float(name == key) for name in bounds] for key in stands])
    low, high = (np.array([ends[k] for ends in bounds.values()]) for k in (0, 1))
    return WeightSpace(offset, matrix, low, high)


def _weight_left_out(term: Term | None) -> float:
    """Return the weight of rows that are measured, not fitted: energies settle their zero, as nothing else does."""
    return _ZERO_OF_ENERGY if term is not None and term.property == "energy" else 1e-30


def fit_linear(
    problem: Problem, params: Mapping[str, Any], index: int, theta: FloatArray | None = None,
    chosen: LinearTrial | None = None, iterations: Sequence[int] | None = None, blocks: int = 0,
) -> LinearTrial:  # fmt: skip
    """Accumulate the data over one basis, search weights and ridge (unless ``theta`` gives them), validate and fit.

    Where the model prunes, the basis is chosen first, and the validation frames are predicted with the basis that the
    data without them choose. Where it has several densities, they are fitted from there. Basis and iterations of an
    earlier fit may be given as ``chosen``, or the iterations alone.

    Parameters
    ----------
    blocks
        Keep the linear fit, with its normal equations in at least so many blocks of frames, for a committee.

    Raises
    ------
    ForcewrightError
        If the descriptors cannot be computed, the memory does not suffice, or no weights give a solvable fit.
    """
    model = linear_model(problem.model, params)
    if chosen is not None:
        return _fit(problem, model, chosen.basis, index, theta, chosen.iterations, blocks)
    pool = model.basis(problem.train.species)
    if (pruning := model.pruning()) is None:
        return _fit(problem, model, pool, index, theta, iterations, blocks)
    start = time.perf_counter()
    basis, without = prune(problem, pool, pruning)
    seconds = time.perf_counter() - start
    trial = _fit(problem, model, basis, index, theta, iterations, blocks)
    predictions = list(trial.predictions)
    for fold, fold_basis in enumerate(without):
        inner, held = problem.without_fold(fold)
        outer = inner.validated_on(problem.train[held])
        refitted = _fit(outer, model, fold_basis, index, trial.search.theta, trial.iterations)
        for i, prediction in zip(held, refitted.predictions, strict=True):
            predictions[i] = prediction
    return replace(trial, predictions=predictions, diagnostics={**trial.diagnostics, "prune_s": seconds})


def _fit(
    problem: Problem, model: LinearHyperparameters, basis: Basis, index: int, theta: FloatArray | None,
    iterations: Sequence[int] | None = None, blocks: int = 0,
) -> LinearTrial:  # fmt: skip
    """Do `fit_linear` with a given basis, and given nonlinear iterations."""
    start = time.perf_counter()
    rows = _Rows(problem, basis, blocks)
    fit, space = rows.assemble(factored=False)
    accumulate_s = time.perf_counter() - start
    rng = np.random.default_rng([problem.seed, index, 1])
    if theta is None:
        starts = starting_points(space, problem.settings.search.starts, rng)
        settings = problem.settings.search
        caution = settings.caution if settings.caution != "auto" else _CAUTION[rows.prior.sharing > 0]
        search = search_weights(fit.ridge, space, starts, settings.evaluations, caution)
    else:
        search = SearchResult(np.zeros(0), theta, fit.ridge.loss_and_gradient(theta)[0], 1)
    search_s = time.perf_counter() - start - accumulate_s
    system: Any = None
    try:
        coefficients, system = fit.fit_everything(search.theta)
        condition = system.reciprocal_condition() if isinstance(system, CholeskySolver) else 0.0
        predictions, mismatch = rows.validate(fit, search.theta)
    except NotPositiveDefinite:  # given weights may be those that QR has solved
        condition, mismatch = 0.0, math.inf
    if condition < _SINGULAR or mismatch > _MISMATCH:
        # the weights stand: errors differ far less between the two solvers than between weights
        del fit, system  # the memory is needed for the factors
        fit, space = rows.assemble(factored=True)
        coefficients, system = fit.fit_everything(search.theta)
        predictions, mismatch = rows.validate(fit, search.theta)
    squared_error = fit.squared_error(search.theta, system)
    covariance = fit.covariance(squared_error, system)
    problem.rows.prune()
    diagnostics = {
        "solver": "qr" if fit.equations.factored else "cholesky", "reciprocal_condition": condition,
        "gram_mismatch": mismatch, "columns": len(coefficients), "fold_s": accumulate_s, "search_s": search_s,
    }  # fmt: skip
    basis_coefficients, energies = split_coefficients(coefficients, problem.energies, problem.free_species)
    prior = rows.prior.in_words_of_the_config(search.theta[len(fit.terms) + 1 :])
    trial = LinearTrial(
        basis, search, predictions, basis_coefficients, energies, covariance, squared_error, fit.terms, prior,
        diagnostics, fit=fit if blocks else None,
    )  # fmt: skip
    if (refinement := model.refinement()) is None:
        return trial
    return refine(problem, refinement, fit, trial, iterations)


class _Rows:
    """The design rows of a problem over one basis: accumulated to normal equations, and used to predict."""

    def __init__(self, problem: Problem, basis: Basis, blocks: int = 0, *, shared: bool = True) -> None:
        self.problem, self.basis = problem, basis
        self.block_of, self.fold_of_block = _blocks(problem, blocks)
        require_memory(problem, basis.size + len(problem.free_species), len(self.fold_of_block))
        self.prior = make_prior(problem, basis, shared=shared)
        self._rows = problem.rows.rows_of(basis)

    def assemble(self, factored: bool) -> tuple[LinearFit, WeightSpace]:
        """Accumulate the data; return the fit and the space of its weights."""
        problem = self.problem
        equations = self._accumulate(problem.train, self.block_of, factored)
        blocks = None
        if len(self.fold_of_block) > problem.fold_count:
            blocks, equations = equations, equations.merge(self.fold_of_block)
        external = problem.external
        validation = equations if external is problem.train else None
        if external is not None and validation is None:
            validation = self._accumulate(external, np.zeros(len(external), dtype=np.int64), factored)
        space = weight_space(problem, equations.terms, self.prior)
        nominal = space.theta(space.middle)[: len(equations.terms)]
        fit = linear_fit(equations, nominal, problem.loss.weights, validation, prior=self.prior, blocks=blocks)
        # columns that are zero are left as they are
        if np.all(fit.equations.scale[len(problem.free_species) :] == 1.0):
            raise InputError(
                "leaves every atom of the training data without a neighbor: all descriptors are zero; raise it",
                field=f"model.{problem.family.reach}",
            )
        return fit, space

    def _accumulate(self, dataset: Dataset, folds: IntArray, factored: bool) -> NormalEquations:
        problem = self.problem
        weights_of = {group: problem.settings.weights.group_of(group) for group in dataset.group_sizes}
        groups = [weights_of[group] for group in dataset.groups]
        shared = problem.frame_equations
        if shared is not None and not factored and shared.holds(dataset, self.basis):
            return shared.add(dataset, folds, groups, problem.energies, problem.loss.properties, problem.free_species)
        return accumulate(
            dataset, self._source(dataset), self.basis.size, problem.energies, folds, problem.loss.properties,
            free_species=problem.free_species, groups=groups, factored=factored,
        )  # fmt: skip

    def _source(self, dataset: Dataset) -> Callable[[int], DesignRows]:
        def rows(index: int) -> DesignRows:
            try:
                return self._rows(dataset[index].structure)
            except InputError as error:
                file, _, number = dataset[index].origin.partition("#")
                frame = int(number or index)
                raise InputError(error.problem, file=file or None, frame=frame, field=error.field) from None

        return rows

    def validate(self, fit: LinearFit, theta: FloatArray) -> tuple[list[Prediction], float]:
        """Predict the validation frames, and compare with the errors that the normal equations give."""
        problem = self.problem
        fits = [split_coefficients(c, problem.energies, problem.free_species) for c in fit.fold_coefficients(theta)]
        validation = problem.validation
        folds = problem.folds if problem.external is None else np.zeros(len(validation), dtype=np.int64)
        source = self._source(validation)
        predictions = [predict_rows(frame.structure, source(i), *fits[folds[i]]) for i, frame in enumerate(validation)]
        from_equations = fit.ridge.errors(fit.ridge.solutions(theta))
        direct = replace(problem.loss, metric="rmse").pooled(validation, predictions)
        difference = np.abs(from_equations - direct) / np.maximum(direct, np.finfo(float).tiny)
        return predictions, float(np.max(difference))


def _blocks(problem: Problem, count: int) -> tuple[IntArray, IntArray]:
    """Return the block of each training frame, and the fold of each block: at least ``count`` blocks within folds."""
    folds = problem.fold_count
    if count <= folds:
        return problem.folds, np.arange(folds)
    parts = -(-count // folds)
    rng = np.random.default_rng([problem.seed, 6])
    block_of = np.zeros(len(problem.train), dtype=np.int64)
    used = 0
    fold_of_block: list[int] = []
    for fold in range(folds):
        members = rng.permutation(np.flatnonzero(problem.folds == fold))
        parts_here = min(parts, len(members))
        block_of[members] = used + np.arange(len(members)) % parts_here
        used += parts_here
        fold_of_block += [fold] * parts_here
    return block_of, np.array(fold_of_block)


def fold_of_blocks(problem: Problem, count: int) -> IntArray:
    """Return the fold of each block of frames that a fit with at least ``count`` blocks keeps apart."""
    return _blocks(problem, count)[1]


def prune(problem: Problem, pool: Basis, settings: Pruning) -> tuple[Basis, list[Basis]]:
    """Return the basis that all training data choose from the pool, and those that they choose without each fold.

    Weights are those of a short search with the whole pool. Without folds (an external set validates) the list is
    empty.
    """
    assert isinstance(pool, Prunable)
    fit, space = _Rows(problem, pool, shared=False).assemble(factored=False)
    starts = starting_points(space, 1, np.random.default_rng(0))
    search = search_weights(fit.ridge, space, starts, _PRUNING_EVALUATIONS)
    groups, costs = pool.pruning_groups()
    kept_always = len(problem.free_species)
    groups = np.concatenate([np.full(kept_always, -1), groups])

    def choose(without: int | None) -> Basis:
        matrix, right = fit.normal_equations(search.theta, without)
        damping = 0.0
        while True:  # a part of barely definite normal equations need not be definite to the last digit
            try:
                damped = matrix + damping * np.diag(np.diag(matrix))
                kept = prune_groups(damped, right, groups, costs, settings.products, gamma=settings.gamma).columns
                return pool.select((kept[kept >= kept_always] - kept_always).tolist())
            except NotPositiveDefinite:
                if damping > 1e-6:
                    raise
                damping = max(10.0 * damping, 1e-13)

    folds = range(problem.fold_count) if problem.external is None and problem.fold_count > 1 else range(0)
    return choose(None), [choose(fold) for fold in folds]


def require_memory(problem: Problem, columns: int, blocks: int | None = None) -> None:
    """Refuse a basis whose normal equations will not fit into the memory that is free now.

    Raises
    ------
    ForcewrightError
        With both numbers and what to change.
    """
    blocks = blocks or problem.fold_count
    properties = problem.loss.properties
    terms = len(set(map(problem.settings.weights.group_of, problem.train.group_sizes))) * len(properties)
    processes = 1 if problem.is_single else problem.workers
    needed = predicted_memory(columns, terms, blocks, len(properties)) * processes
    available = psutil.virtual_memory().available
    if needed > available:
        raise ForcewrightError(
            f"{columns} columns in {terms} terms and {blocks} folds or blocks need {needed / 1e9:.1f} GB in "
            f"{processes} process(es), {available / 1e9:.1f} GB are free; lower {problem.family.shrink}, the number of "
            "folds or groups, or workers"
        )


def potential_of(
    problem: Problem, params: Mapping[str, Any], trial: LinearTrial, provenance: Mapping[str, object] | None = None
) -> Potential:
    """Return the potential of a trial's fit to everything."""
    model = linear_model(problem.model, params)
    fitted = model.potential(trial.basis, trial.coefficients, trial.energies, trial.covariance, provenance)
    return fitted if problem.baseline is None else problem.baseline.completed(fitted)


def measure_cost(problem: Problem, params: Mapping[str, Any], trial: LinearTrial) -> float:
    """Return the time of an energy-force-stress evaluation in µs per atom, on the largest training frame."""
    return time_per_atom(potential_of(problem, params, trial), max(problem.train.structures, key=len))


def evaluate_linear(problem: Problem, params: Mapping[str, Any], index: int) -> tuple[Outcome, LinearTrial]:
    """Return the loss of one trial with what is worth keeping beside it, and the trial."""
    blocks = problem.committee_blocks if problem.is_single else 0
    trial = fit_linear(problem, params, index, iterations=() if problem.is_single else None, blocks=blocks)
    values = {
        **trial.diagnostics,
        "errors": compare(problem.validation, trial.predictions).to_dict(),
        "theta": trial.search.theta.tolist(),
        "evaluations": trial.search.evaluations,
        "cost_us_per_atom": measure_cost(problem, params, trial),
    }
    if problem.is_nested:
        values["nested"] = _nested_losses(problem, params, index)
    return Outcome(problem.loss.of(problem.validation, trial.predictions), values), trial


def _nested_losses(problem: Problem, params: Mapping[str, Any], index: int) -> list[dict[str, Any]]:
    """Return, for each fold, the loss and weights found by cross-validation on all the other folds."""
    results = []
    for fold in range(problem.fold_count):
        inner, _ = problem.without_fold(fold)
        trial = fit_linear(inner, params, index)
        loss = inner.loss.of(inner.validation, trial.predictions)
        results.append({"loss": loss, "theta": trial.search.theta.tolist(), "iterations": trial.iterations})
    return results
