"""What a checkpoint will take in memory, read from its files before anything is loaded.

The safetensors headers name the precision and the shape of every tensor, so the weights are known exactly. The KV
cache follows from the configuration.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic.errors import ModelError
from fim_magic.foreign_json import require_shallow
from fim_magic.weights.shards import weight_files

if TYPE_CHECKING:
    from huggingface_hub.utils import TensorInfo  # type: ignore[attr-defined]  # it is exported, and not in __all__

_log = logging.getLogger(__name__)

TOKENS_CONSIDERED = 8192
"""For how much context the KV cache is computed, where the model has more.

Today's models read 32768 or 131072 tokens, for which the cache can take more than the weights. Hardly any notebook
comes near; to demand that memory would refuse models that do well.
"""

BYTES_QUANTISED = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
"""Of one element of a linear layer in bitsandbytes: int8; NF4, with a float32 scale for every 64 (arXiv 2305.14314)."""

ATTENTION = re.compile(r"\.(self_)?attn\.")
"""In the name of a weight of attention's linear layers."""

BYTES_PACKED = {"8bit": 1.0 + 2 * 4 / 32, "4bit": 0.5 + 4 / 32}
"""Of one element of a linear layer on a CPU: one or two planes of nibbles, each with a scale and a zero in bfloat16 for
every 32 (`fim_magic.engines.torch.packed`)."""

BYTES_PACKED_OF_ALL = {"8bit": 1.30, "4bit": 0.84}
"""Of one parameter of a whole model, while only their number is known: as of Qwen2.5-Coder-7B, where attention has an
eighth of what is in linear layers, and tables and the output layer have a seventh of all."""

MOST_LAYERS = 1024
"""The largest models have an eighth of it."""

MOST_WEIGHTS = 100_000
"""In all files of a checkpoint. transformers takes a millisecond for every ten, also for those that its model has no
place for; DeepSeek-V3, with 671 billion parameters, has 92,000."""

LARGEST_HEADERS = 24 * 2**20
"""Bytes of all headers together: they are read before the weights in them are counted."""

_TOLERANCE = 4  # of pickles, only the size is known, and what they are stored in is guessed
_COUNTS_OF_LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
_STORED_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
_LAYER = re.compile(r".*?\.\d+(?=\.)")
_HEAD = "lm_head.weight"
_EMBEDDING = re.compile(r"(embed_tokens|wte)\.weight$")
# The parts of a tensor's name that say it belongs to no linear layer, or to the output layer, which stays as it is.
# Experts are one fused parameter in transformers 5, which bitsandbytes does not see.
_NEVER_QUANTISED = re.compile(r"embed|experts|(^|\.)(wte|wpe|lm_head|output_layer)\.")


@dataclass(frozen=True)
class WeightsSize:
    """What the weights of a checkpoint take.

    Attributes:
        elements: How many numbers are loaded in the precision that the device decides.
        linear: How many of them quantising shrinks: those of the linear layers, but not of embeddings and experts.
        attention: How many of those belong to attention.
        packed: Bytes that are loaded as they are, of a checkpoint that is stored quantised.
        float32: Bytes that are stored as float32. A CPU maps them from the file, and can drop and read them again.
        output: How many numbers the output layer has. They may be those of the embedding, and are counted there then.
        tables: How many numbers are in neither linear layers nor an output layer of its own: those of embeddings.
        largest: The share of the largest layer in the whole, from 0.0 to 1.0: the least that must move together.
    """

    elements: int = 0
    linear: int = 0
    attention: int = 0
    packed: int = 0
    float32: int = 0
    output: int = 0
    tables: int = 0
    largest: float = 0.0

    def bytes_at(self, element_size: int, quantize: str | None = None) -> int:
        """Return the memory that they take when loaded.

        Args:
            element_size: Bytes of one element in the chosen precision.
            quantize: "8bit", "4bit" or None.
        """
        if quantize is None:
            return self.packed + self.elements * element_size
        whole = self.packed + (self.elements - self.linear) * element_size
        return whole + int(self.linear * BYTES_QUANTISED[quantize])

    def bytes_packed(self, quantize: str) -> int:
        """Return the memory that they take when they are packed on a CPU, a table in bfloat16.

        Args:
            quantize: "8bit" or "4bit"; attention and the output layer have 8 either way.
        """
        in_8_bits = self.attention + self.output
        others = self.linear - self.attention
        return int(others * BYTES_PACKED[quantize] + in_8_bits * BYTES_PACKED["8bit"]) + 2 * self.tables


def weights_in(folder: Path, config: Mapping[str, Any]) -> WeightsSize:
    """Add up the weights of the checkpoint in `folder`.

    Args:
        folder: In transformers layout. A file that is damaged counts by its size: loading it says what is wrong.
        config: Its config.json.

    Raises:
        ModelError: It has more weights than any model.
    """
    from huggingface_hub import parse_local_safetensors_file_metadata
    from huggingface_hub.errors import SafetensorsParsingError

    try:
        files = [file for file in weight_files(folder) if file.is_file()]
    except (OSError, ValueError):
        _log.info("Which files hold the weights in %r cannot be read.", folder, exc_info=True)
        return WeightsSize()
    try:
        if files and all(file.suffix == ".safetensors" for file in files):
            _require_readable_headers(files)
            headers = [parse_local_safetensors_file_metadata(file).tensors for file in files]
            _require_at_most(MOST_WEIGHTS, sum(map(len, headers)), "weights")
            return _from_headers({name: tensor for header in headers for name, tensor in header.items()}, config)
    except (OSError, ValueError, SafetensorsParsingError, KeyError, TypeError, AttributeError):
        _log.info("The headers of the weights in %r cannot be read: their files count by size.", folder, exc_info=True)
    return _from_sizes(files, config)


def cache_bytes(config: Mapping[str, Any], tokens: int, element_size: int, *, beyond_windows: bool = False) -> int:
    """Return the bytes of one candidate's KV cache, as transformers' `DynamicCache` holds it.

    The states of recurrent layers (Mamba) are left out: they do not grow, and are small beside the weights.

    Args:
        config: The checkpoint's config.json.
        tokens: Of prompt and answer together.
        element_size: Bytes of one element in the chosen precision.
        beyond_windows: Whether layers that see the last tokens alone keep all, as those of our own decoder do.
    """
    window = _first(config, "sliding_window") or tokens
    # Of a layer with a window, the last token is not kept: the next one cannot see it.
    held = {"full": tokens, "sliding": tokens if beyond_windows else min(tokens, window - 1), "none": 0}
    return sum(held[kind] for kind in _layers(config)) * _elements_per_token(config) * element_size


def require_plausible(config: Mapping[str, Any]) -> None:
    """Refuse a configuration without layers, or with more than any model has: each is built before a weight is read.

    Raises:
        ValueError: It is one.
    """
    layers = max((value for name in _COUNTS_OF_LAYERS if isinstance(value := config.get(name), int)), default=1)
    if layers < 1:
        raise ValueError(f"its config.json announces {layers} layers, and a model has at least one")
    if layers > MOST_LAYERS:
        raise ValueError(f"its config.json announces {layers} layers, and {MOST_LAYERS} are the most that are loaded")


def context_of(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens the configuration says the model can read, or None where it does not say."""
    return _first(config, "max_position_embeddings", "n_positions", "seq_length", "n_ctx")


def vocabulary_of(config: Mapping[str, Any]) -> int | None:
    """Return how many rows the configuration says that the embedding has, or None where it does not say."""
    return _first(config, "vocab_size")


def numbers_of(model: Any, *, held: int, where: str) -> int:
    """Return how many numbers a model of torch has.

    Args:
        model: Its shapes are enough.
        held: How many its files hold.
        where: What describes the model.

    Raises:
        ValueError: It has many more than its files hold.
    """
    expected = sum(int(weight.numel()) for weight in model.parameters())
    if expected > _TOLERANCE * held + 2**20:
        raise ValueError(f"{where} describes a model of {expected:,} numbers, and its files hold {held:,}")
    return expected


# --- the weights ---------------------------------------------------------------------------------


def _require_readable_headers(files: Iterable[Path]) -> None:
    """Look at the headers before the Hub's client does, which parses them whatever they are.

    Raises:
        ModelError: They are larger than those of any model.
        ValueError: One nests too deep.
    """
    lengths: dict[Path, int] = {}
    for path in files:
        with path.open("rb") as file:
            lengths[path] = min(int.from_bytes(file.read(8), "little"), path.stat().st_size)
    _require_at_most(LARGEST_HEADERS, sum(lengths.values()), "bytes in the headers of its files")
    for path, length in lengths.items():
        with path.open("rb") as file:
            require_shallow(file.read(8 + length)[8:].decode(errors="ignore"))


def _require_at_most(most: int, found: int, what: str) -> None:
    if found > most:
        raise ModelError(
            f"This checkpoint has {found:,} {what}, and no model has more than {most:,}: it is damaged, or made to "
            "take your time. It was not loaded. %fim models lists those that are known to work."
        )


def _from_headers(tensors: dict[str, TensorInfo], config: Mapping[str, Any]) -> WeightsSize:
    if _is_tied(tensors, config):
        del tensors[_HEAD]
    output = math.prod(tensors[_HEAD].shape) if _HEAD in tensors else 0
    prequantised = config.get("quantization_config") is not None
    elements = linear = attention = packed = float32 = 0
    layers: Counter[str] = Counter()
    for name, tensor in tensors.items():
        begin, end = tensor.data_offsets
        size = end - begin
        if prequantised:
            packed += size
        elif tensor.dtype.startswith(("F", "BF")):
            elements += tensor.parameter_count
            if _is_linear(name, tensor.shape):
                linear += tensor.parameter_count
                attention += tensor.parameter_count if ATTENTION.search(name) else 0
            float32 += size if tensor.dtype == "F32" else 0
        else:
            continue  # old checkpoints hold attention masks, which are not loaded
        layers[_layer(name)] += size
    total = sum(layers.values())
    tables = elements - linear - output
    tied = max((tensor.parameter_count for name, tensor in tensors.items() if _EMBEDDING.search(name)), default=0)
    return WeightsSize(
        elements,
        linear,
        attention,
        packed,
        float32,
        output or tied,
        max(0, tables),
        max(layers.values()) / total if total else 0.0,
    )


def _is_tied(tensors: Mapping[str, TensorInfo], config: Mapping[str, Any]) -> bool:
    """Whether the stored output matrix is the embedding again, which is loaded once.

    transformers writes `tie_word_embeddings` wherever it is not true.
    """
    if _HEAD not in tensors or not config.get("tie_word_embeddings", True):
        return False
    shape = tensors[_HEAD].shape
    return any(name != _HEAD and tensor.shape == shape for name, tensor in tensors.items() if not _LAYER.match(name))


def _is_linear(name: str, shape: list[int]) -> bool:
    return len(shape) == 2 and name.endswith(".weight") and _NEVER_QUANTISED.search(name) is None


def _layer(name: str) -> str:
    """`model.layers.3` of `model.layers.3.mlp.up_proj.weight`; else the module that holds the tensor."""
    numbered = _LAYER.match(name)
    return numbered[0] if numbered else name.rpartition(".")[0]


def _from_sizes(files: Iterable[Path], config: Mapping[str, Any]) -> WeightsSize:
    """What can be said of pickles without loading them: their size, and the precision that config.json names."""
    size = sum(file.stat().st_size for file in files)
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    if config.get("quantization_config") is not None:
        return WeightsSize(packed=size)
    elements = size // _STORED_BYTES.get(stored, 4)
    return WeightsSize(elements, linear=elements, float32=size if stored == "float32" else 0)


# --- the KV cache --------------------------------------------------------------------------------


def _layers(config: Mapping[str, Any]) -> list[str]:
    """For each layer what it keeps of the text: "full", "sliding" for the last tokens, or "none"."""
    types = config.get("layer_types")
    if isinstance(types, list):
        return [_kind(str(layer)) for layer in types]
    count = min(_first(config, *_COUNTS_OF_LAYERS) or 0, MOST_LAYERS)
    interval = _first(config, "full_attention_interval")  # Qwen3-Next: the other layers are recurrent
    if interval:
        return ["none" if number % interval else "full" for number in range(1, count + 1)]
    # Qwen names a window in every configuration, and seldom uses it.
    windowed = config.get("use_sliding_window", not str(config.get("model_type")).startswith("qwen"))
    if not windowed or not _first(config, "sliding_window"):
        return ["full"] * count
    first = min(_first(config, "max_window_layers") or 0, count)
    return ["full"] * first + ["sliding"] * (count - first)


def _kind(layer_type: str) -> str:
    if layer_type in ("mamba", "linear_attention", "conv", "moe", "mlp"):
        return "none"
    return "sliding" if "sliding" in layer_type else "full"


def _elements_per_token(config: Mapping[str, Any]) -> int:
    """How many numbers one layer keeps of one token, keys and values together."""
    latent = _first(config, "kv_lora_rank")
    if latent:  # DeepSeek-V2's attention (arXiv 2405.04434): transformers caches the latent and the rotated key
        return latent + (_first(config, "qk_rope_head_dim") or 0)
    heads = _first(config, "num_attention_heads", "n_head", "attention_heads") or 0
    if _is_multi_query(config):
        kv_heads = 1
    else:
        kv_heads = _first(config, "num_key_value_heads", "multi_query_group_num", "num_kv_heads") or heads
    width = _first(config, "hidden_size", "n_embd", "d_model") or 0
    head_dim = _first(config, "head_dim", "kv_channels") or (width // heads if heads else 0)
    return 2 * kv_heads * head_dim


def _is_multi_query(config: Mapping[str, Any]) -> bool:
    """Whether all heads share one key and one value, as in StarCoder (arXiv 1911.02150)."""
    default = config.get("model_type") == "gpt_bigcode" or config.get("attention_head_type") == "multiquery"
    return bool(config.get("multi_query", default))


def _first(config: Mapping[str, Any], *names: str) -> int | None:
    """The first of these that is a positive number; architectures call the same thing by different names."""
    values = (config.get(name) for name in names)
    return next((value for value in values if isinstance(value, int) and value > 0), None)
