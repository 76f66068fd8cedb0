"""The reference of config keys: complete, true to the settings, and of use as it is printed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from command_line import run_here
from pydantic import BaseModel, TypeAdapter

from forcewright.configs import validate
from forcewright.errors import InputError
from forcewright.fitting.hyperparameters import search_ranges
from forcewright.manual.config import config
from forcewright.manual.config_models import CONFIGS, FREE, choice, choices, hyperparameters
from forcewright.manual.example_configs import EXAMPLE_CONFIGS
from forcewright.manual.examples import EXAMPLES
from forcewright.manual.json_schema import config_schema
from forcewright.manual.keys import keys, models_in
from forcewright.optimize.space import is_range

ROOT = Path(__file__).parents[2]
KNOWN = choices()
FAMILIES = hyperparameters()


def reachable(model: type[BaseModel], seen: dict[str, type[BaseModel]]) -> dict[str, type[BaseModel]]:
    """Collect a settings model and all that may stand in it."""
    name = f"{model.__module__.rpartition('.')[2]}.{model.__name__}"
    if name not in seen:
        seen[name] = model
        for name, field in model.model_fields.items():
            open_to = choice(model, name, KNOWN)
            for inner in [*models_in(field.annotation), *(open_to.models.values() if open_to else ())]:
                reachable(inner, seen)
    return seen


MODELS: dict[str, type[BaseModel]] = {}
for start in CONFIGS.values():
    reachable(start, MODELS)


def open_mappings(model: type[BaseModel]) -> Iterator[str]:
    """Yield the fields that take mappings of anything."""
    for name, field in model.model_fields.items():
        text = repr(field.annotation)
        if field.annotation is Any or re.search(r"dict\[str, (typing\.)?(Any|typing\.Annotated\[typing\.Any)", text):
            yield name


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_key_is_explained(model: type[BaseModel]) -> None:
    shown = {key.name: key for key in keys(model, KNOWN)}
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        assert field.description and field.description.strip().endswith((".", "…", "...", ")")), name
        key = shown[field.alias or name]
        assert key.meaning and key.takes and (key.example or key.parts or key.default is not None), name
        assert (key.default is None) == field.is_required()
    for name in open_mappings(model):
        known = choice(model, name, KNOWN) or any(f"{owner.__name__}.{name}" in FREE for owner in model.__mro__)
        assert known, f"{model.__name__}.{name} takes anything; say in config_models what"


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_allowed(name: str) -> None:
    owner, _, key = name.partition(".")
    example = EXAMPLES[name]
    models = [model for model in MODELS.values() if owner in {kind.__name__ for kind in model.__mro__}]
    assert models, "no such settings"
    if is_range(example) or (isinstance(example, dict) and any(map(is_range, example.values()))):
        return  # see `test_ranges_are_allowed`
    for model in models:
        if key in model.model_fields:
            field = model.model_fields[key]
            annotation: Any = field.annotation
            for item in field.metadata:
                annotation = Annotated[annotation, item]
            TypeAdapter(annotation).validate_python(example)


def test_ranges_are_allowed() -> None:
    for kind, model in FAMILIES.items():
        content = {
            key.name: yaml.safe_load(key.example) for key in keys(model, KNOWN) if key.example and key.name != "kind"
        }
        ranged = {name: value for name, value in content.items() if is_range(value)}
        needed = {key.name: content[key.name] for key in keys(model, KNOWN) if key.required}
        assert set(search_ranges({"kind": kind, **needed, **ranged})) >= set(ranged)


@pytest.mark.parametrize("verb", CONFIGS)
def test_the_printed_config_is_valid(verb: str) -> None:
    text = config(verb)
    content = yaml.safe_load(text)
    assert content == json.loads(json.dumps(EXAMPLE_CONFIGS[verb]))
    validate(CONFIGS[verb], content)
    for name in CONFIGS[verb].model_fields:
        assert re.search(rf"^#?{name}:", text, re.M), name


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_hyperparameters_of_every_family_are_printed(kind: str) -> None:
    text = config("tune", model=kind)
    content = yaml.safe_load(text)
    search_ranges(validate(CONFIGS["tune"], content).model)  # type: ignore[attr-defined]
    model, _, _ = text.partition("\n\n# What is fitted on top of")
    for key in keys(FAMILIES[kind], {}):
        assert re.search(rf"^#?  {key.name}:", model, re.M), key.name


def test_defaults_uncommented_change_nothing() -> None:
    """Whoever takes a # away gets what holds anyway."""
    text = config("tune", model="snap")
    changed = re.sub(
        r"^#(  rfac0|  quadratic|weights|  by: group|study|  trials|ridge|threads)", r"\1", text, flags=re.M
    )
    one, other = (validate(CONFIGS["tune"], yaml.safe_load(t)) for t in (text, changed))
    assert changed != text and one.model_copy(update={"model": None}) == other.model_copy(update={"model": None})


def test_units_are_named() -> None:
    units = {f"{m.__name__}.{key.name}": key.unit for m in MODELS.values() for key in keys(m, KNOWN)}
    assert (
        units["AceModel.rcut"] == "Å" and units["Stage.pressure_GPa"] == "GPa" and units["Stage.max_steps"] == "steps"
    )
    assert units["VacancySettings.fmax"] == "eV/Å" and units["Sigmas.energy"] == "eV/atom"
    assert units["AceModel.lmax"] == units["NonlinearSettings.steps"] == ""


def configs_of_examples() -> dict[str, tuple[str, Any]]:
    """Return the configs of README and examples, with the command each is for."""
    found = {}
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    for block in blocks:
        if (head := re.match(r"# (\S+): forcewright ([\w-]+)", block)) and head[1] != "fixed.yaml":
            content = yaml.safe_load(block)
            found[f"README {head[1]}"] = "tune-dos" if "target" in content else head[2], content
    for line in next(block for block in blocks if block.startswith("# fixed.yaml")).splitlines():
        if line.startswith("# "):
            name, verb = re.match(r"# (\S+): forcewright ([\w-]+)", line).groups()
        else:
            found[name] = verb, yaml.safe_load(line)
    verbs = {"tune": "tune", "ace": "tune", "quench": "simulate", "validate": "validate", "lennard-jones": "simulate",
             "label-one": "label", "one": "generate", "fit-one-efv": "fit",
             "mended": "simulate", "dos": "tune-dos", "learn": "learn", "breaks": "simulate",
             "dipole": "tune-property", "polarizability": "tune-property", "shielding": "tune-property"}  # fmt: skip
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        if path.stem in verbs:
            content = yaml.safe_load(path.read_text())
            found[f"{path.parent.name}/{path.name}"] = verbs[path.stem], content
    return found


@pytest.fixture(scope="module")
def written() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of every command."""
    return {verb: config_schema(verb) for verb in CONFIGS}


def test_the_json_schema_allows_what_is_allowed(written: dict[str, dict[str, Any]]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed (extra dev)")
    schemas = {verb: jsonschema.Draft202012Validator(schema) for verb, schema in written.items()}
    for verb, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema.schema)
        example = json.loads(json.dumps(EXAMPLE_CONFIGS[verb]))
        assert not [*schema.iter_errors(example)], verb
        assert [*schema.iter_errors({**example, "outputt": "x"})]
    for name, (verb, content) in configs_of_examples().items():
        assert not [*schemas[verb].iter_errors(content)], name
    wrong = {"model": {"kind": "ace", "rcut": "wide"}, "data": {"train": "a.extxyz"}, "output": "x"}
    assert not [*schemas["tune"].iter_errors({**wrong, "model": {"kind": "snap", "twojmax": {"choices": [4, 6]}}})]
    assert [*schemas["tune"].iter_errors(wrong)]
    assert [*schemas["fit"].iter_errors({**wrong, "model": {"kind": "ace", "rcut": {"low": 4, "high": 6}}})]
    short = {"stability": False, "short_range": False, "validation": 5, "committee": 4, "prior": "free"}
    assert not [*schemas["tune"].iter_errors({**wrong, "model": {"kind": "gap"}, **short})]


def test_schemas_refer_to_what_they_define(written: dict[str, dict[str, Any]]) -> None:
    for schema in written.values():
        text = json.dumps(schema)
        assert {name for name in re.findall(r'"#/\$defs/([^"]+)"', text)} <= set(schema["$defs"])
        assert all(part.get("description") for part in schema["properties"].values())


def test_the_command(tmp_path: Path) -> None:
    done = run_here("config", "learning-curve", cwd=tmp_path)
    assert done.returncode == 0 and yaml.safe_load(done.stdout)["data"] == {
        "train": "train.extxyz",
        "test": "test.extxyz",
    }
    done = run_here("config", "label", "--json-schema", cwd=tmp_path)
    assert json.loads(done.stdout)["title"] == "forcewright label"
    done = run_here("config", "tune", "--model", "acee", cwd=tmp_path)
    assert done.returncode == 1 and "did you mean ace?" in done.stderr
    done = run_here("config", "check", cwd=tmp_path)
    assert done.returncode == 1 and "no command with a config" in done.stderr
    with pytest.raises(InputError, match="did you mean 'tune'"):
        config("tuna")


@pytest.mark.parametrize("words", [["-h"], ["tune", "-h"], ["--version"]])
def test_help_and_version(words: list[str], tmp_path: Path) -> None:
    done = run_here(*words, cwd=tmp_path)
    assert done.returncode == 0 and "forcewright" in done.stdout
