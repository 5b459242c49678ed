"""A model that was asked for, made ready to be loaded: all that can be refused is refused, and it is brought here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic import catalog
from fim_magic.engines.choice import engine_for
from fim_magic.engines.memory import forget_frames, free_ram, gigabytes, give_back
from fim_magic.engines.sources import Asked, Source, choose, known_family
from fim_magic.errors import ModelError, OptionError
from fim_magic.progress import OnProgress, Progress

# `fim_magic.weights` is imported where something is looked for or fetched: %load_ext imports this, and must not wait.

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.engines.placement import Placement

Replacing = Callable[[], "Placement | None"]


@dataclass(frozen=True)
class Ready:
    """A checkpoint that is on this machine and may be loaded.

    Attributes:
        asked: What the user asked for.
        source: Where it comes from.
        why: Why "auto" chose it, or "".
        runtime: "torch" or "gguf".
        runtime_why: Why that one, or "".
        path: Its folder, or its .gguf file.
        revision: Which version it is.
        named: Its family, where the catalogue or the user states it.
        placement: Where torch will load it.
        free: Bytes that are free on each device; empty for llama.cpp.
        began: When this began, by `time.perf_counter`.
    """

    asked: Asked
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


def prepare(asked: Asked, on_progress: OnProgress, replacing: Replacing, *, fetch: bool = True) -> Ready | None:
    """Refuse what can be refused, and bring the checkpoint to this machine.

    Args:
        asked: What the user asked for.
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
    family = known_family(asked.family)
    source, why = choose(asked.name)
    if asked.allow_code and not source.repo:
        raise OptionError(
            f"--allow-code is for repositories on the Hub, at the commit whose code you have read; {source.name} "
            "comes from elsewhere. Leave it away."
        )
    runtime, runtime_why = engine_for(source.name, is_gguf=source.is_gguf, asked=asked.engine, quantize=asked.quantize)
    if not fetch and not _is_here(source):
        return None
    on_progress(Progress(f"Loading {source.name}", done=0, total=0, unit=""))
    _require_room(source, runtime, asked.quantize, replacing())
    placement = None
    if runtime == "gguf":
        path, revision = bring_gguf(source, on_progress)
    else:
        path, revision = bring(source, on_progress, with_code=asked.allow_code)
        placement = _plan(path, source.name, asked.quantize, replacing())
    return Ready(
        asked=asked,
        source=source,
        why=why,
        runtime=runtime,
        runtime_why=runtime_why,
        path=path,
        revision=revision,
        named=family or (source.entry.family if source.entry else ""),
        placement=placement,
        free={} if placement is None else _free(replacing()),
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
    from fim_magic.engines.conversions.codegen25 import is_codegen25

    return not is_codegen25(folder, _config(folder, source.name))  # its vocabulary comes from another repository


def _require_room(source: Source, runtime: str, quantize: str | None, replacing: Placement | None) -> None:
    """Refuse what cannot fit before gigabytes are fetched, as far as the catalogue knows it."""
    from fim_magic.weights.snapshot import local_snapshot

    if runtime == "gguf":
        _require_ram(source, replacing)
        return
    from fim_magic.engines.placement import require_quantisation, require_room_for

    require_quantisation(quantize)
    if source.entry is None or (source.repo and local_snapshot(source.repo, source.revision, code=False) is not None):
        return  # its files say it exactly
    require_room_for(source.name, source.entry.parameters, quantize=quantize, replacing=replacing)


def _require_ram(source: Source, replacing: Placement | None) -> None:
    """Refuse a .gguf file that is larger than the memory: it is mapped, and would be read again for every token."""
    size = _size(source.path) if source.gguf is None else source.gguf.size
    free = free_ram() + (0 if replacing is None else replacing.held.get("cpu", 0))
    if size <= free:
        return
    entry = catalog.largest_that_fits(free, 1.0)
    instead = f"Take a smaller one, such as {entry.name}: %fim use {entry.name}." if entry else "Take a smaller one."
    raise ModelError(
        f"{source.name} does not fit: its weights take {gigabytes(size)}, and free are {gigabytes(free)} on cpu. "
        f"{instead}"
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ModelError(
            f"{path} could not be read ({error.strerror or error}). Check the path, and who may read the file."
        ) from error


def bring(source: Source, on_progress: OnProgress, *, with_code: bool) -> tuple[Path, str]:
    """Bring a checkpoint to this machine, in transformers' layout. Returns its folder and what tells its version.

    Raises:
        ModelError: It cannot be converted.
        FetchError: It could not be brought.
    """
    from fim_magic import weights
    from fim_magic.engines.gguf_conversion import converted

    if source.gguf is not None:
        sha256 = source.gguf.sha256
        return converted(weights.fetch(source.gguf, on_progress), sha256, on_progress), _short(sha256)
    if source.repo:
        folder = weights.snapshot(source.repo, source.revision, on_progress, with_code=with_code)
        return folder, _short(folder.name)
    if source.path.suffix == ".gguf":
        return converted(source.path, None, on_progress), "local file"
    return source.path, "local folder"


def bring_gguf(source: Source, on_progress: OnProgress) -> tuple[Path, str]:
    """Bring a .gguf file to this machine, as it is. Returns it and what tells its version.

    Raises:
        FetchError: It could not be brought.
    """
    from fim_magic import weights

    if source.gguf is not None:
        return weights.fetch(source.gguf, on_progress), _short(source.gguf.sha256)
    return source.path, "local file"


def _plan(folder: Path, name: str, quantize: str | None, replacing: Placement | None) -> Placement:
    from fim_magic.engines.placement import plan

    return plan(folder, _config(folder, name), name=name, quantize=quantize, replacing=replacing)


def _free(replacing: Placement | None) -> dict[str, int]:
    from fim_magic.engines.placement import free_without

    return free_without(replacing)


def _config(folder: Path, name: str) -> Mapping[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The config.json of {name} could not be read ({error}). Fetch or write the checkpoint again."
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"The config.json of {name} holds no configuration. Fetch or write the checkpoint again.")
    return config


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
        engine = (_load_gguf if ready.runtime == "gguf" else _load_torch)(ready, on_progress)
        if warm_up:
            on_progress(Progress(f"Warming up {ready.source.name}", done=0, total=0, unit=""))
            engine.warm_up()
    except BaseException as error:
        # Whoever keeps the error would keep the weights that were loaded until then.
        forget_frames(error)
        give_back()
        raise
    return engine


def _load_torch(ready: Ready, on_progress: OnProgress) -> Engine:
    # Only here: importing torch and transformers takes seconds.
    from fim_magic.engines.local import LocalEngine

    on_progress(Progress(f"Loading {ready.source.name}", done=0, total=0, unit=""))  # where it can be abandoned
    return LocalEngine.load(
        ready.path,
        name=ready.source.name,
        revision=ready.revision,
        placement=ready.placement,
        named=ready.named,
        allow_code=ready.asked.allow_code,
        on_progress=on_progress,
    )


def _load_gguf(ready: Ready, on_progress: OnProgress) -> Engine:
    from fim_magic.engines.gguf import GgufEngine

    return GgufEngine.load(
        ready.path, name=ready.source.name, revision=ready.revision, named=ready.named, on_progress=on_progress
    )


def _short(revision: str) -> str:
    return revision[:12]
