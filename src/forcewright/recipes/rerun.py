"""Rerun: frames of a finished run by a reference: errors by atom and over time, and the mean pressures of all three."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forcewright.analyze.block_average import Mean
from forcewright.data import Sources, write
from forcewright.diagnosis import FrameErrors, PressureTable, RunRecord, frame_errors, pressure_table
from forcewright.errors import InputError
from forcewright.files import write_table
from forcewright.potential import Potential, Reference
from forcewright.recipes import provenance
from forcewright.recipes.finished_run import AnyReference, any_reference, read_run
from forcewright.recipes.run_folder import RunFolder
from forcewright.reference import Labelling, Progress, VaspReference, label_all
from forcewright.report import Card, PageContent, Section, draw_frame_errors, write_report
from forcewright.report.numbers import significant, with_error
from forcewright.structure import Dataset, Frame, Labels
from forcewright.tables import Tabular

_WORST = 10  # atoms and frames that are listed
_CONSTANT = 3.0  # times their spread about the mean, beyond which errors of energies are mostly a constant


@dataclass(frozen=True, eq=False, repr=False)
class Rerun(Tabular):
    """What a reference says of the frames of a run.

    Attributes
    ----------
    folder
        Where everything was written.
    reference
        Its name.
    run
        The run.
    errors
        Predicted less reference.
    pressures
        Mean pressures of the training data, the run and the rerun.
    labelling
        What became of each frame.
    """

    folder: Path
    reference: str
    run: RunRecord
    errors: FrameErrors
    pressures: PressureTable
    labelling: Labelling

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each labelled frame."""
        return self.errors.rows()

    def __repr__(self) -> str:
        return f"Rerun({len(self.errors.frames)} frames of {str(self.run.folder)!r} by {self.reference})"

    def __str__(self) -> str:
        """Return a few lines for a terminal."""
        errors, cached = self.errors, self.labelling.cached
        lines = [
            f"{len(errors.frames)} frames labelled by {self.reference} ({cached} known already)",
            f"energy {_rms(errors.energy) * 1e3:.4g} meV/atom{_zero_text(errors.energy)}, "
            f"forces {_rms(errors.force_rmse):.4g} eV/Å, largest "
            f"force error {errors.largest.max():.4g} eV/Å on atom {_worst(errors)[1]} at {_worst(errors)[0]:.4g} ps",
            "mean pressure (GPa): " + ", ".join(f"{name} {text}" for name, text in _pressure_texts(self.pressures)),
            *([f"  {self.pressures.remark}"] if self.pressures.remark else []),
            *[f"{len(errors.failures)} frames failed: {reason}" for reason in list(errors.failures.values())[:1]],
        ]
        return "\n".join(lines)


def _rms(values: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _zero_text(energy: np.ndarray[Any, Any]) -> str:
    """Return how far energies are off but for a constant, in words, where that is most of the error."""
    spread = float(np.std(energy))
    if _rms(energy) < _CONSTANT * spread or len(energy) < 2:
        return ""
    return f" ({spread * 1e3:.4g} but for a constant of {float(np.mean(energy)) * 1e3:+.4g})"


def _worst(errors: FrameErrors) -> tuple[float, int]:
    """Return when the largest error of a force is, in ps, and on which atom."""
    k = int(errors.largest.argmax())
    return float(errors.times_ps[k]), int(errors.worst_atom[k])


def _pressure_texts(table: PressureTable) -> list[tuple[str, str]]:
    means: list[tuple[str, Mean | None]] = [
        ("train", table.train), ("run", table.run), ("rerun", table.rerun), ("run − rerun", table.bias)
    ]  # fmt: skip
    return [(name, "–" if mean is None else with_error(mean.value, mean.error)) for name, mean in means]


def label_frames(
    run: RunRecord, frames: list[int], reference: Reference, cache: Path, *, workers: int = 1,
    on_done: Callable[[Progress], None] | None = None,
) -> Labelling:  # fmt: skip
    """Label frames of a run with a cache, so that what was stopped goes on where it was."""
    listed = [Frame(run.frames[k].structure, Labels(info={"step": run.frames[k].step or 0}), f"#{k}") for k in frames]
    by_hand = isinstance(reference, VaspReference)
    return label_all(
        reference, Dataset(tuple(listed)), cache=None if by_hand else cache, workers=0 if by_hand else workers,
        on_done=on_done,
    )  # fmt: skip


def rerun(
    run: str | Path, reference: AnyReference, *, output: str | Path | None = None, frames: int = 200,
    workers: int = 1, cache: str | Path | None = None,
    potential: str | Path | Potential | Mapping[str, Any] | None = None, train: Sources | None = None,
    on_done: Callable[[Progress], None] | None = None,
) -> Rerun:  # fmt: skip
    """Label frames of a finished run by a reference, and compare with what the potential said of them.

    Parameters
    ----------
    run
        Output folder of `forcewright simulate`.
    reference
        What labels (`forcewright.recipes.finished_run.any_reference`).
    output
        Folder for what comes out; ``rerun`` in that of the run by default.
    frames
        How many of the trajectory's frames, at most, spread evenly; the dense ones before a break come on top.
    workers
        Frames computed at the same time.
    cache
        Folder that keeps every label; ``label-cache`` in that of the run by default.
    potential, train
        As for `read_run`.
    on_done
        Called after every frame.

    Raises
    ------
    InputError
        If run or reference cannot be used, or no frame could be labelled.
    """
    if frames < 1:
        raise InputError(f"is {frames}; it must be 1 or more", field="frames")
    labels_by = any_reference(reference)
    record = read_run(run, potential=potential, train=train, frames=frames)
    chosen = [k for k, snapshot in enumerate(record.frames) if np.isfinite(snapshot.structure.positions).all()]
    kept = Path(cache) if cache is not None else record.folder / "label-cache"
    with RunFolder(output or record.folder / "rerun", "rerun") as folder:
        labelling = label_frames(record, chosen, labels_by, kept, workers=workers, on_done=on_done)
        errors = frame_errors(record, chosen, labelling.results)
        if not len(errors.frames):
            reason = next(iter(errors.failures.values()), "there is none")
            raise InputError(f"no frame of the run could be labelled: {reason}", file=record.folder)
        done = Rerun(folder.path, labels_by.name, record, errors, pressure_table(record, errors), labelling)
        _write(folder, done, chosen)
    return done


def _write(folder: RunFolder, done: Rerun, chosen: list[int]) -> None:
    errors, numbers = done.errors, done.run.frames[0].structure.numbers
    labelled = done.labelling.dataset(
        Dataset(
            tuple(
                Frame(done.run.frames[k].structure, Labels(info={"time_ps": float(done.run.times_ps[k])}), f"#{k}")
                for k in chosen
            )
        )
    )  # fmt: skip
    write(labelled, folder / "rerun.extxyz")
    write_table(folder / "frames.csv", errors.rows())
    atoms = errors.atom_rows(numbers)
    write_table(folder / "atoms.csv", atoms)
    summary = folder.write_result(
        {
            "run": str(done.run.folder), "reference": done.reference, "frames": len(errors.frames),
            "energy_rmse_meV_per_atom": 1e3 * _rms(errors.energy), "force_rmse_eV_per_A": _rms(errors.force_rmse),
            "largest_force_error_eV_per_A": float(errors.largest.max()), "pressures": done.pressures.to_dict(),
            "failures": {str(k): reason for k, reason in errors.failures.items()},
        }
    )  # fmt: skip
    page = PageContent(
        title=f"Rerun of {done.run.folder.name}", kicker="Forcewright rerun",
        summary=f"{len(errors.frames)} frames of a run with {done.run.force_field.name}, labelled by {done.reference}. "
        "Errors are those of the potential: predicted less reference.",
        cards=[
            Card("energies", significant(1e3 * _rms(errors.energy)), "meV/atom",
                 f"root mean square{_zero_text(errors.energy)}"),
            Card("forces", significant(_rms(errors.force_rmse)), "eV/Å", "root mean square"),
            Card("largest force error", significant(float(errors.largest.max())), "eV/Å",
                 f"atom {_worst(errors)[1]} at {_worst(errors)[0]:.4g} ps"),
        ],
        sections=[
            pressure_section(done.pressures),
            Section("Over time", "", _figures(errors), paired=True),
            Section("Atoms", "The atoms whose forces are furthest off at some time, of all frames.", [],
                    [_atom_table(atoms)]),
        ],
        result=summary, citations=provenance.cited(["forcewright", "ase"]),
    )  # fmt: skip
    write_report(folder / "report.html", page)


def _figures(errors: FrameErrors) -> list[Any]:
    return list(draw_frame_errors(errors.times_ps, errors.energy, errors.force_rmse, errors.largest, errors.pressure))


def pressure_section(table: PressureTable) -> Section:
    """Return the table of mean pressures of training data, run and rerun as a section of a page."""
    headings = [(name, "GPa") for name, _ in _pressure_texts(table)]
    row = [text for _, text in _pressure_texts(table)]
    text = (
        "The motion of the atoms is included; errors are by blocks. Where run and rerun differ, the potential is wrong "
        "about the pressure of the structures it goes to; where run and training differ as well, these are others than "
        "it was fitted to."
    )
    if table.remark:
        text += f" Training: {table.remark}."
    return Section("Mean pressure", text, [], [{"headings": headings, "rows": [row], "style": "plain"}])


def _atom_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    worst = sorted(rows, key=lambda row: -row["largest_force_error_eV_per_A"])[:_WORST]
    headings = [("atom", ""), ("RMSE", "eV/Å"), ("largest error", "eV/Å"), ("at", "ps")]
    cells = [
        [
            f"{row['atom']} ({row['element']})", significant(row["force_rmse_eV_per_A"]),
            significant(row["largest_force_error_eV_per_A"]), f"{row['at_ps']:.4g}",
        ]
        for row in worst
    ]  # fmt: skip
    return {"headings": headings, "rows": cells, "style": "plain"}
