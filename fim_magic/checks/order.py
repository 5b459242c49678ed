"""Which names a cell loads before anything can have bound them: it is read in the order in which it runs.

A name that any earlier line may bind counts as bound, in whichever branch. What stands behind a condition need not run,
what a handler catches is no error, and a body that is repeated may use what its own end binds: nothing is said there.
Loops are taken to run at least once. Bodies of functions run later, when all of the cell may
have run; they are not looked at here.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fim_magic.checks.binding import (
    CATCH_UNDEFINED,
    alias_name,
    always,
    catches,
    ends,
    may_define_names,
    stored,
    takes_all,
    type_parameters,
)

_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def loaded_unbound(
    tree: ast.Module, *, known: Callable[[str], bool], builtin: Callable[[str], bool], bound: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return the names whose loading ends the cell with a NameError, in the order in which they are loaded.

    Args:
        tree: The cell.
        known: Whether the notebook's namespace has a name.
        builtin: Whether a name is there even where the namespace has none.
        bound: What may be bound at any time: what functions declare global and set.
    """
    walk = _Walk(known, builtin, bound)
    walk.visit(tree)
    return tuple(walk.found)


@dataclass
class _Scope:
    """Names that hide the cell's own while a class body or a comprehension is evaluated."""

    names: set[str]
    is_class: bool


class _Walk(ast.NodeVisitor):
    """Visits what is evaluated, in that order, as far as it matters."""

    def __init__(self, known: Callable[[str], bool], builtin: Callable[[str], bool], bound: Iterable[str]) -> None:
        self.found: dict[str, None] = {}
        self._known = known
        self._builtin = builtin
        self._bound = set(bound)
        self._deleted: set[str] = set()
        self._scopes: list[_Scope] = []
        self._sure = True  # whether this runs, and whether what it raises ends the cell
        self._repeats = False
        self._open = False
        self._deferred_annotations = sys.version_info >= (3, 14)

    # Names

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self._bind(node.id)
            return
        self._load(node.id)
        if isinstance(node.ctx, ast.Del):
            self._unbind(node.id)

    def _load(self, name: str) -> None:
        for scope in reversed(self._scopes):
            if name in scope.names and (scope is self._scopes[-1] or not scope.is_class):
                return
        there = name in self._bound or (self._known(name) and name not in self._deleted) or self._builtin(name)
        if self._sure and not self._open and not there:
            self.found[name] = None

    def _bind(self, name: str) -> None:
        for scope in reversed(self._scopes):
            if scope.is_class:
                scope.names.add(name)
                return
        self._bound.add(name)
        self._deleted.discard(name)

    def _unbind(self, name: str) -> None:
        if not self._sure or self._repeats:
            return
        if self._scopes:
            self._scopes[-1].names.discard(name)
        else:
            self._bound.discard(name)
            self._deleted.add(name)

    @contextmanager
    def _unsure(self, unsure: bool = True) -> Iterator[None]:
        before = self._sure
        self._sure = before and not unsure
        yield
        self._sure = before

    @contextmanager
    def _within(self, names: Iterable[str], *, is_class: bool = False) -> Iterator[None]:
        self._scopes.append(_Scope(set(names), is_class))
        yield
        self._scopes.pop()

    # Statements

    def visit_Module(self, node: ast.Module) -> None:
        imports = [part for part in node.body if isinstance(part, ast.ImportFrom) and part.module == "__future__"]
        if any(alias.name == "annotations" for part in imports for alias in part.names):
            self._deferred_annotations = True
        self._block(node.body)

    def _block(self, statements: Iterable[ast.stmt]) -> None:
        with self._unsure(False):
            for statement in statements:
                self.visit(statement)
                self._sure = self._sure and not ends(statement)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        with self._unsure(not always(node.test)):
            self._block(node.body)
        with self._unsure():
            self._block(node.orelse)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self.visit(node.target)
        self._repeat(node)

    visit_AsyncFor = visit_For  # so NodeVisitor finds it

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        with self._unsure(not always(node.test)):
            self._repeat(node)

    def _repeat(self, loop: ast.For | ast.AsyncFor | ast.While) -> None:
        before, self._repeats = self._repeats, True
        for name in [*stored(loop.body)]:
            self._bind(name)
        self._block(loop.body)
        self._repeats = before
        with self._unsure():
            self._block(loop.orelse)

    def visit_Try(self, node: ast.Try) -> None:
        with self._unsure(catches(node, CATCH_UNDEFINED)):
            self._block(node.body)
        with self._unsure():
            for handler in node.handlers:
                self._handler(handler)
            self._block(node.orelse)
        self._block(node.finalbody)

    visit_TryStar = visit_Try  # so NodeVisitor finds it

    def _handler(self, handler: ast.ExceptHandler) -> None:
        if handler.type is not None:
            self.visit(handler.type)
        names = self._scopes[-1].names if self._scopes else self._bound
        new = handler.name is not None and handler.name not in names
        if handler.name is not None:
            self._bind(handler.name)
        self._block(handler.body)
        if new and not self._repeats:
            names.discard(str(handler.name))  # Python deletes it at the end of the handler

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item)
        with self._unsure(catches(node, CATCH_UNDEFINED)):
            self._block(node.body)

    visit_AsyncWith = visit_With  # so NodeVisitor finds it

    def visit_match_case(self, node: ast.match_case) -> None:
        with self._unsure():
            self.visit(node.pattern)
            if node.guard is not None:
                self.visit(node.guard)
            self._block(node.body)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name is not None:
            self._bind(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs  # so NodeVisitor finds it

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest is not None:
            self._bind(node.rest)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._all(node.value, *node.targets)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._load(node.target.id)
        self._all(node.value, node.target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._all(node.value, node.target)
        elif not isinstance(node.target, ast.Name):
            self.visit(node.target)
        if not self._deferred_annotations:
            self.visit(node.annotation)

    def visit_Assert(self, node: ast.Assert) -> None:
        self.visit(node.test)
        with self._unsure():
            self._all(node.msg)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self._bind(alias_name(alias))
        self._open = self._open or may_define_names(node)

    visit_ImportFrom = visit_Import  # so NodeVisitor finds it

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._all(*node.decorator_list, *node.args.defaults, *node.args.kw_defaults)
        if not self._deferred_annotations:
            given = [node.args.vararg, node.args.kwarg]
            parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, *filter(None, given)]
            with self._within(type_parameters(node)):
                self._all(*(parameter.annotation for parameter in parameters), node.returns)
        self._bind(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef  # so NodeVisitor finds it

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._all(*node.decorator_list)
        with self._within(type_parameters(node)):
            self._all(*node.bases, *node.keywords)
            with self._within({"__module__", "__qualname__"}, is_class=True):
                self._block(node.body)
        self._bind(node.name)

    def visit_TypeAlias(self, node: ast.AST) -> None:
        self.visit(node.name)  # type: ignore[attr-defined] # its value is evaluated when somebody asks for it

    # Expressions

    def _all(self, *nodes: ast.AST | None) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._all(*node.args.defaults, *node.args.kw_defaults)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        with self._unsure():
            self._all(*node.values[1:])

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        with self._unsure():
            self._all(node.body, node.orelse)

    def visit_Compare(self, node: ast.Compare) -> None:
        self._all(node.left, node.comparators[0])
        with self._unsure():
            self._all(*node.comparators[1:])

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            self._all(key, value)

    def visit_Call(self, node: ast.Call) -> None:
        self.visit(node.func)
        for argument in node.args:
            if isinstance(argument, ast.GeneratorExp) and takes_all(node.func):
                self._comprehend(argument, argument.elt)
            else:
                self.visit(argument)
        self._all(*node.keywords)
        self._open = self._open or may_define_names(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self.visit(node.generators[0].iter)  # the rest when somebody asks for its values

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp) -> None:
        self._comprehend(node, node.elt)

    visit_SetComp = visit_ListComp  # so NodeVisitor finds it

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehend(node, node.key, node.value)

    def _comprehend(self, node: _Comprehension, *elements: ast.expr) -> None:
        self.visit(node.generators[0].iter)
        targets = (part for generator in node.generators for part in ast.walk(generator.target))
        with self._within(part.id for part in targets if isinstance(part, ast.Name)):
            for index, generator in enumerate(node.generators):
                self._all(generator.iter if index else None, *generator.ifs)
            self._all(*elements)
