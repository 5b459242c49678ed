"""The text begins another cell."""

from __future__ import annotations

import re

from fim_magic.languages import PERCENT_COMMENTS
from fim_magic.trimming.hole import Hole, end_before

_MAGIC = re.compile(r"^%%[^\W\d]", re.MULTILINE)
_SEPARATOR = re.compile(r"^# (?:%%(?=[\s\[])|In ?\[)", re.MULTILINE)


def next_cell(hole: Hole, text: str, final: bool) -> int | None:
    """End before a line that begins another cell: a cell's magic (`%%sql`), or what separates cells in scripts.

    A magic stands on a cell's first line and nowhere else. Scripts have `# %%` (the percent format) or `# In[3]:`
    (nbconvert); a cell that has such lines itself may have more of them.
    """
    begins = [] if hole.language in PERCENT_COMMENTS else [match.start() for match in _MAGIC.finditer(text)]
    separators = [match.start() for match in _SEPARATOR.finditer(text)]
    # The whole cell is searched only where it matters: this runs at every token.
    if separators and not _SEPARATOR.search(hole.prefix + hole.suffix):
        begins += separators
    found = [position for position in begins if _begins_line(hole, text, position)]
    return end_before(hole, text, min(found)) if found else None


def _begins_line(hole: Hole, text: str, position: int) -> bool:
    """Whether a line of code begins at `position` that is not the cell's first."""
    if position == 0 and hole.head:
        return False
    if not (hole.prefix + text[:position]).strip():
        return False
    return not hole.is_python or not hole.state_after(text[:position]).string
