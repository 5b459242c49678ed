"""Whether a model may be loaded that a file names, and not the user. A notebook may come from anybody."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fim_magic import catalog
from fim_magic.loading.fetch import is_here
from fim_magic.loading.resolve import find_source

if TYPE_CHECKING:
    from fim_magic.loading.manager import ModelManager
    from fim_magic.loading.spec import ModelSpec

_ON_THE_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@.*)?", re.ASCII)


def needs_consent(spec: ModelSpec, manager: ModelManager) -> bool:
    """Whether the user has to be asked before a model is loaded that somebody else has named.

    Not where it is loaded already, or is in the catalogue and on this machine. Of other names nothing is looked up: on
    Windows, whoever looks for a file on a stranger's server logs in there.

    Raises:
        ModelError: There is no such model.
    """
    if manager.loaded is not None and manager.loaded.answers(spec):
        return False
    if catalog.find(spec.name) is None and catalog.by_repo(spec.name) is None:
        return True
    source, _ = find_source(spec.name, manager.memory)
    # A folder may have the name of a known repository: that one has no entry.
    return source.entry is None or not is_here(source)


def kind_of(name: str) -> str:
    """Say what a name is that the user is asked about, without looking for it."""
    if catalog.find(name) is not None or catalog.by_repo(name) is not None:
        return "which is in the catalogue and would be fetched"
    if _ON_THE_HUB.fullmatch(name):
        return "a repository on the Hugging Face Hub, or a folder, that the catalogue does not know"
    return "a file or a folder that the catalogue does not know"
