"""Pages of the documentation that are written from the code: configs, commands, Python, examples, changes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import forcewright
from forcewright.fitting.settings import FitSettings
from forcewright.manual.config_models import CONFIGS, Choice, choices, hyperparameters
from forcewright.manual.example_configs import EXAMPLE_CONFIGS
from forcewright.manual.keys import Key, keys
from forcewright.models.family import Hyperparameters
from forcewright.plain_data import yaml_line
from forcewright.verbs import VerbPackage

_TITLES = {"tune": "tune and fit", "tune-dos": "tune for densities of states",
           "tune-property": "tune for dipoles, tensors and other properties"}  # fmt: skip
_FAMILIES = "families"


def reference_pages(program: Any, repository: Path) -> dict[str, str]:
    """Return pages of Markdown by their path in the documentation.

    Parameters
    ----------
    program
        The command line.
    repository
        Where CHANGELOG.md and the examples lie.
    """
    pages = {f"reference/config/{verb}.md": config_page(verb) for verb in CONFIGS if verb != "fit"}
    pages[f"reference/config/{_FAMILIES}.md"] = families_page()
    pages["reference/config/index.md"] = _overview()
    pages["reference/commands.md"] = commands_page(program)
    pages["reference/python.md"] = python_page()
    pages["gallery.md"] = gallery_page(repository / "examples")
    pages["changelog.md"] = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    return pages


def _overview() -> str:
    rows = [f"| [`{verb}`]({'tune' if verb == 'fit' else verb}.md) | {_what(CONFIGS[verb])} |" for verb in CONFIGS]
    return "\n".join([
        "# Config reference", "",
        "Every key of every config, written from the settings that the program itself checks. The same is printed by "
        "`forcewright config COMMAND` as YAML that runs as it is, and by `forcewright config COMMAND --json-schema` as "
        "a JSON Schema, by which editors complete keys and mark mistakes.", "",
        "| config of | what it is |", "|---|---|", *rows, "",
        f"The hyperparameters under `model:` are those of the [families]({_FAMILIES}.md).", "",
        "A key that is not known is refused with the one that was probably meant. Paths are relative to the config. "
        "Keys end in their unit where they have one: `time_ps`, `temperature_K`.", "",
    ])  # fmt: skip


def _what(model: type[BaseModel]) -> str:
    return _text((model.__doc__ or "").partition("\n")[0])


def config_page(verb: str) -> str:
    """Return the page on the config of a command."""
    known = choices()
    lines = [f"# Config of {_TITLES.get(verb, verb)}", "", _what(CONFIGS[verb]), "", "A small one:", "", "```yaml"]
    lines += [f"{key}: {yaml_line(value)}" for key, value in EXAMPLE_CONFIGS[verb].items()]
    lines += ["```", ""]
    sections = list(_sections(CONFIGS[verb], known))
    for title, model in sections:
        if title:
            lines += [f"## {title} {{ #{_anchor(title)} }}", "", _text(_paragraph(model)), ""]
        for key in keys(model, known):
            lines += _key(key, dict((part, above) for above, part in sections))
    return "\n".join(lines)


def families_page() -> str:
    """Return the page on the hyperparameters of all families."""
    about = "What may stand under `model:`, by `kind`. In a search a range may stand in the place of every number and "
    about += "word: `{low: 3, high: 6}`, with `log: true` on a logarithmic scale, or `{choices: [a, b]}`."
    lines = ["# Families", "", about, ""]
    for kind, family in hyperparameters().items():
        lines += [f"## {kind} {{ #{_anchor(kind)} }}", "", _text(_paragraph(family)), ""]
        sections = list(_sections(family, {}, kind))
        for title, model in sections:
            if title != kind:
                lines += [f"### {title} {{ #{_anchor(title)} }}", "", _text(_paragraph(model)), ""]
            for key in keys(model, {}):
                lines += _key(key, dict((part, above) for above, part in sections))
    return "\n".join(lines)


def _sections(
    model: type[BaseModel], known: Mapping[str, Choice], title: str = ""
) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the settings models of a page, the first before those that stand in it, with the keys they stand at."""
    waiting, seen = [(title, model)], {model}
    while waiting:
        above, current = waiting.pop(0)
        yield above, current
        for key in keys(current, known):
            for name, part in key.parts.items():
                if part not in seen and _is_shown(part):
                    seen.add(part)
                    waiting.append((_title(above, key, name), part))


def _is_shown(part: type[BaseModel]) -> bool:
    return part is not FitSettings and not issubclass(part, Hyperparameters) and part.__name__ != "LogRange"


def _title(above: str, key: Key, name: str) -> str:
    title = f"{above}.{key.name}" if above else key.name
    return f"{title}: {name}" if key.chosen_by else title


def _anchor(title: str) -> str:
    return re.sub(r"[^\w]+", "-", title).strip("-")


def _key(key: Key, titles: Mapping[type[BaseModel], str]) -> list[str]:
    """Return the lines on a key; ``titles`` are those of the sections of the page."""
    facts = [key.takes, key.unit, "required" if key.required else f"default `{key.default}`"]
    lines = [
        f"`{key.name}`",
        f":   {', '.join(_text(fact) if 'default' not in fact else fact for fact in facts if fact)}",
        "",
    ]
    lines += [f"    {_text(key.meaning)}{_links(key, titles)}", ""]
    if key.short:
        lines += [f"    Also {_text(key.short)}.", ""]
    if key.example:
        lines += [f"    Example: `{key.name}: {key.example}`", ""]
    return lines


def _links(key: Key, titles: Mapping[type[BaseModel], str]) -> str:
    """Return where the keys are explained that stand below a key."""
    parts = list(key.parts.values())
    if any(issubclass(part, Hyperparameters) for part in parts):
        return f" See [families]({_FAMILIES}.md)."
    if FitSettings in parts:
        return " See [tune](tune.md)."
    shown = [
        (name if key.chosen_by else titles[part], titles[part]) for name, part in key.parts.items() if part in titles
    ]
    return f" See {', '.join(f'[{name}](#{_anchor(title)})' for name, title in shown)}." if shown else ""


def _paragraph(model: type[BaseModel]) -> str:
    """Return the first paragraph of what a settings model says of itself."""
    return " ".join(inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0].split())


def _text(text: str) -> str:
    """Return text of the code as Markdown: nothing in it is markup but what stands between backticks."""
    parts = re.split(r"(`+[^`]*`+)", text.replace("``", "`"))
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*_{}\[\]>#])", r"\\\1", part).replace("<", "&lt;")
        for part in parts
    )


def commands_page(program: Any) -> str:
    """Return the page on every command."""
    about = (
        "What `forcewright COMMAND -h` says. A command that fails says why in one sentence, and ends with exit code 1; "
    )
    lines = ["# Commands", "", f"{about}Ctrl-C ends every command in order.", ""]
    for name, command in sorted(program.commands.items()):
        named = [_name_of(parameter) for parameter in command.params if parameter.param_type_name == "argument"]
        lines += [f"## {name}", "", "```text", " ".join(["forcewright", name, "[OPTIONS]", *named]), "```", ""]
        lines += [inspect.cleandoc(command.help or ""), ""]
        for parameter in command.params:
            if not parameter.hidden:
                lines += _parameter(parameter)
    return "\n".join(lines)


def _name_of(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper()) + (
        "…" if argument.nargs == -1 and not argument.metavar else ""
    )


def _parameter(parameter: Any) -> list[str]:
    """Return the lines on an argument or an option of a command."""
    says = f":   {_text(parameter.help or '')}"
    if parameter.param_type_name == "argument":
        return [f"`{_name_of(parameter)}`", says, ""]
    names = ", ".join(f"`{name}`" for name in sorted(parameter.opts, key=len))
    kind = "" if parameter.is_flag else f" `{parameter.metavar or parameter.name.upper()}`"
    default = parameter.default
    has_default = not parameter.is_flag and default not in (None, (), []) and not callable(default)
    return [f"{names}{kind}", says + (f" Default `{default}`." if has_default else ""), ""]


def python_page() -> str:
    """Return the page on what `import forcewright` offers."""
    about = "What `import forcewright as fw` offers. Whatever takes structures takes ASE atoms, a list of them, a "
    lines = ["# Python", "", f"{about}`Dataset` or file names.", ""]
    for name in sorted(forcewright.__all__, key=str.lower):
        thing = getattr(forcewright, name)
        function = thing._function if isinstance(thing, VerbPackage) else thing
        documented = inspect.getdoc(function) or ""
        head = "" if inspect.isclass(function) else f"fw.{name}{_signature(function)}\n\n"
        lines += [f"## {name}", "", "```text", f"{head}{documented}", "```", ""]
    return "\n".join(lines)


def _signature(function: Any) -> str:
    return re.sub(r"(?<=[:>] )'([^']*)'", r"\1", str(inspect.signature(function)))


def gallery_page(examples: Path) -> str:
    """Return the page of examples: what their README files say."""
    lines = ["# Gallery", "", "The examples of the repository, each with all that is needed to run it. Times are those "
             "of the machine that each text names.", ""]  # fmt: skip
    for path in sorted(examples.glob("*/README.md")):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"^(#+) ", r"#\1 ", text, flags=re.M)
        text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)  # figures come with a run
        text = re.sub(r"\[([^\]]*)\]\((?!http)[^)]*\)", r"\1", text)
        lines += [text, "", f"Files: `examples/{path.parent.name}`", ""]
    return "\n".join(lines)
