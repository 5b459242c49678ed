r"""Where lines end: LF, CR LF, or CR alone, as Python itself reads its source.

Nothing else ends one. `str.splitlines` also breaks at a form feed, a vertical tab, U+0085, U+2028 and others, all of
which may stand within a string.
"""

from __future__ import annotations

import re

_END = re.compile(r"\r\n|\r|\n")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_LF = re.compile(r"\r?\n")


def line_end_of(*texts: str) -> str:
    r"""Return how the lines of a text end that may come in parts: "\r\n" if any does so, "\r" if no other does."""
    if any("\r\n" in text for text in texts):
        return "\r\n"
    return "\r" if any("\r" in text for text in texts) and not any("\n" in text for text in texts) else "\n"


def with_line_ends(text: str, end: str) -> str:
    """Return a text whose lines all end in `end`. Where that is LF, it is left as it is."""
    return text if end == "\n" else _LF.sub(end, text)


def with_lf(text: str) -> str:
    """Return a text whose lines end in LF."""
    return _END.sub("\n", text) if "\r" in text else text


def lines_with_ends(text: str) -> list[str]:
    """Return the lines of a text, each with its end."""
    return _LINE.findall(text)


def without_end(line: str) -> str:
    """Return a line without its end."""
    return line[:-2] if line.endswith("\r\n") else line[:-1] if line.endswith(("\r", "\n")) else line


def ends_line(text: str, position: int) -> bool:
    """Whether a line ends just before a position of a text, and not within the CR LF that ends it."""
    before = text[position - 1 : position]
    return before == "\n" or (before == "\r" and text[position : position + 1] != "\n")


def in_place_of_cr(text: str, *, final: bool) -> str:
    """Return a text of the same length whose lines end in LF, so that places in one are places in the other.

    Args:
        text: As it was written.
        final: Whether no more of it will come. Otherwise a CR at its end may be half of a CR LF.
    """
    if "\r" not in text:
        return text
    head, last = (text, "") if final or not text.endswith("\r") else (text[:-1], " ")
    return head.replace("\r\n", " \n").replace("\r", "\n") + last


def line_and_column(text: str, position: int) -> str:
    """Say where in `text` a character stands: "line 2, column 5"."""
    before = _END.split(text[:position])
    # A CR at the end of what stands before may be half of a CR LF: the character after it is on the next line.
    return f"line {len(before)}, column {len(before[-1]) + 1}"
