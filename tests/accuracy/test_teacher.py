"""Audits of a teacher whose faults are known, and the arithmetic of distillation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from forcewright.accuracy.teacher import audit_teacher, derivative_error, distilled
from forcewright.potential import Failure
from forcewright.structure import Dataset, Frame, Labels, Structure


def emt(structure: Structure) -> Labels:
    atoms = structure.to_ase()
    atoms.calc = EMT()
    return Labels(atoms.get_potential_energy(), atoms.get_forces())


@dataclass
class Soft:
    """EMT with forces, or energies and forces, scaled and shifted."""

    force: float = 1.0
    offsets: tuple[float, float] = (0.0, 0.0)  # copper, gold
    name: str = "soft"
    content_hash: str = "0"

    def label(self, structures: Sequence[Structure]) -> list[Labels | Failure]:
        said: list[Labels | Failure] = []
        for structure in structures:
            known = emt(structure)
            shift = sum(
                np.count_nonzero(structure.numbers == z) * e for z, e in zip((29, 79), self.offsets, strict=True)
            )
            said.append(Labels(known.energy - shift, self.force * known.forces))  # type: ignore[operator]
        return said


def alloys() -> Dataset:
    rng = np.random.default_rng(0)
    frames = []
    for index in range(6):
        atoms = bulk("Cu", cubic=True, a=3.8)
        atoms.symbols[: index % 4] = "Au"
        atoms.positions += rng.normal(scale=0.1, size=(4, 3))
        structure = Structure.from_ase(atoms)
        known = emt(structure)
        frames.append(Frame(structure, Labels(known.energy, known.forces, group="odd" if index % 2 else "even")))
    return Dataset(tuple(frames))


def test_a_soft_teacher_with_offsets_is_seen_through() -> None:
    data, teacher = alloys(), Soft(0.8, (1.5, -0.25))
    audit = audit_teacher(teacher, data, teacher.label(data.structures))
    assert audit.force_slope == pytest.approx(0.8) and audit.failures == 0
    assert audit.offsets_eV == pytest.approx({"Cu": 1.5, "Au": -0.25})
    assert audit.energy_rmse_meV_per_atom == pytest.approx(0.0, abs=1e-6)
    known = np.concatenate([frame.labels.forces.ravel() for frame in data])
    assert audit.force_mae_eV_per_A == pytest.approx(0.2 * np.abs(known).mean())
    assert audit.force_rmse_eV_per_A == pytest.approx(0.2 * np.sqrt(np.mean(known**2)))
    odd = np.concatenate([frame.labels.forces.ravel() for frame in data if frame.labels.group == "odd"])
    assert audit.groups["odd"] == pytest.approx(0.2 * np.sqrt(np.mean(odd**2)))
    assert audit.largest_derivative_error_eV_per_A > 0.01  # its forces are no derivatives of its energy
    assert derivative_error(Soft(), data) < 1e-3


def test_frames_without_an_answer_are_counted() -> None:
    data, teacher = alloys(), Soft()
    said = teacher.label(data.structures)
    audit = audit_teacher(teacher, data, [Failure("no"), *said[1:]])
    assert (audit.frames, audit.failures) == (6, 1) and audit.force_rmse_eV_per_A == 0.0
    nothing = audit_teacher(teacher, data, [Failure("no")] * 6)
    assert nothing.force_slope is None and nothing.largest_derivative_error_eV_per_A is None


def test_errors_that_know_nothing_of_each_other_add_in_squares() -> None:
    rng = np.random.default_rng(1)
    labels = rng.normal(size=200_000)
    teacher = labels + rng.normal(scale=0.03, size=labels.size)
    free = distilled(teacher + rng.normal(scale=0.04, size=labels.size), teacher, labels)
    assert free.expected == pytest.approx(np.hypot(free.to_teacher, free.teacher_to_labels))
    assert free.to_labels == pytest.approx(free.expected, rel=0.01) and abs(free.correlation) < 0.01
    back = distilled(0.5 * teacher + 0.5 * labels, teacher, labels)  # takes half of the teacher's error back
    assert back.correlation == pytest.approx(-1.0) and back.to_labels < back.expected
