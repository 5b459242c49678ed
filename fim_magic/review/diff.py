r"""The difference between the user's text and the text with the hole filled, line by line.

The middle is an insertion at a known place, so the difference is known exactly and nothing has to
be searched for. What is left to decide is how it reads. An insertion can often be told in more than
one way: "\n    b" after a line is the same text as "    b\n" before the next one. Where one of
those ways is made of whole lines, that is the one shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fim_magic.document import Document

Kind = Literal["same", "added", "changed"]

CONTEXT = 3
"""How many unchanged lines are shown around a change, as in a unified diff."""

LONGEST = 60
"""A text of at most so many lines is shown whole."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True)
class Segment:
    """A part of a line that is new as a whole or old as a whole.

    An added segment may be empty: it says where the hole is before anything is in it.
    """

    text: str
    added: bool


@dataclass(frozen=True)
class Line:
    """One line of the rebuilt text.

    Attributes:
        number: Counted from 1, in the rebuilt text.
        segments: The parts of the line, its line end included.
        kind: "added" when nothing that can be seen on the line was there before: old indentation
            before new code makes an added line. "changed" when new text stands beside old text, or
            when a new line end splits old text. "same" otherwise.
    """

    number: int
    segments: tuple[Segment, ...]
    kind: Kind

    @property
    def text(self) -> str:
        """The whole line with its line end."""
        return "".join(segment.text for segment in self.segments)

    @property
    def has_hole(self) -> bool:
        """Whether the hole, filled or not, reaches into this line."""
        return any(segment.added for segment in self.segments)

    def visible(self) -> tuple[Segment, ...]:
        r"""Return the segments without the line end.

        A line that is "changed" only by a new line end keeps that as a segment "\n": there is
        nothing else to show.
        """
        end = len(self.text) - len(_without_end(self.text))
        kept: list[Segment] = []
        for segment in reversed(self.segments):
            cut = min(end, len(segment.text))
            end -= cut
            kept.append(Segment(segment.text[: len(segment.text) - cut], segment.added))
        kept.reverse()
        if self.kind == "changed" and not any(part.added and part.text for part in kept):
            return (*(part for part in kept if not part.added), Segment("\n", added=True))
        return tuple(kept)


@dataclass(frozen=True)
class Gap:
    """Unchanged lines that are not shown."""

    count: int


def diff(document: Document, middle: str) -> tuple[Line, ...]:
    """Return the lines of the rebuilt text, with what is new marked as such.

    The texts of all segments, joined, are `document.rebuild(middle)`. Without the added ones, they
    are the user's text.
    """
    whole = addition(document, middle)
    start = len(whole.before)
    end = start + len(whole.added)
    splits_line = bool(whole.after.partition("\n")[0].strip())
    return tuple(
        _line(number, match.start(), match.group(), (start, end), splits_line=splits_line)
        for number, match in enumerate(_LINE.finditer(whole.text), 1)
    )


@dataclass(frozen=True)
class Addition:
    """What an infill adds to the user's text, told as whole lines where that is possible.

    Attributes:
        before: The rebuilt text before it.
        added: What is new.
        after: The rebuilt text behind it.
    """

    before: str
    added: str
    after: str

    @property
    def text(self) -> str:
        """The rebuilt text."""
        return self.before + self.added + self.after

    @property
    def whole_lines(self) -> bool:
        """Whether it begins and ends at line ends, so that any number of its first lines is an addition, too."""
        return self.before[-1:] in ("", "\n") and (not self.after or self.added[-1:] == "\n")


def addition(document: Document, middle: str) -> Addition:
    """Return what `middle` adds to `document`, as [`diff`][] shows it."""
    text = document.rebuild(middle)
    start, end = _as_whole_lines(text, len(document.prefix), len(text) - len(document.suffix))
    return Addition(text[:start], text[start:end], text[end:])


def elided(lines: Sequence[Line], context: int = CONTEXT, longest: int = LONGEST) -> tuple[Line | Gap, ...]:
    """Replace long runs of unchanged lines far from the hole by gaps.

    Args:
        lines: The lines of a diff.
        context: How many unchanged lines to keep on each side of the hole.
        longest: With at most so many lines, all are kept.
    """
    if len(lines) <= longest:
        return tuple(lines)
    at = [index for index, line in enumerate(lines) if line.has_hole] or [len(lines) - 1]
    first = max(at[0] - context, 0)
    last = min(at[-1] + context, len(lines) - 1)
    return (*_gap(lines[:first]), *lines[first : last + 1], *_gap(lines[last + 1 :]))


def _gap(lines: Sequence[Line]) -> tuple[Line | Gap, ...]:
    # A gap takes a row itself, so in place of a single line it would save nothing.
    return (Gap(len(lines)),) if len(lines) > 1 else tuple(lines)


def _as_whole_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """Shift the added range to whole lines, if the same insertion can be told so."""
    for shift in _equal_shifts(text, start, end):
        first, last = start + shift, end + shift
        begins_line = first == 0 or text[first - 1] == "\n"
        ends_line = last == len(text) or text[last - 1] == "\n"
        if begins_line and ends_line:
            return first, last
    return start, end


def _equal_shifts(text: str, start: int, end: int) -> Iterator[int]:
    """Yield by how much the range may move without telling of another insertion, nearest first."""
    yield 0
    if start == end:
        return
    shift = 0
    while end + shift < len(text) and text[start + shift] == text[end + shift]:
        shift += 1
        yield shift
    shift = 0
    while start + shift > 0 and text[start + shift - 1] == text[end + shift - 1]:
        shift -= 1
        yield shift


def _line(number: int, begin: int, text: str, added: tuple[int, int], *, splits_line: bool) -> Line:
    start = min(max(added[0] - begin, 0), len(text))
    end = min(max(added[1] - begin, 0), len(text))
    # After the last line end there is no line that an empty hole could stand in.
    is_hole = added[0] == added[1] and 0 <= added[0] - begin <= len(_without_end(text))
    parts = (
        Segment(text[:start], added=False),
        Segment(text[start:end], added=True),
        Segment(text[end:], added=False),
    )
    segments = tuple(part for part in parts if part.text or (part.added and is_hole))
    return Line(number, segments, _kind(text, start, end, splits_line=splits_line))


def _kind(text: str, start: int, end: int, *, splits_line: bool) -> Kind:
    if start == end:
        return "same"
    content = _without_end(text)
    if start >= len(content) > 0:
        # Only the line end is new. "foo(" + "\n" + ")" tore a line of the user's in two; "a" + "\nb" did not touch "a".
        return "changed" if splits_line and content.strip() else "same"
    old = content[:start] + content[end:]
    return "changed" if old.strip() else "added"


def _without_end(text: str) -> str:
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
