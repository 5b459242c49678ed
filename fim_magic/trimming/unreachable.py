"""The text returns where what follows the hole could never run."""

from __future__ import annotations

from fim_magic.trimming.dedent import dedent
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import CLAUSES, JUMPS, first_word, indent

_NEW_BRANCH = frozenset({*CLAUSES, "case", "def", "class", "async", ""})  # "" is a decorator's or a bracket's


def unreachable(hole: Hole, text: str, final: bool) -> int | None:
    """End before a `return` or the like after which what follows the hole, in the same block, could never run."""
    if not hole.above_code or first_word(hole.following[0]) in _NEW_BRANCH:
        return None
    depth = indent(hole.following[0])
    jump = None
    ended = dedent(hole, text, final)
    for start, end, line in hole.statements(text, unfinished=True):
        if not line.strip():
            continue
        if jump is not None and indent(line) >= depth:
            return jump  # the block goes on, and this cannot run either
        if indent(line) < depth:
            # Another block may begin here that what follows is in, unless the candidate has left the hole's.
            if ended is not None and ended <= start:
                break
            jump = None
            continue
        complete = final or end < len(text)
        if complete and indent(line) == depth and first_word(line) in JUMPS and text[:start].strip():
            jump = end_before(hole, text, start)
    return jump if final or ended is not None else None
