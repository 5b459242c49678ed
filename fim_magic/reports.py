"""What `%fim` and `fim-magic` tell about models, memory and this machine, as plain text."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from fim_magic import __version__, catalog, weights
from fim_magic.engines import registry

if TYPE_CHECKING:
    from fim_magic.candidate import Result

_GB = 10**9
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
_FLOAT32, _HALF = 4, 2  # bytes per parameter on a CPU and on a GPU
_LOW_MEMORY = 3.5 * _GB  # the default model on a CPU, loaded
_LOW_DISK = 3 * _GB  # the default model, fetched and converted


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
    lines.append(f"Memory    this process holds {_gb(memory)}, {_gb(_free_memory())} are free")
    if last is not None:
        lines.append(
            f"Last      {last.tokens} tokens in {last.seconds:.1f} s"
            f" ({last.tokens_per_second:.1f} tokens/s), {last.candidates[0].describe_ending()}"
        )
    return "\n".join(lines)


def models() -> str:
    """List the models that have a short name, and whether each fits this machine."""
    bytes_per_parameter, free, where = _where_models_run()
    loaded = registry.loaded()
    rows: list[tuple[str, ...]] = [("model", "family", "parameters", "%%fim", "memory", "fits", "licence")]
    for entry in catalog.ENTRIES:
        need = entry.memory(bytes_per_parameter)
        mark = " *" if loaded is not None and loaded.engine.model == entry.name else ""
        licence = entry.licence + (", login on the Hub" if entry.gated else "")
        rows.append(
            (
                entry.name + mark,
                entry.family,
                f"{entry.parameters:.2g} B",
                "yes" if entry.infills else "no",
                _gb(need),
                "yes" if need <= free else "no",
                licence,
            )
        )
    note = f"Memory is what a model needs on {where}, of which {_gb(free)} are free. * is loaded."
    return _table(rows) + "\n" + note


def doctor() -> str:
    """Look at everything that can stand in the way, and say what to do about it."""
    return "\n".join(_findings())


def _findings() -> Iterator[str]:
    yield f"fim-magic {__version__}, Python {platform.python_version()}, {platform.platform()}"
    for package in _PACKAGES:
        yield _finding(package, _version(package), _advice_for_package(package))
    _, free, where = _where_models_run()
    yield _finding("runs on", where, "")
    low_memory = "close other notebooks, or %fim unload" if free < _LOW_MEMORY else ""
    yield _finding("free memory", _gb(free), low_memory)
    cache = weights.cache_dir()
    yield _finding("cache", f"{cache} ({_gb(_folder_bytes(cache))})", "")
    disk = psutil.disk_usage(str(_existing(cache))).free
    low_disk = "make room, or set FIM_MAGIC_CACHE to another folder" if disk < _LOW_DISK else ""
    yield _finding("free disk", _gb(disk), low_disk)
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


def _where_models_run() -> tuple[int, int, str]:
    """Bytes per parameter, free bytes, and the name of the place where models run here."""
    import torch

    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return _HALF, int(free), torch.cuda.get_device_name()
    return _FLOAT32, _free_memory(), f"the CPU ({torch.get_num_threads()} threads, float32)"


def _free_memory() -> int:
    return int(psutil.virtual_memory().available)


def _folder_bytes(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _gb(amount: float) -> str:
    return f"{amount / _GB:.1f} GB"


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
