"""`--quantize` on a CPU: a checkpoint in safetensors as a folder with packed weights, made once and kept in the cache.

No more than one weight is in memory in float32 at a time. `packed_conversion` does the same with GGUF files.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fim_magic import weights
from fim_magic.engines.torch import adapters
from fim_magic.engines.torch.architectures import is_known
from fim_magic.engines.torch.checkpoint import (
    in_words,
    json_object,
    needs_code,
    read_backend,
    require_regular_files,
    require_weight_files,
)
from fim_magic.engines.torch.checkpoint_tensors import CheckpointTensors
from fim_magic.engines.torch.configuration import read_configuration, read_generation_config
from fim_magic.engines.torch.converted_folder import kept_folder, whole_or_nothing
from fim_magic.engines.torch.packed_conversion import layout_for, require_products, write_checked
from fim_magic.engines.torch.packed_file import FILE
from fim_magic.engines.torch.placement import require_not_stored_quantised
from fim_magic.engines.torch.quantised_tensors import QuantisedTensors
from fim_magic.engines.torch.quiet import quiet_transformers
from fim_magic.errors import ModelError
from fim_magic.progress import OnNotice, OnProgress, ignore, silent
from fim_magic.weights.shards import weight_files

_READ = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"),
)
"""The files that decide, beside the weights, what the folder says."""


def quantised_form(
    folder: Path,
    bits: int,
    *,
    name: str,
    commit: str | None = None,
    on_progress: OnProgress = silent,
    on_notice: OnNotice = ignore,
) -> Path:
    """Return a folder with the weights of a checkpoint in 4 or 8 bits, and make it first if it isn't there.

    Args:
        folder: Of the checkpoint, in transformers' layout.
        bits: 4 or 8.
        name: What the user called it.
        commit: Of a repository on the Hub, which tells all that is in the folder; None for a folder of the user's,
            whose files are hashed.
        on_progress: Called often. What it raises ends the conversion cleanly.
        on_notice: Called if the folder was there and damaged, so that it was made anew.

    Returns:
        A folder with config.json, generation_config.json, tokenizer.json, tokenizer_config.json and
        packed.safetensors.

    Raises:
        OptionError: The checkpoint is stored quantised already.
        ModelError: It cannot be quantised here. The message says what to type instead.
        FetchError: There is no room for the folder.
    """
    require_products(name, f"--quantize {bits}bit")
    with in_words(name):
        require_regular_files(folder)
        adapters.require_none_beside(folder)
        config = json_object(folder / "config.json")
        _require_quantisable(folder, config, name, bits)
        mark = commit or _hash_of(folder, on_progress)
        make = partial(_make, folder, config, bits, name)
        mark = f"{mark[:12]}-{layout_for(bits)}"
        return kept_folder(_stem(folder), name, mark, make, on_progress, on_notice)


def _stem(folder: Path) -> str:
    """Return what a checkpoint is called, whichever way the user has named it; of one from the Hub, its repository."""
    found = folder.resolve()
    of_hub = found.parent.name == "snapshots"
    return found.parent.parent.name.removeprefix("models--") if of_hub else found.name


def _require_quantisable(folder: Path, config: Mapping[str, Any], name: str, bits: int) -> None:
    """Refuse what cannot be quantised here, with what to type instead."""
    require_not_stored_quantised(config, name)
    files = require_weight_files(folder)
    if needs_code(config):
        raise ModelError(f"{name} needs code of its own, {_as_it_is(name, bits)}")
    if files[0].suffix != ".safetensors":
        raise ModelError(f"The weights of {name} are pickle files, {_as_it_is(name, bits)}")
    if not is_known(read_configuration(config)):
        raise ModelError(
            f"{name} is of an architecture ({config.get('model_type')}) that our own decoder does not know, "
            f"{_as_it_is(name, bits)}"
        )


def _as_it_is(name: str, bits: int) -> str:
    return (
        f"and --quantize {bits}bit does not take such on a CPU. Load it as it is: %fim use {name}. Or take a model "
        "that fits; %fim models lists them."
    )


def _hash_of(folder: Path, on_progress: OnProgress) -> str:
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(f"{path.name} {weights.noted_sha256(path, on_progress)}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for name in _READ if (path := folder / name).is_file())
    yield from weight_files(folder)


def _make(source: Path, stated: dict[str, Any], bits: int, name: str, folder: Path, on_progress: OnProgress) -> None:
    with whole_or_nothing(folder) as unfinished:
        with quiet_transformers():
            config = read_configuration(stated)
            tensors = QuantisedTensors(CheckpointTensors(source, config), bits)
            backend = read_backend(source, stated, on_progress)
            write_checked(unfinished / FILE, config, tensors, on_progress, name=name, bits=bits)
            with weights.writing(unfinished):
                backend.save(str(unfinished / "tokenizer.json"))
            read_generation_config(source, config).save_pretrained(str(unfinished))
        for copied in ("config.json", "tokenizer_config.json"):
            if (source / copied).is_file():
                shutil.copyfile(source / copied, unfinished / copied)
        weights.write_manifest(unfinished, on_progress)
