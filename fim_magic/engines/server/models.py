"""Which of a server's models is meant, by the list that servers give under `/v1/models`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.errors import ServerError

_MOST_TOLD = 8
_Entry = TypeVar("_Entry", bound=Mapping[str, Any])


class NoSuchModelError(ServerError):
    """A server does not run the model that is meant, or runs several and none was named.

    Attributes:
        first: One that it runs; "" where it runs none.
    """

    def __init__(self, message: str, first: str = "") -> None:
        super().__init__(message)
        self.first = first


def chosen_model(connection: ServerConnection, wanted: str) -> dict[str, Any]:
    """Return what a server says of one of its models.

    Args:
        connection: To the server.
        wanted: The model's name as the user has written it; "" takes the only one.

    Raises:
        ServerError: It has no such model, or several, none of which was named. The message says which it has.
    """
    listed = connection.get("/v1/models")
    entries = listed.get("data") if isinstance(listed, dict) else None
    models = {
        entry["id"]: entry
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("id"), str)
    }
    return chosen_of(connection.address, models, wanted)


def chosen_of(address: ServerAddress, models: Mapping[str, _Entry], wanted: str) -> _Entry:
    """Return one of a server's models by its name; of several, the only one that is loaded, where the server says it.

    Args:
        address: Of the server.
        models: What it says of each, by its name.
        wanted: The name; "" takes the only one.

    Raises:
        ServerError: There is no such model, or several, none of which was named. The message says which there are.
    """
    if not models:
        raise NoSuchModelError(f"The server at {address.host} runs no model. Load one there, and run this again.")
    # A folder's name begins with a slash, and may end with one: an address does not tell them apart.
    alike = [entry for name, entry in models.items() if wanted and name.strip("/") == wanted.strip("/")]
    if wanted in models or len(alike) == 1:
        return models[wanted] if wanted in models else alike[0]
    if not wanted:
        loaded = [entry for entry in models.values() if _is_loaded(entry)]
        for entries in (list(models.values()), loaded):
            if len(entries) == 1:
                return entries[0]
    names = ", ".join(list(models)[:_MOST_TOLD]) + (" and others" if len(models) > _MOST_TOLD else "")
    first = next(iter(models))
    said = f"has no model called {wanted!r}; it has {names}" if wanted else f"has several models: {names}"
    raise NoSuchModelError(
        f"The server at {address.host} {said}. Name one: %fim use {replace(address, model=first).name}", first
    )


def require_model(address: ServerAddress, name: str, wanted: str, *, also: Iterable[str] = ()) -> None:
    """Raise if a server that runs one model is asked for another.

    Args:
        address: Of the server.
        name: What it calls its model.
        wanted: As of [`chosen_model`][].
        also: What the same model may be called as well.

    Raises:
        NoSuchModelError: It is asked for another. The message says which it runs.
    """
    if wanted.strip("/") not in (other.strip("/") for other in also):
        chosen_of(address, {name: {}}, wanted)


def sources_of(*names: object) -> tuple[str, ...]:
    """Return those of a server's words that may name where a model comes from, each once."""
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _is_loaded(entry: Mapping[str, Any]) -> bool:
    """Whether a server that loads models when they are asked for has loaded this one."""
    status = entry.get("status")
    return isinstance(status, dict) and status.get("value") == "loaded"
