"""Eigenvalues of vasprun.xml, against ASE's reader, and of Quantum ESPRESSO's XML as its schema has it."""

import gzip
from pathlib import Path

import ase.io
import numpy as np
import pytest

from forcewright.data import Target, read, read_property
from forcewright.data.eigenvalues import DensityOfStates
from forcewright.errors import InputError
from forcewright.units import BOHR, HARTREE

GRID = {"low": -15, "high": 15, "step": 0.1}
DOS = Target(name="dos", grid=GRID, smearing_eV=0.3)


@pytest.mark.parametrize("name", ["Si_bulk_18", "Si_dimer_1"])  # one spin channel and many k-points; two and one
def test_eigenvalues_of_vasprun_are_what_ase_reads(shared_data: Path, name: str) -> None:
    path = shared_data / f"vasp/{name}.vasprun.xml.gz"
    states = read_property(path, DOS).eigenvalues[0]
    calculator = ase.io.read(path, format="vasp-xml").calc
    assert states.fermi == pytest.approx(calculator.get_fermi_level())
    assert states.weights == pytest.approx(calculator.get_k_point_weights(), abs=1e-7)
    for spin in range(calculator.get_number_of_spins()):
        for point in range(len(states.weights)):
            assert states.values[spin, point] == pytest.approx(calculator.get_eigenvalues(point, spin))
            filled = states.occupations[spin, point] * (2 / len(states.values))
            assert filled == pytest.approx(calculator.get_occupation_numbers(point, spin))
    # what VASP occupies are all electrons it says there are
    held = states.degeneracy * (states.occupations * states.weights[None, :, None]).sum()
    assert held == pytest.approx(states.electrons, abs=2e-3)


def test_frames_without_eigenvalues_say_so(shared_data: Path) -> None:
    with pytest.raises(InputError, match="last step of a run") as caught:
        read_property(shared_data / "vasp/W_md.vasprun.xml.gz", DOS)
    assert caught.value.frame == 0
    with pytest.raises(InputError, match="LORBIT"):
        read_property(shared_data / "vasp/Si_bulk_18.vasprun.xml.gz", DOS.model_copy(update={"per": "atom"}))
    with pytest.raises(InputError, match="give smearing_eV"):
        read_property(shared_data / "vasp/Si_bulk_18.vasprun.xml.gz", Target(name="dos", grid=GRID))


def row(*numbers: float) -> str:
    return f"<r> {' '.join(f'{number:.4f}' for number in numbers)} </r>"


def vasprun(folder: Path, eigenvalues: str, dos: str = "", name: str = "vasprun.xml") -> Path:
    path = folder / name
    path.write_text(
        "<modeling><kpoints><varray name='weights'><v> 0.25 </v><v> 0.75 </v></varray></kpoints>"
        "<parameters><i name='NELECT'> 2.0 </i><i type='logical' name='LNONCOLLINEAR'> F </i></parameters>"
        "<atominfo><array name='atoms'><set><rc><c>Si</c><c>1</c></rc></set></array></atominfo><calculation>"
        "<structure><crystal><varray name='basis'><v>3 0 0</v><v>0 3 0</v><v>0 0 3</v></varray></crystal>"
        "<varray name='positions'><v>0 0 0</v></varray></structure><energy><i name='e_fr_energy'>-1</i></energy>"
        f"<eigenvalues><array><set><set comment='spin 1'>{eigenvalues}</set></set></array></eigenvalues>{dos}"
        "</calculation></modeling>"
    )
    return path


POINTS = f"<set>{row(-1, 1)}{row(2, 0)}</set><set>{row(-0.5, 1)}{row(1, 0)}</set>"


def test_projected_density_of_a_vasprun_is_that_of_atoms(tmp_path: Path) -> None:
    energies = np.linspace(-3, 4, 71)
    total = "".join(row(e, 2 * (e > 0), 0) for e in energies)
    parts = "".join(row(e, 1.5 * (e > 0), 0.25 * (e > 0)) for e in energies)
    dos = (
        f"<dos><i name='efermi'>0.5</i><total><array><set><set>{total}</set></set></array></total><partial><array>"
        f"<field>energy</field><field>s</field><field>p</field><set><set comment='ion 1'><set comment='spin 1'>{parts}"
        "</set></set></set></array></partial></dos>"
    )
    path = vasprun(tmp_path, POINTS, dos)
    grid = {"low": -3, "high": 3, "step": 0.1, "zero": "fermi"}
    local = read_property(path, Target(name="dos", per="atom", grid=grid, smearing_eV=0.1)).values[0]
    assert local.shape == (1, 61) and local[0, 45] == pytest.approx(1.75)  # well above the step, 0.5 eV below E_F
    assert local[0, 25] == pytest.approx(1.75 / 2, abs=0.01) and local[0, 10] == pytest.approx(0)
    states = read_property(path, Target(name="dos", grid=grid, smearing_eV=0.1)).eigenvalues[0]
    assert (states.electrons, states.fermi, states.weights.tolist()) == (2, 0.5, [0.25, 0.75])
    assert states.highest_occupied() == -0.5


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (POINTS.replace("-0.5000", "*******"), "does not hold numbers"),
        (POINTS.replace(row(1, 0), ""), "rows are missing"),
        (f"<set>{row(-1, 1)}</set>", "2 weights for 1 k-points"),
        (f"<set>{row(-1, 1, 3)}</set>" * 2, "expected 2 numbers"),
    ],
)
def test_damaged_eigenvalues_are_refused_by_name(tmp_path: Path, points: str, said: str) -> None:
    path = vasprun(tmp_path, points)
    with pytest.raises(InputError, match=said) as caught:
        read_property(path, DOS)
    assert caught.value.frame == 0
    assert len(read(path)) == 1  # who wants the energy alone is not bothered


def test_density_on_file_is_smeared_and_keeps_its_integral() -> None:
    energies = np.linspace(-5, 5, 201)
    box = ((energies > -1) & (energies < 1.01)).astype(float)
    density = DensityOfStates(energies, np.array([box, box]), fermi=0.0)
    wide = density.smeared(np.linspace(-8, 8, 161), 0.5)
    assert wide.sum() * 0.1 == pytest.approx(2 * box.sum() * 0.05, rel=1e-6)


# Quantum ESPRESSO -------------------------------------------------------------------------------------------------

KS = '<ks_energies><k_point weight="{weight}">0 0 0</k_point><npw>9</npw><eigenvalues size="{size}">{values}</eigenvalues><occupations size="{size}">{filled}</occupations></ks_energies>'


def espresso(folder: Path, bands: str, name: str = "data-file-schema.xml", extra: str = "") -> Path:
    path = folder / name
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<qes:espresso xmlns:qes="http://www.quantum-espresso.org/ns/qes/qes-1.0"'
        ' Units="Hartree atomic units"><input><atomic_structure nat="9"/></input><output><convergence_info><scf_conv>'
        "<convergence_achieved>true</convergence_achieved></scf_conv></convergence_info>"
        '<atomic_structure nat="2" alat="10"><atomic_positions><atom name="Si1" index="1">0 0 0</atom>'
        '<atom name="o_b" index="2">2.0E+000 0 0</atom></atomic_positions><cell><a1>10 0 0</a1><a2>0 10 0</a2>'
        "<a3>0 0 10</a3></cell></atomic_structure><total_energy><etot>-2.0</etot></total_energy>"
        f"<band_structure>{bands}</band_structure>"
        '<forces rank="2" dims="3 2">0.1 0 0\n-0.1 0 0</forces><stress rank="2" dims="3 3">1e-4 0 0 0 1e-4 0 0 0 1e-4'
        f"</stress>{extra}</output></qes:espresso>"
    )
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def spectrum(spins: int = 1) -> str:
    values, filled = ("-0.5 0.1", "1 0") if spins == 1 else ("-0.5 0.1 -0.4 0.2", "1 0 1 0")
    points = "".join(
        KS.format(weight=w * 2 / spins, size=2 * spins, values=values, filled=filled) for w in (0.25, 0.75)
    )
    both = "<nbnd_up>2</nbnd_up><nbnd_dw>2</nbnd_dw>" if spins == 2 else "<nbnd>2</nbnd>"
    return (f"<lsda>{'true' if spins == 2 else 'false'}</lsda><noncolin>false</noncolin>{both}<nelec>2</nelec>"
            f"<fermi_energy>-0.1</fermi_energy>{points}")  # fmt: skip


@pytest.mark.parametrize("name", ["data-file-schema.xml", "data-file-schema.xml.gz", "silicon.xml"])
def test_quantum_espresso_is_in_hartree_and_bohr(tmp_path: Path, name: str) -> None:
    (structure, labels, _), *_ = read(espresso(tmp_path, spectrum(), name))
    assert structure.formula == "OSi" and structure.pbc.all()
    assert structure.positions[1, 0] == pytest.approx(2 * BOHR) and structure.cell[0, 0] == pytest.approx(10 * BOHR)
    assert labels.energy == pytest.approx(-2 * HARTREE)
    assert labels.forces[0, 0] == pytest.approx(0.1 * HARTREE / BOHR)
    assert labels.stress[0, 0] == pytest.approx(-1e-4 * HARTREE / BOHR**3)  # ASE's sign


def test_quantum_espresso_has_two_spins_in_a_row(tmp_path: Path) -> None:
    alone = read_property(espresso(tmp_path, spectrum()), DOS).eigenvalues[0]
    assert alone.values[0, 1].tolist() == pytest.approx([-0.5 * HARTREE, 0.1 * HARTREE])
    assert alone.weights.tolist() == [0.25, 0.75] and alone.fermi == pytest.approx(-0.1 * HARTREE)
    both = read_property(espresso(tmp_path, spectrum(2)), DOS).eigenvalues[0]
    assert both.values[1, 0] == pytest.approx(np.array([-0.4, 0.2]) * HARTREE)
    assert both.weights.tolist() == [0.25, 0.75] and both.occupations[1, 0].tolist() == [1, 0]
    fixed = spectrum().replace("fermi_energy", "highestOccupiedLevel")
    assert read_property(espresso(tmp_path, fixed), DOS).eigenvalues[0].fermi == pytest.approx(-0.1 * HARTREE)


@pytest.mark.parametrize(
    ("bands", "said"),
    [
        (spectrum().replace("-0.5 0.1", "-0.5 NaN"), "NaN"), (spectrum().replace("-0.5 0.1", "-0.5 x"), "not a number"),
        (spectrum().replace("-0.5 0.1", "-0.5", 1), "same number of bands"),
        (spectrum(2).replace("<nbnd_dw>2", "<nbnd_dw>3"), "3 of spin down"), ("", "no eigenvalues"),
        (spectrum().replace('weight="0.5"', 'weight="-1"'), "none negative"),
    ],
)  # fmt: skip
def test_damaged_files_of_quantum_espresso_are_refused(tmp_path: Path, bands: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_property(espresso(tmp_path, bands), DOS)
    assert caught.value.frame == 0 and str(caught.value.file).endswith("schema.xml")


def test_a_run_of_quantum_espresso_that_was_cut_off_says_so(tmp_path: Path) -> None:
    whole = espresso(tmp_path, spectrum()).read_text()
    path = tmp_path / "cut.xml"
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut off"):
        read(path)
    path.write_text(whole.split("<output>")[0] + "</qes:espresso>")
    with pytest.raises(InputError, match="did not finish"):
        read(path)
