"""JSON that somebody else has written: read as what it is, or refused as a ValueError, however it is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """Return what a JSON file holds. A byte order mark at its start is no part of that.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no JSON, or JSON that is nested so deeply that Python cannot read it.
    """
    try:
        return json.loads(path.read_bytes())  # bytes: with text, a byte order mark is an error
    except RecursionError:
        raise ValueError("it is nested too deeply") from None  # its traceback is a thousand frames
