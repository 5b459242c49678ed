"""An engine that answers what a test tells it to, so that a test of a view need not depend on a model's taste."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from fim_magic.engines import Sampling, Token
from fim_magic.formats import FAMILIES, Family
from fim_magic.tokenization import TextTokenizer

QWEN: Family = next(family for family in FAMILIES if family.name == "Qwen2.5-Coder")


def byte_tokenizer(sentinels: Sequence[str] = QWEN.stop) -> TextTokenizer:
    """A tokenizer with one token a byte, and `sentinels`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken(token, normalized=False) for token in sentinels])
    return TextTokenizer(backend)


class ScriptedEngine:
    """Answers each candidate with its text, then the family's stop token. Satisfies the Engine protocol."""

    def __init__(self, *answers: str, family: Family = QWEN) -> None:
        self.answers = answers
        self.family = family
        self.tokenizer = byte_tokenizer(family.stop)
        self.model = "scripted"
        self.revision = "test"
        self.context_length = 4096
        self.place = "cpu, scripted"
        self.prompts: list[list[int]] = []
        self.before_step = lambda _step: None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def start(self, prompt: Sequence[int], *, candidates: int, sampling: Sampling) -> ScriptedGeneration:
        self.prompts.append(list(prompt))
        return ScriptedGeneration(self, len(prompt), candidates)


class ScriptedGeneration:
    def __init__(self, engine: ScriptedEngine, prompt_length: int, candidates: int) -> None:
        self._engine = engine
        self._prompt_length = prompt_length
        stop = engine.tokenizer.sentinel(engine.family.stop[0])
        assert stop is not None
        self._scripts = {
            n: [*engine.tokenizer.encode(engine.answers[n % len(engine.answers)]), stop] for n in range(candidates)
        }
        self._step = 0

    def prefill(self) -> Iterator[int]:
        yield self._prompt_length

    def step(self) -> list[Token]:
        self._engine.may_go_on.wait()
        self._engine.before_step(self._step)
        tokens = [Token(n, script[self._step], -0.1) for n, script in self._scripts.items()]
        self._step += 1
        return tokens

    def finish(self, candidate: int) -> None:
        self._scripts.pop(candidate)
