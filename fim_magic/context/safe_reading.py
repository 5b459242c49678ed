"""Reading objects without running any of the user's code.

Objects are never asked themselves: not for their `repr`, length, attributes or even `__class__`, which are all theirs
to define. The type is taken by `type(x)`, and only of types whose code is Python's or a library's own is anything else
read, through descriptors taken from these types.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from typing import Any

_HEAP_TYPE = 1 << 9  # of a type's flags: made by a class statement


def _type_reader(name: str) -> Callable[[Any], Any]:
    """Return what reads an attribute of a class, past its metaclass."""
    descriptor: Any = type.__dict__[name]
    reader: Callable[[Any], Any] = descriptor.__get__
    return reader


mro, _class_dict, _class_name, bases, _flags = map(
    _type_reader, ("__mro__", "__dict__", "__name__", "__bases__", "__flags__")
)
_module_of_static_type = _type_reader("__module__")
_module_dict: Any = vars(types.ModuleType)["__dict__"]


def is_one_of(cls: object, classes: Iterable[object]) -> bool:
    """Whether a class is among others. `in` would compare, and hash, as its metaclass says."""
    return any(other is cls for other in classes)


def derives(cls: object, base: type) -> bool:
    return is_one_of(base, mro(cls))


def entries_of(namespace: object) -> dict[str, Any]:
    """Return the entries of a dict whose keys are plain strings; comparing other keys may run code."""
    if not derives(type(namespace), dict):
        return {}
    items: list[tuple[Any, Any]] = list(dict.items(namespace))  # type: ignore[arg-type] # it is a dict
    return {key: value for key, value in items if type(key) is str}


def entries_of_module(module: object) -> dict[str, Any]:
    return entries_of(_module_dict.__get__(module))


def entries_of_class(cls: object) -> dict[str, Any]:
    return entries_of(dict(_class_dict(cls)))


def module_of(cls: Any) -> object:
    """Return what a class gives as its `__module__`, which may be anything."""
    return entries_of_class(cls).get("__module__") if _flags(cls) & _HEAP_TYPE else _module_of_static_type(cls)


def class_name(cls: Any) -> str:
    return plain_text(_class_name(cls)) or "object"


def plain_text(value: object) -> str | None:
    """Return a string as a plain one, or None: a subclass may say something else when it is formatted."""
    if type(value) is str:
        return value
    return str.__str__(value) if derives(type(value), str) else None


def top_package(module: object) -> str:
    """Return the first part of a module's name, or "" for what is no plain string."""
    return module.partition(".")[0] if type(module) is str else ""
