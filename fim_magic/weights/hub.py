"""A file from the Hugging Face Hub, streamed so that a broken download goes on where it stopped."""

from __future__ import annotations

import threading
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fim_magic.catalog import GgufFile
from fim_magic.progress import Meter, OnProgress
from fim_magic.weights.cache import SourceFailedError, require_room, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUB_SECONDS = 4.0  # to find out whether the Hub answers; its own client would try for half a minute
HUB_READ_SECONDS = 20.0  # a download that stands still this long has broken off

T = TypeVar("T")


def from_hub(file: GgufFile, staging: Path, on_progress: OnProgress) -> Path:
    """Bring `file` from the Hub into `staging`, and go on where an earlier try stopped. Returns where it is, unchecked.

    Raises:
        SourceFailedError: The Hub could not give it.
        FetchError: There is no room for it.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(file.hub_repo, file.filename)
    with _hub_reasons():
        found = within(HUB_SECONDS, lambda: get_hf_file_metadata(url, timeout=HUB_SECONDS))
    if found.size not in (None, file.size):
        raise SourceFailedError("the Hugging Face Hub has another file under this name")
    part = staging / "from-hub.part"
    done = size_of(part)
    if done > file.size:
        part.unlink()
        done = 0
    require_room(staging, file.size - done)
    meter = Meter(on_progress, f"Fetching {file.filename} from the Hub", file.size, resumed=done)
    while done < file.size:
        before, failure = done, SourceFailedError("the Hugging Face Hub sent nothing")
        try:
            with _hub_reasons():
                _stream(url, part, meter)
        except SourceFailedError as error:
            failure = error
        done = size_of(part)
        # A long download may break off more than once; as long as each try brings something, it goes on.
        if done <= before:
            raise failure
    return part


def _stream(url: str, part: Path, meter: Meter) -> None:
    # `hf_hub_download` keeps nothing of a download that was interrupted: .github/DECISIONS.md.
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    done = size_of(part)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    request = get_session().stream("GET", url, headers=headers, timeout=HUB_READ_SECONDS, follow_redirects=True)
    with request as response:
        hf_raise_for_status(response)
        partial = response.status_code == 206  # the server took the range
        with part.open("ab" if partial else "wb") as out:
            done = done if partial else 0
            # As it comes: with a chunk size, what came since the last full chunk would be lost.
            for chunk in response.iter_bytes():
                out.write(chunk)
                done += len(chunk)
                meter.report(done)


@contextmanager
def _hub_reasons() -> Iterator[None]:
    """Turn what the Hub's client raises into a reason; let our disk's errors pass."""
    try:
        yield
    except Exception as error:
        reason = hub_reason(error)
        if reason is None:
            raise
        raise SourceFailedError(reason) from error


def hub_reason(error: Exception) -> str | None:
    """Say in half a sentence why the Hub failed, or None if `error` is not the Hub's."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        OfflineModeIsEnabled,
    )

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so the Hugging Face Hub was not asked"
    if isinstance(error, HfHubHTTPError):
        return f"the Hugging Face Hub answered {error.response.status_code}"
    # Other OSErrors are the disk's.
    if isinstance(error, (ConnectionError, TimeoutError)) or _is_from_http_library(error):
        return "the Hugging Face Hub could not be reached"
    return None


def _is_from_http_library(error: Exception) -> bool:
    # By name, because versions of the Hub's client differ in the library (httpx, httpx2).
    return any(kind.__name__ in {"HTTPError", "InvalidURL"} for kind in type(error).__mro__)


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what `call` returns, or raise a TimeoutError: looking up a host name knows no timeout of its own."""
    try:
        # Twice: connecting and reading may each take as long.
        return in_thread(call).result(timeout=2 * seconds)
    except futures.TimeoutError:
        raise TimeoutError from None


def in_thread(call: Callable[[], T]) -> futures.Future[T]:
    """Begin `call` in a thread of its own, for which the end of the process does not wait."""
    answer: futures.Future[T] = futures.Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True, name="fim-magic-probe").start()
    return answer


def hub_answers() -> bool:
    """Whether the Hub answers at all, within a few seconds."""
    try:
        from huggingface_hub import constants, get_session

        get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception:  # whatever it is, the answer is no
        return False
    return True
