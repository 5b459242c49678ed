"""`%%fim`, `%%complete` and `%fim`. Here, in `frontends` and, on a terminal, in `ghost`, fim-magic meets IPython."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import traitlets
from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import MagicArgumentParser, argument, magic_arguments, parse_argstring

from fim_magic.auto import AutoFill
from fim_magic.classroom import HINTS, check, of_notebook, strictest
from fim_magic.classroom import hint as hint_of
from fim_magic.errors import FimError, ModelError, OptionError
from fim_magic.frontends import notebook_path
from fim_magic.history import History
from fim_magic.loading.idle import IdleLimit
from fim_magic.settings import LOADING, Option, Settings, options_of

if TYPE_CHECKING:
    from fim_magic.candidate import Candidate, Result
    from fim_magic.engines import Engine
    from fim_magic.events import OnGrow
    from fim_magic.formats import Prompt
    from fim_magic.loading.registry import Loaded
    from fim_magic.provenance import Record
    from fim_magic.request import Request
    from fim_magic.review.prompt import Sheet


_P = ParamSpec("_P")
_WITHOUT_IMPORTS = "--no-imports"


def _with_errors_for_the_user(method: Callable[_P, None]) -> Callable[_P, None]:
    """Show what a user can mend as one paragraph, without a traceback."""

    @wraps(method)
    def told(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            return method(*args, **kwargs)
        except FimError as error:
            message = str(error)
        except KeyboardInterrupt:
            message = "Interrupted. Nothing was changed; run the cell again."
        # Not within the except: shells keep the last error, an error keeps the one that it was raised from, and that
        # one's frames the request's memory, which is wanted back when it has run out.
        raise UsageError(message)

    return told


def _typed(option: Option) -> Callable[[str], Any]:
    """Return what reads an option's value from a magic's line, where IPython keeps the quotes around words."""
    return _unquoted if option.type is str else option.type


def _unquoted(text: str) -> str:
    quoted = re.fullmatch(r"""(["'])(.*)\1""", text)
    return quoted[2] if quoted else text


def _with_options(function: Any) -> Any:
    """Give a cell magic every option of `Settings`, and those that only a notebook has."""
    for name, option in reversed(options_of(Settings).items()):
        function = argument(*option.flags, dest=name, type=_typed(option), **option.typed)(function)
    for flag, text in (
        ("--accept", "do not ask: put the rebuilt cell below at once"),
        ("--show-prompt", "show the prompt that the model would get, token by token, and stop there"),
    ):
        function = argument(flag, action="store_true", help=text)(function)
    hint = "show no answer but a hint: its first line, or an outline"
    function = argument("--hint", nargs="?", const=HINTS[0], choices=HINTS, help=hint)(function)
    return argument("--into", metavar="NAME", help="keep the result in this variable")(function)


@magics_class
class FimMagics(Magics, Settings):
    """The magics, and the defaults of their options: `%config FimMagics` lists them."""

    def __init__(self, shell: Any, **kwargs: Any) -> None:
        super().__init__(shell, **kwargs)  # type: ignore[call-arg] # Magics comes first, and has no types
        self._raw_cell = ""
        self._last: Result | None = None
        self._last_prompt: Callable[[], Sheet] | None = None
        self._used: dict[str, Any] = {}  # what the last %fim use said
        self._told: tuple[str, set[str]] = ("", set())  # a model, and what was said about it
        self._uses = 0  # of the registry, after the last request of this notebook
        self._history = History()
        self._auto_fill = AutoFill(lambda: self.markers)
        self._set_auto(self.auto)
        self._idle = IdleLimit(self._rest, 60 * self.idle_minutes)

    @no_var_expand
    @magic_arguments("%fim")
    @_with_options
    @cell_magic
    def fim(self, line: str, cell: str) -> None:
        """Fill the hole at the <cursor> in this cell.

        The model sees what stands before the marker and after it, and writes what belongs between. The cell does not
        run and does not change; a diff shows the answer as it grows, with buttons to put the rebuilt cell below.

            %%fim
            def mean(xs):
                <cursor>
                return total / len(xs)
        """
        self._fill("fim", line, cell)

    @no_var_expand
    @magic_arguments("%complete")
    @_with_options
    @cell_magic
    def complete(self, line: str, cell: str) -> None:
        """Continue this cell left to right, from its <cursor> or else from its end.

        What stands after the marker is kept in the rebuilt cell, and not shown to the model. Works with every model,
        also with those that cannot infill.
        """
        self._fill("complete", line, cell)

    @no_var_expand
    @line_magic("fim")
    @_with_errors_for_the_user
    def command(self, line: str) -> None:
        """Look after the model.

        %fim                what is loaded, where it runs, and how the last request went

        %fim use NAME       load a model: a short name, a folder, a .gguf file, or owner/name on the Hub. It loads in
        the background, and the next request waits for it

          NAME@REVISION       the Hub's model as it was at that commit

          --quantize 8bit     or 4bit: in less GPU memory

          --family NAME       the model's family, where nothing in its files tells it

          --engine gguf       or torch: what runs it; gguf is llama.cpp, for .gguf files

          --allow-code        run the code that the model brings, if NAME@REVISION is a full commit: read it first

        %fim models [WORD]  the models that have a short name, or those with WORD in it, and what fits this machine

        %fim accept [K]     turn this cell into the last answer (the K-th of several); --no-imports: without its import

        %fim prompt         the prompt of the last request as the model saw it, token by token

        %fim log [K]        what was filled in this session: model, order, tokens, time, and what you decided; with a
        number all that is known of one of them

        %fim replay [K]     make the K-th of them again, or the last, and say whether the answer is the same

        %fim auto on        fill every cell that holds a marker, without %%fim; off ends that

        %fim unload         give the model's memory back, or stop loading it. A model that is not used for
        FimMagics.idle_minutes (30) is unloaded by itself, and loaded again by the next %%fim

        %fim doctor         versions, device, memory, caches and network, and what to do about them
        """
        name, _, rest = line.strip().partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "": self._status,
            "status": self._status,
            "use": self._use,
            "models": self._models,
            "accept": self._accept,
            "prompt": self._prompt,
            "log": self._log,
            "replay": self._replay,
            "auto": self._auto,
            "unload": self._unload,
            "doctor": self._doctor,
        }
        if name not in commands:
            known = ", ".join(f"%fim {command}" for command in commands if command)
            raise OptionError(f"There is no %fim {name}; there is {known}. To fill a hole, begin the cell with %%fim.")
        commands[name](rest.strip())

    def check_allowed(self, *, hint: bool = False) -> None:
        """Raise if the settings, or the notebook's metadata, do not let a hole be filled, or not without `hint`.

        Raises:
            FillingOffError: They do not.
        """
        check(strictest(self.filling, of_notebook(notebook_path(self.shell))), hint=hint)

    def remember_cell(self, info: Any) -> None:
        """Keep the cell as the user typed it (a `pre_run_cell` event)."""
        self._raw_cell = info.raw_cell or ""

    def in_notebook(self, request: Request, context: str | None = None) -> Request:
        """Return a request with what the notebook around it says: context, names, and the cells that checks need.

        Args:
            request: What is asked.
            context: One of `fim_magic.context.MODES`; None for what is configured.

        Raises:
            OptionError: There is no such context.
        """
        from fim_magic import session
        from fim_magic.checks import in_cells

        mode = self.context if context is None else context
        cells = session.executed_cells(self.shell)
        return replace(
            request,
            context=session.context_for(self.shell, request.document, mode, markers=self.markers),
            known=session.defined_names(self.shell, self.markers),
            asked=in_cells(request.asked, cells),
        )

    def remember_prompt(self, request: Request, engine: Engine) -> None:
        """Keep the prompt of a request for `%fim prompt`.

        Raises:
            FimError: The model cannot be asked this.
        """
        self._last_prompt = _prompt_sheet(request, engine)

    def remember(self, request: Request, model: str, loading: dict[str, Any], result: Result) -> Record:
        """Keep a finished request for `%fim log` and `%fim replay`.

        Args:
            request: What was asked.
            model: Its name, as the user has given it.
            loading: How it is loaded: the keyword arguments of `engines.registry.use`.
            result: The answer.

        Returns:
            Its record. What the user decides is to be added to it.
        """
        from fim_magic.provenance import record

        told = record(result)
        self._history.add(request, model, loading, result, told)
        return told

    @_with_errors_for_the_user
    def _fill(self, method: str, line: str, cell: str) -> None:
        options = dict(vars(parse_argstring(getattr(self, method), line)))
        accept, show_prompt, into, hint = (options.pop(name) for name in ("accept", "show_prompt", "into", "hint"))
        if into is not None and not into.isidentifier():
            raise OptionError(f"--into needs the name of a variable; {into!r} is none.")
        if not show_prompt:
            self.check_allowed(hint=hint is not None)
        context = options["context"]
        model, request = self.request(self._body(method, line, cell), complete=method == "complete", **options)
        loading = self._loading(model, options)
        with self._in_use():
            engine = self._load(model, **loading).engine
            request = self.in_notebook(request, context)
            prompt = _prompt_sheet(request, engine)  # what cannot be asked is refused before anything is shown
            if show_prompt:
                self._show_prompt(prompt)
                return
            self._last_prompt = prompt
            if hint is not None:
                self._show_hint(request, engine, hint)
                return
            self._last = self._answer(request, engine, model, loading, accept=accept)
        if into is not None:
            self.shell.user_ns[into] = self._last

    def _body(self, method: str, line: str, cell: str) -> str:
        """Return the cell's body byte for byte.

        IPython strips `>>>` prompts and adds a line end before a magic sees its cell, so the body is taken from the
        cell as it was typed. A cell that some code passed to `run_cell_magic` was not typed.
        """
        first, _, body = self._raw_cell.lstrip().partition("\n")
        typed = first.split() == f"%%{method} {line}".split()
        if self.auto and not line and self._auto_fill.fills(self._raw_cell):
            return self._raw_cell
        return body if typed else cell.removesuffix("\n")

    def _answer(
        self, request: Request, engine: Engine, model: str, loading: dict[str, Any], *, accept: bool = False
    ) -> Result:
        """Run a request and show it, with buttons unless it is accepted at once."""
        from fim_magic.frontends import accept_now
        from fim_magic.loading import registry
        from fim_magic.pipeline import follow
        from fim_magic.review import View

        view = View(
            self.shell,
            request.document,
            title=engine.info.model,
            ask=not accept,
            unfilled=request.unfilled,
            details=self.details,
        )
        try:
            result = view.settle(follow(request, engine, view.grow, view.offer))
        except BaseException:
            view.stop("it was stopped before it was done")
            raise
        told = self.remember(request, model, loading, result)

        def ask(short: Candidate | None, on_grow: OnGrow) -> Result:
            asked = request.again() if short is None else request.longer(short)
            with self._in_use():
                other = follow(asked, registry.use(model, **loading).engine, on_grow)
            if short is not None and other.middle == short.middle:
                raise ModelError("The model has nothing to add to it.")
            if self._last is not None and self._last.document is request.document:  # no other cell was filled meanwhile
                self._last = self._last.with_candidate(other.candidates[0])
            return other

        view.finish(result, record=told, ask=ask)
        if accept:
            accept_now(self.shell, result.text)
        return result

    def _show_hint(self, request: Request, engine: Engine, kind: str) -> None:
        from IPython.display import publish_display_data

        from fim_magic.pipeline import follow
        from fim_magic.review.render import code_html
        from fim_magic.review.text import plain_lines

        code = hint_of(follow(request, engine).middle, kind)
        title = {"line": "Hint: the first line", "outline": "Hint: what kind of lines they are"}[kind]
        if not code:
            title = "No hint: the model has written nothing."
        plain = plain_lines(f"{title}\n{code}")
        if getattr(self.shell, "kernel", None) is None:
            print(plain)
        else:
            publish_display_data({"text/html": code_html(title, code), "text/plain": plain})

    def _log(self, number: str) -> None:
        from fim_magic.reports.log import log, request

        print(request(self._history.entry(number)) if number else log(self._history.entries))

    def _replay(self, number: str) -> None:
        from fim_magic.replay import compare

        entry = self._history.entry(number)
        with self._in_use():
            engine = self._load(entry.model, **entry.loading).engine
            self._last = self._answer(entry.request, engine, entry.model, entry.loading)
        print(compare(entry.record, self._last)[1])

    def _auto(self, word: str) -> None:
        if word not in ("", "on", "off"):
            raise OptionError(f"%fim auto is on or off; {word!r} is neither.")
        if word:
            self.auto = word == "on"
        if self.auto:
            print(f"A cell that holds a marker ({self.markers[0]}) is filled without %%fim. %fim auto off ends that.")
        else:
            print(
                "A cell is filled only where it begins with %%fim or %%complete. %fim auto on fills all with a marker."
            )

    @traitlets.observe("auto")
    def _auto_changed(self, change: Any) -> None:
        if hasattr(self, "_auto_fill"):  # not while the settings are read
            self._set_auto(change.new)

    def _set_auto(self, on: bool) -> None:
        transformers = self.shell.input_transformers_cleanup
        if self._auto_fill in transformers:
            transformers.remove(self._auto_fill)
        if on:
            transformers.insert(0, self._auto_fill)  # before IPython takes white space and prompts away

    def _loading(self, model: str, given: dict[str, Any]) -> dict[str, Any]:
        """Say how to load `model`: as this call does, else as %fim use did for it, else as the settings do."""
        used = self._used if self._used.get("model") == model else {}
        options = {name: used.get(name) if given[name] is None else given[name] for name in LOADING}
        return {**self.loading(**options), "allow_code": used.get("allow_code", False)}

    def _load(self, model: str, **loading: Any) -> Loaded:
        """Return a model. It loads in the background, so that whoever does not want to wait does not have to."""
        from fim_magic.loading import registry
        from fim_magic.review.progress import NotebookProgress

        was_coming = registry.loading() is not None
        with NotebookProgress(self.shell) as progress:
            try:
                registry.begin(model, progress, **loading)
                loaded = registry.use(model, progress, **loading)
            except KeyboardInterrupt:
                coming = registry.loading()
                if coming is None:
                    raise
                raise FimError(
                    f"Interrupted. {coming.name} goes on loading: run the cell again to wait for it, or stop it with "
                    "%fim unload."
                ) from None
            if was_coming and self._raw_cell.lstrip().startswith("%%"):
                progress.clear()  # the cell that began it says that it is loaded; this one's output is the answer
            else:
                progress.loaded(loaded)
        self._tell(loaded.engine.info.model, loaded.notices)
        return loaded

    def _tell(self, model: str, notices: Iterable[str]) -> None:
        """Say what the user should know of a model, once."""
        if self._told[0] != model:
            self._told = (model, set())
        for notice in notices:
            if notice not in self._told[1]:
                self._told[1].add(notice)
                print(notice)

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Keep the model as long as the block lasts; its idle time counts from then."""
        from fim_magic.loading import registry

        with self._idle.used():
            try:
                yield
            finally:
                self._uses = registry.uses()

    def _rest(self) -> bool:
        """Unload the idle model; not if the Python interface has used it meanwhile."""
        from fim_magic import pipeline
        from fim_magic.loading import registry

        seen, self._uses = self._uses, registry.uses()
        if seen != self._uses or pipeline.busy():
            return False
        registry.rest()
        return True

    @traitlets.observe("idle_minutes")
    def _idle_minutes_changed(self, change: Any) -> None:
        if hasattr(self, "_idle"):  # not while the settings are read
            self._idle.set(60 * change.new)

    def begin_configured(self) -> None:
        """Begin to load the model that the user has configured, if it is on this machine; "auto" waits."""
        if self.model == "auto":
            return
        try:
            loading = self.loading()
        except OptionError:
            return  # told when it is used
        from fim_magic.loading import registry

        with self._in_use():
            registry.begin_if_here(self.model, **loading)

    def close(self) -> None:
        """End what goes on by itself."""
        self._set_auto(False)
        self._idle.close()

    def _show_prompt(self, prompt: Callable[[], Sheet]) -> None:
        from fim_magic.review.prompt import show

        show(self.shell, prompt())

    def _status(self, _rest: str) -> None:
        from fim_magic import reports

        print(reports.status(self._last, self.idle_minutes))

    def _use(self, line: str) -> None:
        used = _parse_use(line)
        if not used["model"]:
            raise OptionError(
                "%fim use needs a model's name; %fim models lists the short ones. With options: "
                "%fim use NAME --quantize 4bit"
            )
        loading = {**self.loading(**{name: used[name] for name in LOADING}), "allow_code": used["allow_code"]}
        with self._in_use():
            self._begin(used["model"], loading)
        self.model, self._used = used["model"], used

    def _begin(self, model: str, loading: dict[str, Any]) -> None:
        """Fetch what has to be fetched, begin to load, and say what is to be known of the model."""
        from fim_magic.loading import registry
        from fim_magic.review.progress import NotebookProgress

        self._told = ("", set())
        with NotebookProgress(self.shell) as progress:
            there = registry.begin(model, progress, **loading, again=True, on_end=progress.ended)
            if isinstance(there, registry.Coming):
                progress.begun(there)
                self._tell(there.name, there.notices)
            else:
                print(f"{there.engine.info.model} is loaded on {there.engine.info.place}.")
                self._tell(there.engine.info.model, there.notices)

    def _models(self, word: str) -> None:
        from fim_magic import reports

        print(reports.models(word))

    def _accept(self, which: str) -> None:
        from fim_magic.frontends import accept_now

        if self._last is None:
            raise OptionError("There is no answer to accept yet. Fill a hole with %%fim first.")
        candidates = self._last.candidates
        words = which.split()
        imports = _WITHOUT_IMPORTS not in words
        which = " ".join(word for word in words if word != _WITHOUT_IMPORTS)
        index = int(which) if which.isdecimal() else 1 if not which else 0
        if not 1 <= index <= len(candidates):
            raise OptionError(
                f"%fim accept takes a candidate's number, from 1 to {len(candidates)}; {which!r} is none."
            )
        text = candidates[index - 1].text_in(self._last.document, imports=imports)
        accept_now(self.shell, text, replace=True)

    def _prompt(self, _rest: str) -> None:
        if self._last_prompt is None:
            raise OptionError("There is no prompt to show yet. Fill a hole with %%fim first.")
        self._show_prompt(self._last_prompt)

    def _unload(self, _rest: str) -> None:
        from fim_magic.loading import registry

        coming = registry.loading()
        had_one = registry.unload()
        if coming is not None and coming.load.abandoned:
            print(f"{coming.name} is not loaded any further. What it has taken is given back.")
        else:
            print("The model is unloaded." if had_one else "No model was loaded.")

    def _doctor(self, _rest: str) -> None:
        from fim_magic import reports

        print(reports.doctor())


def _prompt_sheet(request: Request, engine: Engine) -> Callable[[], Sheet]:
    """Build the prompt of a request now, and lay it out when it is asked for. It outlives the model's unloading."""
    from fim_magic.generation import prompt_for
    from fim_magic.review.prompt import lay_out

    prompt = prompt_for(request, engine)
    other = _in_other_order(prompt, request, engine)
    title = f"{engine.info.model} ({engine.info.revision}), {engine.family.name}"
    return partial(lay_out, prompt, other, engine.tokenizer, title)


def _in_other_order(prompt: Prompt, request: Request, engine: Engine) -> Prompt | None:
    from fim_magic.generation import prompt_for

    other = {"psm": "spm", "spm": "psm"}.get(prompt.order)
    if other is None:
        return None
    try:
        return prompt_for(replace(request, order=other), engine)
    except OptionError:  # the model was not trained in it
        return None


def _parse_use(line: str) -> dict[str, Any]:
    """Read what stands behind %fim use. A name needs no quotes: all up to the first option is the name."""
    parser = MagicArgumentParser(prog="%fim use")
    parser.add_argument("rest", nargs="*", type=_unquoted)
    for name in LOADING:
        option = options_of(Settings)[name]
        parser.add_argument(*option.flags, dest=name, type=_typed(option))
    parser.add_argument("--allow-code", action="store_true")
    first = re.search(r"(^|\s)--", line)
    name, typed = (line[: first.start()].rstrip(), line[first.start() :]) if first else (line, "")
    options = dict(vars(parser.parse_argstring(typed)))
    model = " ".join([_unquoted(name), *options.pop("rest")]).strip()
    return {"model": model, **options}


def _undecided() -> dict[str, str]:
    from fim_magic.review.render import undecided

    return undecided()


def load(shell: Any) -> None:
    """Register the magics with a shell."""
    from fim_magic.frontends import prepare

    prepare(shell, _undecided)
    magics = FimMagics(shell)
    shell.register_magics(magics)
    shell.events.register("pre_run_cell", magics.remember_cell)
    if _has_prompt(shell):
        from fim_magic import ghost

        ghost.register(shell)
    magics.begin_configured()


def unload(shell: Any) -> None:
    """Take the magics away from a shell, and unload the model."""
    from fim_magic.loading import registry

    if _has_prompt(shell):
        from fim_magic import ghost

        ghost.unregister(shell)
    registry.unload()
    magics = shell.magics_manager.registry.pop(FimMagics.__name__, None)
    if magics is None:
        return
    magics.close()
    shell.events.unregister("pre_run_cell", magics.remember_cell)
    shell.configurables.remove(magics)
    for kind, name in (("cell", "fim"), ("cell", "complete"), ("line", "fim")):
        shell.magics_manager.magics[kind].pop(name, None)


def _has_prompt(shell: Any) -> bool:
    """Whether the shell is a terminal's, which alone needs what `ghost` imports."""
    return getattr(shell, "pt_app", None) is not None
