"""A model that is loaded on a thread of its own, while the user goes on working.

Python hands signals to the main thread only, so a caller that waits there can be interrupted and the load goes on. A
thread cannot be stopped from outside; a load ends where it reports its progress, or when it is done.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from fim_magic.engines.memory import give_back
from fim_magic.engines.out_of_memory import forget_frames
from fim_magic.errors import ModelError
from fim_magic.progress import OnProgress, Progress, silent

POLL_SECONDS = 0.1
"""How long a single wait takes: on Windows, nothing interrupts one that has no end."""
SECONDS_AT_EXIT = 10.0
"""How long the end of the process waits for a load to end: at worst for an import, which cannot be cut short."""

_T = TypeVar("_T")


class _AbandonedError(BaseException):
    """Ends an abandoned load from inside. Not an `Exception`, so that no library takes it for a failure of its own."""


class BackgroundLoad(Generic[_T]):
    """Something that is loaded on a thread of its own: there whole, or not at all.

    Args:
        name: Of the model, for the user.
        work: Loads it, and calls its argument with the progress; when the load is abandoned, that call raises.
        keep: Takes what was loaded. It is called on the thread, and never once the load is abandoned.
        on_end: Called last, on the thread, with the load: when it is done, has failed or was abandoned.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[OnProgress], _T],
        keep: Callable[[_T], None],
        on_end: Callable[[BackgroundLoad[_T]], None] | None = None,
    ) -> None:
        self.name = name
        self.abandoned = False
        self.error: BaseException | None = None
        self._work = work
        self._keep = keep
        self._on_end = on_end
        self._progress = Progress(f"Loading {name}", done=0, total=0, unit="")
        self._began = time.monotonic()
        self._deciding = threading.Lock()  # what was loaded is kept, or the load is abandoned: never both
        self._ended = threading.Event()
        # A daemon: a process that ends does not wait until gigabytes have been read.
        self._thread = threading.Thread(target=self._run, name=f"fim-magic loads {name}", daemon=True)

    def start(self) -> None:
        # The first finalizer of a process registers what runs them all at its end. Were that torch's, whose import may
        # still be going on then, it would come too late, and each finalizer would print an error.
        weakref.finalize(self, int)
        atexit.register(self._end_with_process)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the thread is done: something was loaded, it failed, or it was abandoned."""
        return self._ended.is_set()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def progress(self) -> Progress:
        return replace(self._progress, seconds=self.seconds)

    def wait(self, on_progress: OnProgress = silent) -> None:
        """Wait until it has ended, reporting its progress. What interrupts this leaves the load as it is.

        Raises:
            ModelError: It was abandoned meanwhile, or this is why it failed.
        """
        while not self.ended:
            on_progress(self.progress())
            self.wait_a_little()
        if self.abandoned:
            raise ModelError(f"{self.name} was being loaded, and then another model was chosen. Run this again.")
        if self.error is not None:
            raise self.error

    def wait_a_little(self) -> None:
        self._ended.wait(POLL_SECONDS)

    def abandon(self) -> bool:
        """End it as soon as that can be, and keep nothing of it. Returns whether it was still going on."""
        with self._deciding:
            under_way = not (self.abandoned or self.ended)
            self.abandoned = self.abandoned or under_way
            return under_way

    def _run(self) -> None:
        try:
            self._load()
        except _AbandonedError:
            pass
        except BaseException as error:  # `wait` raises it: on a thread it would be lost
            forget_frames(error)
            self.error = None if self.abandoned else error
        if self.abandoned:
            give_back()
        self._ended.set()
        atexit.unregister(self._end_with_process)
        if self._on_end is not None:
            self._on_end(self)

    def _load(self) -> None:
        loaded = self._work(self._report)
        with self._deciding:
            if self.abandoned:
                return
            self._keep(loaded)
            self._ended.set()

    def _report(self, progress: Progress) -> None:
        self._progress = progress
        if self.abandoned:
            raise _AbandonedError

    def _end_with_process(self) -> None:
        # Not left to run on: Python ends such a thread where it next touches an object, and if that is in the middle
        # of a library's C++, that library ends the process with a message and a core dump.
        self.abandon()
        self._ended.wait(SECONDS_AT_EXIT)
