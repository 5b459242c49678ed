"""transformers without its bars and remarks, for as long as it works for us."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


class _Quiet:
    """Its verbosity is the process's own, and no argument overrides it for one call.

    Of several threads that load at once, the first switches it off and the last puts it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._restore = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                try:
                    self._switch_off()
                except BaseException:
                    self._restore.close()
                    raise
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._restore.close()

    def _switch_off(self) -> None:
        from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
        from transformers.utils import logging

        if logging.is_progress_bar_enabled():
            if are_progress_bars_disabled():  # transformers switches those of the Hub together with its own
                self._restore.callback(disable_progress_bars)
            self._restore.callback(logging.enable_progress_bar)
            logging.disable_progress_bar()
        self._restore.callback(logging.set_verbosity, logging.get_verbosity())
        logging.set_verbosity_error()


quiet_transformers = _Quiet()
"""`with quiet_transformers():`."""
