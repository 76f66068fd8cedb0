"""How potentials lie on disk: ``potential.json`` names the kind, beside it plain arrays and files with their hashes.

Nothing is pickled. `write_potential` writes a folder; `PotentialFolder` reads one and turns whatever is wrong with it
into a sentence that names the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcewright.errors import InputError
from forcewright.files import atomic_write, read_array, read_arrays, write_arrays
from forcewright.plain_data import number, parse_json
from forcewright.structure import atomic_number

FORMAT = "forcewright-potential"
VERSION = 1  # that is written
_NEWEST = 2  # that is read: with a baseline (`forcewright.models.baseline`)

#: File of the arrays that stand in a potential's provenance.
KEPT = "provenance.npz"

#: what reading a folder can raise whose files were changed or cut off
_DAMAGE = (
    ArithmeticError, AttributeError, EOFError, InputError, LookupError, OSError, RecursionError, TypeError, ValueError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def write_potential(
    folder: str | Path, kind: str, content: Mapping[str, object], *,
    arrays: Mapping[str, Mapping[str, ArrayLike] | ArrayLike | None] | None = None,
    files: Mapping[str, bytes] | None = None, compressed: bool = False,
) -> Path:  # fmt: skip
    """Write the folder of a potential and return it: what describes it comes last.

    Parameters
    ----------
    folder
        Is made where it does not exist.
    kind
        Name of its kind, by which `forcewright.load` knows how to read it.
    content
        What ``potential.json`` says beside its kind, as plain data; arrays may stand under ``provenance``.
    arrays
        Arrays by name of each NPZ file, or the array of each NPY file, by the name of the file; None for a file that
        must not remain from an earlier potential in the folder.
    files
        Further files, by their names.
    compressed
        Whether NPZ files are compressed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, held in (arrays or {}).items():
        if held is None:
            (folder / name).unlink(missing_ok=True)
        elif isinstance(held, Mapping):
            write_arrays(folder / name, held, compressed=compressed)
        else:
            buffer = io.BytesIO()
            np.save(buffer, np.asarray(held), allow_pickle=False)
            atomic_write(folder / name, buffer.getvalue())
    write_files(folder, files or {})
    content, kept = _without_arrays(content)
    if kept:
        write_arrays(folder / KEPT, kept, compressed=True)
    else:
        (folder / KEPT).unlink(missing_ok=True)
    head = {"format": FORMAT, "version": VERSION, "kind": kind}
    atomic_write(folder / "potential.json", json.dumps({**head, **content}, indent=1, allow_nan=False) + "\n")
    return folder


def _without_arrays(content: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the content with arrays under ``provenance`` replaced by where they stand, and these arrays."""
    arrays: dict[str, NDArray[Any]] = {}

    def plain(value: object, name: str) -> object:
        if isinstance(value, Mapping):
            return {key: plain(part, f"{name}.{key}" if name else str(key)) for key, part in value.items()}
        if isinstance(value, np.ndarray):
            arrays[name] = value
            return {"array": name}
        return value

    provenance = content.get("provenance")
    if not isinstance(provenance, Mapping):
        return dict(content), {}
    return {**content, "provenance": plain(provenance, "")}, arrays


def _with_arrays(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return what `_without_arrays` was made from; KeyError if an array is missing."""
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"array"}:
        return arrays[value["array"]]
    return {key: _with_arrays(part, arrays) for key, part in value.items()}


class PotentialFolder:
    """The folder of a saved potential; inside ``with`` every failure to make sense of it is told as damage.

    Parameters
    ----------
    folder
        What `write_potential` wrote.
    kind
        The kind that is expected; any where not given.

    Raises
    ------
    InputError
        If ``potential.json`` is missing, damaged, of another kind or of a newer version.

    Examples
    --------
    >>> with PotentialFolder(folder, "snap") as saved:
    ...     cutoff = number(saved.content["rcut"], "rcut", above=0)
    """

    def __init__(self, folder: str | Path, kind: str | None = None) -> None:
        self.folder = Path(folder)
        self.file = self.folder / "potential.json"
        self.content: dict[str, Any] = _read_json(self.file, kind)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, _DAMAGE) and not (isinstance(error, InputError) and error.file is not None):
            raise InputError(_damaged(error), file=self.file) from None

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers of the elements under ``species``."""
        return species_of(self.content["species"])

    @property
    def provenance(self) -> dict[str, Any]:
        """What the potential remembers of its fit, with the arrays in it."""
        remembered = dict(self.content.get("provenance", {}))
        return _with_arrays(remembered, self.arrays(KEPT)) if (self.folder / KEPT).exists() else remembered

    def energies(self, key: str) -> dict[int, float]:
        """Return energies in eV that are kept by element, by atomic number."""
        return {
            species_of([symbol])[0]: number(energy, f"{key} of {symbol}")
            for symbol, energy in self.content[key].items()
        }

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of an NPZ file by name, all of finite numbers; `InputError` if it is missing or damaged."""
        path = self.folder / name
        with _damage_of(path):
            held = read_arrays(path)
            for key, values in held.items():
                require_finite(values, key)
                if values.dtype.kind == "U" and name != KEPT:
                    raise ValueError(f"{key} holds text in place of numbers")
        return held

    def array(self, name: str) -> NDArray[Any] | None:
        """Return the array of an NPY file like `arrays`, None where there is no such file."""
        path = self.folder / name
        if not path.exists():
            return None
        with _damage_of(path):
            values = read_array(path)
            require_finite(values, "array")
        return values

    def files(self) -> dict[str, bytes]:
        """Return the files whose hashes stand under ``files``, by name.

        Raises `InputError` if one is missing, is not what was written, or would lie outside the folder.
        """
        hashes = self.content.get("files")
        if not isinstance(hashes, Mapping) or not hashes:
            raise InputError("names no files; save the potential again", file=self.file, field="files")
        return {name: self._hashed(name, expected) for name, expected in hashes.items()}

    def _hashed(self, name: object, expected: object) -> bytes:
        path = self.folder / plain_name(name, file=self.file)
        if not path.is_file():
            raise InputError("is missing; copy the whole folder of the potential", file=path)
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != expected:
            raise InputError("is not the file that was saved (its SHA-256 differs); copy or save it again", file=path)
        return content

    def text(self, name: str) -> str:
        """Return a text that decides nothing, such as a log; empty where there is no such file."""
        path = self.folder / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_json(path: Path, kind: str | None) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text())
    except FileNotFoundError:
        raise InputError("does not exist; is this the folder of a saved potential?", file=path) from None
    except (OSError, ValueError) as error:
        raise InputError(_damaged(error), file=path) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError("is not a potential saved by Forcewright", file=path)
    version = content.get("version", 0)
    if type(version) is not int or version > _NEWEST:
        raise InputError(f"has format version {version}, this Forcewright reads up to {_NEWEST}", file=path)
    if kind is not None and content.get("kind") != kind:
        raise InputError(f"is of kind {content.get('kind')!r}, expected {kind!r}", file=path)
    return content


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"is damaged: it {error.problem}; save the potential again", file=path) from None
    except ValueError as error:
        raise InputError(_damaged(error), file=path) from None


def _damaged(error: BaseException) -> str:
    reason = f"there is no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    return f"is damaged: {reason}; save the potential again"


# ------------------------------------------------------------------------------------- what may be read


def species_of(symbols: Sequence[str]) -> tuple[int, ...]:
    """Return the atomic numbers of elements; raise `InputError` at one that is unknown."""
    return tuple(atomic_number(symbol) for symbol in symbols)


def require_finite(values: NDArray[Any], name: str) -> None:
    """Raise a ValueError if an array holds numbers that are not finite, or bytes in place of numbers or text."""
    if values.dtype.kind not in "biufcU":
        raise ValueError(f"{name} holds no numbers")
    if values.dtype.kind in "fc" and not np.isfinite(values).all():
        raise ValueError(f"{name} holds a number that is not finite")


# ----------------------------------------------------------------------------- files beside their hashes


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder and folders of it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)


def hashes_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file, by name."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def plain_name(name: object, *, file: Path | None = None, field: str | None = "files") -> str:
    """Return a relative file name that stays inside its folder; `InputError` if it is anything else."""
    parts = PurePosixPath(str(name)).parts
    if not isinstance(name, str) or not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise InputError(f"{name!r} is not the name of a file inside the folder", file=file, field=field)
    return name
