"""An SGLang, a TGI, an Ollama and completions endpoints without a model, in the formats of their own sources.

As of SGLang 0.5.23 (`managers/tokenizer_manager.py`), TGI 3.3 (`router/src/lib.rs`), Ollama of August 2026
(`api/types.go`, `server/routes.go`) and transformers 5.24 (`cli/serving/completion.py`).
"""

from __future__ import annotations

import json
from typing import Any

from fake_servers import FakeServer, answer_scored, ranked
from scripted_server import Exchange

NDJSON = "application/x-ndjson"


class FakeSglang(FakeServer):
    """Answers as SGLang does. `incremental` is its `--incremental-streaming-output`."""

    kind = "sglang"
    completions = "/generate"
    incremental = False

    def answer(self, exchange: Exchange) -> None:
        path, body = exchange.asked.path, exchange.asked.body
        if self.is_refused(exchange):
            exchange.json({"error": "Unauthorized"}, 401)
        elif path == "/model_info":
            told = {"model_path": str(self.folder), "tokenizer_path": str(self.folder), "is_generation": True}
            exchange.json(told | {"served_model_name": self.name, "weight_version": "default"})
        elif path == "/v1/models":
            entry = {"id": self.name, "object": "model", "owned_by": "sglang", "root": self.name}
            exchange.json({"object": "list", "data": [entry | {"max_model_len": self.context}]})
        elif path == "/tokenize":
            ids = self.ids_of(body["prompt"])
            exchange.json({"tokens": ids, "count": len(ids), "max_model_len": self.context})
        elif path == "/detokenize":
            exchange.json({"text": self.text_of(body["tokens"])})
        elif path == "/generate" and body.get("stream"):
            self._stream(exchange, body)
        elif path == "/generate":
            self._score(exchange, body)
        else:
            exchange.json({"detail": "Not Found"}, 404)

    def _stream(self, exchange: Exchange, body: dict[str, Any]) -> None:
        exchange.head()
        ids, sampling = body["input_ids"], body["sampling_params"]
        stops, limit = set(sampling["stop_token_ids"]), sampling["max_new_tokens"]
        biased = {int(token): value for token, value in sampling.get("logit_bias", {}).items()}
        seed = sampling.get("sampling_seed", 0)
        generated = self.generated(ids, limit, sampling | {"seed": seed}, biased=biased)
        said: list[int] = []
        logprobs: list[Any] = []
        places: list[Any] = []
        for number, (token, told) in enumerate(generated):
            self.before_token(exchange, number)
            said.append(token)
            logprobs.append([told[token], token, None])
            places.append([[told[other], other, None] for other in ranked(told)[: body["top_logprobs_num"]]])
            ended = None
            if token in stops:
                ended = {"type": "stop", "matched": token}
            elif number + 1 == limit:
                ended = {"type": "length", "length": limit}
            first = number if self.incremental else 0
            meta = {"id": "1", "finish_reason": ended, "prompt_tokens": len(ids), "completion_tokens": len(said)}
            meta |= {"cached_tokens": 3, "output_token_logprobs": logprobs[first:]}
            meta["output_top_logprobs"] = places[first:]
            exchange.event({"text": "", "output_ids": said[first:], "meta_info": meta})
            if ended:
                break
        exchange.event("[DONE]")
        exchange.end()

    def _score(self, exchange: Exchange, body: dict[str, Any]) -> None:
        ids, begin = body["input_ids"], body["logprob_start_len"]
        told: list[Any] = [[None, ids[begin], None]]
        places: list[Any] = [None]
        for at in range(begin + 1, len(ids)):
            logprobs = self.logprobs_after(ids[:at])
            told.append([logprobs[ids[at]], ids[at], None])
            likely = ranked(logprobs)[: body["top_logprobs_num"]]
            places.append([[logprobs[other], other, None] for other in likely])
        meta = {"finish_reason": {"type": "length", "length": 1}, "input_token_logprobs": told}
        exchange.json({"text": "", "output_ids": [0], "meta_info": meta | {"input_top_logprobs": places}})


class FakeTextServer(FakeServer):
    """One that is given a text, which it encodes as its tokenizer's file says."""

    adds_bos = False

    def prompt_ids(self, text: str) -> list[int]:
        """The ids of a prompt, with what the server puts before it."""
        return self._backend.encode(text, add_special_tokens=self.adds_bos).ids


class FakeTgi(FakeTextServer):
    """Answers as Text Generation Inference does."""

    kind = "tgi"
    completions = "/generate_stream"
    adds_bos = True

    def answer(self, exchange: Exchange) -> None:
        path, body = exchange.asked.path, exchange.asked.body
        if path == "/info":
            told = {"model_id": self.name, "model_sha": None, "max_stop_sequences": 4, "version": "3.3.7"}
            told |= {"max_input_tokens": self.context - 1, "max_total_tokens": self.context}
            exchange.json(told | {"router": "text-generation-router"})
        elif path == "/tokenize":
            ids = self.prompt_ids(body["inputs"])
            exchange.json([{"id": token, "text": "", "start": 0, "stop": 0} for token in ids])
        elif path == "/generate_stream":
            self._stream(exchange, body)
        else:
            exchange.json({"error": "not found", "error_type": "validation"}, 404)

    def _stream(self, exchange: Exchange, body: dict[str, Any]) -> None:
        wanted = body["parameters"]
        assert len(wanted["stop"]) <= 4
        assert wanted.get("temperature", 1.0) > 0
        assert 0 < wanted.get("top_p", 0.5) < 1
        assert wanted.get("top_n_tokens", 0) <= 5
        ids, limit = self.prompt_ids(body["inputs"]), wanted["max_new_tokens"]
        ends = self.tokenizer.sentinel("<|endoftext|>")
        stops = {self.tokenizer.sentinel(stop) for stop in wanted["stop"]}
        exchange.head()
        sampling = {"temperature": 0.0, "top_p": 1.0, **wanted}  # it is greedy where it is told neither
        for number, (token, told) in enumerate(self.generated(ids, limit, sampling), start=1):
            self.before_token(exchange, number - 1)
            reason = "length" if number == limit else "eos_token" if token == ends else None
            reason = reason or ("stop_sequence" if token in stops else None)
            event: dict[str, Any] = {"index": number, "token": self._told(token, told)}
            likely = ranked(told)[: wanted.get("top_n_tokens", 0)]
            event |= {"top_tokens": [self._told(other, told) for other in likely]} if likely else {}
            event |= {"generated_text": None, "details": None}
            if reason:
                details = {"finish_reason": reason, "generated_tokens": number, "seed": None}
                event |= {"generated_text": "", "details": details | {"input_length": len(ids)}}
            exchange.event(event)
            if reason:
                break
        exchange.end()

    def _told(self, token: int, logprobs: list[float]) -> dict[str, Any]:
        text = self.tokenizer.decode([token])
        return {"id": token, "text": text, "logprob": logprobs[token], "special": text.startswith("<|")}


class FakeOllama(FakeTextServer):
    """Answers as Ollama does. It never says sentinels, and ends at those of `eog`."""

    kind = "ollama"
    completions = "/api/generate"
    eog = ("<|endoftext|>", "<|im_end|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")
    shown: dict[str, Any] = {}  # noqa: RUF012 - a test's own, in place of this one
    is_loaded = True

    def answer(self, exchange: Exchange) -> None:
        path, body = exchange.asked.path, exchange.asked.body
        if path == "/api/version":
            exchange.json({"version": "0.21.0"})
        elif path in ("/api/tags", "/api/ps"):
            entry = {"name": self.name, "model": self.name, "size": 1}
            entries = [entry | {"context_length": self.context}] if path == "/api/tags" or self.is_loaded else []
            exchange.json({"models": entries})
        elif path == "/api/show" and body["model"] == self.name:
            info = {"general.architecture": "qwen2", "qwen2.context_length": 32768}
            told = {"details": {"quantization_level": "Q4_K_M"}, "capabilities": ["completion", "insert"]}
            told |= {"model_info": info | {"tokenizer.ggml.add_bos_token": self.adds_bos}}
            exchange.json(told | {"modelfile": f"# FROM {self.name}\n\nFROM {self.folder}\n"} | self.shown)
        elif path == "/api/generate":
            self._stream(exchange, body)
        else:
            exchange.json({"error": "model not found"}, 404)

    def _stream(self, exchange: Exchange, body: dict[str, Any]) -> None:
        options = body["options"]
        assert body["raw"] is True
        ids, limit = self.prompt_ids(body["prompt"]), options["num_predict"]
        ends = {self.tokenizer.sentinel(sentinel) for sentinel in self.eog}
        exchange.head(kind=NDJSON)
        reason, text, number = "length", self.tokenizer.stream(), 0
        for number, (token, told) in enumerate(self.generated(ids, limit, options), start=1):
            self.before_token(exchange, number - 1)
            if token in ends:
                reason = "stop"
                break
            before = len(text.text)
            new = text.push(token)[before:]
            if new:
                logprob = {"token": new, "logprob": told[token]}
                self._line(exchange, {"model": self.name, "response": new, "done": False, "logprobs": [logprob]})
        last = {"model": self.name, "response": "", "done": True, "done_reason": reason, "eval_count": number}
        self._line(exchange, last | {"prompt_eval_count": len(ids)})
        exchange.end()

    def _line(self, exchange: Exchange, value: dict[str, Any]) -> None:
        exchange.send(json.dumps(value).encode() + b"\n")


class FakeCompletions(FakeTextServer):
    """Answers in OpenAI's form, and nothing else.

    Attributes:
        takes_ids: Whether a prompt may be ids: "" for no, "as-vllm" with what vLLM adds, or "plain".
        tells_usage: Whether it counts tokens.
        is_transformers: Whether it is `transformers serve`.
    """

    kind = "openai"
    completions = "/v1/completions"
    takes_ids = ""
    tells_usage = True
    is_transformers = False
    shift = 0
    """Added to each id that it is sent, as by a server with another vocabulary."""

    def answer(self, exchange: Exchange) -> None:
        path, body = exchange.asked.path, exchange.asked.body
        if self.is_refused(exchange):
            exchange.json({"error": {"message": "no key", "code": 401}}, 401)
        elif path == "/v1/models":
            entry = {"id": self.name, "object": "model", "created": 0, "owned_by": "local"}
            entry |= {"root": str(self.folder)} if not self.is_transformers else {"status": {"value": "loaded"}}
            exchange.json({"object": "list", "data": [entry]})
        elif path == "/openapi.json" and self.is_transformers:
            exchange.json({"paths": {"/load_model": {}, "/reset": {}, "/v1/completions": {}, "/v1/models": {}}})
        elif path != "/v1/completions":
            exchange.json({"detail": "Not Found"}, 404)
        elif isinstance(body["prompt"], list) and not self.takes_ids:
            exchange.json({"detail": "prompt must be a string."}, 400)
        elif not body.get("stream"):
            answer_scored(self, exchange, body)
        else:
            self._stream(exchange, body)

    def _stream(self, exchange: Exchange, body: dict[str, Any]) -> None:
        sent = body["prompt"]
        ids = [token + self.shift for token in sent] if isinstance(sent, list) else self.prompt_ids(sent)
        limit, is_vllm = body["max_tokens"], self.takes_ids == "as-vllm" and body.get("return_token_ids")
        stops = {self.tokenizer.sentinel(stop) for stop in body.get("stop", ())} | {*body.get("stop_token_ids", ())}
        stops.add(self.tokenizer.sentinel("<|endoftext|>"))
        exchange.head()
        text, reason, number = self.tokenizer.stream(), "length", 0
        generated = self.generated(ids, limit, body, allowed=body.get("allowed_token_ids", ()))
        for number, (token, told) in enumerate(generated):
            self.before_token(exchange, number)
            before = len(text.text)
            is_stop = token in stops
            choice: dict[str, Any] = {"index": 0, "text": "" if is_stop else text.push(token)[before:]}
            if is_vllm:
                logprobs = {"tokens": [f"token_id:{token}"], "token_logprobs": [told[token]]}
                choice |= {"token_ids": [token], "prompt_token_ids": sent if number == 0 else None}
                choice["logprobs"] = logprobs | {"top_logprobs": [{f"token_id:{token}": told[token]}]}
            reason = "stop" if is_stop else "length" if number + 1 == limit else None
            exchange.event({"id": "1", "object": "text_completion", "choices": [choice | {"finish_reason": reason}]})
            if reason:
                break
        if self.tells_usage:
            usage = {"prompt_tokens": len(ids), "completion_tokens": number, "total_tokens": len(ids) + number}
            exchange.event({"id": "1", "object": "text_completion", "choices": [], "usage": usage})
        if not self.is_transformers:
            exchange.event("[DONE]")
        exchange.end()
