"""Data in a few words: types, lengths, keys, shapes and columns; values only of numbers and short strings."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fim_magic.context.definitions import MOST_NAMED, members
from fim_magic.context.redaction import redacted, secret_name
from fim_magic.context.safe_reading import (
    class_name,
    derives,
    entries_of,
    entries_of_module,
    is_one_of,
    module_of,
    top_package,
)

_MOST_COLUMNS = 24
_FIRST = 5  # elements whose types are looked at
_LONGEST_LABEL = 40
_BIGGEST_INT = 10**12
_SCALARS: tuple[type, ...] = (int, float, bool, complex)
_TEXTS: tuple[type, ...] = (str, bytes, bytearray)
_COLLECTIONS: tuple[type, ...] = (list, tuple, set, frozenset)

LibraryClasses = Sequence[tuple[object, str, Callable[[Any], str]]]
"""Classes of libraries, each with what describes its instances."""


def data_text(value: object, libraries: LibraryClasses, *, values: bool) -> str:
    """Describe what is no module, function or class: `DataFrame, 3 rows, columns: shop object, units int64`."""
    kind = type(value)
    library_text = next((text_of for cls, _, text_of in libraries if cls is kind), None)
    if library_text is not None:
        return library_text(value)
    if is_one_of(kind, _SCALARS):
        return f"{class_name(kind)} = {_value(value)}" if values else class_name(kind)
    if is_one_of(kind, _TEXTS):
        text = f"{class_name(kind)}, length {len(value)}"  # type: ignore[arg-type] # a str or bytes
        shown = values and kind is str and len(value) <= _LONGEST_LABEL  # type: ignore[arg-type] # likewise
        return f"{text} = {_value(value)}" if shown else text
    if kind is dict:
        return _dict(value)
    if is_one_of(kind, _COLLECTIONS):
        return _collection(value)
    return "None" if value is None else _instance(kind)


def column_names(value: Any, libraries: LibraryClasses) -> tuple[str, ...] | None:
    """Return the names of a DataFrame's columns, sorted, where all of them have a text for a name."""
    if not any(cls is type(value) and name == "DataFrame" for cls, name, _ in libraries):
        return None
    labels = value.columns.tolist()
    return tuple(sorted(labels)) if all(type(label) is str for label in labels) else None


def library_classes() -> LibraryClasses:
    """Return the classes that can be described of libraries that the user has imported."""
    loaded = entries_of(sys.modules)
    found = ((_library_class(loaded.get(module), module, name), name, text_of) for module, name, text_of in _LIBRARIES)
    return [(cls, name, text_of) for cls, name, text_of in found if cls is not None]


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _value(value: object) -> str:
    return "…" if type(value) is int and abs(value) > _BIGGEST_INT else redacted(repr(value), python=True)


def _instance(kind: type) -> str:
    """What is known of an object of any other class: the class, and what the user gave it."""
    named = members(kind) if module_of(kind) == "__main__" else []
    return class_name(kind) + (f" with {', '.join(named)}" if named else "")


def _dict(value: Any) -> str:
    first = list(itertools.islice(dict.items(value), MOST_NAMED))
    text = f"dict, {counted(len(value), 'key')}"
    if first and all(type(key) is str for key, _ in first):
        shown = [f"{_label(key)} {class_name(type(item))}" for key, item in first if not secret_name(key)]
        return f"{text}: {', '.join([*shown, '…'] if len(value) > len(first) else shown)}"
    keys, items = _kinds(key for key, _ in first), _kinds(item for _, item in first)
    return f"{text}: {keys} to {items}" if first else text


def _collection(value: Any) -> str:
    first = list(itertools.islice(value, _FIRST))
    text = f"{class_name(type(value))}, length {len(value)}" + (f", of {_kinds(first)}" if first else "")
    keys = list(first[0]) if first and type(first[0]) is dict and type(value) is list else []
    if keys and len(keys) <= MOST_NAMED and all(type(key) is str for key in keys):
        text += f" with keys {', '.join(_label(key) for key in keys if not secret_name(key))}"
    return text


def _kinds(values: Iterable[object]) -> str:
    return " or ".join(dict.fromkeys(class_name(type(value)) for value in values))


def _label(text: str) -> str:
    """A key or a column's name in quotes, on one line, without what looks like a secret."""
    shown = redacted(repr(text[: _LONGEST_LABEL**2]), python=True)[1:-1]
    if len(text) <= _LONGEST_LABEL and shown == repr(text)[1:-1]:
        return repr(text)
    return f"'{shown if len(shown) <= _LONGEST_LABEL else shown[:_LONGEST_LABEL] + '…'}'"


def _library_class(loaded: object, module: str, name: str) -> object:
    """A library's own class. One that was put in its place under the same name is not."""
    cls = entries_of_module(loaded).get(name) if type(loaded) is types.ModuleType else None
    return cls if derives(type(cls), type) and top_package(module_of(cls)) == top_package(module) else None


def _array(value: Any) -> str:
    return f"ndarray, shape {value.shape}, dtype {_dtype(value.dtype)}"


def _tensor(value: Any) -> str:
    return f"Tensor, shape {tuple(value.shape)}, dtype {value.dtype}, device {value.device}"


def _frame(value: Any) -> str:
    rows, width = value.shape
    labels, dtypes = value.columns.tolist(), value.dtypes.array
    columns = [
        f"{_column(label)} {_dtype(dtype)}" for label, dtype in zip(labels[:_MOST_COLUMNS], dtypes, strict=False)
    ]
    more = [f"and {width - _MOST_COLUMNS} more"] if width > _MOST_COLUMNS else []
    return f"DataFrame, {counted(rows, 'row')}, columns: {', '.join([*columns, *more])}" + _index(value.index)


def _series(value: Any) -> str:
    name = f" {_column(value.name)}" if type(value.name) is str else ""
    return f"Series{name}, {counted(len(value), 'row')}, dtype {_dtype(value.dtype)}" + _index(value.index)


def _index(index: Any) -> str:
    return f", index {_column(index.name)}" if type(index.name) is str else ""


def _column(label: object) -> str:
    if type(label) is int:
        return str(label)
    if type(label) is str:
        shown = _label(label)
        return label if label.isidentifier() and shown == repr(label) else shown
    return f"({class_name(type(label))})"


def _dtype(dtype: Any) -> str:
    """A dtype's name, if it is numpy's or pandas' own."""
    name = class_name(type(dtype))
    if name == "CategoricalDtype":  # whose text lists the values
        return "category"
    text = str(dtype) if top_package(module_of(type(dtype))) in ("numpy", "pandas") else ""
    return text if text and len(text) <= _LONGEST_LABEL else name


_LIBRARIES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("numpy", "ndarray", _array),
    ("pandas", "DataFrame", _frame),
    ("pandas", "Series", _series),
    ("torch", "Tensor", _tensor),
    ("torch.nn.parameter", "Parameter", _tensor),
)
