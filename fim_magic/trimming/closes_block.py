"""The hole is within a block of a language that is known by its layout alone."""

from __future__ import annotations

from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import indent, lines_of, normalized

_HERE_DOCUMENT = "<<"  # what follows, as far left as it likes, is text


def closes_block(hole: Hole, text: str, final: bool) -> int | None:
    """In another language than Python: end before the line that closes the block which the suffix closes.

    Where the line after the hole stands further left than the hole, it closes the hole's block (`fi`, `end`, `</ul>`,
    `);`). However short it is, it is not written twice at the same depth. A line that stands still further left is
    out of the block as well; one at the same depth with another text (`else`) is not.
    """
    if hole.is_python or hole.brace_language or hole.within_line or not hole.following:
        return None
    closing, depth = hole.following[0], hole.block_indent(text)
    if indent(closing) >= depth:
        return None
    for start, line, complete in lines_of(hole.head + text):
        position = max(start - len(hole.head), 0)
        if not line.strip() or (start == 0 and hole.head.strip()):
            continue
        # Nothing is open on the first line that it could close, however deep the marker stands.
        as_deep = start == 0 or indent(line) == indent(closing)
        same = (complete or final) and as_deep and normalized(line) == normalized(closing)
        if same or indent(line) < indent(closing):
            return end_before(hole, text, position)
        if _HERE_DOCUMENT in line:
            return None
    return None
