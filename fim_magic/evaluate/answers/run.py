"""What every run of `fim-magic eval` has in common: its options, and how far it is."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from fim_magic.document import Document
from fim_magic.errors import OptionError
from fim_magic.evaluate.answers import folder
from fim_magic.evaluate.answers.code import code_hash
from fim_magic.progress import OnProgress, Progress
from fim_magic.request import Request

CANDIDATES = 8


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked to do."""

    sets: tuple[str, ...] = ()  # names or paths
    every: int = 1  # only every so many tasks; of one's own files, every so many files
    offset: int = 0  # the index of the first of them
    limit: int | None = None  # the most tasks of each set
    arms: tuple[str, ...] = ()  # which are compared
    # the order, token limit, sampling and number of candidates of every request
    template: Request = field(default_factory=lambda: Request(Document("", ""), candidates=CANDIDATES))
    out: Path = folder.OUT  # the folder for everything
    concurrency: int = 1  # how many requests are under way at once
    only_report: bool = False  # whether to ask nothing: report what the folder holds
    code: str = field(default_factory=code_hash)  # the hash of the code that answers


_Options = TypeVar("_Options", bound=RunOptions)


def as_before(options: _Options, *names: str) -> _Options:
    """Return a folder's options, of which the settings have `names` under "about", for the report of its run."""
    settings = folder.settings(options.out)
    noted = {name: settings["about"][name] for name in names}
    return replace(options, sets=tuple(settings["sets"]), arms=tuple(settings["arms"]), **noted)


def noted(options: RunOptions, *names: str) -> dict[str, Any]:
    """Return what `as_before` needs of a run under "about"."""
    return {name: getattr(options, name) for name in names}


def check_numbers(options: RunOptions, *names: str) -> None:
    """Raise an OptionError where a number that has to be at least 1 is not."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise OptionError(f"--{name.replace('_', '-')} is at least 1; {value} is not.")


class AskingProgress:
    """How many requests of a run have been answered, those of earlier runs among them. Any thread may tell it."""

    def __init__(self, on_progress: OnProgress, total: int) -> None:
        self._on_progress = on_progress
        self._total = total
        self._done = self._resumed = 0
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def show(self, activity: str = "Asking") -> None:
        seconds = time.monotonic() - self._began
        with self._lock:
            self._on_progress(Progress(activity, self._done, self._total, "requests", seconds, self._resumed))

    def add(self, requests: int, asked: int) -> None:
        """Count requests, `asked` of which the model had to answer now."""
        with self._lock:
            self._done += requests
            self._resumed += requests - asked


def at_once(options: RunOptions) -> str:
    """Say how many requests were under way at once, behind what else is said of a run; "" for one."""
    return f"; {options.concurrency} requests at once, whose times are those of a busy server" * (
        options.concurrency > 1
    )
