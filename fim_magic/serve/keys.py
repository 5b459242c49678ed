"""The key of a server: made once for each address, and kept in a file that only its owner reads.

It stands in no command and in no output: lists of processes show the one to every user of a machine, and scrolled-back
terminals and logs the other.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from fim_magic.engines.server.keys import is_key
from fim_magic.errors import OptionError
from fim_magic.regular_files import read_bytes
from fim_magic.weights.cache import cache_dir, own_folder

_LARGEST = 4096  # bytes


def usual_key_file(host: str, port: int) -> Path:
    """Return where the key of a server on this machine is kept."""
    return cache_dir() / "server-keys" / re.sub(r"[^\w.-]", "_", f"{host}-{port}")


def ready_key(path: Path, *, is_ours: bool = True) -> str:
    """Return the key in a file; make both where there is none.

    Args:
        path: The file.
        is_ours: Whether it lies in our own cache, whose folder is made.

    Raises:
        OptionError: The file cannot be made or read, others may read it, or it holds no key.
        FetchError: The folder in the cache is somebody else's.
    """
    try:
        if is_ours:
            own_folder(path.parent)
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise OptionError(
            f"The file for the server's key, {str(path)!r}, cannot be used ({error.strerror or error}). Name another: "
            "--key-file FILE"
        ) from error


def _make(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(32) + "\n")


def _read(path: Path) -> str:
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise OptionError(f"Others may read the file with the server's key. Keep it for yourself: chmod 600 {path}")
    try:
        key = read_bytes(path, _LARGEST).decode("ascii").strip()
    except ValueError:  # no regular file, too large, no ASCII
        key = ""
    if not is_key(key):
        raise OptionError(
            f"The file {str(path)!r} holds no key: one line of ASCII without blanks. Name another: --key-file"
        )
    return key
