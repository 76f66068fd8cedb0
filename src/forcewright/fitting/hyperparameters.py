"""Search ranges among the hyperparameters of a family, and values in their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel

from forcewright.configs import validate
from forcewright.errors import InputError
from forcewright.models import family_of
from forcewright.models.family import FittedHyperparameters, LinearHyperparameters
from forcewright.optimize.space import Categorical, Range, is_range, parse_range

Settings = TypeVar("Settings", bound=BaseModel)


def search_ranges(model: Mapping[str, Any], settings: type[BaseModel] | None = None) -> dict[str, Range]:
    """Return the search ranges in a model's config by dotted name, after checking the model at both their ends.

    Parameters
    ----------
    settings
        What the model is made of; the hyperparameters of the family that ``kind`` names where not given.

    Raises
    ------
    InputError
        If the family is unknown, a hyperparameter is unknown or out of bounds, or a range is malformed.
    """
    hyperparameters = settings or family_of(str(model.get("kind", ""))).hyperparameters
    ranges = ranges_within(model, hyperparameters)
    for end in ends_of(ranges):
        fill_settings(hyperparameters, model, end)
    return ranges


def ranges_within(content: Mapping[str, Any], settings: type[BaseModel]) -> dict[str, Range]:
    """Return the ranges in what stands under ``model:`` by dotted name; ``settings`` tell what is a whole number.

    Raises `InputError` if a range is malformed.
    """
    ranges: dict[str, Range] = {}

    def collect(items: Iterable[tuple[Any, Any]], prefix: str) -> None:
        for key, value in items:
            name = f"{prefix}{key}"
            if is_range(value):
                is_integer = _takes_integers(settings, name.split("."))
                ranges[name] = parse_range(value, is_integer, field=f"model.{name}")
            elif isinstance(value, Mapping):
                collect(value.items(), f"{name}.")
            elif isinstance(value, list | tuple):
                collect(enumerate(value), f"{name}.")

    collect(content.items(), "")
    return ranges


def ends_of(ranges: Mapping[str, Range]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters at the lower ends of all ranges, and at the upper ones."""
    lower, upper = ({name: _end(r, last) for name, r in ranges.items()} for last in (False, True))
    return lower, upper


def _takes_integers(annotation: Any, path: Sequence[str]) -> bool:
    """Tell whether what stands at a path below an annotated field is a whole number."""
    if not path:
        return annotation is int
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        return path[0] in fields and _takes_integers(fields[path[0]].annotation, path[1:])
    inner = get_args(annotation)
    if get_origin(annotation) in (dict, list, tuple):
        return _takes_integers(inner[get_origin(annotation) is dict], path[1:])
    return any(_takes_integers(member, path) for member in inner)  # a union


def _end(r: Range, last: bool) -> Any:
    if isinstance(r, Categorical):
        return r.choices[-1 if last else 0]
    return r.high if last else r.low


def fill_settings(settings: type[Settings], model: Mapping[str, Any], params: Mapping[str, Any]) -> Settings:
    """Return settings with values in place of the ranges of a config."""
    try:
        return validate(settings, filled(model, params))
    except InputError as error:
        raise InputError(error.problem, field=f"model.{error.field}" if error.field else "model") from None


def filled(content: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain data with parameters, by dotted name, in place of its ranges."""

    def fill(value: Any, name: str) -> Any:
        if name in params:
            return params[name]
        prefix = f"{name}." if name else ""
        if isinstance(value, Mapping):
            return {key: fill(part, f"{prefix}{key}") for key, part in value.items()}
        is_list = isinstance(value, list | tuple)
        return [fill(part, f"{prefix}{k}") for k, part in enumerate(value)] if is_list else value

    return {key: fill(value, str(key)) for key, value in content.items()}


def fill_model(model: Mapping[str, Any], params: Mapping[str, Any]) -> LinearHyperparameters | FittedHyperparameters:
    """Return the hyperparameters of the family with values in place of the ranges."""
    return fill_settings(family_of(str(model.get("kind", ""))).hyperparameters, model, params)


def linear_model(model: Mapping[str, Any], params: Mapping[str, Any]) -> LinearHyperparameters:
    """Return the hyperparameters of a linear family (see `fill_model`)."""
    hyperparameters = fill_model(model, params)
    assert isinstance(hyperparameters, LinearHyperparameters)
    return hyperparameters
