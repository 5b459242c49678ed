"""Untrusted text, made fit to be shown: on a page, and in a column of so many characters.

`visible` says which characters are shown by name, there and on a terminal.
"""

from __future__ import annotations

from html import escape
from itertools import accumulate

import wcwidth

from fim_magic.visible import name_of, parts

DIM = "\x1b[2m"
RESET = "\x1b[0m"


def html_text(text: str) -> str:
    """Return `text` as HTML, with control characters by name. A line end is one of them."""
    return "".join(
        f'<span class="fim-{"end" if part == chr(10) else "control"}">{escape(name_of(part))}</span>'
        if is_named
        else escape(part)
        for part, is_named in parts(text)
    )


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


def counted(number: int, what: str) -> str:
    """Return a number of things in words: 1 token, 1,234 tokens."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
