"""Unwrapping: the published recursion, paths known beforehand, and cells of any shape that change."""

from __future__ import annotations

import numpy as np
import pytest

from forcewright import analyze
from forcewright.analyze.unwrapping import unwrapped_positions
from forcewright.errors import InputError
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

CELLS = {
    "cubic": np.eye(3) * 8.0,
    "triclinic": np.array([[9.0, 0, 0], [2.5, 8.0, 0], [-1.5, 2.0, 9.5]]),
    "very skewed": np.array([[9.0, 0, 0], [20.0, 8.0, 0], [-31.0, 14.0, 9.5]]),
}


def walk(frames: int, atoms: int, step: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 8, (atoms, 3)) + np.cumsum(rng.normal(0, step, (frames, atoms, 3)), axis=0)


def fold(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    fractions = positions @ np.linalg.inv(cell)
    return (fractions - np.floor(fractions)) @ cell


def snapshots_of(positions: np.ndarray, cells: np.ndarray, pbc: tuple[bool, ...] = (True,) * 3) -> list[Snapshot]:
    cells = np.broadcast_to(cells, (len(positions), 3, 3))
    numbers = [14, 8] * (positions.shape[1] // 2)
    return [
        Snapshot(Structure(numbers, x, cell, pbc), time=2.0 * k)
        for k, (x, cell) in enumerate(zip(positions, cells, strict=True))
    ]


def unwrapped(snapshots: list[Snapshot], **options: bool) -> np.ndarray:
    return np.array([one.structure.positions for one in analyze.unwrap(snapshots, **options)])


@pytest.mark.parametrize("name", CELLS)
def test_paths_in_a_cell_that_stays(name: str) -> None:
    cell = CELLS[name]
    path = walk(400, 12, 0.5)
    assert np.ptp(path, axis=0).max() > 10  # further than the cell
    found = unwrapped(snapshots_of(fold(path, cell), cell))
    np.testing.assert_allclose(found - found[0], path - path[0], atol=1e-9)
    np.testing.assert_allclose(unwrapped(snapshots_of(path, cell)), path, atol=1e-9)


def test_published_recursion_where_the_cell_changes() -> None:
    """von Bülow et al., J. Chem. Phys. 153, 021101 (2020): u' = u + (w' - w) - floor((w' - w)/L' + 1/2) L'."""
    rng = np.random.default_rng(1)
    lengths = 8 + 0.1 * rng.normal(size=(300, 3))
    folded = np.array([fold(x, np.diag(one)) for x, one in zip(walk(300, 10, 0.4), lengths, strict=True)])
    expected = [folded[0]]
    for before, now, length in zip(folded[:-1], folded[1:], lengths[1:], strict=True):
        step = now - before
        expected.append(expected[-1] + step - np.floor(step / length + 0.5) * length)
    cells = np.array([np.diag(one) for one in lengths])
    np.testing.assert_allclose(unwrapped(snapshots_of(folded, cells)), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["cubic", "triclinic"])
def test_it_does_not_matter_how_positions_are_stored(name: str) -> None:
    rng = np.random.default_rng(2)
    cells = CELLS[name] * (1 + 0.01 * rng.normal(size=(200, 1, 1)))
    folded = np.array([fold(x, cell) for x, cell in zip(walk(200, 10, 0.3), cells, strict=True)])
    images = rng.integers(-40, 40, (10, 3))
    beyond = folded + np.einsum("ai,tij->taj", images, cells)
    np.testing.assert_allclose(
        unwrapped(snapshots_of(beyond, cells)) - beyond[0],
        unwrapped(snapshots_of(folded, cells)) - folded[0],
        atol=1e-9,
    )


def test_a_breathing_cell_moves_no_atom_far() -> None:
    rng = np.random.default_rng(3)
    cells = CELLS["cubic"] * (1 + 0.01 * rng.normal(size=(500, 1, 1)))
    fractions = rng.uniform(0.05, 0.95, (10, 3)) + 50  # at rest in the cell, fifty cells away
    positions = np.einsum("ai,tij->taj", fractions, cells)
    assert np.abs(positions - positions[0]).max() > 10
    found = unwrapped(snapshots_of(positions, cells))
    assert np.abs(found - found[0]).max() < 8 * 0.01 * 8


def test_open_directions_are_left_alone() -> None:
    cell = CELLS["triclinic"]
    path = walk(300, 6, 0.4, seed=4)
    fractions = path @ np.linalg.inv(cell)
    fractions[..., :2] -= np.floor(fractions[..., :2])
    found = unwrapped(snapshots_of(fractions @ cell, cell, (True, True, False)))
    np.testing.assert_allclose(found - found[0], path - path[0], atol=1e-9)


def test_drift_is_that_of_the_center_of_mass() -> None:
    path = walk(50, 8, 0.3) + np.arange(50)[:, None, None] * [0.2, 0.0, -0.1]
    found = unwrapped(snapshots_of(fold(path, CELLS["cubic"]), CELLS["cubic"]), remove_drift=True)
    masses = snapshots_of(path, CELLS["cubic"])[0].masses
    center = np.einsum("a,tax->tx", masses, found) / masses.sum()
    np.testing.assert_allclose(center, np.tile(center[0], (50, 1)), atol=1e-10)
    np.testing.assert_allclose(found[:, 1] - found[:, 0] - (found[0, 1] - found[0, 0]),
                               path[:, 1] - path[:, 0] - (path[0, 1] - path[0, 0]), atol=1e-9)  # fmt: skip


def test_series_on_disk_equal_those_in_memory() -> None:
    frames = snapshots_of(walk(700, 2000, 0.1), CELLS["cubic"])
    memory = unwrapped_positions(frames)
    disk = unwrapped_positions(frames, memory_limit=0)
    assert isinstance(disk._chunks[0], np.memmap) and not isinstance(memory._chunks[0], np.memmap)
    atoms = np.array([3, 77, 1999])
    np.testing.assert_array_equal(disk.of(atoms), memory.of(atoms))
    np.testing.assert_array_equal(disk.frame(699), memory.frame(699))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frames: [], "no frame"),
        (lambda frames: frames[:1], "one frame"),
        (lambda frames: [*frames[:6], frames[5], *frames[6:]], "equally spaced, such as those from 0 to 0.01 ps"),
        (lambda frames: [*frames[:4], *frames[5:]], "4 fs after the frame before, others 2 fs"),
        (lambda frames: [Snapshot(one.structure) for one in frames], "dt_fs"),
        (lambda frames: [*frames, Snapshot(Structure([1], [[0, 0, 0]]), time=20.0)], "composition"),
        (lambda frames: frames[::-1], "equally spaced"),
        (lambda frames: [Snapshot(Structure([1], [[0, 0, 0]], pbc=(True,) * 3), time=0.0)], "span no volume"),
    ],
)
def test_mistakes_get_a_sentence(change, words: str) -> None:
    frames = change(snapshots_of(walk(10, 4, 0.1), CELLS["cubic"]))
    with pytest.raises(InputError, match=words):
        unwrapped_positions(frames)


def test_time_between_frames_may_be_said() -> None:
    frames = [one.structure for one in snapshots_of(walk(10, 4, 0.1), CELLS["cubic"])]
    np.testing.assert_allclose(unwrapped_positions(frames, dt_fs=5.0).times, 5.0 * np.arange(10))
    with pytest.raises(InputError, match="above 0 fs"):
        unwrapped_positions(frames, dt_fs=0.0)
