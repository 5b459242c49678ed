"""Running out of memory, on a GPU or not: how it is noticed, what is let go of, and what the user is told."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from fim_magic.engines.memory import free_memory, gigabytes, give_back
from fim_magic.errors import ModelError

_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_TRIED = re.compile(r"tried to allocate ([\d.]+) (bytes|[KMGT]iB)", re.IGNORECASE)
# CUDA, ROCm and MPS; Linux, macOS and Windows; cuBLAS, which cannot get its workspace.
_NOT_ENOUGH = re.compile(r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED")

FOR_A_REQUEST = (
    "The model is still loaded. Ask for less: fewer candidates (-n 1), a shorter answer (--max-new-tokens 64), or a "
    "smaller model (%fim models says which fit)"
)
FOR_LOADING = "No model is loaded now. Close what else uses it, or take a smaller model (%fim models says which fit)"


class OutOfMemoryError(ModelError):
    """There was not enough memory.

    Attributes:
        shortage: How much is missing for what, as a sentence.
        advice: What to do about it, without a full stop.
    """

    def __init__(self, shortage: str, advice: str) -> None:
        super().__init__(f"{shortage} {advice}.")
        self.shortage = shortage
        self.advice = advice


@contextmanager
def freeing_memory(
    what: str,
    drop: Callable[[], None] | None = None,
    *,
    advice: str = FOR_A_REQUEST,
    give_back: Callable[[], None] = give_back,
) -> Iterator[None]:
    """Turn running out of memory inside the block into an [`OutOfMemoryError`][], with the memory given back.

    An exception keeps every tensor of every frame that it passed through. Those frames are cleared here, so that the
    next request finds the memory free even where the error is kept: IPython keeps the last one.

    Args:
        what: What needs the memory, for the user: "reading the prompt".
        drop: Lets go of what the caller itself holds for it, such as the KV cache.
        advice: What to do about it.
        give_back: Gives what is dropped back to the system.

    Raises:
        OutOfMemoryError: There was not enough memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        on_gpu = "cuda" in str(error).lower() or "mps" in str(error).lower()
        needed = _tried(str(error))
        forget_frames(error)
    else:
        return
    if drop is not None:
        drop()
    give_back()
    free = {device: size for device, size in free_memory().items() if (device != "cpu") == on_gpu}
    if on_gpu and "mps" not in free:
        advice += ", or the same one in fewer bits (--quantize 4bit)"
    failure = OutOfMemoryError(_shortage(what, needed, free), advice)
    try:
        raise failure
    finally:
        failure.__context__ = None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out. On a CPU, torch raises a plain RuntimeError for it."""
    return isinstance(error, MemoryError) or _NOT_ENOUGH.search(str(error)) is not None


def forget_frames(error: BaseException) -> None:
    """Clear the local variables of the frames that `error`, and what led to it, has passed through."""
    chain: list[BaseException | None] = [error]
    seen: set[int] = set()
    while chain:
        link = chain.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        chain += [link.__cause__, link.__context__]


def _tried(message: str) -> int | None:
    found = _TRIED.search(message)
    return None if found is None else int(float(found[1]) * _UNITS[found[2]])


def _shortage(what: str, needed: int | None, free: Mapping[str, int]) -> str:
    # A request needs its parts together, and the one that failed is only the last of them.
    more = "" if needed is None else f" {gigabytes(needed)} more were asked for at once, and"
    numbers = ", ".join(f"{gigabytes(size)} on {device}" for device, size in free.items()) or "an unknown amount"
    return f"There is not enough memory for {what}:{more} {numbers} are free without it."
