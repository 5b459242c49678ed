"""The way to a server: one client for all requests, with its key, its time limits and its refusals in words.

Text goes to the host that the user has named and to no other: redirects are not followed, and what goes to this same
machine takes no proxy.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx2

from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.refusals import refusal, unreachable
from fim_magic.errors import ServerError
from fim_magic.regular_files import MIB, require_shallow

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""For an answer that is no stream."""
SILENT_SECONDS = 300.0
"""For the next part of a stream: a long prompt is read meanwhile, behind those of other users."""
LARGEST_ANSWER = 64 * MIB
LARGEST_EVENT = 4 * MIB

_log = logging.getLogger(__name__)


class Connection:
    """To one server. It may be used by several threads at once.

    Args:
        address: Where it is.
        key: It is sent as a Bearer token; "" sends none.
        transport: Takes the place of the network, for tests.
    """

    def __init__(self, address: ServerAddress, key: str = "", transport: httpx2.BaseTransport | None = None) -> None:
        self.address = address
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx2.Client(
            base_url=address.url,
            headers=headers,
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=not address.is_loopback,
            transport=transport,
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str) -> Any:
        """Return the JSON at a path.

        Raises:
            ServerError: There is none.
        """
        return self._ask("GET", path, None)

    def require_answer(self) -> None:
        """Ask for anything at all, to tell a server that is of another kind from none.

        Raises:
            ServerError: Nothing answers there.
        """
        with _in_words(self.address), self._client.stream("GET", "/health"):
            pass

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send JSON and return the JSON that comes back.

        Raises:
            ServerError: None comes.
        """
        return self._ask("POST", path, body)

    def stream(self, path: str, body: dict[str, Any]) -> EventStream:
        """Begin to send a request whose answer comes in events; see [`EventStream`][]."""
        return EventStream(self._client, self.address, path, body)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        with _in_words(self.address), self._client.stream(method, path, json=body) as response:
            content = _read(response, self.address)
            if response.status_code != 200:
                raise refusal(self.address, response, content)
        return _json(content, self.address)


class EventStream:
    """The events of one streamed answer: server-sent events, or JSON on lines of its own.

    One thread reads it; any thread may close it, which ends the request on the server as well.
    """

    def __init__(self, client: httpx2.Client, address: ServerAddress, path: str, body: dict[str, Any]) -> None:
        self._client = client
        self._address = address
        self._path = path
        self._body = body
        self._response: httpx2.Response | None = None
        self._lock = threading.Lock()
        self.is_closed = False

    def __iter__(self) -> Iterator[Any]:
        """Send the request, and yield each event's JSON; nothing more once it is closed.

        Raises:
            ServerError: It is refused, or broke off.
        """
        timeout = httpx2.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS)
        try:
            with (
                _in_words(self._address),
                self._client.stream("POST", self._path, json=self._body, timeout=timeout) as response,
            ):
                with self._lock:
                    self._response = response
                    if self.is_closed:
                        return
                if response.status_code != 200:
                    raise refusal(self._address, response, _read(response, self._address))
                for data in _data(response):
                    if self.is_closed or data == "[DONE]":
                        return
                    yield _json(data, self._address)
        except ServerError:
            if not self.is_closed:  # what closing has broken is no failure
                raise
            _log.debug("A stream was closed while it was read.", exc_info=True)

    def close(self) -> None:
        """End the request. A thread that waits for its next event returns."""
        with self._lock:
            self.is_closed = True
            stream = None if self._response is None else self._response.extensions.get("network_stream")
        connected = None if stream is None else stream.get_extra_info("socket")
        if connected is not None:
            with suppress(OSError):  # it has ended by itself
                connected.shutdown(socket.SHUT_RDWR)


def _data(response: httpx2.Response) -> Iterator[str]:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        for event in httpx2.EventSource(response, max_event_size=LARGEST_EVENT):
            yield event.data
    else:
        yield from filter(None, map(str.strip, response.iter_lines()))


def _read(response: httpx2.Response, address: ServerAddress) -> bytes:
    content = bytearray()
    for part in response.iter_bytes():
        content += part
        if len(content) > LARGEST_ANSWER:
            raise ServerError(f"The server at {address.host} sent more than {LARGEST_ANSWER // MIB} MiB at once.")
    return bytes(content)


def _json(content: bytes | str, address: ServerAddress) -> Any:
    try:
        value = json.loads(content)
        require_shallow(value)
    except (ValueError, RecursionError) as error:
        raise ServerError(
            f"The server at {address.host} answered what is no JSON. See whether it is the server that you mean: "
            f"%fim use {address.name}"
        ) from error
    return value


@contextmanager
def _in_words(address: ServerAddress) -> Iterator[None]:
    try:
        yield
    except httpx2.HTTPError as error:
        raise unreachable(address, error) from error
    except httpx2.InvalidURL as error:
        raise ServerError(f"{address.name} is no address that can be asked ({error}).") from error
