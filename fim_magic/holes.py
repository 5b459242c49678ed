"""Text with several holes <-> the user's text between them, and one answer that fills them all.

A model fills one hole at a time: for each there is a [`Document`][fim_magic.document.Document], with the earlier holes
filled and the later ones left out. To everything that shows, checks or places an answer, the several are one hole: it
reaches from the first marker to behind the last, and its middle holds the user's own text between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fim_magic.candidate import Candidate, Cut, Ending, told
from fim_magic.document import Document
from fim_magic.document import parse as parse_one
from fim_magic.errors import MarkerError
from fim_magic.limits import MOST_HOLES
from fim_magic.line_ends import line_and_column, line_end_of, with_line_ends
from fim_magic.markers import MARKERS, marked_places, no_marker, too_many
from fim_magic.unicode_text import check_whole

Spans = Sequence[tuple[int, int]]

# The best first. One hole that is not finished leaves the whole unfinished.
_ENDINGS = (Ending.STOP_TOKEN, Ending.RULE, Ending.LENGTH, Ending.INTERRUPTED, Ending.BROKEN_OFF)


@dataclass(frozen=True)
class MultiHoleDocument:
    """A text with one or several holes.

    Attributes:
        texts: The user's text before the first hole, between each two, and after the last, exactly as it was written.
        marker: The marker that stood at each hole.
        language: As `Document` has it.
    """

    texts: tuple[str, ...]
    marker: str
    language: str = ""

    @property
    def count(self) -> int:
        return len(self.texts) - 1

    @property
    def document(self) -> Document:
        """The text with one hole from the first marker to behind the last."""
        return Document(self.texts[0], self.texts[-1], self.marker, self.count, self.language)

    def hole(self, index: int, middles: Sequence[str] = ()) -> Document:
        """Return the text with only one of its holes.

        Of a later hole nothing is left but the white space around it: a line where one stood alone stays as a blank
        line, so that the model can see that something belongs there, and need not follow a placeholder of ours.

        Args:
            index: Which hole, from 0.
            middles: What fills the earlier ones, at least `index` of them.
        """
        before = self._woven(self.texts[: index + 1], middles[:index])
        return Document(before, "".join(self.texts[index + 1 :]), self.marker, language=self.language)

    def joined(self, middles: Sequence[str]) -> tuple[str, tuple[tuple[int, int], ...]]:
        """Join what fills the holes to the middle of [`document`][]; holes that have no text yet stay empty.

        Returns:
            The middle, and where in it the user's own text stands, as (start, end). The lines of the middles end as
            the user's do; that of one hole is left to `Document.rebuild`.
        """
        if self.count == 1:
            return "".join(middles), ()
        filled = [*map(self.with_line_ends, middles), *[""] * (self.count - len(middles))]
        parts = [filled[0]]
        kept: list[tuple[int, int]] = []
        position = len(filled[0])
        for text, middle in zip(self.texts[1:-1], filled[1:], strict=True):
            parts += text, middle
            kept.append((position, position + len(text)))
            position += len(text) + len(middle)
        return "".join(parts), tuple(kept)

    def _woven(self, texts: Sequence[str], middles: Sequence[str]) -> str:
        filled = map(self.with_line_ends, middles)
        return texts[0] + "".join(middle + text for middle, text in zip(filled, texts[1:], strict=True))

    def with_line_ends(self, middle: str) -> str:
        return with_line_ends(middle, line_end_of(*self.texts))


def parse(text: str, markers: Sequence[str] = MARKERS, *, every: bool = False, language: str = "") -> MultiHoleDocument:
    """Split `text` at its cursor markers.

    Args:
        text: Source text in any script, with one marker or several of one kind.
        markers: The markers to look for. Where one contains another, the longer is recognised.
        every: Each occurrence of a marker counts: as for `marked_places`.
        language: What the text is in, as `languages.of_file` calls it; "" for a cell.

    Raises:
        MarkerError: There is no marker; there are different ones; nothing on their line parts two of them; or there
            are more than `MOST_HOLES`.
        UnreadableTextError: The text holds half a character.
    """
    check_whole(text)
    found = marked_places(text, markers, every=every, language=language)
    if not found:
        raise MarkerError(no_marker(markers))
    if len({marker for _, marker in found}) > 1:
        raise MarkerError(too_many(text, found, "holes are made with markers of one kind"))
    if len(found) > MOST_HOLES:
        raise MarkerError(
            f"There are {len(found)} holes, and {MOST_HOLES} are the most that are filled at a time: each is asked for "
            'with all others around it. Keep those markers, or name another one for the holes: --markers "@@".'
        )
    marker = found[0][1]
    for (one, _), (other, _) in pairwise(found):
        between = text[one + len(marker) : other]
        if not between.strip() and "\n" not in between and "\r" not in between:
            raise MarkerError(_side_by_side(text, marker, one, other))
    starts = [0, *(position + len(marker) for position, _ in found)]
    ends = [*(position for position, _ in found), len(text)]
    texts = tuple(text[start:end] for start, end in zip(starts, ends, strict=True))
    return MultiHoleDocument(texts, marker, language)


def split(
    text: str, markers: Sequence[str] = MARKERS, *, complete: bool = False, every: bool = False, language: str = ""
) -> tuple[Document, MultiHoleDocument | None]:
    """Return the text as a request has it: its document, and its parts where it has several holes.

    Args:
        text: Source text with markers.
        markers: The markers to look for.
        complete: The text is to be completed from left to right, so that it has one hole, if only its end.
        every: Each occurrence of a marker counts: as for `marked_places`.
        language: What the text is in, as `languages.of_file` calls it; "" for a cell.

    Raises:
        MarkerError: As [`parse`][], or for a completion [`document.parse`][fim_magic.document.parse], says.
        UnreadableTextError: The text holds half a character.
    """
    if complete:
        return parse_one(text, markers, required=False, every=every, language=language), None
    blanks = parse(text, markers, every=every, language=language)
    return blanks.document, blanks if blanks.count > 1 else None


def combine(
    blanks: MultiHoleDocument, candidates: Sequence[Candidate], missing: Ending = Ending.INTERRUPTED
) -> Candidate:
    """Join one candidate for each hole to one for them all.

    What was trimmed from each stands at the end of its `raw`, behind the middle, one after the other; so `middle` and
    `trimmed` are what they are for one hole. Tokens that were trimmed, as those of one hole may be, have no text in it.

    Args:
        blanks: The text.
        candidates: For the first holes; those that an interrupted request has not come to stay empty.
        missing: Why it has not.
    """
    if blanks.count == 1 and candidates:
        return candidates[0]
    middle, kept = blanks.joined([candidate.middle for candidate in candidates])
    endings = [candidate.ending for candidate in candidates]
    endings += [missing] * (len(candidates) < blanks.count)
    cuts = [candidate.cut.rule for candidate in candidates if candidate.cut is not None]
    starts = [start for start, _ in written(kept, len(middle))]
    return Candidate(
        raw=middle + "".join(candidate.trimmed for candidate in candidates),
        ending=max(endings, key=_ENDINGS.index),
        cut=Cut(", ".join(dict.fromkeys(cuts)), len(middle)) if cuts else None,
        token_ids=tuple(id_ for candidate in candidates for id_ in candidate.token_ids),
        logprobs=told(
            [
                logprob
                for candidate in candidates
                for logprob in (candidate.logprobs or [None] * len(candidate.token_ids))
            ]
        ),
        token_ends=tuple(
            start + len(blanks.with_line_ends(candidate.middle[:end]))
            for start, candidate in zip(starts, candidates, strict=False)  # an interrupted request has fewer candidates
            for end in candidate.token_ends
        ),
        kept=kept,
        trimmed_lengths=tuple(len(candidate.trimmed) for candidate in candidates),
    )


def written(kept: Spans, length: int) -> Iterator[tuple[int, int]]:
    """Yield where in a middle of a length the model's own text stands, once for each hole; it may be empty."""
    start = 0
    for first, end in kept:
        yield start, first
        start = end
    yield start, length


def _side_by_side(text: str, marker: str, one: int, other: int) -> str:
    first, second = line_and_column(text, one), line_and_column(text, other)
    return (
        f"Two cursor markers have nothing between them that would part their holes: {marker} in {first}, and in "
        f"{second}. Keep one of them: a hole takes any amount of code."
    )
