"""vLLM's completions endpoint, asked by token ids.

Ids come back beside the text (`return_token_ids`): the text has no sentinels, so that an answer that ends with one
would look like one that has broken off. As of vLLM 0.32, `vllm/entrypoints/openai/completion/protocol.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fim_magic.engines import Capabilities, TokenLogprob
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import AnswerPiece, Asked, Dialect, ServedModel, ServedToken, falling
from fim_magic.engines.server.models import chosen_model, sources_of
from fim_magic.engines.server.refusals import another_kind
from fim_magic.engines.server.sense import tokens_in
from fim_magic.errors import ServerError

_COMPLETIONS = "/v1/completions"
_ID = "token_id:"
NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""Else the model's own generation_config.json chooses them."""
_MOST_PROMPTS = 32  # of one request; a longer text is read as a whole


class VllmDialect:
    """How vLLM is asked. Satisfies [`fim_magic.engines.server.dialect.Dialect`][]."""

    name = "vllm"
    capabilities = Capabilities()

    @property
    def variants(self) -> tuple[Dialect, ...]:
        return (self,)

    def identify(self, connection: ServerConnection, wanted: str) -> ServedModel:
        version = connection.get("/version")
        if not isinstance(version, dict) or not isinstance(version.get("version"), str):
            raise another_kind(connection.address, "vLLM", "it does not tell its version")
        model = chosen_model(connection, wanted)
        return ServedModel(
            name=model["id"],
            context_length=tokens_in(model.get("max_model_len")),
            sources=sources_of(model.get("root"), model["id"]),
            software=f"vLLM {version['version']}",
        )

    def tokenize(self, connection: ServerConnection, model: str, text: str) -> list[int] | None:
        found = connection.post("/tokenize", {"model": model, "prompt": text, "add_special_tokens": False})
        return [int(token) for token in found["tokens"]]

    def detokenize(self, connection: ServerConnection, model: str, ids: Sequence[int]) -> str | None:
        return str(connection.post("/detokenize", {"model": model, "tokens": list(ids)})["prompt"])

    def request(self, asked: Asked) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {
            "model": asked.model,
            "prompt": list(asked.ids),
            "max_tokens": asked.limit,
            "temperature": asked.sampling.temperature,
            "top_p": asked.top_p,
            "stop_token_ids": sorted(asked.stop_ids),
            "stream": True,
            "logprobs": asked.alternatives,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "skip_special_tokens": False,
            **NEUTRAL,
        }
        if asked.sampling.temperature:
            body["seed"] = asked.sampling.seed
        if asked.allowed is not None:
            body["allowed_token_ids"] = list(asked.allowed)
        return _COMPLETIONS, body

    def pieces(self, events: Iterable[Any], asked: Asked) -> Iterator[AnswerPiece]:
        for event in events:
            for choice in event["choices"]:  # the last event has none, and tells the usage
                if choice.get("index"):  # one is asked for
                    continue
                read = choice.get("prompt_token_ids")
                if read is not None and read != list(asked.ids):
                    raise ServerError(f"vLLM has read another prompt ({len(read)} tokens) than it was sent.")
                yield _piece(choice)

    def score(
        self, connection: ServerConnection, model: str, ids: Sequence[int], begin: int, count: int
    ) -> list[ServedToken] | None:
        """Say how probable the tokens of a text from `begin` on are; see [`Dialect.score`][].

        vLLM tells of a prompt's tokens only if it reads the whole prompt again, and computes all logits for each of its
        tokens. A short text is therefore asked for as the next token of as many prompts as it has tokens: what these
        begin with has been read for the request, or is read once.
        """
        if begin and not count and len(ids) - begin <= _MOST_PROMPTS:
            found = self._generated(connection, model, ids, begin)
            if found is not None:
                return found
        body = _one_token(model, list(ids)) | {"prompt_logprobs": count}
        places = connection.post(_COMPLETIONS, body)["choices"][0]["prompt_logprobs"][begin:]
        return [_scored(token, place, count) for token, place in zip(ids[begin:], places, strict=True)]

    def _generated(
        self, connection: ServerConnection, model: str, ids: Sequence[int], begin: int
    ) -> list[ServedToken] | None:
        """Score each token as one that could be generated next; None where this vLLM does not tell of given tokens."""
        wanted = list(ids[begin:])
        prompts = [list(ids[:length]) for length in range(begin, len(ids))]
        body = _one_token(model, prompts) | {"logprobs": 1, "logprob_token_ids": sorted(set(wanted))}
        choices = sorted(connection.post(_COMPLETIONS, body)["choices"], key=lambda choice: int(choice["index"]))
        places = [choice["logprobs"]["top_logprobs"][0] for choice in choices]
        found = [place.get(f"{_ID}{token}") for token, place in zip(wanted, places, strict=True)]
        if None in found:
            return None
        return [ServedToken(token, float(logprob)) for token, logprob in zip(wanted, found, strict=True)]


def _one_token(model: str, prompt: list[int] | list[list[int]]) -> dict[str, Any]:
    """What is asked where the tokens that come are not the point."""
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": 1,
        "temperature": 0.0,
        "return_tokens_as_token_ids": True,
    }


def _piece(choice: Mapping[str, Any]) -> AnswerPiece:
    ids = choice.get("token_ids") or []
    told = choice.get("logprobs") or {}
    logprobs = told.get("token_logprobs") or [None] * len(ids)
    places = told.get("top_logprobs") or [None] * len(ids)
    read = choice.get("prompt_token_ids")
    return AnswerPiece(
        tokens=tuple(
            ServedToken(int(token), logprob, _alternatives(place))
            for token, logprob, place in zip(ids, logprobs, places, strict=True)
        ),
        ended=choice.get("finish_reason") or "",
        prompt_tokens=None if read is None else len(read),
    )


def _alternatives(place: Mapping[str, float] | None) -> tuple[TokenLogprob, ...]:
    """Read the alternatives in one place, by ids that are written as texts."""
    found = [TokenLogprob(int(token.removeprefix(_ID)), float(value)) for token, value in (place or {}).items()]
    return falling(found)


def _scored(token: int, place: Mapping[str, Mapping[str, Any]], count: int) -> ServedToken:
    """Read one place of the prompt: its own token, and the most probable ones."""
    ranked = sorted(place.items(), key=lambda item: int(item[1]["rank"]))
    alternatives = [TokenLogprob(int(key), float(value["logprob"])) for key, value in ranked]
    return ServedToken(token, float(place[str(token)]["logprob"]), tuple(alternatives[:count]))
