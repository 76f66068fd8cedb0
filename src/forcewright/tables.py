"""Results that show themselves: one line as text, a table in notebooks, a pandas data frame on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from forcewright.errors import MissingExtraError

_SHOWN = 60  # rows of a table in a notebook


class Tabular:
    """Base of results that are a table."""

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the table, a mapping from column to plain value for each row."""
        raise NotImplementedError

    def to_dataframe(self) -> Any:
        """Return the table as a pandas DataFrame.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("pandas", "pandas", "a data frame") from None
        return pandas.DataFrame(self.to_rows())

    def _repr_html_(self) -> str:
        return html_table(self.to_rows(), repr(self))


def html_table(rows: Sequence[Mapping[str, Any]], caption: str) -> str:
    """Return rows as an HTML table for a notebook; what is beyond the sixtieth is only counted."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(str(name))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(row.get(name)))}</td>" for name in names) + "</tr>"
        for row in rows[:_SHOWN]
    )  # fmt: skip
    more = f"<p>and {len(rows) - _SHOWN} more</p>" if len(rows) > _SHOWN else ""
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>{more}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
