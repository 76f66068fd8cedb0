"""Write the broken files beside this script; each carries one mistake, named by the file.

Run it only to add a file: the committed files are what the tests read.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.db import connect
from ase.stress import voigt_6_to_full_3x3_stress
from ase.units import GPa

HERE = Path(__file__).parent
BULK = np.array([[0, 0, 0], [1.3575, 1.3575, 1.3575]])
FCC = 2.715 * (np.ones((3, 3)) - np.eye(3))
FORCES = np.array([[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]])
STRESS = "0.01 0 0 0 0.02 0.003 0 0.003 0.01"


def frame(
    energy="energy=-10.8",
    stress=f'stress="{STRESS}"',
    extra="config_type=bulk",
    positions=BULK,
    forces=FORCES,
    cell=FCC,
    symbol="Si",
    properties="species:S:1:pos:R:3:forces:R:3",
    count=None,
    pbc="T T T",
    shift=0.0,
):
    """Return one frame of two atoms; every argument is a place to break it. ``shift`` tells frames apart."""
    positions = np.array(positions, dtype=float)
    positions[1, 0] += shift
    table = positions if forces is None else np.hstack([positions, forces])
    lattice = " ".join(f"{x:.6f}" for x in np.ravel(cell))
    head = f'Lattice="{lattice}" Properties={properties} pbc="{pbc}" {energy} {stress} {extra}'
    rows = [" ".join([symbol, *(f"{x:.6f}" for x in row)]) for row in table]
    return "\n".join([str(count or len(rows)), head, *rows]) + "\n"


def write(name, text):
    (HERE / name).write_text(text)


def extended_xyz_that_cannot_be_read():
    good = frame()
    write("truncated.extxyz", good + "\n".join(frame().splitlines()[:3]) + "\n")
    write("atom_count.extxyz", frame(count=3) + good)
    write("unknown_element.extxyz", good + frame(symbol="Xq"))
    write("wrong_columns.extxyz", good + frame().replace("Si 0.000000", "Si 7 0.000000"))
    write("forces_two_columns.extxyz", frame(properties="species:S:1:pos:R:3:forces:R:2", forces=FORCES[:, :2]))
    write("forces_not_numbers.extxyz", good + frame().replace("0.100000", "strong"))
    write("energy_not_a_number.extxyz", good + frame(energy="energy=low"))
    write("energy_three_numbers.extxyz", frame(energy='energy="-10.8 -10.7 -10.6"'))
    write("no_energy.extxyz", frame(energy=""))
    write("unknown_keys.extxyz", frame(energy="dft_energy=-10.8"))
    write("virial_disagrees.extxyz", good + frame(extra='virial="0.4 0 0 0 0.8 0.12 0 0.12 0.4" config_type=bulk'))
    write("stress_five_numbers.extxyz", good + frame(stress='stress="0.01 0.02 0.01 0 0"'))
    write("stress_not_symmetric.extxyz", frame(stress='stress="0.01 0 0.05 0 0.02 0.003 0 0.003 0.01"'))
    write("virial_without_cell.extxyz", frame(stress='virial="1 0 0 0 1 0 0 0 1"', cell=np.zeros((3, 3)), pbc="F F F"))
    write("lattice_eight_numbers.extxyz", good + frame(cell=FCC.ravel()[:8]))
    write("empty.extxyz", "")
    (HERE / "binary.extxyz").write_bytes(bytes(range(256)) * 4)


def extended_xyz_that_the_audit_flags():
    good = frame()
    write("nan_force.extxyz", good + frame(shift=0.01).replace("0.100000", "nan"))
    write("inf_energy.extxyz", good + frame(energy="energy=inf", shift=0.01))
    write("nan_stress.extxyz", frame(stress=f'stress="nan {STRESS[5:]}"'))
    write("zero_cell.extxyz", frame(cell=np.zeros((3, 3))))
    write("left_handed.extxyz", good + frame(cell=FCC[[1, 0, 2]], shift=0.01))
    write("overlap.extxyz", good + frame(positions=[[0, 0, 0], [0.5, 0, 0]]))
    write("coincident.extxyz", frame(positions=[[0, 0, 0], [0, 0, 0]]))
    write("duplicate.extxyz", good + frame(positions=BULK + 0.3, energy="energy=-11.9"))
    write("net_force.extxyz", frame(shift=0.01) + frame(forces=FORCES + [1.0, 0, 0]))
    many = [frame(energy=f"energy={-10.8 + 0.001 * k}", shift=0.01 * k) for k in range(12)]
    outlier = frame(forces=400 * FORCES, shift=0.2)
    write("force_outlier.extxyz", "".join([*many, outlier]))
    write("energy_per_atom.extxyz", "".join([*many, frame(energy="energy=-5.401", shift=0.3)]))
    write("energy_hartree.extxyz", "".join([*many, frame(energy="energy=-0.39689", shift=0.3)]))
    write("energy_outlier.extxyz", "".join([*many, frame(energy="energy=-18.2", shift=0.3)]))
    write("some_without_forces.extxyz", "".join(many) + frame(forces=None, properties="species:S:1:pos:R:3", shift=0.3))


def vasprun(steps=1, forces=True, energy="<i name='e_fr_energy'> -10.84 </i>", root="modeling"):
    """Return a small vasprun.xml, as VASP writes it."""

    def array(name, rows):
        lines = "".join(f"<v> {' '.join(f'{x:.8f}' for x in row)} </v>\n" for row in rows)
        return f"<varray name='{name}'>\n{lines}</varray>\n"

    symbols = "<rc><c>Si</c><c>1</c></rc><rc><c>Si</c><c>1</c></rc>"
    head = f"<atominfo><array name='atoms'><set>{symbols}</set></array></atominfo>\n"
    step = (
        f"<calculation><structure><crystal>{array('basis', FCC)}</crystal>"
        f"{array('positions', [[0, 0, 0], [0.25, 0.25, 0.25]])}</structure>"
        f"{array('forces', FORCES) if forces else ''}{array('stress', 3 * np.eye(3))}<energy>{energy}</energy>"
        "</calculation>\n"
    )
    return f"<?xml version='1.0' encoding='ISO-8859-1'?>\n<{root}>\n{head}{step * steps}</{root}>\n"


def vasp():
    text = vasprun(steps=3)
    packed = gzip.compress(text.encode(), mtime=0)
    (HERE / "truncated.vasprun.xml.gz").write_bytes(packed[: len(packed) - 30])
    write("cut_off.vasprun.xml", text[: text.rindex("<energy>")])
    write("no_forces.vasprun.xml", vasprun(forces=False))
    write("unfinished_step.vasprun.xml", vasprun(energy=""))
    write("stars.vasprun.xml", vasprun(energy="<i name='e_fr_energy'> ****** </i>"))
    write("no_step.vasprun.xml", vasprun(steps=0))
    write("other_xml.vasprun.xml", vasprun(root="html"))
    write("not_gzip.vasprun.xml.gz", text)


def mlearn_entry(**changes):
    structure = {
        "lattice": {"matrix": FCC.tolist()},
        "sites": [{"species": [{"element": "Si", "occu": 1}], "xyz": row} for row in BULK.tolist()],
    }
    outputs = {"energy": -10.8, "forces": FORCES.tolist(), "virial_stress": [1, 2, 3, 0.1, 0.2, 0.3]}
    return {"structure": structure, "outputs": {**outputs, **changes}, "group": "bulk"}


def mlearn():
    write("bad_json.json", json.dumps([mlearn_entry()])[:-20])
    write("wrong_schema.json", json.dumps([{"positions": BULK.tolist(), "energy": -10.8}]))
    write("not_a_list.json", json.dumps({"data": 1}))
    write("forces_one_row.json", json.dumps([mlearn_entry(), mlearn_entry(forces=[[0.1, 0.2, 0.3]])]))
    write("forces_ragged.json", json.dumps([mlearn_entry(forces=[[0.1, 0.2, 0.3], [0.1]])]))
    write("virial_four_numbers.json", json.dumps([mlearn_entry(), mlearn_entry(virial_stress=[1, 2, 3, 4])]))


def npz(name, **changes):
    content = {"z": np.array([14, 14]), "R": BULK[None], "E": np.array([-10.8]), "F": FORCES[None]}
    content |= {"r_unit": "Ang", "e_unit": "eV"} | changes
    np.savez(HERE / name, **{key: value for key, value in content.items() if value is not None})


def sgdml():
    npz("no_z.npz", z=None)
    npz("objects.npz", z=np.array([14, None], dtype=object))
    npz("unknown_unit.npz", e_unit="erg")
    npz("no_unit.npz", e_unit=None)
    npz("positions_shape.npz", R=np.zeros((1, 3, 3)))
    npz("forces_shape.npz", F=np.zeros((1, 5, 3)))
    (HERE / "cut_off.npz").write_bytes((HERE / "no_z.npz").read_bytes()[:200])


def databases():
    write("not_a_database.db", "this is text\n")
    (HERE / "other_database.db").write_bytes(b"SQLite format 3\x00" + bytes(100))
    path = HERE / "no_labels.db"
    path.unlink(missing_ok=True)
    with connect(path) as database:
        database.write(Atoms("Si2", positions=BULK, cell=FCC, pbc=True), dft_energy=-10.8)
    with sqlite3.connect(path) as connection:
        connection.executescript("PRAGMA page_size = 512; VACUUM")
    write("suffix.exyz", frame())


def stress_in_gpa():
    """EMT copper: the stress of one group is in GPa and has VASP's sign."""
    rng = np.random.default_rng(5)
    text = ""
    for k in range(24):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.08, rng=rng)
        atoms.calc = EMT()
        voigt = atoms.get_stress() / (-GPa if k % 2 else 1)
        stress = " ".join(f"{x:.8f}" for x in voigt_6_to_full_3x3_stress(voigt).ravel())
        group = "gpa" if k % 2 else "right"
        text += frame(
            energy=f"energy={atoms.get_potential_energy():.8f}", stress=f'stress="{stress}"', cell=atoms.cell.array,
            positions=atoms.positions, forces=atoms.get_forces(), symbol="Cu", extra=f"config_type={group}",
        )  # fmt: skip
    write("stress_gpa_in_one_group.extxyz", text)


if __name__ == "__main__":
    stress_in_gpa()
    extended_xyz_that_cannot_be_read()
    extended_xyz_that_the_audit_flags()
    vasp()
    mlearn()
    sgdml()
    databases()
