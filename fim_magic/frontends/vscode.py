"""VS Code, and the editors that have its notebooks."""

from __future__ import annotations

from typing import Any

from fim_magic.frontends.interface import FrontEnd, KernelMessage


class VsCode(FrontEnd):
    """Its webview lets the bridge in, and knows no notebook: no click can make a cell."""

    name = "VS Code"
    is_watched = True
    opens_bridge = True

    def recognises(self, shell: Any, message: KernelMessage) -> bool:
        return message.cell_id.startswith("vscode-notebook-cell:")

    def notebook_file(self, shell: Any) -> str:
        return str(getattr(shell, "user_ns", {}).get("__vsc_ipynb_file__") or "")
