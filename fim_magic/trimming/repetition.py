"""The text goes round in circles."""

from __future__ import annotations

import math
import re

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
    return min((cut for cut in (_repeated_lines(hole, text), _repeated_run(text)) if cut is not None), default=None)


def _repeated_lines(hole: Hole, text: str) -> int | None:
    # Where indentation means nothing, it may grow with every round.
    lines = [
        (start, line if hole.is_python else line.strip())
        for start, line, complete in lines_of(text)
        if complete and line.strip()
    ]
    texts = [line for _, line in lines]
    for end in range(1, len(lines) + 1):
        for size in range(1, min(_LONGEST_BLOCK, end // 2) + 1):
            block = texts[end - size : end]
            repeats = _LINE_REPEATS if size == 1 else _BLOCK_REPEATS
            if all(line.rstrip().endswith(",") for line in block):
                repeats = max(math.ceil(_BRACKET_LINE_REPEATS / size), _BLOCK_REPEATS)
            if texts[max(end - size * repeats, 0) : end] == block * repeats:
                return end_before(hole, text, lines[end - size * (repeats - 1)][0])
    return None


def _repeated_run(text: str) -> int | None:
    for match in _RUN.finditer(text):
        unit = match.group(1).strip()
        is_data = unit.startswith(",") or unit.endswith(",")
        least = _DATA_RUN_CHARACTERS if is_data else _RUN_CHARACTERS
        if any(map(str.isalnum, unit)) and len(match.group()) >= least:
            return match.end(1)
    return None
