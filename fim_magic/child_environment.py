"""The environment of programs that we start: this process's, without the keys of servers, which are none of theirs."""

from __future__ import annotations

import os
from collections.abc import Mapping

KEYS = "FIM_MAGIC_SERVER_KEYS"
"""The environment variable with the keys of servers; `engines/server/keys.py` reads it."""

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""For `python -m`, which else finds modules in the current folder first: one that came with a notebook may bring a
`torch.py` along. Python 3.10 does not know of it."""


def without_keys(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment without the keys."""
    return {name: value for name, value in environment.items() if name != KEYS}
