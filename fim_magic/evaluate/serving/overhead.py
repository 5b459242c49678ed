"""A whole infill beside a plain request with the same token ids, to the same server, in turns."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import httpx2

from fim_magic.allowed_hosts import Permission
from fim_magic.document import Document
from fim_magic.engines import GREEDY, Engine, Generation, Token
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.answers import read_json
from fim_magic.engines.server.dialect import Asked, Dialect, ServedModel
from fim_magic.engines.server.keys import key_for
from fim_magic.engines.server.refusals import proxy_in_words, said_in_stream
from fim_magic.engines.server.sense import in_known_form
from fim_magic.errors import ServerError
from fim_magic.events import Finished
from fim_magic.generation import prompt_for
from fim_magic.pipeline import run
from fim_magic.request import Request

GOAL = 1.05
"""The most that a whole infill may take, as a multiple of the plain request."""

_SECONDS = 300.0  # for the next line
_REST = 0.5  # seconds: a server ends the step of a request that was closed, which the next one would wait for


@dataclass(frozen=True)
class OverheadTiming:
    """One infill and one plain request.

    Attributes:
        ours: Seconds until the infill was whole: prompt, tokens, trimming, checks.
        by_hand: Seconds until the plain request had as many tokens.
        tokens: How many came, those among them that were trimmed away: the server has made these as well.
    """

    ours: float
    by_hand: float
    tokens: int


@dataclass(frozen=True)
class ByHand:
    """Asks a server as a script of a dozen lines would.

    Attributes:
        address: Where it is.
        dialect: How a request of its kind is written.
        served: Its model.
    """

    address: ServerAddress
    dialect: Dialect
    served: ServedModel

    def client(self) -> httpx2.Client:
        key = key_for(self.address)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        by_proxy = not self.address.is_loopback
        with proxy_in_words(self.address):
            return httpx2.Client(base_url=self.address.url, headers=headers, timeout=_SECONDS, trust_env=by_proxy)

    def ask(self, client: httpx2.Client, request: Request, engine: Engine, tokens: int) -> float:
        """Send the prompt of a request, and return the seconds until so many tokens were there.

        Raises:
            ServerError: It did not answer.
        """
        prompt = prompt_for(request, engine)
        asked = Asked(self.served.name, list(prompt.ids), GREEDY, prompt.stop_ids, request.max_new_tokens)
        path, body = self.dialect.request(asked)
        began = time.perf_counter()
        with in_known_form(self.address):
            try:
                self._read(client, path, body, asked, tokens)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise ServerError(
                    f"The server at {self.address.host} did not answer a plain request ({error}). Run this again when "
                    "it is well."
                ) from error
        return time.perf_counter() - began

    def _read(self, client: httpx2.Client, path: str, body: dict[str, Any], asked: Asked, tokens: int) -> None:
        found = 0
        with client.stream("POST", path, json=body) as response:
            response.raise_for_status()
            for piece in self.dialect.pieces(self._events(response), asked):
                found += len(piece.tokens)
                if found >= tokens:
                    break

    def _events(self, response: httpx2.Response) -> Iterator[Any]:
        for line in response.iter_lines():
            text = line.removeprefix("data:").strip()
            if text == "[DONE]":
                return
            if text:
                event = read_json(text, self.address)
                failure = said_in_stream(self.address, event)
                if failure is not None:
                    raise failure
                yield event


def measure_overhead(
    engine: Engine,
    by_hand: ByHand,
    documents: Sequence[Document],
    rounds: int,
    new_tokens: int,
    on_done: Callable[[], None] = lambda: None,
    *,
    stop: threading.Event,
) -> Iterator[OverheadTiming]:
    """Ask both ways in turns, the one first and then the other first, and yield each pair.

    The first round is not counted: it has the server read each prompt, so that both find it read.

    Args:
        engine: Who answers.
        by_hand: How it is asked by hand.
        documents: What is filled.
        rounds: How often.
        new_tokens: The most tokens of an answer.
        on_done: Called after each pair.
        stop: When it is set, this ends early.

    Raises:
        FimError: What came instead of an answer.
        KeyboardInterrupt: `stop` was set.
    """
    permission = Permission.for_own_text(engine.info)  # Python's own code
    with by_hand.client() as client:
        for number in range(rounds + 1):
            for document in documents:
                request = Request(document, candidates=1, max_new_tokens=new_tokens, permission=permission)
                timing = _pair(engine, by_hand, client, request, hand_first=number % 2 == 1, stop=stop)
                on_done()
                if number:
                    yield timing


def ratio(timings: Sequence[OverheadTiming]) -> float:
    """Return how many times as long an infill takes as the plain request: the median over the pairs."""
    return statistics.median(timing.ours / timing.by_hand for timing in timings)


def _pair(
    engine: Engine,
    by_hand: ByHand,
    client: httpx2.Client,
    request: Request,
    *,
    hand_first: bool,
    stop: threading.Event,
) -> OverheadTiming:
    # How many tokens have to come is known after the first infill. It is not counted: a server needs longer for the
    # first request after one with another prompt.
    tokens = infilled(engine, request, stop)[1]
    stop.wait(_REST)
    if hand_first:
        hand = by_hand.ask(client, request, engine, tokens)
        stop.wait(_REST)
        ours, tokens = infilled(engine, request, stop)
    else:
        ours, tokens = infilled(engine, request, stop)
        stop.wait(_REST)
        hand = by_hand.ask(client, request, engine, tokens)
    return OverheadTiming(ours, hand, tokens)


def infilled(engine: Engine, request: Request, stop: threading.Event) -> tuple[float, int]:
    """Return the seconds of a whole infill, and how many tokens came for it."""
    counting = _Counting(engine)
    began = time.perf_counter()
    for event in run(request, cast(Engine, counting), stop):
        if isinstance(event, Finished) and event.result.broken_off:
            raise ServerError(event.result.broken_off)
    if stop.is_set():
        raise KeyboardInterrupt
    return time.perf_counter() - began, counting.tokens


class _Counting:
    """An engine that counts the tokens which come for its requests, whatever becomes of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.tokens = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, prompt: Sequence[int], **options: Any) -> Generation:
        return cast(Generation, _Counted(self._engine.generate(prompt, **options), self))


class _Counted:
    """One of its requests."""

    def __init__(self, generation: Generation, counting: _Counting) -> None:
        self._generation = generation
        self._counting = counting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generation, name)

    def step(self) -> list[Token] | None:
        tokens = self._generation.step()
        self._counting.tokens += len(tokens or ())
        return tokens
