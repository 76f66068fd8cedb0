"""Pages that lie around a page, linked with it; and paths that tell nothing about the machine."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from forcewright.files import atomic_write

_BEGIN, _END = "<!-- pages -->", "<!-- end of pages -->"
_OURS = 'content="Forcewright"'
_MOST_LINKS = 60
_PARTS = ("studies", "fits")  # folders of several parts of a run
_BELOW = ("*/report.html", *(f"{name}/*/report.html" for name in _PARTS))
_DRAWN = re.compile(r"(<svg.*?</svg>|<img[^>]*>|<style>.*?</style>)", re.DOTALL)
#: a path from the root on, at the beginning of a word or in quotes (escaped, as a page has them) or brackets
_ABSOLUTE = re.compile(r"(?:(?<=[\s>(\[=])|(?<=&#34;)|(?<=&#39;)|(?<=^))(/[^\s<>&|:,;()\[\]]+/[^\s<>&|:,;()\[\]]*)")
_FARTHEST = 3  # levels up that a relative path may go


def with_relative_paths(page: str, folder: Path) -> str:
    """Return a page whose paths are relative to its folder; of those far away the end is left."""
    return "".join(
        part if number % 2 else _ABSOLUTE.sub(lambda match: _relative(match[1], folder), part)
        for number, part in enumerate(_DRAWN.split(page))
    )


def _relative(path: str, folder: Path) -> str:
    stem = path.rstrip(".")
    relative = os.path.relpath(stem, folder)
    if relative.count("..") > _FARTHEST or len(Path(os.path.commonpath([stem, folder])).parts) < 2:
        relative = "/".join(["…", *Path(stem).parts[-2:]])
    return relative + path[len(stem) :]


def with_links(page: str, target: Path) -> str:
    """Return a page with links to the pages of Forcewright above and below the folder of ``target``."""
    return _linked(page, target.parent, [*_above(target), *_below(target.parent)])


def link_neighbors(target: Path) -> None:
    """Add links to a new page to those above and below it."""
    for other in (*_above(target), *_below(target.parent)):
        with suppress(OSError, UnicodeDecodeError):  # the page is there, and whole, without it
            page = other.read_text(encoding="utf-8", errors="replace")
            if _BEGIN in page and _OURS in page and (linked := with_links(page, other)) != page:
                atomic_write(other, linked)


def _above(target: Path) -> list[Path]:
    """Return the pages of which ``target`` is a part."""
    here = target.resolve()
    folders = [here.parent.parent, *([here.parent.parent.parent] if here.parent.parent.name in _PARTS else [])]
    return [page for folder in folders if folder != here.parent and (page := folder / "report.html").is_file()]


def _below(folder: Path) -> list[Path]:
    """Return the pages of the parts of a run."""
    pages = [path for pattern in _BELOW for path in folder.resolve().glob(pattern)]
    return sorted(path for path in pages if path.parent.name not in _PARTS)[:_MOST_LINKS]


def _linked(page: str, folder: Path, others: list[Path]) -> str:
    begin, end = page.find(_BEGIN), page.find(_END)
    if begin < 0 or end < begin:
        return page
    links = [link for link in (_link(other, folder) for other in others) if link]
    inner = Markup(" · ").join(links) if links else Markup("")
    shown = Markup('<p class="pages">Pages of the same run: {}</p>').format(inner) if links else ""
    return f"{page[: begin + len(_BEGIN)]}{shown}{page[end:]}"


def _link(other: Path, folder: Path) -> Markup | None:
    """Return a link to another page, by what it is and where; None where there is no page of ours."""
    try:
        with open(other, encoding="utf-8") as file:
            head = file.read(20_000)
    except (OSError, UnicodeDecodeError):
        return None
    if _OURS not in head:
        return None
    kind = re.search(r'<p class="kicker">(?:Forcewright )?([^<]*)</p>', head)
    relative = os.path.relpath(other.resolve(), folder.resolve())
    text = f"{Markup(kind[1]).unescape() if kind else 'page'} ({other.resolve().parent.name})"
    return Markup('<a href="{}">{}</a>').format(quote(relative), text)
