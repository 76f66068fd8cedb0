"""S(q) against direct sums, freud, an ideal gas, a gas of dimers, and Bragg reflections."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from forcewright import analyze
from forcewright.errors import InputError


def gas(symbols: str, seed: int = 0, edge: float = 14.0) -> Atoms:
    atoms = Atoms(symbols, cell=[[edge, 0, 0], [3.0, edge - 1, 0], [-2.0, 1.0, edge + 1]], pbc=True)
    atoms.set_scaled_positions(np.random.default_rng(seed).random((len(atoms), 3)))
    return atoms


def dimers(count: int, bond: float, seed: int) -> Atoms:
    """Randomly placed and oriented dimers, whose S(q) is 1 + sin(q d)/(q d)."""
    rng = np.random.default_rng(seed)
    centers, axes = 24.0 * rng.random((count, 3)), rng.normal(size=(count, 3))
    axes *= bond / np.linalg.norm(axes, axis=1)[:, None]
    return Atoms(f"N{2 * count}", positions=np.concatenate([centers, centers + axes]), cell=[24] * 3, pbc=True)


def test_equals_the_sum_over_all_wave_vectors_by_brute_force() -> None:
    atoms = gas("Si10O20")
    result = analyze.structure_factor([atoms], q_max=1.5, bins=4, vectors=10_000)
    h = np.array([(i, j, k) for i in range(-9, 10) for j in range(-9, 10) for k in range(-9, 10) if i or j or k])
    q = 2 * np.pi * h @ np.linalg.inv(atoms.cell.array).T
    length = np.linalg.norm(q, axis=1)
    phases = np.exp(1j * q @ atoms.positions.T)
    rho = {symbol: phases[:, atoms.symbols == symbol].sum(axis=1) for symbol in ("Si", "O")}
    found = []
    for shell in range(4):
        chosen = (length >= 1.5 / 4 * shell) & (length < 1.5 / 4 * (shell + 1))
        if chosen.any():
            found.append(
                [length[chosen].mean(), (abs(rho["Si"] + rho["O"])[chosen] ** 2).mean() / 30]
                + [(rho[a] * rho[b].conj()).real[chosen].mean() / np.sqrt(n) for a, b, n in
                   (("Si", "Si", 100), ("Si", "O", 200), ("O", "O", 400))]
            )  # fmt: skip
    q_mean, total, *partials = np.array(found).T
    assert result.q == pytest.approx(q_mean)
    assert result.s == pytest.approx(total)
    for (a, b), part in zip((("Si", "Si"), ("Si", "O"), ("O", "O")), partials, strict=True):
        assert result.ashcroft_langreth[a, b] == pytest.approx(part)


def test_equals_freud() -> None:
    freud = pytest.importorskip("freud")
    # freud takes wave vectors of one octant only: mirror images make all octants equal, and in a cell of three different
    # edges with narrow shells each shell holds one vector and its mirror images.
    cell = np.array([10.0, 11.3, 12.7])
    part = np.random.default_rng(1).random((25, 3)) * cell / 2
    mirrors = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    positions = (mirrors[:, None, :] * part).reshape(-1, 3)
    theirs = freud.diffraction.StaticStructureFactorDirect(bins=1000, k_max=1.8, num_sampled_k_points=0)
    theirs.compute((freud.Box(*cell), positions))
    ours = analyze.structure_factor([Atoms("Ar200", positions=positions, cell=cell, pbc=True)], q_max=1.8, bins=1000)
    kept = np.isfinite(theirs.S_k) & (theirs.bin_centers > 0.1)
    assert theirs.bin_centers[kept] == pytest.approx(ours.q, abs=1e-3)
    assert ours.s == pytest.approx(theirs.S_k[kept], rel=3e-6, abs=1e-5)  # theirs in single precision


def test_ideal_gas_is_one() -> None:
    result = analyze.structure_factor([gas("Si50O100", seed) for seed in range(30)], q_max=6.0, bins=12, vectors=100)
    independent = 30 * np.minimum(100, 3 * np.arange(1, len(result.q) + 1) ** 2)  # at least
    for values in (result.s, *result.partial.values(), result.xray, result.neutron):
        # The error of |rho|^2 is its mean; partials of a share c fluctuate 1/c times as much.
        assert (abs(values - 1) < 5 * 3 / np.sqrt(independent)).all()


def test_gas_of_dimers_both_ways() -> None:
    frames = [dimers(300, 1.5, seed) for seed in range(30)]
    direct = analyze.structure_factor(frames, q_max=10.0, bins=40, vectors=50, weights=())
    exact = 1 + np.sinc(direct.q * 1.5 / np.pi)
    assert np.sqrt(np.mean((direct.s - exact) ** 2)) < 0.05
    distribution = analyze.rdf(frames, r_max=10.0, bins=1000)
    plain = analyze.structure_factor_from_rdf(distribution, window="none", weights=())
    smooth = analyze.structure_factor_from_rdf(distribution, q=plain.q, weights=())
    # Lorch's window takes the bond at 1.5 Å times sinc(1.5 / 10).
    bond = np.sinc(plain.q * 1.5 / np.pi)
    assert np.sqrt(np.mean((smooth.s - 1 - np.sinc(0.15) * bond) ** 2)) < 0.03
    assert np.sqrt(np.mean((plain.s - 1 - bond)[plain.q > 2] ** 2)) < 0.05
    assert direct.xray is None and direct.neutron is None


def test_bragg_reflections_of_diamond() -> None:
    result = analyze.structure_factor([bulk("Si", a=5.43)], q_max=5.1, bins=500)
    expected = {3: 1.0, 4: 0.0, 8: 2.0, 11: 1.0, 12: 0.0, 16: 2.0, 19: 1.0}  # h² + k² + l²: |1 + i^(h+k+l)|²/2
    strength = {round(float((q * 5.43 / (2 * np.pi)) ** 2)): s for q, s in zip(result.q, result.s, strict=True)}
    assert strength == pytest.approx(expected, abs=1e-9)


def test_every_cell_of_a_crystal_gives_the_same() -> None:
    atoms = gas("Si4O8", edge=7.0)
    reference = analyze.structure_factor([atoms], q_max=4.0, bins=400, vectors=1000)
    skew = atoms.copy()
    skew.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ atoms.cell.array)
    skew.positions += np.array([3, -2, 1]) @ atoms.cell.array
    result = analyze.structure_factor([skew], q_max=4.0, bins=400, vectors=1000)
    assert result.q == pytest.approx(reference.q)
    assert result.s == pytest.approx(reference.s)


def test_weights_are_those_of_the_tables() -> None:
    atoms = gas("Si10O20")
    result = analyze.structure_factor([atoms], q_max=6.0, bins=3, vectors=50)
    c, b = np.array([2 / 3, 1 / 3]), np.array([5.803, 4.1491])  # Sears (1992), fm
    parts = np.array([[result.partial[x, y] for y in ("O", "Si")] for x in ("O", "Si")])
    neutron = np.einsum("a,b,abq->q", c * b, c * b, parts) / (c @ b) ** 2
    assert result.neutron == pytest.approx(neutron, rel=1e-3, abs=1e-3)
    # Waasmaier and Kirfel (1995) for oxygen and silicon, from their table
    tables = {
        "O": ([2.960427, 2.508818, 0.637853, 0.722838, 1.142756], [14.182259, 5.936858, 0.112726, 34.958481, 0.390240], 0.027014),
        "Si": ([5.275329, 3.191038, 1.511514, 1.356849, 2.519114], [2.631338, 33.730728, 0.081119, 86.288640, 1.170087], 0.145073),
    }  # fmt: skip
    s2 = (result.q / (4 * np.pi)) ** 2
    f = np.array(
        [tables[x][2] + sum(a * np.exp(-d * s2) for a, d in zip(*tables[x][:2], strict=True)) for x in ("O", "Si")]
    )
    weighted = c[:, None] * f
    xray = np.einsum("aq,bq,abq->q", weighted, weighted, parts) / weighted.sum(axis=0) ** 2
    assert result.xray == pytest.approx(xray, rel=1e-6)


def test_elements_without_a_scattering_length_give_nan() -> None:
    result = analyze.structure_factor([bulk("Po", "sc", 3.35)], q_max=5.0)
    assert np.isnan(result.neutron).all() and np.isfinite(result.xray).all()


def test_same_seed_same_numbers_and_total_is_the_sum_of_partials() -> None:
    atoms = gas("Si20O40")
    one, two = (analyze.structure_factor([atoms], vectors=5, rng=np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one.s, two.s)
    c = one.concentrations
    assert sum(np.sqrt(c[a] * c[b]) * part for (a, b), part in one.ashcroft_langreth.items()) == pytest.approx(one.s)


@pytest.mark.parametrize(
    ("frames", "options", "sentence"),
    [
        ([], {}, "holds no frame"),
        ([molecule("H2O")], {}, "open directions"),
        ([bulk("Si")], {"q_max": 0.5}, "no wave vector"),
        ([bulk("Si")], {"weights": ("electron",)}, "there are 'xray' and 'neutron'"),
    ],
)
def test_bad_input_gets_a_sentence(frames, options, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        analyze.structure_factor(frames, **options)


def test_figure_can_be_drawn() -> None:
    assert analyze.structure_factor([gas("Si4O8")], q_max=4.0).plot().get_xlabel() == "q (1/Å)"
