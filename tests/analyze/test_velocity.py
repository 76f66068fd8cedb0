"""Velocity correlations of oscillators and Langevin particles, direct sums, and the number of modes."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.data import atomic_masses

from forcewright import analyze
from forcewright.errors import InputError
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot


def frames_of(velocities: np.ndarray, numbers: list[int], dt: float = 1.0) -> list[Snapshot]:
    structure = Structure(numbers, np.zeros((len(numbers), 3)), np.eye(3) * 10, (True,) * 3)
    return [Snapshot(structure, time=dt * k, velocities=one) for k, one in enumerate(velocities)]


def oscillators(numbers: list[int], thz: list[float], frames: int = 8000, seed: int = 0) -> np.ndarray:
    """Return velocities (T, N, 3) of one oscillator each, with equal energies and random phases."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, (len(numbers), 3))
    amplitude = np.sqrt(1 / atomic_masses[numbers])[:, None]
    return amplitude * np.cos(2 * np.pi * np.array(thz)[:, None] / 1000 * time + phase)


def test_peaks_of_oscillators_and_number_of_modes() -> None:
    numbers, thz = [3] * 4 + [16] * 8, [15.0] * 4 + [6.0] * 8
    found = analyze.vdos(frames_of(oscillators(numbers, thz), numbers))
    for name, frequency in (("Li", 15.0), ("S", 6.0)):
        assert abs(found.frequency[np.argmax(found.density[name])] - frequency) < found.resolution
    inside = np.abs(found.frequency - 15.0) < 2
    width = found.frequency[1]
    assert np.trapezoid(found.density["total"], found.frequency) == pytest.approx(3 * 12 - 3, rel=1e-10)
    # Weighted by mass each oscillator counts the same, a third of them are lithium's.
    assert found.density["total"][inside].sum() * width == pytest.approx((3 * 12 - 3) / 3, rel=0.01)
    np.testing.assert_allclose(found.density["Li"] + found.density["S"], found.density["total"], atol=1e-12)


@pytest.mark.parametrize("window", ["none", "hann", "blackman"])
def test_windows_and_norms(window: str) -> None:
    found = analyze.vdos(frames_of(oscillators([3] * 3, [10.0] * 3), [3] * 3), window=window, normalize="unit")
    assert np.trapezoid(found.density["total"], found.frequency) == pytest.approx(1.0, rel=1e-10)
    assert abs(found.frequency[np.argmax(found.density["total"])] - 10.0) < found.resolution


def test_autocorrelation_of_an_oscillator_is_a_cosine() -> None:
    velocities = oscillators([16] * 50, [5.0] * 50, frames=4000)
    found = analyze.vacf(frames_of(velocities, [16] * 50, dt=1.0), max_lag_fs=400.0)
    np.testing.assert_allclose(found.normalized["S"], np.cos(2 * np.pi * 0.005 * found.time), atol=0.02)


def test_direct_sums() -> None:
    velocities = np.random.default_rng(1).normal(size=(60, 5, 3))
    found = analyze.vacf(frames_of(velocities, [3, 16, 3, 3, 16], dt=2.0), max_lag_fs=118.0)
    for name, atoms in {"Li": [0, 2, 3], "S": [1, 4], "total": [0, 1, 2, 3, 4]}.items():
        v = velocities[:, atoms]
        expected = [np.mean(np.sum(v[lag:] * v[: 60 - lag], axis=2)) for lag in range(60)]
        np.testing.assert_allclose(found.vacf[name], expected, rtol=1e-10, atol=1e-12)


def test_langevin_particles() -> None:
    """C(t) = (3 k_B T / m) exp(-γ t), whose integral is 3 D."""
    rng, gamma, kelvin = np.random.default_rng(2), 0.02, 500.0
    mass = atomic_masses[3]
    speed2 = units.kB * kelvin / mass * units.fs**2
    velocities = np.zeros((6000, 60, 3))
    velocities[0] = np.sqrt(speed2) * rng.normal(size=(60, 3))
    keep = np.exp(-gamma)
    for k in range(1, 6000):
        velocities[k] = keep * velocities[k - 1] + np.sqrt(speed2 * (1 - keep**2)) * rng.normal(size=(60, 3))
    found = analyze.vacf(frames_of(velocities, [3] * 60), max_lag_fs=200.0)
    np.testing.assert_allclose(found.vacf["Li"] / (3 * speed2), np.exp(-gamma * found.time), atol=0.03)
    diffusion = np.trapezoid(found.vacf["Li"], found.time) / 3
    assert diffusion == pytest.approx(speed2 / gamma * (1 - np.exp(-200 * gamma)), rel=0.08)


def test_mistakes_get_a_sentence() -> None:
    frames = frames_of(oscillators([3] * 2, [10.0] * 2, frames=20), [3] * 2)
    with pytest.raises(InputError, match="frame 3.*no velocities"):
        analyze.vacf([*frames[:3], Snapshot(frames[3].structure, time=3.0)])
    with pytest.raises(InputError, match="all zero"):
        analyze.vdos(frames_of(np.zeros((10, 2, 3)), [3, 3]))
    with pytest.raises(InputError, match="hann"):
        analyze.vdos(frames, window="square")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one frame"):
        analyze.vacf(frames[:1])


def test_figures() -> None:
    frames = frames_of(oscillators([3, 16], [10.0, 5.0], frames=200), [3, 16])
    assert len(analyze.vdos(frames).plot().get_lines()) == 3
    assert len(analyze.vacf(frames).plot().get_lines()) == 4


@pytest.mark.parametrize(("thz", "apart"), [([15.0] * 4, 5), ([15.0] * 4, 40), ([2.0] * 2 + [15.0, 16.0], 40)])
def test_frames_too_far_apart_for_what_moves_are_told(
    thz: list[float], apart: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Nyquist: what moves at 15 THz needs a frame every 33 fs; of a slow mode among fast ones it is no matter."""
    numbers = [3, 3, 1, 1]
    velocities = 1e-3 * oscillators(numbers, thz, 4000)
    positions = np.cumsum(velocities, axis=0)  # in steps of 1 fs
    frames = [
        Snapshot(Structure(numbers, x + 5, np.eye(3) * 10, (True,) * 3), time=float(k), velocities=v)
        for k, (x, v) in enumerate(zip(positions, velocities, strict=True))
    ]
    found = analyze.vdos(frames[::apart])
    assert found.highest == pytest.approx(1000 / (2 * apart)) and found.frequency[-1] < found.highest
    assert found.sampled == (apart == 5) == (not caplog.records)
    assert found.sampled or f"frames {apart} fs apart hold frequencies up to 12.5 THz" in caplog.text
