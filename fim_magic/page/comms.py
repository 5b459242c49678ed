"""The comms that pages open: one for each page, and a sign by which a page sees that there is somebody to talk to."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from fim_magic.frontends import recognise
from fim_magic.session import Session

if TYPE_CHECKING:
    from fim_magic.page.channel import Channel

TARGET = "fim_magic"
"""The comms' target, which `labextension/` opens."""

_MOST_PAGES = 16  # a page that is loaded anew does not say that it was there before: its end would be kept for ever


class Comms:
    """All pages that talk to one shell's session."""

    def __init__(self, shell: Any, session: Session) -> None:
        """Let pages open comms, where the shell is a kernel's."""
        self._shell = shell
        self._session = session
        self._channels: OrderedDict[str, Channel] = OrderedDict()  # the one that was heard last is the last
        self._manager: Any = None
        if getattr(shell, "kernel", None) is None:
            return
        import comm

        self._manager = comm.get_comm_manager()
        self._manager.register_target(TARGET, self._open)
        # A comm that nobody has opened: pages ask a kernel which comms it has, and open one of their own only where
        # this is among them. To open one in vain would put an error into the log of every kernel without fim-magic.
        self._sign = comm.create_comm(target_name=TARGET, primary=False)
        self._manager.register_comm(self._sign)

    def close(self) -> None:
        """Stop what is under way, and close all comms."""
        if self._manager is None:
            return
        for channel in tuple(self._channels.values()):
            channel.close()
        self._channels.clear()
        self._sign.close()
        self._manager.unregister_target(TARGET, self._open)
        self._manager = None

    def tell_state(self) -> None:
        """Tell all pages what they may ask for."""
        for channel in tuple(self._channels.values()):
            channel.tell_state()

    @property
    def has_pages(self) -> bool:
        """Whether any page may ask."""
        return bool(self._channels)

    def about(self) -> tuple[str, str]:
        """Say what there is at the cursor in the front end of the running cell, and what to do for more, or ""."""
        ghost = self._session.settings.ghost
        if self._channels:
            when = {"off": "no ghost text", "key": "ghost text on its key", "auto": "ghost text after each pause"}[
                ghost
            ]
            return f"a fill on F8, {when} (FimMagics.ghost)", ""
        front_end = recognise(self._shell)
        advice = "install fim-magic where JupyterLab or Notebook runs, and load the page again"
        return front_end.at_cursor, advice if front_end.page == "lab" else ""

    def _open(self, opened: Any, _message: dict[str, Any]) -> None:
        from fim_magic.page.channel import Channel  # when a page comes: %load_ext need not wait for what this brings

        channel = Channel(self._shell, self._session, opened.send, opened.close)
        self._channels[opened.comm_id] = channel
        while len(self._channels) > _MOST_PAGES:
            self._channels.popitem(last=False)[1].close()
        opened.on_msg(lambda message: self._hear(opened.comm_id, channel, message["content"]["data"]))
        opened.on_close(lambda _message: self._left(opened.comm_id))
        channel.tell_state()

    def _hear(self, comm_id: str, channel: Channel, data: Any) -> None:
        if comm_id in self._channels:
            self._channels.move_to_end(comm_id)
        channel.hear(data)

    def _left(self, comm_id: str) -> None:
        channel = self._channels.pop(comm_id, None)
        if channel is not None:
            channel.stop()
