"""The keys of servers: from the environment or the system's keyring, each for one host, never from a notebook."""

from __future__ import annotations

import logging
import os
import re

from fim_magic.child_environment import KEYS
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.hosts import listed_host
from fim_magic.errors import OptionError, hide

VARIABLE = KEYS
"""The environment variable with keys: `HOST:PORT=KEY`, several with white space between them.

`https://HOST=KEY` is sent only where it is encrypted, whatever the port; see `hosts.listed_host`.
"""

SERVICE = "fim-magic"
"""Under which the keyring has them; the user's name there is as in the variable."""

_log = logging.getLogger(__name__)
_KEY = re.compile(r"[!-~]+")
_MARK_BETWEEN = re.compile(r"[,;](?=[^,;=]+=|\Z)")  # between items, or behind one: no token has such a mark


class ServerKey(str):
    """A key, which no debugger and no verbose traceback shows."""

    def __repr__(self) -> str:
        return "ServerKey('…')"


def is_key(text: str) -> bool:
    """Whether a header can hold a text as a key."""
    return _KEY.fullmatch(text) is not None


def key_for(address: ServerAddress) -> ServerKey:
    """Return the key for a server, or "" where there is none.

    A key belongs to a host: a notebook that names another one does not get it.

    Raises:
        OptionError: The environment variable cannot be read.
    """
    names = [f"https://{address.host}", address.host] if address.is_encrypted else [address.host]
    keys = _from_environment()
    found = next((keys[name] for name in names if name in keys), "")
    key = ServerKey(found or next(filter(None, map(_from_keyring, names)), ""))
    hide(key)
    return key


def _from_environment() -> dict[str, str]:
    found = {}
    for item in os.environ.get(VARIABLE, "").split():
        host, _, key = item.partition("=")
        try:
            name = listed_host(host)
        except OptionError:
            name = ""
        if mark := _MARK_BETWEEN.search(key):
            raise _unreadable(f"has {mark.group()!r} between its items, where white space belongs")
        if not (name and is_key(key)):
            raise _unreadable("holds what is no HOST:PORT=KEY")
        found[name] = key
    return found


def _unreadable(why: str) -> OptionError:
    """Return the error for the variable, of which nothing is told: any part of it may be a key."""
    return OptionError(
        f"The environment variable {VARIABLE} {why}. Unset it, or set it anew before the kernel starts, and run this "
        f'again: export {VARIABLE}="HOST:PORT=KEY HOST:PORT=KEY"'
    )


def _from_keyring(host: str) -> str:
    try:
        import keyring
    except ImportError:
        return ""
    try:
        return keyring.get_password(SERVICE, host) or ""
    except Exception:  # each backend has its own; without one there is no key
        _log.info("The keyring has no key for a server.", exc_info=True)
        return ""
