"""What every analysis returns: a frozen set of named arrays that can be plotted and saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from forcewright.errors import InputError
from forcewright.files import atomic_write, write_arrays
from forcewright.tables import Tabular

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
else:
    Axes = Any  # matplotlib is slow to import


@dataclass(frozen=True, eq=False)
class Result(Tabular):
    """Base of results: subclasses are frozen dataclasses of arrays, numbers and texts, and draw themselves.

    ``units`` has the units of single numbers by the name of their field, where the name does not end in its unit.
    """

    units: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """Keep the dataclass decorator from writing out all arrays in the representation."""
        super().__init_subclass__(**options)
        if "__repr__" not in vars(cls):
            cls.__repr__ = Result.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        parts = [f"{part.name}={_short(getattr(self, part.name))}" for part in fields(self) if part.repr]
        return f"{type(self).__name__}({', '.join(parts)})"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw on ``ax``, or on new axes, and return them."""
        ax = new_axes() if ax is None else ax
        self._draw(ax)
        return ax

    def _draw(self, ax: Axes) -> None:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values; arrays become lists, numbers that are not finite become None."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    def save(self, path: str | Path) -> Path:
        """Write ``.json`` (everything), ``.npz`` (the arrays) or ``.csv`` (the arrays as long as the first one).

        Raises
        ------
        InputError
            If the ending is another.
        """
        path = Path(path)
        if path.suffix == ".json":
            return atomic_write(path, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")
        if path.suffix == ".npz":
            return write_arrays(path, self._arrays(), compressed=True)
        if path.suffix == ".csv":
            return atomic_write(path, self._table())
        raise InputError("can be saved as .json, .npz or .csv", file=path)

    def _arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the fields that are arrays, and the arrays in fields that are mappings as ``field_key``."""
        arrays = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                arrays[item.name] = value
            elif isinstance(value, dict):
                parts = {f"{item.name}_{_key(key)}": part for key, part in value.items()}
                arrays |= {name: part for name, part in parts.items() if isinstance(part, np.ndarray)}
        return arrays

    def _columns(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the arrays with one dimension that are as long as the first of them."""
        columns = {name: array for name, array in self._arrays().items() if array.ndim == 1}
        length = len(next(iter(columns.values()), ()))
        return {name: array for name, array in columns.items() if len(array) == length}

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the arrays that are as long as the first one as columns; where there is none, the numbers as a row."""
        columns = {name: array.tolist() for name, array in self._columns().items()}
        if not columns:
            return [{name: value for name, value in self.to_dict().items() if not isinstance(value, list | dict)}]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _table(self) -> str:
        columns = self._columns()
        if not columns:
            raise InputError(f"{type(self).__name__} holds no one-dimensional array; save it as .json or .npz")
        rows = (",".join(f"{value:.17g}" for value in row) for row in zip(*columns.values(), strict=True))
        return "\n".join([",".join(columns), *rows]) + "\n"


def new_axes() -> Axes:
    """Return the axes of a new figure that no window system knows of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(5.0, 3.6), layout="constrained").subplots()


def _key(key: Any) -> str:
    return "-".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {_key(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _short(value: Any) -> str:
    """Return a value in a few words: the shape of an array, the keys of a mapping."""
    if isinstance(value, np.ndarray):
        return f"array{value.shape}"
    if isinstance(value, dict):
        keys = [_key(key) for key in value]
        return "{" + ", ".join(keys[:4] + ["…"] * (len(keys) > 4)) + "}"
    text = f"{value:.5g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
