"""Prompt lookup: guess the next tokens from what stands before them.

The middle often repeats names and lines of the prefix and the suffix. Where the last tokens have stood before, what
followed them then is a guess at what follows now; the model checks several guessed tokens in one step, which costs
little more than one token, as the weights are read once either way. The guesses do not change what is generated, only
how fast (the idea: github.com/apoorvumang/prompt-lookup-decoding; arXiv 2304.04487).
"""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST, _SHORTEST = 3, 2  # tokens that must have stood before, tried in this order
_FIRST_GUESS = 3  # tokens; on a CPU four rows cost about as much as one
_MOST = 7
_PAUSE = 8  # steps without a guess after two that were all wrong


class PromptLookup:
    """Guesses the next tokens of one sequence, and learns from how right it was."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # n tokens -> where what followed them last begins
        self._length = _FIRST_GUESS
        self._wrong = 0
        self._pause = 0
        for token in tokens:
            self.push(token)

    def push(self, token: int) -> None:
        """Add a token to the sequence."""
        # Noted one token late, so that the end of the sequence does not find itself.
        for n in range(_SHORTEST, _LONGEST + 1):
            if len(self._tokens) >= n:
                self._after[tuple(self._tokens[-n:])] = len(self._tokens)
        self._tokens.append(token)

    def guess(self) -> list[int]:
        """Return what may come next: some tokens, or none."""
        if self._pause:
            self._pause -= 1
            return []
        for n in range(_LONGEST, _SHORTEST - 1, -1):
            begin = self._after.get(tuple(self._tokens[-n:])) if len(self._tokens) >= n else None
            if begin is not None:
                return self._tokens[begin : begin + self._length]
        return []

    def learn(self, guessed: int, right: int) -> None:
        """Take note that `right` of the `guessed` tokens came: guess more after success, and pause after failures."""
        if right == guessed:
            self._length, self._wrong = min(2 * self._length + 1, _MOST), 0
        elif right:
            self._length, self._wrong = _FIRST_GUESS, 0
        else:
            self._length, self._wrong = _FIRST_GUESS, self._wrong + 1
        if self._wrong > 1:
            self._wrong, self._pause = 0, _PAUSE
