"""Google Colab."""

from __future__ import annotations

import sys
from typing import Any

from fim_magic.frontends.interface import FrontEnd, KernelMessage


class Colab(FrontEnd):
    """Its outputs are frames of their own: no click can make a cell, and only core widgets are sure to be shown."""

    name = "Colab"
    is_watched = True

    def recognises(self, shell: Any, message: KernelMessage) -> bool:
        return "google.colab" in sys.modules  # its kernels bring it
