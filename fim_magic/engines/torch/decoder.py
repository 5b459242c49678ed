"""A transformer's forward pass, for the architectures that most code models have.

It computes what transformers' own modules compute, from the same weights, with less between the matrix products: one
product for query, key and value, one for both halves of a gated MLP, keys and values written into their place. On a CPU
the weights are packed in float16 (`fim_magic.engines.torch.linear`), which halves what a token has to read from memory;
the products still accumulate in float32. `fim_magic.engines.torch.architectures` makes a decoder of a model; one that
it does not know runs on transformers' modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fim_magic.engines.torch.cuda_graphs import Capture, Step, capture_cuda_graph
from fim_magic.engines.torch.kv_cache import KVCache, Tails
from fim_magic.engines.torch.linear import RowFunction

_ROWS_AT_ONCE = 1024  # of scores: with fewer, torch computes them in smaller parts; with more, too many that none sees
_GRAPH_TOKENS = (1, 4, 16)  # that a captured step reads: one, or one and guesses behind it

RopeCosSin = tuple[Tensor, Tensor]
"""The cosines and the sines of some positions, each (positions, 1, head dimension)."""


@dataclass(frozen=True)
class Layer:
    """One layer's computations, in their order.

    Attributes:
        window: How many tokens it sees, the last one among them; None where it sees all.
    """

    norm: RowFunction
    qkv: RowFunction
    out: RowFunction
    mlp_norm: RowFunction
    up: RowFunction
    activation: RowFunction
    down: RowFunction
    window: int | None


@dataclass(frozen=True)
class AttentionShape:
    """How many heads there are of queries, and of keys and values."""

    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class Rope:
    """Rotary positions (arXiv 2104.09864).

    Attributes:
        inv_freq: (head dimension / 2,), float32.
        scaling: Of the cosines and sines.
    """

    inv_freq: Tensor
    scaling: float


@dataclass(frozen=True)
class _QueryBlock:
    """Some of the tokens that are read together, and what they see.

    Attributes:
        rows: Which of them.
        positions: Of the cache.
        mask: Added to the scores, (rows * heads of a group, positions); None where every row sees every position.
    """

    rows: slice
    positions: slice
    mask: Tensor | None


class Decoder:
    """A model's forward pass over our own KV cache. Not thread-safe, as its buffers are shared.

    Attributes:
        capture: Makes CUDA graphs of steps of fixed shapes, so that they cost the host next to nothing; None where
            there are none.
        capture_error: Why that was given up, or "".
        graph_length: A captured step sees so many positions, or a multiple. Each takes a moment to capture.
        reads_last_apart: Whether a prompt's last token is to be read by itself: packed weights round one row otherwise
            than many, and a prompt that is read again, but for its last token, is to be answered as it was before.
        packed: Whether the weights are held in float16 beside the model's own.
        weight_bytes: What a step of decoding reads of them.
    """

    graph_length = 1024
    reads_last_apart = False

    def __init__(
        self,
        layers: Sequence[Layer],
        shape: AttentionShape,
        *,
        embed: Tensor,
        positions: Tensor | None,
        rope: Rope | None,
        norm: RowFunction,
        head: RowFunction,
        dtype: torch.dtype,
        packed: bool,
        weight_bytes: int,
    ) -> None:
        self._layers = layers
        self._shape = shape
        self._groups = shape.heads // shape.kv_heads
        self._windows = {layer.window for layer in layers}
        self._embed = embed
        self._dtype = dtype
        self._positions = positions
        self._rope = rope
        self._cos_sin: RopeCosSin = (embed.new_empty(0, dtype=dtype), embed.new_empty(0, dtype=dtype))
        self._norm = norm
        self._head = head
        self.capture: Capture | None = capture_cuda_graph if embed.device.type == "cuda" else None
        self.capture_error = ""
        self.packed = packed
        self.weight_bytes = weight_bytes

    @property
    def vocabulary(self) -> int:
        """How many tokens it tells apart."""
        return self._embed.shape[0]

    def new_cache(self) -> KVCache:
        """Return an empty cache for this model."""
        shape, embed = self._shape, self._embed
        return KVCache(len(self._layers), shape.kv_heads, shape.head_dim, self._dtype, embed.device)

    @torch.inference_mode()
    def forward(self, ids: Sequence[int], cache: KVCache, *, all_logits: bool = False) -> Tensor:
        """Read the next tokens of one sequence: of a prompt, one that was generated, or several that are guessed.

        Args:
            ids: At least one.
            cache: What has been read before. The tokens are added to it.
            all_logits: Return the logits after every one of them, not only after the last.

        Returns:
            (1 or len(ids), vocabulary), float32.
        """
        before, count = len(cache.tokens), len(ids)
        if self.capture is not None and count <= _GRAPH_TOKENS[-1]:
            logits = self._replay(ids, cache)
            if logits is not None:
                return logits if all_logits else logits[-1:]
        cache.reserve(before + count)
        positions = self._indices(range(before, before + count))
        hidden, cos_sin = self._begin(self._indices(ids), positions, self._rope_cos_sin(before + count))
        blocks = {window: self._blocks(before, count, window) for window in self._windows}
        for layer, keys, values in zip(self._layers, cache.keys, cache.values, strict=True):
            query, key, value = self._project(layer, hidden, cos_sin)
            keys[:, before : before + count] = key.transpose(0, 1)
            values[:, before : before + count] = value.transpose(0, 1)
            mixed = [
                self._attend(query[block.rows], keys[:, block.positions], values[:, block.positions], block.mask)
                for block in blocks[layer.window]
            ]
            hidden = _after_attention(layer, hidden, mixed[0] if len(mixed) == 1 else torch.cat(mixed))
        cache.tokens += ids  # only now: what was interrupted half-way is not there
        return self._logits(hidden if all_logits else hidden[-1:])

    @torch.inference_mode()
    def decode_step(self, ids: Sequence[int], cache: KVCache, tails: Tails) -> Tensor:
        """Read one token of each candidate, after the prompt in `cache` and what is in its row of `tails`.

        Returns:
            (candidates, vocabulary), float32.
        """
        tails.reserve()
        prompt, own = len(cache.tokens), tails.length
        positions = self._indices([prompt + own] * len(ids))
        hidden, cos_sin = self._begin(self._indices(ids), positions, self._rope_cos_sin(prompt + own + 1))
        for index, layer in enumerate(self._layers):
            query, key, value = self._project(layer, hidden, cos_sin)
            tails.keys[index][:, :, own] = key
            tails.values[index][:, :, own] = value
            first = 0 if layer.window is None else max(0, prompt + own + 1 - layer.window)
            shared = min(first, prompt)
            kept = max(0, first - prompt)
            mixed = self._attend_shared(
                query,
                (cache.keys[index][:, shared:prompt], cache.values[index][:, shared:prompt]),
                (tails.keys[index][:, :, kept : own + 1], tails.values[index][:, :, kept : own + 1]),
            )
            hidden = _after_attention(layer, hidden, mixed)
        tails.length += 1
        return self._logits(hidden)

    def _replay(self, ids: Sequence[int], cache: KVCache) -> Tensor | None:
        """Read a few tokens by a step that was captured for these shapes, or return None where none can be.

        The step reads some more tokens than it has to, and looks at a longer cache, so that few have to be captured.
        What it writes behind the last token is not seen by anything before it is written over.
        """
        before, count = len(cache.tokens), len(ids)
        fixed = next(tokens for tokens in _GRAPH_TOKENS if tokens >= count)
        if self._positions is not None and before + fixed > len(self._positions):
            return None
        length = -(-(before + fixed) // self.graph_length) * self.graph_length
        cache.reserve(length)
        padded, positions = self._indices([*ids, *[0] * (fixed - count)]), self._indices(range(before, before + fixed))
        if (fixed, length) not in cache.steps:
            step = self._captured(padded, positions, cache, length)
            if step is None:
                return None
            cache.steps[fixed, length] = step
        logits = cache.steps[fixed, length](padded, positions)[:count]
        cache.tokens += ids
        return logits

    def _captured(self, ids: Tensor, positions: Tensor, cache: KVCache, length: int) -> Step | None:
        step = self._fixed_step(cache, length)
        assert self.capture is not None  # `forward` looked
        try:
            return self.capture(step, ids, positions)
        except RuntimeError as error:  # what CUDA says, lack of memory among it
            self.capture = None
            self.capture_error = str(error).strip().partition("\n")[0]
            return None

    def _fixed_step(self, cache: KVCache, length: int) -> Step:
        """Return a step that sees the first `length` positions of a cache, and asks the host for nothing."""
        # The buffers as they are now: a captured step goes on with them, whatever takes their place.
        all_keys, all_values, all_cos_sin = list(cache.keys), list(cache.values), self._rope_cos_sin(length)

        def step(ids: Tensor, positions: Tensor) -> Tensor:
            hidden, cos_sin = self._begin(ids, positions, all_cos_sin)
            masks = {window: self._mask(positions, length, window) for window in self._windows}
            for layer, keys, values in zip(self._layers, all_keys, all_values, strict=True):
                query, key, value = self._project(layer, hidden, cos_sin)
                keys.index_copy_(1, positions, key.transpose(0, 1))
                values.index_copy_(1, positions, value.transpose(0, 1))
                mixed = self._attend(query, keys[:, :length], values[:, :length], masks[layer.window])
                hidden = _after_attention(layer, hidden, mixed)
            return self._logits(hidden)

        return step

    def _indices(self, numbers: Iterable[int]) -> Tensor:
        return torch.tensor(list(numbers), device=self._embed.device)

    def _begin(self, ids: Tensor, positions: Tensor, cos_sin: RopeCosSin | None) -> tuple[Tensor, RopeCosSin | None]:
        """Return the embeddings of tokens, and the rows of `cos_sin` for their positions.

        Args:
            ids: (rows,) int64.
            positions: (rows,) int64.
            cos_sin: Of all positions up to there.
        """
        hidden = functional.embedding(ids, self._embed).to(self._dtype)
        if self._positions is not None:
            hidden = hidden + self._positions[positions].to(self._dtype)
        return hidden, None if cos_sin is None else (cos_sin[0][positions], cos_sin[1][positions])

    def _project(self, layer: Layer, hidden: Tensor, cos_sin: RopeCosSin | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value, each (rows, heads, head dimension), rotated to their positions."""
        heads, kv_heads, dim = self._shape.heads, self._shape.kv_heads, self._shape.head_dim
        qkv = layer.qkv(layer.norm(hidden)).view(-1, heads + 2 * kv_heads, dim)
        rotated, value = qkv[:, : heads + kv_heads], qkv[:, heads + kv_heads :]
        if cos_sin is not None:
            cosine, sine = cos_sin  # with the sign of the swapped half already in the sines
            rotated = rotated * cosine + rotated.roll(dim // 2, -1) * sine
        return rotated[:, :heads], rotated[:, heads:], value

    def _rope_cos_sin(self, length: int) -> RopeCosSin | None:
        """Return cosines and sines of at least `length` positions, or None where positions are learned."""
        if self._rope is None:
            return None
        if len(self._cos_sin[0]) < length:
            positions = torch.arange(2 * length, device=self._rope.inv_freq.device).float()
            angles = positions[:, None] * self._rope.inv_freq
            cosine = torch.cat((angles, angles), dim=-1).cos() * self._rope.scaling
            sine = torch.cat((-angles, angles), dim=-1).sin() * self._rope.scaling
            self._cos_sin = cosine.to(self._dtype)[:, None], sine.to(self._dtype)[:, None]
        return self._cos_sin

    def _blocks(self, before: int, count: int, window: int | None) -> list[_QueryBlock]:
        """Return what `count` tokens after `before` others see, in blocks that see little more than they need."""
        size = min(count, 1 << (-(-_ROWS_AT_ONCE // self._groups) - 1).bit_length())
        length = before + count
        # Counted from the last token, every block sees the same: one mask serves all.
        mask = None if count == 1 else self._mask(self._indices(range(length - size, length)), length, window)
        blocks = []
        for start in range(0, count, size):
            end = min(start + size, count)
            first = 0 if window is None else max(0, before + start + 1 - window)
            last = before + end
            of_block = None if mask is None else mask[(start - end) * self._groups :, first - last :]
            blocks.append(_QueryBlock(slice(start, end), slice(first, last), of_block))
        return blocks

    def _mask(self, positions: Tensor, length: int, window: int | None) -> Tensor:
        """Return what to add to the scores, so that each of `positions` sees none of `length` behind it.

        Returns:
            (positions * heads of a group, length), in the order in which `_attend` has them.
        """
        other, position = torch.arange(length, device=positions.device), positions[:, None]
        hidden = other > position
        if window is not None:
            hidden = hidden | (other <= position - window)
        mask = self._embed.new_zeros(hidden.shape, dtype=self._dtype).masked_fill_(hidden, float("-inf"))
        return mask.repeat_interleave(self._groups, dim=0)

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from some positions to those that they see. Returns (positions, heads * head dimension)."""
        count, heads, dim = query.shape
        # The heads of a group share their keys: side by side they are the rows of one product, and nothing is copied.
        packed = query.view(count, -1, self._groups, dim).transpose(0, 1).reshape(-1, count * self._groups, dim)
        mixed = functional.scaled_dot_product_attention(packed[None], keys[None], values[None], attn_mask=mask)[0]
        return mixed.view(-1, count, self._groups, dim).transpose(0, 1).reshape(count, heads * dim)

    def _attend_shared(self, query: Tensor, prompt: tuple[Tensor, Tensor], own: tuple[Tensor, Tensor]) -> Tensor:
        """Attend to a prompt that all rows share, and to what each row has of its own."""
        rows, heads, dim = query.shape
        kv_heads, groups = self._shape.kv_heads, self._groups
        query = query.view(rows, kv_heads, groups, dim) * dim**-0.5
        together = query.transpose(0, 1).reshape(kv_heads, rows * groups, dim)
        to_prompt = (together @ prompt[0].transpose(1, 2)).view(kv_heads, rows, groups, -1).transpose(0, 1)
        weights = torch.cat((to_prompt, query @ own[0].transpose(2, 3)), dim=-1).float().softmax(-1).to(query.dtype)
        of_prompt, of_own = weights[..., : prompt[0].shape[1]], weights[..., prompt[0].shape[1] :]
        together = of_prompt.transpose(0, 1).reshape(kv_heads, rows * groups, -1) @ prompt[1]
        mixed = together.view(kv_heads, rows, groups, dim).transpose(0, 1) + of_own @ own[1]
        return torch.reshape(mixed, (rows, heads * dim))

    def _logits(self, hidden: Tensor) -> Tensor:
        return self._head(self._norm(hidden)).float()


def _after_attention(layer: Layer, hidden: Tensor, mixed: Tensor) -> Tensor:
    hidden = hidden + layer.out(mixed)
    return hidden + layer.down(layer.activation(layer.up(layer.mlp_norm(hidden))))
