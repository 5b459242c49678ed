"""The diff in a terminal, redrawn in place while the infill grows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import Any

from fim_magic.document import Document
from fim_magic.holes import Spans
from fim_magic.progress import Progress, TerminalProgress
from fim_magic.review.diff import CONTEXT, Line, diff, writing_at
from fim_magic.review.render import to_ansi
from fim_magic.streams import is_terminal, write

_SECONDS_BETWEEN_DRAWINGS = 0.08
_UP_AND_CLEAR = "\x1b[{}F\x1b[J"  # to the start of the n-th line above, and clear from there


class LiveDiff:
    """Shows a growing diff on a terminal, and nothing on a stream that is not one."""

    def __init__(self, document: Document, stream: Any) -> None:
        self._document = document
        self._stream = stream
        self._active = is_terminal(stream)
        self._lines_drawn = 0
        self._drawn_at = 0.0
        self._waiting = TerminalProgress()

    def show(self, middle: str, kept: Spans = ()) -> None:
        """Draw the diff with `middle` in the hole, unless it was drawn a moment ago. `kept` is as of [`diff`][]."""
        now = time.monotonic()
        if not self._active or now - self._drawn_at < _SECONDS_BETWEEN_DRAWINGS:
            return
        size = shutil.get_terminal_size()
        # A diff taller than the screen cannot be redrawn in place.
        lines = _around_the_end(diff(self._document, middle, kept), size.lines - 1)
        drawn = to_ansi(lines, width=size.columns).split("\n")
        self.clear()
        self._active = write(self._stream, "\n".join(drawn) + "\n")
        self._lines_drawn, self._drawn_at = len(drawn), now

    def wait(self, pause: Progress | None) -> None:
        """Show how far a pause has come, in the place of the diff; None when it is over."""
        if pause is not None:
            self.clear()
        self._waiting.wait(pause)

    def clear(self) -> None:
        """Take the drawing away, so that the finished diff can stand in its place."""
        if self._lines_drawn:
            write(self._stream, _UP_AND_CLEAR.format(self._lines_drawn))
        self._lines_drawn = 0


def _around_the_end(lines: Sequence[Line], most: int) -> Sequence[Line]:
    """Return at most so many lines: those before where the text grows, and a few behind it."""
    number, _ = writing_at(lines) or (len(lines), 0)
    last = min(max(number + CONTEXT, most), len(lines))
    return lines[max(last - most, 0) : last]
