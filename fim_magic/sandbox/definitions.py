"""What functions, classes and caches are made of, noted and put back.

The child loads this file by its path, and `keeping.py` is given it. It uses its own copy of the builtins, and goes past
what a class defines.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from functools import _lru_cache_wrapper
from types import CellType, FunctionType, ModuleType
from typing import Any

globals()["__builtins__"] = dict(vars(builtins))

CONSTANTS = (int, float, complex, str, bytes, tuple, frozenset)
CODE = (FunctionType, staticmethod, classmethod, property)
_OF_A_CLASS = frozenset({*CODE, *CONSTANTS, type})
_OF_EVERY_CLASS = frozenset({"__dict__", "__weakref__"})
_OVERRIDES = frozenset(
    "__bool__ __contains__ __eq__ __ge__ __getattr__ __getattribute__ __gt__ __le__ __len__ __lt__ __ne__".split()
)
_dict_of_class = type.__dict__["__dict__"].__get__  # past a metaclass
_bases = type.__dict__["__bases__"]
_MISSING = object()

Undo = Callable[[], bool]
"""Puts one thing back, and says whether it had changed."""

Made = tuple[Any, Any, dict[str, Any] | None, dict[str, Any] | None]
"""A function's code, its defaults, and those of its keywords twice: the dictionary, and what it holds."""


def is_made_in(namespace: dict[str, Any], value: Any) -> bool:
    value = value.__func__ if type(value) in (staticmethod, classmethod) else value
    return type(value) is FunctionType and value.__globals__ is namespace


def is_of_the_same_package(owner: type, module: ModuleType) -> bool:
    """Whether a class is one of the package that a module is of, and not Python's own."""
    there = _dict_of_class(owner).get("__module__")
    return type(there) is str and there.partition(".")[0] == module.__name__.partition(".")[0]


def made_of(function: FunctionType) -> Made:
    keywords = function.__kwdefaults__
    return function.__code__, function.__defaults__, keywords, keywords and {**keywords}


def remade(function: FunctionType, made: Made, package: str = "") -> bool:
    """Make a function again of what it was made of; return whether it had changed.

    Args:
        function: The function.
        made: What it was made of.
        package: That of a library's function, which may make its code when it is first called, as networkx does.
    """
    code, defaults, keywords, content = made
    is_as_before = function.__code__ is code and function.__defaults__ is defaults
    if is_as_before and function.__kwdefaults__ is keywords:
        if keywords is None or content is None:
            return False
        if len(keywords) == len(content) and all(keywords.get(key, _MISSING) is content[key] for key in content):
            return False
    now = function.__code__
    function.__code__, function.__defaults__ = code, defaults
    if keywords is not None and content is not None:
        keywords.clear()
        keywords.update(content)
    function.__kwdefaults__ = keywords
    return not (package and now is not code and package in now.co_filename)


def definition(function: FunctionType) -> Undo:
    made = made_of(function)
    return lambda: remade(function, made)


def cache(function: Any) -> Undo:
    """Have a cache forget: what a program has put there is not told from what belongs there."""
    clear = _lru_cache_wrapper.cache_clear

    def undo() -> bool:
        clear(function)
        return False

    return undo


def closure(cell: CellType, content: Any) -> Undo:
    def undo() -> bool:
        try:
            if cell.cell_contents is content:
                return False
        except ValueError:
            pass
        cell.cell_contents = content
        return True

    return undo


def _is_plain(key: str) -> bool:
    """Whether Python itself gives no class such an attribute as it goes."""
    return not key.startswith("__") or key.startswith("__unittest_")


def members(owner: type, namespace: dict[str, Any], *, all_of_it: bool) -> Undo:
    """Keep a class: its class, its bases, its functions, constants and what decides comparisons, or all that it has."""
    kind, bases, there = type(owner), _bases.__get__(owner), frozenset(_dict_of_class(owner))
    before = {
        key: value
        for key, value in _dict_of_class(owner).items()
        if key not in _OF_EVERY_CLASS and (all_of_it or key in _OVERRIDES or type(value) in _OF_A_CLASS)
    }

    def is_foreign(key: str, value: Any) -> bool:
        """Whether what was added since then is a program's: libraries add to their classes as they are used."""
        return key in _OVERRIDES or is_made_in(namespace, value) or (all_of_it and _is_plain(key))

    def undo() -> bool:
        changed = False
        now = dict(_dict_of_class(owner))
        if type(owner) is not kind:
            type.__setattr__(owner, "__class__", kind)
            changed = True
        if _bases.__get__(owner) != bases:
            _bases.__set__(owner, bases)
            changed = True
        for key in now.keys() - there:
            if is_foreign(key, now[key]):
                changed = True
                type.__delattr__(owner, key)
        for key, value in before.items():
            if now.get(key, _MISSING) is not value:
                changed |= all_of_it or type(value) not in CONSTANTS  # some libraries count in theirs
                type.__setattr__(owner, key, value)
        return changed

    return undo
