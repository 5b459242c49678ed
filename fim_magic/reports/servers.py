"""What `doctor` says of a server: whether it answers, what it runs, and whether text may go there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from fim_magic.allowed_hosts import Permission
from fim_magic.columns import both_ends
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialects import identify
from fim_magic.engines.server.keys import key_for
from fim_magic.errors import FimError
from fim_magic.visible import plain_text

_LONGEST_NAME = 80  # columns

Finding = tuple[str, str, str]
"""A label, what was found, and what to do about it; "" where there is nothing to be done."""


def about_server(name: str, permission: Permission) -> Iterator[Finding]:
    """Ask a server what it runs, and yield what came of it. Nothing of a notebook is sent.

    Args:
        name: Its address, as `%fim use` takes it.
        permission: Which other hosts may get text.

    Raises:
        ModelError: It is no address.
    """
    address = ServerAddress.of(name)
    key = key_for(address)
    yield "server", both_ends(address.name, _LONGEST_NAME), ""
    try:
        with closing(ServerConnection(address, key)) as connection:
            _, served = identify(connection)
    except FimError as error:
        yield "answers", "no", str(error)
    else:
        length = f", context {served.context_length} tokens" if served.context_length else ""
        software, name = (both_ends(plain_text(text), _LONGEST_NAME) for text in (served.software, served.name))
        yield "answers", f"yes: {software} with {name}{length}", ""
    yield "key", "there is one for this host" if key else "none for this host", ""
    if not (address.is_loopback or address.is_encrypted):
        yield "way there", "not encrypted", f"%fim use {address.encrypted().name}, if the server speaks https"
    if address.is_loopback:
        yield "your text", "stays on this machine", ""
    elif permission.lists(address):
        yield "your text", f"may go there, with --context {permission.context}", ""
    else:
        yield "your text", "may not go there yet", f"%fim allow {address.host}, or FIM_MAGIC_ALLOWED_HOSTS"
