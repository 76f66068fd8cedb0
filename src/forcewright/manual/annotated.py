"""A config with everything that may stand in it, each key with its meaning, as YAML that runs as it is printed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from forcewright.manual.config_models import CONFIGS, Choice, choices, command_of
from forcewright.manual.example_configs import EXAMPLE_CONFIGS
from forcewright.manual.keys import Key, keys
from forcewright.plain_data import yaml_line

_WIDTH = 110
_ELSEWHERE = {"FitSettings": "what `forcewright config tune` prints, without data and output"}
_INLINE = ("LogRange", "TargetAccuracy")  # said by the type and the example of their key


@dataclass(frozen=True)
class _Line:
    """A line: a comment on the next key, a key that is set, or a key that is commented out."""

    kind: Literal["comment", "set", "off"]
    indent: int
    text: str

    def __str__(self) -> str:
        space = " " * self.indent
        return {"comment": f"{space}# {self.text}", "set": f"{space}{self.text}", "off": f"#{space}{self.text}"}[
            self.kind
        ].rstrip()


def annotated_config(verb: str, kind: str | None = None) -> str:
    """Return the annotated config of a command.

    Parameters
    ----------
    verb
        A command that reads a config.
    kind
        The family whose hyperparameters are shown; that of the example by default.
    """
    example = dict(EXAMPLE_CONFIGS[verb])
    if kind is not None and "model" in example and kind != example["model"]["kind"]:
        needed = [key for key in keys(choices()["FitSettings.model"].models[kind], {}) if key.required]
        example["model"] = {"kind": kind, **{key.name: yaml.safe_load(key.example) for key in needed}}
    head = textwrap.wrap(
        f"Everything that may stand in a config of `forcewright {command_of(verb)}`. What is commented out is "
        "optional; where it has a default, that is what stands there. To use a key take the # at the start of its "
        "line away, and those of the keys above that it belongs to.", _WIDTH - 2,
    )  # fmt: skip
    body = _lines(CONFIGS[verb], example, 0, choices())
    return "\n".join([*(f"# {line}" for line in head), *map(str, _spaced(body))]) + "\n"


def _spaced(lines: Sequence[_Line]) -> Iterator[_Line | str]:
    """Put an empty line before each key of the first level."""
    before = None
    for line in lines:
        if line.indent == 0 and line.kind == "comment" and (before is None or before.kind != "comment"):
            yield ""
        yield line
        before = line


def _lines(
    model: type[BaseModel], example: Mapping[str, Any] | None, indent: int, known: Mapping[str, Choice], kind: str = ""
) -> list[_Line]:
    """Return the lines of a settings model.

    Parameters
    ----------
    example
        What is set; None where all of it is commented out.
    kind
        What the model is chosen by, where that is none of its own keys.
    """
    lines: list[_Line] = []
    if kind:
        lines.append(_Line("off" if example is None else "set", indent, f"kind: {kind}"))
    for key in keys(model, known):
        lines += [_Line("comment", indent, line) for line in _comment(key, indent)]
        if example is not None and key.name in example:
            lines += _set(key, example[key.name], indent, known)
        else:
            lines += _off(key, indent, known)
    return lines


def _comment(key: Key, indent: int) -> list[str]:
    facts = [key.takes, key.unit, "required" if key.required else "", f"also {key.short}" if key.short else ""]
    elsewhere = [_ELSEWHERE[part.__name__] for part in key.parts.values() if part.__name__ in _ELSEWHERE]
    if _is_a_source(key):
        facts.append("a mapping has one of xtb, lammps and ase")
    text = " ".join([f"{key.meaning} [{'; '.join(filter(None, [*facts, *elsewhere]))}]"])
    return textwrap.wrap(text, _WIDTH - indent - 2, break_long_words=False, break_on_hyphens=False)


def _is_a_source(key: Key) -> bool:
    return "force field" in key.parts


def _opens(key: Key) -> bool:
    """Tell whether the keys below a key are shown."""
    names = {part.__name__ for part in key.parts.values()}
    return bool(names) and not names & {*_ELSEWHERE, *_INLINE} and not _is_a_source(key) and key.name != "then"


def _part(key: Key, value: Mapping[str, Any]) -> tuple[type[BaseModel], str]:
    """Return the settings model of what stands at a key, and its kind where that is none of its keys."""
    if key.chosen_by is None:
        return next(iter(key.parts.values())), ""
    name = str(value[key.chosen_by])
    part = key.parts[name]
    return part, "" if key.chosen_by in part.model_fields else name


def _set(key: Key, value: Any, indent: int, known: Mapping[str, Choice]) -> list[_Line]:
    """Return the lines of a key that is set."""
    head = _Line("set", indent, f"{key.name}:")
    if not (_opens(key) and isinstance(value, Mapping | list) and value) or _is_a_range(value):
        return [_Line("set", indent, f"{key.name}: {yaml_line(value)}")]
    if isinstance(value, list):
        lines = [head]
        for item in value:
            part, kind = _part(key, item)
            lines += _as_item(_lines(part, item, indent + 4, known, kind))
        if key.chosen_by:
            used = {item[key.chosen_by] for item in value}
            for part in (part for name, part in key.parts.items() if name not in used):
                lines += [_Line("comment", indent + 2, line) for line in _first_sentence(part)]
                lines += _as_item(_lines(part, None, indent + 4, known))
        return lines
    if key.names:
        lines = [head]
        for name, inner in value.items():
            part, kind = _part(key, inner)
            lines += [_Line("set", indent + 2, f"{name}:"), *_lines(part, inner, indent + 4, known, kind)]
        return lines
    part, kind = _part(key, value)
    return [head, *_lines(part, value, indent + 2, known, kind)]


def _first_sentence(part: type[BaseModel]) -> list[str]:
    """Return what a settings model says of itself."""
    return [(part.__doc__ or "").partition("\n")[0]]


def _is_a_range(value: Any) -> bool:
    return isinstance(value, Mapping) and "low" in value


def _off(key: Key, indent: int, known: Mapping[str, Choice]) -> list[_Line]:
    """Return the lines of a key that is commented out."""
    if not _opens(key):
        empty = key.default in (None, "null", "{}", "[]", "''")
        return [_Line("off", indent, f"{key.name}: {(key.example or key.default) if empty else key.default}")]
    lines: list[_Line] = []
    for name, part in key.parts.items():
        kind = name if key.chosen_by and key.chosen_by not in part.model_fields else ""
        below = 4 if key.several or key.names else 2
        inner = _lines(part, None, indent + below, known, kind)
        if key.chosen_by:
            lines += [_Line("comment", indent, f"{name}: {line}") for line in _first_sentence(part)]
        lines.append(_Line("off", indent, f"{key.name}:"))
        if key.names:
            lines.append(_Line("off", indent + 2, "NAME:"))
        lines += _as_item(inner) if key.several else inner
    return lines


def _as_item(lines: list[_Line]) -> list[_Line]:
    """Return lines as an item of a list: its first key has the dash."""
    wanted = "set" if any(line.kind == "set" for line in lines) else "off"
    first = next(number for number, line in enumerate(lines) if line.kind == wanted)
    dashed = replace(lines[first], indent=lines[first].indent - 2, text=f"- {lines[first].text}")
    return [*lines[:first], dashed, *lines[first + 1 :]]
