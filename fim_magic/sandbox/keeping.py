"""What is the user's in a namespace, while a program runs there that may redefine it: noted before, put back after.

The child loads this file by its path, as it does `kernel.py`. What counts: what names are bound to, what the user's
functions and classes are made of, what their lists, dictionaries, objects and arrays hold, Python's builtins, and the
functions and classes of modules. It uses its own copy of the builtins, and goes past what a class defines.
"""

from __future__ import annotations

import builtins
import gc
import sys
from collections.abc import Callable, Iterable
from functools import _lru_cache_wrapper, partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

globals()["__builtins__"] = dict(vars(builtins))

_MOST_ENTRIES = 10_000  # of the user's data
_NOTES = (bool, type(None))  # with which libraries note what they have done
_WITHOUT_CONTENT = (bool, int, float, complex, str, bytes, staticmethod, classmethod, property)
_OF_PYTHON = frozenset(
    "__annotate__ __annotations__ __builtins__ __cached__ __conditional_annotations__ __doc__ __file__ __loader__"
    " __package__ __spec__".split()
)
_OF_THE_TIME_ZONE = frozenset({"altzone", "daylight", "timezone", "tzname"})  # time.tzset() sets these of its module
_BUILTINS = vars(builtins)
_dict_of_class = type.__dict__["__dict__"].__get__  # past a metaclass
_size_of_dict = type.__dict__["__dictoffset__"].__get__  # of its objects; an error that is raised takes longer
_set_trace, _set_profile, _modules = sys.settrace, sys.setprofile, sys.modules
_collects, _collect_nothing, _collect_again = gc.isenabled, gc.disable, gc.enable
_IMPORTS: tuple[Any, Any, Any] = (sys.path, sys.meta_path, sys.path_hooks)
_finders = sys.path_importer_cache
_MISSING = object()

Undo = Callable[[], bool]
"""Puts one thing back, and says whether it had changed."""


class Kept:
    """What was noted, and putting it back."""

    def __init__(self, namespace: dict[str, Any], data: Any, code: Any) -> None:
        """Keep a namespace; `data` and `code` are `contents.py` and `definitions.py`, which the child loads as well."""
        self._namespace = namespace
        self._data, self._code = data, code
        self._clear()

    def _clear(self) -> None:
        self._undo: list[tuple[str, Undo]] = []
        self._contents: list[tuple[str, Undo]] = []
        self._noted_modules: list[tuple[str, ModuleType, dict[str, Any], bool]] = []
        self._functions: dict[int, tuple[str, FunctionType, Any]] = {}
        self._classes: dict[str, type] = {}
        self._seen: set[int] = set()  # code
        self._looked_into: set[int] = set()  # data
        self._may_hide: Callable[[str], bool] = lambda _: True
        self._builtins = dict(_BUILTINS)
        self._finders = dict(_finders)
        self._main = _modules.get("__main__")

    def note(
        self,
        only: Iterable[str] | None = None,
        *,
        released: Iterable[str] = (),
        data: Iterable[str] = (),
        wholly: bool = False,
        modules: Iterable[str] = (),
    ) -> None:
        """Note what is to be kept, and forget what was noted before.

        Collecting garbage in between would take longer than the rest.

        Args:
            only: Where not None, the only names that stay what they are.
            released: Names that do not.
            data: Names whose lists, dictionaries and objects keep what they hold as well.
            wholly: Whether classes keep all that they have, and not their functions alone.
            modules: Modules that are the user's as those are that names are bound to.
        """
        collects = _collects()
        _collect_nothing()
        try:
            self._note(only, released, data, wholly, modules)
        finally:
            if collects:
                _collect_again()

    def _note(
        self,
        only: Iterable[str] | None,
        released: Iterable[str],
        data: Iterable[str],
        wholly: bool,
        modules: Iterable[str],
    ) -> None:
        self._clear()
        before = dict(self._namespace)
        among, left_out = None if only is None else frozenset(only), frozenset(released)

        def is_kept(name: str) -> bool:
            return name not in left_out and (among is None or name in among)

        self._may_hide = lambda name: name in before or not is_kept(name)
        for name, value in before.items():
            if is_kept(name) and name not in _OF_PYTHON:
                self._undo.append((name, _entry(self._namespace, name, value)))
                self._note_code(name, value, wholly)
        for name in data:
            if name in before:
                self._note_content(name, before[name])
        own = {id(value) for value in before.values() if _is_a(value, ModuleType)}
        own |= {id(_modules.get(name)) for name in modules}
        for name, module in [*_modules.items()]:
            if _is_a(module, ModuleType) and vars(module) is not self._namespace and module is not builtins:
                self._note_module(name, module, id(module) in own, wholly)
        for name, listed in zip(("sys.path", "sys.meta_path", "sys.path_hooks"), _IMPORTS, strict=True):
            self._undo.append((name, self._data.container(list, listed, list(listed))))

    def _is_new(self, value: Any) -> bool:
        return _is_new(value, self._seen)

    def _note_code(self, name: str, value: Any, wholly: bool) -> None:
        if type(value) is MethodType:
            self._note_code(name, value.__func__, wholly)
        elif type(value) is property:
            for part in (value.fget, value.fset, value.fdel):
                self._note_code(name, part, wholly)
        elif type(value) is partial:
            if self._is_new(value):
                self._undo.append((name, self._data.partial_function(value)))
                self._note_code(name, value.func, wholly)
        elif type(value) in (FunctionType, staticmethod, classmethod, _lru_cache_wrapper):
            wrapped = vars(value).get("__wrapped__") if hasattr(value, "__dict__") else None
            wrapped = value.__func__ if type(value) in (staticmethod, classmethod) else wrapped
            if self._is_new(value):
                self._note_function(name, value, wholly)
                self._note_code(name, wrapped, wholly)
        elif _is_a(value, type) and self._data.is_changeable(value) and self._is_new(value):
            is_users = _dict_of_class(value).get("__module__") == "__main__"
            self._undo.append((name, self._code.members(value, self._namespace, all_of_it=wholly and is_users)))
            for part in [*_dict_of_class(value).values()] if is_users else ():
                self._note_code(name, part, wholly)
                if wholly:
                    self._note_content(name, part)
            for base in type.mro(value)[1:]:
                self._note_code(name, base, wholly)

    def _note_function(self, name: str, value: Any, wholly: bool) -> None:
        if type(value) is _lru_cache_wrapper:
            self._undo.append((name, self._code.cache(value)))
        if type(value) is not FunctionType:
            return
        self._undo.append((name, self._code.definition(value)))
        for cell in value.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            if type(content) is FunctionType:
                self._note_code(name, content, wholly)
            if wholly:
                self._undo.append((name, self._code.closure(cell, content)))
                self._note_content(name, content)

    def _note_content(self, name: str, value: Any) -> None:
        waiting = [value]  # data may be nested deeper than Python recurses
        while waiting:
            value = waiting.pop()
            if type(value) in _WITHOUT_CONTENT or _is_a(value, (type, ModuleType)):
                continue
            if _is_new(value, self._looked_into):
                undo, held = self._data.noted(value)
                self._contents += [(name, one) for one in undo]
                waiting += held

    def _note_module(self, name: str, module: ModuleType, is_own: bool, wholly: bool) -> None:
        there = dict(vars(module))
        found = {key: value for key, value in there.items() if callable(value) or _is_a(value, ModuleType)}
        if is_own:
            kinds: Any = self._code.CONSTANTS if module is sys else object
            public = {key: value for key, value in there.items() if not key.startswith("_")}
            for key in _OF_THE_TIME_ZONE if name == "time" else ():
                public.pop(key, None)
            found |= {key: value for key, value in public.items() if _is_a(value, kinds) and type(value) not in _NOTES}
        self._noted_modules.append((name, module, found, is_own))
        self._classes[name] = type(module)
        for key, value in found.items():
            self._note_library_function(f"{name}.{key}", value)
        for key, value in found.items() if is_own else ():
            if type(value) is _lru_cache_wrapper:
                self._undo.append((f"{name}.{key}", self._code.cache(value)))
            elif wholly and self._code.is_of_the_same_package(type(value), module):
                self._contents += [(f"{name}.{key}", one) for one in self._data.attributes(value)]
        self._note_classes(name, found, is_own)

    def _note_classes(self, name: str, found: dict[str, Any], is_own: bool) -> None:
        for key, value in found.items():
            if _is_a(value, type) and self._data.is_changeable(value):
                for owner in type.mro(value) if is_own else (value,):
                    if self._data.is_changeable(owner) and id(owner) not in self._seen:
                        self._seen.add(id(owner))
                        self._undo.append(
                            (f"{name}.{key}", self._code.members(owner, self._namespace, all_of_it=False))
                        )
                        for part in _dict_of_class(owner).values():
                            self._note_library_function(f"{name}.{key}", part)

    def _note_library_function(self, name: str, value: Any) -> None:
        """Note what a function of a module is made of: of these there are ten thousands."""
        value = value.__func__ if type(value) in (staticmethod, classmethod) else value
        while id(value) not in self._functions:
            if type(value) is FunctionType:
                self._functions[id(value)] = name, value, self._code.made_of(value)
            elif _is_a(value, type) or not _size_of_dict(type(value)):
                return
            try:
                value = object.__getattribute__(value, "__dict__").get("__wrapped__", _MISSING)
            except (AttributeError, TypeError):
                return
            if value is _MISSING:
                return

    def put_back(self, spared: Iterable[str] = (), *, contents: bool = True) -> list[str]:
        """Put everything back, and return the names of what had changed, those of modules and builtins with a dot.

        Args:
            spared: Names that stay as they are, with all that belongs to them.
            contents: Whether data is put back as well.
        """
        _set_trace(None)
        _set_profile(None)
        sys.modules = _modules
        sys.path, sys.meta_path, sys.path_hooks = _IMPORTS
        sys.path_importer_cache = _finders
        _put_back(_finders, self._finders)
        if self._main is not None:
            _modules["__main__"] = self._main  # where unittest and doctest look for tests
        changed = {f"builtins.{key}": None for key in _put_back(_BUILTINS, self._builtins)}
        for name, module, parts, is_own in self._noted_modules:
            if name in spared:
                continue
            if type(module) is not self._classes[name]:  # its properties come before what it holds
                object.__setattr__(module, "__class__", self._classes[name])
                changed[f"{name}.__class__"] = None
            if _modules.get(name) is not module:
                _modules[name] = module
            for key, value in _put_back(vars(module), parts).items():
                before = parts[key]  # some libraries make other things of theirs anew as they are used
                is_certain = is_own and (
                    type(before) in self._code.CONSTANTS or callable(before) or _is_a(before, ModuleType)
                )
                if is_certain or self._code.is_made_in(self._namespace, value):
                    changed[f"{name}.{key}"] = None
        for name, function, made in self._functions.values():
            package = name.partition(".")[0]
            if package not in spared and self._code.remade(function, made, package):
                changed[name] = None
        for name, undo in [*self._undo, *(self._contents if contents else ())]:
            if name.partition(".")[0] not in spared and _has_undone(undo):
                changed[name] = None
        for name in [*self._namespace]:
            if name in self._builtins and not name.startswith("_") and not self._may_hide(name):
                del self._namespace[name]
                changed[name] = None
        self._namespace["__builtins__"] = builtins
        return [*changed]


def _is_a(value: object, kinds: Any) -> bool:
    return issubclass(type(value), kinds)  # as contents.py does it


def _is_new(value: Any, seen: set[int]) -> bool:
    if id(value) in seen:
        return False
    seen.add(id(value))
    return len(seen) <= _MOST_ENTRIES


def _put_back(there: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Put back what had changed, and return what stood in its place."""
    changed = {
        key: there.get(key, _MISSING)
        for key, value in before.items()
        if key != "_" and there.get(key, _MISSING) is not value
    }
    for key in changed:
        there[key] = before[key]
    return changed


def _has_undone(undo: Undo) -> bool:
    try:
        return undo()
    except Exception:  # what cannot be set cannot have been set
        return False


def _entry(there: dict[str, Any], key: str, value: Any) -> Undo:
    def undo() -> bool:
        if there.get(key, _MISSING) is value:
            return False
        there[key] = value
        return True

    return undo
