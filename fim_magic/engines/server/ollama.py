"""Ollama, asked by text at `/api/generate`, with `raw` so that no template of its own comes around it.

As of its `api/types.go`, `server/routes.go` and `llm/llama_server.go` of August 2026. It takes no ids, and cuts prompts
that are too long without a word, unless it is told not to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fim_magic.engines import Capabilities
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import AnswerPiece, Asked, Dialect, ServedModel, ServedToken
from fim_magic.engines.server.models import chosen_of
from fim_magic.engines.server.refusals import another_kind
from fim_magic.engines.server.sense import tokens_in
from fim_magic.errors import ModelError

_CONTEXT = 8192
"""Tokens of a model that is not loaded yet and names no number: its own are often so many that memory is short."""

_HUB_NAME = re.compile(r"(?:https?://)?(?:hf\.co|huggingface\.co)/([^/:\s]+/[^/:\s]+)")
_FROM = re.compile(r"^FROM (/\S+|[A-Za-z]:\\\S+)$", re.MULTILINE)
_NUM_CTX = re.compile(r"^num_ctx\s+(\d+)\s*$", re.MULTILINE)


class OllamaDialect:
    """How Ollama is asked. Satisfies [`fim_magic.engines.server.dialect.Dialect`][]."""

    name = "ollama"
    capabilities = Capabilities(scores=False, gives_top_logprobs=False, constrains=False, takes_ids=False)

    @property
    def variants(self) -> tuple[Dialect, ...]:
        return (self,)

    def identify(self, connection: ServerConnection, wanted: str) -> ServedModel:
        version = connection.get("/api/version")
        if not isinstance(version, dict) or not isinstance(version.get("version"), str):
            raise another_kind(connection.address, "Ollama", "it has no /api/version")
        loaded = _models(connection.get("/api/ps"))
        name = _chosen(connection, wanted, loaded)
        shown = connection.post("/api/show", {"model": name})
        _require_use(connection, name, shown)
        info = shown.get("model_info") or {}
        return ServedModel(
            name=name,
            context_length=_context_length(shown, info, loaded.get(name, {})),
            sources=_sources(name, shown, info),
            software=f"Ollama {version['version']}",
            precision=str((shown.get("details") or {}).get("quantization_level") or ""),
            adds_bos=bool(info.get("tokenizer.ggml.add_bos_token")),
        )

    def tokenize(self, connection: ServerConnection, model: str, text: str) -> list[int] | None:
        """Return None: it does not tell."""
        return None

    def detokenize(self, connection: ServerConnection, model: str, ids: Sequence[int]) -> str | None:
        """Return None: it takes no ids."""
        return None

    def request(self, asked: Asked) -> tuple[str, dict[str, Any]]:
        options: dict[str, Any] = {
            "num_predict": asked.limit,
            "temperature": asked.sampling.temperature,
            "top_p": asked.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "stop": list(asked.stop_texts),
        }
        if asked.context_length:
            options["num_ctx"] = asked.context_length
        if asked.sampling.temperature:
            options["seed"] = asked.sampling.seed % 2**31  # it is an int there, and negative ones are random
        return "/api/generate", {
            "model": asked.model,
            "prompt": asked.text,
            "raw": True,
            "stream": True,
            "think": False,
            "truncate": False,
            "shift": False,
            "logprobs": True,
            "options": options,
        }

    def pieces(self, events: Iterable[Any], asked: Asked) -> Iterator[AnswerPiece]:
        for event in events:
            logprobs = tuple(float(token["logprob"]) for token in event.get("logprobs") or ())
            yield AnswerPiece(text=str(event.get("response") or ""), logprobs=logprobs)
            if event.get("done"):
                ended = "length" if event.get("done_reason") == "length" else "stop"
                yield AnswerPiece(ended=ended, prompt_tokens=event.get("prompt_eval_count") or None)
                return
        # Where one token comes more than 30 times in a row, it says no more, and not even that it is done.
        yield AnswerPiece(ended="length")

    def score(
        self, connection: ServerConnection, model: str, ids: Sequence[int], begin: int, count: int
    ) -> list[ServedToken] | None:
        """Return None: it says nothing of tokens that it has not generated."""
        return None


def _models(listed: Any) -> dict[str, Mapping[str, Any]]:
    entries = listed.get("models") if isinstance(listed, dict) else None
    return {
        entry["name"]: entry
        for entry in (entries or ())
        if isinstance(entry, dict) and isinstance(entry.get("name"), str)
    }


def _chosen(connection: ServerConnection, wanted: str, loaded: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name of the model that is meant: of one that is not named, the one that is loaded, or the only one."""
    if not wanted and len(loaded) == 1:
        return next(iter(loaded))
    models = _models(connection.get("/api/tags"))
    with_tag = wanted if not wanted or ":" in wanted.rpartition("/")[2] else f"{wanted}:latest"
    return str(chosen_of(connection.address, models, with_tag if with_tag in models else wanted)["name"])


def _require_use(connection: ServerConnection, name: str, shown: Mapping[str, Any]) -> None:
    """Refuse what is no completing model, and what is not computed there."""
    from fim_magic import catalog

    host = connection.address.host
    if shown.get("remote_host") or shown.get("remote_model"):
        raise ModelError(
            f"{name} does not run at {host}: Ollama there sends what it is asked on to "
            f"{shown.get('remote_host') or 'another host'}. Name a model that runs there; ollama list shows them."
        )
    able = shown.get("capabilities")
    if isinstance(able, list) and "completion" not in able:
        raise ModelError(
            f"{name} at {host} completes no text. The nearest model that infills is loaded by: "
            f"%fim use {catalog.nearest_infilling(name).name}"
        )


def _context_length(shown: Mapping[str, Any], info: Mapping[str, Any], loaded: Mapping[str, Any]) -> int:
    """Return how many tokens there are to be: as many as it is loaded with, so that it is not loaded once more."""
    length = tokens_in(loaded.get("context_length"))
    if length:
        return length
    found = _NUM_CTX.search(str(shown.get("parameters") or ""))
    if found:
        return int(found[1])
    own = tokens_in(info.get(f"{info.get('general.architecture')}.context_length"))
    return min(own or _CONTEXT, _CONTEXT)


def _sources(name: str, shown: Mapping[str, Any], info: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the tokenizer may come from: the file itself, and the repositories that it names."""
    file = _FROM.search(str(shown.get("modelfile") or ""))
    told = (name, info.get("general.repo_url"), info.get("general.base_model.0.repo_url"))
    repositories = (_HUB_NAME.match(text) for text in told if isinstance(text, str))
    found = [file[1] if file else "", *(match[1] for match in repositories if match), *catalog_names(name)]
    return tuple(dict.fromkeys(filter(None, found)))


def catalog_names(name: str) -> tuple[str, ...]:
    """The catalogue's name for what Ollama's library calls `qwen2.5-coder:0.5b`, where it has it."""
    from fim_magic import catalog

    own, _, tag = name.partition(":")
    size = tag.split("-")[0]
    entry = catalog.find(f"{own}-{size}") if size and "/" not in own else None
    return () if entry is None else (entry.name,)
