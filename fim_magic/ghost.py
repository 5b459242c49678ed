"""Ghost text in terminal IPython: a key fills at the caret, and grey text shows the answer before it is taken.

There are two ways to it. IPython's own, `llm_provider_class`, needs Jupyter AI 2, whose models its caller imports;
[`Provider`][] is for that. Everybody else has [`KEY`][], which `%load_ext fim_magic` binds.

What stands before the caret is the prefix, what stands behind it is the suffix. Only this module knows prompt_toolkit;
it is imported where a terminal's prompt is, and so prompt_toolkit is there already.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from IPython.core.getipython import get_ipython
from prompt_toolkit.filters import Condition, emacs_insert_mode, vi_insert_mode
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import BufferControl, ConditionalContainer, FormattedTextControl, HSplit, UIContent, Window
from prompt_toolkit.layout.utils import explode_text_fragments

from fim_magic.document import Document
from fim_magic.errors import FimError
from fim_magic.progress import Progress, bar
from fim_magic.provenance import Record, decide
from fim_magic.session import Session
from fim_magic.settings import LOADING

KEY = "f8"
"""The key that fills at the caret.

Every Ctrl with a letter means something in the emacs or in the vi mode of prompt_toolkit, or to IPython. Alt with a
letter would make Esc wait in vi mode, opens menus on Linux and types accents on macOS. Of the function keys IPython
has F2; terminals, browsers (JupyterLab's terminal runs in one) and VS Code take F1, F3, F5 to F7 and F10 to F12 for
help, search, reloading, debugging, menus and full screen. F8 is left to the program by all of them.
"""

_TAKING = ("right", "end", "c-e", "c-f")  # as IPython takes suggestions from the history
_BAR_CELLS = 10
_FILLING = Progress("Filling in at the cursor (Ctrl-C stops it)", 0, 0)

_turn = threading.Lock()  # held by the thread that fills: one that was told to stop may still be in its last step


class _StoppedError(BaseException):
    """Ends the waiting for a model. Not an `Exception`, so that no library takes it for a failure of its own."""


class Fate:
    """What becomes of an answer, in its record: the user may take it before the model is done, or after."""

    def __init__(self) -> None:
        self.taken = False
        self._record: Record | None = None

    def take(self) -> None:
        """Say that the user has taken the answer."""
        self.taken = True
        self._note()

    def tell(self, record: Record) -> None:
        """Say that the answer has a record."""
        self._record = record
        self._note()

    def _note(self) -> None:
        if self.taken and self._record is not None:
            decide(self._record, "accept", 0)


async def fill(
    shell: Any, document: Document, fate: Fate | None = None, **options: Any
) -> AsyncIterator[str | Progress]:
    """Fill the hole in `document` with the model and the settings of the shell's magics.

    Generation runs on a thread of its own. It stops at its next token when this generator is closed, or when the task
    that reads it is cancelled, and so does the fetching and converting of a model; one that is being loaded by then is
    loaded all the same.

    Args:
        shell: The IPython shell, with the extension loaded.
        document: The text and its hole.
        fate: Whether the user takes the answer, for `%fim log`.
        **options: As of `%%fim`, with underscores.

    Yields:
        All of the answer so far, each time that it has grown; before that, what has to be waited for.

    Raises:
        FimError: Something that the user can mend.
    """
    from fim_magic.loading.background import SECONDS_AT_EXIT

    loop = asyncio.get_running_loop()
    said: asyncio.Queue[str | Progress | BaseException | None] = asyncio.Queue()
    stop = threading.Event()

    def tell(what: str | Progress | BaseException | None) -> None:
        with suppress(RuntimeError):  # the prompt has ended, and its loop with it
            loop.call_soon_threadsafe(said.put_nowait, what)

    def work() -> None:
        try:
            with _turn:
                _fill(shell, document, options, stop=stop, tell=tell, fate=fate or Fate())
        except _StoppedError:
            pass
        except BaseException as error:  # raised again where somebody reads this
            tell(error)
        atexit.unregister(end)
        tell(None)

    def end() -> None:
        stop.set()
        thread.join(SECONDS_AT_EXIT)

    thread = threading.Thread(target=work, name="fim-magic fills", daemon=True)
    atexit.register(end)
    thread.start()
    try:
        while (what := await said.get()) is not None:
            if isinstance(what, BaseException):
                raise what
            yield what
    finally:
        stop.set()


def _fill(
    shell: Any,
    document: Document,
    options: dict[str, Any],
    *,
    stop: threading.Event,
    tell: Callable[[str | Progress], None],
    fate: Fate,
) -> None:
    """Do what `fill` says, on whatever thread this is."""
    # Imported at the first request: they bring the tokenizers library, which %load_ext need not wait for.
    from fim_magic.events import Finished, Grew
    from fim_magic.loading.spec import ModelSpec
    from fim_magic.pipeline import run

    def on_progress(progress: Progress) -> None:
        if stop.is_set():
            raise _StoppedError
        tell(progress)

    magics = _magics(shell)
    session: Session = magics.session
    session.check_allowed()
    # The text may hold markers, which are nothing but text here: the caret is the hole.
    model, request = magics.request("", complete=True, **{**options, "candidates": 1})
    loading = session.loading_of(model, {name: options.get(name) for name in LOADING})
    with session.in_use():
        spec = ModelSpec.of(model, **loading)
        session.models.begin(spec, on_progress)  # in the background, where it goes on if the user types on
        loaded = session.models.use(spec, on_progress)
        session.tell(loaded.engine.info.model, loaded.notices)  # a prompt shows what is printed above itself
        tell(_FILLING)
        infills = loaded.engine.family.can_infill or document.suffix.strip()
        request = replace(request, document=document, method="fim" if infills else "complete")
        request = session.in_notebook(request)
        session.remember_prompt(request, loaded.engine)
        for event in run(request, loaded.engine, stop):
            if isinstance(event, Grew):
                tell(event.middle)
            # What was dropped on the way did not fill anything.
            if isinstance(event, Finished) and (fate.taken or not stop.is_set()):
                fate.tell(session.remember(request, model, loading, event.result))


def _magics(shell: Any) -> Any:
    magics = None if shell is None else shell.magics_manager.registry.get("FimMagics")
    if magics is None:
        raise FimError("fim-magic is not loaded here. Load it with: %load_ext fim_magic")
    return magics


# --- the way through Jupyter AI 2 ------------------------------------------------------------------


class Provider:
    """Fills for IPython's own ghost text, where Jupyter AI 2 is installed.

    In `ipython_config.py`:

        c.InteractiveShellApp.extensions = ["fim_magic"]
        c.TerminalInteractiveShell.llm_provider_class = "fim_magic.ghost.Provider"

    and a key for `IPython:auto_suggest.llm_autosuggestion` in `c.TerminalInteractiveShell.shortcuts`.
    """

    def __init__(self, **options: Any) -> None:
        """Make one.

        Args:
            **options: As of `%%fim`, with underscores; IPython takes them from `llm_constructor_kwargs`.
        """
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
        async for said in fill(get_ipython(), document, **self._options):
            if isinstance(said, str):
                text = said
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
        """Bind the keys.

        Args:
            shell: The IPython shell.
            window: Where code is typed.
            typed: What shows the code there. It is replaced by what shows the ghost as well.
        """
        self.message = ""  # shown below what is typed
        self._shell = shell
        self._session = shell.pt_app
        self._window = window
        self._text = ""
        self._asked: tuple[str, int] | None = None  # the text and the caret that the answer is for
        self._asked_now = False  # by the key that is being handled
        self._task: asyncio.Task[None] | None = None
        self._fate = Fate()
        self._typed = typed
        self._above = self._session.layout.container
        window.content = _GhostControl(typed, self)
        self._session.layout.container = HSplit([self._above, self._message_window()])
        self._session.app.key_processor.after_key_press += self._after_key

    def close(self) -> None:
        """Leave the prompt as it was."""
        self.drop()
        self._window.content = self._typed
        self._session.layout.container = self._above
        self._session.app.key_processor.after_key_press -= self._after_key

    @property
    def text(self) -> str:
        """What is shown at the caret, or ""."""
        return self._text if self._asked == self._caret() else ""

    @property
    def under_way(self) -> bool:
        """Whether an answer is being made."""
        return self._task is not None and not self._task.done()

    def ask(self) -> None:
        """Fill at the caret. An answer that is under way is dropped."""
        self.drop()
        self._fate = Fate()
        self._asked, self._asked_now = self._caret(), True
        self.message = bar(_FILLING)
        text, at = self._asked
        self._task = self._session.app.create_background_task(self._grow(Document(text[:at], text[at:])))

    def take(self) -> None:
        """Turn what is shown into text."""
        text = self.text
        if text:
            self._fate.take()
        self.drop()
        self._session.default_buffer.insert_text(text)

    def drop(self) -> None:
        """Show nothing, and stop what is under way."""
        if self._task is not None:
            self._task.cancel()
        self._task = None
        self._asked = None
        self._text = self.message = ""

    def keys(self) -> KeyBindings:
        """Return the keys, for while code is typed."""
        keys = KeyBindings()
        types = vi_insert_mode | emacs_insert_mode
        is_shown = Condition(lambda: bool(self.text))
        is_stoppable = Condition(lambda: self.under_way or bool(self.text))
        keys.add(KEY, filter=types)(lambda _: self.ask())
        keys.add("c-c", filter=is_stoppable)(lambda _: self.drop())
        for key in _TAKING:
            keys.add(key, filter=types & is_shown)(lambda _: self.take())
        return keys

    async def _grow(self, document: Document) -> None:
        try:
            async for said in fill(self._shell, document, self._fate):
                if isinstance(said, str):
                    self._session.default_buffer.suggestion = None
                    self._text, self.message = said, ""
                else:
                    self.message = bar(said, _BAR_CELLS)
                self._session.app.invalidate()
            if not self._text:
                self.message = "The model has nothing to put here."
        except FimError as error:
            self.message = str(error)
        except Exception as error:  # prompt_toolkit would show a traceback and wait for Enter
            self.message = f"This could not be filled in: {type(error).__name__}: {error}"
        self._session.app.invalidate()

    def _after_key(self, _key_processor: object) -> None:
        if not self._asked_now:
            self.drop()
        self._asked_now = False

    def _caret(self) -> tuple[str, int]:
        buffer = self._session.default_buffer
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
        """Return what is to be drawn, as prompt_toolkit asks for it."""
        content = super().create_content(width, height, preview_search)
        return _with_ghost(content, self.ghost.text) if self.ghost.text else content


def _with_ghost(content: UIContent, text: str) -> UIContent:
    from fim_magic.review.text import plain_text

    ghost: list[StyleAndTextTuples] = [[("class:auto-suggestion", plain_text(line))] for line in text.split("\n")]
    caret = content.cursor_position
    line = explode_text_fragments(content.get_line(caret.y))
    ghost[0] = [*line[: caret.x], *ghost[0]]
    ghost[-1] = [*ghost[-1], *line[caret.x :]]
    added = len(ghost) - 1

    def get_line(at: int) -> StyleAndTextTuples:
        if at < caret.y:
            return content.get_line(at)
        return ghost[at - caret.y] if at <= caret.y + added else content.get_line(at - added)

    return UIContent(get_line, content.line_count + added, caret, content.menu_position, content.show_cursor)
