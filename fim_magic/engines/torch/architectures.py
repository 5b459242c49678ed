"""Decoders of models that transformers has loaded: which architectures are known, and which module is which part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from fim_magic.engines.torch.decoder import AttentionShape, Decoder, Layer, Rope
from fim_magic.engines.torch.linear import LinearWeights, RowFunction

_STATIC_ROPE = ("default", "linear", "llama3", "yarn")  # whose frequencies do not depend on the text's length


def decoder_of(model: Any) -> Decoder | None:
    """Make a decoder of a model that transformers has loaded, or return None if it is of another kind.

    The model stays usable. On a CPU its weights are packed beside it, if there is memory; on a GPU it shares them.

    Args:
        model: With its weights on one device, in one floating-point precision.
    """
    config = model.config
    build = _BUILDERS.get(getattr(config, "model_type", ""))
    if build is None or not _is_plain(model):
        return None
    weights = LinearWeights(model)
    try:
        return build(model, weights)
    finally:
        weights.wait()


def _is_plain(model: Any) -> bool:
    parameters = list(model.parameters())
    if (
        len({(parameter.device, parameter.dtype) for parameter in parameters}) != 1
        or not parameters[0].is_floating_point()
    ):
        return False
    if parameters[0].device.type not in ("cpu", "cuda"):
        return False
    rope = getattr(model.config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") not in _STATIC_ROPE or rope.get("partial_rotary_factor", 1.0) != 1.0:
        return False
    # A layer of another class (quantised, adapted) computes something else.
    return all(type(module) is nn.Linear for module in model.modules() if hasattr(module, "in_features"))


def _rms_norm(module: Any) -> RowFunction:
    weight, epsilon = module.weight, module.variance_epsilon
    return lambda rows: functional.rms_norm(rows, weight.shape, weight, epsilon)


def _layer_norm(module: Any) -> RowFunction:
    weight, bias, epsilon = module.weight, module.bias, module.eps
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


def _llama(model: Any, weights: LinearWeights) -> Decoder:
    """Llama, Mistral and Qwen2: RMSNorm, rotary positions, a gated MLP; StarCoder2: LayerNorm and a plain MLP."""
    body, config = model.model, model.config
    starcoder = config.model_type == "starcoder2"
    norm = _layer_norm if starcoder else _rms_norm
    head = weights.linear(model.lm_head)  # the largest is begun first
    layers = []
    for layer, window in zip(body.layers, _windows(config), strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        layers.append(
            Layer(
                norm(layer.input_layernorm),
                weights.linear(attention.q_proj, attention.k_proj, attention.v_proj),
                weights.linear(attention.o_proj),
                norm(layer.post_attention_layernorm),
                weights.linear(mlp.c_fc) if starcoder else weights.linear(mlp.gate_proj, mlp.up_proj),
                mlp.act if starcoder else _gated(mlp.act_fn),
                weights.linear(mlp.c_proj if starcoder else mlp.down_proj),
                window,
            )
        )
    rotary, attention = body.rotary_emb, body.layers[0].self_attn
    shape = AttentionShape(config.num_attention_heads, config.num_key_value_heads, attention.head_dim)
    return Decoder(
        layers,
        shape,
        embed=body.embed_tokens.weight,
        positions=None,
        rope=Rope(rotary.inv_freq.float(), rotary.attention_scaling),
        norm=norm(body.norm),
        head=head,
        packed=weights.packed,
        weight_bytes=weights.bytes,
    )


def _gpt_bigcode(model: Any, weights: LinearWeights) -> Decoder | None:
    """StarCoder and SantaCoder: LayerNorm, learned positions, one KV head (arXiv 1911.02150)."""
    body, config = model.transformer, model.config
    if not config.multi_query or not config.scale_attn_weights or config.add_cross_attention:
        return None
    head = weights.linear(model.lm_head)
    layers = [
        Layer(
            _layer_norm(block.ln_1),
            weights.linear(block.attn.c_attn),
            weights.linear(block.attn.c_proj),
            _layer_norm(block.ln_2),
            weights.linear(block.mlp.c_fc),
            block.mlp.act,
            weights.linear(block.mlp.c_proj),
            None,
        )
        for block in body.h
    ]
    return Decoder(
        layers,
        AttentionShape(config.num_attention_heads, 1, body.h[0].attn.head_dim),
        embed=body.wte.weight,
        positions=body.wpe.weight,
        rope=None,
        norm=_layer_norm(body.ln_f),
        head=head,
        packed=weights.packed,
        weight_bytes=weights.bytes,
    )


_BUILDERS: dict[str, Callable[[Any, LinearWeights], Decoder | None]] = {
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "starcoder2": _llama,
    "gpt_bigcode": _gpt_bigcode,
}
