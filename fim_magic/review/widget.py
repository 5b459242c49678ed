"""The buttons below a diff: Accept, Replace, Copy, Reject.

They are an output of their own, next to the diff and not around it, so that the diff stays readable
in a saved notebook, where a widget is only an error message. For the same reason they are replaced
by a short note, which is plain HTML, as soon as the user has decided.

All but Copy are core ipywidgets, which nearly every front end can show.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
from IPython.display import publish_display_data

from fim_magic.frontends import Owner, Placed, page_bridge
from fim_magic.review.render import note_html

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"

_REJECTED = "Rejected: nothing was changed."

_shown: dict[str, Actions] = {}
"""The undecided buttons of each cell that is known by its id."""


class Actions:
    """One row of buttons for one request. It takes one decision."""

    def __init__(
        self,
        texts: Sequence[str],
        owner: Owner,
        on_decision: Callable[[str, int], None] | None = None,
        on_choice: Callable[[int], None] | None = None,
    ) -> None:
        """Make the buttons; nothing is shown yet.

        Args:
            texts: The whole text that each candidate makes.
            owner: The cell that asked.
            on_decision: Called with "accept", "replace", "reject" or "copy", and the index of the
                text, after it was done.
            on_choice: Called with the index of the text that the user wants to see.
        """
        self._texts = texts
        self._owner = owner
        self._on_decision = on_decision or _ignore
        self._on_choice = on_choice or _ignore
        self._index = 0
        self._decided = False
        self._copy: Any = None
        self._display_id = uuid.uuid4().hex
        self._accept = _button("Accept", "Put the filled text into a new cell below", "success")
        self._replace = _button("Replace", "Put the filled text into this cell")
        self._reject = _button("Reject", "Change nothing")
        self._accept.on_click(lambda _: self._place("accept"))
        self._replace.on_click(lambda _: self._place("replace"))
        self._reject.on_click(lambda _: self._drop())
        self._status = ipywidgets.Label()
        self._chooser = _chooser(len(texts))
        self._chooser.observe(lambda change: self._choose(change["new"]), "value")
        self._row = ipywidgets.HBox(layout=ipywidgets.Layout(flex_flow="row wrap"))
        self._row.add_class(owner.marker)
        self._arrange()

    def show(self) -> None:
        """Show the buttons as an output of the running cell."""
        cell_id = self._owner.cell_id
        if cell_id:
            if cell_id in _shown:
                _shown[cell_id].close()  # the cell is run again: their output is gone
            _shown[cell_id] = self
        view = {"version_major": 2, "version_minor": 0, "model_id": self._row.model_id}
        bundle = {WIDGET_MIME: view, "text/plain": ""}
        self._publish(bundle)
        bridge = page_bridge()
        if bridge is not None:
            # Where nobody has answered, anywidget may not be installed, and its button would be an
            # error message.
            bridge.when_page(self._add_copy)

    def close(self) -> None:
        """Give back what the buttons hold in the kernel and on the page."""
        self._decided = True
        for widget in (*self._buttons, self._copy, self._chooser, self._status, self._row):
            if widget is not None:
                widget.close()
        if _shown.get(self._owner.cell_id) is self:
            del _shown[self._owner.cell_id]

    @property
    def _buttons(self) -> tuple[Any, ...]:
        return (self._accept, self._replace, self._reject)

    def _arrange(self) -> None:
        row = [self._accept, self._replace, self._copy, self._reject]
        if len(self._texts) > 1:
            row.append(self._chooser)
        self._row.children = [widget for widget in (*row, self._status) if widget is not None]

    def _add_copy(self) -> None:
        from fim_magic.review.bridge import CopyButton

        if self._decided:
            return
        self._copy = CopyButton()
        self._copy.text = self._texts[self._index]
        self._copy.on_msg(lambda *_: self._on_decision("copy", self._index))
        self._arrange()

    def _choose(self, index: int) -> None:
        self._index = index
        if self._copy is not None:
            self._copy.text = self._texts[index]
        self._on_choice(index)

    def _place(self, decision: str) -> None:
        if not self._begin():
            return
        index = self._index
        reported = False

        def done(placed: Placed) -> None:
            nonlocal reported
            self._end(placed.message)
            if not reported:
                reported = True
                self._on_decision(decision, index)

        try:
            self._owner.place(self._texts[index], decision == "replace", done)
        except Exception as error:
            self._decided = False
            self._enable(True)
            self._status.value = f"Not accepted: {error}"
            raise

    def _drop(self) -> None:
        if self._begin():
            self._end(_REJECTED)
            self._on_decision("reject", self._index)

    def _begin(self) -> bool:
        """Take the decision; False if one was taken, as by the first of two fast clicks."""
        if self._decided:
            return False
        self._decided = True
        self._enable(False)
        return True

    def _enable(self, enabled: bool) -> None:
        for button in (*self._buttons, self._chooser):
            button.disabled = not enabled

    def _publish(self, bundle: dict[str, Any], *, update: bool = False) -> None:
        transient = {"display_id": self._display_id}
        publish_display_data(bundle, transient=transient, update=update)

    def _end(self, message: str) -> None:
        """Put a note in the place of the buttons."""
        note = {"text/html": note_html(message), "text/plain": message}
        self._publish(note, update=True)
        bridge = page_bridge()
        if bridge is not None:
            bridge.settle(self._row.model_id, note)
        self.close()


def _ignore(*_: object) -> None:
    """Do nothing."""


def _button(name: str, tooltip: str, style: str = "") -> Any:
    return ipywidgets.Button(
        description=name,
        tooltip=tooltip,
        button_style=style,
        layout=ipywidgets.Layout(width="auto"),
    )


def _chooser(count: int) -> Any:
    return ipywidgets.ToggleButtons(
        options=[(str(index + 1), index) for index in range(count)],
        tooltips=[f"Show candidate {index + 1}" for index in range(count)],
        style={"button_width": "auto"},
    )
