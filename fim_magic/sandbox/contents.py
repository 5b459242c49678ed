"""What the user's data hold: lists, dictionaries, objects, arrays and tables, noted and put back.

The child loads this file by its path, and `keeping.py` is given it. It uses its own copy of the builtins, and goes past
what a class defines.
"""

from __future__ import annotations

import builtins
from array import array
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import partial
from types import FunctionType, MemberDescriptorType, MethodType
from typing import Any

globals()["__builtins__"] = dict(vars(builtins))

_MOST_BYTES = 16 << 20  # of one array
_CONTAINERS = (list, OrderedDict, dict, set, bytearray, deque)
_MAPPINGS = (OrderedDict, dict)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: others cannot be changed

Undo = Callable[[], bool]
"""Puts one thing back, and says whether it had changed."""

_dict_of_class = type.__dict__["__dict__"].__get__  # past a metaclass


def is_a(value: object, kinds: Any) -> bool:
    """Whether something is of a kind by its own type: `isinstance` would ask it for its `__class__`, which may fail."""
    return issubclass(type(value), kinds)


def is_changeable(owner: type) -> bool:
    """Whether a program may change a class."""
    return bool(type.__dict__["__flags__"].__get__(owner) & _HEAP_TYPE)


def noted(value: Any) -> tuple[list[Undo], list[Any]]:
    """Note what a value holds; return how to put that back, and what else may be changed by way of it."""
    found: list[Undo] = []
    held: list[Any] = _parts_of(value)
    kind: Any = next((kind for kind in _CONTAINERS if is_a(value, kind)), None)
    if kind is not None:
        content = _copied(kind, value)
        found.append(container(kind, value, content))
        held = [] if kind is bytearray else [*content]
        held += content.values() if kind in _MAPPINGS else ()
        if is_a(value, defaultdict):
            found.append(_factory(value))
    elif (undo := _array(value)) is not None:
        found.append(undo)
        held = _objects_in(value)
    elif (undo := _frame(value)) is not None:
        columns = [value.iloc[:, place] for place in range(value.shape[1])] if value.ndim > 1 else [value]
        objects = [column for column in columns if column.dtype == object]
        return [undo], [part for column in objects for part in column.array]
    own = attributes(value)
    if own:
        found += own
        held += _dict_of(value).values()
        held += [slot.__get__(value) for slot in _slots(value) if _is_filled(slot, value)]
    return found, held


def _parts_of(value: Any) -> list[Any]:
    """What is held by something that cannot be made to hold anything else."""
    if is_a(value, tuple):
        return [*tuple.__iter__(value)]
    if is_a(value, frozenset):
        return [*frozenset.__iter__(value)]
    if type(value) is FunctionType:
        return [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    if type(value) is MethodType:
        return [value.__self__, value.__func__]
    return [value.func, *value.args, *value.keywords.values()] if type(value) is partial else []


def partial_function(value: Any) -> Undo:
    """Keep what a `functools.partial` calls, and with which arguments."""
    function, arguments, keywords = value.func, value.args, dict(value.keywords)

    def undo() -> bool:
        now = value.func, value.args
        if now[0] is function and now[1] is arguments and same(dict, value.keywords, keywords):
            return False
        partial.__dict__["__setstate__"](value, (function, arguments, dict(keywords), _dict_of(value)))
        return True

    return undo


def _copied(kind: Any, value: Any) -> Any:
    return kind(kind.items(value) if kind in _MAPPINGS else kind.__iter__(value))


def _factory(value: Any) -> Undo:
    member: Any = defaultdict.__dict__["default_factory"]
    before = member.__get__(value)

    def undo() -> bool:
        changed = member.__get__(value) is not before
        member.__set__(value, before)
        return changed

    return undo


def container(kind: Any, value: Any, content: Any) -> Undo:
    """Keep what a container holds, which `content` has a copy of."""

    def undo() -> bool:
        if same(kind, value, content):
            return False
        kind.clear(value)
        if kind is OrderedDict:
            for key, part in content.items():
                kind.__setitem__(value, key, part)
        else:
            (kind.update if kind in (dict, set) else kind.extend)(value, content)
        return True

    return undo


def same(kind: Any, value: Any, content: Any) -> bool:
    """Whether a container holds the very things that a copy has."""
    if kind.__len__(value) != len(content):
        return False
    if kind is bytearray:
        return bool(bytearray.__eq__(value, content))
    if kind is set:
        return {id(part) for part in set.__iter__(value)} == {id(part) for part in content}
    if kind in _MAPPINGS:
        pairs = zip(kind.items(value), content.items(), strict=True)
        return all(one[0] is other[0] and one[1] is other[1] for one, other in pairs)
    return all(one is other for one, other in zip(kind.__iter__(value), content, strict=True))


def _dict_of(value: Any) -> dict[str, Any]:
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else {}


def attributes(value: Any) -> list[Undo]:
    """Keep the class, the attributes and the slots of an object; no more than one thing, and none if it has none."""
    owner, there, slots = type(value), _dict_of(value), _slots(value)
    if not there and not slots and not is_changeable(owner):
        return []
    before = dict(there)
    filled = [(slot, slot.__get__(value)) for slot in slots if _is_filled(slot, value)]

    def undo() -> bool:
        changed = False
        if type(value) is not owner:
            object.__setattr__(value, "__class__", owner)
            changed = True
        if not same(dict, _dict_of(value), before):
            dict.clear(_dict_of(value))
            dict.update(_dict_of(value), before)
            changed = True
        for slot, content in filled:
            if not _is_filled(slot, value) or slot.__get__(value) is not content:
                slot.__set__(value, content)
                changed = True
        return changed

    return [undo]


def _slots(value: Any) -> list[Any]:
    parts = [part for base in type.mro(type(value)) for part in _dict_of_class(base).values()]
    return [part for part in parts if type(part) is MemberDescriptorType and is_changeable(part.__objclass__)]


def _is_filled(slot: Any, value: Any) -> bool:
    try:
        slot.__get__(value)
    except AttributeError:
        return False
    return True


def _base(value: Any, package: str, names: tuple[str, ...]) -> Any:
    """The class of a package that an object is of, by itself or by way of its bases."""
    owners = type.mro(type(value))
    of_package = (one for one in owners if str(one.__module__).partition(".")[0] == package)
    return next((one for one in of_package if one.__name__ in names), None)


def _array(value: Any) -> Undo | None:
    if is_a(value, array):
        return None if len(value) * value.itemsize > _MOST_BYTES else _buffer(value)
    owner = _base(value, "numpy", ("ndarray",))
    if owner is None:
        return _tensor(value)
    if value.nbytes > _MOST_BYTES:
        return None
    plain = owner.view(value, owner)  # without what a matrix or a masked array makes of it
    content, shape, dtype = plain.copy(), plain.shape, plain.dtype

    def undo() -> bool:
        now = owner.view(value, owner)
        if now.shape == shape and now.dtype == dtype and now.tobytes() == content.tobytes():
            return False
        if now.dtype != dtype:
            value.dtype = dtype
        if now.shape != shape:
            value.shape = shape
        owner.view(value, owner)[...] = content
        return True

    return undo


def _tensor(value: Any) -> Undo | None:
    owner = _base(value, "torch", ("Tensor",))
    if owner is None or value.device.type != "cpu" or value.element_size() * value.numel() > _MOST_BYTES:
        return None
    content = value.detach().clone()
    detached, copied = owner.detach, owner.copy_

    def undo() -> bool:
        now = detached(value)
        if now.shape == content.shape and bool(((now == content) | ((now != now) & (content != content))).all()):
            return False
        copied(now, content)
        return True

    return undo


def _buffer(value: array[Any]) -> Undo:
    content = array.__getitem__(value, slice(None))

    def undo() -> bool:
        if array.tobytes(value) == content.tobytes():
            return False
        array.__setitem__(value, slice(None), content)
        return True

    return undo


def _objects_in(value: Any) -> list[Any]:
    dtype = getattr(value, "dtype", None)
    return [*value.flat] if getattr(dtype, "kind", "") == "O" else []


def _frame(value: Any) -> Undo | None:
    if _base(value, "pandas", ("DataFrame", "Series")) is None:
        return None
    if int(value.memory_usage(index=True).sum() if value.ndim > 1 else value.nbytes) > _MOST_BYTES:
        return None
    owner, content, equals = type(value), value.copy(), type(value).equals
    attributes = {key: part for key, part in _dict_of(value).items() if not key.startswith("_")}

    def undo() -> bool:
        changed = type(value) is not owner
        if changed:
            object.__setattr__(value, "__class__", owner)
        there = _dict_of(value)
        now = {key: part for key, part in there.items() if not key.startswith("_")}
        if not same(dict, now, attributes):  # an attribute hides the column or the method of its name
            for key in now:
                del there[key]
            there.update(attributes)
            changed = True
        if equals(value, content):
            return changed
        dict.update(there, _dict_of(content.copy()))
        return True

    return undo
