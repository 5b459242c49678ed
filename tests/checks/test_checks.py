from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fim_magic.candidate import Check
from fim_magic.checks import (
    CheckSpec,
    docstring_examples,
    in_cells,
    look,
    names_defined,
    needed_cells,
    parses,
    tried,
)
from fim_magic.sandbox import Limits

MEAN = '''def mean(xs):
    """The mean.

    >>> mean([1, 3])
    2.0
    >>> mean([])
    Traceback (most recent call last):
    ZeroDivisionError: division by zero
    """
    return sum(xs) / len(xs)
'''


WALKS_FRAMES = """
import sys
frame = sys._getframe()
while frame:
    for value in [*frame.f_locals.values()]:
        if isinstance(value, list):
            value.append(True)
    frame = frame.f_back
"""


def test_importing_it_imports_no_ipython():
    program = "import sys, fim_magic.checks; assert not {'IPython', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("x = 1", True),
        ("", True),
        ("await f()", True),
        ("x = [i async for i in f()]", True),
        ("%time x = 1\n!ls *.py\ndf?\nfiles = !ls", True),
        ("%%time\nx = 1", True),
        ("%%capture out\n%%time\nx = 1", True),
        ("if True:\n    %matplotlib inline\n", True),
        ("%%bash\nfor x in *; do", False),
        ("%%bash\nfor x in *; do ls; done", True),
        ("%%latex\n$x", None),
        ("%%time\nfor", False),
        ("def f(:", False),
        ("return 1", False),
        ("  x = 1\ny = 2", False),
        ("x = '\0'", False),
        ("x = '\ud800'", False),
        ("(" * 5000, False),
        ("-" * 100_000 + "1", None),
        ("x\n" * 1_000_000, None),
    ],
)
def test_parses(text, passed):
    assert parses(text).passed is passed


def test_a_syntax_error_says_its_line_and_warnings_nothing():
    assert parses("x = 1\nfor").detail == "SyntaxError: invalid syntax in line 2"
    assert parses("%%time\nfor").detail == "SyntaxError: invalid syntax in line 2"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parses(r"'\d'; 1 is 1").passed


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("ab=()[]{}:'\"\n \\#%!?@\0\ud800*.,"), max_size=40))
def test_no_text_raises(text):
    for check in (parses(text), names_defined(text, set()), *look(text)):
        assert check.detail == " ".join(check.detail.split())
    needed_cells(text, [text, "a = 1"])
    docstring_examples(text)


@pytest.mark.parametrize(
    "text",
    [
        "def f(): return g()\ndef g(): return 1",
        "[x for x in range(3) if x]",
        "lambda a, *b, c=1, **d: (a, b, c, d)",
        "class A:\n    x = 1\n    y = x\n    def f(self): return super().f, __class__",
        "def f():\n    global z\n    z = 1\nprint(z)",
        "def f():\n    n = 0\n    def g():\n        nonlocal n\n        n += 1\n    return g",
        "if (n := 3) > 2: print(n)",
        "match [1, {}]:\n    case [a, {'k': b, **rest}]: print(a, b, rest)\n    case [*others]: others",
        "try: pass\nexcept ValueError as e: print(e)",
        "import a.b, c as d\nfrom e import f as g\nprint(a, d, g)",
        "with open('x') as f: f.read()",
        "for i, (j, *k) in []: print(i, j, k)",
        "x: int = 1\nx += 1",
        "print(In, Out, _, __, _3, _i3, get_ipython, display, __name__, __file__)",
        "%time x = 1\nprint(x)",
        "%%capture out\nout",
        "files = !ls\nfiles",
        "df.head()",
        "def f(n):\n    n += 1\n    return n",
    ],
)
def test_names_that_are_defined(text):
    check = names_defined(text, {"df"})
    assert check.passed, check


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("np.mean(df)", "undefined: np, df"),
        ("def f(): return np", "undefined: np"),
        ("total += 1", "undefined: total"),
        ("class A:\n    x = 1\n    def f(self): return x", "undefined: x"),
        ("[x for x in range(3)]\nx", "undefined: x"),
        ("def f(a=b): pass", "undefined: b"),
        ("@deco\ndef f(x: Kind) -> None: pass", "undefined: deco, Kind"),
        ("x = f'{name!r:>{width}}'", "undefined: name, width"),
        ("def f():\n    y = 1\nprint(y)", "undefined: y"),
    ],
)
def test_names_that_are_not(text, said):
    check = names_defined(text, set())
    assert (check.passed, check.detail) == (False, said)


def test_names_that_cannot_be_told():
    assert names_defined("from numpy import *\nones(3)", set()).passed is None
    assert names_defined("%run other.ipynb\nones(3)", set()).passed is None
    assert names_defined("def f(:", set()).passed is None
    assert names_defined("from numpy import *\nlen(())", set()).passed


def test_what_follows_the_hole_may_need_what_the_answer_has_to_define():
    text = "def mean(xs):\n    {}\n    return total / len(xs)\n"
    assert names_defined(text.format("total = sum(xs)"), set()).passed
    assert names_defined(text.format("return 0"), set()).detail == "undefined: total"
    assert names_defined(text.format("return 0"), {"total"}).passed


def test_needed_cells_are_those_whose_names_are_needed_and_what_they_need():
    cells = [
        "import numpy as np",
        "import os",
        "def f(x):\n    return g(x)",
        "rows = []",
        "%matplotlib inline\nrows.append(1)",
        "other = 1",
        "rows[0] = other",
        "def g(x):\n    return np.ones(x)",
        "np.show()",
        "def broken(:",
        "%%bash\nrows=1",
    ]
    kept = [cells[0], *cells[2:4], "pass\nrows.append(1)", *cells[5:8]]
    assert needed_cells("f(rows)", cells) == tuple(kept)
    assert needed_cells("os.sep", cells) == ("import os",)
    assert needed_cells("1", cells) == ()


def test_a_cell_that_is_overwritten_is_not_needed():
    assert needed_cells("x", ["x = slow()", "x = 2"]) == ("x = 2",)
    assert needed_cells("x", ["x = 1", "x = x + 1"]) == ("x = 1", "x = x + 1")
    assert needed_cells("x", ["x = 1", "if y: x = 2", "y = 1"]) == ("x = 1", "if y: x = 2")
    assert needed_cells("x", ["x = 1", "x += 1"]) == ("x = 1", "x += 1")
    assert needed_cells("x", ["x = 1", "def f():\n    x = []\n    x.append(1)"]) == ("x = 1",)
    assert needed_cells("x", ["%time x = 1", "%%time\nx += 1"]) == ("x = 1", "#\nx += 1")


def test_docstring_examples_are_counted():
    assert docstring_examples(MEAN) == 2
    assert docstring_examples('def f(x):\n    """\n    >>>f(1)\n    2\n    """') == 1
    assert docstring_examples('"""\n>>> 1\n1\n"""\nclass A:\n    """\n    >>> 2\n    """') == 2
    assert docstring_examples("x = '>>> 1'") == docstring_examples("def f(:") == 0


def test_what_was_asked_for_is_tried():
    asked = CheckSpec(
        ("mean([1, 3]) == 2", "mean([k]) == 4", "mean([])", "assert mean([2]) == 2", "1 +"),
        ("assert mean([k]) == 1", "assert mean([k]) == 2, 'no'", "%time mean([1])"),
        doctests=True,
        setup=("k = 1", "open('/etc/passwd').read()"),
    )
    assert [(check.name, check.passed, check.detail) for check in tried(MEAN, asked)] == [
        ("mean([1, 3]) == 2", True, ""),
        ("mean([k]) == 4", False, "mean([k]) == 4 gave False"),
        ("mean([])", False, "ZeroDivisionError: division by zero"),
        ("assert mean([2]) == 2", True, ""),
        ("1 +", None, "is no Python: invalid syntax (<cell>, line 1)"),
        ("test", True, ""),
        ("test", False, "AssertionError: no"),
        ("test", True, ""),
        ("doctests", True, "2 of 2 doctests"),
    ]


def test_doctests_say_which_is_wrong():
    (check,) = tried(MEAN.replace("2.0", "3.0"), CheckSpec(doctests=True))
    assert (check.passed, check.detail) == (False, "1 of 2 doctests: mean([1, 3]) gave 2.0")


@pytest.mark.parametrize(
    ("example", "passed"),
    [
        ('>>> "a" + "b"\n"ab"', True),
        (">>> list(range(99))\n[0, 1, ..., 98]", True),
        (">>> print('a   b')\na b", True),
        (">>>1 + 1\n2", True),
        (">>> x = 1\n>>> x + 1\n2", True),
        (">>> 1 + 1\n3", False),
        (">>> 1 / 0\n3", False),
        (">>> 1\nTraceback (most recent call last):\nValueError: x", False),
        (">>> import os; os._exit(0)\n>>> 1\n1", False),
        (">>> 1 +\n2", False),
    ],
)
def test_examples_are_compared_as_people_write_them(example, passed):
    body = "\n".join("    " + line for line in example.split("\n"))
    (check,) = tried(f'def f():\n    """\n{body}\n    """', CheckSpec(doctests=True))
    assert check.passed is passed, check


def test_what_the_sandbox_lacks_is_not_the_cells_fault():
    asked = CheckSpec(("mean(k)",), setup=("k = open('/etc/passwd').read()",))
    (check,) = tried(MEAN, asked)
    assert check.passed is None
    assert check.detail.startswith("an earlier cell does not run here: ")
    (check,) = tried("df = open('mine.csv')", CheckSpec(("df",)))
    assert check.passed is None
    (check,) = tried("%%bash\nls", CheckSpec(("1",)))
    assert (check.passed, check.detail) == (None, "not Python")
    assert look("%%bash\nls", check_spec=CheckSpec(("1",))) == (Check("parses", True), check)
    assert look("%%bash\nls )") == (Check("parses", False, "')' is not expected in line 2"),)
    assert look("%%latex\n)") == ()


def test_a_cell_that_hangs_is_said_to():
    hangs = "def f():\n    while True: pass"
    first, second = tried(hangs, CheckSpec(("f()", "1")), Limits(seconds=1))
    assert (first.passed, first.detail) == (False, "took longer than 1 s")
    assert (second.passed, second.detail) == (None, "not reached")
    (check,) = tried(hangs + "\nf()", CheckSpec(("1",)), Limits(seconds=1))
    assert (check.passed, check.detail) == (False, "took longer than 1 s")


@pytest.mark.parametrize(
    "trick",
    [
        "import os; print('passed', '+', 0); os._exit(0)",
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "raise KeyboardInterrupt",
        "import os; os.closerange(0, 1000)",
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'+\\n' * 9)\n    except OSError: pass",
        "import builtins\nbuiltins.eval = builtins.exec = builtins.bool = lambda *a, **k: True",
        "__builtins__ = {}",
        "import doctest, sys\ndoctest.OutputChecker.check_output = lambda *a: True\nsys.modules.clear()",
        "import sys\nsys.displayhook = sys.__displayhook__ = lambda value: print(2)",
        "import sys\nsys.settrace(lambda *a: None)\nsys.excepthook = lambda *a: None",
        WALKS_FRAMES,
        "def mean(xs): return mean(xs)",
    ],
)
def test_tricks_make_nothing_pass(trick):
    cell = 'def mean(xs):\n    """\n    >>> mean([1, 3])\n    2\n    """\n    return 7\n' + trick
    found = tried(cell, CheckSpec(("mean([1, 3]) == 2",), ("assert mean([1, 3]) == 2",), doctests=True))
    assert len(found) == 3
    assert not any(check.passed for check in found), found


def test_look_runs_nothing_unless_asked():
    unlimited = None  # the sandbox cannot start with it
    assert [check.name for check in look(MEAN, limits=unlimited)] == ["parses", "names"]
    assert [check.name for check in look("def f(:", check_spec=CheckSpec(("1",)), limits=unlimited)] == ["parses"]
    doctests = look("x = 1", check_spec=CheckSpec(doctests=True), limits=unlimited)
    assert [check.name for check in doctests] == ["parses", "names"]


def test_look_takes_all_together():
    found = look(MEAN, known={"np"}, check_spec=CheckSpec(("mean([2]) == 2",)))
    assert [(check.name, check.passed) for check in found] == [
        ("parses", True),
        ("names", True),
        ("mean([2]) == 2", True),
    ]


def test_a_check_may_name_a_test_of_the_notebook():
    cells = (
        "def test_mean():\n    assert mean([1, 3]) == 2",
        "# test of the mean\nassert mean([2]) == 2",
        "x = 1",
    )
    by_function = in_cells(CheckSpec(("test_mean",)), cells)
    assert (by_function.expressions, by_function.tests, by_function.setup) == ((), ("test_mean()",), cells)
    by_comment = in_cells(CheckSpec(("test_the_mean",)), ("# test_the_mean\nassert mean([2]) == 2",))
    assert by_comment.tests == ("# test_the_mean\nassert mean([2]) == 2",)
    assert in_cells(CheckSpec(("x",)), cells).expressions == ("x",)
    assert in_cells(CheckSpec(("x == test_mean",)), cells).tests == ()
    assert in_cells(CheckSpec(), cells) == CheckSpec()


def test_a_test_of_the_notebook_is_run_with_the_cell_that_defines_it():
    asked = in_cells(
        CheckSpec(("test_mean",)), ("import math", "def test_mean():\n    assert mean([1, 3]) == math.sqrt(4)")
    )
    (check,) = tried("def mean(xs):\n    return sum(xs) / len(xs)\n", asked)
    assert check.passed
    (check,) = tried("def mean(xs):\n    return sum(xs)\n", asked)
    assert check.passed is False


def test_a_part_of_the_doctests_is_a_share():
    (check,) = tried(
        'def f(x):\n    """f(1) == 1, f(2) -> 3\n    f(2) -> 3\n    """\n    return x\n', CheckSpec(doctests=True)
    )
    assert (check.passed, check.share) == (False, 0.5)
