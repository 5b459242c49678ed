"""The cell with the cursor, as what owns a view: it did not run, so what is shown below it is put there by its page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fim_magic.frontends import Owner
from fim_magic.frontends.owner import OUTPUT_KEY

ShowOutput = Callable[[dict[str, Any], bool], None]
"""Puts an output, as a notebook has it, below the cell; or in the place of an older one of its name."""


@dataclass(frozen=True)
class CursorOwner(Owner):
    """A cell that did not run.

    Attributes:
        show_output: Puts an output below it.
        source: Its text when it asked. It did not run, and the user may go on typing in it.
    """

    show_output: ShowOutput
    source: str

    @classmethod
    def of(cls, shell: Any, show_output: ShowOutput, source: str) -> CursorOwner:
        """Return the cell that the message is about which is being handled."""
        current = Owner.current(shell)
        known = (current.shell, current.cell_id, current.request, current.anchor, current.front_end)
        return cls(*known, show_output=show_output, source=source)

    @property
    def on_page(self) -> dict[str, str]:
        return {**super().on_page, "source": self.source}

    @property
    def is_watched(self) -> bool:
        return True

    @property
    def is_running(self) -> bool:
        return False

    def show(
        self, name: str, data: dict[str, Any], metadata: dict[str, Any] | None = None, *, update: bool = False
    ) -> None:
        metadata = {**(metadata or {}), OUTPUT_KEY: name}
        self.show_output({"output_type": "display_data", "data": data, "metadata": metadata}, update)
        if update and self.bridge is not None:
            self.bridge.show(name, data, metadata)  # to a page that was loaded anew, and has another channel
