"""The log of a session, and what is said of a request that was made again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fim_magic.candidate import Candidate, Ending, Result
from fim_magic.columns import columns_of
from fim_magic.document import parse
from fim_magic.engines import Sampling
from fim_magic.errors import OptionError
from fim_magic.history import History
from fim_magic.provenance import add_answer, decide, of_cell, record
from fim_magic.reports.log import log
from fim_magic.request import Request


def result(*middles, text="def f(x):\n    <cursor>\n", **more):
    candidates = tuple(Candidate(middle, Ending.STOP_TOKEN, None, (1, 2), (-0.25, -0.75)) for middle in middles)
    return Result(parse(text), candidates, "tiny", "0123456789abcdef", "fim", "psm", 9, 0, 0, None, 0.1, 1.25, **more)


def filled(history, *results):
    for each in results:
        history.add(Request(each.document), "tiny", {}, each, record(each))
    return history


def test_the_log_has_a_line_for_each_request_in_columns():
    history = filled(History(), result("pass"), result("1", "2", text="總和 = <cursor> + 1"))
    first, second = history.entries
    decide(first.record, "accept", 0)
    decide(second.record, "reject", 1)
    heading, one, other = log(history.entries).splitlines()
    assert heading.split() == ["time", "hole", "model", "order", "tokens", "seconds", "logprob", "decided"]
    assert one.split()[0] == "1"
    assert one.endswith("def f(x): …   tiny   PSM         2      1.2    -0.50  accepted")
    assert other.endswith("總和 = … + 1  tiny   PSM         4      1.2    -0.50  rejected 2 of 2")
    assert one.index("def") == other.index("總和") == heading.index("hole")


def test_the_log_follows_what_the_user_decides():
    history = filled(History(), result("pass"))
    told = history.entries[0].record
    decide(told, "part", 0)
    assert "accepted in part" in log(history.entries)
    decide(told, "undo", 0)
    assert "accepted" not in log(history.entries)
    add_answer(told, result("other"))
    decide(told, "replace", 1)
    assert log(history.entries).endswith("replaced 2 of 2")


def test_a_line_of_the_log_is_not_wider_than_a_notebook():
    long = result("1", text="def a_function_with_a_long_name(of, many, arguments): <cursor>")
    path = replace(long, model="/home/me/models/a-folder-with-a-long-name/qwen2.5-coder-0.5b-q4_k_m.gguf")
    lines = log(filled(History(), path, result("1", text="總和" * 40 + " <cursor>")).entries).splitlines()
    assert max(map(columns_of, lines)) <= 100
    assert "…-coder-0.5b-q4_k_m.gguf" in lines[1]


def test_control_characters_stay_out_of_the_log():
    shown = log(filled(History(), result("1", text="a = '\x1b[31m' + <cursor>")).entries)
    assert "\x1b" not in shown
    assert "<U+001B>" in shown


def test_an_empty_log_says_so():
    assert "Nothing was filled" in log(())


def test_entries_are_found_by_their_number():
    history = filled(History(), result("1"), result("2"))
    assert history.entry("1").result.middle == "1"
    assert history.entry("2") is history.entry("") is history.entries[1]


@pytest.mark.parametrize("number", ["0", "3", "-1", "two", "1.0"])
def test_a_number_that_is_not_in_the_log_is_refused(number):
    with pytest.raises(OptionError, match="1 to 2"):
        filled(History(), result("1"), result("2")).entry(number)


def test_there_is_nothing_to_replay_in_a_new_session():
    with pytest.raises(OptionError, match="Fill a hole with %%fim first"):
        History().entry("")


def test_the_oldest_are_forgotten_and_numbers_stay():
    history = filled(History(most=2), result("1"), result("2"), result("3"))
    assert [entry.number for entry in history.entries] == [2, 3]
    assert history.entry("2").result.middle == "2"
    with pytest.raises(OptionError, match="2 to 3"):
        history.entry("1")


def test_a_cell_says_which_candidate_of_which_model_it_holds():
    told = record(result("1", "2", sampling=Sampling(0.8, 0.9, 3), prompt_sha256="ab"))
    add_answer(told, result("3", sampling=Sampling(0.5, 1.0, 4)))
    second, third = of_cell(told, 1), of_cell(told, 2)
    assert (second["model"], second["prompt_sha256"], second["candidate"]) == ("tiny", "ab", 2)
    assert (second["temperature"], third["temperature"], third["top_p"]) == (0.8, 0.5, 1.0)
    assert "def f" not in str(second)
    assert of_cell({}, 0) == {}
