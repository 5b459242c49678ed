"""Whether the columns that a cell takes from DataFrames of the session are there.

A frame that the cell may change in a way that cannot be followed is not checked.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType

from fim_magic.candidate import Check
from fim_magic.cell_text import RUN_LATER, nodes_run_with, tree_of, without_magics
from fim_magic.checks.parsing import short
from fim_magic.control_flow import TRIES

_CHANGES = frozenset({"insert", "pop", "update", "eval"})

Frames = Mapping[str, AbstractSet[str]]
"""The columns of each DataFrame, by its name."""

NO_FRAMES: Frames = MappingProxyType({})


def columns_there(text: str, frames: Frames) -> Check | None:
    """Return a check that failed where a cell takes a column from a frame which has none of that name then, or None.

    Args:
        text: The rebuilt cell.
        frames: The DataFrames of the session, as they are before the cell runs.
    """
    tree = tree_of(without_magics(text) or "") if frames else None
    if tree is None:
        return None
    known = {name: set(columns) for name, columns in frames.items()}
    try:
        for statement in tree.body:
            missing = _missing(statement, known)
            if missing is not None:
                name, column = missing
                return Check("columns", False, short(f"{name} has no column {column!r}"))
            _follow(statement, known)
    except RecursionError:
        return None
    return None


def _missing(statement: ast.stmt, known: Mapping[str, set[str]]) -> tuple[str, str] | None:
    """The first column that a statement takes and that is not there. What a compound one sets is there all through."""
    if isinstance(statement, (*TRIES, *RUN_LATER)):
        return None
    own = _set_in(statement) if hasattr(statement, "body") else set()
    for name, column in _taken(statement):
        if name in known and column not in known[name] and (name, column) not in own:
            return name, column
    return None


def _taken(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """The columns that a statement takes from frames, of these and of their groups."""
    for node in (statement, *nodes_run_with(statement)):
        changes_it = isinstance(statement, ast.AugAssign) and statement.target is node
        if isinstance(node, ast.Subscript) and (isinstance(node.ctx, ast.Load) or changes_it):
            value = node.value
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "groupby":
                value = value.func.value
            if isinstance(value, ast.Name):
                yield from ((value.id, column) for column in _constants(node.slice))


def _constants(index: ast.expr) -> list[str]:
    items = index.elts if isinstance(index, ast.List) else [index]
    return [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]


def _set_in(statement: ast.stmt) -> set[tuple[str, str]]:
    return {
        (node.value.id, column)
        for node in ast.walk(statement)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name)
        for column in _constants(node.slice)
    }


def _follow(statement: ast.stmt, known: dict[str, set[str]]) -> None:
    """Note what a statement adds to frames, and forget those that it may have changed in another way."""
    for name, column in _set_in(statement):
        if name in known:
            known[name].add(column)
    for name in _changed(statement):
        known.pop(name, None)


def _changed(statement: ast.stmt) -> Iterator[str]:
    only_read = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.value, ast.Name):
            is_column = isinstance(node, ast.Subscript) and bool(_constants(node.slice))
            if isinstance(node.ctx, ast.Load) or (is_column and isinstance(node.ctx, ast.Store)):
                only_read.add(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            in_place = any(keyword.arg == "inplace" for keyword in node.keywords)
            if (in_place or node.func.attr in _CHANGES) and isinstance(node.func.value, ast.Name):
                yield node.func.value.id
    # Bound anew, given to a function, kept under another name: it may be another one, or have other columns.
    yield from (node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and node not in only_read)
