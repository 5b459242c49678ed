"""What a server's refusal means for the user, and what to type next."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import httpx2

from fim_magic import proxies
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.keys import VARIABLE
from fim_magic.engines.server.lines import ServerLine
from fim_magic.errors import ServerError
from fim_magic.foreign_json import parsed
from fim_magic.retry_after import wanted_seconds

_MOST_TOLD = 300  # characters of a server's own words
_AGAIN = {429: "is too busy", 502: "cannot be reached behind its gateway", 503: "is not ready", 504: "takes too long"}
"""What passes by itself, most of the time."""


class Passing(Enum):
    """Why a server has not taken a request."""

    BUSY = "it answers, and asks to come again"
    UNREACHABLE = "nothing answers"
    CLOSED = "the connection came to its end"


class PassingServerError(ServerError):
    """A server that has not taken a request may take it a little later.

    Attributes:
        why: It has not.
        wanted: After how many seconds it may be asked again, by its own account.
    """

    def __init__(self, message: str, why: Passing, wanted: float = 0.0) -> None:
        super().__init__(message)
        self.why = why
        self.wanted = wanted


class AnotherKindError(ServerError):
    """A server answers, and not as its kind does: it may be of another kind.

    Attributes:
        why: What it does instead: a sentence whose subject is "it", without its end.
    """

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


def refusal(address: ServerAddress, response: httpx2.Response, content: bytes) -> ServerError:
    """Return the error for an answer that is not 200."""
    error = _refusal(address, response, content)
    error.status = response.status_code
    return error


def _refusal(address: ServerAddress, response: httpx2.Response, content: bytes) -> ServerError:
    status, host = response.status_code, address.host
    said = _without_key(_words(content), response)
    if response.has_redirect_location:
        return ServerError(
            f"The server at {host} sends on to another address, which was not followed: the text and the key go to the "
            "host that you name, and to no other. If you know the other one, name it: %fim use ADDRESS"
        )
    if status in (401, 403):
        return ServerError(
            f"The server at {host} wants a key, or another one (it answered {status}). Set the environment variable "
            f"{VARIABLE} to {host}=KEY before the kernel starts, and run this again."
        )
    if status == 413:
        return ServerError(f"The text is too long for the server at {host} (413). Give less context: --context none")
    if status in _AGAIN:
        wanted = wanted_seconds(response.headers) or 0.0
        when = f", and asks to wait {wanted:.0f} s" if wanted else ""
        return PassingServerError(
            f"The server at {host} {_AGAIN[status]} ({status}{said}){when}. Wait a little, and run this again.",
            Passing.BUSY,
            wanted,
        )
    if status == 501 or status < 500:
        return AnotherKindError(
            f"The server at {host} refused ({status}{said}). See whether the address is right, and which model runs "
            f"there: %fim use {address.name}",
            f"it refused ({status}{said})",
        )
    return ServerError(
        f"The server at {host} failed ({status}{said}). Its own log says why. Run this again when it is well."
    )


def said_in_stream(address: ServerAddress, event: Any) -> ServerError | None:
    """Return the error that a server tells in an event in the place of tokens, or None."""
    if not isinstance(event, dict) or not event.get("error"):
        return None
    told = _told(event)
    return ServerError(
        f"The server at {address.host} failed while it answered{told}. Its own log says why. Run this again when it is "
        "well."
    )


def no_json(address: ServerAddress) -> ServerError:
    """Return the error for an answer that is no JSON, or too deep to be looked at."""
    return AnotherKindError(
        f"The server at {address.host} answered what is no JSON. See whether it is the server that you mean, and of "
        f"the kind that its address says: %fim use {address.name}",
        "it answered what is no JSON",
    )


def too_large(address: ServerAddress, most: int) -> ServerError:
    """Return the error for an answer, or an event of one, that has more bytes than any that makes sense."""
    return ServerError(
        f"The server at {address.host} sent more than {most // 2**20} MiB at once, and was not read on. See whether it "
        f"is the server that you mean: %fim use {address.name}"
    )


def silent(address: ServerAddress, seconds: float) -> ServerError:
    """Return the error for a server that says nothing any more."""
    return ServerError(
        f"The server at {address.host} fell silent: nothing came for {seconds:.0f} s. Its own log may say why. Run "
        "this again when it is well."
    )


def ended_early(address: ServerAddress) -> ServerError:
    """Return the error for a stream that ends before its answer does."""
    return ServerError(
        f"The server at {address.host} broke off: the stream ended before the answer. Run this again when it is well."
    )


def another_kind(address: ServerAddress, kind: str, why: str) -> AnotherKindError:
    """Return the error for a server that is not of a kind; `why` is a sentence whose subject is "it"."""
    return AnotherKindError(
        f"The server at {address.host} is no {kind}: {why}. See whether the address and its port are right, and run "
        f"this again: %fim use {address.name}",
        why,
    )


def unreadable(address: ServerAddress, why: str) -> AnotherKindError:
    """Return the error for an answer that is JSON, and not what it should be; `why` is a part of a sentence."""
    return AnotherKindError(
        f"The server at {address.host} answered in a form that fim-magic does not know ({why}). See whether it is the "
        f"kind of server that its address says, and runs the model that it says: %fim use {address.name}",
        f"it answered in a form that fim-magic does not know ({why})",
    )


@contextmanager
def proxy_in_words(address: ServerAddress) -> Iterator[None]:
    """Raise a ServerError where a client is made in the block, and a proxy stands in its way.

    Nothing of the proxy's address is repeated, in a traceback neither: there may be a password in it.
    """
    try:
        yield
    except (ValueError, ImportError, httpx2.InvalidURL) as error:
        lacking = f" ({error})" if isinstance(error, ImportError) else ""  # the package that one over SOCKS needs
        raise ServerError(
            f"The way to {address.host} leads over a proxy that cannot be used{lacking}. It comes from the "
            f"environment: {proxies.variables()}. Change it, and restart the kernel."
        ) from None


@contextmanager
def in_words(address: ServerAddress, line: ServerLine) -> Iterator[None]:
    """Raise a ServerError for what httpx2 raises in the block, where a request goes over a line."""
    try:
        yield
    except httpx2.HTTPError as error:
        raise _unreachable(address, error, was_answered=line.was_answered) from error
    except httpx2.InvalidURL as error:
        raise ServerError(f"{address.name} is no address that can be asked ({error}).") from error


def _unreachable(address: ServerAddress, error: httpx2.HTTPError, *, was_answered: bool) -> ServerError:
    """Return the error for a server that does not answer, or no more; maybe it has answered before."""
    host, why = address.host, str(error) or type(error).__name__
    if isinstance(error, httpx2.ProxyError):
        return ServerError(
            f"The proxy on the way to {host} refused ({why}). It comes from the environment: {proxies.variables()}. "
            "Add the host to NO_PROXY if it can be reached without, and restart the kernel."
        )
    tls = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if tls is not None:
        return _no_tls(address, tls)
    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout)):
        return PassingServerError(
            f"No server answers at {host} ({why}). Start it, or see whether the address is right, and run this again: "
            f"%fim use {address.name}",
            Passing.UNREACHABLE,
        )
    if isinstance(error, httpx2.TimeoutException):
        return ServerError(f"The server at {host} fell silent. Run this again, or see its own log.")
    if isinstance(error, httpx2.DecodingError):
        return ServerError(f"What the server at {host} sent cannot be unpacked ({why}). Run this again.")
    hint = ""
    if not (was_answered or address.is_encrypted):
        hint = f" If it speaks https, name it so: %fim use {address.encrypted().name}"
    return PassingServerError(f"The server at {host} broke off ({why}). Run this again.{hint}", Passing.CLOSED)


def _no_tls(address: ServerAddress, error: ssl.SSLError) -> ServerError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServerError(
            f"The server at {address.host} shows a certificate that is not trusted here ({error.verify_message}), so "
            "nothing was sent. If it is your own, set the environment variable SSL_CERT_FILE to the file of the "
            "authority that has signed it before the kernel starts, and run this again."
        )
    return ServerError(
        f"The server at {address.host} does not speak https ({error.reason or 'TLS failed'}), so nothing was sent. If "
        f"it is on a network that you trust, name it without https: %fim use {address.unencrypted().name}"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and each from which it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _words(content: bytes) -> str:
    """What a server says of its refusal, behind a colon; "" where it says nothing that can be read."""
    try:
        return _told(parsed(content))
    except ValueError:
        return ""


def _told(found: Any) -> str:
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    said = found[:_MOST_TOLD].strip().rstrip(".") if isinstance(found, str) else ""
    return f": {said}" if said else ""


def _without_key(said: str, response: httpx2.Response) -> str:
    """Leave out the key, which a server may repeat."""
    key = response.request.headers.get("authorization", "").removeprefix("Bearer ")
    return said.replace(key, "…") if key else said
