"""Models that a server runs: what has to be here for them is their tokenizer and their configuration."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic.errors import FimError, ModelError
from fim_magic.progress import OnNotice, OnProgress, ignore

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.engines.server.address import ServerAddress
    from fim_magic.engines.server.connection import ServerConnection
    from fim_magic.loading.prepare import Ready
    from fim_magic.loading.resolve import Source

_log = logging.getLogger(__name__)


def fetch_tokenizer(
    source: Source, on_progress: OnProgress, _with_code: bool = False, on_notice: OnNotice = ignore
) -> tuple[Path, str]:
    """Ask a server what it runs, and bring the tokenizer and the configuration of that; see `fetch.fetch_folder`.

    They come from where the user says, else from the model that the server names: from the Hub, or from this machine's
    own disk where the server is on it, too.

    Raises:
        ServerError: The server cannot be reached, or has no such model.
        ModelError: Nothing tells what its tokenizer is.
        FetchError: It could not be brought.
    """
    from fim_magic.engines.server.dialects import identify
    from fim_magic.engines.server.models import sources_of

    address = _address_of(source)
    _, served = identify(connection_to(address))
    if source.tokenizer:
        return _bring(source.tokenizer, on_progress, on_notice, own_disk=True)
    failures: list[str] = []
    for name in sources_of(*served.sources, address.model, served.name):
        try:
            return _bring(name, on_progress, on_notice, own_disk=address.is_loopback)
        except FimError as error:
            _log.info("The tokenizer of a served model is not that of %r.", name, exc_info=True)
            failures.append(str(error))
    raise ModelError(
        f"{address.host} runs {served.name}, and which tokenizer that has could not be found out. Name it, a folder or "
        f"OWNER/NAME on the Hub: %fim use {address.name} --tokenizer OWNER/NAME"
        + (f" ({failures[0]})" if failures else "")
    )


def load_from_server(ready: Ready, on_progress: OnProgress) -> Engine:
    """Return the engine for a server whose tokenizer is here, when it is proved to be the right one."""
    from fim_magic.engines.server.dialects import identify
    from fim_magic.engines.server.engine import ServerEngine

    connection = connection_to(_address_of(ready.source))
    dialect, served = identify(connection)
    engine = ServerEngine.load(
        connection,
        dialect,
        served,
        ready.path,
        name=ready.source.name,
        revision=ready.revision,
        named=ready.family,
        notices=_notices(connection.address),
    )
    return engine.proved(ready.path, ready.source.tokenizer or served.name)


def connection_to(address: ServerAddress) -> ServerConnection:
    """Return a connection to a server, with its key."""
    from fim_magic.engines.server.connection import ServerConnection
    from fim_magic.engines.server.keys import key_for
    from fim_magic.turn import is_to_end

    return ServerConnection(address, key_for(address), is_stopped=is_to_end)


def _notices(address: ServerAddress) -> tuple[str, ...]:
    """What the user should know of the way to a server."""
    if address.is_loopback or address.is_encrypted:
        return ()
    return (
        f"The way to {address.host} is not encrypted: who is on it can read the text, the answers and the key, if "
        f"there is one. Where the server speaks https: %fim use {address.encrypted().name}",
    )


def _address_of(source: Source) -> ServerAddress:
    assert source.address is not None  # only such a source has this engine
    return source.address


def _bring(name: str, on_progress: OnProgress, on_notice: OnNotice, *, own_disk: bool) -> tuple[Path, str]:
    """Bring the tokenizer of a model by its name; a path counts only if the name may be one of this machine's."""
    from fim_magic import catalog, weights
    from fim_magic.engines.torch.conversion_apart import tokenizer_of_gguf
    from fim_magic.loading.resolve import named_source

    entry = catalog.find(name)
    if entry is None and not own_disk and (name.count("/") != 1 or name.startswith((".", "~", "/"))):
        raise ModelError(f"{name!r} is no name on the Hub")
    source = named_source(name)
    if not own_disk and source.path != Path():
        raise ModelError(f"{name!r} is a path here, and the server is elsewhere")
    if source.gguf is not None:
        file = weights.fetch(source.gguf, on_progress, on_notice)
        return tokenizer_of_gguf(file, on_progress, on_notice), source.gguf.sha256[:12]
    if source.repo:
        folder = weights.snapshot_tokenizer(source.repo, source.revision, on_progress)
        return folder, folder.name[:12]
    if source.is_gguf:
        return tokenizer_of_gguf(source.path, on_progress, on_notice), "local file"
    return source.path, "local folder"
