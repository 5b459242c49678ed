"""Ghost text in terminal IPython: a key fills at the caret, and grey text shows the answer before it is taken.

There are two ways to it. IPython's own, `llm_provider_class`, needs Jupyter AI 2, whose models its caller imports;
[`Provider`][] is for that. Everybody else has [`KEY`][], which `%load_ext fim_magic` binds.

`caret` fills. Only this module knows prompt_toolkit; it is imported where a terminal's prompt is, and so prompt_toolkit
is there already.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from IPython.core.getipython import get_ipython
from prompt_toolkit.filters import Condition, emacs_insert_mode, vi_insert_mode
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import BufferControl, ConditionalContainer, FormattedTextControl, HSplit, UIContent, Window
from prompt_toolkit.layout.utils import explode_text_fragments

from fim_magic.caret import FILLING, Fate, fill
from fim_magic.document import Document
from fim_magic.errors import is_failure
from fim_magic.faults import in_words
from fim_magic.progress import bar
from fim_magic.visible import plain_text

KEY = "f8"
"""The key that fills at the caret.

Every Ctrl with a letter means something in the emacs or in the vi mode of prompt_toolkit, or to IPython. Alt with a
letter would make Esc wait in vi mode, opens menus on Linux and types accents on macOS. Of the function keys IPython
has F2; terminals, browsers (JupyterLab's terminal runs in one) and VS Code take F1, F3, F5 to F7 and F10 to F12 for
help, search, reloading, debugging, menus and full screen. F8 is left to the program by all of them.
"""

_TAKING = ("right", "end", "c-e", "c-f")  # as IPython takes suggestions from the history
_BAR_CELLS = 10

# --- the way through Jupyter AI 2 ------------------------------------------------------------------


class Provider:
    """Fills for IPython's own ghost text, where Jupyter AI 2 is installed.

    In `ipython_config.py`:

        c.InteractiveShellApp.extensions = ["fim_magic"]
        c.TerminalInteractiveShell.llm_provider_class = "fim_magic.ghost.Provider"

    and a key for `IPython:auto_suggest.llm_autosuggestion` in `c.TerminalInteractiveShell.shortcuts`. Options as of
    `%%fim`, with underscores, can stand in `llm_constructor_kwargs`.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options

    async def stream_inline_completions(self, request: Any) -> AsyncIterator[Any]:
        """Answer an `InlineCompletionRequest`: one reply without text, then chunks, each with all the text so far.

        The protocol is that of Jupyter AI 2 (docs/source/developers/inline_completions.md there). All fields are
        given: which of them have defaults differs between its releases.

        Args:
            request: Its `prefix`, `suffix` and `number` are read.

        Raises:
            FimError: Something that the user can mend. IPython logs the message.
        """
        from jupyter_ai.completions import models  # type: ignore[import-not-found] # nobody has to have it

        def item(text: str, *, done: bool) -> Any:
            return models.InlineCompletionItem(
                insertText=text, filterText=None, isIncomplete=not done, token=f"fim-magic-{request.number}"
            )

        def chunk(text: str, *, done: bool) -> Any:
            return models.InlineCompletionStreamChunk(
                type="stream", response=item(text, done=done), reply_to=request.number, done=done, error=None
            )

        first = models.InlineCompletionList(items=[item("", done=False)])
        yield models.InlineCompletionReply(list=first, reply_to=request.number, error=None)
        text = ""
        # IPython makes room for the answer with empty lines, which are not the user's.
        document = Document(request.prefix, request.suffix if request.suffix.strip() else "")
        async for update in fill(get_ipython(), document, **self._options):
            if isinstance(update, str):
                text = update
                yield chunk(text, done=False)
        yield chunk(text, done=True)


# --- the way for everybody -------------------------------------------------------------------------


def register(shell: Any) -> None:
    """Bind [`KEY`][] at the shell's prompt. Without a prompt of prompt_toolkit's, nothing happens."""
    unregister(shell)
    prompt = _prompt(shell)
    if prompt is not None:
        Ghost(shell, *prompt)


def unregister(shell: Any) -> None:
    """Take the key away, and whatever is shown or under way."""
    prompt = _prompt(shell)
    if prompt is not None and isinstance(prompt[1], _GhostControl):
        prompt[1].ghost.close()


def _prompt(shell: Any) -> tuple[Window, BufferControl] | None:
    """Return where code is typed, or None in a shell that reads its input in another way."""
    session = getattr(shell, "pt_app", None)
    if session is None:
        return None
    windows: Iterable[Window] = session.layout.find_all_windows()
    for window in windows:
        control = window.content
        if isinstance(control, BufferControl) and control.buffer is session.default_buffer:
            return window, control
    return None


class Ghost:
    """An answer at the caret of a prompt that is shown, and not there yet.

    It is no `Suggestion` of prompt_toolkit's, although it looks like one: those are shown at the end of a line only,
    and hide the lines below them. While this one is shown there is no suggestion.
    """

    def __init__(self, shell: Any, window: Window, typed: BufferControl) -> None:
        """Bind the keys, and put what shows the ghost as well in the place of `typed`, which shows the code."""
        self.message = ""  # shown below what is typed
        self._shell = shell
        self._prompt = shell.pt_app
        self._window = window
        self._text = ""
        self._place: tuple[str, int] | None = None  # the text and the caret that the answer is for
        self._is_new = False  # asked for by the key that is being handled
        self._task: asyncio.Task[None] | None = None
        self._fate = Fate()
        self._typed = typed
        self._above = self._prompt.layout.container
        window.content = _GhostControl(typed, self)
        self._prompt.layout.container = HSplit([self._above, self._message_window()])
        self._prompt.app.key_processor.after_key_press += self._after_key

    def close(self) -> None:
        self.drop()
        self._window.content = self._typed
        self._prompt.layout.container = self._above
        self._prompt.app.key_processor.after_key_press -= self._after_key

    @property
    def text(self) -> str:
        """What is shown at the caret, or ""."""
        return self._text if self._place == self._caret() else ""

    @property
    def under_way(self) -> bool:
        return self._task is not None and not self._task.done()

    def fill(self) -> None:
        """Fill at the caret. An answer that is under way is dropped."""
        self.drop()
        self._fate = Fate()
        self._place, self._is_new = self._caret(), True
        self.message = bar(FILLING)
        text, caret = self._place
        self._task = self._prompt.app.create_background_task(self._grow(Document(text[:caret], text[caret:])))

    def take(self) -> None:
        text = self.text
        if text:
            self._fate.take()
        self.drop()
        self._prompt.default_buffer.insert_text(text)

    def drop(self) -> None:
        """Show nothing, and stop what is under way."""
        if self._task is not None:
            self._task.cancel()
        self._task = None
        self._fate.drop()
        self._place = None
        self._text = self.message = ""

    def keys(self) -> KeyBindings:
        keys = KeyBindings()
        types = vi_insert_mode | emacs_insert_mode
        is_shown = Condition(lambda: bool(self.text))
        is_stoppable = Condition(lambda: self.under_way or bool(self.text))
        keys.add(KEY, filter=types)(lambda _: self.fill())
        keys.add("c-c", filter=is_stoppable)(lambda _: self.drop())
        for key in _TAKING:
            keys.add(key, filter=types & is_shown)(lambda _: self.take())
        return keys

    async def _grow(self, document: Document) -> None:
        try:
            async for update in fill(self._shell, document, self._fate):
                if isinstance(update, str):
                    self._prompt.default_buffer.suggestion = None
                    self._text, self.message = update, ""
                else:
                    self.message = bar(update, _BAR_CELLS)
                self._prompt.app.invalidate()
            if not self._text:
                self.message = "The model has nothing to put here."
        except BaseException as error:
            if not is_failure(error):
                raise
            self.message = str(in_words(error))  # of a traceback, prompt_toolkit would wait for Enter
        self._prompt.app.invalidate()

    def _after_key(self, _key_processor: object) -> None:
        if not self._is_new:
            self.drop()
        self._is_new = False

    def _caret(self) -> tuple[str, int]:
        buffer = self._prompt.default_buffer
        return buffer.text, buffer.cursor_position

    def _message_window(self) -> ConditionalContainer:
        # Not the session's bottom toolbar: that may be the user's, does not wrap, and waits for the terminal to tell
        # where its cursor is, which not all do.
        window = Window(
            FormattedTextControl(lambda: [("class:bottom-toolbar.text", self.message)]),
            style="class:bottom-toolbar",
            wrap_lines=True,
            dont_extend_height=True,
        )
        return ConditionalContainer(window, Condition(lambda: bool(self.message)))


class _GhostControl(BufferControl):
    """Shows what is typed, with the ghost at the caret: what stands behind that moves right, and down."""

    def __init__(self, typed: BufferControl, ghost: Ghost) -> None:
        super().__init__(
            buffer=typed.buffer,
            input_processors=typed.input_processors,
            include_default_input_processors=typed.include_default_input_processors,
            lexer=typed.lexer,
            preview_search=typed.preview_search,
            focusable=typed.focusable,
            search_buffer_control=lambda: typed.search_buffer_control,  # type: ignore[arg-type, return-value]
            menu_position=typed.menu_position,
            focus_on_click=typed.focus_on_click,
            key_bindings=ghost.keys(),
        )
        self.ghost = ghost

    def create_content(self, width: int, height: int, preview_search: bool = False) -> UIContent:
        content = super().create_content(width, height, preview_search)
        return _with_ghost(content, self.ghost.text) if self.ghost.text else content


def _with_ghost(content: UIContent, text: str) -> UIContent:
    ghost: list[StyleAndTextTuples] = [[("class:auto-suggestion", plain_text(line))] for line in text.split("\n")]
    caret = content.cursor_position
    line = explode_text_fragments(content.get_line(caret.y))
    ghost[0] = [*line[: caret.x], *ghost[0]]
    ghost[-1] = [*ghost[-1], *line[caret.x :]]
    added = len(ghost) - 1

    def get_line(number: int) -> StyleAndTextTuples:
        if number < caret.y:
            return content.get_line(number)
        return ghost[number - caret.y] if number <= caret.y + added else content.get_line(number - added)

    return UIContent(get_line, content.line_count + added, caret, content.menu_position, content.show_cursor)
