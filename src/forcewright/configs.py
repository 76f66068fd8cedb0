"""Plain data into validated settings; every mistake becomes one sentence that names file and field."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from forcewright.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], content: Any, file: Path | None = None) -> Model:
    """Validate plain data; the first mistake becomes an `InputError` that names the field and what is allowed."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _sentence(model, error, file) from None


def _sentence(model: type[BaseModel], error: ValidationError, file: Path | None) -> InputError:
    errors = error.errors()
    # a union reports every branch: for a mapping the branch that reads mappings is the one that was meant
    first = next((e for e in errors if "constrained-float" not in e["loc"]), errors[0])
    # branches of a union appear in the location under their type's name, which means nothing to a user
    place = [str(part) for part in first["loc"] if not _is_type_name(str(part))]
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        allowed = _fields_at(model, place[:-1])
        close = get_close_matches(place[-1], allowed, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"allowed are {', '.join(allowed)}"
        problem = f"is not known; {hint}"
    elif first["type"] == "missing":
        problem = "is missing; add it"
    elif not isinstance(first.get("input"), Mapping):
        problem = f"is {first.get('input')!r}: {problem}"
    return InputError(problem, file=file, field=".".join(place) or None)


def _is_type_name(part: str) -> bool:
    return part in {"LogRange", "TargetAccuracy", "float", "int", "constrained-float"} or "[" in part


def _fields_at(model: type[BaseModel], place: list[str]) -> list[str]:
    """Return the field names allowed at a dotted place."""
    current: Any = model
    for part in place:
        if part not in current.model_fields:  # a key of a mapping, whose values were entered already
            continue
        annotation = current.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        nested = [c for c in candidates if get_origin(c) is None and isinstance(c, type) and issubclass(c, BaseModel)]
        current = nested[0] if nested else current
    names = [field.alias or name for name, field in current.model_fields.items()]
    return sorted(names)
