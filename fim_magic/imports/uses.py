"""How a text uses a name that it does not define."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

_TAKE_A_FUNCTION = frozenset({"default_factory", "defaultdict", "filter", "key", "map", "partial", "reduce", "starmap"})


@dataclass
class Uses:
    """How a name is used.

    Attributes:
        taken: What is taken from it, each as far as names go: ("path", "join") for `os.path.join`.
        called: Whether it is called, decorates something, or is handed to what calls it (`map(sqrt, xs)`).
        otherwise: Whether it is used in any other way.
    """

    taken: list[tuple[str, ...]] = field(default_factory=list)
    called: bool = False
    otherwise: bool = False

    @property
    def attributes(self) -> frozenset[str]:
        return frozenset(chain[0] for chain in self.taken)

    @property
    def is_module(self) -> bool:
        """Whether something is taken from it wherever it is used, as from a module."""
        return bool(self.taken) and not self.called and not self.otherwise


def uses_in(tree: ast.AST) -> dict[str, Uses]:
    """Return how a text uses each name that it loads."""
    found: dict[str, Uses] = {}
    _look(tree, (), found, called=False)
    return found


def _look(node: ast.AST, taken: tuple[str, ...], found: dict[str, Uses], *, called: bool) -> None:
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load):
            _add(found.setdefault(node.id, Uses()), taken, called=called)
        return
    if isinstance(node, ast.Attribute):
        _look(node.value, (node.attr, *taken), found, called=False)
        return
    for part in ast.iter_child_nodes(node):
        _look(part, (), found, called=part in _functions_of(node))


def _functions_of(node: ast.AST) -> list[ast.expr]:
    """The expressions below a node that have to be functions."""
    if isinstance(node, ast.keyword):
        return [node.value] if node.arg in _TAKE_A_FUNCTION else []
    if isinstance(node, ast.Call):
        takes = isinstance(node.func, ast.Name) and node.func.id in _TAKE_A_FUNCTION
        return [node.func, *(node.args[:1] if takes else [])]
    return [*getattr(node, "decorator_list", ())]


def _add(uses: Uses, taken: tuple[str, ...], *, called: bool) -> None:
    if taken:
        uses.taken.append(taken)
    elif called:
        uses.called = True
    else:
        uses.otherwise = True
