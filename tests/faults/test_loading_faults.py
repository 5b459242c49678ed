"""Checkpoints and downloads that are damaged, or made to do harm: each row one of them, and what is right.

Where nothing else is said, right is a paragraph that says what is wrong, soon, and nothing kept of it.
"""

from __future__ import annotations

import hashlib
import http.server
import itertools
import json
import os
import shutil
import socket
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from checkpoints import change_config
from gguf_files import array, header, tensor, text, write_gguf
from huggingface_hub import constants
from transformers import PretrainedConfig

from fim_magic import reports, weights
from fim_magic.catalog import GgufFile
from fim_magic.document import parse
from fim_magic.engines.gguf_header import read_gguf_header, require_parts
from fim_magic.engines.llama_cpp.gguf import GgufEngine
from fim_magic.engines.torch.configuration import (
    read_configuration,
    read_generation_config,
    without_foreign_parts,
)
from fim_magic.engines.torch.footprint import LARGEST_HEADERS, MOST_WEIGHTS
from fim_magic.engines.torch.gguf_conversion import converted, converted_tokenizer
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.errors import FetchError, FimError, ModelError
from fim_magic.events import Finished
from fim_magic.foreign_json import DEEPEST
from fim_magic.loading.fetch import fetch_folder
from fim_magic.loading.manager import ModelManager
from fim_magic.loading.memory import THIS_MACHINE
from fim_magic.loading.place import place_in_torch
from fim_magic.loading.resolve import find_source
from fim_magic.loading.spec import ModelSpec
from fim_magic.pipeline import run
from fim_magic.progress import Meter, Progress, silent
from fim_magic.regular_files import UnfitFileError, read_bytes, read_json
from fim_magic.request import Request
from fim_magic.tokenization import TextTokenizer, read_tokenizer
from fim_magic.weights.cache import SourceFailedError
from fim_magic.weights.manifest import MANIFEST, fault_in
from fim_magic.weights.pauses import LONGEST_PAUSE, MOST_TRIES, Pauses
from fim_magic.weights.shards import MOST_SHARDS, shards_of
from fim_magic.weights.streaming import stream_part

KERNEL = "somebody/kernel"
linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="pipes, sockets and devices as Linux has them")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def is_one_paragraph(error: BaseException) -> bool:
    return isinstance(error, FimError) and "\n" not in str(error) and len(str(error)) < 1500


def load_folder(folder: Path) -> LocalEngine:
    """Load a checkpoint by the stages that a manager has for it."""
    placement = place_in_torch(folder, "m", None, THIS_MACHINE)
    return LocalEngine.load(folder, name="m", revision="r", placement=placement)


# --- headers of GGUF files -----------------------------------------------------------------------

FOUR = ("x", 4, struct.pack("<I", 7))
ONE = tensor("a", (8,))
DATA = bytes(64)

LYING_HEADERS = {
    "nothing": b"",
    "three-bytes": b"GGU",
    "magic-alone": b"GGUF",
    "a-web-page": b"<!DOCTYPE html><html>" + bytes(100),
    "version-0": header(version=0),
    "version-1": header(version=1),
    "version-4": header(version=4),
    "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(40),
    "keys-2^60": header(key_count=2**60),
    "keys-2^64-1": header(key_count=2**64 - 1),
    "one-key-too-many": header(key_count=2),
    "tensors-2^60": header(tensor_count=2**60),
    "one-tensor-too-many": header(tensors=[ONE], tensor_count=2) + DATA,
    # The 60 bytes by which both engines hung.
    "array-of-2^60-texts": header(("x", 9, array(8, 2**60)), architecture=False),
    "array-of-2^60-numbers": header(("x", 9, array(4, 2**60))),
    "array-of-2^60-bytes": header(("x", 9, array(0, 2**60))),
    "array-of-2^64-1-truths": header(("x", 9, array(7, 2**64 - 1))),
    "array-as-long-as-bytes-overflow": header(("x", 9, array(10, 2**61))),
    "array-ends-behind-the-file": header(("x", 9, array(5, 4, bytes(12)))),
    "array-of-texts-ends-behind-the-file": header(("x", 9, array(8, 3, text("a") + text("b")))),
    "array-of-arrays": header(("x", 9, array(9, 1, array(4, 1, bytes(4))))),
    "arrays-nested-deep": header(("x", 9, array(9, 1) * 5000)),
    "array-of-an-unknown-kind": header(("x", 9, array(13, 1, bytes(8)))),
    "text-of-2^63": header(("x", 8, struct.pack("<Q", 2**63))),
    "text-ends-behind-the-file": header(("x", 8, struct.pack("<Q", 5) + b"abc")),
    "text-no-utf8": header(("x", 8, text(b"\xff\xfe"))),
    "key-no-utf8": header((b"\xff\xfe", 4, bytes(4))),
    "key-of-2^62": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62),
    "kind-unknown": header(("x", 99, bytes(8))),
    "key-twice": header(FOUR, FOUR),
    "no-architecture": header(FOUR, architecture=False),
    "architecture-a-number": header(("general.architecture", 4, bytes(4)), architecture=False),
    "alignment-0": header(("general.alignment", 4, struct.pack("<I", 0)), tensors=[ONE]) + DATA,
    "alignment-3": header(("general.alignment", 4, struct.pack("<I", 3)), tensors=[ONE]) + DATA,
    "alignment-2^31": header(("general.alignment", 4, struct.pack("<I", 2**31)), tensors=[ONE]) + DATA,
    "alignment-a-text": header(("general.alignment", 8, text("32")), tensors=[ONE]) + DATA,
    "tensor-of-five-dimensions": header(tensors=[tensor("a", (1, 1, 1, 1, 8))]) + DATA,
    "tensor-of-2^32-1-dimensions": header(tensors=[text("a") + struct.pack("<I", 2**32 - 1)]) + DATA,
    "tensor-of-2^64": header(tensors=[tensor("a", (2**32, 2**32))]) + DATA,
    "tensor-of-2^256": header(tensors=[tensor("a", (2**63,) * 4)]) + DATA,
    "tensor-behind-the-file": header(tensors=[tensor("a", (8,), offset=64)]) + DATA,
    "tensor-at-2^64-32": header(tensors=[tensor("a", (8,), offset=2**64 - 32)]) + DATA,
    "tensor-longer-than-the-file": header(tensors=[tensor("a", (2**20,))]) + DATA,
    "tensor-of-no-known-kind": header(tensors=[tensor("a", (2**20,), kind=4000)]) + DATA,
    "more-layers-than-tensors": header(("qwen2.block_count", 4, struct.pack("<I", 10**8)), tensors=[ONE]) + DATA,
    "layers-without-a-count": header(tensors=[tensor("blk.0.attn_q.weight", (8,))]) + DATA,
    "tensor-twice": header(tensors=[ONE, ONE]) + DATA,
    "tensor-without-a-name": header(tensors=[struct.pack("<Q", 2**62)]) + DATA,
}


@pytest.mark.parametrize("content", LYING_HEADERS.values(), ids=LYING_HEADERS)
def test_a_header_that_cannot_be_true_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    path.write_bytes(content)
    for door in (read_gguf_header, converted, converted_tokenizer):
        with pytest.raises(ModelError, match=r"odd\.gguf could not be converted") as error:
            door(path)
        assert is_one_paragraph(error.value)
    assert not list(tmp_path.glob("cache/converted/*")), "something half-made was left"


@pytest.mark.parametrize("version", [2, 3])
def test_a_header_that_is_true_is_read(version: int, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    keys = [FOUR, ("texts", 9, array(8, 2, text("a") + text("é"))), ("truth", 7, b"\1"), ("none", 9, array(4, 0))]
    path.write_bytes(header(*keys, tensors=[ONE], version=version) + DATA)
    found = read_gguf_header(path)
    assert (found.architecture, found.values["x"], found.values["truth"]) == ("qwen2", 7, True)
    assert found.lengths == {"texts": 2, "none": 0}
    assert (found.tensors[0].name, found.tensors[0].shape) == ("a", (8,))


def test_a_header_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    whole = header(FOUR, ("texts", 9, array(8, 2, text("a") + text("é"))), tensors=[ONE]) + bytes(32)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            read_gguf_header(path)


# --- headers that are well-formed, and end llama.cpp ---------------------------------------------


def with_a_negative_epsilon(content: bytes) -> bytes:
    key = b"qwen2.attention.layer_norm_rms_epsilon" + struct.pack("<I", 6)
    place = content.index(key) + len(key)
    return content[:place] + struct.pack("<f", -1.0) + content[place + 4 :]


ENDS_LLAMA_CPP = {
    "a-negative-epsilon": with_a_negative_epsilon,
    "a-token-twice": lambda content: content.replace(text("[PAD264]"), text("[PAD265]")),
    "no-heads": lambda content: content.replace(
        b"qwen2.attention.head_count" + struct.pack("<II", 4, 2),
        b"qwen2.attention.head_count" + struct.pack("<II", 4, 0),
    ),
}


@pytest.mark.parametrize("change", ENDS_LLAMA_CPP.values(), ids=ENDS_LLAMA_CPP)
def test_a_file_that_ends_llama_cpp_does_not_end_the_kernel(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf").path
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    assert path.read_bytes() != whole
    with pytest.raises(ModelError) as error:
        GgufEngine.load(path, name="m", revision="r")
    assert is_one_paragraph(error.value)


PARTS = {
    "none-of-them": {"split.count": 3},
    "a-pipe": {"split.count": 2},
    "65535": {"split.count": 65535},
}


@linux
@pytest.mark.parametrize("said", PARTS.values(), ids=PARTS)
def test_the_files_that_continue_one_are_checked_as_well(said: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / f"m-00001-of-{said['split.count']:05}.gguf"
    path.write_bytes(header(("split.count", 2, struct.pack("<H", said["split.count"])), tensors=[ONE]) + DATA)
    os.mkfifo(tmp_path / "m-00002-of-00002.gguf")
    with pytest.raises(ModelError) as error:
        require_parts(path)
    assert is_one_paragraph(error.value)


def test_a_file_is_tried_once(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf").path
    seen: list[str] = []
    for _ in range(2):
        GgufEngine.load(path, name="m", revision="r", on_progress=lambda progress: seen.append(progress.what))
        seen.append("loaded")
    assert "Trying tiny.gguf" in seen[: seen.index("loaded")]
    assert "Trying tiny.gguf" not in seen[seen.index("loaded") :]


def test_a_trial_that_is_interrupted_leaves_no_process(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf").path

    def interrupt(progress: Progress) -> None:
        if progress.what.startswith("Trying"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GgufEngine.load(path, name="m", revision="r", on_progress=interrupt)
    assert not [child for child in psutil.Process().children() if str(path) in child.cmdline()]


# --- what is no regular file ---------------------------------------------------------------------


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    # The names of sockets are short, and those of the tests' folders are long.
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(path.parent, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


IRREGULAR = {
    "pipe": make_pipe,
    "socket": make_socket,
    "folder": lambda path: path.mkdir(),
    "link-to-zeroes": link_to("/dev/zero"),
    "link-to-null": link_to("/dev/null"),
    "link-to-the-terminal": link_to("/dev/tty"),
    "link-to-itself": lambda path: path.symlink_to(path.name),
    "link-to-nothing": link_to("nothing"),
    "link-to-a-folder": link_to("/usr"),
}
irregular = pytest.mark.parametrize("make", IRREGULAR.values(), ids=IRREGULAR)


@linux
@irregular
def test_what_is_no_file_is_no_model(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    make(path)
    doors: list[Callable[[], object]] = [
        lambda: fetch_folder(find_source(str(path), THIS_MACHINE)[0], silent),
        lambda: GgufEngine.load(path, name="m", revision="r"),
        lambda: ModelManager().use(ModelSpec(str(path))),
    ]
    for door in doors:
        with pytest.raises(FimError) as error:
            door()
        assert is_one_paragraph(error.value)


READ_BY_SOMEBODY = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "adapter_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "merges.txt",
)


@linux
@pytest.mark.parametrize("name", READ_BY_SOMEBODY)
@pytest.mark.parametrize("kind", ["pipe", "link-to-zeroes"])
def test_what_is_no_file_is_no_part_of_a_checkpoint(kind: str, name: str, checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    (folder / name).unlink(missing_ok=True)
    IRREGULAR[kind](folder / name)
    with pytest.raises(FimError) as error:
        load_folder(folder)
    assert is_one_paragraph(error.value)


@linux
@irregular
def test_a_reader_of_small_files_waits_for_nothing(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "x.json")
    with pytest.raises((UnfitFileError, OSError)):
        read_json(tmp_path / "x.json")


UNFIT_JSON = {
    "too-large": (b" " * 2000, 1000),
    "no-utf8": (b'"\xff"', 1000),
    "no-json": (b"{", 1000),
    "too-deep": (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), 1000),
    "deeper-than-python-goes": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 10**6),
    "a-number-of-a-million-digits": (b"1" * 10**6, 10**7),
}


@pytest.mark.parametrize(("content", "at_most"), UNFIT_JSON.values(), ids=UNFIT_JSON)
def test_json_that_is_unfit_is_a_value_error(content: bytes, at_most: int, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"json|utf-8|digits|line 1"):
        read_json(tmp_path / "x.json", at_most)


def test_json_as_deep_as_it_may_be_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"[" * DEEPEST + b"]" * DEEPEST)
    assert read_json(tmp_path / "x.json")
    assert read_bytes(tmp_path / "x.json", 2 * DEEPEST), "as large as it may be"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_nesting_without_end_is_told(name: str, checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    whole = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
    inner = json.dumps(whole)[1:-1]
    (folder / name).write_text('{"deep": ' + "[" * 5000 + "]" * 5000 + (f", {inner}" if inner else "") + "}")
    try:
        load_folder(folder)
    except FimError as error:
        assert is_one_paragraph(error)
        assert "nests" in str(error)
    else:
        assert name == "tokenizer_config.json", "only what can be done without is passed over"


def test_a_safetensors_header_that_nests_without_end_is_told(checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    nested = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(nested)) + nested)
    with pytest.raises(FimError) as error:
        load_folder(folder)
    assert is_one_paragraph(error.value)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        pytest.param({f"x{n}": [0] for n in range(MOST_WEIGHTS)}, "weights, and no model has more", id="weights"),
        pytest.param({"x" * LARGEST_HEADERS: [0]}, "bytes in the headers", id="bytes"),
    ],
)
def test_more_weights_than_any_model_has_are_refused_before_they_are_loaded(
    extra: dict[str, list[int]], words: str, checkpoint: Any, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    whole, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    whole |= {name: {"dtype": "F32", "shape": shape, "data_offsets": [len(data)] * 2} for name, shape in extra.items()}
    written = json.dumps(whole).encode()
    path.write_bytes(struct.pack("<Q", len(written)) + written + data)
    with pytest.raises(ModelError, match=words) as error:
        load_folder(folder)
    assert is_one_paragraph(error.value)


# What transformers takes without a word, and cannot compute by: it came out as a fault of ours.
NOT_COMPUTABLE: dict[str, dict[str, Any]] = {
    "no-layers": {"num_hidden_layers": 0},
    "fewer-layers-than-none": {"num_hidden_layers": -1},
    "a-fraction-as-a-window": {"sliding_window": 1.5},
    "a-word-as-a-window": {"sliding_window": "wide"},
    "a-list-as-a-window": {"sliding_window": []},
    "a-truth-as-a-window": {"sliding_window": True},
    "a-window-without-end": {"sliding_window": 10**400},
    "a-list-as-a-model-type": {"model_type": [1] * 5000},
}


@pytest.mark.parametrize("change", NOT_COMPUTABLE.values(), ids=NOT_COMPUTABLE)
def test_a_configuration_by_which_nothing_can_be_computed_is_told(
    change: dict[str, Any], checkpoint: Any, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint("llama"), tmp_path / "model")
    change_config(folder, **change)
    with pytest.raises(ModelError, match="could not be loaded") as error:
        load_folder(folder)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) <= 5000


def with_ids_from(first: int) -> Callable[[dict[str, Any]], None]:
    def change(whole: dict[str, Any]) -> None:
        whole["model"]["vocab"] = {token: first + 3 * n for token, n in whole["model"]["vocab"].items()}

    return change


BEYOND = {"holes-between-the-ids": with_ids_from(0), "ids-beyond-the-vocabulary": with_ids_from(2**31)}


@pytest.mark.parametrize("change", BEYOND.values(), ids=BEYOND)
def test_a_tokenizer_of_another_model_is_told(
    change: Callable[[dict[str, Any]], None], checkpoint: Any, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    whole = json.loads((folder / "tokenizer.json").read_text())
    change(whole)
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    request = Request(parse("x = <cursor>\n"), max_new_tokens=2)
    with pytest.raises(ModelError, match="they are not of one model"):
        list(run(request, load_folder(folder)))


NO_BYTE_LEVEL = {
    "none": None,
    "one-that-does-nothing": {"type": "Fuse"},
    "one-of-another-kind": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
}


@pytest.mark.parametrize("decoder", NO_BYTE_LEVEL.values(), ids=NO_BYTE_LEVEL)
def test_a_tokenizer_that_cannot_spell_the_users_text_is_not_asked_to(
    decoder: dict[str, Any] | None, checkpoint: Any, tmp_path: Path
) -> None:
    """What token healing takes back has to come again: without such tokens there was nothing that might come."""
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    whole = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(whole | {"decoder": decoder}))
    request = Request(parse("def mean(xs):\n    <cursor>\n    return 1\n"), max_new_tokens=2)
    *_, last = run(request, load_folder(folder))
    assert isinstance(last, Finished)
    assert last.result.text.startswith("def mean(xs):\n    ")


@pytest.mark.parametrize("bos", [3, [], {"content": 3}, {"content": None}, True])
def test_a_first_token_that_is_no_text_is_none(bos: Any, checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": bos, "add_bos_token": True}))
    assert TextTokenizer.from_folder(folder).leading_ids == []


def test_a_folder_may_have_the_name_of_a_file(checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model.gguf")
    assert ModelManager().use(ModelSpec(str(folder))).engine.info.model == str(folder)


# --- weights that are more than they seem --------------------------------------------------------


def test_a_configuration_of_a_larger_model_takes_no_memory(checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    change_config(folder, vocab_size=10**8)  # 13 GB of random numbers
    with pytest.raises(ModelError, match=r"describes a model of 6,4.*numbers, and its files hold"):
        load_folder(folder)


def as_pickle(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def test_a_pickle_that_unpacks_to_more_than_it_is_is_refused(checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    path = as_pickle(folder, {"model.norm.weight": torch.zeros(10**6)})
    with zipfile.ZipFile(path) as stored:
        parts = {part.filename: stored.read(part) for part in stored.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in parts.items():
            packed.writestr(name, content)
    assert path.stat().st_size < 10**5
    with pytest.raises(ModelError, match="unpacks to more than it is"):
        load_folder(folder)


def test_a_pickle_that_repeats_a_number_is_refused(checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("santacoder"), tmp_path / "model")
    change_config(folder, model_type="gpt2", attention_head_type="multiquery")
    as_pickle(folder, {"transformer.ln_f.weight": torch.zeros(1).expand(10**6)})
    with pytest.raises(ModelError, match="more than the file holds"):
        load_folder(folder)


@pytest.mark.parametrize("prefix", ["\0", "x", "é", "##"])
def test_a_tokenizer_that_would_end_the_process_is_refused(prefix: str, checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    path = folder / "tokenizer.json"
    written = json.loads(path.read_text())
    written["model"]["continuing_subword_prefix"] = prefix
    path.write_text(json.dumps(written))
    for door in (lambda: load_folder(folder), lambda: TextTokenizer.from_folder(folder)):
        with pytest.raises(ModelError, match="merges do not go with"):
            door()


@pytest.mark.parametrize(
    "key", ["continuing_subword_prefix", r"continuing\u005fsubword_prefix", r"\u0063ontinuing_subword_prefix"]
)
@pytest.mark.parametrize("between", [":", " :\n\t ", ": "])
def test_such_a_tokenizer_is_refused_however_it_is_written(
    key: str, between: str, checkpoint: Any, tmp_path: Path
) -> None:
    written = json.loads((checkpoint("qwen2") / "tokenizer.json").read_text())
    del written["model"]["continuing_subword_prefix"]
    whole = json.dumps(written).replace('"model": {', '"model": {"' + key + '"' + between + '"##", ')
    (tmp_path / "tokenizer.json").write_text(whole)
    with pytest.raises(ModelError, match="merges do not go with"):
        TextTokenizer.from_folder(tmp_path)


def test_nor_is_one_loaded_that_is_too_deep_to_be_looked_at(checkpoint: Any, tmp_path: Path) -> None:
    written = json.loads((checkpoint("qwen2") / "tokenizer.json").read_text())
    written["model"]["continuing_subword_prefix"] = "##"
    normalizer: dict[str, Any] = {"type": "NFC"}
    for _ in range(DEEPEST // 2):  # two levels each: the library reads 128
        normalizer = {"type": "Sequence", "normalizers": [normalizer]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(written | {"normalizer": normalizer}))
    with pytest.raises(ModelError, match="nests more than"):
        TextTokenizer.from_folder(tmp_path)


def steps(part: str, *given: dict[str, Any]) -> dict[str, Any]:
    inner = "normalizers" if part == "normalizer" else "pretokenizers"
    return {part: {"type": "Sequence", inner: list(given)}}


def replaced(pattern: str, content: str, kind: str = "String") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


BYTES_AGAIN = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
GROWING = {
    "bytes-as-characters-again": steps("pre_tokenizer", *[BYTES_AGAIN] * 50),
    "a-letter-twice-again": steps("normalizer", *[replaced("e", "ee")] * 18),
    "a-long-text-for-a-letter": {"normalizer": replaced("e", "e" * 1000)},
    "a-text-between-all": steps("normalizer", *[replaced("", "abc", "Regex")] * 5),
    "a-long-beginning": {"normalizer": {"type": "Prepend", "prepend": "x" * 5000}},
    "in-a-list-of-a-list": steps("normalizer", steps("normalizer", *[replaced("e", "ee")] * 18)["normalizer"]),
    "in-both": steps("pre_tokenizer", *[BYTES_AGAIN] * 6) | steps("normalizer", *[replaced("e", "ee")] * 6),
    "many-steps": steps("normalizer", *[{"type": "Lowercase"}] * 200),
}


def with_tokenizer(folder: Path, change: dict[str, Any]) -> None:
    whole = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(whole | change))


@pytest.mark.parametrize("change", GROWING.values(), ids=GROWING)
def test_a_tokenizer_that_takes_all_memory_for_a_letter_is_refused(
    change: dict[str, Any], checkpoint: Any, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    with_tokenizer(folder, change)
    with pytest.raises(ModelError, match=r"as long|the most that are taken") as error:
        TextTokenizer.from_folder(folder)
    assert is_one_paragraph(error.value)


VENDORS = {
    "Llama": {"normalizer": steps("normalizer", {"type": "Prepend", "prepend": "▁"}, replaced(" ", "▁"))["normalizer"]},
    "Gemma": {"normalizer": replaced(" ", "▁")},
    "XLM": steps("normalizer", {"type": "NFKC"}, {"type": "Nmt"}, replaced(" {2,}", "▁", "Regex")),
}


@pytest.mark.parametrize("change", VENDORS.values(), ids=VENDORS)
def test_what_the_vendors_do_to_a_text_is_done(change: dict[str, Any], checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    with_tokenizer(folder, change)
    assert TextTokenizer.from_folder(folder).encode("def f(x):")


def test_a_tokenizer_fills_no_text_up(checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    right = TextTokenizer.from_folder(folder).encode("a b")
    filled = {"strategy": {"Fixed": 10**6}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0}
    cut = {"direction": "Left", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    with_tokenizer(folder, {"padding": filled | {"pad_type_id": 0, "pad_token": "x"}, "truncation": cut})
    assert read_tokenizer(folder / "tokenizer.json").encode("a b").ids == right  # it took room for them all
    assert TextTokenizer.from_folder(folder).encode("a b") == right


def test_a_control_token_of_a_plain_letter_is_told(checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    whole = json.loads((folder / "tokenizer.json").read_text())
    whole["model"]["vocab"] |= {token["content"]: number for number, token in enumerate(whole["added_tokens"])}
    with_tokenizer(folder, whole)
    with pytest.raises(ModelError, match="makes a control token of a plain character"):
        TextTokenizer.from_folder(folder).encode('!"#$%')


# --- an index of shards --------------------------------------------------------------------------

OUTSIDE = {
    "above": "../outside.safetensors",
    "far-above": "../../../../etc/passwd.safetensors",
    "below": "inner/model.safetensors",
    "here-and-back": "x/../model.safetensors",
    "absolute": "/tmp/outside.safetensors",
    "windows-above": "..\\outside.safetensors",
    "windows-drive": "C:outside.safetensors",
    "windows-share": "\\\\server\\share\\outside.safetensors",
    "the-folder-above": "..",
    "the-folder": ".",
    "nothing": "",
    "no-text": 7,
    "null": None,
    "a-list": ["model.safetensors"],
    "another-kind": "pytorch_model.bin",
    "a-program": "modeling.py",
    "a-line-end": "a\n.safetensors",
    "a-nul": "a\0.safetensors",
    "a-url": "https://example.org/outside.safetensors",
}


@pytest.mark.parametrize("name", OUTSIDE.values(), ids=OUTSIDE)
def test_an_index_names_files_of_its_own_folder_alone(name: Any, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": name}}))
    with pytest.raises(ValueError, match="index"):
        shards_of(index)


def in_shards(folder: Path, name: str) -> None:
    names = json.dumps({"metadata": {}, "weight_map": dict.fromkeys(weight_names(folder), name)})
    (folder / "model.safetensors.index.json").write_text(names)


def weight_names(folder: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        return list(file.keys())


def test_an_index_of_more_files_than_any_model_has_is_refused(tmp_path: Path) -> None:
    names = {f"w{number}": f"model-{number}.safetensors" for number in range(MOST_SHARDS + 1)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(ValueError, match="the most that are loaded"):
        shards_of(tmp_path / "model.safetensors.index.json")


def test_a_shard_outside_is_not_loaded(checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    in_shards(folder, "../outside.safetensors")
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    with pytest.raises(ModelError, match=r"outside\.safetensors'.*no file with weights in the folder"):
        LocalEngine.load(folder, name="m", revision="r")


def test_a_shard_that_is_a_link_is_loaded_as_in_the_caches_of_the_hub(checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    in_shards(folder, "model-00001-of-00001.safetensors")
    (folder / "model.safetensors").rename(tmp_path / "blob")
    (folder / "model-00001-of-00001.safetensors").symlink_to("../blob")
    assert LocalEngine.load(folder, name="m", revision="r").info.model == "m"


# --- a config.json that reaches out --------------------------------------------------------------

REACHING = {
    "attention": {"_attn_implementation": KERNEL},
    "attention-by-its-public-name": {"attn_implementation": KERNEL},
    "attention-inside": {"_attn_implementation_internal": KERNEL},
    "attention-by-part": {"_attn_implementation": {"": KERNEL, "text_config": KERNEL}},
    "flash-attention": {"_attn_implementation": "flash_attention_2"},
    "paged": {"_attn_implementation": f"paged|{KERNEL}"},
    "experts": {"_experts_implementation": "deepgemm"},
    "experts-by-their-public-name": {"experts_implementation": KERNEL},
    "kernels": {"use_kernels": True, "kernel_config": {"RMSNorm": f"{KERNEL}:RMSNorm"}},
    "patches": {"fusion_config": {"mlp": True}},
    "another-file": {"configuration_files": ["config.9.9.9.json"]},
    "other-weights": {"transformers_weights": "other.safetensors"},
    "other-weights-outside": {"transformers_weights": "../other.safetensors"},
    "custom-generate": {"custom_generate": KERNEL},
    "classes-elsewhere": {"auto_map": {"AutoConfig": f"{KERNEL}--configuration.Config"}},
    "its-name": {"_name_or_path": KERNEL, "name_or_path": KERNEL, "_commit_hash": "main"},
    "in-a-part": {"text_config": {"_attn_implementation": KERNEL, "model_type": "qwen2"}},
    "in-a-list": {"parts": [{"attn_implementation": KERNEL}]},
    "per-layer": {"per_layer_config": {"0": {"_attn_implementation": KERNEL}}},
}


@pytest.mark.parametrize("extra", REACHING.values(), ids=REACHING)
def test_a_configuration_reaches_for_nothing(extra: dict[str, Any], checkpoint: Any) -> None:
    config = json.loads((checkpoint("qwen2") / "config.json").read_text())
    left = without_foreign_parts(config | extra)
    assert KERNEL not in json.dumps(left)
    found = read_configuration({key: value for key, value in (config | extra).items() if key != "per_layer_config"})
    assert found._attn_implementation is None
    assert found._experts_implementation is None
    assert KERNEL not in str(found.to_dict())
    for gone in ("transformers_weights", "fusion_config", "custom_generate", "auto_map"):
        assert not hasattr(found, gone)


def test_no_label_is_named_for_each_of_a_number(checkpoint: Any) -> None:
    config = json.loads((checkpoint("qwen2") / "config.json").read_text())
    labels = {"num_labels": 10**6, "id2label": {"0": "x"}, "label2id": {"x": 0}}
    assert read_configuration(config | labels).num_labels == 2


ENDS = {"none": (-1, None), "one": (3, 3), "some": ([-1, 3], [3]), "beyond": (10**12, None)}


@pytest.mark.parametrize(("stated", "found"), ENDS.values(), ids=ENDS)
def test_tokens_that_end_a_text_are_read(stated: Any, found: Any, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": stated, "pad_token_id": -1}))
    read = read_generation_config(tmp_path, PretrainedConfig())
    assert (read.eos_token_id, read.pad_token_id) == (found, None)


@pytest.mark.parametrize("stated", ["x", [[1]], {}, True, [None], 1.5], ids=str)
def test_what_is_no_token_ends_no_text(stated: Any, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": stated}))
    with pytest.raises(ValueError, match=r"its eos_token_id is .* which is no token"):
        read_generation_config(tmp_path, PretrainedConfig())


@pytest.mark.parametrize("rows", ["x", [], {}, -1, 1.5, True, None], ids=str)
def test_the_doctor_looks_at_a_configuration_of_wrong_kinds(rows: Any, checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    change_config(folder, vocab_size=rows)
    assert "it infills" in reports.model(str(folder)) or rows is True


STORED_ODDLY = {
    "unknown": {"quant_method": "evil"},
    "a-kernel": {"quant_method": KERNEL},
    "no-method": {"bits": 4},
    "no-text": {"quant_method": ["gptq"]},
    "no-object": "gptq",
    "fetches-mxfp4": {"quant_method": "mxfp4"},
    "fetches-fp8": {"quant_method": "fp8"},
    "fetches-metal": {"quant_method": "metal"},
    "gguf-in-safetensors": {"quant_method": "gguf"},
}


@pytest.mark.parametrize("inner", [False, True], ids=["outside", "in-a-part"])
@pytest.mark.parametrize("stored", STORED_ODDLY.values(), ids=STORED_ODDLY)
def test_weights_that_need_programs_from_elsewhere_are_refused(stored: Any, inner: bool, checkpoint: Any) -> None:
    config = json.loads((checkpoint("qwen2") / "config.json").read_text())
    said = {"quantization_config": stored}
    with pytest.raises((ValueError, TypeError), match=r"quantization_config|stored in the form"):
        read_configuration(config | ({"text_config": said} if inner else said))


def test_all_of_it_at_once_changes_nothing(checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations import hub_kernels

    monkeypatch.setattr(
        hub_kernels, "get_kernel", lambda *_, **__: pytest.fail("a kernel was asked for"), raising=False
    )
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    plain = LocalEngine.load(checkpoint("qwen2"), name="m", revision="r")
    # Another file with weights and another configuration, which nobody reads.
    (folder / "other.safetensors").write_bytes(b"damaged")
    (folder / "config.9.9.9.json").write_text("{}")
    change_config(
        folder,
        **{
            key: value
            for extra in REACHING.values()
            for key, value in extra.items()
            if key not in ("per_layer_config", "text_config")
        },
    )
    (folder / "generation_config.json").write_text(
        json.dumps({"custom_generate": KERNEL, "cache_implementation": KERNEL, "eos_token_id": 3})
    )
    found = LocalEngine.load(folder, name="m", revision="r")
    assert found.score([1, 2, 3], [4, 5]) == plain.score([1, 2, 3], [4, 5])


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "os"},
        {"dtype": ["float32"]},
        {"torch_dtype": "load"},
        {"torch_dtype": {"a": 1}},
        {"model_type": ["qwen2"]},
        {"model_type": KERNEL},
        {"model_type": None},
        {"architectures": 7},
        {"hidden_act": KERNEL},
        {"rope_scaling": {"type": KERNEL}},
        {"layer_types": [KERNEL] * 2},
        {"auto_map": ["AutoConfig"]},
        {"auto_map": {"AutoConfig": 7}},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": 10**9},
        {"num_attention_heads": 0},
        {"eos_token_id": "x"},
        {"quantization_config": {"quant_method": KERNEL}},
    ],
    ids=str,
)
def test_an_odd_configuration_is_told_or_does_no_harm(change: dict[str, Any], checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    change_config(folder, **change)
    try:
        load_folder(folder)
    except FimError as error:
        assert is_one_paragraph(error)


ODD_CLASSES = ["../outside.Config", "/etc/x.Config", "a.b.Config", "Config", "", "a b.Config", "a.Config\n", "a;b.C"]


@pytest.mark.parametrize("named", ODD_CLASSES)
def test_code_lies_in_the_folder_even_where_it_is_allowed(named: str, checkpoint: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "model")
    change_config(folder, model_type="own", auto_map={"AutoConfig": named, "AutoModelForCausalLM": named})
    with pytest.raises(ModelError, match="which is no class in a file of its folder"):
        LocalEngine.load(folder, name="m", revision="r", allow_code=True)


# --- a cache that was damaged --------------------------------------------------------------------


def flip(path: Path, position: int = -40) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a-flipped-bit-of-the-tokenizer": lambda folder: flip(folder / "tokenizer.json"),
    "a-cut-tokenizer": lambda folder: os.truncate(folder / "tokenizer.json", 100),
    "an-empty-tokenizer": lambda folder: os.truncate(folder / "tokenizer.json", 0),
    "no-tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "another-configuration": lambda folder: change_config(folder, hidden_size=999),
    "a-file-too-many": lambda folder: (folder / "adapter_config.json").write_text("{}"),
    "a-pipe-in-its-place": lambda folder: ((folder / "config.json").unlink(), os.mkfifo(folder / "config.json")),
    "no-list": lambda folder: (folder / MANIFEST).unlink(),
    "a-damaged-list": lambda folder: (folder / MANIFEST).write_text("{"),
    "an-empty-list": lambda folder: (folder / MANIFEST).write_text('{"files": {}}'),
    "an-odd-list": lambda folder: (folder / MANIFEST).write_text('{"files": [1]}'),
    "all-of-it": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@linux
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_conversion_is_made_again_with_a_word(damage: Callable[[Path], object], tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf").path
    folder = converted_tokenizer(path)
    right = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != MANIFEST}
    damage(folder)
    notices: list[str] = []
    assert converted_tokenizer(path, on_notice=notices.append) == folder
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.name != MANIFEST} == right
    assert len(notices) == 1
    assert "is made again" in notices[0]
    assert converted_tokenizer(path, on_notice=notices.append) == folder
    assert len(notices) == 1, "it is whole now"


@pytest.mark.parametrize(("precision", "file"), [("exact", "model.safetensors"), ("packed", "packed.safetensors")])
def test_a_flipped_bit_of_converted_weights_is_found_out_and_said(tmp_path: Path, precision: str, file: str) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", exact=True).path
    spec = ModelSpec(str(path), engine="torch", precision=precision)
    models = ModelManager()
    assert not models.use(spec).notices
    (stored,) = tmp_path.glob(f"cache/*/*/{file}")
    right = stored.read_bytes()
    flip(stored)
    found = ModelManager().use(spec)
    assert any("tiny.gguf" in notice and "made again" in notice for notice in found.notices)
    assert stored.read_bytes() == right


@pytest.mark.parametrize("key", [b"qwen2.attention.head_count_kv", b"qwen2.feed_forward_length"])
def test_a_header_of_a_larger_model_takes_no_memory(key: bytes, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf").path
    before, found, after = path.read_bytes().partition(text(key) + struct.pack("<I", 4))
    assert found
    path.write_bytes(before + found + struct.pack("<I", 10**6) + after[4:])
    with pytest.raises(ModelError, match=r"its header describes a model of .* numbers, and its files hold") as error:
        converted(path)
    assert is_one_paragraph(error.value)


ABSENT = {
    "a-layers-weight": (b"blk.1.attn_q.weight", b"blk.1.attn_x.weight"),
    "a-norm": (b"output_norm.weight", b"output_norn.weight"),
    "a-layer-too-many": (
        b"qwen2.block_count" + struct.pack("<II", 4, 2),
        b"qwen2.block_count" + struct.pack("<II", 4, 3),
    ),
}


@pytest.mark.parametrize(("written", "damaged"), ABSENT.values(), ids=ABSENT)
def test_weights_that_a_file_lacks_are_not_made_up(written: bytes, damaged: bytes, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf").path
    content = path.read_bytes()
    assert content.count(written) == 1
    path.write_bytes(content.replace(written, damaged))
    with pytest.raises(ModelError, match="weights are absent, such as"):
        converted(path)


def test_what_was_only_touched_is_as_good(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    weights.write_manifest(tmp_path)
    os.utime(tmp_path / "a", (1, 1))
    seen: list[str] = []
    assert fault_in(tmp_path, lambda progress: seen.append(progress.what)) == ""
    assert seen, "it was not hashed"
    seen.clear()
    assert fault_in(tmp_path, lambda progress: seen.append(progress.what)) == ""
    assert not seen, "it was hashed once more"


# --- a server that sends something else ----------------------------------------------------------

CONTENT = b"GGUF" + bytes(range(256)) * 1000
FILE = GgufFile("tiny.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), hub_repo="owner/tiny")
HALF = len(CONTENT) // 2


@dataclass
class Answer:
    """What a server sends once: headers beside or in place of the usual ones (None leaves one out), and a body."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str | None] = field(default_factory=dict)


class Hub:
    """Sends one answer after another, and the file itself when there are none left."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.seen: list[dict[str, str]] = []
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.send(Answer(CONTENT), body=False)

            def do_GET(self) -> None:
                if "tiny.gguf" not in self.path and "elsewhere" not in self.path:  # the client asks for more than files
                    return self.send(Answer(status=404))
                hub.seen.append({name.lower(): value for name, value in self.headers.items()})
                start = int(self.headers.get("Range", "bytes=0-")[6:-1])
                ranged = {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"} if start else {}
                usual = Answer(CONTENT[start:], 206 if start else 200, dict(ranged))
                return self.send(hub.answers.pop(0) if hub.answers else usual)

            def send(self, answer: Answer, *, body: bool = True) -> None:
                self.send_response(answer.status)
                usual = {
                    "ETag": f'"{FILE.sha256}"',
                    "X-Repo-Commit": "a" * 40,
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(len(answer.body)),
                }
                for name, value in (usual | answer.headers).items():
                    if value is not None:
                        self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(answer.body)
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients that hang up are part of it
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    # The client has read its address when it was imported.
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    yield hub
    hub.close()


def part_in(cache: Path) -> Path:
    return cache / "incomplete" / f"{FILE.sha256[:12]}-tiny.gguf" / "from-hub.part"


PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
WRONG = {
    "a-web-page": Answer(PAGE, headers={"Content-Type": "text/html; charset=utf-8"}),
    "a-web-page-as-long-as-the-file": Answer(PAGE.ljust(len(CONTENT)), headers={"Content-Type": "TEXT/HTML"}),
    "a-web-page-that-does-not-say-so": Answer(PAGE.ljust(len(CONTENT))),
    "a-shorter-file": Answer(CONTENT[:-1]),
    "a-longer-file": Answer(CONTENT + b"x"),
    "a-longer-file-of-no-stated-length": Answer(CONTENT + b"x", headers={"Content-Length": None}),
    "a-part-that-nobody-asked-for": Answer(
        CONTENT[5:], 206, {"Content-Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"}
    ),
    "a-part-that-does-not-say-which": Answer(CONTENT, 206),
    "a-part-of-another-file": Answer(CONTENT, 206, {"Content-Range": "bytes 0-9/10"}),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
def test_what_cannot_be_the_file_is_not_kept(answer: Answer, hub: Hub, cache: Path) -> None:
    hub.answers = [answer]
    with pytest.raises(FetchError) as error:
        weights.fetch(FILE)
    assert is_one_paragraph(error.value)
    assert len(hub.seen) == 1, "it was tried again"
    assert not part_in(cache).exists() or part_in(cache).stat().st_size == 0
    assert weights.fetch(FILE).read_bytes() == CONTENT


def test_a_web_page_between_two_parts_takes_nothing_away(hub: Hub, cache: Path) -> None:
    part_in(cache).parent.mkdir(parents=True)
    part_in(cache).write_bytes(CONTENT[:HALF])
    hub.answers = [WRONG["a-web-page"]]
    with pytest.raises(FetchError, match="a web page came instead"):
        weights.fetch(FILE)
    assert part_in(cache).read_bytes() == CONTENT[:HALF]
    assert weights.fetch(FILE).read_bytes() == CONTENT
    assert hub.seen[-1]["range"] == f"bytes={HALF}-"


@pytest.mark.parametrize(
    ("status", "when"), [(429, "1"), (503, "1"), (503, " 0"), (429, "Sun, 06 Nov 1994 08:49:37 GMT")]
)
def test_a_busy_server_is_given_the_time_that_it_asks_for(status: int, when: str, hub: Hub) -> None:
    hub.answers = [Answer(b"", status, {"Retry-After": when})]
    assert weights.fetch(FILE).read_bytes() == CONTENT
    assert len(hub.seen) == 2


@pytest.mark.parametrize("wanted", ["86400", "-1", "soon", "1e3", "٣", ""])
def test_a_server_that_asks_for_a_day_is_not_waited_for(wanted: str, hub: Hub) -> None:
    hub.answers = [Answer(b"", 503, {"Retry-After": wanted.encode().decode("latin-1")})]
    with pytest.raises(FetchError, match="answered 503"):
        weights.fetch(FILE)
    assert len(hub.seen) == 1


def test_pauses_grow_and_end() -> None:
    slept: list[float] = []
    pauses = Pauses(lambda: None, slept.append)
    lengths = []
    while pauses.pause(1):
        lengths.append(sum(slept))
        slept.clear()
    assert len(lengths) == MOST_TRIES - 1
    assert all(0.24 < length < 1.5 * 2**number for number, length in enumerate(lengths))
    assert lengths[-1] > lengths[0]
    assert Pauses(lambda: None, slept.append).pause(0, 10.0**9)
    assert sum(slept) <= LONGEST_PAUSE + 1


def test_a_server_that_sends_a_byte_at_a_time_is_left(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from fim_magic.weights import hub as module

    monkeypatch.setattr(module, "Pauses", lambda report, _: Pauses(report, lambda _: None))
    cut = {"Content-Length": str(len(CONTENT))}
    hub.answers = [Answer(CONTENT[:1], headers=dict(cut))]
    hub.answers += [
        Answer(
            CONTENT[n : n + 1],
            206,
            {"Content-Length": str(len(CONTENT) - n), "Content-Range": f"bytes {n}-{len(CONTENT) - 1}/{len(CONTENT)}"},
        )
        for n in range(1, 50)
    ]
    with pytest.raises(FetchError):
        weights.fetch(FILE)
    assert len(hub.seen) == MOST_TRIES


def test_a_server_that_holds_on_to_us_is_left(hub: Hub, tmp_path: Path) -> None:
    seconds = itertools.count(step=61.0)
    meter = Meter(silent, "", FILE.size)
    with pytest.raises(SourceFailedError, match="too slowly"):
        stream_part(f"{hub.url}/tiny.gguf", tmp_path / "part", FILE.size, meter, clock=lambda: next(seconds) * 1e6)
    assert CONTENT.startswith((tmp_path / "part").read_bytes()), "what came is kept"


def test_a_token_does_not_follow_to_another_host(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "secret")
    other = Hub()
    try:
        hub.answers = [Answer(b"", 302, {"Location": f"{other.url}/elsewhere"})]
        assert weights.fetch(FILE).read_bytes() == CONTENT
        assert "authorization" in hub.seen[0]
        assert "authorization" not in other.seen[0]
    finally:
        other.close()


# --- a cache in which others can write -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["link", "link-to-nothing", "second-name", "pipe"])
@linux
def test_a_download_writes_into_nothing_that_waits_for_it(kind: str, hub: Hub, cache: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    if kind != "link-to-nothing":
        victim.write_bytes(b"GGUF")
    part = part_in(cache)
    part.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(part)
    elif kind == "second-name":
        os.link(victim, part)
    else:
        part.symlink_to(victim)
    assert weights.fetch(FILE).read_bytes() == CONTENT
    assert not victim.exists() if kind == "link-to-nothing" else victim.read_bytes() == b"GGUF"
    assert not weights.cached(FILE).is_symlink()


def test_a_folder_that_leads_elsewhere_is_not_written_to(hub: Hub, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    part_in(cache).parent.parent.mkdir(parents=True)
    part_in(cache).parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FetchError, match="not a folder of your own"):
        weights.fetch(FILE)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_lock_that_is_a_link_empties_nothing(hub: Hub, cache: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (cache / "locks").mkdir(parents=True)
    (cache / "locks" / f"{FILE.sha256[:12]}-tiny.gguf.lock").symlink_to(victim)
    weights.fetch(FILE)
    assert victim.read_text() == "mine"


def test_a_whole_file_is_written_beside_and_not_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "list").symlink_to("victim")
    weights.write_whole(tmp_path / "list", b"new")
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "list").read_bytes() == b"new"
    assert not (tmp_path / "list").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list", "victim"]


@pytest.mark.parametrize("change", ["flipped", "cut", "longer", "replaced"])
def test_a_fetched_file_that_was_changed_is_fetched_again_with_a_word(change: str, hub: Hub) -> None:
    path = weights.fetch(FILE)
    changes = {
        "flipped": lambda: flip(path),
        "cut": lambda: os.truncate(path, 100),
        "longer": lambda: path.write_bytes(CONTENT + b"x"),
        "replaced": lambda: (path.unlink(), path.write_bytes(CONTENT[::-1])),
    }
    changes[change]()
    notices: list[str] = []
    assert weights.fetch(FILE, on_notice=notices.append).read_bytes() == CONTENT
    assert bool(notices) == (change in ("flipped", "replaced")), "one of another size was never taken for it"


def test_a_fetched_file_of_an_older_version_is_hashed_once(hub: Hub) -> None:
    path = weights.fetch(FILE)
    (path.parent / MANIFEST).unlink()
    seen: list[str] = []
    assert weights.fetch(FILE, lambda progress: seen.append(progress.what)) == path
    assert set(seen) == {"Checking tiny.gguf"}
    seen.clear()
    assert weights.fetch(FILE, lambda progress: seen.append(progress.what)) == path
    assert seen == []


@pytest.fixture
def in_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A snapshot as the Hub's client leaves it: links to files that have their hashes for names."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--owner--model"
    folder = repository / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    for name, content in {"config.json": b"{}", "model.safetensors": b"w" * 5000}.items():
        # As git names a small file, and by its sha256 a large one.
        small = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        blob = small if name == "config.json" else hashlib.sha256(content).hexdigest()
        (repository / "blobs" / blob).write_bytes(content)
        (folder / name).symlink_to(f"../../blobs/{blob}")
    return folder


def test_a_snapshot_is_hashed_once_and_again_when_it_was_touched(in_hub_cache: Path) -> None:
    def hashed() -> set[str]:
        seen: set[str] = set()
        assert weights.snapshot("owner/model", None, lambda progress: seen.add(progress.what)) == in_hub_cache
        return seen

    assert hashed() == {"Checking config.json", "Checking model.safetensors"}
    assert hashed() == set()
    os.utime(in_hub_cache / "config.json", (1, 1))
    assert hashed() == {"Checking config.json"}
    assert hashed() == set()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("change", ["flipped", "cut"])
def test_a_damaged_snapshot_is_not_loaded(change: str, name: str, in_hub_cache: Path, hub: Hub) -> None:
    weights.snapshot("owner/model")
    blob = (in_hub_cache / name).resolve()
    flip(blob, -1) if change == "flipped" else os.truncate(blob, 1)
    with pytest.raises(FetchError):  # this Hub knows nothing of it
        weights.snapshot("owner/model")
    assert blob.exists(), "it was taken away before there was another one"


def test_what_lies_beside_a_file_is_not_read(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "downloads" / "tiny.gguf").path if (tmp_path / "downloads").mkdir() is None else None
    assert path is not None
    right = (converted_tokenizer(path) / "tokenizer_config.json").read_bytes()
    shutil.rmtree(tmp_path / "cache")
    for name in ("tokenizer_config.json", "special_tokens_map.json", "adapter_config.json", "generation_config.json"):
        (path.parent / name).write_text(json.dumps({"bos_token": "evil", "base_model_name_or_path": KERNEL}))
    if hasattr(os, "mkfifo"):
        os.mkfifo(path.parent / "chat_template.jinja")
    assert (converted_tokenizer(path) / "tokenizer_config.json").read_bytes() == right


@linux
@pytest.mark.parametrize(
    "name", ["m" * 250, "模" * 83, "\udcff", "a\nb", "\x1b[2J", "%s{0}$(x)", "'\"", "", " "], ids=ascii
)
def test_a_file_of_any_name_is_converted(name: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf").path.rename(tmp_path / f"{name}.gguf")
    assert (converted_tokenizer(path) / "tokenizer.json").is_file()


def test_a_cache_whose_name_is_no_text_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "\udcff"))
    with pytest.raises(FetchError, match="which is not UTF-8"):
        converted_tokenizer(write_gguf(tmp_path / "tiny.gguf").path)
