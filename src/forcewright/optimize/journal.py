"""The study on disk: an Optuna journal that only finished trials are appended to.

One line of JSON is one finished trial, written and fsynced at once, so a kill loses unfinished trials only.
One process at a time may write; the lock ends with the process.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from forcewright.errors import InputError
from forcewright.files import hold, release
from forcewright.optimize.sampler import Portfolio, Suggestion
from forcewright.optimize.space import Params, Space
from forcewright.plain_data import parse_json

if TYPE_CHECKING:
    import optuna

STUDY_NAME = "forcewright"
LINE_START = b'{"op_code":'
State: TypeAlias = Literal["complete", "failed"]


class OtherStudyError(InputError):
    """The folder holds a study of another config."""


@dataclass(frozen=True)
class TrialRecord:
    """One finished trial."""

    index: int
    """Number of the trial, from 0, in the order of suggestion."""
    state: State
    phase: str
    """How its parameters were chosen: initial, gp, random or hammersley."""
    params: Params
    loss: float | None
    """None if the evaluation failed."""
    metrics: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    """What went wrong, as a sentence, if the evaluation failed."""
    traceback: str | None = None
    seconds: float = 0.0
    portfolio: Portfolio | None = None
    """Memory of the sampler ``gp_hedge``."""

    def values(self, names: Sequence[str]) -> tuple[float, ...] | None:
        """Return the values of objectives by name, ``loss`` or a number among the metrics; None if one is missing."""
        entries = [self.loss if name == "loss" else self.metrics.get(name) for name in names]
        values = [float(value) for value in entries if isinstance(value, (int, float)) and math.isfinite(value)]
        return tuple(values) if self.loss is not None and len(values) == len(entries) else None

    @property
    def suggestion(self) -> Suggestion:
        """The suggestion this trial evaluated."""
        return Suggestion(self.params, self.phase, self.portfolio)


_FIELDS = frozenset(TrialRecord.__dataclass_fields__)


class Journal:
    """An open journal, held by this process until it is closed or ends.

    Parameters
    ----------
    path
        File of the journal; it is created if there is none. None keeps the trials in memory alone.
    identity
        Plain data that determines the trials: a journal with another identity is refused.
    seed
        Written with every trial.
    """

    def __init__(self, path: Path | None, identity: dict[str, Any], seed: int) -> None:
        self.path, self.seed = path, seed
        self._lock: int | None = None
        if path is None:
            self.study = _study_in_memory()
            self._check_identity(identity)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _hold(path)
        try:
            repair(path)
            self.study = _open_study(path, create=True)
            self._check_identity(identity)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process open the journal."""
        if self._lock is not None:
            release(self._lock)
            self._lock = None

    def records(self) -> dict[int, TrialRecord]:
        """Return the finished trials by index, ascending."""
        return _records(self.study, self.path)

    def append(self, record: TrialRecord, space: Space) -> None:
        """Write one finished trial; when this returns it is on disk."""
        from optuna.trial import TrialState, create_trial

        attributes = {
            "index": record.index, "seed": self.seed, "phase": record.phase, "metrics": record.metrics,
            "error": record.error, "traceback": record.traceback, "seconds": record.seconds,
            "portfolio": record.portfolio.as_dict() if record.portfolio else None,
        }  # fmt: skip
        trial = create_trial(
            state=TrialState.COMPLETE if record.state == "complete" else TrialState.FAIL, value=record.loss,
            params=record.params, distributions=space.distributions(),
            user_attrs={key: value for key, value in attributes.items() if value is not None},
        )  # fmt: skip
        self.study.add_trial(trial)

    def _check_identity(self, identity: dict[str, Any]) -> None:
        known = self.study.user_attrs.get("identity")
        if known is None:
            self.study.set_user_attr("identity", identity)
        elif known != json.loads(json.dumps(identity)):
            raise OtherStudyError(
                f"this study was begun with another config ({_difference(known, identity)}); "
                "start over with --fresh (fresh=True), or choose another output",
                file=self.path,
            )


def read_trials(path: str | Path) -> list[TrialRecord]:
    """Read the finished trials of a study by index, also while another process runs it."""
    if not Path(path).exists():
        raise InputError("there is no study here; run it first", file=path)
    try:
        study = _open_study(Path(path), create=False)
    except KeyError:  # the process that runs it has not written anything yet
        return []
    return list(_records(study, Path(path)).values())


def study_fingerprint(path: Path) -> str | None:
    """Return the fingerprint that a study was begun with; None where there is none."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return None
    for line in lines:
        if _is_whole(line + b"\n") and "identity" in (attributes := parse_json(line).get("user_attr", {})):
            return str(attributes["identity"].get("fingerprint"))
    return None


def repair(path: Path) -> None:
    """Cut off a last line that a kill left incomplete; a damaged line before it is an error."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    bad = next((k for k, line in enumerate(lines) if not _is_whole(line)), None)
    if bad is None:
        return
    if bad + 1 < len(lines) or not _is_torn(lines[bad]):
        raise InputError(f"line {bad + 1} is not from a study; restore the file or choose another output", file=path)
    with path.open("rb+") as file:
        file.truncate(sum(len(line) for line in lines[:bad]))
        os.fsync(file.fileno())


def _is_whole(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and "op_code" in parse_json(line)
    except (ValueError, TypeError):
        return False


def _is_torn(line: bytes) -> bool:
    """Tell whether a line is the beginning of a record, or the zeros a power cut leaves."""
    return LINE_START.startswith(line[: len(LINE_START)]) or not line.strip(b"\0")


def _records(study: optuna.Study, path: Path | None) -> dict[int, TrialRecord]:
    records: dict[int, TrialRecord] = {}
    for trial in study.get_trials(deepcopy=False):
        try:
            record = _record(trial)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"holds a trial that no study wrote ({error}); restore the file, or start over with --fresh", file=path
            ) from None
        if record.index in records:
            raise InputError(f"trial {record.index} occurs twice in the study; start over with --fresh", file=path)
        records[record.index] = record
    return dict(sorted(records.items()))


def _record(trial: optuna.trial.FrozenTrial) -> TrialRecord:
    attributes = {key: value for key, value in trial.user_attrs.items() if key in _FIELDS}
    if portfolio := attributes.get("portfolio"):
        attributes["portfolio"] = Portfolio.from_dict(portfolio)
    state: State = "failed" if trial.value is None else "complete"
    record = TrialRecord(state=state, params=dict(trial.params), loss=trial.value, **attributes)
    if not (isinstance(record.index, int) and isinstance(record.metrics, dict) and record.seconds >= 0):
        raise ValueError("index, metrics or seconds")
    return record


class _Held:
    """Optuna's lock around each write, which does nothing: the whole journal is locked (see `_hold`).

    Optuna's own lock is a link on disk that a killed process leaves behind, which then delays the next process.
    """

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _open_study(path: Path, *, create: bool) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_Held()))  # type: ignore[arg-type]
    except OSError:
        raise
    except Exception as error:  # it replays all lines at once, and trusts them
        raise InputError(
            f"holds a line that no study wrote ({type(error).__name__}: {error}); restore the file, or start over with "
            "--fresh", file=path,
        ) from None  # fmt: skip
    try:
        return optuna.load_study(storage=storage, study_name=STUDY_NAME)
    except KeyError:
        if not create:
            raise
    with _quiet():
        return optuna.create_study(storage=storage, study_name=STUDY_NAME)


def _study_in_memory() -> optuna.Study:
    import optuna

    with _quiet():
        return optuna.create_study(study_name=STUDY_NAME)


@contextmanager
def _quiet() -> Iterator[None]:
    from optuna.logging import WARNING, get_verbosity, set_verbosity

    before = get_verbosity()
    set_verbosity(WARNING)
    try:
        yield
    finally:
        set_verbosity(before)


def _difference(known: dict[str, Any], identity: dict[str, Any]) -> str:
    """Name the first few entries that differ."""
    old, new = _flat(known), _flat(identity)
    changed = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    if changed == ["fingerprint"]:
        return "its hash differs"
    named = [key for key in changed if key != "fingerprint"]
    words = [f"{key} was {old.get(key, 'absent')}, is {new.get(key, 'absent')}" for key in named[:3]]
    return "; ".join([*words, f"and {len(named) - 3} more"] if len(named) > 3 else words)


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _hold(path: Path) -> int:
    """Lock the file beside the journal; the system releases the lock when the process ends, however it ends."""

    def refusal(holder: str) -> InputError:
        return InputError(
            f"this study is being run by another process (id {holder or 'unknown'}); wait for it, or choose another "
            "output",
            file=path,
        )

    return hold(path.with_name(f".{path.name}.lock"), str(os.getpid()), refusal)
