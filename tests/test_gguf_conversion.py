"""Converting GGUF files, with a tiny random one that is written here, and with the real one."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, GgufConfig
from transformers.utils import logging

from fim_magic import weights
from fim_magic.catalog import QWEN_0_5B_GGUF
from fim_magic.engines import gguf_conversion
from fim_magic.engines.gguf_conversion import converted
from fim_magic.errors import FetchError, ModelError
from fim_magic.progress import Progress

USERS_CACHE = os.environ.get("FIM_MAGIC_CACHE")  # half a gigabyte is not fetched for each run
LAYERS, WIDTH, HIDDEN, HEADS, KV_HEADS = 2, 64, 96, 2, 1
SPECIALS = ("<|endoftext|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
TEXTS = (
    "你好，世界：游標在這",
    "🎉 👩‍👩‍👧 ½ é",
    "\tif x:\n\t\treturn  1\r\n",
    "a    b\n\n\n   c  \n        d",
    "12345 3.14 x1y22",
)


@dataclass(frozen=True)
class Tiny:
    """A GGUF file, and what went into it."""

    path: Path
    tensors: dict[str, np.ndarray]  # as the file holds them, dequantised
    kinds: dict[str, Kind]


def byte_alphabet() -> list[str]:
    """The 256 characters that byte-level BPE writes bytes with, in GPT-2's order."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return list(bytes_to_unicode().values())


def write_tokenizer(writer: gguf.GGUFWriter, pre: str) -> int:
    """Write a byte-level tokenizer, and return how many tokens it has."""
    merges = [("Ġ", "Ġ"), ("Ġ", "x"), ("i", "f")]
    tokens = [*byte_alphabet(), *("".join(pair) for pair in merges), *SPECIALS]
    types = [1] * (len(tokens) - len(SPECIALS)) + [3] * len(SPECIALS)
    while len(tokens) % 32:  # rows beyond the vocabulary, as the real file has them
        types.append(5)
        tokens.append(f"[PAD{len(tokens)}]")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    first_special = tokens.index(SPECIALS[0])
    writer.add_bos_token_id(first_special)
    writer.add_eos_token_id(first_special + 1)
    writer.add_pad_token_id(first_special)
    return len(tokens)


def write_gguf(path: Path, *, pre: str = "qwen2", tied: bool = False) -> Tiny:
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("Tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    rows = write_tokenizer(writer, pre)
    random = np.random.default_rng(7)
    held: dict[str, np.ndarray] = {}
    kinds: dict[str, Kind] = {}

    def add(name: str, shape: tuple[int, ...], kind: Kind) -> None:
        values = (random.standard_normal(shape) * 0.3).astype(np.float32)
        stored = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
        held[name] = gguf.quants.dequantize(stored, kind)
        kinds[name] = kind

    key_value = WIDTH // HEADS * KV_HEADS
    add("token_embd.weight", (rows, WIDTH), Kind.Q8_0)
    if not tied:
        add("output.weight", (rows, WIDTH), Kind.Q5_0)
    add("output_norm.weight", (WIDTH,), Kind.F32)
    for layer in range(LAYERS):
        at = f"blk.{layer}"
        add(f"{at}.attn_norm.weight", (WIDTH,), Kind.F32)
        add(f"{at}.ffn_norm.weight", (WIDTH,), Kind.F32)
        add(f"{at}.attn_q.weight", (WIDTH, WIDTH), Kind.F16)
        add(f"{at}.attn_q.bias", (WIDTH,), Kind.F32)
        add(f"{at}.attn_k.weight", (key_value, WIDTH), Kind.Q4_0)
        add(f"{at}.attn_k.bias", (key_value,), Kind.F32)
        add(f"{at}.attn_v.weight", (key_value, WIDTH), Kind.BF16)
        add(f"{at}.attn_v.bias", (key_value,), Kind.F32)
        add(f"{at}.attn_output.weight", (WIDTH, WIDTH), Kind.F32)
        add(f"{at}.ffn_gate.weight", (HIDDEN, WIDTH), Kind.Q8_0)
        add(f"{at}.ffn_up.weight", (HIDDEN, WIDTH), Kind.Q8_0)
        add(f"{at}.ffn_down.weight", (WIDTH, HIDDEN), Kind.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Tiny(path, held, kinds)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "converted"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny-q8_0.gguf")


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "lm_head.weight": "output.weight",
    "model.norm.weight": "output_norm.weight",
    "model.layers.1.input_layernorm.weight": "blk.1.attn_norm.weight",
    "model.layers.0.self_attn.q_proj.weight": "blk.0.attn_q.weight",
    "model.layers.0.self_attn.q_proj.bias": "blk.0.attn_q.bias",
    "model.layers.0.self_attn.k_proj.weight": "blk.0.attn_k.weight",
    "model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight",
    "model.layers.1.self_attn.o_proj.weight": "blk.1.attn_output.weight",
    "model.layers.1.mlp.down_proj.weight": "blk.1.ffn_down.weight",
}


def test_each_tensor_keeps_what_the_file_holds(tiny: Tiny) -> None:
    stored = load_file(converted(tiny.path) / "model.safetensors")
    assert len(stored) == len(tiny.tensors)
    for name, gguf_name in NAMES.items():
        assert stored[name].dtype == torch.float32, name
        expected = torch.from_numpy(tiny.tensors[gguf_name].copy()).float()
        assert torch.equal(stored[name], expected), name


def test_converted_model_computes_what_transformers_computes_from_the_file(tiny: Tiny) -> None:
    folder = converted(tiny.path)
    ours = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(
        tiny.path.parent,
        gguf_file=tiny.path.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    ids = torch.arange(40).reshape(1, -1)
    with torch.no_grad():
        expected, found = theirs(ids).logits, ours(ids).logits
    assert float(expected.std()) > 0.1, "a model that says nothing would prove nothing"
    assert torch.equal(found, expected)


def test_folder_is_a_whole_checkpoint(tiny: Tiny) -> None:
    folder = converted(tiny.path)
    assert {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    } <= set(left_in(folder))
    assert "quantization_config" not in (folder / "config.json").read_text()
    mode = (folder / "config.json").stat().st_mode
    assert (folder / "model.safetensors").stat().st_mode == mode


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    folder = converted(write_gguf(tmp_path / "tied.gguf", tied=True).path)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert float(model.lm_head.weight.detach().abs().max()) > 0.1


def test_second_call_converts_nothing(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    first = converted(tiny.path)
    monkeypatch.setattr(gguf_conversion, "_convert", lambda *_: pytest.fail("it converted again"))
    assert converted(tiny.path) == first


def test_name_tells_the_content_whether_the_hash_is_given_or_not(tiny: Tiny, cache: Path) -> None:
    sha256 = hashlib.sha256(tiny.path.read_bytes()).hexdigest()
    folder = converted(tiny.path, sha256)
    assert folder == cache / f"tiny-q8_0-{sha256[:12]}-{gguf_conversion.LAYOUT}"
    assert converted(tiny.path) == folder


def test_nothing_but_our_progress_is_shown(tiny: Tiny, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers import modeling_gguf_pytorch_utils as reader

    logging.enable_progress_bar()
    before = (logging.get_verbosity(), reader.tqdm)
    seen: list[Progress] = []
    converted(tiny.path, None, seen.append)
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), reader.tqdm) == before
    tensors = [p.done for p in seen if p.unit == "tensors"]
    assert tensors == sorted(tensors)
    assert set(range(len(tiny.tensors) + 1)) == set(tensors)


@pytest.mark.parametrize("step", ["Reading", "Converting the tokenizer", "Converting tiny"])
def test_interrupted_conversion_leaves_nothing(tiny: Tiny, cache: Path, step: str) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.what.startswith(step) and progress.done == progress.total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        converted(tiny.path, None, interrupt)
    assert left_in(cache) == []
    assert logging.is_progress_bar_enabled()
    assert (converted(tiny.path) / "model.safetensors").exists()


def test_what_a_killed_process_left_is_removed(tiny: Tiny, cache: Path) -> None:
    folder = converted(tiny.path)
    folder.rename(folder.with_name(f".{folder.name}-123"))
    assert converted(tiny.path) == folder
    assert left_in(cache) == [folder.name]


@pytest.mark.parametrize("keep", [0, 3, 1000, -100])
def test_damaged_file_is_told_in_one_paragraph(tiny: Tiny, tmp_path: Path, cache: Path, keep: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny.path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"cut\.gguf could not be converted.*damaged") as error:
        converted(path)
    assert "\n" not in str(error.value)
    assert left_in(cache) == []


def test_architecture_that_transformers_cannot_read(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_block_count(1)
    writer.add_tensor("x", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match=r"other\.gguf could not be converted"):
        converted(path)
    assert left_in(cache) == []


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="could not be read"):
        converted(tmp_path / "none.gguf")


def test_no_room(tiny: Tiny, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=1000))
    with pytest.raises(FetchError, match="not enough room"):
        converted(tiny.path)
    assert left_in(cache) == []


# --- tokenizers ----------------------------------------------------------------------------------


def tokenizer_in(folder: Path) -> Tokenizer:
    # As the package reads it: transformers' classes change what tokenizer.json says.
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("text", TEXTS)
def test_tokenizer_gives_back_any_text(tiny: Tiny, text: str) -> None:
    tokenizer = tokenizer_in(converted(tiny.path))
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_sentinels_are_one_token(tiny: Tiny) -> None:
    tokenizer = tokenizer_in(converted(tiny.path))
    for name in SPECIALS:
        assert tokenizer.encode(name).ids == [tokenizer.token_to_id(name)]


def pieces(folder: Path, text: str) -> list[str]:
    tokenizer = tokenizer_in(folder)
    return [tokenizer.decode([i]) for i in tokenizer.encode(text).ids]


def test_smollm_splits_before_digits(tiny: Tiny, tmp_path: Path) -> None:
    # Two spaces before a digit are one token to SmolLM, since it splits at digits first. Others
    # keep one of the spaces for the next word.
    smollm = converted(write_gguf(tmp_path / "smollm.gguf", pre="smollm").path)
    assert pieces(smollm, "x  12") == ["x", "  ", "1", "2"]
    assert pieces(converted(tiny.path), "x  12") == ["x", " ", " ", "1", "2"]


# --- the real file -------------------------------------------------------------------------------


@pytest.mark.real_model
def test_real_model_infills(monkeypatch: pytest.MonkeyPatch) -> None:
    if USERS_CACHE is None:
        monkeypatch.delenv("FIM_MAGIC_CACHE")
    else:
        monkeypatch.setenv("FIM_MAGIC_CACHE", USERS_CACHE)
    folder = converted(weights.fetch(QWEN_0_5B_GGUF), QWEN_0_5B_GGUF.sha256)
    tokenizer = tokenizer_in(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text).ids

    sentinels = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
    assert [tokenizer.token_to_id(name) for name in sentinels] == [151659, 151660, 151661]
    for text in TEXTS:
        assert tokenizer.decode(ids(text)) == text
    before, after = "def mean(xs):\n    total = ", "\n    return total / len(xs)\n"
    prompt = torch.tensor([[151659, *ids(before), 151661, *ids(after), 151660]])
    answer = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False)
    assert tokenizer.decode(answer[0, prompt.shape[1] :].tolist()).startswith("0\n    for x in xs:")
