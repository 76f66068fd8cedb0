"""Watches how far the structures of a run lie outside what its potential was fitted to.

Uncertainty takes some six to twenty times as long as forces, so it is looked at three times less often than the other
monitors do. What was seen goes to ``extrapolation.csv``, and the first structure outside to ``first_outside.extxyz``.
"""

from __future__ import annotations

import csv
import logging
import math
from pathlib import Path
from typing import IO, Any, Literal

from ase.data import chemical_symbols

from forcewright.errors import ForcewrightError, InputError
from forcewright.files import atomic_write
from forcewright.force_field import ForceField
from forcewright.simulation.monitors import Alarm, outside_alarm
from forcewright.trajectory import Snapshot
from forcewright.trajectory.extxyz import frame_text
from forcewright.uncertainty import Judged, Kind, Uncertainty, judge, uncertainty_of

log = logging.getLogger("forcewright")

TABLE, FIRST = "extrapolation.csv", "first_outside.extxyz"
HEADER = "step,time_ps,largest,limit,atom\n"
#: Looks of the other monitors from one look at the uncertainty to the next.
SELDOM = 3


class ExtrapolationWatch:
    """The uncertainty of one run.

    Parameters
    ----------
    uncertainty
        That of the potential, with a calibration.
    factor
        Multiple of the calibrated limit at which the run is to be stopped; None for never.
    folder
        Where the run writes.
    """

    table = TABLE

    def __init__(self, uncertainty: Uncertainty, factor: float | None, folder: Path) -> None:
        self.uncertainty, self.factor, self.folder = uncertainty, factor, folder
        self.looks, self.outside = 0, 0
        self._file: IO[bytes] | None = None

    def open(self, file: IO[bytes]) -> None:
        """Write to this file, an opened extrapolation.csv, and count what it already holds."""
        self._file = file
        if file.tell() == 0:
            file.write(HEADER.encode())
            return
        for row in csv.DictReader((self.folder / TABLE).read_text(encoding="utf-8").splitlines()):
            self.looks += 1
            self.outside += not float(row["largest"]) <= float(row["limit"])

    def look(self, snapshot: Snapshot) -> Alarm | None:
        """Record a structure; return an alarm where the run is to be stopped for it."""
        try:
            judged = judge(self.uncertainty, snapshot.structure)
        except (ForcewrightError, ValueError, ArithmeticError):  # structures that other monitors stop the run for
            return None
        limit = judged.limit
        if limit is None:
            return None
        assert self._file is not None
        time_ps = (snapshot.time or 0.0) / 1000.0
        row = f"{snapshot.step or 0},{time_ps:.12g},{judged.largest:.8g},{limit:.8g},{judged.atom}\n"
        self._file.write(row.encode())
        self.looks += 1
        if judged.is_outside:
            if self.outside == 0:
                atomic_write(self.folder / FIRST, frame_text(snapshot))
                log.warning("%s", self.describe(snapshot, judged) + f"; see {FIRST}")
            self.outside += 1
        too_far = self.factor is not None and not judged.largest <= self.factor * limit
        if not too_far:
            return None
        return outside_alarm(snapshot, self.describe(snapshot, judged), judged.atom, judged.largest, limit)

    def describe(self, snapshot: Snapshot, judged: Judged) -> str:
        """Return in words how far a structure lies outside, without the step."""
        unit = f" {self.uncertainty.unit}" if self.uncertainty.unit else ""
        limit = judged.limit or math.nan
        element = chemical_symbols[snapshot.structure.numbers[judged.atom]]
        return (
            f"the structure lies outside what the potential was fitted to: the {self.uncertainty.measure} of atom "
            f"{judged.atom} ({element}) is {judged.largest:.3g}{unit}, {judged.largest / limit:.3g} times the limit of "
            f"{limit:.3g}{unit}"
        )

    def note(self) -> str:
        """Return in a sentence how often the run was outside; empty where it never was."""
        if not self.outside:
            return ""
        share = 100.0 * self.outside / self.looks
        return (
            f"{self.outside} of {self.looks} structures looked at ({share:.3g} %) lie outside what the potential was "
            f"fitted to, where 1 % is to be expected of structures like its training data; the first is in {FIRST}"
        )


def extrapolation_watch(
    force_field: ForceField,
    factor: float | Literal["warn", "off"],
    folder: Path,
    kind: Kind | Uncertainty | None = None,
) -> ExtrapolationWatch | None:
    """Return the watch of a run; None where it is off, or the potential knows no calibrated uncertainty.

    Parameters
    ----------
    kind
        The kind of uncertainty, or an uncertainty itself; where not given the first that the potential knows.

    Raises
    ------
    InputError
        If the kind is given, and the potential does not know it or what it is on frames that were held back.
    """
    if factor == "off":
        return None
    multiple: Any = None if factor == "warn" else factor
    if isinstance(kind, Uncertainty):
        return ExtrapolationWatch(kind, multiple, folder)
    try:
        uncertainty = uncertainty_of(force_field.potential, kind)
        if kind is not None and (uncertainty is None or uncertainty.calibration is None):
            raise InputError(f"is {kind}, which was not calibrated; fit the potential with uncertainty: [{kind}]")
    except InputError as error:
        raise InputError(error.problem, field="monitors.uncertainty") from None
    if uncertainty is None or uncertainty.calibration is None:
        return None
    return ExtrapolationWatch(uncertainty, multiple, folder)
