"""A GGUF file's tokenizer, converted in a process of its own: a kernel that asks a server imports no transformers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from fim_magic.engines.apart import start_apart
from fim_magic.engines.torch.gguf_conversion import convert_tokenizer, converted_tokenizer
from fim_magic.errors import FetchError, FimError, ModelError
from fim_magic.progress import OnNotice, OnProgress, Progress, ignore, silent

_POLL_SECONDS = 0.05


def tokenizer_of_gguf(gguf: Path, on_progress: OnProgress = silent, on_notice: OnNotice = ignore) -> Path:
    """Return a folder with the tokenizer and the configuration of a GGUF file, as `converted_tokenizer` does.

    Raises:
        ModelError: The file is damaged, or cannot be converted, or transformers, which reads it, is not installed.
        FetchError: There is no room for the folder.
    """
    return converted_tokenizer(gguf, on_progress, on_notice, convert=_convert_apart)


def _convert_apart(gguf: Path, folder: Path, on_progress: OnProgress) -> None:
    try:
        process = start_apart(convert_here, str(gguf), str(folder), stdout=subprocess.PIPE)
    except OSError as error:
        raise ModelError(
            f"The tokenizer of {gguf.name} could not be read: no process could be started ({error})."
        ) from error
    began = time.monotonic()
    try:
        while True:
            on_progress(Progress(f"Reading the tokenizer of {gguf.name}", 0, 0, "", time.monotonic() - began))
            try:
                said, _ = process.communicate(timeout=_POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
    finally:
        process.kill()
        process.communicate()
    if process.returncode:
        raise _error_of(gguf, said)


def _error_of(gguf: Path, said: bytes) -> FimError:
    """Return the error that the other process has met."""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    try:
        told = json.loads(lines[-1])
        kind, message = str(told["kind"]), str(told["message"])
    except (IndexError, ValueError, KeyError, TypeError):
        kind, message = "", "its process ended without a word"
    if kind == ImportError.__name__:
        return ModelError(
            f"The tokenizer of {gguf.name} is in a form that transformers reads, which is not installed here. Install "
            "it (%pip install fim-magic), or name the model's tokenizer with --tokenizer: a folder with tokenizer.json "
            "and config.json, or OWNER/NAME on the Hub."
        )
    if kind == FetchError.__name__:
        return FetchError(message)
    return ModelError(message if kind else f"The tokenizer of {gguf.name} could not be read: {message}.")


def convert_here(gguf: str, folder: str) -> None:
    """Convert, and print what went wrong as JSON. This is the other process."""
    try:
        convert_tokenizer(Path(gguf), Path(folder), silent)
    except (FimError, ImportError, OSError) as error:
        kind = next(kind for kind in (FetchError, FimError, ImportError, OSError) if isinstance(error, kind))
        sys.stdout.write(json.dumps({"kind": kind.__name__, "message": str(error)}) + "\n")
        sys.exit(1)
