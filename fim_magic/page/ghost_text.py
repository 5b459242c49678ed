"""Ghost text on a page: short answers that come and go with what is typed, and count only when they are taken."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fim_magic.caret import Fate, method_for, request_at
from fim_magic.errors import BusyError, ModelError, OptionError
from fim_magic.frontends import OF_PAGES
from fim_magic.page.messages import Asked
from fim_magic.provenance import Record, decide, of_cell
from fim_magic.session import Session
from fim_magic.session_notebook import SessionNotebook

if TYPE_CHECKING:
    from fim_magic.engines import EngineInfo

_TOKENS = 64  # of one answer: a block of some lines
_PATIENCE_SECONDS = 5.0  # while a cell is filled, where somebody has asked
_MOST_KEPT = 16  # answers that may still be taken
_NOTHING_LOADED = (
    "Ghost text begins when a model is loaded, and loads none by itself: run a cell with %fim use NAME, or fill a hole."
)

Tell = Callable[[dict[str, Any]], None]


@dataclass
class _Answer:
    """An answer that may be taken, now or when it is done.

    Attributes:
        asked: What for.
        info: What its model is.
        remember: Puts it into the session's history, and returns its record; None while it is not done.
        record: That, once it is there.
        taken: What the user did with which candidate before it was done.
        fate: Counts it once it is seen, where that is switched on.
    """

    asked: Asked
    info: EngineInfo
    remember: Callable[[], Record] | None = None
    record: Record | None = None
    taken: tuple[int, str] | None = None
    fate: Fate = field(default_factory=lambda: Fate("ghost", OF_PAGES))


class GhostText:
    """One page's ghost text."""

    def __init__(self, session: Session, tell: Tell) -> None:
        """Answer with a session's model; `tell` sends the page a message."""
        self._session = session
        self._tell = tell
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, _Answer] = OrderedDict()

    def answer(self, asked: Asked, notebook: SessionNotebook, stop: threading.Event) -> None:
        """Stream an answer to the page. A request that gives way: one that is asked for in a cell ends it.

        Args:
            asked: The cell with the cursor.
            notebook: As the page shows it.
            stop: Ends it at the next token.

        Raises:
            FimError: Something that the user can mend.
        """
        from fim_magic.events import Finished, Grew
        from fim_magic.loading.spec import ModelSpec
        from fim_magic.pipeline import run

        session = self._session
        settings = session.settings
        if settings.ghost == "off":  # with "key", a page asks by itself only where its own settings say so
            raise OptionError('Ghost text is off: %config FimMagics.ghost = "key" or "auto" switches it on.')
        session.check_allowed(metadata=asked.metadata)
        most = min(settings.max_new_tokens, _TOKENS)
        options = {"candidates": asked.candidates, "max_new_tokens": most}
        model, request, loading = request_at(session, asked.document, **options)
        loaded = session.models.loaded
        if loaded is None or not loaded.answers(ModelSpec.of(model, **loading)):
            raise ModelError(_NOTHING_LOADED)
        engine = loaded.engine
        request.permission.require(engine.info)
        if asked.is_automatic:
            settings.permission_for_typing().require_for_typing(engine.info)
        request = replace(request, method=method_for(asked.document, engine), is_short=True)
        answer = self._begun(asked, engine.info)
        with session.in_use():
            request = session.in_notebook(request, notebook=notebook)
            first = ""
            try:
                wait_seconds = 0.0 if asked.is_automatic else _PATIENCE_SECONDS
                for event in run(request, engine, stop, gives_way=True, wait_seconds=wait_seconds):
                    if isinstance(event, Grew) and event.candidate == 0 and event.middle != first:
                        first = event.middle
                        self._tell({"type": "text", "id": asked.id, "text": first})
                    if isinstance(event, Finished):
                        result = event.result
            except BusyError:
                if asked.is_automatic:
                    stop.set()  # a cell is being filled: nobody has to be told that this waits
                raise
            except KeyboardInterrupt:
                stop.set()
                raise
        shown = next((one for one in result.candidates if one.middle.startswith(first)), result.candidates[0])
        result = result.beginning_with(shown)
        texts = [candidate.middle for candidate in result.candidates]
        self._done(answer, lambda: session.remember(request, model, loading, result))
        if stop.is_set():
            self._tell({"type": "none", "id": asked.id, "reason": ""})
        else:
            self._tell({"type": "done", "id": asked.id, "texts": texts, "notices": []})

    def see(self, name: str) -> None:
        """Note that the user sees an answer, for which it counts as offered: one may be made that is never shown.

        Args:
            name: The page's name for the request.
        """
        with self._lock:
            answer = self._answers.get(name)
        if answer is not None:
            answer.fate.show(self._session, answer.info)

    def take(self, name: str, candidate: Any, how: str) -> None:
        """Note that the user has taken an answer, or a part of one: it is in the history from then on.

        Args:
            name: The page's name for the request.
            candidate: Which of its answers, from 0.
            how: "accept" or "part".
        """
        with self._lock:
            answer = self._answers.get(name)
            if answer is None or type(candidate) is not int or how not in ("accept", "part"):
                return
            answer.taken = (max(candidate, 0), how)
        answer.fate.show(self._session, answer.info)  # it was seen, if only now
        answer.fate.take(how)
        self._note(answer)

    def drop(self, name: str) -> None:
        """Note that the user has seen an answer, and does not see it any more. What was taken of it stays taken.

        Args:
            name: The page's name for the request.
        """
        with self._lock:
            answer = self._answers.get(name)
        if answer is not None:
            answer.fate.drop()

    def _begun(self, asked: Asked, info: EngineInfo) -> _Answer:
        with self._lock:
            answer = self._answers[asked.id] = _Answer(asked, info)
            before = self._answers.get(asked.instead)
            if before is not None:
                answer.fate = before.fate  # to the user it is one offer, which grows
            while len(self._answers) > _MOST_KEPT:
                self._answers.popitem(last=False)
            return answer

    def _done(self, answer: _Answer, remember: Callable[[], Record]) -> None:
        with self._lock:
            answer.remember = remember
        self._note(answer)

    def _note(self, answer: _Answer) -> None:
        """Put what was taken into the history, and tell the page what belongs into the cell's metadata."""
        with self._lock:
            if answer.taken is None or answer.remember is None:
                return
            if answer.record is None:
                answer.record = answer.remember()
            record, (candidate, how) = answer.record, answer.taken
            candidate = min(candidate, len(record["candidates"]) - 1)
            decide(record, how, candidate)
        asked = answer.asked
        told = {"type": "record", "id": asked.id, "cell_id": asked.cell_id, "record": of_cell(record, candidate)}
        self._tell(told)
