"""The text begins another cell."""

from __future__ import annotations

import re
from bisect import bisect_left

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
    found = next((position for position in sorted(begins) if _begins_line(hole, text, position)), None)
    return None if found is None else end_before(hole, text, found)


def _begins_line(hole: Hole, text: str, position: int) -> bool:
    """Whether a line of code begins at `position` that is not the cell's first."""
    if position == 0 and hole.head:
        return False
    if not hole.prefix.strip() and position <= len(text) - len(text.lstrip()):
        return False
    return not hole.is_python or not _string_at(hole, text, position)


def _string_at(hole: Hole, text: str, position: int) -> str:
    """The delimiter of the string that the line at `position` begins in, or ""."""
    events = hole.events(text)
    before = bisect_left(events, position, key=lambda event: event.position)
    return (events[before - 1].state if before else hole.state).string
