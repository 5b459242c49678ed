"""The column of the session's log that says what was checked."""

from __future__ import annotations

import pytest

from fim_magic.candidate import Candidate, Ending, Result
from fim_magic.columns import columns_of
from fim_magic.document import parse
from fim_magic.history import History
from fim_magic.provenance import decide, record
from fim_magic.reports.log import log
from fim_magic.request import Request


def entries(*passed, model="tiny", text="def f(x):\n    <cursor>\n"):
    """A log of one request, whose record has a candidate for each of `passed`: what became of its checks."""
    history = History()
    candidates = tuple(Candidate(str(at), Ending.STOP_TOKEN, None, (1,), (-0.5,)) for at in range(len(passed)))
    result = Result(parse(text), candidates, model, "", "fim", "psm", 9, 0, 0, None, 0.1, 1.25)
    told = record(result)
    for candidate, each in zip(told["candidates"], passed, strict=True):
        candidate["checks"] = [{"name": "parses", "passed": one, "said": ""} for one in each]
    history.add(Request(result.document), model, {}, result, told)
    return history.entries


@pytest.mark.parametrize(
    ("passed", "shown"), [([True, True, True], "3/3"), ([True, False], "1/2"), ([None, True], "1/2")]
)
def test_the_log_counts_the_checks_that_passed(passed, shown):
    heading, line = log(entries(passed)).splitlines()
    assert heading.split()[-3:] == ["logprob", "checks", "decided"]
    assert line.split()[-2:] == ["-0.50", shown]
    assert line.index(shown) + len(shown) == heading.index("checks") + len("checks")


def test_they_are_those_of_the_candidate_that_was_taken():
    one = entries([True, True], [True, False])
    decide(one[0].record, "accept", 1)
    assert log(one).endswith("   1/2  accepted 2 of 2")


def test_without_checks_there_is_no_column():
    assert "checks" not in log(entries([]))
    assert "checks" in log((*entries([]), *entries([True])))


def test_the_hole_gives_way_to_the_column():
    wide = entries([True], [True], text="a_long_name_of_a_variable = <cursor>")
    decide(wide[0].record, "part", 1)
    heading, line = log(wide).splitlines()
    assert columns_of(line) <= 100
    assert "a_long_name_" in line
    assert "…" in line
    assert "checks" in heading


def test_a_line_that_does_not_fit_goes_without_it():
    one = entries([True])
    assert "checks" in log(one, 82)
    decide(one[0].record, "part", 0)
    shown = log(one, 82)
    assert "accepted in part" in shown
    assert "checks" not in shown
    assert max(map(columns_of, shown.splitlines())) <= 82
