"""Examples in docstrings, as people write them."""

from __future__ import annotations

import ast

import pytest

from fim_magic.examples import examples_in


def found(docstring, name="f"):
    tree = ast.parse(f"def {name}(x, y=0):\n    pass\n")
    tree.body[0].body.insert(0, ast.Expr(ast.Constant(docstring)))
    return [(each.source.strip(), each.want.strip()) for group in examples_in(tree) for each in group]


@pytest.mark.parametrize(
    ("docstring", "example"),
    [
        (">>> f(1)\n2", ("f(1)", "2")),
        (">>>f(1)\n2", ("f(1)", "2")),
        (">>> f(1) == 2", ("f(1) == 2", "True")),
        (">>> x = 1", ("x = 1", "")),
        ("f(1) == 2", ("f(1) == 2", "True")),
        ("f(1) = 2", ("f(1) == 2", "True")),
        ("f(1) -> 2", ("f(1) == 2", "True")),
        ("f(1) => 2", ("f(1) == 2", "True")),
        ("f(1) ==> 2", ("f(1) == 2", "True")),
        ("f(1) ➞ 2", ("f(1) == 2", "True")),
        ("f(1) returns 2.", ("f(1) == 2", "True")),
        ("f(1) should be 2", ("f(1) == 2", "True")),
        ("f(1) == 2, f(2) -> 3", ("f(1) == 2", "True")),
        ("* f('hi') returns 'lm'", ("f('hi') == 'lm'", "True")),
        ("1. f(1) -> 2", ("f(1) == 2", "True")),
        ("`f(1)` is `2`", ("f(1) == 2", "True")),
        ("f(1) -> 2  # since one and one", ("f(1) == 2", "True")),
        ("f(1) -> [1, 2] (in this order)", ("f(1) == [1, 2]", "True")),
        ("f([1, 2], y=-3) -> {'a': None}", ("f([1, 2], y=-3) == {'a': None}", "True")),
        ("f('游標') == '標'", ("f('游標') == '標'", "True")),
        ('f("a == b") -> True', ("f('a == b') == True", "True")),
    ],
)
def test_what_is_an_example(docstring, example):
    assert found(docstring) == [example]


@pytest.mark.parametrize(
    "docstring",
    [
        "",
        "f(x) returns x + 1",
        "f(x) == 2",
        "f(1) -> x",
        "f(1) = f(0) + 1",
        "f(1) -> 2 + 3",
        "f(1) == 2 == g",
        "g(1) == 2",
        "len([1]) == 1",
        "o.f(1) == 2",
        "x == 2",
        "f(1) raises ValueError",
        "f(__import__('os')) -> 2",
        "f(1) -> 2 - 3",
        "(" * 500 + "f(1) == 2",
        "f(1) -> " + "[" * 5000,
    ],
)
def test_what_is_none(docstring):
    assert found(docstring) == []


def test_doctests_are_not_mixed_with_what_stands_around_them():
    assert found("f(0) -> 7\n\n>>> f(1)\n2\n") == [("f(1)", "2")]


def test_an_example_that_is_to_be_skipped_is_skipped():
    assert found(">>> f(1)  # doctest: +SKIP\n2\n") == []


def test_each_docstring_has_its_own():
    tree = ast.parse('"""f(1) -> 2"""\nclass A:\n    """>>> 1\n    1\n    """\n\nasync def f(x):\n    "no example"\n')
    assert [[each.source for each in group] for group in examples_in(tree)] == [["f(1) == 2\n"], ["1\n"]]
