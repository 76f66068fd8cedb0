"""Which function stands behind each verb: the command line and ``import forcewright as fw`` run the same ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

#: name -> module; imported when first used
VERBS = {
    "ablate": "forcewright.recipes.ablate",
    "analyze": "forcewright.recipes.analyze",
    "assess": "forcewright.recipes.assess",
    "audit": "forcewright.data",
    "cite": "forcewright.recipes.cite",
    "compare": "forcewright.recipes.compare",
    "compare_spaces": "forcewright.recipes.compare_spaces",
    "config": "forcewright.manual.config",
    "convert": "forcewright.recipes.convert",
    "diagnose": "forcewright.recipes.diagnose",
    "distil": "forcewright.recipes.distil",
    "evaluate": "forcewright.recipes.predict",
    "fit": "forcewright.recipes.tune",
    "generate": "forcewright.recipes.generate",
    "init": "forcewright.recipes.init",
    "label": "forcewright.recipes.label",
    "learn": "forcewright.recipes.learn",
    "learning_curve": "forcewright.recipes.learning_curve",
    "pipeline": "forcewright.recipes.pipeline",
    "predict": "forcewright.recipes.predict",
    "report": "forcewright.recipes.report",
    "rerun": "forcewright.recipes.rerun",
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
        return self._function(*arguments, **options)

    @property
    def _function(self) -> Callable[..., Any]:
        verb = self.__name__.rpartition(".")[2]
        function: Callable[..., Any] = getattr(import_module(VERBS[verb]), verb)
        return function

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        """What the verb does, and then what the package holds: `help` takes it for a package alone."""
        function = self._function
        package = self.__dict__.get("__doc__") or ""
        return f"{function.__name__}{self.__signature__}\n\n{inspect.getdoc(function)}\n\nAs a package: {package}"
