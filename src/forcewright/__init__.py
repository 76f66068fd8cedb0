"""Forcewright: from labelled atomic structures to an interatomic potential that can be trusted in a simulation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from forcewright.accuracy.errors import evaluate
    from forcewright.data import audit, read, write
    from forcewright.errors import ForcewrightError, InputError
    from forcewright.models import load
    from forcewright.recipes.compare import compare
    from forcewright.recipes.label import label
    from forcewright.recipes.simulate import simulate
    from forcewright.recipes.tune import fit, tune
    from forcewright.recipes.validate import validate
    from forcewright.structure import Dataset, Labels, Structure

# name -> module; imported when first used, so that `import forcewright` stays quick
_HOMES = {
    "Dataset": "forcewright.structure",
    "ForcewrightError": "forcewright.errors",
    "InputError": "forcewright.errors",
    "Labels": "forcewright.structure",
    "Structure": "forcewright.structure",
    "audit": "forcewright.data",
    "compare": "forcewright.recipes.compare",
    "evaluate": "forcewright.accuracy.errors",
    "fit": "forcewright.recipes.tune",
    "label": "forcewright.recipes.label",
    "load": "forcewright.models",
    "read": "forcewright.data",
    "simulate": "forcewright.recipes.simulate",
    "tune": "forcewright.recipes.tune",
    "validate": "forcewright.recipes.validate",
    "write": "forcewright.data",
}

__all__ = [
    "Dataset",
    "ForcewrightError",
    "InputError",
    "Labels",
    "Structure",
    "audit",
    "compare",
    "evaluate",
    "fit",
    "label",
    "load",
    "read",
    "simulate",
    "tune",
    "validate",
    "write",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'forcewright' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
