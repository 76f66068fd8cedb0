"""Splits keep what they promise, and near-copies across them are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule

from forcewright.data import audit, read, write
from forcewright.data.leakage import fingerprint, near_copies
from forcewright.data.split import (
    SPLITTERS,
    find_trajectories,
    split,
    split_by_blocks,
    split_by_group,
    split_random,
    split_stratified,
)
from forcewright.errors import InputError
from forcewright.structure import Dataset, Frame, Labels, Structure


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def atom(energy: float | None = None, group: str = "default", **info: object) -> tuple[Structure, Labels]:
    return Structure([29], [[0, 0, 0]]), Labels(energy, group=group, info=info)


def of(frames: list, origin: str = "") -> Dataset:
    return Dataset(tuple(Frame(s, labels, f"{origin}#{i}") for i, (s, labels) in enumerate(frames)))


@pytest.fixture(scope="module")
def mixed() -> Dataset:
    """Two trajectories of 100 frames (one stored backwards), and 50 frames of none."""
    frames = [atom(float(t), "md", trajectory="a", time_fs=10.0 * t) for t in range(100)]
    frames += [atom(float(t), "md", trajectory="b", time_fs=10.0 * t) for t in reversed(range(100))]
    frames += [atom(float(k), "rattle") for k in range(50)]
    return of(frames)


@pytest.mark.parametrize("by", SPLITTERS)
@pytest.mark.parametrize("seed", range(3))
def test_every_split_is_a_partition_and_repeatable(by: str, seed: int, mixed: Dataset) -> None:
    parts = split(mixed, by, 0.2, rng(seed))
    together = np.concatenate([parts.train, parts.test, parts.dropped])
    np.testing.assert_array_equal(np.sort(together), np.arange(len(mixed)))
    assert (np.diff(parts.train) > 0).all() and (np.diff(parts.test) > 0).all()
    if by != "group":
        assert len(parts.test) == 50
    again = split(mixed, by, 0.2, rng(seed))
    np.testing.assert_array_equal(parts.test, again.test)
    with pytest.raises(InputError, match="fraction between 0 and 1"):
        split(mixed, by, 1.0, rng())


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_blocks_are_apart_by_the_gap(seed: int, blocks: int, mixed: Dataset) -> None:
    parts = split_by_blocks(mixed, 0.12, rng(seed), gap=7, blocks=blocks)
    for name in "ab":
        own = [i for i, labels in enumerate(mixed.labels) if labels.info.get("trajectory") == name]
        times = {i: mixed[i].labels.info["time_fs"] / 10 for i in own}
        train, test = (np.array([times[i] for i in part if i in times]) for part in (parts.train, parts.test))
        assert len(test) == 12
        assert np.abs(train[:, None] - test).min() == 8  # 7 frames in between
        assert (np.diff(np.sort(test)) > 1).sum() <= blocks - 1
    assert sum(mixed[i].labels.group == "rattle" for i in parts.test) == 6
    with pytest.raises(InputError, match="do not fit"):
        split_by_blocks(mixed, 0.12, rng(), gap=40, blocks=5)


def test_blocks_cover_all_places(mixed: Dataset) -> None:
    starts = [min(split_by_blocks(mixed, 0.1, rng(seed), gap=3).test) for seed in range(60)]
    assert min(starts) < 10 and max(starts) > 80


def test_files_are_trajectories_where_none_is_named(tmp_path: Path) -> None:
    frames = of([atom(float(k)) for k in range(20)])
    written = [write(frames, tmp_path / name) for name in ("one.extxyz", "two.extxyz")]
    loose, found = find_trajectories(read(written))
    assert not loose and [len(own) for own in found.values()] == [20, 20]
    parts = split_by_blocks(read(written), 0.2, rng(), gap=2)
    assert len(parts.test) == 8 and np.diff(parts.test[:4]).tolist() == [1, 1, 1]


def test_groups_stay_whole() -> None:
    dataset = of([atom(0.0, f"g{k // 10}") for k in range(100)])
    parts = split_by_group(dataset, 0.2, rng())
    held = {dataset.groups[i] for i in parts.test}
    assert len(parts.test) == 20 and len(held) == 2 and not held & {dataset.groups[i] for i in parts.train}
    assert {dataset.groups[i] for i in split_by_group(dataset, 0.2, rng(), groups=["g3"]).test} == {"g3"}
    with pytest.raises(InputError, match="is not a group"):
        split_by_group(dataset, 0.2, rng(), groups=["h"])
    with pytest.raises(InputError, match="leaves no frame"):
        split_by_group(of([atom(0.0)] * 10), 0.2, rng())


def test_strata_hold_every_energy_in_proportion() -> None:
    energies = rng(1).permutation(1000).astype(float)
    dataset = of([atom(e, "ab"[k % 2]) for k, e in enumerate(energies)])
    parts = split_stratified(dataset, 0.1, rng())
    for group in "ab":
        ranks = np.array([e for e, g in zip(energies, dataset.groups, strict=True) if g == group])
        ranks = np.argsort(np.argsort(ranks))
        own = [i for i, g in enumerate(dataset.groups) if g == group]
        strata = sorted(ranks[own.index(i)] // 10 for i in parts.test if dataset.groups[i] == group)
        assert strata == list(range(50))  # one of each ten neighbors in energy
    assert len(split_random(dataset, 0.1, rng()).test) == 100


def crystal(width: float, random: np.random.Generator, group: str = "md") -> tuple[Structure, Labels]:
    atoms = bulk("C", "diamond", a=3.55, cubic=True).repeat(2)
    atoms.positions += random.normal(scale=width, size=(len(atoms), 3))
    return Structure.from_ase(atoms), Labels(-576.0, group=group)


def test_near_copies_are_found_and_independent_frames_are_not() -> None:
    random = rng(4)
    train = of([crystal(0.06, random) for _ in range(40)], "train.extxyz")
    apart = of([crystal(0.06, random) for _ in range(20)], "apart.extxyz")
    assert near_copies(train, apart) == []
    copied = train[17].structure
    moved = copied.positions + random.normal(scale=0.006, size=(64, 3)) + [0.3, 0.1, 0.7]
    near = Structure(copied.numbers, moved, copied.cell, copied.pbc)
    test = apart + of([(near, Labels(-576.0))], "near.extxyz")
    (pair,) = near_copies(train, test)
    assert (pair.test, pair.train) == (20, 17)
    assert pair.scaled == pytest.approx(0.11, abs=0.03)  # moved by about a tenth of what independent frames differ by
    (warning, note) = [f for f in audit(train, test=test).findings if f.code == "near-copies"]
    assert "1 of 21 test frames" in warning.message
    assert "frame 17 of train.extxyz" in note.message and (note.file, note.frame) == ("near.extxyz", 0)


def test_the_scale_is_that_of_independent_frames() -> None:
    random = rng(5)
    train = of([crystal(0.03, random) for _ in range(60)])
    test = of([crystal(0.03, random) for _ in range(60)])
    pairs = near_copies(train, test, tolerance=10.0)
    assert len(pairs) == 60
    assert 0.85 < np.mean([p.scaled for p in pairs]) < 1.0  # the nearest of 60 is a little nearer than the mean


def test_a_broad_group_does_not_make_all_frames_alike() -> None:
    random = rng(6)
    frames = [crystal(width, random) for width in (0.03, 0.4) for _ in range(20)]
    assert near_copies(of(frames[::2]), of(frames[1::2])) == []


def test_fingerprints_do_not_feel_rotation() -> None:
    water = molecule("CH3CH2OH")
    before = fingerprint(Structure.from_ase(water))
    water.rotate(37, (1, 2, 3))
    water.translate((4, 5, 6))
    np.testing.assert_allclose(fingerprint(Structure.from_ase(water)), before, atol=1e-12)
    assert before.shape == (9, 8)


def test_blocks_leak_less_than_chance() -> None:
    """A slow vibration sampled often: drawn by chance nearly every test frame has a twin in training."""
    random = rng(8)
    start = bulk("C", "diamond", a=3.55, cubic=True).repeat(2)
    waves = random.normal(scale=0.05, size=(4, 64, 3))
    frames = []
    for t in range(200):
        atoms = start.copy()
        atoms.positions += sum(w * np.sin(2 * np.pi * t / p) for w, p in zip(waves, (31, 47, 71, 113), strict=True))
        frames.append((Structure.from_ase(atoms), Labels(0.0, info={"trajectory": "md", "step": t})))
    dataset = of(frames)

    def leaks(by: str, **options: int) -> float:
        parts = split(dataset, by, 0.1, rng(1), **options)
        return len(near_copies(dataset[parts.train], dataset[parts.test])) / len(parts.test)

    assert leaks("random") > 0.9
    assert leaks("blocks", gap=8) < 0.1
