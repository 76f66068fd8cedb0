"""magres files: the truth is ASE's reader; damaged files are made here."""

import gzip
from pathlib import Path

import ase.io
import numpy as np
import pytest

from forcewright.data import Target, read_property
from forcewright.data.magres import read_magres
from forcewright.errors import InputError

FILE = """#$magres-abinitio-v1.0
[atoms]
units lattice Angstrom
lattice 4 0 0 0 5 0 0 0 6
units atom Angstrom
atom H H 1 0 0 0
atom H H1 222 0 0 1
atom O:iso O 1 0 1 0
[/atoms]
[magres]
units ms ppm
ms H 1 1 2 3 4 5 6 7 8 9
ms H1222 9 8 7 6 5 4 3 2 1
units isc 10^19.T^2.J^-1
isc H 1 O 1 1 0 0 0 1 0 0 0 1
units sus 10^-6.cm^3.mol^-1
sus 1 0 0 0 1 0 0 0 1
[/magres]
"""


def magres(folder: Path, text: str, name: str = "a.magres") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["ethanol-nmr.magres", "EDIZUM.magres.gz"])
def test_tensors_are_what_ase_reads(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / "nmr" / name
    plain = path
    if name.endswith(".gz"):
        plain = magres(tmp_path, gzip.decompress(path.read_bytes()).decode())
    theirs = ase.io.read(plain, format="magres")
    for target in (Target(name="shielding"), Target(name="efg")):
        if target.where not in theirs.arrays:
            continue
        ours = read_property(path, target)
        assert ours.structures[0].numbers.tolist() == theirs.numbers.tolist()
        assert ours.structures[0].positions == pytest.approx(theirs.positions)
        assert ours.values[0].reshape(-1, 3, 3) == pytest.approx(theirs.arrays[target.where].astype(float))


def test_atoms_without_a_tensor_are_masked(tmp_path: Path) -> None:
    (frame,) = read_magres(magres(tmp_path, FILE, "a.magres.gz"))
    assert frame.arrays["has_ms"].tolist() == [True, True, False]
    assert frame.arrays["ms"][1].tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1]  # label and index in one word
    assert frame.info["isc_pairs"].tolist() == [[0, 2]] and frame.info["isc"].shape == (1, 9)
    assert frame.info["sus"].tolist() == np.eye(3).ravel().tolist() and frame.structure.pbc.all()
    shielding = read_property(magres(tmp_path, FILE), Target(name="shielding", mask="has_ms"))
    assert shielding.count == 2 and shielding.structures[0].formula == "H2O"


@pytest.mark.parametrize(
    ("old", "new", "said", "field"),
    [
        ("#$magres", "#magres", "not a magres file", None),
        ("ms H 1 1 2", "ms H 1 1", "line 12 holds 8 numbers", "ms"),
        ("ms H 1 1", "ms C 1 1", "line 12 speaks of the atom C 1", "ms"),
        ("ms H 1 1", "ms H 1 nan", "line 12 holds NaN", "ms"),
        ("ms H 1 1", "ms H 1 x", "line 12 holds 'x', which is not a number", "ms"),
        ("units ms ppm", "units ms ppb", "unit 'ppb' of ms is not known", "units"),
        ("units lattice Angstrom", "units lattice nm", "'nm' is not known; allowed are Angstrom, Bohr", "units"),
        ("units lattice Angstrom\n", "", "no unit of the lattice", "units"),
        ("ms H1222 9", "ms H 1 9", "two values", "ms"),
        ("atom H1 222", "atom H 1", "5 words|7", "atom"),
        ("[/magres]\n", "", "ends within", "magres"),
        ("[/atoms]", "[/magres]", "closes", "magres"),
        ("atom O:iso O", "atom Xx O", "Xx", "atom"),
    ],
)
def test_damaged_files_are_refused_by_line(tmp_path: Path, old: str, new: str, said: str, field: str | None) -> None:
    assert old in FILE or old == "atom H1 222"
    text = FILE.replace(old, new) if old in FILE else FILE.replace("atom H H1 222", "atom H H1")
    with pytest.raises(InputError, match=said) as caught:
        read_property(magres(tmp_path, text), Target(name="shielding"))
    assert caught.value.field == field and caught.value.file is not None
