"""Families of potentials; `BACKENDS` is the public list that contract tests run over."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from forcewright.errors import InputError
from forcewright.models.storage import read_json
from forcewright.potential import Potential

#: kind -> module, hyperparameters, potential; imported only when used
BACKENDS: dict[str, tuple[str, str, str]] = {
    "ace": ("forcewright.models.ace", "AceModel", "AcePotential"),
    "command": ("forcewright.models.command", "CommandModel", "CommandPotential"),
    "gap": ("forcewright.models.gap", "GapModel", "GapPotential"),
    "graph": ("forcewright.models.graph", "GraphModel", "GraphPotential"),
    "sgdml": ("forcewright.models.sgdml", "SgdmlModel", "SgdmlPotential"),
    "snap": ("forcewright.models.snap", "SnapModel", "SnapPotential"),
}

#: kind -> module, potential; read from disk like the families above, and fitted by nobody
_GIVEN: dict[str, tuple[str, str]] = {"pair_style": ("forcewright.models.pair_style", "PairStylePotential")}


def model_class(kind: str) -> Any:
    """Return the hyperparameter class of a family.

    Raises
    ------
    InputError
        If there is no such family.
    """
    if kind not in BACKENDS:
        raise InputError(f"{kind!r} is not known; allowed are {', '.join(sorted(BACKENDS))}", field="model.kind")
    module, name, _ = BACKENDS[kind]
    return getattr(import_module(module), name)


def load(path: str | Path, *, allow_commands: bool = False) -> Potential:
    """Read a potential: a folder saved by Forcewright, an ACE .yace file, or a LAMMPS .snapcoeff/.snapparam pair.

    Reading a potential runs nothing that it brings along, with one exception that has to be allowed: one of kind
    ``command`` calls the program that it names whenever it predicts.

    Parameters
    ----------
    path
        Folder or file.
    allow_commands
        Whether a potential may run the program that it names; so may every one where the environment has
        ``FORCEWRIGHT_ALLOW_COMMANDS=1``. Allow it for potentials of your own or of people you trust.

    Raises
    ------
    InputError
        If nothing that can be read lies there, or a command is not allowed.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            "does not exist; expected a folder saved by Forcewright, a .yace or a .snapcoeff file", file=path
        )
    if path.name == "potential.json":
        path = path.parent
    if path.is_dir() and (path / "potential.json").exists():
        kind = str(read_json(path / "potential.json").get("kind"))
        homes = {**{key: (home[0], home[2]) for key, home in BACKENDS.items()}, **_GIVEN}
        if kind not in homes:
            raise InputError(f"is of the unknown kind {kind!r}", file=path / "potential.json")
        module, name = homes[kind]
        consent = {"allow_commands": True} if kind == "command" and allow_commands else {}
        loaded: Potential = getattr(import_module(module), name).load(path, **consent)
        return loaded
    if path.suffix == ".yace" and not path.is_dir():
        from forcewright.features.ace.yace import read_yace
        from forcewright.models.ace import AcePotential

        return AcePotential(read_yace(path))
    if path.is_dir() or path.suffix in (".snapcoeff", ".snapparam"):
        from forcewright.models.snap_files import read_snap_files

        return read_snap_files(path)
    raise InputError("is neither a folder saved by Forcewright nor a .yace or .snapcoeff/.snapparam file", file=path)
