"""Filling a cell that holds a marker without `%%fim` before it, for those who have asked for that."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class AutoFill:
    """An input transformer of IPython's: it puts `%%fim` before a cell that holds a marker.

    A cell that begins with a cell magic stays what it is, and so do IPython's own lines, which name markers when they
    set them.
    """

    def __init__(self, markers: Callable[[], Sequence[str]]) -> None:
        """Make it.

        Args:
            markers: Says which texts mark a hole.
        """
        self._markers = markers

    def __call__(self, lines: list[str]) -> list[str]:
        """Return a cell's lines, with their line ends, as they are to be run."""
        return ["%%fim\n", *lines] if self.fills("".join(lines)) else lines

    def fills(self, cell: str) -> bool:
        """Whether `cell` is filled without asking to be."""
        if cell.lstrip().startswith("%%"):
            return False
        markers = [marker for marker in self._markers() if marker]
        return any(
            marker in line
            for line in cell.splitlines()
            if not line.lstrip().startswith(("%", "!"))
            for marker in markers
        )
