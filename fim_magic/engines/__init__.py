"""What computes. An engine holds one loaded model; everything else in fim-magic works with any engine.

An engine turns a prompt of token ids into tokens, one step at a time. It knows nothing of holes, stop rules or
notebooks: those belong to `fim_magic.request`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # %load_ext imports this module, and need not wait for the tokenizers library
    from fim_magic.formats import Family
    from fim_magic.tokenization import TextTokenizer

TEMPERATURE_FOR_MANY = 0.8
"""Where another answer than the greedy one has to come, and no temperature is asked for."""

ENGINES = ("torch", "gguf")
"""What `--engine` takes beside auto: transformers and torch, or llama.cpp for .gguf files."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0.0 takes the most probable token (greedy); higher values flatten the distribution.
        top_p: Only the most probable tokens that together have this probability are sampled from.
        seed: Of the sampler; unused when greedy.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def each(self, candidates: int) -> list[Sampling]:
        """Return how each of several candidates is sampled where every one is a request of its own.

        As in one request for all of them, the first is greedy.
        """
        if candidates == 1:
            return [self]
        drawn = random.Random(self.seed)  # noqa: S311 - not for secrets
        several = replace(self, temperature=self.temperature or TEMPERATURE_FOR_MANY)
        return [GREEDY, *(replace(several, seed=drawn.getrandbits(63)) for _ in range(candidates - 1))]

    def varied(self) -> Sampling:
        """Return the same with another seed, and not greedy: what gives another answer to the same question."""
        return replace(self, temperature=self.temperature or TEMPERATURE_FOR_MANY, seed=random.getrandbits(32))


GREEDY = Sampling()
"""The most probable token each time."""

SCORED_AT_ONCE = 64
"""Tokens of a continuation that an engine scores at once: of a vocabulary of 150,000, their logits take 40 MB."""


@dataclass(frozen=True)
class Token:
    """One generated token.

    Attributes:
        candidate: Which of the request's candidates it continues, from 0.
        id: The token's id.
        logprob: Its natural log-probability under the model, before temperature and top-p.
    """

    candidate: int
    id: int
    logprob: float


@dataclass(frozen=True)
class Likely:
    """A token that could stand in some place.

    Attributes:
        id: The token's id.
        logprob: Its natural log-probability there.
    """

    id: int
    logprob: float


class Generation(Protocol):
    """One request under way. The caller may stop between any two calls, and simply drop it."""

    @property
    def reused(self) -> int:
        """How many of the prompt's tokens an earlier request has read already."""
        ...

    def prefill(self) -> Iterator[int]:
        """Read the prompt in parts; yield after each how many of its tokens have been read."""
        ...

    def step(self, allowed: Mapping[int, Sequence[int]] | None = None) -> list[Token]:
        """Generate the next token of each candidate that is not finished, or several where an engine can guess them.

        Several tokens of one candidate are in their order. What follows the one that ends it is not wanted.

        Args:
            allowed: For some candidates, the only ids that may come now (token healing).
        """
        ...

    def finish(self, candidate: int) -> None:
        """Generate no more for `candidate`."""
        ...


def too_long_to_score(model: str, tokens: int, context_length: int) -> str:
    """Say that a text with its continuation does not fit into a model's context."""
    return (
        f"The text to be scored has {tokens} tokens, and the context of {model} is {context_length} tokens in all. "
        "Give it a shorter text, or less context."
    )


class Engine(Protocol):
    """A loaded model."""

    @property
    def model(self) -> str:
        """The name that the user gave it."""
        ...

    @property
    def revision(self) -> str:
        """Which version of the checkpoint it is."""
        ...

    @property
    def family(self) -> Family:
        """Its prompt format."""
        ...

    @property
    def tokenizer(self) -> TextTokenizer:
        """Its tokenizer."""
        ...

    @property
    def context_length(self) -> int:
        """How many tokens prompt and answer may have together."""
        ...

    @property
    def place(self) -> str:
        """Where and in what precision it runs, such as "cpu, float32"."""
        ...

    def start(self, prompt: Sequence[int], *, candidates: int, sampling: Sampling) -> Generation:
        """Begin a request.

        Args:
            prompt: Token ids, at least one.
            candidates: How many answers. Of several that are sampled the first is greedy, and the others differ as far
                as they can (`fim_magic.engines.arithmetic`); greedy ones are all the same.
            sampling: How tokens are chosen.
        """
        ...

    def score(self, prompt: Sequence[int], continuation: Sequence[int]) -> list[float]:
        """Say how likely a text is after another. Requests before and after are not disturbed.

        What an earlier prompt has in common with this one is not read again, where the engine keeps that for requests:
        of several continuations of one prompt, only the first has to read it.

        Args:
            prompt: Token ids, at least one.
            continuation: The ids that follow it; there may be none.

        Returns:
            The natural log-probability of each id of `continuation`, given all before it.

        Raises:
            ModelError: Both together are longer than the context, or there is not enough memory.
        """
        ...

    def likeliest(self, prompt: Sequence[int], continuation: Sequence[int], count: int) -> list[list[Likely]]:
        """Say what else the model could have said. As for `score`, requests before and after are not disturbed.

        Args:
            prompt: Token ids, at least one.
            continuation: The ids that follow it; there may be none.
            count: How many tokens for each place.

        Returns:
            For the place of each id of `continuation`, and for the place behind it, the most probable tokens there, the
            first the most probable.

        Raises:
            ModelError: Both together are longer than the context, or there is not enough memory.
        """
        ...
