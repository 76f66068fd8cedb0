"""What every potential of C and Si must do: `CHECKS`, each called with a potential and an empty folder.

A package that adds a family calls them on a potential of its own (see `tests/contracts/test_example_package.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.morse import MorsePotential

from forcewright.accuracy.errors import check_species
from forcewright.errors import InputError
from forcewright.models import load
from forcewright.potential import Exportable, Graded, Linear, PerAtom, Potential, Uncertain
from forcewright.structure import VOIGT, Dataset, Frame, Labels, Structure, to_voigt

STEP = 1e-4


def cell(seed: int = 0, repeat: tuple[int, int, int] = (1, 1, 2)) -> Structure:
    """Rattled silicon carbide."""
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
    atoms.rattle(0.15, seed=seed)
    return Structure.from_ase(atoms * repeat)


def training_data(count: int = 10) -> Dataset:
    """A few cells of a Morse potential, for families with a fit of their own."""
    frames = [cell(seed, (1, 1, 1)).to_ase() for seed in range(count)]
    for atoms in frames:
        atoms.calc = MorsePotential(epsilon=2.0, r0=1.9, rho0=4.0, rcut1=3.0, rcut2=3.8)
        atoms.get_forces(), atoms.get_stress()
    return Dataset.from_ase(frames)


def moved(structure: Structure, positions: np.ndarray, cell: np.ndarray | None = None) -> Structure:
    return Structure(structure.numbers, positions, structure.cell if cell is None else cell, structure.pbc)


def standard_error(potential: Uncertain) -> np.ndarray | str:
    """The standard error of an energy, or the sentence in which a potential says that it knows none."""
    try:
        return potential.energy_standard_error([cell()])
    except InputError as error:
        return str(error)


def energy(potential: Potential, structure: Structure) -> float:
    return potential.predict([structure], forces=False, stress=False)[0].energy


def forces_are_minus_the_gradient(potential: Potential, folder: Path) -> None:
    structure = cell()
    forces = potential.predict([structure])[0].forces
    for atom, axis in [(0, 0), (5, 1), (9, 2)]:
        shift = np.zeros((len(structure), 3))
        shift[atom, axis] = STEP
        up, down = (energy(potential, moved(structure, structure.positions + s * shift)) for s in (1, -1))
        assert forces[atom, axis] == pytest.approx(-(up - down) / (2 * STEP), rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-8)


def stress_is_the_strain_derivative_per_volume(potential: Potential, folder: Path) -> None:
    structure = cell()
    stress = to_voigt(potential.predict([structure])[0].stress)
    for component, (i, j) in enumerate(VOIGT):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * STEP / 2
            strain[j, i] += sign * STEP / 2
            energies.append(energy(potential, moved(structure, structure.positions @ strain, structure.cell @ strain)))
        derivative = (energies[0] - energies[1]) / (2 * STEP * structure.volume)
        assert stress[component] == pytest.approx(derivative, rel=1e-5, abs=1e-7)


def permutations_rotations_and_shifts_change_nothing(potential: Potential, folder: Path) -> None:
    structure = cell()
    reference = potential.predict([structure])[0]
    rng = np.random.default_rng(1)
    order = rng.permutation(len(structure))
    permuted = Structure(structure.numbers[order], structure.positions[order], structure.cell, structure.pbc)
    prediction = potential.predict([permuted])[0]
    assert prediction.energy == pytest.approx(reference.energy, abs=1e-9)
    np.testing.assert_allclose(prediction.forces, reference.forces[order], atol=1e-9)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = moved(structure, (structure.positions + [1.0, 20.0, -7.0]) @ turn, structure.cell @ turn)
    prediction = potential.predict([turned])[0]
    assert prediction.energy == pytest.approx(reference.energy, abs=1e-8)
    np.testing.assert_allclose(prediction.forces, reference.forces @ turn, atol=1e-8)
    np.testing.assert_allclose(prediction.stress, turn.T @ reference.stress @ turn, atol=1e-9)


def twice_the_cell_is_twice_the_energy(potential: Potential, folder: Path) -> None:
    single = potential.predict([cell()])[0]
    double = potential.predict([cell(repeat=(2, 1, 2))])[0]
    assert double.energy == pytest.approx(2 * single.energy, abs=1e-8)
    np.testing.assert_allclose(double.stress, single.stress, atol=1e-10)


def batch_equals_single_and_input_is_unchanged(potential: Potential, folder: Path) -> None:
    structures = [cell(0), cell(1, (1, 1, 1)), cell(0)]
    hashes = [s.content_hash for s in structures]
    batch = potential.predict(structures)
    for structure, together in zip(structures, batch, strict=True):
        assert energy(potential, structure) == pytest.approx(together.energy, abs=1e-10)
    assert hashes == [s.content_hash for s in structures]


def structures_come_in_any_form(potential: Potential, folder: Path) -> None:
    structure = cell(0, (1, 1, 1))
    atoms, frame = structure.to_ase(), Frame(structure, Labels())
    expected = energy(potential, structure)
    for form, count in (
        (atoms, 1), (structure, 1), (frame, 1), ([atoms, structure], 2), ((structure, frame), 2),
        (Dataset((frame, frame)), 2), (iter([atoms]), 1), ([], 0),
    ):  # fmt: skip
        predictions = potential.predict(form)
        assert isinstance(predictions, list) and len(predictions) == count
        for prediction in predictions:
            assert prediction.energy == pytest.approx(expected, abs=1e-10)
            assert prediction.forces.shape == (8, 3) and prediction.stress.shape == (3, 3)
    with pytest.raises(InputError, match="SiC.extxyz: does not exist"):
        potential.predict("SiC.extxyz")
    with pytest.raises(InputError, match="frame 1.*is a float"):
        potential.predict([atoms, 1.0])
    bare = potential.predict(atoms, forces=False, stress=False)[0]
    assert bare.forces is None and bare.stress is None


def energy_is_smooth_at_the_cutoff_and_constant_beyond(potential: Potential, folder: Path) -> None:
    reach = potential.cutoff
    beyond, at, near, far = (
        energy(potential, Structure([14, 14], [[0, 0, 0], [d, 0, 0]]))
        for d in reach + np.array([1.0, 0.0, -1e-4, -1e-3])
    )
    assert at == pytest.approx(beyond, abs=1e-9) and near == pytest.approx(beyond, abs=1e-6)
    assert abs(near - beyond) < max(0.02 * abs(far - beyond), 1e-8)  # at least as the square of the distance


def isolated_atoms_and_open_boundaries_are_fine(potential: Potential, folder: Path) -> None:
    atom = Structure([6], [[0.0, 0.0, 0.0]])
    prediction = potential.predict([atom])[0]
    assert np.isfinite(prediction.energy) and prediction.stress is None
    np.testing.assert_allclose(prediction.forces, 0.0, atol=1e-10)
    far = Structure([6, 6], [[0.0, 0.0, 0.0], [0.0, 0.0, 50.0]])
    assert energy(potential, far) == pytest.approx(2 * prediction.energy, abs=1e-9)


def saving_and_loading_changes_nothing(potential: Potential, folder: Path) -> None:
    loaded = load(potential.save(folder / "saved"))
    first, second = potential.predict([cell()])[0], loaded.predict([cell()])[0]
    assert first.energy == second.energy
    np.testing.assert_array_equal(first.forces, second.forces)
    assert loaded.species == potential.species and loaded.cutoff == potential.cutoff
    assert repr(loaded) == repr(potential)
    if isinstance(potential, Linear):
        np.testing.assert_array_equal(potential.coefficients, loaded.coefficients)
    if isinstance(potential, Uncertain):
        np.testing.assert_array_equal(standard_error(potential), standard_error(loaded))
    if isinstance(potential, Exportable):
        assert potential.to_lammps(folder).is_file()


def a_damaged_folder_is_one_sentence(potential: Potential, folder: Path) -> None:
    """Whatever is missing from ``potential.json``, or is not what it should be, is told with the file's name."""
    file = potential.save(folder / "saved") / "potential.json"
    text = file.read_text()
    with pytest.raises(InputError, match=r"potential.json: is damaged: .*; save the potential again"):
        file.write_text(text[: len(text) // 2])
        load(file.parent)
    content = json.loads(text)
    for key in set(content) - {"format", "version", "kind", "provenance"}:
        for changed in ({k: v for k, v in content.items() if k != key}, {**content, key: ["nonsense", float("nan")]}):
            file.write_text(json.dumps(changed))
            with pytest.raises(InputError, match=str(file.parent)):
                load(file.parent)


def a_potential_prints_as_one_line(potential: Potential, folder: Path) -> None:
    for text in (repr(potential), repr(potential.calculator())):
        assert len(text) < 160 and "\n" not in text
    assert f"{type(potential).__name__}(C-Si, " in repr(potential) and f"{potential.cutoff:.4g} Å" in repr(potential)


def calculator_gives_what_predict_gives(potential: Potential, folder: Path) -> None:
    structure = cell()
    atoms = structure.to_ase()
    atoms.calc = potential.calculator()
    expected = potential.predict([structure])[0]
    assert atoms.get_potential_energy() == pytest.approx(expected.energy)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), expected.stress)
    cluster = Structure([14, 6], [[0, 0, 0], [0, 0, 1.8]]).to_ase()
    cluster.calc = potential.calculator()
    assert np.isfinite(cluster.get_forces()).all()


def atoms_have_energies_where_the_potential_has_them(potential: Potential, folder: Path) -> None:
    atoms = cell().to_ase()
    atoms.calc = potential.calculator()
    if not isinstance(potential, PerAtom):
        assert "energies" not in atoms.calc.implemented_properties
        return
    energies = atoms.get_potential_energies()
    assert energies.shape == (len(atoms),) and energies.sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(energies, potential.atomic_energies(cell()), rtol=1e-12)
    assert alone(potential, 14) == pytest.approx(potential.predict(Atoms("Si"))[0].energy)


def alone(potential: PerAtom, z: int) -> float:
    """The energy of an atom beside which another one is far away."""
    return float(potential.atomic_energies(Structure([z, 6], [[0, 0, 0], [0, 0, 50.0]]))[0])


def grades_are_in_the_results_where_they_are_asked_for(potential: Potential, folder: Path) -> None:
    atoms = cell().to_ase()
    if not isinstance(potential, Graded):
        with pytest.raises(InputError, match="knows no extrapolation grades"):
            potential.calculator(grades=True)
        return
    with pytest.raises(InputError, match="knows no extrapolation grades"):
        potential.calculator(grades=True)
    known = potential.with_active_set([cell(seed) for seed in range(6)])
    expected = known.extrapolation_grades(cell())
    atoms.calc = known.calculator()
    atoms.get_forces()
    assert "extrapolation_grade" not in atoms.calc.results  # they take long
    assert atoms.calc.get_property("extrapolation_grade", atoms) == expected.max()
    atoms.calc = known.calculator(grades=True)
    atoms.get_forces()
    np.testing.assert_array_equal(atoms.calc.results["extrapolation_grades"], expected)
    atoms.rattle(0.2, seed=1)
    atoms.get_potential_energy()
    assert atoms.calc.results["extrapolation_grade"] == known.extrapolation_grades(Structure.from_ase(atoms)).max()


def an_unknown_element_is_one_sentence(potential: Potential, folder: Path) -> None:
    sentence = r"'numbers'.*: holds Mo, but the potential knows only C, Si"
    with pytest.raises(InputError, match=sentence):
        potential.predict([Structure.from_ase(bulk("Mo"))])
    with pytest.raises(InputError, match="frame 1, .*holds Mo"):
        potential.predict([cell(), Structure.from_ase(bulk("Mo"))])
    atoms = bulk("Mo")
    atoms.calc = potential.calculator()
    with pytest.raises(InputError, match=sentence):
        atoms.get_forces()
    with pytest.raises(InputError, match="Mo"):
        check_species(potential, Dataset.from_ase([bulk("Mo")]))


CHECKS = (
    forces_are_minus_the_gradient,
    stress_is_the_strain_derivative_per_volume,
    permutations_rotations_and_shifts_change_nothing,
    twice_the_cell_is_twice_the_energy,
    batch_equals_single_and_input_is_unchanged,
    structures_come_in_any_form,
    energy_is_smooth_at_the_cutoff_and_constant_beyond,
    isolated_atoms_and_open_boundaries_are_fine,
    saving_and_loading_changes_nothing,
    a_damaged_folder_is_one_sentence,
    a_potential_prints_as_one_line,
    calculator_gives_what_predict_gives,
    atoms_have_energies_where_the_potential_has_them,
    grades_are_in_the_results_where_they_are_asked_for,
    an_unknown_element_is_one_sentence,
)
