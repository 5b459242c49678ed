"""Folders of the cache that are made of a checkpoint once: whole or not at all, by one process, and checked later."""

from __future__ import annotations

import glob
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic import weights
from fim_magic.errors import FetchError
from fim_magic.progress import OnNotice, OnProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)

_LONGEST_STEM = 100
"""Bytes of a name that the folder keeps, those that are UTF-8: a name on a disk has 255 at most."""

Make = Callable[[Path, OnProgress], None]
"""Makes a folder that is not there yet."""


def kept_folder(stem: str, shown: str, mark: str, make: Make, on_progress: OnProgress, on_notice: OnNotice) -> Path:
    """Return a folder in the cache; if there is none that is whole, let `make` make it.

    Args:
        stem: What its name begins with, for people.
        shown: What it is made of, for the user.
        mark: What tells it from others: of which weights it is made, and how.
        make: Makes it, while no other process does.
        on_progress: Called often. What it raises ends the work cleanly.
        on_notice: Called if the folder was there and damaged, so that it was made anew.

    Raises:
        FetchError: The cache cannot be written.
    """
    name = f"{stem.encode('utf-8', 'ignore')[:_LONGEST_STEM].decode('utf-8', 'ignore')}-{mark}"
    folder = weights.cache_dir() / "converted" / name
    if folder.is_dir() and not weights.fault_in(folder, on_progress):
        return folder
    waiting = f"Waiting for another process that converts {shown}"
    try:
        with weights.locked(name, on_progress, waiting):
            if folder.is_dir() and (fault := weights.fault_in(folder, on_progress)):
                _log.info("%r is converted again, as %s.", folder, fault)
                shutil.rmtree(folder)
                on_notice(f"The converted form of {shown} in the cache is made again: {fault}.")
            if not folder.is_dir():
                make(folder, on_progress)
    except OSError as error:
        raise FetchError(weights.cannot_write(error)) from error
    return folder


@contextmanager
def whole_or_nothing(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, which gets its name when the block has gone through, and is removed otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A process that was killed could not remove its own; under the lock, no other has one.
    for left_over in folder.parent.glob(f".{glob.escape(folder.name)}-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    unfinished = folder.with_name(f".{folder.name}-{os.getpid()}")
    unfinished.mkdir()
    try:
        yield unfinished
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
