"""Whether a function ends with a statement whose effect nothing can read: it changes only what the function has made.

A function that counts, or fills a list, and ends there lacks its `return`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from fim_magic.cell_text import nodes_run_with

_FRESH = (
    *(ast.List, ast.Dict, ast.Set, ast.Constant, ast.JoinedStr, ast.BinOp, ast.Compare),
    *(ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp),
)
_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_MAKES_FRESH = frozenset({"list", "dict", "set", "sorted", "defaultdict", "Counter", "OrderedDict", "deque"})
_ONLY_READS = frozenset(
    {
        "len",
        "range",
        "sum",
        "min",
        "max",
        "sorted",
        "enumerate",
        "zip",
        "any",
        "all",
        "abs",
        "int",
        "float",
        "str",
        "reversed",
    }
)


def ends_in_vain(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the last statement of a function changes nothing but names of its own, and things that only they have."""
    own = [*nodes_run_with(function)]
    outer = {name for node in own if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
    shared = outer | {name for node in own for name in _given_away(node)}
    fresh = frozenset(name for node in own for name in _made(node)) - shared
    if any(isinstance(node, _DEFINES) for statement in function.body for node in ast.walk(statement)):
        fresh = frozenset()  # what it defines may read them
    return _is_in_vain(function.body[-1], fresh, outer)


def _is_in_vain(statement: ast.stmt, fresh: frozenset[str], outer: set[str]) -> bool:
    """Whether a statement changes only the names of the function, or what `fresh` ones hold."""
    if isinstance(statement, ast.Assign):
        targets = [
            node
            for target in statement.targets
            for node in (target.elts if isinstance(target, ast.Tuple | ast.List) else [target])
        ]
        return all(_is_own(target, fresh, outer) for target in targets)
    if isinstance(statement, ast.AugAssign):
        return _root(statement.target) in fresh
    if isinstance(statement, ast.Expr):
        called = statement.value.func if isinstance(statement.value, ast.Call) else None
        return isinstance(called, ast.Attribute) and _root(called) in fresh
    if isinstance(statement, ast.For | ast.While | ast.If):
        return _all_in_vain([*statement.body, *statement.orelse], fresh, outer)
    return False


def _all_in_vain(body: Sequence[ast.stmt], fresh: frozenset[str], outer: set[str]) -> bool:
    effects = [each for each in body if not isinstance(each, ast.Pass | ast.Break | ast.Continue)]
    return bool(effects) and all(_is_in_vain(each, fresh, outer) and not _may_act(each, fresh) for each in effects)


def _may_act(statement: ast.stmt, fresh: frozenset[str]) -> bool:
    """Whether what a statement gives to names comes from a call that may do something beside."""
    if not isinstance(statement, ast.Assign | ast.AugAssign):
        return False
    calls = (node.func for node in ast.walk(statement.value) if isinstance(node, ast.Call))
    return not all(
        called.id in _ONLY_READS if isinstance(called, ast.Name) else _root(called) in fresh for called in calls
    )


def _is_own(target: ast.expr, fresh: frozenset[str], outer: set[str]) -> bool:
    return target.id not in outer if isinstance(target, ast.Name) else _root(target) in fresh


def _root(node: ast.expr) -> str:
    """The name of which `node` is an attribute or an item, however deep; its own, if it is a name."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _made(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node gives something new to, which nothing else can hold yet."""
    if not isinstance(node, ast.Assign):
        return
    value = node.value
    is_made = isinstance(value, _FRESH) or (
        isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in _MAKES_FRESH
    )
    for target in node.targets:
        if is_made and isinstance(target, ast.Name):
            yield target.id
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = zip(target.elts, value.elts, strict=False)
            yield from (one.id for one, each in pairs if isinstance(one, ast.Name) and isinstance(each, _FRESH))


def _given_away(node: ast.AST) -> Iterator[str]:
    """Yield the names whose values a node puts where others may read them: somewhere else, or into a call."""
    if isinstance(node, ast.Assign):
        values = [node.value]
    elif isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _ONLY_READS):
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
    else:
        return
    for value in values:
        held = value.elts if isinstance(value, ast.List | ast.Tuple | ast.Set) else [value]
        yield from (each.id for each in held if isinstance(each, ast.Name))
