"""Whether a request that a server did not take is sent once more: only where nothing can have been generated yet."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable

from fim_magic.engines.server.lines import ServerLine
from fim_magic.engines.server.refusals import Passing, PassingServerError
from fim_magic.errors import ServerError
from fim_magic.progress import Progress

FIRST_PAUSE = 0.5
"""Seconds; each further one is twice as long."""

_log = logging.getLogger(__name__)


class Patience:
    """Counts the tries of one request, and waits between them.

    Args:
        host: Of the server.
        seconds: How long all pauses may take together.
        wait: Lets so many seconds pass, and says whether the request is still wanted.
    """

    def __init__(self, host: str, seconds: float, wait: Callable[[float], bool]) -> None:
        self._left = seconds
        self._host = host
        self._waiting: tuple[float, float] | None = None  # since when, and for how long
        self._wait = wait
        self._pause = FIRST_PAUSE
        self._has_renewed = False
        # Of its own: the user's stream of random numbers stays as it is. Many who were refused at once come back apart.
        self._random = random.Random()

    @property
    def waits(self) -> Progress | None:
        """How far it has come with a pause; None while there is none. Any thread may ask."""
        waiting = self._waiting
        if waiting is None:
            return None
        since, seconds = waiting
        passed = time.monotonic() - since
        total = math.ceil(seconds)
        # Never whole: what is shown as done is shown no more, and another pause may follow.
        return Progress(f"Waiting for {self._host}", min(int(passed), total - 1), total, "s", passed)

    def allows(self, error: ServerError, line: ServerLine | None) -> bool:
        """Return whether to try again, when it is time to.

        Args:
            error: Why it was not taken.
            line: What it was sent on.
        """
        if not isinstance(error, PassingServerError) or line is None:
            return False
        if error.why is Passing.CLOSED:  # of what is idle, a server may close any
            again, self._has_renewed = line.is_stale and not self._has_renewed, True
            return again
        if error.why is Passing.UNREACHABLE and not line.was_answered:  # it is another one, or was never started
            return False
        seconds = max(self._pause * self._random.uniform(0.5, 1.5), error.wanted)
        self._pause *= 2
        if seconds > self._left:
            return False
        self._left -= seconds
        _log.info("A request is sent again in %.1f s: %s", seconds, error)
        self._waiting = (time.monotonic(), seconds)
        try:
            return self._wait(seconds)
        finally:
            self._waiting = None
