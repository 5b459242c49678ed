"""The cell that asked for an answer: what is shown in it, and where an accepted text goes from there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fim_magic.frontends.connection import Connection
from fim_magic.frontends.front_ends import recognise
from fim_magic.frontends.interface import FrontEnd, How, KernelMessage

if TYPE_CHECKING:
    from fim_magic.frontends.bridge import Bridge, PageAnswer

OUTPUT_KEY = "fim_magic_output"
"""Under this name, the metadata of an output hold the name by which it can be changed."""

_MESSAGES: dict[How, str] = {
    "inserted": "Accepted: it is in the new cell below.",
    "replaced": "Accepted: it replaced the text of this cell.",
    "next-input": "Accepted: it comes as the next input.",
    "printed": "This terminal takes no prepared input, so the text is printed above.",
    "pending": "Kept: no click can add a cell here. It comes below the next cell that you run; or type %fim accept.",
}


@dataclass(frozen=True)
class Placed:
    """What became of an accepted text.

    Attributes:
        how: "inserted" or "replaced" by the page; "next-input" with the reply of the running cell;
            "printed" on a terminal that takes no text; "pending" until the user runs a cell.
        message: The same, said to the user.
        undo: What the page needs to take it back, or None where nobody can.
    """

    how: How
    message: str
    undo: dict[str, Any] | None = None


def _placed(how: How, undo: dict[str, Any] | None = None) -> Placed:
    return Placed(how, _MESSAGES[how], undo)


def accept_now(shell: Any, text: str, replace: bool = False) -> Placed:
    """Put `text` into the next cell, or into the running one to `replace` it. Call it while the user's cell runs."""
    Connection.of(shell).pending = None
    return _placed(recognise(shell).set_next_input(shell, text, replace))


def has_next_input(shell: Any) -> bool:
    """Whether the running cell has put a text into the next one, or will: there is room for one."""
    payloads = shell.payload_manager.read_payload()
    return (
        Connection.of(shell).pending is not None
        or getattr(shell, "rl_next_input", None) is not None
        or any(payload.get("source") == "set_next_input" for payload in payloads)
    )


@dataclass(frozen=True)
class Owner:
    """The cell that asked, and that accepted text belongs to.

    Attributes:
        shell: The IPython shell.
        cell_id: The cell's id in its notebook, or "" where the front end doesn't tell.
        request: The id of the message that runs the cell, or "" in a terminal.
        anchor: A CSS class for what this cell displays, by which the page finds it.
        front_end: Where the cell comes from.
    """

    shell: Any
    cell_id: str
    request: str
    anchor: str
    front_end: FrontEnd

    @classmethod
    def current(cls, shell: Any) -> Owner:
        """Return the cell that is being run. Its id is known only while it runs."""
        Connection.of(shell).open_bridge()
        message = KernelMessage.of(shell)
        return cls(shell, message.cell_id, message.id, f"fim-{os.urandom(16).hex()}", recognise(shell))

    @property
    def on_page(self) -> dict[str, str]:
        """What a page needs to find it: `cell_id` and `anchor`, as `static/notebook.js` has them."""
        return {"cell_id": self.cell_id, "anchor": self.anchor}

    @property
    def bridge(self) -> Bridge | None:
        return Connection.of(self.shell).bridge

    @property
    def is_watched(self) -> bool:
        """Whether a page shows the outputs of this cell, so that somebody can see it change and click."""
        return self.front_end.is_watched or (self.bridge is not None and self.bridge.has_page)

    @property
    def is_running(self) -> bool:
        """Whether we are called from within the cell, and not from a click after it."""
        return not self.front_end.has_kernel or KernelMessage.of(self.shell).id == self.request != ""

    def place(
        self, text: str, replace: bool = False, on_result: Callable[[Placed], None] = lambda _placed: None
    ) -> None:
        """Put `text` into a new cell below this one.

        Args:
            text: The source of the cell, all of it.
            replace: Put it into this cell instead, where the front end can.
            on_result: Called with what became of it; later, where a page has to answer first. It is
                called a second time if the page answers after the text was given up as "pending".
        """
        if self.is_running:
            on_result(accept_now(self.shell, text, replace))
            return
        client = KernelMessage.of(self.shell).client
        if self.bridge is None or not self.bridge.can_insert(client):
            on_result(self._keep(text))
            return
        self._ask_page(self.bridge, text, {"replace": replace}, on_result)

    @property
    def makes_cells(self) -> bool:
        """Whether the page that runs this cell has said that it can make cells."""
        return self.bridge is not None and self.bridge.surely_inserts(KernelMessage.of(self.shell).client)

    def add_below(self, text: str, *, quiet: bool, on_result: Callable[[Placed], None]) -> None:
        """Put `text` into a new cell below this one, while it runs, so that it can be taken back where a page makes it.

        Without such a page the reply of this cell carries it: not beside another one, as `has_next_input` tells.

        Args:
            text: The source of the cell, all of it.
            quiet: Leave the focus where it is.
            on_result: Called with what became of it, as of `place`.
        """
        if self.bridge is not None and self.makes_cells:
            self._ask_page(self.bridge, text, {"replace": False, "quiet": quiet}, on_result)
        else:
            on_result(_placed(self.front_end.set_next_input(self.shell, text, replace=False)))

    def _ask_page(self, bridge: Bridge, text: str, how: dict[str, bool], on_result: Callable[[Placed], None]) -> None:
        connection = Connection.of(self.shell)
        is_settled = False

        def on_answer(answer: PageAnswer) -> None:
            nonlocal is_settled
            if answer["how"] not in ("inserted", "replaced"):
                give_up()
                return
            is_settled = True
            connection.forget(text)  # it came late, and we had given up
            on_result(_placed(answer["how"], answer.get("undo")))

        def give_up() -> None:
            nonlocal is_settled
            if not is_settled:
                is_settled = True
                on_result(self._keep(text))

        client = KernelMessage.of(self.shell).client
        target = {"client": client, **self.on_page, **how}
        bridge.insert(text, target, on_answer)
        connection.call_later(connection.answer_seconds, give_up)

    def placed_by_page(self, text: str, answer: PageAnswer) -> Placed:
        """Return what became of a text that the page has tried to place by itself, as `put` in `notebook.js` says."""
        how = answer.get("how")
        return _placed(how, answer.get("undo")) if how in ("inserted", "replaced") else self._keep(text)

    def offer_undo(self, undo: dict[str, Any], on_answer: Callable[[PageAnswer], None]) -> None:
        """Ask the page that was clicked to offer to take back what it has done. Arguments as of `Bridge.offer_undo`."""
        if self.bridge is not None:
            self.bridge.offer_undo(KernelMessage.of(self.shell).client, self.anchor, undo, on_answer)

    def show(
        self, name: str, data: dict[str, Any], metadata: dict[str, Any] | None = None, *, update: bool = False
    ) -> None:
        """Show an output of this cell under a name of its own, or `update` the one of this name.

        Args:
            name: Of the output.
            data: It, by MIME type.
            metadata: Goes with it.
            update: Whether it was shown before.
        """
        from IPython.display import publish_display_data

        metadata = {**(metadata or {}), OUTPUT_KEY: name}
        publish_display_data(data, metadata=metadata, transient={"display_id": name}, update=update)
        if update and self.bridge is not None and not self.is_running:
            # A page that was reloaded, a second one, or one whose cell was moved knows no display id any more.
            self.bridge.show(name, data, metadata)

    def _keep(self, text: str) -> Placed:
        Connection.of(self.shell).keep(text)
        return _placed("pending")
