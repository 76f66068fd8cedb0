"""Normal equations of made-up design rows against the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from forcewright.fitting.linear_fit import LossWeights, Prior, linear_fit
from forcewright.fitting.normal_equations import NormalEquations, accumulate
from forcewright.linalg.gram import unpack
from forcewright.potential import DesignRows
from forcewright.structure import Dataset, Frame, Labels, Structure

COLUMNS = 7


@pytest.fixture
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    frames = []
    for number in range(12):
        structure = Structure([29, 13, 29 if number % 3 else 13], rng.random((3, 3)), 4.0 * np.eye(3), [True] * 3)
        tensor = rng.normal(size=(3, 3))
        labels = Labels(float(rng.normal()), rng.normal(size=(3, 3)), tensor + tensor.T, f"group {number % 2}")
        frames.append(Frame(structure, labels))
    return Dataset(tuple(frames))


def rows_of(index: int, columns: np.ndarray) -> DesignRows:
    rng = np.random.default_rng(index)
    energy, forces, virial = rng.normal(size=COLUMNS), rng.normal(size=(9, COLUMNS)), rng.normal(size=(6, COLUMNS))
    return DesignRows(energy[columns], forces[:, columns], virial[:, columns], np.zeros(16))


def equations_of(
    dataset: Dataset,
    columns: np.ndarray,
    free_species: tuple[int, ...],
    factored: bool,
    groups: list[str] | None = None,
) -> NormalEquations:
    return accumulate(
        dataset, lambda index: rows_of(index, columns), len(columns), {13: 0.0, 29: 0.0}, np.arange(12) % 3,
        ("energy", "force", "stress"), free_species=free_species, groups=groups, factored=factored,
    )  # fmt: skip


def grams(blocks, order: int, factored: bool) -> np.ndarray:
    return np.array([[b.T @ b if factored else unpack(b, order) for b in split] for split in blocks])


@pytest.mark.parametrize("factored", [False, True])
def test_groups_that_share_weights_are_the_sum_of_their_terms(dataset: Dataset, factored: bool) -> None:
    apart = equations_of(dataset, np.arange(COLUMNS), (), factored)
    shared = equations_of(dataset, np.arange(COLUMNS), (), factored, ["both"] * 12)
    assert [(term.group, term.property) for term in shared.terms] == [
        ("both", p) for p in ("energy", "force", "stress")
    ]
    each = grams(apart.training, COLUMNS + 1, factored).reshape(3, 2, 3, COLUMNS + 1, COLUMNS + 1)
    np.testing.assert_allclose(grams(shared.training, COLUMNS + 1, factored), each.sum(axis=1), atol=1e-9)
    assert [term.rows for term in shared.terms] == np.reshape([t.rows for t in apart.terms], (2, 3)).sum(
        axis=0
    ).tolist()


@pytest.mark.parametrize("factored", [False, True])
@pytest.mark.parametrize("kept", [[0, 1, 3, 4, 8], [2, 8, 5, 0], list(range(9))])
def test_selecting_columns_is_folding_fewer(dataset: Dataset, kept: list[int], factored: bool) -> None:
    free_species = (13, 29)
    chosen = equations_of(dataset, np.arange(COLUMNS), free_species, factored).select(kept)
    assert chosen.columns == len(kept)
    ordered = sorted(kept)  # free_species come first however they are asked for
    directly = equations_of(
        dataset,
        np.array([c - 2 for c in ordered if c > 1]),
        free_species[ordered[0] :][: sum(c < 2 for c in kept)],
        factored,
    )
    if kept == [2, 8, 5, 0]:
        directly = directly.select([ordered.index(c) for c in kept])
    order = len(kept) + 1
    assert chosen.terms == directly.terms and chosen.properties == directly.properties
    np.testing.assert_array_equal(chosen.counts, directly.counts)
    for mine, theirs in ((chosen.training, directly.training), (chosen.validation, directly.validation)):
        np.testing.assert_allclose(grams(mine, order, factored), grams(theirs, order, factored), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factored", [False, True])
def test_selection_keeps_the_scale_and_the_fit(dataset: Dataset, factored: bool) -> None:
    """A fit to chosen columns is the same whether they are chosen before or after the columns are scaled."""
    kept, theta = [0, 1, 2, 5, 7], np.array([0.5, -0.2, 0.1, 0.3, 0.0, -0.4, -30.0])
    scale = np.linspace(0.5, 2.0, COLUMNS + 2)
    whole = equations_of(dataset, np.arange(COLUMNS), (13, 29), factored)
    before = whole.select(kept)
    after = whole.multiply_columns(scale).select(kept)  # overwrites ``whole``, of which ``before`` is a copy
    np.testing.assert_array_equal(after.scale, scale[kept])
    loss = LossWeights(0.5, 0.5)
    fits = [
        linear_fit(data, np.zeros(6), loss, prior=Prior(np.zeros((len(kept), 0)), np.zeros(0))).fit_everything(theta)[0]
        for data in (before, after)
    ]
    np.testing.assert_allclose(fits[0], fits[1], rtol=1e-8)


@pytest.mark.parametrize("factored", [False, True])
def test_fit_with_a_prior_is_the_minimum_of_the_damped_squares(dataset: Dataset, factored: bool) -> None:
    features = np.vstack([np.zeros((2, 1)), np.linspace(0, 2, COLUMNS)[:, None]])
    theta = np.array([0.5, -0.2, 0.1, 0.3, 0.0, -0.4, 1.0, 0.7])
    prior = Prior(features, np.full(1, np.nan))
    problem = linear_fit(
        equations_of(dataset, np.arange(COLUMNS), (13, 29), factored), np.zeros(6), LossWeights(1, 0), prior=prior
    )
    coefficients, _ = problem.fit_everything(theta)
    packed = problem.equations.total(np.exp(2 * theta[:6]))
    full = unpack(packed, COLUMNS + 3)
    damped = full[:-1, :-1] + np.diag(np.exp(1.0 + 0.7 * features[:, 0]))
    expected = np.linalg.solve(damped, full[-1, :-1]) * problem.equations.scale
    np.testing.assert_allclose(coefficients, expected, rtol=1e-9)


@pytest.mark.parametrize("factored", [False, True])
def test_a_prior_of_combined_columns_is_that_of_its_covariance(dataset: Dataset, factored: bool) -> None:
    """Bayesian linear regression with covariance Q exp(-ω) Qᵀ (Bishop 2006, eq. 3.50), over rows instead of squares."""
    rng = np.random.default_rng(5)
    features = np.vstack([np.zeros((2, 1)), rng.uniform(0, 2, (COLUMNS, 1))])
    offset, mixing = rng.normal(size=COLUMNS + 2), np.eye(COLUMNS + 2)
    mixing[2:, 2:] += 0.3 * rng.normal(size=(COLUMNS, COLUMNS))
    prior = Prior(features, np.full(1, np.nan), offset=offset, mixing=scipy.sparse.csr_array(mixing))
    theta = np.array([0.5, -0.2, 0.1, 0.3, 0.0, -0.4, -6.0, 0.7])
    fit = linear_fit(
        equations_of(dataset, np.arange(COLUMNS), (13, 29), factored), np.zeros(6), LossWeights(1, 0), prior=prior
    )
    coefficients, system = fit.fit_everything(theta)
    squared = np.exp(2 * theta[:6])
    plain = equations_of(dataset, np.arange(COLUMNS), (13, 29), False)
    full = unpack(plain.total(squared), COLUMNS + 3)
    rows = squared @ [term.rows for term in plain.terms]
    covariance = mixing @ np.diag(np.exp(-(offset + 0.7 * features[:, 0]))) @ mixing.T
    posterior = np.linalg.inv(full[:-1, :-1] + np.exp(-6.0) * rows * np.linalg.inv(covariance))
    np.testing.assert_allclose(coefficients, posterior @ full[-1, :-1], rtol=1e-7)
    spread = fit.covariance(fit.squared_error(theta, system), system)
    np.testing.assert_allclose(spread / spread[0, 0], posterior / posterior[0, 0], rtol=1e-6)
