"""The markers of a hole: which there are, which of those in a text are holes, and what is said of none or too many.

A marker may be ordinary text of a program: `"█" * full` draws a bar, and a prompt template holds `<FILL_ME>`. What is
such text must not be deleted, so `marked_places` decides for every door which ones are holes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fim_magic.languages import MARKUP, of_cell
from fim_magic.line_ends import line_and_column
from fim_magic.quoted import quoted_positions
from fim_magic.unicode_text import without_mark

MARKERS: tuple[str, ...] = ("<cursor>", "<|cursor|>", "<FILL_ME>", "<游標在這>", "█")
"""The markers that are recognised unless the user sets others. The first is the one in the documentation."""

FILLING_MAGICS = ("%%fim", "%%complete")
"""The cell magics that fill what is marked. The second one completes it."""

_IN_TEMPLATES = "<FILL_ME>"
"""CodeLlama's own word for a hole, which programs that ask it hold in strings."""

_SUGGESTED = "@@"
_MOST_TOLD = 8  # places, in a message

Place = tuple[int, str]
"""Where in a text a marker begins, and which."""

_FILLS = re.compile(rf"\s*(?:{'|'.join(FILLING_MAGICS)})\b")
_TAG = re.compile(r"<.+>", re.DOTALL)


def occurrences(text: str, markers: Sequence[str]) -> list[Place]:
    """Return where in `text` a marker begins, and which, in order. Where one contains another, the longer is found."""
    pattern = "|".join(map(re.escape, sorted(filter(None, markers), key=len, reverse=True)))
    return [(match.start(), match.group()) for match in re.finditer(pattern, text)] if pattern else []


def marked_places(
    text: str, markers: Sequence[str], *, completes: bool = False, every: bool = False, language: str = ""
) -> list[Place]:
    """Return the occurrences of markers that are holes. Where it is not clear which are, all that may be.

    A marker is text, and no hole, where it stands in a string or in a comment and

    - it is no tag like `<cursor>`, and there is a marker in the code, or a tag; or
    - it is of another kind than one in the code; or
    - it is no tag, or `<FILL_ME>`, and the text is completed, which needs no marker, and goes on behind it.

    Args:
        text: Source text with markers.
        markers: The markers to look for.
        completes: The text may be completed at its end.
        every: The user has named the markers for this text: each occurrence is a hole.
        language: What the text is in, as `languages.of_file` calls it; "" for a cell, whose magic says it.
    """
    found = occurrences(text, markers)
    if every or not found or (len(found) == 1 and not completes):
        return found
    language = language or of_cell(without_mark(text))
    tags = {marker for _, marker in found if _TAG.fullmatch(marker)}
    if tags and language in MARKUP:  # all is text there, and a tag is the likelier hole
        found = [place for place in found if place[1] in tags]
    quoted = quoted_positions(text, found, language)
    if completes:
        return [place for place in found if place[0] not in quoted or _is_end(text, place)]
    code = {marker for position, marker in found if position not in quoted}
    if code or tags:
        found = [place for place in found if place[1] in tags or place[0] not in quoted]
    return [place for place in found if place[1] in code] if code else found


def _is_end(text: str, place: Place) -> bool:
    """Whether a completion goes on from a marker in a string: from a tag, or from the end of the text."""
    position, marker = place
    says_so = _TAG.fullmatch(marker) is not None and marker != _IN_TEMPLATES
    return says_so or not text[position + len(marker) :].strip()


def holds_hole(cell: str, markers: Sequence[str]) -> bool:
    """Whether a cell of a notebook waits to be filled: one with `%%fim`, or with a marker in its code."""
    found = occurrences(cell, markers)
    return bool(found) and (_FILLS.match(cell) is not None or _any_in_code(cell, found))


def asks_to_be_filled(cell: str, markers: Sequence[str]) -> bool:
    """Whether a cell without `%%fim` holds a marker that can only be a hole: one in its code, or a tag."""
    found = occurrences(cell, markers)
    return any(_TAG.fullmatch(marker) for _, marker in found) or _any_in_code(cell, found)


def _any_in_code(cell: str, found: Sequence[Place]) -> bool:
    return bool(found) and len(quoted_positions(cell, found, of_cell(cell))) < len(found)


def no_marker(markers: Sequence[str]) -> str:
    """Say that there is no hole, and how to make one."""
    first, *others = markers or MARKERS
    known = ", ".join(others)
    return (
        f"There is no cursor marker in the text, so there is nothing to fill. Put {first} where the code should go"
        + (f" (also known: {known})" if known else "")
        + ". To continue from the end of the text instead, use %%complete."
    )


def too_many(text: str, found: Sequence[Place], rule: str) -> str:
    """Say where the markers are that are too many, and the `rule` that they break, as a clause."""
    places = "; ".join(f"{marker} in {line_and_column(text, position)}" for position, marker in found[:_MOST_TOLD])
    if len(found) > _MOST_TOLD:
        places += f"; and {len(found) - _MOST_TOLD} more"
    kinds = {marker for _, marker in found}
    what = "different cursor markers" if len(kinds) > 1 else "cursor markers"
    return (
        f"There are {len(found)} {what}, and {rule}: {places}. "
        "Keep the one where the code should go. If a marker is part of your code, use another one for the hole, and "
        f'name it: --markers "{_SUGGESTED}" (from Python: markers=["{_SUGGESTED}"]).'
    )
