"""One grammar under data sets and trajectories: both readers give one answer, and it is ASE's where ASE reads it."""

from __future__ import annotations

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from forcewright import extxyz
from forcewright.data.extxyz import read_extxyz as read_data
from forcewright.errors import InputError
from forcewright.extxyz import format_frame, format_value, parse_comment, quote
from forcewright.structure import Structure
from forcewright.trajectory.extxyz import read_extxyz as read_trajectory

CELL = "5 0 0 0 6 0 0.5 0 7"
EXPECTED = Structure([14, 6], [[0, 0, 0], [1.5, 0, -0.0025]], np.reshape(CELL.split(), (3, 3)), [True] * 3)
ROWS = "Si 0 0 0\nC 1.5 0 -2.5e-3\n"


def frame(comment: str = "", rows: str = ROWS, lattice: str | None = f'Lattice="{CELL}"', atoms: object = 2) -> str:
    return f"{atoms}\n{lattice + ' ' if lattice else ''}{comment}\n{rows}"


#: What holds the structure above, however oddly it is written.
SOUND = {
    "plain": frame(),
    "note with quotation marks": frame(r'note="he said \"see\" page 3, pbc=F" pbc="T T T"'),
    "note that is never closed": frame('note="see pbc=T'),
    "apostrophe": frame("note=it's pbc=T"),
    "single quotes": frame("""note='pbc=F "' pbc='T T T'"""),
    "braces and brackets": frame("pbc={T T T} list=[1, 2]", lattice=f"Lattice={{{CELL}}}"),
    "lists of lists": frame("pbc=[T, T, T]", lattice="Lattice=[[5, 0, 0], [0, 6, 0], [0.5, 0, 7]]"),
    "spaces at the equals sign": frame('pbc = "T T T" energy = -1'),
    "flags as words and numbers": frame('pbc="True true 1"'),
    "flags in lower case": frame('pbc="t t t"'),
    "flags in one word": frame("pbc=TTT"),
    "one flag": frame("pbc=T"),
    "lower and upper case": frame(rows=ROWS.replace("Si", "si").replace("C", "c")),
    "upper case": frame(rows=ROWS.replace("Si", "SI")),
    "numbers for symbols": frame(rows=ROWS.replace("Si", "14")),
    "atomic numbers": frame("Properties=Z:I:1:pos:R:3", rows=ROWS.replace("Si", "14").replace("C", "6")),
    "other names": frame("Properties=symbols:S:1:positions:R:3"),
    "more columns": frame("Properties=tag:I:1:species:S:1:on:L:1:pos:R:3", rows="7 Si T 0 0 0\n8 C 0 1.5 0 -0.0025\n"),
    "Fortran's exponents": frame("energy=-1.0D+01", rows=ROWS.replace("e-3", "D-03"), lattice=f'Lattice="0.5D1{CELL[1:]}"'),
    "byte-order mark": "\ufeff" + frame(),
    "Windows": frame().replace("\n", "\r\n"),
    "other line breaks within the comment": frame("note=a\u2028b\x0b\x0c\x85c"),
    "blank lines": "\n \n" + frame() + "\n\n",
    "no line break at the end": frame().rstrip("\n"),
    "key without a value": frame("relaxed"),
    "key in quotes": frame('"my pbc"=F'),
}  # fmt: skip

#: What holds none, and the words of the sentence.
BROKEN = {
    "symbol": (frame(rows=ROWS.replace("Si", "Xq")), "frame 0, field 'species': 'Xq' is an unknown element"),
    "symbol of nothing": (frame(rows=ROWS.replace("Si", "X")), "'X' is an unknown element"),
    "number of no element": (frame(rows=ROWS.replace("Si", "119")), "between 1 and 118"),
    "count": ("two\n\n" + ROWS, "field 'number of atoms': line 1 is 'two', expected the number of atoms"),
    "no atoms": (frame(atoms=0), "line 1 promises 0 atoms"),
    "astronomical count": (frame(atoms=10**30), "the file ends after 2 of 1"),
    "too many rows": (frame() + "C 1 1 1\n", "frame 1, field 'number of atoms': line 5 is 'C 1 1 1'"),
    "only the number": ("2", "field 'comment': the file ends before the end of the comment line"),
    "row too short": (frame(rows="Si 0 0\nC 1 1 1\n"), "field 'Properties': line 3 has 3 columns"),
    "rows that add up": (frame(rows="Si 0 0\nC 1 1 1 1\n"), "line 3 has 3 columns where Properties announces 4"),
    "last row too short": (frame(rows="Si 0 0 0\nC 1 1"), "line 4 has 3 columns where Properties announces 4"),
    "position": (frame(rows="Si 0 0 0\nC 1 x 1\n"), "field 'pos': the column does not hold numbers of type R"),
    "flag column": (frame("Properties=species:S:1:pos:R:3:on:L:1", "Si 0 0 0 T\nC 1 1 1 2\n"), "a row holds '2'"),
    "integer column": (frame("Properties=Z:I:1:pos:R:3"), "field 'Z': the column does not hold numbers of type I"),
    "lattice": (frame(lattice='Lattice="1 2 3"'), "field 'Lattice': '1 2 3' is not nine numbers"),
    "lattice of words": (frame(lattice="Lattice=cubic"), "'cubic' is not nine numbers"),
    "pbc": (frame('pbc="T T"'), "field 'pbc': 'T T' is not three of T and F"),
    "pbc of words": (frame("pbc=slab"), "field 'pbc': 'slab' is not three of T and F"),
    "columns": (frame("Properties=species:S:pos:R:3"), "is not a list of name:type:columns"),
    "type of a column": (frame("Properties=species:S:1:pos:Q:3"), "pos:Q:3 is not name:type:columns"),
    "no positions": (frame("Properties=species:S:1:x:R:3"), "there are no positions"),
    "no elements": (frame("Properties=x:S:1:pos:R:3"), "there are no elements"),
    "JSON": (frame('note="_JSON {"'), "field 'comment': '_JSON {' is not JSON"),
    "deep JSON": (frame(f'note="_JSON {"[" * 200_000}"'), "is not JSON"),
    "not text": ("\x89PNG\0\n\0", "is not a text file, expected extended XYZ; is the suffix right?"),
}  # fmt: skip


def answers(content: str | bytes, path: Path) -> tuple[object, object]:
    """Return what each reader makes of a file: the hashes of its structures, or the sentence."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return answer(path, read_data), answer(path, read_trajectory)


def answer(path: Path, read: object) -> object:
    hashes = []
    try:
        for item in read(path):
            if isinstance(item, InputError):
                raise item
            hashes.append(item.structure.content_hash)
    except InputError as error:
        return str(error)
    return hashes


@pytest.mark.parametrize("name", SOUND)
def test_both_readers_read_the_same_structure(name: str, tmp_path: Path) -> None:
    data, trajectory = answers(SOUND[name], tmp_path / "odd.xyz")
    assert data == trajectory == [EXPECTED.content_hash]


@pytest.mark.parametrize("name", BROKEN)
def test_both_readers_refuse_in_the_same_sentence(name: str, tmp_path: Path) -> None:
    content, words = BROKEN[name]
    data, trajectory = answers(content, tmp_path / "odd.xyz")
    assert data == trajectory
    assert words in data


def test_text_of_another_encoding_is_no_matter(tmp_path: Path) -> None:
    data, trajectory = answers(frame("note=5\u00c5").encode("latin-1"), tmp_path / "latin.xyz")
    assert data == trajectory == [EXPECTED.content_hash]


_PIECES = st.sampled_from([
    '"', "'", "\\", "=", "{", "}", "[", "]", " ", ",", "a", "pbc", "T", "1", "F F T", "note", "Lattice", CELL, "_JSON ",
    "Properties", "species:S:1:pos:R:3", "\u2028", "\x0c", "-2.5", "energy", "å",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=14).map("".join))
def test_both_readers_agree_whatever_the_comment(tmp_path_factory: pytest.TempPathFactory, comment: str) -> None:
    data, trajectory = answers(frame(comment, lattice=None), tmp_path_factory.getbasetemp() / "any.xyz")
    if "field 'energy'" not in str(trajectory):  # a trajectory reads labels where data sets leave that to others
        assert data == trajectory


@pytest.mark.parametrize("comment", [
    r'note="he said \"see\" page 3" b=T c="1 2 3" d="1.5 2" e="T F" f=word g=1.0e-3 h', "a='1 2' b={3 4} c=\"x y\"",
    r'"my key"=3 note="back\\slash" t=0',
])  # fmt: skip
def test_values_are_those_ase_reads(comment: str, tmp_path: Path) -> None:
    path = tmp_path / "ase.xyz"
    path.write_text(frame(comment + " Properties=species:S:1:pos:R:3"))
    theirs = ase.io.read(path, format="extxyz").info
    ours = parse_comment(comment)
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value)


@pytest.mark.parametrize("piece", [r"\"", '"', 'a="', 'a="b'])
def test_a_quotation_mark_that_nothing_closes_is_looked_for_once(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking anew from each of them took 40 s for 200 kB."""
    failed = 0

    class Counted:
        def match(self, text: str, at: int) -> re.Match[str] | None:
            nonlocal failed
            found = quoted.match(text, at)
            failed += found is None
            return found

    quoted = extxyz._QUOTED
    monkeypatch.setattr(extxyz, "_QUOTED", Counted())
    list(extxyz._pairs("x=" + piece * 3333))
    assert failed <= 1


@settings(max_examples=200, deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20) | st.sampled_from(["_JSON x", "1_2", "1.5D-3", "[[1]]"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=8,
))  # fmt: skip
def test_values_read_back_as_they_were_written(value: object) -> None:
    back = parse_comment(f"before=1 key={format_value(value)} after=2")
    assert back == {"before": 1, "key": value, "after": 2}
    assert type(back["key"]) is type(value)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20).filter(lambda text: not {"\n", "\r"} & set(text)))
def test_text_in_quotes_reads_back(text: str) -> None:
    assert next(iter(parse_comment(f"{quote('k' + text)}=1"))) == "k" + text


def test_ase_reads_what_is_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    structure = Structure.from_ase(bulk("SiC", "zincblende", 4.36))
    for aligned in (True, False):
        forces, pairs = rng.normal(size=(2, 3)), {"energy": format_value(-1 / 3), "note": quote('two "words"')}
        path = tmp_path / "written.extxyz"
        path.write_text(format_frame(structure, {"forces": forces}, pairs, aligned=aligned))
        atoms = ase.io.read(path)
        assert Structure.from_ase(atoms).content_hash == structure.content_hash
        np.testing.assert_array_equal(atoms.get_forces(), forces)
        assert (atoms.get_potential_energy(), atoms.info["note"]) == (-1 / 3, 'two "words"')
