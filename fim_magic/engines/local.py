"""A model in this process: transformers and torch, on the CPU or on CUDA devices.

The decode loop is our own, over the library's `forward` and its KV cache: the prompt is read once however many
candidates there are, each token is handed out as it is made, and the caller can stop between any two of them.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from fim_magic.engines import Sampling, Token
from fim_magic.engines.loading import load_checkpoint
from fim_magic.engines.memory import freeing_memory
from fim_magic.engines.placement import Placement
from fim_magic.formats import Family, family_of
from fim_magic.progress import OnProgress, silent
from fim_magic.tokenization import TextTokenizer

_PREFILL_CHUNK = 512  # tokens read between two looks at the interrupt flag


class LocalEngine:
    """A checkpoint loaded by transformers. Satisfies [`fim_magic.engines.Engine`][]."""

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
    ) -> None:
        self._model = model
        self._placement = placement
        self.notices = tuple(notices)
        self.tokenizer = tokenizer
        self.model = name
        self.revision = revision
        self.family: Family = family_of(model.config.to_dict(), tokenizer, _ends(model, tokenizer), named)

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
        on_progress: OnProgress = silent,
    ) -> LocalEngine:
        """Load the checkpoint in `folder`.

        Args:
            folder: In transformers layout: config.json, tokenizer.json, safetensors.
            name: What to call it.
            revision: Which version of the checkpoint it is.
            placement: Where, and in what precision; None decides it now.
            named: Its family, where the catalogue or the user states it.
            allow_code: Whether code that the checkpoint brings along may run.
            on_progress: Told about what has to be fetched for it.

        Raises:
            ModelError: It cannot be loaded.
        """
        notices: list[str] = []
        model, tokenizer = load_checkpoint(
            folder, name, placement, allow_code=allow_code, on_progress=on_progress, on_notice=notices.append
        )
        return cls(model, tokenizer, name, revision, named=named, placement=placement, notices=notices)

    @property
    def context_length(self) -> int:
        """How many tokens prompt and answer may have together."""
        whole = int(getattr(self._model.config, "max_position_embeddings", self.family.context_length))
        fits = None if self._placement is None else self._placement.context
        return whole if fits is None else min(whole, fits)

    @property
    def place(self) -> str:
        """Where and in what precision it runs, such as "cpu, float32"."""
        if self._placement is not None:
            return self._placement.description
        return f"{self._model.device}, {str(self._model.dtype).removeprefix('torch.')}"

    @property
    def weight_bytes(self) -> int:
        """The memory that the weights take."""
        return sum(p.numel() * p.element_size() for p in self._model.parameters())

    def start(self, prompt: Sequence[int], *, candidates: int, sampling: Sampling) -> LocalGeneration:
        """Begin a request; see [`fim_magic.engines.Engine.start`][]."""
        return LocalGeneration(self._model, prompt, candidates, sampling)


class LocalGeneration:
    """One request to a [`LocalEngine`][]. Satisfies [`fim_magic.engines.Generation`][]."""

    def __init__(self, model: Any, prompt: Sequence[int], candidates: int, sampling: Sampling) -> None:
        self._model = model
        self._prompt = torch.tensor([list(prompt)], device=model.device)
        self._sampling = sampling
        self._rows = list(range(candidates))  # row of the batch -> candidate
        self._chosen: torch.Tensor | None = None
        self._logits = torch.empty(0)
        self._cache = DynamicCache(config=model.config)
        self._random = _generators(sampling.seed, candidates, model.device)
        last_only = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._last_logits_only = {"logits_to_keep": 1} if last_only else {}

    def prefill(self) -> Iterator[int]:
        """Read the prompt once, in parts, and share it among the candidates."""
        length = self._prompt.shape[1]
        for start in range(0, length, _PREFILL_CHUNK):
            with freeing_memory("reading the prompt", self._drop):
                self._forward(self._prompt[:, start : start + _PREFILL_CHUNK])
            yield min(start + _PREFILL_CHUNK, length)
        if len(self._rows) > 1:
            with freeing_memory(f"{len(self._rows)} candidates", self._drop):
                # Not batch_repeat_interleave and batch_select_indices: recurrent layers (Falcon H1, Granite 4) lack
                # them.
                self._cache.reorder_cache(torch.zeros(len(self._rows), dtype=torch.long))
                self._logits = self._logits.expand(len(self._rows), -1)

    def step(self, allowed: Mapping[int, Sequence[int]] | None = None) -> list[Token]:
        """Generate one token for each candidate that is not finished; see [`fim_magic.engines.Generation.step`][]."""
        with freeing_memory("the answer", self._drop):
            return self._step(allowed)

    def _step(self, allowed: Mapping[int, Sequence[int]] | None) -> list[Token]:
        if self._chosen is not None:
            self._forward(self._chosen[:, None])
        logits = self._logits
        if allowed:
            logits = _only(logits, {self._rows.index(candidate): ids for candidate, ids in allowed.items()})
        self._chosen = choose(logits, self._sampling, [self._random[candidate] for candidate in self._rows])
        logprobs = torch.log_softmax(self._logits, dim=-1).gather(1, self._chosen[:, None])
        chosen = zip(self._rows, self._chosen.tolist(), logprobs[:, 0].tolist(), strict=True)
        return [Token(candidate, token, logprob) for candidate, token, logprob in chosen]

    def finish(self, candidate: int) -> None:
        """Take a candidate out of the batch."""
        row = self._rows.index(candidate)
        self._rows.pop(row)
        if not self._rows or len(self._rows) >= len(self._logits):
            return  # nothing left to generate, or the prompt has not been shared among the candidates yet
        # An index on the CPU fits a cache whose layers are on several devices.
        index = torch.tensor([r for r in range(len(self._rows) + 1) if r != row])
        self._cache.reorder_cache(index)
        self._logits = self._logits[index]
        if self._chosen is not None:
            self._chosen = self._chosen[index]

    def _drop(self) -> None:
        """Let go of all that the request holds on the device. It cannot go on."""
        self._cache = DynamicCache()
        self._prompt = self._logits = torch.empty(0)
        self._chosen = None

    # Not inference_mode: the cache must stay usable for code that runs under no_grad, as generate() does.
    @torch.no_grad()
    def _forward(self, ids: torch.Tensor) -> None:
        output = self._model(input_ids=ids, past_key_values=self._cache, use_cache=True, **self._last_logits_only)
        self._logits = output.logits[:, -1, :].float()


def _only(logits: torch.Tensor, allowed: Mapping[int, Sequence[int]]) -> torch.Tensor:
    """Return `logits` with all but the allowed ids of some rows at minus infinity."""
    constrained = logits.clone()
    for row, ids in allowed.items():
        constrained[row] = float("-inf")
        index = torch.tensor(list(ids), device=logits.device)
        constrained[row, index] = logits[row, index]
    return constrained


def _generators(seed: int, candidates: int, device: torch.device) -> list[torch.Generator]:
    """One sampler for each candidate, so that none depends on how many others there are or when they end."""
    seeds = random.Random(seed)  # noqa: S311 - not for secrets
    return [torch.Generator(device=device).manual_seed(seeds.getrandbits(63)) for _ in range(candidates)]


def choose(logits: torch.Tensor, sampling: Sampling, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """Choose the next token of each row.

    Args:
        logits: (rows, vocabulary), float32.
        sampling: Greedy at temperature 0.0, else temperature and then top-p (arXiv 1904.09751).
        generators: The sampler of each row, on the device of `logits`.

    Returns:
        (rows,) int64 ids.
    """
    if sampling.temperature == 0.0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits / sampling.temperature, dim=-1)
    if sampling.top_p < 1.0:
        ranked, order = probabilities.sort(dim=-1, descending=True)
        before = ranked.cumsum(dim=-1) - ranked
        ranked = ranked.masked_fill(before >= sampling.top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(1, order, ranked)
    rows = zip(probabilities, generators, strict=True)
    return torch.cat([torch.multinomial(row, 1, generator=generator) for row, generator in rows])


def _ends(model: Any, tokenizer: TextTokenizer) -> list[str]:
    """The tokens that the checkpoint's configuration says end a text."""
    configs = (getattr(model, "generation_config", None), model.config)
    found = (getattr(config, "eos_token_id", None) for config in configs)
    declared: Any = next((ids for ids in found if ids is not None), [])
    return [tokenizer.decode([token]) for token in (declared if isinstance(declared, list) else [declared])]
