"""Where other answers leave the greedy one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import ScriptedEngine, byte_tokenizer, word_tokenizer

from fim_magic.branching import beginnings, branching_tokens, read_tokens
from fim_magic.candidate import Candidate, Cut, Ending
from fim_magic.document import Document
from fim_magic.engines import Beginning, Sampling, TokenLogprob
from fim_magic.events import Finished
from fim_magic.pipeline import run
from fim_magic.request import Request

BYTES = byte_tokenizer()
STOPS = frozenset({900, 901})


def places(*choices):
    return [[TokenLogprob(id_, logprob) for id_, logprob in each.items()] for each in choices]


def begin(tokens, *choices, count=7, healed="", tokenizer=BYTES):
    return beginnings(tokens, places(*choices), Beginning(text=healed.encode()), tokenizer, STOPS, count)


def test_the_most_probable_departure_comes_first():
    found = begin([1, 2], {1: -0.1, 5: -2.0}, {2: -0.5, 6: -0.7, 7: -3.0}, {900: 0.0, 8: -9.0})
    assert found == [(1, 6), (5,), (1, 7), (1, 2, 8)]


def test_only_as_many_as_are_asked_for():
    assert begin([1], {1: -0.1, 5: -1.0, 6: -2.0}, {900: 0.0, 7: -3.0}, count=2) == [(5,), (6,)]


def test_a_departure_is_measured_against_what_was_taken_there():
    """A place where all are improbable is one where the model was unsure."""
    found = begin([1, 2], {1: -0.1, 5: -2.0}, {2: -3.0, 6: -3.1}, {900: 0.0, 8: -5.0})
    assert found[0] == (1, 6)


def test_all_stop_tokens_of_one_place_come_to_the_same():
    found = begin([1], {1: -0.1, 900: -1.0, 901: -1.1, 5: -2.0}, {901: -0.1, 900: -0.2, 6: -4.0})
    assert found == [(900,), (5,), (1, 6)]


def test_an_answer_of_nothing_can_be_left_as_well():
    assert begin([], {900: -0.1, 5: -1.0, 901: -2.0, 6: -3.0}) == [(5,), (6,)]


def test_nothing_else_is_known():
    assert begin([], {}) == []
    assert begin([1], {1: 0.0}, {900: 0.0}) == []


def test_beginnings_agree_with_the_token_that_the_hole_cuts():
    tokenizer = word_tokenizer()
    word, prime, other = (tokenizer.encode(text)[0] for text in ("print", "prime", "x"))
    found = begin([word], {word: -0.1, other: -0.2, prime: -3.0}, {900: -0.1}, healed="pri", tokenizer=tokenizer)
    assert found == [(prime,)]


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (None, (1, 2, 3)),
        (Cut("repeats-suffix", 4), (1, 2)),
        (Cut("repeats-suffix", 3), (1, 2)),
        (Cut("repeats-suffix", 2), (1,)),
        (Cut("repeats-suffix", 0), (1,)),
    ],
)
def test_what_was_trimmed_is_not_branched_in(cut, expected):
    first = Candidate("abcdef", Ending.RULE, cut, token_ids=(1, 2, 3), token_ends=(2, 4, 6))
    assert read_tokens(first) == expected


# --- in a request ------------------------------------------------------------------------------------


def answered(engine, request):
    *_, last = run(request, engine)
    assert isinstance(last, Finished)
    return last.result


def test_several_are_the_greedy_one_and_a_batch_of_others():
    engine = ScriptedEngine("x = 1", "x = 2", "x = 3")
    result = answered(engine, Request(Document("", "\n"), candidates=3))
    assert len(engine.prompts) == 2
    assert {each.middle for each in result.candidates} == {"x = 1", "x = 2", "x = 3"}
    assert result.answers == 3
    # The first token of each of the others is given.
    assert sorted(engine.allowed[len("x = 1") + 1]) == [0, 1]


def test_a_temperature_samples_them_in_one_batch():
    engine = ScriptedEngine("x = 1", "x = 2", "x = 3")
    result = answered(engine, Request(Document("", "\n"), candidates=3, sampling=Sampling(0.7)))
    assert len(engine.prompts) == 1
    assert result.answers == 3


class GivesAlternatives(ScriptedEngine):
    """Gives so many alternatives with each token; reads them again only where they are too few."""

    def __init__(self, *answers, count):
        super().__init__(*answers)
        self.count, self.reads = count, 0

    def generate(self, prompt, **options):
        self._branches = bool(self.prompts)
        generation = super().generate(prompt, **options)
        step = generation.step
        (likeliest,) = super().top_logprobs(prompt, [], self.count)
        generation.step = lambda: [replace(token, alternatives=tuple(likeliest)) for token in step()]
        return generation

    def top_logprobs(self, prompt, continuation, count):
        self.reads += 1
        return super().top_logprobs(prompt, continuation, count)


@pytest.mark.parametrize(("count", "reads"), [(8, 0), (3, 0), (2, 1), (0, 1)])
def test_alternatives_that_came_with_the_tokens_are_not_read_again(count, reads):
    request = Request(Document("", "\n"), candidates=3)
    engine, other = GivesAlternatives("x = 1", "x = 2", "x = 3", count=count), ScriptedEngine("x = 1", "x = 2", "x = 3")
    middles, others = ([each.middle for each in answered(one, request).candidates] for one in (engine, other))
    assert (middles, engine.allowed) == (others, other.allowed)
    assert engine.reads == reads


def test_what_an_answer_that_was_cut_behind_its_last_token_lacks_is_read():
    engine = GivesAlternatives("x = 1", "x = 2", count=8)
    assert answered(engine, Request(Document("", "\n"), candidates=2, max_new_tokens=3)).answers == 2
    assert engine.reads == 1


def test_where_an_answer_ends_its_line_no_other_answer_only_ends_it_in_another_way():
    one, end, plus = (BYTES.encode(text)[0] for text in ("1", "\n", "+"))
    first = Candidate("1\n\n", Ending.RULE, Cut("enough", 2), token_ids=(one, end, end), token_ends=(1, 2, 3))
    assert branching_tokens(first) == (one,)
    assert branching_tokens(replace(first, cut=None)) == (one, end, end)
    assert begin([one], {one: -0.1}, {end: -0.1, 900: -0.5, plus: -2.0}) == [(one, plus)]
    # After a line of its own, an answer may go on.
    assert begin([one, end], {one: -0.1}, {end: -0.1, plus: -2.0}, {900: -0.1, one: -3.0})[0] == (one, plus)
