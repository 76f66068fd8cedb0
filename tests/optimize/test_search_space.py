from __future__ import annotations

import sys
from subprocess import run
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcewright.errors import InputError
from forcewright.optimize.space import Categorical, Integer, Range, Real, Space, is_range, parse_range

RANGES: list[Range] = [
    Real(3.0, 6.0),
    Real(1e-8, 1e2, log=True),
    Real(-1e-3, 1e-3),
    Real(0.999, 1.001, log=True),
    Integer(1, 7),
    Integer(1, 1000, log=True),
    Integer(-3, 3),
    Categorical(("a", "b", "c")),
    Categorical((True, None, 0.5)),
]


@pytest.mark.parametrize("r", RANGES, ids=repr)
@given(u=st.floats(0, 1))
def test_there_and_back(r: Range, u: float) -> None:
    value: Any = r.from_unit(u)
    assert r.distribution()._contains(r.distribution().to_internal_repr(value))
    assert r.from_unit(r.to_unit(value)) == value
    np.testing.assert_allclose(r.snap(np.array([u]))[0], r.to_unit(value), atol=1e-5)


@pytest.mark.parametrize("r", RANGES, ids=repr)
def test_ends_are_reached(r: Range) -> None:
    first, last = (r.choices[0], r.choices[-1]) if isinstance(r, Categorical) else (r.low, r.high)
    assert (r.from_unit(0.0), r.from_unit(1.0)) == (first, last)


def test_every_integer_and_choice_gets_the_same_share() -> None:
    u = (np.arange(7000) + 0.5) / 7000
    assert np.bincount([Integer(1, 7).from_unit(x) for x in u]).tolist() == [0, *[1000] * 7]
    letters = [Categorical(tuple("abcdefg")).from_unit(x) for x in u]
    assert {letter: letters.count(letter) for letter in "abcdefg"} == dict.fromkeys("abcdefg", 1000)


def test_log_range_is_even_over_magnitudes() -> None:
    assert Real(1e-4, 1e4, log=True).from_unit(0.5) == 1.0
    assert Real(1e-4, 1e4, log=True).from_unit(0.25) == 0.01


def test_space_maps_points_params_and_features() -> None:
    space = Space({"x": Real(0.0, 10.0), "n": Integer(1, 4), "kind": Categorical(("a", "b", "c"))})
    u = np.array([[0.25, 0.3, 0.9]])
    assert space.params(u[0]) == {"x": 2.5, "n": 2, "kind": "c"}
    np.testing.assert_allclose(space.snap(u), [[0.25, 0.375, 5 / 6]])
    np.testing.assert_allclose(space.features(space.snap(u)), [[0.25, 0.375, 0, 0, 1]])
    np.testing.assert_allclose(space.unit(space.params(u[0])), space.snap(u)[0])
    assert space.continuous.tolist() == [True, False, False]
    assert {name: parse_range(d, name == "n") for name, d in space.as_dict().items()} == space.ranges


@pytest.mark.parametrize(
    ("value", "integer", "expected"),
    [
        ({"low": 3, "high": 6}, False, Real(3.0, 6.0)),
        ({"low": 3, "high": 6}, True, Integer(3, 6)),
        ({"low": "1e-8", "high": 1.0, "log": True}, False, Real(1e-8, 1.0, True)),
        ({"choices": ["a", "b"]}, False, Categorical(("a", "b"))),
    ],
)
def test_parse(value: dict[str, Any], integer: bool, expected: Range) -> None:
    assert is_range(value)
    assert parse_range(value, integer) == expected


@pytest.mark.parametrize(
    ("value", "integer", "words"),
    [
        ({"low": 3, "high": 3}, False, "low (3) must be below high (3)"),
        ({"low": 0.0, "high": 3, "log": True}, False, "needs low above 0"),
        ({"low": -2, "high": 3, "log": True}, True, "needs low above 0"),
        ({"low": 1.5, "high": 3}, True, "low is 1.5, but the parameter is a whole number"),
        ({"low": "one", "high": 3}, False, "low is 'one', which is not a number"),
        ({"low": True, "high": 3}, False, "low is True, which is not a number"),
        ({"low": 1}, False, "no 'high'"),
        ({"low": 1, "hihg": 3}, False, "did you mean 'high'?"),
        ({"low": 1, "high": 3, "colour": 3}, False, "allowed are low, high, log"),
        ({"low": 1, "high": 3, "log": "yes"}, False, "write true or false"),
        ({"low": 1, "high": float("inf")}, False, "finite"),
        ({"choices": []}, False, "0 entries"),
        ({"choices": "ab"}, False, "write a list"),
        ({"choices": ["a", "a"]}, False, "given twice"),
        ({"choices": [[1], [2]]}, False, "is a list"),
        ({"choices": ["a", "b"], "low": 2}, False, "no key 'low'"),
    ],
)
def test_unusable_range_is_refused_in_words(value: dict[str, Any], integer: bool, words: str) -> None:
    with pytest.raises(InputError, match="field 'rcut'") as error:
        parse_range(value, integer, field="rcut")
    assert words in str(error.value)


def test_empty_space_has_a_single_point() -> None:
    space = Space({})
    assert len(space) == 0 and space.params(np.zeros(0)) == {}


def test_importing_ranges_is_light() -> None:
    code = (
        "import sys, forcewright.optimize.space; print([m for m in ('optuna', 'sklearn', 'scipy') if m in sys.modules])"
    )
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
