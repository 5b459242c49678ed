"""The text returns where what follows the hole could never run."""

from __future__ import annotations

from fim_magic.trimming.dead_ends import is_dead_end, last_live_place
from fim_magic.trimming.dedent import dedent
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import CLAUSES, JUMPS, blanks_of, first_word, indent, may_be_clause

_NEW_BRANCH = frozenset({*CLAUSES, "case", "def", "class", "async", ""})  # "" is a decorator's or a bracket's


def unreachable(hole: Hole, text: str, final: bool) -> int | None:
    """End before a `return` or the like after which what follows the hole, in the same block, could never run.

    Also before the last one of a statement whose branches all have one: then that branch goes on with what follows.
    """
    if not hole.above_code or first_word(hole.following[0]) in _NEW_BRANCH:
        return None
    ended = dedent(hole, text, final)
    cuts = (_before_jump(hole, text, final, ended), _before_last_branch(hole, text, final, ended))
    return min((cut for cut in cuts if cut is not None), default=None)


def _before_jump(hole: Hole, text: str, final: bool, ended: int | None) -> int | None:
    depth = indent(hole.following[0])
    jump = None
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


def _before_last_branch(hole: Hole, text: str, final: bool, ended: int | None) -> int | None:
    """Where the last way out begins, if every way through a statement of the hole's block is one."""
    depth, blanks = indent(hole.following[0]), blanks_of(hole.following[0])
    above = ""
    for start, _, line in hole.statements(text, unfinished=True):
        if line.lstrip()[:1] in ("", "#") or (ended is not None and ended <= start):
            continue
        closes = above and indent(line) == depth and not may_be_clause(line)
        if closes and (indent(above) > depth or may_be_clause(above)) and is_dead_end(hole, text[:start], blanks):
            return _end(hole, text, text[:start], blanks)
        above = line
    whole = text if ended is None else text[:ended]
    decided = final or ended is not None
    return _end(hole, text, whole, blanks) if decided and is_dead_end(hole, whole, blanks) else None


def _end(hole: Hole, text: str, whole: str, blanks: str) -> int | None:
    place = last_live_place(hole, whole, blanks)
    return None if place is None else end_before(hole, text, place)
