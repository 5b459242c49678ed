"""What every engine promises of its candidates, to be tested with each engine."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, replace

import pytest
import torch

from fim_magic.engines import ANY, Beginning, Sampling
from fim_magic.errors import ModelError

LEAN = ("qwen2", "starcoder", "santacoder", "starcoder2", "deepseek", "llama")
"""The tiny checkpoints that our own decoder runs."""

STEPS = 12
SAMPLED = Sampling(temperature=1.0, top_p=0.9, seed=7)

_AHEAD = weakref.WeakKeyDictionary()  # what was made and not asked for yet, by generation


@dataclass(frozen=True)
class OneOf(Beginning):
    """The first token is one of these."""

    choices: tuple[int, ...] = ()

    def allowed(self, generated, tokenizer):
        """The choices, as long as there is no token."""
        return None if generated else list(self.choices)


def begun(engine, prompt, *, candidates=1, sampling=None, beginnings=(), stop_ids=frozenset(), limit=10**6):
    """Return a generation that nothing has been read for."""
    return engine.generate(
        prompt,
        beginnings=beginnings or [ANY] * candidates,
        sampling=sampling or Sampling(),
        stop_ids=stop_ids,
        limit=limit,
    )


def started(engine, prompt, **options):
    """Return a generation that has read its prompt."""
    generation = begun(engine, prompt, **options)
    read = list(generation.prefill())
    assert read == sorted(read)  # an engine that waits says the same again
    assert read[-1] == len(prompt)
    return generation


def tokens_of(generation, steps=STEPS):
    """Return the next tokens of each candidate, as many of each.

    An engine may make several in a step, and is ahead then: those come first the next time.
    """
    found = _AHEAD.pop(generation, {})
    going_on = {*generation._running.candidates, *found}
    while any(len(found.get(candidate, ())) < steps for candidate in going_on):
        tokens = generation.step()
        assert tokens != [], "all candidates have ended"
        for token in tokens or ():
            found.setdefault(token.candidate, []).append(token)
    _AHEAD[generation] = {candidate: tokens[steps:] for candidate, tokens in found.items() if tokens[steps:]}
    return {candidate: tokens[:steps] for candidate, tokens in found.items() if steps}


def finish(generation, candidate):
    """Close a candidate, with what it has made ahead."""
    generation.close(candidate)
    _AHEAD.get(generation, {}).pop(candidate, None)


def ids(tokens):
    """Return the ids of tokens."""
    return [token.id for token in tokens]


def greedy_candidates_are_all_the_same(engine, prompt):
    found = tokens_of(started(engine, prompt, candidates=3))
    alone = tokens_of(started(engine, prompt))[0]
    assert {n: ids(tokens) for n, tokens in found.items()} == dict.fromkeys(range(3), ids(alone))


def a_seed_repeats_and_another_does_not(engine, prompt):
    def sample(seed, candidates=2):
        sampling = Sampling(temperature=1.0, top_p=1.0, seed=seed)
        found = tokens_of(started(engine, prompt, candidates=candidates, sampling=sampling))
        return [ids(tokens) for _, tokens in sorted(found.items())]

    first = sample(1)
    assert sample(1) == first
    assert sample(2) != first
    assert first[0] != first[1]


def the_first_of_several_candidates_is_greedy(engine, prompt):
    several = tokens_of(started(engine, prompt, candidates=3, sampling=SAMPLED))
    assert ids(several[0]) == ids(tokens_of(started(engine, prompt))[0])
    alone = (started(engine, prompt, sampling=replace(SAMPLED, seed=seed)) for seed in range(4))
    assert len({tuple(ids(tokens_of(each)[0])) for each in alone}) > 1


def finishing_one_candidate_leaves_the_others_alone(engine, prompt, finished, sampling):
    whole = tokens_of(started(engine, prompt, candidates=3, sampling=sampling))
    generation = started(engine, prompt, candidates=3, sampling=sampling)
    before = tokens_of(generation, 4)
    finish(generation, finished)
    after = tokens_of(generation, STEPS - 4)
    assert finished not in after
    for other in {0, 1, 2} - {finished}:
        assert ids(before[other] + after[other]) == ids(whole[other])


def candidates_can_be_finished_before_the_first_step_and_one_after_another(engine, prompt):
    """Returns the generation, all of whose candidates are finished."""
    whole = tokens_of(started(engine, prompt, candidates=4, sampling=SAMPLED))
    generation = started(engine, prompt, candidates=4, sampling=SAMPLED)
    finish(generation, 2)
    found = tokens_of(generation, 3)
    finish(generation, 0)
    finish(generation, 3)
    found[1] += tokens_of(generation, STEPS - 3)[1]
    assert ids(found[1]) == ids(whole[1])
    finish(generation, 1)
    return generation


def two_generations_do_not_disturb_each_other(engine, prompt, other_prompt, **options):
    """The options are the other one's."""
    expected = ids(tokens_of(started(engine, prompt))[0])
    generation = started(engine, prompt)
    other = started(engine, other_prompt, **options)
    found = []
    for _ in range(STEPS):
        found += tokens_of(generation, 1)[0]
        tokens_of(other, 1)
    assert ids(found) == expected


def by_generate(engine, prompt, steps):
    """Return what transformers' `generate()` says greedily with the engine's model, whatever ends a text."""
    batch = torch.tensor([prompt])
    output = engine._model.module.generate(
        batch, attention_mask=torch.ones_like(batch), do_sample=False, max_new_tokens=steps, eos_token_id=None
    )
    return output[0, len(prompt) :].tolist()


def scores_are_those_of_generating(engine, prompt, within):
    """A text that was generated is as likely as was said of each of its tokens when they came."""
    for sampling in (Sampling(), SAMPLED):
        tokens = tokens_of(started(engine, prompt, sampling=sampling))[0]
        found = engine.score(prompt, ids(tokens))
        assert found == pytest.approx([token.logprob for token in tokens], abs=within)


def scores_do_not_hang_on_what_was_read_before(engine, prompt, continuation, within):
    engine.forget()
    fresh = engine.score(prompt, continuation)
    assert engine.score(prompt, continuation) == pytest.approx(fresh, abs=within)
    engine.score(prompt[: len(prompt) // 2], continuation)
    assert engine.score(prompt, continuation) == pytest.approx(fresh, abs=within)
    tokens_of(started(engine, [*prompt, *continuation[:3], 9]))
    assert engine.score(prompt, continuation) == pytest.approx(fresh, abs=within)


def a_hundred_requests_keep_no_more_than_ten(engine, vocabulary):
    """Ten prompts in turns, of several lengths: what the engine keeps of the last ones is all that it keeps."""
    prompts = [[(7 * n * n + 3 + 11 * number) % vocabulary for n in range(20 * number + 5)] for number in range(10)]
    kept = []
    for number in range(100):
        tokens_of(started(engine, prompts[number % 10], candidates=1 + number % 2), 2)
        if number % 10 == 9:
            kept.append(_tensor_bytes())
    assert kept[-1] <= kept[0]


def _tensor_bytes():
    """The bytes of all tensors that Python holds; what several of them share counts once."""
    gc.collect()
    storages = [found.untyped_storage() for found in gc.get_objects() if type(found) is torch.Tensor]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def scoring_leaves_requests_alone(engine, prompt, continuation):
    """Before a request, and while one is under way."""
    expected = ids(tokens_of(started(engine, prompt))[0])
    engine.score(prompt, continuation)
    assert ids(tokens_of(started(engine, prompt))[0]) == expected
    engine.score(prompt[: len(prompt) // 2 + 1], continuation)
    generation = started(engine, prompt)
    first = tokens_of(generation, 1)[0]
    engine.score(prompt, continuation)
    assert ids(first + tokens_of(generation, STEPS)[0])[:STEPS] == expected


def the_top_logprobs_are_what_would_be_said(engine, prompt, within):
    """In the place of each token of the greedy answer, and in the place behind."""
    tokens = tokens_of(started(engine, prompt))[0]
    found = engine.top_logprobs(prompt, ids(tokens[:-1]), 3)
    assert len(found) == len(tokens)
    for token, place in zip(tokens, found, strict=True):
        assert {each.id: each.logprob for each in place}[token.id] == pytest.approx(token.logprob, abs=within)
        assert place[0].logprob == pytest.approx(token.logprob, abs=within)
        assert len({each.id for each in place}) == 3
        assert [each.logprob for each in place] == sorted((each.logprob for each in place), reverse=True)
    other = found[4][1]
    (*_, logprob) = engine.score(prompt, [*ids(tokens[:4]), other.id])
    assert other.logprob == pytest.approx(logprob, abs=within)
    (behind_nothing,) = engine.top_logprobs(prompt, [], 3)
    assert tokens[0].id in {each.id for each in behind_nothing}


def nothing_is_scored_as_nothing(engine, prompt):
    expected = ids(tokens_of(started(engine, prompt))[0])
    assert engine.score(prompt, []) == []
    assert ids(tokens_of(started(engine, prompt))[0]) == expected


def a_text_beyond_the_context_is_not_scored(engine):
    whole = [7] * engine.context_length
    assert len(engine.score(whole[:-1], [8])) == 1
    with pytest.raises(ModelError, match=f"{engine.context_length} tokens in all"):
        engine.score(whole, [8])
    assert len(engine.score([7], [8, 9])) == 2
