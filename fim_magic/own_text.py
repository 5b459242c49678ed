"""What a model wrote in a text that is the user's, without what looks like a secret: what records are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from fim_magic.candidate import Candidate
from fim_magic.context.redaction import GAP, redacted, secret_spans
from fim_magic.document import Document
from fim_magic.holes import written

_NEAR = 10_000  # characters on each side of a hole in which what belongs to it is looked for, in whole lines
_LEAST = 6  # characters of a secret that is looked for in other places; shorter ones may be words


def own_texts(candidate: Candidate, document: Document) -> tuple[str, ...]:
    """Return what the model wrote in each hole of `document`, without what looks like a secret there.

    A secret is seen by the text around it: `hunter2` is one behind `password = "`. What is one in the user's text is
    none of a record's either where the model repeats it.
    """
    middle = candidate.middle
    found = _secrets(*_around(document, middle))
    holes = written(candidate.kept, len(middle))
    return tuple(_without(middle, start, end, found.spans, found.values) for start, end in holes)


def raw_texts(candidate: Candidate) -> tuple[str, ...]:
    """Return what the model wrote in each hole, as it is."""
    middle = candidate.middle
    return tuple(middle[start:end] for start, end in written(candidate.kept, len(middle)))


def without_secrets(text: str, document: Document) -> str:
    """Return a text that a model wrote beside its answer, without secrets: its own, and those of `document`."""
    if not text:
        return ""  # as mostly: the user's text need not be looked through for it
    found = _secrets(*_around(document, ""))
    shown = redacted(text)
    return _without(shown, 0, len(shown), (), found.values)


@dataclass(frozen=True)
class _Secrets:
    spans: tuple[tuple[int, int], ...]  # in the middle; they may begin before it and end behind it
    values: tuple[str, ...]  # anywhere


@lru_cache(maxsize=64)
def _secrets(before: str, middle: str, after: str) -> _Secrets:
    """Find secrets in a middle and around it."""
    whole = before + middle + after
    spans = secret_spans(whole)
    hidden = [whole[start:end] for start, end in spans]
    values = {part for text in hidden for part in (text, *text.split(":"))}  # of a login in a URL, its password as well
    longest_first = sorted((value for value in values if len(value) >= _LEAST), key=len, reverse=True)
    return _Secrets(tuple((start - len(before), end - len(before)) for start, end in spans), tuple(longest_first))


def _without(text: str, start: int, end: int, spans: Sequence[tuple[int, int]], values: Sequence[str]) -> str:
    parts = "".join(_cut(text, start, end, spans))
    for value in values:
        parts = parts.replace(value, GAP)
    return parts


def _cut(text: str, start: int, end: int, spans: Sequence[tuple[int, int]]) -> Iterator[str]:
    position = start
    for first, last in spans:
        if max(first, start) < min(last, end):
            yield text[position : max(first, start)] + GAP
            position = min(last, end)
    yield text[position:end]


def _around(document: Document, middle: str) -> tuple[str, str, str]:
    before, after = document.prefix[-_NEAR:], document.suffix[:_NEAR]
    if len(before) < len(document.prefix):
        before = before.partition("\n")[2]
    if len(after) < len(document.suffix):
        after = after.rpartition("\n")[0]
    return before, middle, after
