"""The table of a run, thermo.csv, as columns."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcewright.errors import InputError


def read_thermo(path: str | Path) -> dict[str, NDArray[Any]]:
    """Return the columns of a thermo.csv: numbers, nan where an entry is empty, and the names of the stages as text.

    Raises
    ------
    InputError
        If the file does not exist or holds no rows, or an entry is not a number.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("does not exist", file=path)
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise InputError("holds no rows", file=path)
    columns = {str(name): [row[name] for row in rows] for name in rows[0] if name}
    try:
        return {
            name: np.array(entries if name == "stage" else [float(entry or "nan") for entry in entries])
            for name, entries in columns.items()
        }
    except (TypeError, ValueError) as error:
        raise InputError(f"has an entry that is not a number ({error}); is it the table of a run?", file=path) from None
