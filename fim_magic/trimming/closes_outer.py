"""The hole is within brackets or a string."""

from __future__ import annotations

from fim_magic import lexing
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import end_of_string
from fim_magic.trimming.parsed import parsed_hole


def closes_outer(hole: Hole, text: str, final: bool) -> int | None:
    """End before a bracket or quote that closes what was opened before the hole, if the suffix closes it too.

    What the suffix has before that bracket or quote is not the candidate's either, if the text ends with it.
    """
    if not hole.is_python:
        return _closes_braces(hole, text)
    if hole.state.comment or hole.field_ends:  # from Python 3.12 on, a field may have the string's own quotes in it
        return None
    found = hole.events(text)
    if hole.state.string:
        position = None if hole.closed_at is None else end_of_string(found, hole.state)
    else:
        # Of the brackets that are open at the hole, the suffix leaves some: those are the candidate's to close.
        floor = min(len(hole.outer), hole.state.depth)
        position = next(
            (event.position for event in found if event.kind == "close" and event.state.depth < floor), None
        )
    if position is None:
        return None
    repeated = hole.suffix[: hole.closed_at]
    return end_before(hole, text, position - len(repeated) if text[:position].endswith(repeated) else position)


def _closes_braces(hole: Hole, text: str) -> int | None:
    """In a language whose blocks stand in braces: where one is closed that the suffix closes too."""
    if not hole.brace_language or hole.within_line or parsed_hole(hole) is not None:
        return None
    open_here, by_suffix = hole.braces
    mine = open_here - by_suffix  # what the suffix leaves open is the candidate's to close
    if by_suffix == 0 or mine < 0:
        return None
    _, closed = lexing.braces(text, hash_comments=hole.brace_language == "r")
    return end_before(hole, text, closed[mine]) if len(closed) > mine else None
