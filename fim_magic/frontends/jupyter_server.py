"""What a Jupyter server shows: JupyterLab and Notebook from version 7 on, and nbclassic."""

from __future__ import annotations

import os
from typing import Any

from fim_magic.frontends.interface import FrontEnd, KernelMessage

_SESSION = "JPY_SESSION_NAME"
"""In this environment variable, the server gives the kernel the notebook's whole path."""


class _JupyterServer(FrontEnd):
    is_watched = True
    opens_bridge = True

    def notebook_file(self, shell: Any) -> str:
        return os.environ.get(_SESSION, "")


class JupyterLab(_JupyterServer):
    """JupyterLab from version 4 on, and Notebook from version 7 on: they send the cell's id."""

    name = "JupyterLab"
    page = "lab"
    at_cursor = "nothing yet: this page has no labextension of fim-magic that talks to the kernel"

    def recognises(self, shell: Any, message: KernelMessage) -> bool:
        return message.cell_id != ""


class NbClassic(_JupyterServer):
    """The notebook as it was before version 7. It sends no cell id."""

    name = "nbclassic"
    page = "classic"

    def recognises(self, shell: Any, message: KernelMessage) -> bool:
        # Programs that a kernel starts inherit the name of its session; but nbclient has nobody to answer input().
        return _SESSION in os.environ and message.answers_input
