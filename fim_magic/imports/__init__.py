"""The import that a text lacks, for a name that one module clearly means.

A line that the notebook has comes first, then what everyday code calls things (`conventions`), then modules by their
own names. Where a name may mean two things nothing is offered. Nothing is imported to find that out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

from fim_magic.cell_text import LONGEST, UNREADABLE, python_of, tree_of
from fim_magic.checks import bound_names
from fim_magic.checks.binding import alias_name
from fim_magic.imports.conventions import (
    BY_USE,
    CONSTANTS,
    FROM_LIBRARIES,
    FROM_PARENT,
    FROM_STANDARD_LIBRARY,
    MODULE_ALIASES,
    ONE_OF,
)
from fim_magic.imports.modules import import_of, is_installed
from fim_magic.imports.uses import Uses, uses_in

__all__ = ["Import", "import_lines", "missing_imports"]


@dataclass(frozen=True)
class Import:
    """A name, and the line that imports it: `from collections import Counter`."""

    name: str
    line: str


def missing_imports(text: str, undefined: Iterable[str], sources: Sequence[str] = ()) -> tuple[Import, ...]:
    """Return the imports that define what a text lacks, in the order of the names; none for a name that is not clear.

    Args:
        text: The whole cell.
        undefined: The names that are not defined where it loads them.
        sources: The notebook's other cells, oldest first: what they import is meant, the last of them first.
    """
    tree = _tree(text)
    if tree is None:
        return ()
    try:
        uses = uses_in(tree)
        own, bound = _imports_in(tree), bound_names(text)
    except UNREADABLE:
        return ()
    elsewhere: dict[str, str] = {}
    for source in sources:
        elsewhere |= _imports_in(_tree(source) or ast.Module([], []))
    found: list[Import] = []
    for name in dict.fromkeys(undefined):
        if name in bound and name not in own:
            continue  # the cell itself says what it is, only too late
        line = own.get(name) or elsewhere.get(name) or _clear_import(name, uses.get(name, Uses()))
        if line is not None:
            found.append(Import(name, line))
    return tuple(found)


def import_lines(imports: Iterable[Import]) -> tuple[str, ...]:
    """Return the statements for several imports, one for all that come from the same module."""
    lines: dict[str, list[str]] = {}
    for one in imports:
        module, joint, name = one.line.partition(" import ")
        names = lines.setdefault(module if joint else one.line, [])
        names += [name] if joint and name not in names else []
    return tuple(f"{module} import {', '.join(names)}" if names else module for module, names in lines.items())


def _clear_import(name: str, uses: Uses) -> str | None:
    if name in BY_USE:
        return _by_use(name, uses)
    if name in MODULE_ALIASES and uses.is_module:
        return _alias(name, uses)
    module = _STANDARD.get(name) or _LIBRARIES.get(name)
    if module is not None and _is_used_as_its_kind(name, uses) and (name in _STANDARD or is_installed(module)):
        return f"from {module} import {name}"
    return import_of(name, uses.taken) if uses.is_module else None


def _by_use(name: str, uses: Uses) -> str | None:
    (module, of_the_class), of_the_module = BY_USE[name]
    is_class = uses.called or bool(uses.attributes & of_the_class)
    is_module = bool(uses.attributes & of_the_module)
    if name == "Image" and (uses.called or not is_class):
        return None  # also IPython has one, which is called
    if is_class and uses.attributes <= of_the_class and is_installed(module):
        return f"from {module} import {name}"
    return f"import {name}" if is_module and not is_class and uses.attributes <= of_the_module else None


def _alias(name: str, uses: Uses) -> str | None:
    module = MODULE_ALIASES[name]
    if not is_installed(module) or not uses.attributes <= ONE_OF.get(name, uses.attributes):
        return None
    if module in FROM_PARENT:
        return f"from {module.rpartition('.')[0]} import {name}"
    return f"import {module} as {name}"


def _is_used_as_its_kind(name: str, uses: Uses) -> bool:
    """Whether a function is called and nothing else; a class or a constant may be used in any way."""
    if name[0].isupper() or name in CONSTANTS:
        return True
    return uses.called and not uses.taken and not uses.otherwise


def _by_name(modules: Mapping[str, str]) -> dict[str, str]:
    return {name: module for module, names in modules.items() for name in names.split()}


_STANDARD = _by_name(FROM_STANDARD_LIBRARY)
_LIBRARIES = _by_name(FROM_LIBRARIES)


def _tree(text: str) -> ast.Module | None:
    source = None if len(text) > LONGEST else python_of(text)
    return None if source is None else tree_of(source)


def _imports_in(tree: ast.Module) -> dict[str, str]:
    """The names that a text imports at its top, each with a line for it alone."""
    found = {}
    for node in tree.body:
        if not isinstance(node, (ast.Import, ast.ImportFrom)) or getattr(node, "module", "") == "__future__":
            continue
        for alias in node.names:
            alone = copy(node)
            alone.names = [alias]
            if alias.name != "*":
                found[alias_name(alias)] = ast.unparse(alone)
    return found
