"""The hole is within a line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from fim_magic.trimming.hole import Hole
from fim_magic.trimming.parsed import parsed_hole

_MOST_ENDS = 8  # lines that are looked at before the first of them has to do


def end_of_line(hole: Hole, text: str, final: bool) -> int | None:
    """For a hole within a line: end with that line, unless the model opens a bracket or a block on it."""
    if not hole.within_line or parsed_hole(hole) is not None:
        return None
    if not hole.is_python:
        end = text.find("\n")
        return end if end >= 0 else None
    ends = list(islice(_ends(hole, text), _MOST_ENDS + 1))
    if not ends:
        return None
    if hole.least_statements is not None:
        # A hole over several lines ends within the last of them: with its first line alone, the cell does not parse.
        fits = next((position for position in ends[:_MOST_ENDS] if hole.suffices(text[:position])), None)
        if fits is not None or not (final or len(ends) > _MOST_ENDS):
            return fits
    return ends[0]


def _ends(hole: Hole, text: str) -> Iterator[int]:
    """Yield where the hole's line, or one after it, has ended: none after a line that opens a block."""
    for event in hole.events(text):
        if event.kind != "newline":
            continue
        opened_string = event.state.string and event.state.string != hole.state.string
        opened = opened_string or event.state.depth > hole.state.depth
        line = text[: event.position].rstrip()
        if opened or line.endswith("\\"):
            continue
        if hole.state.in_code and not event.state.depth and line.endswith(":") and "\n" not in line:
            return
        yield event.position
