"""The text has opened the block that what follows the hole stands in."""

from __future__ import annotations

from fim_magic.trimming.dedent import dedent
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import CLAUSES, code_of, first_word, indent


def opens_block(hole: Hole, text: str, final: bool) -> int | None:
    """For a hole above a line that stands deeper than anything open before it: end where that line's block opens.

    The block may hold lines of the candidate's too, so this is decided when the candidate has left its own block or
    has ended elsewhere.
    """
    if not hole.above_code or indent(hole.following[0]) <= hole.deepest_indent:
        return None
    if first_word(hole.following[0]) in (*CLAUSES, "case"):
        return None  # it goes on with something that the candidate has to write
    depth = indent(hole.following[0])
    ended = dedent(hole, text, final)
    if ended is None and not final:
        return None
    opened = last = None
    for start, end, line in hole.statements(text, unfinished=final):
        if ended is not None and start > ended + 1:
            break
        if not line.strip():
            continue
        opens_it = indent(line) + hole.indent_step == depth and code_of(line).endswith(":")
        if opens_it and opened is None:
            opened = end + 1
        last = depth if opens_it else indent(line)
    fits = ended is None and last is not None and last >= depth
    if opened is None or fits or not text[opened:].strip():
        return None
    return end_before(hole, text, opened)
