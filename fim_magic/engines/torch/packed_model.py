"""A folder with packed weights as a decoder and a tokenizer in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PretrainedConfig

from fim_magic.engines.out_of_memory import FOR_LOADING, freeing_memory
from fim_magic.engines.torch.architectures import decoder_from
from fim_magic.engines.torch.checkpoint import (
    forget_false_ends,
    in_words,
    json_object,
    read_backend,
    require_regular_files,
)
from fim_magic.engines.torch.configuration import read_configuration, read_generation_config
from fim_magic.engines.torch.decoder import Decoder
from fim_magic.engines.torch.footprint import WeightsSize, cache_bytes
from fim_magic.engines.torch.packed import Unpacker
from fim_magic.engines.torch.packed_file import FILE, PackedWeights, describe_shares
from fim_magic.engines.torch.placement import Placement, plan_packed
from fim_magic.progress import OnProgress, silent
from fim_magic.tokenization import TextTokenizer, declared_bos


@dataclass(frozen=True)
class PackedModel:
    """What a folder with packed weights holds. Satisfies [`fim_magic.engines.torch.local.LoadedModel`][].

    Attributes:
        config: Of transformers.
        generation_config: The tokens that begin and end a text.
        decoder: Computes.
        precision: In how many bits which part of it is, in words.
        weight_bytes: What all of it takes.
        device: Where it runs.
        module: None: no modules of transformers are made of it.
    """

    config: PretrainedConfig
    generation_config: GenerationConfig
    decoder: Decoder
    precision: str
    weight_bytes: int
    device: str = "cpu"
    module: None = None

    def bytes_read(self, context: int) -> int:
        """Return how many bytes one step of decoding reads: the weights, and the KV cache of `context` tokens."""
        return self.decoder.weight_bytes + cache_bytes(self.config.to_dict(), context, torch.float32.itemsize)


def is_packed(folder: Path) -> bool:
    """Whether a folder holds packed weights."""
    return (folder / FILE).is_file()


def load_packed(
    folder: Path, name: str, prefill: torch.dtype, on_progress: OnProgress = silent
) -> tuple[PackedModel, TextTokenizer]:
    """Load a folder with packed weights.

    Args:
        folder: Made by `packed_conversion`.
        name: What the user called it, for errors.
        prefill: In what a prompt is multiplied: bfloat16, or float32 where the processor is faster with it.
        on_progress: Called while something is fetched.

    Raises:
        ModelError: It cannot be loaded.
    """
    with in_words(name), freeing_memory(f"loading {name}", advice=FOR_LOADING):
        require_regular_files(folder)
        stated = json_object(folder / "config.json")
        config = read_configuration(stated)
        weights = PackedWeights(folder / FILE, Unpacker(prefill))
        decoder = decoder_from(config, weights)
        decoder.reads_last_apart = True
        model = PackedModel(
            config,
            read_generation_config(folder, config),
            decoder,
            f"packed ({describe_shares(weights.shares)})",
            (folder / FILE).stat().st_size,
        )
        backend = read_backend(folder, stated, on_progress)
        tokenizer = TextTokenizer(backend, decoder.vocabulary, declared_bos(folder / "tokenizer_config.json"))
        forget_false_ends(model, tokenizer)
    return model, tokenizer


def place_packed(folder: Path, config: Any, *, name: str, free: int) -> Placement:
    """Decide how much context there is room for beside the weights in a folder, which are mapped.

    Args:
        folder: With packed weights.
        config: Its config.json.
        name: What the user called it.
        free: Bytes of the CPU's memory that it may take.

    Raises:
        ModelError: It does not fit.
    """
    size = (folder / FILE).stat().st_size
    return plan_packed(WeightsSize(packed=size, float32=size), config, name=name, free=free)
