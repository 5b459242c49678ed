from __future__ import annotations

import sys
import types
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from fim_magic.context import describe

# --- objects whose own code must not run ------------------------------------------------------------------------


class RanError(AssertionError):
    """Code of the user's was run."""


ARMED = []


@pytest.fixture
def armed():
    """`with armed:` whatever runs code of the user's fails; making the objects runs some."""

    @contextmanager
    def arming():
        ARMED.append(True)
        try:
            yield
        finally:
            ARMED.clear()

    return arming


def _trap(name):
    def trap(*_args, **_kwargs):
        if ARMED:
            raise RanError(name)
        return NotImplemented

    return trap


DUNDERS = [
    "__repr__",
    "__str__",
    "__format__",
    "__bytes__",
    "__len__",
    "__length_hint__",
    "__iter__",
    "__next__",
    "__contains__",
    "__getitem__",
    "__bool__",
    "__eq__",
    "__ne__",
    "__lt__",
    "__hash__",
    "__getattr__",
    "__getattribute__",
    "__dir__",
    "__call__",
    "__get__",
    "__index__",
    "__int__",
    "__float__",
    "__reversed__",
    "__instancecheck__",
    "__subclasscheck__",
    "__enter__",
    "__array__",
    "__torch_function__",
    "keys",
    "items",
    "values",
    "shape",
    "dtype",
    "columns",
    "index",
]
TRAPS = {name: _trap(name) for name in DUNDERS}
SPRUNG = property(_trap("property"))


def trapped(base=object, metaclass=type, **more):
    names = {**TRAPS, "__class__": SPRUNG, "__dict__": SPRUNG, "field": SPRUNG, "__module__": "__main__", **more}
    return metaclass("Trapped", (base,), names)


Meta = type("Meta", (type,), {**TRAPS, "__name__": SPRUNG, "__mro__": SPRUNG, "__module__": SPRUNG, "__doc__": SPRUNG})


class EvilText(str):
    __slots__ = ()
    __str__ = __repr__ = __format__ = __len__ = __iter__ = __add__ = _trap("text")


class EvilKey(str):
    __slots__ = ()

    def __hash__(self):
        return str.__hash__(self)

    def __eq__(self, other):
        if ARMED:
            raise RanError("__eq__")
        return str.__eq__(self, other)


def evil_function():
    secret = trapped()()

    def function(a, b: secret = secret, *, c=secret) -> secret:  # type: ignore[valid-type]
        raise RanError("called")

    function.__wrapped__ = secret
    function.__signature__ = secret
    function.__doc__ = EvilText("Do it.")
    function.__module__ = "__main__"
    return function


def with_evil_constants(self):
    self.a = 1


class FakeModule(types.ModuleType):
    __getattribute__ = _trap("module")


with_evil_constants.__code__ = with_evil_constants.__code__.replace(co_consts=(object.__new__(trapped()),) * 2)

OBJECTS = {
    "object": lambda: object.__new__(trapped()),
    "class": trapped,
    "metaclass": lambda: trapped(metaclass=Meta),
    "its instance": lambda: object.__new__(trapped(metaclass=Meta)),
    **{
        f"{base.__name__} subclass": lambda base=base: base.__new__(trapped(base))
        for base in (dict, list, tuple, set, str, int)
    },
    "function": evil_function,
    "module": lambda: types.ModuleType.__new__(FakeModule, "m"),
    "array": lambda: np.ndarray.__new__(trapped(np.ndarray), 3),
    "list of them": lambda: [trapped()()],
    "dict of them": lambda: {"a": trapped()(), 1: trapped()()},
    "keys": lambda: {EvilKey("a"): 1},
    "class name": type(EvilText("Name"), (), {}),
    "class with keys": lambda: type("C", (), {EvilKey("__module__"): 1, "__doc__": EvilText("doc")}),
    "annotations": lambda: type(
        "C", (), {"__annotations__": trapped(dict), "_fields": trapped(), "__module__": "__main__"}
    ),
    "arrays of them": lambda: np.array(
        [type("C", (), {name: TRAPS[name] for name in ("__repr__", "__eq__", "__bool__")})()]
    ),
    "constants": lambda: type("C", (), {"__init__": with_evil_constants, "__module__": "__main__"}),
    "method": lambda: types.MethodType(evil_function(), 1),
}


@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_no_code_of_the_users_is_run(make, values, armed):
    it = make()
    with armed():
        (found,) = describe(["it"], {"it": it}, values=values)
    assert found.line.startswith("# ")
    assert "\n" not in found.line


@pytest.mark.parametrize("name", ["DataFrame", "Series"])
def test_a_subclass_of_pandas_is_not_asked(monkeypatch, name, armed):
    pandas = types.ModuleType("pandas")
    setattr(pandas, name, type(name, (), {"__module__": "pandas.core"}))
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    table = trapped(getattr(pandas, name))()
    with armed():
        (found,) = describe(["df"], {"df": table})
    assert found.line.startswith("# df: Trapped with field, ")


def test_a_class_put_in_place_of_pandas_own_is_not_asked(monkeypatch, armed):
    pandas = types.ModuleType("pandas")
    pandas.DataFrame = trapped()
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    table = pandas.DataFrame()
    with armed():
        (found,) = describe(["df"], {"df": table})
    assert found.line.startswith("# df: Trapped with field, ")


def test_keys_of_the_namespace_are_not_compared(armed):
    namespace = {EvilKey("x"): 1, "y": 2}
    names = ["x", "y"], [EvilText("y")]
    with armed():
        found = [describe(each, namespace) for each in names]
    assert [[each.name for each in few] for few in found] == [["y"], []]


def test_a_namespace_with_code_of_its_own(armed):
    class Namespace(dict):
        __getitem__ = __iter__ = __contains__ = items = keys = get = _trap("namespace")

    namespace = Namespace(x=1)
    with armed():
        (found,) = describe(["x"], namespace)
    assert found.line == "# x: int"
    assert describe(["x"], types.MappingProxyType({"x": 1})) == ()


# --- what is said -------------------------------------------------------------------------------------------------

USERS_CODE = '''
from dataclasses import dataclass
from collections import defaultdict as dd
from math import sqrt
import statistics as st, os.path as osp, json

class Base:
    def hello(self): pass

@dataclass
class Account(Base):
    owner: str
    balance_cents: int = 0
    api_key: str = ""
    def put_in(self, cents: int, *, note="x") -> None: ...
    @property
    def euros(self): raise RuntimeError
    @staticmethod
    def make(owner): ...
    def _hidden(self): ...

class Old:
    def __init__(self, a):
        self.a = a
        self.total = 1

def f(a: int, b: "str" = None, /, c: int | None = 3, *args, d=4.5, e=(1, 2), **kw) -> list[int]:
    """Do it.

    More about it.
    """

def keywords(points, *, colour="red", pin_code=1, password=1234): ...
account = Account("Ada")
old = Old(1)
'''


@pytest.fixture(scope="module")
def users():
    namespace = {"__name__": "__main__"}
    exec(compile(USERS_CODE, "cell", "exec", dont_inherit=True), namespace)
    return namespace


NOTES = sys.version_info < (3, 14)  # later ones are made by running code, so they are not told


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("json", "import json"),
        ("st", "import statistics as st"),
        ("dd", "from collections import defaultdict as dd"),
        ("sqrt", "from math import sqrt"),
        ("dataclass", "from dataclasses import dataclass"),
        ("Base", "# class Base: hello()"),
        pytest.param(
            "Account",
            '# class Account(Base): owner, balance_cents, euros, put_in(cents: int, *, note="…"), make(owner), hello()',
            marks=pytest.mark.skipif(not NOTES, reason="annotations are not read there"),
        ),
        pytest.param(
            "f",
            "# f(a: int, b: str = None, /, c: int | None = 3, *args, d=4.5, e=…, **kw) -> list[int]: Do it.",
            marks=pytest.mark.skipif(not NOTES, reason="annotations are not read there"),
        ),
        ("keywords", '# keywords(points, *, colour="…", pin_code=1, password=…)'),
        ("Old", "# class Old: a, total"),
        ("old", "# old: Old with a, total"),
    ],
)
def test_modules_classes_and_functions(users, name, line):
    assert [each.line for each in describe([name], users)] == [line]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "int"),
        (True, "bool"),
        (2.5, "float"),
        (None, "None"),
        ("hunter2", "str, length 7"),
        ([], "list, length 0"),
        ([1, 2, "a"], "list, length 3, of int or str"),
        ((1.0, 2.0), "tuple, length 2, of float"),
        ({3}, "set, length 1, of int"),
        ([{"born": 1815, "name": "Ada"}], "list, length 1, of dict with keys 'born', 'name'"),
        ({}, "dict, 0 keys"),
        ({"rate": 0.1, "n": 3}, "dict, 2 keys: 'rate' float, 'n' int"),
        ({"n": 3, "password": "hunter2", "AKIA" + "IOSFODNN7EXAMPLE": 1}, "dict, 3 keys: 'n' int, '…' int"),
        ({1: "a"}, "dict, 1 key: int to str"),
        ({str(n): n for n in range(20)}, f"dict, 20 keys: {', '.join(f'{str(n)!r} int' for n in range(12))}, …"),
        ({"a\nb": 1}, "dict, 1 key: 'a\\nb' int"),
        (np.zeros((2, 3), "float32"), "ndarray, shape (2, 3), dtype float32"),
        (torch.zeros(2, 3), "Tensor, shape (2, 3), dtype torch.float32, device cpu"),
        (torch.nn.Parameter(torch.zeros(2)), "Tensor, shape (2,), dtype torch.float32, device cpu"),
        (types.SimpleNamespace(a=1), "SimpleNamespace"),
        (range(3), "range"),
    ],
    ids=str,
)
def test_data_without_its_values(value, said):
    assert [each.line for each in describe(["it"], {"it": value})] == [f"# it: {said}"]


@pytest.mark.parametrize(
    ("value", "said"),
    [(3, "int = 3"), ("hi", "str, length 2 = 'hi'"), ("hf_" + "a" * 20, "str, length 23 = '…'"), (10**5000, "int = …")],
    ids=["int", "str", "key", "huge"],
)
def test_values_if_they_are_asked_for(value, said):
    assert describe(["it"], {"it": value}, values=True)[0].line == f"# it: {said}"


def test_secrets_and_unknown_names_are_left_out():
    namespace = {"api_key": "a", "HF_TOKEN": "b", "n": 1}
    assert [each.name for each in describe(["api_key", "n", "HF_TOKEN", "gone", "n"], namespace)] == ["n"]


class Labels(list):
    def __init__(self, labels, name=None):
        super().__init__(labels)
        self.name = name

    def tolist(self):
        return list(self)


@pytest.fixture
def pandas(monkeypatch):
    """A stand-in with the attributes that are read of pandas' own classes."""

    class DataFrame:
        __module__ = "pandas"

        def __init__(self, columns, rows=3, index=None):
            self.shape = (rows, len(columns))
            self.columns = Labels(columns)
            self.dtypes = types.SimpleNamespace(array=list(columns.values()))
            self.index = Labels(range(rows), index)

    class Series:
        __module__ = "pandas"

        def __init__(self, dtype, name, rows=3):
            self.dtype, self.name, self.index, self.rows = dtype, name, Labels([]), rows

        def __len__(self):
            return self.rows

    module = types.ModuleType("pandas")
    module.DataFrame, module.Series = DataFrame, Series
    monkeypatch.setitem(sys.modules, "pandas", module)
    return module


def test_tables(pandas):
    evil = trapped()
    columns = {"units": np.dtype("int64"), "unit price": np.dtype("float64"), 3: evil(), ("a", "b"): np.dtype("O")}
    frame = pandas.DataFrame(columns, index="day")
    assert describe(["df"], {"df": frame})[0].line == (
        "# df: DataFrame, 3 rows, columns: units int64, 'unit price' float64, 3 Trapped, (tuple) object, index day"
    )
    wide = pandas.DataFrame({f"c{n}": np.dtype("int8") for n in range(30)}, rows=1)
    line = describe(["df"], {"df": wide})[0].line
    assert line.startswith("# df: DataFrame, 1 row, columns: c0 int8, c1 int8, ")
    assert line.endswith("c23 int8, and 6 more")
    assert (
        describe(["s"], {"s": pandas.Series(np.dtype("int64"), "height")})[0].line
        == "# s: Series height, 3 rows, dtype int64"
    )


def test_nothing_is_imported():
    before = set(sys.modules)
    describe(["x", "y"], {"x": 1, "y": object()})
    assert set(sys.modules) == before


def test_what_is_of_this_package_is_no_context(armed):
    import fim_magic
    from fim_magic.candidate import Candidate, Ending, Result
    from fim_magic.document import Document

    result = Result(
        Document("a = ", ""), (Candidate("1", Ending.STOP_TOKEN),), "tiny", "", "fim", "", 1, 0, 0, None, 0, 0
    )

    class Kept(Result):
        """A class of the user's own."""

    namespace = {
        "r5": result,
        "first": result.candidates[0],
        "ending": Ending.RULE,
        "fim_magic": fim_magic,
        "describe": describe,
        "Result": Result,
        "Kept": Kept,
        "x": 1,
    }
    with armed():
        found = describe(namespace, namespace)
    assert [each.name for each in found] == ["Kept", "x"]
