"""Hosts as users list them, for keys and permissions: `HOST:PORT`, or `https://HOST:PORT` for encrypted ways alone."""

from __future__ import annotations

import re

from fim_magic.engines.server.address import ServerAddress, is_address
from fim_magic.errors import FimError, OptionError

_PORT = re.compile(r":[0-9]+$")
_MOST_SHOWN = 100  # characters
_HTTPS = "https://"


def listed_host(entry: str) -> str:
    """Return an entry of a list of hosts in the one form that it is compared in.

    Args:
        entry: `HOST:PORT`; `HOST`, or with the port 443, which is that of https; or any address that `%fim use` takes,
            of which the host counts, and an https form means that it is asked in no other way.

    Returns:
        `HOST:PORT`, or `https://HOST:PORT`, where the port 443 is left out: only encrypted.

    Raises:
        OptionError: It is none.
    """
    text = entry.strip()
    try:
        if is_address(text):
            address = ServerAddress.of(text)
        else:
            is_https = text.endswith(":443") or not _PORT.search(text)
            address = ServerAddress.of(f"{_HTTPS if is_https else 'http://'}{text}")
            if "/" in text:
                raise OptionError("it is more than a host")
    except FimError:
        _, login, shown = text.rpartition("@")
        shown, key, _ = shown.partition("=")
        shown = ("…@" * bool(login) + shown + "=…" * bool(key))[:_MOST_SHOWN]  # a key is not repeated
        raise OptionError(
            f"{shown!r} is no host. One is listed as HOST:PORT, such as gpu.example:8000, or as https://HOST where it "
            "is to be asked in no other way."
        ) from None
    return _HTTPS + address.host if address.is_encrypted else address.host


def is_listed(host: str, entries: frozenset[str], *, is_encrypted: bool) -> bool:
    """Whether a host, as `ServerAddress.host` has it, is among entries that `listed_host` has returned."""
    return host in entries or (is_encrypted and _HTTPS + host in entries)
