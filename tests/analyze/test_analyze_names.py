"""The public names of forcewright.analyze."""

from __future__ import annotations

from pathlib import Path

import pytest

from forcewright import analyze


def test_every_name_is_there_and_none_is_hidden_by_its_module() -> None:
    for name in analyze.__all__:
        assert getattr(analyze, name).__name__ == name
    modules = {path.stem for path in Path(analyze.__file__).parent.glob("*.py")}
    assert not modules & set(analyze.__all__)
    assert set(analyze.__all__) <= set(dir(analyze))


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sdf'"):
        _ = analyze.sdf
