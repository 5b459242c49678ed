"""The models that have a short name: where each comes from, what it may be used for, and how much it needs.

A name that is not here may still be used: a folder with a checkpoint, a GGUF file, or `owner/name` on the Hugging Face
Hub.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

from fim_magic.catalog.entry import Entry, GgufFile
from fim_magic.catalog.models import ENTRIES, QWEN_0_5B_GGUF, SMOLLM2_135M_GGUF
from fim_magic.errors import ModelError

__all__ = [
    "DEFAULT",
    "ENTRIES",
    "QWEN_0_5B_GGUF",
    "SMOLLM2_135M_GGUF",
    "Entry",
    "GgufFile",
    "by_repo",
    "choose",
    "close_to",
    "find",
    "largest_that_fits",
    "nearest_infilling",
    "unknown",
]

_GIB = 2**30

DEFAULT = ENTRIES[0]
_GPU_DEFAULTS = ("qwen2.5-coder-7b", "qwen2.5-coder-1.5b")  # largest first; all may be used freely

# Families of which no model infills, and the one that is closest to each.
_CLOSEST_FAMILY = {"starchat": "StarCoder", "codegen": "CodeGen2", "codegemma instruct": "CodeGemma"}


def find(name: str) -> Entry | None:
    """Return the entry called `name`, in any letter case, or None."""
    return next((entry for entry in ENTRIES if entry.name == name.lower()), None)


def by_repo(repo: str) -> Entry | None:
    """Return the entry whose repository on the Hub is `repo`, by any of its names and in any letter case, or None."""
    return next((entry for entry in ENTRIES if repo.lower() in map(str.lower, entry.repos)), None)


def close_to(name: str) -> list[str]:
    """Return the short names that `name` may have been meant for, the closest first."""
    return difflib.get_close_matches(name.lower(), [entry.name for entry in ENTRIES], 3, 0.5)


def unknown(name: str) -> ModelError:
    """Return the error for a name that is neither in the catalogue, nor a path, nor on the Hub."""
    close = close_to(name)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    return ModelError(
        f"There is no model called {name!r}.{meant} %fim models lists those with a short name; a folder with a "
        "checkpoint, a .gguf file, and owner/name on the Hugging Face Hub work as well."
    )


def choose(free_gpu_bytes: int | None) -> tuple[Entry, str]:
    """Choose the model for `auto`, and say why.

    Args:
        free_gpu_bytes: Free memory of the GPU, or None where there is no GPU.
    """
    if free_gpu_bytes is None:
        return DEFAULT, "there is no GPU here, and this one is small enough for a CPU"
    for entry in filter(None, map(find, _GPU_DEFAULTS)):
        if entry.memory(2) <= free_gpu_bytes:
            return entry, f"the largest default that fits {free_gpu_bytes / _GIB:.0f} GiB of GPU memory"
    return DEFAULT, f"{free_gpu_bytes / _GIB:.1f} GiB of free GPU memory is too little for a larger one"


def largest_that_fits(
    free_bytes: int, bytes_per_parameter: float, *, infills: bool = True, entries: Iterable[Entry] = ENTRIES
) -> Entry | None:
    """Return the largest model that fits, to be suggested in the place of one that does not; None if none does.

    One that asks for a login, limits its use or brings code along is returned only if no other fits.

    Args:
        free_bytes: How much memory there is.
        bytes_per_parameter: 4 on a CPU, 2 on a GPU, less where weights are quantised.
        infills: Whether it has to fill in the middle.
        entries: The models to choose from.
    """
    fitting = [entry for entry in entries if entry.memory(bytes_per_parameter) <= free_bytes]
    usable = [entry for entry in fitting if entry.infills or not infills]
    return max(usable, key=lambda entry: (entry.unhindered, entry.parameters), default=None)


def nearest_infilling(model: Entry | str) -> Entry:
    """Return a model that infills, to be suggested in place of one that does not: of its family, the nearest in size.

    Args:
        model: An entry, a short name, a repository on the Hub, or the name of a family. Of a family, its
            smallest is meant. What is not known, or has no relatives that infill, gets the default model.
    """
    entry = model if isinstance(model, Entry) else find(model) or by_repo(model)
    family = entry.family if entry is not None else str(model)
    alike = [entry] if entry is not None else _of_family(family)
    related = [other for other in _of_family(_CLOSEST_FAMILY.get(family.lower(), family)) if other.infills]
    if not related:
        return DEFAULT
    size = min(other.parameters for other in alike)
    return min(related, key=lambda other: abs(math.log(other.parameters / size)))


def _of_family(family: str) -> list[Entry]:
    return [entry for entry in ENTRIES if entry.family.lower() == family.lower()]
