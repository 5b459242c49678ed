"""What the environment says of proxies: which variables, and the secrets in them, which nothing of ours repeats."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

_NAMES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def variables(environment: Mapping[str, str] = os.environ) -> str:
    """Name the variables that are set, or those that may be."""
    found = dict.fromkeys(name for name in environment if name.upper() in _NAMES and environment[name])
    return ", ".join(found) if found else f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}, or the system's own settings"


def secrets(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield what is secret in the proxies' addresses: passwords, and what stands alone before the @, as tokens do."""
    for name, value in environment.items():
        before, login, _ = value.rpartition("@")
        if not (login and name.upper() in _NAMES):
            continue
        user, _, password = before.removeprefix(f"{before.partition('//')[0]}//").partition(":")
        for secret in (password or user, *_parts(password)):
            yield secret
            yield unquote(secret)


def is_about_proxy(error: BaseException) -> bool:
    """Whether an error of an HTTP library may say that a proxy's address cannot be used, and repeat a part of it."""
    if type(error).__name__ == "InvalidURL":  # by name: libraries differ in whose it is
        return True
    return isinstance(error, (ValueError, ImportError)) and "proxy" in str(error).lower()


def _parts(password: str) -> Iterator[str]:
    """Yield what an error may take for a part of the address, such as its port."""
    yield from filter(None, password.replace("?", "/").replace("#", "/").replace("@", "/").split("/"))
