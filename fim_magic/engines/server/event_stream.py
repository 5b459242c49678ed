"""One streamed answer of a server: server-sent events, or JSON on lines of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator
from typing import Any

import httpx2

from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.answers import read_events, read_json, read_whole
from fim_magic.engines.server.lines import Lines, ServerLine
from fim_magic.engines.server.patience import Patience
from fim_magic.engines.server.refusals import in_words, refusal, said_in_stream
from fim_magic.engines.server.time_limits import TimeLimits
from fim_magic.errors import ServerError
from fim_magic.progress import Progress

_END = "[DONE]"

_log = logging.getLogger(__name__)


class EventStream:
    """The events of one streamed answer.

    One thread reads it; any thread may close it, which ends the request on the server as well.

    Args:
        lines: The connections to the server.
        address: Where it is.
        path: Of the request.
        body: Of the request.
        limits: How long it is waited for.
    """

    def __init__(
        self, lines: Lines, address: ServerAddress, path: str, body: dict[str, Any], limits: TimeLimits
    ) -> None:
        self._lines = lines
        self._address = address
        self._path = path
        self._body = body
        self._limits = limits
        self._line: ServerLine | None = None
        # The garbage collector may close a stream on the very thread that holds the lock.
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._timer: threading.Timer | None = None  # runs when nothing more is expected
        self._patience = Patience(address.host, limits.patience, lambda seconds: not self._closed.wait(seconds))
        self._events = self._read()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    @property
    def waits(self) -> Progress | None:
        """How far a pause has come, before the request is sent again; None while there is none."""
        return self._patience.waits

    def __iter__(self) -> Iterator[Any]:
        """Send the request, and yield each event's JSON; nothing more once it is closed.

        Raises:
            ServerError: It is refused, or broke off.
        """
        return self._events

    def close(self) -> None:
        """End the request. A thread that waits for its next event returns."""
        with self._lock:
            self._closed.set()
            if self._timer is None:  # what is whole ends by itself
                self._cut()

    def expect_end(self) -> None:
        """Say that the answer is whole: what still comes is of no use, and waited for no more than a moment."""
        with self._lock:
            if self._timer is not None or self._line is None:
                return
            self._timer = threading.Timer(self._limits.drain, self._end_drain)
            self._timer.daemon = True
            self._timer.start()

    def _end_drain(self) -> None:
        with self._lock:
            self._cut()

    def _cut(self) -> None:
        if self._line is not None:
            self._line.cut()

    def drain(self) -> None:
        """Read what still comes behind an answer that is whole: its connection can then be used again."""
        self.expect_end()
        for _ in self._events:
            pass

    def release(self) -> None:
        """End the request where it is not whole, and let its connection go. Only the thread that reads it may do so."""
        self.close()
        self._events.close()

    def _read(self) -> Generator[Any, None, None]:
        has_begun = fresh = False
        while not self.is_closed:
            line = None
            try:
                with self._lines.taken(fresh=fresh) as line:
                    for event in self._read_from(line):
                        has_begun = True
                        yield event
                return
            except ServerError as error:
                if self.is_closed or self._timer is not None:  # what closing has broken is no failure
                    _log.debug("A stream was closed while it was read.", exc_info=True)
                    return
                if has_begun or not self._patience.allows(error, line):
                    raise
                fresh = True

    def _read_from(self, line: ServerLine) -> Iterator[Any]:
        with self._lock:
            if self.is_closed:  # the line is for another request, which a second close must not cut
                return
            self._line = line
        timeout = httpx2.Timeout(self._limits.first, connect=self._limits.connect)
        with in_words(self._address, line), line.request("POST", self._path, self._body, timeout) as response:
            if response.status_code != 200:
                raise refusal(self._address, response, read_whole(response, self._address))
            for data in read_events(response, self._address):
                if data == _END:
                    self.expect_end()
                if self._timer is not None:
                    continue
                event = read_json(data, self._address)
                failure = said_in_stream(self._address, event)
                if failure is not None:
                    raise failure
                if event is not None:  # llama-server begins with such a one at times
                    yield event
        with self._lock:  # before another request has it
            self._line = None
        if self._timer is not None:
            self._timer.cancel()
