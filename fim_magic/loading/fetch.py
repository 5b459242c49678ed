"""Fetch: a checkpoint is brought to this machine, in the form that its engine reads."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic.errors import FetchError, ModelError
from fim_magic.progress import OnNotice, OnProgress, ignore
from fim_magic.regular_files import read_json

# What is slow to import, above all torch and transformers, is imported by the functions: not every engine needs it.

if TYPE_CHECKING:
    from fim_magic.loading.resolve import Source

_log = logging.getLogger(__name__)

BITS = {"8bit": 8, "4bit": 4}
"""How many bits a weight gets on a CPU, by what is asked for."""


def fetch_folder(
    source: Source, on_progress: OnProgress, with_code: bool = False, on_notice: OnNotice = ignore
) -> tuple[Path, str]:
    """Bring a checkpoint as a folder in transformers' layout; .gguf files are converted to it.

    `with_code` says whether the code that it brings along comes, too; `on_notice` is called if something in the
    cache was damaged and brought or made again. Returns the folder, and what tells its version.

    Raises:
        ModelError: It cannot be converted.
        FetchError: It could not be brought.
    """
    from fim_magic import weights

    if source.gguf is not None:
        sha256 = source.gguf.sha256
        file = weights.fetch(source.gguf, on_progress, on_notice)
        return _converted(file, sha256, source, on_progress, on_notice), _short(sha256)
    if source.repo:
        folder = weights.snapshot(source.repo, source.revision, on_progress, with_code=with_code, on_notice=on_notice)
        return _quantised(folder, folder.name, source, on_progress, on_notice), _short(folder.name)
    if source.is_gguf:
        return _converted(source.path, None, source, on_progress, on_notice), "local file"
    return _quantised(source.path, None, source, on_progress, on_notice), "local folder"


def _quantised(folder: Path, commit: str | None, source: Source, on_progress: OnProgress, on_notice: OnNotice) -> Path:
    """Return a checkpoint as it is, or with its weights in as few bits as are asked for on a CPU."""
    if source.precision not in BITS:
        return folder
    from fim_magic.engines.torch.quantisation import quantised_form

    bits = BITS[source.precision]
    return quantised_form(folder, bits, name=source.name, commit=commit, on_progress=on_progress, on_notice=on_notice)


def _converted(file: Path, sha256: str | None, source: Source, on_progress: OnProgress, on_notice: OnNotice) -> Path:
    """Convert a .gguf file to the form in which it is computed with: packed, quantised, or in float32."""
    from fim_magic.engines.torch.gguf_conversion import converted
    from fim_magic.engines.torch.packed_conversion import NotPackableError, packed_form, require_products
    from fim_magic.engines.torch.precision import costs, shape_in

    if source.precision in BITS:
        require_products(source.name, f"--quantize {source.precision}")
        bits = BITS[source.precision]
        return packed_form(file, sha256, on_progress, on_notice, bits=bits, name=source.name)
    shape = None if source.precision == "exact" else shape_in(file)
    measured = None if shape is None else costs(shape)
    if measured is not None and (source.precision == "packed" or measured.favours_packed):
        try:
            return packed_form(file, sha256, on_progress, on_notice)
        except NotPackableError as error:
            if source.precision == "packed":
                raise
            _log.info("%r is not packed: %s", file, error)
        except FetchError:  # nothing can be written: the other form may be there, and what that would need is no matter
            if source.precision != "packed":
                with suppress(FetchError):
                    return converted(file, sha256, on_progress, on_notice)
            raise
    elif source.precision == "packed":
        raise ModelError(
            f"{source.name} cannot be computed with packed here: this version of torch, or this processor, does not "
            f"do it. Omit --precision packed: %fim use {source.name}"
        )
    return converted(file, sha256, on_progress, on_notice)


def fetch_gguf(
    source: Source, on_progress: OnProgress, _with_code: bool = False, on_notice: OnNotice = ignore
) -> tuple[Path, str]:
    """Bring a .gguf file as it is; see [`fetch_folder`][]. It has no code."""
    from fim_magic import weights

    if source.gguf is not None:
        return weights.fetch(source.gguf, on_progress, on_notice), _short(source.gguf.sha256)
    return source.path, "local file"


def is_here(source: Source) -> bool:
    """Whether all of a checkpoint is on this machine, so that loading it fetches nothing."""
    from fim_magic import weights
    from fim_magic.weights.snapshot import local_snapshot

    if source.gguf is not None:
        return weights.cached(source.gguf) is not None
    if source.is_gguf:
        return source.path.is_file()
    folder = local_snapshot(source.repo, source.revision, code=False) if source.repo else source.path
    if folder is None:
        return False
    from fim_magic.engines.torch.conversions.codegen25 import is_codegen25

    return not is_codegen25(folder, config_of(folder, source.name))  # its vocabulary comes from another repository


def config_of(folder: Path, name: str) -> Mapping[str, Any]:
    """Read a checkpoint's config.json.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The config.json of {name} could not be read ({error}). Fetch or write the checkpoint again."
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"The config.json of {name} holds no configuration. Fetch or write the checkpoint again.")
    return config


def _short(revision: str) -> str:
    return revision[:12]
