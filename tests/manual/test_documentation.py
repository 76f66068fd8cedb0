"""The documentation site: commands and configs of its pages are right, and what can be run fast is run."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
import yaml
from command_line import run_here
from single_process import stay_in_process

from forcewright import cli
from forcewright.configs import validate
from forcewright.manual.config_models import CONFIGS
from forcewright.manual.pages import reference_pages

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FENCE = re.compile(r'(?:<!-- (slow|not run: [^>]*) -->\n)?```(\w+)(?: title="([^"]+)")?\n(.*?)```', re.S)


def blocks(page: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield how a block is run, its language, the name of its file, and its text."""
    for how, language, title, text in FENCE.findall(page.read_text(encoding="utf-8")):
        yield how or "fast", language, title, text


def commands(page: Path) -> list[tuple[str, str]]:
    """Return every command of a page with how it is run."""
    return [
        (how, line.removeprefix("$ "))
        for how, language, _, text in blocks(page) if language == "console"
        for line in text.splitlines() if line
    ]  # fmt: skip


def files(page: Path, folder: Path) -> None:
    for _, _, title, text in blocks(page):
        if title:
            (folder / title).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_understood(page: Path) -> None:
    program = typer.main.get_command(cli.app)
    for _, line in commands(page):
        words = shlex.split(line, comments=True)
        if words[0].endswith("forcewright") and not words[1].startswith("-"):
            assert words[1] in program.commands, line
            program.commands[words[1]].make_context(words[1], words[2:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_inline_commands_exist(page: Path) -> None:
    program = typer.main.get_command(cli.app)
    for name in re.findall(r"`forcewright ([a-z][\w-]*)", page.read_text(encoding="utf-8")):
        assert name in program.commands, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_configs_are_valid(page: Path) -> None:
    titled = {title: text for _, language, title, text in blocks(page) if language == "yaml" and title}
    for _, line in commands(page):
        words = shlex.split(line, comments=True)
        if len(words) > 2 and words[2] in titled:
            validate(CONFIGS[words[1]], yaml.safe_load(titled.pop(words[2])))
    assert not titled, "no command takes these configs"


def run_page(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...]) -> list[str]:
    """Run the commands of a page in a folder, and return what each prints."""
    stay_in_process(monkeypatch)
    monkeypatch.chdir(folder)
    files(page, folder)
    printed = []
    for how, line in commands(page):
        if how not in kinds:
            continue
        program, *words = shlex.split(line, comments=True)
        if program == "python":
            source = compile((folder / words[0]).read_text(encoding="utf-8"), words[0], "exec")
            exec(source, {"__name__": "__main__"})  # of our own page
            continue
        done = run_here(*words, cwd=folder)
        wanted = 1 if line.endswith("# exit code 1") else 0
        assert done.returncode == wanted, f"{line}\n{done.stdout}\n{done.stderr}"
        printed.append(done.stdout)
    return printed


def test_the_honest_test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs/tutorials/honest-test.md"
    random, checked, blocked, sound = run_page(page, tmp_path, monkeypatch, ("fast",))
    for text in (random, checked):
        assert "warning: 10 of 10 test frames are near-copies of training frames" in text
    assert "20 left out in gaps" in blocked and "warning" not in blocked and "no warnings" in sound


def test_the_first_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked, _, looked = run_page(ROOT / "docs/first-potential.md", tmp_path, monkeypatch, ("fast",))
    assert "60 frames" in checked and "no errors" in checked and "written to copper.yaml" in looked
    made = yaml.safe_load((tmp_path / "copper.yaml").read_text())
    assert made["weights"]["stress"] == {"low": 1, "high": 10000} and made["output"] == "runs/train"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first-potential", "tutorials/md-explodes"])
def test_whole_pages(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(ROOT / f"docs/{name}.md", tmp_path, monkeypatch, ("fast", "slow"))


@pytest.mark.slow
def test_which_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first steps of the page on a first potential, as it says."""
    run_page(ROOT / "docs/first-potential.md", tmp_path, monkeypatch, ("fast",))
    run_page(ROOT / "docs/tutorials/which-family.md", tmp_path, monkeypatch, ("slow",))


def test_pages_from_the_code() -> None:
    pages = reference_pages(typer.main.get_command(cli.app), ROOT)
    for verb, model in CONFIGS.items():
        text = pages[f"reference/config/{'tune' if verb == 'fit' else verb}.md"]
        for name, field in model.model_fields.items():
            assert field.exclude or f"`{field.alias or name}`\n" in text, f"{verb}: {name}"
    for name in typer.main.get_command(cli.app).commands:
        assert f"## {name}\n" in pages["reference/commands.md"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed (extra docs)")
def test_the_site_is_built_without_warnings_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        assert not re.findall(r'(?:src|<link[^>]*href)="https?://', page.read_text(encoding="utf-8")), page
