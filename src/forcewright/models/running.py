"""External programs, run with a list of arguments: never through a shell, never left behind, and quiet.

Whatever goes wrong becomes one sentence that holds the last useful lines of what the program said.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from forcewright.errors import InputError

_TELLING = re.compile(r"abort|error|exception|fail|cannot|fatal|killed|missing|must |not found", re.IGNORECASE)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def run(
    arguments: Sequence[str], *, folder: Path, log: Path, threads: int = 1, timeout_s: float | None = None,
    field: str | None = None,
) -> None:  # fmt: skip
    """Run a program in a folder until it ends well; everything it says goes to the file ``log``.

    The ``arguments`` are passed on as they are; the program is searched on PATH, then beside this interpreter. OpenMP
    and BLAS may use ``threads`` in it, and after ``timeout_s`` seconds it and all its children are killed. Raises
    `InputError` with ``field``, where the command stands in the settings, if it cannot be started, fails or does not
    end in time.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")])
    environment = {**os.environ, **{name: str(threads) for name in _THREADS}, "PATH": path}
    name = Path(arguments[0]).name
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                list(arguments), cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"the program {arguments[0]!r} cannot be started ({reason}); is it installed and on PATH?", field=field
            ) from None
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise InputError(
                f"{name} did not end within {timeout_s:g} s and was stopped; {_said(log)}; allow it more time",
                field=field,
            ) from None
        finally:
            _end(process)
    if status != 0:
        ending = f"was killed by signal {-status}" if status < 0 else f"failed with exit status {status}"
        raise InputError(f"{name} {ending}; {_said(log)}", field=field)


def last_useful_lines(text: str, count: int = 2) -> list[str]:
    """Return the last lines that tell what went wrong, or simply the last ones."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return ([line for line in lines if _TELLING.search(line)] or lines)[-count:]


def _said(log: Path) -> str:
    lines = last_useful_lines(log.read_text(encoding="utf-8", errors="replace"))
    said = " / ".join(line if len(line) < 200 else line[:200] + "..." for line in lines)
    return f"it said: {said}" if said else "it said nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program that still runs, with all its children: it leads a group of its own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
