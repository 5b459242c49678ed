"""Text in the columns of a terminal, where a character takes none, one or two."""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import accumulate

import wcwidth

GAP = "  "
"""Between two columns of a table."""


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes, each grapheme by itself, as it is cut between them."""
    return sum(map(wcwidth.width, wcwidth.iter_graphemes(text)))


def clipped(text: str, room: float) -> str:
    """Return as much of the beginning of `text` as takes at most `room` columns of a terminal."""
    graphemes = list(wcwidth.iter_graphemes(text))
    ends = accumulate(map(wcwidth.width, graphemes))
    return "".join(grapheme for grapheme, end in zip(graphemes, ends, strict=True) if end <= room)


def shortened(text: str, room: int) -> str:
    """Return `text`, or its beginning and an ellipsis where it takes more than `room` columns of a terminal."""
    if columns_of(text) <= room:
        return text
    graphemes = list(wcwidth.iter_graphemes(clipped(text, room - 1)))
    # Few scripts have signs that make one grapheme with what follows, the ellipsis too.
    while graphemes and columns_of("".join(graphemes) + "…") > room:
        graphemes.pop()
    return "".join(graphemes) + "…"


def both_ends(text: str, room: int) -> str:
    """Return `text`, or its beginning and its end around an ellipsis where it takes more than `room` columns.

    Of a path or an address, both tell more than what is between them.
    """
    if columns_of(text) <= room:
        return text
    end = clipped(text[::-1], room // 2)[::-1]  # by signs: a mark may lose its letter, which is shown all the same
    return shortened(text, room - columns_of(end)) + end


def widths_of(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return how many columns of a terminal each column of a table takes."""
    return [max(map(columns_of, column)) for column in zip(*rows, strict=True)]


def table(rows: Sequence[Sequence[str]], right: Set[str]) -> str:
    """Return a table as lines of text.

    Args:
        rows: The first one has the headings.
        right: The headings of those columns whose text stands at their right end.
    """
    widths = widths_of(rows)
    return "\n".join(
        GAP.join(
            _padded(text, width, at_right=heading in right)
            for heading, text, width in zip(rows[0], row, widths, strict=True)
        ).rstrip()
        for row in rows
    )


def _padded(text: str, width: int, *, at_right: bool) -> str:
    room = " " * (width - columns_of(text))
    return room + text if at_right else text + room
