"""Report: the page of a finished study, written anew."""

from __future__ import annotations

from pathlib import Path

from forcewright.errors import InputError
from forcewright.files import as_path, only_writer
from forcewright.recipes.outputs import TuneResult, rebuild_report
from forcewright.recipes.run_folder import LOCK, RunFolder


def report(folder: str | Path | TuneResult, *, absolute_paths: bool = False) -> Path:
    """Write report.html anew from what a finished study has stored in its folder, and return its path.

    Of the results of another command, such as a simulation, it is the page which that has written.

    Parameters
    ----------
    folder
        The output folder of a study, or its result.
    absolute_paths
        Whether paths stay absolute, which tells readers about the machine; else they are relative to the page.

    Raises
    ------
    InputError
        If the folder holds no finished results, or another process writes to it.
    """
    if isinstance(folder, TuneResult):
        if folder.folder is None:
            raise InputError("was made in memory; give output=... to the study", field="folder")
        folder = folder.folder
    folder = as_path(folder, "folder")
    if not (folder / "result.json").is_file():  # the error says what is missing; no lock is left in any folder
        return rebuild_report(folder, absolute_paths=absolute_paths)
    by = RunFolder(folder, "report").written_by()
    if by not in (None, "tune", "fit") and not (folder / "report.json").is_file():
        if (folder / "report.html").is_file():
            return folder / "report.html"
        raise InputError(f"holds results of `forcewright {by}` without a page; run that command again to write it, "
                         "which computes nothing that is there", file=folder)  # fmt: skip
    with only_writer(folder, LOCK):
        return rebuild_report(folder, absolute_paths=absolute_paths)
