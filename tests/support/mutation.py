"""Files that somebody or something has spoiled: bytes, words, numbers, structure and shapes, changed at random."""

from __future__ import annotations

import copy
import gzip
import io
import json
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

Rng = np.random.Generator

NUMBER = re.compile(rb"(?<![\w.])[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w.])")
#: What stands where a number should and is none that can be computed with.
NO_NUMBERS = (
    b"nan", b"NaN", b"inf", b"-inf", b"9" * 400, b"-" + b"1" * 400, b"1" * 5000, b"1e999", b"1_000", b"0x10", b"true",
    b"null", b"1.2.3", b"--1", b"1e", b"strong", b"******", "١٢".encode(), b"1,5", b"1/0",
)  # fmt: skip
#: What stands where a number should and may be one, however odd.
ODD_NUMBERS = (
    b"0", b"-0.0", b"-1", b"-17", b"1e300", b"-1e300", b"1e-300", b"1e30", b"1e9", b"100000000", b"9223372036854775808",
    b"2147483648", b"-9223372036854775809", b"4.7", b"0.5", b"1D3", b"1e5", b"+3", b"00", b"1.", b"119", b"255",
)  # fmt: skip
SPECKS = (
    b"\0", "\x85".encode(), "\u2028".encode(), b"\r", b"\x1b[31m", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"'", b"\\", b"{",
    b"]", b"\n", b"\t", b" ", b"=", b":", b"#", b"&a", b"*a", b"!!python/name:os.system", b"<", b"&x;", b"%s", b"../../x",
    "é".encode("latin-1"), "日本".encode(), b"A" * 5000,
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, "", "text", "nan", "../../../etc/passwd", "a\0b", "\u2028", "A" * 5000, 0, -1, -0.5, 2.5, 1e300,
    1e-300, float("nan"), float("inf"), 10**20, 10**400, 10**8, [], {}, [[]], [1, 2, 3], [None], {"a": 1}, [[1, 2], [3]],
    {"low": 1, "high": 2}, {"low": 2, "high": 1, "log": True}, ["text"] * 5,
)  # fmt: skip


def pick(rng: Rng, items: Any) -> Any:
    """Return one of several things; `Generator.choice` would make arrays of them."""
    return items[int(rng.integers(len(items)))]


def deep(levels: int, opening: str, closing: str) -> str:
    return opening * levels + closing * levels


# ------------------------------------------------------------------------------------------ bytes and text


def cut(data: bytes, rng: Rng) -> bytes:
    return data[: int(rng.integers(len(data)))] if data else data


def flip(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 8))):
        changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
    return bytes(changed)


def speck(data: bytes, rng: Rng) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + pick(rng, SPECKS) + data[at:]


def drop(data: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(len(data)))
    return data[:start] + data[start + int(rng.integers(1, 40)) :]


def repeat(data: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(len(data)))
    end = start + int(rng.integers(1, 60))
    return data[:end] + data[start:end] * int(rng.integers(1, 4)) + data[end:]


def swap_lines(data: bytes, rng: Rng) -> bytes:
    lines = data.splitlines(keepends=True)
    a, b = rng.integers(len(lines), size=2)
    lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


def repeat_line(data: bytes, rng: Rng) -> bytes:
    lines = data.splitlines(keepends=True)
    at = int(rng.integers(len(lines)))
    return b"".join(lines[: at + 1] + lines[at:])


def drop_line(data: bytes, rng: Rng) -> bytes:
    lines = data.splitlines(keepends=True)
    del lines[int(rng.integers(len(lines)))]
    return b"".join(lines)


def odd_number(data: bytes, rng: Rng) -> bytes:
    return _number(data, rng, ODD_NUMBERS)


def no_number(data: bytes, rng: Rng) -> bytes:
    return _number(data, rng, NO_NUMBERS)


def _number(data: bytes, rng: Rng, others: tuple[bytes, ...]) -> bytes:
    hits = list(NUMBER.finditer(data))
    if not hits:
        return speck(data, rng)
    hit = pick(rng, hits)
    return data[: hit.start()] + pick(rng, others) + data[hit.end() :]


def swap_words(data: bytes, rng: Rng) -> bytes:
    words = list(re.finditer(rb"[\w.+-]+", data))
    if len(words) < 2:
        return speck(data, rng)
    first, second = sorted((pick(rng, words), pick(rng, words)), key=lambda word: word.start())
    return (
        data[: first.start()] + second[0] + data[first.end() : second.start()] + first[0] + data[second.end() :]
        if first.end() <= second.start() else data
    )  # fmt: skip


BYTES = (cut, flip, speck, drop, repeat)
TEXT = (*BYTES, speck, swap_lines, repeat_line, drop_line, odd_number, odd_number, no_number, no_number, swap_words)


def text_mutation(data: bytes, rng: Rng) -> bytes:
    return pick(rng, TEXT)(data, rng)


def packed_mutation(data: bytes, rng: Rng) -> bytes:
    """Change a gzip file, its bytes or what is packed in it."""
    if rng.random() < 0.4:
        return pick(rng, BYTES)(data, rng)
    return gzip.compress(text_mutation(gzip.decompress(data), rng), mtime=0)


# ------------------------------------------------------------------------------------------------ trees


def places(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of keys to all values below a tree."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    return [path for key in keys for path in ((*above, key), *places(tree[key], (*above, key)))]


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def change_tree(tree: Any, rng: Rng) -> Any:
    """Return a tree in which a value is odd, missing, renamed, moved or wrapped."""
    tree = copy.deepcopy(tree)
    paths = places(tree)
    if not paths:
        return pick(rng, ODD_VALUES)
    *above, key = pick(rng, paths)
    holder = at(tree, tuple(above))
    way = rng.integers(8)
    if way < 4:
        holder[key] = copy.deepcopy(pick(rng, ODD_VALUES))
    elif way == 4:
        del holder[key]
    elif way == 5:
        holder[key] = [holder[key]] if rng.random() < 0.5 else {"value": holder[key]}
    elif way == 6:
        *other, name = pick(rng, paths)
        value = copy.deepcopy(holder[key])
        at(tree, tuple(other))[name] = value
    elif isinstance(holder, dict):
        holder[pick(rng, ["", "x", f"{key}s", str(key).upper(), "__class__", "a\0b"])] = holder.pop(key)
    else:
        holder.append(copy.deepcopy(holder[key]))
    return tree


def json_mutation(data: bytes, rng: Rng) -> bytes:
    way = rng.random()
    if way < 0.3:
        return text_mutation(data, rng)
    if way < 0.36:  # nested too deep, at a value
        hit = pick(rng, list(re.finditer(rb"[:,\[]\s*", data)) or [re.match(rb"", data)])
        levels = int(pick(rng, [60, 900, 100_000]))
        nested = deep(levels, *pick(rng, [("[", "]"), ('{"a":', "0" + "}" * 0)])).encode()
        return data[: hit.end()] + nested + b"," + data[hit.end() :]
    tree = json.loads(data)
    for _ in range(int(rng.integers(1, 3))):
        tree = change_tree(tree, rng)
    text = json.dumps(tree)
    if rng.random() < 0.08:  # a key that stands twice
        text = re.sub(r'("\w+": )', r"\1null, \1", text, count=1)
    return text.encode("utf-8", "surrogatepass")


def yaml_mutation(data: bytes, rng: Rng) -> bytes:
    way = rng.random()
    if way < 0.35:
        return text_mutation(data, rng)
    if way < 0.42:
        nested = pick(
            rng, [deep(60, "[", "]"), deep(3000, "[", "]"), "&a [*a]", "*b", "2001-13-45", "1:30", "!!set {a}"]
        )
        return re.sub(rb": [^\n]*\n", lambda hit: b": " + nested.encode() + b"\n", data, count=int(rng.integers(1, 4)))
    tree = yaml.safe_load(data)
    for _ in range(int(rng.integers(1, 3))):
        tree = change_tree(tree, rng)
    return yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


# ------------------------------------------------------------------------------------------------ arrays


def change_array(array: np.ndarray, rng: Rng) -> np.ndarray:
    """Return an array of other values, shape or kind."""
    array = np.array(array)
    way = rng.integers(12)
    if way < 3 and array.size and array.dtype.kind in "fiu":
        array = array.astype(np.float64) if array.dtype.kind == "f" or rng.random() < 0.3 else array
        values = [0, 1, 119, 120] if array.dtype.kind in "iu" else [np.nan, np.inf, -np.inf, 1e300, 0.0, -1.0, 6.5]
        array.flat[int(rng.integers(array.size))] = pick(rng, values)
        return array
    if way == 3:
        return array[:-1] if array.ndim and len(array) else np.zeros((2, 2))
    if way == 4:
        return array.ravel() if array.ndim > 1 else array[None]
    if way == 5:
        return np.zeros((0, *array.shape[1:]), dtype=array.dtype)
    if way == 6:
        return array.astype(pick(rng, ["U16", "S8", "complex128", "bool", "float16", "int8", ">f4", "M8[s]"]))
    if way == 7:
        return np.array(pick(rng, ["text", 7, -1, 2.5, np.nan, [], [[[[1.0]]]], ["a", "b"], 2**63]))
    if way == 8:
        return array.T if array.ndim > 1 else np.repeat(array, 2)
    if way == 9:
        return np.full(array.shape or (1,), pick(rng, [np.nan, np.inf, 1e200, 0.0, -1.0]))
    if way == 10 and array.size:
        return np.concatenate([array, array], axis=-1) if array.ndim else np.array([array, array])
    return np.broadcast_to(array.ravel()[:1] if array.size else np.zeros(1), (3, 3)).copy()


def _safely_changed(array: np.ndarray, rng: Rng) -> np.ndarray:
    for _ in range(5):
        try:
            with np.errstate(all="ignore"):
                return change_array(array, rng)
        except (ValueError, TypeError, OverflowError):
            continue
    return np.zeros(1)


def npz_mutation(data: bytes, rng: Rng) -> bytes:
    way = rng.random()
    if way < 0.25:
        return pick(rng, BYTES)(data, rng)
    buffer = io.BytesIO()
    with np.load(io.BytesIO(data)) as archive:
        arrays = dict(archive)
    if way < 0.35:  # members that are no arrays, lie about their size, or stand there twice
        with zipfile.ZipFile(buffer, "w") as packed:
            for name, array in arrays.items():
                member = io.BytesIO()
                np.save(member, array)
                content = member.getvalue()
                packed.writestr(f"{name}.npy", text_mutation(content, rng) if rng.random() < 0.5 else content)
            packed.writestr(pick(rng, ["../x.npy", "x.txt", "R", "a/b.npy"]), b"\x93NUMPY\x01\x00")
        return buffer.getvalue()
    name = pick(rng, list(arrays))
    if way < 0.42:
        del arrays[name]
    elif way < 0.5:
        other = pick(rng, list(arrays))
        arrays[name], arrays[other] = arrays[other], arrays[name]
    elif way < 0.55:
        arrays[name] = np.array([None, "x"], dtype=object)
    else:
        arrays[name] = _safely_changed(arrays[name], rng)
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy_mutation(data: bytes, rng: Rng) -> bytes:
    if rng.random() < 0.4:
        return text_mutation(data, rng)
    buffer = io.BytesIO()
    np.save(buffer, _safely_changed(np.load(io.BytesIO(data)), rng))
    return buffer.getvalue()


def h5_mutation(path: Path, rng: Rng) -> None:
    """Change an HDF5 file in its place."""
    if rng.random() < 0.25:
        path.write_bytes(pick(rng, BYTES)(path.read_bytes(), rng))
        return
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = pick(rng, names)
        node, way = file[name], rng.integers(7)
        if way == 0:
            del file[name]
        elif way == 1:
            del file[name]
            file[name] = pick(
                rng, [h5py.SoftLink("/nowhere"), h5py.SoftLink(f"/{name}"), h5py.ExternalLink("x.h5", "/")]
            )
        elif way == 2 and len(node.attrs):
            node.attrs[pick(rng, list(node.attrs))] = pick(
                rng, ["text", 7, [1, 2], "nm", b"\xff", ["periodic"], np.nan]
            )
        elif way == 3:
            node.attrs["unit"] = pick(rng, ["nm", "furlong", "", 3, b"\xff", "kJ mol-1"])
        elif isinstance(node, h5py.Dataset):
            content = _safely_changed(node[()], rng)
            del file[name]
            file[name] = content if content.dtype.kind not in "UM" else np.array(b"text")
        else:
            del file[name]
            file[name] = pick(rng, [1.0, np.zeros(3), b"text"])


def db_mutation(path: Path, rng: Rng) -> None:
    """Change an SQLite file in its place."""
    if rng.random() < 0.4:
        path.write_bytes(pick(rng, BYTES)(path.read_bytes(), rng))
        return
    value = pick(
        rng, [None, "text", b"\xff\xfe", 10**18, -1, 1e300, float("inf"), "{}", "[", b"", '{"a": ' * 5000, "9" * 400]
    )
    with sqlite3.connect(path) as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        table = pick(rng, [name for name in tables if not name.startswith("sqlite")])
        columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
        way = rng.integers(6)
        if way == 0:
            database.execute(f"drop table {table}")
        elif way == 1:
            database.execute(f"delete from {table}")
        else:
            column = pick(rng, columns)
            try:
                database.execute(f'update {table} set "{column}" = ?', (value,))
            except sqlite3.Error:
                database.execute(f'alter table {table} rename column "{column}" to other')
    database.close()


def whole_file(mutation: Callable[[bytes, Rng], bytes]) -> Callable[[Path, Rng], None]:
    """Return what changes a file in its place by a mutation of its bytes."""

    def change(path: Path, rng: Rng) -> None:
        path.write_bytes(mutation(path.read_bytes(), rng))

    return change


def copied(source: Path, target: Path) -> Path:
    """Return the copy of a file or folder."""
    (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return target
