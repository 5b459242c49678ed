"""Whether a statement in a place of the candidate could ever run: not where every way to it returns or the like.

What is read is the function around the hole with the candidate so far, as a tree. A line of Python would do for a lone
`return`; that all branches of an `if`, a `try` or a `match` leave can be seen only from all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

from fim_magic.cell_text import tree_of, without_magics
from fim_magic.control_flow import never_ends
from fim_magic.trimming.hole import Hole

_PLACE = "_fim_magic_place_"
_LONGEST = 20_000  # characters of a function and the candidate that are read
_MOST_LINES = 32  # of the candidate, that are tried from its end
_REMEMBERED = 256  # places: a rule asks of the same ones at each token


def is_dead_end(hole: Hole, text: str, blanks: str) -> bool | None:
    """Whether a statement behind `text` in the hole could never run, and that is the candidate's doing.

    Args:
        hole: In the code of a cell in Python.
        text: What the candidate has up to there, whole lines.
        blanks: The statement's indentation.

    Returns:
        None where no statement can stand there, or there is too much to read.
    """
    above = hole.function_above
    if len(above) + len(text) > _LONGEST:
        return None
    return _is_dead(above + text, above.count("\n") + 1, blanks)


def last_live_place(hole: Hole, text: str, blanks: str) -> int | None:
    """Return the last place in `text`, at the beginning of a line, behind which a statement could still run.

    None where there is none with something before it. Arguments as for `is_dead_end`.
    """
    starts = [start for start, _, line in hole.statements(text, unfinished=True) if line.strip()]
    for start in starts[: -_MOST_LINES - 1 : -1]:
        if text[:start].strip() and is_dead_end(hole, text[:start], blanks) is False:
            return start
    return None


def leaves_open(hole: Hole, text: str) -> bool:
    """Whether a candidate that ends with `text` lacks something, such as the `except` of a `try` that it began."""
    above = hole.function_above
    if len(above) + len(text) > _LONGEST:
        return False
    return not _parses(above + text) and _parses(above + "pass")


@lru_cache(maxsize=_REMEMBERED)
def _is_dead(source: str, first_line: int, blanks: str) -> bool | None:
    """Whether a statement at the end of a source could never run for one that ends on its `first_line` or later."""
    outer = _outer(source)
    tree = _tree(f"{outer}{source.rstrip()}\n{blanks}{_PLACE}\n")
    for body in _bodies(tree) if tree is not None else ():
        *before, last = body
        if isinstance(last, ast.Expr) and isinstance(last.value, ast.Name) and last.value.id == _PLACE:
            own = first_line + bool(outer)
            return any(never_ends([one]) and (one.end_lineno or 0) >= own for one in before)
    return None


@lru_cache(maxsize=_REMEMBERED)
def _parses(source: str) -> bool:
    return _tree(_outer(source) + source) is not None


def _outer(source: str) -> str:
    """What a text that begins with indentation needs above it."""
    return "if 1:\n" if source[:1] in (" ", "\t") else ""


def _tree(source: str) -> ast.Module | None:
    plain = without_magics(source)
    return None if plain is None else tree_of(plain)


def _bodies(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list) and body:
                yield body
