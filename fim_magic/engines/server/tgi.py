"""Text Generation Inference, asked by text at `/generate_stream`; its answers come with ids.

As of version 3.3, `router/src/lib.rs`, `router/src/validation.rs` and `server/text_generation_server/utils/tokens.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fim_magic.engines import Capabilities, TokenLogprob
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import AnswerPiece, Asked, Dialect, ServedModel, ServedToken, falling
from fim_magic.engines.server.models import require_model
from fim_magic.engines.server.refusals import another_kind
from fim_magic.engines.server.sense import tokens_in

MOST_STOPS = 4
"""Texts that may end an answer, unless `--max-stop-sequences` says otherwise."""
_MOST_ALTERNATIVES = 5  # `--max-top-n-tokens`
_ENDINGS = {"eos_token": "stop", "stop_sequence": "stop", "length": "length"}


class TgiDialect:
    """How Text Generation Inference is asked. Satisfies [`fim_magic.engines.server.dialect.Dialect`][]."""

    name = "tgi"
    capabilities = Capabilities(scores=False, constrains=False, takes_ids=False)

    @property
    def variants(self) -> tuple[Dialect, ...]:
        return (self,)

    def identify(self, connection: ServerConnection, wanted: str) -> ServedModel:
        info = connection.get("/info")
        if not isinstance(info, dict) or not {"model_id", "max_total_tokens"} <= info.keys():
            raise another_kind(connection.address, "Text Generation Inference", "it has no /info")
        name = str(info["model_id"])
        require_model(connection.address, name, wanted)
        total, prompt = tokens_in(info["max_total_tokens"]), tokens_in(info.get("max_input_tokens"))
        return ServedModel(
            name=name,
            # A prompt may have one token less than both together, by default; where less, answers are not longer.
            context_length=min(total, prompt + 1) if prompt else total,
            sources=(name,),
            software=f"TGI {info.get('version') or ''}".strip(),
        )

    def tokenize(self, connection: ServerConnection, model: str, text: str) -> list[int] | None:
        return [int(token["id"]) for token in connection.post("/tokenize", {"inputs": text})]

    def detokenize(self, connection: ServerConnection, model: str, ids: Sequence[int]) -> str | None:
        """Return None: it takes no ids."""
        return None

    def request(self, asked: Asked) -> tuple[str, dict[str, Any]]:
        parameters: dict[str, Any] = {
            "max_new_tokens": asked.limit,
            "do_sample": bool(asked.sampling.temperature),
            "return_full_text": False,
            "stop": list(asked.stop_texts[:MOST_STOPS]),
            "details": True,
        }
        if asked.alternatives:
            parameters["top_n_tokens"] = min(asked.alternatives, _MOST_ALTERNATIVES)
        if asked.sampling.temperature:
            parameters |= {"temperature": asked.sampling.temperature, "seed": asked.sampling.seed % 2**64}
            if asked.sampling.top_p < 1.0:  # 1 is refused
                parameters["top_p"] = asked.sampling.top_p
        return "/generate_stream", {"inputs": asked.text, "parameters": parameters}

    def pieces(self, events: Iterable[Any], asked: Asked) -> Iterator[AnswerPiece]:
        # Log-probabilities are those of what was sampled from: the model's own only where the most probable is taken.
        are_own = not asked.sampling.temperature
        for event in events:
            token = event["token"]
            places = [
                TokenLogprob(int(other["id"]), float(other["logprob"])) for other in event.get("top_tokens") or ()
            ]
            details = event.get("details") or {}
            ended = str(details.get("finish_reason") or ("" if event.get("generated_text") is None else "length"))
            yield AnswerPiece(
                (
                    ServedToken(
                        int(token["id"]),
                        float(token["logprob"]) if are_own else None,
                        falling(places) if are_own else (),
                    ),
                ),
                ended=_ENDINGS.get(ended, ended),
                prompt_tokens=details.get("input_length"),
            )

    def score(
        self, connection: ServerConnection, model: str, ids: Sequence[int], begin: int, count: int
    ) -> list[ServedToken] | None:
        """Return None: it takes texts, and where one is cut into tokens behind another is not ours to say."""
        return None
