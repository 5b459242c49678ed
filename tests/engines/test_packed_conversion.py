"""GGUF files with packed weights: converted, loaded and chosen."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gguf_files
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import quants
from transformers import AutoModelForCausalLM

from fim_magic.engines.out_of_memory import OutOfMemoryError
from fim_magic.engines.torch import gguf_tensors, packed, packed_conversion, packed_file, precision
from fim_magic.engines.torch.gguf_conversion import converted
from fim_magic.engines.torch.gguf_tensors import GgufTensors, _of_q4_k
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.engines.torch.packed_conversion import NotPackableError, packed_form
from fim_magic.engines.torch.precision import Costs, costs
from fim_magic.errors import FetchError, ModelError, OptionError
from fim_magic.loading.loaders import LOADERS
from fim_magic.loading.memory import MemoryProbe
from fim_magic.loading.resolve import resolve
from fim_magic.loading.spec import ModelSpec

ON_A_CPU = MemoryProbe(may_have_gpu=lambda: False)
FAST, SLOW = Costs(1.0, 0.5, 0.6), Costs(1.0, 1.5, 1.4)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=[False, True], ids=["its own output layer", "tied"])
def tiny(request, tmp_path):
    return gguf_files.write_gguf(tmp_path / "tiny.gguf", tied=request.param)


def loaded_from(folder):
    return LocalEngine.load(folder, name="tiny", revision="")


def test_logits_are_near_those_of_the_library(tiny):
    engine = loaded_from(packed_form(tiny.path))
    model = AutoModelForCausalLM.from_pretrained(converted(tiny.path), dtype=torch.float32)
    ids = [(7 * n * n + 3) % model.config.vocab_size for n in range(60)]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0]
    cache = engine._decoder.new_cache()
    parts = (ids[:40], ids[40:45], ids[45:46], ids[46:])
    found = torch.cat([engine._decoder.forward(part, cache, all_logits=True) for part in parts])
    assert float((found - expected).abs().max() / expected.std()) < 0.15
    assert engine.info.runs_on.startswith("cpu, packed (")
    assert engine.bytes_per_token(0) < engine.report().weight_bytes


def test_the_folder_is_made_once_and_again_if_it_is_damaged(tiny):
    notices = []
    folder = packed_form(tiny.path, on_notice=notices.append)
    written = (folder / "packed.safetensors").stat().st_mtime_ns
    assert packed_form(tiny.path, on_notice=notices.append) == folder and not notices
    assert (folder / "packed.safetensors").stat().st_mtime_ns == written
    with (folder / "packed.safetensors").open("r+b") as file:
        file.truncate(1000)
    assert packed_form(tiny.path, on_notice=notices.append) == folder and len(notices) == 1
    loaded_from(folder).warm_up()


MAKE = """
import sys
from pathlib import Path
from fim_magic.engines.torch import packed_conversion
made = packed_conversion.write_checked
packed_conversion.write_checked = lambda *args, **options: (print("made"), made(*args, **options))[1]
print(packed_conversion.packed_form(Path(sys.argv[1])))
"""


def test_two_processes_at_once_make_the_folder_once(tmp_path):
    path = gguf_files.write_gguf(tmp_path / "tiny.gguf").path
    command = [sys.executable, "-c", MAKE, str(path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=300)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(map(len, told)) == [1, 2]
    assert told[0][-1] == told[1][-1]
    assert [each.name for each in Path(told[0][-1]).parent.iterdir()] == [Path(told[0][-1]).name]
    loaded_from(Path(told[0][-1])).warm_up()


def test_a_cache_that_cannot_be_written_is_read(tiny, tmp_path, monkeypatch):
    folder = packed_form(tiny.path)
    read_only = OSError(errno.EROFS, "Read-only file system")

    def refuse(*_args, **_options):
        raise read_only

    for name in ("locked", "write_manifest", "write_whole"):
        monkeypatch.setattr(packed_conversion.weights, name, refuse)
    assert packed_form(tiny.path) == folder
    other = gguf_files.write_gguf(tmp_path / "other.gguf", context=64)
    with pytest.raises(FetchError, match="could not be written"):
        packed_form(other.path)


def test_the_folder_is_for_the_layout_that_torch_has_here(tiny):
    assert packed.layout_name() in packed_form(tiny.path).name


@pytest.mark.parametrize("lacking", ["blk.1.attn_q.bias", "blk.1.attn_norm.weight", "blk.0.ffn_up.weight"])
def test_weights_that_a_file_lacks_are_not_made_up(tiny, lacking):
    content = tiny.path.read_bytes()
    assert content.count(lacking.encode()) == 1
    tiny.path.write_bytes(content.replace(lacking.encode(), lacking.replace("blk", "bIk").encode()))
    with pytest.raises(ModelError, match="could not be converted"):
        packed_form(tiny.path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_on_the_way_is_no_damaged_file(tiny, monkeypatch, code):
    def full(_tensor):
        raise OSError(code, "No room")

    monkeypatch.setattr(packed_file, "_bytes", full)
    with pytest.raises(FetchError, match=r"could not be written .*Make room"):
        packed_form(tiny.path)
    assert not list((packed_conversion.weights.cache_dir() / "converted").iterdir())


def test_short_memory_on_the_way_is_no_damaged_file(tiny, monkeypatch):
    def short(_tensor):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(packed_file, "_bytes", short)
    with pytest.raises(OutOfMemoryError):
        packed_form(tiny.path)


def test_what_says_something_else_when_packed_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(packed_conversion, "_AGREEMENT", 1e-6)
    with pytest.raises(NotPackableError):
        packed_form(tiny.path)
    folder = packed_conversion.weights.cache_dir() / "converted"
    assert not list(folder.iterdir())


def test_q4_k_is_kept_as_it_is():
    random = np.random.default_rng(0)
    blocks = random.integers(0, 256, (6, 2 * 144), dtype=np.uint8)
    halves = (random.random((6, 2, 2)) * 0.1).astype(np.float16).view(np.uint8).reshape(6, 2, 4)
    blocks.reshape(6, 2, 144)[:, :, :4] = halves
    expected = quants.dequantize(blocks, Kind.Q4_K)
    scale, minimum = _of_q4_k(blocks)
    numbers = (torch.from_numpy(expected).view(6, -1, 32) + minimum[..., None]) / scale.clamp_min(1e-9)[..., None]
    assert float((numbers - numbers.round()).abs()[scale > 0].max()) < 1e-2
    assert int(numbers.round()[scale > 0].min()) >= 0 and int(numbers.round()[scale > 0].max()) <= 15


def test_tensors_are_those_of_the_file(tiny):
    from transformers import AutoConfig

    tensors = GgufTensors(tiny.path, AutoConfig.from_pretrained(packed_form(tiny.path)))
    names = {
        "model.layers.1.self_attn.k_proj": ("blk.1.attn_k.weight", 4, 2.0**-8),
        "model.layers.1.mlp.down_proj": ("blk.1.ffn_down.weight", 8, 2.0**-8),
        "model.layers.0.mlp.down_proj": ("blk.0.ffn_down.weight", 8, 2.0**-12),
        "model.layers.0.self_attn.q_proj": ("blk.0.attn_q.weight", 8, 0.008),
    }
    for name, (theirs, bits, error) in names.items():
        expected = torch.from_numpy(tiny.tensors[theirs])
        assert torch.equal(tensors.numbers(f"{name}.weight"), expected)
        weight = tensors.packed(f"{name}.weight")
        found = packed.Unpacker(torch.float32).unpack(weight, 0, weight.planes.shape[0])[:, : weight.rows].t()
        assert weight.bits == tensors.bits(f"{name}.weight") == bits
        assert float((found - expected).norm() / expected.norm()) < error
        assert weight.has_remainder == tensors.has_remainder(f"{name}.weight") == ("blk.0.ffn_down" in theirs)
    with pytest.raises(ValueError, match="is absent"):
        tensors.numbers("model.nothing.weight")


def test_later_layers_stay_in_4_bits(tiny, monkeypatch):
    from transformers import AutoConfig

    monkeypatch.setattr(gguf_tensors, "_EARLY_LAYERS", 0)
    tensors = GgufTensors(tiny.path, AutoConfig.from_pretrained(packed_form(tiny.path)))
    assert tensors.bits("model.layers.0.mlp.down_proj.weight") == 4
    assert not tensors.has_remainder("model.layers.0.mlp.down_proj.weight")


# --- the choice ------------------------------------------------------------------------------------


def folder_for(tiny, asked, monkeypatch, measured):
    monkeypatch.setattr(precision, "costs", lambda _shape: measured)
    source = resolve(ModelSpec(str(tiny.path), precision=asked, engine="torch"), LOADERS, ON_A_CPU).source
    return LOADERS["torch"].fetch(source, lambda _: None, False, lambda _: None)[0]


@pytest.mark.parametrize(
    ("asked", "measured", "is_packed"),
    [
        (None, FAST, True),
        (None, SLOW, False),
        (None, None, False),
        ("packed", SLOW, True),
        ("exact", FAST, False),
    ],
)
def test_what_is_faster_is_taken_and_what_is_asked_for(tiny, monkeypatch, asked, measured, is_packed):
    folder = folder_for(tiny, asked, monkeypatch, measured)
    assert (folder / "packed.safetensors").exists() == is_packed


def test_a_machine_without_the_operators_says_so_where_they_are_asked_for(tiny, monkeypatch):
    with pytest.raises(Exception, match="Omit --precision packed"):
        folder_for(tiny, "packed", monkeypatch, None)


def test_what_cannot_be_packed_takes_the_other_form(tiny, monkeypatch):
    monkeypatch.setattr(packed_conversion, "_AGREEMENT", 1e-6)
    assert (folder_for(tiny, None, monkeypatch, FAST) / "model.safetensors").exists()
    with pytest.raises(NotPackableError):
        folder_for(tiny, "packed", monkeypatch, FAST)


def test_where_nothing_can_be_written_the_form_that_is_there_is_taken(tiny, monkeypatch):
    kept = converted(tiny.path)

    def refuse(*_args, **_options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(packed_conversion.weights, "locked", refuse)
    assert folder_for(tiny, None, monkeypatch, FAST) == kept
    with pytest.raises(FetchError, match="could not be written"):
        folder_for(tiny, "packed", monkeypatch, FAST)


def test_without_room_the_room_for_packed_weights_is_told_which_is_less(tiny, monkeypatch):
    needed = []

    def full(_folder, size):
        needed.append(size)
        raise FetchError(f"{size} bytes are needed")

    monkeypatch.setattr(packed_conversion.weights, "require_room", full)
    with pytest.raises(FetchError) as told:
        folder_for(tiny, None, monkeypatch, FAST)
    assert len(needed) == 2
    assert str(told.value) == f"{min(needed)} bytes are needed"


def test_packed_is_for_torch_alone(tiny):
    loaders = {**LOADERS, "gguf": replace(LOADERS["gguf"], is_installed=lambda: True)}
    with pytest.raises(OptionError, match="--precision packed is for"):
        resolve(ModelSpec(str(tiny.path), precision="packed", engine="gguf"), loaders, ON_A_CPU)


@pytest.mark.parametrize(
    ("plain", "packed_16", "packed_32", "favoured", "dtype"),
    [
        (1.0, 0.5, 0.9, True, torch.bfloat16),
        (1.0, 1.09, 1.2, True, torch.bfloat16),
        (1.0, 2.0, 0.9, True, torch.float32),
        (1.0, 1.2, 1.3, False, torch.bfloat16),
    ],
)
def test_a_little_slower_is_still_taken(plain, packed_16, packed_32, favoured, dtype):
    found = Costs(plain, packed_16, packed_32)
    assert (found.favours_packed, found.prefill) == (favoured, dtype)


@pytest.mark.parametrize("measured", [FAST, None])
def test_it_is_measured_once(measured):
    def never(_shape):
        raise AssertionError

    assert costs((64, 32), lambda _: measured, busy=lambda: False) == measured
    assert costs((64, 32), never, busy=lambda: False) == measured
    assert costs((96, 32), lambda _: SLOW, busy=lambda: False) == SLOW


def test_what_is_measured_while_others_compute_is_not_noted():
    assert costs((64, 32), lambda _: SLOW, busy=lambda: True) == SLOW
    assert costs((64, 32), lambda _: FAST, busy=lambda: False) == FAST


@pytest.mark.parametrize("content", ["", "[]", '{"x": 1}', "{"])
def test_a_damaged_note_is_none(content):
    path = precision._path()
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert costs((64, 32), lambda _: FAST, busy=lambda: False) == FAST
    noted = json.loads(path.read_text())
    noted[precision.describe_processor()]["64x32"] = {"plain": "fast"}
    path.write_text(json.dumps(noted))
    assert costs((64, 32), lambda _: SLOW, busy=lambda: False) == SLOW


def test_a_measurement_says_something_of_every_path():
    found = precision.measure((128, 64))
    assert found is not None and min(found.plain, found.bfloat16, found.float32) > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_that_the_user_has_set_does_not_count(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        assert precision.measure((128, 64)) is not None
        assert costs((128, 64), busy=lambda: False) is not None
    finally:
        torch.set_default_dtype(before)


def test_what_fails_once_is_not_noted():
    def short(_shape):
        raise RuntimeError("can't allocate memory")

    assert costs((64, 32), short, busy=lambda: False) is None
    assert costs((64, 32), lambda _: FAST, busy=lambda: False) == FAST


def test_how_many_threads_compute_is_part_of_what_is_noted(monkeypatch):
    assert costs((64, 32), lambda _: SLOW, busy=lambda: False) == SLOW
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert costs((64, 32), lambda _: FAST, busy=lambda: False) == FAST


def test_a_version_without_the_operators_measures_nothing(monkeypatch):
    def absent(*_):
        raise AttributeError

    monkeypatch.setattr(packed, "multiply", absent)
    assert precision.measure((128, 64)) is None


def test_the_shape_is_that_of_the_mlp(tiny):
    assert precision.shape_in(tiny.path) == (gguf_files.HIDDEN, gguf_files.WIDTH)
    shutil.copy(tiny.path, tiny.path.with_name("other.gguf"))
    assert precision.shape_in(tiny.path.with_name("other.gguf")) == (gguf_files.HIDDEN, gguf_files.WIDTH)


def test_a_shape_that_the_file_cannot_hold_is_not_measured(tiny):
    """What a header says is allocated: gigabytes, by a damaged one of a hundred bytes."""
    content = tiny.path.read_bytes()
    key = b"qwen2.feed_forward_length"
    at = content.index(key) + len(key) + 4  # behind the type
    assert int.from_bytes(content[at : at + 4], "little") == gguf_files.HIDDEN
    tiny.path.write_bytes(content[:at] + (2**19).to_bytes(4, "little") + content[at + 4 :])
    assert precision.shape_in(tiny.path) is None


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({"intermediate_size": 4864, "hidden_size": 896}, (4864, 896)),
        ({"n_embd": 768, "n_inner": 3072, "n_head": 12}, (3072, 768)),
        ({"n_embd": 768, "n_inner": None}, (3072, 768)),
        ({"n_embd": "many"}, None),
        ([], None),
    ],
)
def test_in_what_prompts_are_multiplied_is_measured_for_each_layout(tmp_path, monkeypatch, config, shape):
    asked = []
    monkeypatch.setattr(precision, "costs", lambda shape: asked.append(shape) or Costs(1.0, 0.9, 0.8))
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert precision.prefill_dtype(tmp_path) == torch.float32
    assert asked == ([] if shape is None else [shape])
