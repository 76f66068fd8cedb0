"""The files that gap_fit writes: brought into a form that does not depend on when and where the fit ran, and checked.

QUIP takes commands from the head of its parameter files: ``<Potential init_args="FilePot command=..."/>`` runs a
program. A file that is read back is therefore refused unless its head asks for a GAP and nothing else, and unless the
files of sparse points that it names lie beside it.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from forcewright.errors import InputError

PARAMETERS = "gp.xml"
LABEL = "GAP_forcewright"
#: What QUIP is asked for, whatever the head of the file says.
INIT_ARGS = f"IP GAP label={LABEL}"

_STAMP = re.compile(r'<GAP_params label="(GAP_\w+)"')
_SPARSE = re.compile(r"gp\.xml\.sparseX\.[\w.]+")
_CHILDREN = {
    "GAP_params": {"GAP_data", "gpSparse", "command_line"}, "GAP_data": {"e0", "local_property0"},
    "gpSparse": {"gpCoordinates"}, "gpCoordinates": {"theta", "descriptor", "permutation", "sparseX", "zeta"},
}  # fmt: skip


def collect(folder: Path) -> dict[str, bytes]:
    """Return the files of a finished fit; the time stamp that gap_fit puts into every name is replaced.

    Raises `InputError` if gap_fit wrote no usable ``gp.xml``.
    """
    path = folder / PARAMETERS
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    stamp = _STAMP.search(text)
    if stamp is None:
        raise InputError("gap_fit ended well but wrote no GAP parameters; see its log", field="model")
    files = {PARAMETERS: text.replace(stamp[1], LABEL).encode()}
    for sparse in sorted(folder.glob(f"{PARAMETERS}.sparseX.*")):
        files[sparse.name.replace(stamp[1], LABEL)] = sparse.read_bytes()
    check_files(files)
    return files


def check_files(files: Mapping[str, bytes], file: Path | None = None) -> None:
    """Raise an `InputError` unless the files hold one GAP of ours and nothing else that QUIP could act on."""
    content = files.get(PARAMETERS, b"")
    if b"<!" in content.replace(b"<![CDATA[", b""):
        raise InputError("declares a document type; a GAP has none", file=file)
    try:
        root = ET.fromstring(content)
    except ET.ParseError as error:
        raise InputError(f"is damaged: {error}; save the potential again", file=file) from None
    heads = [child for child in root if child.tag == "Potential"]
    rest = [child for child in root if child.tag != "Potential"]
    if root.tag != LABEL or [head.attrib for head in heads] != [{"label": LABEL, "init_args": INIT_ARGS}]:
        raise InputError(
            "asks QUIP for something else than the GAP it holds; QUIP could run a program, so it is refused", file=file
        )
    if [child.tag for child in rest] != ["GAP_params"] or rest[0].get("label") != LABEL:
        raise InputError(f"does not hold exactly one GAP with the label {LABEL}", file=file)
    _check_children(rest[0], file)
    named = {str(item.get("sparseX_filename")) for item in rest[0].iter("gpCoordinates")}
    if wrong := sorted(name for name in named if not _SPARSE.fullmatch(name) or name not in files):
        raise InputError(f"names the sparse points {wrong[0]!r}, which are not among its files", file=file)


def _check_children(element: ET.Element, file: Path | None) -> None:
    for child in element:
        if child.tag not in _CHILDREN.get(element.tag, set()):
            raise InputError(f"holds <{child.tag}> inside <{element.tag}>, which no GAP has", file=file)
        _check_children(child, file)


def descriptors_of(files: Mapping[str, bytes]) -> list[str]:
    """Return the names of the descriptors of a GAP, such as distance_2b and soap, in QUIP's order."""
    root = ET.fromstring(files[PARAMETERS])
    texts = [(node.findtext("descriptor") or "").split() for node in root.iter("gpCoordinates")]
    return [words[0] if words else f"descriptor {number}" for number, words in enumerate(texts, 1)]
