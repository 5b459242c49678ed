"""The engines by the names that `--engine` takes: how each one's checkpoints come to this machine, and are loaded.

An engine that stands here can be asked for everywhere; nothing else counts them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fim_magic.errors import ModelError
from fim_magic.progress import OnProgress, Progress

# What is slow to import is imported by the methods that need it: %load_ext imports this, and must not wait.

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.engines.torch.placement import Placement
    from fim_magic.loading.ready import Ready
    from fim_magic.loading.sources import Source


class Loader(Protocol):
    """What makes an engine of a checkpoint."""

    @property
    def runs_gguf(self) -> bool:
        """Whether it runs .gguf files, so that there is a choice for them."""
        ...

    def require_room(self, source: Source, quantize: str | None, replacing: Placement | None) -> None:
        """Refuse what cannot fit before gigabytes are fetched, as far as that is known.

        Args:
            source: Where the checkpoint is.
            quantize: As of `registry.use`.
            replacing: Where the model is that will be unloaded first.

        Raises:
            ModelError: It does not fit.
            OptionError: It cannot be quantised here.
        """
        ...

    def bring(self, source: Source, on_progress: OnProgress, *, with_code: bool = False) -> tuple[Path, str]:
        """Bring a checkpoint to this machine. Return where it is, and what tells its version.

        Args:
            source: Where it is.
            on_progress: Told about fetching and converting.
            with_code: Whether the code that it brings along comes, too.

        Raises:
            ModelError: It cannot be converted.
            FetchError: It could not be brought.
        """
        ...

    def plan(self, path: Path, name: str, quantize: str | None, replacing: Placement | None) -> Placement | None:
        """Decide where it will be loaded; None where there is nothing to decide.

        Raises:
            ModelError: It does not fit.
        """
        ...

    def load(self, ready: Ready, on_progress: OnProgress) -> Engine:
        """Load what `bring` brought.

        Args:
            ready: What was brought, and how it is to be loaded.
            on_progress: Told about what has to be fetched for it, and about where it stands.

        Raises:
            ModelError: It cannot be loaded.
        """
        ...


class TorchLoader:
    """transformers and torch, for checkpoints in transformers' layout; .gguf files are converted to it."""

    runs_gguf = True

    def require_room(self, source: Source, quantize: str | None, replacing: Placement | None) -> None:
        """Refuse what cannot fit, as far as the catalogue knows it; see [`Loader.require_room`][]."""
        from fim_magic.engines.torch.placement import require_quantisation, require_room_for
        from fim_magic.weights.snapshot import local_snapshot

        require_quantisation(quantize)
        if source.entry is None or (
            source.repo and local_snapshot(source.repo, source.revision, code=False) is not None
        ):
            return  # its files say it exactly
        require_room_for(source.name, source.entry.parameters, quantize=quantize, replacing=replacing)

    def bring(self, source: Source, on_progress: OnProgress, *, with_code: bool = False) -> tuple[Path, str]:
        """Bring its folder, in transformers' layout; see [`Loader.bring`][]."""
        from fim_magic import weights
        from fim_magic.engines.torch.gguf_conversion import converted

        if source.gguf is not None:
            sha256 = source.gguf.sha256
            return converted(weights.fetch(source.gguf, on_progress), sha256, on_progress), _short(sha256)
        if source.repo:
            folder = weights.snapshot(source.repo, source.revision, on_progress, with_code=with_code)
            return folder, _short(folder.name)
        if source.path.suffix == ".gguf":
            return converted(source.path, None, on_progress), "local file"
        return source.path, "local folder"

    def plan(self, path: Path, name: str, quantize: str | None, replacing: Placement | None) -> Placement:
        """Decide on which devices, and in what precision; see [`Loader.plan`][]."""
        from fim_magic.engines.torch.footprint import weights_in
        from fim_magic.engines.torch.placement import plan

        config = config_of(path, name)
        return plan(weights_in(path, config), config, name=name, quantize=quantize, replacing=replacing)

    def load(self, ready: Ready, on_progress: OnProgress) -> Engine:
        """Load it; see [`Loader.load`][]."""
        # Only here: importing torch and transformers takes seconds.
        from fim_magic.engines.torch.local import LocalEngine

        on_progress(Progress(f"Loading {ready.source.name}", done=0, total=0, unit=""))  # where it can be abandoned
        return LocalEngine.load(
            ready.path,
            name=ready.source.name,
            revision=ready.revision,
            placement=ready.placement,
            named=ready.named,
            allow_code=ready.spec.allow_code,
            on_progress=on_progress,
        )


class GgufLoader:
    """llama.cpp, for .gguf files, on the CPU."""

    runs_gguf = True

    def require_room(self, source: Source, quantize: str | None, replacing: Placement | None) -> None:
        """Refuse a file that is larger than the memory: it is mapped, and would be read again for every token."""
        from fim_magic import catalog
        from fim_magic.engines.memory import free_ram, gigabytes

        size = _size(source.path) if source.gguf is None else source.gguf.size
        free = free_ram() + (0 if replacing is None else replacing.held.get("cpu", 0))
        if size <= free:
            return
        entry = catalog.largest_that_fits(free, 1.0)
        instead = (
            f"Take a smaller one, such as {entry.name}: %fim use {entry.name}." if entry else "Take a smaller one."
        )
        raise ModelError(
            f"{source.name} does not fit: its weights take {gigabytes(size)}, and free are {gigabytes(free)} on cpu. "
            f"{instead}"
        )

    def bring(self, source: Source, on_progress: OnProgress, *, with_code: bool = False) -> tuple[Path, str]:
        """Bring the file, as it is; see [`Loader.bring`][]."""
        del with_code  # a .gguf file has none
        from fim_magic import weights

        if source.gguf is not None:
            return weights.fetch(source.gguf, on_progress), _short(source.gguf.sha256)
        return source.path, "local file"

    def plan(self, path: Path, name: str, quantize: str | None, replacing: Placement | None) -> None:
        """Decide nothing: llama.cpp maps the file, and its KV cache takes memory as it fills."""

    def load(self, ready: Ready, on_progress: OnProgress) -> Engine:
        """Load it; see [`Loader.load`][]."""
        from fim_magic.engines.llama_cpp.gguf import GgufEngine

        return GgufEngine.load(
            ready.path, name=ready.source.name, revision=ready.revision, named=ready.named, on_progress=on_progress
        )


LOADERS: dict[str, Loader] = {"torch": TorchLoader(), "gguf": GgufLoader()}
"""Every engine by its name."""

ENGINES = tuple(LOADERS)
"""What `--engine` takes beside auto."""


def config_of(folder: Path, name: str) -> Mapping[str, Any]:
    """Read a checkpoint's config.json.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The config.json of {name} could not be read ({error}). Fetch or write the checkpoint again."
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"The config.json of {name} holds no configuration. Fetch or write the checkpoint again.")
    return config


def free_without(replacing: Placement | None) -> dict[str, int]:
    """Return the bytes that are free on each device when a model has been unloaded."""
    from fim_magic.engines.torch import placement

    return placement.free_without(replacing)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ModelError(
            f"{path} could not be read ({error.strerror or error}). Check the path, and who may read the file."
        ) from error


def _short(revision: str) -> str:
    return revision[:12]
