"""JSON and YAML as plain data: read within bounds, so that no file fills memory or stack, and refused in sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from forcewright.configs import echo
from forcewright.errors import InputError

_DEEPEST = 50  # levels of lists and mappings
_MOST_NODES = 100_000  # values in a YAML file, those counted again that aliases repeat
_MOST_DIGITS = 100  # of a whole number: random generators keep some of 39 digits
_INTEGER, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises
    ------
    ValueError
        If it is no JSON, is nested too deep, holds a key twice in an object, or a whole number that is no number of
        anything.
    """
    try:
        content = json.loads(text, object_pairs_hook=_object, parse_int=_whole)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels") from None
    level, depth = [content], 0
    while level:
        if depth > _DEEPEST:
            raise ValueError(f"it is nested deeper than {_DEEPEST} levels")
        inner = (part for part in level if isinstance(part, list | dict))
        level = [
            child for part in inner for child in (part.values() if isinstance(part, dict) else part)
            if isinstance(child, list | dict)
        ]  # fmt: skip
        depth += 1
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twin = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {echo(twin)} stands twice in an object; keep one of the two")
    return content


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a whole number has {len(digits)} digits; {_MOST_DIGITS} are allowed")
    return int(digits)


def read_text(path: Path, encoding: str) -> str:
    """Return the text of a file; ValueError if it is a device or a pipe, which may have no end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("it is a device or a pipe; give a file")
    return path.read_text(encoding=encoding)


def read_json(path: Path) -> Any:
    """Return what a JSON file says; `InputError` if it cannot be read or holds anything else (`parse_json`)."""
    try:
        return parse_json(read_text(path, "utf-8"))
    except FileNotFoundError:
        raise InputError("does not exist", file=path) from None
    except (OSError, ValueError) as error:
        raise InputError(f"is not readable JSON: {_line_of(error)}", file=path) from None


def number(value: object, name: str, *, above: float = -math.inf, low: float = -math.inf) -> float:
    """Return a number as it is; ValueError if it is no finite number, not above ``above``, or below ``low``."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not known or not math.isfinite(result := float(value)) or result <= above or result < low:  # type: ignore[arg-type]
        limit = f" above {above:g}" if above > -math.inf else f" of {low:g} or more" if low > -math.inf else ""
        raise ValueError(f"{name} is {value!r}, expected a finite number{limit}")
    return result


def whole(value: object, name: str, low: int, high: int) -> int:
    """Return a whole number as it is; ValueError if it is anything else, or out of its bounds."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}, expected a whole number from {low} to {high}")
    return value


def numbers(value: object, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return nested lists of finite numbers as an array; ValueError if they are anything else, or of another shape."""
    array = real_array(value, name)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{name} is not a list of {' by '.join(map(str, shape))} finite numbers")
    return array


def real_array(value: object, name: str) -> NDArray[np.float64]:
    """Return nested lists of numbers as an array; ValueError for text, true, null, and rows of different lengths."""

    def leaves(part: object) -> Iterator[object]:
        if isinstance(part, list):
            for inner in part:
                yield from leaves(inner)
        else:
            yield part

    if (bad := next((leaf for leaf in leaves(value) if type(leaf) not in (int, float)), None)) is not None:
        raise ValueError(f"{name} holds {echo(bad)}, expected numbers")
    try:
        return np.array(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{name} is not an array of numbers ({error})") from None


def flag(value: object, name: str) -> bool:
    """Return a truth value as it is; ValueError if it is anything else."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, expected true or false")
    return value


def real(text: str) -> float:
    """Return the number that a text is; ValueError for 1_000 and digits of other scripts, which `float` takes."""
    if "_" in text or not text.isascii():
        raise ValueError(f"{echo(text)} is not a number")
    return float(text)


def parse_yaml(text: str, file: Path | None = None) -> Any:
    """Return what a YAML text says; ``file`` is where it stands.

    Raises
    ------
    InputError
        If it is no YAML, nested too deep or made huge by aliases, a key stands twice in a mapping, or a number is
        written so that YAML would take it for another.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            _check_node(root, file)
            return None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"is not readable YAML: {_line_of(error)}", file=file) from None


def yaml_line(value: Any) -> str:
    """Return plain data as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**6)
    text = text.removesuffix("\n").removesuffix("\n...")
    return json.dumps(value, ensure_ascii=False) if "\n" in text else text  # JSON is YAML, in one line


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    InputError
        If the file is missing, cannot be read, or holds anything else (see `parse_yaml`).
    """
    try:
        text = read_text(path, "utf-8-sig")
    except FileNotFoundError:
        raise InputError("does not exist", file=path) from None
    except (OSError, ValueError) as error:
        raise InputError(f"is not readable YAML: {_line_of(error)}", file=path) from None
    content = parse_yaml(text, path)
    if not isinstance(content, Mapping):
        raise InputError("is not a mapping; expected keys such as data, model and output", file=path)
    return dict(content)


def _line_of(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def _check_node(root: yaml.Node | None, file: Path | None) -> None:
    """Refuse keys that stand twice in a mapping, and what aliases make deep or huge."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if id(node) in open_nodes or depth > _DEEPEST:
            raise InputError(f"is nested deeper than {_DEEPEST} levels, or holds itself{_line(node)}", file=file)
        if isinstance(node, yaml.ScalarNode):
            if node.tag in (_INTEGER, _FLOAT) and set(node.value) & {"_", ":"}:
                raise InputError(
                    f"holds {echo(node.value)}{_line(node)}, which YAML would take for another number; write digits "
                    "alone, or quotes around a text", file=file,
                )  # fmt: skip
            if node.tag == _INTEGER and len(node.value) > _MOST_DIGITS:
                raise InputError(
                    f"holds a whole number of {len(node.value)} digits{_line(node)}; {_MOST_DIGITS} are allowed",
                    file=file,
                )  # fmt: skip
            return 1
        if id(node) in sizes:
            return sizes[id(node)]
        open_nodes.add(id(node))
        inner = node.value
        if isinstance(node, yaml.MappingNode):
            _refuse_twins(node, file)
            inner = [part for pair in node.value for part in pair]
        total = 1 + sum(size(part, depth + 1) for part in inner)
        open_nodes.remove(id(node))
        if total > _MOST_NODES:
            raise InputError(f"holds more than {_MOST_NODES} values{_line(node)}", file=file)
        sizes[id(node)] = total
        return total

    if root is not None:
        size(root, 0)


def _refuse_twins(node: yaml.MappingNode, file: Path | None) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        if (key.tag, key.value) in seen:
            raise InputError(f"stands twice{_line(key)}; keep one of the two", file=file, field=echo(key.value)[1:-1])
        seen.add((key.tag, key.value))


def _line(node: yaml.Node) -> str:
    return f" (line {node.start_mark.line + 1})"
