"""What became of answers, counted over the sessions on this machine: `%fim log --stats` prints it.

Nothing is counted unless the user sets `FimMagics.stats`. The counts are in one file of JSON lines, without any text of
the user's. Its lines are added up: several kernels append to it, and a decision that is taken back is -1.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic.errors import FimError
from fim_magic.foreign_json import parsed
from fim_magic.loading.spec import is_on_disk
from fim_magic.progress import Progress
from fim_magic.regular_files import read_bytes
from fim_magic.weights.cache import cache_dir, locked, own_folder, size_of, write_whole

if TYPE_CHECKING:
    from fim_magic.candidate import Result
    from fim_magic.engines import EngineInfo

_log = logging.getLogger(__name__)

FATES = ("accepted", "in_part", "rejected")
"""What a user may decide of an answer: all of it was taken, some of it, nothing."""

COUNTED = ("offered", *FATES)

_FATE_OF = {"accept": "accepted", "replace": "accepted", "part": "in_part", "reject": "rejected", "undo": ""}
"""By the decision, as a record has it. Those that are not here, such as "copy", change nothing."""

_MOST_BYTES = 2**20  # of the file: with four lines a day, that is five years
_MOST_READ = 2**24  # bytes, of a file that somebody else has made larger
_MOST = 2**53  # of what a line counts
_LONGEST_NAME = 200  # characters
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_PUBLIC_NAME = re.compile(r"\w[\w.+:@-]*(/\w[\w.+:@-]*){0,2}")
"""A short name, `owner/name`, a host before it, a revision or a tag behind it; no path but one that looks the same."""

_TRIES, _TRIES_AT_EXIT = 1, 20  # to get the lock, a tenth of a second each
_FAILURES = (OSError, FimError, NotImplementedError)  # the last one of disks that know no locks


@dataclass(frozen=True, order=True)
class Subject:
    """What is counted together.

    Attributes:
        day: On which the answers were offered, here: year-month-day.
        model: Its name. Of a model that is named by its path, only what kind of path that is.
        kind: Of the request: "fim", "complete" or "rank"; at a caret "ghost" for ghost text, "caret" for a diff.
        front_end: Where the user works, as of `FrontEnd.name`; "command line" in a shell.
    """

    day: str
    model: str
    kind: str
    front_end: str

    @classmethod
    def today(cls, model: Result | EngineInfo, kind: str, front_end: str) -> Subject:
        """Return what an answer that is offered now counts for.

        Args:
            model: What tells the model's name.
            kind: As the attribute.
            front_end: As the attribute.
        """
        name = model.model if model.server is None else model.server.model
        return cls(datetime.now().astimezone().date().isoformat(), _shown_name(name), kind, front_end)


Counts = Mapping[Subject, Mapping[str, int]]
"""How often each of `COUNTED` was, by subject."""


class Outcome:
    """What becomes of one answer: it is counted as offered, and by what the user decides, however often that changes.

    Any thread may call it. Where nothing can be written, nothing comes of it, and no error.
    """

    def __init__(self, subject: Subject | None) -> None:
        """Count an answer that the user sees from now on; with None, nothing is counted of it."""
        self._subject = subject
        self._fate = ""
        self._changing = threading.Lock()
        if subject is not None:
            TALLY.add(subject, {"offered": 1})

    def decided(self, decision: str) -> None:
        """Count what the user has decided.

        An answer that is rejected when a part of it was taken counts as taken in part, and one that was accepted in
        another way, as by `%fim accept`, stays accepted.

        Args:
            decision: As a record has it: "accept", "replace", "part", "reject", or "undo", which takes it back.
        """
        with self._changing:
            before, after = self._fate, _FATE_OF.get(decision, self._fate)
            if self._subject is None or after == before or (before and after == "rejected"):
                return
            self._fate = after
            TALLY.add(self._subject, {fate: count for fate, count in ((before, -1), (after, 1)) if fate})


class Tally:
    """What this process has counted, on its way to the file that all processes share.

    Attributes:
        failure: Why the last try to write failed, or "".
    """

    def __init__(self) -> None:
        self.failure = ""
        self._waiting: defaultdict[Subject, Counter[str]] = defaultdict(Counter)  # for another process, or for room
        self._writing = threading.Lock()
        self._process = 0

    def add(self, subject: Subject, counts: Mapping[str, int]) -> None:
        """Write counts down, or keep them for the next time where that is not possible now."""
        with self._writing:
            if self._process != os.getpid():  # what waits in a copy of a process is written by the original
                self._process = os.getpid()
                self._waiting.clear()
                atexit.register(self.flush)
            self._waiting[subject].update(counts)
            self._write(_TRIES)

    def flush(self) -> None:
        """Write down what waits, if anything does."""
        with self._writing:
            if self._waiting and self._process == os.getpid():
                self._write(_TRIES_AT_EXIT)

    def read(self) -> Counts:
        """Return the counts of all sessions, without lines that are damaged.

        Raises:
            FimError: There is no place for them.
            ValueError: There is something else in their place.
            OSError: They cannot be read.
        """
        self.flush()
        return _read(stats_file())

    def forget(self) -> bool:
        """Delete the file, and what waits for it. Returns whether there was any of it.

        Raises:
            FimError: There is no place for it.
            OSError: It cannot be deleted.
        """
        with self._writing:
            waited = bool(self._waiting)
            self._waiting.clear()
            path = stats_file()
            if not os.path.lexists(path):
                return waited
            with _alone(_TRIES_AT_EXIT):
                path.unlink(missing_ok=True)
            return True

    def _write(self, tries: int) -> None:
        try:
            with _alone(tries):
                _append(self._waiting)
        except _FAILURES as error:
            self.failure = getattr(error, "strerror", None) or str(error)
            _log.info("What became of an answer is not written down yet.", exc_info=True)
        else:
            self.failure = ""
            self._waiting.clear()


TALLY = Tally()
"""Of this process."""


def stats_file() -> Path:
    """Return where the counts are, or would be.

    Raises:
        FimError: The cache's folder is none.
    """
    return cache_dir() / "stats" / "answers.jsonl"


def _alone(tries: int) -> AbstractContextManager[None]:
    """Return a context in which no other process writes the counts; entering it raises OSError after so many tries."""
    left = iter(range(tries - 1))

    def wait(_progress: Progress) -> None:
        if next(left, None) is None:
            raise TimeoutError("another process is writing there")

    return locked("stats", wait, "")


def _append(counts: Counts) -> None:
    """Add lines to the file, which then has its size's limit again."""
    path = stats_file()
    own_folder(path.parent)  # of which nothing leads elsewhere
    with path.open("a+b") as file:
        torn = b""
        if file.tell():
            file.seek(-1, os.SEEK_END)
            torn = b"" if file.read() == b"\n" else b"\n"  # a process has died, or a disk was full, in the last line
        file.write(torn + b"".join(map(_line, counts, counts.values())))
    if size_of(path) > _MOST_BYTES:
        write_whole(path, _newest(_read(path)))


def _newest(counts: Counts) -> bytes:
    """Return the lines of the last days, one for each subject, that fill at most half of the file."""
    lines: list[bytes] = []
    room = _MOST_BYTES // 2
    for subject in sorted(counts, reverse=True):
        line = _line(subject, counts[subject])
        room -= len(line)
        if room < 0:
            break
        lines.append(line)
    return b"".join(reversed(lines))


def _read(path: Path) -> Counts:
    found: defaultdict[Subject, Counter[str]] = defaultdict(Counter)
    try:
        lines = read_bytes(path, _MOST_READ).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return found
    for line in lines:
        try:
            subject, counts = _parsed(line)
        except (ValueError, TypeError, KeyError):
            continue
        found[subject].update(counts)
    return found


def _line(subject: Subject, counts: Mapping[str, int]) -> bytes:
    entry = {**vars(subject), **{name: counts[name] for name in COUNTED if counts.get(name)}}
    return json.dumps(entry).encode() + b"\n"


def _parsed(line: bytes) -> tuple[Subject, dict[str, int]]:
    """Read a line, which anybody may have written.

    Raises:
        ValueError: It is none of ours; TypeError and KeyError likewise.
    """
    entry = parsed(line)
    subject = Subject(**{name: entry[name] for name in Subject.__annotations__})
    counts = {name: entry[name] for name in COUNTED if name in entry}
    words = astuple(subject)
    if not all(isinstance(word, str) and len(word) <= _LONGEST_NAME for word in words):
        raise ValueError("these are no names")
    if not _DAY.fullmatch(subject.day) or not all(
        type(count) is int and abs(count) < _MOST for count in counts.values()
    ):
        raise ValueError("this counts nothing")
    return subject, counts


def _shown_name(name: str) -> str:
    """Return a model's name, or in the place of a path, which is the user's, what it leads to."""
    if name.lower().endswith(".gguf"):
        return "a .gguf file"
    is_public = len(name) <= _LONGEST_NAME and _PUBLIC_NAME.fullmatch(name) and not is_on_disk(name)
    return name if is_public else "a folder"
