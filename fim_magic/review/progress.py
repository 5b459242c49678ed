"""Progress in a notebook: one output that is rewritten while a model is fetched and loaded.

A text console cannot rewrite what it has shown, and would clear the prompt instead. It gets a line when something
begins and when the model is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.display import clear_output, display

from fim_magic.frontends import recognise
from fim_magic.progress import SECONDS_BETWEEN_MESSAGES, Pace, Progress, TerminalProgress, bar
from fim_magic.review.text import html_text
from fim_magic.visible import plain_text, say

if TYPE_CHECKING:
    from typing_extensions import Self

    from fim_magic.loading.loaded import Loaded, PendingLoad


class NotebookProgress:
    """Shows where loading stands, in a notebook or on a terminal. Nothing is shown where nothing had to be done."""

    def __init__(self, shell: Any) -> None:
        front_end = recognise(shell)
        self._terminal = None if front_end.has_kernel else TerminalProgress()
        self._updates = front_end.updates_outputs
        self._output: Any = None
        self._pace = Pace(SECONDS_BETWEEN_MESSAGES)
        self._what = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal is not None:
            self._terminal.close()

    def __call__(self, progress: Progress) -> None:
        if self._terminal is not None:
            self._terminal(progress)
            return
        if not self._updates and progress.what == self._what:
            return
        if self._pace.is_due(progress):
            self._what = progress.what
            self._show(bar(progress))

    def loaded(self, loaded: Loaded) -> None:
        """Say that the model is there, if anything was shown on the way."""
        engine = loaded.engine
        if not self._what:
            return
        why = f" It was chosen because {loaded.why}; %fim use NAME takes another." if loaded.why else ""
        self._show(f"{engine.info.model} is loaded on {engine.info.runs_on}, in {loaded.seconds:.1f} s.{why}")

    def begun(self, coming: PendingLoad) -> None:
        line = f"{coming.name} is being loaded. You can go on; the next %%fim waits for it."
        if self._terminal is not None:
            self._terminal.close()
            say(plain_text(line))
            return
        self._show(line)

    def ended(self, coming: PendingLoad, loaded: Loaded | None) -> None:
        """Say what became of it, in the place of what [`begun`][] said. This may be called on any thread.

        In a notebook, an output that is rewritten stays in its cell, whichever runs meanwhile. A terminal has no such
        place, so there nothing is said.

        Args:
            coming: The load that has ended.
            loaded: The model that is loaded now.
        """
        if self._output is None:
            return
        if loaded is not None and loaded.spec == coming.spec:
            self._what = coming.name
            self.loaded(loaded)
        elif coming.load.error is not None:
            self._show(f"{coming.name} could not be loaded. The next %%fim says why; so does %fim.")
        else:
            self._show(f"{coming.name} was not loaded: loading was stopped.")

    def clear(self) -> None:
        """Take away what was shown, when what comes next is shown."""
        if self._output is not None:
            clear_output(wait=True)
            self._output = None

    def _show(self, line: str) -> None:
        if not self._updates:
            say(plain_text(line))
            return
        bundle = {
            "text/plain": plain_text(line),
            "text/html": f"<pre style='margin:0;opacity:.7;white-space:pre-wrap'>{html_text(line)}</pre>",
        }
        if self._output is None:
            self._output = display(bundle, raw=True, display_id=True)
        else:
            self._output.update(bundle, raw=True)
