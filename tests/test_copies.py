"""Answers that say again what stands elsewhere."""

import pytest

from fim_magic.document import parse
from fim_magic.trimming import Hole, copied_from, copies

ACCOUNT = """class Account:
    def deposit(self, amount):
        self.balance += amount
        self.log.append(amount)

    def withdraw(self, amount):
        <cursor>

    def __repr__(self):
        return f"Account({self.owner!r}, {self.balance})"
"""
HELLO = 'def hello(name):\n    print(<游標在這>)\n\ndef goodbye(name):\n    print(f"再見，{name}，下次再來！")\n'
SHOWN = (
    "import numpy as np\nmatrix = np.arange(12)\nz = np.zeros(matrix)\n\n# matrix: ndarray, shape (12,), dtype int64\n"
)


def place_of(text, middle):
    return copied_from(Hole(parse(text), shown=SHOWN), middle)


@pytest.mark.parametrize(
    ("text", "middle", "place"),
    [
        (ACCOUNT, 'return f"Account({self.owner!r}, {self.balance})"', "suffix"),
        (ACCOUNT, "self.balance += amount", "prefix"),
        (ACCOUNT, "self.balance -= amount", ""),
        (ACCOUNT, "pass", ""),
        (HELLO, 'f"再見，{name}，下次再來！"', "suffix"),
        (HELLO, 'f"你好，{name}！"', ""),
        ("<cursor>\nx", "matrix = np.arange(12)", "context"),
        ("<cursor>\nx", "# matrix: ndarray, shape (12,), dtype int64", "context"),
        ("y = <cursor>", "np.arange(12)", "context"),
        ("y = <cursor>", "matrix", ""),
        ("y = <cursor>", "np.arange(13)", ""),
        ("y = <cursor>", "", ""),
        ("plot(x)\nplt.<cursor>", "plt.show()", "prefix"),
        ("y = f(plt.<cursor>", "plt.show())", "prefix"),
        ("counts = <cursor>", "counts = 1", "prefix"),
        ("plt.<cursor>", "plot(plt.x)", ""),
        ("x = <cursor>", "x + 1", ""),
        ("1.<cursor>", "1.5", ""),
    ],
)
def test_where_a_copy_stands_already(text, middle, place):
    assert place_of(text, middle) == place


def kept(text, answer, *, final=False):
    at = copies(Hole(parse(text), shown=SHOWN), answer, final)
    return None if at is None else answer[:at]


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        pytest.param(
            "<cursor>\nx",
            "y = 1\ndef f():\n    import numpy as np\n    matrix = np.arange(12)\n    z = np.zeros(matrix)\n",
            "y = 1",
            id="with the line that opens their block",
        ),
        pytest.param(
            ACCOUNT,
            "check()\n        def deposit(self, amount):\n        self.balance += amount\n        self.log.append(amount)\n",
            "check()",
            id="three lines of the prefix",
        ),
        pytest.param(
            ACCOUNT,
            "check()\n        self.balance += amount\n        self.log.append(amount)\n",
            None,
            id="two may be meant",
        ),
        pytest.param(
            "<cursor>\nx",
            "y = 1\n# matrix: ndarray, shape (12,), dtype int64\n",
            "y = 1",
            id="a description of the context's",
        ),
        pytest.param("<cursor>\nx", "y = 1\n# matrix: ndarray, shape (12,)\n", None, id="a comment of its own"),
        pytest.param(
            "<cursor>\nx",
            "y = 1\nimport numpy as np\nmatrix = np.arange(12)\nz = np.zeros(matrix)\n",
            "y = 1",
            id="of a cell",
        ),
        pytest.param(
            "<cursor>\nx",
            "import numpy as np\nmatrix = np.arange(12)\nz = np.zeros(matrix)\n",
            None,
            id="nothing would be left",
        ),
    ],
)
def test_an_answer_ends_before_lines_that_are_copied(text, answer, expected):
    assert kept(text, answer) == expected


REPR = 'return f"Account({self.owner!r}, {self.balance})"'
AREA = "def double(x):\n    <cursor>\n\ndef area(radius):\n    return 3.14159 * radius ** 2 + offset\n"


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        pytest.param(ACCOUNT, f"self.balance -= amount\n        {REPR}", "self.balance -= amount", id="of a method"),
        pytest.param(
            AREA,
            "y = 2 * x\n    print(y)\n    return 3.14159 * radius ** 2 + offset",
            "y = 2 * x\n    print(y)",
            id="last",
        ),
        pytest.param(ACCOUNT, REPR, None, id="nothing would be left"),
        pytest.param(ACCOUNT, "x = 1\n        return self.balance", None, id="not the same"),
        pytest.param(
            ACCOUNT.replace(REPR, "return self.balance"), "x = 1\n        return self.balance", None, id="a short line"
        ),
        pytest.param(
            "def f(x):\n    <cursor>\n    return transform(x, axis=0, keep=True)\n",
            "if x:\n        return transform(x, axis=0, keep=True)",
            None,
            id="of the same function",
        ),
        pytest.param(
            "<cursor>\n\ndef f(x):\n    return transform(x, axis=0, keep=True)\n",
            "x = 1\ny = transform(x, axis=0, keep=True)",
            None,
            id="outside functions",
        ),
    ],
)
def test_in_a_function_one_long_line_of_a_later_one_is_a_copy(text, answer, expected):
    assert kept(text, answer, final=True) == expected
    assert kept(text, answer) is None


def test_a_line_without_which_the_function_lacks_something_stays():
    document = parse(AREA)
    hole = Hole(document, suffices=lambda middle: "return" in middle)
    assert copies(hole, "y = 2 * x\n    return 3.14159 * radius ** 2 + offset", True) is None
