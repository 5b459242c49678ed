"""A GGUF file run by llama.cpp, for machines without a GPU.

The weights stay in the bits that they are stored in: 4-bit weights are read in a quarter of the time that float16
takes, and the time for a token on a CPU is the time for reading the weights. llama.cpp rounds the activations to 8
bits for that, while the torch engine computes the same file in float32: their logits differ a little, and where two
tokens are nearly as probable, so may the greedy answer. For the same reason a log-probability may differ by a tenth
between one candidate and many: llama.cpp multiplies some kinds of weights (Q4_K) in another way from four rows on.

No torch is needed here, so a model is ready in a second or two.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np

from fim_magic.engines import (
    ANY,
    GREEDY,
    SCORED_AT_ONCE,
    Beginning,
    Capabilities,
    EngineInfo,
    EngineReport,
    Sampling,
    Token,
    TokenLogprob,
    no_room_for_an_answer,
    too_long_to_score,
)
from fim_magic.engines.arithmetic import Logits, choose, logprob, most_probable, points
from fim_magic.engines.llama_cpp import library as llama_cpp
from fim_magic.engines.llama_cpp.decoder import CHUNK, FIRST_CELLS, SEQUENCES, BatchToken, Cells, LlamaModel
from fim_magic.engines.llama_cpp.trial import require_survival
from fim_magic.engines.memory import free_ram
from fim_magic.engines.reuse import known_tokens
from fim_magic.engines.running import Running
from fim_magic.engines.torch.gguf_conversion import converted_tokenizer, fingerprint
from fim_magic.errors import ModelError
from fim_magic.formats import Family, family_of
from fim_magic.progress import OnProgress, silent
from fim_magic.regular_files import read_json
from fim_magic.tokenization import TextTokenizer, declared_ends

_KEPT = 0  # the sequence of the last prompt
_LEAST_CONTEXT = 256
_SHARE_OF_MEMORY = 0.5  # of what is free, for the KV cache


def available() -> bool:
    """Whether llama.cpp is installed and can be loaded here."""
    return llama_cpp.available()


class GgufEngine:
    """A GGUF file loaded by llama.cpp, on the CPU. Satisfies [`fim_magic.engines.Engine`][].

    Attributes:
        tokenizer: As the torch engine has it; llama.cpp's own is not used.
        family: Its prompt format.
        context_length: As the file says, but no more than fits into half of the memory that was free when the weights
            had been loaded. The KV cache takes that memory as it fills, not at once.
        reuse: Whether the KV cache of the last prompt is used again.
    """

    def __init__(
        self,
        model: LlamaModel,
        tokenizer: TextTokenizer,
        config: Mapping[str, Any],
        *,
        name: str,
        revision: str,
        named: str = "",
        cells: int = FIRST_CELLS,
        free: Callable[[], int] = free_ram,
        notices: Sequence[str] = (),
    ) -> None:
        self._notices = tuple(notices)
        self._name = name
        self._revision = revision
        self.tokenizer = tokenizer
        self.family: Family = family_of(config, tokenizer, declared_ends(tokenizer, config.get("eos_token_id")), named)
        self.reuse = True
        self._model = model
        fits = max(_LEAST_CONTEXT, int(free() * _SHARE_OF_MEMORY) // max(1, model.cell_bytes))
        self.context_length = min(model.trained_context, fits)
        self._sequences = _SequencePool(Cells(model, fits, cells=cells, free=free))

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        name: str,
        revision: str,
        named: str = "",
        on_progress: OnProgress = silent,
        cells: int = FIRST_CELLS,
        free: Callable[[], int] = free_ram,
        known: bool = False,
    ) -> GgufEngine:
        """Load a GGUF file.

        Args:
            path: The file.
            name: What to call it.
            revision: Which version of the checkpoint it is.
            named: Its family, where the catalogue or the user states it.
            on_progress: Called often. What it raises ends the loading cleanly.
            cells: For how many tokens the KV cache has room at first.
            free: Says how many bytes this process may still take.
            known: Whether the file is one of the catalogue, found right by its hash: it need not be tried.

        Raises:
            ModelError: It cannot be loaded, or llama.cpp is not installed.
            FetchError: There is no room for its tokenizer in the cache.
        """
        llama_cpp.library()  # whether it is installed is told before anything is converted
        notices: list[str] = []
        mark = fingerprint(path)
        folder = converted_tokenizer(path, on_progress, notices.append, mark=mark)  # which does not believe the header
        if not known:
            require_survival(path, mark, on_progress)
        model = LlamaModel(path, on_progress)
        tokenizer = TextTokenizer.from_folder(folder, model.rows)
        config = read_json(folder / "config.json")
        return cls(
            model,
            tokenizer,
            config,
            name=name,
            revision=revision,
            named=named,
            cells=cells,
            free=free,
            notices=notices,
        )

    @property
    def info(self) -> EngineInfo:
        description = self._model.description
        return EngineInfo(self._name, self._revision, "llama.cpp", "cpu", description, notices=self._notices)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def report(self) -> EngineReport:
        return EngineReport(decoder="llama.cpp", weight_bytes=self._model.size)

    def warm_up(self) -> None:
        """Do nothing: the weights are read when they are first needed, and loading takes a second."""

    def bytes_per_token(self, context: int) -> int:
        """Return the bytes that one decode step reads: the weights, and the KV cache of `context` tokens."""
        return self._model.size + context * self._model.cell_bytes

    def forget(self) -> None:
        self._sequences.keep(_KEPT, [])

    def generate(
        self,
        prompt: Sequence[int],
        *,
        beginnings: Sequence[Beginning],
        sampling: Sampling,
        stop_ids: AbstractSet[int],
        limit: int,
    ) -> GgufGeneration:
        if len(prompt) >= self.context_length:
            raise ModelError(no_room_for_an_answer(self._name, len(prompt), self.context_length))
        if not self.reuse:
            self.forget()
        running = Running(beginnings, stop_ids, limit, self.tokenizer)
        return GgufGeneration(self._sequences, prompt, running, sampling, self.context_length)

    def score(self, prompt: Sequence[int], continuation: Sequence[int]) -> list[float]:
        if not continuation:
            return []
        rows = self._continued(prompt, continuation).after(continuation[:-1])
        return [logprob(row, token) for row, token in zip(rows, continuation, strict=True)]

    def top_logprobs(self, prompt: Sequence[int], continuation: Sequence[int], count: int) -> list[list[TokenLogprob]]:
        rows = self._continued(prompt, continuation).after(continuation)
        return [[TokenLogprob(token, logprob(row, token)) for token in most_probable(row, count)] for row in rows]

    def logits(
        self, prompt: Sequence[int], continuation: Sequence[int], at_once: int = SCORED_AT_ONCE
    ) -> Iterator[Logits]:
        """Yield what the model says after a prompt, and after each token of a continuation, as `top_logprobs` reads it.

        Args:
            prompt: Token ids, at least one.
            continuation: The ids that follow it; there may be none.
            at_once: How many of them are read at once. One at a time is as a request writes them.

        Yields:
            (vocabulary,), float32, for each place.

        Raises:
            ModelError: As of `top_logprobs`.
        """
        yield from self._continued(prompt, continuation).after(continuation, at_once)

    def _continued(self, prompt: Sequence[int], continuation: Sequence[int]) -> GgufGeneration:
        if len(prompt) + len(continuation) > self.context_length:
            raise ModelError(too_long_to_score(self._name, len(prompt) + len(continuation), self.context_length))
        return self.generate(prompt, beginnings=[ANY], sampling=GREEDY, stop_ids=frozenset(), limit=1)


class _SequencePool:
    """Which sequence of the KV cache is whose, and what the last prompt left there."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self._free = list(range(SEQUENCES - 1, _KEPT, -1))
        self._kept: list[int] = []  # the tokens of the sequence _KEPT
        # Garbage is collected on any thread, and must not touch the cache while it is in use: sequences that nobody
        # gave back wait here.
        self._dropped: deque[list[int]] = deque()

    def take(self, owner: object, count: int) -> list[int]:
        """Return `count` empty sequences, which come back when `owner` is dropped."""
        while self._dropped:
            for sequence in self._dropped.popleft():
                self.cells.cut(sequence, 0)
                self._free.append(sequence)
        if count > len(self._free):
            raise ModelError("The model is busy with another request. Wait for it, or ask for fewer candidates (-n 1).")
        taken = [self._free.pop() for _ in range(count)]
        weakref.finalize(owner, self._dropped.append, taken).atexit = False
        return taken

    def begin(self, sequence: int, prompt: Sequence[int]) -> int:
        """Let a sequence begin with what it has in common with the last prompt.

        Returns:
            How many tokens that is. The last one of the prompt is never among them: its logits are not kept.
        """
        # What an interrupt has left half done does not count.
        kept = self._kept if self.cells.length(_KEPT) == len(self._kept) else []
        self._kept = []
        self.cells.reserve(len(prompt) + CHUNK)
        common = known_tokens(kept, prompt)
        if not self.cells.cut(_KEPT, common):
            common = 0
        if common:
            self.cells.copy(_KEPT, sequence, common)
        self._kept = kept[:common]
        return common

    def keep(self, sequence: int, tokens: Sequence[int]) -> None:
        """Keep the first tokens of a sequence for the next prompt, instead of what was kept."""
        self._kept = []
        self.cells.cut(_KEPT, 0)
        if tokens:
            self.cells.copy(sequence, _KEPT, len(tokens))
        self._kept = list(tokens)


class GgufGeneration:
    """One request to a [`GgufEngine`][]. Satisfies [`fim_magic.engines.Generation`][].

    Attributes:
        reused: How many of the prompt's tokens the request before had read already.
    """

    def __init__(
        self, pool: _SequencePool, prompt: Sequence[int], running: Running, sampling: Sampling, context_length: int
    ) -> None:
        self.reused = 0
        self.waits = None
        self._pool = pool
        self._prompt = list(prompt)
        self._sampling = sampling
        self._context_length = context_length
        self._running = running
        self._sequences = pool.take(self, len(running.candidates))
        self._points = points(sampling, len(running.candidates))
        self._chosen: dict[int, int] = {}  # candidate -> its last token, which the model has not read yet
        self._length = len(prompt)
        self._logits: Logits | None = None

    def after(self, continuation: Sequence[int], at_once: int = SCORED_AT_ONCE) -> Iterator[Logits]:
        """Read the prompt and a continuation of it, instead of generating one. This ends the request.

        Args:
            continuation: Token ids; there may be none.
            at_once: How many of them are read at once. One at a time is as a request writes them.

        Yields:
            The logits after the prompt and after each token, (vocabulary,).
        """
        (sequence,) = self._sequences
        last = len(self._prompt) - 1
        self.reused = read = self._pool.begin(sequence, self._prompt)
        try:
            while read < last:
                part = self._prompt[read : min(read + CHUNK, last)]
                self._pool.cells.decode(_batch(part, read, sequence), wanted=0)
                read += len(part)
        finally:  # what was read of an interrupted prompt is good, too
            self._pool.keep(sequence, self._prompt[:read])
        ids = [self._prompt[last], *continuation]
        for start in range(0, len(ids), at_once):
            part = ids[start : start + at_once]
            yield from self._pool.cells.decode(_batch(part, last + start, sequence), wanted=len(part))

    def prefill(self) -> Iterator[int]:
        """Read the prompt once, in parts, and share it among the candidates."""
        first, *others = self._sequences
        self.reused = read = self._pool.begin(first, self._prompt)
        if read:
            yield read
        try:
            while read < len(self._prompt):
                # The last token by itself, as it is read when all the others are known: llama.cpp multiplies quantised
                # weights in another way for many rows than for one, and the answer must not hang on what was kept.
                last = len(self._prompt) - 1
                part = self._prompt[read : min(read + CHUNK, last)] or self._prompt[last:]
                self._logits = self._pool.cells.decode(_batch(part, read, first), wanted=1)
                read += len(part)
                if read == len(self._prompt):
                    for other in others:
                        self._pool.cells.copy(first, other, read)
                yield read
        finally:  # what was read of an interrupted prompt is good, too
            self._pool.keep(first, self._prompt[:read])

    def step(self) -> list[Token]:
        candidates = self._running.candidates
        if not candidates:
            return []
        if self._chosen:
            self._read_chosen()
        if self._logits is None:
            raise ValueError("the prompt has not been read")
        # Before the first token, one row of logits is everybody's.
        rows = np.broadcast_to(self._logits, (len(candidates), self._logits.shape[-1]))
        allowed, tokens = self._running.allowed(), []
        for candidate, row in zip(candidates, rows, strict=True):
            token = choose(row, self._sampling, self._points[candidate], allowed.get(candidate))
            self._chosen[candidate] = token
            tokens.append(Token(candidate, token, logprob(row, token)))
        for candidate in self._running.push(tokens):
            self.close(candidate)
        return tokens

    def close(self, candidate: int | None = None) -> None:
        """Take a candidate out of the batch, or all.

        Its keys and values stay where they are until the request ends. Others in their place would come to stand
        between those of the prompt, in another order than without that candidate: sums are rounded as they are added
        up, and rounded activations turn the last digit of a sum into the first one of a log-probability.
        """
        self._running.close(candidate)

    def _read_chosen(self) -> None:
        if self._length >= self._context_length:
            raise ModelError(
                f"Prompt and answer have reached the model's context of {self._context_length} tokens. Ask for a "
                "shorter answer (--max-new-tokens 64), or give less context."
            )
        batch = [BatchToken(self._chosen[n], self._length, self._sequences[n]) for n in self._running.candidates]
        self._logits = self._pool.cells.decode(batch, wanted=len(batch))
        self._length += 1


def _batch(ids: Sequence[int], position: int, sequence: int) -> list[BatchToken]:
    """Return tokens that follow each other, the first of them at `position`."""
    return [BatchToken(token, index, sequence) for index, token in enumerate(ids, start=position)]
