"""When an idle model is unloaded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def _timer(seconds: float, act: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.daemon = True  # a process that ends does not wait for it
    timer.name = "fim-magic idle"
    return timer


class IdleLimit:
    """Unloads once nothing has been used for a while, and never while something is.

    Args:
        unload: Unloads. False says that this is not the time for it; then it is called again later.
        seconds: Unload after so many without use; 0 is never.
        clock: Tells the time, in seconds.
        timer: Makes what calls a function after so many seconds, on another thread.
    """

    def __init__(
        self,
        unload: Callable[[], bool],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        timer: Callable[[float, Callable[[], None]], threading.Timer] = _timer,
    ) -> None:
        self._unload = unload
        self._clock = clock
        self._make_timer = timer
        self._lock = threading.RLock()  # held while it unloads: what is used from then on waits for that
        self._seconds = seconds
        self._users = 0
        self._used_at = clock()
        self._waiting: threading.Timer | None = None

    def set(self, seconds: float) -> None:
        with self._lock:
            self._seconds = seconds
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None
            self._wait()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Something is used as long as the block lasts. The time counts from its end."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._used_at = self._clock()
                self._wait()

    def close(self) -> None:
        self.set(0.0)

    def _wait(self) -> None:
        # One timer, which looks when it is due how long it still has to wait: none is made and cancelled per request.
        if self._waiting is None and self._seconds > 0:
            self._waiting = self._make_timer(max(0.0, self._used_at + self._seconds - self._clock()), self._due)
            self._waiting.start()

    def _due(self) -> None:
        with self._lock:
            if self._waiting is None:
                return  # cancelled too late for the timer to notice
            self._waiting = None
            if self._users:
                return  # its end begins to wait anew
            if self._clock() - self._used_at >= self._seconds:
                if self._unload():
                    return
                self._used_at = self._clock()
            self._wait()
