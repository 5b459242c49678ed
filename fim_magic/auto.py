"""Filling a cell that holds a marker without `%%fim` before it: the option `auto`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fim_magic.line_ends import lines_with_ends
from fim_magic.markers import FILLING_MAGICS, asks_to_be_filled


class AutoFill:
    """An input transformer of IPython's: it puts `%%fim` before a cell that holds a marker.

    A cell that begins with a cell magic stays what it is, and so do IPython's own lines, which name markers when they
    set them.

    Args:
        markers: Returns the texts that mark a hole.
    """

    def __init__(self, markers: Callable[[], Sequence[str]]) -> None:
        self._markers = markers

    def __call__(self, lines: list[str]) -> list[str]:
        """Return a cell's lines, with their line ends, as they are to be run."""
        return ["%%fim\n", *lines] if self.fills("".join(lines)) else lines

    def fills(self, cell: str) -> bool:
        """Whether `cell` is filled without `%%fim`."""
        if cell.lstrip().startswith("%%"):
            return False
        if any(line.lstrip().lower().startswith(FILLING_MAGICS) for line in lines_with_ends(cell)):
            return False  # in the wrong line, which the user is told (`mistyped`)
        own = (line for line in lines_with_ends(cell) if not line.lstrip().startswith(("%", "!")))
        return asks_to_be_filled("".join(own), self._markers())
