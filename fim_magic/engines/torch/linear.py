"""A decoder's weights by name, and its matrix products with them.

Those of a model that transformers has loaded are packed in float16 on a CPU that can, and as they are elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from fim_magic.engines.memory import free_ram

_HALF_RANGE = 65504.0  # the largest float16
_FREE_AFTER_PACKING = 2_000_000_000  # bytes that must stay free on the CPU

RowFunction = Callable[[Tensor], Tensor]
"""What a part of a model computes for each row by itself: (rows, features) -> (rows, features)."""


class Weights(Protocol):
    """What a decoder is made of. The names are those that transformers gives a model's modules and parameters.

    Attributes:
        dtype: In which everything between the matrix products is computed.
        packed: Whether the products' weights are held in float16 beside the model's own.
        bytes: What all products made so far read of their weights.
    """

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def packed(self) -> bool: ...

    @property
    def bytes(self) -> int: ...

    def linear(self, *names: str) -> RowFunction:
        """Return the product with the weights of several linear layers, one below the other, and their biases."""
        ...

    def vector(self, name: str) -> Tensor:
        """Return a norm's weight or bias, in `dtype`."""
        ...

    def table(self, name: str) -> Tensor:
        """Return a table of which only rows are looked up, in any floating-point precision."""
        ...


class ModelWeights:
    """The weights of a model that transformers has loaded. Satisfies [`Weights`][]."""

    def __init__(self, model: Any) -> None:
        self.bytes = 0
        self._model = model
        # torch packs a matrix with one thread: a core for each of several is several times as fast.
        self._threads = ThreadPoolExecutor(torch.get_num_threads())
        self._waiting: list[Future[None]] = []
        first = next(model.parameters())
        self.dtype = first.dtype
        size = sum(weight.numel() for weight in model.parameters()) * 2
        self.packed = (
            first.device.type == "cpu"
            and first.dtype == torch.float32
            and has_float16_products()
            and free_ram() - size > _FREE_AFTER_PACKING
            and all(_largest(weight.detach()) < _HALF_RANGE for weight in model.parameters() if weight.dim() > 1)
        )

    def vector(self, name: str) -> Tensor:
        return self._model.get_parameter(name)  # type: ignore[no-any-return]

    def table(self, name: str) -> Tensor:
        return self._model.get_parameter(name)  # type: ignore[no-any-return]

    @torch.no_grad()
    def linear(self, *names: str) -> RowFunction:
        modules = [self._model.get_submodule(name) for name in names]
        if self.packed:
            product = _PackedLinear()
            self.bytes += sum(module.weight.numel() for module in modules) * 2
            self._waiting.append(self._threads.submit(product.pack, modules))
            return product
        self.bytes += sum(module.weight.numel() * module.weight.element_size() for module in modules)
        if modules[0].weight.device.type == "cpu":
            # Mapped from their file: to join them would copy them into memory, of which there was too little.
            return lambda rows: torch.cat([functional.linear(rows, part.weight, part.bias) for part in modules], dim=-1)
        weight, bias = _joined(modules)
        return lambda rows: functional.linear(rows, weight, bias)

    def wait(self) -> None:
        """Return when all weights are packed, or raise what has kept one from it."""
        try:
            for packed in self._waiting:
                packed.result()
        finally:
            self._threads.shutdown(cancel_futures=True)


def has_float16_products() -> bool:
    """Whether torch multiplies with weights in float16 on this CPU."""
    return bool({"fbgemm", "x86"} & set(torch.backends.quantized.supported_engines))


class _PackedLinear:
    """A product with weights that another thread packs meanwhile."""

    _packed: Any

    @torch.no_grad()
    def pack(self, modules: Sequence[Any]) -> None:
        weight = modules[0].weight if len(modules) == 1 else torch.cat([module.weight for module in modules])
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
    weight, bias = torch.cat([module.weight for module in modules]), _bias(modules)
    begin = 0
    for module in modules:
        end = begin + module.weight.shape[0]
        module.weight.data = weight[begin:end]
        begin = end
    return weight, bias


def _bias(modules: Sequence[Any]) -> Tensor | None:
    return None if modules[0].bias is None else torch.cat([module.bias for module in modules])
