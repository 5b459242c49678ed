"""A server on loopback that does what a test tells it to, to the byte: for whatever a real one would do only by chance.

`ScriptedServer` knows nothing of models; `fake_servers` has a vLLM and a llama-server on top of it. A behaviour is a
function that is given an `Exchange`, or what `answer`, `stream` and the other functions here return.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SSE = "text/event-stream; charset=utf-8"
_MOMENT = 0.01


class ClientGone(Exception):
    """The client has closed its connection."""


@dataclass
class Asked:
    """One request as it came.

    Attributes:
        method: GET or POST.
        path: With what stands behind a `?`.
        headers: Their names in small letters.
        body: As JSON, if it is; else bytes.
        was_closed: Set when the client has closed the connection before the answer was whole.
        is_done: Set when nothing more is sent.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    was_closed: threading.Event = field(default_factory=threading.Event)
    is_done: threading.Event = field(default_factory=threading.Event)


class Exchange:
    """A request, and what is sent for it."""

    def __init__(self, asked: Asked, handler: BaseHTTPRequestHandler, may_stop: threading.Event) -> None:
        self.asked = asked
        self._handler = handler
        self._may_stop = may_stop
        self._is_chunked = False

    def head(self, status: int = 200, kind: str = SSE, *, chunked: bool = True, **headers: str) -> None:
        """Send the status and the headers; underscores in their names are hyphens."""
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", kind)
        self._is_chunked = chunked
        if chunked:
            self._handler.send_header("Transfer-Encoding", "chunked")
        for name, value in headers.items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.end_headers()

    def answer(self, content: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        """Send a whole answer, with its length unless the headers say another."""
        lengths = {} if "Content_Length" in headers else {"Content_Length": str(len(content))}
        self.head(status, kind, chunked=False, **(lengths | headers))
        self.raw(content)

    def json(self, value: Any, status: int = 200, **headers: str) -> None:
        self.answer(json.dumps(value).encode(), status, **headers)

    def send(self, part: bytes) -> None:
        """Send a part of the body."""
        self.raw(b"%x\r\n%b\r\n" % (len(part), part) if self._is_chunked else part)

    def event(self, value: Any) -> None:
        """Send an event; what is no text, as JSON."""
        self.send(f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode())

    def raw(self, content: bytes) -> None:
        """Send bytes as they are."""
        try:
            self._handler.wfile.write(content)
            self._handler.wfile.flush()
        except OSError as error:
            raise ClientGone from error

    def end(self) -> None:
        """End the body as it should end."""
        if self._is_chunked:
            self.raw(b"0\r\n\r\n")

    def cut(self) -> None:
        """Close the connection, whatever lacks."""
        self._handler.close_connection = True
        with contextlib.suppress(OSError):
            self._handler.connection.shutdown(socket.SHUT_RDWR)

    def wait(self, gate: threading.Event | None = None) -> None:
        """Wait for a gate, or for the client to go away (ClientGone)."""
        gate = gate or self._may_stop
        while not gate.wait(_MOMENT):
            if self._may_stop.is_set() or self._is_left():
                raise ClientGone

    def _is_left(self) -> bool:
        connection = self._handler.connection
        try:
            if not select.select([connection], [], [], 0)[0]:
                return False
            if isinstance(connection, ssl.SSLSocket):
                return not connection.recv(1)
            return not connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True


Behaviour = Callable[[Exchange], None]

CUT = object()
"""In a stream: the connection is closed."""
SILENCE = object()
"""In a stream: nothing more comes, and the connection stays open."""


def answer(value: Any, status: int = 200, **headers: str) -> Behaviour:
    """Answer with JSON."""
    return lambda exchange: exchange.json(value, status, **headers)


def content(body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> Behaviour:
    """Answer with bytes."""
    return lambda exchange: exchange.answer(body, status, kind, **headers)


def stream(*parts: Any, kind: str = SSE, **headers: str) -> Behaviour:
    """Answer with a stream, part by part.

    A dictionary or a text is an event; bytes are sent as they are, as a chunk; an Event of threading is waited for; a
    function is called with the exchange; `CUT` and `SILENCE` say what they do.
    """

    def behave(exchange: Exchange) -> None:
        exchange.head(kind=kind, **headers)
        for part in parts:
            if part is CUT:
                exchange.cut()
                return
            if part is SILENCE:
                exchange.wait()
            elif isinstance(part, threading.Event):
                exchange.wait(part)
            elif isinstance(part, bytes):
                exchange.send(part)
            elif callable(part):
                part(exchange)
            else:
                exchange.event(part)
        exchange.end()

    return behave


def cut(exchange: Exchange) -> None:
    """Close the connection without a word."""
    exchange.cut()


def silence(exchange: Exchange) -> None:
    """Answer nothing, and keep the connection open."""
    exchange.wait()


def then_hang_up(behaviour: Behaviour) -> Behaviour:
    """Behave so, and close the connection behind it without having said so."""

    def behave(exchange: Exchange) -> None:
        behaviour(exchange)
        exchange.cut()

    return behave


class ScriptedServer:
    """Listens on a port of loopback until it is closed.

    Args:
        host: An address of loopback.
        tls: Makes it an https server.
        port: Where it listens; 0 is one that is free.

    Attributes:
        requests: All that came, in their order.
        connections: How many connections there were.
    """

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.requests: list[Asked] = []
        self.connections = 0
        self._scripts: dict[str, list[Behaviour]] = {}
        self._closed = threading.Event()
        self._scheme = "https" if tls else "http"
        self._server = _listening(self, host, port)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": _MOMENT}, name="scripted-server", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def host(self) -> str:
        """With its port, as an address has it."""
        host = self._server.server_address[0]
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}"

    def script(self, path: str, *behaviours: Behaviour) -> None:
        """Say what is answered at a path: each behaviour once, and the last one from then on."""
        self._scripts[path] = list(behaviours)

    def unscript(self, path: str) -> None:
        """Answer at a path as before it was scripted."""
        del self._scripts[path]

    def asked(self, path: str) -> list[Asked]:
        """The requests at a path."""
        return [request for request in self.requests if request.path.partition("?")[0] == path]

    def answer(self, exchange: Exchange) -> None:
        """Answer what is not scripted."""
        exchange.json({"error": {"message": "File Not Found", "code": 404}}, 404)

    def behave(self, exchange: Exchange) -> None:
        """Answer a request."""
        scripted = self._scripts.get(exchange.asked.path.partition("?")[0])
        if not scripted:
            self.answer(exchange)
            return
        (scripted.pop(0) if len(scripted) > 1 else scripted[0])(exchange)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Read a request from a connection, and answer it."""
        asked = _read(handler)
        self.requests.append(asked)
        try:
            self.behave(Exchange(asked, handler, self._closed))
        except ClientGone:
            handler.close_connection = True
            if not self._closed.is_set():
                asked.was_closed.set()
        finally:
            asked.is_done.set()

    def close(self) -> None:
        """Stop listening; what is under way is ended."""
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def nobody_listens() -> Iterator[str]:
    """Give a host and port of loopback where nobody answers."""
    with socket.socket() as taken:  # bound and not listening: nobody else gets it meanwhile
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def _read(handler: BaseHTTPRequestHandler) -> Asked:
    headers = {name.lower(): value for name, value in handler.headers.items()}
    body: Any = handler.rfile.read(int(headers.get("content-length", 0)))
    with contextlib.suppress(ValueError):
        body = json.loads(body)
    return Asked(handler.command, handler.path, headers, body)


def _listening(owner: ScriptedServer, host: str, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            owner.connections += 1
            super().setup()

        def do_GET(self) -> None:
            owner.serve(self)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

        def handle_error(self, *_: Any) -> None: ...  # a handshake that the client refuses, a reset connection

    return Server((host, port), Handler)
