"""A file of packed weights: written tensor by tensor, and mapped into memory when a decoder is made of it.

It is in safetensors. A product's weights stand in it as the kernel reads them, those of several layers that are
multiplied together one below the other, so that nothing is copied on loading and the kernels of one machine share the
pages. Its header says which tensors are a product's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional

from fim_magic import weights
from fim_magic.engines.torch.architectures import decoder_from
from fim_magic.engines.torch.linear import RowFunction
from fim_magic.engines.torch.packed import GROUP, PackedLinear, PackedLogits, PackedWeight, Unpacker, padded
from fim_magic.errors import FetchError

FILE = "packed.safetensors"

_OUTPUT_LAYER = ("lm_head",)
_NUMBERS_AT_ONCE = 2**24  # of a large table, or of a weight that is multiplied with in float32

_STORED = {torch.uint8: "U8", torch.bfloat16: "BF16", torch.float32: "F32"}


class Tensors(Protocol):
    """Where the weights come from."""

    def __contains__(self, name: str) -> bool: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        ...

    def bits(self, name: str) -> int:
        """Return in how many bits a weight is packed: 4 or 8, or 32 where it cannot be."""
        ...

    def has_remainder(self, name: str) -> bool:
        """Return whether a weight's second plane is a remainder; see [`PackedWeight`][]."""
        ...

    def numbers(self, name: str, begin: int = 0, end: int | None = None) -> Tensor:
        """Return a tensor, or some of its rows, in float32."""
        ...

    def packed(self, name: str) -> PackedWeight:
        """Return a weight in the bits that `bits` says."""
        ...


def packed_in_blocks(pack: Callable[[int, int], PackedWeight], rows: int, columns: int, at_once: int) -> PackedWeight:
    """Pack a weight some rows at a time.

    Args:
        pack: Packs rows `begin` to `end`.
        rows: Of the weight.
        columns: Of the weight.
        at_once: About how many numbers are packed at once.
    """
    size = max(padded(1), at_once // columns // padded(1) * padded(1))
    parts = [pack(begin, min(begin + size, rows)) for begin in range(0, rows, size)]
    scales = torch.cat([part.scales for part in parts], dim=1)
    return PackedWeight(torch.cat([part.planes for part in parts]), scales, rows, columns, parts[0].has_remainder)


@dataclass(frozen=True)
class _Part:
    """Some layers of a product, whose weights have the same number of bits.

    Attributes:
        layers: Their names.
        bits: 4, 8 or 32.
        rows: Of all of them.
        columns: Of each.
        has_remainder: As of [`PackedWeight`][].
    """

    layers: list[str]
    bits: int
    rows: int
    columns: int
    has_remainder: bool

    @property
    def key(self) -> str:
        return "+".join(self.layers)


class _Asked:
    """Takes note of what a decoder is made of. Satisfies [`fim_magic.engines.torch.linear.Weights`][]."""

    dtype = torch.float32
    packed = False
    bytes = 0

    def __init__(self) -> None:
        self.products: list[tuple[str, ...]] = []
        self.vectors: list[str] = []
        self.tables: list[str] = []

    def linear(self, *names: str) -> RowFunction:
        self.products.append(names)
        return functional.relu  # never computed

    def vector(self, name: str) -> Tensor:
        self.vectors.append(name)
        return torch.empty(0)

    def table(self, name: str) -> Tensor:
        self.tables.append(name)
        return torch.empty(0)


def count_weights(config: Any) -> int:
    """Return how many layers' weights a decoder of this configuration multiplies with."""
    asked = _Asked()
    decoder_from(config, asked)
    return sum(map(len, asked.products))


def write_packed(path: Path, config: Any, tensors: Tensors, on_tensor: Callable[[int], None]) -> None:
    """Write all that a decoder needs.

    Args:
        path: Of the file.
        config: Of transformers; `is_known` knows it.
        tensors: The model's. No more than one is in memory at a time.
        on_tensor: Called with how many layers' weights are written, after each part; see `count_weights`.

    Raises:
        ValueError: A weight is absent.
        FetchError: There is no room for the file.
    """
    asked = _Asked()
    decoder_from(config, asked)
    products = {" ".join(names): list(_parts(names, tensors)) for names in asked.products}
    biases = [names for names in asked.products if any(f"{layer}.bias" in tensors for layer in names)]
    entries: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    for part in (part for parts in products.values() for part in parts):
        if part.bits == 32:
            entries[f"{part.key}.weight"] = torch.float32, (part.rows, part.columns)
            continue
        planes, height = part.bits // 4, sum(padded(tensors.shape(f"{layer}.weight")[0]) for layer in part.layers)
        entries[f"{part.key}.planes"] = torch.uint8, (height, planes * part.columns // 2)
        entries[f"{part.key}.scales"] = torch.bfloat16, (planes * part.columns // GROUP, height, 2)
    for names in biases:
        rows = sum(tensors.shape(f"{layer}.weight")[0] for layer in names)
        entries[f"{' '.join(names)}.bias"] = torch.float32, (rows,)
    entries |= {name: (torch.float32, tensors.shape(name)) for name in asked.vectors}
    entries |= {name: (torch.bfloat16, tensors.shape(name)) for name in asked.tables}
    described = json.dumps({names: [asdict(part) for part in parts] for names, parts in products.items()})
    header = _header(entries, {"format": "pt", "products": described})
    weights.require_room(path.parent, len(header) + sum(_size(*entry) for entry in entries.values()))
    with _writable(path) as file:
        file.write(header)
        written = 0
        for parts in products.values():
            for part in parts:
                for tensor in _tensors_of(part, tensors):
                    file.write(_bytes(tensor))
                written += len(part.layers)
                on_tensor(written)
        for layers in biases:
            file.write(_bytes(torch.cat([_bias(layer, tensors) for layer in layers])))
        for name in asked.vectors:
            file.write(_bytes(tensors.numbers(name)))
        for name in asked.tables:
            for begin, end in _row_blocks(*tensors.shape(name)):
                file.write(_bytes(tensors.numbers(name, begin, end).bfloat16()))


def _parts(names: Sequence[str], tensors: Tensors) -> Iterator[_Part]:
    """Divide a product's layers into parts: by their bits, and where rows had to be added to fill a block."""

    def kind(name: str) -> tuple[int, bool, str]:
        bits, rows = tensors.bits(f"{name}.weight"), tensors.shape(f"{name}.weight")[0]
        remainder = tensors.has_remainder(f"{name}.weight")
        return bits, remainder, "" if bits == 32 or padded(rows) == rows else name

    for (bits, remainder, _), same in groupby(names, key=kind):
        layers = list(same)
        shapes = [tensors.shape(f"{layer}.weight") for layer in layers]
        yield _Part(layers, bits, sum(shape[0] for shape in shapes), shapes[0][1], remainder)


def _tensors_of(part: _Part, tensors: Tensors) -> list[Tensor]:
    names = [f"{layer}.weight" for layer in part.layers]
    if part.bits == 32:
        return [torch.cat([tensors.numbers(name) for name in names])]
    packed = [tensors.packed(name) for name in names]
    if len(packed) == 1:
        return [packed[0].planes, packed[0].scales]
    return [torch.cat([weight.planes for weight in packed]), torch.cat([weight.scales for weight in packed], dim=1)]


def _bias(layer: str, tensors: Tensors) -> Tensor:
    name, rows = f"{layer}.bias", tensors.shape(f"{layer}.weight")[0]
    return tensors.numbers(name) if name in tensors else torch.zeros(rows, dtype=torch.float32)


@contextmanager
def _writable(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to be written, whose disk or quota may be full before its end: then no other file is at fault."""
    try:
        with path.open("wb") as file:
            yield file
    except OSError as error:
        raise FetchError(weights.cannot_write(error)) from error


def _row_blocks(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    size = max(1, _NUMBERS_AT_ONCE // columns)
    for begin in range(0, rows, size):
        yield begin, min(begin + size, rows)


def _bytes(tensor: Tensor) -> Any:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy()


def _size(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel() * dtype.itemsize


def _header(entries: dict[str, tuple[torch.dtype, tuple[int, ...]]], metadata: dict[str, str]) -> bytes:
    """Return what stands before the tensors of a file in safetensors."""
    described: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, (dtype, shape) in entries.items():
        end = offset + _size(dtype, shape)
        described[name] = {"dtype": _STORED[dtype], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(described).encode()
    text += b" " * (-(len(text) + 8) % 64)  # the tensors begin at a multiple of what the kernel reads at once
    return len(text).to_bytes(8, "little") + text


class PackedWeights:
    """The weights in a file of packed weights. Satisfies [`fim_magic.engines.torch.linear.Weights`][].

    Args:
        path: The file.
        unpacker: For products with many rows.

    Attributes:
        shares: How many numbers are in how many bits.
    """

    dtype = torch.float32
    packed = False  # beside the model's own: there are no others

    def __init__(self, path: Path, unpacker: Unpacker) -> None:
        self.bytes = 0
        self.shares: Counter[int] = Counter()
        opened: Any = safe_open  # it has no types
        self._file = opened(path, framework="pt")
        self._products = json.loads(self._file.metadata()["products"])
        self._names = set(self._file.keys())
        self._unpacker = unpacker

    def linear(self, *names: str) -> RowFunction:
        parts: list[PackedWeight | Tensor] = []
        for described in self._products[" ".join(names)]:
            part = _Part(**described)
            self.shares[part.bits] += part.rows * part.columns
            if part.bits == 32:
                weight = self._file.get_tensor(f"{part.key}.weight")
                parts.append(weight)
                self.bytes += 4 * weight.numel()
                continue
            planes, scales = (self._file.get_tensor(f"{part.key}.{kind}") for kind in ("planes", "scales"))
            parts.append(PackedWeight(planes, scales, part.rows, part.columns, part.has_remainder))
            self.bytes += planes.numel() + 2 * scales.numel()
        name = f"{' '.join(names)}.bias"
        bias = self._file.get_tensor(name) if name in self._names else None
        if names == _OUTPUT_LAYER and isinstance(parts[0], PackedWeight):
            return PackedLogits(parts[0], bias, self._unpacker)
        return PackedLinear(parts, bias, self._unpacker)

    def vector(self, name: str) -> Tensor:
        found: Tensor = self._file.get_tensor(name)
        self.shares[32] += found.numel()
        return found

    def table(self, name: str) -> Tensor:
        found: Tensor = self._file.get_tensor(name)
        self.shares[16] += found.numel()
        return found


class PlainWeights:
    """A model's weights in float32, each made when it is multiplied with: slow, and in little memory.

    Satisfies [`fim_magic.engines.torch.linear.Weights`][].
    """

    dtype = torch.float32
    packed = False
    bytes = 0

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors

    def linear(self, *names: str) -> RowFunction:
        tensors = self._tensors
        biases = [_bias(name, tensors) for name in names] if any(f"{name}.bias" in tensors for name in names) else None

        def product(rows: Tensor) -> Tensor:
            products = [
                functional.linear(rows, tensors.numbers(f"{name}.weight", begin, end))
                for name in names
                for begin, end in _row_blocks(*tensors.shape(f"{name}.weight"))
            ]
            whole = torch.cat(products, dim=-1)
            return whole if biases is None else whole + torch.cat(biases)

        return product

    def vector(self, name: str) -> Tensor:
        return self._tensors.numbers(name)

    def table(self, name: str) -> Tensor:
        return self._tensors.numbers(name)


def describe_shares(shares: Counter[int]) -> str:
    """Say which part of a model's numbers is in how many bits, such as "4 bits 8 %, 8 bits 70 %"."""
    whole = sum(shares.values())
    percents = {bits: round(100 * count / whole) for bits, count in sorted(shares.items())}
    return ", ".join(f"{bits} bits {percent} %" for bits, percent in percents.items() if percent)
