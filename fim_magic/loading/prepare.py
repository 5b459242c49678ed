"""From a spec to a checkpoint that can be loaded: resolved, fetched and placed, or refused."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic.loading.files import NO_FILES, ModelFiles
from fim_magic.loading.resolve import Resolve, Resolved
from fim_magic.progress import OnProgress, Progress
from fim_magic.working_folder import require_working_folder

if TYPE_CHECKING:
    from fim_magic.engines.torch.placement import Placement
    from fim_magic.loading.loaders import Loader
    from fim_magic.loading.memory import MemoryProbe
    from fim_magic.loading.spec import ModelSpec


@dataclass(frozen=True)
class Ready(Resolved):
    """A checkpoint that is on this machine and can be loaded.

    Attributes:
        path: Its folder, or its .gguf file.
        revision: Which version it is.
        placement: Where torch will load it.
        free: Bytes that are free on each device; empty for llama.cpp.
        began: When preparing it began, by `time.perf_counter`.
        files: What the user has named as a path, as it was before anything of it was read.
        remarks: What the user should know of how it was brought, and how it comes to be loaded.
    """

    path: Path
    revision: str
    placement: Placement | None
    free: Mapping[str, int]
    began: float
    files: ModelFiles = NO_FILES
    remarks: tuple[str, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know of it, as far as that is known before it is loaded."""
        licence = self.source.entry.licence_note if self.source.entry else ""
        return tuple(filter(None, (*self.remarks, licence, self.placement.notice if self.placement else "")))


def prepare(
    spec: ModelSpec,
    on_progress: OnProgress,
    *,
    resolve: Resolve,
    loaders: Mapping[str, Loader],
    memory: MemoryProbe,
    fetch: bool = True,
) -> Ready | None:
    """Refuse what can be refused, and bring the checkpoint to this machine.

    `resolve`, `loaders` and `memory` are those of a manager. Returns None if the checkpoint is not here and `fetch`
    says that nothing may be fetched.

    Raises:
        ModelError: There is no such model, or it does not fit.
        OptionError: An option makes no sense for this model or on this machine; or the working folder is gone.
        FetchError: It could not be brought to this machine.
    """
    require_working_folder()
    began = time.perf_counter()
    resolved = resolve(spec, loaders, memory)
    loader = loaders[resolved.engine_name]
    source = resolved.source
    if not fetch and not loader.is_here(source):
        return None
    files = ModelFiles.of(*source.named_paths)
    on_progress(Progress(f"Loading {source.name}", done=0, total=0, unit=""))
    loader.require_room(source, spec.quantize, memory)
    source = loader.identify(source, on_progress)
    remarks = [source.remark] if source.remark else []
    path, revision = loader.fetch(source, on_progress, spec.allow_code, remarks.append)
    placement = loader.place(path, source.name, spec.quantize, memory)
    free = {} if placement is None else memory.for_next()
    return Ready(
        **{**vars(resolved), "source": source},
        path=path,
        revision=revision,
        placement=placement,
        free=free,
        began=began,
        files=files,
        remarks=tuple(remarks),
    )
