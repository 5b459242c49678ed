"""What is installed, found without importing anything: importing runs code."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path
from types import ModuleType

from fim_magic.cell_text import LONGEST, UNREADABLE, tree_of
from fim_magic.checks.binding import stored
from fim_magic.checks.names import names_in_text

_NOT_MEANT = frozenset({"__future__", "antigravity", "idlelib", "test", "this"})  # of the standard library
_INSTALLED_IN = frozenset({"site-packages", "dist-packages"})


def is_installed(module: str) -> bool:
    """Whether a module can be imported: the first part of its name is found, and those behind it are files there."""
    name, *rest = module.split(".")
    spec = _found(name)
    return spec is not None and _depth(spec, rest) == len(rest)


def import_of(module: str, taken: Sequence[tuple[str, ...]]) -> str | None:
    """Return the line that imports a module of the standard library or of what is installed.

    Args:
        module: Its name, without dots.
        taken: What is taken from it: ("path", "join") for `os.path.join`.

    Returns:
        The line, with the modules within it that have to be imported themselves (`import concurrent.futures`); None
        where there is no such module, or it lacks what is taken from it.
    """
    spec = None if module in _NOT_MEANT else _found(module)
    if spec is None or not taken or not _is_public(module, spec):
        return None
    names, has_others = _names_of(module, spec.origin or "")
    within: dict[str, None] = {}
    for chain in taken:
        depth = 0 if chain[0] in names else _depth(spec, chain)
        if depth:
            within[".".join((module, *chain[:depth]))] = None
        elif chain[0] not in names and not has_others:
            return None
    return f"import {', '.join(within or [module])}"


def _found(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):  # what stands in `sys.modules` may be anything
        return None


def _is_public(module: str, spec: ModuleSpec) -> bool:
    """Whether a module is of the standard library or was installed, and is not a file of the user's."""
    return module in sys.stdlib_module_names or bool(_INSTALLED_IN & {*Path(spec.origin or "").parts})


def _depth(spec: ModuleSpec, parts: Sequence[str]) -> int:
    """How many of the names behind a package's are modules within it."""
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for depth, part in enumerate(parts):
        files = [folder / f"{part}{ending}" for folder in folders for ending in (".py", *EXTENSION_SUFFIXES)]
        folders = [folder / part for folder in folders if (folder / part / "__init__.py").is_file()]
        if not folders:
            return depth + any(file.is_file() for file in files)
    return len(parts)


@lru_cache(maxsize=64)
def _names_of(module: str, origin: str) -> tuple[frozenset[str], bool]:
    """The names that a module has, and whether it may have others."""
    loaded = _loaded_names(module)
    if not origin.endswith(".py"):
        return loaded, not loaded
    try:
        text = Path(origin).read_text("utf-8")
        tree = tree_of(text) if len(text) <= LONGEST else None
        if tree is None:
            return loaded, True
        names = frozenset(stored(tree.body))
        stars = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree))
    except (OSError, *UNREADABLE):
        return loaded, True
    computed = stars or "globals" in names_in_text(text)
    return names | loaded, "__getattr__" in names or (computed and not loaded)


def _loaded_names(module: str) -> frozenset[str]:
    """The names of a module that runs already, without those within it that somebody else may have loaded."""
    loaded = sys.modules.get(module)
    if type(loaded) is not ModuleType:
        return frozenset()
    return frozenset(
        name
        for name, value in vars(loaded).items()
        if type(name) is str and not (type(value) is ModuleType and sys.modules.get(f"{module}.{name}") is value)
    ) | ({"path"} if module == "os" else set())
