"""Weights in 4 or 8 bits on a CPU: how they are packed, multiplied with, and unpacked where many rows need them.

A weight is kept as one or two planes of nibbles, in the layout that torch's kernel for the CPU reads. Each group of 32
numbers of a row has a scale and a zero in bfloat16: w = (nibble - 8) * scale + zero. In 4 bits there is one plane. In 8
bits a number from -128 to 127 is 16 * high + low, the planes stand side by side along the columns, and the rows that
they are multiplied with are repeated. Or a second plane holds what the first, of 4 bits, has lost by the rounding of
its scales and zeros. One token takes the kernel, which reads no more than the planes; for the many rows of a prompt the
planes are unpacked into a buffer first, and a common matrix product does the rest.

The layout depends on the instructions of the processor (`torch.backends.cpu.get_cpu_capability`), and on the compiler
and the release of torch, so what is packed on one machine is for others of its kind only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

GROUP = 32
"""Numbers of a row that share a scale and a zero."""

LEAST_ROWS_TO_UNPACK = {4: 24, 8: 14}
"""From so many rows on, unpacking and a common product are faster than the kernel, by the bits of the weight."""

_PADDED_TO = 64  # rows: the largest block of a layout
_FACTORS = (8.0, 7.0, 6.0, 5.0)  # of numbers from -16 to 15, which stay from -128 to 127
_LIKELIEST = 32  # tokens of a vocabulary whose logits are computed once more
_UNPACKED_AT_ONCE = 2**24  # numbers; what is larger, such as the output layer, is unpacked in parts
_CACHED_AT_ONCE = 2**22  # numbers; what is made of so many on the way stays in the processor's cache
_ROWS_ROUNDED_TO = 32  # of a product: torch keeps what it has made for each number of rows that it has met
_TINY = torch.finfo(torch.float32).tiny
_CUTS = (0.0, 0.05, 0.12)  # parts of a group's range that are tried to be cut off
_REFITS = 2  # of the scale and the zero to nibbles


@dataclass(frozen=True)
class _Layout:
    """How the kernel of a processor wants its nibbles.

    Attributes:
        block: Rows that are interleaved with each other.
        halves: Whether a byte has a row of the block's first half in its low bits and one of its second half in its
            high bits; else it has two neighbours.
    """

    block: int
    halves: bool

    @property
    def name(self) -> str:
        return f"{self.block}-{'halves' if self.halves else 'neighbours'}"


_LAYOUTS = tuple(_Layout(block, halves) for halves in (True, False) for block in (64, 32, 16))


def capability() -> str:
    """Return the name of the instructions that torch computes with here, such as "AVX512"."""
    return torch.backends.cpu.get_cpu_capability()


def layout_name() -> str:
    """Return the name of how weights are packed here: one that is packed otherwise cannot be computed with.

    Raises:
        RuntimeError: torch packs in a way that is not known.
        AttributeError: It does not pack.
        NotImplementedError: As AttributeError.
    """
    return _layout(capability()).name


@cache
def _layout(_capability: str) -> _Layout:
    """Find out how torch packs nibbles, on which its processor, its compiler and its release decide."""
    row = torch.arange(_PADDED_TO, dtype=torch.int32, device="cpu")
    nibbles = torch.stack((row % 16, row // 16), dim=1).repeat(1, GROUP // 2)  # which no two rows have in common
    planes = torch.ops.aten._convert_weight_to_int4pack_for_cpu(nibbles, 1)
    for layout in _LAYOUTS:
        if torch.equal(_nibbles_of(planes, row.long(), layout).int(), nibbles):
            return layout
    raise RuntimeError("torch packs weights in a way that is not known")


def _nibbles_of(planes: Tensor, rows: Tensor, layout: _Layout) -> Tensor:
    """Return what stands in some rows of planes; (count, columns of all planes), uint8."""
    half, place = layout.block // 2, rows % layout.block
    byte, is_high = (place % half, place >= half) if layout.halves else (place // 2, place % 2 == 1)
    found = planes.view(planes.shape[0] // layout.block, -1, half)[rows // layout.block, :, byte]
    return torch.where(is_high[:, None], found >> 4, found & 15)


@dataclass(frozen=True)
class PackedWeight:
    """A weight of a linear layer, packed.

    Attributes:
        planes: uint8, (padded rows, planes * columns / 2), as the kernel has them.
        scales: bfloat16, (planes * columns / GROUP, padded rows, 2): scale and zero.
        rows: Of the weight.
        columns: Of the weight.
        has_remainder: Whether the second plane is what the first one has lost, and not the low bits of 8.
    """

    planes: Tensor
    scales: Tensor
    rows: int
    columns: int
    has_remainder: bool = False

    @property
    def bits(self) -> int:
        return 4 * (2 * self.planes.shape[1] // self.columns)


def fits(columns: int) -> bool:
    """Whether a weight of so many columns can be packed."""
    return columns > 0 and columns % GROUP == 0


def padded(rows: int) -> int:
    """Return how many rows a weight of `rows` rows has when it is packed."""
    return -(-rows // _PADDED_TO) * _PADDED_TO


def pack_4bit(nibbles: Tensor, scale: Tensor, zero: Tensor) -> PackedWeight:
    """Pack a weight that is (nibble - 8) * scale + zero.

    Args:
        nibbles: (rows, columns), from 0 to 15.
        scale: (rows, columns / GROUP). It is rounded to bfloat16.
        zero: As `scale`.
    """
    return _packed(nibbles, torch.stack((scale, zero), dim=-1), columns=nibbles.shape[1])


def pack_8bit(numbers: Tensor, scale: Tensor) -> PackedWeight:
    """Pack a weight that is number * scale.

    Args:
        numbers: (rows, columns), from -128 to 127.
        scale: (rows, columns / GROUP). It is rounded to bfloat16.
    """
    numbers = numbers.to(torch.int32)
    scale = scale.bfloat16()  # first: sixteen times what is rounded is exact
    high = torch.stack((16 * scale, torch.zeros_like(scale)), dim=-1)
    low = torch.stack((scale, 8 * scale), dim=-1)
    planes = torch.cat(((numbers >> 4) + 8, numbers & 15), dim=1)
    return _packed(planes, torch.cat((high, low), dim=1), columns=numbers.shape[1])


def pack_4bit_with_remainder(nibbles: Tensor, scale: Tensor, zero: Tensor) -> PackedWeight:
    """Pack a weight that is (nibble - 8) * scale + zero, and in a second plane what rounding both takes from it.

    Arguments as of `pack_4bit`.
    """
    columns, groups = nibbles.shape[1], nibbles.view(len(nibbles), -1, GROUP) - 8
    lost_scale, lost_zero = scale - scale.bfloat16().float(), zero - zero.bfloat16().float()
    lost = groups * lost_scale[..., None] + lost_zero[..., None]
    finest = (lost.abs().amax(dim=-1) / 7).bfloat16().float()
    steps = (lost / finest.clamp_min(_TINY)[..., None]).round().clamp(-8, 7).view(nibbles.shape)
    both = torch.cat((nibbles.to(torch.int32), steps.to(torch.int32) + 8), dim=1)
    first, second = torch.stack((scale, zero), dim=-1), torch.stack((finest, torch.zeros_like(finest)), dim=-1)
    return replace(_packed(both, torch.cat((first, second), dim=1), columns), has_remainder=True)


def with_room(numbers: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return other numbers and scales for numbers of 5 bits, whose scales lose less when they are rounded to bfloat16.

    A rounded scale makes all numbers of its group too large or too small at once.

    Args:
        numbers: (rows, columns), from -16 to 15.
        scale: (rows, columns / GROUP).

    Returns:
        As the arguments: the numbers times a factor of their group, which 8 bits have room for, and the scales divided
        by it.
    """
    factors = torch.tensor(_FACTORS, dtype=scale.dtype).view(-1, 1, 1)
    lost = ((scale / factors).bfloat16() * factors - scale).abs()
    factor = factors.view(-1)[lost.argmin(dim=0)]
    return (numbers.view(*scale.shape, GROUP) * factor[..., None]).view(numbers.shape), scale / factor


def quantised(weight: Tensor, bits: int) -> PackedWeight:
    """Quantise a weight, each group by itself, and pack it.

    Args:
        weight: (rows, columns), of any floating-point precision; `fits` says which columns do.
        bits: 4 or 8.
    """
    groups = weight.float().view(weight.shape[0], -1, GROUP)
    if bits == 8:
        # Rounded up, so that none is beyond 127: the numbers are those for the scale as it is kept.
        scale = (groups.abs().amax(dim=-1) * (1 + 2.0**-8) / 127).bfloat16().float()
        numbers = (groups / scale.clamp_min(_TINY)[..., None]).round().clamp(-128, 127)
        return pack_8bit(numbers.to(torch.int32).view(weight.shape), scale)
    nibbles, scale, zero = _nearest_nibbles(groups)
    return pack_4bit(nibbles.to(torch.int32).view(weight.shape), scale, zero)


def _nearest_nibbles(groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return nibbles, scales and zeros for groups: of those that are tried, those that lose the least.

    Each trial begins from a part of the group's range. Then the scale and the zero are fitted to the nibbles by least
    squares, and the nibbles are rounded anew.
    """
    low, high = groups.amin(dim=-1, keepdim=True), groups.amax(dim=-1, keepdim=True)
    mean = groups.mean(dim=-1, keepdim=True)
    least = torch.full_like(low, torch.inf)
    best_scale, best_zero = low, low
    for cut in _CUTS:
        scale = ((high - low) * (1 - cut) / 15).bfloat16().float()
        zero = ((high + low) / 2 + scale / 2).bfloat16().float()  # nibbles 0 to 15 are -8 to 7 about it
        for left in reversed(range(_REFITS + 1)):
            nibbles = _rounded(groups, scale, zero)
            loss = ((nibbles - 8) * scale + zero - groups).square().sum(dim=-1, keepdim=True)
            better = loss < least
            least = torch.where(better, loss, least)
            best_scale, best_zero = torch.where(better, scale, best_scale), torch.where(better, zero, best_zero)
            if left:
                middle = nibbles.mean(dim=-1, keepdim=True)
                about = nibbles - middle
                spread = about.square().sum(dim=-1, keepdim=True).clamp_min(_TINY)
                scale = ((about * groups).sum(dim=-1, keepdim=True) / spread).bfloat16().float()
                zero = (mean - (middle - 8) * scale).bfloat16().float()
    return _rounded(groups, best_scale, best_zero), best_scale[..., 0], best_zero[..., 0]


def _rounded(groups: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Return the nibbles, 0 to 15, that are nearest to groups of numbers."""
    return ((groups - zero) / scale.clamp_min(_TINY) + 8).round().clamp(0, 15)


def _packed(nibbles: Tensor, scales: Tensor, columns: int) -> PackedWeight:
    """Pack nibbles (rows, planes * columns) and their scales (rows, planes * columns / GROUP, 2)."""
    rows = nibbles.shape[0]
    missing = padded(rows) - rows
    nibbles = functional.pad(nibbles.to(torch.int32), (0, 0, 0, missing))
    scales = functional.pad(scales.bfloat16(), (0, 0, 0, 0, 0, missing))
    planes = torch.ops.aten._convert_weight_to_int4pack_for_cpu(nibbles.contiguous(), 1)
    return PackedWeight(planes, scales.transpose(0, 1).contiguous(), rows, columns)


def multiply(rows: Tensor, weight: PackedWeight) -> Tensor:
    """Multiply some rows by a weight with the kernel.

    Args:
        rows: (rows, columns), float32 or bfloat16.
        weight: The weight.

    Returns:
        (rows, rows of the weight), float32.
    """
    taken = rows.bfloat16()
    if weight.bits == 8:
        taken = torch.cat((taken, taken), dim=1)
    product: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(taken, weight.planes, GROUP, weight.scales)
    return product[:, : weight.rows].float()


def rows_of(weight: PackedWeight, rows: Tensor) -> Tensor:
    """Unpack some rows of a weight, wherever they stand.

    Args:
        weight: The weight.
        rows: (count,) int64, below its rows.

    Returns:
        (count, columns), float32.
    """
    nibbles = _nibbles_of(weight.planes, rows, _layout(capability())).float() - 8
    scale, zero = weight.scales[:, rows].float().permute(2, 1, 0)[..., None]
    each = (nibbles.view(len(rows), -1, GROUP) * scale + zero).view(len(rows), -1, weight.columns)
    numbers: Tensor = each.sum(dim=1)  # of the planes
    return numbers


class Unpacker:
    """Unpacks weights for products with many rows, into one buffer that all of them share. Not thread-safe.

    Args:
        dtype: In what is multiplied: bfloat16, or float32 where the processor has no instructions for that.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._buffer = torch.empty(0, dtype=dtype)
        self._layout = _layout(capability())

    def multiply(self, rows: Tensor, weight: PackedWeight) -> Tensor:
        """Multiply rows by a weight.

        Args:
            rows: (rows, columns), float32 or bfloat16.
            weight: The weight.

        Returns:
            (rows, rows of the weight), in `dtype`: in bfloat16, it was rounded so anyway.
        """
        taken = functional.pad(rows.to(self.dtype), (0, 0, 0, -len(rows) % _ROWS_ROUNDED_TO))
        height = weight.planes.shape[0]
        at_once = max(_PADDED_TO, _UNPACKED_AT_ONCE // weight.columns // _PADDED_TO * _PADDED_TO)
        if height <= at_once:
            return torch.mm(taken, self.unpack(weight, 0, height))[: len(rows), : weight.rows]
        product = taken.new_empty(len(taken), height)
        for begin in range(0, height, at_once):
            end = min(begin + at_once, height)
            product[:, begin:end] = torch.mm(taken, self.unpack(weight, begin, end))
        return product[: len(rows), : weight.rows]

    def unpack(self, weight: PackedWeight, begin: int, end: int) -> Tensor:
        """Unpack rows `begin` to `end`, multiples of 64, of a weight; the next call overwrites them.

        Returns:
            (columns, end - begin): the weight, transposed.
        """
        size = weight.columns * (end - begin)
        if self._buffer.numel() < size:
            self._buffer = torch.empty(size, dtype=self.dtype)
        out = self._buffer[:size].view(weight.columns, end - begin)
        step = max(_PADDED_TO, _CACHED_AT_ONCE // weight.columns // _PADDED_TO * _PADDED_TO)
        for first in range(begin, end, step):
            last = min(first + step, end)
            self._unpack_into(out[:, first - begin : last - begin], weight, first, last)
        return out

    def _unpack_into(self, out: Tensor, weight: PackedWeight, begin: int, end: int) -> None:
        columns, groups, block = weight.columns, weight.columns // GROUP, self._layout.block
        blocks, half = (end - begin) // block, block // 2
        planes = weight.planes[begin:end].view(blocks, -1, half)
        # (groups, GROUP, blocks, rows of one kind): which row a nibble belongs to is its place in the byte, and its
        # byte's.
        kinds = (2, half) if self._layout.halves else (half, 2)
        targets = out.view(groups, GROUP, blocks, *kinds).permute(2, 0, 1, 3, 4).unbind(3 if kinds[0] == 2 else 4)
        scales = weight.scales[:, begin:end].view(-1, blocks, *kinds, 2).transpose(0, 1)
        for target, scale, high in zip(targets, scales.unbind(2 if kinds[0] == 2 else 3), (False, True), strict=True):
            # Copied, as the two stand between each other: torch's operations are several times as slow on numbers that
            # are not side by side.
            factor, zero = scale[:, -groups:, None].to(self.dtype).movedim(-1, 0).contiguous()
            if weight.has_remainder:
                first_factor, first_zero = scale[:, :groups, None].float().movedim(-1, 0).contiguous()
                first, second = (
                    _nibbles(plane, high=high).view(blocks, groups, GROUP, half)
                    for plane in (planes[:, :columns], planes[:, columns:])
                )
                numbers = torch.addcmul(first_zero, first.float(), first_factor)
                target.copy_(numbers.addcmul_(second.float(), factor.float()))
            elif weight.bits == 8:
                numbers = _bytes(planes[:, :columns], planes[:, columns:], high=high)
                torch.mul(numbers.view(blocks, groups, GROUP, half), factor, out=target)
            else:
                numbers = _nibbles(planes, high=high)
                torch.addcmul(zero, numbers.view(blocks, groups, GROUP, half).to(self.dtype), factor, out=target)


# Four bytes at a time: torch's operations on single bytes take several times as long.
_LOW_BITS = 0x0F0F0F0F
_HIGH_BITS = -0x0F0F0F10  # 0xF0F0F0F0, as int32 has it
_SIGN_BITS = -0x7F7F7F80  # 0x80808080
_EIGHTS = 0x08080808


def _nibbles(plane: Tensor, *, high: bool) -> Tensor:
    """Return the nibbles in the low or the high bits of a plane's bytes, less 8, as int8."""
    words = plane.view(torch.int32)
    if high:
        words = words >> 4
    # With its sign bit set, no byte borrows from another one when 8 is subtracted.
    return ((words & _LOW_BITS) | _SIGN_BITS).sub_(_EIGHTS).bitwise_xor_(_SIGN_BITS).view(torch.int8)


def _bytes(high_plane: Tensor, low_plane: Tensor, *, high: bool) -> Tensor:
    """Return 16 * h + l of the nibbles in the low or the high bits of two planes' bytes, as int8."""
    above, below = high_plane.view(torch.int32), low_plane.view(torch.int32)
    if high:
        joined = (above & _HIGH_BITS).bitwise_or_((below >> 4).bitwise_and_(_LOW_BITS))
    else:
        joined = (above << 4).bitwise_and_(_HIGH_BITS).bitwise_or_(below & _LOW_BITS)
    return joined.bitwise_xor_(_SIGN_BITS).view(torch.int8)


class PackedLinear:
    """The product with one or several weights, one below the other; those that could not be packed are in float32.

    What it returns of many rows is in the unpacker's precision, unless a bias or another weight widens it.
    """

    def __init__(self, weights: Sequence[PackedWeight | Tensor], bias: Tensor | None, unpacker: Unpacker) -> None:
        self._weights = weights
        self._bias = bias
        self._unpacker = unpacker

    def __call__(self, rows: Tensor) -> Tensor:
        products = [self._product(rows, weight) for weight in self._weights]
        product = products[0] if len(products) == 1 else torch.cat(products, dim=-1)
        return product if self._bias is None else product + self._bias

    def _product(self, rows: Tensor, weight: PackedWeight | Tensor) -> Tensor:
        if isinstance(weight, Tensor):
            return functional.linear(rows.float(), weight)  # those of a prompt may be in bfloat16
        many = len(rows) >= LEAST_ROWS_TO_UNPACK[weight.bits]
        return self._unpacker.multiply(rows, weight) if many else multiply(rows, weight)


class PackedLogits:
    """The product with the output layer. What is likeliest after each row is computed once more, in float32.

    In bfloat16, as the kernel returns them, logits between 16 and 32 are 0.125 apart: the likeliest ones would often be
    equal, and their ids would decide.
    """

    def __init__(self, weight: PackedWeight, bias: Tensor | None, unpacker: Unpacker) -> None:
        self._product = PackedLinear([weight], bias, unpacker)
        self._weight = weight
        self._bias = bias

    def __call__(self, rows: Tensor) -> Tensor:
        """Return (rows, vocabulary), float32."""
        logits = self._product(rows).float()
        _, likeliest = logits.topk(min(_LIKELIEST, logits.shape[-1]), dim=-1)
        for row, ids, hidden in zip(logits, likeliest, rows.float(), strict=True):
            again = rows_of(self._weight, ids) @ hidden
            row[ids] = again if self._bias is None else again + self._bias[ids]
        return logits
