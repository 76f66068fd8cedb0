"""Every key of a settings model: its type, default, unit, meaning and an example, from the model itself."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from forcewright.configs import echo
from forcewright.manual.config_models import Choice, choice, short_form
from forcewright.manual.examples import EXAMPLES
from forcewright.plain_data import yaml_line

#: Units by the end of a key, longer ends first.
_UNITS = {
    "_meV_per_atom": "meV/atom", "_eV_per_atom": "eV/atom", "_us_per_atom": "µs/atom", "_K_per_s": "K/s",
    "_GPa_per_ps": "GPa/ps", "_g_per_cm3": "g/cm³", "_per_atom_A3": "Å³/atom", "_W_per_core": "W",
    "_eV_per_A": "eV/Å", "_minutes": "min", "_hours": "h", "_steps": "steps", "_GPa": "GPa", "_GB": "GB",
    "_ps": "ps", "_fs": "fs", "_eV": "eV", "_K": "K", "_A": "Å", "_s": "s",
}  # fmt: skip

#: Units of keys whose names do not end in them.
_NAMED_UNITS = {"fmax": "eV/Å"}

#: Examples by type.
_BY_TYPE: Mapping[Any, str] = {bool: "true", int: "1", float: "1.0", str: "name", Path: "path/to/it"}

#: Units as meanings name them: "in Å", "in eV/Å".
_IN = re.compile(r"\b[Ii]n (eV/Å³|eV/Å|eV per atom|eV|1/Å|Å|GPa|K|ps|fs)(?![\w³/])")


@dataclass(frozen=True)
class Key:
    """One key of a settings model.

    Attributes
    ----------
    name
        As it stands in a config.
    takes
        What may stand there, in words.
    default
        Its default as YAML; None where it is required.
    unit
        Its unit; empty where it has none.
    meaning
        What it means.
    example
        An example as YAML; empty where ``parts`` have theirs.
    short
        A short form in words; empty where there is none.
    parts
        Settings models that stand at the key, by what they are called.
    chosen_by
        The key in these by which one of them is chosen; None where there is only one.
    names
        Whether the user chooses names at the key, below which the parts stand.
    several
        Whether it takes a list of the parts.
    """

    name: str
    takes: str
    default: str | None
    unit: str
    meaning: str
    example: str
    short: str
    parts: Mapping[str, type[BaseModel]]
    chosen_by: str | None
    names: bool
    several: bool

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is None


def keys(model: type[BaseModel], known: Mapping[str, Choice]) -> list[Key]:
    """Return the keys of a settings model in their order.

    Parameters
    ----------
    model
        The settings.
    known
        What `forcewright.manual.config_models.choices` returned.
    """
    return [
        _key(model, name, field, choice(model, name, known))
        for name, field in model.model_fields.items()
        if not field.exclude
    ]  # fmt: skip


def _key(model: type[BaseModel], name: str, field: FieldInfo, open_to: Choice | None) -> Key:
    meaning = " ".join((field.description or "").replace("``", "").split())
    shown = field.alias or name
    annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    parts = {part.__name__: part for part in models_in(field.annotation)}
    origins = {get_origin(kind) for kind in plain(field.annotation)}
    short = short_form(model, name)
    return Key(
        name=shown, takes=_words_of(annotation, open_to), default=_default(field), unit=unit_of(shown, meaning),
        meaning=meaning, example=_example(model, name, field, bool(parts or open_to)),
        short=short.words if short else "", parts=open_to.models if open_to else parts,
        chosen_by=open_to.key if open_to else None,
        names=dict in origins and (bool(parts) or (open_to is not None and holds_mappings(field.annotation))),
        several=bool(origins & {list, tuple, Sequence}) and bool(parts or open_to),
    )  # fmt: skip


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the settings models that may stand at an annotation, also within lists and mappings."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def holds_mappings(annotation: Any) -> bool:
    """Tell whether an annotation is of mappings from names to mappings."""
    return any(
        get_origin(kind) is dict and any(get_origin(inner) is dict for inner in plain(get_args(kind)[1]))
        for kind in plain(annotation)
    )


def plain(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, without their metadata."""
    if get_origin(annotation) is Annotated:
        yield from plain(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from plain(part)
    else:
        yield annotation


def unit_of(key: str, meaning: str) -> str:
    """Return the unit of a key: that its name ends in, or that its meaning names."""
    if end := next((end for end in _UNITS if key.endswith(end)), None):
        return _UNITS[end]
    if key in _NAMED_UNITS:
        return _NAMED_UNITS[key]
    mentioned = _IN.search(meaning)
    return mentioned.group(1).replace(" per ", "/") if mentioned else ""


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    return yaml_line(_bare(value))


def _bare(value: Any) -> Any:
    """Return a value as plain data."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True, fallback=echo)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _bare(part) for key, part in value.items()}
    return [_bare(part) for part in value] if isinstance(value, list | tuple) else value


def _example(model: type[BaseModel], name: str, field: FieldInfo, has_parts: bool) -> str:
    for owner in model.__mro__:
        if (example := EXAMPLES.get(f"{owner.__name__}.{name}", PydanticUndefined)) is not PydanticUndefined:
            return yaml_line(example)
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if default is None or default in ("", (), [], {}) or isinstance(default, BaseModel):
        return "" if has_parts else _example_of_kind(field.annotation)
    return yaml_line(_bare(default))


def _example_of_kind(annotation: Any) -> str:
    """Return an example by the type alone, for keys that have no better one; nothing for mappings and lists."""
    for kind in plain(annotation):
        if get_origin(kind) is Literal:
            return yaml_line(get_args(kind)[0])
        if kind in _BY_TYPE:
            return _BY_TYPE[kind]
    return ""


def _words_of(annotation: Any, open_to: Choice | None) -> str:
    if open_to is None:
        return words(annotation)
    what = f"mapping with {open_to.key}" if open_to.key else "mapping"
    origins = {get_origin(kind) for kind in plain(annotation)}
    if list in origins:
        what = f"list of {what}"
    elif holds_mappings(annotation):
        what = f"mapping from names to {what}"
    return " or ".join([what, *(["path"] if open_to.also else [])])


def words(annotation: Any) -> str:
    """Return in words what may stand at an annotation."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        bounds = ", ".join(filter(None, map(_bound, _all(metadata))))
        said = words(inner)
        return f"{said} ({bounds})" if bounds else said
    if get_origin(annotation) in (Union, types.UnionType):
        said_of = [words(part) for part in get_args(annotation)]
        return " or ".join(dict.fromkeys(text for text in said_of if text))
    return _simple(annotation)


def _all(metadata: Sequence[Any]) -> Iterator[Any]:
    for item in metadata:
        yield from item.metadata if isinstance(item, FieldInfo) else [item]


def _bound(item: Any) -> str:
    match item:
        case Gt(gt=bound):
            return f"above {bound:g}"
        case Ge(ge=bound):
            return f"at least {bound:g}"
        case Lt(lt=bound):
            return f"below {bound:g}"
        case Le(le=bound):
            return f"at most {bound:g}"
        case MinLen(min_length=count):
            return f"at least {count}"
        case MaxLen():
            return ""
    return ""


def _simple(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " | ".join(yaml_line(word) for word in inner)
    if origin in (list, Sequence):
        return f"list of {words(inner[0])}"
    if origin is tuple:
        if len(inner) == 2 and inner[1] is Ellipsis:
            return f"list of {words(inner[0])}"
        each = list(map(words, inner))
        return f"list of {len(each)}: {each[0]}" if len(set(each)) == 1 else f"list of {', '.join(each)}"
    if origin in (dict, Mapping):
        return "mapping" if inner[1] is Any else f"mapping from names to {words(inner[1])}"
    simple = {int: "whole number", float: "number", bool: "true | false", str: "text", Path: "path",
              type(None): "null", Any: "anything"}  # fmt: skip
    if kind in simple:
        return simple[kind]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "range {low, high}" if kind.__name__ == "LogRange" else "mapping"
    return "" if kind.__name__ in ("Potential", "Dataset", "Snapshot") else _known_types(kind)


def _known_types(kind: Any) -> str:
    return {"Tolerance": "tolerance such as 1% or 0.05"}.get(kind.__name__, str(kind.__name__))
