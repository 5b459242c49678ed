"""A model in this process: transformers and torch, on the CPU or on CUDA devices.

The decode loop is our own: the prompt is read once however many candidates there are, what an earlier prompt has in
common with it is not read again, each token is handed out as it is made, and the caller can stop between any two steps.
Architectures that our decoder does not know (`fim_magic.engines.torch.decoder`) run on transformers' modules.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Protocol

import torch

from fim_magic.engines import (
    ANY,
    GREEDY,
    SCORED_AT_ONCE,
    Beginning,
    Capabilities,
    EngineInfo,
    EngineReport,
    Sampling,
    TokenLogprob,
    too_long_to_score,
)
from fim_magic.engines.arithmetic import Logits
from fim_magic.engines.out_of_memory import FOR_LOADING, freeing_memory
from fim_magic.engines.running import Running
from fim_magic.engines.torch.architectures import decoder_of
from fim_magic.engines.torch.checkpoint import in_words, load_checkpoint
from fim_magic.engines.torch.decoder import Decoder
from fim_magic.engines.torch.forward import DecoderForward, TransformersForward
from fim_magic.engines.torch.generation import LocalGeneration, logprobs_of
from fim_magic.engines.torch.kv_cache import PrefixCache
from fim_magic.engines.torch.library_model import LibraryModel, MakeDecoder
from fim_magic.engines.torch.packed_model import is_packed, load_packed
from fim_magic.engines.torch.placement import Placement
from fim_magic.engines.torch.precision import prefill_dtype
from fim_magic.errors import ModelError
from fim_magic.formats import Family, family_of
from fim_magic.progress import OnProgress, silent
from fim_magic.tokenization import TextTokenizer, declared_ends


class LoadedModel(Protocol):
    """What was loaded, as an engine needs it: transformers' modules, or packed weights."""

    @property
    def config(self) -> Any:
        """Of transformers."""
        ...

    @property
    def generation_config(self) -> Any:
        """Of transformers: the tokens that begin and end a text; None where the checkpoint has none."""
        ...

    @property
    def decoder(self) -> Decoder | None:
        """Computes; None where transformers' modules have to."""
        ...

    @property
    def module(self) -> Any:
        """The modules of transformers; None where the decoder can do without them."""
        ...

    @property
    def device(self) -> str:
        """Where it runs, in words."""
        ...

    @property
    def precision(self) -> str:
        """In how many bits which part of it is, in words."""
        ...

    @property
    def weight_bytes(self) -> int:
        """What all of it takes."""
        ...

    def bytes_read(self, context: int) -> int:
        """Return how many bytes one step of decoding reads: the weights, and the KV cache of `context` tokens."""
        ...


class LocalEngine:
    """A checkpoint in this process. Satisfies [`fim_magic.engines.Engine`][].

    Args:
        model: What was loaded.
        tokenizer: Its own.
        name: What to call it.
        revision: Which version of the checkpoint it is.
        named: Its family, where the catalogue or the user states it.
        context: The most tokens that there is room for; None where that is not limited.
        notices: What the user is to know of how it was loaded.

    Attributes:
        speculate: Whether prompt lookup may guess tokens. It changes how fast they come, not which.
        reuse: Whether what a prompt has in common with an earlier one is not read again.
    """

    speculate = True
    reuse = True

    def __init__(
        self,
        model: LoadedModel,
        tokenizer: TextTokenizer,
        name: str,
        revision: str,
        *,
        named: str = "",
        context: int | None = None,
        notices: Sequence[str] = (),
    ) -> None:
        self._model = model
        self._context = context
        self._notices = tuple(notices)
        self._name = name
        self._revision = revision
        self.tokenizer = tokenizer
        self._prefixes = PrefixCache()
        self._decoder = model.decoder
        if self._decoder is not None and self._decoder.capture_error:
            self._notices += (f"Decoding runs without CUDA graphs, more slowly: {self._decoder.capture_error}.",)
        self.family: Family = family_of(
            model.config.to_dict(), tokenizer, declared_ends(tokenizer, _ends(model)), named
        )

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        name: str,
        revision: str,
        placement: Placement | None = None,
        named: str = "",
        allow_code: bool = False,
        adapter: Path | None = None,
        on_progress: OnProgress = silent,
        make_decoder: MakeDecoder = decoder_of,
    ) -> LocalEngine:
        """Load the checkpoint in `folder`.

        Args:
            folder: In transformers layout: config.json, tokenizer.json, safetensors.
            name: What to call it.
            revision: Which version of the checkpoint it is.
            placement: Where, and in what precision; None decides it now.
            named: Its family, where the catalogue or the user states it.
            allow_code: Whether code that the checkpoint brings along may run.
            adapter: The folder of a LoRA adapter that is merged into its weights.
            on_progress: Called while something is fetched for it.
            make_decoder: Makes our decoder of a model.

        Raises:
            ModelError: It cannot be loaded.
        """
        notices: list[str] = []
        context = None if placement is None else placement.context
        if is_packed(folder):
            model, tokenizer = load_packed(folder, name, prefill_dtype(folder), on_progress)
            with in_words(name):
                return cls(model, tokenizer, name, revision, named=named, context=context)
        module, tokenizer = load_checkpoint(
            folder,
            name,
            placement,
            allow_code=allow_code,
            adapter=adapter,
            on_progress=on_progress,
            on_notice=notices.append,
        )
        # The first text is read here: a configuration that a library takes without a word may be nothing to compute by.
        with in_words(name), freeing_memory(f"loading {name}", advice=FOR_LOADING):
            library_model = LibraryModel(module, placement, make_decoder)
            return cls(library_model, tokenizer, name, revision, named=named, context=context, notices=notices)

    @property
    def context_length(self) -> int:
        whole = int(getattr(self._model.config, "max_position_embeddings", self.family.context_length))
        return whole if self._context is None else min(whole, self._context)

    @property
    def info(self) -> EngineInfo:
        model = self._model
        return EngineInfo(self._name, self._revision, "torch", model.device, model.precision, notices=self._notices)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def report(self) -> EngineReport:
        return EngineReport(
            decoder="transformers" if self._decoder is None else "lean",
            remark=self._remark(),
            weight_bytes=self._model.weight_bytes,
            packed_bytes=self._decoder.weight_bytes if self._decoder is not None and self._decoder.packed else 0,
        )

    def _remark(self) -> str:
        if self._decoder is None:
            return "over the library's forward: our own, faster decoder does not know this architecture"
        if self._decoder.capture_error:
            return f"decoding without CUDA graphs, more slowly: {self._decoder.capture_error}"
        return "decoding by CUDA graphs" if self._decoder.capture is not None else ""

    def bytes_per_token(self, context: int) -> int:
        """Return how many bytes one step of decoding reads: the weights once, and the KV cache of `context` tokens."""
        return self._model.bytes_read(context)

    def forget(self) -> None:
        self._prefixes.clear()

    def warm_up(self) -> None:
        """Compute one token, so that the first request finds the weights in memory and the libraries ready."""
        with in_words(self._name):
            generation = self._alone([0])
            list(generation.prefill())
            generation.close()
            self.forget()

    def generate(
        self,
        prompt: Sequence[int],
        *,
        beginnings: Sequence[Beginning],
        sampling: Sampling,
        stop_ids: AbstractSet[int],
        limit: int,
    ) -> LocalGeneration:
        running = Running(beginnings, stop_ids, limit, self.tokenizer)
        if self._decoder is None:
            return LocalGeneration(TransformersForward(self._model.module), prompt, running, sampling)
        cache = (self._prefixes.take(prompt) if self.reuse else None) or self._decoder.new_cache()
        forward = DecoderForward(self._decoder, cache)
        reused = len(cache.tokens)
        guessing = self.speculate and len(beginnings) == 1 and sampling.temperature == 0.0
        generation = LocalGeneration(
            forward, prompt, running, sampling, reused=reused, guesses=forward if guessing else None
        )
        # However the request ends, also when it is dropped half-way, its cache serves the next one.
        generation.on_end = weakref.finalize(generation, self._prefixes.put, cache)
        generation.on_end.atexit = False
        return generation

    def score(self, prompt: Sequence[int], continuation: Sequence[int]) -> list[float]:
        found: list[float] = []
        if continuation:
            for logits in self._continued(prompt, continuation).after(continuation[:-1]):
                ids = continuation[len(found) : len(found) + len(logits)]
                found += logprobs_of(logits, torch.tensor(ids, device=logits.device))
        return found

    def top_logprobs(self, prompt: Sequence[int], continuation: Sequence[int], count: int) -> list[list[TokenLogprob]]:
        found: list[list[TokenLogprob]] = []
        for logits in self._continued(prompt, continuation).after(continuation):
            logprobs, ids = torch.log_softmax(logits, dim=-1).topk(min(count, logits.shape[-1]), dim=-1)
            rows = zip(ids.tolist(), logprobs.tolist(), strict=True)
            found += [[TokenLogprob(*pair) for pair in zip(*row, strict=True)] for row in rows]
        return found

    def logits(
        self, prompt: Sequence[int], continuation: Sequence[int], at_once: int = SCORED_AT_ONCE
    ) -> Iterator[Logits]:
        """Yield what the model says after a prompt, and after each token of a continuation, as `top_logprobs` reads it.

        Args:
            prompt: Token ids, at least one.
            continuation: The ids that follow it; there may be none.
            at_once: How many of them are read at once. One at a time is as a request writes them.

        Yields:
            (vocabulary,), float32, for each place.

        Raises:
            ModelError: As of `top_logprobs`.
        """
        for logits in self._continued(prompt, continuation).after(continuation, at_once):
            yield from logits.float().cpu().numpy()

    def _continued(self, prompt: Sequence[int], continuation: Sequence[int]) -> LocalGeneration:
        if len(prompt) + len(continuation) > self.context_length:
            raise ModelError(too_long_to_score(self._name, len(prompt) + len(continuation), self.context_length))
        return self._alone(prompt)

    def _alone(self, prompt: Sequence[int]) -> LocalGeneration:
        return self.generate(prompt, beginnings=[ANY], sampling=GREEDY, stop_ids=frozenset(), limit=1)


def _ends(model: Any) -> int | list[int] | None:
    """The ids that the checkpoint's configuration says end a text."""
    configs = (getattr(model, "generation_config", None), model.config)
    found = (getattr(config, "eos_token_id", None) for config in configs)
    return next((ids for ids in found if ids is not None), None)
