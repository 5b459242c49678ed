"""Loading, choosing tokens, and what can be wrong with a checkpoint."""

from __future__ import annotations

import gc
import shutil
import weakref

import pytest
import torch
from checkpoints import CONTEXT, KINDS, build, change_config
from contract import OneOf, begun, started
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig

from fim_magic.engines import ANY, Sampling
from fim_magic.engines.torch.devices import dtype_for
from fim_magic.engines.torch.library_model import LibraryModel
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.errors import ModelError


def load(folder):
    return LocalEngine.load(folder, name="tiny", revision="r1")


@pytest.mark.parametrize("name", KINDS)
def test_a_loaded_checkpoint_says_what_it_is(engine, name):
    loaded = engine(name)
    assert (loaded.info.model, loaded.info.revision) == (name, "tiny")
    assert loaded.family.name == KINDS[name].family
    assert loaded.context_length == CONTEXT
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("total 中文")) == "total 中文"
    assert not loaded._model.module.training


def test_place_and_weight_bytes(engine):
    loaded = engine("qwen2")
    on_cpu = not torch.cuda.is_available()
    assert loaded.info.runs_on in ("cpu, float32", "cpu, float32, weights in float16") or not on_cpu
    parameters = sum(p.numel() for p in loaded._model.module.parameters())
    assert loaded.report().weight_bytes == parameters * (4 if on_cpu else 2)


def test_a_context_that_config_does_not_name_is_a_safe_one(engine):
    class Model:
        config = PreTrainedConfig(model_type="nonsense")

    assert LocalEngine(LibraryModel(Model()), engine("qwen2").tokenizer, "m", "r").context_length == 2048


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_only_the_allowed_tokens_come_and_only_for_their_candidate(engine, temperature):
    sampling = Sampling(temperature=temperature, seed=1)
    prompt = engine("qwen2").tokenizer.encode("def mean(xs):\n")

    def first(allowed):
        beginnings = [OneOf(choices=tuple(allowed[at])) if at in allowed else ANY for at in range(3)]
        return started(engine("qwen2"), prompt, beginnings=beginnings, sampling=sampling).step()

    first({})  # what a prompt is read for the first time, and read on from then, differs in the last digits
    free, bound = first({}), first({1: [7, 8]})
    assert bound[1].id in (7, 8)
    assert [bound[0], bound[2]] == [free[0], free[2]]
    assert bound[1].logprob < 0
    assert first({1: [free[1].id]}) == free


def test_cpus_compute_in_float32():
    assert dtype_for(torch.device("cpu")) is torch.float32


@pytest.fixture
def folder(checkpoint, tmp_path):
    return shutil.copytree(checkpoint("qwen2"), tmp_path / "copy")


def garbage(folder):
    (folder / "model.safetensors").write_bytes(b"garbage" * 100)


def half_a_file(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def one_weight_less(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def other_shapes(folder):
    change_config(folder, hidden_size=64)


def unknown_architecture(folder):
    change_config(folder, model_type="nonsense")


def no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def broken_config(folder):
    (folder / "config.json").write_text("{")


DAMAGE = [garbage, half_a_file, one_weight_less, other_shapes]
DAMAGE += [unknown_architecture, no_tokenizer, broken_config]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_refused_in_words(folder, damage):
    damage(folder)
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_weight_is_named(folder):
    one_weight_less(folder)
    with pytest.raises(ModelError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        load(folder)


def test_tied_embeddings_are_not_missing(tmp_path):
    build("qwen2", tmp_path / "tied", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(tmp_path / "tied" / "model.safetensors")
    load(tmp_path / "tied")


def test_code_of_the_checkpoint_is_neither_run_nor_offered(folder, monkeypatch):
    ran = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass C: pass\nclass M: pass\n")
    change_config(folder, model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
    monkeypatch.setattr("builtins.input", lambda _: "y")  # transformers would ask
    with pytest.raises(ModelError, match="code of its own"):
        load(folder)
    assert not ran.exists()


@pytest.mark.parametrize("fails_at", [1, 4])
def test_running_out_of_memory_ends_the_request_and_the_next_one_works(engine, monkeypatch, fails_at):
    loaded = engine("qwen2")
    prompt = loaded.tokenizer.encode("def mean(numbers):\n    total = ")
    calls = []

    def short(forward):
        def short_of_memory(*args, **kwargs):
            calls.append(True)
            if len(calls) == fails_at:
                torch.empty(10**15, dtype=torch.uint8)
            return forward(*args, **kwargs)

        return short_of_memory

    def answer(generation, tokens=6):
        list(generation.prefill())
        return [generation.step()[0].id for _ in range(tokens)]

    expected = answer(begun(loaded, prompt, candidates=2))
    generation = begun(loaded, prompt, candidates=2)
    cache = weakref.ref(generation._forward._cache)
    for name in ("forward", "decode_step"):
        monkeypatch.setattr(loaded._decoder, name, short(getattr(loaded._decoder, name)))
    gc.disable()
    try:
        with pytest.raises(ModelError, match=r"not enough memory.*--max-new-tokens"):
            answer(generation)
        assert cache() is None
    finally:
        gc.enable()
    monkeypatch.undo()
    assert answer(begun(loaded, prompt, candidates=2)) == expected
