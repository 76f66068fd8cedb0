"""Adds the pages to the documentation that are written from the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files

from forcewright.cli import app
from forcewright.manual.pages import reference_pages

_REPOSITORY = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that `reference_pages` writes."""
    for path, text in reference_pages(typer.main.get_command(app), _REPOSITORY).items():
        files.append(File.generated(config, path, content=text))
    return files
