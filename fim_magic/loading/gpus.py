"""Which GPUs this machine has, found out without torch where there can be none."""

from __future__ import annotations

import sys
from pathlib import Path

from fim_magic.engines.memory import free_memory

_GPU_NODES = ("nvidia*", "nvhost-gpu", "nvgpu", "kfd", "dxg", "dri/renderD*")
"""What stands in /dev on Linux where there is a GPU: Nvidia's, Jetson's, AMD's, Windows' under WSL, any other."""


def gpus() -> dict[str, int]:
    """Return the free bytes of each GPU. Where there can be none, torch is not imported to look for them."""
    if not may_have_gpu():
        return {}
    return {device: size for device, size in free_memory().items() if device != "cpu"}


def may_have_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether this machine may have a GPU: False only where it certainly has none.

    Args:
        devices: Where Linux keeps its device files.
    """
    if sys.platform != "linux":
        return True
    return any(True for node in _GPU_NODES for _ in devices.glob(node))
