"""SantaCoder in its first form, whose architecture is the vendor's own code, as GPTBigCode, which transformers has.

`bigcode/santacoder` and what was fine-tuned from it are GPT-2 with multi-query attention: one head of keys and values
for all heads of queries. GPTBigCode is the same network, with two differences in how it is stored: queries, keys and
values are one projection, and every projection is a Linear (out, in) where GPT-2 has a Conv1D (in, out).

Sources: text-generation-inference, flash_santacoder_modeling.py, which reads both forms; TransformerLens,
`convert_coder_weights`; configuration_gpt2_mq.py in bigcode/santacoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import GPTBigCodeConfig

_KEPT = (
    *("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "activation_function"),
    *("layer_norm_epsilon", "initializer_range", "scale_attn_weights", "bos_token_id", "eos_token_id", "pad_token_id"),
)
_CONV1D = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")


def is_santacoder(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is a GPT-2 with multi-query attention.

    Args:
        config: Its config.json.
    """
    return (
        config.get("model_type") == "gpt2"
        and config.get("attention_head_type") == "multiquery"
        and not config.get("scale_attn_by_inverse_layer_idx")
    )


def as_gpt_bigcode(config: Mapping[str, Any]) -> GPTBigCodeConfig:
    """Return the configuration of the same network as GPTBigCode.

    Args:
        config: A SantaCoder's config.json.
    """
    kept = {key: config[key] for key in _KEPT if key in config}
    kept.setdefault("activation_function", "gelu_new")  # the one default in which the two differ
    return GPTBigCodeConfig(**kept, multi_query=True, architectures=["GPTBigCodeForCausalLM"])


def converted(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of the same network as GPTBigCode.

    Args:
        weights: A SantaCoder's. In each layer `attn.q_attn.weight` is (width, width) and `attn.kv_attn.weight`
            (width, 2 × head), keys before values.

    Returns:
        `attn.c_attn.weight` (width + 2 × head, width) in place of the two; the other projections transposed; the
        rest as it is. Attention masks that were saved along are no weights, and transformers leaves them out.
    """
    found: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        if ".attn.kv_attn." in name:
            continue
        if ".attn.q_attn." in name:
            tensor = torch.cat([tensor, weights[name.replace(".q_attn.", ".kv_attn.")]], dim=-1)  # noqa: PLW2901 - one of two
        joined = name.replace(".q_attn.", ".c_attn.")
        found[joined] = tensor.t().contiguous() if joined.endswith(_CONV1D) else tensor
    return found
