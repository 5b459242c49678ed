"""A part of a file, streamed from a server into a file of ours, as long as what comes can be that file."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import IO, Any

from fim_magic.progress import Meter
from fim_magic.weights.cache import SourceFailedError, size_of

READ_SECONDS = 20.0
"""A download that stands still this long has broken off."""
SLOWEST = 1000
"""Bytes a second, over `SLOW_SECONDS`: a server that sends less holds on to us, and sends nothing of use."""
SLOW_SECONDS = 60.0
_BEGINNING = b"GGUF"
_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+|\*)")


class AnotherFileError(SourceFailedError):
    """What a server sends cannot be the file, so trying again is of no use."""


def stream_part(url: str, part: Path, size: int, meter: Meter) -> None:
    """Append what `part` lacks of a GGUF file, or begin anew where the server does not send parts.

    Args:
        url: Of the file on the Hugging Face Hub. The token that the Hub's client has goes to the Hub alone, not to
            where it redirects.
        part: Where what came before is; no link is followed.
        size: Of the whole file, in bytes.
        meter: Told how much there is.

    Raises:
        AnotherFileError: The answer is not this file: a web page, say, or one of another size.
        SourceFailedError: It comes too slowly.
        Exception: What the Hub's client raises.
        OSError: It cannot be written.
    """
    # `hf_hub_download` keeps nothing of a download that was interrupted: .github/DECISIONS.md.
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    done = size_of(part)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    request = get_session().stream("GET", url, headers=headers, timeout=READ_SECONDS, follow_redirects=True)
    with request as response:
        hf_raise_for_status(response)
        start = _start(response, done, size)
        try:
            with _open(part, start) as out:
                _pour(response, out, start, size, meter)
        except AnotherFileError:
            part.unlink(missing_ok=True)  # what came before may have come from there, too
            raise


def _start(response: Any, done: int, size: int) -> int:
    """Return where in the file the answer begins, if it can be this file at all."""
    kind = str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise AnotherFileError(
            "a web page came instead of the file, as from a network that asks you to log in first, or from a proxy"
        )
    start = 0
    if response.status_code == 206:  # the server took the range
        given = _RANGE.fullmatch(str(response.headers.get("Content-Range", "")))
        if given is None or int(given[1]) != done or given[2] not in ("*", str(size)):
            raise AnotherFileError("another part came than the one that was asked for")
        start = done
    length = str(response.headers.get("Content-Length", ""))
    if length.isascii() and length.isdecimal() and int(length) != size - start:
        raise AnotherFileError(f"a file of {start + int(length):,} bytes came, not of {size:,}")
    return start


def _open(part: Path, start: int) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if start else os.O_TRUNC)
    for safer in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, safer, 0)
    return os.fdopen(os.open(part, flags, 0o666), "ab" if start else "wb")


def _pour(response: Any, out: IO[bytes], done: int, size: int, meter: Meter) -> None:
    began, looked_at = time.monotonic(), done
    head = b"" if done == 0 else _BEGINNING
    # As it comes: with a chunk size, what came since the last full chunk would be lost.
    for chunk in response.iter_bytes():
        if len(head) < len(_BEGINNING):
            head += chunk[: len(_BEGINNING) - len(head)]
            if not _BEGINNING.startswith(head):
                raise AnotherFileError("something else came than a GGUF file")
        if done + len(chunk) > size:
            raise AnotherFileError(f"more came than the {size:,} bytes of the file")
        out.write(chunk)
        done += len(chunk)
        meter.report(done)
        now = time.monotonic()
        if now - began >= SLOW_SECONDS:
            if done - looked_at < SLOWEST * (now - began):
                raise SourceFailedError("it came too slowly")
            began, looked_at = now, done
