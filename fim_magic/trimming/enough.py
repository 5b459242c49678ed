"""The text has all that the hole asks for: the rest of its line, a statement, or a paragraph.

Models go on for as long as they are let, and the longer an answer, the less of it is kept. So an answer ends at the
first place where the cell parses, the names that only the text after the hole uses have their values, and a function
that has to return something does.
"""

from __future__ import annotations

from fim_magic.trimming.extent import Extent, ends_in, extent_of, goes_on_in_function
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import code_of

_MOST_ENDS = 4  # that are looked at before the first of them has to do
_LONGEST_PARAGRAPH = 12  # statements


def enough(hole: Hole, text: str, final: bool) -> int | None:
    """End where the hole has what it asks for.

    A hole that is the whole body of a block is not ended here: a block ends where a line leaves it (`dedent`). Nor is
    one within a line, which ends with its line (`end-of-line`). Where a function goes on after the hole, several
    statements may be missing that only the model knows of (`total = 0`, and the loop that adds to it): a few may come,
    and where they end best is weighed when they are there (`fim_magic.selection.ranking.endings`). A short answer has
    one statement in any case.
    """
    if hole.is_short and not hole.ends_line:
        line_end = text.find("\n")
        return line_end if line_end >= 0 else None
    if not hole.is_python or hole.within_line or hole.state.string:
        return None
    if hole.is_short and extent_of(hole) is not Extent.BODY and not hole.state.comment:
        first = next(ends_in(hole, text, final), None)
        return None if first is None else end_before(hole, text, first.position)
    if hole.least_statements is None:
        return None
    if hole.state.comment:
        line_end = text.find("\n")
        return line_end if line_end >= 0 else None
    extent = extent_of(hole)
    if extent is Extent.BODY:
        return None
    ends = [end for end in ends_in(hole, text, final) if end.statements >= max(hole.least_statements, 1)]
    if extent is Extent.PARAGRAPH:
        ends = [end for end in ends if end.before_blank or end.statements >= _LONGEST_PARAGRAPH]
    cuts = [end_before(hole, text, end.position) for end in ends]
    if goes_on_in_function(hole):
        return cuts[_MOST_ENDS - 1] if len(cuts) > _MOST_ENDS else None
    cut = next((cut for cut in cuts[:_MOST_ENDS] if hole.suffices(text[:cut])), None)
    if cut is None and cuts and (final or len(cuts) > _MOST_ENDS):
        cut = cuts[0]
    if cut is None or (final and not text[cut:].strip()):
        return None  # an answer that needs no cut is left as the model gave it
    return _without_comment(hole, text, cut)


def _without_comment(hole: Hole, text: str, end: int) -> int:
    """Where to end so that no comment follows the last line's code: the hole does not ask for one."""
    start = text.rfind("\n", 0, end) + 1
    line = (hole.head if start == 0 else "") + text[start:end]
    code = code_of(line)
    if not hole.ends_line or not code.strip() or len(code) >= len(line.rstrip()):
        return end
    return end - len(line) + len(code)
