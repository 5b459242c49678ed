"""One request to a server: a stream for each candidate, read by a thread of its own.

So each candidate can be ended by itself, which lets the server do other work; and the caller is never stuck in a read:
it looks into a queue, and now and then at whether it is to stop.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fim_magic.engines import Beginning, Sampling, Token
from fim_magic.engines.running import Running
from fim_magic.engines.server.connection import Connection, EventStream
from fim_magic.engines.server.dialect import Asked, Dialect, Piece, ServedToken
from fim_magic.engines.server.text_answers import pieces_of
from fim_magic.errors import ServerError, is_failure
from fim_magic.tokenization import TextTokenizer

_MOMENT = 0.05  # seconds that one look into the queue lasts

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Ended:
    """A candidate's thread has come to its end: by itself, or with an error."""

    candidate: int
    error: BaseException | None = None


class ServerGeneration:
    """One request to a server. Satisfies [`fim_magic.engines.Generation`][].

    Attributes:
        reused: How many of the prompt's tokens the server had read before, as far as it tells.
    """

    def __init__(
        self,
        streams: Sequence[CandidateStream],
        prompt_length: int,
        running: Running,
    ) -> None:
        self.reused = 0
        self._prompt_length = prompt_length
        self._running = running
        self._streams = streams
        self._arrived: queue.SimpleQueue[Token | _Ended] = queue.SimpleQueue()
        self._waiting: list[Token | _Ended] = []  # looked at by `prefill`, and not given yet
        self._begun = False
        # Dropped without a close, it is closed by the garbage collector: a server would else go on for nobody.
        weakref.finalize(self, _close_all, streams).atexit = False

    def prefill(self) -> Iterator[int]:
        """Send the request, and wait for the first token: no server says how far it has read."""
        self._begin()
        yield 0
        while not self._waiting:
            found = self._next()
            if found is None:
                yield 0
            else:
                self._waiting.append(found)
        self.reused = max((stream.cached for stream in self._streams), default=0)
        yield self._prompt_length

    def step(self) -> list[Token] | None:
        self._begin()
        if not self._running.candidates:
            return []
        found = self._waiting.pop() if self._waiting else self._next()
        tokens: list[Token] = []
        while found is not None:
            if isinstance(found, _Ended):
                if found.error is not None and found.candidate in self._running.candidates:
                    if tokens:  # they come first
                        self._waiting.append(found)
                        break
                    raise found.error
                self._running.close(found.candidate)
            elif found.candidate in self._running.candidates:
                tokens.append(found)
                for ended in self._running.push([found]):
                    self.close(ended)
            found = self._next(wait=False)
        if not tokens and self._running.candidates:
            return None
        return tokens

    def close(self, candidate: int | None = None) -> None:
        self._running.close(candidate)
        for stream in self._streams:
            if candidate in (None, stream.candidate):
                stream.close()

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        for stream in self._streams:
            if stream.candidate in self._running.candidates:
                stream.start(self._arrived)

    def _next(self, *, wait: bool = True) -> Token | _Ended | None:
        try:
            return self._arrived.get(timeout=_MOMENT) if wait else self._arrived.get_nowait()
        except queue.Empty:
            return None


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
    """

    def __init__(
        self,
        connection: Connection,
        dialect: Dialect,
        asked: Asked,
        beginning: Beginning,
        tokenizer: TextTokenizer,
        candidate: int,
    ) -> None:
        self.candidate = candidate
        self.cached = 0
        self._connection = connection
        self._dialect = dialect
        self._asked = asked
        self._beginning = beginning
        self._tokenizer = tokenizer
        self._stream: EventStream | None = None
        self._lock = threading.Lock()
        self._is_closed = False

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
        error = None
        try:
            for token in self._tokens():
                arrived.put(Token(self.candidate, token.id, token.logprob, token.alternatives))
        except BaseException as raised:
            if not is_failure(raised):
                raise
            error = raised if isinstance(raised, ServerError) else self._unreadable(raised)
        finally:
            arrived.put(_Ended(self.candidate, error))

    def _tokens(self) -> Iterator[ServedToken]:
        """The answer's tokens: those that it has to begin with, and those that come by themselves.

        What it has to begin with is asked for one token at a time: the server keeps what it has read of the prompt.
        """
        generated = list(self._beginning.ids)
        yield from map(ServedToken, generated)
        while len(generated) < self._asked.limit:
            allowed = self._beginning.allowed(generated, self._tokenizer)
            if allowed is None:
                break
            one = replace(self._continued(generated), limit=1, allowed=tuple(allowed))
            for piece in self._pieces(one):
                generated += [token.id for token in piece.tokens]
                yield from piece.tokens
            if self._is_closed or generated[-1:] == [] or generated[-1] in self._asked.stop_ids:
                return
        if len(generated) < self._asked.limit:
            yield from self._rest(generated)

    def _rest(self, generated: Sequence[int]) -> Iterator[ServedToken]:
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

    def _pieces(self, asked: Asked) -> Iterator[Piece]:
        stream = self._connection.stream(*self._dialect.request(asked))
        with self._lock:
            self._stream = stream
            if self._is_closed:
                return
        for piece in pieces_of(self._dialect, stream, asked, self._tokenizer):
            if piece.cached is not None:
                self.cached = piece.cached
            yield piece
            if piece.ended:
                return

    def _unreadable(self, error: BaseException) -> ServerError:
        _log.info("An event of a server could not be read.", exc_info=error)
        return ServerError(
            f"The server at {self._connection.address.host} answered in a form that fim-magic does not know "
            f"({type(error).__name__}). See whether it is the kind of server that its address says: "
            f"%fim use {self._connection.address.name}"
        )


def streams_for(
    connection: Connection,
    dialect: Dialect,
    asked: Asked,
    beginnings: Sequence[Beginning],
    tokenizer: TextTokenizer,
) -> list[CandidateStream]:
    """Return a stream for each candidate; `asked.sampling` is shared out among them."""
    samplings: list[Sampling] = [asked.sampling] * len(beginnings)
    if asked.sampling.temperature:
        samplings = asked.sampling.each(len(beginnings))
    return [
        CandidateStream(connection, dialect, replace(asked, sampling=sampling), beginning, tokenizer, number)
        for number, (beginning, sampling) in enumerate(zip(beginnings, samplings, strict=True))
    ]


def _close_all(streams: Sequence[CandidateStream]) -> None:
    for stream in streams:
        stream.close()
