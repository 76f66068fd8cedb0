"""Placeholders ``${name}`` in texts and argument lists: names only, so that a template can do nothing but name a value.

``$${name}`` stands for ``${name}`` itself, as programs with variables of their own need it; braces without a dollar
sign mean nothing here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from forcewright.errors import InputError

Value = int | float | str

_PLACEHOLDER = re.compile(r"(\$?)\$\{([^{}]*)\}")


def placeholders(text: str) -> list[str]:
    """Return the names of the placeholders in a text."""
    return [match[2] for match in _PLACEHOLDER.finditer(text) if not match[1]]


def require_known(text: str, known: Iterable[str], field: str) -> None:
    """Raise an `InputError` if a text names anything that is not known."""
    known = sorted(known)
    for name in placeholders(text):
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean ${{{close[0]}}}?" if close else f"known are {', '.join(known)}"
            raise InputError(
                f"names ${{{name}}}, which has no value; {hint} (write $${{{name}}} for the text itself)", field=field
            )


def fill(text: str, values: Mapping[str, Value], field: str = "template") -> str:
    """Return a text with values in the place of its placeholders; `InputError` if one has no value."""
    require_known(text, values, field)
    return _PLACEHOLDER.sub(lambda match: match[0][1:] if match[1] else shown(values[match[2]]), text)


def fill_within(content: Any, values: Mapping[str, Value], field: str) -> Any:
    """Fill every text in nested lists and mappings; a text that is one placeholder becomes the value itself."""
    if isinstance(content, Mapping):
        return {key: fill_within(part, values, f"{field}.{key}") for key, part in content.items()}
    if isinstance(content, list | tuple):
        return [fill_within(part, values, field) for part in content]
    if not isinstance(content, str):
        return content
    alone = _PLACEHOLDER.fullmatch(content)
    if alone and not alone[1] and alone[2] in values:
        return values[alone[2]]
    return fill(content, values, field)


def texts_in(content: Any) -> list[str]:
    """Return every text in nested lists and mappings."""
    if isinstance(content, Mapping):
        content = list(content.values())
    if isinstance(content, list | tuple):
        return [text for part in content for text in texts_in(part)]
    return [content] if isinstance(content, str) else []


def shown(value: Value) -> str:
    """Return a value as text, numbers with every digit."""
    return repr(value) if isinstance(value, float) else str(value)


def plain_value(value: Any) -> Value:
    """Return a number or a text as it is; ValueError if it is anything else, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("expected a number or a text; write a choice of texts for true and false")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value
