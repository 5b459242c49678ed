"""What `%fim` and `fim-magic` tell about models, memory and this machine, as plain text."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from fim_magic import __version__, weights
from fim_magic.engines import registry
from fim_magic.engines.memory import free_ram, gigabytes
from fim_magic.reports.catalogue import model, models
from fim_magic.reports.machine import this_machine

if TYPE_CHECKING:
    from fim_magic.candidate import Result

__all__ = ["doctor", "model", "models", "status"]

_PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "ipython",
    "ipykernel",
    "ipywidgets",
    "anywidget",
    "jupyterlab",
    "notebook",
)
_LOW_MEMORY = 3.5e9  # bytes: the default model on a CPU, loaded
_LOW_DISK = 3e9  # bytes: the default model, fetched and converted


def status(last: Result | None) -> str:
    """Say which model is loaded, where, and what the last request came to."""
    loaded = registry.loaded()
    lines = []
    if loaded is None:
        lines.append("No model is loaded. The first %%fim loads one; so does %fim use NAME.")
    else:
        engine = loaded.engine
        lines.append(f"Model     {engine.model} ({engine.revision}), {engine.family.name}")
        if loaded.why:
            lines.append(f"          chosen because {loaded.why}; %fim use NAME takes another")
        lines.append(f"Runs on   {engine.place}, context {engine.context_length} tokens")
        lines.append(f"Loaded in {loaded.seconds:.1f} s")
    memory = psutil.Process().memory_info().rss
    lines.append(f"Memory    this process holds {gigabytes(memory)}, {gigabytes(free_ram())} are free")
    if last is not None:
        lines.append(
            f"Last      {last.tokens} tokens in {last.seconds:.1f} s"
            f" ({last.tokens_per_second:.1f} tokens/s), {last.candidates[0].describe_ending()}"
        )
        if last.order:
            lines.append(f"          {last.order.upper()}: {last.order_reason or 'as asked for'}")
    return "\n".join(lines)


def doctor() -> str:
    """Look at everything that can stand in the way, and say what to do about it."""
    return "\n".join(_findings())


def _findings() -> Iterator[str]:
    yield f"fim-magic {__version__}, Python {platform.python_version()}, {platform.platform()}"
    for package in _PACKAGES:
        yield _finding(package, _version(package), _advice_for_package(package))
    machine = this_machine()
    yield _finding("runs on", f"{machine.where}, {machine.precisions[0]}", "")
    low_memory = "close other notebooks, or %fim unload" if machine.free < _LOW_MEMORY else ""
    yield _finding("free memory", gigabytes(machine.free), low_memory)
    cache = weights.cache_dir()
    yield _finding("cache", f"{cache} ({gigabytes(_folder_bytes(cache))})", "")
    disk = psutil.disk_usage(str(_existing(cache))).free
    low_disk = "make room, or set FIM_MAGIC_CACHE to another folder" if disk < _LOW_DISK else ""
    yield _finding("free disk", gigabytes(disk), low_disk)
    for place, answers in weights.reachable().items():
        advice = "" if answers else "models that are in the cache work; fetching others will not"
        yield _finding(place, "reachable" if answers else "not reachable", advice)


def _finding(name: str, value: str, advice: str) -> str:
    return f"{'!' if advice else ' '} {name:<14}{value}" + (f"  -> {advice}" if advice else "")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed here"


def _advice_for_package(package: str) -> str:
    missing = _version(package) == "not installed here"
    needed = package not in ("jupyterlab", "notebook", "ipykernel")
    return f"pip install {package}" if missing and needed else ""


def _folder_bytes(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
