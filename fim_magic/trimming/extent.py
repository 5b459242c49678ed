"""How much a hole asks for: the rest of its line, a statement, a paragraph, or a body.

Models go on for as long as they are let, and the longer an answer, the less of it is kept. So an answer ends at the
first place where all that the hole asks for is there: the cell parses, the names that only the text after the hole uses
have their values, and a function that has to return something does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import code_of, indent, may_be_clause

_MOST_ENDS = 4  # that are looked at before the first of them has to do
_LONGEST_PARAGRAPH = 12  # statements


class Extent(Enum):
    """What a hole asks for."""

    LINE = "the rest of a line"
    STATEMENT = "a statement"
    PARAGRAPH = "statements up to a blank line"
    BODY = "all of a block"


def enough(hole: Hole, text: str, final: bool) -> int | None:
    """End where the hole has what it asks for.

    A hole that is the whole body of a block is not ended here: a block ends where a line leaves it (`dedent`). Nor is
    one within a line, which ends with its line (`end-of-line`). Where a function goes on after the hole, several
    statements may be missing that only the model knows of (`total = 0`, and the loop that adds to it): a few may come,
    and where they end best is weighed when they are there (`fim_magic.selection.ranking.endings`).
    """
    if hole.least_statements is None or not hole.is_python or hole.within_line or hole.state.string:
        return None
    if hole.state.comment:
        line_end = text.find("\n")
        return line_end if line_end >= 0 else None
    asked = extent_of(hole)
    if asked is Extent.BODY:
        return None
    least = max(hole.least_statements, 1)
    ends = [end for end in _ends(hole, text, final) if end.statements >= least]
    if asked is Extent.PARAGRAPH:
        ends = [end for end in ends if end.before_blank or end.statements >= _LONGEST_PARAGRAPH]
    if goes_on_in_function(hole):
        return end_before(hole, text, ends[_MOST_ENDS - 1].at) if len(ends) > _MOST_ENDS else None
    fitting = (end.at for end in ends[:_MOST_ENDS] if hole.suffices(text[: end_before(hole, text, end.at)]))
    at: int | None = next(fitting, None)
    if at is None and ends and (final or len(ends) > _MOST_ENDS):
        at = ends[0].at
    if at is None or (final and not text[at:].strip()):
        return None  # an answer that needs no cut is left as the model gave it
    return _without_comment(hole, text, end_before(hole, text, at))


def only_comments(hole: Hole, text: str, final: bool) -> int | None:
    """End before all of an answer that begins with a comment, where a statement is asked for.

    What is to stand there is code. A small model that begins with a comment writes one from the texts that it was
    shown, or explains; other answers leave it at its first token (`fim_magic.branching`). A body may begin with one.
    """
    asked_for_code = hole.least_statements is not None and hole.is_python and hole.state.in_code
    if not asked_for_code or hole.head.strip() or not text.lstrip().startswith("#"):
        return None
    return None if extent_of(hole) is Extent.BODY else 0


def _without_comment(hole: Hole, text: str, at: int) -> int:
    """Where to end so that no comment follows the last line's code: nobody has asked for one."""
    start = text.rfind("\n", 0, at) + 1
    line = hole.head + text[:at] if start == 0 else text[start:at]
    code = code_of(line)
    if not hole.ends_line or not code.strip() or len(code) >= len(line.rstrip()):
        return at
    return at - len(line) + len(code)


def own_ends(hole: Hole, text: str) -> list[int]:
    """Return where statements of the hole's own block end in a text, those that open a block with it."""
    return [end.at for end in _ends(hole, text, final=True)]


def goes_on_in_function(hole: Hole) -> bool:
    """Whether what follows the hole is in the same function."""
    return bool(hole.functions and hole.following) and indent(hole.following[0]) > hole.functions[-1]


def last_whole(hole: Hole, text: str) -> int | None:
    """Return where the last whole statement ends in a text that breaks off, or None where it has none.

    Args:
        hole: Where the text goes.
        text: As it was when the token limit came.
    """
    if hole.state.string or hole.state.comment:
        return None
    if not hole.is_python:
        at = text.rstrip("\n").rfind("\n")
        return end_before(hole, text, at + 1) if at > 0 and text[:at].strip() else None
    whole = [end for start, end, complete in _logical_lines(hole, text, final=False) if complete and text[:end].strip()]
    while whole and code_of(text[: whole[-1]].rpartition("\n")[2]).endswith(":"):
        whole.pop()
    return end_before(hole, text, whole[-1]) if whole else None


def says_nothing(hole: Hole, middle: str) -> bool:
    """Whether a middle has no code where the hole asks for some.

    Args:
        hole: Where it goes.
        middle: As the rules have ended it.
    """
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
class _End:
    """A place where an answer could end.

    Attributes:
        at: Where in the answer.
        statements: How many statements stand before it, those of a block as one with what opens it.
        before_blank: Whether a blank line or nothing follows.
    """

    at: int
    statements: int
    before_blank: bool


def _ends(hole: Hole, text: str, final: bool) -> Iterator[_End]:
    """Yield where a statement of the hole's own block has ended, those that it opens with their blocks."""
    base, count = _base_indent(hole, text), 0
    block_end: int | None = None  # of the last line of a block that the answer has opened
    for start, end, complete in _logical_lines(hole, text, final):
        line = hole.head + text[start:end] if start == 0 else text[start:end]
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
            yield _End(block_end, count, _is_blank_after(text, block_end, final))
            block_end = None
        if not complete:
            return
        count += 1
        if not in_brackets and code.endswith(":") and not _is_block_held(hole, base):
            block_end = end
        else:
            yield _End(end, count, _is_blank_after(text, end, final))
    if final and block_end is not None:
        yield _End(block_end, count, before_blank=True)


def _logical_lines(hole: Hole, text: str, final: bool) -> Iterator[tuple[int, int, bool]]:
    """Yield where each begins and ends, and whether it is complete. Brackets that the suffix closes stay open."""
    depth, start = min(hole.state.depth, len(hole.outer)), 0
    for event in hole.events(text):
        if event.kind == "newline" and event.state.depth <= depth and not event.state.string:
            yield start, event.at, True
            start = event.at + 1
    if text[start:].strip():
        yield start, len(text), final


def _is_block_held(hole: Hole, base: int) -> bool:
    """Whether what follows the hole is the block that a line of the answer opens."""
    return bool(hole.following) and indent(hole.following[0]) > base


def _is_blank_after(text: str, at: int, final: bool) -> bool:
    line, newline, _ = text[at + 1 :].partition("\n")
    return not line.strip() and (bool(newline) or final)


def _base_indent(hole: Hole, text: str) -> int:
    """The indentation of the hole's own block."""
    if hole.head.strip():
        return hole.statement_indent
    if hole.head:
        return indent(hole.head)
    return indent(next((line for line in text.split("\n") if line.strip()), ""))
