"""The environment of programs that we start: this process's, without the keys of servers, which are none of theirs."""

from __future__ import annotations

import os
from collections.abc import Mapping

KEYS = "FIM_MAGIC_SERVER_KEYS"
"""The environment variable with the keys of servers; `engines/server/keys.py` reads it."""


def without_keys(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment without the keys."""
    return {name: value for name, value in environment.items() if name != KEYS}
