"""Pacemaker's files of B coefficients: what its own converter made of them, and refusals in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from forcewright.errors import InputError
from forcewright.features.ace.b_basis import read_b_basis
from forcewright.features.ace.expansion import ProductFunction
from forcewright.features.ace.yace import read_yace

PACEMAKER = Path(__file__).parents[4] / "shared" / "data" / "yace" / "synth"
FILES = sorted(PACEMAKER.glob("*.yaml"))
needs_files = pytest.mark.skipif(not FILES, reason="the pacemaker potentials of ../shared/data/yace are not here")

SMALL = """\
global:
  DeltaSplineBins: 0.001
species:
  - speciesblock: Si
    ndensityi: 1
    npoti: FinnisSinclair
    parameters: [1, 0.5]
    rcutij: 4.5
    dcutij: 0.5
    NameOfCutoffFunctionij: cos
    nradmaxi: 1
    lmaxi: 2
    nradbaseij: 1
    radbase: SBessel
    radparameters: [5.25]
    radcoefficients: [[[1], [1], [1]]]
    nbody:
      - {type: Si Si, nr: [1], nl: [0], c: [0.5]}
      - {type: Si Si Si, nr: [1, 1], nl: [1, 1], c: [2]}
      - {type: Si Si Si Si, nr: [1, 1, 1], nl: [1, 1, 2], lint: [2], c: [3]}
      - {type: Si Si Si, nr: [1, 1], nl: [2, 2], c: [7], skip: true}
"""

BROKEN: dict[str, tuple[str, str, str | None, str]] = {
    "no block of an element": ("- speciesblock: Si", "- speciesblock: Si Ge", "species", "has no block 'Ge'"),
    "unknown embedding": ("FinnisSinclair", "Cosine", "species[0].npoti", "'Cosine' is no embedding known here"),
    "unknown radial basis": ("SBessel", "Gauss", "species[0].radbase", "'Gauss' is no radial basis known here"),
    "unknown inner cutoff": ("dcutij", "inner_cutoff_type: soft\n    dcutij", "species[0].inner_cutoff_type", "'soft'"),
    "radial coefficients": (r"\[\[\[1\], ", "[[", "species[0].radcoefficients[0]", "holds 2 lists, expected 3"),
    "number of coefficients": (r"c: \[2\]", "c: [2, 3]", "species[0].nbody[1].c", "holds 2 numbers, expected 1"),
    "number of n": (r"nr: \[1, 1\]", "nr: [1]", "species[0].nbody[1].nr", "holds 1 numbers, expected 2"),
    "impossible coupling": (r"lint: \[2\]", "lint: [1]", "species[0].nbody[2]", "possible are [[2]]"),
    "odd sum of l": (r"nl: \[1, 1\]", "nl: [1, 2]", "species[0].nbody[1]", "cannot be coupled to an invariant"),
    "n beyond": (r"nr: \[1\]", "nr: [2]", "functions.0[0].ns", "holds 2, allowed are 1 to 1 for rank 1"),
    "foreign element": ("Si Si Si Si", "Si Si Si C", "species[0].nbody[2].type", "is 'Si Si Si C', expected Si"),
    "nan": (r"c: \[2\]", "c: [nan]", "species[0].nbody[1].c", "holds nan"),
    "no spline bins": ("DeltaSplineBins", "Bins", "global.DeltaSplineBins", "is missing; found Bins"),
    "unknown element": ("speciesblock: Si", "speciesblock: Xq", "species[0].nbody[0].type", "expected Xq"),
}


@needs_files
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_converted_as_pacemaker_converts(file: Path) -> None:
    ours, theirs = read_b_basis(file), read_yace(file.with_suffix(".yace"))
    assert (ours.elements, ours.core_mode, ours.spline_bin) == (theirs.elements, theirs.core_mode, theirs.spline_bin)
    assert [vars(one) for one in ours.embeddings] == [vars(one) for one in theirs.embeddings]
    for pair, bond in theirs.bonds.items():
        mine, other = dict(vars(ours.bonds[pair])), dict(vars(bond))
        np.testing.assert_array_equal(mine.pop("coefficients"), other.pop("coefficients"))
        assert mine == other
    for mine_of_center, of_center in zip(ours.functions, theirs.functions, strict=True):
        expected = {(one.species, one.ns, one.ls): rows(one) for one in of_center}
        found = {(one.species, one.ns, one.ls): rows(one) for one in mine_of_center}
        assert found.keys() == expected.keys()
        for key, products in expected.items():
            assert found[key].keys() == products.keys()
            for row, value in products.items():
                np.testing.assert_allclose(found[key][row], value, rtol=1e-14, atol=1e-16)


def rows(function: ProductFunction) -> dict[object, np.ndarray]:
    """Sum rows that differ by the order of equal factors or by the sign of all m: their products have one real part."""
    factors = list(zip(function.species, function.ns, function.ls, strict=True))
    summed: dict[object, np.ndarray] = {}
    for row, coefficients in zip(function.ms.tolist(), function.coefficients, strict=True):
        key = max(tuple(sorted(zip(factors, [sign * m for m in row], strict=True))) for sign in (1, -1))
        summed[key] = summed.get(key, np.zeros_like(coefficients)) + coefficients
    return summed


def test_defaults_and_skipped_functions(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    expansion = read_b_basis(tmp_path / "small.yaml")
    assert expansion.core_mode == "density"
    assert (expansion.embeddings[0].core_limit, expansion.embeddings[0].core_width) == (1e5, 250.0)
    bond = expansion.bonds[0, 0]
    assert (bond.inner, bond.inner_width, bond.core_prefactor, bond.core_decay) == (0.0, 0.0, 0.0, 0.0)
    assert [(one.ls, len(one.ms)) for one in expansion.functions[0]] == [((0,), 1), ((1, 1), 2), ((1, 1, 2), 4)]
    assert expansion.reference_energies.tolist() == [0.0]


def test_the_last_intermediate_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "whole.yaml").write_text(SMALL)
    (tmp_path / "short.yaml").write_text(SMALL.replace(" lint: [2],", ""))
    whole, short = read_b_basis(tmp_path / "whole.yaml"), read_b_basis(tmp_path / "short.yaml")
    for one, other in zip(whole.functions[0], short.functions[0], strict=True):
        np.testing.assert_array_equal(one.coefficients, other.coefficients)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    pattern, replacement, field, words = BROKEN[name]
    text = re.sub(pattern, replacement, SMALL, count=1)
    assert text != SMALL
    (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_b_basis(tmp_path / "broken.yaml")
    assert caught.value.field == field
    assert words in caught.value.problem
    assert "broken.yaml" in str(caught.value)
