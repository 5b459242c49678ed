"""A llama-server that the user has built, in a process beside ours, asked in lines of JSON over our standard input.

This process asks it over HTTP, and ends it when there are no more lines: also where the bench itself was killed.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import IO, Any

import httpx2

from fim_magic.errors import ModelError
from fim_magic.evaluate.speed.llama_cpp_build import environment

_LOOK_SECONDS = 0.01
_DATA = "data:"
_LAST_WORDS = 300  # characters
_AMX = (
    "Where the processor has AMX, some releases break down in it. Build it without: "
    'OFF="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"; cmake -B build -DGGML_NATIVE=ON -DCMAKE_C_FLAGS="$OFF" '
    '-DCMAKE_CXX_FLAGS="$OFF"'
)


class LlamaProgram:
    """A running llama-server, on this machine alone and behind a key."""

    def __init__(self, program: str, gguf: str, context: int, threads: int) -> None:
        """Start it, and wait until it has loaded a file.

        Args:
            program: Its path.
            gguf: The file.
            context: For how many tokens it has room.
            threads: Of the CPU.

        Raises:
            ModelError: It ended before it answered.
        """
        key, port = secrets.token_urlsafe(), _free_port()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the program runs
        self.process = subprocess.Popen(  # what the user named
            [
                *(program, "--model", gguf, "--ctx-size", str(context), "--parallel", "1"),
                *("--threads", str(threads), "--threads-batch", str(threads)),
                *("--device", "none", "--n-gpu-layers", "0"),  # it is compared with what runs on the CPU
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            env={**environment(), "LLAMA_API_KEY": key},  # which no list of processes shows
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._client = httpx2.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=None,  # a long prompt takes minutes
            trust_env=False,
        )
        try:
            while not self._is_ready():
                if self.process.poll() is not None:
                    raise ModelError(self._how_it_ended())
                time.sleep(_LOOK_SECONDS)
        except BaseException:
            self.close()
            raise

    def answer(self, prompt: list[int], new_tokens: int) -> dict[str, Any]:
        """Ask for one streamed completion.

        Returns:
            When each token came, and when all were there, in seconds; and how many of these are not in the server's own
            account of reading and writing ("beside"), or None where it has none.

        Raises:
            ModelError: It has ended, or refuses.
        """
        body = {
            "prompt": prompt,
            "n_predict": new_tokens,
            "temperature": 0.0,
            "cache_prompt": False,
            "ignore_eos": True,
            "stream": True,
        }
        times: list[float] = []
        timings: dict[str, Any] = {}
        began = time.perf_counter()
        try:
            with self._client.stream("POST", "/completion", json=body) as response:
                if response.status_code != httpx2.codes.OK:
                    raise ModelError(f"llama-server refuses the bench's request: {_last(response.read())}")
                for line in response.iter_lines():
                    if not line.startswith(_DATA):
                        continue
                    event = json.loads(line.removeprefix(_DATA))
                    if event.get("stop"):
                        timings = event.get("timings") or {}
                    else:
                        times.append(time.perf_counter() - began)
        except (httpx2.HTTPError, ValueError) as error:
            raise ModelError(self._how_it_ended()) from error
        seconds = time.perf_counter() - began
        if not times:
            raise ModelError(f"llama-server has written nothing. {_AMX}")
        own = [float(timings[name]) / 1e3 for name in ("prompt_ms", "predicted_ms") if name in timings]
        beside = seconds - sum(own) if own else None
        return {"at": times, "seconds": seconds, "beside": beside}

    def close(self) -> None:
        """End it."""
        self._client.close()
        self.process.kill()
        self.process.wait()
        self._log.close()

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/health").status_code == httpx2.codes.OK
        except httpx2.HTTPError:
            return False

    def _how_it_ended(self) -> str:
        try:
            status = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "llama-server's answer broke off. Try again."
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(size - _LAST_WORDS, 0))
        said = _last(self._log.read())
        how = f"signal {-status}" if status < 0 else f"status {status}"
        advice = _AMX if status < 0 else "Name another build after --llama-cpp."
        return f"llama-server ended with {how}; it said last: {said or 'nothing'}. {advice}"


def _last(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return "".join(filter(str.isprintable, lines[-1]))[-_LAST_WORDS:] if lines else ""


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def serve(questions: Iterable[str], answers: IO[str]) -> None:
    """Start what the first line says, and answer each of the others with one line, until there are no more."""

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    lines = iter(questions)
    try:
        program = LlamaProgram(**json.loads(next(lines)))
    except ModelError as error:
        say({"error": str(error)})
        return
    try:
        say({"loaded": True})
        for line in lines:
            say(program.answer(**json.loads(line)))
    except ModelError as error:
        say({"error": str(error)})
    finally:
        program.close()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
