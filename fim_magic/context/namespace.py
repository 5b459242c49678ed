"""What a kernel knows of names, in a line each: `# sales: DataFrame, 3 rows, columns: shop object, units int64`.

Looking must not run the user's code, which may be slow, print, raise or change something. So objects are never asked
themselves: not for their `repr`, length, attributes or even `__class__`, which are all theirs to define. The type is
taken by `type(x)`, and only of types whose code is Python's or a library's own is anything else read, through
descriptors taken from these types. Everything else is known by the name of its class.
"""

from __future__ import annotations

import dis
import inspect
import itertools
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fim_magic.context.redaction import redacted, secret_name

_MOST = 12  # keys, members or parameters that are named
_MOST_COLUMNS = 24
_FIRST = 5  # elements whose types are looked at
_LONGEST_LABEL = 40
_SHORTEST_SECRET = 16  # characters of a text that can be told by its look
_LONGEST_DOC = 100
_BIGGEST_DEFAULT = 10**6
_HEAP_TYPE = 1 << 9  # of a type's flags: made by a class statement

_STORE_ATTR = dis.opmap["STORE_ATTR"]
_MODULE_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def _of_type(name: str) -> Callable[[Any], Any]:
    """Return what reads an attribute of a class, past its metaclass."""
    descriptor: Any = type.__dict__[name]
    read: Callable[[Any], Any] = descriptor.__get__
    return read


_mro, _namespace_of, _name_of, _bases, _flags = map(
    _of_type, ("__mro__", "__dict__", "__name__", "__bases__", "__flags__")
)
_module_of_static_type = _of_type("__module__")


def _one_of(cls: object, classes: Iterable[object]) -> bool:
    """Whether a class is among others. `in` would compare, and hash, as its metaclass says."""
    return any(each is cls for each in classes)


def _derives(cls: object, base: type) -> bool:
    return _one_of(base, _mro(cls))


@dataclass(frozen=True)
class Described:
    """What is known of a name.

    Attributes:
        name: The name.
        line: One line of Python: a comment, or an import.
        by_source: Whether the source that defines or imports it says as much.
        columns: Of a DataFrame whose columns all have a text for a name, these names, in the order of the alphabet.
    """

    name: str
    line: str
    by_source: bool = False
    columns: tuple[str, ...] | None = None


def describe(names: Iterable[str], namespace: Mapping[str, object], *, values: bool = False) -> tuple[Described, ...]:
    """Describe names in a line each, without running any of the user's code.

    Names that look like secrets, names that the namespace lacks, and what is of this package are left out.

    Args:
        names: Which, the most useful first.
        namespace: Where they are, a `dict`: of another mapping nothing can be read without running its code.
        values: Say also the values of numbers and short strings.
    """
    known, readers = entries_of(namespace), _readers()
    wanted = (name for name in dict.fromkeys(each for each in names if type(each) is str) if name in known)
    found = (_described(name, known[name], readers, values=values) for name in wanted if not secret_name(name))
    return tuple(each for each in found if each is not None)


def entries_of(namespace: object) -> dict[str, Any]:
    """Return the entries of a dict whose keys are plain strings; comparing other keys may run code.

    Args:
        namespace: A dict, or anything else, which has none.
    """
    if not _derives(type(namespace), dict):
        return {}
    items: list[tuple[Any, Any]] = list(dict.items(namespace))  # type: ignore[arg-type] # it is a dict
    return {key: value for key, value in items if type(key) is str}


def _described(name: str, value: object, readers: _Readers, *, values: bool) -> Described | None:
    kind = type(value)
    if _is_ours(value):
        return None  # a model that is told of our results writes about them
    if kind is types.ModuleType:
        line = _import_of_module(name, value)
        return None if line is None else Described(name, line, by_source=True)
    if kind is types.FunctionType or kind is types.BuiltinFunctionType:
        return Described(name, _function(name, value), by_source=True)
    if _derives(kind, type):
        return Described(name, _class(name, value), by_source=True)
    read = next((read for cls, read in readers if kind is cls), None)
    said = _data(value, values) if read is None else read(value)
    return Described(name, f"# {name}: {said}", columns=_column_names(value) if read is _frame else None)


def _is_ours(value: object) -> bool:
    """Whether something is of this package: an answer that was kept, or what was imported from it."""
    kind = type(value)
    if kind is types.ModuleType:
        entries = _entries_of_module(value)
        module = next((each for key, each in entries if type(key) is str and key == "__name__"), None)
    elif kind is types.FunctionType:
        module = value.__module__
    else:
        module = _module_of(value if _derives(kind, type) else kind)
    return type(module) is str and module.partition(".")[0] == __name__.partition(".")[0]


# Modules, functions and classes


def _import_of_module(name: str, module: object) -> str | None:
    # Not looked up: a key that is no plain string may be compared with it.
    entries = _entries_of_module(module)
    path = next((value for key, value in entries if type(key) is str and key == "__name__"), None)
    if type(path) is not str or not _MODULE_NAME.fullmatch(path):
        return None
    parent, _, last = path.rpartition(".")
    if last != name:
        return f"import {path} as {name}"
    return f"from {parent} import {name}" if parent else f"import {name}"


def _entries_of_module(module: object) -> list[tuple[Any, Any]]:
    descriptor: Any = vars(types.ModuleType)["__dict__"]
    return list(dict.items(descriptor.__get__(module)))


def _import_of(name: str, value: object, module: object) -> str | None:
    """The line that imports a function or class of the standard library, which models know."""
    if type(module) is not str or module.partition(".")[0] not in sys.stdlib_module_names or module == "__main__":
        return None
    own = value.__name__ if type(value) is types.BuiltinFunctionType else None
    if own is None:
        own = types.FunctionType.__dict__["__name__"].__get__(value) if type(value) is types.FunctionType else None
    own = _text(_name_of(value) if own is None and _derives(type(value), type) else own)
    if own is None or not own.isidentifier():
        return None
    return f"from {module} import {own}" + ("" if own == name else f" as {name}")


def _function(name: str, function: Any) -> str:
    # Attributes of exactly these types are read by Python's own code; annotations are another matter.
    line = _import_of(name, function, function.__module__)
    if line is not None and not line.startswith("from builtins "):
        return line
    if type(function) is types.BuiltinFunctionType:
        return f"# {name}: built-in function"
    doc = _first_line(function.__doc__)
    return f"# {name}{_signature(function)}" + (f": {doc}" if doc else "")


def _signature(function: types.FunctionType, *, bound: bool = False) -> str:
    """The parameters as they were defined. `inspect.signature` would ask `__wrapped__` and `__signature__`."""
    code = function.__code__
    notes = _annotations(function)
    names = [_text(each) or "…" for each in code.co_varnames]
    positional, keyword_only = code.co_argcount, code.co_kwonlyargcount
    defaults = function.__defaults__ or ()
    of_keywords = entries_of(function.__kwdefaults__)
    first_default = positional - len(defaults)
    said = []
    for at in range(positional):
        default = defaults[at - first_default : at - first_default + 1] if at >= first_default else ()
        said.append(_parameter(names[at], notes, default))
        if at + 1 == code.co_posonlyargcount:
            said.append("/")
    said = said[int(bound) :]
    stars = itertools.islice(names, positional + keyword_only, None)
    if code.co_flags & inspect.CO_VARARGS:
        said.append(f"*{next(stars)}")
    elif keyword_only:
        said.append("*")
    for each in names[positional : positional + keyword_only]:
        said.append(_parameter(each, notes, (of_keywords[each],) if each in of_keywords else ()))
    if code.co_flags & inspect.CO_VARKEYWORDS:
        said.append(f"**{next(stars)}")
    if len(said) > _MOST:
        said = [*said[:_MOST], "…"]
    returned = _annotation(notes.get("return"))
    return f"({', '.join(said)})" + (f" -> {returned}" if returned else "")


def _parameter(name: str, notes: Mapping[str, Any], default: tuple[Any, ...]) -> str:
    note = _annotation(notes.get(name))
    said = f"{name}: {note}" if note else name
    if not default:
        return said
    return f"{said} = {_default(name, default[0])}" if note else f"{said}={_default(name, default[0])}"


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


def _annotation(note: object) -> str:
    """An annotation as code, as far as its parts are Python's own types; "" for others."""
    kind = type(note)
    if kind is str:
        text = " ".join(str.split(note))  # type: ignore[arg-type] # it is a str
        return text if len(text) <= _LONGEST_LABEL else ""
    if note is None or kind is types.NoneType:
        return ""
    if kind is types.GenericAlias:
        origin = types.GenericAlias.__dict__["__origin__"].__get__(note)
        parts = [_annotation(each) for each in types.GenericAlias.__dict__["__args__"].__get__(note)]
        return f"{_annotation(origin)}[{', '.join(parts)}]" if _annotation(origin) and all(parts) else ""
    if kind is types.UnionType:
        members = types.UnionType.__dict__["__args__"].__get__(note)
        parts = ["None" if each is types.NoneType else _annotation(each) for each in members]
        return " | ".join(parts) if all(parts) else ""
    return _text(_name_of(note)) or "" if _derives(kind, type) else ""


def _class(name: str, cls: Any) -> str:
    module = _module_of(cls)
    line = _import_of(name, cls, module)
    own = _class_name(cls)
    if line is None and type(module) is str and module != "__main__" and _MODULE_NAME.fullmatch(module):
        line = f"from {module} import {own}" + ("" if own == name else f" as {name}") if own.isidentifier() else None
    if line is not None:
        return line
    bases = ", ".join(_class_name(base) for base in _bases(cls) if base is not object)
    members = ", ".join(_members(cls))
    return f"# class {name}" + (f"({bases})" if bases else "") + (f": {members}" if members else "")


def _members(cls: Any) -> list[str]:
    """The public fields and methods of a class and of its bases that the user wrote."""
    fields: dict[str, str] = {}
    methods: dict[str, str] = {}
    for each in _mro(cls):
        if _module_of(each) != "__main__":
            continue
        entries = entries_of(dict(_namespace_of(each)))
        for name in _fields(entries):
            fields.setdefault(name, name)
        for name, member in entries.items():
            if type(member) is property:
                fields.setdefault(name, name)
            elif (function := _function_of(member)) is not None:
                bound = type(member) is not staticmethod
                methods.setdefault(name, name + _signature(function, bound=bound))
    public = [
        said for name, said in {**methods, **fields}.items() if not name.startswith("_") and not secret_name(name)
    ]
    first = [said for said in public if said in fields]
    public = [*first, *(said for said in public if said not in fields)]
    return public if len(public) <= _MOST else [*public[:_MOST], "…"]


def _fields(entries: Mapping[str, Any]) -> Iterator[str]:
    for name in ("__annotations__", "__dataclass_fields__"):
        yield from entries_of(entries.get(name))
    for name in ("_fields", "__slots__"):
        if type(entries.get(name)) is tuple:
            yield from (each for each in entries[name] if type(each) is str)
    made = entries.get("__init__")
    if type(made) is types.FunctionType and "__dataclass_fields__" not in entries:
        yield from _set_attributes(made.__code__)


def _set_attributes(code: types.CodeType) -> Iterator[str]:
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


def _module_of(cls: Any) -> object:
    if _flags(cls) & _HEAP_TYPE:
        return entries_of(dict(_namespace_of(cls))).get("__module__")
    return _module_of_static_type(cls)


def _class_name(cls: Any) -> str:
    return _text(_name_of(cls)) or "object"


# Data


def _data(value: object, values: bool) -> str:
    kind = type(value)
    if _one_of(kind, _SCALARS):
        said = _class_name(kind)
        return f"{said} = {_value(value)}" if values else said
    if _one_of(kind, _TEXTS):
        said = f"{_class_name(kind)}, length {len(value)}"  # type: ignore[arg-type] # a str or bytes
        shown = values and kind is str and len(value) <= _LONGEST_LABEL  # type: ignore[arg-type] # likewise
        return f"{said} = {_value(value)}" if shown else said
    if kind is dict:
        return _dict(value)
    if _one_of(kind, _COLLECTIONS):
        return _collection(value)
    return "None" if value is None else _instance(kind)


_SCALARS: tuple[type, ...] = (int, float, bool, complex)
_TEXTS: tuple[type, ...] = (str, bytes, bytearray)
_COLLECTIONS: tuple[type, ...] = (list, tuple, set, frozenset)


def _value(value: object) -> str:
    if type(value) is int and abs(value) > _BIGGEST_DEFAULT**2:
        return "…"
    return redacted(repr(value))


def _instance(kind: type) -> str:
    """What is known of an object of any other class: the class, and what the user gave it."""
    members = _members(kind) if _module_of(kind) == "__main__" else []
    return _class_name(kind) + (f" with {', '.join(members)}" if members else "")


def _dict(value: Any) -> str:
    first = list(itertools.islice(dict.items(value), _MOST))
    if first and all(type(key) is str for key, _ in first):
        shown = [f"{_label(key)} {_class_name(type(each))}" for key, each in first if not secret_name(key)]
        more = ["…"] if len(value) > len(first) else []
        return f"dict, {_counted(len(value), 'key')}: {', '.join([*shown, *more])}"
    kinds = _kinds(key for key, _ in first), _kinds(each for _, each in first)
    return f"dict, {_counted(len(value), 'key')}" + (f": {kinds[0]} to {kinds[1]}" if first else "")


def _collection(value: Any) -> str:
    first = list(itertools.islice(value, _FIRST))
    said = f"{_class_name(type(value))}, length {len(value)}" + (f", of {_kinds(first)}" if first else "")
    keys = list(first[0]) if first and type(first[0]) is dict and type(value) is list else []
    if keys and len(keys) <= _MOST and all(type(key) is str for key in keys):
        said += f" with keys {', '.join(_label(key) for key in keys if not secret_name(key))}"
    return said


def _kinds(values: Iterable[object]) -> str:
    return " or ".join(dict.fromkeys(_class_name(type(each)) for each in values))


def _label(text: str) -> str:
    """A key or a column's name in quotes, on one line, without what looks like a secret."""
    if len(text) < _SHORTEST_SECRET:
        return repr(text)
    shown = redacted(repr(text[: _LONGEST_LABEL**2]))[1:-1]
    return f"'{shown if len(shown) <= _LONGEST_LABEL else shown[:_LONGEST_LABEL] + '…'}'"


# Libraries, if the user has imported them


_Readers = Sequence[tuple[object, Callable[[Any], str]]]


def _readers() -> _Readers:
    """The classes of the libraries that are there, each with what describes its instances."""
    loaded = entries_of(sys.modules)
    found = ((_library_class(loaded.get(module), module, name), read) for module, name, read in _LIBRARIES)
    return [(cls, read) for cls, read in found if cls is not None]


def _library_class(loaded: object, module: str, name: str) -> object:
    """A library's own class. One that was put in its place under the same name is not."""
    if type(loaded) is not types.ModuleType:
        return None
    found = next((value for key, value in _entries_of_module(loaded) if type(key) is str and key == name), None)
    if not _derives(type(found), type):
        return None
    made_in = _module_of(found)
    return found if type(made_in) is str and made_in.partition(".")[0] == module.partition(".")[0] else None


def _array(value: Any) -> str:
    return f"ndarray, shape {value.shape}, dtype {_dtype(value.dtype)}"


def _tensor(value: Any) -> str:
    return f"Tensor, shape {tuple(value.shape)}, dtype {value.dtype}, device {value.device}"


def _frame(value: Any) -> str:
    rows, width = value.shape
    labels, kinds = value.columns.tolist(), value.dtypes.array
    columns = [f"{_column(label)} {_dtype(kind)}" for label, kind in zip(labels[:_MOST_COLUMNS], kinds, strict=False)]
    more = [f"and {width - _MOST_COLUMNS} more"] if width > _MOST_COLUMNS else []
    return f"DataFrame, {_counted(rows, 'row')}, columns: {', '.join([*columns, *more])}" + _index(value.index)


def _column_names(frame: Any) -> tuple[str, ...] | None:
    labels = frame.columns.tolist()
    return tuple(sorted(labels)) if all(type(label) is str for label in labels) else None


def _series(value: Any) -> str:
    name = f" {_column(value.name)}" if type(value.name) is str else ""
    return f"Series{name}, {_counted(len(value), 'row')}, dtype {_dtype(value.dtype)}" + _index(value.index)


def _index(index: Any) -> str:
    return f", index {_column(index.name)}" if type(index.name) is str else ""


def _column(label: object) -> str:
    if type(label) is int:
        return str(label)
    if type(label) is str:
        return label if label.isidentifier() and len(label) < _SHORTEST_SECRET else _label(label)
    return f"({_class_name(type(label))})"


def _dtype(dtype: Any) -> str:
    """A dtype's name, if it is numpy's or pandas' own."""
    module = _module_of(type(dtype))
    own = type(module) is str and module.partition(".")[0] in ("numpy", "pandas")
    # A category dtype's text lists the values.
    said = str(dtype) if own and _class_name(type(dtype)) != "CategoricalDtype" else ""
    if _class_name(type(dtype)) == "CategoricalDtype":
        return "category"
    return said if said and len(said) <= _LONGEST_LABEL else _class_name(type(dtype))


_LIBRARIES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("numpy", "ndarray", _array),
    ("pandas", "DataFrame", _frame),
    ("pandas", "Series", _series),
    ("torch", "Tensor", _tensor),
    ("torch.nn.parameter", "Parameter", _tensor),
)


def _text(value: object) -> str | None:
    """A string as a plain one: a subclass may say something else when it is formatted."""
    if type(value) is str:
        return value
    return str.__str__(value) if _derives(type(value), str) else None


def _first_line(doc: object) -> str:
    text = _text(doc)
    if text is None:
        return ""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return redacted(line if len(line) <= _LONGEST_DOC else line[:_LONGEST_DOC] + "…")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
