"""What this machine's devices can do."""

from __future__ import annotations

import torch

from fim_magic import catalog
from fim_magic.engines.torch.footprint import BYTES_QUANTISED
from fim_magic.errors import OptionError

QUANTISATIONS = tuple(BYTES_QUANTISED)

_NATIVE_BFLOAT16 = 8  # CUDA compute capability, major


class Devices:
    """What torch says of this machine's devices."""

    def has_cuda(self) -> bool:
        return torch.cuda.is_available()

    def has_metal(self) -> bool:
        return torch.backends.mps.is_available()

    def has_bitsandbytes(self) -> bool:
        from transformers.utils import is_bitsandbytes_available

        return bool(is_bitsandbytes_available())

    def capability(self, device: torch.device) -> tuple[int, int]:
        """Return the compute capability of a CUDA device."""
        return torch.cuda.get_device_capability(device)

    def shares_memory(self, device: torch.device) -> bool:
        """Whether a CUDA device has no memory of its own, as in a Jetson or a DGX Spark."""
        return bool(getattr(torch.cuda.get_device_properties(device), "is_integrated", False))


THIS_MACHINE = Devices()


def dtype_for(device: torch.device, devices: Devices = THIS_MACHINE) -> torch.dtype:
    """Return the precision in which this device computes well.

    bfloat16 where CUDA computes it natively (compute capability 8 and up), which has the range of the float32 that
    these models were trained beside; float16 on older CUDA devices, and on Apple's GPUs, whose first generation only
    emulates bfloat16. float32 on every CPU: without the instructions for them, matrix products in 16 bits run hundreds
    of times slower, and a processor that names them (AVX512_BF16, AMX) may have them at half speed or emulated.
    """
    if device.type == "mps":
        return torch.float16
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if devices.capability(device)[0] >= _NATIVE_BFLOAT16 else torch.float16


def require_quantisation(quantize: str | None, devices: Devices = THIS_MACHINE) -> None:
    """Refuse a `quantize` that is unknown, or that this machine cannot do.

    Raises:
        OptionError: The message says what to do instead.
    """
    if quantize is None:
        return
    if quantize not in QUANTISATIONS:
        raise OptionError(f"--quantize is {' or '.join(QUANTISATIONS)}; {quantize!r} is neither.")
    if not devices.has_cuda():
        if devices.has_metal():
            raise OptionError(
                f"--quantize {quantize} is for CUDA GPUs and for CPUs; on Apple's GPUs nothing does it. Omit it and "
                f"take a smaller model (%fim models says which fit), such as %fim use {catalog.DEFAULT.name}."
            )
        return
    if not devices.has_bitsandbytes():
        raise OptionError(
            f"--quantize {quantize} needs the library bitsandbytes. Type `%pip install -U bitsandbytes`, restart the "
            "kernel, and try again."
        )
