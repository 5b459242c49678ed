"""The hole is within a statement of SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from fim_magic.languages.grammars import SQL_CLAUSES
from fim_magic.trimming.hole import Hole, end_before

_GOES_ON = re.compile(rf"\s*(?:[),]|(?:{SQL_CLAUSES})\b)", re.IGNORECASE)
"""What begins no statement."""

# Strings, names in quotes and comments as a whole: brackets and semicolons in them are none.
_TOKEN = re.compile(r"""'(?:[^']|'')*'?|"[^"]*"?|--[^\n]*|/\*.*?(?:\*/|\Z)|[();]""", re.DOTALL)


def ends_query(hole: Hole, text: str, final: bool) -> int | None:
    """End before a semicolon where what follows the hole goes on with the same statement (`ORDER BY`, `)`).

    Or before a bracket that closes what was opened before the hole, if the suffix closes it too.
    """
    if hole.language != "sql":
        return None
    goes_on = _GOES_ON.match(hole.suffix) is not None
    by_suffix = _outer(hole.suffix)
    mine = _open(hole.prefix) - by_suffix  # what the suffix leaves open is the candidate's to close
    depth = 0
    for position, mark in _marks(text):
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if (mark == ";" and goes_on) or (by_suffix and depth < -max(mine, 0)):
            return end_before(hole, text, position)
    return None


def _marks(text: str) -> Iterator[tuple[int, str]]:
    return ((match.start(), match[0]) for match in _TOKEN.finditer(text) if match[0] in "();")


@lru_cache(maxsize=1)  # of the prefix, at every token
def _open(text: str) -> int:
    """How many brackets are open at the end of `text`."""
    depth = 0
    for _, mark in _marks(text):
        depth = 0 if mark == ";" else max(depth + {"(": 1, ")": -1}[mark], 0)
    return depth


@lru_cache(maxsize=1)  # of the suffix, likewise
def _outer(text: str) -> int:
    """How many brackets `text` closes in its first statement that it has not opened."""
    depth = least = 0
    for _, mark in _marks(text):
        if mark == ";":
            break
        depth += {"(": 1, ")": -1}[mark]
        least = min(least, depth)
    return -least
