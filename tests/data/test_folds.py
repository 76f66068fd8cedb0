from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forcewright.data import holdout, kfold
from forcewright.errors import InputError
from forcewright.structure import Dataset, Frame, Labels, Structure


def dataset_of(groups: list[str], trajectories: list[str | None] | None = None) -> Dataset:
    infos = [{"trajectory": name} if name else {} for name in trajectories or [None] * len(groups)]
    frames = (
        Frame(Structure([1], [[float(i), 0, 0]]), Labels(0.0, group=group, info=info))
        for i, (group, info) in enumerate(zip(groups, infos, strict=True))
    )
    return Dataset(tuple(frames))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=6, max_size=60), st.integers(2, 6), st.integers(0, 99))
def test_every_group_and_the_whole_are_spread_evenly(groups: list[str], k: int, seed: int) -> None:
    folds = kfold(dataset_of(groups), k, rng=np.random.default_rng(seed))
    for group in [*set(groups), None]:
        chosen = [group is None or g == group for g in groups]
        counts = np.bincount(folds[chosen], minlength=k)
        assert counts.max() - counts.min() <= 1


def test_the_same_seed_gives_the_same_folds_and_another_seed_others() -> None:
    data = dataset_of(["a"] * 40)
    one, same, other = (kfold(data, 4, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_trajectories_are_cut_into_contiguous_blocks() -> None:
    data = dataset_of(["md"] * 50, ["run1"] * 30 + ["run2"] * 20)
    folds = kfold(data, 5, rng=np.random.default_rng(0))
    for run in (folds[:30], folds[30:]):
        assert np.count_nonzero(np.diff(run)) == 4
        assert np.ptp(np.bincount(run)) == 0
    loose = kfold(data, 5, rng=np.random.default_rng(0), by="group")
    assert np.count_nonzero(np.diff(loose)) > 10


def test_single_frames_that_name_a_trajectory_are_dealt_like_all_others() -> None:
    data = dataset_of(["a"] * 10, [f"run{i}" for i in range(10)])
    assert np.bincount(kfold(data, 5, rng=np.random.default_rng(0))).tolist() == [2] * 5


def test_what_cannot_be_cut_is_refused() -> None:
    data = dataset_of(["a"] * 3)
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="cannot make 4 folds of 3 frames"):
        kfold(data, 4, rng=rng)
    with pytest.raises(InputError, match="cannot make 1 folds"):
        kfold(data, 1, rng=rng)
    with pytest.raises(InputError, match="names no trajectory"):
        kfold(data, 2, rng=rng, by="trajectory")
    with pytest.raises(InputError, match="1.5 is not a fraction"):
        holdout(data, 1.5, rng)
    with pytest.raises(InputError, match="leaves one side empty"):
        holdout(data[:1], 0.5, rng)


def test_holdout_takes_its_share_of_every_group_and_whole_blocks_of_trajectories() -> None:
    data = dataset_of(["a"] * 40 + ["b"] * 10 + ["c"] + ["md"] * 20, [None] * 51 + ["run"] * 20)
    kept, held = holdout(data, 0.2, np.random.default_rng(0))
    assert sorted([*kept, *held]) == list(range(71))
    assert data[held].group_sizes == {"a": 8, "b": 2, "md": 4}
    assert np.ptp(held[held > 50]) == 3
