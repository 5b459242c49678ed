"""The text by which decoders are compared: short, arbitrary, and read as prompts and answers are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fim_magic.engines.torch.decoder import Decoder

_TOKENS, _AT_FIRST = 24, 20


def compared_ids(vocabulary: int) -> list[int]:
    """Return ids that are spread over a vocabulary of that size."""
    return [(7 * n * n + 3) % vocabulary for n in range(_TOKENS)]


def logits_in_two_parts(decoder: Decoder, ids: Sequence[int]) -> Tensor:
    """Return what a decoder says after each id: (ids, vocabulary), float32.

    The first part is read as a prompt. The second meets what is in the cache, and is so short that what is made for
    single tokens reads it: a captured CUDA graph, or the kernel for packed weights.
    """
    cache = decoder.new_cache()
    parts = (ids[:_AT_FIRST], ids[_AT_FIRST:])
    return torch.cat([decoder.forward(part, cache, all_logits=True) for part in parts])
