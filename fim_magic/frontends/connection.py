"""What connects a shell to its front ends: the bridge to its pages, and a text that waits for its next cell."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic.frontends.front_ends import FRONT_ENDS, recognise
from fim_magic.frontends.interface import KernelMessage

if TYPE_CHECKING:
    from fim_magic.frontends.bridge import Bridge

_log = logging.getLogger(__name__)


class Connection:
    """The connection of one shell: `Connection.of(shell)`.

    Attributes:
        bridge: To the pages that show the shell's notebook, or None where there is none.
        pending: A text that goes out with the next cell that the user runs, or None.
        answer_seconds: How long a page has to answer before a text is kept for the next cell.
        call_later: Calls something after so many seconds.
        filling: Which of `classroom.FILLING` a notebook allowed when its file was last read, by the file.
    """

    def __init__(self, shell: Any) -> None:
        self.bridge: Bridge | None = None
        self.pending: str | None = None
        self.answer_seconds = 2.0
        self.call_later: Callable[[float, Callable[[], None]], None] = _call_later
        self.filling: dict[Path, str] = {}
        self._shell = shell
        self._undecided: Callable[[], dict[str, str]] | None = None
        self._gives_pending = False

    @classmethod
    def of(cls, shell: Any) -> Connection:
        """Return the shell's connection, which it has from the first call on."""
        # `meta` is the place that IPython keeps free for extensions.
        connection: Connection = shell.meta.setdefault("fim_magic", cls(shell))
        return connection

    def open_bridge(self, undecided: Callable[[], dict[str, str]] | None = None) -> None:
        """Open the bridge, so that the page has answered before the first request.

        Where no page can be, it stays closed: its code would only be left behind in the executed notebook.

        Args:
            undecided: Makes what stands in the place of buttons that an earlier kernel has left in a notebook, by MIME
                type. Where a page is not likely yet, it is kept until the bridge opens.
        """
        self._undecided = undecided or self._undecided
        if self.bridge is not None or not recognise(self._shell).opens_bridge:
            return
        try:
            from fim_magic.frontends.bridge import Bridge

            stale = self._undecided and self._undecided()
            pages = frozenset(front_end.page for front_end in FRONT_ENDS if front_end.page)
            self.bridge = Bridge(lambda: KernelMessage.of(self._shell).client, pages, stale)
        except Exception:  # without a bridge we are as in a front end that lets none in
            _log.info("Clicks cannot reach the notebook: the bridge could not be opened.", exc_info=True)

    def keep(self, text: str) -> None:
        """Keep `text` for the next cell that the user runs."""
        self.pending = text
        if not self._gives_pending:
            self._gives_pending = True
            self._shell.events.register("post_run_cell", self._give_pending)

    def forget(self, text: str) -> None:
        """Keep it no longer, unless another text has taken its place."""
        if self.pending == text:
            self.pending = None

    def _give_pending(self, result: Any) -> None:
        info = result.info
        if self.pending is None or info is None or info.silent or not info.store_history:
            return  # not the user's: VS Code and others run code of their own, and look at no reply
        if not result.success:
            return  # front ends look only into replies of cells that succeeded
        text, self.pending = self.pending, None
        self._shell.set_next_input(text)


def _call_later(seconds: float, call: Callable[[], None]) -> None:
    # Imported at the first click: kernels have it already, and a terminal, which has no clicks, never needs it.
    import asyncio

    try:
        asyncio.get_running_loop().call_later(seconds, call)
    except RuntimeError:  # no loop runs in this thread
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()
