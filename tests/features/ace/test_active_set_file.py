"""The B-basis file and the active set of a fit, as python-ace reads them for LAMMPS's pace/extrapolation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from forcewright.features.ace.b_basis import read_b_basis
from forcewright.models.ace.hyperparameters import AceModel
from forcewright.structure import Structure


def carbide(seed: int) -> Atoms:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * 2.1
    return Atoms("CSiCSiSiCSiC", grid + 0.12 * rng.normal(size=(8, 3)), cell=np.eye(3) * 4.2, pbc=True)


@pytest.fixture(scope="module", params=[1, 2])
def saved(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """An ACE of random coefficients that has seen some structures."""
    model = AceModel(
        functions=24, rcut=4.0, radial="ChebExpCos", densities=request.param, repulsion={"inner": 1.2, "width": 0.1}
    )  # type: ignore[arg-type]
    basis = model.basis((6, 14))
    coefficients = np.random.default_rng(0).normal(size=(basis.size, request.param)) * 0.01 + 0.02
    potential = model.potential(basis, coefficients if request.param > 1 else coefficients[:, 0], {6: -1.5, 14: -2.5})
    potential = potential.with_active_set([Structure.from_ase(carbide(seed)) for seed in range(40)])
    return potential, potential.save(tmp_path_factory.mktemp("ace"))


def test_the_b_basis_file_is_the_same_potential(saved: tuple[Any, Path]) -> None:
    potential, folder = saved
    expansion = read_b_basis(folder / "model.yaml")
    assert expansion.elements == ("C", "Si") and expansion.core_mode == potential.expansion.core_mode
    for mine, other in zip(expansion.embeddings, potential.expansion.embeddings, strict=True):
        assert vars(mine) == vars(other)
    text = (folder / "in.extrapolation.lammps").read_text()
    assert "pair_coeff      * * model.yaml model.asi C Si" in text and "-D PKG_ML-PACE=yes" in text
    assert "pair_style      pace\n" in (folder / "in.lammps").read_text()


def test_python_ace_gives_the_same_grades_and_energies(saved: tuple[Any, Path]) -> None:
    pyace = pytest.importorskip("pyace", reason="python-ace, the reference, is not installed")
    potential, folder = saved
    calculator = pyace.PyACECalculator(str(folder / "model.yaml"))
    calculator.set_active_set(str(folder / "model.asi"))
    for seed, factor in ((0, 1.0), (77, 1.0), (78, 0.93)):
        atoms = carbide(seed)
        atoms.set_cell(atoms.cell * factor, scale_atoms=True)
        structure = Structure.from_ase(atoms)
        prediction = potential.predict(structure)[0]
        calculator.calculate(atoms)
        np.testing.assert_allclose(calculator.results["gamma"], potential.extrapolation_grades(structure), rtol=1e-5)
        np.testing.assert_allclose(calculator.results["forces"], prediction.forces, rtol=1e-4, atol=1e-5)
        interaction = prediction.energy + 4 * (1.5 + 2.5)  # the format has no energies of isolated atoms
        np.testing.assert_allclose(calculator.results["energy"], interaction, rtol=1e-6)
