"""What data holds is noted and put back: by `contents.py` alone, without a process."""

from __future__ import annotations

import functools
import types
from collections import OrderedDict, namedtuple

import pytest

from fim_magic.sandbox import contents

Pair = namedtuple("Pair", "xs want")


class Slotted:
    __slots__ = ("want",)

    def __init__(self, want):
        self.want = want


class Key:
    def __init__(self, want):
        self.want = want

    def doubled(self):
        return 2 * self.want


class Name(str):
    pass


class Table(OrderedDict):
    def __setitem__(self, key, value):
        raise AssertionError("a program's own")


def cases(first=[1], *, second=[2]):  # noqa: B006 - what a program may change
    return [first, second, cases.third]


cases.third = [3]


def named(want):
    found = Name("x")
    found.want = want
    return found


def reversed_order(ordered):
    for key in [*reversed(ordered)]:
        ordered.move_to_end(key)


def array(change):
    numpy = pytest.importorskip("numpy")
    return numpy.array([2.0, float("nan")]), change, lambda value: (value.dtype, value.shape, value.tobytes())


def tensor():
    torch = pytest.importorskip("torch")
    return torch.tensor([2.0, float("nan")]), lambda value: value.zero_(), lambda value: str(value.tolist())


# What makes a value, what a program does to it, and what shows that it is as before.
ROWS = {
    "ordered, emptied": lambda: (OrderedDict(a=1, b=2), OrderedDict.clear, lambda value: [*value.items()]),
    "ordered, order": lambda: (OrderedDict(a=1, b=2), reversed_order, lambda value: [*value]),
    "ordered, of its own kind": lambda: (
        Table(),
        lambda value: dict.update(value, x=1),
        lambda value: [*value.items()],
    ),
    "named tuple's list": lambda: (Pair([1], [2]), lambda value: value.want.clear(), str),
    "slot's list": lambda: (Slotted([2]), lambda value: value.want.clear(), lambda value: str(value.want)),
    "key's attribute": lambda: (
        {Key(2): 1},
        lambda value: setattr(next(iter(value)), "want", 0),
        lambda value: [key.want for key in value],
    ),
    "default": lambda: (cases, lambda value: value.__defaults__[0].clear(), lambda value: str(value())),
    "keyword's default": lambda: (
        cases,
        lambda value: value.__kwdefaults__["second"].clear(),
        lambda value: str(value()),
    ),
    "function's attribute": lambda: (cases, lambda value: value.third.clear(), lambda value: str(value())),
    "function's attribute bound anew": lambda: (
        cases,
        lambda value: setattr(value, "third", 0),
        lambda value: str(value()),
    ),
    "bound method's object": lambda: (
        Key(2).doubled,
        lambda value: setattr(value.__self__, "want", 0),
        lambda value: value(),
    ),
    "partial's argument": lambda: (
        functools.partial(str, [2]),
        lambda value: value.args[0].clear(),
        lambda value: value(),
    ),
    "partial's keyword": lambda: (
        functools.partial(dict, a=[2]),
        lambda value: value.keywords["a"].clear(),
        lambda value: str(value()),
    ),
    "text's attribute": lambda: (named(2), lambda value: setattr(value, "want", 0), lambda value: value.want),
    "array's shape": lambda: array(lambda value: setattr(value, "shape", (2, 1))),
    "array's type": lambda: array(lambda value: setattr(value, "dtype", "int64")),
    "array's type and values": lambda: array(lambda value: [setattr(value, "dtype", "int64"), value.fill(0)]),
    "tensor": tensor,
}


def put_back(value, change):
    waiting, seen, undo = [value], set(), []
    while waiting:
        part = waiting.pop()
        if id(part) not in seen and not isinstance(part, (int, float, type, types.ModuleType)):
            seen.add(id(part))
            found, held = contents.noted(part)
            undo += found
            waiting += held
    change(value)
    return True in [one() for one in undo]  # all of them, not up to the first


@pytest.mark.filterwarnings("ignore:Setting the :DeprecationWarning")
@pytest.mark.parametrize("row", ROWS)
def test_what_data_holds_is_put_back(row):
    value, change, shown = ROWS[row]()
    before = shown(value)
    assert put_back(value, change)
    assert shown(value) == before
    assert not put_back(value, lambda _: None)


def test_an_object_that_lies_about_its_class_is_looked_at_as_what_it_is():
    class Proxy:
        @property
        def __class__(self):
            raise RuntimeError("outside of a context")

    class Liar:
        __class__ = property(lambda self: list)

    for value in (Proxy(), Liar()):
        value.want = 2
        contents.noted(value)
        found, held = contents.noted(value)
        del value.want
        assert [one() for one in found] == [True]
        assert (value.want, held) == (2, [2])
