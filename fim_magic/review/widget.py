"""The buttons below a diff.

They are an output of their own, next to the diff and not around it, so that the diff stays readable in a saved
notebook, where a widget is only an error message. For the same reason they are replaced by a short note, which is plain
HTML, as soon as the user has decided.

There are two kinds. Where a page has answered the bridge, it is the toolbar, which has keys and acts by itself. Until
then, and where no page ever answers, it is a row of core ipywidgets, which nearly every front end can show.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ipywidgets

from fim_magic.frontends import Owner, Placed
from fim_magic.provenance import Record
from fim_magic.review.buttons import BUTTONS
from fim_magic.review.diff import Addition
from fim_magic.review.render import NO_MATHS, note_html
from fim_magic.visible import plain_text

if TYPE_CHECKING:
    from fim_magic.frontends.bridge import PageAnswer
    from fim_magic.review.toolbar import Message, Toolbar

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"

_REJECTED = "Rejected: nothing was changed."
_PART_KEPT = "Rejected: what had been taken of it stays in the new cell."
_NOT_UNDONE = {
    "edited": "Not taken back: the cell has been edited since.",
    "gone": "Not taken back: the cell is not there any more.",
}

_shown: dict[str, Actions] = {}
"""The undecided buttons, by the id of their cell."""


@dataclass(frozen=True)
class Offer:
    """What the user can take.

    Attributes:
        addition: What a candidate adds to the text.
        about: The candidate in a few words.
        record: What the metadata of a cell with this text say.
        has_failed: Whether a check says that it is not as it should be.
    """

    addition: Addition
    about: str = ""
    record: Record = field(default_factory=dict)
    has_failed: bool = False

    def text_with(self, *, imports: bool) -> str:
        """Return the whole text that it makes, with or without the imports that belong to it."""
        return (self.addition if imports else self.addition.without_imports).text


@dataclass(frozen=True)
class Listener:
    """What is called when the user does something.

    Attributes:
        on_decision: With "accept", "replace", "reject", "part", "copy" or "undo" and the candidate's index, after
            that was done.
        on_choice: With the index of the candidate that the user wants to see.
        on_ask: With the index of the candidate that the user wants to be longer, or None for another one. None where
            no other can be had.
        on_imports: With whether the imports that belong to an answer are to be taken with it.
    """

    on_decision: Callable[[str, int], None]
    on_choice: Callable[[int], None]
    on_ask: Callable[[int | None], None] | None = None
    on_imports: Callable[[bool], None] = lambda _with: None


class Actions:
    """One row of buttons for one request. It takes one decision, which can be taken back."""

    def __init__(self, offers: Sequence[Offer], owner: Owner, listener: Listener) -> None:
        """Make the buttons for these candidates in this cell; nothing is shown yet."""
        self._offers = list(offers)
        self._owner = owner
        self._listener = listener
        self._index = 0
        self._has_part = False
        self._with_imports = True
        self._display_id = uuid.uuid4().hex
        self._open()

    def show(self) -> None:
        """Show the buttons as an output of the running cell."""
        cell_id = self._owner.cell_id
        if cell_id:
            if cell_id in _shown:
                _shown[cell_id].close()  # the cell is run again: their output is gone
            _shown[cell_id] = self
        self._owner.show(self._display_id, self._view())
        bridge = self._owner.bridge
        if bridge is not None:
            # Where nobody has answered, anywidget may not be installed, and its toolbar would be an error message.
            bridge.when_page(self._upgrade)
            bridge.when_lost(self._display_id, self._show_again)

    def close(self) -> None:
        """Give back what the buttons hold in the kernel and on the page."""
        self._decided = True
        bridge = self._owner.bridge
        if bridge is not None:
            bridge.when_lost(self._display_id, None)
        others = (self._importer, self._toolbar, self._chooser, self._status, self._row)
        for widget in filter(None, (*self._deciders, *self._askers, *others)):
            widget.close()
        if _shown.get(self._owner.cell_id) is self:
            del _shown[self._owner.cell_id]

    @property
    def is_touched(self) -> bool:
        """Whether the user has decided, or taken a part."""
        return self._decided or self._has_part

    def go_on(self, offers: Sequence[Offer], listener: Listener) -> None:
        """Change the candidates and who hears of what the user does, when a request that offered one is done.

        Args:
            offers: One for each candidate, the first to be shown.
            listener: Called with what the user does from now on.
        """
        self._listener = listener
        if self._decided:
            self._offers = list(offers)  # for Undo
            return
        if self._toolbar is not None:
            self._toolbar.can_ask = listener.on_ask is not None
        self.offer(offers, 0)

    def offer(self, offers: Sequence[Offer], index: int) -> None:
        """Change the candidates, and which of them is shown."""
        self._offers, self._index = list(offers), index
        if self._toolbar is not None:
            self._toolbar.offer(offers)
            self._toolbar.index = index
        else:
            self._fill_row()

    def busy(self, busy: bool, status: str = "") -> None:
        """Say that the model is being asked again, or no longer."""
        if self._toolbar is not None:
            self._toolbar.busy, self._toolbar.status = busy, plain_text(status)
        else:
            self._enable(not busy)
            self._status.value = plain_text(status)

    def _open(self) -> None:
        self._decided = False
        self._toolbar: Toolbar | None = None
        self._accept = _button("accept", "success")
        self._replace = _button("replace")
        self._reject = _button("reject")
        self._accept.on_click(lambda _: self._place("accept"))
        self._replace.on_click(lambda _: self._place("replace"))
        self._reject.on_click(lambda _: self._drop())
        self._again = _button("again")
        self._more = _button("more")
        self._again.on_click(lambda _: self._ask(None))
        self._more.on_click(lambda _: self._ask(self._index))
        self._deciders, self._askers = (self._accept, self._replace, self._reject), (self._again, self._more)
        self._importer = _toggle("imports", self._with_imports)
        self._importer.observe(lambda change: self._import(change["new"]), "value")
        self._status = ipywidgets.Label()
        for name in NO_MATHS:  # a label is typeset as well
            self._status.add_class(name)
        self._chooser: Any = None
        self._row = ipywidgets.HBox(layout=ipywidgets.Layout(flex_flow="row wrap"))
        self._row.add_class(self._owner.anchor)
        self._fill_row()

    def _fill_row(self) -> None:
        """Put the core widgets into the row, with a button for each candidate."""
        if self._chooser is not None:
            self._chooser.close()
        self._chooser = _chooser(self._offers, self._index)
        self._chooser.observe(lambda change: self._choose(change["new"]), "value")
        chooser = [self._chooser] if len(self._offers) > 1 else []
        askers = [] if self._listener.on_ask is None else self._askers
        importer = [self._importer] if any(offer.addition.imported is not None for offer in self._offers) else []
        self._row.children = [*self._deciders, *importer, *askers, *chooser, self._status]

    def _import(self, with_imports: bool) -> None:
        if with_imports != self._with_imports:
            self._with_imports = with_imports
            self._listener.on_imports(with_imports)

    def _ask(self, index: int | None) -> None:
        if not self._decided and self._listener.on_ask is not None:
            self._listener.on_ask(index)

    def _upgrade(self) -> None:
        """Put the toolbar in the place of the core widgets."""
        if self._decided or self._toolbar is not None:
            return
        from fim_magic.review.toolbar import Toolbar

        self._toolbar = toolbar = Toolbar()
        toolbar.owner = self._owner.on_page
        toolbar.can_ask = self._listener.on_ask is not None
        self.offer(self._offers, self._index)
        toolbar.imports = self._with_imports
        toolbar.observe(lambda change: self._choose(change["new"]), "index")
        toolbar.observe(lambda change: self._import(change["new"]), "imports")
        toolbar.hear(self._act)
        self._row.children = [toolbar]

    def _act(self, message: Message) -> None:
        """Follow what the user did with the toolbar."""
        act, self._index = message["act"], self._index_of(message)
        if act in ("accept", "replace"):
            if self._begin():
                self._end(act, self._owner.placed_by_page(self._text, message))
        elif act == "reject":
            self._drop(_PART_KEPT if message.get("kept") else _REJECTED)
        elif act in ("again", "more"):
            self._ask(self._index if act == "more" else None)
        else:
            self._has_part = act == "part" or (self._has_part and act != "undo")
            self._listener.on_decision(act, self._index)

    @property
    def _text(self) -> str:
        return self._offers[self._index].text_with(imports=self._with_imports)

    def _index_of(self, message: Message) -> int:
        """Which candidate the page speaks of: what it has not heard of yet may have changed their order."""
        index: int = message["index"]
        texts = ["".join(offer.addition.added) for offer in self._offers]
        added = str(message.get("added"))
        known = added in texts and (index >= len(texts) or texts[index] != added)
        return texts.index(added) if known else min(index, len(texts) - 1)

    def _choose(self, index: int) -> None:
        if index != self._index:
            self._index = index
            self._listener.on_choice(index)

    def _place(self, decision: str) -> None:
        if not self._begin():
            return
        try:
            self._owner.place(self._text, decision == "replace", lambda placed: self._end(decision, placed))
        except Exception as error:
            self._decided = False
            self._enable(True)
            self._status.value = plain_text(f"Not accepted: {error}")
            raise

    def _drop(self, note: str = _REJECTED) -> None:
        if self._begin():
            self._note(note)
            self.close()
            self._listener.on_decision("reject", self._index)

    def _begin(self) -> bool:
        """Take the decision; False if one was taken, as by the first of two fast clicks."""
        if self._decided:
            return False
        self._decided = True
        self._is_told = False
        self._enable(False)
        return True

    def _enable(self, enabled: bool) -> None:
        for button in (*self._deciders, *self._askers, self._importer, self._chooser):
            button.disabled = not enabled

    def _end(self, decision: str, placed: Placed) -> None:
        """Put a note in the place of the buttons. It is called again if a page answers late."""
        self._note(placed.message)
        self.close()
        if placed.undo is not None:
            self._owner.offer_undo(placed.undo, self._taken_back)
        if not self._is_told:
            self._is_told = True
            self._listener.on_decision(decision, self._index)

    def _taken_back(self, answer: PageAnswer) -> None:
        """Show the buttons again after Undo, or say why there was none."""
        if answer["how"] != "undone":
            self._note(_NOT_UNDONE.get(answer["how"], "Not taken back."))
            return
        self._open()
        self._show_again()
        self._upgrade()
        if self._owner.cell_id:
            _shown[self._owner.cell_id] = self
        self._listener.on_decision("undo", self._index)

    def _show_again(self) -> None:
        self._owner.show(self._display_id, self._view(), update=True)

    def _view(self) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self._row.model_id}
        return {WIDGET_MIME: view, "text/plain": ""}

    def _note(self, message: str) -> None:
        note = {"text/html": note_html(message, self._owner.anchor), "text/plain": message}
        self._owner.show(self._display_id, note, update=True)


def _button(name: str, style: str = "") -> Any:
    return ipywidgets.Button(
        description=BUTTONS[name].label,
        tooltip=BUTTONS[name].about,
        button_style=style,
        layout=ipywidgets.Layout(width="auto"),
    )


def _toggle(name: str, value: bool) -> Any:
    button = BUTTONS[name]
    return ipywidgets.ToggleButton(
        value=value, description=button.label, tooltip=button.about, layout=ipywidgets.Layout(width="auto")
    )


def _chooser(offers: Sequence[Offer], index: int) -> Any:
    return ipywidgets.ToggleButtons(
        options=[
            (f"{index + 1} ✗" if offer.has_failed else str(index + 1), index) for index, offer in enumerate(offers)
        ],
        value=index if offers else None,
        tooltips=[f"Show candidate {number}: {offer.about}" for number, offer in enumerate(offers, 1)],
        style={"button_width": "auto"},
    )
