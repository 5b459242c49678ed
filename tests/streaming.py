"""A third engine: it streams ahead, as a server does, tells no log-probabilities, and cannot be held to tokens."""

from __future__ import annotations

from collections.abc import Iterator

from scripted import ScriptedEngine

from fim_magic.engines import Beginning, Capabilities, Destination, EngineInfo, Token
from fim_magic.engines.running import Running

AHEAD = 5
"""Tokens of one candidate that come together, before any of the next one."""


class StreamingEngine(ScriptedEngine):
    """Answers each candidate with its text. What it cannot do, nobody may ask of it."""

    def __init__(self, *answers: str, **options) -> None:
        super().__init__(*answers, **options)
        self.info = EngineInfo("streaming", "", "a server", "another machine", "", destination=Destination.MACHINE)
        self.capabilities = Capabilities(scores=False, gives_top_logprobs=False, constrains=False, interrupts=False)

    def generate(self, prompt, *, beginnings, sampling, stop_ids, limit):
        assert all(begin == Beginning() for begin in beginnings)
        self.prompts.append(list(prompt))
        self.samplings = [*getattr(self, "samplings", []), sampling]
        running = Running(beginnings, stop_ids, limit, self.tokenizer)
        return StreamingGeneration(self, len(prompt), running, turn=len(self.prompts) - 1)

    def score(self, prompt, continuation):
        raise AssertionError("it cannot score")

    def top_logprobs(self, prompt, continuation, count):
        raise AssertionError("it tells no alternatives")


class StreamingGeneration:
    reused = 0
    waits = None

    def __init__(self, engine: StreamingEngine, prompt_length: int, running: Running, *, turn: int) -> None:
        self._prompt_length = prompt_length
        self._running = running
        self._engine = engine
        stop = engine.tokenizer.sentinel(engine.family.stop[0])
        self._rest = {
            n: [*engine.tokenizer.encode(engine.answers[(turn + n) % len(engine.answers)]), stop]
            for n in running.candidates
        }

    def prefill(self) -> Iterator[int]:
        yield self._prompt_length

    def step(self) -> list[Token]:
        self._engine.may_go_on.wait()
        for candidate in self._running.candidates:
            ids, self._rest[candidate] = self._rest[candidate][:AHEAD], self._rest[candidate][AHEAD:]
            tokens = [Token(candidate, id_) for id_ in ids]
            if not tokens:
                self.close(candidate)
                continue
            for ended in self._running.push(tokens):
                self.close(ended)
            return tokens
        return []

    def close(self, candidate: int | None = None) -> None:
        self._running.close(candidate)
