"""A model that was asked for, made ready to be loaded: all that can be refused is refused, and it is brought here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fim_magic.engines.memory import forget_frames, give_back
from fim_magic.errors import OptionError
from fim_magic.loading.choice import engine_for
from fim_magic.loading.loaders import LOADERS, config_of, free_without
from fim_magic.loading.ready import Ready
from fim_magic.loading.sources import ModelSpec, Source, choose, known_family
from fim_magic.progress import OnProgress, Progress

# `fim_magic.weights` is imported where something is looked for or fetched: %load_ext imports this, and must not wait.

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.engines.torch.placement import Placement

Replacing = Callable[[], "Placement | None"]


def prepare(spec: ModelSpec, on_progress: OnProgress, replacing: Replacing, *, fetch: bool = True) -> Ready | None:
    """Refuse what can be refused, and bring the checkpoint to this machine.

    Args:
        spec: What is asked for.
        on_progress: Told about fetching and converting.
        replacing: Says where the model is that will be unloaded first.
        fetch: Whether something may be fetched.

    Returns:
        What can be loaded; None if it is not here and must not be fetched.

    Raises:
        ModelError: There is no such model, or it does not fit.
        OptionError: An option makes no sense for this model or on this machine.
        FetchError: It could not be brought to this machine.
    """
    began = time.perf_counter()
    family = known_family(spec.family)
    source, why = choose(spec.name)
    if spec.allow_code and not source.repo:
        raise OptionError(
            f"--allow-code is for repositories on the Hub, at the commit whose code you have read; {source.name} "
            "comes from elsewhere. Leave it away."
        )
    runtime, runtime_why = engine_for(source.name, is_gguf=source.is_gguf, asked=spec.engine, quantize=spec.quantize)
    if not fetch and not _is_here(source):
        return None
    on_progress(Progress(f"Loading {source.name}", done=0, total=0, unit=""))
    loader = LOADERS[runtime]
    loader.require_room(source, spec.quantize, replacing())
    path, revision = loader.bring(source, on_progress, with_code=spec.allow_code)
    placement = loader.plan(path, source.name, spec.quantize, replacing())
    return Ready(
        spec=spec,
        source=source,
        why=why,
        runtime=runtime,
        runtime_why=runtime_why,
        path=path,
        revision=revision,
        named=family or (source.entry.family if source.entry else ""),
        placement=placement,
        free={} if placement is None else free_without(replacing()),
        began=began,
    )


def _is_here(source: Source) -> bool:
    """Whether all of a checkpoint is on this machine, so that loading it asks nobody."""
    from fim_magic import weights
    from fim_magic.weights.snapshot import local_snapshot

    if source.gguf is not None:
        return weights.cached(source.gguf) is not None
    if source.path.suffix == ".gguf":
        return source.path.is_file()
    folder = local_snapshot(source.repo, source.revision, code=False) if source.repo else source.path
    if folder is None:
        return False
    from fim_magic.engines.torch.conversions.codegen25 import is_codegen25

    return not is_codegen25(folder, config_of(folder, source.name))  # its vocabulary comes from another repository


def load(ready: Ready, on_progress: OnProgress, *, warm_up: bool = False) -> Engine:
    """Load what is ready.

    Args:
        ready: A checkpoint.
        on_progress: Told about what has to be fetched for it, and about where it stands.
        warm_up: Whether an engine that can should compute once, so that the first request need not wait for that.

    Raises:
        ModelError: It cannot be loaded.
    """
    on_progress(Progress(f"Loading {ready.source.name}", done=0, total=0, unit=""))
    try:
        engine = LOADERS[ready.runtime].load(ready, on_progress)
        if warm_up:
            on_progress(Progress(f"Warming up {ready.source.name}", done=0, total=0, unit=""))
            engine.warm_up()
    except BaseException as error:
        # Whoever keeps the error would keep the weights that were loaded until then.
        forget_frames(error)
        give_back()
        raise
    return engine
