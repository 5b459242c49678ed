"""Whether a function ends with a statement whose effect nothing can read: it changes only what the function has made.

A function that counts, or fills a list, and ends there lacks its `return`. What is not sure counts as an effect: a call
of anything that is not known only to read, and whatever a name may share with somebody else.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from fim_magic.cell_text import nodes_run_with

_FRESH = (ast.List, ast.Dict, ast.Set, ast.JoinedStr, ast.ListComp, ast.DictComp, ast.SetComp)
_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_WAITS = (ast.Await, ast.Yield, ast.YieldFrom, ast.AsyncFor, ast.AsyncWith, ast.NamedExpr)
_MAKES_FRESH = frozenset({"list", "dict", "set", "defaultdict", "Counter", "OrderedDict", "deque"})
_ONLY_READS = _MAKES_FRESH | frozenset(
    {"len", "range", "sum", "min", "max", "sorted", "reversed", "enumerate", "zip", "any", "all", "abs", "round"}
    | {"int", "float", "str", "bool", "tuple", "frozenset", "ord", "chr"}
)
_CHANGES_ITSELF = frozenset(
    {"append", "appendleft", "add", "extend", "insert", "update", "setdefault", "discard", "remove", "pop", "sort"}
    | {"reverse", "clear"}
)
_METHODS_THAT_READ = frozenset(
    {"items", "keys", "values", "get", "count", "index", "split", "splitlines", "strip", "lower", "upper", "replace"}
    | {"startswith", "endswith", "join", "isdigit", "isalpha", "isupper", "islower", "isspace"}
)


def ends_in_vain(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the last statement of a function changes nothing but names of its own, and what only they can hold."""
    own = [*nodes_run_with(function)]
    inner = [node for statement in function.body for node in ast.walk(statement)]
    if any(isinstance(node, (*_DEFINES, *_WAITS, ast.Global, ast.Nonlocal)) for node in inner):
        return False  # others may read the names, or it is not run in one go
    return _is_in_vain(function.body[-1], frozenset(_alone(function, own)))


def _is_in_vain(statement: ast.stmt, alone: frozenset[str]) -> bool:
    """Whether a statement changes only names, and what `alone` ones hold, and does nothing beside."""
    if isinstance(statement, ast.For | ast.While | ast.If):
        head = statement.iter if isinstance(statement, ast.For) else statement.test
        effects = [
            inner
            for inner in (*statement.body, *statement.orelse)
            if not isinstance(inner, ast.Pass | ast.Break | ast.Continue)
        ]
        return _only_reads(head, alone) and bool(effects) and all(_is_in_vain(inner, alone) for inner in effects)
    if isinstance(statement, ast.Assign):
        return _only_reads(statement.value, alone) and all(_is_own(part, alone) for part in _flat(statement.targets))
    if isinstance(statement, ast.AugAssign):
        return _only_reads(statement.value, alone) and _holder(statement.target) in alone
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        called = statement.value.func
        is_change = isinstance(called, ast.Attribute) and called.attr in _CHANGES_ITSELF and _holder(called) in alone
        return is_change and all(_only_reads(argument, alone) for argument in statement.value.args)
    return False


def _only_reads(value: ast.expr, alone: frozenset[str]) -> bool:
    """Whether nothing happens when a value is computed, as far as that can be known."""
    for node in ast.walk(value):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in _ONLY_READS:
            continue
        if not isinstance(called, ast.Attribute):
            return False
        changes_own = called.attr in _CHANGES_ITSELF and _holder(called) in alone
        if called.attr not in _METHODS_THAT_READ and not changes_own:
            return False
    return True


def _is_own(target: ast.expr, alone: frozenset[str]) -> bool:
    return isinstance(target, ast.Name) or _holder(target) in alone


def _holder(node: ast.expr) -> str:
    """The name that `node` is, or is an attribute or item of. What an item holds may be shared, so only one level."""
    if isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _alone(function: ast.FunctionDef | ast.AsyncFunctionDef, own: list[ast.AST]) -> Iterator[str]:
    """Yield the names that only ever hold something new, which the function hands to nothing else."""
    bound: Counter[str] = Counter()
    made: Counter[str] = Counter()
    constant: Counter[str] = Counter()
    in_place = {id(node.target) for node in own if isinstance(node, ast.AugAssign)}
    for node in own:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in in_place:
            bound[node.id] += 1
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            made.update(_made(node.targets[0], node.value, _is_fresh))
            constant.update(_made(node.targets[0], node.value, _is_constant))
    parameters = {part.arg for part in ast.walk(function.args) if isinstance(part, ast.arg)}
    shared = {*_shared(own)}
    for name, times in made.items():
        # A number or a text cannot be changed, so that it does no harm to hand one on.
        is_alone = constant[name] == times or name not in shared
        if times == bound[name] and name not in parameters and is_alone:
            yield name


def _made(target: ast.expr, value: ast.expr, is_new: Callable[[ast.expr], bool]) -> list[str]:
    """The names that an assignment gives something to that is new in this way."""
    pairs = [(target, value)]
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        pairs = [*zip(target.elts, value.elts, strict=True)]
    return [name.id for name, part in pairs if isinstance(name, ast.Name) and is_new(part)]


def _is_constant(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is not None


def _is_fresh(value: ast.expr) -> bool:
    if _is_constant(value):
        return True
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id in _MAKES_FRESH
    return isinstance(value, _FRESH)


def _shared(own: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names whose values go where others may read them: all that are read but in a way that keeps them."""
    kept = {id(node) for parent in own for node in _keeps(parent)}
    for node in own:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in kept:
            yield node.id


def _keeps(node: ast.AST) -> list[ast.expr]:
    """Return the parts of a node whose values it reads without handing them on."""
    if isinstance(node, ast.Attribute | ast.Subscript):
        index = [node.slice] if isinstance(node, ast.Subscript) else []
        return [node.value, *index]
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.UnaryOp):
        return [node.operand]
    if isinstance(node, ast.AugAssign):
        return [node.value]
    if isinstance(node, ast.For):
        return [node.iter]
    if isinstance(node, ast.While | ast.If):
        return [node.test]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ONLY_READS:
        return node.args
    return []


def _flat(targets: Iterable[ast.expr]) -> list[ast.expr]:
    return [
        node for target in targets for node in (target.elts if isinstance(target, ast.Tuple | ast.List) else [target])
    ]
