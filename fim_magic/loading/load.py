"""Load: an engine is made of a checkpoint that is on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fim_magic.progress import OnProgress, Progress

# What is slow to import, above all torch and transformers, is imported by the functions: not every engine needs it.

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.loading.loaders import Loader
    from fim_magic.loading.prepare import Ready


def load(ready: Ready, loader: Loader, on_progress: OnProgress, *, warm_up: bool = False) -> Engine:
    """Load what is ready; `warm_up` says whether the engine computes once, so that the first request need not wait.

    Raises:
        ModelError: It cannot be loaded.
    """
    from fim_magic.engines.memory import give_back
    from fim_magic.engines.out_of_memory import FOR_A_REQUEST, FOR_LOADING, OutOfMemoryError, forget_frames

    on_progress(Progress(f"Loading {ready.source.name}", done=0, total=0, unit=""))
    engine = None
    try:
        engine = loader.load(ready, on_progress)
        if warm_up:
            on_progress(Progress(f"Warming up {ready.source.name}", done=0, total=0, unit=""))
            engine.warm_up()
    except BaseException as error:
        # A caller that keeps the error would keep the weights that were loaded until then.
        forget_frames(error)
        engine = None
        give_back()
        if isinstance(error, OutOfMemoryError):  # while it was warmed up: it is not kept
            raise OutOfMemoryError(error.shortage, error.advice.replace(FOR_A_REQUEST, FOR_LOADING)) from None
        raise
    return engine


def load_in_torch(ready: Ready, on_progress: OnProgress) -> Engine:
    """Load a folder in transformers' layout."""
    from fim_magic.engines.torch.local import LocalEngine

    on_progress(Progress(f"Loading {ready.source.name}", done=0, total=0, unit=""))  # where it can be abandoned
    return LocalEngine.load(
        ready.path,
        name=ready.source.name,
        revision=ready.revision,
        placement=ready.placement,
        named=ready.family,
        allow_code=ready.spec.allow_code,
        adapter=ready.source.adapter,
        on_progress=on_progress,
    )


def load_in_llama_cpp(ready: Ready, on_progress: OnProgress) -> Engine:
    """Load a .gguf file."""
    from fim_magic.engines.llama_cpp.gguf import GgufEngine

    return GgufEngine.load(
        ready.path,
        name=ready.source.name,
        revision=ready.revision,
        named=ready.family,
        on_progress=on_progress,
        known=ready.source.gguf is not None,
    )
