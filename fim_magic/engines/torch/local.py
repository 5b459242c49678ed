"""A model in this process: transformers and torch, on the CPU or on CUDA devices.

The decode loop is our own: the prompt is read once however many candidates there are, what an earlier prompt has in
common with it is not read again, each token is handed out as it is made, and the caller can stop between any two steps.
Architectures that our decoder does not know (`fim_magic.engines.torch.decoder`) run on transformers' modules.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

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
from fim_magic.engines.memory import give_back
from fim_magic.engines.out_of_memory import FOR_LOADING, freeing_memory
from fim_magic.engines.running import Running
from fim_magic.engines.torch.architectures import decoder_of
from fim_magic.engines.torch.checkpoint import in_words, load_checkpoint
from fim_magic.engines.torch.decoder import Decoder
from fim_magic.engines.torch.footprint import cache_bytes
from fim_magic.engines.torch.forward import DecoderForward, TransformersForward
from fim_magic.engines.torch.generation import LocalGeneration, logprobs_of
from fim_magic.engines.torch.kv_cache import PrefixCache
from fim_magic.engines.torch.packed_model import PackedModel, is_packed, load_packed
from fim_magic.engines.torch.placement import Placement
from fim_magic.engines.torch.precision import prefill_dtype
from fim_magic.errors import ModelError
from fim_magic.formats import Family, family_of
from fim_magic.progress import OnProgress, silent
from fim_magic.tokenization import TextTokenizer, declared_ends

MakeDecoder = Callable[[Any], "Decoder | None"]

_AGREEMENT = 0.05  # how far our decoder's logits may be from transformers', in standard deviations of them


class LocalEngine:
    """A checkpoint loaded by transformers. Satisfies [`fim_magic.engines.Engine`][].

    Attributes:
        speculate: Whether prompt lookup may guess tokens. It changes how fast they come, not which.
        reuse: Whether what a prompt has in common with an earlier one is not read again.
    """

    speculate = True
    reuse = True

    def __init__(
        self,
        model: Any,
        tokenizer: TextTokenizer,
        name: str,
        revision: str,
        *,
        named: str = "",
        placement: Placement | None = None,
        notices: Sequence[str] = (),
        make_decoder: MakeDecoder = decoder_of,
    ) -> None:
        self._model = model
        self._placement = placement
        self._notices = tuple(notices)
        self._name = name
        self._revision = revision
        self.tokenizer = tokenizer
        self._prefixes = PrefixCache()
        self._decoder = model.decoder if isinstance(model, PackedModel) else checked_decoder(model, make_decoder)
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
        if is_packed(folder):
            model, tokenizer = load_packed(folder, name, prefill_dtype(folder), on_progress)
            with in_words(name):
                return cls(model, tokenizer, name, revision, named=named, placement=placement)
        model, tokenizer = load_checkpoint(
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
            return cls(
                model,
                tokenizer,
                name,
                revision,
                named=named,
                placement=placement,
                notices=notices,
                make_decoder=make_decoder,
            )

    @property
    def context_length(self) -> int:
        whole = int(getattr(self._model.config, "max_position_embeddings", self.family.context_length))
        fits = None if self._placement is None else self._placement.context
        return whole if fits is None else min(whole, fits)

    @property
    def info(self) -> EngineInfo:
        if isinstance(self._model, PackedModel):
            return EngineInfo(self._name, self._revision, "torch", "cpu", self._model.precision, notices=self._notices)
        packed = ", weights in float16" if self._decoder is not None and self._decoder.packed else ""
        if self._placement is None:
            device, precision = str(self._model.device), str(self._model.dtype).removeprefix("torch.")
        else:
            device, _, precision = self._placement.description.partition(", ")
        return EngineInfo(self._name, self._revision, "torch", device, precision + packed, notices=self._notices)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def report(self) -> EngineReport:
        return EngineReport(
            decoder="transformers" if self._decoder is None else "lean",
            remark=self._remark(),
            weight_bytes=_bytes_of_weights(self._model),
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
        if isinstance(self._model, PackedModel):
            cache = cache_bytes(self._model.config.to_dict(), context, torch.float32.itemsize)
            return self._model.decoder.weight_bytes + cache
        weights = None if self._decoder is None else self._decoder.weight_bytes
        return bytes_read(self._model, context, weights)

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
            return LocalGeneration(TransformersForward(self._model), prompt, running, sampling)
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


def bytes_read(model: Any, context: int, weights: int | None = None) -> int:
    """Return how many bytes a step of decoding reads with transformers' modules.

    Args:
        model: Of transformers.
        context: How many tokens the KV cache holds.
        weights: The bytes of the weights that are read, where they are other ones than the model's.
    """
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if weights is None:  # an embedding of its own is a table, of which a step reads one row
        weights = _bytes_of_weights(model) - (0 if embedding is head else embedding.numel() * embedding.element_size())
    return weights + cache_bytes(model.config.to_dict(), context, embedding.element_size())


def _bytes_of_weights(model: Any) -> int:
    if isinstance(model, PackedModel):
        return model.weight_bytes
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())


def checked_decoder(model: Any, make_decoder: MakeDecoder = decoder_of) -> Decoder | None:
    """Make our decoder of a model, if it says the same as transformers' modules do."""
    decoder = make_decoder(model)
    if decoder is None:
        return None
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = [(7 * n * n + 3) % vocabulary for n in range(24)]
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0].float()
    furthest = _furthest(decoder, ids, expected)
    if decoder.capture is not None and not furthest <= _AGREEMENT:  # not: false for NaN, too
        decoder.capture, decoder.capture_error = None, "they say something else than the library"
        furthest = _furthest(decoder, ids, expected)
    give_back()  # what packing and comparing have needed for a moment
    return decoder if furthest <= _AGREEMENT else None


def _furthest(decoder: Decoder, ids: Sequence[int], expected: torch.Tensor) -> float:
    """Return how far a decoder's logits are from those expected, in standard deviations of these."""
    cache = decoder.new_cache()
    # In two parts, the second of which meets what is in the cache, and is read by CUDA graphs where there are any.
    found = torch.cat([decoder.forward(part, cache, all_logits=True) for part in (ids[:20], ids[20:])])
    return float((found - expected).abs().max() / expected.std())


def _ends(model: Any) -> int | list[int] | None:
    """The ids that the checkpoint's configuration says end a text."""
    configs = (getattr(model, "generation_config", None), model.config)
    found = (getattr(config, "eos_token_id", None) for config in configs)
    return next((ids for ids in found if ids is not None), None)
