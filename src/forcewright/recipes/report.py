"""Report: the page of a finished study, written anew."""

from __future__ import annotations

from pathlib import Path

from forcewright.files import only_writer
from forcewright.recipes.outputs import rebuild_report
from forcewright.recipes.run_folder import LOCK


def report(folder: str | Path, *, absolute_paths: bool = False) -> Path:
    """Write report.html anew from what a finished study has stored in its folder, and return its path.

    Parameters
    ----------
    absolute_paths
        Whether paths stay absolute, which tells readers about the machine; else they are relative to the page.

    Raises
    ------
    InputError
        If the folder is not that of a finished study, or another process writes to it.
    """
    if not (Path(folder) / "result.json").is_file():
        return rebuild_report(
            folder, absolute_paths=absolute_paths
        )  # which says what is missing, without a lock left in any folder
    with only_writer(folder, LOCK):
        return rebuild_report(folder, absolute_paths=absolute_paths)
