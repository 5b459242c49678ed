"""Whether files in the Hugging Face cache are still what was fetched: each lies there under the name of its hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from pathlib import Path

from fim_magic.progress import OnProgress, silent
from fim_magic.regular_files import read_optional_object, require_regular
from fim_magic.weights.cache import cache_dir, write_whole
from fim_magic.weights.manifest import hash_of, sha256_of, stamp_of

_SHA256 = re.compile(r"[0-9a-f]{64}")  # of large files
_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")  # of small ones, as git names them


def damaged_files(folder: Path, on_progress: OnProgress = silent) -> list[Path]:
    """Return the files of a snapshot that are not what their names say.

    A file is hashed when it is first met, and again where its size or its times have changed since. One that is no link
    to a hash, as on systems without links, cannot be checked and counts as right.

    Args:
        folder: Of the snapshot.
        on_progress: Called while files are hashed.
    """
    blobs = {path: blob for path in sorted(folder.iterdir()) if (blob := _blob(path)) is not None}
    seen = read_optional_object(_note(folder))
    found_right = {}
    damaged = []
    for path, blob in blobs.items():
        stamp = stamp_of(blob)
        if seen.get(blob.name) == stamp:
            continue
        if _hash(blob, path.name, on_progress) == blob.name:
            found_right[blob.name] = stamp
        else:
            damaged.append(path)
    if not found_right:
        return damaged
    with contextlib.suppress(OSError):  # then they are hashed the next time
        _note(folder).parent.mkdir(parents=True, exist_ok=True)
        write_whole(_note(folder), json.dumps(seen | found_right).encode())
    return damaged


def _blob(path: Path) -> Path | None:
    """The file that a link leads to, if its name is a hash."""
    if not path.is_symlink() or not path.is_file():
        return None
    blob = path.resolve()
    return blob if _SHA256.fullmatch(blob.name) or _GIT_SHA1.fullmatch(blob.name) else None


def _hash(blob: Path, shown: str, on_progress: OnProgress) -> str:
    if _SHA256.fullmatch(blob.name):
        return sha256_of(blob, on_progress, name=shown)
    digest = hashlib.sha1(b"blob %d\0" % require_regular(blob).st_size, usedforsecurity=False)
    return hash_of(blob, digest, on_progress, name=shown)


def _note(folder: Path) -> Path:
    """Where it is noted which files were right, and what the system said of them then."""
    return cache_dir() / "verified" / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:32]}.json"
