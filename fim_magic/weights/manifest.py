"""What a folder of the cache holds: each file's hash, so that a damaged one is found out instead of giving answers.

Hashing gigabytes takes seconds, so a file is hashed only where its size or its times are others than when it was last
hashed. What changes a file without a trace in its times, such as a failing disk, is not found out that way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fim_magic.progress import Meter, OnProgress, silent
from fim_magic.regular_files import read_json, read_optional_object, require_regular
from fim_magic.weights.cache import cache_dir, locked, pour, write_whole

_log = logging.getLogger(__name__)

_NOTES = "hashes.json"  # in the cache

MANIFEST = "fim-magic.json"
"""The name of the file with the hashes, beside those that it lists."""


def sha256_of(path: Path, on_progress: OnProgress = silent, *, name: str = "") -> str:
    """Return the sha256 of a file, in hex, and report progress under `name`, or else under its own.

    Raises:
        UnfitFileError: It is no regular file.
        OSError: It cannot be read.
    """
    return hash_of(path, hashlib.sha256(), on_progress, name=name)


def hash_of(path: Path, digest: hashlib._Hash, on_progress: OnProgress = silent, *, name: str = "") -> str:
    """Return the hash of a file as [`sha256_of`][] does, made with `digest`."""
    meter = Meter(on_progress, f"Checking {name or path.name}", require_regular(path).st_size)
    with path.open("rb") as whole:
        pour(whole, digest.update, meter)
    return digest.hexdigest()


def noted_sha256(path: Path, on_progress: OnProgress = silent) -> str:
    """Return what [`sha256_of`][] does, of a file as it was last hashed: again only where it was written since.

    What was hashed is noted in the cache, by path; where that cannot be written, a file is hashed each time.

    Raises:
        UnfitFileError: It is no regular file.
        OSError: It cannot be read.
    """
    notes, key, stamp = cache_dir() / _NOTES, str(path.absolute()), stamp_of(path)
    noted = read_optional_object(notes).get(key)
    if isinstance(noted, dict) and noted.get("stamp") == stamp and isinstance(noted.get("sha256"), str):
        return str(noted["sha256"])
    sha256 = sha256_of(path, on_progress)
    try:
        with locked(_NOTES, silent, ""):
            kept = {name: entry for name, entry in read_optional_object(notes).items() if Path(name).is_file()}
            write_whole(notes, json.dumps(kept | {key: {"stamp": stamp, "sha256": sha256}}, indent=1).encode())
    except (OSError, ValueError):  # of a name that is no UTF-8, or too long
        _log.info("The hash of %r cannot be noted.", path, exc_info=True)
    return sha256


def stamp_of(path: Path) -> list[int]:
    """Return what changes when a file is written: its size, and when it and what is known of it were last changed.

    Raises:
        UnfitFileError: It is no regular file.
        OSError: It cannot be looked at.
    """
    found = require_regular(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def write_manifest(folder: Path, on_progress: OnProgress = silent, *, known: Mapping[str, str] | None = None) -> None:
    """Note the hashes of all files in `folder`.

    Args:
        folder: Without folders in it.
        on_progress: Called while they are hashed.
        known: The sha256 of files, by name, that has just been found out.

    Raises:
        OSError: They cannot be read, or the list cannot be written.
    """
    hashes = {
        path.name: (known or {}).get(path.name) or sha256_of(path, on_progress)
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }
    _write(folder, {name: _entry(folder / name, sha256) for name, sha256 in hashes.items()})


def fault_in(folder: Path, on_progress: OnProgress = silent) -> str:
    """Say what is wrong with the files of a folder: half a sentence, "" if they are as they were noted.

    Args:
        folder: With a manifest, or with none, which is a fault as well.
        on_progress: Called while a file is hashed that was touched since.
    """
    try:
        noted = read_json(folder / MANIFEST)["files"]
        names = {path.name for path in folder.iterdir()} - {MANIFEST}
        if names != noted.keys():
            return f"it holds other files than it should: {', '.join(sorted(names ^ noted.keys()))[:200]}"
        touched = {name: entry for name, entry in noted.items() if stamp_of(folder / name) != entry["stamp"]}
        for name, entry in touched.items():
            if sha256_of(folder / name, on_progress) != entry["sha256"]:
                return f"{name} is not what it was"
    except FileNotFoundError:
        return "nothing says what it should hold"
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"it cannot be checked ({error})"
    if touched:
        with contextlib.suppress(OSError):  # of a cache that only others may write, files are hashed each time
            _write(folder, noted | {name: _entry(folder / name, touched[name]["sha256"]) for name in touched})
    return ""


def _write(folder: Path, files: dict[str, Any]) -> None:
    write_whole(folder / MANIFEST, json.dumps({"files": files}, indent=1).encode())


def _entry(path: Path, sha256: str) -> dict[str, Any]:
    return {"sha256": sha256, "stamp": stamp_of(path)}
