"""The engine that moves atoms with LAMMPS, in a separate process: a crash there becomes an error here."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO, Any

from forcewright.errors import ForcewrightError, InputError
from forcewright.force_field import ForceField
from forcewright.simulation.stages import Stage
from forcewright.trajectory import Snapshot

_START = "import sys; from forcewright.simulation.lammps_worker import main; main(int(sys.argv[1]))"
_PATIENCE = 10.0  # s for a process to end by itself


class LammpsEngine:
    """An `Engine` over LAMMPS.

    Constant energy: ``fix nve``; temperature: ``fix nvt``, or ``fix langevin`` or ``fix temp/csvr`` with ``fix nve``;
    pressure: ``fix npt``; relaxation: ``minimize``, with ``fix box/relax`` where the cell changes. Open directions
    grow with the atoms. Random numbers are reseeded at each call of ``state``, from the seed and the step.

    Raises
    ------
    InputError
        If the force field does not know a species of ``start``, cannot be pickled, or atoms of an element have
        different masses.
    ForcewrightError
        If LAMMPS rejects the system or its process ends.
    """

    def __init__(self, force_field: ForceField, start: Snapshot, seed: int) -> None:
        try:
            arguments = pickle.dumps((force_field, start, seed))
        except Exception as error:  # pickle raises anything
            raise InputError(f"{force_field.name} cannot be sent to LAMMPS's process ({error}); make its calculator a "
                             "function or a class of a module") from None  # fmt: skip
        self._number = 0
        self._scratch: str | None = None
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close)
        self._connection, theirs = Pipe()
        self._process = self._spawn(theirs)
        theirs.close()
        try:
            self._scratch = self._call("start", arguments)
        except BaseException:
            self.close()
            raise

    def _spawn(self, theirs: Connection) -> subprocess.Popen[bytes]:
        """Start a process that can import what this one can, and shares nothing else with it."""
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(theirs.fileno())],
            pass_fds=[theirs.fileno()], env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=self._stderr,
        )  # fmt: skip

    def begin(self, stage: Stage) -> None:
        """Start a stage; see `Engine`."""
        self._call("begin", stage)

    def advance(self, steps: int) -> None:
        """Move the atoms; see `Engine`. ForcewrightError if LAMMPS stops, for example because atoms are lost."""
        self._call("advance", steps)

    def snapshot(self) -> Snapshot:
        """Return the current snapshot; see `Engine`."""
        snapshot: Snapshot = self._call("snapshot")
        return snapshot

    def state(self) -> Mapping[str, Any]:
        """Return everything that determines how the run continues: LAMMPS's restart file and what it lacks."""
        state: Mapping[str, Any] = self._call("state")
        return state

    def restore(self, stage: Stage, state: Mapping[str, Any]) -> None:
        """Continue a stage from where ``state`` was taken."""
        self._call("restore", stage, dict(state))

    def close(self) -> None:
        """End LAMMPS's process."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        with contextlib.suppress(OSError):
            self._connection.send((self._number + 1, "close", ()))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._stderr.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)  # exists only if the process was killed

    def _call(self, method: str, *arguments: Any) -> Any:
        """Call a method there and return what it returns or raise what it raises."""
        if self._connection.closed:
            raise ForcewrightError("this LAMMPS engine was closed")
        self._number += 1
        try:
            self._connection.send((self._number, method, arguments[0] if method == "start" else arguments))
            number, worked, answer = self._connection.recv()
            while number != self._number:  # the answer to a call that was interrupted
                number, worked, answer = self._connection.recv()
        except (EOFError, OSError):
            raise ForcewrightError(self._how_it_ended()) from None
        if not worked:
            raise answer
        return answer

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return "LAMMPS's process does not answer"
        how = f"with status {status}" if status >= 0 else f"by signal {signal.Signals(-status).name}"
        self._stderr.seek(0)
        lines = [line.strip() for line in self._stderr.read().decode(errors="replace").splitlines() if line.strip()]
        last = next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "")
        return f"LAMMPS's process ended {how}{f'; its last line: {last}' if last else ''}"
