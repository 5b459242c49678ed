"""What every engine promises, over every architecture and sentinel set that we have a row for."""

from __future__ import annotations

import contract
import pytest
import torch
from checkpoints import INFILLING, KINDS
from contract import SAMPLED, STEPS, ids, started, tokens_of

from fim_magic.engines import SCORED_AT_ONCE, Sampling
from fim_magic.errors import ModelError
from fim_magic.events import Finished
from fim_magic.generation import prompt_for
from fim_magic.pipeline import run
from fim_magic.settings import Settings

SHORT = 21
LONG = 700  # longer than a part of the prompt that is read at once, and than StarCoder2's window


def prompt_of(length):
    return [(7 * n * n + 3) % 290 for n in range(length)]


@pytest.fixture(params=KINDS)
def loaded(request, engine):
    return engine(request.param)


@pytest.mark.parametrize("length", [1, SHORT, 512, LONG])
def test_greedy_tokens_are_those_of_generate(loaded, length):
    prompt = prompt_of(length)
    ours = ids(tokens_of(started(loaded, prompt))[0])
    batch = torch.tensor([prompt])
    theirs = loaded._model.module.generate(
        batch, attention_mask=torch.ones_like(batch), do_sample=False, max_new_tokens=STEPS
    )
    assert ours == theirs[0, length:].tolist()
    assert len(set(ours)) > 3, "the checkpoint repeats itself, so this shows nothing"


@pytest.mark.parametrize("length", [SHORT, LONG])
def test_logprobs_are_those_of_one_full_forward(loaded, length):
    prompt = prompt_of(length)
    tokens = tokens_of(started(loaded, prompt, sampling=SAMPLED))[0]
    with torch.no_grad():
        logits = loaded._model.module(torch.tensor([prompt + ids(tokens)])).logits.float()
    expected = torch.log_softmax(logits[0, length - 1 : -1], dim=-1)
    for token, row in zip(tokens, expected, strict=True):
        assert token.logprob == pytest.approx(float(row[token.id]), abs=1e-3)


def test_greedy_candidates_are_all_the_same(loaded):
    contract.greedy_candidates_are_all_the_same(loaded, prompt_of(LONG))


def test_a_seed_repeats_and_another_does_not(loaded):
    contract.a_seed_repeats_and_another_does_not(loaded, prompt_of(SHORT))


def test_the_first_of_several_candidates_is_greedy(loaded):
    contract.the_first_of_several_candidates_is_greedy(loaded, prompt_of(SHORT))


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("finished", [0, 1, 2])
def test_finishing_one_candidate_leaves_the_others_alone(loaded, finished, sampling):
    contract.finishing_one_candidate_leaves_the_others_alone(loaded, prompt_of(LONG), finished, sampling)


def test_candidates_can_be_finished_before_the_first_step_and_one_after_another(loaded):
    contract.candidates_can_be_finished_before_the_first_step_and_one_after_another(loaded, prompt_of(SHORT))


def test_two_generations_do_not_disturb_each_other(loaded):
    contract.two_generations_do_not_disturb_each_other(loaded, prompt_of(SHORT), prompt_of(LONG))


@pytest.fixture(params=["its own forward pass", "the library's"])
def scoring(request, loaded, monkeypatch):
    """Every kind of checkpoint, on our decoder and on transformers' modules."""
    loaded.forget()
    if request.param == "the library's":
        monkeypatch.setattr(loaded, "_decoder", None)
    yield loaded
    loaded.forget()


@pytest.mark.parametrize(("length", "more"), [(1, 1), (1, 2 * SCORED_AT_ONCE), (SHORT, 64), (LONG, 65), (512, 200)])
def test_scores_are_those_of_one_full_forward(scoring, length, more):
    prompt, continuation = prompt_of(length), [(5 * n * n + 1) % 290 for n in range(more)]
    with torch.no_grad():
        logits = scoring._model.module(torch.tensor([prompt + continuation])).logits.float()
    rows = torch.log_softmax(logits[0, length - 1 : -1], dim=-1)
    expected = [float(row[token]) for row, token in zip(rows, continuation, strict=True)]
    assert scoring.score(prompt, continuation) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("length", [1, SHORT, LONG])
def test_scores_are_those_of_generating(scoring, length):
    contract.scores_are_those_of_generating(scoring, prompt_of(length), within=1e-3)


def test_scores_do_not_hang_on_what_was_read_before(scoring):
    contract.scores_do_not_hang_on_what_was_read_before(scoring, prompt_of(LONG), prompt_of(70), within=1e-3)


@pytest.mark.parametrize("kind", ["qwen2", "starcoder"])
def test_a_hundred_requests_keep_no_more_than_ten(engine, kind):
    contract.a_hundred_requests_keep_no_more_than_ten(engine(kind), 250)


def test_scoring_leaves_requests_alone(scoring):
    contract.scoring_leaves_requests_alone(scoring, prompt_of(LONG), prompt_of(70))


def test_nothing_is_scored_as_nothing(scoring):
    contract.nothing_is_scored_as_nothing(scoring, prompt_of(SHORT))


@pytest.mark.parametrize("length", [1, SHORT, LONG])
def test_the_top_logprobs_are_what_would_be_said(scoring, length):
    contract.the_top_logprobs_are_what_would_be_said(scoring, prompt_of(length), within=1e-3)


def test_a_text_beyond_the_context_is_not_scored(scoring):
    contract.a_text_beyond_the_context_is_not_scored(scoring)


def test_a_prompt_is_read_once_for_all_that_is_scored_after_it(engine, monkeypatch):
    loaded = engine("qwen2")
    loaded.forget()
    real, read = loaded._decoder.forward, []
    monkeypatch.setattr(
        loaded._decoder, "forward", lambda ids, *rest, **how: read.append(len(ids)) or real(ids, *rest, **how)
    )
    generation = started(loaded, prompt_of(LONG))
    generation.close(0)
    assert sum(read) == LONG
    read.clear()
    for seed in range(3):
        loaded.score(prompt_of(LONG), [seed, *prompt_of(SCORED_AT_ONCE + 5)])
    assert read == [SCORED_AT_ONCE, 6] * 3
    assert started(loaded, prompt_of(LONG)).reused == LONG - 1


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_ends_scoring_half_way_leaves_the_engine_usable(engine, monkeypatch, at, error):
    loaded = engine("qwen2")
    prompt, continuation = prompt_of(LONG), prompt_of(70)
    loaded.forget()
    expected, scores = ids(tokens_of(started(loaded, prompt))[0]), loaded.score(prompt, continuation)
    loaded.forget()
    real, calls = loaded._decoder.forward, []

    def ended(*arguments, **options):
        calls.append(True)
        if len(calls) > at:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(loaded._decoder, "forward", ended)
    with pytest.raises(ModelError if error is MemoryError else error) as caught:
        loaded.score(prompt, continuation)
    monkeypatch.undo()
    if error is MemoryError:
        assert "not enough memory" in str(caught.value)
        assert not loaded._prefixes._caches
    else:  # what was read is known, though the error still holds what it passed through
        assert bool(loaded._prefixes._caches) == (at > 0)
    assert loaded.score(prompt, continuation) == pytest.approx(scores, abs=1e-3)
    assert ids(tokens_of(started(loaded, prompt))[0]) == expected


PLACES = {
    "within a line": "def mean(xs):\n    return <cursor> / len(xs)\n",
    "at the start": "<cursor>\nprint(total)\n",
    "at the end": "def mean(xs):\n    return <cursor>",
    "in an empty text": "<cursor>",
    "in 中文": "# 平均\n平均 = <cursor>\nprint(平均)\n",
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("name", "method"), [*((name, "fim") for name in INFILLING), *((name, "complete") for name in KINDS)]
)
def test_a_whole_request(engine, name, method, place, temperature):
    options = {"candidates": 2, "max_new_tokens": 8, "seed": 3, "temperature": temperature}
    _, request = Settings().request(PLACES[place], complete=method == "complete", **options)
    events = list(run(request, engine(name)))
    assert [isinstance(event, Finished) for event in events] == [False] * (len(events) - 1) + [True]
    result = events[-1].result
    assert (result.model, result.method, result.seed) == (name, method, 3 if temperature else None)
    assert result.order == ("psm" if method == "fim" else "")
    assert result.answers == 2
    before, after = PLACES[place].split("<cursor>")
    healed = prompt_for(request, engine(name)).healed
    for candidate in result.candidates:
        assert 0 <= len(candidate.token_ids) <= 8 + len(healed)
        assert len(candidate.logprobs) == len(candidate.token_ids)
        assert all(logprob <= 0 for logprob in candidate.logprobs)
        text = engine(name).tokenizer.decode(list(candidate.token_ids), unspaced=True)
        assert text.startswith(healed + candidate.raw)
        assert candidate.raw.startswith(candidate.middle)
    assert result.text == before + result.middle + after
