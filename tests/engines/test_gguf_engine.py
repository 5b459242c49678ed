"""The engine over llama.cpp: with tiny random GGUF files, against torch on the same weights, and with the real ones."""

from __future__ import annotations

import gc
import itertools
import math
import os
import subprocess
import sys
import weakref
from importlib import metadata
from pathlib import Path

import contract
import pytest
from contract import SAMPLED, STEPS, OneOf, begun, ids, started, tokens_of
from gguf_files import TEXTS, write_gguf
from hypothesis import given, settings
from hypothesis import strategies as st

from fim_magic import weights
from fim_magic.catalog import QWEN_0_5B_GGUF
from fim_magic.engines import ANY, SCORED_AT_ONCE, Sampling
from fim_magic.engines.llama_cpp import gguf
from fim_magic.engines.llama_cpp import library as llama_cpp
from fim_magic.engines.llama_cpp.decoder import CHUNK, Cells, LlamaModel
from fim_magic.engines.llama_cpp.gguf import GgufEngine
from fim_magic.engines.torch.gguf_conversion import converted
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.errors import ModelError
from fim_magic.events import Finished
from fim_magic.generation import prompt_for
from fim_magic.pipeline import run
from fim_magic.progress import Progress
from fim_magic.settings import Settings

SHORT = 21
LONG = 2 * CHUNK + 60
ROUNDED = 0.05  # llama.cpp adds up in float16, and multiplies many rows in another way than one


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A cache folder and two files: weights in float32, and in eight kinds of quantisation."""
    home = tmp_path_factory.mktemp("gguf")
    write_gguf(home / "exact.gguf", exact=True, context=2048)
    write_gguf(home / "tiny-q8_0.gguf", context=2048)
    return home


@pytest.fixture(autouse=True)
def _cache(home, monkeypatch):
    if os.environ.get("FIM_MAGIC_CACHE") is None:
        monkeypatch.setenv("FIM_MAGIC_CACHE", str(home / "cache"))


def load(path, **options):
    return GgufEngine.load(path, name="tiny", revision="r", **options)


@pytest.fixture(scope="module")
def exact(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIM_MAGIC_CACHE", str(home / "cache"))
        return load(home / "exact.gguf")


@pytest.fixture(scope="module")
def quantised(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIM_MAGIC_CACHE", str(home / "cache"))
        return load(home / "tiny-q8_0.gguf")


@pytest.fixture(params=["exact", "quantised"])
def loaded(request):
    engine = request.getfixturevalue(request.param)
    engine.forget()
    return engine


@pytest.fixture(scope="module")
def reference(home):
    """The same weights under torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIM_MAGIC_CACHE", str(home / "cache"))
        folder = converted(home / "exact.gguf")
    return LocalEngine.load(folder, name="tiny", revision="r")


def prompt_of(length, seed=3):
    return [(7 * n * n + seed) % 250 for n in range(length)]


def agree(ours, theirs, within):
    """Whether greedy tokens are the same, but for what follows where two are nearly as probable."""
    for mine, its in zip(ours, theirs, strict=False):
        assert mine.logprob == pytest.approx(its.logprob, abs=within)
        if mine.id != its.id:
            return


# --- what every engine promises ------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, SHORT, CHUNK, CHUNK + 1, LONG])
def test_greedy_tokens_and_logprobs_are_those_of_torch_on_the_same_weights(exact, reference, length):
    ours = tokens_of(started(exact, prompt_of(length)))[0]
    theirs = tokens_of(started(reference, prompt_of(length)))[0]
    assert ours[0].id == theirs[0].id
    assert len(set(ids(ours))) > 1, "the model repeats itself, so this shows nothing"
    agree(ours, theirs, within=0.03)  # the KV cache is float16, and llama.cpp adds up its values in float16


def test_logprobs_are_of_all_that_may_come(exact):
    def first(allowed):
        return started(exact, prompt_of(SHORT), beginnings=[OneOf(choices=(allowed,))]).step()[0]

    found = [first(token) for token in range(exact._model.rows)]
    assert ids(found) == list(range(exact._model.rows))
    assert math.fsum(math.exp(token.logprob) for token in found) == pytest.approx(1.0, abs=1e-6)


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
    generation = contract.candidates_can_be_finished_before_the_first_step_and_one_after_another(
        loaded, prompt_of(SHORT)
    )
    assert generation.step() == []


def test_two_generations_do_not_disturb_each_other(loaded):
    contract.two_generations_do_not_disturb_each_other(loaded, prompt_of(SHORT), prompt_of(LONG), candidates=2)


def test_only_allowed_tokens_come_and_only_where_they_are_asked_for(loaded):
    free = started(loaded, prompt_of(SHORT), candidates=2).step()
    generation = started(loaded, prompt_of(SHORT), beginnings=[OneOf(choices=(5, 6, 10**9)), ANY])
    bound, unbound = generation.step()
    assert bound.id in {5, 6}
    assert bound.logprob < free[0].logprob
    assert unbound.id == free[1].id
    assert unbound.logprob == pytest.approx(free[1].logprob, abs=1e-3)
    continued = generation.step()
    alone = ids(tokens_of(started(loaded, [*prompt_of(SHORT), bound.id]), 1)[0])
    assert ids(continued)[:1] == alone


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("method", ["fim", "complete"])
@pytest.mark.parametrize(
    "text", ["def f(x):\n    return <cursor> / len(x)\n", "if x<cursor>", "# 平均\n平均 = <cursor>\n"]
)
def test_a_whole_request(loaded, method, text, temperature):
    options = {"candidates": 2, "max_new_tokens": 8, "seed": 3, "temperature": temperature}
    _, request = Settings().request(text, complete=method == "complete", **options)
    events = list(run(request, loaded))
    assert [isinstance(event, Finished) for event in events] == [False] * (len(events) - 1) + [True]
    result = events[-1].result
    healed = prompt_for(request, loaded).healed
    assert result.answers == 2
    for candidate in result.candidates:
        assert len(candidate.logprobs) == len(candidate.token_ids) <= 8 + len(healed)
        assert loaded.tokenizer.decode(list(candidate.token_ids)).startswith(healed + candidate.raw)


def test_a_token_that_the_hole_cut_in_two_is_healed(exact):
    _, request = Settings().request("if x:\n    i<cursor>", complete=True, max_new_tokens=8, temperature=1.0)
    assert prompt_for(request, exact).healed == "i"
    for seed in range(5):
        _, request = Settings().request(
            "if x:\n    i<cursor>", complete=True, max_new_tokens=8, temperature=1.0, seed=seed
        )
        found = list(run(request, exact))[-1].result.candidates[0]
        assert exact.tokenizer.decode(list(found.token_ids)).startswith("i")


@pytest.mark.parametrize(("length", "more"), [(1, 1), (SHORT, SCORED_AT_ONCE + 1), (LONG, 200)])
def test_scores_are_those_of_torch_on_the_same_weights(exact, reference, length, more):
    prompt, continuation = prompt_of(length), prompt_of(more, seed=8)
    expected = reference.score(prompt, continuation)
    assert exact.score(prompt, continuation) == pytest.approx(expected, abs=0.03)  # as above


@pytest.mark.parametrize("length", [1, SHORT, LONG])
def test_scores_are_those_of_generating(loaded, length):
    contract.scores_are_those_of_generating(loaded, prompt_of(length), within=ROUNDED)


def test_scores_do_not_hang_on_what_was_read_before(loaded):
    contract.scores_do_not_hang_on_what_was_read_before(loaded, prompt_of(LONG), prompt_of(70, seed=8), within=ROUNDED)


def test_scoring_leaves_requests_alone(loaded):
    contract.scoring_leaves_requests_alone(loaded, prompt_of(LONG), prompt_of(70, seed=8))


def test_nothing_is_scored_as_nothing(loaded):
    contract.nothing_is_scored_as_nothing(loaded, prompt_of(SHORT))


@pytest.mark.parametrize("length", [1, SHORT, LONG])
def test_the_top_logprobs_are_what_would_be_said(loaded, length):
    contract.the_top_logprobs_are_what_would_be_said(loaded, prompt_of(length), within=ROUNDED)


def test_a_text_beyond_the_context_is_not_scored(home):
    engine = load(home / "exact.gguf", free=lambda: 2 * 256 * 300)
    assert engine.context_length == 300
    contract.a_text_beyond_the_context_is_not_scored(engine)


def test_a_prompt_is_read_once_for_all_that_is_scored_after_it(loaded, monkeypatch):
    real, read = Cells.decode, []
    monkeypatch.setattr(
        Cells, "decode", lambda cells, batch, wanted: read.append(len(batch)) or real(cells, batch, wanted)
    )
    tokens_of(started(loaded, prompt_of(LONG), candidates=2), 2)
    read.clear()
    for seed in range(3):
        loaded.score(prompt_of(LONG), prompt_of(40, seed))
    assert read == [40, 40, 40]
    assert started(loaded, prompt_of(LONG)).reused == LONG - 1


@pytest.mark.parametrize("calls", range(4))
def test_an_interrupt_while_scoring_leaves_the_next_request_correct(loaded, calls, monkeypatch):
    expected = ids(tokens_of(started(loaded, prompt_of(LONG)))[0])
    scores = loaded.score(prompt_of(LONG), prompt_of(150, seed=8))
    loaded.forget()
    real, made = Cells.decode, []

    def interrupted(*arguments, **options):
        found = real(*arguments, **options)
        made.append(found)
        if len(made) > calls:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Cells, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loaded.score(prompt_of(LONG), prompt_of(150, seed=8))
    monkeypatch.undo()
    assert ids(tokens_of(started(loaded, prompt_of(LONG)))[0]) == expected
    assert loaded.score(prompt_of(LONG), prompt_of(150, seed=8)) == pytest.approx(scores, abs=ROUNDED)


# --- the KV cache --------------------------------------------------------------------------------


def test_the_last_prompt_is_not_read_again(loaded):
    expected = ids(tokens_of(started(loaded, prompt_of(LONG)))[0])
    again = started(loaded, prompt_of(LONG))
    assert again.reused == LONG - 1
    assert ids(tokens_of(again)[0]) == expected


@settings(max_examples=40)
@given(
    prompt=st.lists(st.integers(0, 249), min_size=1, max_size=60),
    keep=st.integers(0, 60),
    rest=st.lists(st.integers(0, 249), min_size=1, max_size=30),
    taken=st.integers(0, 5),
)
def test_reuse_after_any_edit_gives_the_tokens_of_a_fresh_run(exact, prompt, keep, rest, taken):
    tokens_of(started(exact, prompt, candidates=2), taken)
    edited = prompt[:keep] + rest
    generation = started(exact, edited)
    shared = list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(prompt, edited, strict=False)))
    assert generation.reused == min(len(shared), len(edited) - 1)
    reused = tokens_of(generation, 4)[0]
    exact.forget()
    fresh = started(exact, edited)
    assert fresh.reused == 0
    agree(reused, tokens_of(fresh, 4)[0], within=5e-3)


def test_reuse_can_be_turned_off(loaded):
    started(loaded, prompt_of(SHORT))
    loaded.reuse = False
    try:
        assert started(loaded, prompt_of(SHORT)).reused == 0
    finally:
        loaded.reuse = True


def test_an_interrupted_prompt_leaves_the_next_request_correct(loaded):
    expected = ids(tokens_of(started(loaded, prompt_of(LONG)))[0])
    loaded.forget()
    generation = begun(loaded, prompt_of(LONG), candidates=2)
    parts = generation.prefill()
    assert next(parts) == CHUNK
    parts.close()
    del parts, generation
    again = started(loaded, prompt_of(LONG))
    assert again.reused == CHUNK
    assert ids(tokens_of(again)[0]) == expected


@pytest.mark.parametrize("steps", range(4))
def test_an_interrupt_inside_llama_cpp_leaves_the_next_request_correct(loaded, steps, monkeypatch):
    expected = ids(tokens_of(started(loaded, prompt_of(SHORT)))[0])
    real, calls = Cells.decode, []

    def interrupted(*arguments, **options):
        found = real(*arguments, **options)
        calls.append(found)
        if len(calls) > steps:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Cells, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tokens_of(started(loaded, prompt_of(SHORT, seed=5), candidates=2))
    monkeypatch.undo()
    assert ids(tokens_of(started(loaded, prompt_of(SHORT)))[0]) == expected


def test_dropped_generations_give_their_sequences_back(loaded):
    expected = ids(tokens_of(started(loaded, prompt_of(SHORT)))[0])
    for _ in range(5):
        tokens_of(started(loaded, prompt_of(SHORT), candidates=64, sampling=SAMPLED), 2)
    gc.collect()
    assert ids(tokens_of(started(loaded, prompt_of(SHORT)))[0]) == expected


def test_more_candidates_than_sequences_are_refused(loaded):
    generations = [started(loaded, prompt_of(SHORT), candidates=64) for _ in range(2)]
    with pytest.raises(ModelError, match="busy"):
        begun(loaded, prompt_of(SHORT))
    generations.pop()
    tokens_of(started(loaded, prompt_of(SHORT), candidates=64), 2)


def test_the_cache_grows_and_loses_nothing(home):
    def answers(first):
        engine = load(home / "exact.gguf", cells=first)
        generation = started(engine, prompt_of(SHORT), candidates=8, sampling=SAMPLED)
        found = tokens_of(generation, 40)
        again = started(engine, prompt_of(LONG))
        return {n: ids(tokens) for n, tokens in found.items()}, ids(tokens_of(again)[0]), engine

    *small, engine = answers(256)
    assert engine._sequences.cells._cells > 256
    *large, _ = answers(2048)
    assert small == large


def test_a_full_cache_is_told_in_words_and_the_next_request_works(home):
    engine = load(home / "exact.gguf", free=lambda: 2 * 256 * 300)  # bytes: half of it is for 300 tokens
    assert engine.context_length == 300
    generation = started(engine, prompt_of(SHORT), candidates=64, sampling=SAMPLED)
    with pytest.raises(ModelError, match=r"KV cache is full.*-n 1"):
        tokens_of(generation, 20)
    del generation
    gc.collect()
    assert len(tokens_of(started(engine, prompt_of(SHORT)))[0]) == STEPS


def test_a_prompt_or_an_answer_beyond_the_context_is_told(home):
    engine = load(home / "exact.gguf", free=lambda: 2 * 256 * 300)
    with pytest.raises(ModelError, match="300 tokens in all"):
        begun(engine, prompt_of(300))
    generation = started(engine, prompt_of(298))
    with pytest.raises(ModelError, match="model's context of 300 tokens"):
        tokens_of(generation)


def test_too_little_memory_is_told(home):
    with pytest.raises(ModelError, match="not enough memory for a KV cache"):
        load(home / "exact.gguf", free=lambda: 1000)


def test_tokens_that_the_model_does_not_have_are_told(exact):
    with pytest.raises(ModelError, match="could not compute"):
        started(exact, [10**6])
    assert tokens_of(started(exact, prompt_of(SHORT)))


def test_memory_is_given_back_with_the_engine(home):
    engine = load(home / "exact.gguf")
    tokens_of(started(engine, prompt_of(SHORT)))
    closed = engine._sequences.cells._close
    weights_gone = weakref.ref(engine._model)
    del engine
    gc.collect()
    assert not closed.alive
    assert weights_gone() is None


# --- loading -------------------------------------------------------------------------------------


def test_family_and_ends_are_those_of_the_torch_engine(exact, reference):
    assert exact.family == reference.family
    assert exact.context_length == reference.context_length
    assert exact.info.runs_on == "cpu, all F32, llama.cpp"


@pytest.mark.parametrize("pre", ["qwen2", "smollm"])
def test_our_ids_are_llama_cpps(tmp_path, pre):
    engine = load(write_gguf(tmp_path / f"{pre}.gguf", pre=pre).path)
    for text in (*TEXTS, Path(__file__).read_text("utf-8"), "x  12 <|fim_prefix|> <|endoftext|>"):
        assert engine.tokenizer.encode(text) == engine._model.tokenize(text)


def test_sizes_are_those_of_the_file(exact, quantised):
    assert exact.report().weight_bytes > 2 * quantised.report().weight_bytes > 0
    layers, keys_and_values, kv_heads, head_width, float16 = 2, 2, 1, 32, 2
    cell = layers * keys_and_values * kv_heads * head_width * float16
    assert exact.bytes_per_token(100) == exact.report().weight_bytes + 100 * cell


def test_nothing_is_shown(home, capfd):
    tokens_of(started(load(home / "tiny-q8_0.gguf"), prompt_of(LONG), candidates=2))
    assert capfd.readouterr() == ("", "")


def test_loading_can_be_interrupted_and_begun_again(home):
    def interrupt(progress):
        if progress.what.startswith("Loading"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(home / "exact.gguf", on_progress=interrupt)
    seen: list[Progress] = []
    load(home / "exact.gguf", on_progress=seen.append)
    percent = [progress.done for progress in seen if progress.what.startswith("Loading")]
    assert percent == sorted(percent)
    assert percent[-1] == 100


@pytest.mark.parametrize("keep", [0, 3, 1000, -100])
def test_a_damaged_file_is_told_in_one_paragraph(home, tmp_path, keep, capfd):
    path = tmp_path / "cut.gguf"
    path.write_bytes((home / "exact.gguf").read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"cut\.gguf could not be .*damaged") as error:
        load(path)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_llama_cpp_says_why_it_cannot_load(home, tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes((home / "exact.gguf").read_bytes()[:-100])
    with pytest.raises(ModelError, match="file bounds"):
        LlamaModel(path)


# --- the binding ---------------------------------------------------------------------------------


@pytest.fixture
def anew():
    llama_cpp.library.cache_clear()
    yield
    llama_cpp.library.cache_clear()


def test_it_is_available_here():
    assert gguf.available()


@pytest.mark.usefixtures("anew")
def test_not_installed(home, monkeypatch):
    def nothing(_):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "distribution", nothing)
    assert not gguf.available()
    with pytest.raises(ModelError, match=r"%pip install fim-magic\[gguf\]"):
        load(home / "exact.gguf")


@pytest.mark.usefixtures("anew")
def test_another_release_is_not_loaded(home, monkeypatch):
    monkeypatch.setattr(llama_cpp, "RELEASE", "2027.1.1")
    assert not gguf.available()
    with pytest.raises(ModelError, match=r"knows only 2027\.1\.1.*%pip install fim-magic\[gguf\]"):
        load(home / "exact.gguf")


@pytest.mark.usefixtures("anew")
def test_a_library_that_cannot_be_loaded_is_told(home, monkeypatch, tmp_path):
    (tmp_path / "broken.so").write_bytes(b"no library")
    monkeypatch.setattr(llama_cpp, "_path", lambda: tmp_path / "broken.so")
    assert not gguf.available()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(home / "exact.gguf")


@pytest.mark.usefixtures("anew")
def test_windows_is_told_to_use_torch(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert not gguf.available()
    with pytest.raises(ModelError, match="--engine torch"):
        llama_cpp.library()


def test_release_is_the_one_that_is_asked_for():
    wanted = f"\"xllamacpp=={llama_cpp.RELEASE}; sys_platform != 'win32'\","
    for extra in ("gguf", "test"):
        after = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8").partition(f"\n{extra} = [\n")[2]
        assert wanted in after.partition("\n]\n")[0], extra


def test_structures_are_those_of_the_library():
    # Its defaults, each where llama.h of this release has it: another layout would show.
    library = llama_cpp.library()
    model = library.llama_model_default_params()
    assert (model.n_gpu_layers, model.split_mode, model.load_mode, model.lazy_mode, model.main_gpu) == (-1, 1, -1, 1, 0)
    flags = ("vocab_only", "check_tensors", "use_extra_bufts", "no_host", "no_alloc", "load_mtp")
    assert [getattr(model, flag) for flag in flags] == [False, False, True, False, False, False]
    context = library.llama_context_default_params()
    assert (context.n_ctx, context.n_batch, context.n_ubatch, context.n_seq_max) == (512, 2048, 512, 1)
    assert (context.n_threads, context.flash_attn_type, context.defrag_thold) == (4, -1, -1.0)
    assert (context.type_k, context.type_v, context.moe_cache_size) == (1, 1, 0)
    flags = ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")
    assert [getattr(context, flag) for flag in flags] == [False, True, True, True, True, False]
    assert (context.samplers, context.n_samplers, context.ctx_other) == (None, 0, None)


def test_importing_fim_magic_loads_nothing_and_the_engine_needs_no_torch(home):
    load(home / "exact.gguf")  # its tokenizer is converted
    program = (
        "import sys, fim_magic, fim_magic.engines.llama_cpp.gguf as gguf; from pathlib import Path;"
        "loaded = lambda: {'torch', 'transformers', 'xllamacpp'} & set(sys.modules);"
        "before = loaded(); gguf.GgufEngine.load(Path(sys.argv[1]), name='x', revision='r'); print(before, loaded())"
    )
    command = [sys.executable, "-c", program, str(home / "exact.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("set() set()\n", "")


# --- real files ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def qwen():
    return load(weights.fetch(QWEN_0_5B_GGUF), named="")


@pytest.mark.real_model
def test_real_model_infills(qwen):
    _, request = Settings().request(
        "def mean(xs):\n    total = <cursor>\n    return total / len(xs)\n", max_new_tokens=32, candidates=1
    )
    result = list(run(request, qwen))[-1].result
    assert result.middle.startswith("0\n    for x in xs:\n        total += x")
    assert qwen.family.name == "Qwen2.5-Coder"
    assert qwen.info.runs_on == "cpu, Q4_K - Medium, llama.cpp"


@pytest.mark.real_model
def test_real_ids_are_llama_cpps(qwen):
    for text in (*TEXTS, *(path.read_text("utf-8") for path in Path(__file__).parents[1].rglob("*.py"))):
        # llama.cpp takes these two for sentinels, whatever it is told, where our tokenizer leaves them text.
        plain = text.replace("<tool_call>", "").replace("</tool_call>", "")
        assert qwen.tokenizer.encode(plain) == qwen._model.tokenize(plain)


@pytest.mark.real_model
def test_real_logprobs_are_close_to_those_of_torch(qwen):
    local = LocalEngine.load(converted(weights.fetch(QWEN_0_5B_GGUF)), name="q", revision="r")
    prompt = qwen.tokenizer.encode("def mean(xs):\n    total = 0\n    for x in xs:\n")
    ours, theirs = (tokens_of(started(engine, prompt))[0] for engine in (qwen, local))
    agree(ours, theirs, within=0.3)
    assert ids(ours)[:4] == ids(theirs)[:4]
