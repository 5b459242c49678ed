"""The machine that a measurement ran on, and how fast it reads memory: the limit of every decode loop."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from fim_magic.engines.cores import processor

_CPUINFO = Path("/proc/cpuinfo")
_CPU_BUFFER = 512 * 2**20  # bytes: far more than any cache holds
_CUDA_BUFFER = 4 * 2**30
_READINGS = 7
_COLUMNS = 4096
_STEADY = 0.15  # more than this between two readings, and the machine was not the same all the time
_IDLE = 0.5  # of load average, beside what the measurement itself takes
LIBRARIES = ("fim-magic", "torch", "transformers", "tokenizers", "xllamacpp", "numpy")


# Those that say how fast products are; of x86, and of Arm.
_INSTRUCTIONS = frozenset(
    "fma avx2 avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_int8 amx_bf16 "
    "asimd asimddp i8mm bf16 sve sve2".split()
)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given. The CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def bandwidth(device: torch.device, *, buffer_bytes: int | None = None) -> float:
    """Return the bytes a second that the device moves from and to its memory: the best of several readings.

    On a CPU a buffer is read, by a sum and by a matrix-vector product, with the threads that torch has; the faster of
    the two counts, for a limit must not be too low. On a GPU a large copy counts as read and written.

    Args:
        device: Where.
        buffer_bytes: Of the buffer. The default is 512 MiB on the CPU, and elsewhere 4 GiB or what is free.
    """
    if device.type == "cpu":
        rows = max(1, (buffer_bytes or _CPU_BUFFER) // 4 // _COLUMNS)
        matrix = torch.ones(rows, _COLUMNS)
        vector = torch.ones(_COLUMNS)
        kernels: list[Callable[[], object]] = [matrix.sum, lambda: torch.mv(matrix, vector)]
        moved = matrix.numel() * 4
    else:
        size = buffer_bytes or _buffer_on(device)
        source = torch.ones(size // 2, dtype=torch.float16, device=device)
        target = torch.empty_like(source)
        kernels = [lambda: target.copy_(source)]
        moved = 2 * source.numel() * 2
    return moved / min(_best_seconds(kernel, device) for kernel in kernels)


def _buffer_on(device: torch.device) -> int:
    if device.type != "cuda":
        return _CPU_BUFFER
    free, _ = torch.cuda.mem_get_info(device)
    return int(min(_CUDA_BUFFER, free // 4))


def _best_seconds(kernel: Callable[[], object], device: torch.device) -> float:
    kernel()
    readings = []
    for _ in range(_READINGS):
        synchronize(device)
        began = time.perf_counter()
        kernel()
        synchronize(device)
        readings.append(time.perf_counter() - began)
    return min(readings)


def instructions(cpuinfo: Path = _CPUINFO) -> list[str]:
    """Return which instructions for products the processor has, by Linux's names; none where it tells none."""
    with suppress(OSError):
        for line in cpuinfo.read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return [flag for flag in value.split() if flag in _INSTRUCTIONS]
    return []


def describe(device: torch.device) -> dict[str, Any]:
    """Say what a reader of the numbers has to know of the machine and of the libraries on it."""
    about: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": processor(),
        "instructions": instructions(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "logical_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": int(psutil.virtual_memory().total),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in LIBRARIES if (version := _version(name))},
        "load_average": load_average(),
    }
    if device.type == "cuda":
        about["cuda"] = torch.version.cuda
        about["device_memory_bytes"] = int(torch.cuda.get_device_properties(device).total_memory)
    return about


def report(device: torch.device, versions: Sequence[str]) -> dict[str, Any]:
    """Return what reports tell of the machine: in a line with some of the versions, and in detail."""
    about = describe(device)
    where = about["processor"] if device.type == "cpu" else about["device"]
    found = {"Python": about["python"], **about["versions"]}
    libraries = ", ".join(f"{name} {found[name]}" for name in versions if name in found)
    has = f" with {' '.join(about['instructions'])}" if device.type == "cpu" and about["instructions"] else ""
    line = f"{where}{has}, {about['cores']} cores, {about['threads']} threads; {libraries}"
    return {"machine": line, "details": about}


def load_average() -> float | None:
    """Return how many processes wanted a processor over the last minute, or None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def disturbances(readings: list[float], load_before: float | None) -> list[str]:
    """Say what makes the numbers doubtful: readings of the bandwidth, and the load average before the run."""
    warnings = []
    if len(readings) > 1 and max(readings) > (1 + _STEADY) * min(readings):
        warnings.append(
            f"The memory bandwidth went from {min(readings) / 1e9:.1f} to {max(readings) / 1e9:.1f} GB/s in this run: "
            "the machine was not steady. Trust the ratios more than the times."
        )
    if load_before is not None and load_before > _IDLE:
        warnings.append(
            f"The load average was {load_before:.1f} before the run: something else runs here, or has just run. Trust "
            "the ratios more than the times."
        )
    return warnings


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
