"""The manager of models: one is loaded at a time, and every request shares it.

A model is loaded by the call that needs it (`use`), or on a thread of its own while the user goes on working (`begin`).
Either way all that can be refused is refused first, and what was there goes only then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fim_magic.engines.memory import give_back
from fim_magic.loading.background import BackgroundLoad
from fim_magic.loading.load import load
from fim_magic.loading.loaded import Coming, Loaded
from fim_magic.loading.loaders import LOADERS, Loader
from fim_magic.loading.memory import THIS_MACHINE, MemoryProbe
from fim_magic.loading.prepare import Ready, prepare
from fim_magic.loading.resolve import Resolve, resolve
from fim_magic.loading.spec import ModelSpec
from fim_magic.progress import OnProgress, Progress, silent

if TYPE_CHECKING:
    from fim_magic.engines import Engine
    from fim_magic.engines.torch.placement import Placement


class ModelManager:
    """One model at a time: loaded, being loaded in the background, or unloaded and remembered.

    Args:
        loaders: The engines that there are, by name.
        resolve: Decides which checkpoint a spec means, and which engine runs it.
        memory: Looks at what is free.

    Attributes:
        memory: The argument.
        loaded: What is loaded, or None.
        uses: How often `use` and `begin` were called: where it has changed, the model was used meanwhile.
    """

    def __init__(
        self,
        loaders: Mapping[str, Loader] = LOADERS,
        resolve: Resolve = resolve,
        memory: MemoryProbe = THIS_MACHINE,
    ) -> None:
        self.memory = memory
        self.loaded: Loaded | None = None
        self.uses = 0
        self._loaders = loaders
        self._prepare = partial(prepare, resolve=resolve, loaders=loaders, memory=replace(memory, held=self._held))
        self._lock = threading.RLock()  # held by what changes the loaded model; never by a load in the background
        self._coming: Coming | None = None  # stays until its thread has ended, so that there are never two models
        self._resting: tuple[ModelSpec, str] | None = None  # what was unloaded since it was unused, and its name

    @property
    def loading(self) -> Coming | None:
        """What is being loaded in the background, or could not be and that was not told yet; else None."""
        coming = self._coming
        return coming if coming is not None and (coming.under_way or coming.failed) else None

    @property
    def resting(self) -> str:
        """The name of the model that was unloaded because it was not used, or ""."""
        return "" if self._resting is None else self._resting[1]

    def use(self, spec: ModelSpec, on_progress: OnProgress = silent) -> Loaded:
        """Return the model that is asked for, loading it in place of another one if need be.

        Whatever can be found out before the other one is unloaded is found out before: a name, an option or a
        checkpoint that cannot be used leaves it as it is. What is being loaded in the background already is waited for;
        if that has failed, this raises its error, and the next call tries again.

        Args:
            spec: What is asked for.
            on_progress: Told about fetching, converting and loading.

        Raises:
            ModelError: There is no such model, or it does not fit, or it cannot be loaded.
            OptionError: An option makes no sense for this model or on this machine.
            FetchError: It could not be brought to this machine.
        """
        self.uses += 1
        while True:
            with self._lock:
                there = self._answer(spec)
                if there is None:
                    ready = self._make_way(spec, on_progress)
                    self.loaded = self._load(ready, on_progress)
                    return self.loaded
            if isinstance(there, Loaded):
                return there
            self.wait(there, on_progress)

    def begin(
        self,
        spec: ModelSpec,
        on_progress: OnProgress = silent,
        *,
        again: bool = False,
        on_end: Callable[[Coming], None] | None = None,
    ) -> Loaded | Coming:
        """Begin to load a model in the background, in place of another one; return it if it is loaded already.

        What has to be fetched or converted for it is, before this returns, and what can be refused is refused. Another
        one that is being loaded is abandoned.

        Args:
            spec: What is asked for.
            on_progress: Told about fetching and converting.
            again: Whether to try anew what has failed, instead of raising the error.
            on_end: Called on the loading thread when that ends, however it does.

        Raises:
            ModelError: As of [`use`][].
            OptionError: As of [`use`][].
            FetchError: As of [`use`][].
        """
        self.uses += 1
        with self._lock:
            there = self._answer(spec)
            if isinstance(there, Coming) and there.failed:
                self._forget(there)
                if not again and there.load.error is not None:
                    raise there.load.error
                there = None
            if there is not None and (isinstance(there, Loaded) or there.sure):
                return there
            ready = self._make_way(spec, on_progress)
            coming = Coming(spec, ready.source.name, ready.notices, free=ready.free)
            return self._start(coming, lambda report: self._load(ready, report, warm_up=True), on_end)

    def begin_if_here(self, spec: ModelSpec) -> Coming | None:
        """Begin to load a model in the background if it is on this machine, and return at once.

        All of it happens there, the refusals too: they are the error of the load. Nothing is fetched; a model that is
        not on this machine waits for the first request. Where another model is loaded, or being loaded, nothing
        happens.

        Args:
            spec: What is asked for.
        """
        with self._lock:
            coming = self._coming
            if self.loaded is not None or (coming is not None and (coming.failed or not coming.load.ended)):
                return None
            begun = Coming(spec, spec.name, sure=False)

            def load_if_here(report: OnProgress) -> Loaded | None:
                ready = self._prepare(spec, report, fetch=False)
                if ready is None:
                    return None
                begun.free, begun.notices, begun.sure = ready.free, ready.notices, True
                return self._load(ready, report, warm_up=True)

            return self._start(begun, load_if_here)

    def wait(self, coming: Coming, on_progress: OnProgress = silent) -> None:
        """Wait until a load in the background has ended. What interrupts this leaves the load as it is.

        Raises:
            ModelError: It was abandoned meanwhile.
            FimError: It failed, and this is why. It is told once.
        """
        try:
            coming.load.wait(on_progress)
        finally:
            if coming.load.ended:
                self._forget(coming)

    def unload(self) -> bool:
        """Give the loaded model's memory back, and abandon one that is being loaded. Returns whether there was one."""
        with self._lock:
            was_coming = self._coming is not None and self._coming.load.abandon()
            if self._coming is not None and self._coming.load.ended:
                self._forget(self._coming)  # it failed, and it is not asked for any more
            was_loaded = self.loaded is not None
            self.loaded = self._resting = None
            if was_loaded:
                give_back()
            return was_loaded or was_coming

    def rest(self) -> bool:
        """Give an unused model's memory back; "auto" means it all the same. Returns whether it can be loaded again."""
        with self._lock:
            if self.loaded is None or not self.loaded.runtime:
                return False  # what the caller made cannot be made again here
            asleep = (self.loaded.spec, self.loaded.engine.info.model)
            self.unload()
            self._resting = asleep
            return True

    def adopt(self, engine: Engine) -> Loaded:
        """Use an engine that the caller made, such as a test's or one with weights of its own."""
        with self._lock:
            self.unload()
            self.loaded = Loaded(engine, ModelSpec(engine.info.model), "", 0.0)
            return self.loaded

    def _answer(self, spec: ModelSpec) -> Loaded | Coming | None:
        """What is loaded, or being loaded, or could not be, for what is asked for."""
        if self.loaded is not None and self.loaded.answers(spec):
            return self.loaded
        coming = self.loading
        return coming if coming is not None and spec.is_answered_by(coming.spec, coming.name) else None

    def _make_way(self, spec: ModelSpec, on_progress: OnProgress) -> Ready:
        """Find out all that can be found out, and only then let go of what is there."""
        if spec.name == "auto" and self._resting is not None and spec.is_answered_by(self._resting[0]):
            spec = self._resting[0]
        ready = self._prepare(spec, on_progress)
        assert ready is not None  # it fetches what is not here
        self.unload()
        coming = self._coming
        if coming is not None:
            while not coming.load.ended:
                coming.load.wait_a_little()
                on_progress(Progress(f"Waiting until {coming.name} is given up", 0, 0, "", coming.load.seconds))
            self._forget(coming)
        return ready

    def _start(
        self,
        coming: Coming,
        work: Callable[[OnProgress], Loaded | None],
        on_end: Callable[[Coming], None] | None = None,
    ) -> Coming:
        def keep(loaded: Loaded | None) -> None:
            self.loaded = loaded

        coming.load = BackgroundLoad(coming.name, work, keep, None if on_end is None else lambda _: on_end(coming))
        self._coming = coming
        coming.load.start()
        return coming

    def _forget(self, coming: Coming) -> None:
        if self._coming is coming:
            self._coming = None

    def _held(self) -> Mapping[str, int]:
        """What comes free on each device for the next model: of the loaded one, or what a load has taken by now."""
        if self.loaded is not None:
            return self.loaded.placement.held if self.loaded.placement is not None else {}
        coming = self._coming
        if coming is None or not coming.free or coming.load.ended:
            return {}
        now = self.memory.free_memory()
        return {device: max(0, size - now.get(device, size)) for device, size in coming.free.items()}

    def _load(self, ready: Ready, on_progress: OnProgress, *, warm_up: bool = False) -> Loaded:
        engine = load(ready, self._loaders[ready.runtime], on_progress, warm_up=warm_up)
        return Loaded(
            engine,
            ready.spec,
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


MODELS = ModelManager()
"""The models of this process: every request of it shares one, unless it is given others."""
