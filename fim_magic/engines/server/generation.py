"""One request to a server: a stream for each candidate, read by a thread of its own.

So each candidate can be ended by itself, which lets the server do other work; and the caller is never stuck in a read:
it looks into a queue, and now and then at whether it is to stop.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fim_magic.engines import Beginning, Sampling, Token
from fim_magic.engines.running import Running
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import AnswerPiece, Asked, Dialect, ServedToken
from fim_magic.engines.server.event_stream import EventStream
from fim_magic.engines.server.refusals import ended_early, silent, unreadable
from fim_magic.engines.server.sense import in_known_form, require_sense
from fim_magic.engines.server.text_answers import pieces_of
from fim_magic.engines.server.time_limits import TimeLimits
from fim_magic.errors import ServerError
from fim_magic.progress import Progress
from fim_magic.tokenization import TextTokenizer

_MOMENT = 0.05  # seconds that one look into the queue lasts


@dataclass(frozen=True)
class _Ended:
    """A candidate's thread has come to its end: by itself, or with an error."""

    candidate: int
    error: BaseException | None = None


class ServerGeneration:
    """One request to a server. Satisfies [`fim_magic.engines.Generation`][].

    Where the answer of one candidate breaks off, the others go on; the error is raised when they have ended.

    Args:
        streams: Of each candidate.
        prompt_length: How many tokens the prompt has.
        running: Which of the candidates go on.
        silence: Returns the error for a server that says nothing any more.
        limits: How long it is waited for.

    Attributes:
        reused: How many of the prompt's tokens the server had read before, as far as it tells.
    """

    def __init__(
        self,
        streams: Sequence[CandidateStream],
        prompt_length: int,
        running: Running,
        silence: Callable[[float], ServerError],
        limits: TimeLimits,
    ) -> None:
        self.reused = 0
        self._prompt_length = prompt_length
        self._running = running
        self._streams = streams
        self._silence = silence
        self._limits = limits
        self._arrived: queue.SimpleQueue[Token | _Ended] = queue.SimpleQueue()
        self._waiting: list[Token | _Ended] = []  # looked at by `prefill`, and not given yet
        self._begun = False
        self._failure: BaseException | None = None  # of the candidate that failed first
        self._heard = 0.0  # when something came last
        # Dropped without a close, it is closed by the garbage collector: a server would else go on for nobody.
        weakref.finalize(self, _close_all, streams).atexit = False

    @property
    def read(self) -> int | None:
        """As how many tokens the server has read the whole prompt; None where it has not told."""
        return next((stream.prompt_tokens for stream in self._streams if stream.prompt_tokens is not None), None)

    @property
    def waits(self) -> Progress | None:
        found = (stream.waits for stream in self._streams if stream.candidate in self._running.candidates)
        return next(filter(None, found), None)

    def prefill(self) -> Iterator[int]:
        """Send the request, and wait for the first token: no server says how far it has read."""
        self._begin()
        yield 0
        while self._running.candidates and not self._waiting:
            found = self._next()
            if found is None:
                yield 0
            else:
                self._waiting.append(found)
        self.reused = max((stream.cached for stream in self._streams), default=0)
        yield self._prompt_length

    def step(self) -> list[Token] | None:
        self._begin()
        found = self._waiting.pop() if self._waiting else self._next()
        tokens: list[Token] = []
        while found is not None:
            if found.candidate in self._running.candidates:
                self._take(found, tokens)
            found = self._next(wait=False)
        if not tokens and self._running.candidates:
            return None
        if not tokens and self._failure is not None:
            raise self._failure
        return tokens

    def close(self, candidate: int | None = None) -> None:
        self._running.close(candidate)
        for stream in self._streams:
            if candidate in (None, stream.candidate):
                stream.close()

    def _take(self, found: Token | _Ended, tokens: list[Token]) -> None:
        """Note what has come for a candidate that goes on."""
        if isinstance(found, _Ended):
            self._failure = self._failure or found.error
            self._running.close(found.candidate)
            return
        tokens.append(found)
        for ended in self._running.push([found]):
            self.close(ended)

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun, self._heard = True, time.monotonic()
        for stream in self._streams:
            if stream.candidate in self._running.candidates:
                stream.start(self._arrived)

    def _next(self, *, wait: bool = True) -> Token | _Ended | None:
        """Return what comes next; None where nothing has come for a moment, or without `wait` yet.

        Raises:
            ServerError: Nothing has come for too long.
        """
        wait = wait and bool(self._running.candidates)
        try:
            found = self._arrived.get(timeout=_MOMENT) if wait else self._arrived.get_nowait()
        except queue.Empty:
            has_begun = any(stream.has_begun for stream in self._streams)
            patience = self._limits.following if has_begun else self._limits.first
            if wait and time.monotonic() - self._heard > patience:
                self.close()
                raise self._silence(patience) from None
            return None
        self._heard = time.monotonic()
        return found


class CandidateStream:
    """What a server says for one candidate.

    Args:
        connection: To the server.
        dialect: Of the server.
        asked: The request; how the answer has to begin is added to it.
        beginning: That.
        tokenizer: The model's.
        candidate: Its number.

    Attributes:
        candidate: The argument.
        cached: How many tokens of the prompt the server had read before, as far as it tells.
        prompt_tokens: As how many tokens it has read the whole prompt; None where it has not told.
        has_begun: Whether the server has said anything.
    """

    def __init__(
        self,
        connection: ServerConnection,
        dialect: Dialect,
        asked: Asked,
        beginning: Beginning,
        tokenizer: TextTokenizer,
        candidate: int,
    ) -> None:
        self.candidate = candidate
        self.cached = 0
        self.prompt_tokens: int | None = None
        self.has_begun = False
        self._connection = connection
        self._dialect = dialect
        self._asked = asked
        self._beginning = beginning
        self._tokenizer = tokenizer
        self._stream: EventStream | None = None
        self._lock = threading.RLock()  # as that of `EventStream`
        self._is_closed = False

    @property
    def waits(self) -> Progress | None:
        """How far a pause has come; None while there is none."""
        stream = self._stream
        return None if stream is None else stream.waits

    def start(self, arrived: queue.SimpleQueue[Token | _Ended]) -> None:
        """Read the answer on a thread of its own, for which the end of the process does not wait."""
        name = f"fim-magic-candidate-{self.candidate}"
        threading.Thread(target=self._run, args=(arrived,), daemon=True, name=name).start()

    def close(self) -> None:
        """End the request. What is on its way is dropped."""
        with self._lock:
            self._is_closed = True
            stream = self._stream
        if stream is not None:
            stream.close()

    def _run(self, arrived: queue.SimpleQueue[Token | _Ended]) -> None:
        error: BaseException | None = None
        try:
            with in_known_form(self._connection.address):
                for token in self._tokens():
                    arrived.put(Token(self.candidate, token.id, token.logprob, token.alternatives))
        except BaseException as raised:  # whoever waits for the candidate raises it: on a thread it would be lost
            error = raised
        arrived.put(_Ended(self.candidate, error))

    def _tokens(self) -> Iterator[ServedToken]:
        """The answer's tokens: those that it has to begin with, and those that come by themselves."""
        generated = list(self._beginning.ids)
        unknown = [None] * (len(generated) - len(self._beginning.logprobs))
        yield from map(ServedToken, generated, (*self._beginning.logprobs, *unknown))
        while len(generated) < self._asked.limit and self._asked.stop_ids.isdisjoint(generated):
            unfit: ServedToken | None = None
            if not self._is_held_to(generated):
                with closing(self._rest(generated)) as rest:
                    for token in rest:
                        if not self._may_come(token.id, generated):
                            unfit = token
                            break
                        generated.append(token.id)
                        yield token
                if unfit is None:
                    return
            chosen = self._instead_of(unfit, generated)
            if chosen is None:  # it has been closed
                return
            generated.append(chosen.id)
            yield chosen

    def _is_held_to(self, generated: Sequence[int]) -> bool:
        """Whether the server has to be told which tokens may come.

        A greedy answer goes its own way first: most begin as they have to by themselves, and a list of what may come
        can be half the vocabulary. A token that is drawn among all says nothing of how those that may come are drawn.
        """
        return bool(self._asked.sampling.temperature) and self._allowed(generated) is not None

    def _may_come(self, token: int, generated: Sequence[int]) -> bool:
        allowed = self._allowed(generated)
        return allowed is None or token in allowed

    def _allowed(self, generated: Sequence[int]) -> list[int] | None:
        return self._beginning.allowed(generated, self._tokenizer)

    def _instead_of(self, unfit: ServedToken | None, generated: Sequence[int]) -> ServedToken | None:
        """Return the token that comes in the place of one that may not, or None where the stream has been closed.

        Of a greedy answer it is the most probable one that may come: the first such among the alternatives, if there is
        one, since these are more probable than all others.
        """
        allowed = self._allowed(generated) or []
        if unfit is not None:
            for told in unfit.alternatives:
                if told.id in allowed:
                    return ServedToken(told.id, told.logprob, unfit.alternatives)
        found: list[ServedToken] = []
        with closing(self._pieces(replace(self._continued(generated), limit=1, allowed=tuple(allowed)))) as pieces:
            for piece in pieces:
                found += piece.tokens
                if len(found) > 1:  # it would go on
                    break
        if self._is_closed:
            return None
        if not found or found[0].id not in allowed:
            raise unreadable(self._connection.address, "it does not keep to the tokens that it is asked for")
        return found[0]

    def _rest(self, generated: Sequence[int]) -> Generator[ServedToken]:
        """The tokens that come by themselves, with the one that ends them: some servers keep it for themselves."""
        last = None
        for piece in self._pieces(self._continued(generated)):
            for token in piece.tokens:
                last = token.id
                yield token
            if piece.ended == "stop" and last not in self._asked.stop_ids and self._asked.stop_ids:
                yield ServedToken(min(self._asked.stop_ids))

    def _continued(self, generated: Sequence[int]) -> Asked:
        return replace(self._asked, ids=[*self._asked.ids, *generated], limit=self._asked.limit - len(generated))

    def _pieces(self, asked: Asked) -> Generator[AnswerPiece]:
        stream = self._connection.stream(*self._dialect.request(asked))
        with self._lock:
            self._stream = stream
            if self._is_closed:
                return
        try:
            for piece in pieces_of(self._dialect, self._heard(stream), asked, self._tokenizer):
                self._note(piece)
                if piece.ended:
                    stream.expect_end()
                yield piece
                if piece.ended:
                    stream.drain()
                    return
        finally:  # also where it makes no sense, or goes on behind the token that was asked for
            stream.release()
        if not self._is_closed:
            raise ended_early(self._connection.address)

    def _note(self, piece: AnswerPiece) -> None:
        """Look whether a piece makes sense, and note what it says of the prompt."""
        for token in piece.tokens:
            require_sense(token, self._tokenizer)
        if piece.cached is not None:
            self.cached = piece.cached
        if piece.prompt_tokens is not None:
            self.prompt_tokens = piece.prompt_tokens

    def _heard(self, events: Iterable[Any]) -> Iterator[Any]:
        """The events, as they come."""
        for event in events:
            self.has_begun = True
            yield event


def generation_of(
    connection: ServerConnection,
    dialect: Dialect,
    asked: Asked,
    beginnings: Sequence[Beginning],
    tokenizer: TextTokenizer,
    *,
    limit: int | None = None,
) -> ServerGeneration:
    """Return a generation of a candidate for each beginning; `asked.sampling` is shared out among them.

    Args:
        connection: To the server.
        dialect: Of the server.
        asked: What is asked for each candidate.
        beginnings: How each has to begin.
        tokenizer: The model's.
        limit: After how many tokens a candidate has ended, whatever comes behind; else that of `asked`.
    """
    samplings: list[Sampling] = [asked.sampling] * len(beginnings)
    if asked.sampling.temperature:
        samplings = asked.sampling.each(len(beginnings))
    streams = [
        CandidateStream(connection, dialect, replace(asked, sampling=sampling), beginning, tokenizer, number)
        for number, (beginning, sampling) in enumerate(zip(beginnings, samplings, strict=True))
    ]
    running = Running(beginnings, asked.stop_ids, asked.limit if limit is None else limit, tokenizer)
    return ServerGeneration(streams, len(asked.ids), running, partial(silent, connection.address), connection.limits)


def tokens_of(generation: ServerGeneration, connection: ServerConnection) -> Iterator[Token]:
    """Yield the tokens of a generation that nobody looks at meanwhile, as long as they are wanted.

    Raises:
        ServerError: They are not, or the server fails.
    """
    tokens: list[Token] | None = None
    while tokens is None or tokens:
        connection.require_wanted(generation.waits)
        tokens = generation.step()
        yield from tokens or ()


def _close_all(streams: Sequence[CandidateStream]) -> None:
    for stream in streams:
        stream.close()
