"""Checks that all selections share."""

from __future__ import annotations

from forcewright.errors import InputError


def require_count(count: int, available: int, what: str = "frames") -> None:
    """Raise unless between one and all of the available frames are asked for."""
    if not 1 <= count <= available:
        raise InputError(f"is {count}; there are {available} {what}, choose between 1 and that", field="count")
