"""The hole is within a block."""

from __future__ import annotations

import re

from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import CLAUSES, JUMPS, code_of, first_word, indent, may_be_clause, statements

_NEW_BRANCH = frozenset({*CLAUSES, "case", "def", "class", "async", ""})  # "" is a decorator's or a bracket's

_MAY_FOLLOW_A_JUMP = ("yield", "break", "continue", "pass")
_YIELDS = re.compile(r"\byield\b|^\s*if (?:False|0)\b")

_NEXT_BRANCHES = {
    "elif": ("elif", "else"),
    "except": ("except", "else", "finally"),
    "case": ("case",),
}


def dedent(hole: Hole, text: str, final: bool) -> int | None:
    """For a hole inside an indented block: end with the block, where a line stands further left than it may.

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
        line = text[event.at + 1 :].partition("\n")[0]
        if not line.strip() or indent(line) >= least:
            continue
        if opens_block and indent(line) == floor and may_be_clause(line):
            continue
        if _may_be_branch(hole, line):
            least = indent(line)
            branch = event.at + 1 if branch is None else branch
            continue
        # It left the block for good: then the branch, too, was its own way to write what follows the hole.
        return end_before(hole, text, event.at + 1 if branch is None else branch)
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
    opened_at = last = None
    for start, end in statements(text, hole.events(text), unfinished=final):
        if ended is not None and start > ended + 1:
            break
        line = hole.head + text[start:end] if start == 0 else text[start:end]
        if not line.strip():
            continue
        opens_it = indent(line) + hole.indent_step == depth and code_of(line).endswith(":")
        if opens_it and opened_at is None:
            opened_at = end + 1
        last = depth if opens_it else indent(line)
    fits = ended is None and last is not None and last >= depth
    if opened_at is None or fits or not text[opened_at:].strip():
        return None
    return end_before(hole, text, opened_at)


def unreachable(hole: Hole, text: str, final: bool) -> int | None:
    """End before a `return` or the like after which what follows the hole, in the same block, could never run."""
    if not hole.above_code or first_word(hole.following[0]) in _NEW_BRANCH:
        return None
    depth = indent(hole.following[0])
    jump = None
    ended = dedent(hole, text, final)
    for start, end in statements(text, hole.events(text), unfinished=True):
        line = hole.head + text[start:end] if start == 0 else text[start:end]
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


def dead_code(hole: Hole, text: str, final: bool) -> int | None:
    """End behind a `return` or the like, where more of its block comes, which could never run.

    A comment may come, a `break` that does no harm, and a `yield`: it makes a generator of the function also where it
    never runs.
    """
    if not hole.is_python or not hole.state.in_code or hole.state.depth:
        return None
    jump: tuple[int, int] | None = None  # the indentation and the end of the statement before, if it is one
    for start, end in statements(text, hole.events(text), unfinished=True):
        line = hole.head + text[start:end] if start == 0 else text[start:end]
        if not code_of(line).strip():
            continue
        follows = jump is not None and indent(line) == jump[0]
        if jump is not None and follows and not may_be_clause(line, _MAY_FOLLOW_A_JUMP) and not _YIELDS.search(line):
            return end_before(hole, text, jump[1] + 1) if final or end < len(text) else None
        jump = (indent(line), end) if first_word(line) in JUMPS else None
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
