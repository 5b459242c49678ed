"""The hole is within a replacement field of an f-string: `f"{<cursor>}"`."""

from __future__ import annotations

from fim_magic.trimming.hole import Hole
from fim_magic.trimming.layout import fields


def closes_field(hole: Hole, text: str, final: bool) -> int | None:
    """End before the brace that closes a replacement field, if the suffix closes it too.

    What the suffix has before that brace, such as a format, is not the candidate's either, if the text ends with it.
    """
    if not hole.field_ends:
        return None
    # Of the fields that are open at the hole, the suffix leaves some: those are the candidate's to close.
    floor = min(hole.open_fields, len(hole.field_ends))
    position = next((position for position, depth in fields(text, hole.open_fields) if depth < floor), None)
    if position is None:
        return None
    repeated = hole.suffix[: hole.field_ends[0]]
    return position - len(repeated) if text[:position].endswith(repeated) else position
