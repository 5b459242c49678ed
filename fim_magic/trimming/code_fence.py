"""The text ends its Markdown code block."""

from __future__ import annotations

from fim_magic.languages import MARKUP
from fim_magic.trimming.hole import Hole, end_before


def code_fence(hole: Hole, text: str, final: bool) -> int | None:
    """End before a Markdown fence: an instruct model that ends its code block goes on to explain it."""
    if hole.language in MARKUP or (hole.is_python and hole.state.string):
        return None
    if text.startswith("```") and not hole.head.strip():
        return 0
    if not hole.is_python:
        # No other language of a cell has a line that begins so, and its strings are not known here.
        end = text.find("\n```")
        return end_before(hole, text, end + 1) if end >= 0 else None
    for event in hole.events(text):
        outside = event.kind == "newline" and not event.state.string
        if outside and text.startswith("```", event.position + 1):
            return end_before(hole, text, event.position + 1)
    return None
