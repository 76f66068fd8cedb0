"""How far a small tune travels through the source: files entered, and returns to files already left.

Runs the same study on 16 frames of copper, in one process, with every call between files of the package traced: from
structures in memory to a tuned potential and its errors, and from a config to a whole output folder. A version without
a fit in memory has only the latter. To compare two versions, run this file with the interpreter of each.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, Future
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from rich.console import Console
from rich.table import Table

import forcewright as fw

SOURCE = str(Path(fw.__file__).parent) + os.sep
STUDY = {
    "validation": {"kfold": 4}, "model": {"kind": "snap", "twojmax": 2, "rcut": {"low": 3.0, "high": 4.5}},
    "study": {"settings": 3, "initial": 2, "seed": 1}, "search": {"starts": 2, "evaluations": 10}, "workers": 1,
}  # fmt: skip


def copper(count: int, seed: int) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.08, rng=rng)
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        frames.append(atoms)
    return frames


class Here(Executor):
    """Runs in this process what would run in workers, so that it can be traced."""

    def __init__(self, workers: int, initializer: Callable[..., None] | None = None, initargs: Any = ()) -> None:
        if initializer is not None:
            initializer(*initargs)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def trace(run: Callable[[], object]) -> dict[str, int]:
    """Return what was counted while ``run`` ran."""
    stack: list[str] = []
    seen: set[str] = set()
    edges: set[tuple[str, str, str]] = set()
    counts = {"files": 0, "returns": 0, "distinct returns": 0}

    def watch(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if not file.startswith(SOURCE) or file.endswith(".html"):
            return
        if event == "return" and stack:
            stack.pop()
        elif event == "call":
            before = stack[-1] if stack else ""
            stack.append(file)
            if file == before:
                return
            edge = (before, file, frame.f_code.co_name)
            if file in seen:  # entered before, and left: the caller stands in another file
                counts["returns"] += 1
                counts["distinct returns"] += edge not in edges
            edges.add(edge)
            seen.add(file)

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return {**counts, "files": len(seen)}


def main() -> None:
    train, test = copper(16, 0), copper(6, 1)
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, frames in (("train", train), ("test", test)):
            fw.write(fw.Dataset.from_ase(frames), folder / f"{name}.extxyz")
        data = {"train": str(folder / "train.extxyz"), "test": str(folder / "test.extxyz")}

        def to_folder(name: str) -> object:
            return fw.tune({**STUDY, "data": data, "output": str(folder / name)})

        def in_memory() -> object:
            settings = {key: value for key, value in STUDY.items() if key != "model"}
            return fw.tune(train, model=STUDY["model"], test=test, **settings)

        to_folder("imports")  # everything is imported before anything is counted
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith("forcewright") and hasattr(module, "process_pool"):
                module.process_pool = Here  # type: ignore[attr-defined]
        if find_spec("forcewright.fitting") is not None:
            rows["structures to potential, in memory"] = trace(in_memory)
        rows["config to output folder"] = trace(lambda: to_folder("traced"))
    table = Table(title=f"a small tune, version in {SOURCE}" if "-v" in sys.argv else "a small tune")
    table.add_column("from where to where")
    for heading in ("files entered", "returns to a file left before", "of these, different calls"):
        table.add_column(heading, justify="right")
    for name, counts in rows.items():
        table.add_row(name, *(str(counts[key]) for key in ("files", "returns", "distinct returns")))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
