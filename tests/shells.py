"""An IPython shell with the extension in it, in the process of the tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config


def new_shell(patch: pytest.MonkeyPatch, folder: Path, **config: Any) -> InteractiveShell:
    """Make a shell in the place of the one before, with such a configuration of the magics and its files in a folder."""
    patch.setenv("IPYTHONDIR", str(folder))
    InteractiveShell.clear_instance()
    return InteractiveShell.instance(config=Config(FimMagics=config, HistoryManager={"hist_file": ":memory:"}))


@contextmanager
def extended_shell(folder: Path) -> Iterator[InteractiveShell]:
    """A new shell with the extension loaded, whose files are in a folder. At the end there is none."""
    with pytest.MonkeyPatch.context() as patch:
        shell = new_shell(patch, folder)
        shell.run_line_magic("load_ext", "fim_magic")
        yield shell
        shell.run_line_magic("unload_ext", "fim_magic")
        InteractiveShell.clear_instance()


def run_cell(shell: InteractiveShell, cell: str) -> str:
    """Run a cell as a user does, and return what it has printed, on both streams."""
    with capture_output() as captured:
        shell.run_cell(cell, store_history=True)
    return str(captured.stdout + captured.stderr)


def quick_collections() -> Iterator[None]:
    """Each unloading collects garbage, which takes half a second while torch's own objects are looked through."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
