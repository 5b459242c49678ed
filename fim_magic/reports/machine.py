"""Where models run on this machine, and which of the catalogue's fit there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fim_magic.catalog import Entry
from fim_magic.engines.torch.footprint import BYTES_PACKED_OF_ALL, BYTES_QUANTISED
from fim_magic.loading.manager import MODELS, ModelManager

PRECISIONS = {"32 bit": 4.0, "16 bit": 2.0, "8 bit": BYTES_QUANTISED["8bit"], "4 bit": BYTES_QUANTISED["4bit"]}
"""Bytes per parameter."""
ON_A_CPU = {**PRECISIONS, "8 bit": BYTES_PACKED_OF_ALL["8bit"], "4 bit": BYTES_PACKED_OF_ALL["4bit"]}
"""As PRECISIONS."""
OPTIONS = {"8 bit": " --quantize 8bit", "4 bit": " --quantize 4bit"}
"""What to type for the precisions that have to be asked for."""


@dataclass(frozen=True)
class Machine:
    """Where models run.

    Attributes:
        where: Its name.
        free: Bytes that a model may take there, those that the loaded one gives back counted in.
        precisions: In which models run there, the best first.
        sizes: Bytes per parameter there, of all precisions.
        quantises_all: Whether all models can be quantised there, and not only those that our own decoder knows.
    """

    where: str
    free: int
    precisions: tuple[str, ...]
    sizes: Mapping[str, float] = field(default_factory=PRECISIONS.copy)
    quantises_all: bool = True

    def best_precision(self, entry: Entry) -> str:
        """Return the best precision in which a model fits, or "" if it fits in none."""
        can_be = [
            precision
            for precision in self.precisions
            if precision not in OPTIONS or self.quantises_all or entry.can_be_packed
        ]
        return next((precision for precision in can_be if entry.memory(self.sizes[precision]) <= self.free), "")


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
    return Machine(
        f"the CPU ({torch.get_num_threads()} threads)",
        free["cpu"],
        ("32 bit", "8 bit", "4 bit"),
        ON_A_CPU,
        quantises_all=False,
    )
