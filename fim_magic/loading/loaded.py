"""A model in memory, and one that is on its way there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fim_magic.loading.background import BackgroundLoad
from fim_magic.loading.files import NO_FILES, ModelFiles
from fim_magic.loading.spec import ModelSpec

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.engines.torch.placement import Placement


@dataclass(frozen=True)
class Loaded:
    """A model in memory.

    Attributes:
        engine: What computes.
        spec: What was asked for.
        why: Why "auto" chose it, or "".
        seconds: How long it took to fetch, convert and load.
        notices: What the user should know of it: limits of its licence, a part of it that is not on the GPU.
        placement: Where it was loaded; None for an engine that the caller made, and for llama.cpp.
        engine_name: Which engine runs it, "torch" or "gguf"; "" for an engine that the caller made.
        engine_reason: Why that one, or "".
        files: What it was made of, where the user has named a path.
    """

    engine: Engine
    spec: ModelSpec
    why: str
    seconds: float
    notices: tuple[str, ...] = ()
    placement: Placement | None = None
    engine_name: str = ""
    engine_reason: str = ""
    files: ModelFiles = NO_FILES

    @property
    def held(self) -> Mapping[str, int]:
        """Bytes that unloading gives back to each device: the weights, and their packed copies."""
        if self.placement is None:
            return {}
        held = self.placement.held
        return {**held, "cpu": held.get("cpu", 0) + self.engine.report().packed_bytes}

    def answers(self, spec: ModelSpec) -> bool:
        return spec.is_answered_by(self.spec, self.engine.info.model, self.engine_name)


@dataclass
class PendingLoad:
    """A model that is being loaded in the background.

    Attributes:
        spec: What was asked for.
        name: The model's name.
        load: The load itself: for how long it has been going on, and whether it failed.
        notices: What the user should know of the model, as far as that is known before it is loaded.
        free: Bytes that were free on each device before it began; empty where that is unknown.
        is_here: Whether it is known to be on this machine.
    """

    spec: ModelSpec
    name: str
    load: BackgroundLoad[Loaded | None] = field(init=False)
    notices: tuple[str, ...] = ()
    free: Mapping[str, int] = field(default_factory=dict)
    is_here: bool = True

    @property
    def under_way(self) -> bool:
        """Whether it may still come to be loaded."""
        return not self.load.ended and not self.load.abandoned

    @property
    def failed(self) -> bool:
        return self.load.ended and self.load.error is not None
