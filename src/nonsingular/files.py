"""Files that are whole or not there, and folders that one process at a time writes to."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nonsingular.errors import InputError

LOCK = ".lock"
"""Name of the file by which a process holds a folder."""

PARTIAL = ".partial"
"""Ending of a file that is not yet whole."""


def cache() -> Path:
    """The folder of what can be made again: ``NONSINGULAR_CACHE``, or one in the user's home."""
    return Path(os.environ.get("NONSINGULAR_CACHE") or Path.home() / ".cache" / "nonsingular")


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that a crash at any moment leaves the old one or the new one."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
            f.flush()
            os.fsync(f.fileno())
    except OSError as error:
        partial.unlink(missing_ok=True)  # half a file would keep a full disk full
        error.filename = error.filename or str(path)
        raise
    partial.replace(path)


def to_json(value: Any) -> str:
    """JSON that every reader takes: what is not a number (NaN) or not finite is null.

    Args:
        value: dictionaries, lists, tuples, strings, numbers (NumPy's too), None; paths are written as text.
    """
    return json.dumps(plain(value), indent=2, allow_nan=False)


def plain(value: Any) -> Any:
    """Dictionaries, lists, strings, numbers and None: what JSON has words for, None where it has none."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # arrays and scalars of NumPy and PyTorch
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process alone; it is made where there is none, and gone again if it stays empty.

    The system lets go of the lock when the process dies, however it dies.

    Raises:
        InputError: another process holds it, the message says which; or it is a file, or lies below one.
    """
    from filelock import FileLock, Timeout

    refuse_file(folder)
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder} is being written by {_holder(path)}; wait until it is done, or name another --out"
        ) from None
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    try:
        path.write_text(holder)
        yield
    finally:
        try:
            if new:
                _tidy(folder, holder)
        finally:
            lock.release()


def _tidy(folder: Path, holder: str) -> None:
    """Remove a folder that stayed empty, as far as it goes: what went wrong before is what is to be told."""
    with suppress(OSError):
        if [p.name for p in folder.iterdir()] == [LOCK] and (folder / LOCK).read_text() == holder:
            (folder / LOCK).unlink()
            folder.rmdir()


def refuse_file(folder: Path) -> None:
    """Refuse a path that can be no folder.

    Raises:
        InputError: it is a file, or lies below one.
    """
    file = next((path for path in (folder, *folder.parents) if path.is_file()), None)
    if file is not None:
        raise InputError(f"{file} is a file; results go to a folder, name another --out")


def make_way(file: Path) -> None:
    """Make the folders above a file that is to be written.

    Raises:
        InputError: it is a folder, or lies below a file.
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder; name a file, as in {file / 'page.html'}")
    other = next((parent for parent in file.parents if parent.is_file()), None)
    if other is not None:
        raise InputError(f"{other} is a file; --out names a new one in a folder, as in page.html")
    file.parent.mkdir(parents=True, exist_ok=True)


def require_folder(folder: Path) -> None:
    """Refuse a path at which there is no folder to read from.

    Raises:
        InputError: there is nothing, or a file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder" if folder.is_file() else f"{folder} does not exist")


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but, perhaps, its lock and files that a crash left half written.

    Raises:
        InputError: it is a file.
    """
    refuse_file(folder)
    return all(p.name == LOCK or p.suffix == PARTIAL for p in folder.iterdir())


def clear(folder: Path) -> None:
    """Remove all that a folder holds, but its lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _holder(path: Path) -> str:
    try:
        return path.read_text() or "another process"
    except OSError:
        return "another process"
