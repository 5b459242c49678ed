"""What is said of a candidate's checks, beside the diff and below it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from fim_magic.candidate import Candidate, Check, Ending
from fim_magic.review.checks import failures, has_failed, list_html, passes, score, tally, unknowns, verdicts

PARSES = Check("parses", True)
MEAN = Check("mean([1, 3]) == 2", True, "passed")
NAMES = Check("names", False, "nothing defines totl")
UNKNOWN = Check("test", None, "it took more than 2 s")
EVIL = "<script>x</script>\x1b[31m\u202e"


def candidate(*checks, **more):
    return Candidate("a", Ending.STOP_TOKEN, checks=checks, **more)


class Reader(HTMLParser):
    """The text of some HTML as a screen reader reads it, an item a line."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.lines, self._hidden = [], [], False
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._hidden = ("aria-hidden", "true") in attributes
        if tag in ("summary", "li"):
            self.lines.append("")

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, text):
        if not self._hidden:
            self.lines[-1] += text


@pytest.mark.parametrize(
    ("one", "said"),
    [
        pytest.param(Check("parses", False, "SyntaxError: invalid syntax in line 3"), "does not parse: line 3"),
        pytest.param(
            Check("parses", False, "SyntaxError: unterminated string (detected at line 2) in line 12"),
            "does not parse: line 12",
        ),
        pytest.param(
            Check("parses", False, "not Python source: null bytes"), "does not parse: not Python source: null bytes"
        ),
        pytest.param(Check("parses", False), "does not parse"),
        pytest.param(Check("names", False, "undefined: Counter"), "Counter is not defined"),
        pytest.param(Check("names", False, "undefined: np, pd"), "np, pd are not defined"),
        pytest.param(Check("names", False, "undefined: totl; adds import re"), "totl is not defined"),
        pytest.param(Check("names", False, "undefined: a; adds import b", names=("a",)), "a is not defined"),
        pytest.param(Check("names", False, "Counter is not imported"), "Counter is not imported"),
        pytest.param(
            Check("mean([1]) == 1", False, "mean([1]) == 1 gave 2"),
            "your check failed: mean([1]) == 1",
            id="expression",
        ),
        pytest.param(Check("test", False, "AssertionError"), "your test failed: AssertionError"),
        pytest.param(
            Check("doctests", False, "1 of 2 doctests: f(1) gave 2"),
            "passes 1 of 2 doctests: f(1) gave 2",
            id="doctests",
        ),
        pytest.param(Check("doctests", False, "NameError: x"), "doctests failed: NameError: x", id="no doctest"),
        pytest.param(Check("a\x1b[31m", False), "your check failed: a<U+001B>[31m", id="control characters"),
    ],
)
def test_a_failure_is_said_in_words(one, said):
    assert failures([PARSES, one, UNKNOWN]) == [said]
    assert passes([one]) == ""


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        ([], ""),
        ([PARSES, Check("names", True)], "parses, names known"),
        ([PARSES, MEAN], "parses, your check passes"),
        ([PARSES, MEAN, Check("test", True), Check("doctests", True)], "parses, doctests pass, your 2 checks pass"),
        ([PARSES, UNKNOWN], "parses"),
    ],
)
def test_what_passed_is_said_in_words(checks, said):
    assert passes(checks) == said
    assert failures(checks) == []


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (Check("parses", None, "not Python"), "not checked: not Python"),
        (Check("names", None, "cannot tell where x may come from"), "cannot tell where x may come from"),
        (UNKNOWN, "your test not known: it took more than 2 s"),
        (Check("x == 1", None, "not reached"), "your check not known: not reached"),
    ],
)
def test_what_could_not_be_found_out_is_said_in_words(one, said):
    assert unknowns([PARSES, one, NAMES]) == [said]


def test_the_list_is_read_in_words():
    checks = [PARSES, MEAN, NAMES, UNKNOWN]
    read = Reader(list_html(checks))
    assert read.lines == [
        "passed: parses",
        "passed: mean([1, 3]) == 2",
        "failed: names (nothing defines totl)",
        "not known: test (it took more than 2 s)",
    ]
    assert list(verdicts(checks)) == read.lines
    assert score(checks) == "2 of 4 passed"
    assert set(read.tags) == {"ul", "li", "span", "b"}
    assert list_html([]) == ""


def test_what_a_check_says_stays_text():
    html = list_html([Check(EVIL, False, EVIL)])
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert Reader(html).lines[0].count("<script>x</script><U+001B>[31m<U+202E>") == 2


def test_only_a_check_that_failed_is_a_failure():
    assert has_failed(candidate(PARSES, NAMES))
    assert not has_failed(candidate(PARSES, UNKNOWN))
    assert not has_failed(candidate())


def test_a_tally_for_a_table():
    assert [tally(each) for each in ([True, True], [True, False, None], [])] == ["2/2", "1/3", ""]


def test_an_import_that_is_added_is_said():
    assert passes([Check("parses", True), Check("names", True, "adds import re")]) == "parses, adds import re"
