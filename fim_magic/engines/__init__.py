"""What computes. An engine holds one loaded model; everything else in fim-magic works with any engine.

An engine turns a prompt of token ids into tokens. It knows nothing of holes, trimming rules or notebooks: those belong
to `fim_magic.generation`. Whether it computes here or on another machine, it keeps this one protocol; what it cannot
do, it says in its [`Capabilities`][], and a request does without. Which engines there are, and how each is loaded, is
the table in `fim_magic.loading.loaders`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # what imports this module need not wait for the tokenizers library
    from fim_magic.formats import Family
    from fim_magic.progress import Progress
    from fim_magic.tokenization import TextTokenizer

TEMPERATURE_FOR_MANY = 0.8
"""Where another answer than the greedy one has to come, and no temperature is asked for."""


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
        drawn = random.Random(self.seed)  # not for secrets
        return [GREEDY, *(replace(self.warmer(), seed=drawn.getrandbits(63)) for _ in range(candidates - 1))]

    def warmer(self) -> Sampling:
        """Return the same, and not greedy."""
        return replace(self, temperature=self.temperature or TEMPERATURE_FOR_MANY)

    def varied(self) -> Sampling:
        """Return the same with another seed, and not greedy: what gives another answer to the same question."""
        return replace(self.warmer(), seed=new_seed())


def new_seed() -> int:
    """Return a seed that nobody chose. It comes from the system: the user's own random stream stays where it was."""
    return random.SystemRandom().getrandbits(32)


GREEDY = Sampling()
"""The most probable token each time."""

SCORED_AT_ONCE = 64
"""Tokens of a continuation that an engine scores at once: of a vocabulary of 150,000, their logits take 40 MB."""


class Destination(Enum):
    """Where the text of a request goes."""

    PROCESS = "this process"
    MACHINE = "this machine"
    HOST = "another host"


@dataclass(frozen=True)
class ServerInfo:
    """The server that runs a model.

    Attributes:
        host: With its port, as permissions are kept for it.
        software: The server and its version, such as "vLLM 0.32.0".
        model: As the server calls it.
        is_encrypted: Whether what goes there is.
        is_here: Whether it is this machine.
        proved_by: What has shown that it reads prompts as they are meant; "" where that is not proved.
    """

    host: str
    software: str
    model: str
    is_encrypted: bool
    is_here: bool
    proved_by: str = ""

    def describe(self) -> str:
        """Say in a few words what it is, and where."""
        where = "this machine" if self.is_here else "another host" + ("" if self.is_encrypted else ", not encrypted")
        return f"{self.software} at {self.host} ({where})"


@dataclass(frozen=True)
class EngineInfo:
    """What a user may know of a loaded model.

    Attributes:
        model: The name that the user gave it.
        revision: Which version of the checkpoint it is.
        runtime: What computes: "torch", "llama.cpp", or the name of a server.
        device: Where: "cpu", or CUDA devices.
        precision: Of the weights, such as "float32" or "Q4_K - Medium".
        destination: Where the text of a request goes.
        notices: What the user should read before the first answer.
        server: What computes, where that is a server.
    """

    model: str
    revision: str
    runtime: str
    device: str
    precision: str
    destination: Destination = Destination.PROCESS
    notices: tuple[str, ...] = ()
    server: ServerInfo | None = None

    @property
    def runs_on(self) -> str:
        """Where and in what precision it runs, in a few words, such as "cpu, float32"."""
        runtime = "" if self.runtime == "torch" else self.runtime
        return ", ".join(filter(None, (self.device, self.precision, runtime)))

    @property
    def is_on_cpu(self) -> bool:
        """Whether each further candidate costs about as much time as the first."""
        return self.device.startswith("cpu")


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do beside generating. What depends on one of these is left out where it is missing.

    Attributes:
        scores: Say how probable a text is after another; without, answers are not weighed by what follows the hole.
        gives_top_logprobs: Say which tokens could stand in a place; without, further answers are sampled.
        constrains: Be held to tokens; without, tokens that the hole cuts in two are not generated again, and no answer
            is made longer.
        interrupts: Stop between two tokens; without, what was begun is computed to its end.
        takes_ids: Be given a prompt as ids; without, it goes as a text, and what looks like a sentinel in the user's
            own text is refused.
    """

    scores: bool = True
    gives_top_logprobs: bool = True
    constrains: bool = True
    interrupts: bool = True
    takes_ids: bool = True


@dataclass(frozen=True)
class EngineReport:
    """What an engine says of how it computes.

    Attributes:
        decoder: Whose forward pass runs: "lean" is our own.
        remark: What a user should know of it, or "".
        weight_bytes: The memory that the weights take, where that is known.
        packed_bytes: The memory that packed copies of the weights take beside them.
    """

    decoder: str = ""
    remark: str = ""
    weight_bytes: int = 0
    packed_bytes: int = 0


@dataclass(frozen=True)
class Beginning:
    """How a candidate has to begin.

    Attributes:
        ids: Its first tokens.
        text: Its first bytes, in UTF-8: what token healing has taken back from the prompt. The tokens agree with it
            until it is there.
        logprobs: The log-probabilities of `ids`, where they are known: an engine that cannot tell those of tokens that
            it was given says these. None for one that is not known.
    """

    ids: tuple[int, ...] = ()
    text: bytes = b""
    logprobs: tuple[float | None, ...] = ()

    def allowed(self, generated: Sequence[int], tokenizer: TextTokenizer) -> list[int] | None:
        """Return the only ids that may come now, or None where any may.

        Args:
            generated: The candidate's tokens so far.
            tokenizer: The model's.
        """
        if len(generated) < len(self.ids):
            return [self.ids[len(generated)]]
        lacking = self.text
        for token in generated:
            if not lacking:
                break
            lacking = lacking[len(tokenizer.token_bytes(token)) :]
        return tokenizer.openings(lacking) if lacking else None


ANY = Beginning()
"""Any tokens may come."""


@dataclass(frozen=True)
class TokenLogprob:
    """A token that could stand in some place.

    Attributes:
        id: The token's id.
        logprob: Its natural log-probability there.
    """

    id: int
    logprob: float


@dataclass(frozen=True)
class Token:
    """One generated token.

    Attributes:
        candidate: Which of the request's candidates it continues, from 0.
        id: The token's id.
        logprob: Its natural log-probability under the model, before temperature and top-p; None where the engine does
            not tell it.
        alternatives: The most probable tokens in its place, as `top_logprobs` has them; none where the engine does not
            tell them. Then they are read by `top_logprobs` if they are needed.
    """

    candidate: int
    id: int
    logprob: float | None = None
    alternatives: tuple[TokenLogprob, ...] = ()


class Generation(Protocol):
    """One request under way. The caller may close it between any two calls, or simply drop it."""

    @property
    def reused(self) -> int:
        """How many of the prompt's tokens an earlier request has read already."""
        ...

    @property
    def waits(self) -> Progress | None:
        """How far it has come with a pause that the machine which computes has asked for; None while there is none."""
        ...

    def prefill(self) -> Iterator[int]:
        """Read the prompt in parts; yield after each how many of its tokens have been read.

        An engine that waits for another machine yields the same number again now and then, so that the caller can look
        whether it is to stop.
        """
        ...

    def step(self) -> list[Token] | None:
        """Return the next token of each candidate that goes on, or several where an engine has them.

        Several tokens of one candidate are in their order. An engine that streams ahead may return those of some
        candidates only. A candidate ends after a token of `stop_ids`, which is returned, and after `limit` tokens; when
        all have ended, an empty list comes. None is no end: an engine that waits for another machine returns it when
        nothing has come for a moment, so that the caller can look whether it is to stop.

        Raises:
            ServerError: The machine that computes cannot go on. What it has said until then stays as it is.
        """
        ...

    def close(self, candidate: int | None = None) -> None:
        """Generate no more for `candidate`, or for any. What has ended already stays so."""
        ...


def no_room_for_an_answer(model: str, tokens: int, context_length: int) -> str:
    """Say that a prompt fills a model's context."""
    return (
        f"The prompt has {tokens} tokens, and the context of {model} is {context_length} tokens in all. Give it a "
        "shorter text, or less context."
    )


def too_long_to_score(model: str, tokens: int, context_length: int) -> str:
    """Say that a text with its continuation does not fit into a model's context."""
    return (
        f"The text to be scored has {tokens} tokens, and the context of {model} is {context_length} tokens in all. "
        "Give it a shorter text, or less context."
    )


class Engine(Protocol):
    """A loaded model."""

    @property
    def info(self) -> EngineInfo:
        """What a user may know of it."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do beside generating."""
        ...

    @property
    def family(self) -> Family: ...

    @property
    def tokenizer(self) -> TextTokenizer: ...

    @property
    def context_length(self) -> int:
        """How many tokens prompt and answer may have together."""
        ...

    def generate(
        self,
        prompt: Sequence[int],
        *,
        beginnings: Sequence[Beginning],
        sampling: Sampling,
        stop_ids: AbstractSet[int],
        limit: int,
    ) -> Generation:
        """Begin a request.

        Args:
            prompt: Token ids, at least one.
            beginnings: How each candidate has to begin, one for each. Of several that are sampled the first is greedy,
                and the others differ as far as they can (`fim_magic.engines.arithmetic`); greedy ones that begin in the
                same way are all the same.
            sampling: How tokens are chosen.
            stop_ids: The tokens after which a candidate ends.
            limit: The most tokens of a candidate.

        Raises:
            ModelError: There is not enough memory, or no room in the context.
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

    def top_logprobs(self, prompt: Sequence[int], continuation: Sequence[int], count: int) -> list[list[TokenLogprob]]:
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

    def warm_up(self) -> None:
        """Make ready what the first request would otherwise have to wait for."""
        ...

    def forget(self) -> None:
        """Drop what is kept of earlier prompts."""
        ...

    def report(self) -> EngineReport: ...

    def bytes_per_token(self, context: int) -> int | None:
        """Return how many bytes one step of decoding reads with `context` tokens before it; None where not known."""
        ...
