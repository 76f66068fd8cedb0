"""Finding and Audit: what `audit` returns, ready to be printed or tabulated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from forcewright.errors import InputError
from forcewright.structure import Frame
from forcewright.tables import Tabular

#: What a finding can be, the worst first.
Severity = Literal["error", "warning", "note"]

#: How many findings of one kind are printed before the rest is only counted.
PRINTED = 5


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing, and where it stands; frames count from 0 within their file."""

    severity: Severity
    code: str
    message: str
    file: str | None = None
    frame: int | None = None
    field: str | None = None

    @property
    def location(self) -> str:
        """File, frame and field as text."""
        parts = [self.file] if self.file else []
        parts += [f"frame {self.frame}"] if self.frame is not None else []
        parts += [f"field {self.field!r}"] if self.field else []
        return ", ".join(parts)

    def __str__(self) -> str:
        return ": ".join(filter(None, [self.severity, self.location, self.message]))

    def to_error(self) -> InputError:
        """Return the finding as an error to raise."""
        return InputError(self.message, file=self.file, frame=self.frame, field=self.field)

    @classmethod
    def from_error(cls, error: InputError, code: str = "unreadable") -> Finding:
        """Take what a reader refused."""
        file = None if error.file is None else str(error.file)
        return cls("error", code, error.problem, file, error.frame, error.field)


def locate(frame: Frame, index: int) -> dict[str, Any]:
    """Return the file and the frame number of a frame as keywords of `Finding`."""
    file, _, number = frame.origin.rpartition("#")
    return {"file": file or None, "frame": int(number) if number.isdigit() else index}


@dataclass(frozen=True, repr=False)
class Audit(Tabular):
    """All findings, errors first. ``label_lines`` says which keys the labels were found under."""

    findings: tuple[Finding, ...]
    frames: int = 0
    files: tuple[str, ...] = ()
    label_lines: str = ""
    agreement: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ordered = sorted(self.findings, key=lambda finding: get_args(Severity).index(finding.severity))
        object.__setattr__(self, "findings", tuple(ordered))

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that make a fit wrong."""
        return self._of("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings a person should look at."""
        return self._of("warning")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """Things worth knowing."""
        return self._of("note")

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one plain dict per finding, for tables and JSON."""
        keys = ("severity", "code", "file", "frame", "field", "message")
        return [{key: getattr(finding, key) for key in keys} for finding in self.findings]

    def __str__(self) -> str:
        lines = [self.label_lines] if self.label_lines else [f"{self.frames} frames"]
        shown: Counter[tuple[str, str]] = Counter()
        left: Counter[tuple[str, str]] = Counter()
        for finding in self.findings:
            kind = (finding.severity, finding.code)
            if shown[kind] < PRINTED:
                lines.append(str(finding))
            (shown if shown[kind] < PRINTED else left)[kind] += 1
        lines += [f"{severity}: {count} more of the kind {code!r}" for (severity, code), count in left.items()]
        return "\n".join([*lines, self._counts()])

    def __repr__(self) -> str:
        return f"Audit({self.frames} frames: {self._counts()})"

    def _counts(self) -> str:
        counts = {severity: len(self._of(severity)) for severity in get_args(Severity)}
        return ", ".join(f"{number or 'no'} {noun}{'' if number == 1 else 's'}" for noun, number in counts.items())
