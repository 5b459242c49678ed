"""A checkpoint as transformers' modules, and our own decoder of its weights where that says the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from fim_magic.engines.memory import give_back
from fim_magic.engines.torch.agreement import compared_ids, logits_in_two_parts
from fim_magic.engines.torch.architectures import decoder_of
from fim_magic.engines.torch.decoder import Decoder
from fim_magic.engines.torch.footprint import cache_bytes
from fim_magic.engines.torch.placement import Placement

MakeDecoder = Callable[[Any], "Decoder | None"]

_AGREEMENT = 0.05  # how far our decoder's logits may be from transformers', in standard deviations of them


class LibraryModel:
    """A model of transformers. Satisfies [`fim_magic.engines.torch.local.LoadedModel`][].

    Args:
        module: The model.
        placement: Where it was placed, and in what precision; None asks the model.
        make_decoder: Makes our decoder of it.

    Attributes:
        module: The argument.
    """

    def __init__(self, module: Any, placement: Placement | None = None, make_decoder: MakeDecoder = decoder_of) -> None:
        self.module = module
        self.decoder = checked_decoder(module, make_decoder)
        self._placement = placement

    @property
    def config(self) -> Any:
        return self.module.config

    @property
    def generation_config(self) -> Any:
        return getattr(self.module, "generation_config", None)

    @property
    def device(self) -> str:
        return self._runs_on[0]

    @property
    def precision(self) -> str:
        packed = ", weights in float16" if self.decoder is not None and self.decoder.packed else ""
        return self._runs_on[1] + packed

    @property
    def weight_bytes(self) -> int:
        return _bytes_of_weights(self.module)

    def bytes_read(self, context: int) -> int:
        return bytes_read(self.module, context, None if self.decoder is None else self.decoder.weight_bytes)

    @property
    def _runs_on(self) -> tuple[str, str]:
        if self._placement is None:
            return str(self.module.device), str(self.module.dtype).removeprefix("torch.")
        device, _, precision = self._placement.description.partition(", ")
        return device, precision


def bytes_read(module: Any, context: int, weights: int | None = None) -> int:
    """Return how many bytes a step of decoding reads with transformers' modules.

    Args:
        module: A model of transformers.
        context: How many tokens the KV cache holds.
        weights: The bytes of the weights that are read, where they are other ones than the model's.
    """
    embedding, head = module.get_input_embeddings().weight, module.get_output_embeddings().weight
    if weights is None:
        weights = _bytes_of_weights(module)
        if embedding is not head:  # one of its own is a table, of which a step reads one row
            weights -= embedding.numel() * embedding.element_size()
    return weights + cache_bytes(module.config.to_dict(), context, embedding.element_size())


def _bytes_of_weights(module: Any) -> int:
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())


def checked_decoder(module: Any, make_decoder: MakeDecoder = decoder_of) -> Decoder | None:
    """Make our decoder of a model, if it says the same as transformers' modules do."""
    decoder = make_decoder(module)
    if decoder is None:
        return None
    vocabulary = module.get_input_embeddings().weight.shape[0]
    ids = compared_ids(vocabulary)
    with torch.no_grad():
        expected = module(input_ids=torch.tensor([ids], device=module.device), use_cache=False).logits[0].float()
    furthest = _furthest(decoder, ids, expected)
    if decoder.capture is not None and not furthest <= _AGREEMENT:  # not: false for NaN, too
        decoder.capture, decoder.capture_error = None, "they say something else than the library"
        furthest = _furthest(decoder, ids, expected)
    give_back()  # what packing and comparing have needed for a moment
    return decoder if furthest <= _AGREEMENT else None


def _furthest(decoder: Decoder, ids: Sequence[int], expected: torch.Tensor) -> float:
    """Return how far a decoder's logits are from those expected, in standard deviations of these."""
    return float((logits_in_two_parts(decoder, ids) - expected).abs().max() / expected.std())
