"""Tensors that are quantised in 4 or 8 bits, as `--quantize` asks, wherever their numbers come from.

In 8 bits, all weights of linear layers are. In 4 bits, three kinds are kept in 8: the output layer, whose error goes
into each token's logits without a later layer to even it out; those of attention, which are few and matter most; and
what loses too much: rows with a few large numbers, whose groups then have few steps for all the others. Of normally
distributed numbers, 4 bits lose 7.2 % (the root of the mean square error over that of the numbers), and 8 bits 0.5 %;
of the weights of Qwen2.5-Coder-0.5B, 4 bits lose 5 to 8 %.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from fim_magic.engines.torch import packed
from fim_magic.engines.torch.checkpoint_tensors import HEAD
from fim_magic.engines.torch.footprint import ATTENTION
from fim_magic.engines.torch.gguf_tensors import GgufTensors
from fim_magic.engines.torch.packed import PackedWeight
from fim_magic.engines.torch.packed_file import packed_in_blocks

MOST_LOST = 0.12
"""How much a weight may lose in 4 bits, as a part of its numbers; what loses more is kept in 8."""

_NUMBERS_AT_ONCE = 2**20  # that are quantised: a dozen copies of them stay in the processor's cache
_SAMPLED_BLOCKS, _BLOCK = 8, 64  # of rows, by which it is judged what a weight loses


class Numbers(Protocol):
    """Where the numbers come from."""

    def __contains__(self, name: str) -> bool: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        ...

    def numbers(self, name: str, begin: int = 0, end: int | None = None) -> Tensor:
        """Return a tensor, or some of its rows, in float32."""
        ...


class QuantisedTensors:
    """Tensors in the bits that are asked for. Satisfies [`fim_magic.engines.torch.packed_file.Tensors`][].

    Args:
        source: Their numbers.
        bits: 4 or 8.
    """

    def __init__(self, source: Numbers, bits: int) -> None:
        self._source = source
        self._asked = bits
        self._bits: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._source

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return self._source.shape(name)

    def numbers(self, name: str, begin: int = 0, end: int | None = None) -> Tensor:
        """Return a tensor, or some of its rows, in float32."""
        return self._source.numbers(name, begin, end)

    def bits(self, name: str) -> int:
        """Return in how many bits a weight is packed: 4 or 8, or 32 where it cannot be."""
        if name not in self._bits:
            self._bits[name] = self._decided(name)
        return self._bits[name]

    def has_remainder(self, name: str) -> bool:
        """Return False: nothing is told of what is lost."""
        return False

    def packed(self, name: str) -> PackedWeight:
        """Return a weight in the bits that `bits` says."""
        rows, columns = self.shape(name)
        return packed_in_blocks(partial(self._packed_rows, name), rows, columns, _NUMBERS_AT_ONCE)

    def _decided(self, name: str) -> int:
        if not packed.fits(self.shape(name)[-1]):
            return 32
        if self._asked == 8 or name == HEAD or ATTENTION.search(name) or self._lost(name) > MOST_LOST:
            return 8
        return 4

    def _packed_rows(self, name: str, begin: int, end: int) -> PackedWeight:
        return packed.quantised(self.numbers(name, begin, end), self.bits(name))

    def _lost(self, name: str) -> float:
        """Return how much some of a weight's rows lose in 4 bits, as a part of them."""
        rows = self.shape(name)[0]
        step = max(_BLOCK, rows // _SAMPLED_BLOCKS)
        lost = whole = 0.0
        for begin in range(0, rows, step):
            numbers = self.numbers(name, begin, min(begin + _BLOCK, rows))
            lost += float((unpacked(packed.quantised(numbers, 4)) - numbers).square().sum())
            whole += float(numbers.square().sum())
        return (lost / whole) ** 0.5 if whole else 0.0


class QuantisedGguf(QuantisedTensors):
    """The tensors of a GGUF file; what it has in 4 bits already is kept as it is."""

    def __init__(self, source: GgufTensors, bits: int) -> None:
        super().__init__(source, bits)
        self._file = source

    def _decided(self, name: str) -> int:
        return self._file.bits(name) if self._is_kept(name) else super()._decided(name)

    def packed(self, name: str) -> PackedWeight:
        """Return a weight in the bits that `bits` says."""
        return self._file.packed(name) if self._is_kept(name) else super().packed(name)

    def has_remainder(self, name: str) -> bool:
        """Return whether a weight's second plane is a remainder; see [`PackedWeight`][]."""
        return self._file.has_remainder(name)

    def _is_kept(self, name: str) -> bool:
        return self._file.is_in_4_bits(name) and self._file.bits(name) != 32


def unpacked(weight: PackedWeight) -> Tensor:
    """Return a packed weight's numbers: (rows, columns), float32."""
    whole = packed.Unpacker(torch.float32).unpack(weight, 0, weight.planes.shape[0])
    return whole[:, : weight.rows].t()
