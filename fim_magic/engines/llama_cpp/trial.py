"""A GGUF file is tried in a process of its own before it is loaded here: what ends llama.cpp must not end the kernel.

llama.cpp checks much of what a file says by assertions, and one that fails ends the whole process, with all that the
user has in it. So the first time that a file is met, another process loads it and computes one token. That is no
sandbox: a file that takes llama.cpp over, instead of breaking it, is not held.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import time
from pathlib import Path

from fim_magic import weights
from fim_magic.engines.apart import start_apart
from fim_magic.engines.gguf_header import require_parts
from fim_magic.engines.llama_cpp import library as llama_cpp
from fim_magic.errors import ModelError
from fim_magic.progress import OnProgress, Progress, silent

_log = logging.getLogger(__name__)

LEAST_SECONDS = 60.0
SLOWEST_DISK = 20e6
"""Bytes a second: computing a token reads the whole file."""
SPARE_BYTES = 8 * 2**30
"""Of address space, beside the file: code, buffers, a small KV cache."""
_POLL_SECONDS = 0.02


def require_survival(gguf: Path, fingerprint: str, on_progress: OnProgress = silent) -> None:
    """Refuse a file that ends llama.cpp. A file that has been tried once, with this release, is not tried again.

    Args:
        gguf: The file.
        fingerprint: What tells it from others.
        on_progress: Called often. What it raises ends the trial.

    Raises:
        ModelError: Its header, or that of a file that continues it, cannot be true; or it ended the process that it was
            tried in; or it took longer than any file of its size may.
    """
    survived = weights.cache_dir() / "tried" / f"{fingerprint[:32]}-{llama_cpp.RELEASE}"
    if survived.is_file():
        return
    require_parts(gguf)
    seconds = LEAST_SECONDS + gguf.stat().st_size / SLOWEST_DISK
    end, why = _try_out(gguf, seconds, on_progress)
    if end is None:
        raise ModelError(_refused(gguf, f"llama.cpp had not read it after {seconds:.0f} seconds"))
    if end != 0:
        raise ModelError(_refused(gguf, f"llama.cpp broke down over it ({why or f'its process ended with {end}'})"))
    with contextlib.suppress(OSError):  # then it is tried again the next time
        survived.parent.mkdir(parents=True, exist_ok=True)
        survived.touch()


def _try_out(gguf: Path, seconds: float, on_progress: OnProgress) -> tuple[int | None, str]:
    """Load a file in another process. Returns how that ended, None if it had to be ended, and llama.cpp's last word."""
    try:
        process = start_apart(
            run_here,
            str(gguf),
            stderr=subprocess.PIPE,
            variables={"GGML_NO_BACKTRACE": "1"},  # without: it starts a debugger to print one
        )
    except OSError:  # no interpreter of its own, no room for a process: nothing that a file can bring about
        _log.warning("%r could not be tried in another process; it is loaded as it is.", gguf, exc_info=True)
        return 0, ""
    began = time.monotonic()
    try:
        while time.monotonic() - began < seconds:
            on_progress(Progress(f"Trying {gguf.name}", 0, 0, "", time.monotonic() - began))
            try:
                _, said = process.communicate(timeout=_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            lines = said.decode(errors="replace").strip().splitlines()
            return process.returncode, "".join(filter(str.isprintable, lines[-1]))[:200] if lines else ""
        return None, ""
    finally:
        process.kill()
        process.communicate()


def _refused(gguf: Path, reason: str) -> str:
    return (
        f"{gguf.name} was not loaded: {reason}, in a process of its own. Either the file is damaged (compare its size "
        "and sha256 with its page, and fetch it again), or this release of llama.cpp cannot run it. `%fim use "
        f"{gguf} --engine torch` tries it without llama.cpp; %fim models lists the models that are known to work."
    )


def run_here(gguf: str) -> None:
    """Load a file and compute one token. This is the other process."""
    _bound_memory(os.stat(gguf).st_size)
    from fim_magic.engines.llama_cpp.decoder import BatchToken, Cells, LlamaModel

    # What llama.cpp refuses in words, it refuses in the user's process as well.
    with contextlib.suppress(ModelError):
        model = LlamaModel(Path(gguf))
        Cells(model, 256, cells=256).decode([BatchToken(0, 0, 0)], wanted=1)


def _bound_memory(size: int) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on Windows, not everywhere
        import resource

        for what, most in ((resource.RLIMIT_AS, 2 * size + SPARE_BYTES), (resource.RLIMIT_CORE, 0)):
            _, hard = resource.getrlimit(what)
            resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
