"""What a page asks: its messages as values. They come from outside of this process, so each field is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fim_magic.context.cells import NotebookCell
from fim_magic.document import Document

MOST_CANDIDATES = 4
"""Of ghost text: more than a few are looked through by nobody."""


class MessageError(ValueError):
    """A message is none of the protocol's: the page is of another version."""


@dataclass(frozen=True)
class Asked:
    """A request for ghost text, or for a fill at the cursor.

    Attributes:
        id: The page's name for it.
        cell_id: Of the cell with the cursor.
        document: The cell's text; what is selected there is to be replaced.
        metadata: The notebook's, for the switches in it.
        cells: The notebook's cells as the page shows them, or None where they are as they were.
        is_automatic: Nobody has asked for it: there was a pause in typing.
        candidates: How many answers.
        instead: The page's name for a request of which the user sees an answer, and this one has further ones; or "".
    """

    id: str
    cell_id: str
    document: Document
    metadata: dict[str, Any]
    cells: tuple[NotebookCell, ...] | None
    is_automatic: bool
    candidates: int
    instead: str = ""

    @classmethod
    def of(cls, message: dict[str, Any]) -> Asked:
        """Read a message.

        Raises:
            MessageError: It is none.
        """
        cells = message.get("cells")
        candidates = message.get("candidates", 1)
        if type(candidates) is not int or not 1 <= candidates <= MOST_CANDIDATES:
            raise MessageError("candidates")
        return cls(
            id=text_of(message, "id"),
            cell_id=text_of(message, "cell_id"),
            document=Document(
                text_of(message, "prefix"), text_of(message, "suffix"), replaced=text_of(message, "selected", "")
            ),
            metadata=_checked(message.get("metadata", {}), dict, "metadata"),
            cells=None if cells is None else _cells(_checked(cells, list, "cells")),
            is_automatic=message.get("automatic") is True,
            candidates=candidates,
            instead=text_of(message, "instead", ""),
        )


def text_of(message: dict[str, Any], name: str, default: str | None = None) -> str:
    """Return a text of a message.

    Raises:
        MessageError: It is none.
    """
    text: str = _checked(message.get(name, default), str, name)
    return text


def _cells(cells: Sequence[Any]) -> tuple[NotebookCell, ...]:
    """Read cells, each `{type, source, id}`; those that are neither code nor text are left out."""
    found = [_checked(cell, dict, "cells") for cell in cells]
    return tuple(
        NotebookCell(text_of(cell, "source"), cell["type"] == "markdown", text_of(cell, "id", ""))
        for cell in found
        if cell.get("type") in ("code", "markdown")
    )


def _checked(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise MessageError(name)
    return value
