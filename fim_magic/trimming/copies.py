"""The text copies what stands elsewhere: before the hole, further below it, or in what the model was shown beside it.

The line that follows the hole is `repeats-suffix`'s; this is about all others. Code repeats itself, so one line that
comes again proves little: an answer is ended where three lines in a row are copied, or one that only the context has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from fim_magic.trimming.hole import Hole, end_before
from fim_magic.trimming.layout import code_of, lines_of, normalized

_STRONG_CHARACTERS = 8  # letters and digits of a line that is a copy where it comes again
_LEAST_LINES = 3  # in a row, that are copied
_LEAST_WORDS = 3  # of a part of a line that is one: a name, or a call of one, stands in many lines
_WORD = re.compile(r"\w+")
_OWNER = re.compile(r"(?<![\w.])[\d.]*([^\W\d][\w.]*\.)\Z")
_LONGEST_SEARCH = 2000  # lines


def copies(hole: Hole, text: str, final: bool) -> int | None:
    """End before lines that are copied. What is a copy from its first line on is kept: `copied_from` doubts it."""
    lines = [(start, line) for start, line, complete in lines_of(text) if (complete or final) and line.strip()]
    for index, (start, line) in enumerate(lines):
        if not text[:start].strip():
            continue
        if _is_description(hole, line):
            return end_before(hole, text, start)
        run = [_normalized(following) for _, following in lines[index : index + _LEAST_LINES]]
        if len(run) < _LEAST_LINES or not all(map(_is_distinctive, run)):
            continue
        if any(_stands_in(run, source) for source in _sources(hole, final=final)):
            return end_before(hole, text, _before_opener(hole, text, start))
    return None


def _before_opener(hole: Hole, text: str, position: int) -> int:
    """Where the line begins that opens the block at `position`, or that itself: the line needs its block."""
    kept = text[:position].rstrip()
    line = kept.rfind("\n") + 1
    opens = hole.is_python and code_of(kept[line:]).rstrip().endswith(":")
    return line if opens and kept[:line].strip() else position


def copied_from(hole: Hole, middle: str) -> str:
    """Say where all of a middle stands already: "suffix", "prefix" or "context"; "" where it has more than that."""
    own = [line for line in (hole.head + middle + hole.tail).split("\n") if line.strip()]
    if not middle.strip() or not own:
        return ""
    strong = list(filter(_is_distinctive, map(_normalized, own)))
    if any(_is_description(hole, line) for line in own):
        return "context"
    if _begins_line_again(hole, middle):
        return "prefix"
    piece = _normalized(middle) if "\n" not in middle.strip() else ""
    has_words = _is_distinctive(piece) and len(_WORD.findall(piece)) >= _LEAST_WORDS
    may_be_part = has_words and not hole.document.hole_begins_line
    for name, text in (("suffix", _below(hole)), ("prefix", _above(hole)), ("context", hole.shown)):
        known = _lines(text)
        if strong and all(line in known for line in strong):
            return name
        if may_be_part and any(piece in line for line in known):
            return name
    return ""


def _begins_line_again(hole: Hole, middle: str) -> bool:
    """Whether a middle begins with what stands before it on its line, or with the name that it is an attribute of."""
    owner = _OWNER.search(hole.head)
    beginnings = [hole.head.strip(), owner[1] if owner else ""]
    return any(sum(map(str.isalnum, text)) > 1 and middle.lstrip().startswith(text) for text in beginnings)


def _is_description(hole: Hole, line: str) -> bool:
    """Whether a line is a comment that only what the model was shown beside the cell has."""
    text = line.strip()
    return text.startswith("#") and _is_distinctive(text) and text in _comments(hole.shown)


def _sources(hole: Hole, *, final: bool) -> Iterator[Sequence[str]]:
    # While a text grows, what it has from below the hole may have begun earlier than it seems: with other names.
    for text in (*([_below(hole)] if final else []), _above(hole), hole.shown):
        yield _lines(text)


def _below(hole: Hole) -> str:
    return hole.suffix if hole.ends_line else hole.suffix.partition("\n")[2]


def _above(hole: Hole) -> str:
    return hole.prefix[: len(hole.prefix) - len(hole.head)]


def _stands_in(run: Sequence[str], lines: Sequence[str]) -> bool:
    starts = (index for index, line in enumerate(lines) if line == run[0])
    return any(list(lines[start : start + len(run)]) == list(run) for start in starts)


def _is_distinctive(line: str) -> bool:
    return sum(map(str.isalnum, line)) >= _STRONG_CHARACTERS


def _normalized(line: str) -> str:
    return normalized(line) if code_of(line).strip() else line.strip()


@lru_cache(maxsize=4)
def _lines(text: str) -> tuple[str, ...]:
    """The lines of a text that are not blank, normalised."""
    return tuple(_normalized(line) for line in text.split("\n")[-_LONGEST_SEARCH:] if line.strip())


@lru_cache(maxsize=2)
def _comments(text: str) -> frozenset[str]:
    return frozenset(line.strip() for line in text.split("\n") if line.lstrip().startswith("#"))
