"""Ctrl-C and the stop button, as a flag that a request looks at between two tokens."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fim_magic.candidate import Result
from fim_magic.errors import ServerError


class Interrupted(KeyboardInterrupt):
    """The user stopped a request of the Python interface. What was there is kept.

    Attributes:
        result: The partial result; its candidates' endings say so.
    """

    def __init__(self, result: Result) -> None:
        super().__init__("interrupted; the partial result is in .result")
        self.result = result


class BrokenOffError(ServerError):
    """A server failed in the middle of a request of the Python interface. What was there is kept.

    Attributes:
        result: The partial result; its candidates' endings say so.
    """

    def __init__(self, result: Result) -> None:
        super().__init__(f"{result.broken_off} The partial result is in .result of this error.")
        self.result = result


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C (or stop button) inside the block into a flag, so that a request can end between tokens.

    A second one interrupts at once, as ever. Outside the main thread, where signals do not arrive, it does nothing.
    """
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    # None: the handler is not Python's, and could not be put back.
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield stop
        return

    def first(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
