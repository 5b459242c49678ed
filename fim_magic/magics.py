"""`%%fim`, `%%complete` and `%fim`. Here, and in `frontends`, fim-magic meets IPython."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from fim_magic.errors import FimError, OptionError
from fim_magic.settings import Settings, options_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from fim_magic.candidate import Result
    from fim_magic.engines.registry import Loaded
    from fim_magic.request import Request


def _with_options(function: Any) -> Any:
    """Give a cell magic every option of `Settings`, and those that only a notebook has."""
    for name, option in reversed(options_of(Settings).items()):
        function = argument(*option.flags, dest=name, type=option.type, help=option.help)(function)
    for flag, text in (
        ("--accept", "do not ask: put the rebuilt cell below at once"),
        ("--show-prompt", "show the prompt that the model gets, piece by piece, and stop there"),
    ):
        function = argument(flag, action="store_true", help=text)(function)
    return argument("--into", metavar="NAME", help="keep the result in this variable")(function)


@magics_class
class FimMagics(Magics, Settings):
    """The magics, and the defaults of their options: `%config FimMagics` lists them."""

    def __init__(self, shell: Any, **kwargs: Any) -> None:
        super().__init__(shell, **kwargs)  # type: ignore[call-arg] # Magics comes first, and has no types
        self._raw_cell = ""
        self._last: Result | None = None
        self._last_request: Request | None = None

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
    def command(self, line: str) -> None:
        """Look after the model.

        %fim                what is loaded, where it runs, and how the last request went

        %fim use NAME       load a model: a short name, a folder, a .gguf file, or owner/name on the Hub

        %fim models         the models that have a short name, and what fits this machine

        %fim accept [K]     turn this cell into the last answer (the K-th of several)

        %fim prompt         the prompt of the last request, piece by piece

        %fim unload         give the model's memory back

        %fim doctor         versions, device, memory, caches and network, and what to do about them
        """
        with _errors_for_the_user():
            name, _, rest = line.strip().partition(" ")
            commands: dict[str, Callable[[str], None]] = {
                "": self._status,
                "status": self._status,
                "use": self._use,
                "models": self._models,
                "accept": self._accept,
                "prompt": self._prompt,
                "unload": self._unload,
                "doctor": self._doctor,
            }
            if name not in commands:
                known = ", ".join(f"%fim {command}" for command in commands if command)
                raise OptionError(
                    f"There is no %fim {name}; there is {known}. To fill a hole, begin the cell with %%fim."
                )
            commands[name](rest.strip())

    def remember_cell(self, info: Any) -> None:
        """Keep the cell as the user typed it (a `pre_run_cell` event)."""
        self._raw_cell = info.raw_cell or ""

    def _fill(self, method: str, line: str, cell: str) -> None:
        with _errors_for_the_user():
            options = dict(vars(parse_argstring(getattr(self, method), line)))
            accept, show_prompt, into = (options.pop(name) for name in ("accept", "show_prompt", "into"))
            if into is not None and not into.isidentifier():
                raise OptionError(f"--into needs the name of a variable; {into!r} is none.")
            model, request = self.request(self._body(method, line, cell), method=method, **options)
            loaded = self._load(model)
            if show_prompt:
                self._show_prompt(request, loaded)
                return
            result = self._answer(request, loaded, accept=accept)
            self._last, self._last_request = result, request
            if into is not None:
                self.shell.user_ns[into] = result

    def _body(self, method: str, line: str, cell: str) -> str:
        """Return the cell's body byte for byte.

        IPython strips `>>>` prompts and adds a line end before a magic sees its cell, so the body is taken from the
        cell as it was typed. A cell that some code passed to `run_cell_magic` was not typed.
        """
        first, _, body = self._raw_cell.lstrip().partition("\n")
        typed = first.split() == f"%%{method} {line}".split()
        return body if typed else cell.removesuffix("\n")

    def _answer(self, request: Request, loaded: Loaded, *, accept: bool) -> Result:
        from fim_magic.frontends import accept_now
        from fim_magic.provenance import record
        from fim_magic.request import Finished, Grew, interruptible, prompt_for, run
        from fim_magic.review import View

        prompt_for(request, loaded.engine)  # what cannot be asked is refused before anything is shown
        view = View(self.shell, request.document, title=loaded.engine.model, ask=not accept)
        try:
            with interruptible() as stop:
                for event in run(request, loaded.engine, stop):
                    if isinstance(event, Grew) and event.candidate == 0:
                        view.grow(event.middle, event.tokens, event.seconds)
                    if isinstance(event, Finished):
                        result = event.result
        except BaseException:
            view.stop("it was stopped before it was done")
            raise
        view.finish(result, record=record(result))
        if accept:
            accept_now(self.shell, result.text)
        return result

    def _load(self, model: str) -> Loaded:
        from fim_magic.engines import registry
        from fim_magic.review.progress import NotebookProgress

        with NotebookProgress(self.shell) as progress:
            loaded = registry.use(model, progress)
            progress.loaded(loaded)
        return loaded

    def _show_prompt(self, request: Request, loaded: Loaded) -> None:
        from fim_magic.formats import describe
        from fim_magic.request import prompt_for

        prompt = prompt_for(request, loaded.engine)
        print(describe(prompt.pieces))
        print(f"{len(prompt.ids)} tokens, {prompt.order or 'left to right'}")

    def _status(self, _rest: str) -> None:
        from fim_magic import reports

        print(reports.status(self._last))

    def _use(self, name: str) -> None:
        if not name:
            raise OptionError("%fim use needs a model's name; %fim models lists the short ones.")
        self._load(name)
        self.model = name

    def _models(self, _rest: str) -> None:
        from fim_magic import reports

        print(reports.models())

    def _accept(self, which: str) -> None:
        from fim_magic.frontends import accept_now

        if self._last is None:
            raise OptionError("There is no answer to accept yet. Fill a hole with %%fim first.")
        candidates = self._last.candidates
        index = int(which) if which.isdecimal() else 1 if not which else 0
        if not 1 <= index <= len(candidates):
            raise OptionError(
                f"%fim accept takes a candidate's number, from 1 to {len(candidates)}; {which!r} is none."
            )
        text = self._last.document.rebuild(candidates[index - 1].middle)
        accept_now(self.shell, text, replace=True)

    def _prompt(self, _rest: str) -> None:
        if self._last_request is None:
            raise OptionError("There is no prompt to show yet. Fill a hole with %%fim first.")
        self._show_prompt(self._last_request, self._load(self.model))

    def _unload(self, _rest: str) -> None:
        from fim_magic.engines import registry

        had_one = registry.unload()
        print("The model is unloaded." if had_one else "No model was loaded.")

    def _doctor(self, _rest: str) -> None:
        from fim_magic import reports

        print(reports.doctor())


@contextmanager
def _errors_for_the_user() -> Iterator[None]:
    """Show what a user can mend as one paragraph, without a traceback."""
    try:
        yield
    except FimError as error:
        raise UsageError(str(error)) from None
    except KeyboardInterrupt:
        raise UsageError("Interrupted. Nothing was changed; run the cell again.") from None


def load(shell: Any) -> None:
    """Register the magics with a shell."""
    from fim_magic.frontends import prepare

    prepare(shell)
    magics = FimMagics(shell)
    shell.register_magics(magics)
    shell.events.register("pre_run_cell", magics.remember_cell)


def unload(shell: Any) -> None:
    """Take the magics away from a shell, and unload the model."""
    from fim_magic.engines import registry

    registry.unload()
    magics = shell.magics_manager.registry.pop(FimMagics.__name__, None)
    if magics is None:
        return
    shell.events.unregister("pre_run_cell", magics.remember_cell)
    shell.configurables.remove(magics)
    for kind, name in (("cell", "fim"), ("cell", "complete"), ("line", "fim")):
        shell.magics_manager.magics[kind].pop(name, None)
