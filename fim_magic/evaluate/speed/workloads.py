"""What is asked: infills of real Python code, cut to length; an edit near the cursor; several candidates."""

from __future__ import annotations

import importlib
import inspect
import random
from collections.abc import Sequence
from dataclasses import dataclass

from fim_magic.document import Document
from fim_magic.engines import Engine
from fim_magic.formats import fim_prompt

MEASURES = ("infill", "edit", "candidates", "lengths", "fresh", "load_ext")
"""The names that `--only` takes."""

INFILL_TOKENS = 500
NEW_TOKENS = 64
EDIT_TOKENS = 2000
EDITED = 20  # tokens that an edit near the cursor changes
LENGTHS = (500, 2000, 8000)
CANDIDATES = (1, 4, 8)

_AFTER_THE_FIRST = 8  # new tokens where time to first token is what counts: enough to decode a few
_SHORT_SUFFIX = 160  # characters: a cell is mostly written from top to bottom
_HOLE = 4  # lines
_PARTS = 20  # of all lines, of which the first has no hole
_MOST_CHARACTERS = 12  # of a token, on average: more text than that need not be encoded to fill a prompt
# Of the standard library: plain code of several kinds, the same on every machine but for Python's version.
_MODULES = ("argparse", "configparser", "statistics", "textwrap", "csv", "zipfile", "tarfile", "shutil")
_EDIT = "\n    known = sorted(set(found), key=len)\n    "


@dataclass(frozen=True)
class Workload:
    """One thing that is asked of every arm."""

    measure: str  # which of `MEASURES` it belongs to
    name: str  # what it is, for the report
    prompt: tuple[int, ...]  # token ids
    new_tokens: int  # how many tokens each candidate gets, whatever they are
    candidates: int = 1  # how many
    sampled: bool = False  # whether tokens are drawn; otherwise greedy, so that arms can be compared token by token
    before: tuple[int, ...] = ()  # the request on the same cell that came first, or empty: then every arm begins cold


def workloads(
    engine: Engine, measures: Sequence[str], *, new_tokens: int = NEW_TOKENS, vocabulary: int = 0
) -> list[Workload]:
    """Return what is asked of this engine's model, as far as its context reaches.

    Only the engine's tokenizer and family make the prompts. With `vocabulary`, they are random ids below it, for a
    model with random weights; else they are real code.
    """
    prompts = _Arbitrary(vocabulary) if vocabulary else _Code(engine)
    found: list[Workload] = []
    if "infill" in measures:
        found += [
            Workload("infill", f"infill {index + 1}", prompts.of(INFILL_TOKENS, index), new_tokens)
            for index in range(3)
        ]
    if "edit" in measures:
        found += _edits(prompts)
    if "candidates" in measures:
        found += [
            Workload("candidates", f"{n} candidates", prompts.of(INFILL_TOKENS, 3), new_tokens, n, sampled=True)
            for n in CANDIDATES
        ]
    if "lengths" in measures:
        found += [
            Workload("lengths", f"{tokens} tokens", prompts.of(tokens, 4), _AFTER_THE_FIRST) for tokens in LENGTHS
        ]
    return [workload for workload in found if len(workload.prompt) + workload.new_tokens <= engine.context_length]


def spread_prompts(engine: Engine, tokens: int, count: int) -> list[tuple[int, ...]]:
    """Return so many prompts of real code, of at most `tokens` each, of which no two begin alike."""
    return _Code(engine).spread(tokens, count)


def documents_of(engine: Engine, tokens: int, count: int) -> list[Document]:
    """Return real code with a hole where a line begins, whose prompts have some `tokens` each."""
    return _Code(engine).documents(tokens, count)


def excerpts_of(engine: Engine, tokens: int, count: int) -> list[tuple[Document, str]]:
    """Return documents as of `documents_of`, each with what stands in its hole: some lines."""
    return _Code(engine).excerpts(tokens, count)


def _edits(prompts: _Arbitrary | _Code) -> list[Workload]:
    base = prompts.of(EDIT_TOKENS, 5)
    other = prompts.of(EDIT_TOKENS, 6)
    halves = prompts.halves(EDIT_TOKENS)
    edits = [("the last 20 tokens", base, edited(base, other)), ("a hole in the middle", *halves)]
    return [Workload("edit", name, after, _AFTER_THE_FIRST, before=before) for name, before, after in edits]


def edited(base: Sequence[int], other: Sequence[int], count: int = EDITED) -> tuple[int, ...]:
    """Return `base` with other tokens in the place of its last `count` before the very last one.

    The last token of an infilling prompt is a sentinel, which no edit changes.

    Args:
        base: Token ids, more than `count`.
        other: Where the new ones are taken from.
        count: How many change.
    """
    begin = len(base) - 1 - count
    fresh = list(other[-1 - count : -1])
    if fresh[0] == base[begin]:
        fresh[0] = next(token for token in other[1:-1] if token != base[begin])
    return (*base[:begin], *fresh, base[-1])


class _Arbitrary:
    """Prompts of random ids, a different one for each number, the same on every call."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary

    def of(self, tokens: int, number: int) -> tuple[int, ...]:
        """Return a prompt of at most `tokens` ids."""
        drawn = random.Random(f"{tokens} {number}")  # not for secrets
        return tuple(drawn.randrange(self._vocabulary) for _ in range(tokens))

    def halves(self, tokens: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return a prompt with as much before the hole as behind it, and the same after an edit at the hole."""
        base, typed = self.of(tokens, 7), self.of(EDITED, 8)
        return base, (*base[: tokens // 2], *typed, *base[tokens // 2 : -EDITED])


class _Code:
    """The standard library's own source code, with a hole in it where the family can fill one."""

    def __init__(self, engine: Engine) -> None:
        self._family = engine.family
        self._tokenizer = engine.tokenizer
        self._sources = [inspect.getsource(importlib.import_module(name)) for name in _MODULES]

    def of(self, tokens: int, number: int) -> tuple[int, ...]:
        lines = self._source(number).splitlines(keepends=True)
        document = self._around(lines, len(lines) * 2 // 3, tokens)
        return self._prompt(document.prefix, document.suffix, 2 * tokens)

    def spread(self, tokens: int, count: int) -> list[tuple[int, ...]]:
        return [self._prompt(found.prefix, found.suffix, 2 * tokens) for found in self.documents(tokens, count)]

    def documents(self, tokens: int, count: int) -> list[Document]:
        return [document for document, _ in self.excerpts(tokens, count)]

    def excerpts(self, tokens: int, count: int) -> list[tuple[Document, str]]:
        lines = self._source(0).splitlines(keepends=True)
        first = len(lines) // _PARTS  # there is enough before it for a prompt
        room = len(lines) - first - 2 * _HOLE
        holes = [first + room * number // count for number in range(count)]
        return [(self._around(lines, hole, tokens), _hole_of(lines, hole)) for hole in holes]

    def _around(self, lines: Sequence[str], index: int, tokens: int) -> Document:
        """Return what stands before and after a hole at a line, as much as makes a prompt of so many tokens."""
        suffix = "".join(lines[index + _HOLE :])[:_SHORT_SUFFIX]
        prefix = "".join(lines[:index])[-tokens * _MOST_CHARACTERS :] + _indentation(lines[index])
        # Cut here, to the token: a prompt that has to be cut leaves room for what is typed next.
        room = tokens - len(self._prompt("", suffix, tokens))
        return Document(self._tokenizer.decode(self._tokenizer.encode(prefix)[-room:]), suffix)

    def halves(self, tokens: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        lines = self._source(7).splitlines(keepends=True)
        index = len(lines) // 2
        half, encode = tokens // 2, self._tokenizer.encode
        # Cut before the edit, and with room to spare: a prompt that is cut after it begins at another token.
        prefix = self._tokenizer.decode(encode("".join(lines[:index])[-tokens * _MOST_CHARACTERS :])[-half:])
        suffix = self._tokenizer.decode(encode("".join(lines[index + _HOLE :])[: tokens * _MOST_CHARACTERS])[:half])
        room = 2 * tokens
        return self._prompt(prefix, suffix, room), self._prompt(prefix + _EDIT, suffix, room)

    def _source(self, number: int) -> str:
        """All modules one behind the other, in an order that begins with another one for each number."""
        index = number % len(self._sources)
        return "\n\n".join((*self._sources[index:], *self._sources[:index]))

    def _prompt(self, prefix: str, suffix: str, tokens: int) -> tuple[int, ...]:
        if self._family.can_infill:
            document = Document(prefix, suffix)
            found = (self._family, self._tokenizer, document)
            return fim_prompt(*found, order="auto", room=tokens, healing=False).ids  # of exactly so many tokens
        return tuple(self._tokenizer.encode(prefix)[-tokens:])


def _hole_of(lines: Sequence[str], index: int) -> str:
    return "".join(lines[index : index + _HOLE]).removeprefix(_indentation(lines[index]))


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]
