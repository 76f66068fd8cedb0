"""Names and messages use the field's words: no placeholder words as names, no turns of phrase that are not English."""

import ast
from pathlib import Path

import pytest

import forcewright

WORDS = {"told", "found", "given", "one", "own", "place"}
ALLOWED = {"one_hot"}  # the term of statistics
PHRASES = ("makes no sense", "by chance", "is no element")

SOURCE = Path(forcewright.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))


def names(tree):
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name, node.lineno
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_names_say_what_things_are(path):
    placeholders = [
        f"{path.name}:{line}: {name}"
        for name, line in names(ast.parse(path.read_text(encoding="utf-8")))
        if name not in ALLOWED
        and {name.lower().strip("_").split("_")[0], name.lower().strip("_").split("_")[-1]} & WORDS
    ]
    assert not placeholders, "\n".join(placeholders)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_messages_are_plain_english(path):
    phrases = [
        f"{path.name}:{node.lineno}: {phrase}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for phrase in PHRASES
        if phrase in " ".join(node.value.split())
    ]
    assert not phrases, "\n".join(phrases)
