"""Whether a request that a server did not take is sent once more: only where nothing can have been generated yet."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from fim_magic.engines.server.lines import ServerLine
from fim_magic.engines.server.refusals import Passing, PassingServerError
from fim_magic.errors import ServerError

FIRST_PAUSE = 0.5
"""Seconds; each further one is twice as long."""

_log = logging.getLogger(__name__)


class Patience:
    """Counts the tries of one request, and waits between them.

    Args:
        seconds: How long all pauses may take together.
        wait: Lets so many seconds pass, and says whether the request is still wanted.
    """

    def __init__(self, seconds: float, wait: Callable[[float], bool]) -> None:
        self._left = seconds
        self._wait = wait
        self._pause = FIRST_PAUSE
        self._has_renewed = False
        # Of its own: the user's stream of random numbers stays as it is. Many who were refused at once come back apart.
        self._random = random.Random()

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
        return self._wait(seconds)
