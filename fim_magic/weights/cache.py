"""The folder in which checkpoints are kept, its locks and its room."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
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
        FetchError: `$FIM_MAGIC_CACHE` begins with the home of nobody, or holds bytes that are no UTF-8.
    """
    chosen = os.environ.get("FIM_MAGIC_CACHE")
    if chosen:
        try:
            chosen.encode()
            return Path(chosen).expanduser().absolute()
        except UnicodeEncodeError as error:  # libraries in Rust write there, and take no other names
            raise FetchError(
                f"FIM_MAGIC_CACHE is {chosen!r}, which is not UTF-8. Set this environment variable to a folder whose "
                "name is, or unset it."
            ) from error
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
    path = folder / f"{name}.lock"
    if path.is_symlink():  # older releases of filelock empty what it points to
        path.unlink()
    lock = FileLock(path)
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


def own_folder(path: Path) -> Path:
    """Return a folder that only this user may write, made if need be, with nothing in it that leads elsewhere.

    A cache may lie where others can write, and its names can be guessed: a link that waits there in the place of a file
    would have us write into whatever it points to.

    Raises:
        FetchError: Something else is there, or it is somebody else's.
        OSError: It cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or not _is_ours(found):
        raise FetchError(
            f"{path} is not a folder of your own, so nothing is written there. Remove it, or set the environment "
            "variable FIM_MAGIC_CACHE to a folder of your own, and try again."
        )
    path.chmod(0o700)
    for inside in path.iterdir():
        entry = inside.lstat()
        plain = stat.S_ISREG(entry.st_mode) and entry.st_nlink == 1  # a file with a second name may be anything
        if not _is_ours(entry) or not (plain or stat.S_ISDIR(entry.st_mode)):
            inside.unlink()
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, and no link is followed.

    Raises:
        OSError: It cannot be written.
    """
    unfinished = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        with os.fdopen(os.open(unfinished, flags, 0o666), "wb") as out:
            out.write(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _is_ours(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


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


def pour(
    source: IO[bytes], write: Callable[[bytes], object], meter: Meter, done: int = 0, *, at_most: int | None = None
) -> int:
    """Copy a stream to `write`, in chunks. Returns `done` plus the bytes that were copied.

    Raises:
        SourceFailedError: That is more than `at_most`. A few bytes of an archive can unpack to fill a disk.
    """
    while chunk := source.read(CHUNK):
        done += len(chunk)
        if at_most is not None and done > at_most:
            raise SourceFailedError(f"more came than the {at_most:,} bytes of the file")
        write(chunk)
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
