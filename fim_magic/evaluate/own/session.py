"""What runs inside the process in which a notebook's cells run: one cell at a time, and what is known after it.

It is also asked where nothing has run: then the shell is one that knows the texts of cells and no names.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fim_magic.context import Context
from fim_magic.context.cells import NotebookCell
from fim_magic.document import Document
from fim_magic.evaluate.notebooks.live import write_notebook
from fim_magic.kernel import context_for, defined_names
from fim_magic.session_notebook import SessionNotebook

_NOT_RUN = re.compile(
    r"^[ \t]*(?:[\w,][\w, ]*=[ \t]*)?(?:!|%(?:pip|conda|mamba|uv|sx|system|run)\b)"
    r"|^%%(?:!|bash|sh|script|system|sx|cmd)\b|\bos\.system\(|\bsubprocess\b|\b(?:pip|conda)[ \t]+install\b|\binput\(",
    re.MULTILINE,
)

_LOOK_EVERY = 0.2  # seconds
_WAITING = 4  # times as long as it may work


def enter(_shell: Any, folder: str) -> None:
    """Go to the folder in which cells are to run, and cut this process off from the network."""
    os.chdir(folder)
    socket.getaddrinfo = _no_network
    socket.gethostbyname = _no_network


def _no_network(*_arguments: object, **_options: object) -> Any:
    raise OSError("There is no network here.")


def run_cell(shell: Any, source: str, seconds: float) -> bool:
    """Run a cell, or only note that it was typed where it would download, install or ask. Returns whether it ran.

    A cell that fails counts as one that ran for its author: its text is kept, and the names that it would have
    defined are missing. It is interrupted after so many seconds of the processor.
    """
    if _NOT_RUN.search(source):
        note_cell(shell, source)
        return False
    number = shell.execution_count
    try:
        with _interrupted_after(seconds):
            ran = bool(shell.run_cell(source, store_history=True).success)
    except KeyboardInterrupt:  # it came when the cell had ended
        ran = False
    getattr(shell.history_manager, "exceptions", {}).pop(number, None)  # which IPython has from version 9 on
    return ran


def note_cell(shell: Any, source: str) -> None:
    """Put a cell into the session's history without running it."""
    shell.history_manager.store_inputs(shell.execution_count, source)
    shell.execution_count += 1


@contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    """Interrupt this process, which runs one cell and nothing else, when the time is over.

    That is time of the processor: what a cell has done by then does not depend on what else the machine does. One that
    waits for something is interrupted as well, later.
    """
    ended = threading.Event()

    def watch() -> None:
        worked, began = time.process_time(), time.monotonic()
        while not ended.wait(_LOOK_EVERY):
            if time.process_time() - worked > seconds or time.monotonic() - began > _WAITING * seconds:
                os.kill(os.getpid(), signal.SIGINT)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@dataclass(frozen=True)
class Known:
    """What is known at a hole."""

    everything: Context = field(default_factory=Context)  # all that a model may be told, as `--context all` has it
    names: frozenset[str] = frozenset()  # the names that the session and the notebook define


def known_at(shell: Any, document: Document, cells: Sequence[NotebookCell], folder: str) -> Known:
    """Return what the product finds out about a cell that is filled now.

    `cells` is the notebook as it is saved, with the hole's cell without what is missing; it is written to `folder`.
    """
    path = Path(folder) / "notebook.ipynb"
    write_notebook(path, cells)
    shell.user_ns["__vsc_ipynb_file__"] = str(path)  # where the product looks for it
    notebook = SessionNotebook(path, path)
    return Known(context_for(shell, document, "all", notebook=notebook), defined_names(shell, notebook=notebook))


def shell_without_names(above: Sequence[NotebookCell]) -> Any:
    """Return what stands for a shell in which cells were typed and nothing is defined."""
    typed = ["", *(cell.source for cell in above if not cell.markdown)]
    return SimpleNamespace(user_ns={}, user_ns_hidden={}, history_manager=SimpleNamespace(input_hist_raw=typed))
