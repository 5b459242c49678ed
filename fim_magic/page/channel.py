"""One page's way to the session: its requests are answered on threads of their own, so that it can cancel them."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from fim_magic.context.cells import NotebookCell
from fim_magic.errors import is_failure
from fim_magic.faults import in_words
from fim_magic.page.fills import fill
from fim_magic.page.ghost_text import GhostText
from fim_magic.page.messages import Asked, MessageError, text_of
from fim_magic.session import Session
from fim_magic.session_notebook import SessionNotebook
from fim_magic.version import __version__
from fim_magic.visible import plain_text

_log = logging.getLogger(__name__)

Message = dict[str, Any]


class Channel:
    """One page. What it asks, it asks about the cell with its cursor."""

    def __init__(
        self, shell: Any, session: Session, send: Callable[[Message], None], close: Callable[[], None] = lambda: None
    ) -> None:
        """Begin to answer a page.

        Args:
            shell: IPython's.
            session: Answers.
            send: Sends the page a message.
            close: Closes its comm.
        """
        self._shell = shell
        self._session = session
        self._send = send
        self._close = close
        # A kernel sends in the name of the message that it is handling, and by that the page's next one finds the same
        # subshell. A thread that did so in no message's name would take the page's messages to where cells run.
        self._context = contextvars.copy_context()
        self._cells: tuple[NotebookCell, ...] = ()
        self._lock = threading.Lock()
        self._under_way: dict[str, threading.Event] = {}
        self._ghosts: set[str] = set()  # of those, or of those that have ended
        self._ghost_text = GhostText(session, self.tell)

    def tell(self, message: Message) -> None:
        """Send the page a message, from any thread."""
        self._context.copy().run(self._send, message)

    def tell_state(self) -> None:
        self.tell({"type": "state", "version": __version__, "ghost": self._session.settings.ghost})

    def hear(self, message: Message) -> None:
        """Do what the page asks. It returns at once; what has to be computed is, on another thread."""
        self._context = contextvars.copy_context()
        try:
            self._act(message)
        except MessageError:
            _log.warning("A page has sent what is no message of this version.", exc_info=True)
            name = message.get("id") if isinstance(message, dict) else None
            reason = "This page was loaded from another version of fim-magic. Load it again."
            self.tell({"type": "none", "id": name, "reason": reason})

    def stop(self) -> None:
        """Stop all that is under way."""
        with self._lock:
            for stop in self._under_way.values():
                stop.set()

    def close(self) -> None:
        self.stop()
        self._close()

    def _act(self, message: Message) -> None:
        if not isinstance(message, dict):
            raise MessageError("message")
        act = message.get("do")
        if act in ("ghost", "fill"):
            asked = Asked.of(message)
            if asked.cells is not None:
                self._cells = asked.cells
            notebook = self._notebook(asked)
            if act == "ghost":
                self._stop_ghosts()  # a page has one cursor
                self._start(asked, partial(self._ghost_text.answer, asked, notebook), is_ghost=True)
            else:
                self._start(asked, partial(self._fill, asked, notebook))
        elif act in ("cancel", "drop"):
            name = text_of(message, "id")
            if act == "drop":
                self._ghost_text.drop(name)
            self._stop_one(name)
        elif act == "seen":
            self._ghost_text.see(text_of(message, "id"))
        elif act == "interrupt":
            self.stop()
        elif act == "taken":
            name, how = text_of(message, "id"), text_of(message, "how")
            self._ghost_text.take(name, message.get("candidate", 0), how)
            if how == "accept":
                self._stop_one(name)
        else:
            raise MessageError("do")

    def _notebook(self, asked: Asked) -> SessionNotebook:
        """The notebook as the page shows it. The cell with the cursor changes at each key, and is sent by itself."""
        source = asked.document.as_typed
        cells = (replace(cell, source=source) if cell.id == asked.cell_id else cell for cell in self._cells)
        return SessionNotebook(on_page=tuple(cells), hole=asked.cell_id)

    def _stop_ghosts(self) -> None:
        with self._lock:
            for name in self._ghosts & self._under_way.keys():
                self._under_way[name].set()
            self._ghosts.clear()

    def _stop_one(self, name: str) -> None:
        with self._lock:
            stop = self._under_way.get(name)
        if stop is not None:
            stop.set()

    def _start(self, asked: Asked, answer: Callable[[threading.Event], None], *, is_ghost: bool = False) -> None:
        stop = threading.Event()
        with self._lock:
            self._under_way[asked.id] = stop
            if is_ghost:
                self._ghosts.add(asked.id)
        arguments = (self._answer, asked, answer, stop)
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=arguments, name="fim-magic answers a page", daemon=True).start()

    def _answer(self, asked: Asked, answer: Callable[[threading.Event], None], stop: threading.Event) -> None:
        try:
            answer(stop)
        except BaseException as error:
            # On a thread of ours nobody else hears of it.
            reason = "" if stop.is_set() else plain_text(str(in_words(error)))
            if not is_failure(error):
                _log.info("A page gets no answer.", exc_info=True)
                reason = ""
            self.tell({"type": "none", "id": asked.id, "reason": reason})
        finally:
            with self._lock:
                self._under_way.pop(asked.id, None)

    def _fill(self, asked: Asked, notebook: SessionNotebook, stop: threading.Event) -> None:
        fill(self._shell, self._session, asked, notebook, stop, self.tell)
