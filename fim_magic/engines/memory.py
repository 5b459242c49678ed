"""This machine's memory: how much is free, how it is given back, and what is said when there was not enough."""

from __future__ import annotations

import ctypes
import gc
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from fim_magic.errors import ModelError

_GB = 10**9
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_TRIED = re.compile(r"tried to allocate ([\d.]+) (bytes|[KMGT]iB)", re.IGNORECASE)
# CUDA, ROCm and MPS; Linux, macOS and Windows; cuBLAS, which cannot get its workspace.
_NOT_ENOUGH = re.compile(r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED")

FOR_A_REQUEST = (
    "The model is still loaded. Ask for less: fewer candidates (-n 1), a shorter answer (--max-new-tokens 64), or a "
    "smaller model (%fim models says which fit)"
)

_log = logging.getLogger(__name__)
FOR_LOADING = "No model is loaded now. Close what else uses it, or take a smaller model (%fim models says which fit)"


def free_memory(ram: int | None = None) -> dict[str, int]:
    """Return the free bytes of each device that can be used: "cuda:0" and on, or "mps", and always "cpu".

    What torch has reserved on a GPU and does not use counts as free: torch uses it first, and gives it back when asked.

    Args:
        ram: The CPU's, where that is known; None asks [`free_ram`][].
    """
    import torch

    ram = free_ram() if ram is None else ram
    free = {}
    if torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            try:
                unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
                free[f"cuda:{device}"] = int(torch.cuda.mem_get_info(device)[0]) + int(unused)
            except RuntimeError:  # so full that not even asking works, or another process has it for itself
                _log.info("cuda:%d does not tell how much of it is free.", device, exc_info=True)
    elif torch.backends.mps.is_available():
        left = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        free["mps"] = max(0, min(int(left), ram))  # it is the same memory
    return free | {"cpu": ram}


def free_ram(limits: Iterable[tuple[int, int]] | None = None) -> int:
    """Return the bytes that this process may still take: of the machine, or of the container that it runs in.

    Args:
        limits: Of containers, each with what is used of it; None asks the system.
    """
    if limits is None:
        limits = _limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    left = (limit - used for limit, used in limits)
    return max(0, min([int(psutil.virtual_memory().available), *left]))


def _limits(groups: Path, mount: Path) -> Iterator[tuple[int, int]]:
    """Yield the memory limit and use of each control group that this process is in (Linux, cgroups(7)).

    A notebook server in a container sees the memory of the whole machine, and is killed at the container's limit.

    Args:
        groups: The file that lists the process's groups.
        mount: Where the groups' files are.
    """
    for line in _text(groups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, used, reclaimable = mount, "memory.max", "memory.current", ("inactive_file", "active_file")
        elif "memory" in controllers.split(","):
            root, limit, used = mount / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            reclaimable = ("total_inactive_file", "total_active_file")
        else:
            continue
        lowest = root / path.lstrip("/")
        for group in (lowest, *(parent for parent in lowest.parents if parent.is_relative_to(root))):
            most, now = _text(group / limit), _text(group / used)
            if most.isdecimal() and now.isdecimal():  # "max" is none
                stat = dict(row.split(" ", 1) for row in _text(group / "memory.stat").splitlines())
                yield int(most), int(now) - sum(int(stat.get(name, 0)) for name in reclaimable)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""


def give_back() -> None:
    """Give what nothing refers to any more back to the system, from the GPUs too."""
    gc.collect()
    torch = sys.modules.get("torch")  # where it was never imported, there is nothing to give back
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch is not None and torch.backends.mps.is_available():
        torch.mps.empty_cache()
    # glibc keeps what is freed for the next time: without this, much of a model's memory stays with the process.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def gigabytes(size: float) -> str:
    """Write bytes as "1.2 GB"."""
    return f"{size / _GB:.1f} GB"


@contextmanager
def freeing_memory(
    what: str,
    drop: Callable[[], None] | None = None,
    *,
    advice: str = FOR_A_REQUEST,
    give_back: Callable[[], None] = give_back,
) -> Iterator[None]:
    """Turn running out of memory inside the block into a [`ModelError`][], with the memory given back.

    An exception keeps every tensor of every frame that it passed through. Those frames are cleared here, so that the
    next request finds the memory free even where the error is kept: IPython keeps the last one.

    Args:
        what: What needs the memory, for the user: "reading the prompt".
        drop: Lets go of what the caller itself holds for it, such as the KV cache.
        advice: What to do about it.
        give_back: Gives what is dropped back to the system.

    Raises:
        ModelError: There was not enough memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        on_gpu = "cuda" in str(error).lower() or "mps" in str(error).lower()
        needed = _tried(str(error))
        forget_frames(error)
    else:
        return
    if drop is not None:
        drop()
    give_back()
    failure = ModelError(_not_enough(what, needed, free_memory(), advice, on_gpu=on_gpu))
    try:
        raise failure
    finally:
        failure.__context__ = None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out. On a CPU, torch raises a plain RuntimeError for it."""
    return isinstance(error, MemoryError) or _NOT_ENOUGH.search(str(error)) is not None


def forget_frames(error: BaseException) -> None:
    """Clear the local variables of the frames that `error`, and what led to it, has passed through."""
    chain: list[BaseException | None] = [error]
    seen: set[int] = set()
    while chain:
        link = chain.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        chain += [link.__cause__, link.__context__]


def _tried(message: str) -> int | None:
    found = _TRIED.search(message)
    return None if found is None else int(float(found[1]) * _UNITS[found[2]])


def _not_enough(what: str, needed: int | None, free: Mapping[str, int], advice: str, *, on_gpu: bool) -> str:
    left = {device: size for device, size in free.items() if (device != "cpu") == on_gpu}
    # A request needs its parts together, and the one that failed is only the last of them.
    more = "" if needed is None else f" {gigabytes(needed)} more were asked for at once, and"
    numbers = ", ".join(f"{gigabytes(size)} on {device}" for device, size in left.items()) or "an unknown amount"
    smaller = ", or the same one in fewer bits (--quantize 4bit)" if on_gpu and "mps" not in left else ""
    return f"There is not enough memory for {what}:{more} {numbers} are free without it. {advice}{smaller}."
