"""A potential with electrons at a temperature behind ``potential:`` of a simulation."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from forcewright.data.properties import Grid
from forcewright.errors import InputError
from forcewright.models.snap import SnapModel
from forcewright.properties.dos_model import DosData, DosSettings, fit_dos
from forcewright.recipes.force_fields import force_field
from forcewright.recipes.simulate import simulate
from forcewright.structure import Structure
from forcewright.trajectory import read_thermo


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    basis = SnapModel(twojmax=2).basis((14,))
    coefficients = 1e-3 * np.arange(1.0, basis.size + 1)
    SnapModel(twojmax=2).potential(basis, coefficients, {14: -5.0}).save(tmp_path / "si")
    rng, grid = np.random.default_rng(0), Grid.spanning(-10.0, 0.25, 89)
    structures, densities = [], []
    for _ in range(12):
        atoms = bulk("Si", cubic=True)
        factor = 1 + rng.uniform(-0.05, 0.05)
        atoms.set_cell(atoms.cell * factor, scale_atoms=True)
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        structures.append(Structure.from_ase(atoms))
        densities.append(np.exp(-0.5 * (grid.points / 3.0 * factor**3) ** 2))
    environment = {"cutoff": 4.0, "nradmax": [3, 2], "lmax": [0, 1], "functions": 8, "environments": 40}
    settings = DosSettings(environment=environment, electrons={"Si": 4.0})
    fit_dos(DosData.of(structures, grid, densities), settings, rng=rng).save(tmp_path / "dos")
    return tmp_path


def source(temperature: float, **changes: Any) -> dict[str, Any]:
    return {"hot_electrons": {"potential": "si", "dos": "dos", "electronic_temperature_K": temperature, **changes}}


def test_temperature_is_part_of_what_a_run_is_known_by(folder: Path) -> None:
    cold, hot = (force_field(source(temperature), folder) for temperature in (1000.0, 5000.0))
    assert cold.content_hash != hot.content_hash
    assert cold.species == (14,)
    assert hot.name == "hot electrons of 5000 K"
    atoms = bulk("Si", cubic=True)
    energies = []
    for field in (cold, hot):
        atoms.calc = pickle.loads(pickle.dumps(field.calculator))()
        energies.append(atoms.get_potential_energy())
    assert energies[1] < energies[0]


def test_dynamics_conserve_the_free_energy(folder: Path) -> None:
    config = {
        "potential": {"hot_electrons": {"potential": str(folder / "si"), "dos": str(folder / "dos"),
                                        "electronic_temperature_K": 6000}},
        "structure": {"bulk": "Si", "cubic": True},
        "stages": [
            {"ensemble": "nvt", "temperature_K": 300, "time_ps": 0.005, "timestep_fs": 1},
            {"ensemble": "nve", "time_ps": 0.03, "timestep_fs": 1},
        ],
        "trajectory": {"every_fs": 5},
        "thermo_every_fs": 1,
        "output": str(folder / "md"),
    }  # fmt: skip
    assert simulate(config).completed
    thermo = read_thermo(folder / "md" / "thermo.csv")
    total = np.asarray(thermo["total_eV"])[6:]  # of the stage without a thermostat
    assert np.ptp(thermo["kinetic_eV"]) > 1e-2
    assert np.ptp(total) < 1e-3


def test_a_pair_style_stands_in_place_of_a_saved_potential(folder: Path) -> None:
    style = {"lammps": {"pair_style": "lj/cut 5.0", "pair_coeff": "1 1 0.01 2.2", "species": ["Si"]}}
    atoms = bulk("Si", cubic=True)
    plain, cold = force_field(style, folder), force_field(source(0.0, potential=style), folder)
    energies = [atoms.copy() for _ in range(2)]
    for copy, field in zip(energies, (plain, cold), strict=True):
        copy.calc = field.calculator()
    assert energies[0].get_potential_energy() == pytest.approx(energies[1].get_potential_energy(), abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"electronic_temperature_K": -1}, "electronic_temperature_K"),
        ({"dos": "nowhere"}, "does not exist"),
        ({"potential": {"xtb": "GFN1-xTB"}}, "neither a path"),
        ({"potential": {"lamps": {}}}, "did you mean 'lammps'"),
    ],
)
def test_bad_settings_are_named(folder: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        force_field({"hot_electrons": {**source(100.0)["hot_electrons"], **changes}}, folder)
