"""Whether a model may be loaded that a file names, and not the user. A notebook may come from anybody."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fim_magic import catalog
from fim_magic.allowed_hosts import NOTHING_ALLOWED, Permission
from fim_magic.engines.server.address import ServerAddress, is_address
from fim_magic.loading.fetch import is_here
from fim_magic.loading.resolve import find_source
from fim_magic.loading.spec import is_on_disk

if TYPE_CHECKING:
    from fim_magic.loading.manager import ModelManager
    from fim_magic.loading.spec import ModelSpec

LONGEST_NAME = 256
"""Characters of a name that the user is asked about: nobody reads a longer one to its end."""

_MOST_NAMED = 3  # letters that are told by their codes
_ON_THE_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@.*)?", re.ASCII)


def needs_consent(spec: ModelSpec, manager: ModelManager, permission: Permission = NOTHING_ALLOWED) -> bool:
    """Whether the user has to be asked before a model is loaded that somebody else has named.

    Not where it is loaded already, or is in the catalogue and on this machine. Of other names nothing is looked up: on
    Windows, whoever looks for a file on a stranger's server logs in there. Nor is a server asked anything, on this
    machine or elsewhere, unless `permission` lists its host; what is loaded from this machine counts as listed.

    Raises:
        ModelError: There is no such model.
    """
    if is_address(spec.name):
        address = ServerAddress.of(spec.name)
        if permission.lists(address):
            return False
        return not (address.is_loopback and manager.loaded is not None and manager.loaded.answers(spec))
    if manager.loaded is not None and manager.loaded.answers(spec):
        return False
    if catalog.find(spec.name) is None and catalog.by_repo(spec.name) is None:
        return True
    source, _ = find_source(spec.name, manager.memory)
    # A folder may have the name of a known repository. One with an adapter has the entry of the model that it changes.
    return source.entry is None or bool(source.named_paths) or not is_here(source)


def host_in(name: str) -> str:
    """Return the host of a server's address, or ""."""
    return ServerAddress.of(name).host if is_address(name) else ""


def described(name: str) -> str:
    """Say what a name is that the user is asked about, after the name, without looking for one that is not ours.

    A server's is told as it would be asked, and letters that may only look like others by their codes.
    """
    shown = ServerAddress.of(name).name if is_address(name) else name
    others = list(dict.fromkeys(letter for letter in shown if not letter.isascii()))
    codes = ", ".join(f"U+{ord(letter):04X}" for letter in others[:_MOST_NAMED])
    more = " and others" if len(others) > _MOST_NAMED else ""
    return f"{shown!r}, {_kind_of(name)}" + (f" (not of A to Z: {codes}{more})" if others else "")


def _kind_of(name: str) -> str:
    if is_address(name):
        return "which a server there runs: it would be asked, and gets the text of the cells that were filled"
    if name == "auto":
        return "which is whatever suits this machine, and may be fetched"
    if catalog.by_repo(name) is not None and is_on_disk(name):  # a name of ours, so it may be looked for
        return "a folder here, which has the name of one in the catalogue and is not that"
    if catalog.find(name) is not None or catalog.by_repo(name) is not None:
        return "which is in the catalogue and would be fetched"
    if _ON_THE_HUB.fullmatch(name):
        return "a repository on the Hugging Face Hub, or a folder, that the catalogue does not know"
    return "a file or a folder that the catalogue does not know"
