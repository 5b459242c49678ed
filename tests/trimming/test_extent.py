"""How much of an answer a hole asks for."""

import ast

import pytest
from hypothesis import given
from test_trimming import PIECES, PREFIXES

from fim_magic.checks.sufficiency import Sufficiency
from fim_magic.checks.vain import ends_in_vain
from fim_magic.document import Document, parse
from fim_magic.trimming import Hole, last_whole, says_nothing, statement_count, trim
from fim_magic.trimming.enough import enough
from fim_magic.trimming.extent import Extent, extent_of
from fim_magic.trimming.only_comments import only_comments


def hole_in(text, *, least=1, known=(), short=False):
    document = parse(text)
    suffices = Sufficiency(document, frozenset(known))
    return Hole(document, least_statements=least, suffices=suffices, is_short=short)


def kept(text, answer, *, final=False, **options):
    at = enough(hole_in(text, **options), answer, final)
    return None if at is None else answer[:at]


@pytest.mark.parametrize(
    ("text", "extent"),
    [
        ("x = <cursor>\nprint(x)", Extent.LINE),
        ("ax.<cursor>\nax.set_title('t')", Extent.LINE),
        ("x = 1\n<cursor>\nprint(y)", Extent.STATEMENT),
        ("x = 1\n<cursor>", Extent.STATEMENT),
        ("def f(x):\n    <cursor>\n\nf(1)", Extent.BODY),
        ('def f(x):\n    """Say what."""\n    <cursor>', Extent.BODY),
        ("def f(x):\n    <cursor>\n    return y", Extent.STATEMENT),
        ("for x in xs:\n    <cursor>\nprint(xs)", Extent.BODY),
        ("for x in xs:\n    <cursor>\n    print(y)", Extent.STATEMENT),
        ("class A:\n    def f(self):\n        <cursor>\n\n    def g(self):\n        pass", Extent.BODY),
        ("<cursor>", Extent.PARAGRAPH),
        ("x = 1\n\n# the mean and the median\n<cursor>", Extent.PARAGRAPH),
        ("x = 1\n\n# the mean and the median\n<cursor>\nprint(mean)", Extent.STATEMENT),
    ],
)
def test_what_a_hole_asks_for(text, extent):
    assert extent_of(hole_in(text)) is extent


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        pytest.param("x = <cursor>\nprint(x)", "a * b\nprint(x)\n", "a * b", id="the rest of a line"),
        pytest.param("x = <cursor>\nprint(x)", "a * b", None, id="which has not ended"),
        pytest.param(
            "x = <cursor>\nprint(x)", "f(\n  a,\n  b,\n)\ny = 2\n", "f(\n  a,\n  b,\n)", id="its logical line"
        ),
        pytest.param("x = <cursor>\nprint(x)", "a + \\\n  b\ny = 2\n", "a + \\\n  b", id="with a backslash"),
        pytest.param("x = <cursor>\nprint(x)", "a  # the sum\ny = 2\n", "a", id="without a comment behind it"),
        pytest.param("x = <cursor>\n# so\n", '"#1"  # no\ny = 2\n', '"#1"', id="but with a # in a string"),
        pytest.param("if <cursor>\n    y = 1", "x > 1:\n        z\n", "x > 1:", id="a line whose block is there"),
        pytest.param(
            "if <cursor>\nz = 2", "x:\n    y = 1\n    w = 2\nz = 2\n", "x:\n    y = 1\n    w = 2", id="or not"
        ),
        pytest.param(
            "if <cursor>\nz = 2",
            "x:\n    y = 1\nelse:\n    y = 2\nz = 3\n",
            "x:\n    y = 1\nelse:\n    y = 2",
            id="with its other branch",
        ),
        pytest.param("x = 1\n<cursor>\nprint(x)", "y = 2\nz = 3\n", "y = 2", id="one statement"),
        pytest.param("x = 1\n<cursor>\nprint(z)", "y = 2\nz = 3\nw = 4\n", "y = 2\nz = 3", id="until a name is there"),
        pytest.param(
            "xs = [1]\n<cursor>\nprint(total / n)",
            "total = sum(xs)\nn = len(xs)\nm = 0\n",
            "total = sum(xs)\nn = len(xs)",
            id="until two are",
        ),
        pytest.param(
            "def f(x: int) -> int:\n    y = x\n    <cursor>",
            "y += 1\n    return y\n    # so",
            "y += 1\n    return y",
            id="until a function returns what it says it does",
        ),
        pytest.param(
            "def f(x: int) -> None:\n    y = x\n    <cursor>", "y += 1\n    print(y)\n", "y += 1", id="if it says so"
        ),
        pytest.param(
            "def f(x):\n    if not x:\n        return 0\n    <cursor>",
            "y = x + 1\n    return y\n",
            "y = x + 1\n    return y",
            id="or has returned something before",
        ),
        pytest.param(
            "xs = [\n    1,\n    <cursor>\n    3,\n]", "2,\n    4,\n    5,\n", "2,", id="a line within brackets"
        ),
        pytest.param("# the <cursor>\nx = 1", "sum of it\nx = 2\n", "sum of it", id="the rest of a comment"),
        pytest.param('s = """\n<cursor>\n"""', "one\ntwo\n", None, id="not within a string"),
        pytest.param("%%bash\n<cursor>", "ls\nls\n", None, id="nor in another language"),
        pytest.param(
            "def mean(xs):\n    <cursor>\n    return total / len(xs)",
            "total = 0\n    for x in xs:\n        total += x\n",
            None,
            id="a function that goes on may lack more",
        ),
        pytest.param(
            "def f(xs):\n    <cursor>\n    return xs",
            "a = 1\n    b = 1\n    c = 1\n    d = 1\n    e = 1\n",
            "a = 1\n    b = 1\n    c = 1\n    d = 1",
            id="but not for ever",
        ),
        pytest.param("def f(x):\n    <cursor>\n\nf(1)", "y = x\n    return y\n", None, id="a body is for other rules"),
        pytest.param("@<cursor>\ndef f():\n    pass", "cache\ndef g():\n", "cache", id="a decorator in its line"),
        pytest.param(
            "import re\n\n# helpers\n<cursor>",
            "@cache\ndef f(x):\n    return x\n\ny = 1\n",
            "@cache\ndef f(x):\n    return x",
            id="what is decorated goes with its decorator",
        ),
    ],
)
def test_an_answer_ends_where_the_hole_has_what_it_asks_for(text, answer, expected):
    assert kept(text, answer) == expected


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        pytest.param("# the mean\n<cursor>", "m = 1\nn = 2\n", "m = 1", id="a statement, and no paragraph"),
        pytest.param(
            "def f(xs):\n    a = 0\n    <cursor>\n    return a",
            "for x in xs:\n        a += x\n    b = 1\n",
            "for x in xs:\n        a += x",
            id="the block that a line opens",
        ),
        pytest.param("a = <cursor>\nb = 1", "f(\n    1,\n)\nc = 2\n", "f(\n    1,\n)", id="up to its last bracket"),
        pytest.param("a = <cursor> + 1\n", "sum(x\n    for x in xs)", "sum(x", id="one line where something follows"),
        pytest.param("<cursor>print(x)\n", "x = 1\ny = 2\n", "x = 1", id="one line before code"),
        pytest.param("def f():\n    <cursor>\n\nf()", "a = 1\n    return a\n", None, id="a body is for other rules"),
        pytest.param("s = 'a <cursor>'", "b\nc", "b", id="in a string"),
    ],
)
def test_a_short_answer_is_one_statement_or_what_one_opens(text, answer, expected):
    assert kept(text, answer, short=True) == expected
    assert kept(text, answer, short=True, least=None) == expected


def test_a_paragraph_ends_at_a_blank_line():
    text = "x = 1\n# the mean\n<cursor>"
    assert kept(text, "m = 1\nn = 2\n\nz = 3\n") == "m = 1\nn = 2"
    assert kept(text, "m = 1\nn = 2\n") is None
    assert kept(text, "m = 1\nn = 2", final=True) is None


def test_more_statements_come_where_more_are_asked_for():
    answer = "a = 1\nb = 2\nc = 3\nd = 4\n"
    assert kept("<cursor>\nprint()", answer, least=2) == "a = 1\nb = 2"
    assert kept("x = <cursor>\nprint()", "1\nb = 2\nc = 3\n", least=2) == "1\nb = 2"


def test_where_nothing_suffices_the_first_end_has_to_do():
    assert kept("a = <cursor>\nprint(zz", "1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6\n") == "1"
    assert kept("<cursor>\nprint(never)", "a = 1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6\n") == "a = 1"


def test_what_goes_on_from_left_to_right_is_as_long_as_it_is():
    assert trim(Hole(parse("x = <cursor>")), "1\ny = 2\n", final=False) is None


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("<cursor>", "a = 1\nb = f(", "a = 1"),
        ("<cursor>", "a = 1\nfor x in xs:\n", "a = 1"),
        ("<cursor>", "a = 1\nb = f(1,\n  2", "a = 1"),
        ("<cursor>", "a = f(1,\n  2", None),
        ("%%bash\n<cursor>", "ls\necho", "ls"),
        ('"""<cursor>"""', "ls\necho", None),
    ],
)
def test_an_answer_that_the_token_limit_cuts_goes_back_to_its_last_whole_statement(text, answer, expected):
    at = last_whole(hole_in(text), answer)
    assert (None if at is None else answer[:at]) == expected


@pytest.mark.parametrize(
    ("text", "middle", "nothing"),
    [
        ("x = 1\n<cursor>\ny", "# PCA", True),
        ("x = 1\n<cursor>\ny", "", True),
        ("x = 1\n<cursor>\ny", "z = 1  # PCA", False),
        ("# what <cursor>", "it is", False),
        ("f(<cursor>)", "", True),
        ('"""<cursor>"""', "# heading", False),
    ],
)
def test_an_answer_without_code_says_nothing(text, middle, nothing):
    assert says_nothing(hole_in(text), middle) is nothing


@given(prefix=PREFIXES, suffix=PIECES, text=PIECES, more=PIECES)
def test_more_text_does_not_move_the_end(prefix, suffix, text, more):
    document = Document(prefix, suffix)
    hole = Hole(document, least_statements=1, suffices=Sufficiency(document))
    at = enough(hole, text, False)
    if at is not None and text[-1:] not in tuple("'\"\\!"):
        assert enough(hole, text + more, False) == at


@pytest.mark.parametrize(
    ("text", "answer", "lines", "expected"),
    [
        ("x = 1\n<cursor>\nprint(y)", "y = 1\nz = 2\nw = 3\n", 2, "y = 1\nz = 2"),
        ("x = <cursor>\nprint(x)", "1\ny = 2\nz = 3\n", 2, "1\ny = 2"),
        ("%%js\nlet x = 1;\nlet y = <cursor>\n", "f(x);\nlet z = {\n  a: 1,\n};\nlet w = 2;\n", 1, "f(x);"),
        (
            "%%js\nlet x = 1;\nlet y = <cursor>\n",
            "f(x);\nlet z = {\n  a: 1,\n};\nlet w = 2;\n",
            2,
            "f(x);\nlet z = {\n  a: 1,\n};",
        ),
    ],
)
def test_an_answer_has_as_many_statements_as_are_asked_for(text, answer, lines, expected):
    hole = hole_in(text, least=lines)
    cut = trim(hole, answer, final=False)
    assert answer[: cut.at] == expected
    assert statement_count(hole, expected) == lines


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("x = 1\n<cursor>\nprint(y)", "# 平均\ny = 1\n", 0),
        ("<cursor>", "\n# Load the data\nimport csv\n", 0),
        ("for x in xs:\n    <cursor>\n    f(x)\n", "# each\n    x += 1", 0),
        ("x = 1\n<cursor>\nprint(y)", "y = 1  # one\n", None),
        ("def f(x):\n    <cursor>\n\nf(1)", "# each\n    return x", None),  # a body
        ("# the <cursor>\nx = 1", "# sum", None),
        ("x = <cursor>\n", "# TODO", None),
        ("%%bash\n<cursor>\nls", "# list", None),
        ('"""\n<cursor>\n"""\n', "# a heading", None),
    ],
)
def test_an_answer_that_begins_with_a_comment_has_no_code_yet(text, answer, expected):
    assert only_comments(hole_in(text), answer, False) == expected
    assert only_comments(Hole(parse(text)), answer, False) is None  # nothing is known of what is asked for


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("y = 1\n\nz = 2\n\nprint(z)\n```\nwords\n", "y = 1"),  # w is wanted, and none of these has it
        ("y = 1\nw = 2\n```\nwords\n", "y = 1\nw = 2"),
    ],
)
def test_what_another_rule_has_ended_ends_where_it_had_enough(answer, expected):
    hole = hole_in("x = 1\n<cursor>\nprint(w)\n")
    for final in (False, True):
        assert answer[: trim(hole, answer, final=final).at] == expected


@pytest.mark.parametrize(
    ("middle", "enough_"),
    [
        ("    total = 0", False),
        ("    a, b = 1, 2", False),
        ("    total = 0\n    return total", True),
        ("    xs.total = 0", True),
        ("    xs[0], a = 1, 2", True),
        ("    global total\n    total = 0", True),
        ("    print(xs)", True),
        ("    for x in xs:\n        total = x", False),
        ("    for x in xs:\n        print(x)", True),
    ],
)
def test_a_function_does_not_end_by_giving_a_name_a_value(middle, enough_):
    for suffix in ("\n", "\n\nprint(f([1]))\n"):
        assert Sufficiency(Document('def f(xs):\n    """Say what."""\n', suffix))(middle) is enough_
    assert Sufficiency(Document("def f(xs):\n    y = 1\n", "\n    return y\n"))(middle)


@pytest.mark.parametrize(
    ("body", "is_in_vain"),
    [
        ("    ys = []\n    for x in xs:\n        ys.append(x)\n", True),
        ("    n = 0\n    for x in xs:\n        if x > 0:\n            n += 1\n", True),
        ("    n, ys = 0, []\n    while n < 3:\n        n += 1\n        ys += [n]\n", True),
        ("    d = {}\n    for x in xs:\n        d[x] = d.get(x, 0) + 1\n", True),
        ("    counts = defaultdict(int)\n    for x in xs:\n        counts[x] += 1\n", True),
        ("    ys = []\n    for x in xs:\n        ys.append(x)\n    return ys\n", False),
        ("    for x in xs:\n        print(x)\n", False),
        ("    for x in xs:\n        xs[x] = 1\n", False),
        ("    xs += [1]\n", False),
        ("    for x in xs:\n        x.balance = 1\n", False),
        ("    ys = []\n    xs.ys = ys\n    for x in xs:\n        ys.append(x)\n", False),
        ("    ys = []\n    register(ys)\n    for x in xs:\n        ys.append(x)\n", False),
        ("    ys = []\n    xs.append(ys)\n    ys.append(1)\n", False),
        ("    for x in xs:\n        y = train(x)\n", False),
        ("    global n\n    n = 0\n", False),
        ("    global n\n    for x in xs:\n        n = x\n", False),
        ("    n = 0\n    def g():\n        return n\n    for x in xs:\n        n += 1\n", False),
        ("    pass\n", False),
        ("    for x in xs:\n        pass\n", False),
        ("    path = xs / 'o.txt'\n    path.write_text('a')\n", False),
        ("    diff = xs.a - xs.b\n    diff.plot()\n", False),
        ("    last = None\n    for x in xs:\n        last = x\n    last.next = 1\n", False),
        ("    if xs is None:\n        xs = []\n    xs.append(1)\n", False),
        ("    plt.figure()\n    _ = plt.hist(xs)\n", False),
        ("    n, bins, patches = plt.hist(xs)\n", False),
        ("    total = 0\n    while True:\n        value = yield total\n        total += value\n", False),
        ("    axes = [xs, xs]\n    axes[0].plot(1)\n", False),
        ("    models = {'a': A()}\n    models['a'].fit(xs)\n", False),
        ("    ys = []\n    self.d = {'a': ys}\n    ys.append(1)\n", False),
        ("    ys = []\n    self.ys: list = ys\n    ys.append(1)\n", False),
        ("    self.ys = ys = []\n    ys.append(1)\n", False),
        ("    n = 0\n    while xs.recv(10):\n        n += 1\n", False),
        ("    ys = []\n    for x in xs:\n        ys.append(read(x))\n", False),
        ("    total = sum(xs)\n", True),
        ("    words = text.split()\n", True),
    ],
)
def test_a_function_does_not_end_with_what_nothing_can_read(body, is_in_vain):
    (function,) = ast.parse(f"def f(xs):\n{body}").body
    assert ends_in_vain(function) is is_in_vain


def test_a_function_that_fills_a_list_goes_on_to_return_it():
    assert kept("def f(xs):\n    n = len(xs)\n\n<cursor>\n", FILLS + "    return ys\n\nprint(f([1]))\n") == (
        FILLS + "    return ys"
    )


FILLS = "    ys = []\n    for x in xs:\n        ys.append(x)\n\n"


@pytest.mark.parametrize(
    ("around", "middle"),
    [
        ("def f(x):\n    if not x:\n        return None\n<cursor>\n", "    y = str(x)\n    print(y)"),
        ("def f(x) -> int | None:\n<cursor>\n", "    if x:\n        return 1"),
        ("def f(x) -> Optional[int]:\n<cursor>\n", "    if x:\n        return 1"),
        ("def f(x) -> typing.NoReturn:\n<cursor>\n", "    raise_it(x)"),
        ("def f(x) -> int:\n<cursor>\n", "    print('usage')\n    sys.exit(2)"),
        (
            "def f(n) -> bool:\n<cursor>\n",
            "    for i in range(2, n):\n        if n % i == 0:\n            return False\n    else:\n        return True",
        ),
        ("async def f(xs):\n<cursor>\n", "    total = 0\n    for x in xs:\n        total += await x"),
    ],
)
def test_what_a_function_may_end_with_suffices(around, middle):
    document = parse(around)
    assert Sufficiency(document)(middle)


def test_a_value_is_still_missing_where_only_some_ways_return_one():
    assert not Sufficiency(parse("def f(x) -> int:\n<cursor>\n"))("    if x:\n        return 1")
    assert not Sufficiency(parse("def f(x):\n    if x:\n        return 1\n<cursor>\n"))("    print(x)")
