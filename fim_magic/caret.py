"""Filling at a caret, on a thread of its own: for front ends that go on meanwhile.

`ghost` is the one for terminals; `page` has what JupyterLab and Notebook ask for.

What stands before the caret is the prefix, what stands behind it is the suffix.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fim_magic.document import Document
from fim_magic.errors import FimError, ServerError
from fim_magic.progress import Progress
from fim_magic.prompt_sheet import prompt_sheet
from fim_magic.provenance import Record, decide
from fim_magic.session import Session
from fim_magic.settings import LOADING
from fim_magic.unicode_text import check_whole

if TYPE_CHECKING:
    from fim_magic.engines import Engine, EngineInfo
    from fim_magic.loading.loaded import Loaded
    from fim_magic.outcomes import Outcome
    from fim_magic.request import Request

FILLING = Progress("Filling in at the cursor (Ctrl-C stops it)", 0, 0)

_turn = threading.Lock()  # held by the thread that fills: one that was stopped may still be in its last step


class StoppedError(BaseException):
    """Ends the waiting for a model. Not an `Exception`, so that no library takes it for a failure of its own."""


class Fate:
    """What becomes of an answer, in its record and in the counts: the user may take it before the model is done."""

    def __init__(self, kind: str = "ghost", front_end: str = "") -> None:
        """Of an answer that is asked for now. Arguments as of `Session.offered`; one without a kind is not counted."""
        self._decision = ""
        self._kind, self._front_end = kind, front_end
        self._is_dropped = False
        self._record: Record | None = None
        self._outcome: Outcome | None = None
        self._changing = threading.Lock()  # one thread shows the answer, and another one hears of the keys

    @property
    def is_taken(self) -> bool:
        """Whether the user has taken the answer, or a part of it."""
        return self._decision != ""

    def show(self, session: Session, info: EngineInfo) -> None:
        """Note that the first of the answer is shown, for which it counts as offered."""
        with self._changing:
            if self._outcome is None and self._kind and not self._is_dropped:
                self._outcome = session.offered(info, self._kind, self._front_end)
                if self.is_taken:  # at once
                    self._outcome.decided(self._decision)

    def take(self, decision: str = "accept") -> None:
        """Note that the user has taken the answer, or only a "part" of it, as `provenance.decide` calls that."""
        with self._changing:
            self._decision = decision
        self._note()
        if self._outcome is not None:
            self._outcome.decided(decision)

    def drop(self) -> None:
        """Note that the answer is not shown any more. If nothing of it was taken, it counts as rejected."""
        with self._changing:
            self._is_dropped = True
        if self._outcome is not None:
            self._outcome.decided("reject")

    def keep(self, record: Record) -> None:
        """Note the decision in the answer's record, now or when it is made."""
        self._record = record
        self._note()

    def _note(self) -> None:
        if self.is_taken and self._record is not None:
            decide(self._record, self._decision, 0)


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
        fate: Hears whether the user takes the answer. Without it nothing tells, and the answer is not counted.
        **options: As of `%%fim`, with underscores.

    Yields:
        All of the answer so far, each time that it has grown; before that, what has to be waited for.

    Raises:
        FimError: Something that the user can mend.
    """
    from fim_magic.loading.background import SECONDS_AT_EXIT

    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | Progress | BaseException | None] = asyncio.Queue()
    stop = threading.Event()

    def put(item: str | Progress | BaseException | None) -> None:
        with suppress(RuntimeError):  # the prompt has ended, and its loop with it
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def work() -> None:
        try:
            with _turn:
                _fill(shell, document, options, stop=stop, put=put, fate=fate or Fate(""))
        except StoppedError:
            pass
        except BaseException as error:  # raised again where somebody reads this
            put(error)
        atexit.unregister(end)
        put(None)

    def end() -> None:
        stop.set()
        thread.join(SECONDS_AT_EXIT)

    thread = threading.Thread(target=work, name="fim-magic fills", daemon=True)
    atexit.register(end)
    try:
        thread.start()
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()


def _fill(
    shell: Any,
    document: Document,
    options: dict[str, Any],
    *,
    stop: threading.Event,
    put: Callable[[str | Progress], None],
    fate: Fate,
) -> None:
    """Do what `fill` says, on whatever thread this is."""
    # Imported at the first request: they bring the tokenizers library, which %load_ext need not wait for.
    from fim_magic.events import Finished, Grew, Waits
    from fim_magic.pipeline import run

    session = _session(shell)
    session.check_allowed()
    model, request, loading = request_at(session, document, **{**options, "candidates": 1})
    with session.in_use():
        loaded = wait_for_model(session, model, loading, stop, put)
        session.tell(loaded.engine.info.model, loaded.notices)  # a prompt shows what is printed above itself
        request.permission.require(loaded.engine.info)
        put(FILLING)
        request = replace(request, method=method_for(document, loaded.engine))
        request = session.in_notebook(request, options.get("context"))
        session.last_prompt = prompt_sheet(request, loaded.engine)
        for event in run(request, loaded.engine, stop):
            if isinstance(event, Grew):
                put(event.middle)
                if event.middle and not stop.is_set():
                    fate.show(session, loaded.engine.info)
            if isinstance(event, Waits):
                put(event.progress)
            # What was dropped on the way did not fill anything.
            if isinstance(event, Finished) and (fate.is_taken or not stop.is_set()):
                fate.keep(session.remember(request, model, loading, event.result))
            if isinstance(event, Finished) and event.result.broken_off:
                raise ServerError(event.result.broken_off)


def request_at(session: Session, document: Document, **options: Any) -> tuple[str, Request, dict[str, Any]]:
    """Turn a text with a caret in it, and the options of `%%fim`, into a model's name, a request and how to load it.

    Raises:
        FimError: The text holds half a character, an option makes no sense, or no model is chosen.
    """
    check_whole(document.prefix + document.replaced + document.suffix)
    # The text may hold markers, which are nothing but text here: the caret is the hole.
    model, request = session.settings.request("", complete=True, **options)
    session.choice.require(options.get("model"))
    loading = session.loading_of(model, {name: options.get(name) for name in LOADING})
    return model, replace(request, document=document), loading


def method_for(document: Document, engine: Engine) -> str:
    """Return how a hole at a caret is filled: from left to right where the model cannot infill and nothing follows."""
    return "fim" if engine.family.can_infill or document.suffix.strip() else "complete"


def wait_for_model(
    session: Session,
    model: str,
    loading: dict[str, Any],
    stop: threading.Event,
    put: Callable[[Progress], None],
) -> Loaded:
    """Return the model, and load it first if need be: in the background, where that goes on if this is stopped.

    Args:
        session: Whose model it is.
        model: Its name.
        loading: How it is loaded, as of `request_at`.
        stop: Ends the waiting.
        put: Gets what is waited for.

    Raises:
        FimError: It cannot be loaded.
        StoppedError: `stop` was set.
    """
    from fim_magic.loading.spec import ModelSpec

    def on_progress(progress: Progress) -> None:
        if stop.is_set():
            raise StoppedError
        put(progress)

    spec = ModelSpec.of(model, **loading)
    session.models.begin(spec, on_progress)
    return session.models.use(spec, on_progress)


def _session(shell: Any) -> Session:
    from fim_magic.kernel import magics_of

    magics = magics_of(shell)
    if magics is None:
        raise FimError("fim-magic is not loaded here. Load it with: %load_ext fim_magic")
    session: Session = magics.session
    return session
