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
_BELOW = ("*/report.html", "studies/*/report.html", "fits/*/report.html")  # where parts of a run have their pages
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
    above = target.parent.parent / "report.html"
    below = sorted(path for pattern in _BELOW for path in target.parent.glob(pattern))[:_MOST_LINKS]
    return _linked(page, target.parent, [*([above] if above.resolve() != target.resolve() else []), *below])


def link_from_above(target: Path) -> None:
    """Add a link to the page in the folder above, where there is one."""
    for levels in (1, 2):  # of a study in studies/ it is one more
        folder = target.parent.joinpath(*[".."] * levels).resolve()
        above = folder / "report.html"
        if any(target.resolve() in (path.resolve() for path in folder.glob(pattern)) for pattern in _BELOW):
            with suppress(OSError, UnicodeDecodeError):  # the page is there, and whole, without it
                if above.is_file() and _BEGIN in (page := above.read_text(encoding="utf-8")):
                    atomic_write(above, with_links(page, above))


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
    relative = os.path.relpath(other, folder)
    text = f"{Markup(kind[1]).unescape() if kind else 'page'} ({other.resolve().parent.name})"
    return Markup('<a href="{}">{}</a>').format(quote(relative), text)
