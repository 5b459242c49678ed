"""Several holes in one text, and one answer that fills them all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic.candidate import Candidate, Cut, Ending
from fim_magic.document import Document
from fim_magic.document import parse as parse_one
from fim_magic.errors import MarkerError
from fim_magic.holes import MultiHoleDocument, combine, parse, written
from fim_magic.markers import MARKERS

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>█\r\ufeff"), max_size=30)
BETWEEN = TEXT.filter(str.strip)
MIDDLE = st.one_of(TEXT, st.text("a \n", max_size=8))
LOOP = "def f(xs):\n    total = █\n    for x in xs:\n        █\n    return total\n"


@st.composite
def blanks(draw, crlf=False):
    """A text with one to four holes, and something for each."""
    between = draw(st.lists(BETWEEN, max_size=3))
    texts = (draw(TEXT), *between, draw(TEXT))
    if crlf:
        texts = tuple(text.replace("\n", "\r\n") for text in (*texts[:-1], texts[-1] + "\n"))
    middles = draw(st.lists(MIDDLE, min_size=len(texts) - 1, max_size=len(texts) - 1))
    return MultiHoleDocument(texts, "█"), middles


def woven(texts, middles):
    return "".join(text + middle for text, middle in zip(texts, [*middles, ""], strict=True))


@given(blanks(), st.sampled_from(MARKERS))
def test_only_the_markers_are_taken_out(made, marker):
    texts = made[0].texts
    assert parse(marker.join(texts)) == MultiHoleDocument(texts, marker)


@given(blanks())
def test_the_middle_of_all_holes_rebuilds_the_text(made):
    one, middles = made
    middle, kept = one.joined(middles)
    assert one.document.rebuild(middle) == woven(one.texts, middles)
    assert [middle[start:end] for start, end in kept] == list(one.texts[1:-1])
    assert [middle[start:end] for start, end in written(kept, len(middle))] == middles


@given(blanks(crlf=True))
def test_crlf_texts_are_rebuilt_with_crlf(made):
    one, middles = made
    middle, kept = one.joined(middles)
    rebuilt = one.document.rebuild(middle)
    assert "\n" not in rebuilt.replace("\r\n", "")
    if one.count > 1:
        assert [middle[start:end] for start, end in kept] == list(one.texts[1:-1])
    for index in range(one.count):
        document = one.hole(index, middles)
        assert "\n" not in document.prefix.replace("\r\n", "")
        assert document.for_model().prefix == document.prefix.replace("\r\n", "\n")


def test_the_users_own_line_ends_stay_as_they_are():
    one = parse("a = █\r\nb\nc = █")  # only between the holes, and of two kinds
    middle, kept = one.joined(["1\n2", "3\n4"])
    assert middle == "1\r\n2\r\nb\nc = 3\r\n4"
    assert one.document.rebuild(middle) == "a = " + middle
    assert [middle[slice(*each)] for each in kept] == ["\r\nb\nc = "]


@given(blanks())
def test_the_last_hole_completes_what_the_first_began(made):
    one, middles = made
    last = one.hole(one.count - 1, middles)
    assert last.rebuild(middles[-1]) == woven(one.texts, middles)
    first = one.hole(0)
    assert first.prefix + first.suffix == "".join(one.texts)


@given(prefix=TEXT, suffix=TEXT)
def test_one_hole_is_the_document_of_old(prefix, suffix):
    one = parse(f"{prefix}█{suffix}")
    assert one.document == one.hole(0) == parse_one(f"{prefix}█{suffix}")
    assert one.joined(["x\ny"]) == ("x\ny", ())


def test_what_the_model_is_asked_for_each_hole():
    one = parse(LOOP)
    assert one.hole(0) == Document("def f(xs):\n    total = ", "\n    for x in xs:\n        \n    return total\n", "█")
    assert one.hole(1, ["0"]) == Document(
        "def f(xs):\n    total = 0\n    for x in xs:\n        ", "\n    return total\n", "█"
    )
    assert one.document == Document("def f(xs):\n    total = ", "\n    return total\n", "█", holes=2)


def test_holes_that_are_not_filled_yet_stay_empty():
    one = parse(LOOP)
    assert one.joined(["0"]) == ("0\n    for x in xs:\n        ", ((1, 27),))
    assert one.joined([]) == ("\n    for x in xs:\n        ", ((0, 26),))


def test_holes_on_lines_of_their_own_may_follow_each_other():
    assert parse("x = █\n█\n").texts == ("x = ", "\n", "\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("x = 1\n", ["no cursor marker", "<cursor>"], id="none"),
        pytest.param(
            "a = █\nb = <FILL_ME>\nc = █",
            ["3 different cursor markers", "one kind", "█ in line 1, column 5", "<FILL_ME> in line 2, column 5"],
            id="two kinds",
        ),
        pytest.param(
            "a\n<cursor><cursor>",
            ["nothing between", "line 2, column 1", "line 2, column 9", "Keep one"],
            id="adjacent",
        ),
        pytest.param("f(█ \t█)", ["line 1, column 3", "line 1, column 6"], id="only blanks between"),
    ],
)
def test_what_is_said_about_markers_that_make_no_holes(text, said):
    with pytest.raises(MarkerError) as caught:
        parse(text)
    for words in said:
        assert words in str(caught.value)


def test_a_longer_marker_is_not_taken_for_a_shorter_one():
    assert parse("a #### b #### c", ["##", "####"]) == MultiHoleDocument(("a ", " b ", " c"), "####")
    with pytest.raises(MarkerError, match="2 different"):
        parse("a ## b #### c", ["##", "####"])


def answer(raw, cut=None, ending=Ending.STOP_TOKEN, ends=None):
    ends = tuple(range(1, len(raw) + 1)) if ends is None else ends
    ids = tuple(range(len(ends)))
    return Candidate(raw, ending, cut, ids, tuple(-each / 8 for each in ids), ends)


def test_candidates_are_combined():
    first = answer("0\n    x", Cut("dedent", 1), Ending.RULE, ends=(1, 7))
    second = answer("total += x", ends=(5, 8, 10))
    both = combine(parse(LOOP), [first, second])
    between = "\n    for x in xs:\n        "
    assert both.middle == f"0{between}total += x"
    assert both.trimmed == "\n    x"
    assert both.cut == Cut("dedent", len(both.middle))
    assert both.ending is Ending.RULE
    assert both.token_ids == (0, 1, 0, 1, 2)
    assert both.logprobs == (0.0, -0.125, 0.0, -0.125, -0.25)
    unknown = replace(first, logprobs=())
    assert combine(parse(LOOP), [unknown, second]).logprobs == (None, None, 0.0, -0.125, -0.25)
    assert combine(parse(LOOP), [unknown, replace(second, logprobs=())]).logprobs == ()
    assert both.token_ends == (1, 1, 32, 35, 37)  # what was trimmed of the first has no text
    assert [both.middle[slice(*each)] for each in both.kept] == [between]
    assert both.describe_ending() == "ended, trimmed by dedent (6 characters)"


def test_all_rules_that_cut_are_named_once():
    one = parse("█ + █ + █")
    cuts = [Cut("end-of-line", 1), Cut("dedent", 2), Cut("end-of-line", 1)]
    both = combine(one, [answer("abc", cut) for cut in cuts])
    assert (both.middle, both.trimmed) == ("a + ab + a", "bccbc")
    assert both.cut is not None
    assert both.cut.rule == "end-of-line, dedent"


def test_an_interrupted_request_has_fewer_candidates_than_holes():
    both = combine(parse("f(█, a, █)"), [answer("x", ending=Ending.INTERRUPTED)])
    assert (both.middle, both.ending, both.kept) == ("x, a, ", Ending.INTERRUPTED, ((1, 6),))
    assert combine(parse("f(█, a, █)"), []) == Candidate(", a, ", Ending.INTERRUPTED, kept=((0, 5),))
    assert combine(parse("f(█)"), []) == Candidate("", Ending.INTERRUPTED)


def test_the_only_hole_keeps_its_candidate():
    one = answer("x\r\ny", Cut("dedent", 1))
    assert combine(parse("a\r\n█\r\n"), [one]) is one


@pytest.mark.parametrize(
    ("endings", "worst"),
    [
        ((Ending.STOP_TOKEN, Ending.STOP_TOKEN), Ending.STOP_TOKEN),
        ((Ending.STOP_TOKEN, Ending.RULE), Ending.RULE),
        ((Ending.LENGTH, Ending.RULE), Ending.LENGTH),
        ((Ending.LENGTH, Ending.INTERRUPTED), Ending.INTERRUPTED),
    ],
)
def test_the_worst_ending_is_that_of_all(endings, worst):
    assert combine(parse("█ + █"), [answer("a", ending=each) for each in endings]).ending is worst


@given(blanks(), st.booleans(), st.data())
def test_the_tokens_are_those_of_the_holes(made, crlf, data):
    one, middles = made
    if crlf:
        one = MultiHoleDocument((*(text.replace("\n", "\r\n") for text in one.texts[:-1]), "\r\n"), "█")
    parts = []
    for middle in middles:
        at = data.draw(st.integers(0, len(middle)))
        parts.append(answer(middle, data.draw(st.sampled_from([None, Cut("dedent", at)]))))
    both = combine(one, parts)
    assert both.middle == (one.joined([part.middle for part in parts])[0])
    assert both.trimmed == "".join(part.trimmed for part in parts)
    assert len(both.token_ends) == len(both.token_ids) == len(both.logprobs)
    assert list(both.token_ends) == sorted(both.token_ends)
    assert all(end <= len(both.middle) or one.count == 1 for end in both.token_ends)
    if one.count > 1:
        ends = [end for _, end in written(both.kept, len(both.middle))]
        lasts, at = [], 0
        for part in parts:
            at += len(part.token_ids)
            lasts.append(both.token_ends[at - 1] if part.token_ids else None)
        assert all(last in (None, end) for last, end in zip(lasts, ends, strict=True))
