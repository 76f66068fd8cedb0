"""JSON Schemas of configs, by which editors complete and check them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from forcewright.manual.config_models import (
    CONFIGS,
    WITHOUT_RANGES,
    Choice,
    choice,
    choices,
    command_of,
    searched,
    short_form,
)
from forcewright.manual.keys import holds_mappings, models_in, plain

_RANGE = "SearchRange"
_NUMBER_OR_TEXT = {"anyOf": [{"type": "number"}, {"type": "string"}]}
_TOLERANCE = {"anyOf": [_NUMBER_OR_TEXT, {"type": "object", "additionalProperties": _NUMBER_OR_TEXT}]}

Schema = dict[str, Any]


class _Generator(GenerateJsonSchema):
    """Passes over what only Python can give, such as a potential in memory."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}

    def is_instance_schema(self, schema: Any) -> Schema:
        """Return the schema of what no file can hold."""
        return {"not": {}}


def config_schema(verb: str) -> Schema:
    """Return the JSON Schema (draft 2020-12) of the config of a command."""
    known = choices()
    models = list(_reachable(CONFIGS[verb], known, []))
    references, generated = models_json_schema([(model, "validation") for model in models], schema_generator=_Generator)
    names = {model: references[model, "validation"]["$ref"].rpartition("/")[2] for model in models}
    definitions: dict[str, Schema] = generated["$defs"]
    ranged = {inner for model in searched() for inner in _reachable(model, {}, [])}
    variants: dict[str, Schema] = {}
    for model, name, properties, shown in _properties(models, names, definitions):
        if description := model.model_fields[name].description:  # pydantic leaves out those that a model repeats
            properties[shown] = {"description": description, **properties[shown]}
        if name == "tolerance":
            properties[shown] = {**_about(properties[shown]), **_TOLERANCE}
        if short := short_form(model, name):
            properties[shown] = _also(properties[shown], short.schema)
        if model in ranged and verb not in WITHOUT_RANGES and name != "kind":
            properties[shown] = _with_ranges(properties[shown])
    for model, name, properties, shown in _properties(models, names, definitions):
        if open_to := choice(model, name, known):
            said = _open(model.model_fields[name].annotation, open_to, names, definitions, variants)
            properties[shown] = {**_about(properties[shown]), **said}
            if short := short_form(model, name):
                properties[shown] = _also(properties[shown], short.schema)
    definitions |= variants
    if verb not in WITHOUT_RANGES:
        definitions[_RANGE] = _search_range()
    top = definitions.pop(names[CONFIGS[verb]])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", **top, "title": f"forcewright {command_of(verb)}",
        "$defs": dict(sorted(definitions.items())),
    }  # fmt: skip


def _properties(
    models: list[type[BaseModel]], names: Mapping[type[BaseModel], str], definitions: Mapping[str, Schema]
) -> Iterator[tuple[type[BaseModel], str, Schema, str]]:
    """Yield the fields of settings models: model, field, the properties of its definition, its key among them."""
    for model in models:
        properties = definitions[names[model]].get("properties", {})
        for name, field in model.model_fields.items():
            shown = field.alias or name
            if field.exclude:
                properties.pop(shown, None)
            else:
                yield model, name, properties, shown


def _with_ranges(schema: Schema) -> Schema:
    """Return a schema that allows a search range in the place of every number and word."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [*map(_with_ranges, schema["anyOf"])]}
    inner = {name: _with_ranges(schema[name]) for name in ("items", "additionalProperties")
             if isinstance(schema.get(name), dict)}  # fmt: skip
    if inner:
        return {**schema, **inner}
    is_leaf = "enum" in schema or schema.get("type") in ("number", "integer", "string", "boolean")
    return _also(schema, {"$ref": f"#/$defs/{_RANGE}"}) if is_leaf else schema


def _reachable(
    model: type[BaseModel], known: Mapping[str, Choice], seen: list[type[BaseModel]]
) -> Iterator[type[BaseModel]]:
    """Yield a settings model and all that may stand in it."""
    if model in seen:
        return
    seen.append(model)
    yield model
    for name, field in model.model_fields.items():
        open_to = choice(model, name, known)
        for inner in [*models_in(field.annotation), *(open_to.models.values() if open_to else ())]:
            yield from _reachable(inner, known, seen)


def _about(schema: Schema) -> Schema:
    """Return what a schema says of a key beside what may stand there."""
    return {name: schema[name] for name in ("title", "description", "default") if name in schema}


def _open(
    annotation: Any, open_to: Choice, names: Mapping[type[BaseModel], str], definitions: Mapping[str, Schema],
    variants: dict[str, Schema],
) -> Schema:  # fmt: skip
    """Return the schema of what may stand at an open key; ``variants`` takes definitions that it needs."""
    allowed: list[Schema] = [{"type": "string"}] if open_to.also else []
    for name, model in open_to.models.items():
        target = names[model]
        if open_to.key:
            changed = deepcopy(definitions[target])
            changed["properties"] = {open_to.key: {"const": name}, **changed["properties"]}
            changed["properties"][open_to.key] = {"const": name}
            changed["required"] = [open_to.key, *(key for key in changed.get("required", []) if key != open_to.key)]
            target = f"{target}_{name}"
            variants[target] = changed
        elif open_to.part:
            variants[f"{target}_part"] = {key: value for key, value in definitions[target].items() if key != "required"}
            target = f"{target}_part"
        allowed.append({"$ref": f"#/$defs/{target}"})
    said = allowed[0] if len(allowed) == 1 else {"anyOf": allowed}
    kinds = list(plain(annotation))
    if any(get_origin(kind) is list for kind in kinds):
        said = {"type": "array", "items": said}
    elif holds_mappings(annotation):
        said = {"type": "object", "additionalProperties": said}
    return {"anyOf": [said, {"type": "null"}]} if type(None) in kinds else said


def _also(schema: Schema, other: Mapping[str, Any]) -> Schema:
    """Return a schema that allows something else, too."""
    about = _about(schema)
    rest = {name: value for name, value in schema.items() if name not in about}
    return {**about, "anyOf": [*(rest["anyOf"] if set(rest) == {"anyOf"} else [rest]), dict(other)]}


def _search_range() -> Schema:
    ends = {"low": {"type": "number"}, "high": {"type": "number"}, "log": {"type": "boolean"}}
    return {
        "description": "A range that is searched: {low: 3, high: 6}, with log: true on a logarithmic scale, or "
        "{choices: [...]}.",
        "anyOf": [
            {"type": "object", "properties": ends, "required": ["low", "high"], "additionalProperties": False},
            {"type": "object", "properties": {"choices": {"type": "array"}}, "required": ["choices"],
             "additionalProperties": False},
        ],
    }  # fmt: skip
