"""Decoders of the architectures that are known: which weights they have, by their names, and which is which part.

A decoder is made of a configuration and of whatever holds the weights (`fim_magic.engines.torch.linear.Weights`): a
model that transformers has loaded, or a file of packed weights.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN

from fim_magic.engines.torch.decoder import AttentionShape, Decoder, Layer, Rope
from fim_magic.engines.torch.linear import ModelWeights, RowFunction, Weights

KNOWN = ("llama", "mistral", "qwen2", "starcoder2", "gpt_bigcode")
"""The kinds of models, as config.json names them, for most of which there is a decoder; `is_known` tells of each."""

_STATIC_ROPE = ("default", "linear", "llama3", "yarn")  # whose frequencies do not depend on the text's length


def decoder_of(model: Any) -> Decoder | None:
    """Make a decoder of a model that transformers has loaded, or return None if it is of another kind.

    The model stays usable. On a CPU its weights are packed beside it, if there is memory; on a GPU it shares them.

    Args:
        model: With its weights on one device, in one floating-point precision.
    """
    if not is_known(model.config) or not _is_plain(model):
        return None
    weights = ModelWeights(model)
    rotary = getattr(model.get_decoder(), "rotary_emb", None)
    try:
        return _build(model.config, weights, rotary)
    finally:
        weights.wait()


def decoder_from(config: Any, weights: Weights) -> Decoder:
    """Make a decoder of a configuration of transformers, which `is_known` knows, and of weights on the CPU."""
    if config.model_type == "gpt_bigcode":
        return _build(config, weights, None)
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    return _build(config, weights, LlamaRotaryEmbedding(config))


def is_known(config: Any) -> bool:
    """Whether there is a decoder for a model of this configuration."""
    kind = getattr(config, "model_type", "")
    if kind == "gpt_bigcode":
        return bool(config.multi_query and config.scale_attn_weights and not config.add_cross_attention)
    rope = getattr(config, "rope_parameters", None) or {}
    static = rope.get("rope_type", "default") in _STATIC_ROPE and rope.get("partial_rotary_factor", 1.0) == 1.0
    return kind in KNOWN and static


def _is_plain(model: Any) -> bool:
    parameters = list(model.parameters())
    if (
        len({(parameter.device, parameter.dtype) for parameter in parameters}) != 1
        or not parameters[0].is_floating_point()
    ):
        return False
    if parameters[0].device.type not in ("cpu", "cuda"):
        return False
    # A layer of another class (quantised, adapted) computes something else.
    return all(type(module) is nn.Linear for module in model.modules() if hasattr(module, "in_features"))


def _build(config: Any, weights: Weights, rotary: Any) -> Decoder:
    return (_gpt_bigcode if config.model_type == "gpt_bigcode" else _llama)(config, weights, rotary)


def _rms_norm(weights: Weights, name: str, epsilon: float) -> RowFunction:
    weight = weights.vector(f"{name}.weight")
    return lambda rows: functional.rms_norm(rows, weight.shape, weight, epsilon)


def _layer_norm(weights: Weights, name: str, epsilon: float) -> RowFunction:
    weight, bias = weights.vector(f"{name}.weight"), weights.vector(f"{name}.bias")
    return lambda rows: functional.layer_norm(rows, weight.shape, weight, bias, epsilon)


def _gated(activation: Any) -> RowFunction:
    def gated(rows: Tensor) -> Tensor:
        gate, up = rows.chunk(2, dim=-1)
        return activation(gate) * up  # type: ignore[no-any-return]

    return gated


def _windows(config: Any) -> list[int | None]:
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) if config.model_type == "qwen2" else None
    kinds = kinds or ["sliding_attention"] * config.num_hidden_layers
    return [window if kind == "sliding_attention" else None for kind in kinds]


def _llama(config: Any, weights: Weights, rotary: Any) -> Decoder:
    """Llama, Mistral and Qwen2: RMSNorm, rotary positions, a gated MLP; StarCoder2: LayerNorm and a plain MLP."""
    starcoder = config.model_type == "starcoder2"

    def norm(name: str) -> RowFunction:
        if starcoder:
            return _layer_norm(weights, name, config.norm_epsilon)
        return _rms_norm(weights, name, config.rms_norm_eps)

    activation = ACT2FN[config.hidden_act]
    head = weights.linear("lm_head")  # the largest is begun first
    layers = []
    for index, window in enumerate(_windows(config)):
        layer = f"model.layers.{index}"
        attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
        layers.append(
            Layer(
                norm(f"{layer}.input_layernorm"),
                weights.linear(f"{attention}.q_proj", f"{attention}.k_proj", f"{attention}.v_proj"),
                weights.linear(f"{attention}.o_proj"),
                norm(f"{layer}.post_attention_layernorm"),
                weights.linear(f"{mlp}.c_fc") if starcoder else weights.linear(f"{mlp}.gate_proj", f"{mlp}.up_proj"),
                activation if starcoder else _gated(activation),
                weights.linear(f"{mlp}.c_proj" if starcoder else f"{mlp}.down_proj"),
                window,
            )
        )
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Decoder(
        layers,
        AttentionShape(heads, config.num_key_value_heads, head_dim),
        embed=weights.table("model.embed_tokens.weight"),
        positions=None,
        rope=Rope(rotary.inv_freq.float(), rotary.attention_scaling),
        norm=norm("model.norm"),
        head=head,
        dtype=weights.dtype,
        packed=weights.packed,
        weight_bytes=weights.bytes,
    )


def _gpt_bigcode(config: Any, weights: Weights, _rotary: Any) -> Decoder:
    """StarCoder and SantaCoder: LayerNorm, learned positions, one KV head (arXiv 1911.02150)."""
    activation = ACT2FN[config.activation_function]

    def norm(name: str) -> RowFunction:
        return _layer_norm(weights, name, config.layer_norm_epsilon)

    head = weights.linear("lm_head")
    layers = []
    for index in range(config.num_hidden_layers):
        block = f"transformer.h.{index}"
        layers.append(
            Layer(
                norm(f"{block}.ln_1"),
                weights.linear(f"{block}.attn.c_attn"),
                weights.linear(f"{block}.attn.c_proj"),
                norm(f"{block}.ln_2"),
                weights.linear(f"{block}.mlp.c_fc"),
                activation,
                weights.linear(f"{block}.mlp.c_proj"),
                None,
            )
        )
    return Decoder(
        layers,
        AttentionShape(config.num_attention_heads, 1, config.hidden_size // config.num_attention_heads),
        embed=weights.table("transformer.wte.weight"),
        positions=weights.table("transformer.wpe.weight"),
        rope=None,
        norm=norm("transformer.ln_f"),
        head=head,
        dtype=weights.dtype,
        packed=weights.packed,
        weight_bytes=weights.bytes,
    )
