"""Diffusion coefficients of random walks that are known, the error over many seeds, kinisi, and motion that is none."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase import Atoms, units
from scipy.signal import lfilter

from forcewright import analyze
from forcewright.errors import InputError
from forcewright.lammps_session import new_instance
from forcewright.structure import Structure
from forcewright.trajectory import Snapshot

BOX, DT, STEP = 12.0, 2.0, 0.3
TRUE = STEP**2 / (2 * DT) * 0.1  # <x²> = 2 D t; cm²/s in Å²/fs


def frames_of(positions: np.ndarray, symbol: int = 3, cells: np.ndarray | None = None) -> list[Snapshot]:
    cells = np.broadcast_to(np.eye(3) * BOX, (len(positions), 3, 3)) if cells is None else cells
    return [
        Snapshot(Structure([symbol] * len(x), x, cell, (True,) * 3), time=DT * k)
        for k, (x, cell) in enumerate(zip(positions, cells, strict=True))
    ]


def walk(frames: int, atoms: int, seed: int, step: float = STEP) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).normal(0, step, (frames, atoms, 3)), axis=0)


def test_error_holds_over_seeds_and_that_of_ordinary_least_squares_does_not() -> None:
    inside, values, told, ordinary = [], [], [], []
    for seed in range(120):
        found = analyze.diffusion(frames_of(walk(250, 25, seed)), remove_drift=False)
        assert found.diffusive["Li"], found.reason
        inside.append(found.D_low["Li"] <= TRUE <= found.D_high["Li"])
        values.append(found.D["Li"])
        told.append(found.D_error["Li"])
        fitted = found.time <= found.end["Li"]
        line, covariance = np.polyfit(found.time[fitted], found.msd["Li"][fitted], 1, cov=True)
        ordinary.append([line[0] / 60, np.sqrt(covariance[0, 0]) / 60])
    assert 0.85 <= np.mean(inside) <= 1.0
    assert abs(np.mean(values) / TRUE - 1) < 4 * np.std(values) / TRUE / np.sqrt(120)
    assert 0.8 < np.mean(told) / np.std(values) < 1.5
    value, error = np.array(ordinary).T
    assert error.mean() < value.std() / 5  # what the scatter says is many times what ordinary least squares tells
    assert np.mean(np.abs(value - TRUE) < 1.96 * error) < 0.5
    assert value.std() > 1.5 * np.std(values)  # and its value scatters more


@pytest.mark.parametrize("changing", [False, True], ids=["fixed cell", "changing cell"])
def test_kinisi(changing: bool) -> None:
    pytest.importorskip("kinisi")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scipp
        from kinisi.analyze import DiffusionAnalyzer

        lengths = BOX * (1 + 0.003 * changing * np.random.default_rng(0).normal(size=(120, 3)))
        path = walk(120, 24, seed=7) % lengths[:, None]
        cells = np.array([np.diag(one) for one in lengths])
        peer = DiffusionAnalyzer.from_ase(
            [Atoms("Li24", positions=x, cell=cell, pbc=True) for x, cell in zip(path, cells, strict=True)], "Li",
            time_step=DT * scipp.Unit("fs"), step_skip=1 * scipp.Unit("dimensionless"), progress=False,
        )  # fmt: skip
        peer.diffusion(DT * scipp.Unit("fs"), progress=False, n_samples=500, random_state=np.random.RandomState(1))
    # kinisi's reader for ASE takes the first frame twice.
    twice = frames_of(np.concatenate([path[:1], path]), cells=np.concatenate([cells[:1], cells]))
    found = analyze.diffusion(twice, start_fs=DT, remove_drift=False)
    moved = analyze.msd(twice, remove_drift=False)
    np.testing.assert_allclose(moved.msd["Li"][1:], peer.msd.values, rtol=1e-9)
    np.testing.assert_allclose(moved.msd_error["Li"][1:-1], np.sqrt(peer.msd.variances)[:-1], rtol=0.03)
    samples = peer.D.values
    assert abs(found.D["Li"] - samples.mean()) < 0.2 * samples.std()
    assert 0.8 < found.D_error["Li"] / samples.std() < 1.25


def test_error_holds_where_the_motion_begins_ballistic_or_in_cages() -> None:
    """Langevin particles, D = k_B T / (m γ), and hops of atoms that rattle about their sites, D = a² / (6 t_hop)."""
    inside: dict[str, list[bool]] = {"langevin": [], "hops": []}
    keep = np.exp(-DT / 20.0)  # friction time of 20 fs; velocities in discrete steps, so that D is exact
    true = {"langevin": 0.005**2 * DT * (1 + keep) / (1 - keep) / 2 * 0.1, "hops": 0.04 / 3 / (2 * DT) * 0.1}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noise = np.sqrt(1 - keep**2) * rng.normal(0, 0.005, (900, 30, 3))
        noise[0] /= np.sqrt(1 - keep**2)
        langevin = np.cumsum(lfilter([1], [1, -keep], noise, axis=0), axis=0) * DT
        steps = np.eye(3)[rng.integers(0, 3, (900, 30))] * rng.choice([-1, 1], (900, 30, 1))
        hops = np.cumsum(steps * (rng.random((900, 30, 1)) < 0.04), axis=0) + rng.normal(0, 0.15, (900, 30, 3))
        for name, path in (("langevin", langevin), ("hops", hops)):
            found = analyze.diffusion(frames_of(path), remove_drift=False)
            assert found.diffusive["Li"] and found.start["Li"] > 5 * DT
            inside[name].append(found.D_low["Li"] <= true[name] <= found.D_high["Li"])
    assert np.mean(inside["langevin"]) >= 0.85 and np.mean(inside["hops"]) >= 0.85


def test_rahmans_argon() -> None:
    """Rahman, Phys. Rev. 136, A405 (1964): 864 atoms at 94.4 K, D = 2.43e-5 cm²/s, and α₂ that rises to about 0.13."""
    lmp = new_instance()
    lmp.commands_list([
        "units metal", "atom_style atomic", "atom_modify map array sort 0 0.0", f"lattice fcc {34.78 / 6}",
        "region box block 0 6 0 6 0 6", "create_box 1 box", "create_atoms 1 box", "mass 1 39.95",
        "pair_style lj/cut 7.65", f"pair_coeff 1 1 {120 * units.kB} 3.4", "timestep 0.01", "thermo 1000000",
        "velocity all create 220 87287 mom yes", "fix move all nvt temp 94.4 94.4 0.5", "run 1500", "unfix move",
        "velocity all scale 94.4", "fix move all nve", "run 500", "velocity all scale 94.4",
    ])  # fmt: skip
    frames, atoms = [], lmp.get_natoms()
    for k in range(1400):
        lmp.command("run 2 pre no post no" if k else "run 2 post no")
        order = np.argsort(np.array(lmp.numpy.extract_atom("id", nelem=atoms)).ravel())
        x, v = (np.array(lmp.numpy.extract_atom(name, nelem=atoms))[order] for name in "xv")
        structure = Structure([18] * atoms, x, np.eye(3) * 34.78, (True,) * 3)
        frames.append(Snapshot(structure, time=20.0 * k, velocities=v / 1000))
    lmp.close()
    found = analyze.diffusion(frames)
    assert found.diffusive["Ar"] and found.start["Ar"] > 400
    assert abs(found.D["Ar"] - 2.43e-5) < 0.1 * 2.43e-5 + 2 * found.D_error["Ar"]
    velocities = analyze.vacf(frames, max_lag_fs=3000.0)
    green_kubo = np.trapezoid(velocities.vacf["Ar"], velocities.time) / 3 * 0.1
    assert abs(found.D["Ar"] - green_kubo) < 2.5 * found.D_error["Ar"]
    highest = analyze.msd(frames, max_lag_fs=6000.0).ngp["Ar"][1:].max()
    assert 0.08 < highest < 0.18


def test_what_is_not_diffusive_is_said_to_be_so() -> None:
    rng = np.random.default_rng(4)
    caged = analyze.diffusion(frames_of(5 + rng.normal(0, 0.1, (400, 40, 3))))
    assert not caged.diffusive["Li"] and "t^" in caged.reason["Li"] and "simulate longer" in caged.reason["Li"]
    assert caged.D_low["Li"] < 0.01 * TRUE
    flying = analyze.diffusion(frames_of(np.arange(200)[:, None, None] * rng.normal(0, 0.02, (30, 3))))
    assert not flying.diffusive["Li"] and "t^2.0" in flying.reason["Li"]
    waves = np.sin(2 * np.pi * np.arange(24) / 13)[:, None, None] * rng.normal(0, 0.2, (32, 3))
    back = analyze.diffusion(frames_of(waves))  # the later they are compared, the nearer the atoms
    assert not back.diffusive["Li"] and 0 <= back.D_low["Li"] < back.D_high["Li"] < 0.2**2 / DT * 0.1
    still = analyze.diffusion(frames_of(np.ones((40, 5, 3))))
    assert not still.diffusive["Li"] and "do not move" in still.reason["Li"] and still.D["Li"] == 0.0


def test_rare_hops_are_linear_in_time_but_not_gaussian() -> None:
    """Hops at random: MSD = a² τ / t_hop and α₂ = 3/(5n) after n hops of each atom."""
    rng = np.random.default_rng(5)
    rare = rng.random((400, 200, 1)) < 1 / 400
    directions = np.sign(rng.normal(size=(400, 200, 3)))
    path = np.cumsum(rare * directions, axis=0)
    found = analyze.diffusion(frames_of(path), remove_drift=False)
    assert not found.diffusive["Li"] and "non-Gaussian" in found.reason["Li"]
    many = np.cumsum((rng.random((400, 200, 1)) < 0.3) * directions, axis=0)
    found = analyze.diffusion(frames_of(many), remove_drift=False)
    assert found.diffusive["Li"] and found.start["Li"] > DT
    assert abs(found.D["Li"] - 0.3 / (2 * DT) * 0.1) < 3 * found.D_error["Li"]


def test_species_apart_and_displacements_given() -> None:
    path = np.concatenate([walk(300, 30, 1), walk(300, 30, 2, step=0.1)], axis=1)
    frames = [Snapshot(Structure([3] * 30 + [16] * 30, x, np.eye(3) * BOX, (True,) * 3), time=DT * k)
              for k, x in enumerate(path)]  # fmt: skip
    found = analyze.diffusion(frames, remove_drift=False)
    again = analyze.diffusion(analyze.msd(frames, remove_drift=False))
    for name in ("Li", "S", "total"):
        assert found.D[name] == pytest.approx(again.D[name], rel=1e-9)
    assert abs(found.D["Li"] - TRUE) < 3 * found.D_error["Li"]
    assert abs(found.D["S"] - TRUE / 9) < 3 * found.D_error["S"]
    assert len(found.plot().get_lines()) == 6


def test_nernst_einstein_is_faradays_law() -> None:
    found = analyze.diffusion(frames_of(walk(200, 50, 9)), remove_drift=False)
    conductivity = analyze.nernst_einstein(found, {"Li": 1.0}, 400.0)
    molar = 50 / 6.02214076e23 / (BOX * 1e-10) ** 3  # mol/m³
    faraday = 96485.33212**2 / (8.314462618 * 400.0) * molar * found.D["Li"] * 1e-4
    assert conductivity.conductivity_S_per_m == pytest.approx(faraday, rel=1e-6)
    assert conductivity.conductivity_mS_per_cm == pytest.approx(10 * faraday, rel=1e-6)
    assert conductivity.error_S_per_m / faraday == pytest.approx(found.D_error["Li"] / found.D["Li"], rel=1e-6)
    assert analyze.nernst_einstein(found, {"Li": 2.0}, 400.0, haven_ratio=0.5).conductivity_S_per_m == pytest.approx(
        8 * faraday, rel=1e-6
    )


def test_mistakes_get_a_sentence() -> None:
    frames = frames_of(walk(60, 5, 0))
    with pytest.raises(InputError, match="half the longest lag"):
        analyze.diffusion(frames, start_fs=100.0)
    with pytest.raises(InputError, match="at least 8"):
        analyze.diffusion(frames[:10])
    found = analyze.diffusion(frames)
    with pytest.raises(InputError, match="name Na; the frames hold Li"):
        analyze.nernst_einstein(found, {"Na": 1.0}, 300.0)
    with pytest.raises(InputError, match="above 0"):
        analyze.nernst_einstein(found, {"Li": 1.0}, 0.0)
