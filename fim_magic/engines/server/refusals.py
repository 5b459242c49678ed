"""What a server's refusal means for the user, and what to type next."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.keys import VARIABLE
from fim_magic.errors import ServerError

_MOST_TOLD = 300  # characters of a server's own words


def refusal(address: ServerAddress, response: httpx2.Response, content: bytes) -> ServerError:
    """Return the error for an answer that is not 200."""
    error = _refusal(address, response, content)
    error.status = response.status_code
    return error


def _refusal(address: ServerAddress, response: httpx2.Response, content: bytes) -> ServerError:
    status, host = response.status_code, address.host
    said = _words(content)
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
    if status == 429:
        return ServerError(f"The server at {host} is too busy (429). Wait a little, and run this again.")
    if status >= 500:
        return ServerError(
            f"The server at {host} failed ({status}{said}). Its own log says why. Run this again when it is well."
        )
    return ServerError(f"The server at {host} refused ({status}{said}).")


def unreachable(address: ServerAddress, error: httpx2.HTTPError) -> ServerError:
    """Return the error for a server that does not answer, or no more."""
    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout)):
        return ServerError(
            f"No server answers at {address.host} ({error or type(error).__name__}). Start it, or see whether the "
            f"address is right, and run this again: %fim use {address.name}"
        )
    if isinstance(error, httpx2.TimeoutException):
        return ServerError(f"The server at {address.host} fell silent. Run this again, or see its own log.")
    return ServerError(f"The server at {address.host} broke off ({error or type(error).__name__}). Run this again.")


def _words(content: bytes) -> str:
    """What a server says of its refusal, behind a colon; "" where it says nothing that can be read."""
    try:
        found: Any = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return f": {found[:_MOST_TOLD]}" if isinstance(found, str) else ""
