"""What a kernel knows at a hole: the cells above it run in an IPython of their own, and a function asks that IPython.

This process stays as it is: the cells run in another one, without a terminal and without the user's configuration.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from fim_magic.child_environment import KEYS
from fim_magic.context import Context
from fim_magic.context.cells import NotebookCell
from fim_magic.errors import FimError
from fim_magic.evaluate.notebooks import NotebookTask

BUILDER = "fim_magic.kernel:context_for"
"""The function that knows what a live kernel tells a model, as module:function."""

_SECONDS = 120  # for the cells of one task; importing pandas and torch on a busy machine takes most of it


class KernelError(FimError):
    """A notebook's cells could not be run, or what they left could not be asked."""


class Kernel:
    """An IPython shell in a process of its own, as a context manager."""

    def __init__(self) -> None:
        # Spawned, not forked: a fork of a process with a model in it has threads that no longer run.
        spawning = get_context("spawn")
        self._connection, theirs = spawning.Pipe()
        self._folder = tempfile.TemporaryDirectory()  # made here: a process that is killed tidies nothing up
        self._process = spawning.Process(target=_serve, args=(theirs, self._folder.name), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Kernel:  # typing.Self is not in Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.kill()
        self._process.join()
        self._folder.cleanup()

    def run(self, cells: Sequence[str]) -> None:
        """Run cells one after the other, as a user would; a KernelError where one fails."""
        self._answer("run", (tuple(cells),))

    def save(self, cells: Sequence[NotebookCell]) -> None:
        """Save a notebook where the kernel's own front end would have it."""
        self._answer("save", (cells,))

    def ask(self, function: str, *arguments: object) -> Any:
        """Call module:function with the shell and the arguments, which are pickled as its answer is."""
        return self._answer("ask", (function, *arguments))

    def _answer(self, verb: str, arguments: tuple[object, ...]) -> Any:
        try:
            self._connection.send((verb, arguments))
            if not self._connection.poll(_SECONDS):
                raise KernelError(f"The notebook's kernel did not answer within {_SECONDS} seconds.")
            failed, answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise KernelError("The notebook's kernel ended. Is there memory left for another one?") from error
        if failed:
            raise KernelError(f"{answer} If a library is missing: pip install 'fim-magic[eval]'")
        return answer


class Kernels:
    """Builds contexts where the cells of a task have run, as a context manager.

    Tasks of one notebook that follow each other share a kernel: it runs only the cells that are new.
    """

    def __init__(self, builder: str = BUILDER) -> None:
        self._builder = builder
        self._stack = ExitStack()
        self._kernel: Kernel | None = None
        self._ran: tuple[str, ...] = ()

    def __enter__(self) -> Kernels:  # typing.Self is not in Python 3.10
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()
        self._kernel = None

    def context_of(self, task: NotebookTask, mode: str) -> Context:
        """Return what the builder makes of a task whose cells have run; a KernelError where that fails."""
        if self._kernel is None or not self._ran or task.cells[: len(self._ran)] != self._ran:
            self.close()
            self._kernel = self._stack.enter_context(Kernel())
            self._ran = ()
        self._kernel.save(task.saved)
        self._kernel.run(task.cells[len(self._ran) :])
        self._ran = task.cells
        context: Context = self._kernel.ask(self._builder, task.document, mode)
        return context


def _serve(connection: Connection, folder: str) -> None:
    """Answer the other process until it closes the connection."""
    _silence()
    os.environ.pop(KEYS, None)  # none of the cells' business
    os.environ.update(MPLBACKEND="Agg", IPYTHONDIR=folder)
    shell = _shell()
    while True:
        try:
            verb, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send((False, _VERBS[verb](shell, *arguments)))
        except Exception as error:  # whatever it is, the other process says it
            connection.send((True, f"{type(error).__name__}: {error}"))


def _silence() -> None:
    """Throw away what cells print; IPython shows their errors there, too."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def _shell() -> Any:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.hist_file = ":memory:"
    return InteractiveShell.instance(config=config)


def _run(shell: Any, cells: Sequence[str]) -> None:
    for cell in cells:
        shell.run_cell(cell, store_history=True).raise_error()


def _save(_shell: Any, cells: Sequence[NotebookCell]) -> None:
    """Write the notebook where [`fim_magic.frontends.notebook_path`][] looks for it."""
    path = Path(os.environ["IPYTHONDIR"]) / "notebook.ipynb"
    write_notebook(path, cells)
    os.environ["JPY_SESSION_NAME"] = str(path)


def write_notebook(path: Path, cells: Sequence[NotebookCell]) -> None:
    rows: list[dict[str, object]] = [
        {"cell_type": "markdown" if cell.markdown else "code", "source": [cell.source], "metadata": {}}
        for cell in cells
    ]
    path.write_text(json.dumps({"cells": rows, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), "utf-8")


def _ask(shell: Any, function: str, *arguments: object) -> object:
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)(shell, *arguments)


_VERBS: dict[str, Callable[..., object]] = {"run": _run, "save": _save, "ask": _ask}
