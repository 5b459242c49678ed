"""A transformer in one file, for the architectures that most code models have.

It computes what transformers' own modules compute, from the same weights, with less between the matrix products: one
product for query, key and value, one for both halves of a gated MLP, keys and values written into their place. On a CPU
the weights are packed in float16, which halves what a token has to read from memory; the products still accumulate in
float32. An architecture that is not described here runs on transformers' modules (`fim_magic.engines.torch.local`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fim_magic.engines.memory import free_ram
from fim_magic.engines.torch.kv_cache import KVCache, Tails
from fim_magic.engines.torch.recorded import Record, Step, record_on_cuda

_HALF_RANGE = 65504.0  # the largest float16
_FREE_AFTER_PACKING = 2_000_000_000  # bytes that must stay free on the CPU
_ROWS_AT_ONCE = 1024  # of scores: with fewer, torch computes them in smaller parts; with more, too many that none sees
_FIXED_COUNTS = (1, 4, 16)  # tokens that a recorded step reads: one, or one and guesses behind it
_FIXED_LENGTH = 1024  # positions that a recorded step sees, or a multiple: each takes a moment to record
_STATIC_ROPE = ("default", "linear", "llama3", "yarn")  # whose frequencies do not depend on the text's length

Dense = Callable[[Tensor], Tensor]
"""A matrix product with a model's weights: (rows, inputs) -> (rows, outputs)."""

_Turns = tuple[Tensor, Tensor]
"""The cosines and the sines of some positions, each (positions, 1, head dimension)."""


@dataclass(frozen=True)
class _Layer:
    """One layer's computations, in their order."""

    norm: Dense
    qkv: Dense
    out: Dense
    mlp_norm: Dense
    up: Dense
    activation: Dense
    down: Dense
    window: int | None


@dataclass(frozen=True)
class _Shape:
    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class _View:
    """Some of the tokens that are read together, and what they see.

    Attributes:
        tokens: Which of them, by row.
        places: Of the cache.
        mask: Added to the scores, (tokens * heads of a group, places); None where every token sees every place.
    """

    tokens: slice
    places: slice
    mask: Tensor | None


class Decoder:
    """A model's forward pass over our own KV cache. Not thread-safe, as its buffers are shared.

    Attributes:
        record: What records steps of fixed shapes, so that they cost the host next to nothing; None where nothing does.
        not_recorded: Why that was given up, or "".
        packed: Whether the weights are held in float16 beside the model's own.
        bytes_of_weights: What a step of decoding reads of them.
    """

    def __init__(
        self,
        layers: Sequence[_Layer],
        shape: _Shape,
        *,
        embed: Tensor,
        positions: Tensor | None,
        frequencies: tuple[Tensor, float] | None,
        norm: Dense,
        head: Dense,
        packed: bool,
        bytes_of_weights: int,
    ) -> None:
        self._layers = layers
        self._shape = shape
        self._groups = shape.heads // shape.kv_heads
        self._embed = embed
        self._positions = positions
        self._frequencies = frequencies
        self._norm = norm
        self._head = head
        self._turns: _Turns = (embed.new_empty(0), embed.new_empty(0))
        self.record: Record | None = record_on_cuda if embed.device.type == "cuda" else None
        self.not_recorded = ""
        self.packed = packed
        self.bytes_of_weights = bytes_of_weights

    def new_cache(self) -> KVCache:
        """Return an empty cache for this model."""
        shape, embed = self._shape, self._embed
        return KVCache(len(self._layers), shape.kv_heads, shape.head_dim, embed.dtype, embed.device)

    @torch.inference_mode()
    def read(self, ids: Sequence[int], cache: KVCache, *, all_logits: bool = False) -> Tensor:
        """Read tokens after those in `cache`, and add them to it.

        Args:
            ids: At least one.
            cache: What has been read before.
            all_logits: Return the logits after every one of them, not only after the last.

        Returns:
            (1 or len(ids), vocabulary), float32.
        """
        before, count = len(cache.tokens), len(ids)
        if self.record is not None and count <= _FIXED_COUNTS[-1]:
            logits = self._read_recorded(ids, cache)
            if logits is not None:
                return logits if all_logits else logits[-1:]
        cache.reserve(before + count)
        where = self._indices(range(before, before + count))
        hidden, turns = self._begin(self._indices(ids), where, self._turns_to(before + count))
        views = {window: self._views(before, count, window) for window in {each.window for each in self._layers}}
        for at, layer in enumerate(self._layers):
            query, key, value = self._project(layer, hidden, turns)
            keys, values = cache.keys[at], cache.values[at]
            keys[:, before : before + count] = key.transpose(0, 1)
            values[:, before : before + count] = value.transpose(0, 1)
            mixed = [
                self._attend(query[each.tokens], keys[:, each.places], values[:, each.places], each.mask)
                for each in views[layer.window]
            ]
            hidden = _after_attention(layer, hidden, mixed[0] if len(mixed) == 1 else torch.cat(mixed))
        cache.tokens += ids  # only now: what was interrupted half-way is not there
        return self._logits(hidden if all_logits else hidden[-1:])

    @torch.inference_mode()
    def read_each(self, ids: Sequence[int], cache: KVCache, tails: Tails) -> Tensor:
        """Read one token for each candidate, after the prompt in `cache` and what is in its row of `tails`.

        Returns:
            (candidates, vocabulary), float32.
        """
        tails.reserve()
        prompt, own = len(cache.tokens), tails.length
        where = self._indices([prompt + own] * len(ids))
        hidden, turns = self._begin(self._indices(ids), where, self._turns_to(prompt + own + 1))
        for at, layer in enumerate(self._layers):
            query, key, value = self._project(layer, hidden, turns)
            tails.keys[at][:, :, own] = key
            tails.values[at][:, :, own] = value
            first = 0 if layer.window is None else max(0, prompt + own + 1 - layer.window)
            shared = min(first, prompt)
            kept = max(0, first - prompt)
            mixed = self._attend_shared(
                query,
                (cache.keys[at][:, shared:prompt], cache.values[at][:, shared:prompt]),
                (tails.keys[at][:, :, kept : own + 1], tails.values[at][:, :, kept : own + 1]),
            )
            hidden = _after_attention(layer, hidden, mixed)
        tails.length += 1
        return self._logits(hidden)

    def _read_recorded(self, ids: Sequence[int], cache: KVCache) -> Tensor | None:
        """Read a few tokens by a step that was recorded for these shapes, or return None where none can be.

        The step reads some more tokens than asked for, and looks at a longer cache, so that few have to be recorded.
        What it writes behind the last token is not seen by anything before it is written over.
        """
        before, count = len(cache.tokens), len(ids)
        fixed = next(each for each in _FIXED_COUNTS if each >= count)
        if self._positions is not None and before + fixed > len(self._positions):
            return None
        length = -(-(before + fixed) // _FIXED_LENGTH) * _FIXED_LENGTH
        cache.reserve(length)
        padded, where = self._indices([*ids, *[0] * (fixed - count)]), self._indices(range(before, before + fixed))
        if (fixed, length) not in cache.steps:
            step = self._recorded(padded, where, cache, length)
            if step is None:
                return None
            cache.steps[fixed, length] = step
        logits = cache.steps[fixed, length](padded, where)[:count]
        cache.tokens += ids
        return logits

    def _recorded(self, ids: Tensor, where: Tensor, cache: KVCache, length: int) -> Step | None:
        # The buffers as they are now: a recorded step goes on with them, whatever takes their place.
        keys, values, turns = list(cache.keys), list(cache.values), self._turns_to(length)

        def step(ids: Tensor, where: Tensor) -> Tensor:
            return self._fixed_step(ids, where, (keys, values), turns, length)

        assert self.record is not None  # `read` looked
        try:
            return self.record(step, ids, where)
        except RuntimeError as error:  # what CUDA says, lack of memory among it
            self.record = None
            self.not_recorded = str(error).strip().partition("\n")[0]
            return None

    def _fixed_step(
        self, ids: Tensor, where: Tensor, cache: tuple[list[Tensor], list[Tensor]], turns: _Turns | None, length: int
    ) -> Tensor:
        """Read tokens at `where`, with the first `length` places of a cache in view. Nothing asks the host.

        Args:
            ids: (tokens,) int64, at most 16.
            where: (tokens,) int64: their positions, one after the other.
            cache: Keys and values of each layer, (KV heads, capacity, head dimension).
            turns: Of at least `length` positions.
            length: At most the capacity, and more than every position.

        Returns:
            (tokens, vocabulary), float32.
        """
        hidden, turns = self._begin(ids, where, turns)
        masks = {window: self._mask(where, length, window) for window in {each.window for each in self._layers}}
        for layer, keys, values in zip(self._layers, *cache, strict=True):
            query, key, value = self._project(layer, hidden, turns)
            keys.index_copy_(1, where, key.transpose(0, 1))
            values.index_copy_(1, where, value.transpose(0, 1))
            mixed = self._attend(query, keys[:, :length], values[:, :length], masks[layer.window])
            hidden = _after_attention(layer, hidden, mixed)
        return self._logits(hidden)

    def _indices(self, numbers: Iterable[int]) -> Tensor:
        return torch.tensor(list(numbers), device=self._embed.device)

    def _begin(self, ids: Tensor, where: Tensor, turns: _Turns | None) -> tuple[Tensor, _Turns | None]:
        """Return the embeddings of tokens, and the rows of `turns` for their positions.

        Args:
            ids: (rows,) int64.
            where: (rows,) int64: their positions.
            turns: Of all positions up to there.
        """
        hidden = functional.embedding(ids, self._embed)
        if self._positions is not None:
            hidden = hidden + self._positions[where]
        return hidden, None if turns is None else (turns[0][where], turns[1][where])

    def _project(self, layer: _Layer, hidden: Tensor, turns: _Turns | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value, each (rows, heads, head dimension), turned to their positions."""
        heads, kv_heads, dim = self._shape.heads, self._shape.kv_heads, self._shape.head_dim
        mixed = layer.qkv(layer.norm(hidden)).view(-1, heads + 2 * kv_heads, dim)
        turned, value = mixed[:, : heads + kv_heads], mixed[:, heads + kv_heads :]
        if turns is not None:
            cosine, sine = turns
            # Rotary positions (arXiv 2104.09864), with the sign of the swapped half already in the sines.
            turned = turned * cosine + turned.roll(dim // 2, -1) * sine
        return turned[:, :heads], turned[:, heads:], value

    def _turns_to(self, length: int) -> _Turns | None:
        """Return cosines and sines of at least `length` positions, or None where positions are learned."""
        if self._frequencies is None:
            return None
        if len(self._turns[0]) < length:
            frequencies, scaling = self._frequencies
            angles = torch.arange(2 * length, device=frequencies.device).float()[:, None] * frequencies
            cosine = torch.cat((angles, angles), dim=-1).cos() * scaling
            sine = torch.cat((-angles, angles), dim=-1).sin() * scaling
            self._turns = cosine.to(self._embed.dtype)[:, None], sine.to(self._embed.dtype)[:, None]
        return self._turns

    def _views(self, before: int, count: int, window: int | None) -> list[_View]:
        """Return what `count` tokens after `before` others see, in parts that see little more than they need."""
        block = min(count, 1 << (-(-_ROWS_AT_ONCE // self._groups) - 1).bit_length())
        length = before + count
        # Counted from the last token, every part sees the same: one mask serves all.
        mask = None if count == 1 else self._mask(self._indices(range(length - block, length)), length, window)
        views = []
        for start in range(0, count, block):
            end = min(start + block, count)
            first = 0 if window is None else max(0, before + start + 1 - window)
            last = before + end
            of_these = None if mask is None else mask[(start - end) * self._groups :, first - last :]
            views.append(_View(slice(start, end), slice(first, last), of_these))
        return views

    def _mask(self, where: Tensor, length: int, window: int | None) -> Tensor:
        """Return what to add to the scores, so that each position in `where` sees none of `length` behind it.

        Returns:
            (positions * heads of a group, length), in the order in which `_attend` has them.
        """
        other, position = torch.arange(length, device=where.device), where[:, None]
        hidden = other > position
        if window is not None:
            hidden = hidden | (other <= position - window)
        mask = self._embed.new_zeros(hidden.shape).masked_fill_(hidden, float("-inf"))
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


def _after_attention(layer: _Layer, hidden: Tensor, mixed: Tensor) -> Tensor:
    hidden = hidden + layer.out(mixed)
    return hidden + layer.down(layer.activation(layer.up(layer.mlp_norm(hidden))))


# --- from transformers' modules --------------------------------------------------------------------


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
    packing = _Packing(model)
    try:
        return build(model, packing)
    finally:
        packing.wait()


def _is_plain(model: Any) -> bool:
    parameters = list(model.parameters())
    if len({(each.device, each.dtype) for each in parameters}) != 1 or not parameters[0].is_floating_point():
        return False
    if parameters[0].device.type not in ("cpu", "cuda"):
        return False
    rope = getattr(model.config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") not in _STATIC_ROPE or rope.get("partial_rotary_factor", 1.0) != 1.0:
        return False
    # A layer of another class (quantised, adapted) computes something else.
    return all(type(each) is nn.Linear for each in model.modules() if hasattr(each, "in_features"))


class _Packing:
    """How the weights of matrix products are held: in float16 on a CPU that can, as they are elsewhere."""

    def __init__(self, model: Any) -> None:
        self.read = 0  # bytes, for each token
        # torch packs a matrix with one thread: a core for each of several is several times as fast.
        self._threads = ThreadPoolExecutor(torch.get_num_threads())
        self._waiting: list[Future[None]] = []
        first = next(model.parameters())
        size = sum(each.numel() for each in model.parameters()) * 2
        self.packed = (
            first.device.type == "cpu"
            and first.dtype == torch.float32
            and bool({"fbgemm", "x86"} & set(torch.backends.quantized.supported_engines))
            and free_ram() - size > _FREE_AFTER_PACKING
            and all(_largest(each.detach()) < _HALF_RANGE for each in model.parameters() if each.dim() > 1)
        )

    @torch.no_grad()
    def dense(self, *modules: Any) -> Dense:
        """Return the product with several modules' weights, one below the other."""
        if self.packed:
            product = _PackedProduct()
            self.read += sum(each.weight.numel() for each in modules) * 2
            self._waiting.append(self._threads.submit(product.pack, modules))
            return product
        self.read += sum(each.weight.numel() * each.weight.element_size() for each in modules)
        if modules[0].weight.device.type == "cpu":
            # Mapped from their file: to join them would copy them into memory, of which there was too little.
            return lambda rows: torch.cat([functional.linear(rows, each.weight, each.bias) for each in modules], dim=-1)
        weight, bias = _joined(modules)
        return lambda rows: functional.linear(rows, weight, bias)

    def wait(self) -> None:
        """Return when all weights are packed, or raise what has kept one from it."""
        try:
            for each in self._waiting:
                each.result()
        finally:
            self._threads.shutdown(cancel_futures=True)


class _PackedProduct:
    """A product with weights that another thread packs meanwhile."""

    _packed: Any

    @torch.no_grad()
    def pack(self, modules: Sequence[Any]) -> None:
        """Pack several modules' weights, one below the other."""
        weight = modules[0].weight if len(modules) == 1 else torch.cat([each.weight for each in modules])
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight, _bias(modules))

    def __call__(self, rows: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic_fp16(rows, self._packed)  # type: ignore[no-any-return]


def _largest(weight: Tensor) -> float:
    """Return the largest magnitude, without a copy of the weights."""
    low, high = torch.aminmax(weight)
    return max(-float(low), float(high))


def _joined(modules: Sequence[Any]) -> tuple[Tensor, Tensor | None]:
    """Join weights, and leave each module a view of its part, so that they take no memory twice."""
    if len(modules) == 1:
        return modules[0].weight, modules[0].bias
    weight, bias = torch.cat([each.weight for each in modules]), _bias(modules)
    begin = 0
    for each in modules:
        end = begin + each.weight.shape[0]
        each.weight.data = weight[begin:end]
        begin = end
    return weight, bias


def _bias(modules: Sequence[Any]) -> Tensor | None:
    return None if modules[0].bias is None else torch.cat([each.bias for each in modules])


def _rms_norm(module: Any) -> Dense:
    weight, epsilon = module.weight, module.variance_epsilon
    return lambda rows: functional.rms_norm(rows, weight.shape, weight, epsilon)


def _layer_norm(module: Any) -> Dense:
    weight, bias, epsilon = module.weight, module.bias, module.eps
    return lambda rows: functional.layer_norm(rows, weight.shape, weight, bias, epsilon)


def _gated(activation: Any) -> Dense:
    def gated(rows: Tensor) -> Tensor:
        gate, up = rows.chunk(2, dim=-1)
        return activation(gate) * up  # type: ignore[no-any-return]

    return gated


def _windows(config: Any) -> list[int | None]:
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) if config.model_type == "qwen2" else None
    kinds = kinds or ["sliding_attention"] * config.num_hidden_layers
    return [window if kind == "sliding_attention" else None for kind in kinds]


def _llama(model: Any, packing: _Packing) -> Decoder:
    """Llama, Mistral and Qwen2: RMSNorm, rotary positions, a gated MLP; StarCoder2: LayerNorm and a plain MLP."""
    body, config = model.model, model.config
    starcoder = config.model_type == "starcoder2"
    norm = _layer_norm if starcoder else _rms_norm
    head = packing.dense(model.lm_head)  # the largest is begun first
    layers = []
    for layer, window in zip(body.layers, _windows(config), strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        layers.append(
            _Layer(
                norm(layer.input_layernorm),
                packing.dense(attention.q_proj, attention.k_proj, attention.v_proj),
                packing.dense(attention.o_proj),
                norm(layer.post_attention_layernorm),
                packing.dense(mlp.c_fc) if starcoder else packing.dense(mlp.gate_proj, mlp.up_proj),
                mlp.act if starcoder else _gated(mlp.act_fn),
                packing.dense(mlp.c_proj if starcoder else mlp.down_proj),
                window,
            )
        )
    rotary, attention = body.rotary_emb, body.layers[0].self_attn
    shape = _Shape(config.num_attention_heads, config.num_key_value_heads, attention.head_dim)
    return Decoder(
        layers,
        shape,
        embed=body.embed_tokens.weight,
        positions=None,
        frequencies=(rotary.inv_freq.float(), rotary.attention_scaling),
        norm=norm(body.norm),
        head=head,
        packed=packing.packed,
        bytes_of_weights=packing.read,
    )


def _gpt_bigcode(model: Any, packing: _Packing) -> Decoder | None:
    """StarCoder and SantaCoder: LayerNorm, learned positions, one KV head (arXiv 1911.02150)."""
    body, config = model.transformer, model.config
    if not config.multi_query or not config.scale_attn_weights or config.add_cross_attention:
        return None
    head = packing.dense(model.lm_head)
    layers = [
        _Layer(
            _layer_norm(block.ln_1),
            packing.dense(block.attn.c_attn),
            packing.dense(block.attn.c_proj),
            _layer_norm(block.ln_2),
            packing.dense(block.mlp.c_fc),
            block.mlp.act,
            packing.dense(block.mlp.c_proj),
            None,
        )
        for block in body.h
    ]
    return Decoder(
        layers,
        _Shape(config.num_attention_heads, 1, body.h[0].attn.head_dim),
        embed=body.wte.weight,
        positions=body.wpe.weight,
        frequencies=None,
        norm=_layer_norm(body.ln_f),
        head=head,
        packed=packing.packed,
        bytes_of_weights=packing.read,
    )


_BUILDERS: dict[str, Callable[[Any, _Packing], Decoder | None]] = {
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "starcoder2": _llama,
    "gpt_bigcode": _gpt_bigcode,
}
