"""Prompts for engines that are given texts: with the ids that the text has."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import replace

from fim_magic.formats.family import Family
from fim_magic.formats.prompt import Piece, Prompt
from fim_magic.tokenization import TextTokenizer

_HALF = "\ufffd"
"""What half a character is shown as."""


def as_text(prompt: Prompt, tokenizer: TextTokenizer, family: Family) -> Prompt:
    """Return a prompt with the ids that its text has, for engines that are given no ids.

    Texts that stand beside each other are encoded as one, where they were encoded apart, and half a character that is
    left of a cut goes. Sentinels stay what they are. A token that two pieces share is the first one's.

    Args:
        prompt: The prompt.
        tokenizer: The checkpoint's own.
        family: Of the model.
    """
    controls = {token for token in map(tokenizer.sentinel, (*family.sentinels(), *family.stop)) if token is not None}
    pieces: list[Piece] = []
    for is_sentinel, group in itertools.groupby(prompt.pieces, key=lambda piece: piece.kind == "sentinel"):
        run = list(group)
        pieces += run if is_sentinel else _recut(run, tokenizer, frozenset(controls))
    return replace(prompt, pieces=tuple(pieces))


def _recut(pieces: Sequence[Piece], tokenizer: TextTokenizer, controls: frozenset[int]) -> list[Piece]:
    """Encode neighbouring texts as one, and give each token to the piece in which it begins."""
    texts = [tokenizer.decode(list(piece.ids), unspaced=True) for piece in pieces]
    if any(_HALF in text for text in texts):
        texts = [text.strip(_HALF) for text in texts]
        pieces = [replace(piece, text=piece.text.strip(_HALF)) for piece in pieces]
    ids = tokenizer.encode("".join(texts), unspaced=True, apart=controls)
    ends = list(itertools.accumulate(len(tokenizer.token_bytes(token)) for token in ids))
    begins = [0, *ends[:-1]]
    found, first, length = [], 0, 0
    for piece, text in zip(pieces, texts, strict=True):
        length += len(text.encode())
        last = bisect.bisect_left(begins, length, lo=first) if piece is not pieces[-1] else len(ids)
        found.append(replace(piece, ids=tuple(ids[first:last])))
        first = last
    return found
