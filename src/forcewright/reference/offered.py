"""References that other packages add to those here, as entry points of the group ``forcewright.references``.

The name of a point is a key under ``reference:``; it leads to a pydantic model of what stands behind the key, with a
method ``reference(base)`` that returns the `Reference`, where ``base`` is the folder that paths are relative to.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, Protocol, cast, runtime_checkable

from pydantic import BaseModel

from forcewright.configs import validate
from forcewright.errors import InputError
from forcewright.potential import Reference

#: The group of entry points by which other packages offer references.
ENTRY_POINTS: Final = "forcewright.references"


@runtime_checkable
class OfferedSettings(Protocol):
    """Settings that make a reference."""

    def reference(self, base: Path) -> Reference:
        """Return the reference."""


def offered_names() -> frozenset[str]:
    """Return the keys that installed packages offer."""
    return frozenset(point.name for point in entry_points(group=ENTRY_POINTS))


def offered_reference(name: str, content: object, base: Path) -> Reference:
    """Return the reference of another package: its key, what stands behind it, and the folder paths are relative to.

    Raises `InputError` if no package offers it, it cannot be imported, or the content is not what it takes.
    """
    point = next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)
    if point is None:
        raise InputError("is offered by no installed package; install the one that does", field=name)
    try:
        model = point.load()
    except Exception as error:  # what a package of somebody else does while it is imported
        reason = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise InputError(f"is found at {point.value}, which cannot be imported: {reason}", field=name) from error
    if not (isinstance(model, type) and issubclass(model, BaseModel) and issubclass(model, OfferedSettings)):
        raise InputError(f"is offered as {point.value}, which is not settings that make a reference", field=name)
    try:
        return cast(OfferedSettings, validate(model, content)).reference(base)
    except InputError as error:
        raise InputError(error.problem, field=".".join(filter(None, [name, error.field]))) from None
