"""Numbers that would fill the memory are refused in a sentence before anything is allocated."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import forcewright as fw
from forcewright.errors import InputError
from forcewright.features.ace.expansion import Bond
from forcewright.features.ace.radial import tabulate
from forcewright.generation.generated import require_count
from forcewright.neighbors import find_neighbors
from forcewright.structure import Structure


def test_a_cutoff_with_too_many_images_is_refused() -> None:
    cell = Structure(np.array([14]), np.zeros((1, 3)), np.eye(3) * 2.5, np.ones(3, dtype=bool))
    with pytest.raises(InputError, match="periodic images"):
        find_neighbors(cell, 1000.0)


def test_bins_too_narrow_for_a_table_are_refused() -> None:
    bond = Bond("ChebExpCos", 5.0, np.ones((1, 1, 1)), 5.0, 0.1, 0.0, 1.0, 0.0, 0.0)
    with pytest.raises(InputError, match="bins"):
        tabulate(bond, "density", 14, 14, 1e-10)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rcut: 400", "model.rcut"), ("rcut: .inf", "model.rcut"), ("twojmax: 1_0", "1_0"), ("twojmax: 1:30", "another number"), ("twojmax: true", "is true, expected a number"),
    ],
)  # fmt: skip
def test_numbers_in_yaml_are_what_they_look_like(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "fit.yaml").write_text(f"data: {{train: x.extxyz}}\noutput: o\nmodel: {{kind: snap, {text}}}\n")
    (tmp_path / "x.extxyz").write_text("1\nenergy=0.0\nSi 0 0 0\n")
    with pytest.raises(InputError, match=words):
        fw.fit(tmp_path / "fit.yaml")


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "x.npz", z=np.array([14]), R=np.zeros((1, 1, 3)), E=np.zeros(1))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=100))
    with pytest.raises(InputError, match="unpacks to"):
        fw.read(tmp_path / "x.npz")


def test_counts_have_bounds() -> None:
    require_count(10)
    for count in (0, 10**7):
        with pytest.raises(InputError, match="ask for 1 to 1,000,000"):
            require_count(count)
