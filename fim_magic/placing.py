"""Where an import goes in a cell: behind the imports that it begins with, or else above its first statement.

Above that stay cell magics, comments, the docstring and `from __future__` lines. Imports that stand together are read
together; what a person adds goes at their end.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from fim_magic.cell_text import LONGEST, tree_of, without_magics
from fim_magic.line_ends import line_end_of, lines_with_ends, with_lf
from fim_magic.unicode_text import BYTE_ORDER_MARK, without_mark


def with_imports(text: str, lines: Sequence[str]) -> str:
    """Return a cell with more imports; in one that does not parse they stand at its beginning."""
    return "".join(split_for_imports(text, lines)) if lines else text


def split_for_imports(text: str, lines: Sequence[str]) -> tuple[str, str, str]:
    """Return a cell in two parts with more imports between them, at least one, each on a line of its own."""
    position = import_place(text)
    end = line_end_of(text)
    added = "".join(f"{line}{end}" for line in lines)
    begins_line = text[:position] in ("", BYTE_ORDER_MARK) or text[position - 1] in "\r\n"
    return text[:position], added if begins_line else end + added, text[position:]


def import_place(text: str) -> int:
    """Return at which character of a cell an import goes: the start of a line, or the end of the text."""
    own = without_mark(text)
    rows = lines_with_ends(own)
    return len(text) - len(own) + sum(map(len, rows[: _rows_above(with_lf(own), rows)]))


def _rows_above(text: str, rows: Sequence[str]) -> int:
    source = None if len(text) > LONGEST else without_magics(text)
    tree = None if source is None else tree_of(source)
    if tree is None:
        return 0
    above = 0
    for index, statement in enumerate(tree.body):
        if isinstance(statement, (ast.Import, ast.ImportFrom)) or (index == 0 and _is_string(statement)):
            above = statement.end_lineno or 0
        elif not (isinstance(statement, ast.Pass) and rows[statement.lineno - 1].lstrip().startswith(("%", "!"))):
            decorators = getattr(statement, "decorator_list", ())
            before = min(node.lineno for node in (statement, *decorators)) - 1
            return int(min(above, before) if above else before)
    return above or len(rows)


def _is_string(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
