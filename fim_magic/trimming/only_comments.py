"""The text begins with a comment where the hole asks for code."""

from __future__ import annotations

from fim_magic.trimming.extent import Extent, extent_of
from fim_magic.trimming.hole import Hole


def only_comments(hole: Hole, text: str, final: bool) -> int | None:
    """End before all of an answer that begins with a comment, where a statement is asked for.

    A small model that begins with a comment writes one from the texts that it was shown, or explains; other answers
    leave it at its first token (`fim_magic.branching`). A body may begin with a comment.
    """
    asks_for_code = hole.least_statements is not None and hole.is_python and hole.state.in_code
    if not asks_for_code or hole.head.strip() or not text.lstrip().startswith("#"):
        return None
    return None if extent_of(hole) is Extent.BODY else 0
