"""Which function stands behind each verb: the command line and ``import forcewright as fw`` run the same ones."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

#: name -> module; imported when first used
VERBS = {
    "analyze": "forcewright.recipes.analyze",
    "audit": "forcewright.data",
    "compare": "forcewright.recipes.compare",
    "convert": "forcewright.recipes.convert",
    "evaluate": "forcewright.recipes.predict",
    "fit": "forcewright.recipes.tune",
    "generate": "forcewright.recipes.generate",
    "label": "forcewright.recipes.label",
    "learning_curve": "forcewright.recipes.learning_curve",
    "predict": "forcewright.recipes.predict",
    "report": "forcewright.recipes.report",
    "select": "forcewright.recipes.select",
    "simulate": "forcewright.recipes.simulate",
    "split": "forcewright.recipes.select",
    "statistics": "forcewright.recipes.statistics",
    "tune": "forcewright.recipes.tune",
    "validate": "forcewright.recipes.validate",
}


class VerbPackage(ModuleType):
    """A package whose name is that of a verb, too: calling it runs the verb."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Do what the function of this name in `VERBS` does."""
        verb = self.__name__.rpartition(".")[2]
        return getattr(import_module(VERBS[verb]), verb)(*arguments, **options)
