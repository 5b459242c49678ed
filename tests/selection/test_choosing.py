"""Which of several candidates is offered first, and what is said of why."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic.candidate import Candidate, Check, Cut, Ending
from fim_magic.selection.choosing import contenders, merged, ranked


def made(middle="x", logprob=-0.5, ending=Ending.STOP_TOKEN, checks=(), **more):
    return Candidate(
        middle, ending, token_ids=(1,), logprobs=(logprob,), token_ends=(len(middle),), checks=tuple(checks), **more
    )


def rebuild(middle):
    return f"def f(x):\n    return {middle}\n"


GOOD, BAD = Check("parses", True), Check("parses", False, "line 1")
NAMES = Check("names", False, "undefined: np")
RIGHT, WRONG = Check("f(1) == 2", True), Check("f(1) == 2", False, "gave 3")
UNKNOWN = Check("f(1) == 2", None, "needs a file")


def test_of_those_that_say_the_same_one_stays_and_speaks_for_all():
    answers = [made("x+1", -0.9), made("x + 1", -0.2), made("(x + 1)  # one more", -0.7), made("x - 1", -0.1)]
    one, other = merged(answers, rebuild)
    assert (one.middle, one.same) == ("x + 1", 3)
    assert (other.middle, other.same) == ("x - 1", 1)


def test_of_those_that_say_the_same_the_finished_one_stays():
    cut = made("x + 1", -0.1, Ending.LENGTH)
    assert merged([cut, made("x + 1", -0.9)], rebuild)[0].ending is Ending.STOP_TOKEN


def test_what_does_not_parse_is_told_apart_by_all_but_its_blanks():
    both = merged([made("x +"), made("x  +"), made("x -")], rebuild)
    assert [(each.middle, each.same) for each in both] == [("x +", 2), ("x -", 1)]


def test_merging_twice_counts_nobody_twice():
    once = merged([made("x"), made("x"), made("y")], rebuild)
    assert merged(once, rebuild) == once
    assert sum(each.same for each in once) == 3


@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        pytest.param(made("b", -0.1), made("w", -0.9), "the most probable with what follows", id="probable"),
        pytest.param(made("b", -9.0), made("w", -0.1, Ending.LENGTH), "it is finished", id="finished"),
        pytest.param(made("b", -9.0), made("w", -0.1, Ending.BROKEN_OFF), "it is finished", id="not broken off"),
        pytest.param(
            made("b", -9.0, Ending.RULE, cut=Cut("dedent", 1)),
            made("w", -0.1, Ending.INTERRUPTED),
            "it is finished",
            id="ended by a rule",
        ),
        pytest.param(
            made("b", -9.0, checks=[GOOD]),
            made("w", -0.1, checks=[BAD]),
            "parses",
            id="parses",
        ),
        pytest.param(
            made("b", -9.0, checks=[GOOD]),
            made("w", -0.1, checks=[GOOD, NAMES]),
            "knows its names",
            id="names",
        ),
        pytest.param(
            made("b", -9.0, checks=[GOOD]),
            made("w", -0.1, checks=[GOOD, Check("columns", False, "no column 'x'")]),
            "takes columns that are there",
            id="columns",
        ),
        pytest.param(
            made("b", -9.0, checks=[NAMES]),
            made("w", -0.1, checks=[NAMES, Check("original", False, "adds no code")]),
            "adds something new",
            id="what only the worse one failed",
        ),
        pytest.param(
            made("b", -9.0, Ending.LENGTH, checks=[GOOD, RIGHT]),
            made("w", -0.1, checks=[GOOD, WRONG]),
            "passes more of your checks",
            id="the user's check before all",
        ),
        pytest.param(
            made("b", -9.0, checks=[RIGHT]),
            made("w", -0.1, checks=[UNKNOWN]),
            "passes more of your checks",
            id="passed before nobody knows",
        ),
    ],
)
def test_what_comes_first(better, worse, why):
    for answers in ([better, worse], [worse, better]):
        first, second = ranked(answers)
        assert (first.middle, second.middle) == ("b", "w")
        assert first.reason == why
        assert second.reason not in ("", why)


def test_what_follows_counts_as_much_as_the_answer_itself():
    fits, likely = made("b", -9.6, suffix_logprob=-9.6), made("w", -0.1, suffix_logprob=-28.8)
    assert ranked([likely, fits])[0].middle == "b"
    assert ranked([replace(likely, suffix_logprob=-2.7), replace(fits, suffix_logprob=-0.9)])[0].middle == "w"


def test_an_answer_of_more_tokens_has_to_be_worth_them():
    short, long = made("x", -0.5), replace(made("x + y", -0.3), logprobs=(-0.3,) * 3, token_ids=(1, 2, 3))
    assert ranked([long, short])[0].middle == "x"
    assert ranked([replace(long, suffix_logprob=-1.0), replace(short, suffix_logprob=-2.0)])[0].middle == "x + y"


def test_where_the_model_reads_from_left_to_right_means_count_and_what_follows_little_where_it_is_short():
    fits = made("b", -0.6, read_logprob=0.0, suffix_logprob=-9.6)
    likely = made("w", -0.1, read_logprob=0.0, suffix_logprob=-28.8)
    assert ranked([likely, fits])[0].middle == "b"
    assert ranked([replace(likely, suffix_logprob=-2.7), replace(fits, suffix_logprob=-0.9)])[0].middle == "w"


def test_what_the_model_thinks_of_it_as_it_reads_counts_as_much_as_what_it_thought_when_it_wrote_it():
    read, written = made("b", -0.6, read_logprob=-0.2), made("w", -0.3, read_logprob=-0.6)
    assert ranked([written, read])[0].middle == "b"
    assert ranked([written, replace(read, read_logprob=-0.4)])[0].middle == "w"


@pytest.mark.parametrize(("logprob", "first"), [(-6.0, "copy"), (-4.5, "new")])
def test_a_copy_has_to_be_much_more_probable(logprob, first):
    copied = made("copy", -1.0, checks=[Check("original", None, "copies a line of the context")])
    assert ranked([made("new", logprob), copied])[0].middle == first


def test_a_copy_of_what_follows_comes_last():
    copied = made("copy", -1.0, checks=[Check("original", False, "copies a line from below the hole")])
    assert ranked([made("new", -30.0), copied])[0].middle == "new"


def test_one_answer_needs_no_reason():
    assert ranked([made("x")])[0].reason == ""


def test_an_empty_answer_can_be_ranked():
    empty = Candidate("", Ending.STOP_TOKEN)
    assert ranked([empty, made("x")])[0].middle == "x"
    assert "probable" in ranked([empty, made("x")])[1].reason


@given(
    st.lists(
        st.builds(
            made,
            st.sampled_from(["x", "x + 1", "x+1", "(", "y"]),
            st.floats(-9, 0),
            st.sampled_from(Ending),
            st.lists(st.sampled_from([GOOD, BAD, NAMES, RIGHT, WRONG, UNKNOWN]), max_size=3),
        ),
        max_size=9,
    )
)
def test_nothing_is_hidden_and_the_order_given_does_not_matter(answers):
    distinct = merged(answers, rebuild)
    assert sum(each.same for each in distinct) == len(answers)
    assert {"".join(each.middle.split()) for each in answers} == {"".join(each.middle.split()) for each in distinct}
    ordered = ranked(distinct)
    assert sorted(each.middle for each in ordered) == sorted(each.middle for each in distinct)
    for first, second in pairwise(ordered):
        assert sum(c is RIGHT for c in first.checks) >= sum(c is RIGHT for c in second.checks)


def test_the_best_is_among_those_that_nothing_but_probability_tells_apart():
    sound = [made("x", -3.0, checks=[GOOD]), made("y", -0.1, checks=[GOOD])]
    others = [made("z", -0.1, checks=[BAD]), made("w", -0.1, Ending.LENGTH, checks=[GOOD])]
    assert contenders([*others, *sound]) == tuple(sound)
    assert ranked([*others, *sound])[0].middle == "y"
    assert contenders([]) == ()


@given(
    st.lists(st.tuples(st.floats(-9, 0), st.sampled_from([(GOOD,), (BAD,), (GOOD, RIGHT), (GOOD, WRONG)])), min_size=1)
)
def test_what_is_no_contender_is_never_first(drawn):
    candidates = [made(str(at), logprob, checks=checks) for at, (logprob, checks) in enumerate(drawn)]
    assert ranked(candidates)[0].middle in [each.middle for each in contenders(candidates)]
