"""The view of one request: the diff while it grows, and the buttons when it is done."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fim_magic.candidate import Candidate, Result
from fim_magic.document import Document
from fim_magic.errors import is_failure
from fim_magic.faults import in_words
from fim_magic.frontends import Owner
from fim_magic.holes import Spans
from fim_magic.progress import Progress
from fim_magic.provenance import Record, add_answer, decide, of_cell
from fim_magic.provenance import record as record_of
from fim_magic.review.caption import Fact, about, facts, line, progress_line, stopped_line, title_of_other, waiting_line
from fim_magic.review.checks import has_failed
from fim_magic.review.details import details_html, details_text
from fim_magic.review.diff import Row, addition, diff, elided, with_removed
from fim_magic.review.render import to_ansi, to_html, to_text
from fim_magic.review.terminal import LiveDiff
from fim_magic.streams import is_terminal
from fim_magic.visible import say_in_colour

if TYPE_CHECKING:
    from fim_magic.events import OnGrow
    from fim_magic.review.widget import Actions, Offer

SECONDS_BETWEEN_DRAWINGS = 1 / 12
METADATA_KEY = "fim_magic"
"""Under this name, the metadata of the diff's output hold the record of where it came from."""

OnDecision = Callable[[str, int], None]

Ask = Callable[["Candidate | None", "OnGrow"], Result]
"""Asks the model once more: for more than this candidate has, or for another answer (None).

While it runs, it calls `OnGrow` with the middle, its tokens and seconds. Its result has one candidate.
"""


@dataclass(frozen=True)
class _ShownAnswer:
    result: Result
    candidate: Candidate
    notes: Sequence[str] = ()


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
        unfilled: tuple[str, Spans] = ("", ()),
        ask: bool = True,
        details: str = "line",
        owner: Owner | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show the text with its hole. Call it while the cell runs that will own the view.

        Args:
            shell: IPython's.
            document: The user's text.
            title: What is filling the hole: the model's name.
            unfilled: The middle before the model writes, and where it is the user's own; from `MultiHoleDocument`.
            ask: Whether to show buttons at the end, where there is somebody to click them.
            details: "line", or "full" to show what else is known as well: one of `settings.DETAILS`.
            owner: The cell below which it is shown; None for the one that runs.
            clock: Tells when it is time to draw again.
        """
        self._owner = owner or Owner.current(shell)
        self._document = document
        self._title = title
        self._ask = ask
        self._is_full = details == "full"
        self._clock = clock
        self._drawn_at = clock()
        self._display_id = uuid.uuid4().hex
        self._is_displayed = False
        self._unfilled = unfilled
        self._forget_growth()
        self._answers: list[_ShownAnswer] = []
        self._shown = 0
        self._with_imports = True
        self._record: Record = {}
        self._actions: Actions | None = None
        self._early: list[tuple[str, int]] = []  # what was decided before the request was done
        self._stop: Callable[[], None] | None = None  # what makes a request end that has nothing more to say
        self._terminal = LiveDiff(document, sys.stdout)
        if self._owner.is_watched:
            self._draw_progress()

    def _forget_growth(self) -> None:
        self._middle, self._kept = self._unfilled
        self._tokens, self._seconds = 0, 0.0

    def grow(self, middle: str, tokens: int, seconds: float, kept: Spans = ()) -> None:
        """Show what the model has written so far, if it is time to draw again.

        Args:
            middle: The text in the hole.
            tokens: How many tokens it took.
            seconds: How long it took.
            kept: Where the text in the hole is the user's own, between several holes.
        """
        self._middle, self._tokens, self._seconds, self._kept = middle, tokens, seconds, kept
        if not self._owner.front_end.has_kernel:
            self._terminal.show(middle, kept)
            return
        now = self._clock()
        if self._owner.is_watched and now - self._drawn_at >= SECONDS_BETWEEN_DRAWINGS:
            self._drawn_at = now
            self._draw_progress()

    def wait(self, pause: Progress | None) -> None:
        """Show how far a pause has come that the server has asked for; None when it is over."""
        if not self._owner.front_end.has_kernel:
            self._terminal.wait(pause)
            return
        now = self._clock()
        if self._owner.is_watched and (pause is None or now - self._drawn_at >= SECONDS_BETWEEN_DRAWINGS):
            self._drawn_at = now
            self._draw_progress(pause)

    def offer(self, result: Result, stop: Callable[[], None]) -> None:
        """Show the first answer, with buttons, while others are on their way. Nothing, where nobody could click them.

        Args:
            result: Its one candidate is shown.
            stop: Ends the request; it is called when the user has decided.
        """
        if not (self._ask and self._owner.is_watched):
            return
        self._stop = stop
        self._answers = [_ShownAnswer(result, result.candidates[0])]
        self._record = record_of(result)
        self._draw_answers()
        self._review(None, None)
        self._say("More are on their way.")

    def settle(self, result: Result) -> Result:
        """Return the finished request in the order in which it is to be shown.

        An answer that the user has decided on, or taken a part of, stays the first.
        """
        if self._actions is None or not self._actions.is_touched:
            return result
        return result.beginning_with(self._answers[0].candidate)

    def finish(
        self,
        result: Result,
        *,
        record: Record | None = None,
        notes: Sequence[Sequence[str]] = (),
        on_decision: OnDecision | None = None,
        ask: Ask | None = None,
    ) -> None:
        """Show the finished request, and the buttons where there is somebody to click them.

        Args:
            result: The finished request.
            record: Where it came from, for the output's metadata. What the user decides is added to it.
            notes: More to say about each candidate, in their order.
            on_decision: Called with what the user decided ("accept", "replace", "reject", "part", "copy", "undo")
                and for which candidate.
            ask: Gets another answer; without it the user is not offered any.
        """
        offered, self._stop = self._answers, None
        all_notes = [*notes, *[()] * (len(result.candidates) - len(notes))]
        self._answers = [_ShownAnswer(result, *pair) for pair in zip(result.candidates, all_notes, strict=True)]
        self._record = {} if record is None else record
        for decision, index in self._early:
            decide(self._record, decision, index, imports=self._with_imports)
            if on_decision is not None:
                on_decision(decision, index)
        self._draw_answers()
        if not (self._ask and self._owner.is_watched):
            return
        self._review(on_decision, ask)
        if self._actions is not None and offered:
            taken_over = offered[0].candidate.middle != result.middle
            self._say("A better answer came, and took the place of the first." if taken_over else "")

    def _review(self, on_decision: OnDecision | None, ask: Ask | None) -> None:
        from fim_magic.review.widget import Actions, Listener

        def on_own_decision(decision: str, index: int) -> None:
            self._note_decision(decision, index)
            if on_decision is not None:
                on_decision(decision, index)

        def on_ask(index: int | None) -> None:
            if ask is not None:
                self._ask_again(index, ask, actions)

        def on_imports(with_imports: bool) -> None:
            self._with_imports = with_imports
            self._draw_answers(self._shown)

        listener = Listener(on_own_decision, self._draw_answers, None if ask is None else on_ask, on_imports)
        if self._actions is None:
            self._actions = actions = Actions(self._offers(), self._owner, listener)
            actions.show()
        else:
            actions = self._actions
            actions.go_on(self._offers(), listener)

    def _say(self, status: str) -> None:
        if self._actions is not None:
            self._actions.busy(False, status)

    def _ask_again(self, index: int | None, ask: Ask, actions: Actions) -> None:
        """Get an answer beside those that are there, and show it while it grows: a longer one for `index`, if any."""
        short = None if index is None else self._answers[index].candidate
        actions.busy(True, "Asking again…" if short is None else "Asking for more…")
        shown, status = self._shown, ""
        self._forget_growth()
        self._draw_progress()
        try:
            result = ask(short, self.grow)
        except KeyboardInterrupt as error:
            status = str(error) or "Interrupted."
        except BaseException as error:
            if not is_failure(error):
                raise
            status = str(in_words(error))
        else:
            shown, status = len(self._answers), result.broken_off
            self._answers.append(_ShownAnswer(result, result.candidates[0], self._same_as(result.middle)))
            add_answer(self._record, result)
            actions.offer(self._offers(), shown)
        finally:
            self._draw_answers(shown)
            actions.busy(False, status)

    def _same_as(self, middle: str) -> list[str]:
        """Say it where the model has answered the same before: it is no failure to show something new."""
        middles = [answer.candidate.middle for answer in self._answers]
        if middle not in middles:
            return []
        which = f"candidate {middles.index(middle) + 1}" if len(middles) > 1 else "before"
        return [f"the same text as {which}"]

    def _offers(self) -> list[Offer]:
        from fim_magic.review.widget import Offer

        return [
            Offer(
                addition(self._document, candidate.middle, candidate.kept, candidate.imports),
                about(candidate),
                of_cell(self._record, index),
                has_failed=has_failed(candidate),
            )
            for index, candidate in enumerate(answer.candidate for answer in self._answers)
        ]

    def _note_decision(self, decision: str, index: int) -> None:
        """Keep in the diff's metadata what became of it."""
        if decision == "copy":
            return
        decide(self._record, decision, index, imports=self._with_imports)
        self._draw_answers(index)
        if self._stop is not None:  # the request is under way: its record is made when it is done
            self._early.append((decision, index))
            self._stop()

    def stop(self, reason: str) -> None:
        """Show how far the request had come when it failed, and the `reason` in a few words."""
        self._draw(self._rows(self._middle, self._kept), stopped_line(self._title, reason))

    def _rows(self, middle: str, kept: Spans, imports: Sequence[str] = ()) -> tuple[Row, ...]:
        return with_removed(elided(diff(self._document, middle, kept, imports)), self._document)

    def _rows_of(self, candidate: Candidate) -> tuple[Row, ...]:
        return self._rows(candidate.middle, candidate.kept, candidate.imports if self._with_imports else ())

    def _draw_progress(self, pause: Progress | None = None) -> None:
        words = progress_line(self._title, self._tokens, self._seconds, self._document.holes)
        if pause is not None:
            words = waiting_line(self._title, pause)
        self._draw(self._rows(self._middle, self._kept), words, live=True)

    def _draw_answers(self, index: int = 0) -> None:
        """Draw one candidate with its line; behind that, all that is known of it, and the others."""
        self._shown = index
        shown, count = self._answers[index], len(self._answers)
        parts: tuple[Result, Candidate, Sequence[str]] = (shown.result, shown.candidate, shown.notes)
        which = (index + 1, count)
        others = [
            (self._rows_of(other.candidate), title_of_other(other.candidate, other.notes, (number, count)))
            for number, other in enumerate(self._answers, 1)
            if number != index + 1
        ]
        self._draw(
            self._rows_of(shown.candidate),
            line(*parts, which=which, whole=self._is_full),
            details=(facts(*parts, which=which), shown.candidate),
            others=others,
        )

    def _draw(
        self,
        rows: Sequence[Row],
        words: str,
        *,
        live: bool = False,
        details: tuple[Sequence[Fact], Candidate] | None = None,
        others: Sequence[tuple[Sequence[Row], str]] = (),
    ) -> None:
        in_text = details_text(*details) if details and self._is_full else ""
        if not self._owner.front_end.has_kernel:
            self._terminal.clear()
            draw = to_ansi if is_terminal(sys.stdout) else to_text
            say_in_colour(draw(rows, words, in_text))
            return
        folded = details_html(*details) if details else ""
        bundle = {
            "text/html": to_html(rows, words, live=live, details=folded, others=others, unfolded=self._is_full),
            "text/plain": to_text(rows, words, in_text),
        }
        self._owner.show(self._display_id, bundle, {METADATA_KEY: self._record}, update=self._is_displayed)
        self._is_displayed = True
