"""Where an accepted text goes: one strategy per front end.

A front end makes cells in two ways. While a cell runs, its reply may carry a text for the next
cell: every front end knows that. After it has run, a click in its output can reach the notebook
only through the page itself, by the hidden bridge of `frontends/bridge.py`: JupyterLab, Notebook 7 and
nbclassic let it in. Elsewhere (VS Code, Colab) the text is kept, and goes out with the next cell
that the user runs.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from fim_magic.frontends.bridge import Answer, Bridge

_log = logging.getLogger(__name__)

How = Literal["inserted", "replaced", "next-input", "printed", "pending"]

ANSWER_SECONDS = 2.0
"""How long a page has to answer before the text is kept for the next cell."""


@dataclass(frozen=True)
class Placed:
    """What became of an accepted text.

    Attributes:
        how: "inserted" or "replaced" by the page; "next-input" with the reply of the running cell;
            "printed" on a terminal that takes no text; "pending" until the user runs a cell.
        message: The same, said to the user.
        undo: What the page needs to take it back, or None where nobody can.
    """

    how: How
    message: str
    undo: dict[str, Any] | None = None


_SAY: dict[How, str] = {
    "inserted": "Accepted: it is in the new cell below.",
    "replaced": "Accepted: it replaced the text of this cell.",
    "next-input": "Accepted: it comes as the next input.",
    "printed": "This terminal takes no prepared input, so the text is printed above.",
    "pending": "Kept: no click can add a cell here. It comes below the next cell that you run; or type %fim accept.",
}


def _placed(how: How, undo: dict[str, Any] | None = None) -> Placed:
    return Placed(how, _SAY[how], undo)


@dataclass(frozen=True)
class Owner:
    """The cell that asked, and that accepted text belongs to.

    Attributes:
        shell: The IPython shell.
        cell_id: The cell's id in its notebook, or "" where the front end doesn't tell.
        request: The id of the message that runs the cell, or "" in a terminal.
        marker: A CSS class for what this cell displays, by which the page finds it.
        from_page: Whether its message looks like one from a page.
    """

    shell: Any
    cell_id: str
    request: str
    marker: str
    from_page: bool = False

    @classmethod
    def current(cls, shell: Any) -> Owner:
        """Return the cell that is being run. Its id is known only while it runs."""
        prepare(shell)
        message = _message(shell)
        cell_id = str(message.get("metadata", {}).get("cellId") or "")
        request = str(message.get("header", {}).get("msg_id") or "")
        return cls(shell, cell_id, request, f"fim-{os.urandom(16).hex()}", _page_is_likely(shell))

    @property
    def has_kernel(self) -> bool:
        """Whether the shell is a kernel's, and not a terminal's."""
        return _has_kernel(self.shell)

    @property
    def is_watched(self) -> bool:
        """Whether a page shows the outputs of this cell, so that somebody can see it change and click.

        Pages send the cell's id, or answer the bridge, or are Colab's, whose kernels have its modules. nbclient,
        papermill and text consoles do nothing of that.
        """
        bridge = page_bridge()
        return self.from_page or (bridge is not None and bridge.has_page) or _is_colab()

    @property
    def is_running(self) -> bool:
        """Whether we are called from within the cell, and not from a click after it."""
        if not self.has_kernel:
            return True
        return bool(_message(self.shell).get("header", {}).get("msg_id") == self.request)

    def place(
        self,
        text: str,
        replace: bool = False,
        on_result: Callable[[Placed], None] | None = None,
    ) -> None:
        """Put `text` into a new cell below this one.

        Args:
            text: The source of the cell, all of it.
            replace: Put it into this cell instead, where the front end can.
            on_result: Called with what became of it; later, where a page has to answer first. It is
                called a second time if the page answers after the text was given up as "pending".
        """
        on_result = on_result or _ignore
        if self.is_running:
            on_result(accept_now(self.shell, text, replace))
            return
        bridge = page_bridge()
        client = client_of_this_message(self.shell)
        if bridge is None or not bridge.can_insert(client):
            on_result(self.keep(text))
            return
        waiting = _Waiting(self, text, on_result)
        place = {
            "client": client,
            "cell_id": self.cell_id,
            "marker": self.marker,
            "replace": replace,
        }
        bridge.insert(text, place, waiting.answered)
        _later(ANSWER_SECONDS, waiting.give_up)

    def show(
        self, name: str, data: dict[str, Any], metadata: dict[str, Any] | None = None, *, update: bool = False
    ) -> None:
        """Show an output of this cell, or change it.

        Args:
            name: What it is called; nothing else is.
            data: The bundle.
            metadata: Goes with it.
            update: Change the output that was shown under this name.
        """
        from IPython.display import publish_display_data

        metadata = {**(metadata or {}), OUTPUT_KEY: name}
        publish_display_data(data, metadata=metadata, transient={"display_id": name}, update=update)
        bridge = page_bridge()
        if update and bridge is not None and not self.is_running:
            # A page that was reloaded, a second one, or one whose cell was moved knows no display id any more.
            bridge.show(name, data, metadata)

    def keep(self, text: str) -> Placed:
        """Keep `text` for the next cell that the user runs."""
        _pending.keep(self.shell, text)
        return _placed("pending")

    def placed_by_page(self, text: str, answer: Answer) -> Placed:
        """Say what became of a text that the page has tried to place by itself.

        Args:
            text: The source of the cell.
            answer: `how` and `undo`, as `put` in `frontends/static/notebook.js` gives them.
        """
        how = answer.get("how")
        return _placed(how, answer.get("undo")) if how in ("inserted", "replaced") else self.keep(text)


def notebook_path(shell: Any) -> Path | None:
    """Return the file of the notebook that the shell serves, or None where the front end doesn't tell."""
    # VS Code sets the variable; a Jupyter server names its session after the file, with the whole path.
    said = getattr(shell, "user_ns", {}).get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", "")
    path = Path(str(said))
    return path if path.suffix == ".ipynb" else None


def is_console(shell: Any) -> bool:
    """Whether a text console asks a kernel, as jupyter console and qtconsole do: it cannot change what it has shown."""
    return _answers_input(shell) and not _page_is_likely(shell) and not _is_colab()


OUTPUT_KEY = "fim_magic_output"
"""Under this name, the metadata of an output hold the name by which it can be changed."""

_opened: list[Bridge] = []
_undecided: list[Callable[[], dict[str, str]]] = []  # makes what `prepare` was told


def prepare(shell: Any, undecided: Callable[[], dict[str, str]] | None = None) -> None:
    """Open the bridge, so that the page has answered before the first request.

    Where no page can be (nbclient, papermill, a terminal), it stays closed: its code would only be
    left behind in the executed notebook.

    Args:
        shell: The IPython shell.
        undecided: Makes what stands in the place of buttons that an earlier kernel has left in a notebook, by MIME
            type. Where a page is not likely yet, it is kept until the bridge opens.
    """
    if undecided is not None:
        _undecided[:] = [undecided]
    if _opened or not _has_kernel(shell) or not _page_is_likely(shell):
        return
    try:
        from fim_magic.frontends.bridge import Bridge

        _opened.append(Bridge(lambda: client_of_this_message(shell), next((make() for make in _undecided), None)))
    except Exception:  # without a bridge we are as in a front end that lets none in
        _log.info("Clicks cannot reach the notebook: the bridge could not be opened.", exc_info=True)


def page_bridge() -> Bridge | None:
    """Return the bridge to the pages, or None where there is none."""
    return _opened[0] if _opened else None


def accept_now(shell: Any, text: str, replace: bool = False) -> Placed:
    """Put `text` into the next cell, while the user's cell runs.

    Args:
        shell: The IPython shell.
        text: The source of the next cell.
        replace: Put it into the running cell instead, where the front end can.
    """
    _pending.clear()
    if getattr(shell, "simple_prompt", False):
        print(text)  # noqa: T201 - a simple prompt takes no prepared text, and the user asked for it
        return _placed("printed")
    shell.set_next_input(text, replace=replace)
    return _placed("next-input")


def client_of_this_message(shell: Any) -> str:
    """Return which of a kernel's pages sent the message that is being answered, or ""."""
    return str(_message(shell).get("header", {}).get("session") or "")


class _Pending:
    """A text that waits for the user's next cell."""

    def __init__(self) -> None:
        self._text: str | None = None
        self._shells: set[int] = set()

    def keep(self, shell: Any, text: str) -> None:
        self._text = text
        if id(shell) not in self._shells:
            self._shells.add(id(shell))
            shell.events.register("post_run_cell", lambda result: self._give(shell, result))

    def clear(self, text: str | None = None) -> None:
        """Forget the text; if `text` is given, only if it is that."""
        if text is None or text == self._text:
            self._text = None

    def _give(self, shell: Any, result: Any) -> None:
        info = result.info
        if self._text is None or info is None or info.silent or not info.store_history:
            return  # not the user's: VS Code and others run code of their own, and look at no reply
        if not result.success:
            return  # front ends look only into replies of cells that succeeded
        text, self._text = self._text, None
        shell.set_next_input(text)


_pending = _Pending()


class _Waiting:
    """One text on its way to a page, which may answer in time, late, or never."""

    def __init__(self, owner: Owner, text: str, on_result: Callable[[Placed], None]) -> None:
        self._owner = owner
        self._text = text
        self._on_result = on_result
        self._decided = False

    def answered(self, answer: Answer) -> None:
        how = answer["how"]
        if how in ("inserted", "replaced"):
            self._decided = True
            _pending.clear(self._text)  # it came late, and we had given up
            self._on_result(_placed(how, answer.get("undo")))
        else:
            self.give_up()

    def give_up(self) -> None:
        if not self._decided:
            self._decided = True
            self._on_result(self._owner.keep(self._text))


def _ignore(_placed: Placed) -> None:
    """Do nothing."""


def _later(seconds: float, call: Callable[[], None]) -> None:
    # Imported at the first click: kernels have it already, and a terminal, which has no clicks, never needs it.
    import asyncio

    try:
        asyncio.get_running_loop().call_later(seconds, call)
    except RuntimeError:  # no loop runs in this thread
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()


def _page_is_likely(shell: Any) -> bool:
    # nbclassic sends no cell id, but the kernels of every Jupyter server are told the name of their session. Programs
    # that such a kernel starts inherit it; but nbclient, unlike a page, has nobody to answer input().
    if _message(shell).get("metadata", {}).get("cellId"):
        return True
    return "JPY_SESSION_NAME" in os.environ and _answers_input(shell)


def _answers_input(shell: Any) -> bool:
    """Whether somebody is there who answers input(): a page or a text console, and not nbclient."""
    return bool(_message(shell).get("content", {}).get("allow_stdin"))


def _is_colab() -> bool:
    return "google.colab" in sys.modules  # its kernels bring it


def _has_kernel(shell: Any) -> bool:
    return getattr(shell, "kernel", None) is not None


def _message(shell: Any) -> dict[str, Any]:
    """Return the message that the kernel is answering."""
    if not _has_kernel(shell):
        return {}
    message: dict[str, Any] = shell.kernel.get_parent() or {}
    return message
