"""Which code made an answer: a hash of fim-magic's own files, so that an answer of other code is never taken for it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

_MAKES_NO_ANSWER = ("evaluate/", "review/")
_PACKAGE = Path(__file__).parents[2]
_DIGITS = 16


@lru_cache
def code_hash(*parts: str, package: Path = _PACKAGE) -> str:
    """Return the first digits of a sha256 over fim-magic's Python files and their places.

    Args:
        parts: Only those whose path below the package begins with one of these; by default all but those that measure
            and show.
        package: The package's folder.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name.startswith(parts) if parts else not name.startswith(_MAKES_NO_ANSWER):
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:_DIGITS]
