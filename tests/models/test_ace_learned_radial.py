from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

import forcewright as fw
from forcewright.errors import InputError
from forcewright.features.ace.contraction import Contraction
from forcewright.models.ace import AceModel
from forcewright.models.ace.learned_radial import LearnRadialSettings, RadialLearning, _Search, _Surroundings
from forcewright.models.refinement import LinearStart, RowWeights
from forcewright.structure import Dataset, Structure


def frames(count: int, seed: int = 0, symbols: tuple[str, ...] = ("Cu", "Au")) -> Dataset:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True, a=3.8)
        atoms.symbols[:2] = symbols[-1]
        atoms.set_cell(atoms.cell * rng.uniform(0.94, 1.04), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.18, size=(4, 3))
        atoms.calc = EMT()
        atoms.get_stress()
        made.append(atoms)
    return Dataset.from_ase(made)


def model(**changes: object) -> AceModel:
    content = {"functions": 14, "rcut": 4.5, "nradmax": (4, 3, 2), "lmax": (0, 2, 1), "radial": "ChebPow", "decay": 2.0,
               "repulsion": {"inner": 2.3, "width": 0.4}}  # fmt: skip
    return AceModel.model_validate({**content, **changes})


def random_contraction(species: int, rng: np.random.Generator) -> Contraction:
    start = Contraction.identity(species, 3, 3, 6)
    return Contraction(start.blocks + 0.3 * rng.normal(size=start.blocks.shape), start.block_of)


def test_rows_are_those_of_the_potential_that_is_written() -> None:
    rng = np.random.default_rng(1)
    basis = replace(model().basis((29, 79)), contraction=random_contraction(2, rng))
    coefficients = rng.normal(size=basis.size)
    potential = model().potential(basis, coefficients, {29: 0.3, 79: -0.2})
    for frame in frames(3, symbols=("Cu", "Au")):
        structure = frame.structure
        rows, predicted = basis.rows(structure), potential.predict([structure])[0]
        energy = rows.energy @ coefficients + rows.offset[0] + 2 * 0.3 - 2 * 0.2
        assert predicted.energy == pytest.approx(energy, abs=1e-6)
        offset = rows.offset[1 : 1 + 3 * len(structure)]
        np.testing.assert_allclose(predicted.forces.ravel(), rows.forces @ coefficients + offset, atol=2e-5)


def test_python_ace_reads_the_same(tmp_path: Path) -> None:
    pyace = pytest.importorskip("pyace")
    rng = np.random.default_rng(2)
    plain = model(repulsion=None)
    basis = replace(plain.basis((29, 79)), contraction=random_contraction(2, rng))
    potential = plain.potential(basis, rng.normal(size=basis.size), {})
    potential.save(tmp_path / "model.yace")
    structure = frames(1)[0].structure
    atoms = structure.to_ase()
    atoms.calc = pyace.PyACECalculator(str(tmp_path / "model.yace"))
    predicted = potential.predict([structure])[0]
    np.testing.assert_allclose(predicted.forces, atoms.get_forces(), atol=1e-5)


def test_the_gradient_is_that_of_finite_differences() -> None:
    learning, rng = RadialLearning(LearnRadialSettings(functions=14, primitives=6)), np.random.default_rng(3)
    basis = learning.start(model().basis((29, 79)))
    dataset, energies = frames(3), {29: 0.1, 79: 0.2}
    surroundings = [_Surroundings(basis, frame, RowWeights(30.0, 3.0, 20.0), energies) for frame in dataset]
    assert any((s.pairs.closest >= 0).any() for s in surroundings)  # where the core takes over, too
    linear = LinearStart(np.full(basis.size, 0.1), np.zeros(basis.size + 1))
    search = _Search(basis, surroundings, linear, threads=1)
    contraction = random_contraction(2, rng)
    _, gradient = search._loss(contraction)
    for _ in range(3):
        direction = rng.normal(size=contraction.blocks.shape)
        up, down = (
            search._loss(Contraction(contraction.blocks + h * direction, contraction.block_of))[0]
            for h in (1e-5, -1e-5)
        )
        assert float(np.sum(gradient * direction)) == pytest.approx((up - down) / 2e-5, rel=2e-4)


def test_learned_functions_predict_unseen_frames_better(tmp_path: Path) -> None:
    train, test = frames(24, seed=4), frames(12, seed=5)
    content = {"kind": "ace", **model(repulsion=None).model_dump(exclude={"kind", "learn_radial", "nonlinear"})}
    common = {"validation": 3, "search": {"starts": 1, "evaluations": 6}, "stability": "off", "workers": 1}
    plain = fw.fit(train, model=content, test=test, **common)
    learned = fw.fit(
        train, model={**content, "learn_radial": {"functions": 14, "primitives": 8, "iterations": 15}}, test=test,
        output=tmp_path / "out", **common,
    )  # fmt: skip
    for judged in ("validation", "test"):
        errors = [getattr(getattr(result, judged).overall, "force_rmse_eV_per_A") for result in (plain, learned)]  # noqa: B009
        assert errors[1] < 0.9 * errors[0], judged
    again = fw.load(tmp_path / "out" / "potential")
    structure = test[0].structure
    np.testing.assert_array_equal(
        again.predict([structure])[0].forces, learned.potential.predict([structure])[0].forces
    )
    assert repr(again.design) == repr(learned.potential.design)
    np.savez(tmp_path / "other.npz", **{**dict(np.load(tmp_path / "out/potential/fit.npz")), "contraction": np.ones(3)})
    (tmp_path / "other.npz").replace(tmp_path / "out/potential/fit.npz")
    with pytest.raises(InputError):
        fw.load(tmp_path / "out" / "potential")


def test_the_family_itself_is_a_contraction() -> None:
    plain = model().basis((29,))
    structure = Structure([29, 29, 29], [[0, 0, 0], [2.4, 0, 0], [0.3, 2.6, 0]])
    same = replace(plain, contraction=Contraction.identity(1, 3, 3, 4))
    np.testing.assert_allclose(same.rows(structure).forces, plain.rows(structure).forces, atol=1e-12)
    assert repr(same) != repr(plain) and same == replace(plain, contraction=Contraction.identity(1, 3, 3, 4))
