"""What differs from one kind of server to another: how it is asked, and how its answers read.

A dialect has no state and opens no connection of its own. What a server cannot do is in its capabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Protocol

from fim_magic.engines import Capabilities, Sampling, TokenLogprob
from fim_magic.engines.server.connection import ServerConnection

ALTERNATIVES = 8
"""The most probable tokens that are asked for in each place, where they come with the answer."""
BIAS = 100.0
"""Added to the logits of the only tokens that may come: much more than logits differ by, and the same for each."""


@dataclass(frozen=True)
class ServedModel:
    """What a server says of the model that it runs.

    Attributes:
        name: As requests have to call it.
        context_length: Tokens of prompt and answer together; 0 where it does not tell.
        sources: Where its tokenizer may come from, by its own account: a name on the Hub, or a path on its machine.
        software: The server and its version, such as "vLLM 0.32.0".
        precision: Of the weights, or "".
        adds_bos: Whether the server itself puts the token that begins a text before a prompt that is one; None where it
            is not known, so that it does what the tokenizer's own file says.
    """

    name: str
    context_length: int
    sources: tuple[str, ...]
    software: str
    precision: str = ""
    adds_bos: bool | None = None


@dataclass(frozen=True)
class Asked:
    """What is asked of a server in one streamed request, for one candidate.

    Attributes:
        model: As the server calls it.
        ids: The prompt.
        text: The same as a text, for servers that take no ids; else "".
        sampling: How tokens are chosen.
        stop_ids: The tokens that end the answer.
        stop_texts: Their texts, for servers that know no ids.
        limit: The most tokens of the answer.
        allowed: The only ids that may come; None where any may.
        alternatives: How many of the most probable tokens are wanted in each place.
        context_length: Tokens of prompt and answer together, for servers that ask how many there are to be.
    """

    model: str
    ids: Sequence[int]
    sampling: Sampling
    stop_ids: AbstractSet[int]
    limit: int
    text: str = ""
    stop_texts: tuple[str, ...] = ()
    allowed: tuple[int, ...] | None = None
    alternatives: int = ALTERNATIVES
    context_length: int = 0

    @property
    def top_p(self) -> float:
        """Top-p as it is to be sent: greedy requests ask for none."""
        return self.sampling.top_p if self.sampling.temperature else 1.0


@dataclass(frozen=True)
class ServedToken:
    """One token of a server's answer.

    Attributes:
        id: Its id.
        logprob: Its natural log-probability, where it is told.
        alternatives: The most probable tokens in its place, falling.
    """

    id: int
    logprob: float | None = None
    alternatives: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class AnswerPiece:
    """What one event of a stream adds to an answer.

    Attributes:
        tokens: What comes next, where the server tells ids.
        text: What comes next, where it does not; never both in one piece.
        logprobs: The natural log-probabilities of the text's tokens, where they are told.
        ended: Why there is no more: "stop" or "length", or "" while there is.
        cached: How many tokens of the prompt the server had read before; None where this event does not say it.
        prompt_tokens: As how many tokens the server has read the whole prompt, likewise.
    """

    tokens: tuple[ServedToken, ...] = ()
    text: str = ""
    logprobs: tuple[float, ...] = ()
    ended: str = ""
    cached: int | None = None
    prompt_tokens: int | None = None


class Dialect(Protocol):
    """How a kind of server is asked."""

    @property
    def name(self) -> str:
        """As an address says it."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do. Where it takes no ids, a prompt is a text, which has to be proved to give the same ids."""
        ...

    @property
    def variants(self) -> tuple[Dialect, ...]:
        """The ways in which this kind may be asked, the best first: which one holds has to be proved. Most have one."""
        ...

    def identify(self, connection: ServerConnection, wanted: str) -> ServedModel:
        """Ask which model runs there.

        Args:
            connection: To the server.
            wanted: The model's name as the user has written it; "" takes the only one.

        Raises:
            ServerError: It is another kind of server, or has no such model. The message says which it has.
        """
        ...

    def tokenize(self, connection: ServerConnection, model: str, text: str) -> list[int] | None:
        """Return the server's own ids of a text, in which it finds sentinels; None where it does not tell.

        Raises:
            ServerError: It cannot be asked.
        """
        ...

    def detokenize(self, connection: ServerConnection, model: str, ids: Sequence[int]) -> str | None:
        """Return the server's own text of some ids; None where it does not tell.

        Raises:
            ServerError: It cannot be asked.
        """
        ...

    def request(self, asked: Asked) -> tuple[str, dict[str, Any]]:
        """Return the path and the body of a streamed request."""
        ...

    def pieces(self, events: Iterable[Any], asked: Asked) -> Iterator[AnswerPiece]:
        """Read the events of the stream that answers `asked`; each is JSON.

        Raises:
            ServerError: The server says that it failed.
            Exception: One has another form than it should have.
        """
        ...

    def score(
        self, connection: ServerConnection, model: str, ids: Sequence[int], begin: int, count: int
    ) -> list[ServedToken] | None:
        """Say how probable the tokens of a text from `begin` on are, with `count` alternatives in the place of each.

        None where the server tells nothing of what it has not generated itself.

        Raises:
            ServerError: It cannot be asked.
        """
        ...


def falling(tokens: Iterable[TokenLogprob]) -> tuple[TokenLogprob, ...]:
    """Return tokens in their order, the most probable first."""
    return tuple(sorted(tokens, key=lambda token: -token.logprob))
