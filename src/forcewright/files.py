"""Writing files: each is either the old one or the whole new one, never half of it; and one process a folder."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import math
import os
import re
import shlex
import shutil
import socket
import sys
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import ArrayLike, NDArray

from forcewright.errors import InputError

#: Names of temporary files and folders: what killed processes leave is known by them, and removed by others.
_TEMPORARY = ".forcewright-"
_TEMPORARY_NAME = re.compile(r"\.forcewright-.*-([0-9a-f]{8})-(\d+)-[a-z0-9_]{8}(\..*)?")
_swept: set[Path] = set()


def as_path(value: object, field: str = "output") -> Path:
    """Return a path that was given in Python; `InputError` that names the field if it is none."""
    if not isinstance(value, str | os.PathLike) or "\0" in str(value):
        raise InputError(f"is {value!r}; give the name of a file or folder", field=field)
    return Path(value)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give the path of a temporary file in the same folder that replaces ``path`` when the block ends well.

    For libraries that insist on opening files themselves; if the block raises, nothing of it remains. Raises
    `InputError` if the folder of ``path`` does not exist, ``path`` is a folder, or the disk is full or read-only.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError("is a folder, expected the name of a file to write", file=target)
    if not target.parent.is_dir():
        raise InputError(f"cannot be written: the folder {target.parent} does not exist; create it", file=target)
    with writing(target):
        sweep(target.parent)
        # the name may be as long as any: what identifies the file in the eyes of a user is its beginning
        prefix = _temporary_prefix(target.stem[:40])
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _sync(temporary)
            temporary.chmod(0o666 & ~_umask())  # mkstemp gives 0600, an ordinary file does not
            os.replace(temporary, target)
            _sync(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove temporary files and folders of killed processes; a folder is looked through once by each process."""
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = _TEMPORARY_NAME.fullmatch(entry.name)
            if name is None or entry.is_symlink() or name[1] != _here() or _is_alive(int(name[2])):
                continue
            if entry.is_dir():
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)


def _temporary_prefix(name: str) -> str:
    return f"{_TEMPORARY}{name}-{_here()}-{os.getpid()}-"


@cache
def _here() -> str:
    """Return what stands for the machine, or the container, in which process ids are those of this process."""
    with suppress(OSError):
        space = os.stat("/proc/self/ns/pid").st_ino
        return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to somebody else
        return True
    return True


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Give a temporary folder that is removed at the end, or by another process if this one is killed."""
    path = _new_scratch(purpose)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def lasting_scratch_folder(purpose: str, owner: object) -> Path:
    """Return a temporary folder like `scratch_folder` that is removed with ``owner``, or with the process."""
    path = _new_scratch(purpose)
    weakref.finalize(owner, shutil.rmtree, path, ignore_errors=True)
    return path


def _new_scratch(purpose: str) -> Path:
    sweep(Path(tempfile.gettempdir()))
    return Path(tempfile.mkdtemp(prefix=_temporary_prefix(purpose)))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make sentences about ``path`` of what the system raises while it is written."""
    try:
        yield
    except OSError as error:
        raise InputError(disk_problem(error), file=path) from error


def disk_problem(error: OSError) -> str:
    """Return what the system says of a file or folder that it cannot write or read, and what to do."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"cannot be written or read: {reason}; make room or mend its permissions, or choose another path"


def atomic_write(path: str | Path, content: str | bytes) -> Path:
    """Write text (UTF-8) or bytes to ``path`` so that it is never half-written, and return the path."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


def write_json(path: str | Path, content: Any) -> Path:
    """Write plain data as JSON like `atomic_write`; numbers JSON does not know (NaN, infinities) become null."""
    return atomic_write(path, json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_table(path: str | Path, rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> Path:
    """Write rows as CSV like `atomic_write`; the columns are ``names``, or the keys of the first row."""
    text = io.StringIO()
    if rows or names:
        writer = csv.DictWriter(text, fieldnames=list(names or rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return atomic_write(path, text.getvalue())


def write_arrays(path: str | Path, arrays: Mapping[str, ArrayLike], *, compressed: bool = False) -> Path:
    """Write arrays to an NPZ file like `atomic_write`; ValueError if one holds objects, which only pickle stores."""
    buffer = io.BytesIO()
    write = np.savez_compressed if compressed else np.savez
    write(buffer, allow_pickle=False, **arrays)
    return atomic_write(path, buffer.getvalue())


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an NPZ file by name.

    Raises
    ------
    InputError
        If the file is missing or damaged, holds Python objects, which are never loaded because they can run code, or
        would unpack to more than half the memory that is free.
    """
    path = Path(path)
    arrays: dict[str, NDArray[Any]] = {}
    with _sound_arrays(path), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        _require_memory(sum(member.file_size for member in members), path)
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays or name == member.filename:
                raise ValueError(f"{name} stands twice or is no array")
            with archive.open(member) as stream:
                arrays[name] = _read_array(stream, member.file_size)
    return arrays


def read_array(path: str | Path) -> NDArray[Any]:
    """Return the array of an NPY file; raises as `read_arrays` does."""
    path = Path(path)
    with _sound_arrays(path), path.open("rb") as file:
        size = path.stat().st_size
        _require_memory(size, path)
        return _read_array(file, size)


@contextmanager
def _sound_arrays(path: Path) -> Iterator[None]:
    """Make sentences about ``path`` of what NumPy and zipfile raise of damaged, encrypted or oddly packed files."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError("does not exist", file=path) from None
    except Exception as error:  # also what the parser of the head raises, and unknown ways of packing
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"is not a sound file of NumPy arrays ({said}); it may be cut off", file=path) from None


def _require_memory(needed: int, path: Path) -> None:
    available = psutil.virtual_memory().available
    if needed > available / 2:
        raise InputError(
            f"unpacks to {needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB of memory are free; split it", file=path
        )


def _read_array(stream: Any, size: int) -> NDArray[Any]:
    """Return an array of ``size`` bytes, its head included, which is checked before anything is allocated."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(stream)
    if kind.hasobject:
        raise ValueError("it holds Python objects, which are never loaded because they can run code")
    if stream.tell() + math.prod(shape) * kind.itemsize != size:
        raise ValueError(f"an array of shape {shape} does not fit its {size} bytes")
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


_held: set[int] = set()  # descriptors of the locks of this process; a forked child closes them, or would keep the lock


def _let_go() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def only_writer(folder: str | Path, name: str = ".lock") -> Iterator[None]:
    """Keep other processes from writing to a folder; the lock ends with the process, however it ends.

    Raises `InputError` if another process holds it, which is named; or if the folder cannot be written to.
    """
    path = Path(folder) / name
    with writing(path.parent):
        descriptor = hold(path, _who_this_is(), lambda holder: _in_use(path.parent, holder))
    try:
        yield
    finally:
        if descriptor in _held:  # not so in a forked child
            try:
                with suppress(OSError):  # a file that stays behind holds nobody up
                    path.unlink(missing_ok=True)  # while it is still held: who has just opened it looks again
            finally:
                release(descriptor)


def _in_use(folder: Path, holder: str) -> InputError:
    named = f": {holder}" if holder else ""
    return InputError(f"is in use by another process{named}; wait for it, or choose another output", file=folder)


def release(descriptor: int) -> None:
    """Let go of a lock that `hold` returned; in a forked child it is closed already."""
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)


def hold(path: Path, who: str, refusal: Callable[[str], InputError]) -> int:
    """Return the descriptor of a lock file that this process alone holds, and that says ``who`` it is.

    Where another process holds it, the error that ``refusal`` makes of what that one says is raised.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, who.encode())
                    _held.add(descriptor)
                    return descriptor
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode(errors="replace").strip()
            os.close(descriptor)
            raise refusal(holder) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # it was removed between opening and locking


def _who_this_is() -> str:
    command = shlex.join([Path(sys.argv[0] or "python").name, *sys.argv[1:]])
    command = command if len(command) <= 200 else f"{command[:200]}…"
    return f"`{command}`, process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S}"
