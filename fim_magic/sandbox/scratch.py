"""The parent's side of a scratch folder: how much lies in it, and taking it away, however it was left.

A program may nest folders deeper than a path is long or Python recurses, take away its own right to look into them, or
leave a great many files. So nothing here recurses, follows a link, or takes longer than it may.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

_log = logging.getLogger(__name__)

REMOVAL_SECONDS = 10.0
"""How long the removal of a folder may take."""

_LEAST = 16_384  # bytes that a file or folder counts at least: many small ones take long to remove
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_HAS_DESCRIPTORS = {os.open, os.unlink, os.rmdir, os.chmod} <= os.supports_dir_fd
_HAS_DESCRIPTORS = _HAS_DESCRIPTORS and os.scandir in os.supports_fd


def bytes_in(folder: Path, pid: int, enough: int, largest: int = 0) -> int:
    """Return the bytes that a process has on the disk, up to about `enough`, and more where that cannot be told.

    Args:
        folder: All that lies below it counts. A folder that cannot be looked into hides what it holds, so it counts as
            more than enough.
        pid: Files that this process has deleted and keeps open count.
        enough: Where to stop counting.
        largest: Bytes of the largest file, for which each counts that it has deleted and has a part of in its memory.
    """
    total, waiting = 0, [os.fspath(folder)]
    while waiting and total <= enough:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    total += max(_LEAST, _allocated(status))
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    if total > enough:
                        return total
        except FileNotFoundError:
            continue  # it has just gone
        except OSError:
            return enough + _LEAST
    return total + _deleted(pid) + largest * _mapped(pid, folder)


def _deleted(pid: int) -> int:
    total = 0
    with contextlib.suppress(OSError):
        for opened in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                status = os.stat(f"/proc/{pid}/fd/{opened}")
                total += 0 if status.st_nlink else _allocated(status)
    return total


def _mapped(pid: int, folder: Path) -> int:
    """How many deleted files of a folder a process has a part of in its memory: no more is told of them."""
    path, found = os.fsencode(folder) + b"/", set()
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as stream:
        for line in stream:
            if line.endswith(b"(deleted)\n") and path in line:
                found.add(tuple(line.split()[3:5]))  # device and inode
    return len(found)


def _allocated(status: os.stat_result) -> int:
    blocks: int = getattr(status, "st_blocks", 0)
    return blocks * 512 or status.st_size


def bytes_written(pid: int) -> int:
    """Return how much a process has written to files since it began, where the kernel counts it.

    What it wrote by way of memory counts, and what it wrote twice counts twice: no file can be hidden from this.
    """
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as stream:
            counted = dict(line.split(": ") for line in stream.read().splitlines())
        return max(int(counted["wchar"]), int(counted["write_bytes"]))
    except (OSError, ValueError, KeyError):
        return 0


def remove(folder: Path, seconds: float = REMOVAL_SECONDS) -> bool:
    """Take a folder away, with all that it holds. Raises nothing; what has to stay is told to the log.

    Args:
        folder: No process may change it any more.
        seconds: How long that may take.

    Returns:
        Whether it is gone.
    """
    try:
        if _HAS_DESCRIPTORS:
            _Removal(folder, time.monotonic() + seconds).run()
            folder.rmdir()
        else:
            shutil.rmtree(folder)
    except Exception:  # a scratch folder that stays must not cost the user an answer
        _log.warning("The scratch folder %r cannot be removed; remove it by hand.", folder, exc_info=True)
        return False
    return True


class _TooLongError(Exception):
    """The removal has taken as long as it may."""


class _Removal:
    """The removal of what one folder holds, deepest first; it has one folder open at a time."""

    def __init__(self, folder: Path, deadline: float) -> None:
        self._deadline = deadline
        self._folder = os.fspath(folder)
        self._path: list[tuple[str, tuple[int, int]]] = []  # names from the top on, and which folder each stands in
        self._waiting: list[list[str]] = []  # the folders that are left, of each on the path
        self._first_error: OSError | None = None
        self._open = ExitStack()

    def run(self) -> None:
        """Delete all that can be; raise the first error where something stays."""
        with self._open:
            current = self._keep(_opened(None, self._folder))
            self._waiting.append(self._delete_files(current))
            while self._waiting:
                if time.monotonic() > self._deadline:
                    raise _TooLongError
                if self._waiting[-1]:
                    current = self._enter(current, self._waiting[-1].pop())
                else:
                    self._waiting.pop()
                    current = self._leave(current) if self._path else current
        if self._first_error is not None:
            raise self._first_error

    def _keep(self, folder: int) -> int:
        """Have this folder open in the place of the last one."""
        self._open.close()
        self._open.callback(os.close, folder)
        return folder

    def _enter(self, current: int, name: str) -> int:
        try:
            inner = _opened(current, name)
        except OSError as error:
            self._first_error = self._first_error or error
            return current
        self._path.append((name, _identity(current)))
        self._waiting.append(self._delete_files(self._keep(inner)))
        return inner

    def _leave(self, current: int) -> int:
        name, identity = self._path.pop()
        above = self._keep(os.open("..", _FOLDER, dir_fd=current))
        if _identity(above) != identity:
            raise FileNotFoundError(f"{name} was moved while it was removed")
        self._try(os.rmdir, name, above)
        return above

    def _delete_files(self, folder: int) -> list[str]:
        """Delete an open folder's files, and return the names of its folders."""
        folders: dict[str, None] = {}
        goes_on = True
        while goes_on:  # a folder that changes while it is listed may leave entries out
            goes_on = False
            with os.scandir(folder) as entries:
                for entry in entries:
                    if time.monotonic() > self._deadline:
                        raise _TooLongError
                    if entry.is_dir(follow_symlinks=False):
                        folders[entry.name] = None
                    else:
                        goes_on |= self._try(os.unlink, entry.name, folder)
        return [*folders]

    def _try(self, delete: Callable[..., None], name: str, folder: int) -> bool:
        try:
            delete(name, dir_fd=folder)
        except OSError as error:
            self._first_error = self._first_error or error
            return False
        return True


def _identity(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino


def _opened(parent: int | None, name: str) -> int:
    """Open a folder that may have taken its owner's rights away."""
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        _take(parent, name)
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
    os.fchmod(descriptor, 0o700)
    return descriptor


def _take(parent: int | None, name: str) -> None:
    """Give the owner all rights to a folder; never to what a link leads to."""
    if not hasattr(os, "O_PATH"):
        os.chmod(name, 0o700, dir_fd=parent, follow_symlinks=False)
        return
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", 0o700)
    finally:
        os.close(descriptor)
