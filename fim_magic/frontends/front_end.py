"""What a front end is to the kernel: how it is recognised, and what it can do. Each file beside this one has one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

KernelMessage = dict[str, Any]
"""The message that the kernel is answering: its `header`, `metadata` and `content`; empty without a kernel."""

How = Literal["inserted", "replaced", "next-input", "printed", "pending"]
"""What became of an accepted text: [`fim_magic.frontends.owner.Placed`][] says what each means."""


class FrontEnd(ABC):
    """One kind of front end. What a class does not change is so where nobody watches, as in nbclient.

    Attributes:
        has_kernel: Its cells run in a kernel, and what is shown is a bundle by MIME type. Otherwise it is printed.
        is_watched: Somebody sees outputs change, and can click in them.
        updates_outputs: An output that was shown can be changed.
        opens_bridge: It has a page that may let the bridge in.
        page: What its page calls itself, in `where` of `static/notebook.js`, if a click there can make a cell.
    """

    has_kernel = True
    is_watched = False
    updates_outputs = True
    opens_bridge = False
    page = ""

    @abstractmethod
    def recognises(self, shell: Any, message: KernelMessage) -> bool:
        """Whether this is where the running cell comes from. Those above it in the registry have not recognised it."""

    def notebook_file(self, shell: Any) -> str:
        """Return the file of the notebook that the shell serves, or "" where this front end does not tell."""
        return ""

    def set_next_input(self, shell: Any, text: str, replace: bool) -> How:
        """Put `text` into the next cell, or into the running one to `replace` it: the reply of that carries it."""
        shell.set_next_input(text, replace=replace)
        return "next-input"


class Unattended(FrontEnd):
    """nbclient, with which nbconvert and papermill run notebooks, and whatever else no other class has recognised."""

    def recognises(self, shell: Any, message: KernelMessage) -> bool:
        return True


def kernel_message(shell: Any) -> KernelMessage:
    """Return the message that the shell's kernel is answering; without a kernel, an empty one."""
    kernel = getattr(shell, "kernel", None)
    return (kernel.get_parent() if kernel is not None else None) or {}


def cell_id(message: KernelMessage) -> str:
    """Return the id of the cell that runs, or "" where the front end does not send it."""
    return str(message.get("metadata", {}).get("cellId") or "")


def answers_input(message: KernelMessage) -> bool:
    """Whether somebody is there who answers input(): a page or a text console, and not nbclient."""
    return bool(message.get("content", {}).get("allow_stdin"))
