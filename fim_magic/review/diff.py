r"""The difference between the user's text and the text with the hole filled, line by line.

The middle is an insertion at a known place, so the difference is known exactly and nothing has to
be searched for. What is left to decide is how it reads. An insertion can often be read in more than
one way: "\n    b" after a line is the same text as "    b\n" before the next one. Where one of
those ways is made of whole lines, that is the one shown.

Several holes are several insertions: the middle then holds text of the user's, too, and `Spans` says where.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import Literal

from fim_magic.document import Document
from fim_magic.holes import Spans, written
from fim_magic.line_ends import ends_line, lines_with_ends, without_end
from fim_magic.placing import split_for_imports
from fim_magic.unicode_text import without_mark

Kind = Literal["same", "added", "changed"]

CONTEXT = 3
"""How many unchanged lines are shown around a change, as in a unified diff."""

LONGEST = 60
"""A text of at most so many lines is shown whole."""


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
        end = len(self.text) - len(without_end(self.text))
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


@dataclass(frozen=True)
class Removed:
    """A line of the user's as it was, from which the text in the middle is taken away.

    Attributes:
        before: What stays of it before that text.
        text: What goes, with the line end if that goes as well.
        after: What stays of it behind that text.
    """

    before: str
    text: str
    after: str


Row = Line | Removed | Gap


def diff(document: Document, middle: str, kept: Spans = (), imports: Sequence[str] = ()) -> tuple[Line, ...]:
    """Return the lines of the rebuilt text, with what is new marked as such.

    The texts of all segments, joined, are `document.rebuild(middle)` with the imports. Without the added ones, they
    are the user's text.

    Args:
        document: The user's text.
        middle: What fills its hole.
        kept: Where the middle is the user's own text, as `Candidate.kept` has it.
        imports: Lines that go above the code.
    """
    whole = addition(document, middle, kept, imports)
    insertions = tuple(whole.insertions())
    rows = lines_with_ends(whole.text)
    starts = accumulate(map(len, rows), initial=0)
    return tuple(_line(number, *row, insertions) for number, row in enumerate(zip(starts, rows, strict=False), 1))


@dataclass(frozen=True)
class Insertion:
    """What one hole adds to the rebuilt text.

    Attributes:
        start: Where it begins there.
        end: Where it ends.
        splits_line: Whether text of the user's follows it on its line.
    """

    start: int
    end: int
    splits_line: bool


@dataclass(frozen=True)
class Addition:
    """What an infill adds to the user's text, as whole lines where that is possible.

    Attributes:
        texts: The user's text before the first hole, between each two, and after the last.
        added: What is new in each hole.
        imported: Which of the holes holds imports, if any: a place of its own, that may be left empty.
    """

    texts: tuple[str, ...]
    added: tuple[str, ...]
    imported: int | None = None

    @property
    def text(self) -> str:
        return "".join(text + added for text, added in zip(self.texts, (*self.added, ""), strict=True))

    @property
    def without_imports(self) -> Addition:
        """What it adds where the imports are left out."""
        if self.imported is None:
            return self
        return replace(self, added=tuple("" if hole == self.imported else text for hole, text in enumerate(self.added)))

    @property
    def whole_lines(self) -> tuple[bool, ...]:
        """For each hole, whether it begins and ends at line ends: then any number of its first lines may be added."""
        text = self.text
        return tuple(
            (hole.start == 0 or ends_line(text, hole.start)) and (hole.end == len(text) or ends_line(text, hole.end))
            for hole in self.insertions()
        )

    def insertions(self) -> Iterator[Insertion]:
        """Yield where in the rebuilt text each hole is."""
        start = 0
        for hole, added in enumerate(self.added):
            start += len(self.texts[hole])
            follows = lines_with_ends("".join(self.texts[hole + 1 :]))[:1]
            yield Insertion(start, start + len(added), bool("".join(follows).strip()))
            start += len(added)


def addition(document: Document, middle: str, kept: Spans = (), imports: Sequence[str] = ()) -> Addition:
    """Return what `middle` adds to `document`, as [`diff`][] shows it. Arguments as there."""
    filled = _filled(document, middle, kept)
    return _with_imports(filled, imports) if imports else filled


def _with_imports(filled: Addition, imports: Sequence[str]) -> Addition:
    """Open another hole for the imports, in the user's text or in what is new."""
    before, text, _ = split_for_imports(filled.text, imports)
    texts, added, left = list(filled.texts), list(filled.added), len(before)
    for hole, own in enumerate(filled.texts):
        if left <= len(own):
            texts[hole : hole + 1] = [own[:left], own[left:]]
            added.insert(hole, text)
            return Addition((*texts,), (*added,), hole)
        left -= len(own)
        new = filled.added[hole]
        if left < len(new):
            texts[hole + 1 : hole + 1] = ["", ""]
            added[hole : hole + 1] = [new[:left], text, new[left:]]
            return Addition((*texts,), (*added,), hole + 1)
        left -= len(new)
    raise AssertionError("the place is in the text")


def _filled(document: Document, middle: str, kept: Spans) -> Addition:
    text = document.rebuild(middle)
    ranges = [
        (_in_rebuilt(document, middle, start), _in_rebuilt(document, middle, end))
        for start, end in written(kept, len(middle))
    ]
    texts, added, begin = [], [], 0
    for (start, end), (stop, _) in zip(ranges, [*ranges[1:], (len(text), 0)], strict=True):
        first, last = _as_whole_lines(text, start, end, begin, stop)
        texts.append(text[begin:first])
        added.append(text[first:last])
        begin = last
    return Addition((*texts, text[begin:]), tuple(added))


def _in_rebuilt(document: Document, middle: str, position: int) -> int:
    """Return where a position of the middle is in the rebuilt text, whose lines may end in CR LF."""
    return len(document.rebuild(middle[:position])) - len(document.suffix)


def writing_at(lines: Sequence[Line]) -> tuple[int, int] | None:
    """Return where the model is writing: the number of the line, and which of its added segments.

    That is the last hole in which there is something, or else the first.
    """
    holes = [
        (line.number, index, bool(segment.text))
        for line in lines
        for index, segment in enumerate(segment for segment in line.segments if segment.added)
    ]
    begun = [(number, index) for number, index, is_begun in holes if is_begun]
    return begun[-1] if begun else holes[0][:2] if holes else None


def elided(lines: Sequence[Line], context: int = CONTEXT, longest: int = LONGEST) -> tuple[Line | Gap, ...]:
    """Replace long runs of unchanged lines by gaps: those more than `context` lines from any hole.

    Args:
        lines: The lines of a diff.
        context: How many unchanged lines are kept on each side of a hole.
        longest: With at most so many lines, all are kept.
    """
    if len(lines) <= longest:
        return tuple(lines)
    holes = [index for index, line in enumerate(lines) if line.has_hole] or [len(lines) - 1]
    near = {index for hole in holes for index in range(hole - context, hole + context + 1)}
    rows: list[Line | Gap] = []
    for is_near, run in groupby(enumerate(lines), key=lambda row: row[0] in near):
        shown = [line for _, line in run]
        rows += shown if is_near else _gap(shown)
    return tuple(rows)


def with_removed(rows: Sequence[Row], document: Document) -> tuple[Row, ...]:
    """Put what the answer replaces, if anything, before the first line that is new."""
    removed = _removed(document)
    first = next((at for at, row in enumerate(rows) if isinstance(row, Line) and row.has_hole), len(rows))
    return (*rows[:first], *removed, *rows[first:])


def _removed(document: Document) -> Iterator[Removed]:
    start, end = len(document.prefix), len(document.prefix) + len(document.replaced)
    begin = 0
    for line in lines_with_ends(document.prefix + document.replaced + document.suffix):
        first, last = (min(max(place - begin, 0), len(line)) for place in (start, end))
        if first < last:
            yield Removed(line[:first], line[first:last], line[last:])
        begin += len(line)


def _gap(lines: Sequence[Line]) -> tuple[Line | Gap, ...]:
    # A gap takes a row itself, so in place of a single line it would save nothing.
    return (Gap(len(lines)),) if len(lines) > 1 else tuple(lines)


def _as_whole_lines(text: str, start: int, end: int, begin: int, stop: int) -> tuple[int, int]:
    """Shift the added range to whole lines, if the same insertion can be read so between `begin` and `stop`."""
    for shift in _equal_shifts(text, start, end, begin, stop):
        first, last = start + shift, end + shift
        if (first == 0 or ends_line(text, first)) and (last == len(text) or ends_line(text, last)):
            return first, last
    return start, end


def _equal_shifts(text: str, start: int, end: int, begin: int, stop: int) -> Iterator[int]:
    """Yield by how much the range may move and be the same insertion, nearest first.

    What is from `begin` to `stop` and not in the range is the user's: beyond that, other holes are.
    """
    yield 0
    if start == end:
        return
    shift = 0
    while end + shift < stop and text[start + shift] == text[end + shift]:
        shift += 1
        yield shift
    shift = 0
    while start + shift > begin and text[start + shift - 1] == text[end + shift - 1]:
        shift -= 1
        yield shift


def _line(number: int, begin: int, text: str, insertions: Sequence[Insertion]) -> Line:
    segments: list[Segment] = []
    added: list[tuple[int, int]] = []
    splits_line = False
    done = 0
    for hole in insertions:
        start, end = (min(max(place - begin, 0), len(text)) for place in (hole.start, hole.end))
        # After the last line end there is no line that an empty hole could stand in.
        is_hole = hole.start == hole.end and 0 <= hole.start - begin <= len(without_end(text))
        if start < end or is_hole:
            segments += Segment(text[done:start], added=False), Segment(text[start:end], added=True)
            done = end
        if start < end:
            added.append((start, end))
            splits_line = hole.splits_line
    segments.append(Segment(text[done:], added=False))
    kept = tuple(part for part in segments if part.text or part.added)
    return Line(number, kept, _kind(text, added, splits_line=splits_line))


def _kind(text: str, added: Spans, *, splits_line: bool) -> Kind:
    if not added:
        return "same"
    content = without_end(text)
    if added[0][0] >= len(content) > 0:
        # Only the line end is new. "foo(" + "\n" + ")" tore a line of the user's in two; "a" + "\nb" did not touch "a".
        return "changed" if splits_line and content.strip() else "same"
    old = without_mark("".join(content[start:end] for start, end in written(added, len(content))))
    return "changed" if old.strip() else "added"
