"""The structure a calculation starts from, according to a config: a file, a crystal, or a molecule."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Self

import ase.build
import numpy as np
from ase import Atoms
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, model_validator

from forcewright.errors import InputError
from forcewright.structure import Structure, repeated
from forcewright.trajectory import Snapshot, snapshots

_CRYSTALS = ("sc", "fcc", "bcc", "hcp", "diamond", "zincblende", "rocksalt", "cesiumchloride", "fluorite", "wurtzite")


class StructureSettings(BaseModel):
    """What to start from: exactly one of file, bulk and molecule; in Python also a structure itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    file: Path | None = None
    """Any file that ASE reads; its velocities are kept."""
    index: int = -1
    """Frame of the file, counted from 0, or from the end where negative."""
    bulk: str | None = None
    """A crystal, by element or formula, as ase.build.bulk makes it."""
    crystalstructure: str | None = None
    """Structure type of the crystal if not that of the element, such as diamond or rocksalt."""
    a_A: float | None = Field(default=None, gt=0)
    """Lattice constant of the crystal if not that of the element."""
    c_A: float | None = Field(default=None, gt=0)
    """Second lattice constant of hexagonal crystals."""
    cubic: bool = False
    """Cubic instead of primitive cell."""
    molecule: str | None = None
    """A molecule that ase.build.molecule knows."""
    repeat: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 1, 1)
    """How often the cell is repeated along its vectors."""
    snapshot: InstanceOf[Snapshot] | None = Field(default=None, exclude=True)
    """A structure in memory, with its velocities where it has some."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        sources = [name for name in ("file", "bulk", "molecule", "snapshot") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError(f"has {' and '.join(sources) or 'nothing'}; give one of file, bulk and molecule")
        if self.crystalstructure not in (None, *_CRYSTALS):
            raise ValueError(f"crystalstructure {self.crystalstructure!r} is not one of {', '.join(_CRYSTALS)}")
        return self


def _spelled_out(value: Any) -> Any:
    """Accept a path in place of a file, one number of repeats in place of three, and a structure in memory."""
    if isinstance(value, Atoms | Structure | Snapshot):
        return {"snapshot": next(snapshots([value]))}
    if isinstance(value, str | Path):
        return {"file": value}
    if isinstance(value, Mapping) and isinstance(value.get("repeat"), int):
        return {**value, "repeat": (value["repeat"],) * 3}
    return value


#: The entry ``structure`` of a config.
StructureSource = Annotated[StructureSettings, BeforeValidator(_spelled_out)]


def build_structure(source: StructureSettings, folder: Path) -> Snapshot:
    """Return the structure, with velocities where a file has them; paths are relative to ``folder``.

    InputError if the file cannot be read, has no such frame, or ASE does not know the crystal or molecule.
    """
    if source.snapshot is not None:
        return repeat_snapshot(source.snapshot, source.repeat)
    if source.file is not None:
        return repeat_snapshot(_read_frame((folder / source.file).resolve(), source.index), source.repeat)
    try:
        if source.molecule is not None:
            atoms = ase.build.molecule(source.molecule)  # type: ignore[no-untyped-call]
        else:
            atoms = ase.build.bulk(
                str(source.bulk), source.crystalstructure, a=source.a_A, c=source.c_A, cubic=source.cubic
            )  # fmt: skip
    except (KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        what = source.molecule or source.bulk
        raise InputError(f"{what!r} is not known to ASE ({error}); give a file", field="structure") from None
    return Snapshot(repeated(Structure.from_ase(atoms), source.repeat))


def _read_frame(path: Path, index: int) -> Snapshot:
    """Return one frame of a file, holding no more frames than an index from the end needs."""
    if index < 0:
        last = deque(snapshots(path), maxlen=-index)
        frame = last[0] if len(last) == -index else None
    else:
        frame = next(islice(snapshots(path), index, None), None)
    if frame is None:
        raise InputError(f"has no frame {index}", file=path, field="structure.index")
    return frame


def repeat_snapshot(snapshot: Snapshot, repeat: Sequence[int]) -> Snapshot:
    """Return a snapshot with its cell repeated along the vectors; copies move as the originals do."""
    copies = math.prod(repeat)
    if copies == 1:
        return snapshot
    structure = repeated(snapshot.structure, repeat)
    velocities = None if snapshot.velocities is None else np.tile(snapshot.velocities, (copies, 1))
    fixed = None if snapshot.fixed is None else np.tile(snapshot.fixed, (copies, 1))
    return Snapshot(structure, velocities=velocities, masses=np.tile(snapshot.masses, copies), fixed=fixed)
