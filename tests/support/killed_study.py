"""Run by test_resume.py as a process of its own, to be killed: a study in worker processes, then its end in a word."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from optimize_objectives import SETTINGS, SPACE, napping

from forcewright.execution.processes import process_pool
from forcewright.optimize.study import Study


def note_worker(folder: str) -> None:
    """Leave the id of this worker, so that the test can see whether it is gone."""
    Path(folder, f"worker-{os.getpid()}").touch()


def main(folder: Path, trials: int) -> None:
    """Go on with the study until all trials are there."""
    settings = SETTINGS.model_copy(update={"trials": trials})
    with Study(SPACE, folder / "journal.jsonl", settings) as study:
        print("begun", flush=True)
        study.run(napping, partial(process_pool, 2, note_worker, (str(folder),)), in_flight=2)
    print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
