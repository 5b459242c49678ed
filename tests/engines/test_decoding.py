"""Our decoder, its KV cache and prompt lookup: faster, and the same tokens."""

from __future__ import annotations

import gc

import psutil
import pytest
from checkpoints import KINDS, build
from contract import LEAN, begun, by_generate
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fim_magic.engines import Sampling
from fim_magic.engines.reuse import common_prefix
from fim_magic.engines.torch.architectures import decoder_of
from fim_magic.engines.torch.kv_cache import PrefixCache
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.engines.torch.prompt_lookup import PromptLookup

STEPS = 16
LINE = [11, 45, 7, 99, 23, 5]


def answer(engine, prompt, *, steps=STEPS, candidates=1, sampling=None):
    generation = begun(engine, prompt, candidates=candidates, sampling=sampling)
    list(generation.prefill())
    found = {row: [] for row in range(candidates)}
    while any(len(ids) < steps for ids in found.values()):
        for token in generation.step():
            found[token.candidate].append(token.id)
    for row in range(candidates):
        generation.close(row)
    return [ids[:steps] for ids in found.values()], generation.reused


def fresh(engine, prompt, **options):
    engine.forget()
    return answer(engine, prompt, **options)[0]


@pytest.fixture(params=LEAN)
def lean(request, engine):
    loaded = engine(request.param)
    loaded.forget()
    yield loaded
    loaded.speculate = loaded.reuse = True
    loaded.forget()


def test_every_kind_that_is_described_runs_on_our_decoder(engine):
    assert {name for name in KINDS if engine(name).report().decoder == "lean"} >= set(LEAN)


@pytest.mark.parametrize("speculate", [False, True])
@pytest.mark.parametrize("prompt", [LINE, LINE * 5, LINE * 120], ids=len)
def test_greedy_tokens_are_those_of_generate_with_and_without_guessing(lean, prompt, speculate):
    lean.speculate = speculate
    assert fresh(lean, prompt) == [by_generate(lean, prompt, STEPS)]


@pytest.mark.parametrize("wrong_from", range(4))
def test_guesses_are_taken_as_far_as_they_are_right(lean, monkeypatch, wrong_from):
    prompt = LINE * 5
    lean.speculate = False
    expected = fresh(lean, prompt)[0]
    guess = [*expected[1 : 1 + wrong_from], *(token + 1 for token in expected[1 + wrong_from : 4])]
    guesses = [guess]
    monkeypatch.setattr(PromptLookup, "guess", lambda _: guesses.pop() if guesses else [])
    lean.speculate = True
    lean.forget()
    generation = begun(lean, prompt)
    list(generation.prefill())
    steps = [[token.id for token in generation.step()] for _ in range(4)]
    assert [len(step) for step in steps] == [1, wrong_from + 1, 1, 1]
    assert [token for step in steps for token in step] == expected[: wrong_from + 4]


edits = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 8), st.lists(st.integers(0, 250), max_size=8)), min_size=1, max_size=3
)


@hypothesis_settings(max_examples=40)
@given(edits, st.sampled_from([1, 3]))
def test_after_any_edits_the_kept_cache_gives_what_a_fresh_run_gives(shared_engine, edits, candidates):
    prompt = [(7 * n * n + 3) % 250 for n in range(64)]
    shared_engine.forget()
    answer(shared_engine, prompt, steps=4)
    for at, gone, put in edits:
        before = prompt
        prompt = [*prompt[:at], *put, *prompt[at + gone :]] or [1]
        found, reused = answer(shared_engine, prompt, steps=6, candidates=candidates)
        assert reused >= min(common_prefix(before, prompt), len(prompt) - 1)
        kept = shared_engine._prefixes
        shared_engine._prefixes = PrefixCache()
        expected = answer(shared_engine, prompt, steps=6, candidates=candidates)[0]
        shared_engine._prefixes = kept
        assert found == expected


@pytest.fixture(scope="session")
def shared_engine(checkpoint):
    return LocalEngine.load(checkpoint("qwen2"), name="qwen2", revision="tiny")


def test_without_reuse_everything_is_read_again(lean):
    lean.reuse = False
    answer(lean, LINE * 4)
    assert answer(lean, LINE * 4)[1] == 0


def test_a_prompt_that_is_asked_again_is_read_from_its_last_token_on(lean):
    answer(lean, LINE * 4)
    assert answer(lean, LINE * 4)[1] == len(LINE * 4) - 1


def test_a_prompt_that_goes_on_with_the_answer_reuses_the_answer_too(lean):
    ids = answer(lean, LINE * 4)[0][0]
    assert answer(lean, LINE * 4 + ids[:8] + [3, 4])[1] >= len(LINE * 4) + 8


@pytest.mark.parametrize("stopped_after", range(6))
@pytest.mark.parametrize("candidates", [1, 3])
def test_a_request_that_is_dropped_anywhere_leaves_the_next_one_right(lean, stopped_after, candidates):
    prompt = LINE * 100
    expected = fresh(lean, prompt, candidates=candidates)
    lean.forget()
    generation = begun(lean, prompt, candidates=candidates)
    reading = generation.prefill()
    for _ in range(min(stopped_after, 2)):
        next(reading, None)
    if stopped_after >= 2:
        list(reading)
        for _ in range(stopped_after - 2):
            generation.step()
    del generation, reading
    gc.collect()
    again, reused = answer(lean, prompt, candidates=candidates)
    assert again == expected
    assert (reused > 0) == (stopped_after > 0)


def test_an_error_in_the_middle_of_a_forward_pass_leaves_the_next_request_right(lean, monkeypatch):
    expected = fresh(lean, LINE * 4)
    generation = begun(lean, LINE * 4)
    list(generation.prefill())
    generation.step()  # the first token needs no forward pass
    logits = lean._decoder._logits
    monkeypatch.setattr(lean._decoder, "_logits", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        generation.step()
    monkeypatch.setattr(lean._decoder, "_logits", logits)
    del generation
    assert answer(lean, LINE * 4)[0] == expected


def test_sampling_with_a_seed_repeats_whatever_is_kept(lean):
    sampling = Sampling(temperature=1.0, top_p=0.9, seed=3)
    first = fresh(lean, LINE * 4, candidates=4, sampling=sampling)
    assert answer(lean, LINE * 4, candidates=4, sampling=sampling)[0] == first


def test_memory_does_not_grow_over_200_requests(engine):
    loaded = engine("qwen2")
    process = psutil.Process()
    for n in range(50):
        answer(loaded, [n % 200, *LINE * 20], steps=4, candidates=1 + n % 2)
    gc.collect()
    before = process.memory_info().rss
    for n in range(200):
        answer(loaded, [n % 200, *LINE * 20], steps=4, candidates=1 + n % 2)
    gc.collect()
    assert process.memory_info().rss - before < 20e6
    assert len(loaded._prefixes._caches) <= 2


def test_weights_beyond_float16_are_not_packed(tmp_path):
    engine = LocalEngine.load(build("qwen2", tmp_path / "m"), name="m", revision="tiny")
    model = engine._model.module
    assert engine.info.runs_on.endswith("weights in float16")
    model.model.layers[0].self_attn.v_proj.weight.data[0, 0] = 1e5
    assert not decoder_of(model).packed


def test_a_decoder_that_says_something_else_is_not_used(checkpoint):
    def without_norm(model):
        decoder = decoder_of(model)
        decoder._norm = lambda rows: rows * model.model.norm.weight
        return decoder

    loaded = LocalEngine.load(checkpoint("qwen2"), name="qwen2", revision="tiny", make_decoder=without_norm)
    assert loaded.report().decoder == "transformers"


def test_lookup_guesses_what_followed_before_and_the_last_time_counts():
    lookup = PromptLookup([1, 2, 3, 4, 9, 1, 2, 3, 5, 6, 7, 1, 2, 3])
    assert lookup.guess() == [5, 6, 7]


def test_lookup_guesses_nothing_of_what_was_never_there():
    assert PromptLookup([1, 2, 3, 4]).guess() == []


def test_lookup_pauses_after_two_failures_and_guesses_more_after_success():
    lookup = PromptLookup([1, 2, 3] * 10)
    lookup.learn(3, 3)
    assert len(lookup.guess()) > 0
    lookup.learn(3, 0)
    lookup.learn(3, 0)
    assert lookup.guess() == []


@pytest.mark.parametrize(("one", "other", "shared"), [([], [1], 0), ([1, 2], [1, 2, 3], 2), ([1, 2], [3, 2], 0)])
def test_common_prefix(one, other, shared):
    assert common_prefix(one, other) == common_prefix(other, one) == shared
