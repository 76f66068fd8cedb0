"""ASE databases (SQLite, ``.db``); labels are the calculator results, group and info travel in ``data``."""

from __future__ import annotations

import sqlite3
import warnings
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.data.labelling import OUR_CALCULATOR, PREDICTED
from forcewright.data.raw import Columns, RawFrame, RawFrames, plain
from forcewright.errors import InputError
from forcewright.files import atomic_path
from forcewright.structure import Dataset, Structure, to_labelled_ase

_MAGIC = b"SQLite format 3\x00"


def _connect(path: Path) -> Any:
    connect: Any = import_module("ase.db").connect  # loaded only where it is used; ASE leaves it untyped
    return connect(str(path), type="db")


def read_asedb(path: Path) -> RawFrames:
    """Yield the rows of an ASE SQLite database, in order of their id."""
    _require_database(path)
    try:
        rows = list(_connect(path).select())
    except Exception as error:  # ASE's decoders and version checks each raise their own kinds
        raise InputError(f"cannot be read as an ASE database ({error})", file=path) from None
    for index, row in enumerate(rows):
        try:
            yield _frame(row)
        except InputError as error:
            yield InputError(error.problem, file=path, frame=index, field=error.field)
        except Exception as error:  # as above: a damaged row raises whatever its decoder raises
            yield InputError(f"the row cannot be decoded ({type(error).__name__}: {error})", file=path, frame=index)


def _require_database(path: Path) -> None:
    with path.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise InputError("is not an SQLite database, as ase.db writes them; is the suffix right?", file=path)
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (sqlite3.Error, UnicodeDecodeError) as error:  # also of names in a damaged schema
        raise InputError(f"cannot be read as an ASE database ({error})", file=path) from None
    if "systems" not in tables:
        raise InputError("is an SQLite database, but not one of ASE: it has no table 'systems'", file=path)


def _frame(row: Any) -> RawFrame:
    cell = row.get("cell", np.zeros((3, 3)))
    structure = Structure(row.numbers, row.positions, cell, row.get("pbc", np.zeros(3, dtype=bool)))
    info = {**{str(key): plain(value) for key, value in row.data.items()}, **row.key_value_pairs}
    arrays = {key: np.array(info.pop(key)) for key in list(info) if np.shape(info[key]) == (len(structure), 3)}
    before = PREDICTED if row.get("calculator") == OUR_CALCULATOR else ""
    for name in ("energy", "stress"):
        if row.get(name) is not None:
            info[before + name] = row.get(name)
    if row.get("forces") is not None:
        arrays[f"{before}forces"] = np.array(row.forces)
    return RawFrame(structure, info, arrays)


def write_asedb(dataset: Dataset, path: Path, columns: Columns = ()) -> None:
    """Write labels as calculator results, config_type as a key, and all other info and ``columns`` as data."""
    further = columns or [{}] * len(dataset)
    with atomic_path(path) as temporary:
        temporary.unlink()  # ase.db wants to create the file itself
        try:
            with _connect(temporary) as database:
                for (structure, labels, _), held in zip(dataset, further, strict=True):
                    # An extra key "group" is what `ase db` can select by, where ASE allows the text as a value.
                    data = {"config_type": labels.group, **plain({**labels.info, **held})}
                    database.write(to_labelled_ase(structure, labels), data=data, **_selectable(labels.group))
        except sqlite3.Error as error:
            raise InputError(f"cannot be written: {error}; make room, or choose another path", file=path) from error


def _selectable(group: str) -> dict[str, str]:
    check: Any = import_module("ase.db.core").check
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check({"config_type": group})
    except ValueError:
        return {}  # ASE refuses text that looks like a number
    return {"config_type": group}
