"""How far a long step has come. The step reports [`Progress`][] to a callback, which shows it.

The terminal's callback is here, the notebook's in `review/progress.py`.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fim_magic.columns import clipped, columns_of
from fim_magic.streams import can_encode, is_terminal, write
from fim_magic.visible import plain_text

BAR_CELLS = 20
SECONDS_BETWEEN_DRAWINGS = 0.1
SECONDS_BETWEEN_MESSAGES = 0.2
"""To a page, which has more to do for one than a terminal has."""
PERCENT_BETWEEN_LINES = 10


@dataclass(frozen=True)
class Progress:
    """How far a step has come.

    Attributes:
        what: What is going on, for the user: "Fetching model.gguf from PyPI".
        done: How much is done, in `unit`.
        total: How much there is to do, in `unit`; 0 where that is not known.
        unit: "B" for bytes, otherwise what is counted, in the plural: "tensors".
        seconds: Since the step began.
        resumed: How much was already done when it began. It doesn't count as speed.
    """

    what: str
    done: int
    total: int
    unit: str = "B"
    seconds: float = 0.0
    resumed: int = 0

    @property
    def fraction(self) -> float:
        """Done, from 0.0 to 1.0."""
        return min(max(self.done / self.total, 0.0), 1.0) if self.total > 0 else 0.0

    @property
    def rate(self) -> float:
        """Units per second since the step began, or 0.0 where nothing can be measured yet."""
        return max(self.done - self.resumed, 0) / self.seconds if self.seconds > 0 else 0.0

    @property
    def finished(self) -> bool:
        return self.total > 0 and self.done >= self.total


OnProgress = Callable[[Progress], None]
"""What a long step calls now and then. Whatever it raises ends the step, which cleans up."""


def silent(progress: Progress) -> None:
    """Show nothing."""


OnNotice = Callable[[str], object]
"""Called with what the user should read, though all went well: one sentence or two."""


def ignore(notice: str) -> None:
    """Leave a notice unread."""


class Meter:
    """Reports one step to a callback, and keeps its time."""

    def __init__(self, on_progress: OnProgress, what: str, total: int, *, unit: str = "B", resumed: int = 0) -> None:
        self._on_progress = on_progress
        self._what = what
        self._total = total
        self._unit = unit
        self._resumed = resumed
        self._began = time.monotonic()
        self.report(resumed)

    def report(self, done: int) -> None:
        """Report that `done` of the total is done."""
        seconds = time.monotonic() - self._began
        done = min(done, self._total)
        self._on_progress(Progress(self._what, done, self._total, self._unit, seconds, self._resumed))


class Pace:
    """Which of the reports of one step after another are shown: its first and its last, and one in so many seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._shown: Progress | None = None
        self._shown_at = 0.0

    def is_due(self, progress: Progress) -> bool:
        """Return whether to show this one; if so, it counts as shown."""
        now = self._clock()
        shown = self._shown
        begins_or_ends = shown is None or (shown.what, shown.finished) != (progress.what, progress.finished)
        if not begins_or_ends and now - self._shown_at < self._seconds:
            return False
        self._shown, self._shown_at = progress, now
        return True


def bar(progress: Progress, width: int = BAR_CELLS, *, ascii_only: bool = False) -> str:
    """Draw a step as one line of text: what is going on, a bar, the amounts, and the speed if it is known.

    Args:
        progress: The step.
        width: How many characters the bar itself gets.
        ascii_only: Draw with `#` and `-`, for streams that cannot write block characters.
    """
    what = plain_text(progress.what)
    if progress.total <= 0 and progress.done <= 0:  # the time shows that it goes on
        elapsed = f" {progress.seconds:.0f} s" if progress.seconds >= 1 else ""
        return f"{what} {'...' if ascii_only else '…'}{elapsed}"
    full, empty = ("#", "-") if ascii_only else ("█", "░")
    filled = int(progress.fraction * width)
    parts = [what, full * filled + empty * (width - filled), _amounts(progress)]
    if progress.unit == "B" and progress.rate > 0:
        parts.append(f"{_bytes(progress.rate)}/s")
    return "  ".join(parts)


def _amounts(progress: Progress) -> str:
    if progress.unit != "B":
        return f"{progress.done} / {progress.total} {progress.unit}"
    if progress.total <= 0:
        return _bytes(progress.done)
    scale, name = _scale(progress.total)
    digits = 0 if progress.total / scale >= 10 or scale == 1 else 1  # "9.5", "312"
    return f"{progress.done / scale:.{digits}f} / {progress.total / scale:.{digits}f} {name}"


def _bytes(amount: float) -> str:
    scale, name = _scale(amount)
    return f"{amount / scale:.0f} {name}" if scale == 1 else f"{amount / scale:.1f} {name}"


def _scale(amount: float) -> tuple[int, str]:
    for scale, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if amount >= scale:
            return scale, name
    return 1, "B"


class TerminalProgress:
    """Shows progress on a terminal, in place; in a log, as a line for each tenth.

    As a context manager it ends its line, also after an error.
    """

    def __init__(self, stream: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._ascii_only = not can_encode(self._stream, "█░…")
        self._draws = is_terminal(self._stream)
        self._what: str | None = None
        self._drawn_at = 0.0
        self._drawn_columns = 0  # of the line that is open
        self._next_percent = 0
        self._ended = False

    def __call__(self, progress: Progress) -> None:
        begins = progress.what != self._what
        if begins:
            self.close()
            self._what, self._next_percent, self._ended = progress.what, 0, False
        if self._ended:
            return
        if self._draws:
            self._draw(progress, now=begins or progress.finished)
        else:
            self._log(progress)
        if progress.finished:
            self._ended = True
            self.close()

    def wait(self, pause: Progress | None) -> None:
        """Show how far a pause has come; None when it is over."""
        if pause is None:
            self.close()
        else:
            self(pause)

    def __enter__(self) -> TerminalProgress:  # `Self` is of Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the line that is being drawn, if there is one."""
        if self._drawn_columns:
            write(self._stream, "\n")
        self._drawn_columns = 0

    def _draw(self, progress: Progress, *, now: bool) -> None:
        time_now = self._clock()
        if not now and time_now - self._drawn_at < SECONDS_BETWEEN_DRAWINGS:
            return
        line = self._fitted(progress)
        columns = columns_of(line)
        rest = " " * (self._drawn_columns - columns)  # over that of a longer line
        write(self._stream, f"\r{line}{rest}")
        self._drawn_at, self._drawn_columns = time_now, columns

    def _fitted(self, progress: Progress) -> str:
        # A line as wide as the terminal would wrap, and `\r` would then return to its second half.
        room = max(shutil.get_terminal_size().columns - 1, 1)
        for width in (BAR_CELLS, BAR_CELLS // 2, 0):
            line = bar(progress, width, ascii_only=self._ascii_only)
            if columns_of(line) <= room:
                return line
        return clipped(line, room)

    def _log(self, progress: Progress) -> None:
        percent = int(progress.fraction * 100)
        if percent < self._next_percent:
            return
        self._next_percent = percent - percent % PERCENT_BETWEEN_LINES + PERCENT_BETWEEN_LINES
        write(self._stream, bar(progress, ascii_only=self._ascii_only) + "\n")
