"""Untrusted text, made fit to be shown: on a page, on a terminal, in a column of so many characters.

Control characters could hide code from the reader or drive a terminal, so they are shown as what they are.
"""

from __future__ import annotations

import re
from html import escape
from itertools import accumulate

import wcwidth

DIM = "\x1b[2m"
RESET = "\x1b[0m"

# C0 and C1 controls but the tab; the marks that reorder text; lone surrogates, which no UTF-8 file can hold.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def html_text(text: str) -> str:
    """Return `text` as HTML, with control characters by name. A line end is one of them."""
    parts: list[str] = []
    end = 0
    for match in _CONTROL.finditer(text):
        parts.append(escape(text[end : match.start()]))
        kind = "end" if match.group() == "\n" else "control"
        parts.append(f'<span class="fim-{kind}">{escape(_name_of(match.group()))}</span>')
        end = match.end()
    return "".join([*parts, escape(text[end:])])


def plain_text(text: str) -> str:
    """Return `text` for a terminal or a file, with control characters by name. A line end is one of them."""
    return _CONTROL.sub(lambda match: _name_of(match.group()), text)


def plain_lines(text: str) -> str:
    """Return several lines for a terminal or a file, with all control characters but their ends by name."""
    return "\n".join(map(plain_text, text.split("\n")))


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


def counted(number: int, what: str) -> str:
    """Return a number of things in words: 1 token, 1,234 tokens."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _name_of(control: str) -> str:
    # Only a line end that is itself what was added gets here as "\n".
    return "↵" if control == "\n" else f"<U+{ord(control):04X}>"
