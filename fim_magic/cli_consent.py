"""Asking on a terminal: before a notebook's model is loaded, and before text goes to another host."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from fim_magic.streams import is_tty, write
from fim_magic.visible import plain_text

if TYPE_CHECKING:
    from fim_magic.allowed_hosts import Permission
    from fim_magic.engines import EngineInfo


def ask(question: str) -> bool:
    """Ask on the terminal; where there is none, the answer is no."""
    if not all(map(is_tty, (sys.stdin, sys.stderr))):
        return False
    write(sys.stderr, f"{plain_text(question)} [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def permission_for(info: EngineInfo, permission: Permission, *, is_public: bool) -> Permission:
    """Return what lets a command's text go where a model computes; the user is asked first if that is another host.

    Args:
        info: Of the model.
        permission: What the user has allowed already.
        is_public: Whether the text is fim-magic's own, or public, and nobody need be asked.

    Raises:
        NotAllowedError: The user does not allow it. The message says what to type.
    """
    from fim_magic.allowed_hosts import Permission

    return Permission.for_own_text(info) if is_public else HostConsent(permission).permission_for(info)


class HostConsent:
    """Asks before text goes to a host, once for each.

    Args:
        permission: What the user has allowed already.
    """

    def __init__(self, permission: Permission) -> None:
        self._permission = permission
        self._denied: set[str] = set()

    def allow(self, host: str) -> None:
        """Note that the user has allowed a host."""
        self._permission = replace(self._permission, hosts=self._permission.hosts | {host})

    def permission_for(self, info: EngineInfo) -> Permission:
        """Return what the user allows, when that covers where a model computes.

        Raises:
            NotAllowedError: It does not. The message says what to type.
        """
        from fim_magic.allowed_hosts import host_of, question_of

        host = host_of(info)
        if not self._permission.allows(info) and host not in self._denied:
            if ask(f"{question_of(info, self._permission.context)} May it go there?"):
                self.allow(host)
            else:
                self._denied.add(host)
        self._permission.require(info)
        return self._permission
