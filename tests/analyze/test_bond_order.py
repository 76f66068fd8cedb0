"""Tetrahedral order and Steinhardt's q_l against freud, published values of crystals, and an ideal gas."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation
from scipy.special import eval_legendre

from forcewright import analyze
from forcewright.errors import InputError


def disordered(count: int = 300) -> Atoms:
    rng = np.random.default_rng(0)
    return Atoms(f"Ar{count}", cell=[15, 16, 17], pbc=True, scaled_positions=rng.random((count, 3)))


# Mickel et al., J. Chem. Phys. 138, 044501 (2013), Table I
@pytest.mark.parametrize(
    ("atoms", "nearest", "q4", "q6"),
    [
        (bulk("Cu"), 12, 0.191, 0.575),
        (bulk("Mg", "hcp", 3.2, covera=np.sqrt(8 / 3)), 12, 0.097, 0.485),
        (bulk("Fe"), 8, 0.509, 0.629),
        (bulk("Fe"), 14, 0.036, 0.511),
        (bulk("Po", "sc", 3.35), 6, 0.764, 0.354),
    ],
    ids=["fcc", "hcp", "bcc-8", "bcc-14", "sc"],
)
def test_steinhardt_of_crystals(atoms: Atoms, nearest: int, q4: float, q6: float) -> None:
    assert analyze.steinhardt([atoms], 4, nearest=nearest).mean == pytest.approx(q4, abs=6e-4)
    assert analyze.steinhardt([atoms], 6, nearest=nearest).mean == pytest.approx(q6, abs=6e-4)
    averaged = analyze.steinhardt([atoms], 6, nearest=nearest, average=True).mean
    # Neighbors of hcp are turned by 60 degrees, which q_6m does not see but for a phase.
    assert averaged == pytest.approx(q6, abs=6e-4)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("degree", [2, 4, 6])
def test_steinhardt_equals_freud(degree: int, average: bool) -> None:
    freud = pytest.importorskip("freud")
    atoms = disordered()
    box, points = freud.Box(15, 16, 17), atoms.positions - [7.5, 8, 8.5]
    theirs = freud.order.Steinhardt(degree, average=average)
    theirs.compute((box, points), neighbors={"r_max": 3.3, "exclude_ii": True})
    ours = analyze.steinhardt([atoms], degree, cutoff=3.3, average=average)
    assert ours.last == pytest.approx(np.nan_to_num(theirs.particle_order), abs=1e-5)  # freud in single precision
    theirs.compute((box, points), neighbors={"num_neighbors": 12})
    assert analyze.steinhardt([atoms], degree, nearest=12, average=average).last == pytest.approx(
        theirs.particle_order, abs=1e-5
    )


def test_steinhardt_equals_the_addition_theorem() -> None:
    """4π/(2l+1) Σ_m |q_lm|² is the mean of Legendre's P_l of the angles between all pairs of bonds."""
    atoms = disordered(40)
    first, _, vectors = neighbor_list("ijD", atoms, 6.0)
    for degree in (3, 6):
        found = analyze.steinhardt([atoms], degree, cutoff=6.0).last
        for i in range(40):
            units = vectors[first == i] / np.linalg.norm(vectors[first == i], axis=1)[:, None]
            assert found[i] == pytest.approx(np.sqrt(eval_legendre(degree, units @ units.T).mean()))


def test_steinhardt_is_invariant() -> None:
    atoms = molecule("C60")
    reference = analyze.steinhardt([atoms], cutoff=3.0).last
    atoms.positions = atoms.positions @ Rotation.from_rotvec([0.3, -1.0, 0.4]).as_matrix().T
    assert analyze.steinhardt([atoms], cutoff=3.0).last == pytest.approx(reference)


def test_tetrahedral_order_of_diamond_and_ice() -> None:
    assert analyze.tetrahedral_order([bulk("Si")]).mean == pytest.approx(1.0)
    # cubic ice: oxygen on diamond's lattice, hydrogen anywhere on the bonds
    oxygen = bulk("O", "diamond", 6.36, cubic=True)
    hydrogen = oxygen.copy()
    hydrogen.numbers[:] = 1
    hydrogen.positions += 0.57
    result = analyze.tetrahedral_order([oxygen + hydrogen], species="O")
    assert result.last == pytest.approx(np.ones(8))
    assert result.density[-1] > 0


def test_tetrahedral_order_of_known_shapes() -> None:
    square = Atoms("C5", positions=[[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    # cosines -1, -1, 0, 0, 0, 0: 1 - 3/8 (2 · 4/9 + 4 · 1/9) = 1/2
    assert analyze.tetrahedral_order([square]).last[0] == pytest.approx(0.5)
    line = Atoms("C5", positions=[[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0]])
    assert analyze.tetrahedral_order([line]).last[0] == pytest.approx(-3.0)


def test_tetrahedral_order_of_an_ideal_gas_is_zero() -> None:
    rng = np.random.default_rng(0)
    frames = [Atoms("H1000", cell=[20] * 3, pbc=True, scaled_positions=rng.random((1000, 3))) for _ in range(4)]
    result = analyze.tetrahedral_order(frames)
    assert result.mean == pytest.approx(0.0, abs=4 * 0.5 / np.sqrt(4000))
    assert result.density.sum() * 0.02 == pytest.approx(1.0)
    assert result.frames == 4


def test_same_whatever_the_cell() -> None:
    atoms = Atoms("Ar9", cell=[[6, 0, 0], [1, 7, 0], [2, -1, 5]], pbc=True)
    atoms.set_scaled_positions(np.random.default_rng(1).random((9, 3)))
    skew = atoms.copy()
    skew.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ atoms.cell.array)
    for measure in (analyze.tetrahedral_order, lambda frames: analyze.steinhardt(frames, cutoff=4.0)):
        reference = measure([atoms]).last
        assert measure([skew]).last == pytest.approx(reference)
        assert measure([atoms.repeat((2, 1, 1))]).last == pytest.approx(np.tile(reference, 2))


def test_bad_input_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="4 neighbors of each"):
        analyze.tetrahedral_order([molecule("H2O")])
    with pytest.raises(InputError, match="is 'O', the frames hold Si"):
        analyze.tetrahedral_order([bulk("Si")], species="O")
    with pytest.raises(InputError, match="give one of the two"):
        analyze.steinhardt([bulk("Si")], cutoff=3.0, nearest=4)
    with pytest.raises(InputError, match="holds no frame"):
        analyze.steinhardt([], nearest=4)


def test_figures_can_be_drawn() -> None:
    assert analyze.tetrahedral_order([bulk("Si")]).plot().get_ylabel() == "density"
    assert analyze.steinhardt([bulk("Cu")]).plot().get_xlabel() == "$q_{6}$"
