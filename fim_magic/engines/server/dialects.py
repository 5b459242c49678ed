"""The dialects by the names that addresses use, and which one a plain URL speaks."""

from __future__ import annotations

from fim_magic.engines.server.completions import FIRST, TransformersServe
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import Dialect, ServedModel
from fim_magic.engines.server.llama_server import LlamaServerDialect
from fim_magic.engines.server.ollama import OllamaDialect
from fim_magic.engines.server.sense import in_known_form
from fim_magic.engines.server.sglang import SglangDialect
from fim_magic.engines.server.tgi import TgiDialect
from fim_magic.engines.server.vllm import VllmDialect
from fim_magic.errors import ServerError

DIALECTS: dict[str, Dialect] = {
    "llama-server": LlamaServerDialect(),
    "sglang": SglangDialect(),
    "tgi": TgiDialect(),
    "vllm": VllmDialect(),
    "ollama": OllamaDialect(),
    "openai": FIRST,
}
"""Each by its name, in the order in which a plain URL is tried: by what only that kind has.

llama-server and SGLang have some of Ollama's paths, and nearly all have those of OpenAI's form, which stand last.
"""

_BEFORE: dict[str, tuple[Dialect, ...]] = {"openai": (TransformersServe(),)}
"""What goes by the same name, is told apart by itself, and tried first."""


def identify(connection: ServerConnection) -> tuple[Dialect, ServedModel]:
    """Return how a server is asked, and what it says of its model.

    Raises:
        ServerError: It does not answer, refuses, or is of no kind that is known.
        ModelError: Its model is of no use here.
    """
    address = connection.address
    if not address.kind:
        connection.require_answer()
    kinds = [address.kind] if address.kind else list(DIALECTS)
    errors: list[ServerError] = []
    for dialect in (dialect for kind in kinds for dialect in (*_BEFORE.get(kind, ()), DIALECTS[kind])):
        try:
            with in_known_form(address):
                return dialect, dialect.identify(connection, address.model)
        except ServerError as error:
            errors.append(error)
    if address.kind:
        raise errors[-1]
    for refused in errors:
        if refused.status in (401, 403):  # whatever it is, it wants a key
            raise refused
    kinds_known = ", ".join(f"{kind}://" for kind in DIALECTS)
    raise ServerError(
        f"The server at {address.host} is of no kind that fim-magic knows, or tells too little of itself "
        f"({errors[-1]}). Name its kind, one of {kinds_known}: %fim use KIND://{address.host}"
    )
