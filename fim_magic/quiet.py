"""Reading the user's text without Python's warnings about it, and without a trace in the process.

The list of warning filters is the process's own: where two threads keep and put it back at once, one puts back what the
other had set. So ours take turns.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.RLock()


@contextmanager
def without_warnings() -> Iterator[None]:
    """Show no warnings inside the block, and leave the filters as they were."""
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
