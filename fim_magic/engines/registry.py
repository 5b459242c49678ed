"""The model that this process has loaded: one at a time, shared by every request."""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic import catalog, weights
from fim_magic.errors import ModelError
from fim_magic.progress import OnProgress, Progress, silent

if TYPE_CHECKING:
    from fim_magic.engines import Engine

_lock = threading.RLock()
_loaded: Loaded | None = None


@dataclass(frozen=True)
class Loaded:
    """A model in memory.

    Attributes:
        engine: What computes.
        asked_for: The name by which the user asked, which may be "auto".
        why: Why "auto" chose it, or "".
        seconds: How long it took to fetch, convert and load.
    """

    engine: Engine
    asked_for: str
    why: str
    seconds: float


def loaded() -> Loaded | None:
    """Return what is loaded, or None."""
    return _loaded


def use(name: str, on_progress: OnProgress = silent) -> Loaded:
    """Return the model called `name`, loading it in place of another one if need be.

    Args:
        name: A short name of the catalogue, a folder, a .gguf file, or `owner/name` on the Hub; or "auto" for what is
            loaded already, and otherwise for what suits this machine.
        on_progress: Told about fetching and converting.

    Raises:
        ModelError: There is no such model, or it cannot be loaded.
        FetchError: It could not be brought to this machine.
    """
    global _loaded  # noqa: PLW0603 - one model per process is the point
    entry = catalog.find(name)
    name = entry.name if entry is not None else name
    with _lock:
        if _loaded is not None and name in ("auto", _loaded.asked_for, _loaded.engine.model):
            return _loaded
        began = time.perf_counter()
        chosen, why = _choose(name)
        folder, revision = _checkpoint(chosen, on_progress)
        unload()
        on_progress(Progress(f"Loading {chosen}", done=0, total=0, unit=""))
        engine = _load(folder, chosen, revision)
        _loaded = Loaded(engine, name, why, time.perf_counter() - began)
        return _loaded


def unload() -> bool:
    """Give the loaded model's memory back. Returns whether there was one."""
    global _loaded  # noqa: PLW0603 - one model per process is the point
    with _lock:
        was_loaded = _loaded is not None
        _loaded = None
        gc.collect()
        if was_loaded:
            _empty_gpu_cache()
        return was_loaded


def adopt(engine: Engine) -> Loaded:
    """Use an engine that the caller made, such as a test's or one with weights of its own."""
    global _loaded  # noqa: PLW0603 - one model per process is the point
    with _lock:
        _loaded = Loaded(engine, engine.model, "", 0.0)
        return _loaded


def _choose(name: str) -> tuple[str, str]:
    if name != "auto":
        return name, ""
    entry, why = catalog.choose(_free_gpu_bytes())
    return entry.name, why


def _checkpoint(name: str, on_progress: OnProgress) -> tuple[Path, str]:
    """Bring the checkpoint to this machine. Returns its folder and what tells its version."""
    from fim_magic.engines.gguf_conversion import converted

    entry = catalog.find(name)
    if entry is not None and entry.gguf is not None:
        file = entry.gguf
        return converted(weights.fetch(file, on_progress), file.sha256, on_progress), _short(file.sha256)
    if entry is not None:
        folder = weights.snapshot(entry.repo, None, on_progress)
        return folder, _short(folder.name)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        return converted(path, None, on_progress), "local file"
    if (path / "config.json").is_file():
        return path, "local folder"
    if name and path.is_dir():
        raise ModelError(
            f"The folder {name!r} holds no checkpoint: there is no config.json in it. Name the folder that has "
            "config.json, tokenizer.json and safetensors, such as one that save_pretrained() made."
        )
    if name.count("/") == 1 and not path.exists() and not name.startswith((".", "~", "/")):
        folder = weights.snapshot(name, None, on_progress)
        return folder, _short(folder.name)
    raise catalog.unknown(name)


def _load(folder: Path, name: str, revision: str) -> Engine:
    # Only here: importing torch and transformers takes seconds.
    from fim_magic.engines.local import LocalEngine

    return LocalEngine.load(folder, name=name, revision=revision)


def _free_gpu_bytes() -> int | None:
    import torch

    if not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info()
    return int(free)


def _empty_gpu_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _short(revision: str) -> str:
    return revision[:12]
