"""SOAP similarity: 1 in the reference however it is written, lower in a melt, and by the formula."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from forcewright import analyze
from forcewright.errors import InputError, MissingExtraError

pytest.importorskip("dscribe")


def melt(count: int = 64) -> Atoms:
    rng = np.random.default_rng(0)
    edge = 5.43 * (count / 8) ** (1 / 3)
    return Atoms(f"Si{count}", cell=[edge] * 3, pbc=True, scaled_positions=rng.random((count, 3)))


@pytest.mark.parametrize("combine", ["mean", "max"])
def test_a_crystal_is_like_itself_in_every_cell_and_orientation(combine: str) -> None:
    crystal = bulk("NaCl", "rocksalt", 5.64)
    turned = bulk("NaCl", "rocksalt", 5.64, cubic=True).repeat((2, 1, 1))
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    turned.positions += np.random.default_rng(1).integers(-3, 4, (len(turned), 3)) @ turned.cell.array
    result = analyze.soap_similarity([turned], crystal, combine=combine)
    assert result.last == pytest.approx(np.ones(16))
    assert result.crystalline.tolist() == [1.0]


def test_a_melt_is_less_like_it_than_a_hot_crystal() -> None:
    crystal = bulk("Si", a=5.43)
    hot = bulk("Si", a=5.43, cubic=True) * 2
    hot.rattle(0.1, seed=0)
    result = analyze.soap_similarity([hot, melt()], crystal, threshold=0.7)
    assert result.mean[1] < 0.4 and 0.9 < result.mean[0] < 1
    assert result.crystalline.tolist() == [1.0, 0.0]
    assert result.density.sum() / 200 == pytest.approx(1.0)
    assert len(result.mean) == result.frames == 2


def test_the_kernel_is_that_of_the_formula() -> None:
    from dscribe.descriptors import SOAP

    atoms, crystal = melt(8), bulk("SiC", "zincblende", 4.36, cubic=True)
    crystal.rattle(0.1, seed=0)
    weighting = {"function": "poly", "r0": 4.0, "c": 1, "m": 1, "w0": 0}
    soap = SOAP(species=["C", "Si"], r_cut=4.0, n_max=4, l_max=3, sigma=0.5, weighting=weighting, periodic=True)
    mine, theirs = soap.create(atoms), soap.create(crystal)
    options = {"cutoff": 4.0, "n_max": 4, "l_max": 3, "zeta": 2}
    for combine, function in (("mean", np.mean), ("max", np.max)):
        found = analyze.soap_similarity([atoms], crystal, combine=combine, **options).last
        for i, p in enumerate(mine):
            kernel = [
                (p @ q / np.sqrt(p @ p * (q @ q))) ** 2 for q, z in zip(theirs, crystal.numbers, strict=True) if z == 14
            ]
            assert found[i] == pytest.approx(function(kernel))


def test_a_cluster_in_open_space_has_no_neighbors_across_its_cell() -> None:
    cluster = bulk("Si", a=5.43, cubic=True)
    cluster.pbc = False
    lonely = cluster.copy()
    lonely.set_cell([60, 60, 60])
    lonely.pbc = True
    crystal = bulk("Si", a=5.43)
    assert analyze.soap_similarity([cluster], crystal).last == pytest.approx(
        analyze.soap_similarity([lonely], crystal).last
    )


def test_bad_input_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="holds no Ge, which the frames hold"):
        analyze.soap_similarity([bulk("Ge")], bulk("Si"))
    with pytest.raises(InputError, match="'mean' or 'max'"):
        analyze.soap_similarity([bulk("Si")], bulk("Si"), combine="best")
    with pytest.raises(InputError, match="holds no frame"):
        analyze.soap_similarity([], bulk("Si"))
    swapped = bulk("NaCl", "rocksalt", 5.64)
    other = swapped[[1, 0]]
    with pytest.raises(InputError, match="another order"):
        analyze.soap_similarity([swapped, other], swapped)
    real = builtins.__import__

    def refuse(name, *rest, **options):
        if name.startswith("dscribe"):
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"forcewright\[soap\]"):
        analyze.soap_similarity([bulk("Si")], bulk("Si"))


def test_figure_can_be_drawn() -> None:
    result = analyze.soap_similarity([bulk("Si")], bulk("Si"))
    assert result.plot().get_xlabel() == "similarity to the reference"
