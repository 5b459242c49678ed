"""Pauses between the tries of a download, which grow, and end it at last."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60
"""Seconds."""
MOST_TRIES = 6
"""In succession that bring next to nothing."""
GOOD_TRY = 4 * 2**20
"""Bytes: a try that brings as many was worth it, and the next one counts as the first."""
_STEP = 0.1


class Pauses:
    """Waits longer after each try that failed.

    Args:
        report: Called often meanwhile. What it raises ends the pause.
        sleep: Lets time pass, in seconds.
    """

    def __init__(self, report: Callable[[], object], sleep: Callable[[float], object]) -> None:
        self._report = report
        self._sleep = sleep
        self._tries = 0
        # Of its own: the user's stream of random numbers stays as it is. Many who were cut off at once come back apart.
        self._random = random.Random()

    def pause(self, brought: int, wanted: float | None = None) -> bool:
        """Wait before the next try, and return whether there is to be one.

        Args:
            brought: How many bytes the last try has brought.
            wanted: How many seconds the server asked for, if it did.
        """
        self._tries = 1 if brought >= GOOD_TRY else self._tries + 1
        if self._tries >= MOST_TRIES:
            return False
        seconds = FIRST_PAUSE * 2 ** (self._tries - 1) * self._random.uniform(0.5, 1.5)
        left = min(max(seconds, wanted or 0.0), LONGEST_PAUSE)
        while left > 0:
            self._report()
            self._sleep(min(left, _STEP))
            left -= _STEP
        return True
