"""The folder that a run writes to: one run at a time, its settings, and the machine that it ran on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fim_magic.errors import BusyError, OptionError
from fim_magic.evaluate.printing import write
from fim_magic.regular_files import read_json
from fim_magic.visible import notify

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.request import Request

OUT = Path("fim-magic-eval")
SETTINGS = "run.json"
REPORT = "report.json"
OWN = "own"
"""Under this name, the settings of a run say that it is of the user's own files."""

INTERRUPTED = "It was interrupted. What follows is what was there by then; the same command goes on from it."
"""What a report of half a run begins with."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; a BusyError where one is in it."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise BusyError(
            f"Another fim-magic eval writes to {str(folder)!r}. Wait for it, or name another folder: --out FOLDER"
        ) from None


def make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(
            f"The folder {str(folder)!r} cannot be made ({error.strerror}). Name another: --out FOLDER"
        ) from error


def settings(folder: Path) -> dict[str, Any]:
    """Return what the run in a folder was asked; an OptionError where there is none."""
    try:
        found: dict[str, Any] = read_json(folder / SETTINGS)
        complete = all(found[name] for name in ("keys", "sets", "arms", "began")) and found["about"]["model"]
    except (OSError, ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise OptionError(
            f"The folder {str(folder)!r} holds no run to report. Name the one that it was given: "
            "fim-magic eval --only-report --out FOLDER"
        )
    return found


def begin(
    folder: Path,
    engine: Engine,
    template: Request,
    command: Sequence[str],
    own: Mapping[str, Any],
    *,
    options: str = "",
) -> dict[str, Any]:
    """Note in a folder what a run is asked, for a report of it without the model, and return it.

    What is under "about" in `own` stands beside what is known of every run; `options` says more of the requests.
    """
    import torch

    from fim_magic.evaluate.speed import machine

    on_gpu = engine.info.device.startswith("cuda") and torch.cuda.is_available()
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    about = {
        "model": engine.info.model,
        "revision": engine.info.revision,
        "place": engine.info.runs_on,
        **machine.report(torch.device("cuda" if on_gpu else "cpu"), ("Python", *machine.LIBRARIES)),
        "command": " ".join(command),
        "date": now,
        "options": f"method {template.method}, order {template.order}, at most {template.max_new_tokens} new tokens"
        + options,
        "candidates": template.candidates,
    }
    noted = {"began": now, **own, "about": {**about, **own["about"]}}
    write(folder / SETTINGS, json.dumps(noted, indent=1, ensure_ascii=False), "folder after --out")
    return noted


def say_where(folder: Path) -> None:
    notify(f"Everything is in {folder}; the report as JSON is {folder / REPORT}.")


def unanswered(what: str, name: str, most: int, answered: Mapping[str, int]) -> list[str]:
    """Return a warning where not every arm has an answer to all of the `most` tasks or holes of a set, or nothing."""
    short = [f"{arm} {count}" for arm, count in answered.items() if count < most]
    return [f"Of the {most} {what} of {name}, not all have been answered: {', '.join(short)}."] if short else []
