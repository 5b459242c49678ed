"""The markers of a hole: which there are, where they stand in a text, and what is said of none or too many."""

from __future__ import annotations

import re
from collections.abc import Sequence

MARKERS: tuple[str, ...] = ("<cursor>", "<|cursor|>", "<FILL_ME>", "<游標在這>", "█")
"""The markers that are recognised unless the user sets others. The first is the one in the documentation."""


def occurrences(text: str, markers: Sequence[str]) -> list[tuple[int, str]]:
    """Return where in `text` a marker begins, and which, in order. Where one contains another, the longer is found."""
    pattern = "|".join(map(re.escape, sorted(filter(None, markers), key=len, reverse=True)))
    return [(match.start(), match.group()) for match in re.finditer(pattern, text)] if pattern else []


def no_marker(markers: Sequence[str]) -> str:
    """Say that there is no hole, and how to make one."""
    first, *others = markers or MARKERS
    known = ", ".join(others)
    return (
        f"There is no cursor marker in the text, so there is nothing to fill. Put {first} where the code should go"
        + (f" (also known: {known})" if known else "")
        + ". To continue from the end of the text instead, use %%complete."
    )


def too_many(text: str, found: Sequence[tuple[int, str]], rule: str) -> str:
    """Say where the markers are that are too many, and the `rule` that they break, as a clause."""
    places = "; ".join(f"{marker} in {line_and_column(text, position)}" for position, marker in found)
    kinds = {marker for _, marker in found}
    what = "different cursor markers" if len(kinds) > 1 else "cursor markers"
    return (
        f"There are {len(found)} {what}, and {rule}: {places}. "
        "Keep the one where the code should go. If a marker is part of your code, use another one for the hole."
    )


def line_and_column(text: str, position: int) -> str:
    """Say where in `text` a character stands: "line 2, column 5"."""
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return f"line {line}, column {column}"
