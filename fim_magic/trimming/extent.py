"""How much a hole asks for, and where in a text its statements end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from fim_magic.line_ends import in_place_of_cr
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import code_of, indent, may_be_clause


class Extent(Enum):
    """What a hole asks for."""

    LINE = "the rest of a line"
    STATEMENT = "a statement"
    PARAGRAPH = "statements up to a blank line"
    BODY = "all of a block"


def goes_on_in_function(hole: Hole) -> bool:
    """Whether what follows the hole is in the same function."""
    return bool(hole.functions and hole.following) and indent(hole.following[0]) > hole.functions[-1]


def last_whole(hole: Hole, text: str) -> int | None:
    """Return where the last whole statement ends in a text that the token limit broke off, or None."""
    if hole.state.string or hole.state.comment:
        return None
    text = in_place_of_cr(text, final=True)
    if not hole.is_python:
        end = text.rstrip("\n").rfind("\n")
        return end_before(hole, text, end + 1) if end > 0 and text[:end].strip() else None
    whole = [end for start, end, complete in _logical_lines(hole, text, final=False) if complete and text[:end].strip()]
    while whole and code_of(text[: whole[-1]].rpartition("\n")[2]).endswith(":"):
        whole.pop()
    return end_before(hole, text, whole[-1]) if whole else None


def says_nothing(hole: Hole, middle: str) -> bool:
    """Whether a middle, as the rules have ended it, has no code where the hole asks for some."""
    if not hole.is_python or not hole.state.in_code or hole.within_line:
        return not middle.strip()
    return not any(code_of(line).strip() for line in middle.split("\n"))


def extent_of(hole: Hole) -> Extent:
    """Return what a hole in Python, outside strings, asks for."""
    if hole.head.strip():
        return Extent.LINE
    if hole.is_whole_body:
        return Extent.BODY
    goes_on = bool(hole.following) and indent(hole.following[0]) >= indent(hole.head)
    last_line = hole.prefix.rstrip().rpartition("\n")[2].lstrip()
    begins_paragraph = not last_line or last_line.startswith("#")
    return Extent.PARAGRAPH if begins_paragraph and not goes_on else Extent.STATEMENT


@dataclass(frozen=True)
class End:
    """A place where an answer could end.

    Attributes:
        position: Where in the answer.
        statements: How many statements stand before it, those of a block as one with what opens it.
        before_blank: Whether a blank line or nothing follows.
    """

    position: int
    statements: int
    before_blank: bool


def ends_in(hole: Hole, text: str, final: bool) -> Iterator[End]:
    """Yield where statements of the hole's own block end in a text, those that open a block with it."""
    base, count = hole.statement_indent if hole.head.strip() else hole.block_indent(text), 0
    block_end: int | None = None  # of the last line of a block that the answer has opened
    for start, end, complete in _logical_lines(hole, text, final):
        line = (hole.head if start == 0 else "") + text[start:end]
        code = code_of(line).strip()
        decorates = code.startswith("@") and block_end is None and not (start == 0 and hole.head.strip())
        if not code or decorates:
            continue
        in_brackets = hole.state.depth > 0
        outside = start == 0 or in_brackets or indent(line) <= base
        if block_end is not None:
            if not outside or may_be_clause(line):
                block_end = end
                continue
            yield End(block_end, count, _is_blank_after(text, block_end, final))
            block_end = None
        if not complete:
            return
        count += 1
        if not in_brackets and code.endswith(":") and not _is_block_held(hole, base):
            block_end = end
        else:
            yield End(end, count, _is_blank_after(text, end, final))
    if final and block_end is not None:
        yield End(block_end, count, before_blank=True)


def _logical_lines(hole: Hole, text: str, final: bool) -> Iterator[tuple[int, int, bool]]:
    """Yield where each begins and ends, and whether it is complete. Brackets that the suffix closes stay open."""
    depth, start = min(hole.state.depth, len(hole.outer)), 0
    for event in hole.events(text):
        if event.kind == "newline" and event.state.depth <= depth and not event.state.string:
            yield start, event.position, True
            start = event.position + 1
    if text[start:].strip():
        yield start, len(text), final


def _is_block_held(hole: Hole, base: int) -> bool:
    """Whether what follows the hole is the block that a line of the answer opens."""
    return bool(hole.following) and indent(hole.following[0]) > base


def _is_blank_after(text: str, end: int, final: bool) -> bool:
    line, newline, _ = text[end + 1 :].partition("\n")
    return not line.strip() and (bool(newline) or final)
