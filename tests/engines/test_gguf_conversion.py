"""Converting GGUF files, with a tiny random one that is written here, and with the real one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf_files import SPECIALS, TEXTS, Tiny, write_gguf
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, GgufConfig
from transformers.utils import logging

from fim_magic import weights
from fim_magic.catalog import QWEN_0_5B_GGUF
from fim_magic.engines.torch import gguf_conversion
from fim_magic.engines.torch.gguf_conversion import converted, converted_tokenizer
from fim_magic.engines.torch.gguf_source import GgufSource
from fim_magic.errors import FetchError, ModelError
from fim_magic.progress import Progress

USERS_CACHE = os.environ.get("FIM_MAGIC_CACHE")  # half a gigabyte is not fetched for each run


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


def test_second_call_converts_nothing(tiny: Tiny) -> None:
    first = converted(tiny.path)
    seen: list[Progress] = []
    assert converted(tiny.path, hashlib.sha256(tiny.path.read_bytes()).hexdigest(), seen.append) == first
    assert seen == []


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


def test_the_reader_is_the_librarys_own_all_the_time(tiny: Tiny) -> None:
    theirs, seen = gguf.GGUFReader, []
    converted(tiny.path, None, lambda _: seen.append(gguf.GGUFReader))
    assert set(seen) == {theirs}


def test_bars_of_other_threads_stay_theirs(tiny: Tiny) -> None:
    from transformers import modeling_gguf_pytorch_utils as reader

    theirs, drawn = reader.tqdm, []

    def draw() -> None:
        with reader.tqdm([1, 2], disable=True) as bar:
            drawn.append((type(bar), list(bar)))

    def look(progress: Progress) -> None:
        if progress.unit == "tensors":
            thread = threading.Thread(target=draw)
            thread.start()
            thread.join()

    converted(tiny.path, None, look)
    assert drawn
    assert all(found == (theirs, [1, 2]) for found in drawn)


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


@pytest.mark.parametrize("name", ["tiny.gguf", "tiny [Q8] (1).gguf"])
@pytest.mark.parametrize(
    "number", [123, os.getpid()], ids=["another's", "ours"]
)  # in containers, numbers of processes come again
def test_what_a_killed_process_left_is_removed(name: str, number: int, tiny: Tiny, tmp_path: Path, cache: Path) -> None:
    path = shutil.copyfile(tiny.path, tmp_path / name)
    folder = converted(path)
    folder.rename(folder.with_name(f".{folder.name}-{number}"))
    assert converted(path) == folder
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


# --- without the weights -------------------------------------------------------------------------


def test_tokenizer_and_configuration_are_those_of_the_whole_conversion(tiny: Tiny) -> None:
    whole, folder = converted(tiny.path), converted_tokenizer(tiny.path)
    assert not (folder / "model.safetensors").exists()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    config = json.loads((whole / "config.json").read_text())
    assert config.pop("dtype") == "float32"  # of the converted weights
    assert json.loads((folder / "config.json").read_text()) == config


def test_tokenizer_is_converted_once(tiny: Tiny) -> None:
    first = converted_tokenizer(tiny.path)
    seen: list[Progress] = []
    assert converted_tokenizer(tiny.path, seen.append) == first
    assert seen == []


def test_another_file_of_the_same_name_has_another_tokenizer(tiny: Tiny, tmp_path: Path) -> None:
    other = write_gguf(tmp_path / tiny.path.name, pre="smollm")
    assert converted_tokenizer(other.path) != converted_tokenizer(tiny.path)


def test_a_file_cut_short_is_another_one(tiny: Tiny, tmp_path: Path) -> None:
    cut = tmp_path / tiny.path.name
    cut.write_bytes(tiny.path.read_bytes()[:-100])
    assert gguf_conversion.fingerprint(cut, 1000) != gguf_conversion.fingerprint(tiny.path, 1000)


@pytest.mark.parametrize("step", ["Reading", "Converting the tokenizer"])
def test_interrupted_conversion_of_the_tokenizer_leaves_nothing(tiny: Tiny, cache: Path, step: str) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.what.startswith(step) and progress.done == progress.total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        converted_tokenizer(tiny.path, interrupt)
    assert left_in(cache) == []


@pytest.mark.parametrize("keep", [0, 3, 1000])
def test_damaged_header_is_told_in_one_paragraph(tiny: Tiny, tmp_path: Path, cache: Path, keep: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny.path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"cut\.gguf could not be converted.*damaged") as error:
        converted_tokenizer(path)
    assert "\n" not in str(error.value)
    assert left_in(cache) == []


def test_no_file_has_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="could not be read"):
        converted_tokenizer(tmp_path / "none.gguf")


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


def test_a_kind_of_model_that_completes_no_text_is_told_in_one_paragraph(tmp_path: Path) -> None:
    from transformers import T5Config

    header = gguf_conversion.ConvertedHeader(T5Config(), "", tensors=1, elements=1)
    with pytest.raises(ModelError, match=r"t5\.gguf could not be converted.*use the model's safetensors checkpoint"):
        gguf_conversion._converted_size(GgufSource(tmp_path / "t5.gguf", tmp_path / "t5.gguf"), header)
