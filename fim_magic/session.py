"""What one notebook or terminal has: its model, its last answer and prompt, its history, and what was said to its user.

The magics parse a line and call this; ghost text in a terminal does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fim_magic.errors import FimError, ModelError, OptionError
from fim_magic.frontends import OF_PAGES, accept_now, recognise
from fim_magic.frontends.interface import KernelMessage
from fim_magic.history import History, chosen
from fim_magic.loading.idle import IdleLimit
from fim_magic.model_choice import ModelChoice
from fim_magic.settings import LOADING, Settings
from fim_magic.visible import plain_text, say

# What brings the tokenizers library or more is imported at the first request: %load_ext imports this.

if TYPE_CHECKING:
    import threading

    from fim_magic.candidate import Candidate, Result
    from fim_magic.engines import Engine, EngineInfo
    from fim_magic.events import OnGrow, OnWait
    from fim_magic.frontends import Owner
    from fim_magic.loading.loaded import Loaded
    from fim_magic.loading.manager import ModelManager
    from fim_magic.outcomes import Outcome
    from fim_magic.provenance import Record
    from fim_magic.request import Request
    from fim_magic.review.prompt import PromptSheet
    from fim_magic.session_notebook import SessionNotebook


class Session:
    """One user's work with models in one shell.

    Attributes:
        settings: The options' defaults, as they are configured at the time of each request.
        last: The last answer, or None.
        last_prompt: Lays out the prompt of the last request, or None.
        history: The requests that are finished.
        used: What the last `%fim use` said, by option.
        choice: Whether there is a model for the next request.
    """

    def __init__(self, shell: Any, settings: Settings, models: ModelManager | None = None) -> None:
        self.settings = settings
        if models is not None:
            self.models = models
        self.last: Result | None = None
        self.last_prompt: Callable[[], PromptSheet] | None = None
        self.history = History()
        self._last_told: tuple[Record, Outcome] | None = None  # who hear what becomes of the last answer
        self.used: dict[str, Any] = {}
        self.choice = ModelChoice(settings, lambda: self.models)
        self._shell = shell
        self._shown_notices: tuple[str, set[str]] = ("", set())  # a model, and what was shown of it
        self._uses = 0  # of models, after the last request of this notebook
        self._cell_ids: set[str] = set()  # of those that ran, where the front end tells them
        self.saw_cell()  # the one that loads the extension
        self._idle = IdleLimit(self.rest, 60 * settings.idle_minutes)

    def close(self) -> None:
        self._idle.close()

    def saw_cell(self) -> None:
        """Keep the id of the running cell: by it, this session's notebook is told from others."""
        cell_id = KernelMessage.of(self._shell).cell_id
        if cell_id:
            self._cell_ids.add(cell_id)

    # --- the model -------------------------------------------------------------------------------

    @cached_property
    def models(self) -> ModelManager:
        """Where models are loaded."""
        from fim_magic.loading.manager import MODELS

        return MODELS

    def loading_of(self, model: str, given: dict[str, Any]) -> dict[str, Any]:
        """Say how to load a model: as this call does, else as `%fim use` did for it, else as the settings do.

        Args:
            model: Its name.
            given: What this call says, by option; None where it says nothing.
        """
        used = self.used if self.used.get("model") == model else {}
        options = {name: used.get(name) if given[name] is None else given[name] for name in LOADING}
        return {**self.settings.loading(**options), "allow_code": used.get("allow_code", False)}

    def load(self, model: str, *, keeps_progress: bool = True, **loading: Any) -> Loaded:
        """Return a model. It loads in the background, so that an interrupt ends the waiting and not the load.

        Args:
            model: Its name.
            keeps_progress: Whether what was shown of a load that had begun before stays.
            **loading: As of `loading_of`.

        Raises:
            FimError: It cannot be loaded, or the user has interrupted the waiting.
        """
        from fim_magic.loading.spec import ModelSpec
        from fim_magic.review.progress import NotebookProgress

        spec = ModelSpec.of(model, **loading)
        was_coming = self.models.loading is not None
        with NotebookProgress(self._shell) as progress:
            try:
                self.models.begin(spec, progress)
                loaded = self.models.use(spec, progress)
            except KeyboardInterrupt:
                coming = self.models.loading
                if coming is None:
                    raise
                raise FimError(
                    f"Interrupted. {coming.name} goes on loading: run the cell again to wait for it, or stop it with "
                    "%fim unload."
                ) from None
            if was_coming and not keeps_progress:
                progress.clear()
            else:
                progress.loaded(loaded)
        self.tell(loaded.engine.info.model, loaded.notices)
        return loaded

    def begin(self, model: str, loading: dict[str, Any]) -> None:
        """Fetch what has to be fetched, begin to load, and say what is to be known of the model.

        Raises:
            FimError: It cannot be fetched or loaded.
        """
        from fim_magic.loading.loaded import PendingLoad
        from fim_magic.loading.spec import ModelSpec
        from fim_magic.review.progress import NotebookProgress

        self._shown_notices = ("", set())
        with self.in_use(), NotebookProgress(self._shell) as progress:
            there = self.models.begin(
                ModelSpec.of(model, **loading),
                progress,
                again=True,
                on_end=lambda coming: progress.ended(coming, self.models.loaded),
            )
            if isinstance(there, PendingLoad):
                progress.begun(there)
                self.tell(there.name, there.notices)
            else:
                say(plain_text(f"{there.engine.info.model} is loaded on {there.engine.info.runs_on}."))
                self.tell(there.engine.info.model, there.notices)

    def begin_configured(self) -> None:
        """Begin to load the model that the user has configured, if it is on this machine; "auto" waits."""
        if self.settings.model == "auto":
            return
        try:
            loading = self.settings.loading()
        except OptionError:
            return  # told when it is used
        from fim_magic.loading.spec import ModelSpec

        with self.in_use():
            self.models.begin_if_here(ModelSpec.of(self.settings.model, **loading))

    def tell(self, model: str, notices: Iterable[str], say: Callable[[str], None] = say) -> None:
        """Say what the user should know of a model, once; on a page, by its own `say`."""
        if self._shown_notices[0] != model:
            self._shown_notices = (model, set())
        for notice in notices:
            if notice not in self._shown_notices[1]:
                self._shown_notices[1].add(notice)
                say(plain_text(notice))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the model as long as the block lasts; its idle time counts from then."""
        with self._idle.used():
            try:
                yield
            finally:
                self._uses = self.models.uses

    def announcement(self, model: str) -> str:
        """Say what has to be allowed before a model can be asked, or ""."""
        from fim_magic.allowed_hosts import announcement

        return announcement(model, self.settings.permission())

    def where_text_goes(self) -> str:
        """Say which other hosts may get text, and whether the model that is loaded computes on one."""
        from fim_magic.allowed_hosts import allowed_now

        info = None if self.models.loaded is None else self.models.loaded.engine.info
        return "\n".join(map(plain_text, allowed_now(self.settings.permission(), info)))

    def rest(self) -> bool:
        """Unload the idle model; not if the Python interface has used it meanwhile. Returns whether it may be idle."""
        from fim_magic import pipeline

        seen, self._uses = self._uses, self.models.uses
        if seen != self._uses or pipeline.busy():
            return False
        self.models.unload_idle()
        return True

    def set_idle_minutes(self, minutes: float) -> None:
        """Say after how many minutes without a request a model is unloaded; 0 is never."""
        self._idle.set(60 * minutes)

    # --- requests --------------------------------------------------------------------------------

    def check_allowed(self, *, hint: bool = False, metadata: object = None) -> None:
        """Raise if the settings, or the notebook's metadata, do not let a hole be filled, or not without `hint`.

        Args:
            hint: Whether only a hint is asked for.
            metadata: As of `permission.check_allowed`.

        Raises:
            FillingOffError: They do not, or what the notebook says cannot be read.
        """
        from fim_magic.permission import check_allowed

        settings = self.settings
        ids, markers = self._cell_ids, settings.markers
        check_allowed(self._shell, settings.filling, cell_ids=ids, markers=markers, hint=hint, metadata=metadata)

    def notebook(self, current: str = "") -> SessionNotebook:
        """Return the file of this session's notebook; `current` is the cell that is filled."""
        from fim_magic import kernel

        return kernel.notebook_of(self._shell, current, self._cell_ids, self.settings.markers)

    def in_notebook(
        self, request: Request, context: str | None = None, notebook: SessionNotebook | None = None
    ) -> Request:
        """Return a request with what the notebook around it says: context, names, and the cells that checks need.

        Args:
            request: What is asked.
            context: One of `fim_magic.context.MODES`; None for what is configured.
            notebook: As the page shows it that asks; None for the file of this session's.

        Raises:
            OptionError: There is no such context.
        """
        from fim_magic import kernel
        from fim_magic.checks import in_cells

        markers = self.settings.markers
        mode = self.settings.context if context is None else context
        document = request.document
        notebook = notebook or self.notebook(document.as_typed)
        return replace(
            request,
            context=kernel.context_for(self._shell, document, mode, markers=markers, notebook=notebook),
            known=kernel.defined_names(self._shell, markers, notebook),
            check_spec=in_cells(request.check_spec, kernel.executed_cells(self._shell)),
        )

    def remember(self, request: Request, model: str, loading: dict[str, Any], result: Result) -> Record:
        """Keep a finished request for `%fim log` and `%fim replay`. Arguments as of `answer`.

        Returns:
            Its record. What the user decides is to be added to it.
        """
        from fim_magic import provenance

        record = provenance.record(result)
        # As it was read: a model that is loaded anew may be measured to read faster or slower.
        request = replace(request, max_prompt_tokens=result.max_prompt_tokens)
        self.history.add(request, model, loading, result, record)
        return record

    def offered(self, model: Result | EngineInfo, kind: str, front_end: str = "") -> Outcome:
        """Count an answer that the user sees from now on, if that is switched on. Tell it what the user decides.

        Arguments as of `outcomes.Subject.today`, but "" is the front end that the running cell comes from.
        """
        from fim_magic.outcomes import Outcome, Subject

        front_end = front_end or recognise(self._shell).name
        return Outcome(Subject.today(model, kind, front_end) if self.settings.stats and front_end else None)

    def answer(
        self,
        request: Request,
        engine: Engine,
        model: str,
        loading: dict[str, Any],
        *,
        accept: bool = False,
        owner: Owner | None = None,
        stop: threading.Event | None = None,
        say: Callable[[str], None] = say,
    ) -> Result:
        """Run a request and show it, with buttons unless it is accepted at once.

        Args:
            request: What is asked.
            engine: The loaded model.
            model: Its name, as the user has given it.
            loading: How it is loaded: as of `loading_of`.
            accept: Whether the rebuilt cell goes below without asking.
            owner: The cell that it is shown below; by default the one that runs.
            stop: Ends it, as Ctrl-C does.
            say: Tells the user what went wrong.

        Raises:
            FimError: As `pipeline.run` says.
        """
        from fim_magic.pipeline import follow
        from fim_magic.provenance import decide
        from fim_magic.review import View

        view = View(
            self._shell,
            request.document,
            title=engine.info.model,
            ask=not accept,
            unfilled=request.unfilled,
            details=self.settings.details,
            owner=owner,
        )
        try:
            result = view.settle(follow(request, engine, view.grow, view.offer, view.wait, stop))
        except BaseException:
            view.stop("it was stopped before it was done")
            raise
        record = self.remember(request, model, loading, result)

        def ask(short: Candidate | None, on_grow: OnGrow) -> Result:
            return self._another(request, model, loading, short, on_grow, view.wait)

        kind, front_end = (result.method, "") if owner is None else ("caret", OF_PAGES)
        outcome = self.offered(result, kind, front_end)
        if accept:
            decide(record, "accept", 0)
            outcome.decided("accept")
        view.finish(result, record=record, on_decision=lambda decision, _index: outcome.decided(decision), ask=ask)
        if result.broken_off:
            say(result.broken_off)
        if accept:
            accept_now(self._shell, result.text)
        self.last, self._last_told = result, (record, outcome)
        return result

    def _another(
        self,
        request: Request,
        model: str,
        loading: dict[str, Any],
        short: Candidate | None,
        on_grow: OnGrow,
        on_wait: OnWait | None = None,
    ) -> Result:
        """Ask for one other answer to a request, or for one that goes on where a short one ends."""
        from fim_magic.loading.spec import ModelSpec
        from fim_magic.pipeline import follow

        self.check_allowed()
        new_request = request.again() if short is None else request.longer(short)
        new_request = replace(new_request, permission=self.settings.permission(request.permission.context))
        with self.in_use():
            engine = self.models.use(ModelSpec.of(model, **loading)).engine
            other = follow(new_request, engine, on_grow, on_wait=on_wait)
        if short is not None and other.middle == short.middle:
            raise ModelError("The model has nothing to add to it.")
        if self.last is not None and self.last.document is request.document:  # no other cell was filled meanwhile
            self.last = self.last.with_candidate(other.candidates[0])
        return other

    def accept(self, which: str, *, imports: bool = True) -> None:
        """Turn the running cell into the whole text with one of the last answer's candidates.

        Args:
            which: Its number, from 1, as the user has typed it; "" is the first.
            imports: Whether with the imports that are offered.

        Raises:
            OptionError: There is no such candidate.
        """
        from fim_magic.provenance import decide

        result, index = chosen(self.last, which)
        accept_now(self._shell, result.candidates[index].text_in(result.document, imports=imports), replace=True)
        if self._last_told is not None:
            record, outcome = self._last_told
            decide(record, "accept", index, imports=imports)
            outcome.decided("accept")
