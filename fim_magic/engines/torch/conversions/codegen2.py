"""CodeGen2 1B and 3.7B: their fused projections are laid out otherwise than transformers' class reads them.

The vendor trained on TPUs and stored queries, values and keys core by core: the rows of `qkv_proj` are one group for
each core, and a group is [queries, values, keys] of that core's heads. Every CodeGen checkpoint was trained on 4 cores
and transformers has that number written into its class (`mp_num`); these two were trained on 8. Read with 4, most of
their queries are taken for values and for keys: no error, no warning, and noise for an answer.

Sources: modeling_codegen.py in Salesforce/codegen2-1B (`mp_num = 8`), and CTranslate2's converter, which has both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

_CORES_OF_TRANSFORMERS = 4
_CORES = 8
_HEAD_SIZES = (128, 256)
"""What config.json of the two gives as `head_dim`. No other CodeGen names it; transformers computes it."""


def is_for_eight_cores(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is laid out for 8 cores.

    Args:
        config: Its config.json.
    """
    return config.get("model_type") == "codegen" and config.get("head_dim") in _HEAD_SIZES


def regrouped(fused: torch.Tensor) -> torch.Tensor:
    """Put the groups of 8 cores together to groups of 4.

    Cores 0 and 1 become one, 2 and 3 the next, and so on, so the heads keep their order.

    Args:
        fused: (…, 3 × width), what `qkv_proj` computes: for each of 8 cores queries, values and keys, each of
            width / 8.

    Returns:
        The same numbers in the same shape: for each of 4 cores queries, values and keys, each of width / 4.
    """
    pairs = fused.reshape(*fused.shape[:-1], _CORES_OF_TRANSFORMERS, _CORES // _CORES_OF_TRANSFORMERS, 3, -1)
    return pairs.transpose(-3, -2).reshape(fused.shape)


def mend(model: Any, config: Mapping[str, Any]) -> None:
    """Make transformers' model compute what the checkpoint was trained to, if it is laid out for 8 cores.

    What the projections compute is regrouped, not their weights, which may be quantised, or wait on a disk.

    Args:
        model: A loaded CodeGenForCausalLM, or any other model, which is left as it is.
        config: The checkpoint's config.json.
    """
    if not is_for_eight_cores(config):
        return
    for block in model.transformer.h:
        block.attn.qkv_proj.register_forward_hook(lambda _module, _inputs, fused: regrouped(fused))
