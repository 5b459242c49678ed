"""A vLLM and a llama-server without a model: their formats, a tiny tokenizer, and answers that a test may choose.

As recorded from vLLM 0.32 and llama-server 11549. What they compute with is a function of the last tokens
(`ArbitraryModel`), or says what it is told to (`ScriptedModel`).
"""

from __future__ import annotations

import json
import math
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import checkpoints
from scripted_server import Exchange, ScriptedServer
from tokenizers import Tokenizer

from fim_magic.tokenization import TextTokenizer

_SEEN = 8  # tokens that the next one depends on
_NEVER = -30.0
_HELD = 1e6  # what is added to the logit of a token that an answer is held to


class Model(Protocol):
    """What a server computes with."""

    def logits(self, ids: Sequence[int], seed: int | None) -> list[float]:
        """Return the logits of the next token; the seed is None where the request is greedy."""
        ...


class ArbitraryModel:
    """Says anything, and the same after the same tokens. It never says a sentinel."""

    def __init__(self, tokenizer: TextTokenizer, sentinels: Sequence[str]) -> None:
        self._size = _size_of(tokenizer)
        self._never = {tokenizer.sentinel(sentinel) for sentinel in sentinels}

    def logits(self, ids: Sequence[int], seed: int | None = None) -> list[float]:
        seen = list(ids[-_SEEN:])
        drawn = random.Random(zlib.crc32(struct.pack(f"{len(seen)}i", *seen)))  # not for secrets
        return [_NEVER if token in self._never else 3 * drawn.gauss(0, 1) for token in range(self._size)]


class ScriptedModel:
    """Says a text behind the last sentinel, and the stop token behind that.

    Args:
        tokenizer: The model's.
        stop: Its stop token.
        answers: The first is the greedy one; seeds choose among the others.
    """

    def __init__(self, tokenizer: TextTokenizer, stop: str, *answers: str) -> None:
        self.answers = answers
        self._tokenizer = tokenizer
        self._size = _size_of(tokenizer)
        self._sentinels = {tokenizer.sentinel(sentinel) for sentinel in checkpoints.QWEN}
        self._stop = tokenizer.sentinel(stop)

    def logits(self, ids: Sequence[int], seed: int | None = None) -> list[float]:
        answer = self.answers[0]
        if seed is not None and len(self.answers) > 1:
            answer = self.answers[1 + seed % (len(self.answers) - 1)]
        begin = max((at for at, token in enumerate(ids) if token in self._sentinels), default=-1) + 1
        said = self._tokenizer.decode(list(ids[begin:]))
        # Indentation that is generated again stands before the answer.
        known = next(length for length in range(min(len(said), len(answer)), -1, -1) if said.endswith(answer[:length]))
        rest = self._tokenizer.encode(answer[known:])
        found = [_NEVER] * self._size
        found[rest[0] if rest else self._stop] = 10.0
        return found


def _size_of(tokenizer: TextTokenizer) -> int:
    return 1 + max(tokenizer.sentinel(sentinel) or 0 for sentinel in checkpoints.QWEN)


class FakeServer(ScriptedServer):
    """What both have.

    Args:
        folder: Of the checkpoint whose tokenizer it has.
        model: What it computes with; None makes an `ArbitraryModel`.
        name: As the server calls its model.
        key: What it wants to be told; "" is none.
        context: Tokens of prompt and answer together.
        **options: Of the server.

    Attributes:
        before_token: Called with the exchange before each token of a stream, and its number from 0.
        tells_of_given: Whether it tells of the tokens that it is given, as vLLM 0.32 does; others do not know of that.
    """

    kind = ""
    completions = ""
    """The path of streamed requests."""
    tells_of_given = True

    def __init__(
        self,
        folder: Path,
        model: Model | None = None,
        *,
        name: str = "tiny/qwen2",
        key: str = "",
        context: int = checkpoints.CONTEXT,
        **options: Any,
    ) -> None:
        self.folder = folder
        self.tokenizer = TextTokenizer.from_folder(folder)
        self._backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model = model or ArbitraryModel(self.tokenizer, checkpoints.QWEN)
        self.name = name
        self.key = key
        self.context = context
        self.before_token: Callable[[Exchange, int], None] = lambda _exchange, _number: None
        super().__init__(**options)

    @property
    def address(self) -> str:
        """As a user names it."""
        scheme = self.kind if self.url.startswith("http:") else f"{self.kind}+https"
        return f"{scheme}://{self.host}"

    def says(self, *answers: str, stop: str = "<|endoftext|>") -> None:
        """Answer with these texts from now on; the first is the greedy one."""
        self.model = ScriptedModel(self.tokenizer, stop, *answers)

    def ids_of(self, text: str) -> list[int]:
        """Encode a text, in which sentinels are found, as servers do."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def text_of(self, ids: Sequence[int]) -> str:
        """Decode ids, as servers do where they are asked to."""
        return self._backend.decode(ids, skip_special_tokens=False)

    def rebuild_tokenizer(self, split: Any, decoder: Any) -> None:
        """Cut texts in another way than the tokenizer's file says, as transformers does for some models."""
        self._backend.pre_tokenizer, self._backend.decoder = split, decoder

    def is_refused(self, exchange: Exchange) -> bool:
        return bool(self.key) and exchange.asked.headers.get("authorization") != f"Bearer {self.key}"

    def generated(
        self,
        ids: Sequence[int],
        limit: int,
        sampling: Mapping[str, Any],
        *,
        allowed: Sequence[int] = (),
        biased: Mapping[int, float] | None = None,
    ) -> Iterator[tuple[int, list[float]]]:
        """The tokens of an answer, each with the log-probabilities of all in its place; ends by nothing but length.

        Args:
            ids: Of the prompt.
            limit: The most tokens.
            sampling: The part of a request that holds `temperature`, `top_p` and, if it likes, `seed`.
            allowed: The tokens that may come; none means all.
            biased: What is added to the logits of tokens.
        """
        temperature, top_p, seed = sampling["temperature"], sampling["top_p"], sampling.get("seed", 0)
        biased = {**(biased or {}), **dict.fromkeys(allowed, _HELD)}
        drawn, said = random.Random(seed), list(ids)
        for _ in range(min(limit, self.context - len(ids))):
            logits = self.model.logits(said, seed if temperature else None)
            logprobs = _log_softmax(logits)
            chosen = [value + biased.get(token, 0.0) for token, value in enumerate(logits)]
            said.append(_choose(chosen, temperature, top_p, drawn))
            yield said[-1], logprobs

    def logprobs_after(self, ids: Sequence[int]) -> list[float]:
        """The log-probabilities of all that may follow."""
        return _log_softmax(self.model.logits(ids, None))


class FakeVllm(FakeServer):
    """Answers as vLLM does."""

    kind = "vllm"
    completions = "/v1/completions"

    def answer(self, exchange: Exchange) -> None:
        path, body = exchange.asked.path, exchange.asked.body
        if path.startswith("/v1/") and self.is_refused(exchange):
            exchange.json({"error": "Unauthorized"}, 401)
        elif path == "/health":
            exchange.answer(b"")
        elif path == "/version":
            exchange.json({"version": "0.32.0"})
        elif path == "/v1/models":
            entry = {"id": self.name, "object": "model", "owned_by": "vllm", "root": str(self.folder)}
            exchange.json({"object": "list", "data": [entry | {"parent": None, "max_model_len": self.context}]})
        elif path == "/tokenize":
            ids = self.ids_of(body["prompt"])
            exchange.json({"count": len(ids), "max_model_len": self.context, "tokens": ids, "token_strs": None})
        elif path == "/detokenize":
            exchange.json({"prompt": self.text_of(body["tokens"])})
        elif path != "/v1/completions":
            exchange.json({"detail": "Not Found"}, 404)
        elif body["model"] != self.name:
            told = {"message": f"The model `{body['model']}` does not exist.", "type": "NotFoundError", "code": 404}
            exchange.json({"error": told | {"param": "model"}}, 404)
        elif body.get("stream"):
            self._stream(exchange, body)
        else:
            answer_scored(self, exchange, body)

    def _stream(self, exchange: Exchange, body: dict[str, Any]) -> None:
        exchange.head()
        stops, count = set(body["stop_token_ids"]), body["logprobs"]
        allowed = body.get("allowed_token_ids") or ()
        generated = self.generated(body["prompt"], body["max_tokens"], body, allowed=allowed)
        length = min(body["max_tokens"], self.context - len(body["prompt"]))
        for number, (token, logprobs) in enumerate(generated):
            self.before_token(exchange, number)
            ended = "stop" if token in stops else "length" if number + 1 == length else None
            places = {f"token_id:{other}": logprobs[other] for other in {*ranked(logprobs)[:count], token}}
            told = {
                "tokens": [f"token_id:{token}"],
                "token_logprobs": [logprobs[token]],
                "top_logprobs": [places],
                "text_offset": [0],
            }
            choice = {"index": 0, "text": self.tokenizer.decode([token]), "logprobs": told, "finish_reason": ended}
            choice |= {"stop_reason": token if ended == "stop" else None, "token_ids": [token]}
            choice["prompt_token_ids"] = body["prompt"] if number == 0 else None
            event = {"id": "cmpl-1", "object": "text_completion", "created": 0, "model": self.name}
            exchange.event(event | {"choices": [choice], "usage": None})
            if ended:
                break
        exchange.event("[DONE]")
        exchange.end()


def answer_scored(server: FakeServer, exchange: Exchange, body: dict[str, Any]) -> None:
    """Answer with the log-probabilities of a prompt's tokens, or of what could come after each, in vLLM's form."""
    if "prompt_logprobs" not in body:
        choices = [_next_scored(server, number, ids, body) for number, ids in enumerate(body["prompt"])]
        exchange.json({"id": "cmpl-1", "object": "text_completion", "model": server.name, "choices": choices})
        return
    ids, count = body["prompt"], body["prompt_logprobs"]
    places: list[Any] = [None]
    for at in range(1, len(ids)):
        logprobs = server.logprobs_after(ids[:at])
        order = ranked(logprobs)
        ranks = {token: rank for rank, token in enumerate(order, start=1)}
        told = dict.fromkeys([ids[at], *order[:count]])
        places.append(
            {
                str(token): {
                    "logprob": logprobs[token],
                    "rank": ranks[token],
                    "decoded_token": server.tokenizer.decode([token]),
                }
                for token in told
            }
        )
    choice = {"index": 0, "text": "", "logprobs": None, "finish_reason": "length", "prompt_logprobs": places}
    exchange.json({"id": "cmpl-1", "object": "text_completion", "model": server.name, "choices": [choice]})


def _next_scored(server: FakeServer, number: int, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
    """The choice of one of several prompts: a token, and what the server says of those that are asked for."""
    logprobs = server.logprobs_after(ids)
    best = ranked(logprobs)[0]
    given = body["logprob_token_ids"] if server.tells_of_given else ranked(logprobs)[: body["logprobs"]]
    told = {
        "tokens": [f"token_id:{best}"],
        "token_logprobs": [logprobs[best]],
        "top_logprobs": [{f"token_id:{token}": logprobs[token] for token in {*given, best}}],
        "text_offset": [0],
    }
    return {"index": number, "text": server.tokenizer.decode([best]), "logprobs": told, "finish_reason": "length"}


class FakeLlamaServer(FakeServer):
    """Answers as llama-server does. It ends an answer at the tokens of `eog`."""

    kind = "llama-server"
    completions = "/completion"
    eog = ("<|endoftext|>", "<|im_end|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")

    def answer(self, exchange: Exchange) -> None:
        path, body = exchange.asked.path, exchange.asked.body
        if path == "/health":
            exchange.json({"status": "ok"})
        elif self.is_refused(exchange):
            told = {"message": "Invalid API Key", "type": "authentication_error", "code": 401}
            exchange.json({"error": told}, 401)
        elif path == "/props":
            settings = {"params": {"temperature": 0.8}, "n_ctx": self.context}
            told = {"default_generation_settings": settings, "total_slots": 4, "model_alias": self.name}
            exchange.json(told | {"model_path": str(self.folder), "build_info": "b11549-unknown"})
        elif path == "/v1/models":
            meta = {"vocab_type": 2, "n_ctx": self.context}
            exchange.json({"object": "list", "data": [{"id": self.name, "owned_by": "llamacpp", "meta": meta}]})
        elif path == "/tokenize":
            exchange.json({"tokens": self.ids_of(body["content"])})
        elif path == "/detokenize":
            exchange.json({"content": self.text_of(body["tokens"])})
        elif path == "/completion":
            self._stream(exchange, body)
        else:
            told = {"message": "File Not Found", "type": "not_found_error", "code": 404}
            exchange.json({"error": told}, 404)

    def _stream(self, exchange: Exchange, body: dict[str, Any]) -> None:
        exchange.head(kind="text/event-stream")
        ends = {self.tokenizer.sentinel(sentinel) for sentinel in self.eog}
        biased = dict(body.get("logit_bias", ()))
        generated = self.generated(body["prompt"], body["n_predict"], body, biased=biased)
        ended, number = "limit", 0
        for number, (token, logprobs) in enumerate(generated, start=1):
            self.before_token(exchange, number - 1)
            places = [self._told(other, logprobs) for other in ranked(logprobs)[: body["n_probs"]]]
            event = {"index": 0, "content": self.tokenizer.decode([token]), "tokens": [token], "stop": False}
            event |= {"id_slot": -1, "tokens_predicted": number, "tokens_evaluated": len(body["prompt"])}
            told = self._told(token, logprobs) | {"top_logprobs": places}
            exchange.event(event | ({"completion_probabilities": [told]} if body["n_probs"] else {}))
            if token in ends:
                ended = "eos"
                break
        last = {"index": 0, "content": "", "tokens": [], "id_slot": 2, "stop": True, "model": self.name}
        last |= {"tokens_predicted": number, "tokens_evaluated": len(body["prompt"]), "truncated": False}
        exchange.event(
            last | {"stop_type": ended, "stopping_word": "", "timings": {"cache_n": 0, "predicted_n": number}}
        )
        exchange.end()

    def _told(self, token: int, logprobs: Sequence[float]) -> dict[str, Any]:
        text = self.tokenizer.decode([token])
        return {"id": token, "token": text, "bytes": list(text.encode()), "logprob": logprobs[token]}


def write_served(folder: Path) -> Path:
    """Write what a server's model needs here: a tokenizer and a configuration, and no weights."""
    kind = checkpoints.KINDS["qwen2"]
    folder.mkdir(parents=True, exist_ok=True)
    backend: Tokenizer = checkpoints.tokenizer(kind.sentinels, special=kind.special)
    backend.save(str(folder / "tokenizer.json"))
    config = {"model_type": "qwen2", "vocab_size": backend.get_vocab_size(), "eos_token_id": None}
    config["max_position_embeddings"] = checkpoints.CONTEXT
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _log_softmax(logits: Sequence[float]) -> list[float]:
    highest = max(logits)
    total = highest + math.log(sum(math.exp(value - highest) for value in logits))
    return [value - total for value in logits]


def ranked(values: Sequence[float]) -> list[int]:
    """The places of some values, the highest first."""
    return sorted(range(len(values)), key=lambda token: -values[token])


def _choose(logits: Sequence[float], temperature: float, top_p: float, drawn: random.Random) -> int:
    order = ranked(logits)
    if not temperature:
        return order[0]
    weights = [math.exp(value) for value in _log_softmax([logits[token] / temperature for token in order])]
    kept, sum_of_kept = 0, 0.0
    while kept < len(weights) and sum_of_kept < top_p:
        sum_of_kept += weights[kept]
        kept += 1
    return drawn.choices(order[:kept], weights[:kept])[0]
