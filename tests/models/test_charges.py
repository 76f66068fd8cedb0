"""LAMMPS pair styles of point charges as potentials, references and force fields."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from forcewright.errors import InputError
from forcewright.lammps_session import write_lammps_data
from forcewright.models import load
from forcewright.models.pair_style import PairStylePotential, pair_style_potential
from forcewright.potential import Failure
from forcewright.recipes.force_fields import force_field
from forcewright.reference import label_all, reference_from
from forcewright.simulation.ase_engine import AseEngine
from forcewright.structure import VOIGT, Structure, to_voigt
from forcewright.trajectory import Snapshot

#: Born-Mayer-Huggins of molten salts (Tosi and Fumi 1964), in eV and Å
TOSI_FUMI = (
    "1 1 424.097 0.317 0.0 1.05 0.499", "1 2 1256.31 0.317 0.0 7.0 8.676", "2 2 3488.998 0.317 0.0 72.5 145.427"
)  # fmt: skip
CHARGES = {"Na": 1, "Cl": -1}
SALT = {"pair_style": "born/coul/long 8.0", "pair_coeff": TOSI_FUMI, "species": ("Na", "Cl"), "charges": CHARGES,
        "kspace_style": "ewald 1.0e-8"}  # fmt: skip


def salt(**changes: object) -> PairStylePotential:
    content = {"base": Path("."), **SALT, **changes}
    return pair_style_potential(**{key: value for key, value in content.items() if value is not None})  # type: ignore


def melt(seed: int = 0) -> Structure:
    """Ions in a turned and sheared cell."""
    atoms = bulk("NaCl", "rocksalt", a=5.9, cubic=True) * (2, 1, 1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.random.default_rng(seed).normal(size=(3, 3))), True)
    atoms.rattle(0.2, seed=seed)
    return Structure.from_ase(atoms)


def test_madelung_constant_of_rock_salt() -> None:
    """1.747564594633 (D. Borwein, J. M. Borwein and K. F. Taylor, J. Math. Phys. 26, 2999, 1985)."""
    points = salt(pair_style="coul/long 10.0", pair_coeff="* *", kspace_style="ewald 1.0e-9")
    energy = points.predict(bulk("NaCl", "rocksalt", a=5.64, cubic=True))[0].energy
    assert -energy / 4 * 2.82 / 14.399645 == pytest.approx(1.747564594633, rel=1e-6)  # LAMMPS's e²/4πε₀ in eV Å


@pytest.mark.parametrize(
    ("style", "kspace"), [("born/coul/long 8.0", "ewald 1.0e-8"), ("born/coul/dsf 0.25 8.0 8.0", None)]
)
def test_forces_and_stress_are_derivatives_of_the_energy(style: str, kspace: str | None) -> None:
    potential, structure, step = salt(pair_style=style, kspace_style=kspace), melt(), 1e-4

    def energy(positions: np.ndarray, cell: np.ndarray) -> float:
        moved = Structure(structure.numbers, positions, cell, structure.pbc)
        return potential.predict([moved], forces=False, stress=False)[0].energy

    predicted = potential.predict([structure])[0]
    for atom, axis in [(0, 0), (5, 1), (11, 2)]:
        shift = np.zeros((len(structure), 3))
        shift[atom, axis] = step
        up, down = (energy(structure.positions + sign * shift, structure.cell) for sign in (1, -1))
        assert predicted.forces[atom, axis] == pytest.approx(-(up - down) / (2 * step), abs=1e-5)
    for component, (i, j) in enumerate(VOIGT):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            energies.append(energy(structure.positions @ strain, structure.cell @ strain))
        derivative = (energies[0] - energies[1]) / (2 * step * structure.volume)
        assert to_voigt(predicted.stress)[component] == pytest.approx(derivative, abs=2e-6)


def test_saved_with_its_charges_and_a_runnable_input(tmp_path: Path) -> None:
    potential, structure = salt(kspace_style="pppm 1.0e-6"), melt()
    folder = potential.save(tmp_path / "salt")
    expected = potential.predict([structure])[0]
    again = load(folder)
    assert isinstance(again, PairStylePotential) and again.charges == (1.0, -1.0) and again.cutoff == 8.0
    np.testing.assert_array_equal(again.predict([structure])[0].forces, expected.forces)
    write_lammps_data(folder / "structure.data", structure, potential.types, potential.cutoff, potential.charges)
    script = (
        "from forcewright.lammps_session import new_instance\n"
        "lmp = new_instance(); lmp.commands_string(open('in.lammps').read().split('velocity')[0])\n"
        "print(repr(lmp.get_thermo('pe')))\n"
    )
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=120)
    assert float(found.stdout) == pytest.approx(expected.energy, abs=1e-6)
    neutral = pair_style_potential("sw", "* * Si.sw Si", tmp_path).save(tmp_path / "neutral")
    assert not {"charges", "kspace"} & set(json.loads((neutral / "potential.json").read_text()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"charges": None, "kspace_style": None}, "requires atom attribute q; add the charges"),
        ({"charges": None}, "kspace_style.*there are none"),
        ({"charges": {"Na": 1}}, "give the charge of each of Na, Cl"),
        ({"charges": {"Na": 1, "Cl": -1, "K": 1}}, "no other"),
        ({"charges": {"Na": 0, "Cl": 0}}, "not all are 0"),
        ({"kspace_style": None}, "requires a KSpace style; add one"),
        ({"kspace_style": "ppm 1.0e-5"}, "kspace_style.*did you mean pppm"),
        ({"kspace_style": "pppm"}, "LAMMPS does not accept"),
        ({"kspace_style": "pppm 1e-5; shell ls"}, "may not stand"),
    ],
)
def test_mistakes_are_sentences(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        salt(**changes)


def test_cells_that_cannot_be_summed_are_refused(tmp_path: Path) -> None:
    potential, structure = salt(), melt()
    charged = Structure(structure.numbers[1:], structure.positions[1:], structure.cell, structure.pbc)
    with pytest.raises(InputError, match=r"charge of -1 e \(7 Na of \+1, 8 Cl of -1\)"):
        potential.predict([charged])
    slab = Structure(structure.numbers, structure.positions, structure.cell, (True, True, False))
    with pytest.raises(InputError, match="pbc T T F.*periodic.*born/coul/dsf"):
        potential.predict([slab])
    results = label_all(reference_from({"lammps": SALT}, tmp_path), [structure, charged, slab], workers=0).results
    assert results[0].energy == potential.predict([structure])[0].energy
    assert all(isinstance(result, Failure) and result.repeatable for result in results[1:])
    field = force_field({"lammps": SALT}, tmp_path)
    with pytest.raises(InputError, match="structure.*pbc T T F"):
        AseEngine(field, Snapshot(slab), 0)


def test_open_boundaries_are_fine_without_kspace() -> None:
    """A pair of unlike charges, and an ion that is alone, whose energy is zero."""
    cut = salt(pair_style="coul/cut 9.0", pair_coeff="* *", kspace_style=None)
    assert cut.predict(Atoms("NaCl", [[0, 0, 0], [0, 0, 3.0]]))[0].energy == pytest.approx(-14.399645 / 3, abs=1e-9)
    assert cut.predict(Atoms("Na"))[0].energy == 0.0


def test_wolf_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "forcewright"):
        salt(pair_style="born/coul/dsf 0.25 8.0 8.0", kspace_style=None)
        assert not caplog.records
        salt(pair_style="born/coul/wolf 0.25 8.0 8.0", kspace_style=None)
    assert "energies and forces disagree" in caplog.text and "born/coul/dsf" in caplog.text
