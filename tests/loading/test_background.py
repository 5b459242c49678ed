"""A model that is loaded while the user goes on."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from dataclasses import replace

import pytest
from scripted import ScriptedEngine, loaders_with

from fim_magic.engines.memory import free_memory
from fim_magic.errors import ModelError, OptionError
from fim_magic.loading import background
from fim_magic.loading.background import BackgroundLoad
from fim_magic.loading.loaded import PendingLoad
from fim_magic.loading.manager import ModelManager
from fim_magic.loading.memory import MemoryProbe, may_have_gpu
from fim_magic.loading.spec import ModelSpec
from fim_magic.progress import Progress

SOON = 60.0  # seconds; nothing here takes one, and a test that waits so long fails


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    left = [thread for thread in threading.enumerate() if thread.name.startswith("fim-magic loads")]
    for thread in left:
        thread.join(SOON)
    assert not any(thread.is_alive() for thread in left)


class Gate:
    """Loads an engine, for each folder when the test says so, on a machine with as much memory as it says."""

    def __init__(self) -> None:
        self.began: dict[str, threading.Event] = {}
        self.may_end: dict[str, threading.Event] = {}
        self.fails: dict[str, BaseException] = {}
        self.threads: list[str] = []
        self.warmed: list[str] = []
        self.free: dict[str, int] = {}  # bytes on each device; empty is what is free here
        self.alive = 0  # engines, now
        self.most_alive = 0
        for name in ("qwen2", "llama"):
            self.began[name], self.may_end[name] = threading.Event(), threading.Event()

    def load(self, ready, _on_progress):
        name = ready.path.name
        self.threads.append(threading.current_thread().name)
        self.alive += 1
        self.most_alive = max(self.most_alive, self.alive)
        self.began[name].set()
        assert self.may_end[name].wait(SOON)
        if name in self.fails:
            self.alive -= 1
            raise self.fails[name]
        engine = ScriptedEngine("x")
        engine.info = replace(engine.info, model=ready.source.name)
        engine.warm_up = lambda: self.warmed.append(name)
        weakref.finalize(engine, self._gone)
        return engine

    def _gone(self) -> None:
        self.alive -= 1

    def manager(self, **stages) -> ModelManager:
        """One that loads through this gate, with these other stages of the torch loader."""
        memory = MemoryProbe(free_memory=lambda: dict(self.free) or free_memory())
        return ModelManager(loaders_with(**{"load": self.load} | stages), memory=memory)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    for event in gate.may_end.values():
        event.set()


@pytest.fixture
def models(gate):
    models = gate.manager()
    yield models
    models.unload()


def ended(coming: PendingLoad) -> None:
    for _ in range(int(SOON / background.POLL_SECONDS)):
        if coming.load.ended:
            return
        coming.load.wait_a_little()
    pytest.fail("the load did not end")


# --- the load itself -----------------------------------------------------------------------------


def test_what_is_loaded_is_kept_and_those_who_wait_are_told_where_it_stands():
    kept, told = [], []
    may_end = threading.Event()

    def work(report):
        report(Progress("Converting", 1, 2, "tensors"))
        assert may_end.wait(SOON)
        return "loaded"

    def on_progress(progress):
        told.append(progress)
        may_end.set()

    load = BackgroundLoad("tiny", work, kept.append)
    load.start()
    load.wait(on_progress)
    assert kept == ["loaded"]
    assert load.ended
    assert told[0].what in ("Loading tiny", "Converting")  # where it was when somebody first looked


def test_an_abandoned_load_ends_at_its_next_report_and_keeps_nothing():
    began, may_go_on = threading.Event(), threading.Event()
    kept, after = [], []

    def work(report):
        began.set()
        assert may_go_on.wait(SOON)
        report(Progress("Next", 0, 0))
        after.append("it went on")

    load = BackgroundLoad("tiny", work, kept.append)
    load.start()
    assert began.wait(SOON)
    assert load.abandon() is True
    may_go_on.set()
    with pytest.raises(ModelError, match=r"tiny was being loaded.*Run this again"):
        load.wait()
    assert (kept, after, load.error) == ([], [], None)


def test_an_abandoned_load_that_reports_nothing_more_keeps_nothing_either():
    began, may_go_on, kept = threading.Event(), threading.Event(), []

    def work(_report):
        began.set()
        assert may_go_on.wait(SOON)
        return "loaded"

    load = BackgroundLoad("tiny", work, kept.append)
    load.start()
    assert began.wait(SOON)
    load.abandon()
    may_go_on.set()
    with pytest.raises(ModelError):
        load.wait()
    assert kept == []


def test_what_has_ended_cannot_be_abandoned():
    kept = []
    load = BackgroundLoad("tiny", lambda _: "loaded", kept.append)
    load.start()
    load.wait()
    assert load.abandon() is False
    load.wait()
    assert kept == ["loaded"]


def test_an_error_waits_for_the_one_who_asks_and_nothing_is_printed(capfd):
    def fail(_report):
        raise ModelError("no")

    seen = []
    load = BackgroundLoad("tiny", fail, pytest.fail, seen.append)
    load.start()
    with pytest.raises(ModelError, match="no"):
        load.wait()
    assert capfd.readouterr() == ("", "")


def test_who_began_it_hears_of_its_end():
    for work in (lambda _: 1, lambda _: 1 / 0):
        heard = threading.Event()
        load = BackgroundLoad("tiny", work, lambda _: None, lambda _, heard=heard: heard.set())
        load.start()
        assert heard.wait(SOON)
        assert load.ended


# --- the manager ---------------------------------------------------------------------------------


def test_beginning_returns_at_once_and_a_request_gets_the_same_model(models, checkpoint, gate):
    folder = str(checkpoint("qwen2"))
    coming = models.begin(ModelSpec.of(folder))
    assert isinstance(coming, PendingLoad)
    assert gate.began["qwen2"].wait(SOON)
    assert models.loaded is None
    assert models.loading is coming
    assert models.begin(ModelSpec.of(folder)) is coming
    told = []

    def on_progress(progress):
        told.append(progress.what)
        gate.may_end["qwen2"].set()

    loaded = models.use(ModelSpec.of(folder), on_progress)
    assert told[0] == f"Loading {folder}"
    assert loaded.engine.info.model == folder
    assert models.loaded is loaded
    assert models.loading is None
    assert models.begin(ModelSpec.of(folder)) is loaded
    assert len(gate.threads) == 1
    assert gate.threads[0].startswith("fim-magic loads")


def test_who_has_no_name_for_it_gets_what_is_coming(models, checkpoint, gate):
    coming = models.begin(ModelSpec.of(str(checkpoint("qwen2"))))
    gate.may_end["qwen2"].set()
    assert models.use(ModelSpec.of("auto")).spec == coming.spec


def test_a_load_in_the_background_warms_up_before_it_counts_as_loaded(models, checkpoint, gate):
    gate.may_end["qwen2"].set()
    models.begin(ModelSpec.of(str(checkpoint("qwen2"))))
    models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    assert gate.warmed == ["qwen2"]


def test_a_script_loads_in_its_own_thread_and_does_not_warm_up(models, checkpoint, gate):
    gate.may_end["qwen2"].set()
    models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    assert gate.threads == [threading.current_thread().name]
    assert gate.warmed == []


def test_another_model_is_loaded_instead_and_there_are_never_two(models, checkpoint, gate):
    first, second = str(checkpoint("qwen2")), str(checkpoint("llama"))
    one = models.begin(ModelSpec.of(first))
    assert gate.began["qwen2"].wait(SOON)
    waiting = []

    def on_progress(progress):
        if progress.what.startswith("Waiting until"):
            waiting.append(progress.what)
            assert not gate.began["llama"].is_set()
            gate.may_end["qwen2"].set()

    two = models.begin(ModelSpec.of(second), on_progress)
    assert waiting[0] == f"Waiting until {first} is given up"
    assert one.load.abandoned
    gate.may_end["llama"].set()
    assert models.use(ModelSpec.of(second)).engine.info.model == second
    assert two.load.ended
    gc.collect()
    assert (gate.alive, gate.most_alive) == (1, 1)
    assert gate.warmed == ["llama"]


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("starcoder2-3", {}, ModelError),
        ("llama", {"family": "Mellow"}, OptionError),
        ("llama", {"quantize": "2bit"}, OptionError),
        ("llama", {"engine": "onnx"}, OptionError),
        ("llama", {"allow_code": True}, OptionError),
    ],
)
def test_what_is_refused_is_refused_at_once_and_the_first_goes_on_loading(
    models, checkpoint, gate, name, options, error
):
    coming = models.begin(ModelSpec.of(str(checkpoint("qwen2"))))
    with pytest.raises(error):
        models.begin(ModelSpec.of(str(checkpoint(name)) if name == "llama" else name, **options))
    assert models.loading is coming
    gate.may_end["qwen2"].set()
    assert models.use(ModelSpec.of(str(checkpoint("qwen2")))).spec == coming.spec


def test_what_does_not_fit_is_refused_at_once(models, checkpoint, gate):
    gate.free = {"cpu": 1000}
    with pytest.raises(ModelError, match="does not fit"):
        models.begin(ModelSpec.of(str(checkpoint("qwen2"))))
    assert models.loading is None
    assert gate.threads == []


def test_what_a_load_has_taken_by_now_counts_as_free_for_the_next(models, checkpoint, gate):
    gate.free = {"cpu": 10**9}
    models.begin(ModelSpec.of(str(checkpoint("qwen2"))))
    assert gate.began["qwen2"].wait(SOON)
    gate.free["cpu"] = 4 * 10**8  # what it has loaded until now
    assert models._held() == {"cpu": 6 * 10**8}
    models.begin(
        ModelSpec.of(str(checkpoint("llama"))), lambda told: "Waiting" in told.what and gate.may_end["qwen2"].set()
    )
    gate.may_end["llama"].set()
    assert models.use(ModelSpec.of(str(checkpoint("llama")))).placement.free == 10**9


def test_a_failure_is_told_once_and_then_it_is_tried_again(models, checkpoint, gate):
    folder = str(checkpoint("qwen2"))
    gate.fails["qwen2"] = ModelError("It is damaged. Type %fim use llama.")
    gate.may_end["qwen2"].set()
    coming = models.begin(ModelSpec.of(folder))
    ended(coming)
    assert models.loading is coming
    assert coming.failed
    with pytest.raises(ModelError, match="Type %fim use llama"):
        models.use(ModelSpec.of(folder))
    assert models.loading is None
    gate.fails.clear()
    assert models.use(ModelSpec.of(folder)).engine.info.model == folder


def test_a_failure_is_told_by_the_next_beginning_unless_it_is_chosen_again(models, checkpoint, gate):
    folder = str(checkpoint("qwen2"))
    gate.fails["qwen2"] = ModelError("It is damaged.")
    gate.may_end["qwen2"].set()
    ended(models.begin(ModelSpec.of(folder)))
    with pytest.raises(ModelError, match="damaged"):
        models.begin(ModelSpec.of(folder))
    ended(models.begin(ModelSpec.of(folder)))
    gate.fails.clear()
    assert isinstance(models.begin(ModelSpec.of(folder), again=True), PendingLoad)
    assert models.use(ModelSpec.of(folder)).engine.info.model == folder


def test_a_failure_does_not_stand_in_the_way_of_another_model(models, checkpoint, gate):
    gate.fails["qwen2"] = ModelError("It is damaged.")
    for event in gate.may_end.values():
        event.set()
    ended(models.begin(ModelSpec.of(str(checkpoint("qwen2")))))
    assert models.use(ModelSpec.of(str(checkpoint("llama")))).engine.info.model == str(checkpoint("llama"))
    assert models.loading is None


def test_unloading_gives_up_what_is_loading(models, checkpoint, gate):
    coming = models.begin(ModelSpec.of(str(checkpoint("qwen2"))))
    assert gate.began["qwen2"].wait(SOON)
    assert models.unload() is True
    assert models.loading is None
    gate.may_end["qwen2"].set()
    ended(coming)
    assert models.loaded is None
    gc.collect()
    assert gate.alive == 0
    assert (
        models.use(ModelSpec.of(str(checkpoint("qwen2")))).engine.info.model == coming.name
    )  # and it can be loaded again


def test_a_model_that_was_there_goes_before_the_next_comes(models, checkpoint, gate):
    gate.may_end["qwen2"].set()
    models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    models.begin(ModelSpec.of(str(checkpoint("llama"))))
    assert models.loaded is None
    gate.may_end["llama"].set()
    models.use(ModelSpec.of(str(checkpoint("llama"))))
    assert gate.most_alive == 1


def test_an_interrupt_ends_the_waiting_and_not_the_load(models, checkpoint, gate):
    folder = str(checkpoint("qwen2"))
    coming = models.begin(ModelSpec.of(folder))

    def interrupt(_progress):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        models.use(ModelSpec.of(folder), interrupt)
    assert models.loading is coming
    gate.may_end["qwen2"].set()
    assert models.use(ModelSpec.of(folder)).spec == coming.spec


def test_loading_in_the_background_for_real_is_silent_and_gives_the_same_model(checkpoint, capfd):
    models = ModelManager()
    folder = str(checkpoint("qwen2"))
    models.begin(ModelSpec.of(folder))
    loaded = models.use(ModelSpec.of(folder))
    assert (loaded.engine.info.model, loaded.engine.info.revision, loaded.engine_name) == (
        folder,
        "local folder",
        "torch",
    )
    assert capfd.readouterr() == ("", "")
    models.unload()


# --- a configured model, at %load_ext ------------------------------------------------------------


def test_a_model_that_is_here_is_loaded_without_being_asked_for(models, checkpoint, gate):
    gate.may_end["qwen2"].set()
    coming = models.begin_if_here(ModelSpec.of(str(checkpoint("qwen2"))))
    assert models.use(ModelSpec.of(str(checkpoint("qwen2")))).spec == coming.spec
    assert len(gate.threads) == 1


@pytest.mark.parametrize("name", ["owner/model", "starcoder2-3b", "qwen2.5-coder-0.5b"])
def test_a_model_that_is_not_here_is_not_fetched(name, gate, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    fetched = []
    models = gate.manager(fetch=lambda *args: fetched.append(args))
    coming = models.begin_if_here(ModelSpec.of(name))
    ended(coming)
    assert (fetched, coming.load.error) == ([], None)
    assert models.loading is None
    assert models.loaded is None


def test_who_asks_for_a_model_that_may_not_be_here_gets_it(checkpoint, gate):
    looks, may_answer = threading.Event(), threading.Event()

    def is_here(_source):
        looks.set()
        return not may_answer.wait(SOON)

    models = gate.manager(is_here=is_here)
    gate.may_end["qwen2"].set()
    folder = str(checkpoint("qwen2"))
    first = models.begin_if_here(ModelSpec.of(folder))
    assert looks.wait(SOON)
    second = models.begin(ModelSpec.of(folder), lambda told: "Waiting" in told.what and may_answer.set())
    assert second is not first
    assert models.use(ModelSpec.of(folder)).engine.info.model == folder


def test_a_checkpoint_whose_vocabulary_has_to_be_fetched_waits(models, checkpoint, gate, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenization_codegen25.py").write_text("")
    coming = models.begin_if_here(ModelSpec.of(str(tmp_path)))
    ended(coming)
    assert (gate.threads, coming.load.error) == ([], None)


def test_what_is_wrong_with_a_configured_model_is_told_by_the_first_request(models, gate):
    coming = models.begin_if_here(ModelSpec.of("starcoder2-3"))
    ended(coming)
    with pytest.raises(ModelError, match="Did you mean starcoder2-3b"):
        models.begin(ModelSpec.of("starcoder2-3"))
    assert models.loading is None


def test_where_there_is_a_model_nothing_is_begun(models, checkpoint):
    models.adopt(ScriptedEngine("x"))
    assert models.begin_if_here(ModelSpec.of(str(checkpoint("qwen2")))) is None


# --- idle ----------------------------------------------------------------------------------------


def test_a_resting_model_is_what_auto_means(models, checkpoint, gate):
    gate.may_end["qwen2"].set()
    folder = str(checkpoint("qwen2"))
    asked = models.use(ModelSpec.of(folder, family="Mellum")).spec
    assert models.unload_idle() is True
    assert models.loaded is None
    assert models.unloaded_idle == folder
    assert models.use(ModelSpec.of("auto")).spec == asked
    assert models.unloaded_idle == ""


def test_unloading_by_hand_forgets_what_rested(models, checkpoint, gate):
    gate.may_end["qwen2"].set()
    models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    models.unload_idle()
    assert models.unload() is False
    assert models.unloaded_idle == ""


def test_what_cannot_be_loaded_again_does_not_rest(models):
    adopted = models.adopt(ScriptedEngine("x"))
    assert models.unload_idle() is False
    assert models.loaded is adopted


# --- the end of the process ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "at", ["import", "torch", "torch.optim", "fim_magic.engines.torch.local", "failed", "abandoned"]
)
def test_a_process_that_ends_while_a_model_loads_says_nothing(checkpoint, at):
    script = f"""
    import sys, time
    from fim_magic.loading.manager import MODELS
    from fim_magic.loading.spec import ModelSpec
    coming = MODELS.begin_if_here(ModelSpec({str(checkpoint("qwen2"))!r}))
    if {at!r} == "torch" or "." in {at!r}:
        while {at!r} not in sys.modules:
            time.sleep(0.001)
    if {at!r} == "abandoned":
        MODELS.unload()
    if {at!r} == "failed":
        MODELS.unload()
        MODELS.begin_if_here(ModelSpec("nothing-of-this-name"))
    print("ends")
    """
    script = textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SOON, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")


def test_choosing_a_gpu_needs_no_torch_where_there_can_be_none(tmp_path):
    (tmp_path / "null").touch()
    assert may_have_gpu(tmp_path) is (sys.platform != "linux")
    (tmp_path / "nvidia0").touch()
    assert may_have_gpu(tmp_path)
