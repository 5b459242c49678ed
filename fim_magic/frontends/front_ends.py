"""The front ends, and which of them a cell comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fim_magic.frontends.colab import Colab
from fim_magic.frontends.interface import FrontEnd, KernelMessage, Unattended
from fim_magic.frontends.jupyter_server import JupyterLab, NbClassic
from fim_magic.frontends.terminal import Console, Terminal
from fim_magic.frontends.vscode import VsCode

FRONT_ENDS: tuple[FrontEnd, ...] = (
    Terminal(),
    VsCode(),
    JupyterLab(),
    NbClassic(),
    Colab(),
    Console(),
    Unattended(),
)
"""The first that recognises a cell is taken, so whatever is told by less stands below."""

OF_PAGES = JupyterLab.name
"""The front end of what a labextension asks: a page of JupyterLab or Notebook, at whose cursor no cell runs."""


def recognise(shell: Any) -> FrontEnd:
    """Return where the shell's running cell comes from. A kernel may have several front ends, one cell after another.

    Args:
        shell: The IPython shell; None without one.
    """
    message = KernelMessage.of(shell)
    return next(front_end for front_end in FRONT_ENDS if front_end.recognises(shell, message))


def notebook_path(shell: Any) -> Path | None:
    """Return the file of the notebook that the shell serves, or None where no front end tells.

    Args:
        shell: The IPython shell; None without one.
    """
    files = (front_end.notebook_file(shell) for front_end in FRONT_ENDS)
    path = Path(next(filter(None, files), ""))
    return path if path.suffix.lower() == ".ipynb" else None


def has_prompt(shell: Any) -> bool:
    """Whether the shell is a terminal's with a prompt of prompt_toolkit's, where ghost text can stand."""
    return getattr(shell, "pt_app", None) is not None
