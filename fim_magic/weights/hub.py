"""A file from the Hugging Face Hub, streamed so that a broken download goes on where it stopped."""

from __future__ import annotations

import threading
import time
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fim_magic import proxies
from fim_magic.catalog import GgufFile
from fim_magic.progress import Meter, OnProgress
from fim_magic.retry_after import wanted_seconds
from fim_magic.weights.cache import SourceFailedError, require_room, size_of
from fim_magic.weights.pauses import LONGEST_PAUSE, Pauses
from fim_magic.weights.streaming import AnotherFileError, stream_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUB_SECONDS = 4.0  # to find out whether the Hub answers; its own client would try for half a minute

T = TypeVar("T")


def from_hub(
    file: GgufFile, staging: Path, on_progress: OnProgress, *, sleep: Callable[[float], object] = time.sleep
) -> Path:
    """Bring `file` from the Hub into `staging`, and go on where an earlier try stopped. Returns where it is, unchecked.

    `sleep` lets time pass between two tries.

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
    pauses = Pauses(lambda: meter.report(done), sleep)
    while done < file.size:
        before, failure, wait = done, SourceFailedError("the Hugging Face Hub sent nothing"), None
        try:
            with _hub_reasons():
                stream_part(url, part, file.size, meter)
        except AnotherFileError:
            raise
        except SourceFailedError as error:
            failure, wait = error, _retry_after(error.__cause__)
        done = size_of(part)
        if done >= file.size:
            break
        # A long download may break off more than once; as long as each try brings something, it goes on.
        if (done <= before and wait is None) or not pauses.pause(done - before, wait):
            raise failure
    return part


def _retry_after(error: BaseException | None) -> float | None:
    """The seconds after which a busy server asks to be tried again; None if it does not ask, or for too long."""
    response = getattr(error, "response", None)
    if getattr(response, "status_code", None) not in (429, 503):
        return None
    seconds = None if response is None else wanted_seconds(response.headers)
    return seconds if seconds is not None and seconds <= LONGEST_PAUSE else None


@contextmanager
def _hub_reasons() -> Iterator[None]:
    """Turn what the Hub's client raises into a reason; let our disk's errors pass."""
    try:
        yield
    except Exception as error:
        reason = hub_reason(error)
        if reason is None:
            raise
        raise SourceFailedError(reason) from cause_of(error)


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
    if proxies.is_about_proxy(error):
        return f"the proxy on the way to the Hugging Face Hub cannot be used (it is that of {proxies.variables()})"
    # Other OSErrors are the disk's.
    if isinstance(error, (ConnectionError, TimeoutError)) or _is_from_http_library(error):
        return "the Hugging Face Hub could not be reached"
    return None


def cause_of(error: Exception) -> Exception | None:
    """Return an error as the cause of ours, for tracebacks; None where there may be a proxy's password in it."""
    return None if proxies.is_about_proxy(error) else error


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
