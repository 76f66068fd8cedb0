"""The model's isolated atom is held at the zero of energy if that costs less than one standard error of the loss."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import forcewright as fw
from forcewright.data import read, write
from forcewright.structure import Dataset, Frame, Labels

NUMBERS = re.compile(r"validation loss (\S+) held, (\S+) ± (\S+) free")


@pytest.mark.parametrize(("shift", "start", "least", "most"), [(1.0, "free: ", 2, 6), (2.4, "held at 0 eV", -1, 0.5)])
def test_one_standard_error_decides(
    config: dict[str, Any], tmp_path: Path, shift: float, start: str, least: float, most: float
) -> None:
    """Energies are shifted per atom until holding costs a few standard errors, or almost nothing."""
    frames = [
        Frame(s, Labels(energy=labels.energy + shift * len(s), forces=labels.forces, group=labels.group))
        for s, labels, _ in read(config["data"]["train"])
    ]
    write(Dataset(tuple(frames)), tmp_path / "shifted.extxyz")
    model = {"kind": "snap", "twojmax": 2, "rcut": 4.0}
    fitted = fw.fit({**config, "data": {"train": str(tmp_path / "shifted.extxyz")}, "model": model})
    told = fitted.summary["reference_energies"]["isolated_atoms"]
    held, free, error = (float(number) for number in NUMBERS.search(told).groups())
    assert least < (held - free) / error < most  # so that one standard error and ten decide differently
    assert told.startswith(start)
    # the loss told is that of the potential delivered, which is not that of the trial where atoms are held
    delivered = held if start.startswith("held") else free
    assert fitted.summary["loss"] == pytest.approx(delivered, rel=1e-3)
    assert fitted.potential.provenance["loss"] == fitted.summary["loss"]
    assert (fitted.summary["loss"] == pytest.approx(fitted.trials[0].loss, rel=1e-9)) == start.startswith("free")
