"""The keys of servers: from the environment or the system's keyring, each for one host, never from a notebook."""

from __future__ import annotations

import logging
import os
import re

from fim_magic.engines.server.address import ServerAddress
from fim_magic.errors import OptionError

VARIABLE = "FIM_MAGIC_SERVER_KEYS"
"""The environment variable with keys: `HOST:PORT=KEY`, several with white space between them."""

SERVICE = "fim-magic"
"""Under which the keyring has them; the user's name there is `HOST:PORT`."""

_log = logging.getLogger(__name__)
_KEY = re.compile(r"[!-~]+")  # what a header may hold


def key_for(address: ServerAddress) -> str:
    """Return the key for a server, or "" where there is none.

    A key belongs to a host: a notebook that names another one does not get it.

    Raises:
        OptionError: The environment variable cannot be read.
    """
    return _from_environment().get(address.host, "") or _from_keyring(address.host)


def _from_environment() -> dict[str, str]:
    found = {}
    for item in os.environ.get(VARIABLE, "").split():
        host, separator, key = item.partition("=")
        if not (host and separator and _KEY.fullmatch(key)):
            raise OptionError(
                f"The environment variable {VARIABLE} holds what is no HOST:PORT=KEY. Change or unset it."
            )
        found[host] = key
    return found


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
