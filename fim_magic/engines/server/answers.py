"""What a server has sent, read as far as that makes sense: so many bytes, and JSON that is not too deep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2

from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.refusals import no_json, too_large
from fim_magic.foreign_json import parsed
from fim_magic.regular_files import MIB

LARGEST_ANSWER = 64 * MIB
LARGEST_EVENT = 4 * MIB


def read_whole(response: httpx2.Response, address: ServerAddress) -> bytes:
    """Return an answer that is no stream.

    Raises:
        ServerError: It has too many bytes.
        httpx2.HTTPError: It breaks off.
    """
    content = bytearray()
    for part in response.iter_bytes():  # unpacked, one MiB at a time
        content += part
        if len(content) > LARGEST_ANSWER:
            raise too_large(address, LARGEST_ANSWER)
    return bytes(content)


def read_events(response: httpx2.Response, address: ServerAddress) -> Iterator[str]:
    """Yield the data of each event of a stream: of server-sent events, or each line.

    Raises:
        ServerError: An event has too many bytes.
        httpx2.HTTPError: The stream breaks off.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        response.encoding = "utf-8"  # always, whatever its headers say
        try:
            for event in httpx2.EventSource(response, max_event_size=LARGEST_EVENT):
                yield event.data
        except httpx2.SSEError as error:
            raise too_large(address, LARGEST_EVENT) from error
        return
    rest = b""
    for part in response.iter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > LARGEST_EVENT:
            raise too_large(address, LARGEST_EVENT)
        yield from _texts(lines)
    yield from _texts([rest])


def read_json(content: bytes | str, address: ServerAddress) -> Any:
    """Return the value of JSON.

    Raises:
        ServerError: It is none, or too deep.
    """
    try:
        return parsed(content)
    except ValueError as error:
        raise no_json(address) from error


def _texts(lines: list[bytes]) -> Iterator[str]:
    return filter(None, (line.decode(errors="replace").strip() for line in lines))
