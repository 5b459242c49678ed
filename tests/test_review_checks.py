"""What is said of a candidate's checks, beside the diff and below it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from fim_magic.candidate import Candidate, Check, Ending
from fim_magic.review.checks import findings, has_failed, list_html, tally

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
        pytest.param(candidate(), [], id="nothing"),
        pytest.param(candidate(PARSES, MEAN), ["checks: 2 of 2"], id="all is well"),
        pytest.param(
            candidate(PARSES, NAMES), ["checks: 1 of 2; ✗ failed: names (nothing defines totl)"], id="one failed"
        ),
        pytest.param(
            candidate(UNKNOWN, NAMES, PARSES),
            ["checks: 1 of 3; ✗ failed: names (nothing defines totl); ? not known: test (it took more than 2 s)"],
            id="failed before not known",
        ),
        pytest.param(
            candidate(Check("a", False), Check("b", False, "failed"), Check("c", False), Check("d", None)),
            ["checks: 0 of 4; ✗ failed: a; ✗ failed: b; and 2 more"],
            id="many",
        ),
        pytest.param(
            candidate(PARSES, same=3, reason="it passes all checks"),
            ["checks: 1 of 1", "3 answers say the same", "it passes all checks"],
            id="agreement and reason",
        ),
        pytest.param(candidate(reason="a\x1b[31m"), ["a<U+001B>[31m"], id="control characters"),
    ],
)
def test_what_is_said_beside_the_diff(one, said):
    assert list(findings(one)) == said


def test_a_long_expression_is_cut_beside_the_diff_and_whole_below_it():
    long = Check("f(" + "1, " * 60 + ") == 2", False, "it is 3")
    (said,) = findings(candidate(long))
    assert len(said) < 100
    assert said.endswith("…")
    assert Reader(list_html([long])).lines[1] == f"failed: {long.name} (it is 3)"


def test_the_list_below_is_read_in_words():
    read = Reader(list_html([PARSES, MEAN, NAMES, UNKNOWN]))
    assert read.lines == [
        "Checks: 2 of 4 passed",
        "passed: parses",
        "passed: mean([1, 3]) == 2",
        "failed: names (nothing defines totl)",
        "not known: test (it took more than 2 s)",
    ]
    assert set(read.tags) == {"details", "summary", "small", "ul", "li", "span", "b"}
    assert list_html([]) == ""


def test_what_a_check_says_stays_text():
    html = list_html([Check(EVIL, False, EVIL)])
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert Reader(html).lines[1].count("<script>x</script><U+001B>[31m<U+202E>") == 2


def test_only_a_check_that_failed_is_a_failure():
    assert has_failed(candidate(PARSES, NAMES))
    assert not has_failed(candidate(PARSES, UNKNOWN))
    assert not has_failed(candidate())


def test_a_tally_for_a_table():
    assert [tally(each) for each in ([True, True], [True, False, None], [])] == ["2/2", "1/3", ""]
