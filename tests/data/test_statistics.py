"""Dataset statistics against the standard library, exact identities and a known oscillation."""

from __future__ import annotations

import statistics as standard
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from forcewright.data import read
from forcewright.data.statistics import (
    correlation_length,
    force_norm,
    histogram,
    shortest_of,
    statistics,
    volumes_over_time,
)
from forcewright.errors import InputError
from forcewright.structure import Dataset, Frame, Labels, Structure


def test_force_norm_is_equation_6() -> None:
    assert force_norm(np.array([[1.0, 2.0, 2.0], [0.0, 0.0, 4.0]])) == 5.0


def test_summaries_are_those_of_the_standard_library(copper: Path) -> None:
    dataset = read(copper / "train.extxyz")
    for own in statistics(dataset, "group"):
        frames = [f for f in dataset if f.labels.group == own.name]
        energies = [f.labels.energy for f in frames]
        found = own.summaries["energy"]
        assert (found.count, found.minimum, found.maximum) == (len(energies), min(energies), max(energies))
        assert found.mean == pytest.approx(standard.fmean(energies), rel=1e-14)
        assert found.std == pytest.approx(standard.pstdev(energies), rel=1e-12)
        norms = [sum(x * x for row in f.labels.forces.tolist() for x in row) ** 0.5 for f in frames]
        assert own.summaries["force_norm"].mean == pytest.approx(standard.fmean(norms))
        per_atom = [f.labels.energy / len(f.structure) for f in frames]
        assert own.summaries["energy_per_atom"].std == pytest.approx(standard.pstdev(per_atom))
        assert own.summaries["volume"].minimum == min(f.structure.volume for f in frames)


def test_parts_add_up_to_the_whole(copper: Path) -> None:
    dataset = read(copper / "train.extxyz")
    (whole,) = statistics(dataset, "all")
    parts = statistics(dataset, "group")
    for quantity, summary in whole.summaries.items():
        own = [p.summaries[quantity] for p in parts]
        assert summary.count == sum(s.count for s in own) == 40
        assert summary.mean == pytest.approx(sum(s.count * s.mean for s in own) / 40)
        second = sum(s.count * (s.std**2 + s.mean**2) for s in own) / 40
        assert summary.std == pytest.approx(np.sqrt(second - summary.mean**2), rel=1e-6)
        drawn = histogram(parts, quantity, 7)
        assert sum(c.sum() for c in drawn.counts.values()) == 40 and len(drawn.edges) == 8
    assert [s.name for s in statistics(dataset, "file")] == [str(copper / "train.extxyz")]
    with pytest.raises(InputError, match="no frame has"):
        histogram(parts, "dipole")
    with pytest.raises(InputError, match="empty"):
        statistics(Dataset(()))


def trajectory(period: float, count: int = 400) -> Dataset:
    edges = 7.0 * (1 + 0.01 * np.sin(2 * np.pi * np.arange(count) / period)) ** (1 / 3)
    return Dataset(
        tuple(
            Frame(Structure([6], [[0, 0, 0]], np.eye(3) * a, [True] * 3), Labels(info={"trajectory": "x", "step": t}))
            for t, a in enumerate(edges)
        )
    )


def test_volume_over_time_and_its_memory() -> None:
    (series,) = volumes_over_time(trajectory(40.0))
    np.testing.assert_allclose(series.volumes, 343 * (1 + 0.01 * np.sin(2 * np.pi * np.arange(400) / 40)))
    assert series.time_name == "step" and series.times[-1] == 399
    assert series.correlation_length > 90  # an undamped oscillation is never forgotten
    constant = Dataset((trajectory(40.0).frames[0],) * 5)
    assert volumes_over_time(constant) == []


def test_correlation_length_of_known_processes() -> None:
    random = np.random.default_rng(0)
    assert correlation_length(random.normal(size=4000)) == 1
    remembered = np.exp(-1 / 20)  # a first-order process: the autocorrelation falls to 1/e after 20 steps
    noise = random.normal(size=200_000)
    series = np.empty_like(noise)
    series[0] = 0.0
    for t in range(1, len(series)):
        series[t] = remembered * series[t - 1] + noise[t]
    assert 18 <= correlation_length(series) <= 23
    assert correlation_length(np.ones(100)) == 0


def test_thesis_style_files(shared_data: Path) -> None:
    files = sorted((shared_data / "vasp").rglob("*vasprun.xml*"))[:3]
    if not files:
        pytest.skip("no vasprun.xml in the real data")
    for own in statistics(read(files), "file"):
        assert own.summaries["force_norm"].minimum >= own.summaries["largest_force"].minimum


def crystals(kind: str, count: int = 30) -> Dataset:
    """Return frames of one group whose volume changes: a walk, crystals rattled on their own, and so on."""
    random, frames, positions = np.random.default_rng(0), [], np.zeros((4, 3))
    for k in range(count):
        volumes = 0.005 * k if kind == "strained" else 0.2 * np.sin(k)
        atoms = bulk("Cu", a=3.6 + volumes, cubic=True)
        rattle = random.normal(0, 0.1, (4, 3)) * (kind != "strained")
        positions = positions + 0.3 * rattle if kind in ("walk", "shuffled") else rattle
        info = {"time": (7.0 * k) % 5 if kind == "times that repeat" else 2.0 * k} if "times" in kind else {}
        numbers = atoms.numbers if kind != "other atoms" else [29 - k % 2, 29, 29, 29]
        structure = Structure(numbers, atoms.positions + positions, atoms.cell.array, [True] * 3)
        frames.append(Frame(structure, Labels(-1.0 * k, group="g", info=info), f"x.extxyz#{k}"))
    order = random.permutation(count) if kind == "shuffled" else range(count)
    return Dataset(tuple(frames[k] for k in order))


@pytest.mark.parametrize(
    ("kind", "real"),
    [("walk", True), ("times", True), ("rattled", False), ("shuffled", False), ("times that repeat", False),
     ("other atoms", False), ("strained", False)],
)  # fmt: skip
def test_only_frames_that_follow_one_another_are_a_trajectory(kind: str, real: bool) -> None:
    assert len(volumes_over_time(crystals(kind))) == real


def test_shortest_distances_of_pairs_are_those_of_the_structures() -> None:
    salt = bulk("NaCl", "rocksalt", a=5.64)
    assert shortest_of(Structure.from_ase(salt)) == pytest.approx(
        {"Cl-Na": 2.82, "Cl-Cl": 5.64 / np.sqrt(2), "Na-Na": 5.64 / np.sqrt(2)}
    )
    far = Structure([1, 1], [[0, 0, 0], [0, 0, 6.0]])
    short = Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])
    frames = [Frame(far, Labels(1.0), "a#0"), Frame(short, Labels(2.0), "a#1")]
    (found,) = statistics(Dataset(tuple(frames)))
    assert found.shortest == {"H-H": (pytest.approx(0.7), "a#1")} and "volume" not in found.summaries
    assert found.summaries["shortest_distance"].count == 1 and found.summaries["energy_per_atom"].maximum == 1.0
    (cell,) = statistics(Dataset((Frame(Structure.from_ase(salt), Labels()),)))
    assert cell.summaries["volume_per_atom"].mean == pytest.approx(5.64**3 / 8)
