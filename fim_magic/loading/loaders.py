"""The engines by the names that `--engine` takes: how each one's checkpoints are placed, fetched and loaded.

An engine that stands here can be asked for everywhere; nothing else counts them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic.loading import fetch, load, place, served
from fim_magic.progress import OnNotice, OnProgress

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.engines.torch.placement import Placement
    from fim_magic.loading.memory import MemoryProbe
    from fim_magic.loading.prepare import Ready
    from fim_magic.loading.resolve import Source


@dataclass(frozen=True)
class Loader:
    """An engine's part in loading: a function for each stage, in their order.

    Attributes:
        runs_gguf: Whether it runs .gguf files, so that there is a choice for them.
        is_installed: Whether what it computes with is installed.
        is_here: Whether nothing has to be fetched for a checkpoint.
        require_room: Refuses what cannot fit before gigabytes are fetched, as far as that is known, or cannot be
            quantised so (ModelError, OptionError).
        identify: Asks what runs a source what it is, where that is no file; returns the source with it (ServerError).
        fetch: Brings a checkpoint to this machine, with its code if the third argument says so; the last one is told
            what was damaged and brought again. Returns where it is, and what tells its version (ModelError,
            FetchError).
        place: Decides on which devices and in what precision what was fetched is loaded, by its path, name and
            quantisation; None where there is nothing to decide (ModelError, OptionError).
        load: Makes the engine (ModelError).
    """

    runs_gguf: bool
    is_installed: Callable[[], bool]
    is_here: Callable[[Source], bool]
    require_room: Callable[[Source, str | None, MemoryProbe], None]
    fetch: Callable[[Source, OnProgress, bool, OnNotice], tuple[Path, str]]
    place: Callable[[Path, str, str | None, MemoryProbe], Placement | None]
    load: Callable[[Ready, OnProgress], Engine]
    identify: Callable[[Source, OnProgress], Source] = lambda source, _on_progress: source


def _has_llama_cpp() -> bool:
    from fim_magic.engines.llama_cpp import gguf

    return gguf.available()


LOADERS = {
    "torch": Loader(
        runs_gguf=True,
        is_installed=lambda: True,
        is_here=fetch.is_here,
        require_room=place.require_room_in_torch,
        fetch=fetch.fetch_folder,
        place=place.place_in_torch,
        load=load.load_in_torch,
    ),
    "gguf": Loader(
        runs_gguf=True,
        is_installed=_has_llama_cpp,
        is_here=fetch.is_here,
        require_room=place.require_room_in_llama_cpp,
        fetch=fetch.fetch_gguf,
        place=place.place_in_llama_cpp,
        load=load.load_in_llama_cpp,
    ),
    "server": Loader(
        runs_gguf=False,
        is_installed=lambda: True,
        is_here=lambda _source: False,  # nobody is asked before the user wants something
        require_room=lambda _source, _quantize, _memory: None,
        fetch=served.fetch_tokenizer,
        place=lambda _path, _name, _quantize, _memory: None,
        load=served.load_from_server,
        identify=served.identify_server,
    ),
}
"""Every engine by its name."""

ENGINES = tuple(LOADERS)
"""What `--engine` takes beside auto."""
