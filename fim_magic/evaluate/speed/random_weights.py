"""A model of a given size with random weights, made in place: speed does not depend on what the weights say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, GPTBigCodeConfig, LlamaConfig, Qwen2Config, Starcoder2Config

from fim_magic.engines.torch.configuration import model_without_numbers
from fim_magic.engines.torch.packed import GROUP, PackedWeight, padded
from fim_magic.engines.torch.packed_file import FILE, count_weights, write_packed
from fim_magic.engines.torch.quantised_tensors import QuantisedTensors
from fim_magic.errors import OptionError
from fim_magic.loading.fetch import BITS
from fim_magic.progress import Meter, OnProgress
from fim_magic.tokenization import TextTokenizer

LAYOUTS = ("llama", "qwen2", "starcoder2", "gpt_bigcode")
SEED = 0
_SPREAD = 0.02  # the standard deviation of weights, as most models begin with

_CONTEXT = 16384
_UNGATED = 3 / 2  # an MLP with two matrices instead of three is as large when it is wider by this


@dataclass(frozen=True)
class Shape:
    """Depth and width of a model."""

    layers: int  # its depth
    width: int  # of the hidden state
    heads: int  # of attention
    kv_heads: int  # how many of them have keys and values of their own
    inner: int  # width of the MLP with a gate
    vocabulary: int  # rows of the embedding
    tied: bool  # whether the output matrix is the embedding


SHAPES = {
    "1M": Shape(2, 128, 4, 2, 384, 4096, tied=True),  # for tests of the bench itself
    "25M": Shape(8, 384, 6, 2, 1024, 32000, tied=True),
    "135M": Shape(30, 576, 9, 3, 1536, 49152, tied=True),  # SmolLM2-135M
    "0.5B": Shape(24, 896, 14, 2, 4864, 151936, tied=True),  # Qwen2.5-Coder-0.5B
    "1.3B": Shape(24, 2048, 16, 16, 5504, 32256, tied=False),  # DeepSeek-Coder-1.3B
    "1.5B": Shape(28, 1536, 12, 2, 8960, 151936, tied=True),  # Qwen2.5-Coder-1.5B
    "3B": Shape(36, 2048, 16, 2, 11008, 151936, tied=True),  # Qwen2.5-Coder-3B
    "7B": Shape(32, 4096, 32, 32, 11008, 32016, tied=False),  # Code Llama 7B
}
"""Sizes by the name that users type, with the shapes that the named models publish in their config.json."""


def shape_of(size: str) -> Shape:
    """Return the shape for a size as users type it; an OptionError where there is none."""
    by_lower = {name.lower(): shape for name, shape in SHAPES.items()}
    if size.lower() not in by_lower:
        raise OptionError(
            f"--random-weights is one of {', '.join(SHAPES)}; {size!r} is not. Type: fim-magic bench --random-weights "
            "1.3B"
        )
    return by_lower[size.lower()]


def config_of(size: str, layout: str = "llama") -> Any:
    """Return transformers' configuration of a size and a layout; an OptionError where one is unknown."""
    shape = shape_of(size)
    if layout not in LAYOUTS:
        raise OptionError(f"--layout is one of {', '.join(LAYOUTS)}; {layout!r} is not.")
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    common = {"vocab_size": shape.vocabulary, "tie_word_embeddings": shape.tied, **ends}
    if layout == "gpt_bigcode":
        return GPTBigCodeConfig(
            n_layer=shape.layers,
            n_embd=shape.width,
            n_head=shape.heads,
            n_inner=int(shape.inner * _UNGATED),
            n_positions=_CONTEXT,
            multi_query=True,
            **common,
        )
    inner = int(shape.inner * _UNGATED) if layout == "starcoder2" else shape.inner
    kinds = {"llama": LlamaConfig, "qwen2": Qwen2Config, "starcoder2": Starcoder2Config}
    return kinds[layout](
        num_hidden_layers=shape.layers,
        hidden_size=shape.width,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=inner,
        max_position_embeddings=_CONTEXT,
        **common,
    )


def build(size: str, layout: str, device: torch.device, dtype: torch.dtype) -> Any:
    """Make the model on the device, at once in its precision. The same arguments make the same weights."""
    config = config_of(size, layout)
    torch.manual_seed(SEED)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.eval()


def tokenizer_for(model: Any) -> TextTokenizer:
    """Return a tokenizer with one token a byte: an engine has to have one, and random weights need no more."""
    return TextTokenizer(_bytewise(), int(model.get_input_embeddings().weight.shape[0]))


def write_quantised(folder: Path, size: str, layout: str, quantize: str, on_progress: OnProgress) -> None:
    """Write a folder with packed weights, as `--quantize` makes them on a CPU, a weight at a time.

    Args:
        folder: That is there.
        size: As of `build`.
        layout: As of `build`.
        quantize: "8bit" or "4bit".
        on_progress: Called often.

    Raises:
        FetchError: There is no room for it.
    """
    config = config_of(size, layout)
    tensors = _RandomTensors(config, BITS[quantize])
    meter = Meter(on_progress, "Making random weights", count_weights(config), unit="weights")
    write_packed(folder / FILE, config, tensors, meter.report)
    config.save_pretrained(str(folder))
    _bytewise().save(str(folder / "tokenizer.json"))


class _RandomTensors(QuantisedTensors):
    """Weights that are drawn in the form in which they are packed."""

    def __init__(self, config: Any, bits: int) -> None:
        held = model_without_numbers(config).named_parameters(remove_duplicate=False)
        self._shapes = {name: tuple(weight.shape) for name, weight in held}
        self._drawn = torch.Generator().manual_seed(SEED)
        super().__init__(self, bits)

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def numbers(self, name: str, begin: int = 0, end: int | None = None) -> Tensor:
        rows = len(range(self.shape(name)[0])[begin:end])
        if name.endswith(("norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight")):
            return torch.ones(rows)
        return _SPREAD * torch.randn(rows, *self.shape(name)[1:], generator=self._drawn)

    def packed(self, name: str) -> PackedWeight:
        rows, columns = self.shape(name)
        planes, height = self.bits(name) // 4, padded(rows)
        numbers = torch.randint(0, 256, (height, planes * columns // 2), dtype=torch.uint8, generator=self._drawn)
        # Scale and zero of each plane, for numbers from -8 to 7, or from -128 to 127, of which all are as frequent.
        scale = _SPREAD * 12**0.5 / 16**planes
        kinds = [(scale, scale / 2)] if planes == 1 else [(16 * scale, 0.0), (scale, 8 * scale)]
        scales = torch.tensor(kinds).repeat_interleave(columns // GROUP, dim=0)
        return PackedWeight(numbers, scales[:, None].expand(-1, height, -1).bfloat16(), rows, columns)

    def _lost(self, _name: str) -> float:
        return 0.0


def _bytewise() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend
