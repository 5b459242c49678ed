"""What the reports have in common as text: their width, their head, and how a share is written."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fim_magic.errors import OptionError

WIDTH = 100
"""Columns of a report."""


def write(path: Path, text: str, other: str) -> None:
    """Write a file; an OptionError that names another one, such as "file after --json", where that cannot be done."""
    try:
        path.write_text(text + "\n", "utf-8")
    except OSError as error:
        raise OptionError(f"{str(path)!r} could not be written: {error.strerror}. Name another {other}.") from error


def heading(title: str, about: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    """Return the first lines of a report: its title, the model, and what is known of the run under `labels`."""
    width = max(map(len, labels)) + 2
    lines = wrapped(f"{title}: {about.get('model', '')}")
    for label in labels:
        if about.get(label):
            lines += wrapped(f"  {label + ':':<{width}}{about[label]}", indent=width + 2)
    return lines


def warned(warnings: Sequence[str]) -> list[str]:
    """Return the lines that say what makes the numbers of a report doubtful."""
    return [line for warning in warnings for line in wrapped(f"WARNING: {warning}", indent=9)]


def wrapped(text: str, indent: int = 0) -> list[str]:
    """Return a text in lines of at most `WIDTH` columns; `indent` blanks begin the second and on."""
    lead = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text.lstrip(), WIDTH, initial_indent=lead, subsequent_indent=" " * indent, break_on_hyphens=False
    ) or [""]


def percent(share: float, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f} %"
