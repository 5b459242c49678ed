"""Modules, functions and classes in a line each: an import where models know the library, else what was defined."""

from __future__ import annotations

import dis
import inspect
import itertools
import re
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from fim_magic.context.redaction import redacted, secret_name
from fim_magic.context.safe_reading import (
    bases,
    class_name,
    derives,
    entries_of,
    entries_of_class,
    entries_of_module,
    module_of,
    mro,
    plain_text,
    top_package,
)

MOST_NAMED = 12
"""Keys, members or parameters that are named."""

_LONGEST_ANNOTATION = 40
_LONGEST_DOC = 100
_BIGGEST_DEFAULT = 10**6
_STORE_ATTR = dis.opmap["STORE_ATTR"]
_MODULE_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def module_line(name: str, module: object) -> str | None:
    """Return the line that imports a module under a name, or None where it has no name of its own."""
    path = entries_of_module(module).get("__name__")
    if type(path) is not str or not _MODULE_NAME.fullmatch(path):
        return None
    parent, _, last = path.rpartition(".")
    if last != name:
        return f"import {path} as {name}"
    return f"from {parent} import {name}" if parent else f"import {name}"


def function_line(name: str, function: Any) -> str:
    """Return the import of a function of the standard library, and a comment with the signature of any other.

    It has to be exactly a Python or a built-in function: Python's own code reads their attributes.
    """
    module, own = function.__module__, plain_text(function.__name__)
    in_stdlib = top_package(module) in sys.stdlib_module_names and module not in ("__main__", "builtins")
    if in_stdlib and own is not None and own.isidentifier():
        return _import_line(module, own, name)
    if type(function) is types.BuiltinFunctionType:
        return f"# {name}: built-in function"
    doc = _first_line(function.__doc__)
    return f"# {name}{_signature(function)}" + (f": {doc}" if doc else "")


def class_line(name: str, cls: Any) -> str:
    """Return the import of a class of any library, and a comment with the members of one of the user's."""
    module, own = module_of(cls), class_name(cls)
    if type(module) is str and module != "__main__" and _MODULE_NAME.fullmatch(module) and own.isidentifier():
        return _import_line(module, own, name)
    parents = ", ".join(class_name(base) for base in bases(cls) if base is not object)
    named = ", ".join(members(cls))
    return f"# class {name}" + (f"({parents})" if parents else "") + (f": {named}" if named else "")


def members(cls: Any) -> list[str]:
    """Return the public fields and methods of a class and of its bases that the user wrote."""
    fields: dict[str, str] = {}
    methods: dict[str, str] = {}
    for base in mro(cls):
        if module_of(base) != "__main__":
            continue
        entries = entries_of_class(base)
        for name in _fields(entries):
            fields.setdefault(name, name)
        for name, member in entries.items():
            if type(member) is property:
                fields.setdefault(name, name)
            elif (function := _function_of(member)) is not None:
                bound = type(member) is not staticmethod
                methods.setdefault(name, name + _signature(function, bound=bound))
    texts = {**fields, **{name: text for name, text in methods.items() if name not in fields}}
    public = [text for name, text in texts.items() if not name.startswith("_") and not secret_name(name)]
    return public if len(public) <= MOST_NAMED else [*public[:MOST_NAMED], "…"]


def _import_line(module: str, own: str, name: str) -> str:
    return f"from {module} import {own}" + ("" if own == name else f" as {name}")


def _first_line(doc: object) -> str:
    lines = (line.strip() for line in (plain_text(doc) or "").splitlines())
    line = next(filter(None, lines), "")
    shown = redacted(line[: 4 * _LONGEST_DOC], python=False)
    return shown if len(shown) <= _LONGEST_DOC else shown[:_LONGEST_DOC] + "…"


def _signature(function: types.FunctionType, *, bound: bool = False) -> str:
    """The parameters as they were defined. `inspect.signature` would ask `__wrapped__` and `__signature__`."""
    code = function.__code__
    annotations = _annotations(function)
    names = [plain_text(name) or "…" for name in code.co_varnames]
    positional, keyword_only = code.co_argcount, code.co_kwonlyargcount
    defaults = function.__defaults__ or ()
    keyword_defaults = entries_of(function.__kwdefaults__)
    first_default = positional - len(defaults)
    parts = []
    for index in range(positional):
        default = defaults[index - first_default : index - first_default + 1] if index >= first_default else ()
        parts.append(_parameter(names[index], annotations, default))
        if index + 1 == code.co_posonlyargcount:
            parts.append("/")
    parts = parts[int(bound) :]
    stars = itertools.islice(names, positional + keyword_only, None)
    if code.co_flags & inspect.CO_VARARGS:
        parts.append(f"*{next(stars)}")
    elif keyword_only:
        parts.append("*")
    for name in names[positional : positional + keyword_only]:
        parts.append(_parameter(name, annotations, (keyword_defaults[name],) if name in keyword_defaults else ()))
    if code.co_flags & inspect.CO_VARKEYWORDS:
        parts.append(f"**{next(stars)}")
    if len(parts) > MOST_NAMED:
        parts = [*parts[:MOST_NAMED], "…"]
    returned = _annotation(annotations.get("return"))
    return f"({', '.join(parts)})" + (f" -> {returned}" if returned else "")


def _parameter(name: str, annotations: Mapping[str, Any], default: tuple[Any, ...]) -> str:
    annotation = _annotation(annotations.get(name))
    text = f"{name}: {annotation}" if annotation else name
    if not default:
        return text
    return f"{text} = {_default(name, default[0])}" if annotation else f"{text}={_default(name, default[0])}"


def _default(name: str, value: object) -> str:
    """A default as code, if it is a small number or the like: a string may hold anything."""
    kind = type(value)
    if value is None or kind is bool:
        return str(value)
    if (kind is int or kind is float) and not secret_name(name) and abs(value) <= _BIGGEST_DEFAULT:  # type: ignore[arg-type] # a number
        return repr(value)
    return '"…"' if kind is str else "…"


def _annotations(function: types.FunctionType) -> dict[str, Any]:
    # From Python 3.14 on they are made when they are asked for, by running code of the user's.
    return {} if sys.version_info >= (3, 14) else entries_of(function.__annotations__)


def _annotation(annotation: object) -> str:
    """An annotation as code, as far as its parts are Python's own types; "" for others."""
    kind = type(annotation)
    if kind is str:
        text = " ".join(str.split(annotation))  # type: ignore[arg-type] # it is a str
        return redacted(text, python=False) if len(text) <= _LONGEST_ANNOTATION else ""
    if annotation is None or kind is types.NoneType:
        return ""
    if kind is types.GenericAlias:
        origin = _annotation(types.GenericAlias.__dict__["__origin__"].__get__(annotation))
        parts = [_annotation(part) for part in types.GenericAlias.__dict__["__args__"].__get__(annotation)]
        return f"{origin}[{', '.join(parts)}]" if origin and all(parts) else ""
    if kind is types.UnionType:
        alternatives = types.UnionType.__dict__["__args__"].__get__(annotation)
        parts = ["None" if part is types.NoneType else _annotation(part) for part in alternatives]
        return " | ".join(parts) if all(parts) else ""
    return class_name(annotation) if derives(kind, type) else ""


def _fields(entries: Mapping[str, Any]) -> Iterator[str]:
    for name in ("__annotations__", "__dataclass_fields__"):
        yield from entries_of(entries.get(name))
    for name in ("_fields", "__slots__"):
        if type(entries.get(name)) is tuple:
            yield from (field for field in entries[name] if type(field) is str)
    init = entries.get("__init__")
    if type(init) is types.FunctionType and "__dataclass_fields__" not in entries:
        yield from _attributes_set_by(init.__code__)


def _attributes_set_by(code: types.CodeType) -> Iterator[str]:
    """The attributes that a function sets, of any object. `dis` would ask the code's constants for their `repr`."""
    high = 0
    for operation, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        if operation == dis.EXTENDED_ARG:
            high = (high | low) << 8
            continue
        if operation == _STORE_ATTR and type(code.co_names[high | low]) is str:
            yield code.co_names[high | low]
        high = 0


def _function_of(member: object) -> types.FunctionType | None:
    kind = type(member)
    if kind is staticmethod or kind is classmethod:
        member = kind.__dict__["__func__"].__get__(member)
    return member if type(member) is types.FunctionType else None
