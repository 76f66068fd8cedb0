"""Displacements against direct sums, LAMMPS, freud, and motions whose answer is known."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from forcewright import analyze
from forcewright.errors import InputError
from forcewright.lammps_session import new_instance
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

BOX = 10.0


def frames_of(positions: np.ndarray, numbers: list[int] | None = None) -> list[Snapshot]:
    numbers = [3] * positions.shape[1] if numbers is None else numbers
    return [
        Snapshot(Structure(numbers, x, np.eye(3) * BOX, (True,) * 3), time=2.0 * k) for k, x in enumerate(positions)
    ]


def walk(frames: int, atoms: int, step: float = 0.3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(0, step, (frames, atoms, 3)), axis=0)


def direct(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares along x, y, z and mean fourth powers at each lag, by their definition."""
    second, fourth = np.zeros((len(positions), 3)), np.zeros(len(positions))
    for lag in range(1, len(positions)):
        moved = positions[lag:] - positions[:-lag]
        second[lag] = (moved**2).mean(axis=(0, 1))
        fourth[lag] = ((moved**2).sum(axis=2) ** 2).mean()
    return second, fourth


def check(found: analyze.MeanSquaredDisplacement, name: str, positions: np.ndarray, rtol: float) -> None:
    second, fourth = direct(positions)
    mean = second.sum(axis=1)
    np.testing.assert_allclose(found.msd_xyz[name], second, rtol=rtol, atol=1e-14)
    np.testing.assert_allclose(found.msd[name], mean, rtol=rtol, atol=1e-14)
    np.testing.assert_allclose(found.ngp[name][1:] + 1, 3 * fourth[1:] / (5 * mean[1:] ** 2), rtol=rtol)


def test_direct_sums_of_species() -> None:
    numbers = [3, 16, 16, 3, 3, 16, 15]
    path = walk(83, 7) * np.array([1.0, 0.5, 0.1])
    found = analyze.msd(frames_of(path % BOX, numbers), remove_drift=False)
    np.testing.assert_allclose(found.time, 2.0 * np.arange(83))
    for name, atoms in {"Li": [0, 3, 4], "S": [1, 2, 5], "P": [6], "total": range(7)}.items():
        check(found, name, path[:, list(atoms)], 1e-11)


def test_short_lags_of_far_paths_keep_their_digits() -> None:
    """Where r⁴ at short lags is 1e-13 of that of the whole path, differences of correlations hold no digit of it."""
    rng = np.random.default_rng(0)
    path = np.arange(2000)[:, None, None] * rng.normal(0, 0.5, (1, 5, 3)) + rng.normal(0, 0.05, (2000, 5, 3))
    found = analyze.msd(frames_of(path), remove_drift=False, max_lag_fs=100.0, unwrap=False)
    second, fourth = direct(path[:, :])
    mean = second.sum(axis=1)[:51]
    np.testing.assert_allclose(found.msd["Li"], mean, rtol=1e-10)
    np.testing.assert_allclose(found.ngp["Li"][1:] + 1, 3 * fourth[1:51] / (5 * mean[1:] ** 2), rtol=1e-7)


def test_free_diffusion() -> None:
    found = analyze.msd(frames_of(walk(1500, 120)), remove_drift=False)
    expected = 3 * 0.3**2 * np.arange(1500)  # 6 D t
    lags = np.array([1, 3, 10, 30, 100, 300])
    assert (np.abs(found.msd["Li"] - expected)[lags] < 3.5 * found.msd_error["Li"][lags]).all()
    assert (np.abs(found.ngp["Li"][lags]) < 3.5 * np.sqrt(8 / 15 / found.samples["Li"][lags])).all()


def test_ballistic_motion() -> None:
    rng = np.random.default_rng(1)
    velocities = rng.normal(0, 0.1, (40, 3))
    path = 2.0 * np.arange(60)[:, None, None] * velocities
    found = analyze.msd(frames_of(path), remove_drift=False)
    squared = (velocities**2).sum(axis=1)
    np.testing.assert_allclose(found.msd["Li"], squared.mean() * found.time**2, rtol=1e-9)
    ngp = 3 * (squared**2).mean() / (5 * squared.mean() ** 2) - 1
    np.testing.assert_allclose(found.ngp["Li"][1:], ngp, rtol=1e-7)


def test_standard_error_is_the_scatter_over_seeds() -> None:
    results = [analyze.msd(frames_of(walk(60, 30, seed=seed)), remove_drift=False) for seed in range(120)]
    scatter = np.std([one.msd["Li"] for one in results], axis=0)
    told = np.mean([one.msd_error["Li"] for one in results], axis=0)
    assert 0.8 < told[1] / scatter[1] < 1.25
    # Displacements that overlap hold more than those that do not, which are counted: at most sqrt(3/2) too large.
    assert 0.85 < told[10] / scatter[10] < 1.5


def test_lammps() -> None:
    path = walk(7, 12, 0.4) + BOX / 2
    frames = frames_of(path % BOX, [3] * 5 + [16] * 7)
    for drift in (False, True):
        found = analyze.msd(frames, remove_drift=drift)
        second, ngp = np.zeros((7, 4)), []
        fourth = np.zeros(7)
        for start in range(7):
            for lag, (squares, gauss) in enumerate(_lammps(path[start:], frames[0].masses, drift), start=1):
                second[lag] += squares / (7 - lag)
                fourth[lag] += gauss / (7 - lag)
        np.testing.assert_allclose(found.msd["total"], second[:, 3], rtol=1e-6)
        np.testing.assert_allclose(found.msd_xyz["total"], second[:, :3], rtol=1e-6)
        ngp = 3 * fourth[1:] / (5 * second[1:, 3] ** 2) - 1
        np.testing.assert_allclose(found.ngp["total"][1:], ngp, rtol=1e-6, atol=1e-6)


def _lammps(path: np.ndarray, masses: np.ndarray, drift: bool):
    """Yield the mean squares (x, y, z, all) and the mean fourth power since the first frame, by LAMMPS's computes."""
    lmp = new_instance()
    kinds, kind_of = np.unique(masses, return_inverse=True)
    com = "yes" if drift else "no"
    lmp.commands_list([
        "units metal", "atom_style atomic", "atom_modify map array", "boundary p p p",
        "region box block -50 50 -50 50 -50 50", f"create_box {len(kinds)} box", "pair_style zero 2.0",
    ])  # fmt: skip
    lmp.commands_list([f"mass {index + 1} {mass:.17g}" for index, mass in enumerate(kinds)])
    lmp.create_atoms(len(masses), list(range(1, len(masses) + 1)), (kind_of + 1).tolist(), path[0].ravel().tolist())
    lmp.commands_list(["pair_coeff * *", "neighbor 0.0 nsq", f"compute square all msd com {com}",
                       f"compute gauss all msd/nongauss com {com}",
                       "thermo_style custom c_square[4] c_gauss[1]"])  # fmt: skip
    for positions in path[1:]:
        flat = np.ascontiguousarray(positions).ravel()
        lmp.scatter_atoms("x", 1, 3, (ctypes.c_double * flat.size)(*flat))
        lmp.command("run 0")
        gauss = np.array(lmp.numpy.extract_compute("gauss", 0, 1))
        yield np.array(lmp.numpy.extract_compute("square", 0, 1)), gauss[1]  # ⟨r²⟩, ⟨r⁴⟩, α₂
    lmp.close()


def test_freud() -> None:
    freud = pytest.importorskip("freud")
    path = np.random.default_rng(0).normal(0, 0.3, (200, 30, 3))  # close to the origin: freud has single precision
    peer = freud.msd.MSD(mode="window").compute(path).msd
    found = analyze.msd(frames_of(path), remove_drift=False)
    np.testing.assert_allclose(found.msd["Li"][1:], peer[1:], rtol=1e-6)


def test_longest_lag() -> None:
    frames = frames_of(walk(100, 5))
    whole, part = analyze.msd(frames), analyze.msd(frames, max_lag_fs=30.0)
    assert part.time[-1] == 30.0
    np.testing.assert_allclose(part.msd["Li"], whole.msd["Li"][:16], rtol=1e-10, atol=1e-12)
    with pytest.raises(InputError, match="2 fs apart"):
        analyze.msd(frames, max_lag_fs=1.0)


def test_drift_of_all_atoms_is_no_displacement() -> None:
    path = walk(50, 6, 0.1) + np.arange(50)[:, None, None] * [0.3, 0.1, 0.0]
    still = path - path.mean(axis=1, keepdims=True)
    check(analyze.msd(frames_of(path)), "total", still, 1e-9)
    alone = analyze.msd(frames_of(path[:, :1]))
    assert alone.msd["Li"][-1] > 1.0


def test_figure_and_files(tmp_path) -> None:
    found = analyze.msd(frames_of(walk(30, 4), [3, 3, 16, 16]))
    assert {line.get_label() for line in found.plot().get_lines()} == {"Li", "S", "total"}
    rows = found.save(tmp_path / "msd.csv").read_text().splitlines()
    assert rows[0].startswith("time,msd_Li,msd_S,msd_total") and len(rows) == 31


def test_where_displacements_level_off_is_told() -> None:
    """Atoms scattered about their sites by σ: 6 σ²; those that walk level off nowhere."""
    rng = np.random.default_rng(0)
    sites, bound = rng.uniform(2, 8, (20, 3)), rng.normal(0, 0.1, (400, 20, 3))
    walking = np.cumsum(rng.normal(0, 0.02, (400, 4, 3)), axis=0)
    structures = [
        Snapshot(Structure([14] * 20 + [3] * 4, np.concatenate([sites + a, 5 + b]), np.eye(3) * 30, (True,) * 3),
                 time=float(k))
        for k, (a, b) in enumerate(zip(bound, walking, strict=True))
    ]  # fmt: skip
    found = analyze.msd(structures, remove_drift=False)
    assert found.plateau["Si"] == pytest.approx(0.06, rel=0.03) and np.isnan(found.plateau["Li"])
    assert "levels off at 0.0596" in str([text.get_text() for text in found.plot().get_legend().get_texts()])
