"""The text writes in its own way what stands after the hole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from keyword import iskeyword

from fim_magic.trimming.dedent import dedent
from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import code_of, indent, lines_of
from fim_magic.trimming.unreachable import unreachable

_TOKEN = re.compile(r"""[^\W\d]\w*|\d[\w.]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\S""")
_LEAST_LINES = 3
_LEAST_TOKENS = 16
_LONGEST_SEARCH = 48  # lines on either side; what is longer is compared in its first lines
_ODD_LINE_PER = 5  # of so many lines one may be another


def rewrites_suffix(hole: Hole, text: str, final: bool) -> int | None:
    """End where the text began to write what follows the hole with other names, or without its first lines.

    Code that looks like what follows it is common, so this looks only at a text that another rule has found to run
    on: one that left its block, or returned where what follows could never run. From the cut up to there, every line
    has to be one that follows the hole: of the same tokens, but for names, and those changed in one way throughout.
    """
    if not hole.above_code or len(hole.following) < _LEAST_LINES:
        return None
    ends = [end for rule in (dedent, unreachable) if (end := rule(hole, text, final)) is not None]
    if not ends:
        return None
    wanted = [line for line in hole.following if code_of(line).strip()][:_LONGEST_SEARCH]
    # Lines before the hole's own first are no candidates: something of the text is kept.
    written = [(start, line) for start, line, _ in lines_of(text) if code_of(line).strip() and start > 0]
    last = _last_line(hole, text, min(ends))
    written = [(start, line) for start, line in written if start <= last][:_LONGEST_SEARCH]
    for index, (start, line) in enumerate(written):
        if not text[:start].strip():
            continue
        run = [row for _, row in written[index:]]
        if any(_follows(run, wanted, first) for first in range(len(wanted)) if indent(wanted[first]) == indent(line)):
            return end_before(hole, text, start)
    return None


def _last_line(hole: Hole, text: str, end: int) -> int:
    """Where the last line begins that belongs to the rewriting: a `return` that `unreachable` cuts, too."""
    rest = text[end:]
    first = end + len(rest) - len(rest.lstrip())
    start = text.rfind("\n", 0, first) + 1
    line = text[start:].partition("\n")[0]
    in_block = indent(line) >= indent(hole.following[0]) and "\n" in text[start:]
    return start if in_block else start - 1


def _follows(run: Sequence[str], wanted: Sequence[str], first: int) -> bool:
    """Whether the lines of `run` are those of `wanted` from `first` on, and have enough tokens to be sure."""
    if any(indent(line) < indent(wanted[first]) for line in wanted[:first]):
        return False  # it would begin in another block
    if len(run) < _LEAST_LINES or len(wanted) - first < len(run):
        return False
    names: dict[str, str] = {}
    odd = tokens = 0
    for line, other in zip(run, wanted[first:], strict=False):
        if indent(line) != indent(other):
            return False
        renamed = _renamed(_tokens(line), _tokens(other), names)
        if renamed is None:
            odd += 1
            if _tokens(line)[0] != _tokens(other)[0] or odd * _ODD_LINE_PER > len(run):
                return False
        else:
            names = renamed
            tokens += len(_tokens(line))
    return tokens >= _LEAST_TOKENS


def _renamed(line: Sequence[str], other: Sequence[str], names: dict[str, str]) -> dict[str, str] | None:
    """`names` with what has to be renamed to make `line` from `other`; None where no renaming does."""
    if len(line) != len(other):
        return None
    found = dict(names)
    for token, old in zip(line, other, strict=True):
        if not _is_name(token) or not _is_name(old):
            if token != old:
                return None
        elif found.setdefault(old, token) != token:
            return None
    return found if len(set(found.values())) == len(found) else None


def _is_name(token: str) -> bool:
    return token.isidentifier() and not iskeyword(token)


@lru_cache(maxsize=1024)
def _tokens(line: str) -> tuple[str, ...]:
    """The tokens of a line without its comment; quotes are all alike."""
    found = _TOKEN.findall(code_of(line))
    return tuple('"' + token[1:-1] + '"' if token[0] in "'\"" and len(token) > 1 else token for token in found)
