"""What is said below a diff: one line of at most 80 columns, and all there is to know as labels and texts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic import holes
from fim_magic.candidate import Candidate, Check, Cut, Ending, Result
from fim_magic.columns import both_ends, clipped, columns_of, shortened
from fim_magic.context import Context, ContextCell, NameDescription
from fim_magic.document import parse
from fim_magic.progress import Progress
from fim_magic.review.caption import (
    COLUMNS,
    about,
    facts,
    line,
    progress_line,
    stopped_line,
    title_of_other,
    waiting_line,
)

PARSES, NAMES = Check("parses", True), Check("names", True)
UNDEFINED = Check("names", False, "undefined: Counter")
MEAN = Check("mean([1]) == 1", False, "mean([1]) == 1 gave False")
CUT_OFF = Candidate("a", Ending.LENGTH, checks=(PARSES, UNDEFINED, MEAN))
QWEN = "qwen2.5-coder-0.5b"


def result(*candidates, **changes):
    fields = {
        "document": parse("a = <cursor>\n"),
        "candidates": candidates or (Candidate("sum(xs)", Ending.STOP_TOKEN, token_ids=(1, 2, 3)),),
        "model": "tiny",
        "revision": "0123456789abcdef",
        "method": "fim",
        "order": "psm",
        "prompt_tokens": 30,
        "dropped_prefix_tokens": 0,
        "dropped_suffix_tokens": 0,
        "seed": None,
        "first_token_seconds": 0.5,
        "seconds": 1.5,
    }
    return Result(**{**fields, **changes})


def checked(*checks, ending=Ending.STOP_TOKEN):
    return Candidate("a", ending, checks=checks)


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        ((), "qwen2.5-coder-0.5b · 1.5 s"),
        ((PARSES, NAMES), "qwen2.5-coder-0.5b · 1.5 s · parses, names known"),
        ((PARSES, UNDEFINED), "qwen2.5-coder-0.5b · 1.5 s · Counter is not defined"),
        (
            (Check("parses", False, "SyntaxError: '(' was never closed in line 3"),),
            "qwen2.5-coder-0.5b · 1.5 s · does not parse: line 3",
        ),
        (
            (PARSES, NAMES, MEAN),
            "qwen2.5-coder-0.5b · 1.5 s · your check failed: mean([1]) == 1",
        ),
        (
            (PARSES, UNDEFINED, MEAN),
            "qwen2.5-coder-0.5b · 1.5 s · Counter is not defined, and 1 more",
        ),
        ((Check("parses", None, "not Python"),), "qwen2.5-coder-0.5b · 1.5 s · not checked: not Python"),
        (
            (PARSES, Check("test", None, "took longer than 2 s")),
            "qwen2.5-coder-0.5b · 1.5 s · your test not known: took longer than 2 s · parses",
        ),
    ],
)
def test_the_line_says_model_time_and_checks_in_words(checks, said):
    assert line(result(checked(*checks), model=QWEN)) == said


def test_the_line_says_which_of_several_it_is():
    fine, bad = checked(PARSES, NAMES), checked(PARSES, UNDEFINED)
    assert line(result(bad, fine, model=QWEN), fine) == "qwen2.5-coder-0.5b · 2 of 2 · 1.5 s · parses, names known"
    alone = line(result(fine, model=QWEN, seconds=3.14), which=(2, 5))
    assert alone == "qwen2.5-coder-0.5b · 2 of 5 · 3.1 s · parses, names known"


@pytest.mark.parametrize(
    ("changes", "candidate", "news"),
    [
        ({}, checked(PARSES, ending=Ending.INTERRUPTED), "partial: interrupted · parses"),
        ({}, checked(UNDEFINED, ending=Ending.LENGTH), "Counter is not defined · cut at the token limit"),
        ({"dropped_prefix_tokens": 9}, checked(), "prompt shortened"),
        ({"dropped_suffix_tokens": 9}, checked(PARSES), "prompt shortened · parses"),
        ({}, Candidate("a", Ending.RULE, Cut("dedent", 1)), ""),
    ],
)
def test_what_the_user_should_know_first_comes_before_what_is_well(changes, candidate, news):
    assert line(result(candidate, **changes)) == "tiny · 1.5 s" + (f" · {news}" if news else "")


def test_notes_are_said_in_the_line():
    assert line(result(checked()), notes=["the same text as before"]) == "tiny · 1.5 s · the same text as before"


def test_a_long_line_clips_the_name_of_the_model_and_keeps_the_news():
    long = "somebody/" + "a-very-long-name-" * 4 + "7b"
    said = line(result(CUT_OFF, checked(), model=long, dropped_prefix_tokens=1))
    assert columns_of(said) <= COLUMNS
    assert said == "a-very-… · 1 of 2 · 1.5 s · Counter is not defined, an… · cut at the token limit"
    shorter = line(result(replace(CUT_OFF, ending=Ending.INTERRUPTED), model=long, dropped_prefix_tokens=1))
    assert shorter == "a-very-… · 1.5 s · Counter is not def… · partial: interrupted · prompt shortened"


def test_of_a_path_the_end_is_kept():
    folder = "/home/somebody/" + "models/" * 10
    assert line(result(model=f"{folder}tiny-coder.gguf")) == "tiny-coder.gguf · 1.5 s"
    assert line(result(model=f"{folder}tiny-coder/".replace("/", "\\"))) == "tiny-coder · 1.5 s"


def test_a_long_check_is_shortened_and_whole_where_the_line_may_be_long():
    long = Check("f(" + "1, " * 60 + ") == 2", False, "it is 3")
    said = line(result(checked(PARSES, UNDEFINED, long), checked(), model=QWEN))
    assert said == "qwen2.5-coder-0.5b · 1 of 2 · 1.5 s · Counter is not defined, and 1 more"
    said = line(result(checked(long, ending=Ending.INTERRUPTED), model=QWEN))
    assert columns_of(said) <= COLUMNS
    assert "your check failed: f(1, 1" in said
    assert "… · partial: interrupted" in said
    whole = line(result(checked(PARSES, UNDEFINED, long), model=QWEN), whole=True)
    assert whole == f"qwen2.5-coder-0.5b · 1.5 s · Counter is not defined · your check failed: {long.name} · parses"


TEXT = st.text(st.sampled_from("ab/\\ ·\x1b\n日\u202e\u0301\u0600\u00ad\u093fန်မ"), max_size=120)
CHECKS = st.lists(
    st.builds(
        Check,
        st.sampled_from(["parses", "names", "doctests", "test", "x" * 99]),
        st.sampled_from([True, False, None]),
        TEXT,
    ),
    max_size=4,
)


@given(TEXT, CHECKS, st.sampled_from(list(Ending)), TEXT, st.tuples(st.integers(1, 64), st.floats(0, 999)))
def test_no_line_is_longer_than_80_columns_or_hides_bad_news(model, checks, ending, note, numbers):
    count, seconds = numbers
    candidate = checked(*checks, ending=ending)
    one = result(candidate, model=model, seconds=seconds, dropped_prefix_tokens=1)
    said = line(one, notes=[note], which=(count, count))
    assert columns_of(said) <= COLUMNS
    assert not {"\x1b", "\n", "\u202e"} & set(said)
    if ending is Ending.INTERRUPTED:
        assert "partial: interrupted" in said
    if ending is Ending.LENGTH:
        assert "cut at the token limit" in said
    for long in (progress_line(model, 10**6, seconds, 64), stopped_line(model, note)):
        assert columns_of(long) <= COLUMNS


def test_progress():
    assert progress_line("tiny", 1, 0.52) == "tiny · filling the hole… 1 token, 0.5 s"
    several = holes.parse("f(█, █)").document
    assert progress_line("tiny", 2, 0.5, several.holes) == "tiny · filling 2 holes… 2 tokens, 0.5 s"
    assert stopped_line("tiny", "out of memory") == "tiny · out of memory"


def test_facts():
    assert facts(result()) == (
        ("Model", "tiny (0123456789)"),
        ("Length", "3 tokens in 1.5 s (2.0 tokens/s)"),
        ("Ending", "ended by itself"),
        ("Order", "PSM"),
        ("Prompt", "30 tokens"),
    )


def test_facts_say_why_an_order_was_taken():
    assert dict(facts(result(order="spm", order_reason="it was trained so")))["Order"] == "SPM (it was trained so)"
    assert dict(facts(result(order="", method="complete")))["Order"] == "left to right"
    assert dict(facts(result(method="rank")))["Order"].startswith("left to right, ranked by")


def test_facts_say_what_was_cut():
    cut = Candidate("sum(xs)\n    return", Ending.RULE, Cut("suffix", 7), (1, 2))
    said = dict(facts(result(cut, dropped_prefix_tokens=12, dropped_suffix_tokens=3, revision="")))
    assert said["Model"] == "tiny"
    assert said["Length"].startswith("2 tokens in 1.5 s")
    assert said["Ending"] == "ended, trimmed by suffix (11 characters)"
    assert said["Prompt"] == "30 tokens, shortened to fit: tokens left out: 12 at its start, 3 at its end"


def test_facts_of_one_of_several():
    one = Candidate("a", Ending.STOP_TOKEN, None, (1, 2), (-0.5, -1.0), same=3, reason="most say so")
    other = Candidate("b", Ending.LENGTH)
    said = dict(facts(result(one, replace(one, read_logprob=-0.25, suffix_logprob=-4.0)), one))
    assert said["Candidate"] == "1 of 2"
    assert said["Why there"] == "most say so"
    assert said["Answers"] == "3 answers say the same"
    assert said["Log-probability"] == "mean of its tokens -0.75"
    read = replace(one, read_logprob=-0.25, suffix_logprob=-4.0)
    assert dict(facts(result(read)))["Log-probability"] == (
        "mean of its tokens -0.75, mean as read from left to right -0.25, what follows, in all -4.00"
    )
    said = dict(facts(result(one, other), other, ["the same text as before"]))
    assert said["Candidate"] == "2 of 2"
    assert said["Ending"] == "cut at the token limit, probably unfinished"
    assert said["Note"] == "the same text as before"
    assert "Log-probability" not in said
    assert dict(facts(result(one), which=(2, 3)))["Candidate"] == "2 of 3"


def test_facts_say_what_the_model_saw():
    assert "Context" not in dict(facts(result()))
    seen = Context(
        cells=(ContextCell("a = 1", 1), ContextCell("b = 2", 2)), described=(NameDescription("c", "# c: int"),)
    )
    assert dict(facts(result(seen=seen)))["Context"] == "2 cells above, 1 name"


def test_facts_of_several_holes():
    assert dict(facts(result(document=holes.parse("f(█, █)").document)))["Holes"] == "2"


def test_facts_are_fit_to_be_shown():
    assert dict(facts(result(model="a\x1b[31m", revision="")))["Model"] == "a<U+001B>[31m"


def test_a_label_says_in_words_what_tells_a_candidate_from_the_others():
    fine = replace(checked(PARSES, NAMES), same=3, reason="most say so")
    assert about(fine) == "parses, names known; ended by itself; 3 answers say the same; most say so"
    assert about(CUT_OFF) == (
        "Counter is not defined; your check failed: mean([1]) == 1; parses; cut at the token limit, probably unfinished"
    )
    assert about(Candidate("a", Ending.STOP_TOKEN)) == "ended by itself"
    assert about(Candidate("a", Ending.STOP_TOKEN, None, (1,), (-0.5,))) == (
        "ended by itself, mean log-probability -0.50"
    )


def test_the_title_of_a_folded_candidate_says_only_what_is_its_own():
    one = Candidate("a", Ending.STOP_TOKEN, None, (1, 2), (-0.5, -1.0))
    said = "Candidate 1 of 2 · 2 tokens · ended by itself, mean log-probability -0.75 · twice"
    assert title_of_other(one, ["twice"], (1, 2)) == said


# Signs that are wider, or narrower, beside others than alone: Burmese, Kannada, Tamil, a soft hyphen before a vowel
# sign, signs that make one grapheme with what follows them, emoji of several, and combining marks.
JOINING = "မြန်မာ ಕ್ಷ தமிழ் a\u00ad\u093f \u0600\u0d4e 👩\u200d🔬🏽 e\u0301\ufe0f 中x"


@given(st.text(alphabet=sorted(set(JOINING)), max_size=90), st.integers(1, 60))
def test_text_of_any_script_is_shortened_to_the_room(text, room):
    assert columns_of(shortened(text, room)) <= room
    assert columns_of(clipped(text, room)) <= room


@given(st.text(alphabet=sorted(set(JOINING)), min_size=60, max_size=200))
def test_a_failure_in_any_script_has_a_line_of_its_length(text):
    failed = Check("test", False, f"AssertionError: {text}")
    assert columns_of(line(result(checked(failed)))) <= COLUMNS


@pytest.mark.parametrize("text", ["မြန်မာ စာလုံးများ မတွေ့ပါ ထပ်မံကြိုးစားပါ ကျေးဇူးပြု၍", "a\u00ad\u093fb" * 30])
def test_a_failure_that_is_wider_whole_than_in_parts_is_shortened(text):
    failed = Check("test", False, f"AssertionError: {text}")
    for name in ("qwen2.5-coder-1.5b", "tiny"):
        assert columns_of(line(result(checked(failed), model=name))) <= COLUMNS


@pytest.mark.parametrize("host", ["gpu.example:8000", "a-very-long-name-of-a-host." * 9 + "example:8000"])
def test_a_pause_is_told_with_the_seconds_that_are_left(host):
    told = waiting_line("vllm://" + host, Progress(f"Waiting for {host}", 1, 4, "s", 1.2))
    assert told.endswith(f"Waiting for {host}, 3 s")


@pytest.mark.parametrize(
    "text", ["vllm://gpu.example:8000/" + "x" * 500 + "/the-end", "名" * 300, "e\u0301" * 200, "short"]
)
def test_of_a_long_name_both_ends_are_shown(text):
    shown = both_ends(text, 40)
    assert columns_of(shown) <= 40
    assert shown == text or "…" in shown
    assert text.startswith(shown.partition("…")[0])
    assert text.endswith(shown.rpartition("…")[2])
