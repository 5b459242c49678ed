"""Every option, once. The magics, the Python interface and the command line all take theirs from here.

A value comes from the call, else from `%config FimMagics.<name> = …`, else from the environment variable
`FIM_MAGIC_<NAME>`, else it is the one that is built in.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import traitlets
from traitlets.config import Configurable

from fim_magic.classroom import FILLING
from fim_magic.default_candidates import IN_DOUBT, ON_A_CPU, ON_A_GPU, TO_CHOOSE_FROM
from fim_magic.errors import OptionError
from fim_magic.limits import MOST_LINES
from fim_magic.markers import MARKERS
from fim_magic.options import (
    Hosts,
    Markers,
    Option,
    OptionValues,
    Texts,
    number_or_word,
    options_of,
    unreadable,
    variable_of,
)
from fim_magic.read_options import (
    candidates_of,
    check_spec_of,
    is_name,
    is_whole,
    markers_of,
    permission_of,
    prompt_tokens_of,
    sampling_of,
)

if TYPE_CHECKING:
    from fim_magic.allowed_hosts import Permission
    from fim_magic.request import Request

__all__ = ["LOADING", "Option", "Settings", "options_of"]

METHODS = ("fim", "rank")
"""What `--method` takes; `%%complete` is a third one."""

DETAILS = ("line", "full")
"""How much stands below a diff."""

REMOTE_CONTEXTS = ("none", "cells", "names", "auto", "all")
"""What may go to another host beside the cell: `context.MODES`, the least first."""

GHOST = ("off", "key", "auto")
"""When a page shows ghost text."""

UNCONFINED_CHECKS = ("run", "refuse")
"""What comes of checks where the system cannot confine them."""

LOADING = ("quantize", "precision", "family", "engine", "tokenizer")
"""The options that say how a model is loaded, and not what it is to do."""

QUANTIZATIONS = ("8bit", "4bit")
PRECISIONS = ("exact", "packed")


class Settings(Configurable):
    """The options' defaults. Each can be set with `%config FimMagics.<name> = value`.

    Attributes:
        environment: What has come from environment variables, by option.
    """

    model = traitlets.Unicode(
        "auto",
        help="the model: a short name from %fim models, a folder, a .gguf file, owner/name on the Hub, or auto",
    ).tag(config=True, flags=("-m", "--model"))
    method = traitlets.Unicode(
        "fim",
        help="fim, or rank: for a model that cannot infill, complete, and prefer what makes the text after it likely",
    ).tag(config=True, flags=("--method",))
    candidates = traitlets.Union(
        [traitlets.Int(), traitlets.Unicode()],
        default_value="auto",
        help=f"how many answers to generate; auto: {ON_A_CPU} on a CPU, and up to {IN_DOUBT - ON_A_CPU} more if that "
        f"one is doubtful, {ON_A_GPU} on a GPU, {TO_CHOOSE_FROM} where checks choose among them",
    ).tag(config=True, flags=("-n", "--candidates"), typed=number_or_word)
    check = Texts(
        help="what has to be true when the cell has run, as an expression; doctests for those in the cell; or the name "
        "of a test: a function of this notebook, or the first line of a cell as a comment. In a process of its own",
    ).tag(config=True, flags=("--check",))
    context = traitlets.Unicode(
        "auto",
        help="what else of the notebook the model sees: cells (that ran), names (what the kernel knows), auto (both), "
        "all (the cells below as well), or none",
    ).tag(config=True, flags=("--context",))
    max_new_tokens = traitlets.Int(128, help="the most tokens that an answer may have").tag(
        config=True, flags=("--max-new-tokens",)
    )
    max_prompt_tokens = traitlets.Union(
        [traitlets.Int(), traitlets.Unicode()],
        default_value="auto",
        help="the most tokens that the prompt may have, what is nearest the hole first; auto: as many as are read here "
        "in about ten seconds, but not less than 1024",
    ).tag(config=True, flags=("--max-prompt-tokens",), typed=number_or_word)
    lines = traitlets.Int(
        1, help="how many statements an answer has at least, where the hole has room for more than one"
    ).tag(config=True, flags=("--lines",))
    temperature = traitlets.Float(
        0.0,
        help="0 takes the most probable token each time, and several candidates then differ in one place each; above 0 "
        "tokens are sampled",
    ).tag(config=True, flags=("--temperature",))
    top_p = traitlets.Float(
        0.95, help="sample only from the most probable tokens that together have this probability"
    ).tag(config=True, flags=("--top-p",))
    seed = traitlets.Int(None, allow_none=True, help="makes sampling repeatable; without it each run differs").tag(
        config=True, flags=("--seed",)
    )
    order = traitlets.Unicode("auto", help="psm (prefix, suffix, middle), spm (suffix first), or auto").tag(
        config=True, flags=("--order",)
    )
    quantize = traitlets.Unicode(
        None, allow_none=True, help="8bit or 4bit: so many bits for each weight, in less memory; none: as they are"
    ).tag(config=True, flags=("--quantize",))
    precision = traitlets.Unicode(
        "auto",
        help="of a .gguf file's weights on a CPU: packed (4 and 8 bits, in much less memory), exact (in float16 or "
        "more), or auto for packed where it is as fast here",
    ).tag(config=True, flags=("--precision",))
    family = traitlets.Unicode(
        "auto",
        help="the model's family, needed only where two share their sentinels, such as Mellum for a fine-tune of it",
    ).tag(config=True, flags=("--family",))
    engine = traitlets.Unicode(
        "auto",
        help="what runs the model: torch, gguf (llama.cpp, for .gguf files), server (for its address), or auto for the "
        "faster one here",
    ).tag(config=True, flags=("--engine",))
    tokenizer = traitlets.Unicode(
        "auto",
        help="whose tokenizer a model on a server has, a folder or owner/name on the Hub; auto: as the server says",
    ).tag(config=True, flags=("--tokenizer",))
    markers = Markers(
        traitlets.Unicode(),
        list(MARKERS),
        help="the text that marks the hole, or several; one that you name for a call is a hole wherever it stands, and "
        "all others are text",
    ).tag(config=True, flags=("--markers",))
    # Half an hour: long enough to think, to run what was written and to have a meeting. A notebook that is left open
    # overnight must not hold 15 GB of a GPU that others wait for. On a CPU it costs the few seconds of another load.
    idle_minutes = traitlets.Float(
        30.0, min=0.0, help="unload the model when no request came for so many minutes; 0 keeps it"
    ).tag(config=True, from_environment=True)
    # Ten minutes: a program's threads get their answers one after another, and one that hangs is told of some day.
    wait_seconds = traitlets.Float(
        600.0,
        min=0.0,
        help="how long infill() and complete() wait in Python while another thread's request is under way; 0 does not",
    ).tag(config=True, from_environment=True, in_python=True)
    auto = traitlets.Bool(False, help="fill a cell that holds a marker without %%fim before it").tag(
        config=True, from_environment=True
    )
    details = traitlets.Enum(
        DETAILS,
        "line",
        help="what stands below a diff: one line, with the details behind it; full: all of them at once",
    ).tag(config=True, from_environment=True)
    filling = traitlets.Enum(
        FILLING,
        "on",
        help="for classrooms: on, hints (only %%fim --hint works) or off; a notebook's metadata can say less",
    ).tag(config=True, from_environment=True)
    stats = traitlets.Bool(
        False, help="count on this machine how many answers you take; %fim log --stats shows the counts"
    ).tag(config=True, from_environment=True)
    ghost = traitlets.Enum(
        GHOST,
        "key",
        help="ghost text in JupyterLab and Notebook: off, key (when it is asked for), or auto (after each pause in "
        "typing as well); it begins when a model is loaded, and loads none",
    ).tag(config=True, from_environment=True)
    ghost_hosts = Hosts(
        traitlets.Unicode(),
        help="of the allowed hosts, those that automatic ghost text may go to as well: a cell is sent there again and "
        "again while it is written",
    ).tag(config=True, from_environment=True)
    allowed_hosts = Hosts(
        traitlets.Unicode(),
        help="the other hosts that may get the text of your cells, for models that a server there runs: HOST:PORT, or "
        "https://HOST for one that is asked in no other way; %fim allow adds one",
    ).tag(config=True, from_environment=True, in_python=True)
    remote_context = traitlets.Enum(
        REMOTE_CONTEXTS,
        "none",
        help="what such a host gets beside the cell with the hole: none, cells, names, auto or all, as of --context, "
        "which counts more where it is typed with a call",
    ).tag(config=True, from_environment=True)

    # macOS and Windows have nothing to confine a program with. There a check would never run, if this were "refuse":
    # it runs because the user has asked for it, what is merely wrong is stopped all the same, and the result says so.
    unconfined_checks = traitlets.Enum(
        UNCONFINED_CHECKS,
        "run",
        help="what comes of --check where the system cannot confine what it runs (Landlock and seccomp, Linux only): "
        "run it, and say so beside the result, or refuse",
    ).tag(config=True, from_environment=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._unreadable: dict[str, str] = {}  # an error when they are used, so that the extension loads
        self.environment: dict[str, Any] = {}
        configured = {*kwargs, *self.config.get(type(self).__name__, {})}
        for name, trait in self.traits(config=True).items():
            if not (trait.metadata.get("flags") or trait.metadata.get("from_environment")):
                continue
            value = os.environ.get(variable_of(name))
            if value is None or name in configured:
                continue
            try:
                setattr(self, name, trait.from_string(value))
                self.environment[name] = getattr(self, name)
            except (ValueError, traitlets.TraitError):
                self._unreadable[name] = value

    def request(self, text: str, *, complete: bool = False, language: str = "", **options: Any) -> tuple[str, Request]:
        """Turn a text and the options of one call into the model's name and a request.

        Args:
            text: With a cursor marker, which `complete` can do without, or with several of one kind.
            complete: From left to right: what stands after the marker is kept from the model.
            language: What the text is in, as `languages.of_file` calls it; "" for a cell.
            **options: Any of the options above; those that are None count as not given.

        Raises:
            MarkerError: The text's markers do not name holes.
            UnreadableTextError: The text holds half a character.
            OptionError: An option is unknown or its value makes no sense.
        """
        # Imported at the first request: they bring the tokenizers library, which %load_ext need not wait for.
        from fim_magic.formats import ORDERS
        from fim_magic.holes import split
        from fim_magic.request import Request

        values = self._values(options)
        markers, every = self.markers_for(**options)
        method = values.checked("method", lambda v: v in METHODS, f"is one of {', '.join(METHODS)}")
        document, blanks = split(text, markers, complete=complete, every=every, language=language)
        values.checked("context", lambda v: v in REMOTE_CONTEXTS, f"is one of {', '.join(REMOTE_CONTEXTS)}")
        return values.checked("model", is_name, "is a name or a path"), Request(
            document=document,
            blanks=blanks,
            method="complete" if complete else method,
            order=values.checked("order", lambda v: v in ORDERS, f"is one of {', '.join(ORDERS)}"),
            candidates=candidates_of(values),
            max_new_tokens=values.checked("max_new_tokens", lambda v: is_whole(v) and v >= 1, "is at least 1"),
            max_prompt_tokens=prompt_tokens_of(values),
            sampling=sampling_of(values),
            check_spec=check_spec_of(values, confined_only=self.unconfined_checks == "refuse"),
            permission=permission_of(values, options.get("context") or self.remote_context),
            lines=values.checked("lines", lambda v: is_whole(v) and 1 <= v <= MOST_LINES, f"is from 1 to {MOST_LINES}"),
        )

    def markers_for(self, **options: Any) -> tuple[list[str], bool]:
        """Return what marks a hole in one call, and whether the call itself says so: then each occurrence is a hole.

        Raises:
            OptionError: They are no markers.
        """
        return markers_of(self._values(options)), options.get("markers") is not None

    def loading(self, **options: Any) -> dict[str, Any]:
        """Say how a model is to be loaded: the options of `ModelSpec.of`.

        Args:
            **options: As of `request`; only those of `LOADING` count here.

        Raises:
            OptionError: An option is unknown or its value makes no sense.
        """
        # Imported when a model is to be loaded: it brings the tokenizers library as well.
        from fim_magic.formats import family_names
        from fim_magic.loading.loaders import ENGINES

        values = self._values(options)
        quantize = values.one_of("quantize", QUANTIZATIONS, nothing="none")
        precision = values.one_of("precision", PRECISIONS, nothing="auto")
        if quantize is not None and options.get("precision") is None:  # one that is configured is for other models
            precision = None
        return {
            "quantize": quantize,
            "precision": precision,
            "family": values.one_of("family", family_names(), nothing="auto"),
            "engine": values.one_of("engine", ENGINES, nothing="auto"),
            "tokenizer": None
            if values["tokenizer"] == "auto"
            else values.checked("tokenizer", is_name, "is a name or a path"),
        }

    def permission(self, context: str | None = None) -> Permission:
        """Return what may go to other hosts now; `context` was typed with a call, None where nothing was.

        Raises:
            OptionError: Among the allowed hosts is what is none.
        """
        return permission_of(self._values({}), context or self.remote_context)

    def permission_for_typing(self) -> Permission:
        """Return where a cell may go again and again while it is written, without being asked for.

        Raises:
            OptionError: Among those hosts is what is none.
        """
        values = OptionValues({"ghost_hosts": self.ghost_hosts}, environment=self.environment)
        return permission_of(values, self.remote_context, "ghost_hosts")

    def waiting(self, **options: Any) -> float:
        """Say for how many seconds a call from Python waits while another request is under way.

        Args:
            **options: As of `request`; only `wait_seconds` counts here.

        Raises:
            OptionError: An option is unknown or its value makes no sense.
        """
        rule = "is a number of seconds, 0 or more"
        return float(self._values(options).checked("wait_seconds", lambda v: 0 <= v < math.inf, rule))

    def _values(self, given: Mapping[str, Any]) -> OptionValues:
        flags = frozenset(options_of(Settings))
        values = {name: getattr(self, name) for name in (*flags, *self.traits(in_python=True))}
        unknown = sorted(set(given) - set(values))
        if unknown:
            raise OptionError(f"There is no option called {unknown[0]!r}; the options are {', '.join(sorted(values))}.")
        chosen = {name: value for name, value in given.items() if value is not None}
        for name, value in self._unreadable.items():
            trait = self.traits()[name]
            if name not in chosen and getattr(self, name) == trait.default(self):
                raise unreadable(trait, name, value)
        return OptionValues(values | chosen, frozenset(chosen), flags, self.environment)
