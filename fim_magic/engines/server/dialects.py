"""The dialects by the names that addresses use, and which one a plain URL speaks."""

from __future__ import annotations

from fim_magic.engines.server.connection import Connection
from fim_magic.engines.server.dialect import Dialect, ServedModel
from fim_magic.engines.server.llama_server import LlamaServerDialect
from fim_magic.engines.server.sense import in_known_form
from fim_magic.engines.server.vllm import VllmDialect
from fim_magic.errors import ServerError

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (VllmDialect(), LlamaServerDialect())}
"""Each by its name, in the order in which a plain URL is tried."""


def identify(connection: Connection) -> tuple[Dialect, ServedModel]:
    """Return how a server is asked, and what it says of its model.

    Raises:
        ServerError: It does not answer, refuses, or is of no kind that is known.
    """
    address = connection.address
    if address.kind:
        dialect = DIALECTS[address.kind]
        with in_known_form(address):
            return dialect, dialect.identify(connection, address.model)
    connection.require_answer()
    reasons = []
    for dialect in DIALECTS.values():
        try:
            with in_known_form(address):
                return dialect, dialect.identify(connection, address.model)
        except ServerError as error:
            reasons.append(f"{dialect.name}: {error}")
    raise ServerError(
        f"The server at {address.host} is of no kind that fim-magic knows: {', '.join(DIALECTS)}. " + " ".join(reasons)
    )
