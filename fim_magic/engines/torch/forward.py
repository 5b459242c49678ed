"""How a request's tokens are read: by our own decoder, or by transformers' modules where that cannot."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from fim_magic.engines.torch.decoder import Decoder
from fim_magic.engines.torch.kv_cache import KVCache, Tails


class ForwardPass(Protocol):
    """A model with what it has read of one request. All logits are (rows, vocabulary), float32."""

    @property
    def reads_last_apart(self) -> bool:
        """Whether the last token of a prompt is read by itself; see `Decoder`."""
        ...

    def prefill(self, ids: Sequence[int], *, all_logits: bool = False) -> Tensor:
        """Read several tokens, before there are several candidates.

        Returns:
            The logits after the last of them, or after each.
        """
        ...

    def share(self, rows: int) -> None:
        """Let several candidates go on from here."""
        ...

    def decode_step(self, ids: Sequence[int]) -> Tensor:
        """Read one token of each candidate. Returns the logits after it."""
        ...

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these candidates' rows."""
        ...


class DecoderForward:
    """By our own `Decoder`: the prompt's keys and values are not copied for each candidate."""

    def __init__(self, decoder: Decoder, cache: KVCache) -> None:
        self._decoder = decoder
        self._cache = cache
        self._tails: Tails | None = None

    @property
    def reads_last_apart(self) -> bool:
        return self._decoder.reads_last_apart

    def prefill(self, ids: Sequence[int], *, all_logits: bool = False) -> Tensor:
        return self._decoder.forward(ids, self._cache, all_logits=all_logits)

    def share(self, rows: int) -> None:
        self._tails = Tails(self._cache, rows)

    def decode_step(self, ids: Sequence[int]) -> Tensor:
        if self._tails is None:
            return self._decoder.forward(ids, self._cache)
        return self._decoder.decode_step(ids, self._cache, self._tails)

    def select(self, rows: Sequence[int]) -> None:
        if self._tails is not None:
            self._tails.select(torch.tensor(rows, device=self._tails.keys[0].device))

    def rewind(self, length: int) -> None:
        """Forget all but the first tokens, before there are several candidates."""
        self._cache.rewind(length)

    def forget_last(self, tokens: int) -> None:
        """Forget the last tokens that were read: wrong guesses."""
        self.rewind(len(self._cache.tokens) - tokens)


class TransformersForward:
    """By transformers' modules, over its cache."""

    reads_last_apart = False

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache = DynamicCache(config=model.config)
        last_only = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if last_only else {}

    def prefill(self, ids: Sequence[int], *, all_logits: bool = False) -> Tensor:
        return self._forward([list(ids)])[0].float() if all_logits else self._last_logits([list(ids)])

    def share(self, rows: int) -> None:
        # Not batch_repeat_interleave and batch_select_indices: recurrent layers (Falcon H1, Granite 4) lack them.
        self._cache.reorder_cache(torch.zeros(rows, dtype=torch.long))

    def decode_step(self, ids: Sequence[int]) -> Tensor:
        return self._last_logits([[token] for token in ids])

    def select(self, rows: Sequence[int]) -> None:
        # An index on the CPU fits a cache whose layers are on several devices.
        self._cache.reorder_cache(torch.tensor(rows))

    def _last_logits(self, ids: list[list[int]]) -> Tensor:
        return self._forward(ids, **self._last_only)[:, -1, :].float()

    # Not inference_mode: the cache must stay usable for code that runs under no_grad, as generate() does.
    @torch.no_grad()
    def _forward(self, ids: list[list[int]], **options: int) -> Tensor:
        batch = torch.tensor(ids, device=self._model.device)
        output = self._model(input_ids=batch, past_key_values=self._cache, use_cache=True, **options)
        logits: Tensor = output.logits
        return logits
