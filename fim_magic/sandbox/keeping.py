"""What is the user's in a namespace, while a program runs there that may redefine it: noted before, put back after.

The child loads this file by its path, as it does `kernel.py`. What counts: what names are bound to, what the user's
functions and classes are made of, what their lists, dictionaries, objects and arrays hold, Python's builtins, and the
functions and classes of modules. It uses its own copy of the builtins, and goes past what a class defines.
"""

from __future__ import annotations

import builtins
import sys
from collections import deque
from collections.abc import Callable, Iterable
from types import CellType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

globals()["__builtins__"] = dict(vars(builtins))

_MOST_ENTRIES = 10_000  # of the user's data
_MOST_BYTES = 16 << 20  # of one array
_CONSTANTS = (bool, int, float, complex, str)
_CODE = (FunctionType, staticmethod, classmethod, property)
_WITHOUT_CONTENT = (*_CONSTANTS, *_CODE, bytes, type, ModuleType)
_CONTAINERS = (list, dict, set, bytearray, deque)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: others cannot be changed
_OF_EVERY_CLASS = frozenset({"__dict__", "__weakref__"})
_OVERRIDES = frozenset(
    "__bool__ __contains__ __eq__ __ge__ __getattr__ __getattribute__ __gt__ __le__ __len__ __lt__ __ne__".split()
)
_BUILTINS = vars(builtins)
_dict_of_class = type.__dict__["__dict__"].__get__  # past a metaclass
_bases = type.__dict__["__bases__"]
_set_trace, _set_profile, _modules = sys.settrace, sys.setprofile, sys.modules
_IMPORTS: tuple[Any, Any, Any] = (sys.path, sys.meta_path, sys.path_hooks)
_MISSING = object()

Undo = Callable[[], bool]
"""Puts one thing back, and says whether it had changed."""


class Kept:
    """What was noted, and putting it back."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._clear()

    def _clear(self) -> None:
        self._undo: list[tuple[str, Undo]] = []
        self._contents: list[tuple[str, Undo]] = []
        self._noted_modules: list[tuple[str, ModuleType, dict[str, Any], bool]] = []
        self._seen: set[int] = set()
        self._may_hide: Callable[[str], bool] = lambda _: True
        self._builtins = dict(_BUILTINS)

    def note(
        self,
        only: Iterable[str] | None = None,
        *,
        released: Iterable[str] = (),
        data: Iterable[str] = (),
        wholly: bool = False,
    ) -> None:
        """Note what is to be kept, and forget what was noted before.

        Args:
            only: Where not None, the only names that stay what they are.
            released: Names that do not.
            data: Names whose lists, dictionaries and objects keep what they hold as well.
            wholly: Whether classes keep all that they have, and not their functions alone.
        """
        self._clear()
        before = dict(self._namespace)
        among, left_out = None if only is None else frozenset(only), frozenset(released)

        def is_kept(name: str) -> bool:
            return name not in left_out and (among is None or name in among)

        self._may_hide = lambda name: name in before or not is_kept(name)
        for name, value in before.items():
            if is_kept(name) and (name == "__name__" or not name.startswith("__")):
                self._undo.append((name, _entry(self._namespace, name, value)))
                self._note_code(name, value, wholly)
        for name in data:
            if name in before:
                self._note_content(name, before[name])
        own = {id(value) for value in before.values() if isinstance(value, ModuleType)}
        for name, module in [*_modules.items()]:
            if isinstance(module, ModuleType) and vars(module) is not self._namespace and module is not builtins:
                self._note_module(name, module, id(module) in own)
        for name, listed in zip(("sys.path", "sys.meta_path", "sys.path_hooks"), _IMPORTS, strict=True):
            self._undo.append((name, _container(list, listed, list(listed))))

    def _is_new(self, value: Any) -> bool:
        if id(value) in self._seen:
            return False
        self._seen.add(id(value))
        return len(self._seen) <= _MOST_ENTRIES

    def _note_code(self, name: str, value: Any, wholly: bool) -> None:
        if type(value) in (FunctionType, staticmethod, classmethod) or type(value).__name__ == "_lru_cache_wrapper":
            wrapped = vars(value).get("__wrapped__") if hasattr(value, "__dict__") else None
            wrapped = value.__func__ if type(value) in (staticmethod, classmethod) else wrapped
            if self._is_new(value):
                self._note_function(name, value, wholly)
                self._note_code(name, wrapped, wholly)
        elif isinstance(value, type) and _is_changeable(value) and self._is_new(value):
            is_users = _dict_of_class(value).get("__module__") == "__main__"
            self._undo.append((name, _members(value, self._namespace, all_of_it=wholly and is_users)))
            for part in [*_dict_of_class(value).values()] if is_users else ():
                self._note_code(name, part, wholly)
                if wholly:
                    self._note_content(name, part)
            for base in type.mro(value)[1:]:
                self._note_code(name, base, wholly)

    def _note_function(self, name: str, value: Any, wholly: bool) -> None:
        if type(value) is not FunctionType:
            return
        self._undo.append((name, _function(value)))
        for cell in value.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                continue
            if type(content) is FunctionType:
                self._note_code(name, content, wholly)
            if wholly:
                self._undo.append((name, _cell(cell, content)))
                self._note_content(name, content)

    def _note_content(self, name: str, value: Any) -> None:
        if isinstance(value, _WITHOUT_CONTENT) or not self._is_new(value):
            return
        kind: Any = next((kind for kind in _CONTAINERS if isinstance(value, kind)), None)
        held: Iterable[Any] = value if type(value) in (tuple, frozenset) else ()
        if kind is not None:
            content: Any = _copied(kind, value)
            self._contents.append((name, _container(kind, value, content)))
            held = content.values() if kind is dict else () if kind is bytearray else content
        elif (array := _array(value)) is not None:
            self._contents.append((name, array))
        elif (frame := _frame(value)) is not None:
            self._contents.append((name, frame))
            return
        attributes = _attributes(value)
        if attributes is not None:
            self._contents.append((name, attributes))
            held = [*held, *_dict_of(value).values()]
        for part in held:
            self._note_content(name, part)

    def _note_module(self, name: str, module: ModuleType, is_own: bool) -> None:
        found = {key: value for key, value in vars(module).items() if callable(value)}
        if is_own and module is not sys:
            constants = {key: value for key, value in vars(module).items() if type(value) in _CONSTANTS}
            found |= {key: value for key, value in constants.items() if not key.startswith("_")}
        self._noted_modules.append((name, module, found, is_own))
        for key, value in found.items() if is_own else ():
            if isinstance(value, type) and _is_changeable(value):
                for owner in type.mro(value):
                    if _is_changeable(owner) and self._is_new(owner):
                        self._undo.append((f"{name}.{key}", _members(owner, self._namespace, all_of_it=False)))

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
        changed = {f"builtins.{key}": None for key in _put_back(_BUILTINS, self._builtins)}
        for name, module, parts, is_own in self._noted_modules:
            if name in spared:
                continue
            if _modules.get(name) is not module:
                _modules[name] = module
            for key, value in _put_back(vars(module), parts).items():
                if is_own or _is_made_in(self._namespace, value):
                    changed[f"{name}.{key}"] = None
        for name, undo in [*self._undo, *(self._contents if contents else ())]:
            if name.partition(".")[0] not in spared and _has_undone(undo):
                changed[name] = None
        for name in [*self._namespace]:
            if name in self._builtins and not name.startswith("_") and not self._may_hide(name):
                del self._namespace[name]
                changed[name] = None
        self._namespace["__builtins__"] = builtins
        return [*changed]


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


def _copied(kind: Any, value: Any) -> Any:
    return kind(kind.items(value) if kind is dict else kind.__iter__(value))


def _is_made_in(namespace: dict[str, Any], value: Any) -> bool:
    value = value.__func__ if type(value) in (staticmethod, classmethod) else value
    return type(value) is FunctionType and value.__globals__ is namespace


def _is_changeable(owner: type) -> bool:
    return bool(type.__dict__["__flags__"].__get__(owner) & _HEAP_TYPE)


def _entry(there: dict[str, Any], key: str, value: Any) -> Undo:
    def undo() -> bool:
        if there.get(key, _MISSING) is value:
            return False
        there[key] = value
        return True

    return undo


def _function(function: FunctionType) -> Undo:
    before = function.__code__, function.__defaults__, function.__kwdefaults__

    def undo() -> bool:
        now = function.__code__, function.__defaults__, function.__kwdefaults__
        if all(one is other for one, other in zip(now, before, strict=True)):
            return False
        function.__code__, function.__defaults__, function.__kwdefaults__ = before
        return True

    return undo


def _cell(cell: CellType, content: Any) -> Undo:
    def undo() -> bool:
        try:
            if cell.cell_contents is content:
                return False
        except ValueError:
            pass
        cell.cell_contents = content
        return True

    return undo


def _members(owner: type, namespace: dict[str, Any], *, all_of_it: bool) -> Undo:
    bases, there = _bases.__get__(owner), frozenset(_dict_of_class(owner))
    before = {
        key: value
        for key, value in _dict_of_class(owner).items()
        if key not in _OF_EVERY_CLASS and (all_of_it or key in _OVERRIDES or type(value) in _CODE)
    }

    def is_foreign(key: str, value: Any) -> bool:
        """Whether what was added since then is a program's: libraries add to their classes as they are used."""
        return key in _OVERRIDES or _is_made_in(namespace, value) or (all_of_it and not key.startswith("__"))

    def undo() -> bool:
        changed = False
        now = dict(_dict_of_class(owner))
        if _bases.__get__(owner) != bases:
            _bases.__set__(owner, bases)
            changed = True
        for key in now.keys() - there:
            if is_foreign(key, now[key]):
                changed = True
                type.__delattr__(owner, key)
        for key, value in before.items():
            if now.get(key, _MISSING) is not value:
                changed = True
                type.__setattr__(owner, key, value)
        return changed

    return undo


def _container(kind: Any, value: Any, content: Any) -> Undo:
    def undo() -> bool:
        if _same(kind, value, content):
            return False
        kind.clear(value)
        (kind.update if kind in (dict, set) else kind.extend)(value, content)
        return True

    return undo


def _same(kind: Any, value: Any, content: Any) -> bool:
    if kind.__len__(value) != len(content):
        return False
    if kind is bytearray:
        return bool(bytearray.__eq__(value, content))
    if kind is set:
        return {id(part) for part in set.__iter__(value)} == {id(part) for part in content}
    if kind is dict:
        pairs = zip(dict.items(value), content.items(), strict=True)
        return all(one[0] is other[0] and one[1] is other[1] for one, other in pairs)
    return all(one is other for one, other in zip(kind.__iter__(value), content, strict=True))


def _dict_of(value: Any) -> dict[str, Any]:
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else {}


def _attributes(value: Any) -> Undo | None:
    """Keep the class, the attributes and the slots of an object."""
    owner, there = type(value), _dict_of(value)
    slots = [part for base in type.mro(owner) for part in _dict_of_class(base).values()]
    slots = [part for part in slots if type(part) is MemberDescriptorType and _is_changeable(part.__objclass__)]
    if not there and not slots and not _is_changeable(owner):
        return None
    attributes = dict(there)
    filled = [(slot, slot.__get__(value)) for slot in slots if _is_filled(slot, value)]

    def undo() -> bool:
        changed = False
        if type(value) is not owner:
            object.__setattr__(value, "__class__", owner)
            changed = True
        if not _same(dict, _dict_of(value), attributes):
            dict.clear(_dict_of(value))
            dict.update(_dict_of(value), attributes)
            changed = True
        for slot, content in filled:
            if not _is_filled(slot, value) or slot.__get__(value) is not content:
                slot.__set__(value, content)
                changed = True
        return changed

    return undo


def _is_filled(slot: Any, value: Any) -> bool:
    try:
        slot.__get__(value)
    except AttributeError:
        return False
    return True


def _is_of(value: Any, package: str, names: tuple[str, ...]) -> bool:
    owner = type(value)
    return owner.__name__ in names and str(owner.__module__).partition(".")[0] == package


def _array(value: Any) -> Undo | None:
    if not _is_of(value, "numpy", ("ndarray",)) or value.nbytes > _MOST_BYTES:
        return None
    content = value.copy()

    def undo() -> bool:
        if value.shape == content.shape and value.tobytes() == content.tobytes():
            return False
        value[...] = content
        return True

    return undo


def _frame(value: Any) -> Undo | None:
    if not _is_of(value, "pandas", ("DataFrame", "Series")):
        return None
    if int(value.memory_usage(index=True).sum() if value.ndim > 1 else value.nbytes) > _MOST_BYTES:
        return None
    content, equals = value.copy(), type(value).equals

    def undo() -> bool:
        if equals(value, content):
            return False
        dict.update(_dict_of(value), _dict_of(content.copy()))
        return True

    return undo
