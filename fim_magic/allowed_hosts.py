"""Which other hosts may get what a notebook holds, and how much of it: the one gate on the way out.

This process and this machine may. Any other host has to be allowed by the user first, by name; then it gets the text
with the hole. Other cells and what the kernel knows of names stay here, unless the user allows them as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fim_magic.context import Context
from fim_magic.engines import Destination, EngineInfo, ServerInfo
from fim_magic.engines.server.address import ServerAddress, is_address
from fim_magic.engines.server.hosts import is_listed, listed_host
from fim_magic.errors import NotAllowedError

_GOES_ALONG = {
    "none": "Other cells, and the names that the kernel knows, stay here",
    "cells": "Cells that ran before go along; the names that the kernel knows stay here",
    "names": "What the kernel knows of names goes along; other cells stay here",
    "auto": "Cells that ran before, and what the kernel knows of names, go along",
    "all": "All other cells, and what the kernel knows of names, go along",
}


@dataclass(frozen=True)
class Permission:
    """What the user has allowed.

    Attributes:
        hosts: The other hosts that may get text, as `listed_host` has them.
        context: What goes there beside the text with the hole: one of `fim_magic.context.MODES`.
    """

    hosts: frozenset[str] = frozenset()
    context: str = "none"

    @classmethod
    def of(cls, hosts: Iterable[str], context: str = "none") -> Permission:
        """Return the permission for hosts as a user lists them.

        Raises:
            OptionError: One of them is no host.
        """
        return cls(frozenset(map(listed_host, hosts)), context)

    @classmethod
    def for_own_text(cls, info: EngineInfo) -> Permission:
        """Return the permission for text that is fim-magic's own, or public: it may go where a model computes."""
        return cls(frozenset({host_of(info)}), "all")

    def allows(self, info: EngineInfo) -> bool:
        """Whether text may go where this model computes."""
        if info.destination is not Destination.HOST:
            return True
        return info.server is not None and self.lists(info.server)

    def lists(self, server: ServerAddress | ServerInfo) -> bool:
        """Whether the user has listed the host of a server."""
        return is_listed(server.host, self.hosts, is_encrypted=server.is_encrypted)

    def require(self, info: EngineInfo) -> None:
        """Raise if it may not.

        Raises:
            NotAllowedError: It may not. The message names host and model, what would go there, and the line to type.
        """
        if not self.allows(info):
            raise NotAllowedError(refusal(info, self.context))

    def require_for_typing(self, info: EngineInfo) -> None:
        """Raise if what is typed may not go there unasked; this is then the permission for that.

        Raises:
            NotAllowedError: It may not. The message says what to type.
        """
        if not self.allows(info):
            host = host_of(info)
            raise NotAllowedError(
                f"{info.model} runs on another host, {host}. Ghost text would send your cell there after each pause in "
                f'typing. If it may, type %config FimMagics.ghost_hosts = ["{host}"]; on its key, it goes there when '
                "you ask."
            )

    def goes_along(self, context: Context, info: EngineInfo) -> Context:
        """Return as much of what a notebook says beside the text as may go where this model computes."""
        if info.destination is not Destination.HOST:
            return context
        return context.limited_to(self.context)


NOTHING_ALLOWED = Permission()


def refusal(info: EngineInfo, context: str) -> str:
    """Say that a model runs on a host that is not allowed yet, and how it is allowed."""
    host = host_of(info)
    return (
        f"Nothing was sent yet. {question_of(info, context)} If it may, type %fim allow {host} and run this again; in "
        f"a shell or a program, set the environment variable FIM_MAGIC_ALLOWED_HOSTS={host} first."
    )


def question_of(info: EngineInfo, context: str) -> str:
    """Say where a model runs, and what of the notebook would go there."""
    server = info.server
    model = info.model if server is None else f"{server.model} ({server.software})"
    way = "" if server is None or server.is_encrypted else " It goes there unencrypted."
    along = _GOES_ALONG.get(context, _GOES_ALONG["auto"])
    along += "" if context == "none" else ", without what looks like a secret"
    return (
        f"{model} runs on another host, {host_of(info)}. Each request sends the cell or text with the hole there, as "
        f"it is. {along}.{way}"
    )


def allowed_now(permission: Permission, info: EngineInfo | None) -> Iterator[str]:
    """Say which other hosts may get text and, of a model that is loaded, whether it computes on one; in lines."""
    hosts = ", ".join(sorted(permission.hosts))
    yield f"Text may go to these hosts: {hosts}." if hosts else "Text may go to no other host."
    if info is not None and info.destination is Destination.HOST:
        tell = question_of if permission.allows(info) else refusal
        yield tell(info, permission.context)


def announcement(name: str, permission: Permission) -> str:
    """Say of a model that is about to be loaded that it has to be allowed first; "" where it need not be."""
    if not is_address(name):
        return ""
    address = ServerAddress.of(name)
    if address.is_loopback or permission.lists(address):
        return ""
    return (
        f"{address.host} is another host. No text of yours goes there before you type %fim allow {address.host}; the "
        "first %%fim says what would."
    )


def host_of(info: EngineInfo) -> str:
    """Return the host as the user has to allow it."""
    return info.device if info.server is None else info.server.host
