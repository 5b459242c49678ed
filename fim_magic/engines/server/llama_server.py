"""llama-server, llama.cpp's own, asked by token ids at `/completion`.

As of its `tools/server/README.md`, build 11549. It ends an answer at the tokens that its file says end a text; other
stop ids are seen here, and the stream is closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fim_magic.engines import Capabilities, TokenLogprob
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import BIAS, AnswerPiece, Asked, Dialect, ServedModel, ServedToken
from fim_magic.engines.server.models import require_model, sources_of
from fim_magic.engines.server.refusals import another_kind
from fim_magic.engines.server.sense import tokens_in

_ENDINGS = {"eos": "stop", "word": "stop", "limit": "length"}
_SEEDS = 2**32 - 1
"""The highest number of 32 bits stands for a seed that nobody chose."""


class LlamaServerDialect:
    """How llama-server is asked. Satisfies [`fim_magic.engines.server.dialect.Dialect`][]."""

    name = "llama-server"
    capabilities = Capabilities(scores=False)

    @property
    def variants(self) -> tuple[Dialect, ...]:
        return (self,)

    def identify(self, connection: ServerConnection, wanted: str) -> ServedModel:
        props = connection.get("/props")
        settings = props.get("default_generation_settings") if isinstance(props, dict) else None
        if not isinstance(settings, dict):
            raise another_kind(connection.address, "llama-server", "it has no /props")
        path, build = str(props.get("model_path") or ""), str(props.get("build_info") or "")
        length = settings.get("n_ctx")
        name = str(props.get("model_alias") or path)
        if wanted and wanted != name:
            require_model(connection.address, name, wanted, also=(*_file_names(path), *_aliases(connection)))
        return ServedModel(
            name=name,
            context_length=tokens_in(length),
            sources=sources_of(path),
            software=f"llama-server {build}".strip(),
        )

    def tokenize(self, connection: ServerConnection, model: str, text: str) -> list[int] | None:
        body = {"content": text, "add_special": False, "parse_special": True}
        return [int(token) for token in connection.post("/tokenize", body)["tokens"]]

    def detokenize(self, connection: ServerConnection, model: str, ids: Sequence[int]) -> str | None:
        return str(connection.post("/detokenize", {"tokens": list(ids)})["content"])

    def request(self, asked: Asked) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {
            "prompt": list(asked.ids),
            "n_predict": asked.limit,
            "temperature": asked.sampling.temperature,
            "top_p": asked.top_p,
            "samplers": ["temperature", "top_p"],  # no others, and in our order
            "top_k": 0,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "stream": True,
            "return_tokens": True,
            "n_probs": asked.alternatives,
            "cache_prompt": True,
        }
        if asked.sampling.temperature:
            body["seed"] = asked.sampling.seed % _SEEDS
        if asked.allowed is not None:
            body["logit_bias"] = [[token, BIAS] for token in asked.allowed]
        return "/completion", body

    def pieces(self, events: Iterable[Any], asked: Asked) -> Iterator[AnswerPiece]:
        """Read the events of the stream that answers `asked`.

        A character that several tokens make up comes as a text with the last of its ids. And a token that ends the
        answer by the file's account, and not by ours, is no part of it.
        """
        come, held = 0, AnswerPiece()
        for event in events:
            if event.get("index"):  # one is asked for
                continue
            ended = _ENDINGS.get(str(event.get("stop_type")), "stop") if event.get("stop") else ""
            if not ended or event.get("stop_type") != "eos":
                yield held
            held = AnswerPiece()
            tokens = _tokens(event)
            generated = event.get("tokens_predicted", come + len(tokens))
            text = str(event.get("content") or "")
            is_half_known = not ended and generated - come > len(tokens)
            piece = AnswerPiece(text=text) if is_half_known else AnswerPiece(tokens)
            come = max(come, generated)
            if event.get("content") == "" and tokens and tokens[-1].id not in asked.stop_ids and not ended:
                held = piece
            else:
                yield piece
            if ended:
                yield AnswerPiece(
                    ended=ended,
                    cached=(event.get("timings") or {}).get("cache_n"),
                    prompt_tokens=event.get("tokens_evaluated"),
                )
        yield held

    def score(
        self, connection: ServerConnection, model: str, ids: Sequence[int], begin: int, count: int
    ) -> list[ServedToken] | None:
        """Return None: it says nothing of tokens that it has not generated."""
        return None


def _file_names(path: str) -> tuple[str, str, str]:
    file = re.split(r"[/\\]", path)[-1]  # of its machine, whatever system that has
    return path, file, file.removesuffix(".gguf")


def _aliases(connection: ServerConnection) -> list[str]:
    """What its one model may be called as well: `/props` tells one name."""
    listed = connection.get("/v1/models")["data"]
    return [str(name) for entry in listed for name in (entry["id"], *entry.get("aliases", ()))]


def _tokens(event: Mapping[str, Any]) -> tuple[ServedToken, ...]:
    told = event.get("completion_probabilities") or [{"id": token} for token in event.get("tokens") or ()]
    return tuple(
        ServedToken(
            int(token["id"]),
            token.get("logprob"),
            tuple(TokenLogprob(int(other["id"]), other["logprob"]) for other in token.get("top_logprobs", ())),
        )
        for token in told
    )
