"""SGLang's own endpoint, asked by token ids at `/generate`.

As of SGLang 0.5.23, `sglang/srt/managers/io_struct.py`, `managers/tokenizer_manager.py` and
`sampling/sampling_params.py`. An event has either all ids so far, or, with `--incremental-streaming-output`, the new
ones; the stop token is among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fim_magic.engines import Capabilities, TokenLogprob
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import BIAS, AnswerPiece, Asked, Dialect, ServedModel, ServedToken, falling
from fim_magic.engines.server.models import chosen_model, sources_of
from fim_magic.engines.server.refusals import another_kind
from fim_magic.engines.server.sense import tokens_in
from fim_magic.errors import ServerError

_MOST_TOLD = 300  # characters of a server's own words
_RESERVED = 1
"""Tokens of the context that it keeps free."""


class SglangDialect:
    """How SGLang is asked. Satisfies [`fim_magic.engines.server.dialect.Dialect`][]."""

    name = "sglang"
    capabilities = Capabilities()

    @property
    def variants(self) -> tuple[Dialect, ...]:
        return (self,)

    def identify(self, connection: ServerConnection, wanted: str) -> ServedModel:
        info = connection.get("/model_info")
        if not isinstance(info, dict) or not isinstance(info.get("model_path"), str) or "is_generation" not in info:
            raise another_kind(connection.address, "SGLang", "it has no /model_info")
        model = chosen_model(connection, wanted)
        length = tokens_in(model.get("max_model_len"))
        return ServedModel(
            name=model["id"],
            context_length=max(0, length - _RESERVED),
            sources=sources_of(info.get("tokenizer_path"), info["model_path"], model.get("root"), model["id"]),
            software="SGLang",
        )

    def tokenize(self, connection: ServerConnection, model: str, text: str) -> list[int] | None:
        found = connection.post("/tokenize", {"model": model, "prompt": text, "add_special_tokens": False})
        return [int(token) for token in found["tokens"]]

    def detokenize(self, connection: ServerConnection, model: str, ids: Sequence[int]) -> str | None:
        return str(connection.post("/detokenize", {"model": model, "tokens": list(ids)})["text"])

    def request(self, asked: Asked) -> tuple[str, dict[str, Any]]:
        sampling: dict[str, Any] = {
            "max_new_tokens": asked.limit,
            "temperature": asked.sampling.temperature,
            "top_p": asked.top_p,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "stop_token_ids": sorted(asked.stop_ids),
            "skip_special_tokens": False,
        }
        if asked.sampling.temperature:
            sampling["sampling_seed"] = asked.sampling.seed
        if asked.allowed is not None:
            sampling["logit_bias"] = {str(token): BIAS for token in asked.allowed}
        return "/generate", {
            "input_ids": list(asked.ids),
            "sampling_params": sampling,
            "stream": True,
            "return_logprob": True,
            "top_logprobs_num": asked.alternatives,
        }

    def pieces(self, events: Iterable[Any], asked: Asked) -> Iterator[AnswerPiece]:
        # Log-probabilities are those of what was sampled from: not the model's own where that was changed.
        are_own = asked.allowed is None and asked.sampling.temperature in (0.0, 1.0) and _keeps_all(asked)
        come = 0
        for event in events:
            meta = event["meta_info"]
            ended = meta.get("finish_reason") or {}
            if ended.get("type") == "abort":
                why = str(ended.get("message") or ended)[:_MOST_TOLD]
                raise ServerError(f"SGLang failed ({why}). Its own log says why.")
            ids = event.get("output_ids") or []
            new = meta["completion_tokens"] - come
            come += new
            yield AnswerPiece(
                _tokens(ids, meta, are_own=are_own)[len(ids) - new :] if new else (),
                ended=str(ended.get("type") or ""),
                cached=meta.get("cached_tokens"),
                prompt_tokens=meta.get("prompt_tokens"),
            )

    def score(
        self, connection: ServerConnection, model: str, ids: Sequence[int], begin: int, count: int
    ) -> list[ServedToken] | None:
        body = {
            "input_ids": list(ids),
            "sampling_params": {"max_new_tokens": 1, "temperature": 0.0},
            "return_logprob": True,
            "logprob_start_len": begin - 1,  # the first token has no probability
            "top_logprobs_num": count,
        }
        meta = connection.post("/generate", body)["meta_info"]
        told = meta["input_token_logprobs"][begin - len(ids) :] if begin < len(ids) else []
        places = (meta.get("input_top_logprobs") or [None] * len(told))[-len(told) :] if told else []
        return [
            ServedToken(int(token), float(logprob), _alternatives(place))
            for (logprob, token, _), place in zip(told, places, strict=True)
        ]


def _keeps_all(asked: Asked) -> bool:
    return not asked.sampling.temperature or asked.sampling.top_p == 1.0


def _tokens(ids: Sequence[int], meta: Mapping[str, Any], *, are_own: bool) -> tuple[ServedToken, ...]:
    told: Sequence[Any] = meta.get("output_token_logprobs") or () if are_own else ()
    places: Sequence[Any] = meta.get("output_top_logprobs") or () if are_own else ()
    if len(told) != len(ids):
        return tuple(ServedToken(int(token)) for token in ids)
    if len(places) != len(ids):
        places = [None] * len(ids)
    return tuple(
        ServedToken(int(token), float(entry[0]), _alternatives(place))
        for token, entry, place in zip(ids, told, places, strict=True)
    )


def _alternatives(place: Sequence[Sequence[Any]] | None) -> tuple[TokenLogprob, ...]:
    """Read the alternatives in one place: each a log-probability, an id, and maybe a text."""
    return falling(TokenLogprob(int(entry[1]), float(entry[0])) for entry in place or ())
