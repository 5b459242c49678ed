"""What a checkpoint's folder may hold, and what comes of it."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import shutil
import sys

import pytest
import torch
from checkpoints import QWEN, STARCODER, build, change_config, tokenizer
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, pre_tokenizers
from transformers import dynamic_module_utils
from transformers.utils import logging as transformers_logging

from fim_magic.engines.torch.checkpoint import load_checkpoint
from fim_magic.engines.torch.placement import Placement
from fim_magic.errors import ModelError

IDS = torch.tensor([[5, 300, 17, 42, 8]])
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(checkpoint, tmp_path):
    return shutil.copytree(checkpoint("qwen2"), tmp_path / "copy")


@torch.no_grad()
def logits_of(folder, **options):
    return load_checkpoint(folder, "tiny", **options)[0](IDS).logits


def refusal(folder, **options):
    with pytest.raises(ModelError) as caught:
        load_checkpoint(folder, "tiny", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- where, and how quietly ----------------------------------------------------------------------


def test_a_placement_decides(folder):
    placement = Placement({"dtype": torch.float16, "device_map": {"": "cpu"}}, "cpu, float16", 0, 0, 0)
    model, _ = load_checkpoint(folder, "tiny", placement)
    assert model.dtype is torch.float16
    assert load_checkpoint(folder, "tiny")[0].dtype is (torch.bfloat16 if torch.cuda.is_available() else torch.float32)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_transformers_reaches_the_screen(folder, capfd, fails, request):
    stored = load_file(folder / "model.safetensors")
    stored["model.layers.0.self_attn.left_over"] = torch.zeros(3)  # transformers would draw a table of it
    if fails:
        del stored["model.norm.weight"]
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    transformers_logging.set_verbosity_warning()
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    said = io.StringIO()
    handler = logging.StreamHandler(said)  # its own writes to where the screen was when it was imported
    transformers_logging.add_handler(handler)
    request.addfinalizer(lambda: transformers_logging.remove_handler(handler))
    capfd.readouterr()
    refusal(folder) if fails else load_checkpoint(folder, "tiny")
    assert capfd.readouterr() == ("", "")
    assert said.getvalue() == ""
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


def test_a_weight_of_another_shape_is_named_with_both(folder):
    change_config(folder, intermediate_size=64)
    said = refusal(folder)
    assert "mlp" in said
    assert "48" in said
    assert "64" in said


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_a_damaged_config_is_told(folder, text):
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)


# --- weights in pickles --------------------------------------------------------------------------


def pickled(folder, shards=1):
    """Store the weights as torch.save does, in one file or in several with an index."""
    stored = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(stored, folder / "pytorch_model.bin")
        return folder
    places = {name: f"pytorch_model-{at % shards + 1:05}-of-{shards:05}.bin" for at, name in enumerate(stored)}
    for place in set(places.values()):
        torch.save({name: stored[name] for name in stored if places[name] == place}, folder / place)
    index = {"metadata": {}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


class Harm:
    """What runs when the pickle is read as Python reads pickles."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("shards", [1, 3])
def test_pickles_are_read_as_numbers_with_a_word_about_it(folder, checkpoint, shards):
    notices = []
    found = logits_of(pickled(folder, shards), on_notice=notices.append)
    assert torch.equal(found, logits_of(checkpoint("qwen2")))
    assert len(notices) == 1
    assert "pickle" in notices[0]
    assert "safetensors" in notices[0]


def with_torch(harm, path):
    torch.save({"model.norm.weight": torch.ones(32), "harm": harm}, path)


def with_pickle(harm, path):
    path.write_bytes(pickle.dumps({"harm": harm}, protocol=2))


@pytest.mark.parametrize("store", [with_torch, with_pickle])
def test_a_pickle_that_would_run_something_is_refused(folder, tmp_path, store):
    marker = tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    store(Harm(marker), folder / "pytorch_model.bin")
    said = refusal(folder)
    assert "would call posix.system" in said or "would call nt.system" in said
    assert "weights_only" not in said  # torch's own message says how to run it all the same
    assert not marker.exists()
    if store is with_pickle:  # the test's own pickle does what it is for
        pickle.loads((folder / "pytorch_model.bin").read_bytes())
        assert marker.exists()


def test_where_there_are_safetensors_pickles_are_not_touched(folder, tmp_path):
    notices = []
    with_torch(Harm(tmp_path / "ran"), folder / "pytorch_model.bin")
    load_checkpoint(folder, "tiny", on_notice=notices.append)
    assert notices == []
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"garbage" * 99, b"\x80\x02."])
def test_a_damaged_pickle_is_refused(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    refusal(folder)


def test_a_checkpoint_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    assert "pytorch_model.bin" in refusal(folder)


# --- code of the checkpoint ----------------------------------------------------------------------


@pytest.fixture
def with_code(folder, tmp_path, monkeypatch):
    """A checkpoint whose architecture only its own code knows. The code leaves a mark when it runs."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda _: "y")  # transformers would ask
    shutil.rmtree(folder)
    build("llama", folder)
    marker = tmp_path / "ran"
    (folder / "configuration_own.py").write_text(
        "from transformers import LlamaConfig\n"
        f"open({str(marker)!r}, 'a').close()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
    )
    (folder / "modeling_own.py").write_text(
        "from transformers import LlamaForCausalLM\nfrom .configuration_own import OwnConfig\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    classes = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    change_config(folder, model_type="own", architectures=["OwnForCausalLM"], auto_map=classes)
    yield folder, marker
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


def test_code_does_not_run_unless_it_is_allowed(with_code):
    folder, marker = with_code
    said = refusal(folder)
    assert "%fim use OWNER/NAME@COMMIT --allow-code" in said
    assert not marker.exists()


def test_the_line_that_allows_code_names_the_revision(with_code, tmp_path):
    folder, marker = with_code
    cached = tmp_path / "models--owner--own" / "snapshots" / COMMIT
    shutil.copytree(folder, cached)
    assert f"%fim use owner/own@{COMMIT} --allow-code" in refusal(cached)
    assert not marker.exists()


def test_code_runs_where_it_is_allowed(with_code, checkpoint):
    folder, marker = with_code
    notices = []
    found = logits_of(folder, allow_code=True, on_notice=notices.append)
    assert marker.exists()
    assert torch.equal(found, logits_of(checkpoint("llama")))
    assert notices == ["tiny runs code of its own, which you have allowed for this revision."]


def test_code_that_is_not_needed_does_not_run_even_if_allowed(folder, tmp_path):
    marker = tmp_path / "ran"
    (folder / "modeling_own.py").write_text(f"open({str(marker)!r}, 'a').close()\nclass C: pass\nclass M: pass\n")
    change_config(folder, auto_map={"AutoConfig": "modeling_own.C", "AutoModelForCausalLM": "modeling_own.M"})
    notices = []
    load_checkpoint(folder, "tiny", allow_code=True, on_notice=notices.append)
    assert not marker.exists()
    assert notices == []


def test_code_for_a_known_name_with_another_architecture_is_needed(folder):
    change_config(folder, architectures=["Qwen2CustomModel"], auto_map={"AutoModelForCausalLM": "modeling_own.M"})
    assert "code of its own" in refusal(folder)


def test_code_in_another_repository_is_refused_even_if_allowed(with_code):
    folder, marker = with_code
    change_config(folder, auto_map={"AutoConfig": "other/repo--configuration_own.OwnConfig"})
    assert "other/repo" in refusal(folder, allow_code=True)
    assert not marker.exists()


@pytest.mark.parametrize("line", ["raise SystemError('bang')", "import no_such_package_anywhere", "def broken(:"])
def test_code_that_fails_is_told_in_words(with_code, line):
    folder, _ = with_code
    (folder / "modeling_own.py").write_text(f"{line}\n")
    assert "tiny could not be loaded" in refusal(folder, allow_code=True)


# --- tokenizers ----------------------------------------------------------------------------------


def test_the_tokenizer_is_what_its_file_says(folder):
    """transformers builds a GPT2Tokenizer anew from such a file, and loses the digits."""
    backend = tokenizer(QWEN, special=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    _, text = load_checkpoint(folder, "tiny")
    for sample in ["    1", "2023", "a b", "x = 10\n    y"]:
        assert text.encode(sample) == Tokenizer.from_file(str(folder / "tokenizer.json")).encode(sample).ids


@pytest.fixture
def spelled_out(tmp_path):
    """`spelled_out(name)` is that checkpoint with its tokenizer in three files instead of tokenizer.json."""

    def write(name):
        folder = build(name, tmp_path / name)
        data = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.json").write_text(json.dumps(data["model"]["vocab"]), "utf-8")
        merges = "\n".join(" ".join(pair) for pair in data["model"]["merges"])
        (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", "utf-8")
        added = {token["content"]: token["id"] for token in data["added_tokens"]}
        (folder / "added_tokens.json").write_text(json.dumps(added), "utf-8")
        return folder

    return write


def test_a_tokenizer_in_three_files_is_as_good(spelled_out, checkpoint):
    _, found = load_checkpoint(spelled_out("starcoder"), "tiny")
    _, expected = load_checkpoint(checkpoint("starcoder"), "tiny")
    for sample in ["def f(x):\n    return x\n", "<fim_prefix>", "中文 é 😀\t\t", ""]:
        assert found.encode(sample) == expected.encode(sample)
        assert found.decode(found.encode(sample)) == sample
    assert [found.sentinel(t) for t in STARCODER] == [expected.sentinel(t) for t in STARCODER]
    assert None not in [found.sentinel(t) for t in STARCODER]


def test_three_files_that_leave_something_open_are_refused(spelled_out):
    said = refusal(spelled_out("qwen2"))
    assert "not known for qwen2" in said
    assert "AutoTokenizer" in said


def test_only_a_sentencepiece_model_says_how_to_make_a_tokenizer(folder):
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    said = refusal(folder)
    assert "SentencePiece" in said
    assert "%pip install sentencepiece protobuf" in said
    assert f"AutoTokenizer.from_pretrained({str(folder)!r})" in said


def test_no_tokenizer_at_all(folder):
    (folder / "tokenizer.json").unlink()
    assert "has no tokenizer" in refusal(folder)


def test_a_damaged_tokenizer_is_told(folder):
    (folder / "tokenizer.json").write_text("{}")
    assert "tokenizer of this checkpoint could not be read" in refusal(folder)


def declare(folder, tokens):
    entries = {str(at): {"content": text, "special": True, "normalized": False} for text, at in tokens.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": entries}))


def test_added_tokens_that_tokenizer_json_lacks_are_added(tmp_path):
    folder = build("qwen2", tmp_path / "wide", vocab_size=500)
    size = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    declare(folder, {"<|more|>": size + 1, "<|user|>": size, "<|fim_prefix|>": size - 6})
    _, text = load_checkpoint(folder, "tiny")
    assert (text.sentinel("<|user|>"), text.sentinel("<|more|>")) == (size, size + 1)
    assert text.sentinel("<|fim_prefix|>") == size - 6
    assert text.encode("<|user|>") != [size]  # a sentinel in the user's text stays text
    assert text.decode([size]) == "<|user|>"


def test_added_tokens_with_impossible_ids_are_left_out(tmp_path):
    folder = build("qwen2", tmp_path / "wide", vocab_size=500)
    size = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    declare(folder, {"<|taken|>": 3, "<|far|>": size + 7, "<|endoftext|>": size})
    _, text = load_checkpoint(folder, "tiny")
    assert text.sentinel("<|taken|>") is None
    assert text.sentinel("<|far|>") is None
    assert text.sentinel("<|endoftext|>") == size - len(QWEN)


def test_bos_is_what_tokenizer_config_asks_for(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": True, "bos_token": "<|endoftext|>"}))
    _, text = load_checkpoint(folder, "tiny")
    assert text.leading_ids == [text.sentinel("<|endoftext|>")]


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["config.json", "generation_config.json"])
def test_declared_ends_that_cannot_end_a_text_are_forgotten(folder, place):
    end = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("<|endoftext|>")
    values = json.loads((folder / place).read_text())
    (folder / place).write_text(json.dumps(values | {"eos_token_id": [2, end, 99_999]}))
    model, _ = load_checkpoint(folder, "tiny")
    config = model.config if place == "config.json" else model.generation_config
    assert config.eos_token_id == [end]


def test_a_true_end_is_kept_as_it_is(folder):
    end = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("<|im_end|>")
    change_config(folder, eos_token_id=end)
    assert load_checkpoint(folder, "tiny")[0].config.eos_token_id == end


def test_an_end_that_is_only_a_piece_of_the_vocabulary_is_kept(tmp_path):
    """SentencePiece's `</s>` need not be an added token."""
    backend = tokenizer(())
    data = json.loads(backend.to_str())
    data["model"]["vocab"]["</s>"] = len(data["model"]["vocab"])
    folder = build("llama", tmp_path / "llama", eos_token_id=data["model"]["vocab"]["</s>"])
    (folder / "tokenizer.json").write_text(json.dumps(data))
    assert load_checkpoint(folder, "tiny")[0].config.eos_token_id == data["model"]["vocab"]["</s>"]
