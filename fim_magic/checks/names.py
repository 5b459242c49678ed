"""Whether the names that a cell loads are defined where they are loaded."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache, partial

from fim_magic.candidate import Check
from fim_magic.cell_text import LONGEST, UNREADABLE, python_of, tree_of
from fim_magic.checks.binding import alias_name, may_define_names, unguarded_names
from fim_magic.checks.order import loaded_unbound
from fim_magic.checks.parsing import short
from fim_magic.quiet import without_warnings

_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*")
_EVERYWHERE = """
    __file__ __name__ __doc__ __builtins__ __builtin__ __spec__ __loader__ __package__ __annotations__ __class__
    __conditional_annotations__ __classdict__ __static_attributes__ __module__ __qualname__
    In Out _ __ ___ _i _ii _iii _ih _oh _dh exit quit get_ipython display open
"""
_IN_A_NOTEBOOK = frozenset(_EVERYWHERE.split())
_CAPTURE = re.compile(r"^[ \t]*%%capture\b([^\n]*)", re.MULTILINE)
_HISTORY = re.compile(r"_i?\d+")


def names_defined(text: str, known: AbstractSet[str]) -> Check:
    """Tell whether every global name that a cell loads is defined where it is loaded.

    What the cell itself loads when it runs has to be bound above, known, or Python's own; what its functions load may
    be bound anywhere in the cell. Nothing is said to be undefined that may be defined: see `order`.

    Returns:
        A check; the names that are undefined are its `names`.
    """
    check = partial(Check, "names")
    read = read_names(text)
    if read is None:
        return check(None, "cannot be read")
    try:
        missing, unsure = read.undefined(known)
    except RecursionError:
        return check(None, "nested too deep to look at")
    if missing:
        return check(False, short(f"undefined: {', '.join(missing)}"), names=missing)
    if unsure:
        return check(None, short(f"cannot tell where {', '.join(unsure)} may come from"))
    return check(True)


@lru_cache(maxsize=512)  # the cells of a notebook, which every request asks for
def bound_names(text: str) -> frozenset[str]:
    """Return the global names that a cell defines or imports; none where it cannot be read."""
    names = read_names(text)
    return frozenset() if names is None else frozenset(names.bound)


def names_in_text(text: str) -> set[str]:
    """Return the words of a text that may be names. What stands behind a dot is none."""
    return set(_NAME.findall(text))


@dataclass
class Names:
    """The global names of a cell.

    Attributes:
        tree: The cell.
        loaded: Those that it loads, also in its functions.
        bound: Those that it binds.
        any_time: Those that may be bound at any time: what its functions set, if they are called.
        guarded: Those that it loads only where it is prepared for a NameError.
        open: Whether something may define names that the text does not show.
        order: Where each first stands, as (line, column).
    """

    tree: ast.Module
    loaded: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    any_time: set[str] = field(default_factory=set)
    guarded: set[str] = field(default_factory=set)
    open: bool = False
    order: dict[str, tuple[int, int]] = field(default_factory=dict)

    def undefined(self, known: AbstractSet[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the names that are certainly undefined, and those of which it cannot be told, each in their order.

        Raises:
            RecursionError: The cell is nested too deep.
        """
        early = {*loaded_unbound(self.tree, known=known.__contains__, builtin=_is_builtin, bound=self.any_time)}
        nowhere = {name for name in self.loaded - self.bound - self.guarded - known if not _is_builtin(name)}
        missing = early if self.open else early | nowhere
        return self._in_order(missing), self._in_order(nowhere - missing)

    def _in_order(self, names: AbstractSet[str]) -> tuple[str, ...]:
        return tuple(sorted(names, key=lambda name: (self.order.get(name, (0, 0)), name)))


def read_names(text: str) -> Names | None:
    """Return the global names of a cell, or None where it cannot be read."""
    source = None if len(text) > LONGEST else python_of(text)
    tree = None if source is None else tree_of(source)
    if source is None or tree is None:
        return None
    names = Names(tree)
    try:
        with without_warnings():
            _collect(symtable.symtable(source, "<cell>", "exec"), names, top=True)
        nodes = [*ast.walk(tree)]
        names.guarded = names.loaded - {*unguarded_names(tree)}
    except UNREADABLE:
        return None
    for match in _CAPTURE.finditer(text):
        names.any_time.update(_NAME.findall(match.group(1)))
    names.bound |= names.any_time
    only_changed = _only_changed(nodes) & names.bound
    names.bound -= only_changed
    names.loaded |= only_changed
    names.open = any(map(may_define_names, nodes))
    places = ((node.id, (node.lineno, node.col_offset)) for node in nodes if isinstance(node, ast.Name))
    for name, place in places:
        names.order[name] = min(place, names.order.get(name, place))
    return names


def _collect(table: symtable.SymbolTable, names: Names, *, top: bool) -> None:
    for symbol in table.get_symbols():
        binds = symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
        is_global = top or symbol.is_global()
        if is_global and binds and (top or symbol.is_declared_global()):
            names.bound.add(symbol.get_name())
            if not top:
                names.any_time.add(symbol.get_name())
        if is_global and symbol.is_referenced():
            names.loaded.add(symbol.get_name())
    for child in table.get_children():
        _collect(child, names, top=False)


def _only_changed(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that are only ever changed (`total += 1`) or deleted, which does not define them."""
    nodes = [*nodes]
    changed = {id(node.target): node.target.id for node in nodes if _changes_name(node)}  # type: ignore[attr-defined]
    deleted = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del)}
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and stores(node) and id(node) not in changed}
    for node in nodes:
        if isinstance(node, ast.alias):
            bound.add(alias_name(node))
        bound.update(value for key in ("name", "rest") if isinstance(value := getattr(node, key, None), str))
    return (deleted | set(changed.values())) - bound


def _changes_name(node: ast.AST) -> bool:
    return isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)


def stores(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _is_builtin(name: str) -> bool:
    return name in _IN_A_NOTEBOOK or hasattr(builtins, name) or bool(_HISTORY.fullmatch(name)) or name.startswith(".")
