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


class Reading(Protocol):
    """What one request has read so far. All logits are (rows, vocabulary), float32."""

    def read(self, ids: Sequence[int]) -> Tensor:
        """Read a part of the prompt. Returns the logits after its last token."""
        ...

    def read_all(self, ids: Sequence[int]) -> Tensor:
        """Read several tokens, before there are several candidates. Returns the logits after each."""
        ...

    def share(self, rows: int) -> None:
        """Let several candidates go on from here."""
        ...

    def read_each(self, ids: Sequence[int]) -> Tensor:
        """Read one token for each candidate."""
        ...

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these candidates' rows."""
        ...


class OwnReading:
    """By our own `Decoder`. It can read several tokens to see which of them are right."""

    def __init__(self, decoder: Decoder, cache: KVCache) -> None:
        self._decoder = decoder
        self._cache = cache
        self._tails: Tails | None = None

    def read(self, ids: Sequence[int]) -> Tensor:
        """See [`Reading.read`][]."""
        return self._decoder.read(ids, self._cache)

    def share(self, rows: int) -> None:
        """See [`Reading.share`][]: the prompt's keys and values are not copied."""
        self._tails = Tails(self._cache, rows)

    def read_each(self, ids: Sequence[int]) -> Tensor:
        """See [`Reading.read_each`][]."""
        if self._tails is None:
            return self._decoder.read(ids, self._cache)
        return self._decoder.read_each(ids, self._cache, self._tails)

    def select(self, rows: Sequence[int]) -> None:
        """See [`Reading.select`][]."""
        if self._tails is not None:
            self._tails.select(torch.tensor(rows, device=self._tails.keys[0].device))

    def read_all(self, ids: Sequence[int]) -> Tensor:
        """See [`Reading.read_all`][]."""
        return self._decoder.read(ids, self._cache, all_logits=True)

    def forget_last(self, tokens: int) -> None:
        """Forget the last tokens that were read."""
        self._cache.rewind(len(self._cache.tokens) - tokens)


class LibraryReading:
    """By transformers' modules, over its cache."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache = DynamicCache(config=model.config)
        last_only = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._last_logits_only = {"logits_to_keep": 1} if last_only else {}

    def read(self, ids: Sequence[int]) -> Tensor:
        """See [`Reading.read`][]."""
        return self._forward([list(ids)])

    def read_all(self, ids: Sequence[int]) -> Tensor:
        """See [`Reading.read_all`][]."""
        return self._forward_all([list(ids)])[0].float()

    def share(self, rows: int) -> None:
        """See [`Reading.share`][]."""
        # Not batch_repeat_interleave and batch_select_indices: recurrent layers (Falcon H1, Granite 4) lack them.
        self._cache.reorder_cache(torch.zeros(rows, dtype=torch.long))

    def read_each(self, ids: Sequence[int]) -> Tensor:
        """See [`Reading.read_each`][]."""
        return self._forward([[each] for each in ids])

    def select(self, rows: Sequence[int]) -> None:
        """See [`Reading.select`][]."""
        # An index on the CPU fits a cache whose layers are on several devices.
        self._cache.reorder_cache(torch.tensor(rows))

    def _forward(self, ids: list[list[int]]) -> Tensor:
        return self._forward_all(ids, **self._last_logits_only)[:, -1, :].float()

    # Not inference_mode: the cache must stay usable for code that runs under no_grad, as generate() does.
    @torch.no_grad()
    def _forward_all(self, ids: list[list[int]], **options: int) -> Tensor:
        batch = torch.tensor(ids, device=self._model.device)
        output = self._model(input_ids=batch, past_key_values=self._cache, use_cache=True, **options)
        logits: Tensor = output.logits
        return logits
