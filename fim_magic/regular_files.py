"""Files that somebody else wrote: only regular ones are opened, and small ones are read whole, up to a size.

A pipe in the place of a config.json makes a reader wait for ever, and a link to /dev/zero fills the memory.
"""

from __future__ import annotations

import logging
import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import Any

from fim_magic.foreign_json import DEEPEST, DEEPEST_NOTEBOOK, TooDeepError, parsed
from fim_magic.visible import plain_text

_log = logging.getLogger(__name__)

MIB = 2**20
LARGEST_CONFIG = 16 * MIB
"""Bytes of a configuration. The largest ones list a few thousand added tokens, in less than one MiB."""
LARGEST_VOCABULARY = 256 * MIB
"""Bytes of a tokenizer.json, a vocabulary or an index of shards. Vocabularies of 262,000 pieces take 33 MB."""
LARGEST_NOTEBOOK = 256 * MIB
"""Bytes of a notebook, whose outputs may hold pictures."""

_QUICKLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
_AS_BYTES = getattr(os, "O_BINARY", 0)  # Windows would change line ends


class UnfitFileError(ValueError):
    """A file is no regular one, or too large, or holds what it may not hold. The message is half a sentence."""


def require_regular(path: Path) -> os.stat_result:
    """Return what the system says of a file, which must be a regular one; links are followed.

    Raises:
        UnfitFileError: It is a folder, a pipe, a socket or a device.
        OSError: It is not there, or may not be looked at; links in a circle, too.
    """
    return _regular(path, path.stat())


def read_bytes(path: Path, at_most: int) -> bytes:
    """Return what is in a regular file of at most `at_most` bytes.

    Raises:
        UnfitFileError: It is not regular, or larger.
        OSError: It cannot be read.
    """
    require_regular(path)
    # Without waiting, and looked at once more: another file may have taken the place of the one that was looked at.
    descriptor = os.open(path, _QUICKLY | _AS_BYTES)
    with os.fdopen(descriptor, "rb") as file:
        _regular(path, os.fstat(descriptor))
        found = file.read(at_most + 1)
    if len(found) > at_most:
        raise UnfitFileError(f"{plain_text(path.name)} is larger than the {at_most // MIB} MiB that it may have")
    return found


def read_text(path: Path, at_most: int = LARGEST_CONFIG) -> str:
    """Return the text in a regular file of at most `at_most` bytes, without a byte order mark; see [`read_bytes`][].

    Raises:
        ValueError: As of `read_bytes`, or it is not UTF-8.
        OSError: It cannot be read.
    """
    return read_bytes(path, at_most).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, at_most: int = LARGEST_CONFIG) -> Any:
    """Return the value in a regular file of JSON of at most `at_most` bytes; see [`read_bytes`][].

    It may be handed to what calls itself for each level.

    Raises:
        ValueError: As of `read_bytes`, or it is no JSON, or nests more than `DEEPEST` levels.
        OSError: It cannot be read.
    """
    return _parsed(path, at_most, DEEPEST)


def read_notebook_json(path: Path) -> Any:
    """Return the value in a notebook's file. What a library has put into an output may nest deeper than ours do.

    Raises:
        ValueError: As of `read_bytes`, or it is no JSON, or nests more than `DEEPEST_NOTEBOOK` levels.
        OSError: It cannot be read.
    """
    return _parsed(path, LARGEST_NOTEBOOK, DEEPEST_NOTEBOOK)


def _parsed(path: Path, at_most: int, deepest: int) -> Any:
    text = read_text(path, at_most)
    try:
        return parsed(text, deepest)
    except TooDeepError as error:
        raise UnfitFileError(f"{plain_text(path.name)} {error}") from None


def read_saved_notebook(path: Path) -> dict[str, Any]:
    """Return the JSON of a saved notebook without the outputs of its cells, not to be changed.

    A request asks for it more than once: it is read once as long as the file stays as it is.

    Raises:
        ValueError: As of `read_json`.
        TypeError: It is no notebook.
        OSError: It cannot be read.
    """
    status = path.stat()
    return _read_saved_notebook(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _read_saved_notebook(path: Path, _changed: int, _size: int) -> dict[str, Any]:
    notebook = read_notebook_json(path)
    if not isinstance(notebook, dict):
        raise TypeError("it is no notebook")
    cells = notebook.get("cells")
    for cell in cells if isinstance(cells, list) else ():
        if isinstance(cell, dict):
            cell.pop("outputs", None)  # most of the file, where there are pictures
    return notebook


def read_optional_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file that need not be there: empty without it, and where it is damaged or another."""
    try:
        found = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        _log.info("%r cannot be read, and counts as empty.", path, exc_info=True)
        return {}
    return found if isinstance(found, dict) else {}


def irregular_files(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Return what is wrong with the files of a folder that have one of these suffixes, half a sentence each.

    A link to nothing is no fault: it counts as a file that is not there.

    Raises:
        OSError: The folder cannot be read.
    """
    return [fault for path in sorted(folder.iterdir()) if path.suffix in suffixes and (fault := _fault(path))]


def _regular(path: Path, found: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(found.st_mode):
        raise UnfitFileError(f"{plain_text(path.name)} is {_kind(found.st_mode)}, not a regular file")
    return found


def _fault(path: Path) -> str:
    try:
        require_regular(path)
    except FileNotFoundError:
        return ""
    except UnfitFileError as error:
        return str(error)
    except OSError as error:
        return f"{plain_text(path.name)} cannot be looked at ({error.strerror or error})"
    return ""


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something of the system")
