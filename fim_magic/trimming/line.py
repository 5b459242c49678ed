"""The hole is within a line."""

from __future__ import annotations

from fim_magic.trimming.hole import Hole
from fim_magic.trimming.parsed import parsed


def end_of_line(hole: Hole, text: str, final: bool) -> int | None:  # noqa: ARG001 - a Rule
    """For a hole within a line: end with that line, unless the model opens a bracket or a block on it."""
    if not hole.within_line:
        return None
    if parsed(hole) is not None:
        return None
    if not hole.is_python:
        at = text.find("\n")
        return at if at >= 0 else None
    for event in hole.events(text):
        if event.kind != "newline":
            continue
        opened_string = event.state.string and event.state.string != hole.state.string
        opened = opened_string or event.state.depth > hole.state.depth
        line = text[: event.at].rstrip()
        if opened or line.endswith("\\"):
            continue
        opens_block = hole.state.in_code and not event.state.depth and line.endswith(":") and "\n" not in line
        return None if opens_block else event.at
    return None
