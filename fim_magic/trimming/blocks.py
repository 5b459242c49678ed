"""The hole is within a block."""

from __future__ import annotations

from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import CLAUSES, JUMPS, code_of, first_word, indent, may_be_clause, statements

_NEW_BRANCH = frozenset({*CLAUSES, "case", "def", "class", "async", ""})  # "" is a decorator's or a bracket's


def dedent(hole: Hole, text: str, final: bool) -> int | None:  # noqa: ARG001 - a Rule
    """For a hole inside an indented block: end with the block, where a line stands further left than the hole."""
    if not hole.is_python:
        return None
    floor, opens_block = block_floor(hole, text)
    for event in hole.events(text):
        if not event.ends_statement:
            continue
        line = text[event.at + 1 :].partition("\n")[0]
        if not line.strip() or indent(line) >= floor + int(opens_block):
            continue
        if opens_block and indent(line) == floor and may_be_clause(line):
            continue
        return end_before(hole, text, event.at + 1)
    return None


def block_floor(hole: Hole, text: str) -> tuple[int, bool]:
    """The indentation of the candidate's block, and whether the hole's line opens one that stands deeper."""
    if hole.head.strip() or hole.state.depth or hole.state.string:
        return hole.statement_indent, hole.state.in_code and _opens_block(hole, text)
    if hole.head:
        return indent(hole.head), False
    # The marker stands in column 0: the model's first line says how deep the block is.
    first = next((line for line in text.split("\n") if line.strip()), "")
    # Nothing follows: then it is the outermost block that ends, the function that is being written.
    return (indent(first) if hole.following else min(indent(first), 1)), False


def opens_block(hole: Hole, text: str, final: bool) -> int | None:  # noqa: ARG001 - a Rule
    """For a hole above a line that stands deeper than anything open before it: end where that line's block opens."""
    if not hole.above_code or indent(hole.following[0]) <= hole.deepest_indent:
        return None
    for start, end in statements(text, hole.events(text)):
        line = hole.head + text[start:end] if start == 0 else text[start:end]
        opens_it = indent(line) + hole.indent_step == indent(hole.following[0])
        if opens_it and code_of(line).endswith(":"):
            return end_before(hole, text, end + 1)
    return None


def unreachable(hole: Hole, text: str, final: bool) -> int | None:
    """End before a `return` or the like after which what follows the hole, in the same block, could never run."""
    if not hole.above_code or first_word(hole.following[0]) in _NEW_BRANCH:
        return None
    depth = indent(hole.following[0])
    for start, end in statements(text, hole.events(text), unfinished=final):
        line = hole.head + text[start:end] if start == 0 else text[start:end]
        if not line.strip():
            continue
        if indent(line) < depth:
            return None  # what comes deeper from here on is in another block
        if indent(line) == depth and first_word(line) in JUMPS and text[:start].strip():
            return end_before(hole, text, start)
    return None


def _opens_block(hole: Hole, text: str) -> bool:
    """Whether the statement that the hole is in ends with a colon."""
    code_end = None
    for event in hole.events(text):
        if event.kind == "comment":
            code_end = event.at
        elif event.kind == "newline":
            if event.ends_statement:
                return (hole.head + text[: event.at if code_end is None else code_end]).rstrip().endswith(":")
            code_end = None
    return False
