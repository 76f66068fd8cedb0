"""YAML read as plain data: mappings, lists and texts, with no tags, anchors or guessed types.

A general loader builds Python objects from tags, and turns the symbol No (nobelium) into False and Y into True. Here
every scalar stays the text it is in the file; who knows the field converts it and can say what is wrong with it.
Working on the parser's events is also several times faster than a loader that composes nodes and resolves types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from forcewright.errors import InputError
from forcewright.plain_data import real
from forcewright.structure import FloatArray

Key = str | tuple[str, ...]
Tree = dict[Key, Any] | list[Any] | str
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_plain(text: str, file: str | Path) -> Tree:
    """Parse one YAML document; a list of scalars as a key becomes a tuple.

    Raises `InputError` if the text is not one YAML document, or uses tags, anchors, nested keys or a key twice.
    """
    try:
        return _build(yaml.parse(text, Loader=_LOADER), file)
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML or was cut off: {_as_line(error)}", file=file) from None


def _build(events: Iterator[Any], file: str | Path) -> Tree:
    """Build the document from events with a stack of open collections, so that nesting cannot exhaust recursion."""
    root: list[Any] = []
    open_collections: list[Any] = [root]
    for event in events:
        if isinstance(event, yaml.ScalarEvent):
            _refuse_tags(event, file)
            open_collections[-1].append(event.value)
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            _refuse_tags(event, file)
            open_collections.append([])
        elif isinstance(event, yaml.SequenceEndEvent):
            closed = open_collections.pop()
            open_collections[-1].append(closed)
        elif isinstance(event, yaml.MappingEndEvent):
            pairs = open_collections.pop()
            open_collections[-1].append(_mapping(pairs, _line(event), file))
        elif isinstance(event, yaml.AliasEvent):
            raise InputError(f"uses the alias *{event.anchor} ({_line(event)}), which is not allowed here", file=file)
    if len(root) != 1:
        raise InputError(f"holds {len(root)} YAML documents, expected one", file=file)
    document: Tree = root[0]
    return document


def _mapping(pairs: list[Any], line: str, file: str | Path) -> dict[Key, Any]:
    mapping: dict[Key, Any] = {}
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        name = tuple(key) if isinstance(key, list) else key
        if not isinstance(name, str) and not (isinstance(name, tuple) and all(isinstance(part, str) for part in name)):
            raise InputError(f"has a key that is neither a word nor a list of numbers before {line}", file=file)
        if name in mapping:
            raise InputError(f"is given twice in the mapping that ends in {line}", file=file, field=_text(name))
        mapping[name] = value
    return mapping


def _refuse_tags(event: Any, file: str | Path) -> None:
    if event.tag is not None:
        raise InputError(f"uses the YAML tag {event.tag} ({_line(event)}), which is never followed", file=file)
    if event.anchor is not None:
        raise InputError(f"uses the anchor &{event.anchor} ({_line(event)}), which is not allowed here", file=file)


def _line(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"


def _as_line(error: yaml.YAMLError) -> str:
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}" if mark is not None else ""
    return f"{problem or ' '.join(str(error).split())}{where}"


def _text(key: Key) -> str:
    return key if isinstance(key, str) else f"[{', '.join(key)}]"


@dataclass(frozen=True)
class Entry:
    """A part of a document that knows its file and field, and converts itself or refuses in a sentence."""

    tree: Any
    file: str | Path
    field: str | None = None

    def refuse(self, problem: str) -> InputError:
        """An error about this entry."""
        return InputError(problem, file=self.file, field=self.field)

    def child(self, key: Key) -> Entry:
        """The value of ``key``, which must be there."""
        mapping = self.mapping()
        if key not in mapping:
            keys = ", ".join(map(_text, mapping)) or "nothing"
            raise self._inside(key).refuse(f"is missing; found {keys}")
        return Entry(mapping[key], self.file, self._inside(key).field)

    def child_or(self, key: Key, default: str) -> Entry:
        """The value of ``key``, or ``default`` where there is none."""
        return Entry(self.mapping().get(key, default), self.file, self._inside(key).field)

    def items(self) -> list[Entry]:
        """The members of a list."""
        if not isinstance(self.tree, list):
            raise self.refuse(f"is {_kind(self.tree)}, expected a list")
        return [Entry(value, self.file, f"{self.field}[{index}]") for index, value in enumerate(self.tree)]

    def mapping(self) -> dict[Key, Any]:
        """The mapping itself."""
        if not isinstance(self.tree, dict):
            raise self.refuse(f"is {_kind(self.tree)}, expected a mapping of keys to values")
        return self.tree

    def text(self) -> str:
        """A word."""
        if not isinstance(self.tree, str):
            raise self.refuse(f"is {_kind(self.tree)}, expected a word")
        return self.tree

    def number(self) -> float:
        """A finite number."""
        return float(self._convert([self.tree], float)[0])

    def integer(self, minimum: int = 0) -> int:
        """A whole number, at least ``minimum``."""
        value = int(self._convert([self.tree], int)[0])
        if value < minimum:
            raise self.refuse(f"is {value}, expected a whole number from {minimum}")
        return value

    def numbers(self, count: int | None = None) -> FloatArray:
        """A flat list of finite numbers, ``count`` of them."""
        return np.array(self._convert(self._counted(count), float), dtype=np.float64)

    def integers(self, count: int | None = None) -> list[int]:
        """A flat list of whole numbers, ``count`` of them."""
        return [int(value) for value in self._convert(self._counted(count), int)]

    def _counted(self, count: int | None) -> list[Any]:
        if not isinstance(self.tree, list):
            raise self.refuse(f"is {_kind(self.tree)}, expected a list of numbers")
        if count is not None and len(self.tree) != count:
            raise self.refuse(f"holds {len(self.tree)} numbers, expected {count}")
        return self.tree

    def _convert(self, texts: list[Any], kind: type[float] | type[int]) -> list[float]:
        try:
            if "_" in (together := "".join(texts)) or not together.isascii():
                raise ValueError("1_000 and digits of other scripts, which Python takes")
            values: list[float] = list(map(kind, texts))
        except (ValueError, TypeError):
            raise self.refuse(self._not_numbers(texts, kind)) from None
        if kind is int and max(map(abs, values), default=0) >= 2**63:
            raise self.refuse("holds a whole number beyond 64 bits")
        if kind is float and not np.isfinite(values).all():
            raise self.refuse(f"holds {next(v for v in values if not np.isfinite(v))}, expected finite numbers")
        return values

    def _not_numbers(self, texts: list[Any], kind: type[float] | type[int]) -> str:
        for text in texts:
            if not isinstance(text, str):
                return f"holds {_kind(text)} where a number stands"
            try:
                real(text), kind(text)
            except ValueError:
                return f"{text!r} is not a {'number' if kind is float else 'whole number'}"
        raise AssertionError("every text converts")

    def _inside(self, key: Key) -> Entry:
        if isinstance(key, tuple):
            return Entry(None, self.file, f"{self.field}{_text(key)}")
        return Entry(None, self.file, f"{self.field}.{key}" if self.field else key)


def _kind(tree: Any) -> str:
    if isinstance(tree, dict):
        return "a mapping"
    if isinstance(tree, list):
        return "a list"
    return repr(tree) if tree else "empty"
