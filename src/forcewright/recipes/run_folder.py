"""What every command does around its work: reads a config, takes paths from its folder, and writes a folder alone."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar, cast

import yaml
from pydantic import BaseModel

from forcewright.configs import echo, validate
from forcewright.errors import InputError
from forcewright.files import as_path, atomic_write, disk_problem, only_writer, write_json, writing
from forcewright.plain_data import parse_json, read_yaml
from forcewright.recipes import provenance
from forcewright.terminal import VisibleFormatter

Model = TypeVar("Model", bound=BaseModel)

#: Name of the file that is locked while a command writes to a folder.
LOCK = ".forcewright.lock"

#: Names of what lies in the folders of design rows and of fits: hashes, and what is being written yet.
_HASHED = r"\.?[0-9a-f]{16,24}(-\d+)?(\.npz)?|\.forcewright-.*"

#: Commands that write the same kind of result, so that one goes on with what the other left.
_SAME = {"fit": "tune"}

#: What commands leave before they have a result, beside the journal of a study.
_ON_THE_WAY = {
    "ablate": ("variants/*/journal.log", "variants/*/result.json"),
    "assess": ("predictions/*/reference.json",),
    "compare": ("studies/*/journal.log", "studies/*/result.json"),
    "learn": ("learn.json",),
    "learning-curve": ("fits/*/*/point.json",),
    "simulate": ("checkpoint.npz", "*/checkpoint.npz", "run-*/result.json", "melt/result.json"),
}


class Config(NamedTuple, Generic[Model]):
    """A config as it was read: ``file`` is None where the content itself was given."""

    settings: Model
    folder: Path  # absolute; relative paths in the settings are taken from it
    file: Path | None


def read_config(
    model: type[Model], config: str | Path | Mapping[str, Any] | Model, *, base: str | Path | None = None
) -> Config[Model]:
    """Read and validate a config.

    Parameters
    ----------
    config
        A YAML file, its content, or the settings themselves.
    base
        Folder that relative paths are taken from: where not given that of the file, else the working directory.

    Raises
    ------
    InputError
        If the file cannot be read, a key is not known, missing or stands there twice, or a value is not allowed.
    """
    if isinstance(config, model):
        return Config(config, Path(base or "").resolve(), None)
    if isinstance(config, Mapping):
        return Config(validate(model, dict(config)), Path(base or "").resolve(), None)
    if not isinstance(config, str | Path):
        raise InputError(f"is a {type(config).__name__}; give a YAML file or a mapping", field="config")
    file = Path(config)
    return Config(validate(model, read_yaml(file), file), Path(base or file.parent).resolve(), file)


def with_absolute_paths(settings: Model, folder: Path) -> Model:
    """Return settings in which every relative path is taken from a folder: in lists, mappings and nested models, too.

    Texts that may be paths among other things stay as they are: who reads them takes them from the folder.
    """
    return cast(Model, _absolute(settings, folder))


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return (folder / value).resolve()
    if isinstance(value, dict):
        return {key: _absolute(part, folder) for key, part in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_absolute(part, folder) for part in value)
    if isinstance(value, BaseModel):
        fields = {name: (old := getattr(value, name), _absolute(old, folder)) for name in type(value).model_fields}
        return value.model_copy(update={name: new for name, (old, new) in fields.items() if new != old})
    return value


def config_text(settings: BaseModel, **options: Any) -> str:
    """Return settings as YAML; ``options`` are those of pydantic's ``model_dump``."""
    content = settings.model_dump(mode="json", fallback=echo, **options)  # what is in memory by its name
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


class RunFolder:
    """The folder that a command writes to; context manager that keeps other processes out of it.

    Parameters
    ----------
    path
        Made where it does not exist.
    command
        Name of the command.

    Raises
    ------
    InputError
        On entering: if the folder cannot be made or written to, another process holds it, or its results are those of
        another command.
    """

    def __init__(self, path: str | Path, command: str) -> None:
        self.path, self.command = as_path(path).resolve(), command

    def __enter__(self) -> Self:
        self._is_new = not self.path.exists()
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            held.callback(self._remove_if_new_and_empty)
            held.enter_context(only_writer(self.path, LOCK))
            self.refuse_other_command()
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.close()
        if isinstance(error, OSError) and error.filename is None:  # of a file that is open, such as a journal
            raise InputError(disk_problem(error), file=self.path) from error

    def _remove_if_new_and_empty(self) -> None:
        """Leave no folder behind where a command has failed before it wrote anything."""
        if self._is_new:
            with suppress(OSError):
                self.path.rmdir()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def discard(self, names: Iterable[str]) -> None:
        """Remove files and folders by name, as ``--fresh`` does; those that do not exist are passed over.

        A folder of one of these names that holds anything else than a study writes there is somebody's own, and stays.
        """
        with writing(self.path):
            for path in (self.path / name for name in names):
                if path.is_dir() and not path.is_symlink():
                    if _is_of_a_study(path):
                        shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)

    def refuse_other_command(self) -> None:
        """Raise an InputError if the results are those of another command, finished or not, which would be lost."""
        result = self.read_result()
        by = _command_of(result or {})
        if by is None and result is None:
            by = _begun_by(self.path)
        if by is not None and _SAME.get(by, by) != _SAME.get(self.command, self.command):
            what = "results" if result is not None else "unfinished work"
            raise InputError(
                f"holds the {what} of `forcewright {by}`, which `forcewright {self.command}` would overwrite; choose "
                "another output",
                file=self.path,
            )

    def written_by(self) -> str | None:
        """Return the command whose results the folder holds; None where there are none, or they do not tell."""
        return _command_of(self.read_result() or {})

    def read_result(self) -> dict[str, Any] | None:
        """Return the content of result.json; None where there is none that can be read."""
        try:
            content = parse_json((self.path / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def write_result(
        self, summary: Mapping[str, Any], data: Mapping[str, str] | Iterable[Path] | None = None
    ) -> dict[str, Any]:
        """Write result.json and return its content: a summary, what wrote it, and where it comes from.

        Parameters
        ----------
        data
            Hashes of the files that were read, by name, taken then (`provenance.file_hashes`); or files whose hashes
            are taken now.
        """
        hashes = data if data is None or isinstance(data, Mapping) else provenance.file_hashes(data)
        content = {**summary, **provenance.record(hashes), "written_by": self.command}
        write_json(self / "result.json", content)
        return content

    def write_config(self, settings: BaseModel | str, **options: Any) -> str:
        """Write config.resolved.yaml and return its text; ``options`` as in `config_text`."""
        text = settings if isinstance(settings, str) else config_text(settings, **options)
        atomic_write(self / "config.resolved.yaml", text)
        return text

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Write the package's log to forcewright.log while the block runs."""
        log = logging.getLogger("forcewright")
        with writing(self / "forcewright.log"):
            handler = logging.FileHandler(self / "forcewright.log", encoding="utf-8")
        handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk is told by what follows
        handler.setFormatter(VisibleFormatter("%(asctime)s %(levelname)s %(message)s"))
        level = log.level
        log.setLevel(logging.INFO)
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
            handler.close()


def _is_of_a_study(folder: Path) -> bool:
    """Tell whether a folder holds what a study writes into one of its name, and nothing else."""
    names = [path.name for path in folder.iterdir()]
    if folder.name in ("potential", "committee"):
        return not names or "potential.json" in names or (folder / "0" / "potential.json").is_file()
    return all(re.fullmatch(_HASHED, name) for name in names)


def _begun_by(folder: Path) -> str | None:
    """Return the command that has begun to write to a folder without a result, by what it leaves on the way."""
    with suppress(OSError):
        for journal in folder.glob("journal.log"):
            if _starts_with(journal, b'{"op_code"'):
                return "tune"
        for name, patterns in _ON_THE_WAY.items():
            if any(next(folder.glob(pattern), None) is not None for pattern in patterns):
                return name
    return None


def _starts_with(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning


def _command_of(result: Mapping[str, Any]) -> str | None:
    """Return the command that wrote a result.json, as far as it tells."""
    if (by := result.get("written_by")) is not None:
        return str(by)
    if "identity" in result:  # a run of molecular dynamics, which earlier versions did not name
        return "simulate"
    words = str(result.get("command", "")).split()
    known = (
        "tune",
        "fit",
        "compare",
        "learning-curve",
        "simulate",
        "analyze",
        "validate",
        "statistics",
        "rerun",
        "diagnose",
    )
    return words[1] if len(words) > 1 and words[0] == "forcewright" and words[1] in known else None
