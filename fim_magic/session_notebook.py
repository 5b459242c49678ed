"""Which file holds this session's notebook.

What names it, such as an environment variable, may be stale or inherited: a notebook that was renamed, a program that a
kernel has started. So a file is believed only where it holds cells of this session.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fim_magic.context.cells import NotebookCell, find_cell, normalized, of_notebook
from fim_magic.frontends import notebook_path
from fim_magic.markers import MARKERS
from fim_magic.regular_files import LARGEST_NOTEBOOK

_TELLING = 20  # characters of cells that are in both: what any notebook may have is shorter, or imports something
_MORE_TELLING = 80  # where both have ids, and all are different
_ANYWHERE = re.compile(r"\s*(?:[%!#?].*|import\s.*|from\s+\S+\s+import\s.*|[\w.]+(?:\(.{0,40}\))?)?")
"""A line that any notebook may have: a magic, a comment, an import, a short call such as `df.head()`."""


@dataclass(frozen=True)
class SessionNotebook:
    """The file of this session's notebook.

    Attributes:
        path: The file, or None where none is known or it is not believed.
        named: The file that is named as the notebook's, or None.
        why_not: Why that is not believed, or "".
        is_another: Whether it was read, and is another notebook's.
        on_page: The cells as a page shows them, where one has told them: what they say counts, saved or not.
        hole: The id of the page's cell with the hole, or "".
    """

    path: Path | None = None
    named: Path | None = None
    why_not: str = ""
    is_another: bool = False
    on_page: tuple[NotebookCell, ...] | None = None
    hole: str = ""

    @property
    def cells(self) -> tuple[NotebookCell, ...]:
        return of_notebook(self.path) if self.on_page is None else self.on_page

    def index_of_hole(self, source: str) -> int | None:
        """Return where the cell with the hole stands, or None if that is not clear.

        Args:
            source: Of the cell. By that it is found where no page has told its id: another cell may have the same.
        """
        cells = self.cells
        told = [index for index, cell in enumerate(cells) if self.hole and cell.id == self.hole]
        return told[0] if told else find_cell(cells, source)


def find_notebook(
    shell: Any,
    executed: Sequence[str] = (),
    current: str = "",
    cell_ids: Collection[str] = (),
    markers: Sequence[str] = MARKERS,
) -> SessionNotebook:
    """Find the file of a session's notebook, and see whether it is that.

    Args:
        shell: IPython's.
        executed: The cells that ran, oldest first.
        current: The cell that is filled.
        cell_ids: Those of cells that ran, where the front end tells them.
        markers: What marks a hole.
    """
    named = notebook_path(shell)
    if named is None:
        return SessionNotebook()
    stored = of_notebook(named, largest=LARGEST_NOTEBOOK)
    if not stored:
        return SessionNotebook(None, named, "it could not be read, or has no cells yet")
    if _is_same(stored, executed, current, cell_ids, markers):
        return SessionNotebook(named, named)
    why_not = "it holds none of the cells that ran here: it is another notebook's, or older than they are"
    return SessionNotebook(None, named, why_not, is_another=True)


def _is_same(
    stored: Sequence[NotebookCell],
    executed: Iterable[str],
    current: str,
    cell_ids: Collection[str],
    markers: Sequence[str],
) -> bool:
    stored_ids = {cell.id for cell in stored if cell.id}
    if not stored_ids.isdisjoint(cell_ids):
        return True
    # VS Code has ids of its own, which no file has.
    differ = bool(stored_ids) and any(not cell_id.startswith("vscode-") for cell_id in cell_ids)
    code = {normalized(cell.source) for cell in stored if not cell.markdown}
    shared = {normalized(source) for source in (*executed, current)} & code
    if any(marker in text for text in shared for marker in markers if marker):
        return True  # nobody else's cell has its hole in the same place
    if sum(map(_telling, shared)) >= (_MORE_TELLING if differ else _TELLING):
        return True
    # A cell that is edited has lines of its own, and those that it was handed out with.
    wanted = _lines(normalized(current))
    return not differ and any(_telling("\n".join(wanted & _lines(text))) >= 2 * _TELLING for text in code)


def _lines(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines()}


def _telling(text: str) -> int:
    """How many characters of a cell tell its notebook from others."""
    return sum(len("".join(line.split())) for line in text.splitlines() if not _ANYWHERE.fullmatch(line))
