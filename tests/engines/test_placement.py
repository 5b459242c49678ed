"""Where a model goes. The GPUs are stand-ins; what accelerate makes of the plan, and the CPU, are real."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from checkpoints import build, change_config
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.integrations.accelerate import compute_module_sizes, get_balanced_memory, infer_auto_device_map

from fim_magic import catalog
from fim_magic.engines.torch import placement
from fim_magic.engines.torch.architectures import decoder_from
from fim_magic.engines.torch.checkpoint_tensors import CheckpointTensors
from fim_magic.engines.torch.configuration import read_configuration
from fim_magic.engines.torch.devices import dtype_for, require_quantisation
from fim_magic.engines.torch.footprint import BYTES_PACKED_OF_ALL, WeightsSize, cache_bytes, weights_in
from fim_magic.engines.torch.packed_file import PlainWeights
from fim_magic.engines.torch.quantisation import quantised_form
from fim_magic.errors import ModelError, OptionError
from fim_magic.loading.memory import MemoryProbe

GB = 10**9
# CodeLlama-7B's, without its weights.
CONFIG = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "num_hidden_layers": 32,
    "max_position_embeddings": 16384,
}
CACHE = cache_bytes(CONFIG, 8192, 2)  # 4.3 GB


@dataclass
class Machine:
    """What placement is told of this machine."""

    free: dict
    compute_capability: tuple = (8, 0)
    is_integrated: bool = False
    bitsandbytes: bool = True

    def has_cuda(self):
        return "cuda:0" in self.free

    def has_metal(self):
        return "mps" in self.free

    def has_bitsandbytes(self):
        return self.bitsandbytes

    def capability(self, _device):
        return self.compute_capability

    def shares_memory(self, _device):
        return self.is_integrated


here = {}  # where `plan` and `require_room_for` find what `machine` has made


@pytest.fixture
def machine():
    """`machine(free, ...)` makes this machine one with those GPUs, and so much free memory."""

    def make(free, **others):
        made = Machine({device: int(size) for device, size in free.items()}, **others)
        here.update(free=made.free, devices=made)
        return made

    yield make
    here.clear()


def free_without(loaded):
    """What is free for the next model when this one is unloaded."""
    return MemoryProbe(free_memory=lambda: here["free"], held=lambda: loaded.held).for_next()


def plan(sizes, config, **options):
    return placement.plan(sizes, config, **{**here, **options})


def require_room_for(name, parameters, **options):
    placement.require_room_for(name, parameters, **{**here, **options})


def weights(billions, **others):
    """What so many parameters take."""
    found = {"elements": int(billions * 1e9), "linear": int(billions * 0.95e9), "largest": 0.03} | others
    return WeightsSize(**found)


# --- precision -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_bfloat16_is_for_gpus_that_compute_it_natively(machine, capability, dtype):
    made = machine({"cuda:0": GB, "cpu": GB}, compute_capability=capability)
    assert dtype_for(torch.device("cuda:0"), made) is dtype


def test_other_devices():
    assert dtype_for(torch.device("cpu")) is torch.float32
    assert dtype_for(torch.device("mps")) is torch.float16


# --- the CPU, really -----------------------------------------------------------------------------


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def test_on_this_machine_a_checkpoint_loads_as_planned(checkpoint):
    folder = checkpoint("qwen2")
    found = plan(weights_in(folder, config_of(folder)), config_of(folder), name="tiny")
    model = AutoModelForCausalLM.from_pretrained(folder, **found.arguments)
    parameter = next(model.parameters())
    assert found.description == f"{parameter.device}, {str(parameter.dtype).removeprefix('torch.')}"
    assert found.weights == sum(p.nbytes for p in model.parameters())
    assert found.cache > 0
    assert found.free > found.weights + found.cache
    assert (found.context, found.notice) == (None, "")


def test_a_cpu_without_room_for_the_weights_refuses_with_the_numbers(machine):
    machine({"cpu": 8 * GB})
    with pytest.raises(ModelError) as caught:
        plan(weights(7.62), CONFIG, name="qwen2.5-coder-7b")
    told = str(caught.value)
    assert "qwen2.5-coder-7b does not fit" in told
    assert "30.5 GB in float32" in told
    assert "8.0 GB on cpu" in told
    assert "In 4 bits it takes 4.5 GB: %fim use qwen2.5-coder-7b --quantize 4bit. " in told
    assert "The largest of %fim models that fits is " in told
    assert "\n" not in told


def test_a_cpu_names_fewer_bits_only_where_they_help(machine):
    machine({"cpu": 4 * GB})
    for sizes, config in (
        (weights(7.62), CONFIG),  # too large in any
        (weights(2), CONFIG | {"model_type": "granite"}),  # not known to our own decoder
        (weights(2, packed=8 * GB), CONFIG),  # stored quantised
    ):
        with pytest.raises(ModelError) as caught:
            plan(sizes, config, name="m")
        assert "--quantize" not in str(caught.value)


@pytest.mark.parametrize("room", [0.1, 1, 3, 9, 20, 100])
def test_the_model_that_is_suggested_fits_and_is_the_largest(machine, room):
    machine({"cpu": room * GB})
    with pytest.raises(ModelError) as caught:
        plan(weights(500), CONFIG, name="huge")
    named = re.search(r"%fim use (\S+)\.$", str(caught.value))
    fitting = [e.parameters for e in catalog.ENTRIES if e.infills and e.unhindered and e.memory(4) <= room * GB]
    if named is None:
        assert "No model of the catalogue fits" in str(caught.value)
        assert not fitting
    else:
        assert catalog.find(named[1]).parameters == max(fitting)


def test_too_little_for_the_cache_only_shortens_the_context(machine):
    folder = weights(1)
    whole = 4 * GB + placement._WORKING
    machine({"cpu": whole + cache_bytes(CONFIG, 1000, 4)})
    found = plan(folder, CONFIG, name="m")
    assert found.context == 1000
    assert "context of 1000 tokens instead of 16384" in found.notice
    machine({"cpu": whole + cache_bytes(CONFIG, 8192, 4)})
    assert (plan(folder, CONFIG, name="m").context, plan(folder, CONFIG, name="m").notice) == (None, "")
    machine({"cpu": whole + cache_bytes(CONFIG, 512, 4)})
    assert plan(folder, CONFIG, name="m").context == 512
    machine({"cpu": whole + cache_bytes(CONFIG, 511, 4)})
    with pytest.raises(ModelError):
        plan(folder, CONFIG, name="m")


def test_a_short_model_is_reckoned_with_its_own_context(machine):
    config = CONFIG | {"max_position_embeddings": 300}
    machine({"cpu": 4 * GB + placement._WORKING + cache_bytes(config, 300, 4)})
    found = plan(weights(1), config, name="m")
    assert (found.context, found.cache) == (None, cache_bytes(config, 300, 4))


def test_the_memory_of_the_model_that_is_replaced_counts(machine):
    machine({"cpu": 20 * GB})
    first = plan(weights(1), CONFIG, name="first")
    assert first.held == {"cpu": 4 * GB}
    machine({"cpu": 3 * GB})  # it is loaded now
    with pytest.raises(ModelError):
        plan(weights(1.2), CONFIG, name="second")
    second = plan(weights(1.2), CONFIG, name="second", free=free_without(first))
    assert second.free == 7 * GB


def test_weights_that_are_mapped_give_nothing_back(machine, monkeypatch):
    machine({"cpu": 20 * GB})
    folder = weights(1, float32=4 * GB)
    assert plan(folder, CONFIG, name="m").held == {"cpu": 0}
    monkeypatch.setattr(sys, "platform", "win32")  # there they are read
    assert plan(folder, CONFIG, name="m").held == {"cpu": 4 * GB}


# --- GPUs ----------------------------------------------------------------------------------------


def test_a_model_that_fits_one_gpu_goes_there_whole(machine):
    machine({"cuda:0": 20 * GB, "cuda:1": 24 * GB, "cpu": 8 * GB})
    found = plan(weights(7), CONFIG, name="m")
    assert found.arguments == {"dtype": torch.bfloat16, "device_map": "cuda:1"}
    assert found.description == "cuda:1, bfloat16"
    assert (found.weights, found.cache, found.free) == (14 * GB, CACHE, 24 * GB)
    assert found.held == {"cuda:1": 14 * GB}
    assert found.notice == ""


def test_an_older_gpu_computes_in_float16(machine):
    machine({"cuda:0": 24 * GB, "cpu": 8 * GB}, compute_capability=(7, 5))
    found = plan(weights(7), CONFIG, name="m")
    assert found.arguments["dtype"] is torch.float16
    assert found.description == "cuda:0, float16"


def test_a_model_too_large_for_one_gpu_goes_onto_several(machine):
    machine({"cuda:0": 24 * GB, "cuda:1": 24 * GB, "cpu": 8 * GB})
    found = plan(weights(15), CONFIG, name="m")
    assert found.arguments["device_map"] == "auto"
    assert set(found.arguments["max_memory"]) == {0, 1, "cpu"}
    assert found.description == "cuda:0 and cuda:1, bfloat16"
    assert found.free == 48 * GB
    assert sum(found.held.values()) == 30 * GB
    assert found.notice == ""


def test_a_gpu_that_somebody_else_fills_is_left_out(machine):
    machine({"cuda:0": 24 * GB, "cuda:1": GB // 10, "cuda:2": 24 * GB, "cpu": 8 * GB})
    found = plan(weights(15), CONFIG, name="m")
    assert found.description == "cuda:0 and cuda:2, bfloat16"


def test_what_does_not_fit_the_gpu_stays_in_the_cpus_memory_and_is_said_to_be_slow(machine):
    machine({"cuda:0": 12 * GB, "cpu": 32 * GB})
    found = plan(weights(7), CONFIG, name="m")
    assert found.arguments["device_map"] == "auto"
    assert found.arguments["max_memory"]["cpu"] < 32 * GB
    assert found.arguments["max_memory"][0] < 12 * GB - CACHE
    assert "in the CPU's memory, bfloat16" in found.description
    assert "slow" in found.notice
    assert "--quantize 4bit" in found.notice
    assert sum(found.held.values()) == pytest.approx(14 * GB, rel=0.001)


def test_a_shorter_context_on_one_gpu_is_better_than_layers_elsewhere(machine):
    machine({"cuda:0": 16 * GB, "cpu": 64 * GB})
    found = plan(weights(7), CONFIG, name="m")
    assert found.description == "cuda:0, bfloat16"
    assert 512 < found.context < 8192


def test_but_a_second_gpu_is_better_than_a_shorter_context(machine):
    machine({"cuda:0": 16 * GB, "cuda:1": 16 * GB, "cpu": 64 * GB})
    found = plan(weights(7), CONFIG, name="m")
    assert found.description == "cuda:0 and cuda:1, bfloat16"
    assert found.context is None


def test_a_gpu_with_the_cpus_memory_has_nowhere_to_offload_to(machine):
    machine({"cuda:0": 12 * GB, "cpu": 12 * GB}, is_integrated=True)
    with pytest.raises(ModelError, match="does not fit"):
        plan(weights(7), CONFIG, name="m")


def test_a_full_gpu_leaves_the_cpu(machine):
    machine({"cuda:0": GB // 10, "cpu": 32 * GB})
    found = plan(weights(1), CONFIG, name="m")
    assert found.arguments == {"dtype": torch.float32}
    assert found.description == "cpu, float32"
    assert "0.1 GB are free on cuda:0" in found.notice


def test_a_model_for_which_all_together_is_too_little_is_refused(machine):
    machine({"cuda:0": 24 * GB, "cpu": 10 * GB})
    with pytest.raises(ModelError) as caught:
        plan(weights(34), CONFIG, name="codellama-34b")
    told = str(caught.value)
    assert "68.0 GB in bfloat16" in told
    assert "24.0 GB on cuda:0 and 10.0 GB on cpu" in told
    assert "In 4 bits it takes 21.6 GB: %fim use codellama-34b --quantize 4bit." in told
    assert "The largest of %fim models that fits is " in told


def test_nobody_is_sent_to_four_bits_that_do_not_fit_either(machine):
    machine({"cuda:0": 24 * GB, "cpu": 10 * GB})
    with pytest.raises(ModelError) as caught:
        plan(weights(70), CONFIG, name="m")
    assert "--quantize" not in str(caught.value)


def test_the_memory_of_the_model_that_is_replaced_counts_on_its_gpu(machine):
    machine({"cuda:0": 24 * GB, "cuda:1": 8 * GB, "cpu": 8 * GB})
    first = plan(weights(7), CONFIG, name="first")
    machine({"cuda:0": 10 * GB, "cuda:1": 8 * GB, "cpu": 8 * GB})
    assert plan(weights(7), CONFIG, name="second", free=free_without(first)).description == "cuda:0, bfloat16"


def test_a_mac_uses_its_gpu(machine):
    machine({"mps": 20 * GB, "cpu": 30 * GB})
    found = plan(weights(7), CONFIG, name="m")
    assert found.arguments == {"dtype": torch.float16, "device_map": "mps"}
    assert found.description == "mps, float16"
    with pytest.raises(ModelError, match=r"70\.0 GB in float16"):
        plan(weights(35), CONFIG, name="m")


# --- what accelerate makes of it -----------------------------------------------------------------

SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 12}


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    """A checkpoint of twelve layers, and the same model without its weights, for accelerate to place."""
    folder = tmp_path_factory.mktemp("spread")
    config = LlamaConfig(**SHAPE, vocab_size=400, tie_word_embeddings=False)
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return folder, model, compute_module_sizes(model)[0][""]


def placed(model, arguments):
    """The bytes that transformers and accelerate put on each device."""
    no_split = model._no_split_modules
    limits = get_balanced_memory(model, dict(arguments["max_memory"]), no_split_module_classes=no_split)
    device_map = infer_auto_device_map(model, max_memory=limits, no_split_module_classes=no_split)
    used = Counter()
    for name, parameter in model.named_parameters():
        holder = max((module for module in device_map if f"{name}.".startswith(f"{module}.")), key=len)
        used[device_map[holder]] += parameter.nbytes
    return used


shares = st.floats(0.01, 2.0)


@given(gpus=st.lists(shares, min_size=1, max_size=4), ram=shares)
@example(gpus=[0.6, 0.9], ram=0.1)
@example(gpus=[0.2, 1.2, 0.3], ram=0.9)
@example(gpus=[0.5], ram=1.0)
def test_accelerate_keeps_what_the_plan_says(spread, gpus, ram):
    folder, model, whole = spread
    free = {f"cuda:{at}": int(share * whole) for at, share in enumerate(gpus)} | {"cpu": int(ram * whole)}
    config = config_of(folder) | {"max_position_embeddings": 16}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement, "_WORKING", 0)
        try:
            found = placement.plan(weights_in(folder, config), config, name="m", free=free, devices=Machine(free))
        except ModelError:
            return
    if found.arguments.get("device_map") != "auto":
        return
    used = placed(model, found.arguments)
    assert used["disk"] == 0
    if "in the CPU's memory" not in found.description:
        assert used["cpu"] == 0
    assert used["cpu"] <= found.held.get("cpu", 0)
    for device, size in used.items():
        name = device if device == "cpu" else f"cuda:{device}"
        assert size <= free[name]
        assert name in found.description or name == "cpu"


def test_the_examples_above_take_every_way(spread):
    folder, _, whole = spread
    ways = set()
    for gpus, ram in (([2.0], 1.0), ([0.6, 0.9], 0.1), ([0.5], 1.0), ([0.01], 2.0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(placement, "_WORKING", 0)
            free = {f"cuda:{at}": int(s * whole) for at, s in enumerate(gpus)} | {"cpu": int(2.5 * ram * whole)}
            config = config_of(folder) | {"max_position_embeddings": 16}
            found = placement.plan(weights_in(folder, config), config, name="m", free=free, devices=Machine(free))
        ways.add((found.arguments.get("device_map"), "in the CPU's memory" in found.description))
    assert ways == {("cuda:0", False), ("auto", False), ("auto", True), (None, False)}


# --- quantising ----------------------------------------------------------------------------------


def test_four_bits(machine):
    machine({"cuda:0": 24 * GB, "cpu": 8 * GB})
    found = plan(weights(15), CONFIG, name="m", quantize="4bit")
    config = found.arguments["quantization_config"]
    assert (config.load_in_4bit, config.bnb_4bit_quant_type) == (True, "nf4")
    assert config.bnb_4bit_compute_dtype is found.arguments["dtype"] is torch.bfloat16
    assert found.arguments["device_map"] == "cuda:0"
    assert found.description == "cuda:0, 4 bit (bfloat16 inside)"
    assert 8 * GB < found.weights < 10 * GB


def test_eight_bits_compute_in_float16(machine):
    machine({"cuda:0": 24 * GB, "cpu": 8 * GB})
    found = plan(weights(15), CONFIG, name="m", quantize="8bit")
    assert found.arguments["quantization_config"].load_in_8bit
    assert found.arguments["dtype"] is torch.float16
    assert 15 * GB < found.weights < 16 * GB


def test_quantised_layers_are_never_left_to_the_cpu(machine):
    machine({"cuda:0": 12 * GB, "cpu": 64 * GB})
    with pytest.raises(ModelError, match=r"in 4 bit .*%fim use \S+ --quantize 4bit\."):
        plan(weights(34), CONFIG, name="m", quantize="4bit")


def test_a_model_of_experts_is_told_that_quantising_does_little(machine):
    machine({"cuda:0": 80 * GB, "cpu": 64 * GB})
    found = plan(weights(30, linear=2 * GB), CONFIG, name="qwen3-coder-30b", quantize="4bit")
    assert "experts" in found.notice
    assert found.weights > 56 * GB


def test_on_apples_gpus_quantising_is_refused_with_what_to_do_instead(machine):
    machine({"mps": 20 * GB, "cpu": 8 * GB})
    with pytest.raises(OptionError) as caught:
        plan(weights(1), CONFIG, name="m", quantize="4bit")
    assert "Apple" in str(caught.value)
    assert f"%fim use {catalog.DEFAULT.name}" in str(caught.value)


# Qwen2.5-Coder-7B's: of 7.62 billion, 6.53 are in linear layers, 0.82 of them in attention, and 0.545 each in the table and
# in the output layer.
SEVEN = {"linear": 6_526_000_000, "attention": 822_000_000, "output": 545_000_000, "tables": 545_000_000}


@pytest.mark.parametrize(("quantize", "size"), [("4bit", 6.36), ("8bit", 9.93)])
def test_on_a_cpu_quantised_weights_are_mapped(machine, quantize, size):
    machine({"cpu": 16 * GB})
    found = plan(weights(7.62, **SEVEN), CONFIG | {"num_key_value_heads": 4}, name="m", quantize=quantize)
    assert found.weights == pytest.approx(size * GB, rel=0.002)
    assert BYTES_PACKED_OF_ALL[quantize] == pytest.approx(size / 7.62, rel=0.03)
    assert found.held == {"cpu": 0}
    assert found.arguments == {"dtype": torch.float32}
    assert found.description == f"cpu, {quantize[0]} bit (float32 inside)"


def test_seven_billion_parameters_fit_eight_gigabytes_in_4_bits(machine):
    machine({"cpu": 8 * GB})
    require_room_for("qwen2.5-coder-7b", 7.62, quantize="4bit")
    plan(weights(7.62, **SEVEN), CONFIG | {"num_key_value_heads": 4}, name="m", quantize="4bit")
    with pytest.raises(ModelError, match=r"9\.9 GB in 8 bit .* is \S+: %fim use \S+ --quantize 8bit\.$") as caught:
        plan(weights(7.62, **SEVEN), CONFIG, name="m", quantize="8bit")
    suggested = re.search(r"%fim use (\S+) --quantize 8bit\.$", str(caught.value))
    assert catalog.find(suggested[1]).can_be_packed


@pytest.mark.parametrize("tied", [True, False])
def test_packed_weights_take_what_their_file_has(machine, tmp_path, monkeypatch, tied):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    shape = {"hidden_size": 256, "intermediate_size": 512, "initializer_range": 0.02, "tie_word_embeddings": tied}
    folder = build("qwen2", tmp_path / "m", **shape)
    reckoned = weights_in(folder, config_of(folder)).bytes_packed("4bit")
    written = (quantised_form(folder, 4, name="m") / "packed.safetensors").stat().st_size
    assert written == pytest.approx(reckoned, rel=0.05)


@pytest.mark.parametrize("quantize", ["2bit", "4", "", "4 bit"])
def test_another_word_is_refused(quantize):
    with pytest.raises(OptionError, match="8bit or 4bit"):
        require_quantisation(quantize)


def test_without_bitsandbytes_the_line_that_installs_it_is_told(machine):
    machine({"cuda:0": 24 * GB, "cpu": 8 * GB}, bitsandbytes=False)
    with pytest.raises(OptionError, match="pip install -U bitsandbytes"):
        plan(weights(1), CONFIG, name="m", quantize="8bit")


def test_what_is_stored_quantised_is_not_quantised_again(machine, tmp_path):
    machine({"cuda:0": 24 * GB, "cpu": 8 * GB})
    folder = build("qwen2", tmp_path / "m")
    change_config(folder, quantization_config={"quant_method": "awq"})
    with pytest.raises(OptionError, match=r"already \(awq\)"):
        plan(weights_in(folder, config_of(folder)), config_of(folder), name="m", quantize="4bit")


# --- before it is fetched ------------------------------------------------------------------------


def test_a_model_that_cannot_fit_is_refused_before_it_is_fetched(machine):
    machine({"cpu": 16 * GB})
    with pytest.raises(ModelError, match="does not fit") as caught:
        require_room_for("qwen2.5-coder-14b", 14.8)
    assert "GB in float32" in str(caught.value)
    require_room_for("qwen2.5-coder-1.5b", 1.54)


def test_then_too_what_is_replaced_and_what_quantising_saves_count(machine):
    machine({"cuda:0": 24 * GB, "cpu": 2 * GB})
    with pytest.raises(ModelError):
        require_room_for("qwen2.5-coder-14b", 14.8)
    require_room_for("qwen2.5-coder-14b", 14.8, quantize="4bit")
    before = plan(weights(10), CONFIG, name="first")
    machine({"cuda:0": 4 * GB, "cpu": 2 * GB})
    require_room_for("starcoder2-7b", 7.17, free=free_without(before))
    with pytest.raises(OptionError):
        require_room_for("starcoder2-7b", 7.17, quantize="3bit")


def test_the_estimate_never_refuses_what_the_files_allow(machine):
    """The catalogue rounds: StarCoder2-15B is 16.0 there, and 15.96 in its files. Its cache is small."""
    config = CONFIG | {"num_hidden_layers": 40, "num_attention_heads": 48, "num_key_value_heads": 4}
    least = 2 * 15.96 * GB + placement._WORKING + cache_bytes(config, 512, 2)
    for room in (least, least + GB, least + 9 * GB):
        machine({"cuda:0": room, "cpu": 0})
        plan(weights(15.96), config, name="starcoder2-15b")
        require_room_for("starcoder2-15b", 16.0)


def test_our_own_decoder_keeps_what_is_beyond_a_window(checkpoint):
    """transformers lets go of it. Reckoned with that, a long prompt took more memory than was free."""
    folder = checkpoint("starcoder2")
    config = read_configuration(config_of(folder))
    decoder = decoder_from(config, PlainWeights(CheckpointTensors(folder, config)))
    cache, tokens = decoder.new_cache(), 100
    assert tokens > config.sliding_window
    decoder.forward([1] * tokens, cache)
    held = sum(kept[:, :tokens].numel() * kept.itemsize for kept in (*cache.keys, *cache.values))
    planned = placement.plan_packed(
        WeightsSize(), {**config_of(folder), "max_position_embeddings": tokens}, name="m", free=GB
    )
    assert planned.cache == held
