"""A cell as Python: it is what IPython would make of it."""

from __future__ import annotations

import ast
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core import inputtransformer2
from IPython.core.inputtransformer2 import TransformerManager

from fim_magic.cell_text import python_of, tree_of

LINES = [
    *("x = 1", "x = (1 +", "if x:", "    y = x != 2", "\ty", "", "  ", "z = 5 % 2", "'''", "# a ? b", "%time x = 1"),
    *(
        "!ls",
        "x = !ls",
        "x?",
        "??x",
        ",f a b",
        ";f a",
        "/f a",
        "  /f a",
        ">>> x = 1",
        "... y",
        "In [1]: x",
        "   ...: y",
    ),
    *(
        "f(a,",
        "    b)",
        "x = $",
        "\\",
        "@f",
        "lambda: ...",
        "x: int",
        "游標 = 1",
        "a[0]?",
        "x = y?",
        "%%time",
        "x!",
        "...:",
    ),
]


def by_ipython(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TransformerManager().transform_cell(text)


@given(st.lists(st.sampled_from(LINES), max_size=5))
def test_what_ipython_would_not_change_is_not_given_to_it(lines):
    """It reads a cell token by token, and an answer is looked at as often as it grows by a statement."""
    text = "\n".join(lines)
    if tree_of(text) is not None or text.lstrip().startswith(("%%", "%time")) or "\n%time" in text:
        return  # Python, or read in a way of our own
    source = python_of(text)
    try:
        expected = by_ipython(text)
    except SyntaxError:
        expected = text
    assert source is not None
    found, by_it = tree_of(source), tree_of(expected)
    assert (found is None) == (by_it is None)
    if found is not None and by_it is not None:
        assert ast.dump(found) == ast.dump(by_it)


@pytest.mark.parametrize("text", ["x = (1 +", "if x != 1:", "def f(:\n    a\n", "x = $\n"])
def test_a_text_without_signs_of_ipython_is_left_as_it_is(text, monkeypatch):
    monkeypatch.setattr(inputtransformer2.TransformerManager, "transform_cell", None)
    assert python_of(text) == text
