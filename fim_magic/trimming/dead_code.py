"""The text goes on in a block that it has left by a `return` or the like."""

from __future__ import annotations

import re

from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import JUMPS, code_of, first_word, indent, may_be_clause

_MAY_FOLLOW_A_JUMP = ("yield", "break", "continue", "pass")
_YIELDS = re.compile(r"\byield\b|^\s*if (?:False|0)\b")


def dead_code(hole: Hole, text: str, final: bool) -> int | None:
    """End behind a `return` or the like, where more of its block comes, which could never run.

    A comment may come, a `break` that does no harm, and a `yield`: it makes a generator of the function also where it
    never runs.
    """
    if not hole.is_python or not hole.state.in_code or hole.state.depth:
        return None
    jump: tuple[int, int] | None = None  # the indentation and the end of the statement before, if it is one
    for _, end, line in hole.statements(text, unfinished=True):
        if not code_of(line).strip():
            continue
        may_follow = may_be_clause(line, _MAY_FOLLOW_A_JUMP) or _YIELDS.search(line)
        if jump is not None and indent(line) == jump[0] and not may_follow:
            return end_before(hole, text, jump[1] + 1) if final or end < len(text) else None
        jump = (indent(line), end) if first_word(line) in JUMPS else None
    return None
