"""How much memory a model may take on this machine, and whether it has a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fim_magic.engines import memory

_GPU_NODES = ("nvidia*", "nvhost-gpu", "nvgpu", "kfd", "dxg", "dri/renderD*")
"""What stands in /dev on Linux where there is a GPU: Nvidia's, Jetson's, AMD's, Windows' under WSL, any other."""


def may_have_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether this machine may have a GPU: False only where it certainly has none.

    Args:
        devices: Where Linux keeps its device files.
    """
    if sys.platform != "linux":
        return True
    return any(True for node in _GPU_NODES for _ in devices.glob(node))


@dataclass(frozen=True)
class MemoryProbe:
    """Looks at the memory that is free, in bytes.

    Attributes:
        free_memory: Of each device; it imports torch.
        free_ram: Of the CPU alone; it does not.
        may_have_gpu: Whether torch has to be imported to look for GPUs.
        held: What unloading the present model gives back to each device; for the next model, it is free.
    """

    free_memory: Callable[[], dict[str, int]] = memory.free_memory
    free_ram: Callable[[], int] = memory.free_ram
    may_have_gpu: Callable[[], bool] = may_have_gpu
    held: Callable[[], Mapping[str, int]] = dict

    def gpus(self) -> dict[str, int]:
        """Return what is free on each GPU now. Where there can be none, torch is not imported to look for them."""
        if not self.may_have_gpu():
            return {}
        return {device: size for device, size in self.free_memory().items() if device != "cpu"}

    def for_next(self) -> dict[str, int]:
        """Return what the next model may take on each device."""
        held = self.held()
        return {device: size + held.get(device, 0) for device, size in self.free_memory().items()}

    def ram_for_next(self) -> int:
        """Return what the next model may take of the CPU's memory."""
        return self.free_ram() + self.held().get("cpu", 0)


THIS_MACHINE = MemoryProbe()
