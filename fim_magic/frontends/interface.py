"""What a front end is to the kernel: how it is recognised, and what it can do. `front_ends.py` lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

How = Literal["inserted", "replaced", "next-input", "printed", "pending"]
"""What became of an accepted text: [`fim_magic.frontends.owner.Placed`][] says what each means."""


@dataclass(frozen=True)
class KernelMessage:
    """What the message says that a kernel is answering: to run a cell, or to act on a click. Nothing, without a kernel.

    Attributes:
        id: Its own.
        client: Which page or console has sent it.
        cell_id: Of the cell that is to run, in its notebook; "" where the front end does not tell.
        answers_input: Somebody is there who answers input(): a page or a text console, and not nbclient.
    """

    id: str = ""
    client: str = ""
    cell_id: str = ""
    answers_input: bool = False

    @classmethod
    def of(cls, shell: Any) -> KernelMessage:
        kernel = getattr(shell, "kernel", None)
        parent: dict[str, dict[str, Any]] = (kernel.get_parent() if kernel is not None else None) or {}
        header, metadata, content = (parent.get(part, {}) for part in ("header", "metadata", "content"))
        return cls(
            str(header.get("msg_id") or ""),
            str(header.get("session") or ""),
            str(metadata.get("cellId") or ""),
            bool(content.get("allow_stdin")),
        )


class FrontEnd(ABC):
    """One kind of front end. What a class does not change is so where nobody watches, as in nbclient.

    Attributes:
        name: What users call it; "" where nobody uses it.
        has_kernel: Its cells run in a kernel, and what is shown is a bundle by MIME type. Otherwise it is printed.
        is_watched: Somebody sees outputs change, and can click in them.
        updates_outputs: An output that was shown can be changed.
        opens_bridge: It has a page that may let the bridge in.
        page: What its page calls itself, in `where` of `static/notebook.js`, if a click there can make a cell.
        at_cursor: What there is beside `%%fim`, in words.
    """

    name = ""
    has_kernel = True
    is_watched = False
    updates_outputs = True
    opens_bridge = False
    page = ""
    at_cursor = "no fill and no ghost text: those are for JupyterLab from 4.1 on, Notebook from 7.1 on, and terminals"

    @abstractmethod
    def recognises(self, shell: Any, message: KernelMessage) -> bool:
        """Whether this is where the running cell comes from. Those above it in `FRONT_ENDS` have not recognised it."""

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
