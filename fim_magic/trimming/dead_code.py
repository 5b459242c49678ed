"""The text goes on in a block that it has left by a `return` or the like."""

from __future__ import annotations

import re

from fim_magic.trimming.dead_ends import is_dead_end, leaves_open
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import JUMPS, blanks_of, code_of, first_word, indent, may_be_clause

_MAY_FOLLOW_A_JUMP = ("yield", "break", "continue", "pass")
_YIELDS = re.compile(r"\byield\b|^\s*if (?:False|0)\b")


def dead_code(hole: Hole, text: str, final: bool) -> int | None:
    """End behind a `return` or the like, or a statement whose branches all have one, where more of its block comes.

    That could never run. A comment may come, a `break` that does no harm, and a `yield`: it makes a generator of the
    function also where it never runs.
    """
    if not hole.is_python or not hole.state.in_code or hole.state.depth:
        return None
    above, above_end = "", 0  # the statement before, and where it ends
    for start, end, line in hole.statements(text, unfinished=True):
        if not code_of(line).strip():
            continue
        may_follow = may_be_clause(line, _MAY_FOLLOW_A_JUMP) or _YIELDS.search(line)
        if above and not may_follow and _is_dead(hole, text[:start], above, line):
            cut = end_before(hole, text, above_end + 1) if final or end < len(text) else None
            return None if cut is None or leaves_open(hole, text[:cut]) else cut
        above, above_end = line, end
    return None


def _is_dead(hole: Hole, text: str, above: str, line: str) -> bool:
    """Whether a line could never run, by the statement above it."""
    if indent(line) == indent(above) and first_word(above) in JUMPS:
        return True
    closes = indent(line) < indent(above) or (indent(line) == indent(above) and may_be_clause(above))
    return closes and not may_be_clause(line) and bool(is_dead_end(hole, text, blanks_of(line)))
