"""Behind which statements nothing runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

TRIES = (ast.Try, getattr(ast, "TryStar", ast.Try))  # Python knows `except*` from 3.11 on

_JUMPS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_ENDS = frozenset({"sys.exit", "exit", "quit", "os._exit", "assert_never", "typing.assert_never", "pytest.fail"})
_SWALLOWING = frozenset({"suppress", "raises", "assertRaises", "assertRaisesRegex", "warns"})
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_OWN_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def never_ends(body: Sequence[ast.stmt], *, exhaustive: bool = False) -> bool:
    """Whether what stands behind a body could never run.

    Args:
        body: Statements of one block.
        exhaustive: Take it that every `match` has a case for all that there is, as people write it.
    """
    return any(_leaves(statement, exhaustive) for statement in body)


def _leaves(statement: ast.stmt, exhaustive: bool) -> bool:
    """Whether each way through a statement leaves its block."""

    def left(body: Sequence[ast.stmt]) -> bool:
        return never_ends(body, exhaustive=exhaustive)

    if isinstance(statement, TRIES):
        return _try_leaves(statement, exhaustive)
    if isinstance(statement, ast.If):
        return bool(statement.orelse) and left(statement.body) and left(statement.orelse)
    if isinstance(statement, ast.Match):
        whole = exhaustive or any(_takes_all(case) for case in statement.cases)
        return whole and all(left(case.body) for case in statement.cases)
    if isinstance(statement, ast.With | ast.AsyncWith):
        return left(statement.body) and not any(_may_swallow(item.context_expr) for item in statement.items)
    if isinstance(statement, _LOOPS):
        endless = isinstance(statement, ast.While) and isinstance(statement.test, ast.Constant) and statement.test.value
        return bool(endless or (statement.orelse and left(statement.orelse))) and not _breaks(statement.body)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return ast.unparse(statement.value.func) in _ENDS
    return isinstance(statement, _JUMPS)


def _try_leaves(statement: ast.stmt, exhaustive: bool) -> bool:
    bodies = {name: getattr(statement, name) for name in ("body", "orelse", "finalbody", "handlers")}
    left = {name: never_ends(bodies[name], exhaustive=exhaustive) for name in ("body", "orelse", "finalbody")}
    handled = all(never_ends(handler.body, exhaustive=exhaustive) for handler in bodies["handlers"])
    return left["finalbody"] or ((left["body"] or left["orelse"]) and handled)


def _takes_all(case: ast.match_case) -> bool:
    """Whether a case takes whatever there is: `case _:`, or a name."""
    pattern = case.pattern
    last = pattern.patterns[-1] if isinstance(pattern, ast.MatchOr) else pattern
    return case.guard is None and isinstance(last, ast.MatchAs) and last.pattern is None


def _may_swallow(manager: ast.expr) -> bool:
    """Whether a context manager is one of those that are there to end exceptions: what raises them goes on behind."""
    function = manager.func if isinstance(manager, ast.Call) else manager
    return getattr(function, "attr", getattr(function, "id", "")) in _SWALLOWING


def _breaks(body: Sequence[ast.stmt]) -> bool:
    """Whether a loop with this body has a `break` of its own."""
    return any(isinstance(node, ast.Break) for statement in body for node in _in_loop(statement))


def _in_loop(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and those below it, but not what other loops and functions hold. A loop's `else` is outside."""
    yield node
    if isinstance(node, _OWN_SCOPE):
        return
    children = node.orelse if isinstance(node, _LOOPS) else ast.iter_child_nodes(node)
    for child in children:
        yield from _in_loop(child)
