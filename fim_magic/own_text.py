"""What a model wrote in a text that is the user's, without what looks like a secret: what records are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from fim_magic.candidate import Candidate
from fim_magic.context.redaction import GAP, secret_spans
from fim_magic.context.secret_shapes import Span
from fim_magic.document import Document
from fim_magic.holes import written

_NEAR = 10_000  # characters on each side of a hole in which what belongs to it is looked for, in whole lines
_SHORTEST = 4  # characters of a secret that is looked for in other places, as a whole
_LEAST = 6  # characters of a part of one; fewer may be a word
_LEAST_WORDS = 10  # likewise where they are letters alone
_TELLS = re.compile(r"[0-9]|[a-z][A-Z]|[!#$%&*+;<>?@^|~]")
"""What no word has."""


def own_texts(candidate: Candidate, document: Document) -> tuple[str, ...]:
    """Return what the model wrote in each hole of `document`, without what looks like a secret there.

    A secret is seen by the text around it: `hunter2` is one behind `password = "`. What is one in the user's text is
    none of a record's either where the model repeats it, or a part of it.
    """
    read = _read(candidate, document)
    holes = written(candidate.kept, len(candidate.middle))
    return tuple(_without(candidate.middle, start, end, read.spans, read.values) for start, end in holes)


def raw_texts(candidate: Candidate) -> tuple[str, ...]:
    """Return what the model wrote in each hole, as it is."""
    middle = candidate.middle
    return tuple(middle[start:end] for start, end in written(candidate.kept, len(middle)))


def own_trimmed(candidate: Candidate, document: Document) -> str:
    """Return what was trimmed from an answer, without secrets: its own, and those of `document`."""
    if not candidate.trimmed:
        return ""  # as mostly: the user's text need not be looked through for it
    read = _read(candidate, document)
    length = len(candidate.trimmed)
    return _without(candidate.trimmed, 0, length, read.trimmed, read.values)


@dataclass(frozen=True)
class _Read:
    """Where secrets stand in an answer's middle and in what was trimmed from it, and what is one anywhere."""

    spans: Sequence[Span]
    trimmed: Sequence[Span]
    values: Sequence[str]


def _read(candidate: Candidate, document: Document) -> _Read:
    middle, rest = candidate.middle, candidate.trimmed
    before, _, after = _around(document, middle)
    found = _secrets(before, middle, after)
    spans, values, trimmed = list(found.spans), set(found.values), []
    ends = [end for _, end in written(candidate.kept, len(middle))]
    position = 0
    for end, length in zip(ends, candidate.trimmed_lengths or (len(rest),), strict=False):
        # What is trimmed goes on where the answer ends, and so may a secret; by itself another may be seen.
        text = rest[position : position + length]
        for start, whole in (
            ((end, _secrets(before + middle[:end], text, "")), (0, _secrets("", text, ""))) if text else ()
        ):
            trimmed += [(first + position, last + position) for first, last in whole.spans if last > 0]
            spans += [(first + start, start) for first, last in whole.spans if first < 0 < last]
            values.update(whole.values)
        position += length
    return _Read(sorted(spans), sorted((max(first, 0), last) for first, last in trimmed), sorted(values))


@dataclass(frozen=True)
class _Secrets:
    spans: tuple[Span, ...]  # in the middle; they may begin before it and end behind it
    values: tuple[str, ...]  # anywhere


@lru_cache(maxsize=64)
def _secrets(before: str, middle: str, after: str) -> _Secrets:
    """Find secrets in a middle and around it."""
    whole = before + middle + after
    spans = secret_spans(whole)
    hidden = {whole[start:end] for start, end in spans}
    parts = {part for text in hidden for part in (text, *text.split(":"))}  # of a login in a URL, its password as well
    values = tuple(sorted(value for value in parts if len(value) >= _SHORTEST))
    return _Secrets(tuple((start - len(before), end - len(before)) for start, end in spans), values)


def _without(text: str, start: int, end: int, spans: Sequence[Span], values: Sequence[str]) -> str:
    """Return a part of a text without what is in the spans, and without what it has in common with the values."""
    repeated = ((start + first, start + last) for first, last in _repeated(text[start:end], values))
    return "".join(_cut(text, start, end, sorted((*spans, *repeated))))


def _repeated(text: str, values: Sequence[str]) -> Iterator[Span]:
    """Yield where a text has a part of a value that tells something of it: a whole word of it does not."""
    known = {length: _pieces(values, length) for length in (_LEAST, _LEAST_WORDS)}
    for length, pieces in known.items():
        for first in range(len(text) - length + 1) if pieces else ():
            piece = text[first : first + length]
            if piece in pieces:
                yield first, first + length
    for value in values:
        if len(value) < _LEAST_WORDS and (len(value) >= _LEAST or _TELLS.search(value)):
            yield from (match.span() for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", text))


def _pieces(values: Sequence[str], length: int) -> frozenset[str]:
    pieces = (value[first : first + length] for value in values for first in range(len(value) - length + 1))
    return frozenset(
        piece for piece in pieces if length >= _LEAST_WORDS or (_TELLS.search(piece) and len(set(piece)) > 2)
    )


def _cut(text: str, start: int, end: int, spans: Sequence[Span]) -> Iterator[str]:
    position = start
    is_cut = False
    for first, last in spans:
        if max(first, start) < min(last, end) and last > position:
            if not is_cut or first > position:
                yield text[position : max(first, position)] + GAP
            position, is_cut = min(last, end), True
    yield text[position:end]


def _around(document: Document, middle: str) -> tuple[str, str, str]:
    before, after = document.prefix[-_NEAR:], document.suffix[:_NEAR]
    if len(before) < len(document.prefix):
        before = before.partition("\n")[2]
    if len(after) < len(document.suffix):
        after = after.rpartition("\n")[0]
    return before, middle, after
