"""Which of a server's models is meant, by the list that servers give under `/v1/models`."""

from __future__ import annotations

from typing import Any

from fim_magic.engines.server.connection import Connection
from fim_magic.errors import ServerError

_MOST_TOLD = 8


def chosen_model(connection: Connection, wanted: str) -> dict[str, Any]:
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
    address = connection.address
    if not models:
        raise ServerError(f"The server at {address.host} runs no model. Load one there, and run this again.")
    if wanted in models:
        return models[wanted]
    if not wanted and len(models) == 1:
        return next(iter(models.values()))
    names = ", ".join(list(models)[:_MOST_TOLD]) + (" and others" if len(models) > _MOST_TOLD else "")
    first = type(address)(address.kind, address.url, next(iter(models))).name
    if wanted:
        raise ServerError(
            f"The server at {address.host} has no model called {wanted!r}; it has {names}. Name one: %fim use {first}"
        )
    raise ServerError(f"The server at {address.host} has several models: {names}. Name one: %fim use {first}")
