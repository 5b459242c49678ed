"""The text goes round in circles."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import lines_of

_LONGEST_BLOCK = 8  # lines in a repeated block that we look for
_BLOCK_REPEATS = 3
_LINE_REPEATS = 4
_BRACKET_LINE_REPEATS = 16  # a table of equal rows is data, not a loop
_RUN = re.compile(r"(.{1,40}?)\1{11,}", re.DOTALL)
_RUN_CHARACTERS = 120
_DATA_RUN_CHARACTERS = 480  # `0, 0, 0, ` may be a table


def repetition(hole: Hole, text: str, final: bool) -> int | None:
    """End a loop: the same lines, or the same few characters, over and over. The first of them is kept."""
    cuts = [at for at in (_repeated_lines(hole, text), _repeated_run(text)) if at is not None]
    return min(cuts, default=None)


def _repeated_lines(hole: Hole, text: str) -> int | None:
    # Where indentation means nothing, it may grow with every round.
    lines = [
        (start, line if hole.is_python else line.strip())
        for start, line, complete in lines_of(text)
        if complete and line.strip()
    ]
    for end in range(1, len(lines) + 1):
        for size in range(1, min(_LONGEST_BLOCK, end // 2) + 1):
            repeats = _LINE_REPEATS if size == 1 else _BLOCK_REPEATS
            if all(line.rstrip().endswith(",") for _, line in lines[end - size : end]):
                repeats = max(math.ceil(_BRACKET_LINE_REPEATS / size), _BLOCK_REPEATS)
            if _ends_in_repeats([line for _, line in lines[:end]], size, repeats):
                second = end - size * (repeats - 1)
                return end_before(hole, text, lines[second][0])
    return None


def _ends_in_repeats(lines: Sequence[str], size: int, repeats: int) -> bool:
    if len(lines) < size * repeats:
        return False
    block = lines[-size:]
    return all(lines[len(lines) - size * (n + 1) : len(lines) - size * n] == block for n in range(1, repeats))


def _repeated_run(text: str) -> int | None:
    for match in _RUN.finditer(text):
        unit = match.group(1).strip()
        is_data = unit.startswith(",") or unit.endswith(",")
        least = _DATA_RUN_CHARACTERS if is_data else _RUN_CHARACTERS
        if any(c.isalnum() for c in unit) and len(match.group()) >= least:
            return match.end(1)
    return None
