"""Report: the page of a finished study, written anew."""

from __future__ import annotations

from pathlib import Path

from forcewright.errors import InputError
from forcewright.files import as_path, only_writer
from forcewright.recipes.outputs import TuneResult, rebuild_report
from forcewright.recipes.run_folder import LOCK


def report(folder: str | Path | TuneResult) -> Path:
    """Write report.html anew from what a finished study has stored in its folder, and return its path.

    Parameters
    ----------
    folder
        The output folder of a study, or its result.

    Raises
    ------
    InputError
        If the folder is not that of a finished study, or another process writes to it.
    """
    if isinstance(folder, TuneResult):
        if folder.folder is None:
            raise InputError("was made in memory; give output=... to the study", field="folder")
        folder = folder.folder
    folder = as_path(folder, "folder")
    if not (folder / "result.json").is_file():
        return rebuild_report(folder)  # which says what is missing, without a lock left in any folder
    with only_writer(folder, LOCK):
        return rebuild_report(folder)
