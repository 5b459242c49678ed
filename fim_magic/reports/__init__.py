"""What `%fim` and `fim-magic` print about models, memory and this machine, as plain text."""

from __future__ import annotations

import os
import platform
import stat
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from fim_magic import languages, weights
from fim_magic.allowed_hosts import NOTHING_ALLOWED, Permission
from fim_magic.columns import both_ends
from fim_magic.engines import Destination
from fim_magic.engines.memory import free_ram, gigabytes
from fim_magic.engines.server.address import is_address
from fim_magic.errors import FetchError
from fim_magic.loading.loaded import Loaded, PendingLoad
from fim_magic.loading.loaders import LOADERS
from fim_magic.loading.manager import MODELS, ModelManager
from fim_magic.reports.machine import this_machine
from fim_magic.reports.models import model, models
from fim_magic.reports.servers import about_server
from fim_magic.sandbox import protections
from fim_magic.version import __version__
from fim_magic.visible import plain_text

if TYPE_CHECKING:
    from fim_magic.candidate import Result
    from fim_magic.session_notebook import SessionNotebook

__all__ = ["doctor", "model", "models", "status"]

_PACKAGES = (
    "torch transformers accelerate tokenizers ipython ipykernel ipywidgets anywidget jupyterlab notebook".split()
)
_NOT_NEEDED = ("jupyterlab", "notebook", "ipykernel")
_FOR_LOADING = ("torch", "transformers", "accelerate")
_LOW_MEMORY = 3.5e9  # bytes: the default model on a CPU, loaded
_LONGEST_NAME = 255  # bytes of a file's name on nearly every system
_WIDTH = 120  # columns of a terminal that is not narrow, and of a notebook's cell
_INDENT = 10  # columns
_LONGEST_SHOWN = 80  # columns of a name
_LOW_DISK = 3e9  # bytes: the default model, fetched and converted


def status(
    last: Result | None,
    idle_minutes: float = 0.0,
    manager: ModelManager = MODELS,
    permission: Permission = NOTHING_ALLOWED,
    *,
    refusal: str = "",
) -> str:
    """Say which model is loaded, or being loaded, where, and what the last request came to.

    Args:
        last: The last request.
        idle_minutes: After how many of them without a request a model is unloaded; 0 is never.
        manager: Where it is loaded.
        permission: Which other hosts may get text.
        refusal: Why the next request would not load a model by itself, where it would not.
    """
    loaded, coming = manager.loaded, manager.loading
    lines = []
    if coming is not None:
        lines.append(_coming(coming))
    elif loaded is not None:
        lines += _loaded(loaded, permission)
    elif manager.unloaded_idle:
        lines.append(f"Model     {_name(manager.unloaded_idle)}, unloaded after {idle_minutes:g} idle minutes")
        lines.append("          the next %%fim loads it again")
    elif refusal:
        lines.append(refusal)
    else:
        lines.append("No model is loaded. The first %%fim loads one; so does %fim use NAME.")
    memory = psutil.Process().memory_info().rss
    lines.append(f"Memory    this process holds {gigabytes(memory)}, {gigabytes(free_ram())} are free")
    if last is not None:
        lines += _last(last)
    return "\n".join(wrapped for line in lines for wrapped in _wrapped(plain_text(line)))


def _wrapped(line: str) -> list[str]:
    """Cut a line that is too long, such as one with a long name in it, where it has blanks if it has any."""
    return textwrap.wrap(
        line, _WIDTH, subsequent_indent=" " * _INDENT, break_on_hyphens=False, drop_whitespace=True
    ) or [line]


def _name(text: str) -> str:
    """Return a name as it is shown among other things: a server may call itself and its model anything."""
    return both_ends(plain_text(text), _LONGEST_SHOWN)


def _coming(coming: PendingLoad) -> str:
    if coming.failed:
        return f"Model     {_name(coming.name)} could not be loaded: {coming.load.error}"
    return f"Model     loading {_name(coming.name)}, {coming.load.seconds:.0f} s so far; the next %%fim waits for it"


def _loaded(loaded: Loaded, permission: Permission) -> Iterator[str]:
    engine = loaded.engine
    yield f"Model     {_name(engine.info.model)} ({engine.info.revision}), {engine.family.name}"
    if loaded.why:
        yield f"          chosen because {loaded.why}; %fim use NAME takes another"
    yield f"Runs on   {_name(engine.info.runs_on)}, context {engine.context_length} tokens"
    if (server := engine.info.server) is not None:
        yield f"Server    {_name(server.model)}, run by {_name(server.describe())}"
    if engine.info.destination is Destination.HOST:
        may = f"allowed, with --context {permission.context}" if permission.allows(engine.info) else "not allowed yet"
        yield f"          your text may go there: {may}; %fim allow says more"
    if loaded.engine_reason:
        runtime = engine.info.runtime
        others = [name for name, loader in LOADERS.items() if loader.runs_gguf and name != loaded.engine_name]
        other = "" if loaded.spec.engine else f"; --engine {' or '.join(others)} takes the other"
        yield f"          by {runtime}: {loaded.engine_reason}{other}"
    if remark := engine.report().remark:
        yield f"          {remark}"
    yield f"Loaded in {loaded.seconds:.1f} s"


def _last(last: Result) -> Iterator[str]:
    yield (
        f"Last      {last.tokens} tokens in {last.seconds:.1f} s"
        f" ({last.tokens_per_second:.1f} tokens/s), {last.candidates[0].describe_ending()}"
    )
    known = last.reused_tokens
    before = f": {known} of its {last.prompt_tokens} prompt tokens were still known from before" if known else ""
    yield f"          the first token after {last.first_token_seconds:.1f} s{before}"
    if last.order:
        yield f"          {last.order.upper()}: {last.order_reason or 'as asked for'}"


def doctor(
    reachable: Callable[[], Mapping[str, bool]] = weights.reachable,
    notebook: SessionNotebook | None = None,
    model_name: str = "",
    permission: Permission = NOTHING_ALLOWED,
    at_cursor: tuple[str, str] = ("", ""),
) -> str:
    """Look at everything that can stand in the way, and say what to do about it.

    Args:
        reachable: Says which sources of checkpoints answer, by their names.
        notebook: The file of the session's notebook; None outside of one.
        model_name: The model that is configured: if it is the address of a server, that is asked as well.
        permission: Which other hosts may get text.
        at_cursor: What the front end gives beside `%%fim`, and what to do for more; outside of one nothing.
    """
    lines = [*_findings(reachable, notebook)]
    if at_cursor[0]:
        lines.append(_finding("at the cursor", *at_cursor))
    if is_address(model_name):
        lines += [_finding(*found) for found in about_server(model_name, permission)]
    return "\n".join(map(plain_text, lines))


def _findings(reachable: Callable[[], Mapping[str, bool]], notebook: SessionNotebook | None) -> Iterator[str]:
    yield f"fim-magic {__version__}, Python {platform.python_version()}, {platform.platform()}"
    for package in _PACKAGES:
        version = _version(package)
        if not version and package in _FOR_LOADING:
            yield _finding(package, "not installed here: only models that are loaded here need it", "")
            continue
        advice = "" if version or package in _NOT_NEEDED else f"pip install {package}"
        yield _finding(package, version or "not installed here", advice)
    yield _parsers()
    machine = this_machine()
    yield _finding("runs on", f"{machine.where}, {machine.precisions[0]}", "")
    low_memory = "close other notebooks, or %fim unload" if machine.free < _LOW_MEMORY else ""
    yield _finding("free memory", gigabytes(machine.free), low_memory)
    yield from _about_cache()
    if notebook is not None and notebook.named is not None:
        why_not = f", not used: {notebook.why_not}" if notebook.why_not else ""
        advice = "save the notebook, and run a cell of it" if notebook.why_not else ""
        yield _finding("notebook's file", plain_text(str(notebook.named)) + why_not, advice)
    for line in protections():
        yield _finding("checks run", line, "")
    for place, answers in reachable().items():
        advice = "" if answers else "models that are in the cache work; fetching others will not"
        yield _finding(place, "reachable" if answers else "not reachable", advice)


def _about_cache() -> Iterator[str]:
    """Say where checkpoints are kept, and whether they can be: what cannot be looked at ends no report."""
    try:
        cache = weights.cache_dir()
    except FetchError as error:
        yield _finding("cache", "none", str(error))
        return
    existing = next(path for path in (cache, *cache.parents) if os.path.exists(path))
    advice = ""
    if not os.path.isdir(existing):
        advice = f"{existing} is no folder: set FIM_MAGIC_CACHE to a folder of your own"
    elif not os.access(existing, os.W_OK | os.X_OK):
        advice = f"you may not write in {existing}: set FIM_MAGIC_CACHE to a folder of your own"
    elif len(max(cache.parts, key=len)) > _LONGEST_NAME:
        advice = "its name is too long: set FIM_MAGIC_CACHE to another folder"
    yield _finding("cache", f"{cache} ({gigabytes(_folder_bytes(cache))})", advice)
    try:
        disk = psutil.disk_usage(str(existing)).free
    except OSError as error:
        yield _finding("free disk", f"not known ({error.strerror})", "set FIM_MAGIC_CACHE to another folder")
        return
    low_disk = "make room, or set FIM_MAGIC_CACHE to another folder" if disk < _LOW_DISK else ""
    yield _finding("free disk", gigabytes(disk), low_disk)


def _parsers() -> str:
    """Say which languages beside Python can be parsed; the others go by layout."""
    found = [languages.title(language) for language in languages.GRAMMARS if languages.available(language)]
    missing = dict.fromkeys(filter(None, map(languages.to_install, languages.GRAMMARS)))
    return _finding("parsers", ", ".join(["Python", *found]), f"pip install {' '.join(missing)}" if missing else "")


def _finding(name: str, value: str, advice: str) -> str:
    return f"{'!' if advice else ' '} {name:<17}{value}" + (f"  -> {advice}" if advice else "")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _folder_bytes(folder: Path) -> int:
    """Return the size of a folder's files, of those that can be looked at."""
    size = 0
    for inside, _, names in os.walk(folder):  # passes over what it may not read
        for name in names:
            with suppress(OSError):
                status = os.stat(os.path.join(inside, name))
                size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return size
