"""A checkpoint that is on this machine and may be loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fim_magic.engines.torch.placement import Placement
    from fim_magic.loading.sources import ModelSpec, Source


@dataclass(frozen=True)
class Ready:
    """A checkpoint that is on this machine and may be loaded.

    Attributes:
        spec: What is asked for.
        source: Where it comes from.
        why: Why "auto" chose it, or "".
        runtime: The name of the loader.
        runtime_why: Why that one, or "".
        path: Its folder, or its .gguf file.
        revision: Which version it is.
        named: Its family, where the catalogue or the user states it.
        placement: Where torch will load it.
        free: Bytes that are free on each device; empty for llama.cpp.
        began: When this began, by `time.perf_counter`.
    """

    spec: ModelSpec
    source: Source
    why: str
    runtime: str
    runtime_why: str
    path: Path
    revision: str
    named: str
    placement: Placement | None
    free: Mapping[str, int]
    began: float

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know of it, as far as that is known before it is loaded."""
        licence = self.source.entry.licence_note if self.source.entry else ""
        return tuple(filter(None, (licence, self.placement.notice if self.placement else "")))
