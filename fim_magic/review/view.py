"""The view of one request: the diff while it grows, and the buttons when it is done."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from fim_magic.candidate import Result
from fim_magic.document import Document
from fim_magic.frontends import Owner
from fim_magic.review.diff import Gap, Line, diff, elided
from fim_magic.review.render import caption, progress_caption, to_ansi, to_html, to_text
from fim_magic.review.terminal import LiveDiff

SECONDS_BETWEEN_DRAWINGS = 1 / 12
METADATA_KEY = "fim_magic"
"""Under this name, the metadata of the diff's output hold the record of where it came from."""

OnDecision = Callable[[str, int], None]


class View:
    """The view of one request.

    On a page, the diff is an output that is redrawn while the text grows. It is plain HTML and
    text, without a widget, so a saved notebook shows it too. Where nobody watches (nbclient,
    papermill, a text console, a terminal), it is shown once, at the end.
    """

    def __init__(
        self,
        shell: Any,
        document: Document,
        *,
        title: str = "",
        ask: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show the text with its hole. Call it while the cell runs that will own the view.

        Args:
            shell: The IPython shell.
            document: The user's text.
            title: What is filling the hole: the model's name.
            ask: Whether to show buttons at the end, where there is somebody to click them.
            clock: Tells when it is time to draw again.
        """
        self._owner = Owner.current(shell)
        self._document = document
        self._title = title
        self._ask = ask
        self._clock = clock
        self._drawn_at = clock()
        self._display_id = uuid.uuid4().hex
        self._is_displayed = False
        self._middle, self._tokens, self._seconds = "", 0, 0.0
        self._record: dict[str, Any] = {}
        self._terminal = LiveDiff(document, sys.stdout)
        if self._owner.is_watched:
            self._draw_progress()

    def grow(self, middle: str, tokens: int, seconds: float) -> None:
        """Show what the model has written so far, if it is time to draw again.

        Args:
            middle: The text in the hole.
            tokens: How many tokens it took.
            seconds: How long it took.
        """
        self._middle, self._tokens, self._seconds = middle, tokens, seconds
        if not self._owner.has_kernel:
            self._terminal.show(middle)
            return
        now = self._clock()
        if self._owner.is_watched and now - self._drawn_at >= SECONDS_BETWEEN_DRAWINGS:
            self._drawn_at = now
            self._draw_progress()

    def finish(
        self,
        result: Result,
        *,
        record: dict[str, Any] | None = None,
        notes: Sequence[Sequence[str]] = (),
        on_decision: OnDecision | None = None,
    ) -> None:
        """Show the finished request, and the buttons where there is somebody to click them.

        Args:
            result: The finished request.
            record: Where it came from, for the output's metadata; JSON.
            notes: More to say about each candidate, in their order.
            on_decision: Called with what the user decided ("accept", "replace", "reject", "copy")
                and for which candidate.
        """
        self._record = record or {}

        def draw(index: int) -> None:
            self._draw_result(result, notes, index)

        draw(0)
        if not self._ask or not self._owner.is_watched:
            return
        from fim_magic.review.widget import Actions

        texts = [result.document.rebuild(candidate.middle) for candidate in result.candidates]
        Actions(texts, self._owner, on_decision, draw).show()

    def stop(self, reason: str) -> None:
        """Show how far the request had come when it failed.

        Args:
            reason: What stopped it, in a few words.
        """
        self._draw(self._rows(self._middle), f"{self._title} · {reason}")

    def _rows(self, middle: str) -> tuple[Line | Gap, ...]:
        return elided(diff(self._document, middle))

    def _draw_progress(self) -> None:
        words = progress_caption(self._title, self._tokens, self._seconds)
        self._draw(self._rows(self._middle), words, live=True)

    def _draw_result(self, result: Result, notes: Sequence[Sequence[str]], index: int) -> None:
        said = [*notes, *[()] * (len(result.candidates) - len(notes))]
        drawn = [
            (self._rows(candidate.middle), caption(result, candidate, note))
            for candidate, note in zip(result.candidates, said, strict=True)
        ]
        rows, words = drawn.pop(index)
        self._draw(rows, words, others=drawn)

    def _draw(
        self,
        rows: Sequence[Line | Gap],
        words: str,
        *,
        live: bool = False,
        others: Sequence[tuple[Sequence[Line | Gap], str]] = (),
    ) -> None:
        if not self._owner.has_kernel:
            self._terminal.clear()
            draw = to_ansi if sys.stdout.isatty() else to_text
            print(draw(rows, words))  # noqa: T201 - a terminal shows what is printed
            return
        from IPython.display import publish_display_data

        bundle = {
            "text/html": to_html(rows, words, live=live, others=others),
            "text/plain": to_text(rows, words),
        }
        publish_display_data(
            bundle,
            metadata={METADATA_KEY: self._record},
            transient={"display_id": self._display_id},
            update=self._is_displayed,
        )
        self._is_displayed = True
