"""Models that a server runs: what has to be here for them is their tokenizer and their configuration."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic.errors import FetchError, FimError, ModelError
from fim_magic.progress import OnNotice, OnProgress, Progress, ignore, silent

if TYPE_CHECKING:
    from fim_magic.catalog import Entry, GgufFile
    from fim_magic.engines import Engine
    from fim_magic.engines.server.address import ServerAddress
    from fim_magic.engines.server.connection import ServerConnection
    from fim_magic.engines.server.dialect import Dialect, ServedModel
    from fim_magic.loading.prepare import Ready
    from fim_magic.loading.resolve import Source

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IdentifiedServer:
    """A server that has said what it runs. Each load asks that once.

    Attributes:
        connection: To it.
        dialect: How it is asked.
        served: What it says of its model.
    """

    connection: ServerConnection
    dialect: Dialect
    served: ServedModel


def identify_server(source: Source, on_progress: OnProgress) -> Source:
    """Ask a server what it is and what it runs, and return the source with what it says.

    Raises:
        ServerError: The server cannot be reached, is of another kind, or has no such model.
        ModelError: Its model is of no use here.
    """
    from fim_magic.engines.server.dialects import identify

    assert source.address is not None  # only such a source has this engine
    connection = connection_to(source.address)
    with _reporting(connection, on_progress):
        return replace(source, server=IdentifiedServer(connection, *identify(connection)))


def fetch_tokenizer(
    source: Source, on_progress: OnProgress, _with_code: bool = False, on_notice: OnNotice = ignore
) -> tuple[Path, str]:
    """Bring the tokenizer and the configuration of what a server runs; see `fetch.fetch_folder`.

    They come from where the user says, else from the model that the server names: from the Hub, or from this machine's
    own disk where the server is on it, too.

    Raises:
        ModelError: Nothing tells what its tokenizer is.
        FetchError: It could not be brought.
    """
    from fim_magic.engines.server.models import sources_of

    found = _server_of(source)
    address, served = found.connection.address, found.served
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
    from fim_magic.engines.server.engine import ServerEngine

    found = _server_of(ready.source)
    engine = ServerEngine.load(
        found.connection,
        found.dialect,
        found.served,
        ready.path,
        name=ready.source.name,
        revision=ready.revision,
        named=ready.family,
        notices=_notices(found.connection.address),
    )
    with _reporting(found.connection, on_progress):
        return engine.proved(ready.path, ready.source.tokenizer or found.served.name)


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


def _server_of(source: Source) -> IdentifiedServer:
    assert source.server is not None  # it was identified before
    return source.server


@contextmanager
def _reporting(connection: ServerConnection, on_progress: OnProgress) -> Iterator[None]:
    """Report the pauses that a server asks for as long as the block lasts."""
    connection.on_wait = on_progress
    try:
        yield
    finally:
        connection.on_wait = silent


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
        return bring_of_file(source.gguf, source.entry, on_progress, on_notice)
    if source.repo:
        folder = weights.snapshot_tokenizer(source.repo, source.revision, on_progress)
        return folder, folder.name[:12]
    if source.is_gguf:
        return tokenizer_of_gguf(source.path, on_progress, on_notice), "local file"
    return source.path, "local folder"


def bring_of_file(
    gguf: GgufFile, entry: Entry | None, on_progress: OnProgress, on_notice: OnNotice
) -> tuple[Path, str]:
    """Bring the tokenizer of one of the catalogue's files: of the model's own repository rather than the whole file."""
    from fim_magic import weights
    from fim_magic.engines.torch.conversion_apart import tokenizer_of_gguf

    is_here = weights.cached(gguf) is not None
    for repo in () if is_here or entry is None else entry.tokenizer_repos:
        try:
            folder = weights.snapshot_tokenizer(repo, None, on_progress)
            return folder, folder.name[:12]
        except FetchError:
            _log.info("The tokenizer of %r could not be brought alone.", gguf.filename, exc_info=True)
    size = f"{gguf.size / 1e6:.0f} MB"
    if not is_here:
        on_progress(Progress(f"Fetching all of {gguf.filename} for its tokenizer, {size}", 0, 0, ""))
    file = weights.fetch(gguf, on_progress, on_notice)
    if not is_here:
        on_notice(
            f"All of {gguf.filename} ({size}) was fetched, since its tokenizer could not be had alone. --tokenizer "
            "takes a folder, or OWNER/NAME on the Hub, that has one."
        )
    return tokenizer_of_gguf(file, on_progress, on_notice), gguf.sha256[:12]
