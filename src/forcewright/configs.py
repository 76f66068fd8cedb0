"""Plain data into validated settings; every mistake becomes one sentence that names file and field."""

from __future__ import annotations

import math
import re
import reprlib
import types
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from forcewright.errors import InputError

Model = TypeVar("Model", bound=BaseModel)

_DEEPEST = 6  # levels of nested models that are searched for where a key belongs
_LONGEST = 60  # characters of a value, or of a key, that a sentence repeats
_DECIMAL = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_echo = reprlib.Repr()
_echo.maxlevel, _echo.maxstring, _echo.maxother = 3, _LONGEST, _LONGEST


class StrictModel(BaseModel):
    """Settings that never change and refuse unknown keys; the text below a field documents it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def validate(model: type[Model], content: Any, file: Path | None = None) -> Model:
    """Validate plain data.

    Raises
    ------
    InputError
        Of unknown keys the first one, with the key that was probably meant; of missing ones all; of values that are
        not allowed the first one. Names the field and what is allowed.
    """
    _refuse_unusable(content, "", file)
    try:
        validated = model.model_validate(content)
    except ValidationError as error:
        raise _sentence(model, error, file) from None
    except ArithmeticError as error:  # of numbers that are each allowed
        raise InputError(f"holds numbers that are out of bounds together ({error})", file=file) from None
    _refuse_no_numbers(content, validated, "", file)
    return validated


def _refuse_unusable(content: Any, field: str, file: Path | None) -> None:
    """Refuse infinity, NaN and texts with a NUL before anything is made of them, such as paths."""
    if isinstance(content, str) and "\0" in content:
        raise InputError(f"is {echo(content)}; no text may hold the character NUL", file=file, field=field)
    if isinstance(content, float) and not math.isfinite(content):
        raise InputError(f"is {content}, expected a finite number", file=file, field=field)
    if isinstance(content, Mapping):
        for key, value in content.items():
            _refuse_unusable(value, f"{field}.{key}".lstrip("."), file)
    elif isinstance(content, list | tuple):
        for value in content:
            _refuse_unusable(value, field, file)


def _refuse_no_numbers(content: Any, validated: Any, field: str, file: Path | None) -> None:
    """Refuse what a number was made of that is none: true, 1_000, digits of other scripts; and what is not finite."""
    if isinstance(content, bool) and isinstance(validated, int | float) and not isinstance(validated, bool):
        raise InputError(f"is {str(content).lower()}, expected a number", file=file, field=field)
    if isinstance(content, str) and isinstance(validated, int | float) and not _DECIMAL.fullmatch(content.strip()):
        raise InputError(f"is the text {echo(content)}, expected a number", file=file, field=field)
    if isinstance(validated, float) and not math.isfinite(validated):
        raise InputError(f"is {echo(content)}, expected a finite number", file=file, field=field)
    if isinstance(content, Mapping):
        for key, value in content.items():
            inner = validated.get(key) if isinstance(validated, Mapping) else getattr(validated, str(key), None)
            _refuse_no_numbers(value, inner, f"{field}.{key}".lstrip("."), file)
    elif isinstance(content, list | tuple) and isinstance(validated, list | tuple) and len(content) == len(validated):
        for value, inner in zip(content, validated, strict=True):
            _refuse_no_numbers(value, inner, field, file)


def echo(value: Any) -> str:
    """Return a value as a sentence repeats it: short, whatever it holds."""
    return _echo.repr(value)


def did_you_mean(name: str, allowed: Sequence[str]) -> str:
    """Return the close match of a name in quotes as a question, or all that are allowed."""
    close = get_close_matches(name, allowed, n=1)
    return f"did you mean {close[0]!r}?" if close else f"allowed are {', '.join(allowed)}"


def _sentence(model: type[BaseModel], failure: ValidationError, file: Path | None) -> InputError:
    errors = _of_the_branch_meant(model, failure.errors(include_url=False))
    unknown = [(keys, error) for keys, error in errors if error["type"] in ("extra_forbidden", "invalid_key")]
    missing = [keys for keys, error in errors if error["type"] == "missing"]
    if unknown:
        keys = unknown[0][0]
        problem, meant = _unknown(model, keys)
        rest = [name for name in map(".".join, missing) if name != meant]
        problem += f"; besides, {_listed(rest)} {'is' if len(rest) == 1 else 'are'} missing" if rest else ""
        return InputError(problem, file=file, field=".".join(keys))
    if len(missing) == 1:
        return InputError("is missing; add it", file=file, field=".".join(missing[0]))
    if missing:
        return InputError(f"{_listed([*map('.'.join, missing)])} are missing; add them", file=file)
    keys, first = errors[0]
    problem = _expected(model, keys, first) or first["msg"].removeprefix("Value error, ")
    problem = problem if len(problem) <= 1000 else f"{problem[:1000]}…"
    if not isinstance(first.get("input"), Mapping):
        problem = f"is {echo(first.get('input'))}: {problem}"
    return InputError(problem, file=file, field=".".join(keys) or None)


def _expected(model: type[BaseModel], keys: Sequence[str], error: ErrorDetails) -> str:
    """Return what should stand where a value is of another type than a mapping; empty for other errors."""
    if error["type"] not in ("model_type", "model_attributes_type", "dict_type"):
        return ""
    allowed = _fields_at(model, keys)
    return f"expected a mapping of {', '.join(allowed)}" if allowed else "expected a mapping, {NAME: …}"


def _of_the_branch_meant(
    model: type[BaseModel], errors: Sequence[ErrorDetails]
) -> list[tuple[list[str], ErrorDetails]]:
    """Return the errors with the keys they stand at, less those of branches of a union that were not meant.

    A union reports every branch. The branch that says only that the value is of another type was not meant, where
    another one says more.
    """
    placed = [(_keys(model, error["loc"]), error) for error in errors]
    telling = [keys for keys, error in placed if not _is_of_type(error)]
    kept = [
        (keys, error) for keys, error in placed
        if not (_is_of_type(error) and any(other[: len(keys)] == keys for other in telling))
    ]  # fmt: skip
    return kept or placed


def _is_of_type(error: ErrorDetails) -> bool:
    """Tell whether an error says no more than that a value is of another type, or another word."""
    if error["type"] == "literal_error":
        return not isinstance(error.get("input"), str)
    return error["type"].endswith(("_type", "is_instance_of"))


def _keys(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Return the keys of a location; pydantic puts the name of the branch behind what has several types."""
    keys, current = [], [model]
    after_union = False
    for part in location:
        if after_union:
            named = [kind for kind in current if getattr(get_origin(kind) or kind, "__name__", "") in str(part)]
            current, after_union = named or current, False
            continue
        keys.append(str(part) if len(str(part)) <= _LONGEST else f"{str(part)[:_LONGEST]}…")
        current = [inner for kind in current for inner in _inside(kind, part)]
        after_union = len(current) > 1
    return keys


def _inside(annotation: Any, key: str | int) -> list[Any]:
    """Return the types that may stand at a key of a type; those of a union each."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        matching = [field for name, field in fields.items() if key in (name, field.alias)]
        return _branches(matching[0].annotation) if matching else []
    inner = get_args(annotation)
    if not inner or get_origin(annotation) not in (dict, list, tuple, Mapping, Sequence):
        return []
    return _branches(inner[-1] if get_origin(annotation) in (dict, Mapping) else inner[0])


def _branches(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _branches(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in _branches(part) if kind is not type(None)]
    return [annotation]


def _unknown(model: type[BaseModel], keys: Sequence[str]) -> tuple[str, str | None]:
    """Return what to say of an unknown key, and the dotted name of the key that was meant, where one is close."""
    level, key = keys[:-1], keys[-1]
    allowed = _fields_at(model, level)
    if close := get_close_matches(key, allowed, n=1):
        return f"is not known; did you mean {close[0]!r}?", ".".join([*level, close[0]])
    if elsewhere := next((path for path in _all_keys(model) if path[-1] == key), None):
        return f"is not known here; did you mean {'.'.join(elsewhere)}?", ".".join(elsewhere)
    return f"is not known; allowed are {', '.join(allowed)}", None


def _fields_at(model: type[BaseModel], keys: Sequence[str]) -> list[str]:
    """Return the names of the fields allowed below some keys."""
    current: list[Any] = [model]
    for key in keys:
        current = [inner for kind in current for inner in _inside(kind, key)]
    models = [kind for kind in current if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return sorted(
        {field.alias or name for kind in models for name, field in kind.model_fields.items() if not field.exclude}
    )


def _all_keys(model: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the keys of all fields of nested models, those of each level before those below."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)) or len(above) > _DEEPEST:
        return
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for name in fields:
        yield (*above, name)
    for name, field in fields.items():
        for part in _branches(field.annotation):
            yield from _all_keys(part, (*above, name))


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
