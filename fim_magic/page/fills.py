"""A fill at the cursor of a page: what `%%fim` shows, below a cell that does not run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fim_magic.caret import method_for, request_at, wait_for_model
from fim_magic.page.messages import Asked
from fim_magic.page.owner import CursorOwner
from fim_magic.progress import SECONDS_BETWEEN_MESSAGES, Pace, Progress, bar
from fim_magic.prompt_sheet import prompt_sheet
from fim_magic.session import Session
from fim_magic.session_notebook import SessionNotebook
from fim_magic.turn import TURN

Tell = Callable[[dict[str, Any]], None]


def fill(
    shell: Any,
    session: Session,
    asked: Asked,
    notebook: SessionNotebook,
    stop: threading.Event,
    tell: Tell,
) -> None:
    """Fill the hole at a page's cursor, and show it below the cell.

    Args:
        shell: IPython's.
        session: Answers.
        asked: The cell and its hole.
        notebook: As the page shows it.
        stop: Ends it; what is there by then is shown.
        tell: Sends the page a message.

    Raises:
        FimError: Something that the user can mend. One that is busy is refused before anything is shown: the first of
            it would take what an earlier fill has shown away from the cell.
        StoppedError: It was stopped while it waited for a model.
    """
    begin_without_subshell(shell)
    told: list[str] = []

    def say(text: str) -> None:
        told.append(text)
        tell({"type": "progress", "id": asked.id, "text": text})

    def show_output(output: dict[str, Any], update: bool) -> None:
        tell({"type": "output", "id": asked.id, "cell_id": asked.cell_id, "output": output, "update": update})

    pace = Pace(SECONDS_BETWEEN_MESSAGES)

    def on_progress(progress: Progress) -> None:
        if pace.is_due(progress):
            tell({"type": "progress", "id": asked.id, "text": bar(progress)})

    session.check_allowed(metadata=asked.metadata)
    owner = CursorOwner.of(shell, show_output, asked.document.as_typed)
    model, request, loading = request_at(session, asked.document)
    with session.in_use():
        loaded = wait_for_model(session, model, loading, stop, on_progress)
        session.tell(loaded.engine.info.model, loaded.notices, say)
        request.permission.require(loaded.engine.info)
        request = replace(request, method=method_for(asked.document, loaded.engine))
        request = session.in_notebook(request, notebook=notebook)
        TURN.require_free()
        session.last_prompt = prompt_sheet(request, loaded.engine)
        session.answer(request, loaded.engine, model, loading, owner=owner, stop=stop, say=say)
    tell({"type": "done", "id": asked.id, "texts": [], "notices": told})


def begin_without_subshell(shell: Any) -> None:
    """Let what this thread opens, such as widgets, be answered where cells run.

    A widget's messages go to the subshell in which it was opened. That one belongs to the page, and goes with it: a
    page that is loaded anew would have buttons that nobody hears.
    """
    kernel: Any = getattr(shell, "kernel", None)
    parent = None if kernel is None else kernel.get_parent()
    if kernel is not None and parent and "header" in parent:
        header = {name: value for name, value in parent["header"].items() if name != "subshell_id"}
        kernel.set_parent([b""], {**parent, "header": header})
