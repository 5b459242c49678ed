"""Whose turn it is: a model answers one request at a time, and others wait for it or are refused.

This holds for every request of the magics, of the terminal and of the Python interface, whatever answers it. Only a run
of many requests (`fim-magic eval --concurrency`) gives each of them a turn of its own, and `own_turn` says for which
engines that may be.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fim_magic.engines import Destination, Engine
from fim_magic.errors import BusyError, OptionError

_POLL_SECONDS = 0.1  # how long a single wait takes: on Windows, nothing interrupts one that has no end
_LEAVING_SECONDS = 10.0  # that a request which gives way may take for a step of the model, on the slowest machine


_held = threading.local()
"""Of each thread, as `turn`, the one that its last request has taken."""


class Turn:
    """Held by the request that is under way."""

    def __init__(self) -> None:
        self._waiting = 0  # requests that do not give way
        self._gives_way = False  # the one that holds it
        # Of a lock that its own thread may take again: a stream that nobody reads on is closed by the garbage
        # collector, on any thread and at any time.
        self._changed = threading.Condition(threading.RLock())
        self._holder: threading.Thread | None = None
        self._stop = threading.Event()  # of that one's request
        self._process = 0  # whose thread that is: a child that was forked meanwhile has no such request

    @property
    def is_taken(self) -> bool:
        return self._holder is not None and self._process == os.getpid()

    @property
    def is_mine(self) -> bool:
        """Whether this thread's request holds it."""
        return self.is_taken and self._holder is threading.current_thread()

    def is_to_end(self) -> bool:
        """Whether this thread's request was stopped: what it waits for need not be waited for."""
        return self.is_mine and self._stop.is_set()

    def require_free(self) -> None:
        """Raise if another request would be refused now: one that neither gives way nor was stopped holds the turn.

        By this, what has to be shown before a request takes its turn need not be shown for one that will have none.

        Raises:
            BusyError: It would.
        """
        with self._changed:
            if self.is_taken and not (self._gives_way or self._stop.is_set()):
                raise BusyError(_busy(0.0))

    @contextmanager
    def taken(self, stop: threading.Event, wait_seconds: float = 0.0, *, gives_way: bool = False) -> Iterator[None]:
        """Hold the turn as long as the block lasts.

        Args:
            stop: Ends the waiting when it is set.
            wait_seconds: How long another request is waited for. One that gives way, or was stopped, is waited for
                until it has left.
            gives_way: Whether this one is stopped (`stop` is set) when another comes that does not give way: that one
                has the turn a token later.

        Raises:
            BusyError: Another request is under way, and goes on for longer than that.
            KeyboardInterrupt: `stop` was set while this waited.
        """
        self._wait(stop, wait_seconds, gives_way)
        try:
            yield
        finally:
            with self._changed:
                self._holder = None
                self._changed.notify_all()

    def _wait(self, stop: threading.Event, wait_seconds: float, gives_way: bool) -> None:
        with self._changed:
            self._waiting += not gives_way
            try:
                self._wait_until_free(stop, wait_seconds, gives_way)
            finally:
                self._waiting -= not gives_way
            self._holder, self._stop, self._process = threading.current_thread(), stop, os.getpid()
            self._gives_way = gives_way
        _held.turn = self

    def _wait_until_free(self, stop: threading.Event, wait_seconds: float, gives_way: bool) -> None:
        """Wait, with the lock held, until no request holds the turn, and none that goes first waits for it."""
        began = time.monotonic()
        while self.is_taken or (gives_way and self._waiting):
            if self.is_mine:  # it would wait for itself
                raise BusyError(
                    "The model is busy with another request of this same thread, which cannot go on while this one "
                    "waits. Read its events to their end, or end it with close(), and run this again."
                )
            if self.is_taken and self._gives_way and not gives_way:
                self._stop.set()
            # One that was accepted or stopped is over for the user, who may ask for the next at once.
            leaves = self.is_taken and (self._gives_way or self._stop.is_set())
            seconds = max(wait_seconds, _LEAVING_SECONDS) if leaves else wait_seconds
            left = began + seconds - time.monotonic()
            if left <= 0:
                raise BusyError(_busy(wait_seconds))
            if stop.is_set():
                raise KeyboardInterrupt
            self._changed.wait(min(left, _POLL_SECONDS))


def _busy(waited_seconds: float) -> str:
    waited = f", also after {waited_seconds:g} s" if waited_seconds else ""
    return (
        f"The model is busy with another request in this process{waited}. Wait for it, or stop it with the stop button "
        "(Ctrl-C), and run this again."
    )


TURN = Turn()
"""Of this process: its requests share a model, and mostly a processor."""


def is_to_end() -> bool:
    """Whether the request of this thread was stopped, whichever turn it has."""
    turn: Turn | None = getattr(_held, "turn", None)
    return turn is not None and turn.is_to_end()


def own_turn(engine: Engine) -> Turn:
    """Return a turn that no other request waits for: a server has room for several, and takes care of their order.

    Raises:
        OptionError: The engine computes in this process, where two requests would only take each other's time.
    """
    if engine.info.destination is Destination.PROCESS:
        raise OptionError(
            f"--concurrency is for models that a server runs; {engine.info.model} runs in this process, which answers "
            "one request after another. Omit it, or name a server: --model vllm://HOST:PORT"
        )
    return Turn()
