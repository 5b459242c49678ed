"""An engine that answers what a test tells it to, so that a test of a view need not depend on a model's taste."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from fim_magic.engines import Beginning, Capabilities, EngineInfo, EngineReport, Sampling, Token, TokenLogprob
from fim_magic.engines.running import Running
from fim_magic.formats import FAMILIES, Family
from fim_magic.loading.loaded import Loaded
from fim_magic.loading.loaders import LOADERS, Loader
from fim_magic.loading.manager import ModelManager
from fim_magic.loading.spec import ModelSpec
from fim_magic.tokenization import TextTokenizer

QWEN: Family = next(family for family in FAMILIES if family.name == "Qwen2.5-Coder")


def byte_tokenizer(sentinels: Sequence[str] = QWEN.stop) -> TextTokenizer:
    """A tokenizer with one token a byte, and `sentinels`."""
    return _byte_level(sentinels)


def word_tokenizer(sentinels: Sequence[str] = QWEN.stop) -> TextTokenizer:
    """A tokenizer with one token a byte, that also knows `pri`, `print`, `prime`, `()` and ` p`."""
    return _byte_level(
        sentinels,
        [
            ("p", "r"),
            ("pr", "i"),
            ("i", "n"),
            ("pri", "n"),
            ("prin", "t"),
            ("m", "e"),
            ("pri", "me"),
            ("(", ")"),
            ("Ġ", "p"),
        ],
    )


def indenting_tokenizer(sentinels: Sequence[str] = ()) -> TextTokenizer:
    """A tokenizer with one token a byte, and one for a line end with a space behind it."""
    return _byte_level(sentinels, [("Ċ", "Ġ")])


def _byte_level(sentinels: Sequence[str], merges: Sequence[tuple[str, str]] = ()) -> TextTokenizer:
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in merges)]
    backend = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(tokens)}, merges=list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken(token, normalized=False) for token in sentinels])
    return TextTokenizer(backend)


def spaced_tokenizer(sentinels: Sequence[str] = (), *, metaspace: str | None = None) -> TextTokenizer:
    """A tokenizer as SentencePiece has them: a space before every text, `▁` for spaces, bytes for what it lacks.

    Args:
        sentinels: Its control tokens.
        metaspace: How the space is put there: by the prepend scheme of a Metaspace pre-tokenizer, or else by a
            normalizer, as Llama's file has it.
    """
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁▁", *"abcdefghijklmnopqrstuvwxyz=():中"]
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    backend = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[("▁", "▁")], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    if metaspace is None:
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=metaspace, split=False)
    first = [] if metaspace == "never" else [decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *first])
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in sentinels])
    return TextTokenizer(backend)


def loaders_with(**stages: Any) -> dict[str, Loader]:
    """Return every engine's loader, the one of torch with these stages."""
    return LOADERS | {"torch": replace(LOADERS["torch"], **stages)}


class RecordingModels(ModelManager):
    """Has the same engine for every spec, and keeps the specs."""

    def __init__(self, engine: ScriptedEngine, *notices: str) -> None:
        super().__init__()
        self.specs: list[ModelSpec] = []
        self.loaded = replace(self.adopt(engine), notices=notices)

    def begin(self, spec: ModelSpec, *_: Any, **__: Any) -> Loaded:
        return self.use(spec)

    def use(self, spec: ModelSpec, *_: Any) -> Loaded:
        self.specs.append(spec)
        return self.loaded


TESTS = Path(__file__).parent
IN_A_KERNEL = (
    f"import sys; sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]\n"
    "from scripted import ScriptedEngine\nfrom fim_magic.loading.manager import MODELS\n"
    "MODELS.adopt(ScriptedEngine('sum(xs)'))\n"
    "%load_ext fim_magic\n%config FimMagics.model = 'scripted'"
)
"""A cell that loads the extension in a kernel, with a scripted engine as its model."""


class ScriptedEngine:
    """Answers each candidate with its text, then the family's stop token. Satisfies the Engine protocol."""

    def __init__(self, *answers: str, family: Family = QWEN, tokenizer: TextTokenizer | None = None) -> None:
        self.answers = answers
        self.family = family
        self.tokenizer = tokenizer or byte_tokenizer(family.stop)
        self.info = EngineInfo("scripted", "test", runtime="scripted", device="cpu", precision="")
        self.capabilities = Capabilities()
        self.context_length = 4096
        self.prompts: list[list[int]] = []
        self.allowed: list[dict[int, list[int]]] = []  # what each step was told
        self.scored: list[tuple[str, str]] = []  # prompts and continuations
        self.likelihood = lambda _prompt, continuation: [-0.1] * len(continuation)  # of the ids, as `score` has it
        self.logprob = -0.1  # of every token that it generates
        self.before_step = lambda _step: None
        self._branches = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def generate(
        self,
        prompt: Sequence[int],
        *,
        beginnings: Sequence[Beginning],
        sampling: Sampling,
        stop_ids: AbstractSet[int],
        limit: int,
    ) -> ScriptedGeneration:
        self.prompts.append(list(prompt))
        branches, self._branches = self._branches, False
        running = Running(beginnings, stop_ids, limit, self.tokenizer)
        return ScriptedGeneration(self, len(prompt), running, first=int(branches))

    def top_logprobs(self, prompt: Sequence[int], continuation: Sequence[int], count: int) -> list[list[TokenLogprob]]:
        """Any tokens: the candidates that begin with them are the second answer and on."""
        self._branches = True
        return [[TokenLogprob(at, -0.1 * at) for at in range(count)] for _ in range(len(continuation) + 1)]

    def score(self, prompt: Sequence[int], continuation: Sequence[int]) -> list[float]:
        """What `likelihood` says; a test sets it."""
        self.scored.append((self.tokenizer.decode(list(prompt)), self.tokenizer.decode(list(continuation))))
        return self.likelihood(prompt, continuation)

    def warm_up(self) -> None: ...

    def forget(self) -> None: ...

    def report(self) -> EngineReport:
        return EngineReport()

    def bytes_per_token(self, context: int) -> int | None:
        return None


class ScriptedGeneration:
    reused = 0
    waits = None

    def __init__(self, engine: ScriptedEngine, prompt_length: int, running: Running, *, first: int) -> None:
        self._engine = engine
        self._prompt_length = prompt_length
        stop = engine.tokenizer.sentinel(engine.family.stop[0])
        assert stop is not None
        self._running = running
        answers = [engine.answers[(first + n) % len(engine.answers)] for n in running.candidates]
        self._scripts = {n: [*engine.tokenizer.encode(answer), stop] for n, answer in enumerate(answers)}
        self._step = 0
        self._at: dict[int, int] = {}  # how far each script has come

    def prefill(self) -> Iterator[int]:
        yield self._prompt_length

    def step(self) -> list[Token]:
        allowed = self._running.allowed()
        self._engine.may_go_on.wait()
        self._engine.allowed.append({candidate: list(ids) for candidate, ids in allowed.items()})
        self._engine.before_step(self._step)
        self._step += 1
        going_on = self._running.candidates
        tokens = [Token(n, self._next(n, allowed.get(n)), self._engine.logprob) for n in going_on]
        for candidate in self._running.push(tokens):
            self.close(candidate)
        return tokens

    def _next(self, candidate: int, allowed: Sequence[int] | None) -> int:
        """The script's next token, after indentation that is to be generated again. Scripts say everything else."""
        script, at = self._scripts[candidate], self._at.get(candidate, 0)
        blank = allowed is not None and self._engine.tokenizer.decode([allowed[-1]]).isspace()
        if blank and script[at] not in allowed and at + 1 < len(script):
            return allowed[-1]
        self._at[candidate] = at + 1
        return script[at]

    def close(self, candidate: int | None = None) -> None:
        self._running.close(candidate)
