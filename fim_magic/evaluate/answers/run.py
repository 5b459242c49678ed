"""What every run of `fim-magic eval` has in common: its options, asking, and how far it is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fim_magic.candidate import Result
from fim_magic.document import Document
from fim_magic.errors import OptionError, ServerError
from fim_magic.evaluate.answers import folder
from fim_magic.evaluate.answers.code import code_hash
from fim_magic.events import Finished, Offered
from fim_magic.interruption import interruptible
from fim_magic.pipeline import run
from fim_magic.progress import OnProgress, Progress
from fim_magic.request import Request

if TYPE_CHECKING:
    from fim_magic.engines import Engine

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


def ask(request: Request, engine: Engine) -> list[tuple[float, Result]]:
    """Ask, and return every result that was offered with the seconds until then; the last is the whole one.

    Raises:
        FimError: As `fim_magic.pipeline.run` says; and where a server broke off.
        KeyboardInterrupt: The user stopped it: half an answer must not count as one.
    """
    began = time.perf_counter()
    with interruptible() as stop:
        offered = [
            (time.perf_counter() - began, event.result)
            for event in run(request, engine, stop)
            if isinstance(event, Offered | Finished)
        ]
    if stop.is_set():
        raise KeyboardInterrupt
    _, last = offered[-1]
    if last.broken_off:
        raise ServerError(last.broken_off)
    return offered


class AskingProgress:
    """How many requests of a run have been answered, those of earlier runs among them."""

    def __init__(self, on_progress: OnProgress, total: int) -> None:
        self._on_progress = on_progress
        self._total = total
        self._done = self._resumed = 0
        self._began = time.monotonic()

    def show(self, activity: str = "Asking") -> None:
        seconds = time.monotonic() - self._began
        self._on_progress(Progress(activity, self._done, self._total, "requests", seconds, self._resumed))

    def add(self, requests: int, asked: int) -> None:
        """Count requests, `asked` of which the model had to answer now."""
        self._done += requests
        self._resumed += requests - asked
