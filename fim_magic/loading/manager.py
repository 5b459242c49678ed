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
from fim_magic.loading.loaded import Loaded, PendingLoad
from fim_magic.loading.loaders import LOADERS, Loader
from fim_magic.loading.memory import THIS_MACHINE, MemoryProbe
from fim_magic.loading.prepare import Ready, prepare
from fim_magic.loading.resolve import Resolve, resolve
from fim_magic.loading.spec import ModelSpec
from fim_magic.progress import OnProgress, Progress, silent

if TYPE_CHECKING:
    from fim_magic.engines import Engine


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
        self._pending: PendingLoad | None = None  # stays until its thread has ended: there are never two models
        self._idle: tuple[ModelSpec, str] | None = (
            None  # of the model that was unloaded since it was idle, and its name
        )

    @property
    def loading(self) -> PendingLoad | None:
        """What is being loaded in the background, or has failed to load and no caller knows yet; else None."""
        pending = self._pending
        return pending if pending is not None and (pending.under_way or pending.failed) else None

    @property
    def unloaded_idle(self) -> str:
        """The name of the model that was unloaded because it was idle, or ""."""
        return "" if self._idle is None else self._idle[1]

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
                present = self._present(spec)
                if present is None:
                    ready = self._make_way(spec, on_progress)
                    self.loaded = self._load(ready, on_progress)
                    return self.loaded
            if isinstance(present, Loaded):
                return present
            self.wait(present, on_progress)

    def begin(
        self,
        spec: ModelSpec,
        on_progress: OnProgress = silent,
        *,
        again: bool = False,
        on_end: Callable[[PendingLoad], None] | None = None,
    ) -> Loaded | PendingLoad:
        """Begin to load a model in the background, in place of another one; return it if it is loaded already.

        What has to be fetched or converted for it is, before this returns, and what can be refused is refused. Another
        one that is being loaded is abandoned.

        Args:
            spec: What is asked for.
            on_progress: Told about fetching and converting.
            again: Whether to try anew what has failed, instead of raising the error.
            on_end: Called on the loading thread when that ends, however it does.

        Raises:
            FimError: As of `use`.
        """
        self.uses += 1
        with self._lock:
            present = self._present(spec)
            if isinstance(present, PendingLoad) and present.failed:
                self._forget(present)
                if not again and present.load.error is not None:
                    raise present.load.error
                present = None
            if present is not None and (isinstance(present, Loaded) or present.is_here):
                return present
            ready = self._make_way(spec, on_progress)
            pending = PendingLoad(spec, ready.source.name, ready.notices, free=ready.free)
            return self._start(pending, lambda report: self._load(ready, report, warm_up=True), on_end)

    def begin_if_here(self, spec: ModelSpec) -> PendingLoad | None:
        """Begin to load a model in the background if it is on this machine, and return at once.

        All of it happens there, the refusals too: they are the error of the load. Nothing is fetched; a model that is
        not on this machine waits for the first request. Where another model is loaded, or being loaded, nothing
        happens.
        """
        with self._lock:
            pending = self._pending
            if self.loaded is not None or (pending is not None and (pending.failed or not pending.load.ended)):
                return None
            begun = PendingLoad(spec, spec.name, is_here=False)

            def load_if_here(report: OnProgress) -> Loaded | None:
                ready = self._prepare(spec, report, fetch=False)
                if ready is None:
                    return None
                begun.free, begun.notices, begun.is_here = ready.free, ready.notices, True
                return self._load(ready, report, warm_up=True)

            return self._start(begun, load_if_here)

    def wait(self, pending: PendingLoad, on_progress: OnProgress = silent) -> None:
        """Wait until a load in the background has ended. What interrupts this leaves the load as it is.

        Raises:
            ModelError: It was abandoned meanwhile.
            FimError: It failed, and this is why. It is raised once.
        """
        try:
            pending.load.wait(on_progress)
        finally:
            if pending.load.ended:
                self._forget(pending)

    def unload(self) -> bool:
        """Give the loaded model's memory back, and abandon one that is being loaded. Returns whether there was one."""
        with self._lock:
            was_loading = self._pending is not None and self._pending.load.abandon()
            if self._pending is not None and self._pending.load.ended:
                self._forget(self._pending)  # it failed, and it is not asked for any more
            was_loaded = self.loaded is not None
            self.loaded = self._idle = None
            if was_loaded:
                give_back()
            return was_loaded or was_loading

    def unload_idle(self) -> bool:
        """Unload an idle model; "auto" means it all the same. Returns whether it was one that can be loaded again."""
        with self._lock:
            if self.loaded is None or not self.loaded.engine_name:
                return False  # what the caller made cannot be made again here
            idle = (self.loaded.spec, self.loaded.engine.info.model)
            self.unload()
            self._idle = idle
            return True

    def adopt(self, engine: Engine) -> Loaded:
        """Use an engine that the caller made, such as a test's or one with weights of its own."""
        with self._lock:
            self.unload()
            self.loaded = Loaded(engine, ModelSpec(engine.info.model), "", 0.0)
            return self.loaded

    def _present(self, spec: ModelSpec) -> Loaded | PendingLoad | None:
        """What is loaded for a spec, or being loaded, or has failed to; None where its files have changed."""
        loaded = self.loaded
        if loaded is not None and loaded.answers(spec):
            if loaded.files.are_gone and _gone(loaded) not in loaded.notices:
                self.loaded = replace(loaded, notices=(*loaded.notices, _gone(loaded)))
            return None if loaded.files.have_changed else self.loaded
        pending = self.loading
        return pending if pending is not None and spec.is_answered_by(pending.spec, pending.name) else None

    def _make_way(self, spec: ModelSpec, on_progress: OnProgress) -> Ready:
        """Find out all that can be found out, and only then unload what is loaded."""
        if spec.name == "auto" and self._idle is not None and spec.is_answered_by(self._idle[0]):
            spec = self._idle[0]
        before = self.loaded
        changed = before is not None and before.answers(spec)
        if before is not None and changed:
            spec = before.spec  # "auto" is what is loaded
            on_progress(Progress(f"{before.engine.info.model} has changed on the disk", done=0, total=0, unit=""))
        ready = self._prepare(spec, on_progress)
        assert ready is not None  # it fetches what is not here
        if changed:
            ready = replace(ready, remarks=(*ready.remarks, _changed(ready)))
        self.unload()
        pending = self._pending
        if pending is not None:
            while not pending.load.ended:
                pending.load.wait_a_little()
                on_progress(Progress(f"Waiting until {pending.name} is given up", 0, 0, "", pending.load.seconds))
            self._forget(pending)
        return ready

    def _start(
        self,
        pending: PendingLoad,
        work: Callable[[OnProgress], Loaded | None],
        on_end: Callable[[PendingLoad], None] | None = None,
    ) -> PendingLoad:
        def keep(loaded: Loaded | None) -> None:
            self.loaded = loaded

        pending.load = BackgroundLoad(pending.name, work, keep, None if on_end is None else lambda _: on_end(pending))
        self._pending = pending
        pending.load.start()
        return pending

    def _forget(self, pending: PendingLoad) -> None:
        if self._pending is pending:
            self._pending = None

    def _held(self) -> Mapping[str, int]:
        """What comes free on each device for the next model: of the loaded one, or what a load has taken by now."""
        if self.loaded is not None:
            return self.loaded.held
        pending = self._pending
        if pending is None or not pending.free or pending.load.ended:
            return {}
        now = self.memory.free_memory()
        return {device: max(0, size - now.get(device, size)) for device, size in pending.free.items()}

    def _load(self, ready: Ready, on_progress: OnProgress, *, warm_up: bool = False) -> Loaded:
        engine = load(ready, self._loaders[ready.engine_name], on_progress, warm_up=warm_up)
        return Loaded(
            engine,
            ready.spec,
            ready.why,
            seconds=time.perf_counter() - ready.began,
            notices=(*ready.notices, *engine.info.notices),
            placement=ready.placement,
            engine_name=ready.engine_name,
            engine_reason=ready.engine_reason,
            files=ready.files,
        )


def _gone(loaded: Loaded) -> str:
    return f"{loaded.engine.info.model} is gone from the disk. The answers are those of what was loaded from there."


def _changed(ready: Ready) -> str:
    return (
        f"{ready.source.name} has changed on the disk at {ready.files.changed_at}, after it was loaded. It is loaded "
        "anew: from now on the answers are those of the new files."
    )


MODELS = ModelManager()
"""The models of this process: every request of it shares one, unless it is given others."""
