"""The decode loop of the torch engine: one request, whose candidates grow in one batch."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from fim_magic.engines import SCORED_AT_ONCE, Sampling, Token
from fim_magic.engines.arithmetic import Point, points
from fim_magic.engines.out_of_memory import freeing_memory
from fim_magic.engines.running import Running
from fim_magic.engines.torch.forward import DecoderForward, ForwardPass
from fim_magic.engines.torch.prompt_lookup import PromptLookup
from fim_magic.errors import ModelError

_PREFILL_CHUNK = 512  # tokens read between two looks at the interrupt flag
_USUALLY_ENOUGH = 1024  # tokens: sorting a vocabulary of 150,000 takes longer than the rest of a small model's step


class LocalGeneration:
    """One request to a [`LocalEngine`][]. Satisfies [`fim_magic.engines.Generation`][]."""

    def __init__(
        self,
        forward: ForwardPass,
        prompt: Sequence[int],
        running: Running,
        sampling: Sampling,
        *,
        reused: int = 0,
        guesses: DecoderForward | None = None,
    ) -> None:
        self._forward: ForwardPass | None = forward
        self._prompt = list(prompt)
        self._sampling = sampling
        self._running = running
        self._rows = list(running.candidates)  # row of the batch -> candidate
        self._chosen: list[int] = []
        self._logits = torch.empty(0)
        self._points = points(sampling, len(self._rows))
        self._guesses = guesses
        self._lookup = None if guesses is None else PromptLookup(prompt)
        self.reused = reused
        self.waits = None
        self.on_end: weakref.finalize[..., Any] | None = None

    def prefill(self) -> Iterator[int]:
        """Read the prompt once, in parts, and share it among the candidates."""
        length = len(self._prompt)
        many = length - 1 if self._model().reads_last_apart else length
        for start, end in (*self._parts(many), *([(many, length)] if many < length else [])):
            self._logits = self._read(start, end)
            yield end
        if len(self._rows) > 1:
            with freeing_memory(f"{len(self._rows)} candidates", self._drop):
                self._model().share(len(self._rows))
                self._logits = self._logits.expand(len(self._rows), -1)

    def _parts(self, length: int) -> Iterator[tuple[int, int]]:
        """Yield where what is read at once of the prompt's first tokens begins and ends."""
        for start in range(self.reused, length, _PREFILL_CHUNK):
            yield start, min(start + _PREFILL_CHUNK, length)

    def _read(self, start: int, end: int) -> torch.Tensor:
        with freeing_memory("reading the prompt", self._drop):
            return self._model().prefill(self._prompt[start:end])

    def step(self) -> list[Token]:
        if not self._rows:
            return []
        allowed = self._running.allowed()
        with freeing_memory("the answer", self._drop):
            guess = [] if self._lookup is None or not self._chosen or allowed else self._lookup.guess()
            tokens = self._several(guess) if guess else self._one_each(allowed)
        for candidate in self._running.push(tokens):
            self.close(candidate)
        return tokens

    def _one_each(self, allowed: Mapping[int, Sequence[int]]) -> list[Token]:
        if self._chosen:
            self._logits = self._model().decode_step(self._chosen)
        logits = self._logits
        if allowed:
            logits = _only(logits, {self._rows.index(candidate): ids for candidate, ids in allowed.items()})
        chosen = choose(logits, self._sampling, [self._points[candidate] for candidate in self._rows])
        logprobs = logprobs_of(self._logits, chosen)
        self._chosen = chosen.tolist()
        if self._lookup is not None:
            self._lookup.push(self._chosen[0])
        return [Token(*token) for token in zip(self._rows, self._chosen, logprobs, strict=True)]

    def _several(self, guess: list[int]) -> list[Token]:
        """Read the last token and the guesses that follow it, and keep as many as the model itself would choose."""
        assert self._guesses is not None and self._lookup is not None  # `step` looked
        logits = self._guesses.prefill([*self._chosen, *guess], all_logits=True)
        chosen = logits.argmax(dim=-1)
        logprobs = logprobs_of(logits, chosen)
        ids = chosen.tolist()
        pairs = enumerate(zip(ids, guess, strict=False))  # one more is chosen than was guessed
        right = next((index for index, (own, guessed) in pairs if own != guessed), len(guess))
        self._guesses.forget_last(len(guess) - right)
        self._lookup.learn(len(guess), right)
        self._logits, self._chosen = logits[right : right + 1], ids[right : right + 1]
        for token in ids[: right + 1]:
            self._lookup.push(token)
        candidate = self._rows[0]
        return [Token(candidate, *token) for token in zip(ids[: right + 1], logprobs, strict=False)]

    def after(self, continuation: Sequence[int], at_once: int = SCORED_AT_ONCE) -> Iterator[torch.Tensor]:
        """Read the prompt and a continuation of it, instead of generating one. This ends the request.

        Args:
            continuation: Token ids; there may be none.
            at_once: How many of them are read at once. One at a time is as a request writes them.

        Yields:
            The logits after the prompt and after each token, (rows, vocabulary), in parts of several rows.
        """
        last = len(self._prompt) - 1
        ids = [self._prompt[last], *continuation]
        try:
            for start, end in self._parts(last):
                self._read(start, end)
            for start in range(0, len(ids), at_once):
                with freeing_memory("scoring a text", self._drop):
                    yield self._model().prefill(ids[start : start + at_once], all_logits=True)
        finally:  # what was read until an interrupt serves the next request, too
            if isinstance(self._forward, DecoderForward) and self._forward.reads_last_apart:
                # A request reads each token by itself that it writes, and here many were read at once.
                self._forward.rewind(last)
            self.close()

    def close(self, candidate: int | None = None) -> None:
        """Take a candidate out of the batch, or all."""
        for number in [candidate] if candidate is not None else [*self._rows]:
            self._take_out(number)

    def _take_out(self, candidate: int) -> None:
        if candidate not in self._rows:
            return
        self._running.close(candidate)
        row = self._rows.index(candidate)
        self._rows.pop(row)
        if not self._rows:
            if self.on_end is not None:
                self.on_end()
            return
        if len(self._rows) >= len(self._logits):
            return  # the prompt has not been shared among the candidates yet
        kept = [index for index in range(len(self._rows) + 1) if index != row]
        self._model().select(kept)
        self._logits = self._logits[kept]
        self._chosen = [self._chosen[index] for index in kept] if self._chosen else []

    def _model(self) -> ForwardPass:
        if self._forward is None:
            raise ModelError("This request has run out of memory before. Begin another one.")
        return self._forward

    def _drop(self) -> None:
        """Let go of all that the request holds on the device. It cannot go on."""
        if self.on_end is not None:
            self.on_end.detach()
        self._forward = self._guesses = self.on_end = None
        self._logits = torch.empty(0)


def logprobs_of(logits: torch.Tensor, ids: torch.Tensor) -> list[float]:
    """Return the log-probability of one id for each row of `logits`."""
    found: list[float] = torch.log_softmax(logits, dim=-1).gather(1, ids[:, None])[:, 0].tolist()
    return found


def _only(logits: torch.Tensor, allowed: Mapping[int, Sequence[int]]) -> torch.Tensor:
    """Return `logits` with all but the allowed ids of some rows at minus infinity."""
    constrained = logits.clone()
    for row, ids in allowed.items():
        constrained[row] = float("-inf")
        index = torch.tensor(list(ids), device=logits.device)
        constrained[row, index] = logits[row, index]
    return constrained


def choose(logits: torch.Tensor, sampling: Sampling, points: Sequence[Point]) -> torch.Tensor:
    """Choose the next token of each row.

    Args:
        logits: (rows, vocabulary), float32.
        sampling: Temperature and then top-p (arXiv 1904.09751).
        points: Of the candidate of each row.

    Returns:
        (rows,) int64 ids.
    """
    chosen = logits.argmax(dim=-1)
    sampled = [row for row, point in enumerate(points) if not point.greedy]
    if not sampled:
        return chosen
    ranked, order = _nucleus(torch.softmax(logits[sampled] / sampling.temperature, dim=-1), sampling.top_p)
    probabilities = ranked.cpu().numpy()
    ranks = [points[row].choose(falling, sampling.top_p) for row, falling in zip(sampled, probabilities, strict=True)]
    ids = order.gather(1, torch.tensor(ranks, device=order.device)[:, None])
    return chosen.index_copy(0, torch.tensor(sampled, device=chosen.device), ids[:, 0])


def _nucleus(probabilities: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the most probable tokens of each row, falling, and their ids: as many as have `top_p` together."""
    ranked, order = probabilities.topk(min(_USUALLY_ENOUGH, probabilities.shape[-1]), dim=-1)
    if top_p < 1.0 and float(ranked.sum(dim=-1).min()) > top_p:
        return ranked, order
    return probabilities.sort(dim=-1, descending=True)
