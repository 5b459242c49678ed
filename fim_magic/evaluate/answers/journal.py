"""A file that a long run adds a line to whenever something is done, so that the next run goes on from there.

A run may be killed in the middle of a line: that line is dropped, and what it recorded is done again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, wait
from pathlib import Path
from typing import Any

from fim_magic.errors import OptionError
from fim_magic.foreign_json import parsed

_POLL_SECONDS = 0.2


class Journal:
    """JSON lines, read once and then only added to. Any thread may add."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it; an OptionError where it cannot be written, or holds something else."""
        self._lock = threading.Lock()
        try:
            text = path.read_bytes() if path.exists() else b""
            whole = text.rfind(b"\n") + 1
            self.rows = list(_rows(path, text[:whole]))  # what there was when it was opened
            self._stream = path.open("ab")
            self._stream.truncate(whole)
        except OSError as error:
            raise OptionError(
                f"{str(path)!r} cannot be written ({error.strerror}). Name another folder: fim-magic eval --out FOLDER"
            ) from error

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a line, and hand it to the system at once."""
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()

    def close(self) -> None:
        with self._lock:
            self._stream.close()


def _rows(path: Path, text: bytes) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(text.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = parsed(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise OptionError(
                f"Line {number} of {str(path)!r} is none that fim-magic eval wrote. Delete that line, or name another "
                "folder: fim-magic eval --out FOLDER"
            )
        yield row


class Memory:
    """What work on other threads has found out, by key: nothing is worked out twice, not even by another run."""

    def __init__(self, path: Path, executor: Executor) -> None:
        self._journal = Journal(path)
        self._executor = executor
        self._known: dict[str, Any] = {row["key"]: row["value"] for row in self._journal.rows if "key" in row}
        self._coming: dict[str, Future[None]] = {}
        self._lock = threading.Lock()

    def want(self, key: str, work: Callable[[], Any]) -> None:
        """Have `work` done for a value that JSON can hold, unless it is known under `key`, for ever, or under way."""
        with self._lock:  # several threads may want it
            if key not in self._known and key not in self._coming:
                self._coming[key] = self._executor.submit(self._do, key, work)

    def _do(self, key: str, work: Callable[[], Any]) -> None:
        value = work()
        self._journal.add({"key": key, "value": value})
        self._known[key] = value

    def get(self, key: str) -> Any:
        return self._known.get(key)

    def wait(self, on_done: Callable[[int, int], None]) -> None:
        """Wait until everything that is wanted is known. What any work raises is raised when the rest is done."""
        waiting = set(self._coming.values())
        total = len(waiting)
        while waiting:
            _, waiting = wait(waiting, timeout=_POLL_SECONDS)
            on_done(total - len(waiting), total)
        done, self._coming = self._coming, {}
        for future in done.values():
            future.result()

    def close(self) -> None:
        self._journal.close()
