"""Diagnose: why a run failed, as result.json, a page and a few lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forcewright.data import Sources
from forcewright.diagnosis import Diagnosis, diagnose_run
from forcewright.errors import InputError
from forcewright.files import write_table
from forcewright.potential import Failure, Potential
from forcewright.recipes.diagnosis_page import write_diagnosis_page
from forcewright.recipes.finished_run import AnyReference, any_reference, read_run
from forcewright.recipes.rerun import label_frames
from forcewright.recipes.run_folder import RunFolder
from forcewright.structure import Labels
from forcewright.tables import Tabular


@dataclass(frozen=True, eq=False, repr=False)
class DiagnoseResult(Tabular):
    """What was found out about a run; its files lie in ``folder``."""

    folder: Path
    diagnosis: Diagnosis

    @property
    def cause(self) -> str:
        """The cause in words, such as "no repulsive core"."""
        return self.diagnosis.verdict.cause

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each indicator."""
        return [asdict(anomaly) for anomaly in self.diagnosis.anomalies]

    def __repr__(self) -> str:
        return f"DiagnoseResult({self.cause}; {self.diagnosis.verdict.quadrant}; in {str(self.folder)!r})"

    def __str__(self) -> str:
        """Return the verdict and when each indicator first left its limits, for a terminal."""
        made = self.diagnosis
        verdict, broke, culprit = made.verdict, made.broke, made.culprit
        head = "the run did not break" if broke is None else str(broke)
        before = "at any time" if broke is None else f"before the {broke.noun}"
        lines = [head, f"cause: {verdict.cause} ({verdict.quadrant})", *[f"  {reason}" for reason in verdict.reasons]]
        known = sorted((a for a in made.anomalies if a.time_ps is not None), key=lambda a: a.time_ps or 0.0)
        if known:
            lines.append("first anomalies:")
            for a in known:
                lead = "" if a.lead_ps is None else f", {1000 * a.lead_ps:.0f} fs {before}"
                lines.append(f"  {a.indicator}: {a.value:.4g} {a.unit} at {a.time_ps:.4g} ps{lead}")
        silent = [a.indicator for a in made.anomalies if a.time_ps is None]
        if silent:
            lines.append(f"  nothing {before}: {', '.join(silent)}")
        if culprit is not None:
            near = culprit.nearest
            like = "" if near is None else (
                f"; most like atom {near.atom} of frame {near.frame} of {near.file}"
                + ("" if near.ratio is None else f", at {near.ratio:.3g} times the usual distance")
            )  # fmt: skip
            lines.append(f"where: atom {culprit.atom} at {culprit.time_ps:.4g} ps, {culprit.why}{like}")
        return "\n".join([*lines, f"what to do: {verdict.remedy}"])


def diagnose(
    run: str | Path, reference: AnyReference | None = None, *, output: str | Path | None = None, labels: int = 60,
    workers: int = 1, cache: str | Path | None = None,
    potential: str | Path | Potential | Mapping[str, Any] | None = None, train: Sources | None = None,
    on_step: Callable[[str], None] = lambda what: None,
) -> DiagnoseResult:  # fmt: skip
    """Find out when a run went wrong, where, whether the potential was wrong there, and what to do.

    Parameters
    ----------
    run
        Output folder of `forcewright simulate`.
    reference
        What is right (`forcewright.recipes.finished_run.any_reference`); without it the potential is judged by its
        novelty and by itself.
    output
        Folder for what comes out; ``diagnosis`` in that of the run by default.
    labels
        Frames that the reference labels: two fifths of the moments before the break, the others spread evenly. It is
        asked for about 50 more structures, for walls and pressures.
    workers
        Frames labelled at the same time.
    cache
        Folder that keeps every label; ``label-cache`` in that of the run by default.
    potential, train
        As for `forcewright.recipes.finished_run.read_run`.
    on_step
        Called with what is done next.

    Raises
    ------
    InputError
        If run or reference cannot be used.
    """
    if labels < 1:
        raise InputError(f"is {labels}; it must be 1 or more", field="labels")
    judge = None if reference is None else any_reference(reference)
    record = read_run(run, potential=potential, train=train)
    kept = Path(cache) if cache is not None else record.folder / "label-cache"
    with RunFolder(output or record.folder / "diagnosis", "diagnose") as folder:

        def label(frames: Sequence[int]) -> Sequence[Labels | Failure]:
            assert judge is not None
            return label_frames(record, list(frames), judge, kept, workers=workers).results

        made = diagnose_run(record, reference=judge, label=label, labels=labels, on_step=on_step)
        summary = folder.write_result(
            {
                **made.to_dict(), "run": str(record.folder), "potential": record.force_field.name,
                "reference": None if judge is None else judge.name,
            }
        )  # fmt: skip
        write_table(folder / "indicators.csv", [asdict(anomaly) for anomaly in made.anomalies])
        if made.errors is not None:
            write_table(folder / "frames.csv", made.errors.rows())
        write_diagnosis_page(folder.path, made, summary, "" if judge is None else judge.name)
    return DiagnoseResult(folder.path, made)
