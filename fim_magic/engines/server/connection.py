"""The way to a server: what is asked of it, with its key, its time limits and its refusals in words.

Text goes to the host that the user has named and to no other: redirects are not followed, and what goes to this same
machine takes no proxy.
"""

from __future__ import annotations

import functools
import ssl
import threading
from collections.abc import Callable
from typing import Any

import httpx2

from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.answers import read_json, read_whole
from fim_magic.engines.server.event_stream import EventStream
from fim_magic.engines.server.lines import Lines, ServerLine
from fim_magic.engines.server.patience import Patience
from fim_magic.engines.server.refusals import in_words, proxy_in_words, refusal
from fim_magic.engines.server.time_limits import USUAL, TimeLimits
from fim_magic.errors import ServerError
from fim_magic.progress import OnProgress, Progress, silent

_MOMENT = 0.05  # seconds between two looks at whether an answer is still wanted
_IDLE_SECONDS = 4.0  # that a connection is kept: vLLM and llama-server close one after five


class ServerConnection:
    """To one server. It may be used by several threads at once.

    Args:
        address: Where it is.
        key: It is sent as a Bearer token; "" sends none.
        transport: Takes the place of the network, for tests.
        limits: How long it is waited for.
        is_stopped: Whether the request of the thread that asks is to end; it is called now and then.

    Attributes:
        on_wait: Told of the pauses that a server asks for, on the thread that waits for its answer.
    """

    def __init__(
        self,
        address: ServerAddress,
        key: str = "",
        transport: httpx2.BaseTransport | None = None,
        limits: TimeLimits = USUAL,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.address = address
        self.limits = limits
        self.on_wait: OnProgress = silent
        self._key = key
        self._transport = transport
        self._is_stopped = is_stopped
        self._lines = Lines(self._client)

    def close(self) -> None:
        self._lines.close()

    def get(self, path: str) -> Any:
        """Return the JSON at a path.

        Raises:
            ServerError: There is none.
        """
        return self._ask(lambda line: self._answer(line, "GET", path, None))

    def require_answer(self) -> None:
        """Ask for anything at all, to tell a server that is of another kind from none.

        Raises:
            ServerError: Nothing answers there.
        """
        self._ask(self._has_answered)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send JSON and return the JSON that comes back.

        Raises:
            ServerError: None comes.
        """
        return self._ask(lambda line: self._answer(line, "POST", path, body))

    def stream(self, path: str, body: dict[str, Any]) -> EventStream:
        """Begin to send a request whose answer comes in events; see [`EventStream`][]."""
        return EventStream(self._lines, self.address, path, body, self.limits)

    def require_wanted(self, waits: Progress | None = None) -> None:
        """Look whether the request of this thread is to end, and report a pause if there is one.

        Raises:
            ServerError: It is.
        """
        if self._is_stopped():
            raise _stopped()
        if waits is not None:
            self.on_wait(waits)

    def _ask(self, send: Callable[[ServerLine], Any]) -> Any:
        """Return what `send` does, which sends a request over a line. It may be interrupted at any time."""
        return _Asking(lambda asking: self._try(asking, send)).answer(self.require_wanted)

    def _try(self, asking: _Asking, send: Callable[[ServerLine], Any]) -> Any:
        asking.patience = patience = Patience(
            self.address.host, self.limits.patience, lambda seconds: not asking.is_ended.wait(seconds)
        )
        fresh = False
        while True:
            line = None
            try:
                with self._lines.taken(fresh=fresh) as line:
                    asking.see(line)
                    answer = send(line)
                    asking.see(None)  # before another request has it
                    return answer
            except ServerError as error:
                if not patience.allows(error, line):
                    raise
                fresh = True

    def _has_answered(self, line: ServerLine) -> None:
        with in_words(self.address, line), line.request("GET", "/health", None, self._timeout):
            pass

    def _answer(self, line: ServerLine, method: str, path: str, body: dict[str, Any] | None) -> Any:
        with in_words(self.address, line), line.request(method, path, body, self._timeout) as response:
            content = read_whole(response, self.address)
            if response.status_code != 200:
                raise refusal(self.address, response, content)
        return read_json(content, self.address)

    @property
    def _timeout(self) -> httpx2.Timeout:
        return httpx2.Timeout(self.limits.answer, connect=self.limits.connect)

    def _client(self) -> httpx2.Client:
        """Make a client that has one connection, which is kept for the next request."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        verify = self._certificates if self.address.is_encrypted else _no_certificates()
        with proxy_in_words(self.address):
            return httpx2.Client(
                base_url=self.address.url,
                headers=headers,
                follow_redirects=False,
                trust_env=not self.address.is_loopback,
                transport=self._transport,
                verify=verify,
                limits=httpx2.Limits(max_connections=1, keepalive_expiry=_IDLE_SECONDS),
            )

    @functools.cached_property
    def _certificates(self) -> ssl.SSLContext:
        """Those that are trusted; to read them takes longer than many an answer."""
        try:
            return httpx2.create_ssl_context()
        except OSError as error:
            raise ServerError(
                f"The certificates that are to be trusted could not be read ({error}). The environment variables "
                "SSL_CERT_FILE and SSL_CERT_DIR say where they are. Change them, and restart the kernel."
            ) from error


def _stopped() -> ServerError:
    return ServerError("The request was stopped before the server had answered. Run it again.")


def _no_certificates() -> ssl.SSLContext:
    """Trust none: for what goes without TLS, where nothing has to be read."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Asking:
    """One request whose answer comes at once. It is sent on a thread, so that whoever waits can be called away.

    Args:
        ask: Returns the answer. It shows this object the line that it uses.

    Attributes:
        is_ended: Set when nobody waits any more.
        patience: Counts the tries, as soon as there is one.
    """

    def __init__(self, ask: Callable[[_Asking], Any]) -> None:
        self._line: ServerLine | None = None
        self.is_ended = threading.Event()
        self.patience: Patience | None = None
        self._ask = ask
        self._lock = threading.Lock()
        self._is_answered = threading.Event()
        self._answer: Any = None
        self._error: BaseException | None = None

    def see(self, line: ServerLine | None) -> None:
        with self._lock:
            self._line = line
            if line is not None and self.is_ended.is_set():
                line.cut()

    def answer(self, look: Callable[[Progress | None], None]) -> Any:
        """Return the answer.

        Args:
            look: Called now and then, with a pause if there is one. What it raises ends the request.

        Raises:
            ServerError: There is none.
        """
        thread = threading.Thread(target=self._run, name="fim-magic-asks", daemon=True)
        try:
            thread.start()  # it waits until the thread runs, and may be called away as what follows may
            while not self._is_answered.wait(_MOMENT):
                look(None if self.patience is None else self.patience.waits)
        except BaseException:
            self._end()
            raise
        if self._error is not None:
            raise self._error
        return self._answer

    def _run(self) -> None:
        try:
            self._answer = self._ask(self)
        except BaseException as error:  # the caller raises it: on a thread it would be lost
            self._error = error
        self._is_answered.set()

    def _end(self) -> None:
        with self._lock:
            self.is_ended.set()
            if self._line is not None:
                self._line.cut()
