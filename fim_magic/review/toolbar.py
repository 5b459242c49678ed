"""The kernel's end of the toolbar below a diff; the page's end is `static/toolbar.js`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anywidget import AnyWidget
from traitlets import Bool, Dict, Int, List, Unicode

from fim_magic.frontends.bridge import page_module
from fim_magic.review.buttons import BUTTONS

if TYPE_CHECKING:
    from fim_magic.review.widget import Offer

_STATIC = Path(__file__).parent / "static"

Message = dict[str, Any]


class Toolbar(AnyWidget):
    """Buttons and keys for an answer. Display it only where a page has answered: it needs anywidget there.

    Attributes:
        buttons: Of each its `name`, `label`, `key` and `about`.
        candidates: What each adds to the text: `texts`, the user's, around the holes; `added` and `whole_lines`, one
            for each hole; `imported`, which of them holds imports, or None; `about`, in words; `has_failed`, a check;
            and `record`, for the cell's metadata.
        imports: Whether the imports are taken with the rest.
        index: Which of them is shown.
        owner: The cell that asked, as of `Owner.on_page`.
        busy: Whether the kernel is asking the model again, so that nothing can be decided.
        can_ask: Whether it can do so.
        status: What to say beside the buttons.
    """

    _esm = page_module(_STATIC / "toolbar.js")
    _css = (_STATIC / "toolbar.css").read_text("utf-8")

    buttons = List(Dict(), [{"name": name, **asdict(button)} for name, button in BUTTONS.items()]).tag(sync=True)
    candidates = List(Dict()).tag(sync=True)
    index = Int(0).tag(sync=True)
    imports = Bool(True).tag(sync=True)
    owner = Dict().tag(sync=True)
    busy = Bool(False).tag(sync=True)
    can_ask = Bool(False).tag(sync=True)
    status = Unicode().tag(sync=True)

    def hear(self, call: Callable[[Message], None]) -> None:
        """Call `call` with each message of the page: `act`, `index`, and what belongs to the act."""
        self.on_msg(lambda _widget, content, _buffers: call(content))

    def offer(self, offers: Sequence[Offer]) -> None:
        self.candidates = [
            {
                "texts": list(offer.addition.texts),
                "added": list(offer.addition.added),
                "whole_lines": list(offer.addition.whole_lines),
                "imported": offer.addition.imported,
                "about": offer.about,
                "has_failed": offer.has_failed,
                "record": offer.record,
            }
            for offer in offers
        ]
