"""How close an answer is to what the author wrote."""

from __future__ import annotations

import sys

import pytest

from fim_magic.document import Document
from fim_magic.errors import OptionError
from fim_magic.evaluate.own.closeness import closeness, echoes, ends_of_statements, similarity

PLOT = Document("import plotting\nax.", "\nax.set_title('Prices by name')\n")


def compared(canonical, answer, document=PLOT, **more):
    return closeness(document, canonical, answer, **{"kind": "rest", "statements": 1, **more})


def test_same_text_is_exact_but_for_blanks_at_ends():
    for answer in ("plot(xs)", "plot(xs)  ", "plot(xs)\n"):
        found = compared("plot(xs)", answer)
        assert found.exact
        assert found.similarity == 1.0
    assert not compared("plot(xs)", " plot(xs)").exact
    assert compared("a = 1 \nb = 2", "a = 1\nb = 2  \n", statements=2, kind="lines").exact


def test_answer_that_runs_on():
    found = compared("plot(xs)", "plot(xs)\nax.legend()\nplotting.show()")
    assert not found.exact
    assert found.exact_cut
    assert found.right_beginning
    assert found.too_long
    assert found.length == 36 / 8
    assert found.statements == 3
    assert found.parses


def test_wrong_answer():
    found = compared("plot(xs)", "scatter(xs")
    assert not any((found.exact, found.exact_cut, found.right_beginning, found.too_long))
    assert found.parses is False
    assert 0 < found.similarity < 1


def test_empty_answer():
    found = compared("plot(xs)", "")
    assert (found.similarity, found.length, found.statements) == (0.0, 0.0, 0)
    assert not found.right_beginning
    assert not found.exact_cut


def test_similarity_is_levenshtein_over_the_longer():
    assert similarity("kitten", "sitting") == pytest.approx(1 - 3 / 7)
    assert similarity("", "") == 1.0
    assert similarity("abc", "") == 0.0


def test_missing_library_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidfuzz.distance", None)
    with pytest.raises(OptionError, match=r"fim-magic\[eval\]"):
        similarity("a", "b")


def test_echo_is_a_line_that_stands_elsewhere():
    assert compared("plot(xs)", "plot(xs)\nax.set_title('Prices by name')").echoes_suffix
    assert compared("plot(xs)", "plot(xs)\nimport  plotting").echoes_prefix
    found = compared("plot(xs)", "plot(xs)\n# x2: ndarray, shape (3, 4)", context="# x2: ndarray, shape (3, 4)\n")
    assert found.echoes_context
    assert not any((found.echoes_prefix, found.echoes_suffix))


def test_no_echo_of_short_lines_and_of_what_the_author_repeats():
    document = Document("if a:\n    b()\nelse:\n    pass\n", "\nprint(alpha, omega)\n")
    assert not echoes(document, "other(b)", "else:", document.prefix)
    assert echoes(document, "other(b)", "print(alpha, omega)", document.suffix)
    assert not echoes(document, "x()\nprint(alpha, omega)", "y()\nprint(alpha, omega)", document.suffix)


def test_echo_of_a_part_of_a_line_counts_where_the_hole_is_one():
    document = Document("def hello():\n    print(", ")\n\ndef goodbye():\n    print('Goodbye, see you soon')\n")
    assert echoes(document, "'Hello there'", "'Goodbye, see you soon'", document.suffix)
    alone = Document("def hello():\n    ", "\n\nother = print('Goodbye, see you soon')\n")
    assert not echoes(alone, "print('Hello')", "print('Goodbye, see you soon')", alone.suffix)


def cut(document, answer, kind="lines"):
    ends = ends_of_statements(document, answer, kind)
    return [answer[start:end].strip() for start, end in zip([0, *ends], ends, strict=False)]


def test_statements_of_a_block():
    document = Document("def f(xs):\n    ", "\n")
    answer = (
        "total = 0\n    for x in xs:\n        total += x\n\n    else:\n        total = (1 +\n2)\n"
        "    # a comment\n    @cached\n    def g():\n        return 1\n    return total\nprint(f)\n"
    )
    assert cut(document, answer) == [
        "total = 0",
        "for x in xs:\n        total += x\n\n    else:\n        total = (1 +\n2)",
        "# a comment\n    @cached\n    def g():\n        return 1",
        "return total",
        "print(f)",
    ]


def test_statements_of_a_rest_and_of_arguments():
    assert cut(Document("x = f(", "\n"), "a,\n    b)\ny = 2", "rest") == ["a,\n    b)", "y = 2"]
    assert cut(Document("for ", "\n"), "x in xs:\n    print(x)\nprint(2)", "rest") == [
        "x in xs:\n    print(x)",
        "print(2)",
    ]
    assert cut(Document("x = f(", ")\n"), "a, g(b)) + h(c", "arguments") == ["a, g(b)"]
    assert cut(Document("x = f(", ")\n"), "a, g(b)", "arguments") == ["a, g(b)"]
    assert cut(Document("x = '''", "\n"), "a\nb'''\ny = 1", "rest") == ["a\nb'''", "y = 1"]
    assert cut(Document("x = 1 + \\\n  ", "\n"), "2 + \\\n3\ny = 1", "rest") == ["2 + \\\n3", "y = 1"]


def test_other_languages_count_lines():
    document = Document("function f() {\n  ", "\n}\n", language="no such language")
    found = compared("return 1;", "return 1;\n\n  // and so on", document, language="no such language")
    assert found.exact_cut
    assert found.statements == 2
    assert found.parses is None
