"""Where models run on this machine, and which of the catalogue's fit there."""

from __future__ import annotations

from dataclasses import dataclass

from fim_magic.catalog import Entry
from fim_magic.engines.torch.footprint import BYTES_QUANTISED
from fim_magic.loading.manager import MODELS, ModelManager

PRECISIONS = {"32 bit": 4.0, "16 bit": 2.0, "8 bit": BYTES_QUANTISED["8bit"], "4 bit": BYTES_QUANTISED["4bit"]}
"""Bytes per parameter."""
OPTIONS = {"8 bit": " --quantize 8bit", "4 bit": " --quantize 4bit"}
"""What to type for the precisions that have to be asked for."""


@dataclass(frozen=True)
class Machine:
    """Where models run.

    Attributes:
        where: Its name.
        free: Bytes that a model may take there, those that the loaded one gives back counted in.
        precisions: In which models run there, the best first.
    """

    where: str
    free: int
    precisions: tuple[str, ...]

    def best_precision(self, entry: Entry) -> str:
        """Return the best precision in which a model fits, or "" if it fits in none."""
        fitting = (precision for precision in self.precisions if entry.memory(PRECISIONS[precision]) <= self.free)
        return next(fitting, "")


def this_machine(manager: ModelManager = MODELS) -> Machine:
    """Look at the devices, and at what is free on them without the loaded model."""
    loaded = manager.loaded
    held = {} if loaded is None else loaded.held
    free = {device: size + held.get(device, 0) for device, size in manager.memory.free_memory().items()}
    try:
        import torch
    except ImportError:
        return Machine("the CPU (torch, which they need, is not installed)", free["cpu"], ("32 bit",))
    gpus = {device: size for device, size in free.items() if device != "cpu"}
    if "mps" in gpus:
        return Machine("the GPU (Metal)", gpus["mps"], ("16 bit",))
    if gpus:
        names = " and ".join(torch.cuda.get_device_name(device) for device in gpus)
        return Machine(names, sum(gpus.values()), ("16 bit", "8 bit", "4 bit"))
    return Machine(f"the CPU ({torch.get_num_threads()} threads)", free["cpu"], ("32 bit",))
