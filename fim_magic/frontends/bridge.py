"""The kernel's end of the hidden bridge to the notebook that shows it; the page's end is `static/bridge.js`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from anywidget import AnyWidget

_STATIC = Path(__file__).parent / "static"

PageAnswer = dict[str, Any]
"""What became of what a page was asked: `how`, and what belongs to that."""


def page_module(path: Path) -> str:
    """Return a widget's JavaScript, with what the widgets share before it: it can import nothing."""
    return "\n".join(file.read_text("utf-8") for file in (_STATIC / "notebook.js", path))


class Bridge(AnyWidget):
    """A widget that is never displayed and can add a cell to the notebook of the page that was clicked."""

    _esm = page_module(_STATIC / "bridge.js")

    def __init__(
        self, sender: Callable[[], str], can_insert: frozenset[str], stale: dict[str, str] | None = None
    ) -> None:
        """Open the bridge.

        Args:
            sender: Says which page sent the message that is being answered.
            can_insert: What pages that can make cells call themselves: `FrontEnd.page`.
            stale: A bundle to put in the place of buttons that an earlier kernel has left in a notebook.
        """
        super().__init__()
        self._sender = sender
        self._can_insert = can_insert
        self._stale = stale
        self._tokens = itertools.count()
        self._on_answer: dict[int, Callable[[PageAnswer], None]] = {}
        self._pages: dict[str, str] = {}
        self._languages: dict[str, tuple[str, ...]] = {}
        self._wait_for_page: list[Callable[[], None]] = []
        self._when_lost: dict[str, Callable[[], None]] = {}
        self.on_msg(self._hear)

    @property
    def has_page(self) -> bool:
        """Whether any page has answered. Where nobody looks (nbclient, papermill), none ever does."""
        return bool(self._pages)

    def can_insert(self, client: str) -> bool:
        """Whether a page may be able to insert a cell: it said so, or it has not said anything yet."""
        return client not in self._pages or self._pages[client] in self._can_insert

    def surely_inserts(self, client: str) -> bool:
        """Whether a page has said that it can insert a cell."""
        return self._pages.get(client) in self._can_insert

    def languages(self, client: str) -> tuple[str, ...]:
        """Return the languages of a page and of its browser, as they name them; none where it has not said so."""
        return self._languages.get(client, ())

    def when_page(self, call: Callable[[], None]) -> None:
        if self.has_page:
            call()
        else:
            self._wait_for_page.append(call)

    def when_lost(self, name: str, call: Callable[[], None] | None) -> None:
        """Call `call` when a page has lost the output of this name, as nbclassic does; None to give that up."""
        if call is None:
            self._when_lost.pop(name, None)
        else:
            self._when_lost[name] = call

    def insert(self, text: str, target: dict[str, Any], on_answer: Callable[[PageAnswer], None]) -> None:
        """Ask the page that was clicked to insert a cell.

        Args:
            text: The cell's source.
            target: The cell: `client`, `replace`, `quiet` and what `Owner.on_page` has, as in `static/notebook.js`.
            on_answer: Called with `how`: "inserted", "replaced", "none" or "error". Maybe never.
        """
        self.send({"do": "insert", "token": self._token(on_answer), "text": text, **target})

    def offer_undo(
        self, client: str, anchor: str, undo: dict[str, Any], on_answer: Callable[[PageAnswer], None]
    ) -> None:
        """Ask the page that was clicked to offer to take back what it has done.

        Args:
            client: Which page.
            anchor: The class of the note beside which the button goes.
            undo: What the page has answered under this name.
            on_answer: Called when the button is clicked, with `how`: "undone", "edited", "gone" or "none".
        """
        self.send({"do": "undo", "token": self._token(on_answer), "client": client, "anchor": anchor, "undo": undo})

    def remove(self, client: str, made: Sequence[dict[str, Any]], on_answer: Callable[[PageAnswer], None]) -> None:
        """Ask a page to remove cells that it has made and nobody has changed since.

        Args:
            client: Which page.
            made: For each cell what the page has answered as `undo`.
            on_answer: Called with `cells`: for each "undone", "edited", "gone" or "none". Maybe never.
        """
        self.send({"do": "remove", "token": self._token(on_answer), "client": client, "cells": list(made)})

    def show(self, name: str, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Ask all pages to put this output where their document has an older one of the same name."""
        output = {"output_type": "display_data", "data": data, "metadata": metadata}
        self.send({"do": "show", "name": name, "output": output})

    def _learn_clients(self, content: dict[str, Any]) -> None:
        """Keep what a page says of itself, for each of its notebooks on this kernel: they share the bridge of one."""
        languages = tuple(name for name in content.get("languages", ()) if isinstance(name, str))
        for client in (self._sender(), *content.get("clients", ())):
            self._pages[client] = content["where"]
            self._languages[client] = languages

    def _token(self, on_answer: Callable[[PageAnswer], None]) -> int:
        token = next(self._tokens)
        self._on_answer[token] = on_answer
        return token

    def _hear(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        if content.get("event") in ("hello", "clients"):
            self._learn_clients(content)
        if content.get("event") == "hello":
            self.send({"do": "sweep", "data": self._stale})
            waiting, self._wait_for_page = self._wait_for_page, []
            for call in waiting:
                call()
        elif content.get("event") == "lost":
            self._when_lost.get(content["name"], lambda: None)()
        elif content.get("event") == "answer" and content["how"] != "not-mine":
            on_answer = self._on_answer.pop(content["token"], None)
            if on_answer is not None:
                on_answer(content)
