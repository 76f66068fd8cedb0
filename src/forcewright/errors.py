"""Errors a user can mend: each message is a sentence and never needs a traceback."""

from __future__ import annotations

from pathlib import Path


class ForcewrightError(Exception):
    """Base of every error that is shown to the user as one sentence."""


class InputError(ForcewrightError):
    """Something that was given is not usable; says where it stands, what is wrong and what to do.

    Parameters
    ----------
    problem
        What was found, what is allowed and what to do, as a sentence.
    file, frame, field
        Where it was found; frames count from 0.
    """

    def __init__(
        self, problem: str, *, file: str | Path | None = None, frame: int | None = None, field: str | None = None
    ) -> None:
        self.problem, self.file, self.frame, self.field = problem, file, frame, field
        where = [str(file)] if file is not None else []
        where += [f"frame {frame}"] if frame is not None else []
        where += [f"field {field!r}"] if field is not None else []
        super().__init__(f"{', '.join(where)}: {problem}" if where else problem)

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the parts, so that the error survives the way back from a worker process."""
        return _rebuild_input_error, (type(self), self.problem, self.file, self.frame, self.field)


def _rebuild_input_error(cls: type[InputError], problem: str, file: str, frame: int, field: str) -> InputError:
    return cls(problem, file=file, frame=frame, field=field)


class StoppedError(ForcewrightError):
    """A simulation was stopped before anything broke, because it left what its potential was fitted to."""


class MissingExtraError(ForcewrightError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra, self.purpose = package, extra, purpose
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f'install it with: pip install "forcewright[{extra}]"'
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the parts (see `InputError`)."""
        return type(self), (self.package, self.extra, self.purpose)
