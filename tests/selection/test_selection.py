"""Selections: a contract for all, and the exact property of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from scipy.stats import chisquare

from forcewright.data import read
from forcewright.errors import InputError
from forcewright.models.ace import AceModel
from forcewright.selection import (
    SELECTORS,
    farthest_points,
    frame_descriptors,
    leverage_scores,
    novelty,
    select_novelty,
    select_uniform_energy,
    select_uniform_time,
    spread_evenly,
)
from forcewright.selection.cur import draw, greedy_rows
from forcewright.selection.novelty import select_max_volume
from forcewright.structure import Dataset, Frame, Labels, Structure


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def frames(copper: Path) -> Dataset:
    return read(copper / "train.extxyz")


@pytest.fixture(scope="module")
def potential(frames: Dataset):  # type: ignore[no-untyped-def]
    model = AceModel(functions=12, rcut=4.0)
    basis = model.basis((29,))
    fitted = model.potential(basis, rng().normal(size=basis.size), {29: 0.0})
    return fitted.with_active_set(frames[:10].structures)


@pytest.mark.parametrize("name", SELECTORS)
def test_contract(name: str, frames: Dataset, request: pytest.FixtureRequest) -> None:
    options = {"potential": request.getfixturevalue("potential")} if name == "novelty" else {}
    select = SELECTORS[name]
    for count in (1, 13, len(frames)):
        chosen = select(frames, count, rng(3), **options)
        assert chosen.shape == (count,) and np.issubdtype(chosen.dtype, np.integer)
        assert len(np.unique(chosen)) == count and chosen.min() >= 0 and chosen.max() < len(frames)
        np.testing.assert_array_equal(chosen, select(frames, count, rng(3), **options))
    for count in (0, len(frames) + 1):
        with pytest.raises(InputError, match="count"):
            select(frames, count, rng(), **options)
    same = Dataset((frames[0],) * 6)  # nothing to tell frames apart by
    assert len(np.unique(select(same, 4, rng(), **options))) == 4


def test_random_is_fair(frames: Dataset) -> None:
    random = rng(1)
    hits = np.bincount(np.concatenate([SELECTORS["random"](frames, 10, random) for _ in range(400)]), minlength=40)
    assert chisquare(hits).pvalue > 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_each_farthest_point_is_the_farthest(seed: int) -> None:
    rows = rng(seed).normal(size=(60, 5))
    chosen, distances = farthest_points(rows, 25, seed)
    between = np.linalg.norm(rows[:, None] - rows, axis=2)
    for step in range(1, 25):
        nearest = between[:, chosen[:step]].min(axis=1)
        assert nearest[chosen[step]] == pytest.approx(nearest.max())
        assert distances[step] == pytest.approx(nearest.max())
    assert (np.diff(distances[1:]) <= 1e-12).all()
    np.testing.assert_array_equal(farthest_points(rows, 10, seed)[0], chosen[:10])
    covering = between[:, chosen].min(axis=1).max()  # no row is farther away than the chosen ones from each other
    assert covering <= distances[-1] + 1e-12


def test_farthest_points_of_a_line() -> None:
    rows = np.arange(9.0)[:, None]
    assert farthest_points(rows, 5, 0)[0].tolist() == [0, 8, 4, 2, 6]


@pytest.mark.parametrize(("count", "columns"), [(50, 7), (7, 7), (5, 9)])
def test_leverages_add_up_to_the_rank(count: int, columns: int) -> None:
    rows = rng(2).normal(size=(count, columns))
    scores = leverage_scores(rows)
    rank = np.linalg.matrix_rank(rows)
    assert scores.sum() == pytest.approx(rank) and scores.max() <= 1 + 1e-12
    hat = rows @ np.linalg.pinv(rows)  # the diagonal of the hat matrix of least squares
    np.testing.assert_allclose(scores, np.diag(hat), atol=1e-10)
    assert leverage_scores(rows, 2).sum() == pytest.approx(2)
    mixed = rng(3).normal(size=(columns, columns))
    np.testing.assert_allclose(leverage_scores(rows @ mixed), scores, atol=1e-8)  # the same in any other basis
    deficient = np.hstack([rows[:, :3], rows[:, :3] @ np.ones((3, 2))])
    assert leverage_scores(deficient).sum() == pytest.approx(3)


def test_draws_follow_the_scores() -> None:
    random, scores = rng(5), np.array([0.5, 0.3, 0.2, 0.0])
    first = np.bincount([draw(scores, 1, random)[0] for _ in range(4000)], minlength=4)
    assert first[3] == 0 and chisquare(first[:3], 4000 * scores[:3]).pvalue > 1e-3


def test_greedy_rows_span_everything_they_can() -> None:
    random = rng(6)
    rows = random.normal(size=(40, 4)) @ random.normal(size=(4, 10))
    chosen = greedy_rows(rows, 6, 1)
    assert len(set(chosen.tolist())) == 6
    assert np.linalg.matrix_rank(rows[chosen[:4]]) == 4  # each of the first brings a new direction


def test_even_spread_is_flat_where_there_are_frames() -> None:
    values = np.concatenate([rng(7).normal(0, 0.3, 900), rng(8).uniform(-5, 5, 600)])
    chosen = spread_evenly(values, 200, rng(), bins=20)
    counts = np.histogram(values[chosen], 20, (values.min(), values.max()))[0]
    there = np.histogram(values, 20, (values.min(), values.max()))[0]
    assert there.min() >= 10 and there.max() > 10 * there.min()
    np.testing.assert_array_equal(counts, 10)
    chosen = spread_evenly(values, 1000, rng(), bins=20)
    counts = np.histogram(values[chosen], 20, (values.min(), values.max()))[0]
    level = counts.max()
    assert all(c == n or level - 1 <= c <= level for c, n in zip(counts, there, strict=True))


def test_energies_are_even_and_missing_ones_are_left_out() -> None:
    energies = [*np.linspace(0, 0.09, 91), *np.linspace(0.15, 0.95, 9), None, None]
    copper = Structure([29, 29], [[0, 0, 0], [0, 0, 2]])
    dataset = Dataset(tuple(Frame(copper, Labels(None if e is None else 2 * e)) for e in energies))
    chosen = select_uniform_energy(dataset, 10, rng())
    assert (
        len({int(10 * e / 0.95) for e in (energies[i] for i in chosen if energies[i] < 0.95)}) == 9
    )  # and the highest
    with pytest.raises(InputError, match="100 frames with that quantity"):
        select_uniform_energy(dataset, 102, rng())
    with pytest.raises(InputError, match="no frame has forces"):
        SELECTORS["force"](dataset, 2, rng())


def test_times_avoid_one_phase() -> None:
    """Every tenth of frames whose volume oscillates with a period of ten: equal steps see one volume, we see all."""
    structure = Structure([6], [[0, 0, 0]])
    dataset = Dataset(tuple(Frame(structure, Labels(info={"step": t})) for t in range(2000)))
    chosen = select_uniform_time(dataset, 200, rng())
    assert (chosen // 10 == np.arange(200)).all()
    assert chisquare(np.bincount(chosen % 10, minlength=10)).pvalue > 1e-3


def test_descriptors_do_not_feel_motion_or_order(frames: Dataset) -> None:
    own = frames[:8]
    rows = frame_descriptors(own)
    moved = []
    for structure, labels, origin in own:
        atoms = structure.to_ase()
        atoms.rotate(33, (1, 2, 3), rotate_cell=True)
        atoms.positions += (0.3, -4, 2)
        atoms = atoms[rng(1).permutation(len(atoms))]
        moved.append(Frame(Structure.from_ase(atoms), labels, origin))
    np.testing.assert_allclose(frame_descriptors(Dataset(tuple(moved))), rows, atol=1e-6)
    np.testing.assert_allclose((rows**2).mean(axis=0), 1.0)
    twice = Dataset(tuple(Frame(Structure.from_ase(s.to_ase().repeat(2)), Labels()) for s in own.structures))
    np.testing.assert_allclose(frame_descriptors(twice), rows, atol=1e-6)  # a mean, not a sum


def test_farthest_point_finds_the_odd_ones(frames: Dataset) -> None:
    crystal = bulk("Cu", cubic=True)
    alike = []
    for k in range(30):
        atoms = crystal.copy()
        atoms.rattle(0.01, seed=k)
        alike.append(atoms)
    odd = [crystal.copy() for _ in range(3)]
    for atoms, factor in zip(odd, (0.85, 1.2, 1.4), strict=True):
        atoms.set_cell(atoms.cell.array * factor, scale_atoms=True)
    dataset = Dataset.from_ase([*alike, *odd])
    assert {30, 31, 32} <= set(SELECTORS["fps"](dataset, 6, rng()).tolist())
    assert {30, 31, 32} & set(SELECTORS["maxvol"](dataset, 6, rng()).tolist())


def test_novelty_takes_what_the_potential_knows_least(frames: Dataset, potential: object) -> None:
    grades = novelty(frames, potential)  # type: ignore[arg-type]
    chosen = select_novelty(frames, 5, rng(), potential=potential)
    np.testing.assert_allclose(grades[chosen], np.sort(grades)[::-1][:5])
    assert grades[:10].max() < 1.2 < grades[chosen[0]]
    assert (grades[select_novelty(frames, 40, rng(), potential=potential, above=1.2)] > 1.2).all()
    with pytest.raises(InputError, match="how uncertain it is"):
        select_novelty(frames, 5, rng())


def test_largest_volume_beats_chance(frames: Dataset) -> None:
    rows = frame_descriptors(frames, functions=6)
    rows = np.linalg.svd(rows, full_matrices=False)[0]
    columns = rows.shape[1]
    chosen = select_max_volume(frames, columns, rng(), functions=6)
    volume = abs(np.linalg.det(rows[chosen]))
    random = rng(2)
    assert volume > max(abs(np.linalg.det(rows[random.permutation(40)[:columns]])) for _ in range(500))
