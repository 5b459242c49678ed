"""Place: on which devices a checkpoint is loaded, in which precision, and whether it fits at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic.errors import ModelError
from fim_magic.loading.fetch import BITS, config_of

# What is slow to import, above all torch and transformers, is imported by the functions: not every engine needs it.

if TYPE_CHECKING:
    from fim_magic.engines.torch.placement import Placement
    from fim_magic.loading.memory import MemoryProbe
    from fim_magic.loading.resolve import Source


def require_room_in_torch(source: Source, quantize: str | None, memory: MemoryProbe) -> None:
    """Refuse what cannot fit, as far as the catalogue knows; of what is on this machine, its files say it exactly."""
    from fim_magic.engines.torch.devices import require_quantisation
    from fim_magic.engines.torch.placement import require_room_for
    from fim_magic.weights.snapshot import local_snapshot

    require_quantisation(quantize)
    folder = local_snapshot(source.repo, source.revision, code=False) if source.repo else None
    if source.precision in BITS:
        _require_room_quantised(source, folder, memory)
    if source.entry is None or folder is not None:
        return
    require_room_for(source.name, source.entry.parameters, quantize=quantize, free=memory.for_next())


def _require_room_quantised(source: Source, folder: Path | None, memory: MemoryProbe) -> None:
    """Refuse what cannot be quantised on a CPU, or does not fit then, before minutes are spent on it."""
    from fim_magic.engines.torch.footprint import weights_in
    from fim_magic.engines.torch.placement import plan

    entry = source.entry
    if entry is not None and entry.gguf is None and not entry.can_be_packed:
        raise ModelError(
            f"--quantize {source.precision} does not take {source.name} on a CPU: it reads safetensors of the "
            "architectures that our own decoder knows. Omit it, or take another model; %fim models shows which."
        )
    folder = folder or (source.path if (source.path / "config.json").is_file() and not source.repo else None)
    if folder is not None and source.gguf is None and not source.is_gguf:
        config = config_of(folder, source.name)
        plan(weights_in(folder, config), config, name=source.name, quantize=source.precision, free=memory.for_next())


def place_in_torch(path: Path, name: str, quantize: str | None, memory: MemoryProbe) -> Placement:
    """Decide on which devices, and in what precision, a folder in transformers' layout is loaded."""
    from fim_magic.engines.torch.footprint import weights_in
    from fim_magic.engines.torch.packed_model import is_packed, place_packed
    from fim_magic.engines.torch.placement import plan

    config = config_of(path, name)
    if is_packed(path):
        return place_packed(path, config, name=name, free=memory.ram_for_next())
    return plan(weights_in(path, config), config, name=name, quantize=quantize, free=memory.for_next())


def require_room_in_llama_cpp(source: Source, _quantize: str | None, memory: MemoryProbe) -> None:
    """Refuse a file that is larger than the memory: it is mapped, and would be read again for every token."""
    from fim_magic import catalog
    from fim_magic.engines.memory import gigabytes

    size = _size(source.path) if source.gguf is None else source.gguf.size
    free = memory.ram_for_next()
    if size <= free:
        return
    entry = catalog.largest_that_fits(free, 1.0)
    instead = f"Take a smaller one, such as {entry.name}: %fim use {entry.name}." if entry else "Take a smaller one."
    raise ModelError(
        f"{source.name} does not fit: its weights take {gigabytes(size)}, and free are {gigabytes(free)} on cpu. "
        f"{instead}"
    )


def place_in_llama_cpp(_path: Path, _name: str, _quantize: str | None, _memory: MemoryProbe) -> None:
    """Decide nothing: llama.cpp maps the file, and its KV cache takes memory as it fills."""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ModelError(
            f"{path} could not be read ({error.strerror or error}). Check the path, and who may read the file."
        ) from error
