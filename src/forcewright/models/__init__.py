"""Families of potentials, found by the name under ``model: {kind: ...}``, and reading of what they save.

A family is listed in `FAMILIES`, or offered by an installed package as an entry point of the group
``forcewright.families``, such as ``my_kind = "my_package:FAMILY"``. Importing this module imports none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from typing import Final, cast

from forcewright.consent import CONSENT, consented
from forcewright.errors import InputError
from forcewright.files import as_path
from forcewright.models.baseline import load_baseline, with_baseline
from forcewright.models.family import Family, PotentialKind
from forcewright.models.storage import PotentialFolder
from forcewright.potential import Potential

#: kind -> "module:attribute" of its `Family`, imported when it is first used
FAMILIES: dict[str, str] = {
    "ace": "forcewright.models.ace:FAMILY",
    "command": "forcewright.models.command:FAMILY",
    "gap": "forcewright.models.gap:FAMILY",
    "graph": "forcewright.models.graph:FAMILY",
    "sgdml": "forcewright.models.sgdml:FAMILY",
    "snap": "forcewright.models.snap:FAMILY",
}

#: The group of entry points by which other packages offer families.
ENTRY_POINTS: Final = "forcewright.families"

#: kinds that are read from disk like the families above, and fitted by nobody
_NEVER_FITTED = {
    "ase": "forcewright.models.calculator_potential:ASE_KIND",
    "hot_electrons": "forcewright.properties.hot_electrons:KIND",
    "pair_style": "forcewright.models.pair_style:KIND",
    "pretrained": "forcewright.models.pretrained:KIND",
}

#: names of networks, which are an ``architecture`` of the kind ``graph``
_ARCHITECTURES = ("mace", "nequip", "painn", "schnet", "tensornet")

#: suffix of a file that is a potential by itself -> what reads it
_READERS = {
    ".yace": "forcewright.models.ace:AcePotential.from_yace",
    ".snapcoeff": "forcewright.models.snap:read_snap_files",
    ".snapparam": "forcewright.models.snap:read_snap_files",
}


def families() -> dict[str, str]:
    """Return where every family is found, "module:attribute" by kind: those of other packages, and `FAMILIES`."""
    return {**{kind: homes[0] for kind, homes in _offered().items()}, **FAMILIES}


def _offered() -> dict[str, list[str]]:
    """Return where installed packages offer families, by kind; those of several packages clash when they are used."""
    offered: dict[str, list[str]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        homes = offered.setdefault(point.name, [])
        if point.value not in homes:
            homes.append(point.value)
    return offered


def register_families(homes: Mapping[str, str]) -> None:
    """Add families to `FAMILIES` that another process has registered at run time."""
    for kind, home in homes.items():
        FAMILIES.setdefault(kind, home)


def family_of(kind: str) -> Family:
    """Return a family by its name; `InputError` if there is none, or its potentials are only read."""
    if not kind:
        raise InputError("is missing; allowed are " + ", ".join(sorted(families())), field="model.kind")
    homes = FAMILIES if kind in FAMILIES else families()
    if kind in homes:
        if kind not in FAMILIES and len(clash := _offered()[kind]) > 1:
            raise InputError(
                f"is {kind!r}, a family that two installed packages offer, as {clash[0]} and as {clash[1]}; uninstall "
                "one of them", field="model.kind",
            )  # fmt: skip
        family = _imported(homes[kind])
        if not isinstance(family, Family):
            raise InputError(f"is {kind!r}, but {homes[kind]} is not a Family", field="model.kind")
        return family
    allowed = f"allowed are {', '.join(sorted(homes))}"
    if kind in _NEVER_FITTED:
        raise InputError(f"is {kind!r}, whose potentials are read and not fitted; {allowed}", field="model.kind")
    if kind.lower() in _ARCHITECTURES:
        hint = f"it is an architecture of graph networks, use kind: graph and architecture: {kind.lower()}; "
    else:
        close = get_close_matches(kind.lower(), homes, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
    raise InputError(f"{kind!r} is not known; {hint}{allowed}", field="model.kind")


def _imported(home: str) -> object:
    module, _, name = home.partition(":")
    try:
        return attrgetter(name)(import_module(module))
    except Exception as error:  # what a package of somebody else does while it is imported
        reason = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise InputError(f"is found at {home}, which cannot be imported: {reason}", field="model.kind") from error


def load(
    path: str | Path, *, allow_commands: bool | str | Mapping[str, object] = False, kind: str | None = None
) -> Potential:
    """Read a potential: a folder saved by Forcewright, an ACE .yace file, or a LAMMPS .snapcoeff/.snapparam pair.

    Reading a potential runs nothing that it brings along, with one exception that has to be allowed: one of kind
    ``command`` calls the program that it names whenever it predicts.

    Parameters
    ----------
    path
        Folder or file; or the folder of a study, for its potential.
    allow_commands
        Whether a potential may run the program that it names; so may every one where the environment has
        ``FORCEWRIGHT_ALLOW_COMMANDS=1``. Allow it for potentials of your own or of people you trust. A text allows the
        one program that `Family.describe_program` describes so, the model of a config what that says it runs.
    kind
        What kind it has to be, where only one will do.

    Raises
    ------
    InputError
        If nothing that can be read lies there, it is of another kind, or a command is not allowed.
    """
    path = potential_path(path)
    if not path.exists():
        raise InputError(
            "does not exist; expected a folder saved by Forcewright, a .yace or a .snapcoeff file", file=path
        )
    if (path / "0" / "potential.json").is_file() and not (path / "potential.json").exists():
        raise InputError("holds a committee; read it with forcewright.Committee.load", file=path)
    if path.is_dir() and (path / "potential.json").exists():
        with PotentialFolder(path) as folder:
            stored = _kind_of(folder)
            program = None if stored.describe_program is None else stored.describe_program(folder.content)
        if kind is not None and stored.kind != kind:
            raise InputError(f"is of kind {stored.kind!r}, expected {kind!r}", file=path / "potential.json")
        consent = allow_commands if isinstance(allow_commands, bool) else allow_commands == program
        if isinstance(allow_commands, Mapping) and stored.describe_program is not None:
            compare = stored.runs_as_stated or _describes_the_same(stored.describe_program)
            consent = compare(allow_commands, folder.content)
        if program is not None and not (consent or consented()):
            raise InputError(
                f"{program} on this machine when it predicts; if you trust where it comes from, set {CONSENT}=1 or "
                "load it with allow_commands=True", file=path / "potential.json",
            )  # fmt: skip
        baseline = load_baseline(folder, partial(load, allow_commands=allow_commands is True))
        return with_baseline(stored.load(path), baseline)
    suffix = ".snapcoeff" if path.is_dir() else path.suffix
    if suffix not in _READERS:
        raise InputError(
            "is neither a folder saved by Forcewright nor a .yace or .snapcoeff/.snapparam file", file=path
        )
    read = cast(Callable[[Path], Potential], _imported(_READERS[suffix]))
    return read(path)


def _describes_the_same(
    describe: Callable[[Mapping[str, object]], str],
) -> Callable[[Mapping[str, object], Mapping[str, object]], bool]:
    return lambda model, content: describe(model) == describe(content)


def potential_path(path: str | Path) -> Path:
    """Return where a potential lies: the path itself, or ``potential/`` in the folder of a study."""
    path = as_path(path, "potential")
    if path.name == "potential.json":
        return path.parent
    inside = path / "potential"
    return inside if (inside / "potential.json").is_file() and not (path / "potential.json").exists() else path


def _kind_of(folder: PotentialFolder) -> PotentialKind:
    name = str(folder.content.get("kind"))
    if name in _NEVER_FITTED:
        return cast(PotentialKind, _imported(_NEVER_FITTED[name]))
    if name not in families():
        raise InputError(f"is of the unknown kind {name!r}; install the package that offers it", file=folder.file)
    return family_of(name)
