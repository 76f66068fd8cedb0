"""Text for terminals: whatever names and labels hold, a terminal shows it and does nothing else."""

from __future__ import annotations

import logging
import re

#: Control characters but for line ends and tabs, those that turn the direction of writing, line ends of Unicode, and
#: halves of characters, which stand in file names that are not UTF-8.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return text in which control characters are written out, such as ``\x1b`` for escape."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


class VisibleFormatter(logging.Formatter):
    """Formats records of the log like its base, without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        return visible(super().format(record))
