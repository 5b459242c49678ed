"""Connections to one server: each carries one request after another, and can be cut by any thread meanwhile.

A client of httpx2 has a pool of connections, and does not say which one a request has until its answer begins. A server
may be silent until then, while it reads a prompt or loads a model. So each client here has one connection alone.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx2

_CONNECTED = (".connect_tcp.complete", ".start_tls.complete")
"""How the events of httpcore2 end in which a connection is made: to the server itself or to a proxy."""


class ServerLine:
    """One connection.

    Attributes:
        is_stale: Whether an earlier request was answered on it and this one was not: it may be closed at the other end.
        was_answered: Whether the server has answered a request, on this or on another line.
        is_cut: Whether it is of no use any more.
    """

    def __init__(self, client: httpx2.Client, *, was_answered: bool) -> None:
        self.is_stale = False
        self.was_answered = was_answered
        self._client = client
        self._lock = threading.RLock()  # as that of `EventStream`
        self._network: Any = None  # of the connection, when there is one
        self.is_cut = False

    @contextmanager
    def request(
        self, method: str, path: str, body: dict[str, Any] | None, timeout: httpx2.Timeout
    ) -> Iterator[httpx2.Response]:
        """Send a request; the block reads the answer.

        Raises:
            httpx2.HTTPError: None comes, or not all of it.
        """
        self.is_stale = self._network is not None
        extensions = {"trace": self._note}
        with self._client.stream(method, path, json=body, timeout=timeout, extensions=extensions) as response:
            self.is_stale, self.was_answered = False, True
            self._see(response.extensions.get("network_stream"))
            yield response

    def cut(self) -> None:
        """End the request that is on it. A thread that reads it gets an error."""
        with self._lock:
            self.is_cut = True
            self._shut()

    def close(self) -> None:
        self._client.close()

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event.endswith(_CONNECTED):
            self.is_stale = False
            self._see(told.get("return_value"))

    def _see(self, network: Any) -> None:
        with self._lock:
            self._network = network
            if self.is_cut:
                self._shut()

    def _shut(self) -> None:
        connected = None if self._network is None else self._network.get_extra_info("socket")
        if connected is not None:
            with suppress(OSError):  # it has ended by itself
                socket.socket.shutdown(connected, socket.SHUT_RDWR)  # of TLS as well, which would forget its keys first


class Lines:
    """Those that are idle.

    Args:
        make: Makes a client that has one connection.
    """

    def __init__(self, make: Callable[[], httpx2.Client]) -> None:
        self._make = make
        self._idle: list[ServerLine] = []
        self._was_answered = False
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, *, fresh: bool = False) -> Iterator[ServerLine]:
        """Have a line as long as the block lasts; it is kept for the next one unless the block fails.

        Args:
            fresh: One that was not used, since what the others have may be closed by now.
        """
        if fresh:
            self.close()
        with self._lock:
            line = self._idle.pop() if self._idle else None
        line = line or ServerLine(self._make(), was_answered=self._was_answered)
        try:
            yield line
        except BaseException:
            line.close()
            raise
        finally:
            self._was_answered |= line.was_answered
        if line.is_cut:
            line.close()
            return
        with self._lock:
            self._idle.append(line)

    def close(self) -> None:
        """Close those that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()
