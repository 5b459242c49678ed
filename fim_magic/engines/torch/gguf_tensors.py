"""A GGUF file's tensors by the names that transformers gives them: as numbers, or packed as the file has them.

The blocks of a file have a scale, and some a minimum, for 32 numbers: just what is packed (`packed`). So 4 bits stay 4
bits, but for a few weights that must not lose what rounding takes from scales, and 5 and 8 bits are found again in 8.
What has other blocks is quantised in 8 bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fim_magic.engines.gguf_header import TensorPlace, read_gguf_header
from fim_magic.engines.torch import packed
from fim_magic.engines.torch.configuration import model_without_numbers
from fim_magic.engines.torch.packed import PackedWeight
from fim_magic.engines.torch.packed_file import packed_in_blocks

_NUMBERS_AT_ONCE = 2**22  # that are dequantised
_OUT_OF_MLP = re.compile(r"\.([0-9]{1,4})\.mlp\.(?:down_proj|c_proj)\.weight$")
_EARLY_LAYERS = 5

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class GgufTensors:
    """The tensors of a file, which is mapped into memory.

    Args:
        path: The file, in one part.
        config: Of transformers, of the model in it.

    Raises:
        ModelError: It is no GGUF file.
        ValueError: A weight is absent.
        NotImplementedError: It is one of an architecture whose names are not known.
    """

    def __init__(self, path: Path, config: Any) -> None:
        from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

        header = read_gguf_header(path)
        self._mapped = np.memmap(path, mode="r", dtype=np.uint8)
        self._begin = header.begin
        self._elements = header.elements
        processor = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)(config=config.to_dict())
        self._processed: Callable[..., Any] = processor.process
        stored = {tensor.name: tensor for tensor in header.tensors}
        model = model_without_numbers(config)
        names = _names(model, processor)
        self._tensors: Mapping[str, TensorPlace] = {
            name: stored[theirs] for theirs, name in names.items() if theirs in stored
        }
        if "lm_head.weight" not in self._tensors and "token_embd.weight" in stored:
            self._tensors = {**self._tensors, "lm_head.weight": stored["token_embd.weight"]}
        absent = sorted(name for name, _ in model.named_parameters() if name not in self._tensors)
        if absent:
            raise ValueError(f"{len(absent)} weights are absent, such as {absent[0]}")

    @property
    def stored_bits(self) -> float:
        """In how many bits the file has a number, on average, scales and all."""
        return 8 * (len(self._mapped) - self._begin) / self._elements

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, as torch has it."""
        return tuple(reversed(self._place(name).shape))

    def bits(self, name: str) -> int:
        """Return in how many bits a weight is packed: 4 or 8, or 32 where it cannot be."""
        if not self._fits(name):
            return 32
        return 4 if self.is_in_4_bits(name) and not self.has_remainder(name) else 8

    def is_in_4_bits(self, name: str) -> bool:
        """Return whether the file has a tensor in 4 bits."""
        from gguf import GGMLQuantizationType as Kind

        return self._place(name).kind in (Kind.Q4_0, Kind.Q4_1, Kind.Q4_K)

    def has_remainder(self, name: str) -> bool:
        """Return whether a weight's second plane is a remainder; see [`packed.PackedWeight`][].

        In early layers the MLP writes the few activations that are thousands of times as large as others, and that all
        later tokens attend to (arXiv 2402.17762). How they are rounded shifts what is said of every token.
        """
        early = _OUT_OF_MLP.search(name)
        return early is not None and int(early[1]) < _EARLY_LAYERS and self.is_in_4_bits(name) and self._fits(name)

    def _fits(self, name: str) -> bool:
        return packed.fits(self.shape(name)[-1])

    def numbers(self, name: str, begin: int = 0, end: int | None = None) -> Tensor:
        """Return a tensor, or some of its rows, in float32."""
        from gguf import dequantize

        blocks, place = self._blocks(name), self._place(name)
        order = self._order(name)
        taken = blocks[begin:end] if order is None else blocks[order[begin:end]]
        found = np.require(dequantize(taken, _kind(place)), dtype=np.float32, requirements="W")
        return torch.from_numpy(found.reshape(-1, *self.shape(name)[1:]))

    def packed(self, name: str) -> PackedWeight:
        """Return a weight in the bits that `bits` says."""
        rows, columns = self.shape(name)
        return packed_in_blocks(partial(self._packed_rows, name), rows, columns, _NUMBERS_AT_ONCE)

    def _packed_rows(self, name: str, begin: int, end: int) -> PackedWeight:
        from gguf import GGMLQuantizationType as Kind

        kind, order = self._place(name).kind, self._order(name)
        blocks = self._blocks(name)
        blocks = blocks[begin:end] if order is None else blocks[order[begin:end]]
        values = self.numbers(name, begin, end)
        groups = values.view(len(values), -1, packed.GROUP)
        if kind == Kind.Q4_K:
            scale, zero = _of_q4_k(blocks)
        elif kind in (Kind.Q4_0, Kind.Q5_0, Kind.Q8_0):
            scale, zero = _halves(blocks, {Kind.Q4_0: 18, Kind.Q5_0: 22, Kind.Q8_0: 34}[Kind(kind)], 0), None
        elif kind == Kind.Q4_1:
            scale, zero = _halves(blocks, 20, 0), -_halves(blocks, 20, 2)
        else:
            return packed.quantised(values, 8)
        divisor = torch.where(scale == 0, 1.0, scale)[..., None]
        if kind in (Kind.Q5_0, Kind.Q8_0):
            numbers = (groups / divisor).round().view(values.shape)
            return packed.pack_8bit(*(packed.with_room(numbers, scale) if kind == Kind.Q5_0 else (numbers, scale)))
        if zero is None:
            zero = 8 * scale  # from 0 to 15, as those of the other kinds: Q4_0 is centred
        nibbles = ((groups + zero[..., None]) / divisor).round().clamp(0, 15)
        pack = packed.pack_4bit_with_remainder if self.has_remainder(name) else packed.pack_4bit
        return pack(nibbles.view(values.shape), scale, 8 * scale - zero)

    def _place(self, name: str) -> TensorPlace:
        if name not in self._tensors:
            raise ValueError(f"{name} is absent")
        return self._tensors[name]

    def _blocks(self, name: str) -> Bytes:
        """Return the bytes of a tensor, a row for each of its rows; a vector is one of single numbers."""
        from gguf import GGML_QUANT_SIZES

        place = self._place(name)
        size, width = GGML_QUANT_SIZES[_kind(place)]
        shape = self.shape(name)
        per_row = (shape[-1] if len(shape) > 1 else 1) // size * width
        begin = self._begin + place.offset
        return self._mapped[begin : begin + shape[0] * per_row].reshape(shape[0], per_row)

    def _order(self, name: str) -> npt.NDArray[np.int64] | None:
        """Return which of the file's rows transformers has at each place, or None where they are the same."""
        rows = np.arange(self.shape(name)[0])
        order: npt.NDArray[np.int64] = self._processed(weights=rows, name=self._place(name).name).weights
        return None if np.array_equal(order, rows) else order


def _kind(place: TensorPlace) -> Any:
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType(place.kind)


def _names(model: Any, processor: Any) -> dict[str, str]:
    """Return transformers' names of a file's tensors."""
    from transformers.modeling_gguf_pytorch_utils import get_gguf_hf_weights_map

    return get_gguf_hf_weights_map(model, processor)  # type: ignore[no-any-return]


def _halves(blocks: Bytes, width: int, offset: int) -> Tensor:
    """Return a float16 of each block; (rows, blocks of a row), float32."""
    each = blocks.reshape(len(blocks), -1, width)[..., offset : offset + 2]
    return torch.from_numpy(np.ascontiguousarray(each).view(np.float16)[..., 0].astype(np.float32))


def _of_q4_k(blocks: Bytes) -> tuple[Tensor, Tensor]:
    """Return the scales and the minima of groups of 32, which are w = scale * q - minimum; each (rows, groups)."""
    from gguf.quants import Q4_K

    width = 144
    scales = np.ascontiguousarray(blocks.reshape(-1, width)[:, 4:16])
    factors, minima = (torch.from_numpy(found.astype(np.float32)) for found in Q4_K.get_scale_min(scales))
    rows = len(blocks)
    scale = _halves(blocks, width, 0)[..., None] * factors.view(rows, -1, 8)
    minimum = _halves(blocks, width, 2)[..., None] * minima.view(rows, -1, 8)
    return scale.view(rows, -1), minimum.view(rows, -1)
