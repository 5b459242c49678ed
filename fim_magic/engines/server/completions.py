"""Any endpoint of completions in OpenAI's form: LM Studio, Ray Serve LLM, `transformers serve`, gateways.

Nothing is taken for granted. Three ways to ask are tried in turn, and the first that is proved is kept (`proof`): as
vLLM, with ids and what it adds to the form, since many are one behind a gateway; with ids and nothing added; and by
text. `transformers serve` has a way of its own (5.24, `transformers/cli/serving/completion.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fim_magic.engines import Capabilities
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import AnswerPiece, Asked, Dialect, ServedModel, ServedToken
from fim_magic.engines.server.models import chosen_model, sources_of
from fim_magic.engines.server.refusals import another_kind
from fim_magic.engines.server.sense import tokens_in
from fim_magic.engines.server.vllm import VllmDialect

_COMPLETIONS = "/v1/completions"
MOST_STOPS = 4
"""Texts that may end an answer."""

_BY_TEXT = Capabilities(scores=False, gives_top_logprobs=False, constrains=False, takes_ids=False)
_BY_IDS = Capabilities(scores=False, gives_top_logprobs=False, constrains=False)


@dataclass(frozen=True)
class CompletionsDialect:
    """How completions are asked for. Satisfies [`fim_magic.engines.server.dialect.Dialect`][].

    Attributes:
        capabilities: Whether it takes ids is what differs.
        is_first: Whether the other ways are to be tried as well.
        is_transformers: Whether it is `transformers serve`, which takes a whole configuration of how to generate.
    """

    capabilities: Capabilities = _BY_TEXT
    is_first: bool = False
    is_transformers: bool = False
    name: str = "openai"

    @property
    def variants(self) -> tuple[Dialect, ...]:
        if not self.is_first:
            return (self,)
        return (VllmBehindGateway(), CompletionsDialect(_BY_IDS), CompletionsDialect(_BY_TEXT))

    def identify(self, connection: ServerConnection, wanted: str) -> ServedModel:
        model = chosen_model(connection, wanted)
        return ServedModel(
            name=model["id"],
            context_length=tokens_in(model.get("max_model_len")),
            sources=sources_of(model.get("root"), model["id"]),
            software="transformers serve" if self.is_transformers else "OpenAI-style completions",
        )

    def tokenize(self, connection: ServerConnection, model: str, text: str) -> list[int] | None:
        """Return None: the form has no place for that."""
        return None

    def detokenize(self, connection: ServerConnection, model: str, ids: Sequence[int]) -> str | None:
        """Return None: nor for that."""
        return None

    def request(self, asked: Asked) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {
            "model": asked.model,
            "prompt": list(asked.ids) if self.capabilities.takes_ids else asked.text,
            "max_tokens": asked.limit,
            "temperature": asked.sampling.temperature,
            "top_p": asked.top_p,
            "stream": True,
        }
        if asked.sampling.temperature:
            body["seed"] = asked.sampling.seed % 2**31
        if self.is_transformers:
            body["generation_config"] = json.dumps(_configuration(asked))
            return _COMPLETIONS, body
        body["stream_options"] = {"include_usage": True}
        if asked.stop_texts:
            body["stop"] = list(asked.stop_texts[:MOST_STOPS])
        return _COMPLETIONS, body

    def pieces(self, events: Iterable[Any], asked: Asked) -> Iterator[AnswerPiece]:
        ended = ""
        for event in events:
            for choice in event.get("choices") or ():
                ended = ended or str(choice.get("finish_reason") or "")
                yield AnswerPiece(text=str(choice.get("text") or ""))
            usage = event.get("usage") or {}
            if usage.get("prompt_tokens"):
                yield AnswerPiece(prompt_tokens=int(usage["prompt_tokens"]), cached=_cached(usage))
                if ended:
                    break
        if ended:
            yield AnswerPiece(ended="length" if ended == "length" else "stop")

    def score(
        self, connection: ServerConnection, model: str, ids: Sequence[int], begin: int, count: int
    ) -> list[ServedToken] | None:
        """Return None: most that call themselves so say nothing of a prompt's tokens."""
        return None


class VllmBehindGateway(VllmDialect):
    """A vLLM of which only `/v1` is to be seen, as Ray Serve LLM and gateways have it."""

    name = "openai"

    def tokenize(self, connection: ServerConnection, model: str, text: str) -> list[int] | None:
        """Return None: `/tokenize` is not behind a gateway."""
        return None

    def detokenize(self, connection: ServerConnection, model: str, ids: Sequence[int]) -> str | None:
        """Return None: nor is `/detokenize`."""
        return None


class TransformersServe(CompletionsDialect):
    """`transformers serve`. Its completions ignore what they do not know, and take whole configurations."""

    def __init__(self) -> None:
        super().__init__(_BY_TEXT, is_transformers=True)

    def identify(self, connection: ServerConnection, wanted: str) -> ServedModel:
        described = connection.get("/openapi.json")
        paths = described.get("paths") if isinstance(described, dict) else None
        if not isinstance(paths, dict) or not {"/load_model", "/v1/completions"} <= paths.keys():
            raise another_kind(connection.address, "transformers serve", "it loads no models")
        return super().identify(connection, wanted)


FIRST = CompletionsDialect(is_first=True)
"""Of an endpoint of which nothing is known yet."""


def _configuration(asked: Asked) -> dict[str, Any]:
    """How transformers is to generate: it would else take what the checkpoint brings along, penalties as well."""
    found: dict[str, Any] = {"do_sample": bool(asked.sampling.temperature), "top_k": 0, "repetition_penalty": 1.0}
    if asked.stop_ids:
        found |= {"eos_token_id": sorted(asked.stop_ids), "pad_token_id": min(asked.stop_ids)}
    return found


def _cached(usage: Mapping[str, Any]) -> int | None:
    found = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return found if isinstance(found, int) else None
