"""What is read from a checkpoint's files, beside what the loaded model really takes."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from checkpoints import KINDS, build
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    CodeGenConfig,
    DeepseekV2Config,
    DynamicCache,
    FalconH1Config,
    GemmaConfig,
    GPTBigCodeConfig,
    GraniteMoeHybridConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
    StableLmConfig,
    Starcoder2Config,
    XGLMConfig,
)

from fim_magic.engines.torch.footprint import WeightsSize, cache_bytes, context_of, weights_in

_LLAMA = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
_GPT = {"vocab_size": 64, "n_embd": 32, "n_inner": 48, "n_layer": 3, "n_head": 4, "n_positions": 128}
_MOE = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 16}
_MLA = {"kv_lora_rank": 16, "q_lora_rank": None, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8}
_FEW_EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_shared_experts": 1}
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}

CONFIGS = {
    "CodeLlama": LlamaConfig(**_LLAMA | {"num_key_value_heads": 4}),
    "Qwen2.5-Coder": Qwen2Config(**_LLAMA),
    "Qwen2 with a window in some layers": Qwen2Config(
        **_LLAMA, use_sliding_window=True, sliding_window=8, max_window_layers=1
    ),
    "StarCoder": GPTBigCodeConfig(**_GPT),
    "GPTBigCode with all heads": GPTBigCodeConfig(**_GPT, multi_query=False),
    "StarCoder2": Starcoder2Config(**_LLAMA, sliding_window=8),
    "Codestral": MistralConfig(**_LLAMA, sliding_window=None),
    "CodeGen": CodeGenConfig(**_GPT, n_ctx=128, rotary_dim=8),
    "CodeGemma": GemmaConfig(**_LLAMA, head_dim=16),
    "Stable Code": StableLmConfig(**_LLAMA),
    "InCoder": XGLMConfig(vocab_size=64, d_model=32, ffn_dim=48, num_layers=3, attention_heads=4),
    "DeepSeek-Coder-V2": DeepseekV2Config(
        **_LLAMA | {"num_key_value_heads": 4}, **_MLA, **_FEW_EXPERTS, n_group=1, topk_group=1, topk_method="greedy"
    ),
    "Qwen3-Coder": Qwen3MoeConfig(**_LLAMA, **_MOE),
    "Qwen3-Coder-Next": Qwen3NextConfig(
        **_LLAMA,
        **_MOE,
        layer_types=["linear_attention", "linear_attention", "full_attention"],
        full_attention_interval=3,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
    ),
    "Granite 4": GraniteMoeHybridConfig(
        **_LLAMA, **_MAMBA, layer_types=["mamba", "attention", "mamba"], mamba_expand=2, num_local_experts=0
    ),
    "Falcon-H1-Tiny-Coder": FalconH1Config(**_LLAMA, **_MAMBA | {"mamba_d_head": 8}, mamba_d_ssm=32),
}


def cached(config, tokens):
    """The bytes of keys and values that transformers keeps after reading `tokens` tokens."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(input_ids=torch.arange(tokens)[None] % 32, past_key_values=cache, use_cache=True)
    kept = [getattr(layer, name, None) for layer in cache.layers for name in ("keys", "values")]
    return sum(tensor.nbytes for tensor in kept if tensor is not None)


def saved(config, folder):
    config.save_pretrained(folder)
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("tokens", [5, 24])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_cache_is_what_transformers_caches(name, tokens, tmp_path):
    found = cache_bytes(saved(CONFIGS[name], tmp_path), tokens, 4)
    assert found == cached(CONFIGS[name], tokens)
    assert found > 0


@pytest.mark.parametrize("name", CONFIGS)
def test_and_so_it_is_for_configurations_written_before_layers_were_listed(name, tmp_path):
    config = saved(CONFIGS[name], tmp_path)
    config.pop("num_key_value_heads", None) if name == "StarCoder" else None
    if name == "Granite 4":
        config["layer_types"] = ["mamba", "attention", "mamba"]  # its words on the Hub
    elif "layer_types" in config:
        del config["layer_types"]
        if name == "Qwen3-Coder-Next":
            config["full_attention_interval"] = 3
    assert cache_bytes(config, 24, 4) == cached(CONFIGS[name], 24)


def test_a_window_that_qwen_names_and_does_not_use_bounds_nothing():
    config = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "sliding_window": 4}
    assert cache_bytes(config | {"model_type": "qwen2"}, 10, 1) == cache_bytes(
        config | {"use_sliding_window": False}, 10, 1
    )
    assert cache_bytes(config | {"model_type": "mistral"}, 10, 1) < cache_bytes(config | {"model_type": "qwen2"}, 10, 1)


def test_santacoders_own_word_for_one_key_and_value():
    config = {"n_embd": 2048, "n_head": 16, "n_layer": 24, "model_type": "gpt2", "attention_head_type": "multiquery"}
    assert cache_bytes(config, 1, 2) == 24 * 2 * 128 * 2


def test_codellama_7b_keeps_half_a_megabyte_a_token():
    config = {"hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32}
    assert cache_bytes(config, 1, 2) == 2**19


def test_a_configuration_that_says_nothing_costs_nothing():
    assert cache_bytes({}, 1000, 2) == 0
    assert context_of({}) is None


def test_the_context_is_found_under_every_name(tmp_path):
    assert context_of(saved(CONFIGS["CodeGen"], tmp_path)) == 128
    assert context_of(saved(CONFIGS["CodeLlama"], tmp_path)) == 128
    assert context_of({"seq_length": 7}) == 7


def loaded_bytes(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    return sum(parameter.nbytes for parameter in model.parameters())


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", KINDS)
def test_weights_are_what_the_loaded_model_holds(checkpoint, name, dtype):
    folder = checkpoint(name)
    found = weights_in(folder, config_of(folder))
    assert found.bytes_at(dtype.itemsize) == loaded_bytes(folder, dtype)
    assert found.float32 == loaded_bytes(folder, torch.float32)  # so they are stored
    assert 0 < found.linear < found.elements


@pytest.fixture
def bfloat16(tmp_path):
    """The folder of a checkpoint as vendors publish them: bfloat16, in shards."""
    model = AutoModelForCausalLM.from_config(LlamaConfig(**_LLAMA)).to(torch.bfloat16)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    return tmp_path


def test_shards_in_bfloat16_are_widened_for_a_cpu(bfloat16):
    assert len(list(bfloat16.glob("*.safetensors"))) > 1
    found = weights_in(bfloat16, config_of(bfloat16))
    assert found.bytes_at(4) == loaded_bytes(bfloat16, torch.float32)
    assert found.float32 == 0


def test_the_largest_layer_is_the_most_that_moves_together(bfloat16):
    model = AutoModelForCausalLM.from_pretrained(bfloat16)
    whole = sum(p.numel() for p in model.parameters())
    layer = sum(p.numel() for p in model.model.layers[0].parameters())
    embedding = model.get_input_embeddings().weight.numel()
    assert weights_in(bfloat16, config_of(bfloat16)).largest == pytest.approx(max(layer, embedding) / whole)


def test_a_shard_that_is_absent_is_not_counted(bfloat16):
    before = weights_in(bfloat16, config_of(bfloat16))
    next(iter(bfloat16.glob("*.safetensors"))).unlink()
    assert 0 < weights_in(bfloat16, config_of(bfloat16)).elements < before.elements


def test_an_output_matrix_that_is_stored_twice_is_counted_once(tmp_path):
    folder = build("qwen2", tmp_path, tie_word_embeddings=True)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, path, metadata={"format": "pt"})
    assert weights_in(folder, config_of(folder)).bytes_at(4) == loaded_bytes(folder, torch.float32)


def test_masks_of_old_checkpoints_are_not_weights(tmp_path):
    folder = build("starcoder", tmp_path)
    path = folder / "model.safetensors"
    mask = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    save_file(load_file(path) | {"transformer.h.0.attn.bias": mask}, path, metadata={"format": "pt"})
    assert weights_in(folder, config_of(folder)).bytes_at(4) == loaded_bytes(folder, torch.float32)


def test_a_checkpoint_that_is_stored_quantised_counts_as_it_is(tmp_path):
    packed = {"model.layers.0.q.qweight": torch.ones(8, 8, dtype=torch.int32), "norm": torch.ones(8).half()}
    save_file(packed, tmp_path / "model.safetensors")
    found = weights_in(tmp_path, {"quantization_config": {"quant_method": "gptq"}})
    assert found.bytes_at(2) == found.bytes_at(4) == 8 * 8 * 4 + 8 * 2


@pytest.mark.parametrize(("stored", "said"), [(torch.float16, {"torch_dtype": "float16"}), (torch.float32, {})])
def test_pickles_count_by_their_size(tmp_path, stored, said):
    torch.save({"a": torch.ones(1000, 100, dtype=stored)}, tmp_path / "pytorch_model.bin")
    found = weights_in(tmp_path, said)
    assert found.bytes_at(4) == pytest.approx(400_000, rel=0.02)
    assert (found.float32 > 0) == (stored is torch.float32)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"garbage" * 100, id="garbage"),
        pytest.param(struct.pack("<Q", 10) + b"[1, 2, 3] ", id="a list"),
        pytest.param(struct.pack("<Q", 12) + b'{"a": {}}   ', id="a tensor of nothing"),
        pytest.param(struct.pack("<Q", 2**60) + b"{}", id="an endless header"),
    ],
)
def test_a_damaged_file_counts_by_its_size(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    assert weights_in(tmp_path, {"dtype": "float16"}).bytes_at(2) == pytest.approx(len(content), abs=2)


def test_a_damaged_index_is_no_weights(tmp_path):
    for index in ("{", "[]", '{"weight_map": 3}'):
        (tmp_path / "model.safetensors.index.json").write_text(index)
        assert weights_in(tmp_path, {}) == WeightsSize()


def test_a_folder_without_weights_has_none(tmp_path):
    assert weights_in(tmp_path, {}) == WeightsSize()


def quantisable(folder, config):
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    return weights_in(folder, config_of(folder))


# What transformers 5.23 and bitsandbytes 0.50.2 made of the same shapes, on a CPU: parameters and their scales.
_MEASURED = {"4bit": 441_600, "8bit": 594_176}
_MEASURED_EXPERTS = {"4bit": 708_096, "8bit": 754_176}


@pytest.mark.parametrize("quantize", _MEASURED)
def test_quantised_weights_are_as_many_bytes_as_bitsandbytes_makes_of_them(tmp_path, quantize):
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    found = quantisable(tmp_path, LlamaConfig(**shape, vocab_size=500))
    assert found.bytes_at(2, quantize) == pytest.approx(_MEASURED[quantize], rel=0.02)


@pytest.mark.parametrize("quantize", _MEASURED_EXPERTS)
def test_experts_are_not_quantised(tmp_path, quantize):
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    experts = {"head_dim": 32, "moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2}
    found = quantisable(tmp_path, Qwen3MoeConfig(**shape, **experts, num_key_value_heads=2, vocab_size=500))
    assert found.bytes_at(2, quantize) == pytest.approx(_MEASURED_EXPERTS[quantize], rel=0.02)
