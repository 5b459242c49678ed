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
from pathlib import Path

import pytest
from scripted import ScriptedEngine

from fim_magic.engines.torch import placement
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.errors import ModelError, OptionError
from fim_magic.loading import background, gpus, preparation, registry
from fim_magic.loading.background import BackgroundLoad
from fim_magic.progress import Progress

SOON = 60.0  # seconds; nothing here takes one, and a test that waits so long fails


@pytest.fixture(autouse=True)
def _nothing_loaded():
    registry.unload()
    yield
    registry.unload()
    left = [thread for thread in threading.enumerate() if thread.name.startswith("fim-magic loads")]
    for thread in left:
        thread.join(SOON)
    assert not any(thread.is_alive() for thread in left)


class Gate:
    """Loads an engine, for each folder when the test says so."""

    def __init__(self) -> None:
        self.began: dict[str, threading.Event] = {}
        self.may_end: dict[str, threading.Event] = {}
        self.fails: dict[str, BaseException] = {}
        self.threads: list[str] = []
        self.warmed: list[str] = []
        self.alive = 0  # engines, now
        self.most_alive = 0
        for name in ("qwen2", "llama"):
            self.began[name], self.may_end[name] = threading.Event(), threading.Event()

    def load(self, folder: Path, **options):
        name = folder.name
        self.threads.append(threading.current_thread().name)
        self.alive += 1
        self.most_alive = max(self.most_alive, self.alive)
        self.began[name].set()
        assert self.may_end[name].wait(SOON)
        if name in self.fails:
            self.alive -= 1
            raise self.fails[name]
        engine = ScriptedEngine("x")
        engine.info = replace(engine.info, model=options["name"])
        engine.warm_up = lambda: self.warmed.append(name)
        weakref.finalize(engine, self._gone)
        return engine

    def _gone(self) -> None:
        self.alive -= 1


@pytest.fixture
def gate(monkeypatch):
    gate = Gate()
    monkeypatch.setattr(LocalEngine, "load", gate.load)
    yield gate
    for event in gate.may_end.values():
        event.set()


def ended(coming: registry.Coming) -> None:
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


# --- the registry --------------------------------------------------------------------------------


def test_beginning_returns_at_once_and_a_request_gets_the_same_model(checkpoint, gate):
    folder = str(checkpoint("qwen2"))
    coming = registry.begin(folder)
    assert isinstance(coming, registry.Coming)
    assert gate.began["qwen2"].wait(SOON)
    assert registry.loaded() is None
    assert registry.loading() is coming
    assert registry.begin(folder) is coming
    told = []

    def on_progress(progress):
        told.append(progress.what)
        gate.may_end["qwen2"].set()

    loaded = registry.use(folder, on_progress)
    assert told[0] == f"Loading {folder}"
    assert loaded.engine.info.model == folder
    assert registry.loaded() is loaded
    assert registry.loading() is None
    assert registry.begin(folder) is loaded
    assert len(gate.threads) == 1
    assert gate.threads[0].startswith("fim-magic loads")


def test_who_has_no_name_for_it_gets_what_is_coming(checkpoint, gate):
    coming = registry.begin(str(checkpoint("qwen2")))
    gate.may_end["qwen2"].set()
    assert registry.use("auto").spec == coming.spec


def test_a_load_in_the_background_warms_up_before_it_counts_as_loaded(checkpoint, gate):
    gate.may_end["qwen2"].set()
    registry.begin(str(checkpoint("qwen2")))
    registry.use(str(checkpoint("qwen2")))
    assert gate.warmed == ["qwen2"]


def test_a_script_loads_in_its_own_thread_and_does_not_warm_up(checkpoint, gate):
    gate.may_end["qwen2"].set()
    registry.use(str(checkpoint("qwen2")))
    assert gate.threads == [threading.current_thread().name]
    assert gate.warmed == []


def test_another_model_is_loaded_instead_and_there_are_never_two(checkpoint, gate):
    first, second = str(checkpoint("qwen2")), str(checkpoint("llama"))
    one = registry.begin(first)
    assert gate.began["qwen2"].wait(SOON)
    waiting = []

    def on_progress(progress):
        if progress.what.startswith("Waiting until"):
            waiting.append(progress.what)
            assert not gate.began["llama"].is_set()
            gate.may_end["qwen2"].set()

    two = registry.begin(second, on_progress)
    assert waiting[0] == f"Waiting until {first} is given up"
    assert one.load.abandoned
    gate.may_end["llama"].set()
    assert registry.use(second).engine.info.model == second
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
def test_what_is_refused_is_refused_at_once_and_the_first_goes_on_loading(checkpoint, gate, name, options, error):
    coming = registry.begin(str(checkpoint("qwen2")))
    with pytest.raises(error):
        registry.begin(str(checkpoint(name)) if name == "llama" else name, **options)
    assert registry.loading() is coming
    gate.may_end["qwen2"].set()
    assert registry.use(str(checkpoint("qwen2"))).spec == coming.spec


def test_what_does_not_fit_is_refused_at_once(checkpoint, gate, monkeypatch):
    monkeypatch.setattr(placement, "free_memory", lambda: {"cpu": 1000})
    with pytest.raises(ModelError, match="does not fit"):
        registry.begin(str(checkpoint("qwen2")))
    assert registry.loading() is None
    assert gate.threads == []


def test_what_a_load_has_taken_by_now_counts_as_free_for_the_next(checkpoint, gate, monkeypatch):
    free = {"cpu": 10**9}
    for module in (placement, registry):
        monkeypatch.setattr(module, "free_memory", lambda: dict(free))
    registry.begin(str(checkpoint("qwen2")))
    assert gate.began["qwen2"].wait(SOON)
    free["cpu"] = 4 * 10**8  # what it has loaded until now
    assert registry.MODELS._replaced().held == {"cpu": 6 * 10**8}
    registry.begin(str(checkpoint("llama")), lambda told: "Waiting" in told.what and gate.may_end["qwen2"].set())
    gate.may_end["llama"].set()
    assert registry.use(str(checkpoint("llama"))).placement.free == 10**9


def test_a_failure_is_told_once_and_then_it_is_tried_again(checkpoint, gate):
    folder = str(checkpoint("qwen2"))
    gate.fails["qwen2"] = ModelError("It is damaged. Type %fim use llama.")
    gate.may_end["qwen2"].set()
    coming = registry.begin(folder)
    ended(coming)
    assert registry.loading() is coming
    assert coming.failed
    with pytest.raises(ModelError, match="Type %fim use llama"):
        registry.use(folder)
    assert registry.loading() is None
    gate.fails.clear()
    assert registry.use(folder).engine.info.model == folder


def test_a_failure_is_told_by_the_next_beginning_unless_it_is_chosen_again(checkpoint, gate):
    folder = str(checkpoint("qwen2"))
    gate.fails["qwen2"] = ModelError("It is damaged.")
    gate.may_end["qwen2"].set()
    ended(registry.begin(folder))
    with pytest.raises(ModelError, match="damaged"):
        registry.begin(folder)
    ended(registry.begin(folder))
    gate.fails.clear()
    assert isinstance(registry.begin(folder, again=True), registry.Coming)
    assert registry.use(folder).engine.info.model == folder


def test_a_failure_does_not_stand_in_the_way_of_another_model(checkpoint, gate):
    gate.fails["qwen2"] = ModelError("It is damaged.")
    for event in gate.may_end.values():
        event.set()
    ended(registry.begin(str(checkpoint("qwen2"))))
    assert registry.use(str(checkpoint("llama"))).engine.info.model == str(checkpoint("llama"))
    assert registry.loading() is None


def test_unloading_gives_up_what_is_loading(checkpoint, gate):
    coming = registry.begin(str(checkpoint("qwen2")))
    assert gate.began["qwen2"].wait(SOON)
    assert registry.unload() is True
    assert registry.loading() is None
    gate.may_end["qwen2"].set()
    ended(coming)
    assert registry.loaded() is None
    gc.collect()
    assert gate.alive == 0
    assert registry.use(str(checkpoint("qwen2"))).engine.info.model == coming.name  # and it can be loaded again


def test_a_model_that_was_there_goes_before_the_next_comes(checkpoint, gate):
    gate.may_end["qwen2"].set()
    registry.use(str(checkpoint("qwen2")))
    registry.begin(str(checkpoint("llama")))
    assert registry.loaded() is None
    gate.may_end["llama"].set()
    registry.use(str(checkpoint("llama")))
    assert gate.most_alive == 1


def test_an_interrupt_ends_the_waiting_and_not_the_load(checkpoint, gate):
    folder = str(checkpoint("qwen2"))
    coming = registry.begin(folder)

    def interrupt(_progress):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        registry.use(folder, interrupt)
    assert registry.loading() is coming
    gate.may_end["qwen2"].set()
    assert registry.use(folder).spec == coming.spec


def test_loading_in_the_background_for_real_is_silent_and_gives_the_same_model(checkpoint, capfd):
    folder = str(checkpoint("qwen2"))
    registry.begin(folder)
    loaded = registry.use(folder)
    assert (loaded.engine.info.model, loaded.engine.info.revision, loaded.runtime) == (folder, "local folder", "torch")
    assert capfd.readouterr() == ("", "")


# --- a configured model, at %load_ext ------------------------------------------------------------


def test_a_model_that_is_here_is_loaded_without_being_asked_for(checkpoint, gate):
    gate.may_end["qwen2"].set()
    coming = registry.begin_if_here(str(checkpoint("qwen2")))
    assert registry.use(str(checkpoint("qwen2"))).spec == coming.spec
    assert len(gate.threads) == 1


@pytest.mark.parametrize("name", ["owner/model", "starcoder2-3b", "qwen2.5-coder-0.5b"])
def test_a_model_that_is_not_here_is_not_fetched(name, gate, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    coming = registry.begin_if_here(name)
    ended(coming)
    assert coming.load.error is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert registry.loading() is None
    assert registry.loaded() is None


def test_who_asks_for_a_model_that_may_not_be_here_gets_it(checkpoint, gate, monkeypatch):
    looks, may_answer = threading.Event(), threading.Event()

    def is_here(_source):
        looks.set()
        return not may_answer.wait(SOON)

    monkeypatch.setattr(preparation, "_is_here", is_here)
    gate.may_end["qwen2"].set()
    folder = str(checkpoint("qwen2"))
    first = registry.begin_if_here(folder)
    assert looks.wait(SOON)
    second = registry.begin(folder, lambda told: "Waiting" in told.what and may_answer.set())
    assert second is not first
    assert registry.use(folder).engine.info.model == folder


def test_a_checkpoint_whose_vocabulary_has_to_be_fetched_waits(checkpoint, gate, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenization_codegen25.py").write_text("")
    coming = registry.begin_if_here(str(tmp_path))
    ended(coming)
    assert (gate.threads, coming.load.error) == ([], None)


def test_what_is_wrong_with_a_configured_model_is_told_by_the_first_request(gate):
    coming = registry.begin_if_here("starcoder2-3")
    ended(coming)
    with pytest.raises(ModelError, match="Did you mean starcoder2-3b"):
        registry.begin("starcoder2-3")
    assert registry.loading() is None


def test_where_there_is_a_model_nothing_is_begun(checkpoint):
    registry.adopt(ScriptedEngine("x"))
    assert registry.begin_if_here(str(checkpoint("qwen2"))) is None


# --- idle ----------------------------------------------------------------------------------------


def test_a_resting_model_is_what_auto_means(checkpoint, gate, monkeypatch):
    gate.may_end["qwen2"].set()
    folder = str(checkpoint("qwen2"))
    asked = registry.use(folder, family="Mellum").spec
    assert registry.rest() is True
    assert registry.loaded() is None
    assert registry.resting() == folder
    assert registry.use("auto").spec == asked
    assert registry.resting() == ""


def test_unloading_by_hand_forgets_what_rested(checkpoint, gate):
    gate.may_end["qwen2"].set()
    registry.use(str(checkpoint("qwen2")))
    registry.rest()
    assert registry.unload() is False
    assert registry.resting() == ""


def test_what_cannot_be_loaded_again_does_not_rest():
    adopted = registry.adopt(ScriptedEngine("x"))
    assert registry.rest() is False
    assert registry.loaded() is adopted


# --- the end of the process ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "at", ["import", "torch", "torch.optim", "fim_magic.engines.torch.local", "failed", "abandoned"]
)
def test_a_process_that_ends_while_a_model_loads_says_nothing(checkpoint, at):
    script = f"""
    import sys, time
    from fim_magic.loading import registry
    coming = registry.begin_if_here({str(checkpoint("qwen2"))!r})
    if {at!r} == "torch" or "." in {at!r}:
        while {at!r} not in sys.modules:
            time.sleep(0.001)
    if {at!r} == "abandoned":
        registry.unload()
    if {at!r} == "failed":
        registry.unload()
        registry.begin_if_here("nothing-of-this-name")
    print("ends")
    """
    script = textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SOON, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")


def test_choosing_a_gpu_needs_no_torch_where_there_can_be_none(tmp_path):
    (tmp_path / "null").touch()
    assert gpus.may_have_gpu(tmp_path) is (sys.platform != "linux")
    (tmp_path / "nvidia0").touch()
    assert gpus.may_have_gpu(tmp_path)
