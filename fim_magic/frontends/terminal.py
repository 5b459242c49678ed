"""Front ends without a page: IPython in a terminal, Python without IPython, and text consoles that ask a kernel."""

from __future__ import annotations

from typing import Any

from fim_magic.frontends.interface import FrontEnd, How, KernelMessage
from fim_magic.visible import hand_over


class Terminal(FrontEnd):
    """No kernel: everything happens while the cell runs, and is printed."""

    name = "terminal"
    has_kernel = False
    at_cursor = "F8 fills at the cursor of a prompt"

    def recognises(self, shell: Any, message: KernelMessage) -> bool:
        return getattr(shell, "kernel", None) is None

    def set_next_input(self, shell: Any, text: str, replace: bool) -> How:
        if not getattr(shell, "simple_prompt", False):
            return super().set_next_input(shell, text, replace)
        hand_over(f"{text}\n")  # a simple prompt takes no prepared text, and the user asked for it
        return "printed"


class Console(FrontEnd):
    """jupyter console and qtconsole. They cannot change what they have shown, and would clear the prompt instead."""

    name = "console"
    updates_outputs = False

    def recognises(self, shell: Any, message: KernelMessage) -> bool:
        return message.answers_input
