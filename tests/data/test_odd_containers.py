"""Archives and HDF5 files that hold something else than they should are refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import forcewright as fw
from forcewright.errors import InputError
from forcewright.trajectory import snapshots

WATER: dict[str, Any] = {
    "R": np.arange(18.0).reshape(2, 3, 3), "z": np.array([8, 1, 1]), "E": np.zeros(2), "F": np.zeros((2, 3, 3)),
    "r_unit": "Ang", "e_unit": "eV",
}  # fmt: skip


@pytest.mark.parametrize(("changed", "words"), [
    ({"z": np.array([8, 1.5, 1])}, "not whole"), ({"e_unit": np.array(["eV", "Ha"])}, "2 units"), ({"e_unit": 3}, "3"),
])  # fmt: skip
def test_arrays_that_do_not_fit(changed: dict[str, Any], words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{**WATER, **changed})
    with pytest.raises(InputError, match=words):
        fw.read(tmp_path / "a.npz")


@pytest.mark.parametrize(("offsets", "value"), [((8, 6), 1), ((10, 8), 77)], ids=["encrypted", "unknown method"])
def test_archives_that_cannot_be_unpacked(offsets: tuple[int, int], value: int, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **WATER)
    content = bytearray(path.read_bytes())
    for signature, offset in zip((b"PK\x01\x02", b"PK\x03\x04"), offsets, strict=True):
        content[content.find(signature) + offset] = value
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a sound"):
        fw.read(path)


def test_an_array_under_the_name_of_an_archive(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match="not a sound"):
        fw.read(tmp_path / "a.npz")


def replace(parent: h5py.Group, name: str, value: Any) -> None:
    if name in parent:
        del parent[name]
    parent[name] = value


ODD: dict[str, Callable[[h5py.File], None]] = {
    "boundary": lambda f: f["particles/all/box"].attrs.__setitem__("boundary", 3),
    "short times": lambda f: replace(f, "particles/all/position/time", np.arange(1.0)),
    "few species": lambda f: replace(f, "particles/all/species", np.array([8])),
    "no species": lambda f: replace(f, "particles/all/species", np.zeros(0, dtype=int)),
    "text": lambda f: replace(f, "particles/all/position/value", np.array([[b"a"]])),
    "complex": lambda f: replace(f, "particles/all/position/value", np.zeros((2, 3, 3), dtype=complex)),
    "no atoms": lambda f: replace(f, "particles/all/position/value", np.zeros((2, 0, 3))),
    "dangling": lambda f: replace(f, "particles/all/position/value", h5py.SoftLink("/nowhere")),
    "dataset for group": lambda f: replace(f, "particles", np.zeros(3)),
    "short edges": lambda f: replace(f, "particles/all/box/edges/value", np.zeros((1, 3, 3))),
    "text edges": lambda f: replace(f, "particles/all/box/edges", np.array([b"a", b"b", b"c"])),
    "masses": lambda f: replace(f, "particles/all/mass", np.ones(2)),
    "velocities": lambda f: replace(f, "particles/all/velocity/value", np.zeros((2, 2, 3))),
    "energies": lambda f: replace(f, "observables/potential_energy/value", np.zeros((2, 2))),
    "unit": lambda f: f["particles/all/position/value"].attrs.__setitem__("unit", b"\xff"),
}


@pytest.mark.parametrize("name", [None, *ODD])
def test_trajectories_that_hold_something_else(name: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("particles/all")
        group["position/value"], group["position/time"] = np.zeros((2, 3, 3)), np.arange(2.0)
        group["species"] = np.array([8, 1, 1])
        group.create_group("box").attrs["boundary"] = ["none"] * 3
        if name is not None:
            ODD[name](file)
    if name is None:
        assert len(list(snapshots(path))) == 2
        return
    with pytest.raises(InputError, match=r"a\.h5"):
        list(snapshots(path))
