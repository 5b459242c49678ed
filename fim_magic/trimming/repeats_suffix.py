"""The text writes again what stands after the hole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fim_magic import lexing
from fim_magic.trimming.dedent import block_floor
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import INSIDE, indent, is_strong, joins_words, lines_of, normalized, unmatched
from fim_magic.trimming.parsed import parsed_hole

_CLOSING = ")]}'\" \t"


def repeats_suffix(hole: Hole, text: str, final: bool) -> int | None:
    """End where the text begins to write again what stands after the hole.

    Within a line that is the rest of that line. Otherwise it is the next line that has text on it, with the same
    indentation; where that line is weak (`else:`, a bracket), or it comes at once, the line after it as well.
    """
    rest = _rest_of_line(hole, text, final) if hole.within_line else None
    return min((cut for cut in (rest, _next_line(hole, text, final)) if cut is not None), default=None)


def _rest_of_line(hole: Hole, text: str, final: bool) -> int | None:
    tail = hole.tail.rstrip()
    only_closes_text = bool(hole.state.string) and not tail.strip(_CLOSING)
    position = text.find(tail)
    while position >= 0:
        rest, newline, _ = text[position + len(tail) :].partition("\n")
        if newline:
            ends_line = not rest.strip() or rest.lstrip().startswith("#")
        else:
            chance = only_closes_text or (not is_strong(tail) and joins_words(text[:position], tail))
            ends_line = final and not rest and not chance
        if ends_line and _fits(hole, text[:position], tail):
            return position
        position = text.find(tail, position + 1)
    return None


def _fits(hole: Hole, text: str, tail: str) -> bool:
    """Whether the hole's line closes what it should with `text` in the hole, so that `tail` is not part of `text`."""
    if not hole.is_python:
        parsed = parsed_hole(hole)
        return parsed is None or parsed.is_sound(text)
    before = hole.state_after(text)
    has_text = tail.strip(_CLOSING)
    if has_text and before.brackets == hole.state.brackets and before.string == hole.state.string:
        return True
    after = hole.state_after(text + tail)
    below = unmatched(lexing.events(hole.suffix[len(hole.tail) :], replace(INSIDE, string=after.string)))
    return len(after.string) != 1 and after.depth == len(below)


def _next_line(hole: Hole, text: str, final: bool) -> int | None:
    if not hole.following:
        return None
    lines = lines_of(hole.head + text)
    for index, (start, line, complete) in enumerate(lines):
        position = start - len(hole.head)
        if (index == 0 and hole.within_line) or not line.strip():
            continue
        if not _same_line(line, hole.following[0], complete=complete, final=final):
            continue
        enough = index > 0 and (is_strong(line) or _leaves_block(hole, text, lines[index + 1 :]))
        if not enough and not _goes_on_alike(hole, lines[index + 1 :], final):
            continue
        if hole.within_line:
            return len(text[:position].rstrip())  # what stands after the hole on its line follows
        return end_before(hole, text, max(position, 0))
    return None


def _leaves_block(hole: Hole, text: str, lines: Sequence[tuple[int, str, bool]]) -> bool:
    """Whether the line after a weak match stands left of the hole's block, as the suffix's next one does."""
    line = next((line for _, line, _ in lines if line.strip()), None)
    if line is None or not hole.is_python:
        return False
    floor, opens_block = block_floor(hole, text)
    as_suffix = len(hole.following) == 1 or indent(line) == indent(hole.following[1])
    return as_suffix and indent(line) < floor + int(opens_block)


def _goes_on_alike(hole: Hole, lines: Sequence[tuple[int, str, bool]], final: bool) -> bool:
    """Whether the line after a weak match is the suffix's too."""
    if len(hole.following) == 1:
        return False
    for _, line, complete in lines:
        if line.strip():
            return _same_line(line, hole.following[1], complete=complete, final=final)
    return False


def _same_line(line: str, wanted: str, *, complete: bool, final: bool) -> bool:
    if not complete and not final:
        return False
    if indent(line) != indent(wanted):
        return False
    if normalized(line) == normalized(wanted):
        return True
    return not complete and is_strong(line) and _breaks_off(line.strip(), wanted.strip())


def _breaks_off(line: str, wanted: str) -> bool:
    """Whether `line` is `wanted`, ended by the token limit. `import os` is not a broken `import os.path`."""
    if not wanted.startswith(line):
        return False
    inside_word = joins_words(line, wanted[len(line) :])
    state = lexing.state_after(line)
    return inside_word or bool(state.brackets or state.string)
