"""What is the user's in a namespace, while a program runs there that may redefine it: noted before, put back after.

The child loads this file by its path, as it does `kernel.py`. What counts: what names are bound to, what the user's
functions and classes are made of, lists and dictionaries by their contents, Python's builtins, and the functions of
modules. It uses its own copy of the builtins, and asks no object of a program's anything.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

globals()["__builtins__"] = dict(vars(builtins))

_MOST_ENTRIES = 10_000  # of the user's lists and dictionaries together
_CODE = (FunctionType, staticmethod, classmethod, property)
_CONSTANTS = (bool, int, float, complex, str)
_BUILTINS = vars(builtins)
_dict_of = type.__dict__["__dict__"].__get__  # past a metaclass
_set_trace, _set_profile, _modules = sys.settrace, sys.setprofile, sys.modules


class Kept:
    """What was noted, and putting it back."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._clear()

    def _clear(self) -> None:
        self._names: dict[str, Any] = {}
        self._may_hide: Callable[[str], bool] = lambda _: True
        self._functions: list[tuple[str, FunctionType, tuple[Any, ...]]] = []
        self._classes: list[tuple[str, type, dict[str, Any]]] = []
        self._contents: list[tuple[str, Any, Any]] = []
        self._builtins = dict(_BUILTINS)
        self._modules: list[tuple[str, ModuleType, dict[str, Any], bool]] = []

    def note(self, is_kept: Callable[[str], bool], data: Iterable[str] = ()) -> None:
        """Note what is to be kept, and forget what was noted before.

        Args:
            is_kept: Whether what a name stands for is to stay.
            data: Names whose lists, dictionaries and sets keep their contents as well.
        """
        self._clear()
        before = dict(self._namespace)
        self._may_hide = lambda name: name in before or not is_kept(name)
        for name, value in before.items():
            if name.startswith("__") or not is_kept(name):
                continue
            self._names[name] = value
            self._note_code(name, value, set())
        entries = [0]
        for name in data:
            self._note_contents(name, before.get(name), set(), entries)
        own = {id(value) for value in before.values() if isinstance(value, ModuleType)}
        for name, module in [*_modules.items()]:
            if isinstance(module, ModuleType) and vars(module) is not self._namespace and module is not builtins:
                self._note_module(name, module, id(module) in own)

    def _note_code(self, name: str, value: Any, seen: set[int]) -> None:
        if id(value) in seen:
            return
        seen.add(id(value))
        if type(value) is FunctionType:
            self._functions.append((name, value, _made_of(value)))
        elif isinstance(value, type) and _dict_of(value).get("__module__") == "__main__":
            parts = {key: part for key, part in _dict_of(value).items() if type(part) in _CODE}
            self._classes.append((name, value, parts))
            for part in parts.values():
                self._note_code(name, part.__func__ if type(part) in (staticmethod, classmethod) else part, seen)

    def _note_contents(self, name: str, value: Any, seen: set[int], entries: list[int]) -> None:
        if type(value) not in (list, dict, set, bytearray) or id(value) in seen:
            return
        seen.add(id(value))
        entries[0] += len(value)
        if entries[0] > _MOST_ENTRIES:
            return
        self._contents.append((name, value, value.copy()))
        if type(value) in (list, dict):
            for part in value.values() if type(value) is dict else value:
                self._note_contents(name, part, seen, entries)

    def _note_module(self, name: str, module: ModuleType, is_own: bool) -> None:
        found = {key: value for key, value in vars(module).items() if callable(value)}
        if is_own and module is not sys:
            constants = {key: value for key, value in vars(module).items() if type(value) in _CONSTANTS}
            found |= {key: value for key, value in constants.items() if not key.startswith("_")}
        self._modules.append((name, module, found, is_own))

    def put_back(self) -> list[str]:
        """Put everything back, and return the names of what had changed, those of modules and builtins with a dot."""
        _set_trace(None)
        _set_profile(None)
        sys.modules = _modules
        changed = {f"builtins.{key}": None for key in _put_back(_BUILTINS, self._builtins)}
        for name, module, parts, is_own in self._modules:
            if _modules.get(name) is not module:
                _modules[name] = module
            redefined = _put_back(vars(module), parts)
            changed |= {f"{name}.{key}": None for key in redefined} if is_own else {}
        changed |= self._put_back_code()
        for name, value, content in self._contents:
            if not _same(value, content):
                changed[name] = None
                _fill(value, content)
        changed |= dict.fromkeys(_put_back(self._namespace, self._names))
        for name in [*self._namespace]:
            if name in self._builtins and not name.startswith("_") and not self._may_hide(name):
                del self._namespace[name]
                changed[name] = None
        self._namespace["__builtins__"] = builtins
        return [*changed]

    def _put_back_code(self) -> dict[str, None]:
        changed: dict[str, None] = {}
        for name, function, parts in self._functions:
            if any(now is not before for now, before in zip(_made_of(function), parts, strict=True)):
                changed[name] = None
                function.__code__, function.__defaults__, function.__kwdefaults__ = parts
        for name, owner, members in self._classes:
            now = _dict_of(owner)
            for key in {*now, *members}:
                if key in members and now.get(key) is not members[key]:
                    changed[name] = None
                    type.__setattr__(owner, key, members[key])
                elif key not in members and key in _COMPARISONS:
                    changed[name] = None
                    type.__delattr__(owner, key)
        return changed


_COMPARISONS = frozenset("__bool__ __contains__ __eq__ __ge__ __gt__ __le__ __len__ __lt__ __ne__".split())


def _made_of(function: FunctionType) -> tuple[Any, ...]:
    return function.__code__, function.__defaults__, function.__kwdefaults__


def _put_back(there: dict[str, Any], before: dict[str, Any]) -> list[str]:
    changed = [key for key, value in before.items() if key != "_" and there.get(key, there) is not value]
    for key in changed:
        there[key] = before[key]
    return changed


def _same(value: Any, content: Any) -> bool:
    if type(value) is bytearray:
        return bool(value == content)
    if len(value) != len(content):
        return False
    if type(value) is set:
        return {id(part) for part in value} == {id(part) for part in content}
    if type(value) is dict and not _same([*value.values()], [*content.values()]):
        return False
    return all(one is two for one, two in zip(value, content, strict=True))


def _fill(value: Any, content: Any) -> None:
    value.clear()
    value.extend(content) if type(value) in (list, bytearray) else value.update(content)
