"""The text closes a block or a bracket that the user opened. For languages with a parser."""

from __future__ import annotations

import re

from fim_magic.languages import ParsedHole
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.parsed import asks_for_rest, is_whole, line_ends, parsed_hole

_ENDS_TEXT = re.compile(r"\*/|-->|`")


def leaves_block(hole: Hole, text: str, final: bool) -> int | None:
    """End before the token that closes a block or a bracket of the user's, if what follows the hole closes it too.

    Also before the end of the comment or template that the hole is in. A line that closes one and opens another
    (`} else {`, `a).then(b`) may be what is wanted if it comes first, or stands where the rest of a line is asked for.

    Where what follows closes a block that is not open, the text has to open it: if it leaves that one, it ends with the
    line that opened it.
    """
    parsed = parsed_hole(hole)
    if parsed is None:
        return None
    if parsed.inside:
        return _leaves_text(hole, parsed, text, final)
    if parsed.debt < 0:
        return _leaves_its_own(hole, parsed, text, final)
    rest, start = asks_for_rest(hole, text), 0
    for end in line_ends(text, final):
        left, depth = parsed.fill(text[:end]).leaves(parsed.debt, start)
        start = end
        if left is None:
            continue
        opens_another = depth >= -parsed.debt and (rest or not text[:left].strip())
        if not opens_another or not parsed.is_sound(text[:end]):
            return end_before(hole, text, left)
    return None


def _leaves_its_own(hole: Hole, parsed: ParsedHole, text: str, final: bool) -> int | None:
    """Where the line ends that opens the block that what follows the hole closes, if the text leaves it again."""
    opened = None
    for end in line_ends(text, final):
        if opened is None:
            opened = end if is_whole(parsed, text[:end]) else None
        elif parsed.fill(text[:end]).leaves(parsed.debt, opened)[0] is not None:
            return end_before(hole, text, opened)
    return None


def _leaves_text(hole: Hole, parsed: ParsedHole, text: str, final: bool) -> int | None:
    """Where the text ends the comment or template that the hole is in, if more of it follows."""
    if asks_for_rest(hole, text):
        return None
    found = _ENDS_TEXT.search(text)
    if found is None or parsed.is_sound(text if final else text[: text.find("\n", found.end())]):
        return None
    return end_before(hole, text, found.start())
