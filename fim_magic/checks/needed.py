"""Which of the cells that ran before have to run again for a text to work."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from fim_magic.cell_text import tree_of, without_magics
from fim_magic.checks.binding import alias_name, root_of
from fim_magic.checks.names import names_in_text, read_names, stores

_ONLY_SHOWS = frozenset({"describe", "head", "hist", "info", "plot", "sample", "show", "tail"})


def needed_cells(text: str, cells: Sequence[str]) -> tuple[str, ...]:
    """Return the cells that define, or change, what a text needs, and what they need in turn.

    That is told from their text alone: a name counts as changed where it is assigned, where something is stored in it
    (`df["x"] = …`), and by a statement that calls a method of it (`xs.append(…)`). What a call does to its arguments is
    not seen.

    Args:
        text: What is to be run after them.
        cells: Those that ran before, oldest first. They are returned in this order, without their magics.
    """
    return tuple(source for _, source in needed_positions(text, cells))


def needed_positions(text: str, cells: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """Return the same cells as [`needed_cells`][], each with a number: the larger, the later it ran."""
    sources = [source for source in map(without_magics, cells) if source is not None]
    read = [(source, flow) for source in sources if (flow := _flow(source)) is not None]
    modules = frozenset(chain.from_iterable(flow.modules for _, flow in read))
    own = _flow(without_magics(text) or "")
    wanted = own.needs | own.later if own else names_in_text(text)
    chosen: set[int] = set()
    while True:
        # A function's body may need what a cell below it defines: look again with what is known by then.
        need = set(wanted).union(*(read[index][1].later for index in chosen))
        found = set(chosen)
        for index in reversed(range(len(read))):
            flow = read[index][1]
            if index in chosen or need & (flow.binds | (flow.changes - modules)):
                found.add(index)
                need = (need - flow.surely) | flow.needs | flow.later
        if found == chosen:
            return tuple((index, read[index][0]) for index in sorted(chosen))
        chosen = found


@dataclass(frozen=True)
class _Flow:
    """What a cell does to the notebook's names."""

    needs: frozenset[str]  # when it runs
    later: frozenset[str]  # when its functions run
    binds: frozenset[str]
    surely: frozenset[str]  # binds, whatever happens
    changes: frozenset[str]
    modules: frozenset[str]


@lru_cache(maxsize=512)  # the cells of a notebook, which are asked for twice for every answer
def _flow(source: str) -> _Flow | None:
    tree, names = tree_of(source), read_names(source)
    if tree is None or names is None:
        return None
    needs: set[str] = set()
    later: set[str] = set()
    surely: set[str] = set()
    changes: set[str] = set()
    modules: set[str] = set()
    for statement in tree.body:
        deferred = isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef))
        changed = _changed(statement) & (names.loaded | names.bound)
        loaded = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and not stores(node)}
        loaded = (loaded | changed) & (names.loaded | changed)
        (later if deferred else needs).update(loaded - surely)
        changes |= changed
        modules |= _imported(statement)
        surely |= _binds_surely(statement)
    found = (needs, later - surely, names.bound, surely, changes, modules)
    return _Flow(*(frozenset(part) for part in found))


def _imported(statement: ast.stmt) -> set[str]:
    if not isinstance(statement, ast.Import):
        return set()
    return {*map(alias_name, statement.names)}


def _binds_surely(statement: ast.stmt) -> set[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        # `import a.b` adds to what `import a` gave.
        return {alias.asname or alias.name for alias in statement.names if alias.asname or "." not in alias.name}
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    nodes = chain.from_iterable(ast.walk(target) for target in targets)
    return {node.id for node in nodes if isinstance(node, ast.Name) and stores(node)}


def _changed(statement: ast.stmt) -> set[str]:
    """The names whose objects a statement changes, anywhere in it."""
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            found.add(_root(node))
        elif isinstance(node, ast.AugAssign):
            found.add(_root(node.target))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            if isinstance(called, ast.Attribute) and called.attr not in _ONLY_SHOWS:
                found.add(_root(called.value))
    return found - {""}


def _root(node: ast.expr) -> str:
    root = root_of(node)
    return root.id if isinstance(root, ast.Name) else ""
