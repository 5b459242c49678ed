"""`%%fim`, `%%complete` and `%fim`. Here, in `frontends` and, on a terminal, in `ghost`, fim-magic meets IPython."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial, wraps
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, ParamSpec

import traitlets
from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import MagicArgumentParser, argument, magic_arguments, parse_argstring

from fim_magic.auto import AutoFill
from fim_magic.classroom import HINTS, hint_kind
from fim_magic.classroom import hint as hint_of
from fim_magic.errors import OptionError, ServerError, is_failure
from fim_magic.magic_lines import read_line, type_of, unquoted
from fim_magic.mistyped import MistypedMagic
from fim_magic.options import origin_note
from fim_magic.page import Comms
from fim_magic.prompt_sheet import prompt_sheet
from fim_magic.session import Session
from fim_magic.settings import LOADING, Settings, options_of
from fim_magic.visible import plain_lines, plain_text, say

if TYPE_CHECKING:
    from fim_magic.loading.manager import ModelManager
    from fim_magic.tour import Tour

_P = ParamSpec("_P")
_WITHOUT_IMPORTS = "--no-imports"


def _with_errors_for_the_user(method: Callable[_P, None]) -> Callable[_P, None]:
    """Show what a user can mend as one paragraph, without a traceback."""

    @wraps(method)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            return method(*args, **kwargs)
        except UsageError as error:  # of IPython's parser, with what was typed
            message = plain_lines(str(error))
        except KeyboardInterrupt:
            message = "Interrupted. Nothing was changed; run the cell again."
        except BaseException as error:
            if not is_failure(error):
                raise
            from fim_magic.faults import in_words

            message = str(in_words(error))
            message += origin_note(args[0], message, " ".join(map(str, args[1:3])))
        # Not within the except: shells keep the last error, an error keeps the one that it was raised from, and that
        # one's frames the request's memory, which is wanted back when it has run out.
        raise UsageError(message)

    return wrapped


def _with_options(function: Any) -> Any:
    """Give a cell magic every option of `Settings`, and those that only a notebook has."""
    for name, option in reversed(options_of(Settings).items()):
        function = argument(*option.flags, dest=name, type=type_of(option), **option.typed)(function)
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

    _is_ready = False  # not while the settings are read

    def __init__(self, shell: Any, models: ModelManager | None = None, **kwargs: Any) -> None:
        super().__init__(shell, **kwargs)  # type: ignore[call-arg] # Magics comes first, and has no types
        self._raw_cell = ""
        self._auto_fill = AutoFill(lambda: self.markers)
        cell_magics = self.shell.magics_manager.magics["cell"]
        self._mistyped = MistypedMagic(lambda: self.markers, cell_magics.__contains__, lambda: self.auto, UsageError)
        self.shell.input_transformers_cleanup.append(self._mistyped)  # prompts of pasted cells are gone by then
        self._set_auto(self.auto)
        self.session = Session(shell, self, models)
        self._page = Comms(self.shell, self.session)
        self._is_ready = True

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

        %fim use NAME       load a model: a short name, a folder, a .gguf file, owner/name on the Hub, or the address of
        a server that runs it. It loads in the background, and the next request waits for it

          NAME@REVISION       the Hub's model as it was at that commit

          --quantize 8bit     or 4bit: in less memory, on a GPU or a CPU

          --precision exact   or packed: how a .gguf file's weights are computed with on a CPU

          --family NAME       the model's family, where nothing in its files tells it

          --engine gguf       or torch: what runs it; gguf is llama.cpp, for .gguf files; an address is run by its
          server

          --allow-code        run the code that the model brings, if NAME@REVISION is a full commit: read it first

        %fim allow HOST:PORT  let the text of your cells go to a server on another host, in this session

        %fim models [WORD]  the models that have a short name, or those with WORD in it, and what fits this machine

        %fim accept [K]     turn this cell into the last answer (the K-th of several); --no-imports: without its import

        %fim prompt         the prompt of the last request as the model saw it, token by token

        %fim log [K]        what was filled in this session: model, order, tokens, time, and what you decided; with a
        number all that is known of one of them

          --stats             how many answers you took in all sessions here; --stats --forget deletes these counts

        %fim replay [K]     make the K-th of them again, or the last, and say whether the answer is the same

        %fim auto on        fill every cell that holds a marker, without %%fim; off ends that

        %fim unload         give the model's memory back, or stop loading it. A model that is not used for
        FimMagics.idle_minutes (30) is unloaded by itself, and loaded again by the next %%fim

        %fim tour           the main job step by step in this notebook, each cell below the one before

          next, restart, end  leave a step out; begin anew; take the tour's cells away again

          zh-TW, en           the language; without it, that of the page or of the system

        %fim doctor         versions, device, memory, caches and network, and what to do about them
        """
        name, _, rest = line.strip().partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "": self._status,
            "status": self._status,
            "use": self._use,
            "allow": self._allow,
            "models": self._models,
            "accept": self._accept,
            "prompt": self._prompt,
            "log": self._log,
            "replay": self._replay,
            "auto": self._auto,
            "unload": self._unload,
            "tour": self._go_on_tour,
            "doctor": self._doctor,
        }
        if name not in commands:
            known = ", ".join(f"%fim {command}" for command in commands if command)
            raise OptionError(f"There is no %fim {name}; there is {known}. To fill a hole, begin the cell with %%fim.")
        commands[name](rest.strip())

    def remember_cell(self, info: Any) -> None:
        """Keep the cell as the user typed it (a `pre_run_cell` event)."""
        self._raw_cell = info.raw_cell or ""
        self.session.saw_cell()

    @_with_errors_for_the_user
    def _fill(self, method: str, line: str, cell: str) -> None:
        from fim_magic.pipeline import follow
        from fim_magic.review.hint import show_hint
        from fim_magic.review.prompt import show

        options = read_line(partial(parse_argstring, getattr(self, method)), line)
        accept, show_prompt, into, hint = (options.pop(name) for name in ("accept", "show_prompt", "into", "hint"))
        if into is not None and (not into.isidentifier() or iskeyword(into)):
            raise OptionError(f"--into needs the name of a variable; {into!r} is none.")
        session = self.session
        if not show_prompt:
            session.check_allowed(hint=hint is not None)
        context = options["context"]
        model, request = self.request(self._body(method, line, cell), complete=method == "complete", **options)
        session.choice.require(options["model"])
        loading = session.loading_of(model, options)
        # The cell that began to load says that it is loaded; the output of one with a hole is the answer.
        keeps_progress = not self._raw_cell.lstrip().startswith("%%")
        with session.in_use():
            engine = session.load(model, keeps_progress=keeps_progress, **loading).engine
            if not show_prompt:
                request.permission.require(engine.info)
            request = session.in_notebook(request, context)
            prompt = prompt_sheet(request, engine)  # what cannot be asked is refused before anything is shown
            if show_prompt:
                show(self.shell, prompt())
                return
            session.last_prompt = prompt
            if hint is not None:
                result = follow(request, engine)
                if result.is_partial:  # its outline would leave out what did not come
                    raise ServerError(result.broken_off)
                hint = hint_kind(result.middle, hint)
                show_hint(self.shell, hint, hint_of(result.middle, hint))
                return
            result = session.answer(request, engine, model, loading, accept=accept)
        if into is not None:
            self.shell.user_ns[into] = result

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

    def _log(self, rest: str) -> None:
        from fim_magic.reports.log import log, request
        from fim_magic.reports.stats import stats

        history = self.session.history
        if rest.startswith("--"):
            say(stats(rest.split(), is_on=self.stats))
        else:
            say(request(history.entry(rest)) if rest else log(history.entries))

    def _replay(self, number: str) -> None:
        from fim_magic.replay import compare

        session = self.session
        entry = session.history.entry(number)
        session.check_allowed()
        with session.in_use():
            engine = session.load(entry.model, **entry.loading).engine
            request = replace(entry.request, permission=self.permission(entry.request.permission.context))
            result = session.answer(request, engine, entry.model, entry.loading)
        if not result.broken_off:
            say(plain_text(compare(entry.record, result)[1]))

    def _auto(self, word: str) -> None:
        if word not in ("", "on", "off"):
            raise OptionError(f"%fim auto is on or off; {word!r} is neither.")
        if word:
            self.auto = word == "on"
        if self.auto:
            say(f"A cell that holds a marker ({self.markers[0]}) is filled without %%fim. %fim auto off ends that.")
        else:
            say("A cell is filled only where it begins with %%fim or %%complete. %fim auto on fills all with a marker.")

    @traitlets.observe("auto")
    def _auto_changed(self, change: Any) -> None:
        if self._is_ready:
            self._set_auto(change.new)

    def _set_auto(self, on: bool) -> None:
        transformers = self.shell.input_transformers_cleanup
        if self._auto_fill in transformers:
            transformers.remove(self._auto_fill)
        if on:
            transformers.insert(0, self._auto_fill)  # before IPython takes white space and prompts away

    @traitlets.observe("idle_minutes")
    def _idle_minutes_changed(self, change: Any) -> None:
        if self._is_ready:
            self.session.set_idle_minutes(change.new)

    @traitlets.observe("ghost")
    def _ghost_changed(self, _change: Any) -> None:
        if self._is_ready:
            self._page.tell_state()

    def close(self) -> None:
        if "tour" in vars(self):
            self.tour.close()
        self._page.close()
        self._set_auto(False)
        self.shell.input_transformers_cleanup.remove(self._mistyped)
        self.session.close()

    def _status(self, _rest: str) -> None:
        from fim_magic import reports

        session = self.session
        refusal = session.choice.refusal()
        say(reports.status(session.last, self.idle_minutes, session.models, self.permission(), refusal=refusal))

    def _use(self, line: str) -> None:
        with self.session.choice.changed(line):
            self._begin_to_use(line)

    def _begin_to_use(self, line: str) -> None:
        used = _parse_use(line)
        if not used["model"]:
            raise OptionError(
                "%fim use needs a model's name; %fim models lists the short ones. With options: "
                "%fim use NAME --quantize 4bit"
            )
        loading = {**self.loading(**{name: used[name] for name in LOADING}), "allow_code": used["allow_code"]}
        self.session.begin(used["model"], loading)
        self.model, self.session.used = used["model"], used
        if told := self.session.announcement(used["model"]):
            say(told)

    def _allow(self, host: str) -> None:
        from fim_magic.engines.server.hosts import listed_host

        if host:
            name = listed_host(host)
            self.allowed_hosts = [*(other for other in self.allowed_hosts if other != name), name]
        say(self.session.where_text_goes())

    def _models(self, word: str) -> None:
        from fim_magic import reports

        say(reports.models(word))

    def _accept(self, which: str) -> None:
        words = which.split()
        which = " ".join(word for word in words if word != _WITHOUT_IMPORTS)
        self.session.accept(which, imports=_WITHOUT_IMPORTS not in words)

    def _prompt(self, _rest: str) -> None:
        from fim_magic.review.prompt import show

        prompt = self.session.last_prompt
        if prompt is None:
            raise OptionError("There is no prompt to show yet. Fill a hole with %%fim first.")
        show(self.shell, prompt())

    def _unload(self, _rest: str) -> None:
        coming = self.session.models.loading
        had_one = self.session.models.unload()
        if coming is not None and coming.load.abandoned:
            say(plain_text(f"{coming.name} is not loaded any further. What it has taken is given back."))
        else:
            say("The model is unloaded." if had_one else "No model was loaded.")

    @cached_property
    def tour(self) -> Tour:
        """The user's tour, under way or not."""
        from fim_magic.tour import Tour

        return Tour(
            self.shell, has_model=lambda: bool(self.session.choice.in_use()), has_page=lambda: self._page.has_pages
        )

    def _go_on_tour(self, words: str) -> None:
        self.tour.act(words)

    def _doctor(self, _rest: str) -> None:
        from fim_magic import reports

        session = self.session
        say(
            reports.doctor(
                notebook=session.notebook(),
                model_name=self.model,
                permission=self.permission(),
                at_cursor=self._page.about(),
            )
        )


def _parse_use(line: str) -> dict[str, Any]:
    """Read what stands behind %fim use. A name needs no quotes: all up to the first option is the name."""
    parser = MagicArgumentParser(prog="%fim use")
    parser.add_argument("rest", nargs="*", type=unquoted)
    for name in LOADING:
        option = options_of(Settings)[name]
        parser.add_argument(*option.flags, dest=name, type=type_of(option))
    parser.add_argument("--allow-code", action="store_true")
    first = re.search(r"(^|\s)--", line)
    name, typed = (line[: first.start()].rstrip(), line[first.start() :]) if first else (line, "")
    options = read_line(parser.parse_argstring, typed)
    model = " ".join([unquoted(name), *options.pop("rest")]).strip()
    return {"model": model, **options}
