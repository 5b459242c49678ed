"""A function of ours in a process of its own: what ends it, or what it imports, does not reach the kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping

from fim_magic.child_environment import without_keys

# Where packages are is handed over: an isolated interpreter does not look at the environment or the current folder,
# in which a user's own `numpy.py` may lie.
_CODE = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "getattr(importlib.import_module(sys.argv[2]), sys.argv[3])(*sys.argv[4:])"
)


def start_apart(
    function: Callable[..., None],
    *arguments: str,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    variables: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process that calls a function, and has none of the keys of servers.

    Ctrl-C does not reach it: it ends when the caller kills it.

    Args:
        function: One of a module of ours, by its name there.
        *arguments: Of the function.
        stdout: As `subprocess.Popen` has it.
        stderr: As `subprocess.Popen` has it.
        variables: Of its environment, beside those of this process.

    Raises:
        OSError: No process could be started.
    """
    paths = json.dumps([path for path in sys.path if path])
    return subprocess.Popen(  # a list, of our own words, and of texts that no shell reads
        [sys.executable, "-I", "-c", _CODE, paths, function.__module__, function.__name__, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env={**without_keys(), **(variables or {})},
        start_new_session=True,
    )
