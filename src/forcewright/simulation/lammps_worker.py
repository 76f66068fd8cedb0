"""The process in which LAMMPS runs: answers requests until it is closed or its parent is gone.

Requests are pickled tuples (number, method, arguments), answers (number, whether it worked, result or error). They
come from the process that started this one, over a pipe that nothing else can reach. Standard input carries nothing;
its end means that the parent ended, however it did.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import tempfile
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from forcewright.errors import ForcewrightError


def main(descriptor: int) -> None:
    """Serve the simulation that the first request makes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what a keyboard interrupt means
    scratch = tempfile.mkdtemp(prefix="forcewright-lammps-")
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()
    connection = Connection(descriptor)
    simulation: Any = None
    while True:
        try:
            number, method, arguments = connection.recv()
        except EOFError:
            _end(scratch)
        try:
            if method == "start":
                from forcewright.simulation.lammps_simulation import LammpsSimulation

                force_field, start, seed = pickle.loads(arguments)
                simulation, answer = LammpsSimulation(force_field, start, seed, Path(scratch)), scratch
            else:
                answer = getattr(simulation, method)(*arguments)
            connection.send((number, True, answer))
        except Exception as error:
            connection.send((number, False, _portable(error)))
        if method == "close":
            _end(scratch)


def _end_with_parent(scratch: str) -> None:
    os.read(0, 1)
    _end(scratch)


def _end(scratch: str) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(0)  # at once: the cleanup of the interpreter and MPI takes a second


def _portable(error: Exception) -> Exception:
    """Return an error that can be pickled: other packages' errors may not be."""
    if isinstance(error, ForcewrightError | ArithmeticError | ValueError):
        return error
    return ForcewrightError(f"{type(error).__name__}: {error}")
