"""Names in the order in which a cell binds and loads them; Python itself says which of the examples are right."""

from __future__ import annotations

import builtins
import json
import sys
import warnings

import pytest
from benchmark_data import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from fim_magic.checks import bound_names, names_defined, parses

# Each runs, or may run, so that nothing is undefined.
RIGHT = [
    "x = 1\nx",
    "def f():\n    return y\ny = 1\nf()",
    "f = lambda: y\ny = 1\nf()",
    "class A:\n    def f(self):\n        return later\nlater = 1\nA().f()",
    "def f():\n    global z\n    z = 1\nf()\nz",
    "if x_is := 1:\n    y = 1\nelse:\n    y = 2\ny",
    "if True:\n    y = 1\ny",
    "if False:\n    y\ny = 1",
    "if 0:\n    pass\nelif 0:\n    y\nelse:\n    pass\ny = 1",
    "False and y\ny = 1",
    "y if False else 1\ny = 1",
    "1 or y\ny = 1",
    "assert True, y\ny = 1",
    "3 < 2 < y\ny = 1",
    "first = True\nfor i in range(2):\n    if not first:\n        old\n    old = i\n    first = False",
    "for i in range(2):\n    if i:\n        old\n    else:\n        old = i",
    "for i in range(2):\n    try:\n        old\n    except NameError:\n        old = 1",
    "n = 0\nwhile n < 2:\n    if n:\n        m\n    m = n\n    n += 1",
    "for i in []:\n    pass\nelse:\n    i = 1\ni",
    "for i in [1]:\n    t = i\nt, i",
    "for a, (b, *c) in [(1, (2, 3))]:\n    a, b, c",
    "for i in [1]:\n    break\nelse:\n    y\ny = 1",
    "for i in [1, 2]:\n    continue\n    y\ny = 1",
    "try:\n    y\nexcept NameError:\n    y = 1\ny",
    "try:\n    y\nexcept:\n    pass\n",
    "try:\n    never_defined\nexcept (KeyError, NameError):\n    pass\n",
    "try:\n    y\nexcept Exception:\n    pass\ny = 1",
    "try:\n    import json as j\nexcept ImportError:\n    j = None\nj",
    "try:\n    t = 1\nfinally:\n    pass\nt",
    "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    e\n",
    "e = 1\ntry:\n    pass\nexcept ValueError as e:\n    pass\ne",
    "try:\n    pass\nexcept ValueError:\n    y\ny = 1",
    "from contextlib import suppress\nwith suppress(NameError):\n    never_defined",
    "import contextlib\nwith contextlib.suppress(Exception):\n    y\ny = 1",
    "x = 1\nif False:\n    del x\nx",
    "x = 1\ndel x\nx = 2\nx",
    "max = 1\ndel max\nmax(1, 2)",
    "for i in [1]:\n    x = 1\n    del x\n    x = 2\nx",
    "[n for n in [1] if (m := n)]\nm",
    "(a := 1) + a",
    "{1: (a := 1), a: 2}",
    "[i for i in range(3) for j in range(i) if j]",
    "g = (later(i) for i in [1])\nlater = str\nlist(g)",
    "import os.path\nos",
    "import os.path as p, json\np, json",
    "match [1, {'k': 2, 'z': 3}]:\n    case [a, {'k': b, **rest}] if a:\n        a, b, rest\n    case [*others]:\n        others",
    "match 1:\n    case 2:\n        y\n    case _ as other:\n        other\ny = 1",
    "with open('/dev/null') as handle:\n    handle\nhandle",
    "def deco(f):\n    return f\n@deco\ndef g(a=deco, *b, c=1, **d) -> deco:\n    pass",
    "x: int = 1\nx",
    "class A:\n    x = 1\n    y = [i for i in [x]]\n    def f(self) -> 'Never':\n        return __class__, self.x",
    "class A:\n    n = 1\n    class B:\n        m = 1\n        k = m\n    l = n",
    "class A:\n    for i in [1]:\n        j = i\n    k = j\n    __module__, __qualname__",
    "def f(x: 'Unknown'): pass",
    "from __future__ import annotations\ndef f(x: A): pass\nclass A: pass",
    "if __name__ == '__main__':\n    y = 1\ny",
    "def f(n):\n    return f(n - 1) if n else 0\nf(2)",
    "total = 0\ntotal += 1",
    "for i in [1]:\n    total = 0\n    total += i\ntotal",
    "x = [0]\nfor x[0] in [1]:\n    pass",
    "def f():\n    y = 1\n    class A:\n        z = y\n    return [y for _ in [1]]\nf()",
    "lambda a, *b, c=1, **d: (a, b, c, d)",
    "async def f():\n    async with g() as h:\n        pass\ndef g(): pass",
    "if 'y' in globals():\n    del y\ny = 1",
    "exec('late = 1')\nlate",
    "globals()['late'] = 1\nlate",
    "from math import *\npi",
    "raise ValueError\ny\ny = 1",
]

# Each raises a NameError as soon as it runs.
WRONG = [
    ("y\ny = 1", "y"),
    ("x = y + 1\ny = 1", "y"),
    ("f()\ndef f(): pass", "f"),
    ("A()\nclass A: pass", "A"),
    ("json.dumps(1)\nimport json", "json"),
    ("print(y)\nfor y in [1]: pass", "y"),
    ("for i in y:\n    pass\ny = 1", "y"),
    ("for i in [1]:\n    print(y)\ny = 1", "y"),
    ("for i in [1]:\n    total += i\ntotal = 0", "total"),
    ("while y:\n    y = 0", "y"),
    ("while True:\n    y\ny = 1", "y"),
    ("if y:\n    y = 1", "y"),
    ("if True:\n    y\ny = 1", "y"),
    ("if __name__ == '__main__':\n    main()\ndef main(): pass", "main"),
    ("with open('/dev/null') as f:\n    y\ny = 1", "y"),
    ("with y:\n    pass\ny = 1", "y"),
    ("try:\n    y\nexcept KeyError:\n    pass\ny = 1", "y"),
    ("try:\n    1 / 0\nexcept y:\n    pass\ny = 1", ""),
    ("try:\n    pass\nfinally:\n    y\ny = 1", "y"),
    ("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    pass\ne", "e"),
    ("[f(i) for i in [1]]\ndef f(i): pass", "f"),
    ("[i for i in y]\ny = []", "y"),
    ("[i for i in [1] if y]\ny = 1", "y"),
    ("{i: y for i in [1]}\ny = 1", "y"),
    ("sum(i * y for i in [1])\ny = 1", "y"),
    ("', '.join(f(i) for i in [1])\nf = str", "f"),
    ("g = (i for i in y)\ny = []", "y"),
    ("[i for i in [1]]\ni\ni = 1", "i"),
    ("y += 1\ny = 1", "y"),
    ("x: y = 1\ny = int", "y"),
    ("x: int\nx\nx = 1", "x"),
    ("x = 1\ndel x\nx", "x"),
    ("del x\nx = 1", "x"),
    ("del x", "x"),
    ("x = 1\nif True:\n    del x\nx", "x"),
    ("(a + (a := 1))", "a"),
    ("def f(a=y): pass\ny = 1", "y"),
    ("def f(a: y): pass\ny = int", "y"),
    ("def f() -> y: pass\ny = int", "y"),
    ("f = lambda a=y: a\ny = 1", "y"),
    ("@deco\ndef f(): pass\ndef deco(f): return f", "deco"),
    ("class A(Base): pass\nclass Base: pass", "Base"),
    ("class A:\n    y = x\n    x = 1", "x"),
    ("class A:\n    x = [later for _ in [1]]\nlater = 1", "later"),
    ("class A:\n    n = 1\n    m = [n for _ in [1]]", "n"),
    ("class A:\n    n = 1\n    class B:\n        m = n", "n"),
    ("match y:\n    case 1: pass\ny = 1", "y"),
    ("y and 1\ny = 1", "y"),
    ("y < 1 < 2\ny = 1", "y"),
    ("1 if y else 2\ny = 1", "y"),
    ("f'{y!r:>{w}}'\ny = w = 1", "y, w"),
    ("a.b = 1\na = 1", "a"),
    ("a[i] = 1\ni = a = {}", "a, i"),
    ("ones(3)\nfrom numpy import *", "ones"),
    ("assert y\ny = 1", "y"),
    ("try:\n    never\nexcept Exception as error:\n    raise", "never"),
]


def error_of(text):
    """Run a text of ours, and return what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = compile(text, "<cell>", "exec", dont_inherit=True)
    try:
        exec(code, {"__name__": "__main__"})
    except Exception as error:  # whatever it is
        return error
    return None


def raises_name_error(text):
    return isinstance(error_of(text), NameError)


@pytest.mark.parametrize("text", RIGHT)
def test_what_may_run_is_not_accused(text):
    assert names_defined(text, set()).passed is not False
    assert not raises_name_error(text)


@pytest.mark.parametrize(("text", "names"), WRONG)
def test_what_is_bound_too_late_is_undefined(text, names):
    if sys.version_info >= (3, 14) and any(mark in text for mark in ("a: y", "-> y", "x: y")):
        names = ""  # annotations are evaluated when somebody asks for them
    check = names_defined(text, set())
    assert ", ".join(check.names) == names
    assert check.passed is (names == "")
    assert raises_name_error(text) or not names


def test_what_the_notebook_knows_is_there_until_it_is_deleted():
    assert names_defined("y\ny = 1", {"y"}).passed
    assert names_defined("for i in [1]: total += i", {"total"}).passed
    assert names_defined("del df\ndf = 1\ndf", {"df"}).passed
    assert names_defined("del df\ndf", {"df"}).names == ("df",)
    assert names_defined("def f(): return df\ndel df", {"df"}).passed


def test_a_name_of_the_suffix_counts_only_behind_it():
    suffix = "\nby_shop = sales.groupby('shop')"
    assert names_defined("sales['revenue'] = sales.units\nprint(by_shop)" + suffix, {"sales"}).names == ("by_shop",)
    assert names_defined("sales['revenue'] = sales.units" + suffix + "\nprint(by_shop)", {"sales"}).passed


def test_magics_that_may_define_names_leave_it_open():
    assert names_defined("%matplotlib inline\n!ls\n%timeit 1\nones(3)", set()).names == ("ones",)
    assert names_defined("%pylab\nones(3)", set()).passed is None
    assert names_defined("x = %sql select 1\nx, y", set()).passed is None
    assert names_defined("'''\n%run other\n'''\nones(3)", set()).names == ("ones",)
    assert names_defined("ones(3)\n%run other.ipynb", set()).names == ("ones",)


def test_names_are_told_in_the_order_of_the_lines():
    check = names_defined("def f(): return later\nnp.mean(df)\nnp.sum(early)\nearly = 1", set())
    assert check.names == ("later", "np", "df", "early")
    assert check.detail == "undefined: later, np, df, early"


def test_what_is_deleted_or_changed_is_not_bound():
    assert bound_names("del df") == frozenset()
    assert bound_names("total += 1") == frozenset()
    assert bound_names("x = 1\nimport a.b\ndef f(): global z; z = 1") == {"x", "a", "f", "z"}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python reads type parameters from 3.12 on")
def test_type_parameters_are_known():
    text = "def f[T](x: T) -> T: return x\nclass A[U](list[U]):\n    y: U\ntype B = Later\nLater = int\nB"
    assert names_defined(text, set()).passed
    assert names_defined("class A[U](Base[U]): pass\nBase = list", set()).names == ("Base",)


# Programs of a few names. Loops are not over nothing, which is the one thing that is not thought of.
NAME = st.sampled_from("abc")
VALUE = st.recursive(
    st.one_of(NAME, st.sampled_from(["0", "1"])),
    lambda inner: st.one_of(
        st.builds("[{} for {} in [0, 1]]".format, inner, NAME),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} := {})".format, NAME, inner),
        st.builds("(lambda: {})".format, inner),
        st.builds("list({} for {} in [0])".format, inner, NAME),
    ),
    max_leaves=3,
)


def indented(text):
    return "\n".join("    " + line for line in text.split("\n"))


def statements(inner):
    block = st.lists(inner, min_size=1, max_size=3).map("\n".join).map(indented)
    return st.one_of(
        st.builds("if {}:\n{}".format, VALUE, block),
        st.builds("if {}:\n{}\nelse:\n{}".format, VALUE, block, block),
        st.builds("for {} in [0, 1]:\n{}".format, NAME, block),
        st.builds("for {} in [0, 1]:\n{}\n    break\nelse:\n{}".format, NAME, block, block),
        st.builds("while True:\n{}\n    break".format, block),
        st.builds("try:\n{}\nexcept {}:\n{}".format, block, st.sampled_from(["NameError", "KeyError as a"]), block),
        st.builds("try:\n    1 / 0\nexcept ZeroDivisionError as b:\n{}\nfinally:\n{}".format, block, block),
        st.builds("def {}():\n{}".format, NAME, block),
        st.builds("def {}(x={}):\n    global b\n{}".format, NAME, NAME, block),
        st.builds("class {}:\n{}".format, NAME, block),
        st.builds("match {}:\n    case 0 as {}:\n{}".format, VALUE, NAME, block.map(indented)),
    )


SIMPLE = st.one_of(
    st.builds("{} = {}".format, NAME, VALUE),
    st.builds("{} += 1".format, NAME),
    st.builds("{}: int".format, NAME),
    st.builds("{}: int = {}".format, NAME, VALUE),
    st.builds("del {}".format, NAME),
    st.builds("str({})".format, VALUE),
    st.builds("import json as {}".format, NAME),
    st.builds("{}()".format, NAME),
)
PROGRAM = st.lists(st.recursive(SIMPLE, statements, max_leaves=6), min_size=1, max_size=5).map("\n".join)


@settings(max_examples=500, deadline=None)
@given(PROGRAM)
def test_what_runs_is_never_accused_of_its_order(text):
    """A name that is bound somewhere is accused only of its order: then Python has to stop at a NameError."""
    if not parses(text).passed:
        return
    accused = set(names_defined(text, set()).names) & bound_names(text)
    assert not accused or error_of(text) is not None, accused  # another error may come first


NOTEBOOKS = DATA.parent / "real-notebooks"
# Functions that use what only a later cell defines; they are called behind it.
COMPLETED_LATER = {
    "02_end_to_end_machine_learning_project": "plt",
    "extra_gradient_descent_comparison": "learning_schedule, learning_schedule",
}


@pytest.mark.skipif(not NOTEBOOKS.is_dir(), reason="needs notebooks by other people")
@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_cell_of_a_real_notebook_is_accused(path):
    read = json.loads(path.read_text("utf-8"))["cells"]
    cells = ["".join(cell["source"]) for cell in read if cell["cell_type"] == "code"]
    everywhere = frozenset().union(*map(bound_names, cells))
    known, accused = frozenset(), []
    for text in cells:
        assert names_defined(text, everywhere).names == ()
        accused += names_defined(text, known).names
        known |= bound_names(text)
    assert ", ".join(accused) == COMPLETED_LATER.get(path.stem, "")


def test_what_python_has_is_defined():
    assert names_defined("\n".join(name for name in dir(builtins) if name != "None"), set()).passed
