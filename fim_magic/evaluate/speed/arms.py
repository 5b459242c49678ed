"""Who answers: plain `generate()`, fim-magic's engines, and llama.cpp as its binding's own examples use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from fim_magic.child_environment import SAFE_PATH, without_keys
from fim_magic.engines import ANY, Engine, Sampling
from fim_magic.engines.torch.library_model import bytes_read
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.errors import ModelError
from fim_magic.evaluate.speed import llama_program, llama_server
from fim_magic.evaluate.speed.machine import synchronize
from fim_magic.evaluate.speed.workloads import Workload

GENERATE = "generate()"
OURS = "fim-magic"
PLAIN = "fim-magic, no speculation"
GGUF = "fim-magic gguf"
LLAMA_CPP = "llama.cpp"

GREEDY = Sampling()
SAMPLED = Sampling(temperature=0.8, top_p=0.95, seed=1)


@dataclass
class TimedAnswer:
    """What one arm said, and when."""

    ids: list[list[int]]  # the tokens of each candidate; empty where an arm does not tell them
    # when each token of the first candidate was on the host, in seconds since the request began
    times: list[float] = field(default_factory=list)
    seconds: float = 0.0  # until all candidates were there
    reused: int = 0  # how many tokens of the prompt an earlier request had already read


class Arm(Protocol):
    """One who answers."""

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> torch.device: ...

    def forget(self) -> None:
        """Drop what is kept of earlier requests."""
        ...

    def ask(self, prompt: Sequence[int], workload: Workload) -> TimedAnswer:
        """Answer `prompt` with as many tokens and candidates as `workload` says."""
        ...

    def bytes_per_token(self, context: int) -> int | None:
        """Return what one step of decoding reads from memory, or None where that is not known."""
        ...


class GenerateArm:
    """transformers' `generate()`, as a tutorial calls it."""

    name = GENERATE

    def __init__(self, model: Any) -> None:
        self._model = model
        self.device = torch.device(model.device)

    def forget(self) -> None:
        """Do nothing: it keeps nothing."""

    def ask(self, prompt: Sequence[int], workload: Workload) -> TimedAnswer:
        options: dict[str, Any] = {"do_sample": False}
        if workload.sampled:
            torch.manual_seed(SAMPLED.seed)
            # top_k: its default would draw from other tokens than the other arms do.
            options = {"do_sample": True, "temperature": SAMPLED.temperature, "top_p": SAMPLED.top_p, "top_k": 0}
        clock = _Clock(self.device)
        ids = torch.tensor([list(prompt)], device=self.device)
        output = self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=workload.new_tokens,
            num_return_sequences=workload.candidates,
            # None ends at no token, so that every arm makes as many; a checkpoint's own penalty would change the tokens
            # (Qwen2.5-Coder-Instruct's generation_config.json has 1.1).
            eos_token_id=None,
            repetition_penalty=1.0,
            streamer=clock,
            **options,
        )
        seconds = clock.now()
        return TimedAnswer(output[:, len(prompt) :].tolist(), clock.times, seconds)

    def bytes_per_token(self, context: int) -> int:
        return bytes_read(self._model, context)


class _Clock:
    """A streamer that notes when tokens come. `generate()` hands it the prompt first."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._prompt_is_next = True
        self.times: list[float] = []
        synchronize(device)
        self._began = time.perf_counter()

    def put(self, _tokens: torch.Tensor) -> None:
        """Note a token, which `generate()` has already copied to the host."""
        if not self._prompt_is_next:
            self.times.append(self.now())
        self._prompt_is_next = False

    def end(self) -> None:
        """Do nothing: the last token has been noted."""

    def now(self) -> float:
        synchronize(self._device)
        return time.perf_counter() - self._began


class EngineArm:
    """An engine of ours, through the protocol that requests use."""

    def __init__(self, name: str, engine: Engine, device: torch.device, *, speculate: bool = True) -> None:
        self.name = name
        self.device = device
        self._engine = engine
        self._speculate = speculate

    def forget(self) -> None:
        self._engine.forget()

    def ask(self, prompt: Sequence[int], workload: Workload) -> TimedAnswer:
        if isinstance(self._engine, LocalEngine):
            self._engine.speculate = self._speculate
        wanted = workload.new_tokens
        sampling = SAMPLED if workload.sampled else GREEDY
        answer = TimedAnswer([[] for _ in range(workload.candidates)])
        synchronize(self.device)
        began = time.perf_counter()
        generation = self._engine.generate(
            prompt,
            beginnings=[ANY] * workload.candidates,
            sampling=sampling,
            stop_ids=frozenset(),  # every arm makes as many tokens
            limit=wanted,
        )
        for _ in generation.prefill():
            pass
        going = set(range(workload.candidates))
        while going:
            tokens = generation.step()
            now = time.perf_counter() - began  # the step has copied its tokens to the host
            if tokens is None:
                continue
            if not tokens:
                raise ModelError(f"{self.name} stopped before its {wanted} tokens: it has to ignore end tokens here.")
            for token in tokens:
                if token.candidate not in going:
                    continue
                answer.ids[token.candidate].append(token.id)
                if token.candidate == 0:
                    answer.times.append(now)
                if len(answer.ids[token.candidate]) == wanted:
                    going.discard(token.candidate)
                    generation.close(token.candidate)
        synchronize(self.device)
        answer.seconds = time.perf_counter() - began
        answer.reused = generation.reused
        return answer

    def bytes_per_token(self, context: int) -> int | None:
        return self._engine.bytes_per_token(context)


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process that leads its session, with what it has started."""
    if process.poll() is None and os.name == "posix":
        with suppress(OSError):  # it has just ended by itself
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


class LlamaCppArm:
    """llama.cpp through `xllamacpp`, or a llama-server of the user's, with the plainest request that its server takes.

    It tells texts, not ids, so its tokens are not compared.

    Attributes:
        beside: Of each request to a llama-server, the seconds that it does not count itself: HTTP, above all.
    """

    name = LLAMA_CPP

    def __init__(self, gguf: Path, *, context: int, threads: int, program: Path | None = None) -> None:
        """Start its process, with room for so many tokens of context.

        Raises:
            ModelError: It cannot load the file.
        """
        self.device = torch.device("cpu")
        self.beside: list[float] = []
        module, job = (llama_server, {}) if program is None else (llama_program, {"program": str(program)})
        self._process = subprocess.Popen(  # our own module
            [sys.executable, "-m", module.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**without_keys(), **SAFE_PATH, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the bench, which then ends with what it has
        )
        # It ends when its standard input does. This ends it where the arm is dropped before.
        weakref.finalize(self, _kill, self._process)
        self._tell({"gguf": str(gguf), "context": context, "threads": threads, **job})

    def forget(self) -> None:
        """Do nothing: no request asks for the cache of another."""

    def ask(self, prompt: Sequence[int], workload: Workload) -> TimedAnswer:
        reply = self._tell({"prompt": list(prompt), "new_tokens": workload.new_tokens})
        if reply.get("beside") is not None:
            self.beside.append(reply["beside"])
        return TimedAnswer([], reply["at"], reply["seconds"])

    def _tell(self, job: dict[str, Any]) -> dict[str, Any]:
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None and answers is not None  # both are pipes
        line = ""
        with suppress(OSError):  # it has ended: the pipe is broken
            print(json.dumps(job), file=questions, flush=True)
            line = answers.readline()
        if not line:
            raise ModelError(
                f"llama.cpp's process ended with status {self._process.wait()}. Measure without it: fim-magic bench "
                "--only edit,candidates"
            )
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ModelError(reply["error"])
        return reply

    def bytes_per_token(self, context: int) -> int | None:
        del context
        return None
