"""A checkpoint's tensors out of its safetensors files, one at a time or some of its rows, as numbers in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from fim_magic.engines.torch.configuration import model_without_numbers
from fim_magic.engines.torch.footprint import numbers_of
from fim_magic.weights.shards import weight_files

HEAD = "lm_head.weight"
"""The output layer's weight, as transformers names it."""

_EMBEDDINGS = ("model.embed_tokens.weight", "transformer.wte.weight")
_STORED = ("F32", "BF16", "F16")


class CheckpointTensors:
    """The tensors of a checkpoint, by the names that transformers gives them. The files are mapped into memory.

    Satisfies [`fim_magic.engines.torch.quantised_tensors.Numbers`][].

    Args:
        folder: With its weights in safetensors, in one file or in several, as float32, bfloat16 or float16.
        config: Of transformers.

    Raises:
        ValueError: A weight is absent, has another shape than the configuration says, or is stored otherwise.
        SafetensorError: A file is damaged.
        OSError: A file cannot be read.
    """

    def __init__(self, folder: Path, config: Any) -> None:
        opened: Any = safe_open  # it has no types
        files = [opened(path, framework="pt") for path in weight_files(folder)]
        self._files = {name: file for file in files for name in list(file.keys())}
        self._stored_as: dict[str, str] = {}
        if HEAD not in self._files and config.tie_word_embeddings:
            self._stored_as[HEAD] = next((name for name in _EMBEDDINGS if name in self._files), HEAD)
        self._require_all(config)

    def __contains__(self, name: str) -> bool:
        return self._stored(name) in self._files

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return tuple(self._slice(name).get_shape())

    def numbers(self, name: str, begin: int = 0, end: int | None = None) -> Tensor:
        """Return a tensor, or some of its rows, in float32."""
        found: Tensor = self._slice(name)[begin:end]
        return found.float()

    def _stored(self, name: str) -> str:
        return self._stored_as.get(name, name)

    def _slice(self, name: str) -> Any:
        return self._files[self._stored(name)].get_slice(self._stored(name))

    def _require_all(self, config: Any) -> None:
        model = model_without_numbers(config)
        numbers_of(model, held=sum(map(self._count, self._files)), where="its config.json")
        expected = {name: tuple(weight.shape) for name, weight in model.named_parameters()} | {
            HEAD: tuple(model.get_output_embeddings().weight.shape)
        }
        absent = sorted(name for name in expected if name not in self)
        if absent:
            raise ValueError(f"{len(absent)} weights are absent, such as {absent[0]}")
        for name, shape in expected.items():
            stored = self._slice(name)
            if tuple(stored.get_shape()) != shape:
                raise ValueError(f"{name} is {self.shape(name)} in its files, and {shape} by its config.json")
            if stored.get_dtype() not in _STORED:
                raise ValueError(f"{name} is stored as {stored.get_dtype()}, and not as numbers of one of {_STORED}")

    def _count(self, name: str) -> int:
        return torch.Size(self._files[name].get_slice(name).get_shape()).numel()
