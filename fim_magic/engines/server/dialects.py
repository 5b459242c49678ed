"""The dialects by the names that addresses use, and which one a plain URL speaks."""

from __future__ import annotations

import logging
from dataclasses import replace

from fim_magic.engines.server.completions import FIRST, TransformersServe
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import Dialect, ServedModel
from fim_magic.engines.server.llama_server import LlamaServerDialect
from fim_magic.engines.server.models import NoSuchModelError
from fim_magic.engines.server.ollama import OllamaDialect
from fim_magic.engines.server.refusals import AnotherKindError
from fim_magic.engines.server.sense import in_known_form
from fim_magic.engines.server.sglang import SglangDialect
from fim_magic.engines.server.tgi import TgiDialect
from fim_magic.engines.server.vllm import VllmDialect
from fim_magic.errors import ModelError, ServerError

_log = logging.getLogger(__name__)

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


_TITLES = {
    "llama-server": "llama-server",
    "sglang": "SGLang",
    "tgi": "Text Generation Inference",
    "vllm": "vLLM",
    "ollama": "Ollama",
    "openai": "endpoint of completions in OpenAI's form",
}


def identify(connection: ServerConnection) -> tuple[Dialect, ServedModel]:
    """Return how a server is asked, and what it says of its model.

    Raises:
        ServerError: It does not answer, refuses, has no such model, or is not of the kind that its address names. The
            message says which kind it is, where that can be found out.
        ModelError: Its model is of no use here.
    """
    address = connection.address
    if not address.kind:
        return _probed(connection)
    try:
        return _of_kind(connection, address.kind)
    except AnotherKindError as error:
        raise _of_another_kind(connection, error) from error


def _of_kind(connection: ServerConnection, kind: str) -> tuple[Dialect, ServedModel]:
    *before, last = (*_BEFORE.get(kind, ()), DIALECTS[kind])
    for dialect in before:
        try:
            return _asked_as(connection, dialect)
        except ServerError:
            _log.debug("A server is no %r.", type(dialect).__name__, exc_info=True)
    return _asked_as(connection, last)


def _asked_as(connection: ServerConnection, dialect: Dialect) -> tuple[Dialect, ServedModel]:
    with in_known_form(connection.address):
        return dialect, dialect.identify(connection, connection.address.model)


def _of_another_kind(connection: ServerConnection, error: AnotherKindError) -> ServerError:
    """Ask a server that is not what its address says what it is, and return the error with the right address."""
    address = connection.address
    for kind in DIALECTS:
        if kind == address.kind:
            continue
        model = address.model
        try:
            _of_kind(connection, kind)
        except AnotherKindError:
            continue
        except NoSuchModelError as other:
            model = other.first
        except ModelError:  # its model is of no use, and the next message says why
            pass
        except ServerError as other:
            _log.info("A server could not be asked whether it is %r.", kind, exc_info=True)
            return other if other.status in (401, 403) else error  # what it is, it says with a key
        found = replace(address, kind=kind, model=model).name
        return ServerError(
            f"The server at {address.host} is no {_TITLES[address.kind]}: {error.why}. It answers as "
            f"{kind}. Name it so: %fim use {found}"
        )
    return ServerError(
        f"The server at {address.host} is no {_TITLES[address.kind]}: {error.why}. Nor is it of another kind that "
        f"fim-magic knows. See whether host and port are right, and run this again: %fim use {address.name}"
    )


def _probed(connection: ServerConnection) -> tuple[Dialect, ServedModel]:
    address = connection.address
    connection.require_answer()
    errors: list[ServerError] = []
    for kind in DIALECTS:
        try:
            return _of_kind(connection, kind)
        except NoSuchModelError:  # of that kind it is
            raise
        except ServerError as error:
            errors.append(error)
    for refused in errors:
        if refused.status in (401, 403):  # whatever it is, it wants a key
            raise refused
    kinds_known = ", ".join(f"{kind}://" for kind in DIALECTS)
    raise ServerError(
        f"The server at {address.host} is of no kind that fim-magic knows, or tells too little of itself "
        f"({errors[-1]}). Name its kind, one of {kinds_known}: %fim use KIND://{address.host}"
    )
