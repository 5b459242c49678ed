"""A GGUF file as a folder with packed weights, converted once and kept in the cache.

Beside `gguf_conversion`'s folder in float32 it is a quarter of the size, and it is computed with as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from fim_magic import weights
from fim_magic.engines.out_of_memory import FOR_LOADING, freeing_memory
from fim_magic.engines.torch import packed
from fim_magic.engines.torch.agreement import compared_ids, logits_in_two_parts
from fim_magic.engines.torch.architectures import decoder_from, is_known
from fim_magic.engines.torch.converted_folder import whole_or_nothing
from fim_magic.engines.torch.gguf_conversion import cached_folder, read_header, readable, save_tokenizer
from fim_magic.engines.torch.gguf_source import by_itself
from fim_magic.engines.torch.gguf_tensors import GgufTensors
from fim_magic.engines.torch.packed import Unpacker, layout_name
from fim_magic.engines.torch.packed_file import (
    FILE,
    PackedWeights,
    PlainWeights,
    Tensors,
    count_weights,
    write_packed,
)
from fim_magic.engines.torch.quantised_tensors import QuantisedGguf
from fim_magic.engines.torch.quiet import quiet_transformers
from fim_magic.errors import ModelError
from fim_magic.progress import Meter, OnNotice, OnProgress, ignore, silent

_log = logging.getLogger(__name__)

LAYOUT = "packed-{}-2"
"""Part of the folder's name. It has in it how torch packs weights here; the number changes when a conversion made by an
older version won't do."""

QUANTISED = "quantised{}-{}-3"
"""As LAYOUT, of weights in as many bits as were asked for."""

_SCALES = 1.0  # bits a weight that a file may have for its scales, and for a few tensors in more bits
_AGREEMENT = 0.1
"""How far logits usually may be from those in float32, the root of the mean square, in standard deviations of these.
Rounding to bfloat16 comes to a few hundredths, and a weight in a wrong place to 1."""

_AGREEMENT_OF_4_BITS = 0.7
"""As _AGREEMENT, of numbers with more bits than are kept: what 4 bits lose of them is part of it."""


class NotPackableError(ModelError):
    """A file's weights cannot be packed, or say something else then."""


def packed_form(
    gguf: Path,
    sha256: str | None = None,
    on_progress: OnProgress = silent,
    on_notice: OnNotice = ignore,
    *,
    bits: int | None = None,
    name: str = "",
) -> Path:
    """Return a folder with the weights of `gguf` packed, and make it first if it isn't there.

    Args:
        gguf: The file.
        sha256: Of the file, in hex, where it is known; otherwise it is computed.
        on_progress: Called often. What it raises ends the conversion cleanly.
        on_notice: Called if the folder was there and damaged, so that it was made anew.
        bits: 4 or 8, for weights in fewer bits than the file has; None for those of the file.
        name: What the user called it, for a line to type.

    Returns:
        A folder with config.json, generation_config.json, tokenizer.json, tokenizer_config.json and
        packed.safetensors.

    Raises:
        NotPackableError: Our decoder does not know the model in it, or does not do as well with packed weights.
        ModelError: The file is damaged, or of a kind that transformers cannot convert.
        FetchError: There is no room for the converted form.
    """
    convert = partial(_convert, bits=bits, name=name or str(gguf))
    return cached_folder(
        gguf,
        lambda: sha256 or weights.noted_sha256(gguf, on_progress),
        layout_for(bits),
        convert,
        on_progress,
        on_notice,
    )


def require_products(
    name: str, option: str, multiply: Callable[[torch.Tensor, packed.PackedWeight], torch.Tensor] = packed.multiply
) -> None:
    """Refuse an option where torch cannot compute with packed weights.

    Raises:
        ModelError: It cannot.
    """
    ones = torch.ones(1, packed.GROUP, dtype=torch.float32, device="cpu")
    try:
        packed.layout_name()
        multiply(ones, packed.quantised(ones, 4))
    except (AttributeError, NotImplementedError, RuntimeError) as error:
        _log.info("Packed weights cannot be computed with here.", exc_info=True)
        raise ModelError(
            f"{name} cannot be computed with in 4 or 8 bits here: this version of torch, or this processor, does not "
            f"do it. Omit {option}: %fim use {name}"
        ) from error


def layout_for(bits: int | None) -> str:
    """Return the part of a folder's name that says how its weights are packed; `bits` is that of `packed_form`."""
    return LAYOUT.format(layout_name()) if bits is None else QUANTISED.format(bits, layout_name())


def _convert(gguf: Path, folder: Path, on_progress: OnProgress, *, bits: int | None, name: str) -> None:
    with whole_or_nothing(folder) as unfinished, by_itself(gguf, folder) as source, quiet_transformers():
        header = read_header(source, on_progress)
        if not is_known(header.config):
            instead = "" if bits is None else f" Omit --quantize {bits}bit: %fim use {name}"
            raise NotPackableError(
                f"Models of the kind {header.config.model_type} cannot be computed with packed.{instead}"
            )
        save_tokenizer(source, header, unfinished, on_progress)
        with readable(source), freeing_memory(f"converting {name}", advice=FOR_LOADING):
            found = GgufTensors(gguf, header.config)
            if bits is not None:
                _require_more_bits(name, found, bits)
            tensors = found if bits is None else QuantisedGguf(found, bits)
            write_checked(unfinished / FILE, header.config, tensors, on_progress, name=gguf.name, bits=bits)
        header.config.save_pretrained(str(unfinished))
        GenerationConfig.from_model_config(header.config).save_pretrained(str(unfinished))
        weights.write_manifest(unfinished, on_progress)


def _require_more_bits(name: str, tensors: GgufTensors, bits: int) -> None:
    stored = tensors.stored_bits
    if stored <= bits + _SCALES:
        raise NotPackableError(
            f"{name} is stored in {stored:.1f} bits a weight already, so --quantize {bits}bit would only lose. It "
            f"is computed with in those bits: %fim use {name} --precision packed"
        )


def write_checked(
    path: Path, config: Any, tensors: Tensors, on_progress: OnProgress, *, name: str, bits: int | None
) -> None:
    """Write a file of packed weights, and require that they say what their numbers say in float32.

    Args:
        path: Of the file.
        config: Of transformers; `is_known` knows it.
        tensors: The model's.
        on_progress: Called often.
        name: Of what is converted, for the user.
        bits: As of [`packed_form`][].

    Raises:
        NotPackableError: They say something else.
        ValueError: A weight is absent.
        FetchError: There is no room for the file.
    """
    meter = Meter(on_progress, f"Converting {name}", count_weights(config), unit="weights")
    write_packed(path, config, tensors, meter.report)
    _require_agreement(path, config, tensors, on_progress, name=name, bits=bits)


@torch.inference_mode()
def _require_agreement(
    path: Path, config: Any, tensors: Tensors, on_progress: OnProgress, *, name: str, bits: int | None
) -> None:
    """Compare packed weights with the numbers in float32, a weight of which is in memory at a time."""
    meter = Meter(on_progress, f"Checking the converted {name}", 1, unit="steps")
    exact = decoder_from(config, PlainWeights(tensors))
    quantised = decoder_from(config, PackedWeights(path, Unpacker(torch.float32)))
    ids = compared_ids(exact.vocabulary)
    expected = exact.forward(ids, exact.new_cache(), all_logits=True)
    found = logits_in_two_parts(quantised, ids)
    usual = float((found - expected).square().mean().sqrt() / expected.std())
    if not usual <= (_AGREEMENT if bits != 4 else _AGREEMENT_OF_4_BITS):  # not: false for NaN, too
        instead = "" if bits is None else " --quantize 8bit keeps more of them." if bits == 4 else " Omit --quantize."
        kind = "packed" if bits is None else f"in {bits} bits"
        raise NotPackableError(f"{name} says something else when its weights are {kind} ({usual:.2f}).{instead}")
    meter.report(1)
