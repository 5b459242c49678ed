"""A GGUF file as a folder with packed weights, converted once and kept in the cache.

Beside `gguf_conversion`'s folder in float32 it is a quarter of the size, and it is computed with as it is.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import GenerationConfig

from fim_magic import weights
from fim_magic.engines.torch.architectures import decoder_from, is_known
from fim_magic.engines.torch.gguf_conversion import (
    cached_folder,
    read_header,
    readable,
    save_tokenizer,
    whole_or_nothing,
)
from fim_magic.engines.torch.gguf_source import GgufSource, by_itself
from fim_magic.engines.torch.gguf_tensors import GgufTensors
from fim_magic.engines.torch.packed import Unpacker, capability
from fim_magic.engines.torch.packed_file import FILE, PackedWeights, PlainWeights, write_packed
from fim_magic.engines.torch.quiet import quiet_transformers
from fim_magic.errors import ModelError
from fim_magic.progress import Meter, OnNotice, OnProgress, ignore, silent

LAYOUT = "packed-{}-1"
"""Part of the folder's name. It has the processor's instructions in it, as the layout of the weights depends on them;
the number changes when a conversion made by an older version won't do."""

_BYTES_PER_NUMBER = 1.4  # at most: 8 bits with their scales, and a table in bfloat16
_AGREEMENT = 0.1
"""How far logits usually may be from those in float32, the root of the mean square, in standard deviations of these.
Rounding to bfloat16 comes to a few hundredths, and a weight in a wrong place to 1."""


class NotPackableError(ModelError):
    """A file's weights cannot be packed, or say something else then."""


def packed_form(
    gguf: Path, sha256: str | None = None, on_progress: OnProgress = silent, on_notice: OnNotice = ignore
) -> Path:
    """Return a folder with the weights of `gguf` packed, and make it first if it isn't there.

    Args:
        gguf: The file.
        sha256: Of the file, in hex, where it is known; otherwise it is computed.
        on_progress: Called often. What it raises ends the conversion cleanly.
        on_notice: Called if the folder was there and damaged, so that it was made anew.

    Returns:
        A folder with config.json, generation_config.json, tokenizer.json, tokenizer_config.json and
        packed.safetensors.

    Raises:
        NotPackableError: Our decoder does not know the model in it, or does not do as well with packed weights.
        ModelError: The file is damaged, or of a kind that transformers cannot convert.
        FetchError: There is no room for the converted form.
    """
    layout = LAYOUT.format(capability().lower())
    return cached_folder(
        gguf, lambda: sha256 or weights.sha256_of(gguf, on_progress), layout, _convert, on_progress, on_notice
    )


def _convert(gguf: Path, folder: Path, on_progress: OnProgress) -> None:
    with whole_or_nothing(folder) as unfinished, by_itself(gguf, folder) as source, quiet_transformers():
        header = read_header(source, on_progress)
        if not is_known(header.config):
            raise NotPackableError(f"Models of the kind {header.config.model_type} cannot be computed with packed.")
        weights.require_room(folder.parent, int(_BYTES_PER_NUMBER * header.elements))
        save_tokenizer(source, header, unfinished, on_progress)
        with readable(source):
            tensors = GgufTensors(gguf, header.config)
            meter = Meter(on_progress, f"Converting {gguf.name}", header.tensors, unit="tensors")
            write_packed(unfinished / FILE, header.config, tensors, meter.report)
            _require_agreement(source, header.config, tensors, unfinished / FILE, on_progress)
        header.config.save_pretrained(str(unfinished))
        GenerationConfig.from_model_config(header.config).save_pretrained(str(unfinished))
        weights.write_manifest(unfinished, on_progress)


@torch.inference_mode()
def _require_agreement(
    source: GgufSource, config: object, tensors: GgufTensors, path: Path, on_progress: OnProgress
) -> None:
    """Compare packed weights with the file's own numbers in float32, a weight of which is in memory at a time."""
    meter = Meter(on_progress, f"Checking the converted {source.name}", 1, unit="steps")
    exact = decoder_from(config, PlainWeights(tensors))
    packed = decoder_from(config, PackedWeights(path, Unpacker(torch.float32)))
    ids = [(7 * n * n + 3) % exact.vocabulary for n in range(24)]
    expected = exact.forward(ids, exact.new_cache(), all_logits=True)
    cache = packed.new_cache()
    # In two parts: the first is unpacked, the second is read by the kernel.
    found = torch.cat([packed.forward(part, cache, all_logits=True) for part in (ids[:20], ids[20:])])
    usual = float((found - expected).square().mean().sqrt() / expected.std())
    if not usual <= _AGREEMENT:  # not: false for NaN, too
        raise NotPackableError(f"{source.name} says something else when its weights are packed ({usual:.2f}).")
    meter.report(1)
