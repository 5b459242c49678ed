"""This machine's memory: how much is free, and how it is given back."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from fim_magic.working_folder import require_working_folder

_log = logging.getLogger(__name__)

_GB = 10**9


def free_memory(ram: int | None = None) -> dict[str, int]:
    """Return the free bytes of each device that can be used: "cuda:0" and on, or "mps", and always "cpu".

    What torch has reserved on a GPU and does not use counts as free: torch uses it first, and gives it back when asked.

    Where torch is not installed, no device can be used but the CPU.

    Args:
        ram: The CPU's, where that is known; None asks [`free_ram`][].

    Raises:
        OptionError: The folder that this process works in is gone, so that torch cannot be imported.
    """
    if "torch" not in sys.modules:
        require_working_folder()
    ram = free_ram() if ram is None else ram
    try:
        import torch
    except ImportError:  # models run on servers alone
        return {"cpu": ram}
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
