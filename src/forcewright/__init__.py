"""Forcewright: from labelled atomic structures to an interatomic potential that can be trusted in a simulation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from forcewright.verbs import VERBS

__version__ = "0.1.0"

if TYPE_CHECKING:
    from forcewright.data import audit, read, write
    from forcewright.errors import ForcewrightError, InputError
    from forcewright.fitting.committee import Committee
    from forcewright.manual.config import config
    from forcewright.models import load
    from forcewright.recipes.ablate import ablate
    from forcewright.recipes.assess import assess
    from forcewright.recipes.cite import cite
    from forcewright.recipes.compare import compare
    from forcewright.recipes.compare_spaces import compare_spaces
    from forcewright.recipes.convert import convert
    from forcewright.recipes.diagnose import diagnose
    from forcewright.recipes.distil import distil
    from forcewright.recipes.generate import generate
    from forcewright.recipes.init import init
    from forcewright.recipes.label import label
    from forcewright.recipes.learn import learn
    from forcewright.recipes.learning_curve import learning_curve
    from forcewright.recipes.pipeline import pipeline
    from forcewright.recipes.predict import evaluate, predict
    from forcewright.recipes.property_study import predict_property, tune_property
    from forcewright.recipes.rerun import rerun
    from forcewright.recipes.select import select, split
    from forcewright.recipes.simulate import simulate
    from forcewright.recipes.statistics import statistics
    from forcewright.recipes.tune import fit, tune
    from forcewright.recipes.validate import validate
    from forcewright.structure import Dataset, Frame, Labels, Structure

# name -> module; imported when first used, so that `import forcewright` stays quick
_HOMES = {
    **VERBS,
    "Committee": "forcewright.fitting.committee",
    **dict.fromkeys(("Dataset", "Frame", "Labels", "Structure"), "forcewright.structure"),
    **dict.fromkeys(("ForcewrightError", "InputError"), "forcewright.errors"),
    **dict.fromkeys(("read", "write"), "forcewright.data"),
    "load": "forcewright.models",
    **dict.fromkeys(("predict_property", "tune_property"), "forcewright.recipes.property_study"),
}
_PACKAGES = ("analyze", "report")  # verbs that are packages, too (see `VerbPackage`)

__all__ = [
    "Committee", "Dataset", "ForcewrightError", "Frame", "InputError", "Labels", "Structure", "ablate", "analyze",
    "assess", "audit", "cite", "compare", "compare_spaces", "config", "convert", "diagnose", "distil", "evaluate",
    "fit", "generate", "init", "label", "learn", "learning_curve", "load", "pipeline", "predict",
    "predict_property", "read", "report", "rerun", "select", "simulate", "split", "statistics", "tune",
    "tune_property", "validate", "write",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import public names when they are first used."""
    if name in _PACKAGES:
        return import_module(f"forcewright.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'forcewright' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
