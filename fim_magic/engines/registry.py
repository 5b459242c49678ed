"""The model that this process has loaded: one at a time, shared by every request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic import catalog, weights
from fim_magic.engines.memory import forget_frames, free_memory, give_back
from fim_magic.errors import ModelError, OptionError
from fim_magic.formats import family_names
from fim_magic.progress import OnProgress, Progress, silent
from fim_magic.weights.snapshot import local_snapshot

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.engines.placement import Placement

_lock = threading.RLock()
_loaded: Loaded | None = None


@dataclass(frozen=True)
class Loaded:
    """A model in memory.

    Attributes:
        engine: What computes.
        asked_for: The name by which the user asked, which may be "auto", with its revision.
        why: Why "auto" chose it, or "".
        seconds: How long it took to fetch, convert and load.
        notices: What the user should know of it: limits of its licence, a part of it that is not on the GPU.
        quantize: As it was asked for.
        family: As it was asked for.
        placement: Where it was loaded; None for an engine that the caller made.
    """

    engine: Engine
    asked_for: str
    why: str
    seconds: float
    notices: tuple[str, ...] = ()
    quantize: str | None = None
    family: str | None = None
    placement: Placement | None = None

    def answers(self, name: str, quantize: str | None, family: str | None) -> bool:
        """Whether this is what [`use`][] is asked for."""
        if name == "auto":
            return quantize in (None, self.quantize) and family in (None, self.family)
        names = (self.asked_for, self.engine.model) if self.asked_for == "auto" else (self.asked_for,)
        return name in names and (quantize, family) == (self.quantize, self.family)


def loaded() -> Loaded | None:
    """Return what is loaded, or None."""
    return _loaded


def use(
    name: str,
    on_progress: OnProgress = silent,
    *,
    quantize: str | None = None,
    family: str | None = None,
    allow_code: bool = False,
) -> Loaded:
    """Return the model called `name`, loading it in place of another one if need be.

    Whatever can be found out before the other one is unloaded is found out before: a name, an option or a checkpoint
    that cannot be used leaves it as it is.

    Args:
        name: A short name of the catalogue, a folder, a .gguf file, or `owner/name` on the Hub; or "auto" for what is
            loaded already, and otherwise for what suits this machine. What comes from the Hub can be pinned:
            `NAME@REVISION`, a branch, a tag or a commit.
        on_progress: Told about fetching and converting.
        quantize: "8bit" or "4bit", on CUDA.
        family: The family's name, for a checkpoint that does not tell it.
        allow_code: Whether code that the checkpoint brings along may run. The name must then pin the whole commit.

    Raises:
        ModelError: There is no such model, or it does not fit, or it cannot be loaded.
        OptionError: An option makes no sense for this model or on this machine.
        FetchError: It could not be brought to this machine.
    """
    global _loaded  # noqa: PLW0603 - one model per process is the point
    name = _written_as_in_catalogue(name)
    with _lock:
        if _loaded is not None and _loaded.answers(name, quantize, family):
            return _loaded
        began = time.perf_counter()
        family_name = _known_family(family)
        source, why = _choose(name)
        if allow_code and not source.repo:
            raise OptionError(
                f"--allow-code is for repositories on the Hub, at the commit whose code you have read; {source.name} "
                "comes from elsewhere. Leave it away."
            )
        _require_room(source, quantize)
        folder, revision = _bring(source, on_progress, with_code=allow_code)
        placement = _plan(folder, source.name, quantize)
        unload()
        on_progress(Progress(f"Loading {source.name}", done=0, total=0, unit=""))
        named = family_name or (source.entry.family if source.entry else "")
        engine = _load(
            folder,
            name=source.name,
            revision=revision,
            placement=placement,
            named=named,
            allow_code=allow_code,
            on_progress=on_progress,
        )
        notices = _notices(source, placement, engine)
        _loaded = Loaded(engine, name, why, time.perf_counter() - began, notices, quantize, family, placement)
        return _loaded


def unload() -> bool:
    """Give the loaded model's memory back. Returns whether there was one."""
    global _loaded  # noqa: PLW0603 - one model per process is the point
    with _lock:
        was_loaded = _loaded is not None
        _loaded = None
        if was_loaded:
            give_back()
        return was_loaded


def adopt(engine: Engine) -> Loaded:
    """Use an engine that the caller made, such as a test's or one with weights of its own."""
    global _loaded  # noqa: PLW0603 - one model per process is the point
    with _lock:
        _loaded = Loaded(engine, engine.model, "", 0.0)
        return _loaded


# --- which checkpoint a name means ---------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """Where a checkpoint is.

    Attributes:
        name: What the user calls it, without the revision.
        entry: What the catalogue knows of it.
        gguf: A file of the catalogue,
        repo: or a repository on the Hub,
        path: or a folder or a .gguf file on this machine.
        revision: Of the repository; None is its main branch.
    """

    name: str
    entry: catalog.Entry | None = None
    gguf: catalog.GgufFile | None = None
    repo: str = ""
    path: Path = Path()
    revision: str | None = None


def _written_as_in_catalogue(name: str) -> str:
    base, revision = _split(name)
    entry = catalog.find(base)
    return name if entry is None else entry.name + ("" if revision is None else f"@{revision}")


def _split(name: str) -> tuple[str, str | None]:
    """Split NAME@REVISION. A path may have an @ in it."""
    base, at, revision = name.rpartition("@")
    return (name, None) if not at or _on_disk(name) else (base, revision)


def _on_disk(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (
        OSError,
        RuntimeError,
        ValueError,
    ):  # too long, a home directory that nobody has, a character that no path has
        return False


def _choose(name: str) -> tuple[_Source, str]:
    """Find what `name` means, and for "auto" why."""
    if name != "auto":
        return _source(name), ""
    gpus = [size for device, size in free_memory().items() if device != "cpu"]
    entry, why = catalog.choose(sum(gpus) if gpus else None)
    return _source(entry.name), why


def _source(name: str) -> _Source:
    base, revision = _split(name)
    entry = catalog.find(base)
    if entry is not None and entry.gguf is not None and not (revision and entry.repo):
        _require_no_revision(base, revision, "it is one file, always the same")
        return _Source(base, entry, gguf=entry.gguf)
    if entry is not None:
        return _Source(base, entry, repo=entry.repo, revision=revision)
    path = Path(base).expanduser() if _on_disk(base) or base.startswith("~") else Path(base)
    if path.suffix == ".gguf" or (path / "config.json").is_file():
        _require_no_revision(base, revision, "it is on this machine, as it is")
        return _Source(base, path=path)
    if base and path.is_dir():
        raise ModelError(
            f"The folder {base!r} holds no checkpoint: there is no config.json in it. Name the folder that has "
            "config.json, tokenizer.json and safetensors, such as one that save_pretrained() made."
        )
    if base.count("/") == 1 and not path.exists() and not base.startswith((".", "~", "/")):
        return _Source(base, catalog.by_repo(base), repo=base, revision=revision)
    raise catalog.unknown(base)


def _require_no_revision(name: str, revision: str | None, because: str) -> None:
    if revision is not None:
        raise ModelError(f"{name} has no revisions: {because}. Leave @{revision} away: %fim use {name}")


def _known_family(family: str | None) -> str:
    """The family as the table writes it, or "" where none is named."""
    if family is None:
        return ""
    names = {name.lower(): name for name in family_names()}
    if family.lower() not in names:
        raise OptionError(f"There is no family called {family!r}. It is one of {', '.join(names.values())}.")
    return names[family.lower()]


# --- bringing and loading it ---------------------------------------------------------------------


def _require_room(source: _Source, quantize: str | None) -> None:
    """Refuse what cannot fit before gigabytes are fetched, as far as the catalogue knows it."""
    from fim_magic.engines.placement import require_quantisation, require_room_for

    require_quantisation(quantize)
    if source.entry is None or (source.repo and local_snapshot(source.repo, source.revision, code=False) is not None):
        return  # its files say it exactly
    require_room_for(source.name, source.entry.parameters, quantize=quantize, replacing=_replaced())


def _bring(source: _Source, on_progress: OnProgress, *, with_code: bool) -> tuple[Path, str]:
    """Bring the checkpoint to this machine. Returns its folder and what tells its version."""
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


def _plan(folder: Path, name: str, quantize: str | None) -> Placement:
    from fim_magic.engines.placement import plan

    return plan(folder, _config(folder, name), name=name, quantize=quantize, replacing=_replaced())


def _replaced() -> Placement | None:
    return None if _loaded is None else _loaded.placement


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


def _load(folder: Path, **options: Any) -> Engine:
    # Only here: importing torch and transformers takes seconds.
    from fim_magic.engines.local import LocalEngine

    try:
        return LocalEngine.load(folder, **options)
    except BaseException as error:
        # Whoever keeps the error would keep the weights that were loaded until then.
        forget_frames(error)
        give_back()
        raise


def _notices(source: _Source, placement: Placement, engine: Engine) -> tuple[str, ...]:
    licence = source.entry.licence_note if source.entry else ""
    return tuple(filter(None, (licence, placement.notice, *getattr(engine, "notices", ()))))


def _short(revision: str) -> str:
    return revision[:12]
