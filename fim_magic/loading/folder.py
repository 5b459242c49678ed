"""A model's folder, for users who load it by hand with transformers."""

from __future__ import annotations

from pathlib import Path

from fim_magic.engines.server.address import is_address
from fim_magic.errors import OptionError
from fim_magic.loading.loaders import LOADERS
from fim_magic.loading.memory import THIS_MACHINE
from fim_magic.loading.resolve import resolve
from fim_magic.loading.spec import ModelSpec
from fim_magic.progress import OnNotice, OnProgress, ignore, silent


def folder_of(name: str, on_progress: OnProgress = silent, on_notice: OnNotice = ignore) -> Path:
    """Bring a model to this machine, in transformers' layout, without loading it; what is here stays as it is.

    Args:
        name: As `%fim use` takes it.
        on_progress: Called often. What it raises ends it cleanly.
        on_notice: Called if something in the cache was damaged and brought or made again.

    Raises:
        ModelError: There is no such model, or it cannot be converted.
        FetchError: It could not be brought.
        OptionError: It has no folder that transformers reads.
    """
    if is_address(name):
        raise OptionError(
            f"{name} is the address of a server, and its model's files are there. Name a model that can be loaded "
            "here; %fim models lists them."
        )
    spec = ModelSpec.of(name, engine="torch", precision="exact")
    source = resolve(spec, LOADERS, THIS_MACHINE).source
    if source.adapter is not None:
        raise OptionError(
            f"{name} is an adapter (LoRA), and no model of its own. Load it with peft, or by: %fim use {name}"
        )
    folder, _ = LOADERS["torch"].fetch(source, on_progress, False, on_notice)
    return folder
