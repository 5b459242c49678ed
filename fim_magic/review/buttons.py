"""The buttons below a diff, each with its key: on the page's toolbar, and as widgets where no page answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Button:
    """Something to do with an answer.

    Attributes:
        label: On the button.
        key: As `KeyboardEvent.key` calls it. It works while the toolbar has the focus.
        about: What it does, for the button's tooltip.
    """

    label: str
    key: str
    about: str


BUTTONS = {
    "accept": Button("Accept", "Tab", "Put the filled text into a new cell below"),
    "line": Button("Line", "l", "Put only the next line into the new cell"),
    "word": Button("Word", "w", "Put only the next word into the new cell"),
    "replace": Button("Replace", "r", "Put the filled text into this cell"),
    "copy": Button("Copy", "c", "Copy the whole filled text"),
    "reject": Button("Reject", "Escape", "Change nothing"),
    "imports": Button("Import", "i", "Take the import with it that the answer needs"),
    "again": Button("Again", "a", "Ask once more, with another seed, for another candidate"),
    "more": Button("More", "m", "Ask for more: this candidate, and what comes after it"),
    "undo": Button("Undo", "z", "Take the new cell back"),
}
"""Each by the name under which `static/toolbar.js` does it, in the order of the buttons."""
