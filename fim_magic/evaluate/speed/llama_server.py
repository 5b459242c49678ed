"""llama.cpp in a process of its own, asked in lines of JSON over its standard input.

In the bench's own process there would be more threads than cores, torch's and its own. The OpenMP library that both
share then lets no thread wait awake for the next product, and each of torch's products takes longer.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Iterable
from typing import IO, Any


def load(gguf: str, context: int, threads: int) -> Any:
    """Return xllamacpp's server for a GGUF file, with room for so many tokens of context."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.n_ctx = context
    params.n_parallel = 1
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.verbosity = -1
    params.api_keys = [secrets.token_urlsafe()]  # it listens on this machine, and no other program is to ask it
    return xllamacpp.Server(params)


def answer(server: Any, prompt: list[int], new_tokens: int) -> dict[str, Any]:
    """Ask for one streamed completion. Returns when each token came, and when all were there, in seconds."""
    times: list[float] = []
    began = time.perf_counter()

    def note(chunk: Any) -> bool:
        choices = chunk.get("choices", ()) if isinstance(chunk, dict) else ()
        if any(choice.get("finish_reason") is None for choice in choices):
            times.append(time.perf_counter() - began)
        return False  # go on

    server.handle_completions(
        {
            "prompt": prompt,
            "max_tokens": new_tokens,
            "temperature": 0.0,
            "cache_prompt": False,
            "ignore_eos": True,
            "stream": True,
        },
        note,
    )
    return {"at": times, "seconds": time.perf_counter() - began}


def serve(questions: Iterable[str], answers: IO[str]) -> None:
    """Load what the first line says, and answer each of the others with one line, until there are no more."""
    lines = iter(questions)
    server = load(**json.loads(next(lines)))
    print(json.dumps({"loaded": True}), file=answers, flush=True)
    for line in lines:
        print(json.dumps(answer(server, **json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    kept = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the library prints is no answer
    serve(sys.stdin, kept)
