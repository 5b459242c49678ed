"""Whether a hole may be filled here: what the settings say, and the metadata of the notebook that this runs in.

The magics, ghost text and the Python interface ask here, so that a switch holds for all of them alike.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from fim_magic.classroom import FILLING, allowed_by, check, of_notebook, strictest
from fim_magic.frontends import Connection
from fim_magic.kernel import magics_of, notebook_of
from fim_magic.markers import MARKERS


def check_allowed(
    shell: Any,
    filling: str,
    *,
    cell_ids: Collection[str] = (),
    markers: Sequence[str] = MARKERS,
    hint: bool = False,
    metadata: object = None,
) -> None:
    """Raise if the settings, or the notebook's metadata, do not let a hole be filled, or not without `hint`.

    Args:
        shell: IPython's; None outside of it, where only `filling` counts.
        filling: What the settings allow, one of `classroom.FILLING`.
        cell_ids: Those of cells that ran, where the front end tells them.
        markers: What marks a hole.
        hint: Whether only a hint is asked for.
        metadata: The notebook's, where the page that asks has told them: they count beside what the file says.

    Raises:
        FillingOffError: They do not, or what the notebook says cannot be read.
    """
    said_by_page = "on" if metadata is None else _allowed_by(metadata)
    check(strictest(filling, said_by_page, _said_by_notebook(shell, cell_ids, markers)), hint=hint)


def _allowed_by(metadata: object) -> str:
    try:
        return allowed_by(metadata)
    except TypeError:
        return "off"


def _said_by_notebook(shell: Any, cell_ids: Collection[str], markers: Sequence[str]) -> str:
    if shell is None:
        return "on"
    notebook = notebook_of(shell, "", cell_ids, markers)
    # One that cannot be read may be this session's, so it does not allow all for that.
    allowed = of_notebook(None if notebook.is_another else notebook.named)
    said = Connection.of(shell).filling
    if notebook.path is not None:
        said[notebook.path] = allowed
    # Renamed, moved or deleted while the kernel runs, it is the same notebook still.
    return strictest(allowed, "on" if notebook.named is None else said.get(notebook.named, "on"))


def check_allowed_in_python(shell: Any, filling: str, markers: Sequence[str]) -> None:
    """As [`check_allowed`][], for a call of the Python interface: as the magics of the same shell, where it has them.

    Args:
        shell: IPython's, or None.
        filling: What the environment allows.
        markers: What marks a hole.
    """
    magics = magics_of(shell)
    if magics is not None:
        magics.session.check_allowed()
        return
    # Not loaded here, but it may be configured.
    configured = "on" if shell is None else shell.config.get("FimMagics", {}).get("filling", "on")
    allowed = configured if configured in FILLING else "off"
    check_allowed(shell, strictest(filling, allowed), markers=markers)
