"""The model that this process has loaded: one at a time, shared by every request.

It is loaded by whoever needs it ([`use`][]), or on a thread of its own while the user goes on working ([`begin`][]).
Either way all that can be refused is refused first, and what was there goes only then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fim_magic.engines.background import BackgroundLoad
from fim_magic.engines.memory import free_memory, give_back
from fim_magic.engines.preparation import Ready, load, prepare
from fim_magic.engines.sources import Asked, written_as_in_catalogue
from fim_magic.progress import OnProgress, Progress, silent

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.engines.placement import Placement

_lock = threading.RLock()  # held by whoever changes what is loaded; never by a thread that loads in the background
_loaded: Loaded | None = None
_coming: Coming | None = None  # stays until its thread has ended, so that there are never two models
_uses = 0
_resting: tuple[Asked, str] | None = None  # what was unloaded because nobody used it, and its name


@dataclass(frozen=True)
class Loaded:
    """A model in memory.

    Attributes:
        engine: What computes.
        asked: What the user asked for.
        why: Why "auto" chose it, or "".
        seconds: How long it took to fetch, convert and load.
        notices: What the user should know of it: limits of its licence, a part of it that is not on the GPU.
        placement: Where it was loaded; None for an engine that the caller made, and for llama.cpp.
        runtime: Which engine runs it, "torch" or "gguf"; "" for an engine that the caller made.
        runtime_why: Why that one, or "".
    """

    engine: Engine
    asked: Asked
    why: str
    seconds: float
    notices: tuple[str, ...] = ()
    placement: Placement | None = None
    runtime: str = ""
    runtime_why: str = ""

    @property
    def asked_for(self) -> str:
        """The name by which the user asked, which may be "auto", with its revision."""
        return self.asked.name

    @property
    def quantize(self) -> str | None:
        """As it was asked for."""
        return self.asked.quantize

    @property
    def family(self) -> str | None:
        """As it was asked for."""
        return self.asked.family

    def answers(self, asked: Asked) -> bool:
        """Whether this is what [`use`][] is asked for."""
        return asked.is_answered_by(self.asked, self.engine.info.model, self.runtime)


@dataclass
class Coming:
    """A model that is being loaded in the background.

    Attributes:
        asked: What the user asked for.
        name: The model's name.
        load: The load itself: for how long it has been going on, and whether it failed.
        notices: What the user should know of the model, as far as that is known before it is there.
        free: Bytes that were free on each device before it began; empty where nobody has looked.
        sure: Whether it is known to be on this machine.
    """

    asked: Asked
    name: str
    load: BackgroundLoad[Loaded | None] = field(init=False)
    notices: tuple[str, ...] = ()
    free: Mapping[str, int] = field(default_factory=dict)
    sure: bool = True

    @property
    def under_way(self) -> bool:
        """Whether it may still come to be loaded."""
        return not self.load.ended and not self.load.abandoned

    @property
    def failed(self) -> bool:
        """Whether it ended with an error, which nobody has been told yet."""
        return self.load.ended and self.load.error is not None


def loaded() -> Loaded | None:
    """Return what is loaded, or None."""
    return _loaded


def loading() -> Coming | None:
    """Return what is being loaded in the background, or could not be and nobody was told yet; else None."""
    coming = _coming
    return coming if coming is not None and (coming.under_way or coming.failed) else None


def resting() -> str:
    """Return the name of the model that was unloaded because nobody used it, or ""."""
    return "" if _resting is None else _resting[1]


def uses() -> int:
    """Return how often [`use`][] and [`begin`][] were called: two answers tell whether they were meanwhile."""
    return _uses


def use(
    name: str,
    on_progress: OnProgress = silent,
    *,
    quantize: str | None = None,
    family: str | None = None,
    engine: str | None = None,
    allow_code: bool = False,
) -> Loaded:
    """Return the model called `name`, loading it in place of another one if need be.

    Whatever can be found out before the other one is unloaded is found out before: a name, an option or a checkpoint
    that cannot be used leaves it as it is. What is being loaded in the background already is waited for; if that has
    failed, this raises its error, and the next call tries again.

    Args:
        name: A short name of the catalogue, a folder, a .gguf file, or `owner/name` on the Hub; or "auto" for what is
            loaded already, and otherwise for what suits this machine. What comes from the Hub can be pinned:
            `NAME@REVISION`, a branch, a tag or a commit.
        on_progress: Told about fetching, converting and loading.
        quantize: "8bit" or "4bit", on CUDA.
        family: The family's name, for a checkpoint that does not tell it.
        engine: "torch"; "gguf", which runs a .gguf file with llama.cpp; or None for the faster one of those that can.
        allow_code: Whether code that the checkpoint brings along may run. The name must then pin the whole commit.

    Raises:
        ModelError: There is no such model, or it does not fit, or it cannot be loaded.
        OptionError: An option makes no sense for this model or on this machine.
        FetchError: It could not be brought to this machine.
    """
    global _loaded, _uses  # noqa: PLW0603 - one model per process is the point
    _uses += 1
    asked = Asked(written_as_in_catalogue(name), quantize, family, engine, allow_code)
    while True:
        with _lock:
            there = _answer(asked)
            if there is None:
                ready = _make_way(asked, on_progress)
                _loaded = _load(ready, on_progress)
                return _loaded
        if isinstance(there, Loaded):
            return there
        wait(there, on_progress)


def begin(
    name: str,
    on_progress: OnProgress = silent,
    *,
    quantize: str | None = None,
    family: str | None = None,
    engine: str | None = None,
    allow_code: bool = False,
    again: bool = False,
    on_end: Callable[[Coming], None] | None = None,
) -> Loaded | Coming:
    """Begin to load a model in the background, in place of another one; return it if it is loaded already.

    What has to be fetched or converted for it is, before this returns, and what can be refused is refused. Another one
    that is being loaded is abandoned.

    Args:
        name: As of [`use`][], and so are the options.
        on_progress: Told about fetching and converting.
        quantize: As of [`use`][].
        family: As of [`use`][].
        engine: As of [`use`][].
        allow_code: As of [`use`][].
        again: Whether to try anew what has failed, instead of raising the error.
        on_end: Called on the loading thread when that ends, however it does.

    Raises:
        ModelError: As of [`use`][].
        OptionError: As of [`use`][].
        FetchError: As of [`use`][].
    """
    global _uses  # noqa: PLW0603 - one model per process is the point
    _uses += 1
    asked = Asked(written_as_in_catalogue(name), quantize, family, engine, allow_code)
    with _lock:
        there = _answer(asked)
        if isinstance(there, Coming) and there.failed:
            _forget(there)
            if not again and there.load.error is not None:
                raise there.load.error
            there = None
        if there is not None and (isinstance(there, Loaded) or there.sure):
            return there
        ready = _make_way(asked, on_progress)
        coming = Coming(asked, ready.source.name, ready.notices, free=ready.free)
        return _start(coming, lambda report: _load(ready, report, warm_up=True), on_end)


def begin_if_here(
    name: str, *, quantize: str | None = None, family: str | None = None, engine: str | None = None
) -> Coming | None:
    """Begin to load a model in the background if it is on this machine, and return at once.

    All of it happens there, the refusals too: they are the error of the load. Nothing is fetched; a model that is not
    on this machine waits for the first request. Where another model is loaded, or being loaded, nothing happens.

    Args:
        name: As of [`use`][], and so are the options.
        quantize: As of [`use`][].
        family: As of [`use`][].
        engine: As of [`use`][].
    """
    asked = Asked(written_as_in_catalogue(name), quantize, family, engine)
    with _lock:
        if _loaded is not None or (_coming is not None and (_coming.failed or not _coming.load.ended)):
            return None
        coming = Coming(asked, asked.name, sure=False)

        def load_if_here(report: OnProgress) -> Loaded | None:
            ready = prepare(asked, report, _replaced, fetch=False)
            if ready is None:
                return None
            coming.free, coming.notices, coming.sure = ready.free, ready.notices, True
            return _load(ready, report, warm_up=True)

        return _start(coming, load_if_here)


def wait(coming: Coming, on_progress: OnProgress = silent) -> None:
    """Wait until a load in the background has ended. What interrupts this leaves the load as it is.

    Raises:
        ModelError: It was abandoned meanwhile.
        FimError: It failed, and this is why. It is told once.
    """
    try:
        coming.load.wait(on_progress)
    finally:
        if coming.load.ended:
            _forget(coming)


def unload() -> bool:
    """Give the loaded model's memory back, and abandon one that is being loaded. Returns whether there was one."""
    global _loaded, _resting  # noqa: PLW0603 - one model per process is the point
    with _lock:
        was_coming = _coming is not None and _coming.load.abandon()
        if _coming is not None and _coming.load.ended:
            _forget(_coming)  # it failed, and nobody asks for it any more
        was_loaded = _loaded is not None
        _loaded = _resting = None
        if was_loaded:
            give_back()
        return was_loaded or was_coming


def rest() -> bool:
    """Give an unused model's memory back; "auto" means it all the same. Returns whether there was one to load again."""
    global _resting  # noqa: PLW0603 - one model per process is the point
    with _lock:
        if _loaded is None or not _loaded.runtime:
            return False  # what the caller made cannot be made again here
        asleep = (_loaded.asked, _loaded.engine.info.model)
        unload()
        _resting = asleep
        return True


def adopt(engine: Engine) -> Loaded:
    """Use an engine that the caller made, such as a test's or one with weights of its own."""
    global _loaded  # noqa: PLW0603 - one model per process is the point
    with _lock:
        unload()
        _loaded = Loaded(engine, Asked(engine.info.model), "", 0.0)
        return _loaded


# --- one at a time -------------------------------------------------------------------------------


def _answer(asked: Asked) -> Loaded | Coming | None:
    """What is loaded, or being loaded, or could not be, for what is asked for."""
    if _loaded is not None and _loaded.answers(asked):
        return _loaded
    coming = loading()
    return coming if coming is not None and asked.is_answered_by(coming.asked, coming.name) else None


def _make_way(asked: Asked, on_progress: OnProgress) -> Ready:
    """Find out all that can be found out, and only then let go of what is there."""
    if asked.name == "auto" and _resting is not None and asked.is_answered_by(_resting[0]):
        asked = _resting[0]
    ready = prepare(asked, on_progress, _replaced)
    assert ready is not None  # noqa: S101 - it fetches what is not here
    unload()
    if _coming is not None:
        while not _coming.load.ended:
            _coming.load.wait_a_little()
            on_progress(Progress(f"Waiting until {_coming.name} is given up", 0, 0, "", _coming.load.seconds))
        _forget(_coming)
    return ready


def _start(
    coming: Coming,
    work: Callable[[OnProgress], Loaded | None],
    on_end: Callable[[Coming], None] | None = None,
) -> Coming:
    global _coming  # noqa: PLW0603 - one model per process is the point

    def keep(loaded: Loaded | None) -> None:
        global _loaded  # noqa: PLW0603 - one model per process is the point
        _loaded = loaded

    coming.load = BackgroundLoad(coming.name, work, keep, None if on_end is None else lambda _: on_end(coming))
    _coming = coming
    coming.load.start()
    return coming


def _forget(coming: Coming) -> None:
    global _coming  # noqa: PLW0603 - one model per process is the point
    if _coming is coming:
        _coming = None


def _replaced() -> Placement | None:
    """What will be unloaded first: the loaded model, or as much of one as is loaded by now."""
    if _loaded is not None:
        return _loaded.placement
    if _coming is None or not _coming.free or _coming.load.ended:
        return None
    from fim_magic.engines.placement import Placement

    now = free_memory()
    taken = {device: max(0, size - now.get(device, size)) for device, size in _coming.free.items()}
    return Placement(arguments={}, description="", weights=0, cache=0, free=0, held=taken)


def _load(ready: Ready, on_progress: OnProgress, *, warm_up: bool = False) -> Loaded:
    engine = load(ready, on_progress, warm_up=warm_up)
    return Loaded(
        engine,
        ready.asked,
        ready.why,
        time.perf_counter() - ready.began,
        (*ready.notices, *engine.info.notices),
        _with_packed(ready.placement, engine),
        ready.runtime,
        ready.runtime_why,
    )


def _with_packed(placement: Placement | None, engine: Engine) -> Placement | None:
    """Count the packed copies of the weights among what unloading gives back."""
    packed = engine.report().packed_bytes
    if placement is None or not packed:
        return placement
    return replace(placement, held={**placement.held, "cpu": placement.held.get("cpu", 0) + packed})
