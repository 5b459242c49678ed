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
