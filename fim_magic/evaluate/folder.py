"""The folder that a run writes to: one run at a time, its settings, and the machine that it ran on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic.errors import BusyError, OptionError

if TYPE_CHECKING:
    from fim_magic.engines import Engine

OUT = Path("fim-magic-eval")
SETTINGS = "run.json"
REPORT = "report.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder as long as the block lasts.

    Raises:
        BusyError: One is in it.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise BusyError(
            f"Another fim-magic eval writes to {str(folder)!r}. Wait for it, or name another folder: --out FOLDER"
        ) from None


def make(folder: Path) -> None:
    """Make a folder, if it is not there.

    Raises:
        OptionError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(
            f"The folder {str(folder)!r} cannot be made ({error.strerror}). Name another: --out FOLDER"
        ) from error


def write(path: Path, text: str) -> None:
    """Write a file.

    Raises:
        OptionError: It cannot be written.
    """
    try:
        path.write_text(text + "\n", "utf-8")
    except OSError as error:
        raise OptionError(
            f"{str(path)!r} could not be written: {error.strerror}. Name another folder after --out."
        ) from error


def settings(folder: Path) -> dict[str, Any]:
    """Return what the run in a folder was asked.

    Raises:
        OptionError: There is none.
    """
    try:
        found: dict[str, Any] = json.loads((folder / SETTINGS).read_text("utf-8"))
        complete = all(found[name] for name in ("keys", "sets", "arms", "began")) and found["about"]["model"]
    except (OSError, ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise OptionError(
            f"The folder {str(folder)!r} holds no run to report. Name the one that it was given: "
            "fim-magic eval --only-report --out FOLDER"
        )
    return found


def machine(engine: Engine) -> dict[str, Any]:
    """Return what a model runs on, in a line and in detail."""
    import torch

    from fim_magic.evaluate.speed import machine as found

    on_gpu = engine.place.startswith("cuda") and torch.cuda.is_available()
    about = found.describe(torch.device("cuda" if on_gpu else "cpu"))
    where = about["device"] if on_gpu else about["processor"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    line = f"{where}, {about['cores']} cores, {about['threads']} threads; Python {about['python']}, {versions}"
    return {"machine": line, "details": about}
