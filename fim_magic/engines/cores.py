"""The processor, and how many threads may compute."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

import psutil

_CPUS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(cpus: Path = _CPUS, quota: Path = _QUOTA, allowed: AbstractSet[int] | None = None) -> int:
    """Return how many physical cores this process may keep busy, at least 1.

    Two threads on one core share its arithmetic, so a second one per core only slows matrix products down. A container
    may have less time than cores (cgroups(7), `cpu.max`): threads beyond that wait for each other.

    Args:
        cpus: Where Linux says which threads are on one core.
        quota: Where Linux says how much time a container has.
        allowed: The processors that this process may use; None asks the system.
    """
    cores = _physical(cpus, allowed)
    with suppress(OSError, ValueError):
        time, period = quota.read_text("ascii").split()
        if time != "max":
            cores = min(cores, int(time) // int(period))
    return max(1, cores)


def processor() -> str:
    """Return the processor's name, as the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _physical(cpus: Path, allowed: AbstractSet[int] | None) -> int:
    if sys.platform != "linux":
        return psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if allowed is None:
        allowed = os.sched_getaffinity(0)
    try:
        return len({(cpus / f"cpu{n}/topology/thread_siblings_list").read_text("ascii") for n in allowed})
    except OSError:
        return len(allowed)
