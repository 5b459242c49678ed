"""The folder in which checkpoints are kept, its locks and its room."""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fim_magic.errors import FetchError
from fim_magic.progress import Meter, OnProgress, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 1 << 20
ROOM_TO_SPARE = 64_000_000  # a disk that is filled to the last byte breaks other programs
POLL_SECONDS = 0.1
_OS_ERROR = re.compile(r"\(os error (\d{1,5})\)")


class SourceFailedError(Exception):
    """One source could not give the file. The message is half a sentence that says why."""


def cache_dir() -> Path:
    """Return the folder in which everything is kept: `$FIM_MAGIC_CACHE`, or the system's place.

    Raises:
        FetchError: `$FIM_MAGIC_CACHE` begins with the home of nobody.
    """
    chosen = os.environ.get("FIM_MAGIC_CACHE")
    if chosen:
        try:
            return Path(chosen).expanduser().absolute()
        except RuntimeError as error:
            raise FetchError(
                f"FIM_MAGIC_CACHE is {chosen!r}, and there is no such user here. Set this environment variable to a "
                "folder of your own, or unset it."
            ) from error
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("fim-magic", appauthor=False))


def require_room(folder: Path, needed: int) -> None:
    """Raise a FetchError unless `needed` bytes, and some to spare, fit on the disk of `folder`, which exists."""
    free = shutil.disk_usage(folder).free
    if free < needed + ROOM_TO_SPARE:
        raise FetchError(
            f"There is not enough room on the disk of {folder}: {_mb(needed + ROOM_TO_SPARE)} are "
            f"needed and {_mb(free)} are free. Make room, or set the environment variable "
            "FIM_MAGIC_CACHE to a folder on a larger disk, and try again."
        )


@contextmanager
def locked(name: str, on_progress: OnProgress, waiting: str) -> Iterator[None]:
    """Hold a lock that other processes, and other threads, respect.

    Args:
        name: What is locked; the same name is the same lock.
        on_progress: Called while another process holds the lock.
        waiting: What it then shows.
    """
    from filelock import FileLock, Timeout

    folder = cache_dir() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock")
    while True:
        try:
            lock.acquire(timeout=POLL_SECONDS)
            break
        except Timeout:
            on_progress(Progress(waiting, 0, 1, "steps"))
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a library in Rust raises where `path` cannot be written into the OSError that it is.

    safetensors and tokenizers raise errors of their own, and the system's number stands only in their text.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from error


def cannot_write(error: OSError) -> str:
    """Say why the cache could not be written, and what to do about it."""
    reason = error.strerror or type(error).__name__
    remedy = (
        "Make room"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        else "Check who may write there, or set the environment variable FIM_MAGIC_CACHE to a folder of your own"
    )
    return f"The cache could not be written ({reason}: {error.filename or cache_dir()}). {remedy}, and try again."


def pour(source: IO[bytes], write: Callable[[bytes], object], meter: Meter, done: int = 0) -> int:
    """Copy a stream to `write`, in chunks. Returns `done` plus the bytes that were copied."""
    while chunk := source.read(CHUNK):
        write(chunk)
        done += len(chunk)
        meter.report(done)
    return done


def size_of(path: Path) -> int:
    """Return a file's size in bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
