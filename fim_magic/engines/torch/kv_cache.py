"""The keys and values of the tokens that a model has read, kept so that nothing is computed twice."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fim_magic.engines.reuse import known_tokens
from fim_magic.engines.torch.cuda_graphs import Step

_GROWTH = 256  # tokens by which a full cache grows at least


class KVCache:
    """The keys and values of one sequence, in buffers that are made larger than they need to be.

    A new token is written into its place. transformers' own cache copies everything for every token.

    Attributes:
        keys: Of each layer, (KV heads, capacity, head dimension).
        values: Of each layer, of the same shape.
        tokens: The ids of the tokens that have been read; only so much of the buffers counts.
        steps: Captured for these buffers, by the tokens that they read and the positions that they see.
    """

    def __init__(self, layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> None:
        empty = torch.empty(kv_heads, 0, head_dim, dtype=dtype, device=device)
        self.keys = [empty] * layers
        self.values = [empty] * layers
        self.tokens: list[int] = []
        self.steps: dict[tuple[int, int], Step] = {}

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[1]

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens` tokens in all. What has been read stays."""
        if tokens <= self.capacity:
            return
        self.steps = {}  # of the old buffers
        capacity = max(tokens, self.capacity + max(_GROWTH, self.capacity // 4))
        for buffers in (self.keys, self.values):
            for layer, old in enumerate(buffers):
                # Zeros: a captured step looks at places that nothing is in yet, and a weight of 0 does not undo a NaN.
                new = old.new_zeros(old.shape[0], capacity, old.shape[2])
                new[:, : len(self.tokens)] = old[:, : len(self.tokens)]
                buffers[layer] = new

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        del self.tokens[length:]


class Tails:
    """What several candidates have read after a prompt that they share.

    The prompt's keys and values exist once, however many candidates there are.

    Attributes:
        keys: Of each layer, (candidates, KV heads, capacity, head dimension).
        values: Of each layer, of the same shape.
        length: How many tokens each candidate has read.
    """

    def __init__(self, cache: KVCache, rows: int) -> None:
        self.keys = [keys.new_empty(rows, keys.shape[0], _GROWTH, keys.shape[2]) for keys in cache.keys]
        self.values = [torch.empty_like(keys) for keys in self.keys]
        self.length = 0

    def reserve(self) -> None:
        """Make room for one more token."""
        if self.length < self.keys[0].shape[2]:
            return
        self.keys = [torch.cat((keys, torch.empty_like(keys)), dim=2) for keys in self.keys]
        self.values = [torch.cat((values, torch.empty_like(values)), dim=2) for values in self.values]

    def select(self, rows: torch.Tensor) -> None:
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]


class PrefixCache:
    """The caches of the last prompts, for those that come next and begin like one of them."""

    _MOST = 2  # an infill's and a completion's, say; each can be as large as the context

    def __init__(self) -> None:
        self._caches: list[KVCache] = []

    def put(self, cache: KVCache) -> None:
        """Keep a cache that is no longer in use."""
        if cache.tokens:
            self._caches = [cache, *self._caches][: self._MOST]

    def take(self, prompt: Sequence[int]) -> KVCache | None:
        """Return the cache that begins most like `prompt`, rewound to what need not be read again, or None."""
        known = [known_tokens(cache.tokens, prompt) for cache in self._caches]
        most = max(known, default=0)
        if not most:
            return None
        cache = self._caches.pop(known.index(most))
        cache.rewind(most)
        return cache

    def clear(self) -> None:
        self._caches = []
