"""The text returns where what follows the hole could never run. For languages with a parser."""

from __future__ import annotations

import re

from fim_magic.languages import FilledHole
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.parsed import asks_for_rest, line_ends, parsed_hole

_RUNS_ALL_THE_SAME = re.compile(r"case|class|default|function|label")  # a function is defined, a label jumped to


def never_runs(hole: Hole, text: str, final: bool) -> int | None:
    """End before a `return` or the like after which what follows the hole, in the same block, could never run.

    Where nothing stands before it, end with it.
    """
    parsed = parsed_hole(hole)
    if parsed is None or parsed.inside or not hole.following or asks_for_rest(hole, text):
        return None
    for end in line_ends(text, final):
        kept = text[:end].rstrip()
        if not kept or not parsed.is_sound(kept):
            continue
        start = _jump(parsed.fill(kept))
        if start is not None:
            return end_before(hole, text, start if text[:start].strip() else end)
    return None


def _jump(filled: FilledHole) -> int | None:
    """Where the `return` or the like begins that the middle ends with, if what follows could never run after it."""
    grammar, between = filled.tree.grammar, filled.boundary.between
    before, after = filled.boundary.sides()
    if between is None or before is None or after is None or between.type not in grammar.blocks:
        return None
    first = before.named_children[0] if before.named_child_count else before
    is_jump = before.type in grammar.jumps or (before.type == "expression_statement" and first.type in grammar.jumps)
    runs = after.is_named and not _RUNS_ALL_THE_SAME.search(after.type)
    start = filled.tree.start(before) - filled.start
    return start if is_jump and runs and start >= 0 else None
