"""Reading and writing `.yace` files: pacemaker's files byte for byte, and every broken file refused in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from forcewright.errors import InputError
from forcewright.features.ace.expansion import Bond, Embedding, Expansion, ProductFunction
from forcewright.features.ace.yace import read_yace, write_yace

PACEMAKER = Path(__file__).parents[4] / "shared" / "data" / "yace"
FILES = sorted(PACEMAKER.rglob("*.yace"))
needs_files = pytest.mark.skipif(not FILES, reason="the pacemaker potentials of ../shared/data/yace are not here")

SMALL = """\
elements: [Al, Ni]
E0: [-1.25, -3.5]
deltaSplineBins: 0.001
embeddings:
  0: {ndensity: 2, FS_parameters: [1, 1, 1, 0.5], npoti: FinnisSinclair, rho_core_cutoff: 5, drho_core_cutoff: 3}
  1: {ndensity: 1, FS_parameters: [1, 1], npoti: FinnisSinclairShiftedScaled, rho_core_cutoff: 5, drho_core_cutoff: 3}
bonds:
  [0, 0]: {nradmax: 1, lmax: 1, nradbasemax: 2, radbasename: ChebExpCos, radparameters: [5.25], \
radcoefficients: [[[1, 0.5], [0.25, 2]]], prehc: 10, lambdahc: 1, rcut: 4.5, dcut: 0.5, \
rcut_in: 1.5, dcut_in: 0.25, inner_cutoff_type: distance}
  [0, 1]: {nradmax: 1, lmax: 0, nradbasemax: 2, radbasename: ChebPow, radparameters: [2], \
radcoefficients: [[[1, 3]]], prehc: 10, lambdahc: 1, rcut: 4, dcut: 0.5, \
rcut_in: 1.5, dcut_in: 0.25, inner_cutoff_type: distance}
  [1, 0]: {nradmax: 1, lmax: 0, nradbasemax: 2, radbasename: ChebPow, radparameters: [2], \
radcoefficients: [[[1, 3]]], prehc: 10, lambdahc: 1, rcut: 4, dcut: 0.5, \
rcut_in: 1.5, dcut_in: 0.25, inner_cutoff_type: distance}
  [1, 1]: {nradmax: 1, lmax: 1, nradbasemax: 1, radbasename: SBessel, radparameters: [3, 7], \
radcoefficients: [[[1], [4]]], prehc: 10, lambdahc: 1, rcut: 4.25, dcut: 0.5, \
rcut_in: 1.5, dcut_in: 0.25, inner_cutoff_type: distance}
functions:
  0:
    - {mu0: 0, rank: 1, ndensity: 2, num_ms_combs: 1, mus: [1], ns: [2], ls: [0], ms_combs: [0], ctildes: [0.5, 2]}
    - {mu0: 0, rank: 2, ndensity: 2, num_ms_combs: 2, mus: [0, 1], ns: [1, 1], ls: [1, 1], ms_combs: [0, 0, 1, -1], \
ctildes: [1, 2, 3, 4]}
  1:
    - {mu0: 1, rank: 1, ndensity: 1, num_ms_combs: 1, mus: [0], ns: [1], ls: [0], ms_combs: [0], ctildes: [0.125]}
"""

#: what is edited: pattern, replacement -> field, words of the message
BROKEN: dict[str, tuple[str, str, str | None, str]] = {
    "missing bond": (r"  \[1, 0\]:.*\n", "", "bonds[1, 0]", "is missing; found [0, 0], [0, 1], [1, 1]"),
    "bond of no element": (r"  \[1, 0\]: ", "  [1, 2]: ", "bonds[1, 0]", "is missing"),
    "one bond too many": (r"(functions:)", "  [2, 2]: {}\n\\1", "bonds", "has the unknown key [2, 2]"),
    "bond given twice": (r"\[1, 0\]:", "[0, 1]:", "[0, 1]", "is given twice"),
    "unknown radial family": ("ChebExpCos", "Bessel2", "bonds[0, 0].radbasename", "'Bessel2' is no radial basis known"),
    "ACE.jl radial family": ("ChebExpCos", "ACE.jl.base", "bonds[0, 0].radbasename", "known are SBessel, ChebExpCos"),
    "test radial family": ("ChebExpCos", "TEST_SBessel", "bonds[0, 0].radbasename", "'TEST_SBessel' is no radial"),
    "cut off in a function": (r"1, -1\], ctildes(.|\n)*", "1, -", None, "is not YAML or was cut off"),
    "cut off before a species": (r"  1:\n    - (.|\n)*", "", "functions.1", "is missing; found 0"),
    "cut off after a species": (r"(  1:\n)    - (.|\n)*", r"\1", "functions.1", "is empty, expected a list"),
    "cut off before functions": (r"functions:(.|\n)*", "", "functions", "is missing; found elements, E0"),
    "radial coefficients, k": (r"\[1, 0.5\]", "[1]", "bonds[0, 0].radcoefficients[0][0]", "1 numbers, expected 2"),
    "radial coefficients, l": (r"\[0.25, 2\]", "", "bonds[0, 0].radcoefficients[0]", "1 lists, expected 2 (lmax + 1)"),
    "radial coefficients, n": ("{nradmax: 1", "{nradmax: 2", "bonds[0, 0].radcoefficients", "1 lists, expected 2"),
    "radial coefficients, flat": (r"\[\[\[1\], \[4\]\]\]", "[1, 4]", "bonds[1, 1].radcoefficients", "2 lists, expected"),
    "embedding parameters": (r"\[1, 1, 1, 0.5\]", "[1, 1, 1]", "embeddings.0.FS_parameters", "3 numbers, expected 4"),
    "number of m": ("0, 0, 1, -1", "0, 0, 1", "functions.0[1].ms_combs", "holds 3 numbers, expected 4"),
    "number of coefficients": ("1, 2, 3, 4", "1, 2, 3", "functions.0[1].ctildes", "holds 3 numbers, expected 4"),
    "number of species": (r"mus: \[0, 1\]", "mus: [0]", "functions.0[1].mus", "holds 1 numbers, expected 2"),
    "nan coefficient": ("1, 2, 3, 4", "1, nan, 3, 4", "functions.0[1].ctildes", "holds nan, expected finite"),
    "YAML nan": ("1, 2, 3, 4", "1, .nan, 3, 4", "functions.0[1].ctildes", "'.nan' is not a number"),
    "infinite radial": ("0.25, 2", "inf, 2", "bonds[0, 0].radcoefficients[0][1]", "holds inf, expected finite"),
    "overflowing number": ("prehc: 10,", "prehc: 1e400,", "bonds[0, 0].prehc", "holds inf, expected finite"),
    "stars": ("rcut: 4.5", "rcut: '****'", "bonds[0, 0].rcut", "'****' is not a number"),
    "unknown embedding": ("FinnisSinclairS", "FinnisS", "embeddings.1.npoti", "'FinnisShiftedScaled' is no embedding"),
    "unknown element": ("Al, Ni", "Al, Xq", "elements", "'Xq' is an unknown element"),
    "element 0 of ASE": ("Al, Ni", "Al, X", "elements", "'X' is an unknown element"),
    "element twice": ("Al, Ni", "Al, Al", "elements", "Al is given twice"),
    "elements are a word": (r"\[Al, Ni\]", "Al", "elements", "is 'Al', expected a list"),
    "species beyond": (r"mus: \[0, 1\]", "mus: [0, 2]", "functions.0[1].mus", "holds 2, allowed are 0 to 1"),
    "n beyond nradmax": (r"ns: \[1, 1\]", "ns: [1, 2]", "functions.0[1].ns", "holds 2, allowed are 1 to 1 for rank 2"),
    "n beyond nradbase": (r"ns: \[2\]", "ns: [3]", "functions.0[0].ns", "holds 3, allowed are 1 to 2 for rank 1"),
    "n is zero": (r"ns: \[1, 1\]", "ns: [0, 1]", "functions.0[1].ns", "holds 0, allowed are 1 to 1"),
    "l beyond lmax": (r"ls: \[1, 1\]", "ls: [2, 2]", "functions.0[1].ls", "holds 2, allowed are 0 to 1 for rank 2"),
    "m beyond l": ("0, 0, 1, -1", "0, 0, 2, -2", "functions.0[1].ms_combs", "an m larger than its l [1, 1]"),
    "sum of m": ("0, 0, 1, -1", "0, 0, 1, 1", "functions.0[1].ms_combs", "has the row [1, 1], expected"),
    "m is no integer": ("0, 0, 1, -1", "0, 0, 0.5, -0.5", "functions.0[1].ms_combs", "'0.5' is not a whole number"),
    "wrong center": ("mu0: 1", "mu0: 0", "functions.1[0].mu0", "is 0, expected 1"),
    "wrong number of densities": ("mu0: 1, rank: 1, ndensity: 1", "mu0: 1, rank: 1, ndensity: 2",
                                  "functions.1[0].ndensity", "is 2, expected 1 as embeddings"),
    "negative rows": ("num_ms_combs: 2", "num_ms_combs: -2", "functions.0[1].num_ms_combs", "expected a whole number"),
    "rank zero": ("mu0: 1, rank: 1", "mu0: 1, rank: 0", "functions.1[0].rank", "is 0, expected a whole number from 1"),
    "negative cutoff": ("rcut: 4.5", "rcut: -4.5", "bonds[0, 0].rcut", "is -4.5, expected more than zero"),
    "no cutoff": ("rcut: 4.5, ", "", "bonds[0, 0].rcut", "is missing; found nradmax, lmax"),
    "negative inner cutoff": ("rcut_in: 1.5", "rcut_in: -1", "bonds[0, 0].rcut_in", "is -1, expected zero or more"),
    "unknown core": ("inner_cutoff_type: distance", "inner_cutoff_type: soft", "bonds[0, 0].inner_cutoff_type",
                     "'soft' is no inner cutoff known here; known are density, distance, zbl"),
    "mixed cores": ("inner_cutoff_type: distance", "inner_cutoff_type: zbl", "bonds[0, 1].inner_cutoff_type",
                    "is 'distance' where bonds[0, 0].inner_cutoff_type is 'zbl'"),
    "core missing in one bond": (", inner_cutoff_type: distance", "", "bonds[0, 1].inner_cutoff_type", "type is 'density'"),
    "no radial parameter": (r"\[5.25\]", "[]", "bonds[0, 0].radparameters", "is empty, expected at least one"),
    "E0 of one element": ("-1.25, -3.5", "-1.25", "E0", "holds 1 numbers, expected 2"),
    "spline bin": ("0.001", "0", "deltaSplineBins", "is 0, expected more than zero"),
    "embedding missing": (r"  1: {ndensity.*\n", "", "embeddings.1", "is missing; found 0"),
    "embedding too many": (r"(bonds:)", "  2: {}\n\\1", "embeddings", "has the unknown key 2; the file has 2 elements"),
    "tag": (r"\[Al, Ni\]", "!!python/object/apply:os.system ['true']", None, "uses the YAML tag tag:yaml.org,2002:"),
    "alias": ("-1.25, -3.5", "&a -1.25, *a", None, "uses the anchor &a (line 2)"),
    "two documents": (r"\Z", "---\n[]\n", None, "holds 2 YAML documents, expected one"),
    "nested key": (r"  \[1, 0\]: ", "  [[1], 0]: ", None, "neither a word nor a list of numbers"),
}  # fmt: skip

#: whole contents -> words of the message
NOT_POTENTIALS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\n", "is empty"),
    "a list": (b"[1, 2]", "is no ACE potential: expected keys such as elements, bonds and functions"),
    "a sentence": (b"Si is a semiconductor", "is no ACE potential"),
    "binary": (b"\x93NUMPY\x01\x00\xff\xfe", "is not a text file"),
    "control characters": (b"elements: [Al\x00\x01]", "is not YAML"),
    "other YAML": (b"species: []\n", "is missing; found species"),
    "not YAML": (b"elements: [Al\nE0: }", "is not YAML or was cut off"),
    "deep nesting": (b"[" * 5000 + b"]" * 5000, "is no ACE potential"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_potential_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    pattern, replacement, field, words = BROKEN[name]
    text = re.sub(pattern, replacement, SMALL, count=1)
    assert text != SMALL
    (tmp_path / "broken.yace").write_text(text)
    with pytest.raises(InputError) as caught:
        read_yace(tmp_path / "broken.yace")
    assert words in caught.value.problem
    assert caught.value.field == field
    assert "broken.yace" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NOT_POTENTIALS)
def test_what_is_no_potential_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    content, words = NOT_POTENTIALS[name]
    (tmp_path / "broken.yace").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        read_yace(tmp_path / "broken.yace")
    assert "broken.yace" in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_yace(tmp_path / "none.yace")
    with pytest.raises(InputError, match="is a folder"):
        read_yace(tmp_path)


def test_any_cut_is_refused_or_ends_with_a_whole_function(tmp_path: Path) -> None:
    for end in range(0, len(SMALL) - 2, 7):
        (tmp_path / "cut.yace").write_text(SMALL[:end])
        with pytest.raises(InputError):
            read_yace(tmp_path / "cut.yace")


def test_small_potential_is_read(tmp_path: Path) -> None:
    (tmp_path / "small.yace").write_text(SMALL)
    expansion = read_yace(tmp_path / "small.yace")
    assert expansion.elements == ("Al", "Ni")
    assert expansion.reference_energies.tolist() == [-1.25, -3.5]
    assert (expansion.core_mode, expansion.spline_bin, expansion.cutoff) == ("distance", 0.001, 4.5)
    bond = expansion.bonds[0, 0]
    assert (bond.family, bond.decay, bond.cutoff, bond.cutoff_width) == ("ChebExpCos", 5.25, 4.5, 0.5)
    assert (bond.core_prefactor, bond.core_decay, bond.inner, bond.inner_width) == (10.0, 1.0, 1.5, 0.25)
    assert bond.coefficients.tolist() == [[[1.0, 0.5], [0.25, 2.0]]]
    assert expansion.bonds[1, 1].decay == 3.0
    embedding = expansion.embeddings[0]
    assert (embedding.weights, embedding.exponents, embedding.kind) == ((1.0, 1.0), (1.0, 0.5), "FinnisSinclair")
    assert (embedding.core_limit, embedding.core_width) == (5.0, 3.0)
    function = expansion.functions[0][1]
    assert (function.species, function.ns, function.ls) == ((0, 1), (1, 1), (1, 1))
    assert function.ms.tolist() == [[0, 0], [1, -1]]
    assert function.coefficients.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_defaults_of_old_files(tmp_path: Path) -> None:
    text = re.sub(", rcut_in: 1.5, dcut_in: 0.25, inner_cutoff_type: distance", "", SMALL)
    (tmp_path / "old.yace").write_text(text)
    expansion = read_yace(tmp_path / "old.yace")
    assert expansion.core_mode == "density"
    assert (expansion.bonds[0, 1].inner, expansion.bonds[0, 1].inner_width) == (0.0, 0.0)


def test_symbols_that_yaml_takes_for_truth_values_stay_symbols(tmp_path: Path) -> None:
    (tmp_path / "y.yace").write_text(SMALL.replace("[Al, Ni]", "[No, Y]"))
    expansion = read_yace(tmp_path / "y.yace")
    assert expansion.elements == ("No", "Y")
    assert read_yace(write_yace(tmp_path / "out.yace", expansion)).elements == ("No", "Y")


@needs_files
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_pacemaker_files_survive_reading_and_writing(file: Path, tmp_path: Path) -> None:
    expansion = read_yace(file)
    written = write_yace(tmp_path / "again.yace", expansion)
    assert_same(read_yace(written), expansion)
    if "variant" not in file.stem:  # those were edited by hand after pacemaker had written them
        assert written.read_bytes() == file.read_bytes()


@needs_files
def test_a_large_potential_is_read_whole() -> None:
    expansion = read_yace(PACEMAKER / "XPOT-Si.yace")
    assert len(expansion.functions[0]) == 2771


def test_an_empty_species_and_awkward_numbers_survive(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, 3, 4)) * 10.0 ** rng.integers(-300, 300, size=(2, 3, 4))
    values[0, 0, :3] = 5e-324, -0.0, np.nextafter(1.0, 2.0)
    bond = Bond("SBessel", 4.0 / 3.0, values, decay=1 / 3, core_prefactor=-1e-9)
    ms = np.array([[0, 0], [1, -1]])
    function = ProductFunction((0, 0), (2, 1), (2, 2), ms, rng.normal(size=(2, 1)))
    bonds = {(i, j): bond for i in range(2) for j in range(2)}
    embeddings = (Embedding(exponents=(1 / 3,)), Embedding())
    expansion = Expansion(("Si", "C"), rng.normal(size=2), bonds, embeddings, ((), (function,)), "density", 1 / 700)
    read = read_yace(write_yace(tmp_path / "own.yace", expansion))
    assert_same(read, expansion)
    assert np.signbit(read.bonds[0, 0].coefficients[0, 0, 1])


def test_missing_densities_are_written_with_weight_zero(tmp_path: Path) -> None:
    """LAMMPS's recursive evaluator gives wrong energies where the numbers of densities differ."""
    (tmp_path / "small.yace").write_text(SMALL)
    expansion = read_yace(tmp_path / "small.yace")
    read = read_yace(write_yace(tmp_path / "again.yace", expansion))
    assert [one.weights for one in read.embeddings] == [(1.0, 1.0), (1.0, 0.0)]
    assert [one.exponents for one in read.embeddings] == [(1.0, 0.5), (1.0, 1.0)]
    assert read.functions[1][0].coefficients.tolist() == [[0.125, 0.0]]
    assert_same(read_yace(write_yace(tmp_path / "once more.yace", read)), read)


@pytest.mark.parametrize("name", ["mus", "ns", "ls", "ms_combs", "ctildes", "ctildes shape"])
def test_what_could_not_be_evaluated_is_not_written(name: str, tmp_path: Path) -> None:
    ms, coefficients = np.array([[0, 0], [1, -1]]), np.ones((2, 1))
    bad = {
        "mus": ProductFunction((0, 1), (1, 1), (1, 1), ms, coefficients),
        "ns": ProductFunction((0, 0), (1, 3), (1, 1), ms, coefficients),
        "ls": ProductFunction((0, 0), (1, 1), (2, 1), ms, coefficients),
        "ms_combs": ProductFunction((0, 0), (1, 1), (1, 1), ms[:, :1], coefficients),
        "ctildes": ProductFunction((0, 0), (1, 1), (1, 1), ms, coefficients * np.nan),
        "ctildes shape": ProductFunction((0, 0), (1, 1), (1, 1), ms, np.ones((2, 2))),
    }[name]
    bonds = {(0, 0): Bond("ChebPow", 4.0, np.ones((2, 2, 2)), decay=2.0)}
    expansion = Expansion(("Si",), np.zeros(1), bonds, (Embedding(),), ((bad,),))
    with pytest.raises(InputError) as caught:
        write_yace(tmp_path / "bad.yace", expansion)
    assert caught.value.field == f"functions.0[0].{name.split()[0]}"
    assert not list(tmp_path.iterdir())


def assert_same(left: Expansion, right: Expansion) -> None:
    """Equality to the last bit."""
    assert (left.elements, left.core_mode, left.spline_bin) == (right.elements, right.core_mode, right.spline_bin)
    assert left.reference_energies.tobytes() == right.reference_energies.tobytes()
    for one, two in zip(left.embeddings, right.embeddings, strict=True):
        assert vars(one) == vars(two)
    assert dict(left.bonds).keys() == dict(right.bonds).keys()
    for pair in left.bonds:
        one_bond, two_bond = dict(vars(left.bonds[pair])), dict(vars(right.bonds[pair]))
        assert_same_array(one_bond.pop("coefficients"), two_bond.pop("coefficients"))
        assert one_bond == two_bond
    for ours, theirs in zip(left.functions, right.functions, strict=True):
        for one_function, two_function in zip(ours, theirs, strict=True):
            assert_same_array(one_function.ms, two_function.ms)
            assert_same_array(one_function.coefficients, two_function.coefficients)
            for name in ("species", "ns", "ls"):
                assert getattr(one_function, name) == getattr(two_function, name)


def assert_same_array(left: np.ndarray, right: np.ndarray) -> None:
    assert left.shape == right.shape
    assert left.tobytes() == right.tobytes()
