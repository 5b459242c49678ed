"""The text leaves the hole's block."""

from __future__ import annotations

from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import CLAUSES, first_line, first_word, indent, may_be_clause

_NEXT_BRANCHES = {
    "elif": ("elif", "else"),
    "except": ("except", "else", "finally"),
    "case": ("case",),
}


def dedent(hole: Hole, text: str, final: bool) -> int | None:
    """End where a line stands further left than the hole's indented block allows.

    After a line that has code, the candidate may go on in the blocks around it, as far out as what follows the hole
    stands, but not out of its function. It may also begin a branch (`else:`) that what follows the hole is to be in.
    """
    if not hole.is_python or hole.suffix_string != hole.state.string:
        return None
    floor, opens_block = block_floor(hole, text)
    least = _outermost(hole, floor + int(opens_block))
    branch = None
    for event in hole.events(text):
        if not event.ends_statement:
            continue
        line = text[event.position + 1 :].partition("\n")[0]
        if not line.strip() or indent(line) >= least:
            continue
        if opens_block and indent(line) == floor and may_be_clause(line):
            continue
        if _may_be_branch(hole, line):
            least = indent(line)
            branch = event.position + 1 if branch is None else branch
            continue
        # It left the block for good: then the branch, too, was its own way to write what follows the hole.
        return end_before(hole, text, event.position + 1 if branch is None else branch)
    return None


def block_floor(hole: Hole, text: str) -> tuple[int, bool]:
    """Return the indentation of the candidate's block, and whether the hole's line opens one that stands deeper."""
    if hole.head.strip() or hole.state.depth or hole.state.string:
        return hole.statement_indent, hole.state.in_code and _opens_block(hole, text)
    if hole.head:
        return indent(hole.head), False
    # The marker stands in column 0: the model's first line says how deep the block is.
    first = first_line(text)
    # Nothing follows: then it is the outermost block that ends, the function that is being written.
    return (indent(first) if hole.following else min(indent(first), 1)), False


def _outermost(hole: Hole, floor: int) -> int:
    """How far left the candidate may go from a block at `floor`."""
    if not hole.above_code or not hole.head.strip():
        return floor
    body = max((depth + 1 for depth in hole.functions if depth < floor), default=0)
    return max(min(floor, indent(hole.following[0])), body)


def _may_be_branch(hole: Hole, line: str) -> bool:
    """Whether what follows the hole may be in the branch that `line` begins, or in the next one."""
    if not hole.above_code or hole.in_indentation or not may_be_clause(line, (*CLAUSES, "case")):
        return False
    if indent(hole.following[0]) == indent(line) + hole.indent_step:
        return True
    nexts = (after for word, after in _NEXT_BRANCHES.items() if may_be_clause(line, (word,)))
    at_same_depth = indent(hole.following[0]) == indent(line)
    return at_same_depth and any(first_word(hole.following[0]) in after for after in nexts)


def _opens_block(hole: Hole, text: str) -> bool:
    """Whether the statement that the hole is in ends with a colon."""
    code_end = None
    for event in hole.events(text):
        if event.kind == "comment":
            code_end = event.position
        elif event.kind == "newline":
            if event.ends_statement:
                return (hole.head + text[: event.position if code_end is None else code_end]).rstrip().endswith(":")
            code_end = None
    return False
