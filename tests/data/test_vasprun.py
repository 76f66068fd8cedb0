"""vasprun.xml: the truth is ASE's reader on real files; damaged and huge files are made here."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.units import GPa

from forcewright.data import read, read_with_summary, write
from forcewright.errors import InputError

STEPS = {
    "H2O_md10": 10, "H2O_md_triclinic": 3, "W_md": 3, "Si_dimer_1": 1, "Si_isolated_1": 1,
    **{f"Si_bulk_{number}": 1 for number in (1, 12, 18, 2, 3, 5, 6, 9)},
}  # fmt: skip


@pytest.mark.parametrize(("name", "steps"), STEPS.items())
def test_all_ionic_steps_are_what_ase_reads(shared_data: Path, name: str, steps: int) -> None:
    path = shared_data / f"vasp/{name}.vasprun.xml.gz"
    free, at_zero = read(path), read(path, labels={"energy": "e_0_energy"})
    theirs = ase.io.read(path, ":", format="vasp-xml")
    assert len(free) == len(at_zero) == len(theirs) == steps
    for (structure, labels, _), other, atoms in zip(free, at_zero.labels, theirs, strict=True):
        np.testing.assert_allclose(structure.positions, atoms.positions, rtol=0, atol=1e-12)
        np.testing.assert_allclose(structure.cell, atoms.cell.array, rtol=0, atol=1e-12)
        assert labels.energy == pytest.approx(atoms.get_potential_energy(force_consistent=True), abs=1e-10)
        assert other.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        assert labels.info["e_0_energy"] == other.energy
        np.testing.assert_allclose(labels.forces, atoms.get_forces(apply_constraint=False), rtol=0, atol=1e-12)
        # ASE takes one triangle, Forcewright the mean of both: VASP prints them alike to 0.005 kbar.
        np.testing.assert_allclose(labels.stress, atoms.get_stress(voigt=False), rtol=0, atol=0.005 * 0.1 * GPa)


def test_every_file_is_in_the_table(shared_data: Path) -> None:
    files = {path.name.removesuffix(".vasprun.xml.gz") for path in (shared_data / "vasp").glob("*.vasprun.xml.gz")}
    assert files == set(STEPS) and len(STEPS) == 13


def test_the_summary_says_which_energy(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "vasp/W_md.vasprun.xml.gz"
    summary = str(read_with_summary(path)[1])
    assert "from e_fr_energy (3)" in summary and "VASP's free energy" in summary
    summary = str(read_with_summary(path, labels={"energy": "e_0_energy"})[1])
    assert "from e_0_energy (3)" in summary and "extrapolated to zero smearing" in summary
    with pytest.raises(InputError, match="e_wo_entrp"):
        read(path, labels={"energy": "e_wo_entrp"})
    # what is written on from here is an ordinary energy, with the other one beside it
    again = read(write(read(path), tmp_path / "w.extxyz"))[0].labels
    assert (again.energy, again.info["e_0_energy"]) == (
        read(path)[0].labels.energy, read(path)[0].labels.info["e_0_energy"],
    )  # fmt: skip


def test_may_be_unpacked(shared_data: Path, tmp_path: Path) -> None:
    packed = shared_data / "vasp/W_md.vasprun.xml.gz"
    plain = tmp_path / "vasprun.xml"
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    assert read(plain).content_hash == read(packed).content_hash


# damaged files ----------------------------------------------------------------------------------------------------


def array(name: str, rows: np.ndarray) -> str:
    lines = "".join(f"<v> {' '.join(f'{x:.8f}' for x in row)} </v>\n" for row in rows)
    return f"<varray name='{name}'>\n{lines}</varray>\n"


def step(energy: str = "-10.84", force: float = 0.1, extra: str = "") -> str:
    cell = 2.7 * (np.ones((3, 3)) - np.eye(3))
    return (
        "<calculation>\n<scstep><time name='total'>1 1</time><energy><i name='e_fr_energy'> -10.84 </i>"
        "<i name='e_0_energy'> -10.80 </i></energy></scstep>\n"
        f"<structure><crystal>{array('basis', cell)}</crystal>"
        f"{array('positions', np.array([[0, 0, 0], [0.25, 0.25, 0.25]]))}</structure>\n"
        f"{array('forces', np.full((2, 3), force))}{array('stress', 3 * np.eye(3))}"
        f"<energy><i name='e_fr_energy'> {energy} </i></energy>\n{extra}</calculation>\n"
    )


ATOMS = "<rc><c>Si</c><c>1</c></rc>" * 2
HEAD = (
    "<?xml version='1.0' encoding='ISO-8859-1'?>\n<modeling>\n<generator><i name='program'>vasp</i></generator>\n"
    f"<atominfo><array name='atoms'><set>{ATOMS}</set></array></atominfo>\n"
)
GOOD = f"{HEAD}{step()}{step('-10.90')}</modeling>\n"


@pytest.mark.parametrize(
    ("name", "content", "frame", "field", "words"),
    [
        ("vasprun.xml", b"", None, None, "is empty"),
        ("vasprun.xml.gz", gzip.compress(b"", mtime=0), None, None, "is not XML"),
        ("vasprun.xml", b"  \n", None, None, "is not XML"),
        ("vasprun.xml", b"vasp.6.3.0 with a text output\n", None, None, "is not XML"),
        ("vasprun.xml", bytes(range(256)) * 10, None, None, "is not XML"),
        ("vasprun.xml", b'{"energy": 1}', None, None, "is not XML"),
        ("vasprun.xml", b"<html><body></body></html>", None, None, "the root is <html>"),
        ("vasprun.xml", GOOD[: GOOD.rindex("<scstep>")].encode(), 1, "calculation", "after 1 finished ionic steps"),
        ("vasprun.xml", GOOD.replace("</modeling>", "").encode(), 2, "calculation", "after 2 finished ionic steps"),
        ("vasprun.xml.gz", gzip.compress(GOOD.encode(), mtime=0)[:-40], 0, "calculation", "breaks off"),
        ("vasprun.xml", (HEAD + step() + step("NaN") + "</modeling>").encode(), 1, "e_fr_energy", "is NaN"),
        ("vasprun.xml", (HEAD + step("-Infinity") + "</modeling>").encode(), 0, "e_fr_energy", "is -Infinity"),
        ("vasprun.xml", (HEAD + step(force=np.nan) + "</modeling>").encode(), 0, "forces", "holds NaN"),
        ("vasprun.xml", GOOD.replace("0.25000000", "nan").encode(), 0, "positions", "holds NaN"),
        ("vasprun.xml", GOOD.replace("-10.80", "*****").encode(), 0, "e_0_energy", "not a number"),
    ],
)
def test_damaged_files_are_refused_by_name(
    tmp_path: Path, name: str, content: bytes, frame: int | None, field: str | None, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read(path)
    assert (caught.value.file, caught.value.frame, caught.value.field) == (path, frame, field)


PARAMETERS = "<parameters><i name='NELM'>{}</i><i name='EDIFF'>1e-5</i></parameters>\n"


@pytest.mark.parametrize(("changes", "longest", "threshold", "converged"), [
    ([1, 0.1, 1e-8], 4, 1e-5, True),  # it settled in the last step that is allowed
    ([1, 0.1, 1e-3], 4, 1e-5, False),
    ([1, 0.1, 1e-3], 5, 1e-5, True),  # VASP ended it by itself
    ([1, 0.1, 1e-8, 1e-8, 30.0, 20.0], 5, 1e-5, True),  # linear response goes on after the ground state
    ([1, 0.1, 1e-8, 0.0, 30.0, 20.0], 5, -0.0, True),  # what VASP writes of 1e-9
    ([1, 0.1, 1e-6, 0.1, 30.0, 20.0], 5, 0.0, False),
    ([1, 0.1, 0.1, 0.1, 0.1, 0.1], 5, 1e-5, False),
])  # fmt: skip
def test_convergence_is_that_of_the_energy(
    changes: list[float], longest: int, threshold: float, converged: bool, tmp_path: Path
) -> None:
    energies = -10.84 + np.cumsum([0.0, *changes])
    loop = "".join(f"<scstep><energy><i name='e_fr_energy'>{e:.8f}</i></energy></scstep>" for e in energies)
    text = step()
    text = text[: text.index("<scstep>")] + loop + text[text.index("</scstep>") + len("</scstep>") :]
    path = tmp_path / "vasprun.xml"
    path.write_text(HEAD + PARAMETERS.format(longest).replace("1e-5", f"{threshold:.8f}") + text + "</modeling>")
    assert read(path)[0].labels.info.get("scf_converged", True) is converged


def test_half_a_symbol_is_completed_by_its_mass(tmp_path: Path) -> None:
    types = (
        "<array name='atomtypes'><set><rc><c>2</c><c>{}</c><c>{}</c><c>8</c><c>PAW</c></rc></set></array></atominfo>"
    )
    path = tmp_path / "vasprun.xml"
    for half, mass, number in (("X", 131.293, 54), ("r", 91.224, 40), ("Si", 28.085, 14)):
        text = GOOD.replace("<c>Si</c>", f"<c>{half}</c>").replace("</atominfo>", types.format(half, mass))
        path.write_text(text)
        assert read(path)[0].structure.numbers.tolist() == [number, number]
    path.write_text(GOOD.replace("<c>Si</c>", "<c>X</c>"))
    with pytest.raises(InputError, match="vasprun.xml, field 'atominfo'"):
        read(path)


@pytest.mark.parametrize(("before", "after", "words"), [
    ("<generator>", PARAMETERS.format("***") + "<generator>", "field 'NELM'"),
    ("encoding='ISO-8859-1'", "encoding='klingon'", "XML"), ("encoding='ISO-8859-1'", "encoding='utf-7'", "XML"),
])  # fmt: skip
def test_odd_heads_are_refused_in_a_sentence(before: str, after: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "vasprun.xml"
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(InputError, match=words):
        read(path)


def test_finished_steps_of_a_damaged_file_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "vasprun.xml"
    path.write_text(HEAD + step() + step("NaN") + step("-11.0") + "<calculation><scstep>")
    assert [labels.energy for labels in read(path, strict=False).labels] == [-10.84, -11.0]


# huge files -------------------------------------------------------------------------------------------------------

MEASURE = """
import sys
from pathlib import Path
from forcewright.data.vasprun import read_vasprun
from forcewright.data.raw import RawFrame

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

small, large = map(Path, sys.argv[1:])
assert all(isinstance(frame, RawFrame) for frame in read_vasprun(small))
before = peak()
count = sum(isinstance(frame, RawFrame) for frame in read_vasprun(large))
print(count, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc, which is Linux's")
def test_300_MB_stream_in_bounded_memory(tmp_path: Path) -> None:
    """Steps with eigenvalues, and one whose projected density of states alone is a third of the file."""
    row = "<r>   1.0000   2.0000   3.0000   4.0000   5.0000   6.0000   7.0000   8.0000   9.0000  10.0000 </r>\n" * 100
    bands = f"<eigenvalues><array><set>{row * 20}</set></array></eigenvalues>\n"
    small, large = tmp_path / "small.vasprun.xml", tmp_path / "large.vasprun.xml"
    small.write_text(HEAD + step(extra=bands) + "</modeling>")
    with large.open("w") as stream:
        stream.write(HEAD)
        for _ in range(1000):
            stream.write(step(extra=bands))
        stream.write(step(extra="@@").partition("@@")[0] + "<projected><array><set>")
        for _ in range(10000):
            stream.write(row)
        stream.write("</set></array></projected></calculation>\n</modeling>\n")
    assert large.stat().st_size > 280e6
    told = subprocess.run(
        [sys.executable, "-c", MEASURE, str(small), str(large)], capture_output=True, text=True, check=True
    )
    count, grown = told.stdout.split()
    assert int(count) == 1001
    assert float(grown) < 30.0  # MB
