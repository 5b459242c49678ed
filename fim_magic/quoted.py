"""Which of some places in a text stand in a string or a comment of it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from fim_magic import lexing
from fim_magic.languages import MARKUP, PERCENT_COMMENTS, PYTHON
from fim_magic.line_ends import in_place_of_cr

# Each takes what is there also where its end is missing: to look for it anew from each quotation mark takes long.
_STRINGS = r"""|"(?:\\.|[^"\\\n])*("?)|'(?:\\.|[^'\\\n])*('?)|`(?:\\.|[^`\\\n])*(`?)"""
_SLASHES = frozenset(
    "c cpp csharp css go java javascript kotlin php rust scala swift tsx typescript".split()  # words
)
_DASHES = frozenset({"haskell", "lua", "sql"})


def quoted_positions(text: str, places: Sequence[tuple[int, str]], language: str) -> set[int]:
    """Return those of `places` that stand in a comment, or in a string which ends: one that does not is being written.

    Args:
        text: All of it.
        places: Positions, in order, each with what stands there. That is no part of the code around it.
        language: What the text is in. In markup, nothing is quoted: there a quotation mark is one.
    """
    if language in MARKUP:
        return set()
    parts: list[str] = []
    done = 0
    for position, marker in places:
        parts += text[done:position], "_" * len(marker)
        done = position + len(marker)
    plain = in_place_of_cr("".join([*parts, text[done:]]), final=True)
    spans = list(_python_spans(plain) if language == PYTHON else _spans(plain, language))
    starts = [start for start, _ in spans]
    found = set()
    for position, marker in places:
        index = bisect_right(starts, position) - 1
        if index >= 0 and position + len(marker) <= spans[index][1]:
            found.add(position)
    return found


def _python_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where strings and comments begin and end. A line end leaves a string with one quotation mark unfinished."""
    begin, opened = 0, ""
    for event in lexing.events(text):
        # A line of IPython's own is a comment to the scanner, and code to its user.
        if event.kind == "string" or (event.kind == "comment" and text[event.position] == "#"):
            begin, opened = event.position, event.kind
        elif event.kind == "end of string" or (event.kind == "newline" and opened == "comment"):
            yield begin, event.position
            opened = ""
    if opened == "comment":
        yield begin, len(text)


def _spans(text: str, language: str) -> Iterator[tuple[int, int]]:
    """Yield where strings on one line and comments begin and end, in another language than Python."""
    sign = "%" if language in PERCENT_COMMENTS else "--" if language in _DASHES else "#"
    comments = r"//[^\n]*|/\*.*?(?:\*/|\Z)" if language in _SLASHES else rf"{sign}[^\n]*"
    for match in re.finditer(comments + _STRINGS, text, re.DOTALL):
        is_unfinished = match.lastindex is not None and not match.group(match.lastindex)
        if not is_unfinished:
            yield match.span()
