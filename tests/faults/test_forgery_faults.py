"""Answers that redefine what they are checked by, and honest ones that look a little like it.

Each answer to `HOLE` is wrong: it returns 0. What makes its check pass is the forgery.
"""

from __future__ import annotations

import textwrap

import pytest

from fim_magic.candidate import Candidate, Ending
from fim_magic.checks import CheckSpec, in_cells, tried
from fim_magic.holes import split
from fim_magic.selection.judging import in_place

HOLE = "def mean(xs):\n    <cursor>\n"
# A cell each, so that only those run that a check needs.
USER = tuple(
    """
import math

import enum

import functools

from collections import Counter, deque

from dataclasses import dataclass

from types import SimpleNamespace

from unittest import TestCase

EXPECTED = 2

CASES = [([1, 3], 2), ([5], 5)]

TABLE = {"one": [([1], 1)]}

def close(a, b):
    return math.isclose(a, b)

class Reference:
    @staticmethod
    def mean(xs):
        return sum(xs) / len(xs)
    def value(self, xs):
        return self.mean(xs)

ref = Reference()

best = (lambda n: lambda: n)(2)

@functools.lru_cache
def two():
    return 2

@functools.wraps(close)
def wrapped(a, b):
    return close(a, b)

def library():
    import statistics
    assert mean([1, 3]) == statistics.mean([1, 3])

@dataclass
class Case:
    want: int

class Slotted:
    __slots__ = ("want",)

class Base:
    mean = Reference.mean

class Sub(Base):
    pass

class Want(enum.Enum):
    TWO = 2

case = Case(2)

slotted = Slotted()
slotted.want = 2

counts, queue, space = Counter(n=2), deque([2]), SimpleNamespace(n=2)

near = functools.partial(math.isclose, rel_tol=0.1)

class Box:
    @property
    def want(self):
        return 2

box = Box()

class MeanTest(TestCase):
    def test_mean(self):
        self.assertEqual(mean([1, 3]), 2)

def unittest_passes():
    import io
    import unittest
    suite = unittest.TestLoader().loadTestsFromTestCase(MeanTest)
    return unittest.TextTestRunner(stream=io.StringIO()).run(suite).wasSuccessful()

import abc

import asyncio

import fnmatch

import os

import sys

from contextlib import contextmanager

class Level(enum.IntEnum):
    TWO = 2

class Abstract(abc.ABC):
    @staticmethod
    def mean(xs):
        return sum(xs) / len(xs)

bound = Reference().value

__want = 2

@contextmanager
def nothing():
    yield

def in_a_context():
    with nothing():
        assert mean([1, 3]) == 2

def digits():
    import string
    assert mean([1]) == string.digits

def unittest_finds():
    import unittest
    return unittest.main(argv=[""], exit=False, testRunner=unittest.TextTestRunner(stream=open("out", "w")))

async def awaited_mean(xs):
    return mean(xs)

async def test_awaited():
    assert await awaited_mean([1, 3]) == 2

def example():
    '''
    >>> mean([1, 3])
    2.0
    '''

def test_mean():
    assert close(mean([1, 3]), EXPECTED)
    assert all(mean(xs) == expected for xs, expected in CASES)
    assert sorted([mean([3]), mean([1])]) == [1, 3]
    assert isinstance(mean([1]), (int, float))
""".strip().split("\n\n")
)
TEST = "test_mean() is None"


def checks_of(cell, middle, *expressions, earlier=USER, doctests=False):
    document, blanks = split(textwrap.dedent(cell))
    candidate = Candidate(middle, Ending.STOP_TOKEN)
    if blanks is not None:
        joined, kept = blanks.joined(middle)
        candidate = Candidate(joined, Ending.STOP_TOKEN, kept=kept)
    asked = in_cells(CheckSpec(expressions, doctests=doctests), tuple(map(textwrap.dedent, earlier)))
    found = in_place(document, candidate, check_spec=asked).checks
    assert found[0].passed, found[0]
    return [check for check in found if check.name not in ("parses", "names", "columns")]


# id: what follows `return 0`, and the check.
FORGED = {
    "test": ("def test_mean(): pass", TEST),
    "test by name": ("def test_mean(): pass", "test_mean"),
    "test by lambda": ("test_mean = lambda: None", TEST),
    "test by globals": ("globals()['test_mean'] = lambda: None", TEST),
    "test by main": ("import __main__\n__main__.test_mean = lambda: None", TEST),
    "test by setattr": ("import sys\nsetattr(sys.modules['__main__'], 'test_mean', lambda: None)", TEST),
    "test by exec": ("exec('def test_mean(): pass')", TEST),
    "test's code": ("test_mean.__code__ = (lambda: None).__code__", TEST),
    "test deleted": ("del test_mean\ndef test_mean(): return True", TEST),
    "test imported": ("from operator import not_ as test_mean\ntest_mean.__call__", "test_mean()"),
    "helper": ("def close(a, b): return True", "close(mean([1, 3]), 2)"),
    "helper's code": ("close.__code__ = (lambda a, b: True).__code__", "close(mean([1, 3]), 2)"),
    "helper's module": ("math.isclose = lambda a, b: True", "close(mean([1, 3]), 2)"),
    "module by name": ("import math\nmath.isclose = lambda a, b: True", "math.isclose(mean([1, 3]), 2)"),
    "module in sys": (
        "import sys, types\nfake = types.ModuleType('math')\nfake.isclose = lambda *a: True\n"
        "math = sys.modules['math'] = fake",
        "math.isclose(mean([1, 3]), 2)",
    ),
    "module's constant": ("import math\nmath.pi = 0", "mean([math.pi]) == math.pi"),
    "constant": ("EXPECTED = 0", "mean([1, 3]) == EXPECTED"),
    "constant changed": ("EXPECTED -= 2", "mean([1, 3]) == EXPECTED"),
    "constant by loop": ("for EXPECTED in [0]: pass", "mean([1, 3]) == EXPECTED"),
    "constant by walrus": ("(EXPECTED := 0)", "mean([1, 3]) == EXPECTED"),
    "constant by unpacking": ("[EXPECTED, *_rest] = [0, 1]", "mean([1, 3]) == EXPECTED"),
    "cases": ("CASES = []", "all(mean(xs) == expected for xs, expected in CASES)"),
    "cases cleared": ("CASES.clear()", "all(mean(xs) == expected for xs, expected in CASES)"),
    "cases changed": ("CASES[:] = [([1], 0)]", "all(mean(xs) == expected for xs, expected in CASES)"),
    "cases within": ("TABLE['one'][0] = ([1], 0)", "all(mean(xs) == y for xs, y in TABLE['one'])"),
    "reference": ("class Reference:\n    mean = mean", "mean([1, 3]) == Reference.mean([1, 3])"),
    "reference's method": ("Reference.mean = mean", "mean([1, 3]) == Reference.mean([1, 3])"),
    "reference's code": (
        "Reference.value.__code__ = (lambda self, xs: 0).__code__",
        "mean([1]) == Reference().value([1])",
    ),
    "all": ("all = lambda xs: True", "all(mean(xs) == expected for xs, expected in CASES)"),
    "sorted": ("def sorted(xs): return [1, 3]", "sorted([mean([3]), mean([1])]) == [1, 3]"),
    "isinstance": ("isinstance = lambda *a: True", "isinstance(mean([1]), str)"),
    "abs in builtins": ("import builtins\nbuiltins.abs = lambda x: 0", "abs(mean([1, 3]) - 2) < 1"),
    "abs in __builtins__": ("vars(__builtins__)['abs'] = lambda x: 0", "abs(mean([1, 3]) - 2) < 1"),
    "new builtins": ("__builtins__ = {'abs': lambda x: 0}", "abs(mean([1, 3]) - 2) < 1"),
    "object's attribute": ("ref.mean = mean", "mean([1, 3]) == ref.mean([1, 3])"),
    "object's class": ("ref.__class__ = type('Fake', (), {'mean': staticmethod(mean)})", "mean([1]) == ref.mean([1])"),
    "object's lookup": ("Reference.__getattribute__ = lambda self, name: mean", "mean([1]) == ref.mean([1])"),
    "class's base": (
        "class Fake:\n    mean = staticmethod(mean)\nSub.__bases__ = (Fake,)",
        "mean([1, 3]) == Sub.mean([1, 3])",
    ),
    "closure": ("best.__closure__[0].cell_contents = 0", "mean([1, 3]) == best()"),
    "cached helper": (
        "two.__wrapped__.__code__ = (lambda: 0).__code__\ntwo.cache_clear()",
        "mean([1, 3]) == two()",
    ),
    "wrapped helper": ("wrapped.__wrapped__.__code__ = (lambda a, b: True).__code__", "wrapped(mean([1, 3]), 2)"),
    "dataclass": ("case.want = 0", "mean([1, 3]) == case.want"),
    "slots": ("slotted.want = 0", "mean([1, 3]) == slotted.want"),
    "enumeration": ("Want.TWO._value_ = 0", "mean([1, 3]) == Want.TWO.value"),
    "counter": ("counts['n'] = 0", "mean([1, 3]) == counts['n']"),
    "queue": ("queue[0] = 0", "mean([1, 3]) == queue[0]"),
    "name space": ("space.n = 0", "mean([1, 3]) == space.n"),
    "by another name": ("globals()['CA' + 'SES'].clear()", "all(mean(xs) == expected for xs, expected in CASES)"),
    "library's class": ("TestCase.assertEqual = lambda *a: None", "TestCase().assertEqual(mean([1, 3]), 2) is None"),
    "library that only the check imports": ("import statistics\nstatistics.mean = mean", "library() is None"),
    "library of its own": (
        "import sys\nopen('statistics.py', 'w').write('mean = lambda xs: 0')\nsys.path.insert(0, '.')",
        "library() is None",
    ),
    "library's code": ("import statistics\nstatistics.mean.__code__ = (lambda data: 0).__code__", "library() is None"),
    "module's class": (
        "import types\nclass Fake(types.ModuleType):\n    isclose = property(lambda self: lambda *a: True)\n"
        "math.__class__ = Fake",
        "math.isclose(mean([1, 3]), 2)",
    ),
    "property's code": ("Box.want.fget.__code__ = (lambda self: 0).__code__", "mean([1, 3]) == box.want"),
    "what a cache holds": (
        "mine = two.__wrapped__.__code__\ntwo.__wrapped__.__code__ = (lambda: 0).__code__\ntwo.cache_clear()\ntwo()\n"
        "two.__wrapped__.__code__ = mine",
        "mean([1, 3]) == two()",
    ),
    "partial": ("near.__setstate__((lambda *a, **k: True, (), {}, {}))", "near(mean([1, 3]), 2)"),
    "partial's keywords": ("near.keywords['rel_tol'] = 99", "near(mean([1, 3]), 2)"),
    "test that is skipped": ("MeanTest.__unittest_skip__ = True", "unittest_passes()"),
    "library's class of error": (
        "import unittest\nTestCase.failureException = unittest.SkipTest",
        "unittest_passes()",
    ),
    "name with underscores": ("__want = 0", "mean([1, 3]) == __want"),
    "enumeration of numbers": ("Level.TWO._value_ = 0", "mean([1, 3]) == Level.TWO.value"),
    "class's class": (
        "class Fake(abc.ABCMeta):\n    def __getattribute__(cls, name): return (lambda xs: 0)\n"
        "Abstract.__class__ = Fake",
        "mean([1, 3]) == Abstract.mean([1, 3])",
    ),
    "instances": ("abc.ABCMeta.__instancecheck__ = lambda *a: True", "isinstance(mean([1]), Abstract)"),
    "bound method's code": ("bound.__func__.__code__ = (lambda self, xs: 0).__code__", "mean([1, 3]) == bound([1, 3])"),
    "contexts": (
        "import contextlib\ncontextlib._GeneratorContextManager.__exit__ = lambda *a: True",
        "in_a_context() is None",
    ),
    "constant of sys": ("sys.maxsize = 0", "mean([1]) == sys.maxsize"),
    "submodule's constant": ("os.path.sep = 0", "mean([1]) == os.path.sep"),
    "submodule": (
        "import types\nos.path = types.SimpleNamespace(join=lambda *a: 0)",
        "mean([1]) == os.path.join('a', 'b')",
    ),
    "constant that only the check imports": ("import string\nstring.digits = 0", "digits() is None"),
    "unittest's result": (
        "import unittest\nunittest.TestResult.wasSuccessful = lambda self: True",
        "unittest_passes()",
    ),
    "unittest's inner class": (
        "import contextlib, unittest.case\n@contextlib.contextmanager\ndef ignore(self, *a, **k):\n"
        "    try: yield\n    except BaseException: pass\nunittest.case._Outcome.testPartExecutor = ignore",
        "unittest_passes()",
    ),
    "unittest's prefix": ("import unittest\nunittest.TestLoader.testMethodPrefix = 'no'", "unittest_passes()"),
    "unittest's loader": (
        "import unittest\nunittest.defaultTestLoader.testMethodPrefix = 'no'",
        "unittest_finds().result.wasSuccessful()",
    ),
    "main": (
        "import types\nsys.modules['__main__'] = types.ModuleType('__main__')",
        "__import__('doctest').testmod().failed == 0",
    ),
    "loop": (
        "import asyncio\nasyncio.new_event_loop = lambda: None\n"
        "asyncio.BaseEventLoop.run_until_complete = lambda self, main: True",
        "await awaited_mean([1, 3]) == 2",
    ),
    "library's cache": (
        "mine = fnmatch.translate.__code__\nfnmatch.translate.__code__ = (lambda pattern: '.*').__code__\n"
        "fnmatch.fnmatch('b', 'a*')\nfnmatch.translate.__code__ = mine",
        "fnmatch.fnmatch(f'b{mean([1])}', 'a*')",
    ),
    "finder": (
        "import importlib.machinery\nclass Loader:\n    create_module = lambda self, spec: None\n"
        "    def exec_module(self, module): module.mean = lambda xs: 0\nclass Finder:\n"
        "    def find_spec(self, name, target=None):\n"
        "        return importlib.machinery.ModuleSpec(name, Loader()) if name == 'statistics' else None\n"
        "for path in sys.path_importer_cache: sys.path_importer_cache[path] = Finder()",
        "mean([1, 3]) == __import__('statis' + 'tics').mean([1, 3])",
    ),
    "trace": (
        "import sys\ndef trace(frame, event, arg):\n    if frame.f_code.co_name == 'test_mean' and event == 'line':\n"
        "        frame.f_lineno = max(line for *_, line in frame.f_code.co_lines() if line)\n    return trace\n"
        "sys.settrace(trace)",
        TEST,
    ),
}

# id: what stands in the function's place, and the check: it is redefined while the check runs.
FORGED_LATER = {
    "constant": ("global EXPECTED\n    EXPECTED = 0\n    return 0", "mean([1, 3]) == EXPECTED"),
    "constant by globals": ("globals()['EXPECTED'] = 0\n    return 0", "mean([1, 3]) == EXPECTED"),
    "helper": ("global close\n    close = lambda a, b: True\n    return 0", TEST),
    "helper's code": (
        "close.__code__ = (lambda a, b: True).__code__\n    return 0",
        "mean([]) or close(mean([1, 3]), 2)",
    ),
    "all": ("import builtins\n    builtins.all = lambda xs: True\n    return 0", "mean([]) or all([mean([1]) == 1])"),
    "module": ("math.isclose = lambda *a: True\n    return 0", "mean([]) or math.isclose(mean([1, 3]), 2)"),
    "reference": ("Reference.mean = lambda xs: 0\n    return 0", "mean([1]) == Reference.mean([1])"),
    "partial": (
        "near.__setstate__((lambda *a, **k: True, (), {}, {}))\n    return 0",
        "mean([]) or near(mean([1]), 1)",
    ),
    "library's code": (
        "import statistics\n    statistics.mean.__code__ = (lambda data: 0).__code__\n    return 0",
        "mean([]) or library() is None",
    ),
}


DATA = """
import numpy as np
import pandas as pd
WANTED = np.array([2])
frame = pd.DataFrame({"want": [2]})
tests = pd.DataFrame({"xs": [[1, 3]]})
matrix, masked = np.matrix([[2]]), np.ma.array([2])
record = np.rec.array([(2,)], names="want")
lists = np.array([[1, 3], None], dtype=object)
import array, collections
typed = array.array("d", [2])
missing = collections.defaultdict(lambda: 2)
"""


@pytest.mark.parametrize(
    ("adds", "check"),
    [
        pytest.param("WANTED[:] = 0", "mean([1, 3]) == WANTED[0]", id="array"),
        pytest.param("frame.loc[0, 'want'] = 0", "mean([1, 3]) == frame.want[0]", id="frame"),
        pytest.param("frame.__dict__['want'] = [0]", "mean([1, 3]) == frame.want[0]", id="frame's attribute"),
        pytest.param(
            "object.__setattr__(frame, 'equals', lambda *a: True)", "frame.equals(mean([1]))", id="frame's method"
        ),
        pytest.param("tests['xs'][0][:] = [0]", "mean(tests['xs'][0]) == sum(tests['xs'][0])", id="lists in a frame"),
        pytest.param("lists[0][:] = [0]", "mean(lists[0]) == sum(lists[0])", id="lists in an array"),
        pytest.param("matrix[:] = 0", "mean([1, 3]) == matrix[0, 0]", id="matrix"),
        pytest.param("masked[:] = 0", "mean([1, 3]) == masked[0]", id="masked"),
        pytest.param("record.want[0] = 0", "mean([1, 3]) == record.want[0]", id="record"),
        pytest.param("typed[0] = 0", "mean([1, 3]) == typed[0]", id="array.array"),
        pytest.param("missing.default_factory = int", "mean([1, 3]) == missing['x']", id="default"),
        pytest.param(
            "f = np.allclose\nwhile hasattr(f, '__wrapped__'): f = f.__wrapped__\nf.__defaults__ = (9, 9, False)",
            "np.allclose(mean([1]), 1)",
            id="numpy's defaults",
        ),
        pytest.param(
            "np.testing.assert_allclose = print", "np.testing.assert_allclose(mean([1]), 1) is None", id="numpy"
        ),
        pytest.param("pd.Series.equals = lambda *a: True", "frame.want.equals(pd.Series([mean([1])]))", id="pandas"),
    ],
)
def test_nor_arrays_and_tables(adds, check):
    (found,) = checks_of(HOLE, f"return 0\n\n{adds}", check, earlier=(DATA,))
    assert found.passed is False, found


@pytest.mark.parametrize(
    ("middle", "below", "check"),
    [
        pytest.param(
            "global EXPECTED\n    EXPECTED = 0\n    return 0", "mean([1])", "mean([1]) == EXPECTED", id="constant"
        ),
        pytest.param(
            "math.isclose = print\n    return 0", "mean([1])", "math.isclose(mean([1]), 1) is None", id="module"
        ),
        pytest.param(
            "close.__code__ = (lambda a, b: 1).__code__\n    return 0", "mean([1])", "close(mean([1]), 2)", id="code"
        ),
        pytest.param(
            "return 0\n\n__name__ = 'x'",
            "if __name__ == '__main__': assert mean([1]) == 1",
            "mean([1]) == 0",
            id="name",
        ),
    ],
)
def test_nor_when_the_cell_itself_calls_it(middle, below, check):
    (found,) = checks_of(f"{HOLE}\n{below}\n", middle, check)
    assert not found.passed, found


@pytest.mark.parametrize("forged", FORGED)
def test_what_is_the_users_cannot_be_redefined(forged):
    adds, check = FORGED[forged]
    (found,) = checks_of(HOLE, f"return 0\n\n{adds}", check)
    assert found.passed is False, found


# What says nothing of the answer, however it looks, and is judged by what it says.
VAIN = {
    "function": ("mean", "always true"),
    "method": ("str(mean([1])).isdigit", "always true"),
    "generator": ("(mean([1]) == 1 for _ in [1])", "always true"),
    "coroutine": ("test_awaited()", "always true"),
    "test that awaits": ("test_awaited", "AssertionError"),
    "unittest": ("unittest_finds()", "TestProgram"),
    "doctest": ("__import__('doctest').testmod()", "failed=1"),
    "error named like a finding of ours": ("mean.fails()", "changes"),
}


@pytest.mark.parametrize("vain", VAIN)
def test_nor_does_it_pass_or_stay_unknown_where_nothing_is_said(vain):
    check, said = VAIN[vain]
    fails = "return 0\n\ndef fails(): raise type('changes', (Exception,), {})\nmean.fails = fails"
    (found,) = checks_of(HOLE, fails if vain.startswith("error") else "return 0", check)
    assert found.passed is False, found
    assert said in found.detail


@pytest.mark.parametrize("check", ["test_awaited", "unittest_finds()", "__import__('doctest').testmod()"])
def test_what_says_something_passes(check):
    (found,) = checks_of(HOLE, "return sum(xs) / len(xs)", check)
    assert found.passed, found


@pytest.mark.parametrize("forged", FORGED_LATER)
def test_nor_while_it_is_checked(forged):
    middle, check = FORGED_LATER[forged]
    (found,) = checks_of(HOLE, middle, check)
    assert not found.passed, found


BETWEEN = "# the mean\n<cursor>\n"
DEFINES = "def mean(xs):\n    return 0\n"


@pytest.mark.parametrize(
    ("adds", "check"),
    [
        pytest.param("EXPECTED = 0", "mean([1, 3]) == EXPECTED", id="constant"),
        pytest.param("def close(a, b): return True", "close(mean([1, 3]), 2)", id="helper"),
        pytest.param("def test_mean(): pass", TEST, id="test"),
        pytest.param("all = lambda xs: True", "all([mean([1]) == 1])", id="all"),
        pytest.param("CASES.clear()", "all(mean(xs) == y for xs, y in CASES)", id="cases"),
        pytest.param("best.__closure__[0].cell_contents = 0", "mean([1, 3]) == best()", id="closure"),
        pytest.param("Level.TWO._value_ = 0", "mean([1, 3]) == Level.TWO.value", id="enumeration"),
        pytest.param(
            "import unittest\nunittest.defaultTestLoader.testMethodPrefix = 'no'",
            "mean([0]) == 1 or unittest_finds().result.wasSuccessful()",
            id="unittest's loader",
        ),
    ],
)
def test_an_answer_between_statements_cannot_either(adds, check):
    (found,) = checks_of(BETWEEN, f"{DEFINES}\n{adds}\n", check)
    assert not found.passed, found


@pytest.mark.parametrize(
    ("cell", "middle", "check", "said"),
    [
        # Both names may be what was to be filled in: the cell ran before, with another answer.
        pytest.param(
            BETWEEN, "mean = lambda xs: 0\nEXPECTED = 0\n", "mean([1]) == EXPECTED", "of the answer", id="again"
        ),
        pytest.param(
            HOLE,
            "class Same(int):\n        def __eq__(self, other): return True\n    return Same()",
            "mean([1, 3]) == 2",
            "__eq__",
            id="equals anything",
        ),
        pytest.param(
            HOLE,
            "class V:\n        __class__ = int\n    return V()",
            "isinstance(mean([1]), int)",
            "__class__",
            id="class",
        ),
        pytest.param(
            HOLE,
            "raise StopIteration",
            "[got == want for got, want in zip(map(mean, [[1]]), [1])] == []",
            "StopIteration",
            id="ends the loop",
        ),
        pytest.param(
            HOLE,
            "class Zero:\n        def __sub__(self, other): return 0\n    return Zero()",
            "abs(mean([1, 3]) - 2) < 1e-9",
            "__sub__",
            id="no difference",
        ),
        pytest.param(
            HOLE,
            "class V:\n        def __array_function__(self, *a): return True\n    return V()",
            "__import__('numpy').allclose(mean([1, 3]), 2)",
            "__array_function__",
            id="numpy's protocol",
        ),
        pytest.param(
            HOLE, "import unittest\n    raise unittest.SkipTest", "unittest_passes()", "SkipTest", id="skips the test"
        ),
        pytest.param(
            HOLE,
            "import sys\n    test = sys._getframe(1)\n    test.f_locals['want'] = 0\n    return 0",
            "(lambda want: mean([1, 3]) == want)(2) or True",
            "_getframe",
            id="frames",
        ),
        pytest.param(
            HOLE,
            "import inspect\n    [frame.frame.f_globals for frame in inspect.stack()]\n    return 2",
            "mean([1]) == 2",
            "f_globals",
            id="frames, by inspect",
        ),
        pytest.param(HOLE, "from ctypes import memmove\n    return 2", "mean([1]) == 2", "ctypes", id="memory"),
        pytest.param(HOLE, "import _ctypes\n    return 2", "mean([1]) == 2", "_ctypes", id="memory, past ctypes"),
        pytest.param(
            HOLE,
            "from pytest import approx\n    return approx(0, abs=9)",
            "mean([1, 3]) == 2",
            "approx",
            id="equals nearly anything",
        ),
        pytest.param(
            HOLE,
            "return 0\n\ndef load_tests(loader, *a): return loader.suiteClass()",
            "unittest_finds().result.wasSuccessful()",
            "load_tests",
            id="chooses the tests",
        ),
        pytest.param(HOLE, "from unittest.mock import ANY\n    return ANY", "mean([1, 3]) == 2", "ANY", id="ANY"),
        pytest.param(
            HOLE,
            "return type('Same', (), {'__eq__': lambda *a: True})()",
            "mean([1, 3]) == 2",
            "__eq__",
            id="equals anything, by type",
        ),
    ],
)
def test_what_cannot_be_told_is_said(cell, middle, check, said):
    earlier = (*USER, "def mean(xs): return 1") if said == "of the answer" else USER
    (found,) = checks_of(cell, middle, check, earlier=earlier)
    assert not found.passed or said in found.detail, found


DOCSTRING = '''
def mean(xs):
    """Return the mean.
    <cursor>
    >>> mean([1, 3])
    2.0
    """
    return sum(xs)
'''


def test_an_example_is_shown_by_python_and_each_by_itself():
    cell = 'def mean(xs):\n    """\n    >>> mean([1, 3])\n    2.0\n    >>> 1\n    1\n    """\n    <cursor>'
    forged = "import sys\n    sys.displayhook = lambda value: print(2.0)\n    return 0"
    (found,) = checks_of(cell, forged, doctests=True, earlier=())
    assert found.passed is False, found
    (nul,) = checks_of(cell, "print('2.0\\n\\0=1')", doctests=True, earlier=())
    assert "1 of 2" in nul.detail, nul  # the second example's outcome is its own


@pytest.mark.parametrize(
    ("cell", "middle", "passed"),
    [
        pytest.param(HOLE, '"""\n    >>> mean([1, 3])\n    0\n    """\n    return 0', [None], id="all the model's"),
        pytest.param(HOLE, '"""mean([1, 3]) == 0"""\n    return 0', [None], id="the model's prose"),
        pytest.param(HOLE, '"\\n>>> mean([1, 3])\\n0\\n"\n    return 0', [None], id="one line"),
        pytest.param(DOCSTRING, "\n    >>> 1\n    1\n", [False], id="beside the user's"),
        pytest.param(DOCSTRING, '"""\n    return 0\n    """', [None], id="the docstring ended early"),
        pytest.param(DOCSTRING, "\n    mean([1]) == 1\n", [False], id="prose beside the user's"),
        pytest.param(HOLE, 'return 0\n\ndef f():\n    """\n    >>> 1\n    1\n    """', [None], id="another function's"),
        pytest.param(
            'def mean(xs):\n    """\n    >>> mean([1, 3])\n    2.0\n    """\n    <cursor>',
            "return sum(xs) / len(xs)",
            [True],
            id="the user's",
        ),
        pytest.param(
            'def mean(xs):\n    """\n\n\n    >>> mean([<cursor>])\n    2.0\n    >>> mean([4])\n    4.0\n    """\n'
            "    return sum(xs) / len(xs)",
            "0",
            [True],
            id="the hole in an example",
        ),
        pytest.param(
            'def mean(xs):\n    """\n    mean([1, 3]) -> 2.0\n    """\n    <cursor>', "return 0", [False], id="prose"
        ),
    ],
)
def test_only_the_users_examples_count(cell, middle, passed):
    assert [check.passed for check in checks_of(cell, middle, doctests=True, earlier=())] == passed


HONEST = {
    "helper": (HOLE, "return total(xs) / len(xs)", "mean([1, 3]) == 2", ["def total(xs): return sum(xs)"]),
    "helper below the hole": (
        "def mean(xs):\n    <cursor>\n\ndef total(xs):\n    return sum(xs)\n",
        "return total(xs) / len(xs)",
        "mean([1, 3]) == 2",
        [],
    ),
    "older helper, newer one below": (
        "def mean(xs):\n    <cursor>\n\ndef total(xs):\n    return sum(xs)\n",
        "return total(xs) / len(xs)",
        "mean([1, 3]) == total([2])",
        ["def total(xs): return 0"],
    ),
    "test in the same cell": (
        "def mean(xs):\n    <cursor>\n\ndef test_mean():\n    assert mean([1, 3]) == 2\n\ntest_mean()\n",
        "return sum(xs) / len(xs)",
        "test_mean() is None",
        [],
    ),
    "test in the same cell, by name": (
        "def mean(xs):\n    <cursor>\n\ndef test_mean():\n    assert mean([1, 3]) == 2\n",
        "return sum(xs) / len(xs)",
        "test_mean",
        [],
    ),
    "the cell ran before": (
        HOLE,
        "return sum(xs) / len(xs)",
        "mean([1, 3]) == 2",
        ["def mean(xs):\n    return 0", "mean([1])"],
    ),
    "a value": ("total = <cursor>\n", "1 + 2", "total == 3", []),
    "a value that was there": ("total = <cursor>\n", "1 + 2", "total == 3", ["total = 0"]),
    "a line that binds what was there": ("xs = [1, 2]\n<cursor>\n", "total = sum(xs)\n", "total == 3", ["total = 0"]),
    "a loop's body": (
        "total = 0\ncount = 0\nfor x in [1, 2]:\n    <cursor>\nmean = total / count\n",
        "total += x\n    count += 1",
        "mean == 1.5",
        ["total = 5"],
    ),
    "a method": (
        "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x):\n        <cursor>\n",
        "self.items.append(x)",
        "(lambda s: s.push(1) or s.items == [1])(Stack())",
        ["class Stack: pass"],
    ),
    "a class's counter": (
        "class Dog:\n    count = 0\n    def __init__(self):\n        <cursor>\n",
        "Dog.count += 1",
        "Dog() and Dog() and Dog.count == 2",
        [],
    ),
    "a user's class": (
        "def origin():\n    <cursor>\n",
        "return Point(0, 0)",
        "origin() == Point(0, 0) and isinstance(origin(), Point)",
        ["from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\n    y: int"],
    ),
    "a user's list that it fills": (
        "def note(x):\n    <cursor>\n",
        "seen.append(x)",
        "note(1) or note(2) or seen == [1, 2]",
        ["seen = []"],
    ),
    "a user's function that counts": (
        "def twice():\n    <cursor>\n",
        "return one() + one()",
        "twice() == 2 and calls == 2",
        ["calls = 0\ndef one():\n    global calls\n    calls += 1\n    return 1"],
    ),
    "a user's decorator that registers": (
        "@register\ndef mean(xs):\n    <cursor>\n",
        "return sum(xs) / len(xs)",
        "registry['mean']([1, 3]) == 2",
        ["registry = {}\ndef register(f):\n    registry[f.__name__] = f\n    return f"],
    ),
    "a global that the user declares": (
        "ticks = 0\ndef tick():\n    global ticks\n    <cursor>\n",
        "ticks += 1\n    return ticks",
        "tick() == 1 and tick() == 2",
        [],
    ),
    "a global that nobody checks": (
        "ticks = 0\ndef tick():\n    <cursor>\n",
        "global ticks\n    ticks += 1\n    return ticks",
        "tick() == 1 and tick() == 2",
        [],
    ),
    "a helper of its own": (
        HOLE,
        "return _total(xs) / len(xs)\n\ndef _total(xs):\n    return sum(xs)",
        "mean([1, 3]) == 2",
        [],
    ),
    "a cache": (
        "def fib(n):\n    <cursor>\n",
        "if n not in cache:\n        cache[n] = n if n < 2 else fib(n - 1) + fib(n - 2)\n    return cache[n]",
        "fib(30) == 832040 and len(cache) == 31",
        ["cache = {}"],
    ),
    "a user's object that is changed": (
        "table['mean'] = <cursor>\n",
        "2",
        "table['mean'] == 2",
        ["table = {}"],
    ),
    "a patch that the user asks for": (
        "import math\ndef patch():\n    <cursor>\n\npatch()\n",
        "math.half = lambda x: x / 2",
        "math.half(4) == 2",
        [],
    ),
    "a type of file": (
        "def kind(name):\n    <cursor>\n",
        "return mimetypes.guess_type(name)[0]",
        "kind('a.png') == 'image/png' and kind('b.png') == 'image/png'",
        ["import mimetypes"],
    ),
    "an ordered dictionary that it empties": (
        HOLE,
        "return sum(xs) / len(xs)\n\nORDERED.clear()",
        "mean([1, 3]) == 2 and list(ORDERED.items()) == [(1, 1)] and len(ORDERED) == 1",
        ["from collections import OrderedDict\nORDERED = OrderedDict({1: 1})"],
    ),
    "a time zone": (
        "def hour():\n    <cursor>\n",
        "os.environ['TZ'] = 'XYZ-5'\n    time.tzset()\n    return time.localtime(0).tm_hour",
        "hour() == 5",
        ["import os\nimport time"],
    ),
    "data that is nested deep": (
        "def depth():\n    <cursor>\n\ndepth()\n",
        "n, inner = 0, deep\n    while inner: n, inner = n + 1, inner[0]\n    return n\n\ndepth(), deep",
        "depth() == 5000",
        ["deep = None\nfor _ in range(5000):\n    deep = [deep]"],
    ),
    "a proxy": (
        "def is_there():\n    <cursor>\n",
        "return proxy is not None\n\nis_there(), proxy",
        "is_there()",
        ["class Proxy:\n    @property\n    def __class__(self): raise RuntimeError\nproxy = Proxy()"],
    ),
    "a future import": (
        "from __future__ import annotations\ndef mean(xs: list[nothing]) -> nothing:\n    <cursor>\n",
        "return sum(xs) / len(xs)",
        "mean([1, 3]) == 2",
        [],
    ),
    "an import that is offered": (HOLE, "return np.mean(xs)", "mean([1, 3]) == 2", ["x = 1"]),
    "awaits at the top": (
        "import asyncio\nawait asyncio.sleep(0)\nasync def two():\n    <cursor>\n\nx = await two()\n",
        "return 2",
        "x == 2 and await two() == 2",
        [],
    ),
    "a call below that fills the user's list": (
        "def note(x):\n    <cursor>\n\nnote(1)\n",
        "seen.append(x)",
        "seen == [1]",
        ["seen = []"],
    ),
    "a demonstration that fills the user's list": (
        "def note(x):\n    <cursor>\n",
        "seen.append(x)\n\nnote(5)",
        "note(1) or seen[-1] == 1",
        ["seen = []"],
    ),
    "a demonstration that counts": (
        "def twice():\n    <cursor>\n",
        "return one() + one()\n\nprint(twice())",
        "twice() == 2 and calls == 2",
        ["calls = 0\ndef one():\n    global calls\n    calls += 1\n    return 1"],
    ),
    "a decorator behind it": (
        HOLE,
        "return sum(xs) / len(xs)\n\nmean = functools.cache(mean)",
        "mean((1, 3)) == 2",
        ["import functools"],
    ),
    "a table's column": (
        "def add(frame):\n    <cursor>\n\nframe = add(frame)\n",
        "frame['b'] = frame['a'] * 2\n    return frame",
        "frame['b'].sum() == 6",
        ["import pandas as pd\nframe = pd.DataFrame({'a': [1, 2]})"],
    ),
    "a table's column at the top": (
        "frame['b'] = <cursor>\n",
        "frame['a'] * 2",
        "frame['b'].sum() == 6",
        ["import pandas as pd\nframe = pd.DataFrame({'a': [1, 2]})"],
    ),
    "an array in place": (
        "def double(xs):\n    <cursor>\n\ndouble(WANTED)\n",
        "xs *= 2",
        "WANTED[0] == 2",
        ["import numpy as np\nWANTED = np.array([1])"],
    ),
    "a random number": (
        "def draw():\n    <cursor>\n",
        "return random.random()",
        "0 <= draw() < 1",
        ["import random\nrandom.seed(1)"],
    ),
    "a property": (
        "class Box:\n    def __init__(self): self.side = 2\n\n    @property\n    def area(self):\n        <cursor>\n",
        "return self.side ** 2",
        "Box().area == 4",
        ["class Box:\n    area = 0"],
    ),
    "a generator": ("def count():\n    <cursor>\n", "yield from range(3)", "[*count()] == [0, 1, 2]", []),
    "several on a line": ("a = 1; b = <cursor>; c = a + b\n", "2", "c == 3", ["b = 5"]),
    "CR LF": ("x = 1\r\ndef two():\r\n    <cursor>\r\ny = two()\r\n", "z = x\n    return 2", "y == 2", ["z = 1"]),
    "magics": ("%matplotlib inline\n%time x = 1\ndef two():\n    <cursor>\n", "return x + 1", "two() == 2", []),
}


@pytest.mark.parametrize("honest", HONEST)
def test_honest_answers_go_on_passing(honest):
    cell, middle, check, earlier = HONEST[honest]
    (found,) = checks_of(cell, middle, check, earlier=tuple(earlier))
    assert found.passed, found


def test_what_is_nested_too_deep_to_be_looked_into_passes_nothing():
    deep = f"return 0\n\nEXPECTED = 0\nif 0:\n    x = a{'.b' * 1500}"
    text = f"def mean(xs):\n    {deep}"
    spec = CheckSpec(("mean([1, 3]) == EXPECTED",), setup=("EXPECTED = 2",))
    (found,) = tried(text, spec, written=[(text.index("return"), len(text))])
    assert not found.passed, found


def test_a_name_that_is_looked_up_is_used():
    cell = "class Means:\n    def mean(self, xs):\n        <cursor>\n"
    clears = "globals()['CA' + 'SES'].clear()"
    (within,) = checks_of(cell, f"return 0\n    {clears}", "all(Means().mean(xs) == y for xs, y in CASES)")
    (between,) = checks_of(BETWEEN, f"{DEFINES}\n{clears}\n", "all(mean(xs) == y for xs, y in CASES)")
    assert not (within.passed or between.passed), (within, between)


@pytest.mark.parametrize("sign", ["\f", "\v", "\x1c", "\x85", "\u2028"], ids=ascii)
def test_what_ends_no_line_of_python_moves_no_row(sign):
    cell = f"text = 'a{sign}b'\n\n{HOLE}\nx = mean([2])\n"
    (right,) = checks_of(cell, "return sum(xs) / len(xs)", "mean([1, 3]) == 2", earlier=())
    (wrong,) = checks_of(HOLE, f"return 0\n\ntext = '{sign}'\nEXPECTED = 0", "mean([1, 3]) == EXPECTED")
    assert (right.passed, wrong.passed) == (True, False), (right, wrong)


@pytest.mark.parametrize(
    ("name", "middle"),
    [("x", "1; EXPECTED = 0; mean = lambda xs: 0"), ("mean", "(EXPECTED := 0) or (lambda xs: 0)")],
)
def test_a_magic_before_an_answer_moves_no_column(name, middle):
    (found,) = checks_of(f"%time {name} = <cursor>\n", middle, "mean([1, 3]) == EXPECTED")
    assert not found.passed, found


def test_two_holes_are_both_the_models():
    cell = "def one():\n    <cursor>\n\nEXPECTED = 3\n\ndef two():\n    <cursor>\n"
    (right,) = checks_of(cell, ("return 1", "return 2"), "one() + two() == EXPECTED", earlier=("EXPECTED = 7",))
    (wrong,) = checks_of(cell, ("return 1", "return 1\n\nEXPECTED = 2"), "one() + two() == EXPECTED", earlier=())
    assert (right.passed, wrong.passed) == (True, False), (right, wrong)


def test_an_assertion_below_the_hole_is_the_users_too():
    cell = "EXPECTED = 2\n\ndef mean(xs):\n    <cursor>\n\nassert mean([1, 3]) == EXPECTED\n"
    (right,) = checks_of(cell, "return sum(xs) / len(xs)", "mean([2]) == 2", earlier=())
    (wrong,) = checks_of(cell, "return 0\n\nEXPECTED = 0", "mean([0]) == 0", earlier=())
    assert (right.passed, wrong.passed) == (True, False), (right, wrong)
