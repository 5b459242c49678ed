from __future__ import annotations

import math

import pytest

from fim_magic.candidate import Candidate, Cut, Ending, Result, told
from fim_magic.document import Document


def result(*candidates, **changes) -> Result:
    values = {
        "document": Document("a ", " b"),
        "candidates": candidates,
        "model": "m",
        "revision": "r",
        "method": "fim",
        "order": "psm",
        "prompt_tokens": 5,
        "dropped_prefix_tokens": 0,
        "dropped_suffix_tokens": 0,
        "seed": None,
        "first_token_seconds": 1.0,
        "seconds": 3.0,
    }
    return Result(**(values | changes))


@pytest.mark.parametrize(
    ("cut", "middle", "trimmed"),
    [
        pytest.param(None, "x = 1\ny", "", id="not cut"),
        pytest.param(Cut("dedent", 5), "x = 1", "\ny", id="cut"),
        pytest.param(Cut("code-fence", 0), "", "x = 1\ny", id="cut at once"),
    ],
)
def test_middle_and_what_was_trimmed_are_the_whole_answer(cut, middle, trimmed):
    candidate = Candidate("x = 1\ny", Ending.RULE, cut)
    assert (candidate.middle, candidate.trimmed) == (middle, trimmed)


@pytest.mark.parametrize(
    ("ending", "cut", "told"),
    [
        (Ending.STOP_TOKEN, None, "ended by itself"),
        (Ending.STOP_TOKEN, Cut("dedent", 1), "ended by itself, trimmed by dedent (2 characters)"),
        (Ending.RULE, Cut("dedent", 1), "ended, trimmed by dedent (2 characters)"),
        (Ending.LENGTH, None, "cut at the token limit, probably unfinished"),
        (Ending.INTERRUPTED, None, "partial: interrupted"),
    ],
)
def test_an_ending_is_told_in_words(ending, cut, told):
    assert Candidate("abc", ending, cut).describe_ending() == told


def test_mean_logprob():
    assert Candidate("", Ending.STOP_TOKEN).mean_logprob is None
    assert Candidate("x", Ending.STOP_TOKEN, None, (1, 2), (-1.0, -2.0)).mean_logprob == -1.5


def test_a_logprob_that_is_no_finite_number_is_not_known():
    assert told((-1.0, math.nan, -math.inf)) == (-1.0, None, None)
    assert told((math.nan, None)) == ()


def test_a_result_speaks_of_its_first_candidate_and_counts_all():
    first = Candidate("x y", Ending.RULE, Cut("dedent", 1), (1, 2, 3), (0.0,) * 3)
    second = Candidate("z", Ending.LENGTH, None, (4, 5, 6), (0.0,) * 3)
    both = result(first, second)
    assert both.middle == "x"
    assert both.text == "a x b"
    assert both.tokens == 6
    assert both.tokens_per_second == (6 - 2) / (3.0 - 1.0)


@pytest.mark.parametrize("ids", [(), (1,)], ids=["no token", "one token"])
def test_no_speed_is_made_up(ids):
    assert result(Candidate("", Ending.STOP_TOKEN, None, ids, (0.0,) * len(ids))).tokens_per_second == 0.0
