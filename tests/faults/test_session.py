"""What a session, its process and its machine may be like: each row is one of them, and what is right there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from checkpoints import build
from gguf_files import write_gguf
from IPython.core.interactiveshell import InteractiveShell
from scripted import ScriptedEngine
from shells import extended_shell, run_cell
from transformers import AutoModelForCausalLM

import fim_magic
from fim_magic import cli, cli_process, pipeline, reports
from fim_magic.__main__ import main
from fim_magic.context.cells import alike
from fim_magic.document import Document, parse
from fim_magic.errors import BusyError, FaultError, ModelError, OptionError
from fim_magic.events import Finished
from fim_magic.generation import prompt_for
from fim_magic.kernel import defined_names
from fim_magic.loading import fastest
from fim_magic.loading.adapter import explain, is_adapter
from fim_magic.loading.files import ModelFiles
from fim_magic.loading.manager import MODELS, ModelManager
from fim_magic.loading.spec import ModelSpec
from fim_magic.progress import Progress, TerminalProgress
from fim_magic.provenance import record
from fim_magic.reading_speed import limit_for, readable_tokens
from fim_magic.replay import Recorded, request_of
from fim_magic.request import Request
from fim_magic.review.caption import facts, line
from fim_magic.review.terminal import LiveDiff
from fim_magic.session_notebook import SessionNotebook, find_notebook
from fim_magic.settings import Settings
from fim_magic.streams import can_encode, is_terminal, write
from fim_magic.visible import say

HOLE = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"
ANSWER = "total = sum(xs)"
FILLED = HOLE.replace("<cursor>", ANSWER)


@pytest.fixture(scope="module")
def scripted():
    engine = ScriptedEngine(ANSWER)
    yield engine
    MODELS.unload()


@pytest.fixture
def engine(scripted):
    if MODELS.loaded is None or MODELS.loaded.engine is not scripted:
        MODELS.adopt(scripted)  # seldom: each unloading collects garbage
    scripted.prompts.clear()
    return scripted


@pytest.fixture
def shell(monkeypatch, tmp_path):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    with extended_shell(tmp_path) as shell:
        yield shell


# --- standard streams ----------------------------------------------------------------------------


class Logger:
    """What puts a program's prints into its log: it has a `write`, and nothing else."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Raising(io.StringIO):
    """A stream that fails at everything."""

    def fail(self, *_):
        raise ValueError("I/O operation on closed file")

    write = flush = isatty = fail
    encoding = property(fail)


class OddEncoding(Logger):
    encoding = "klingon"
    isatty = staticmethod(lambda: True)


class NoEncoding(Logger):
    encoding = None
    isatty = staticmethod(lambda: None)
    flush = None


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "none": lambda: None,
    "logger": Logger,
    "raising": Raising,
    "odd-encoding": OddEncoding,
    "no-encoding": NoEncoding,
    "closed": closed,
    "bytes": io.BytesIO,
    "ascii": lambda: io.TextIOWrapper(io.BytesIO(), encoding="ascii"),
    "object": object,
}


@pytest.fixture(params=STREAMS)
def stream(request):
    return STREAMS[request.param]()


def test_a_model_loads_and_answers_whatever_the_streams_are(stream, engine):
    with contextlib.redirect_stderr(stream), contextlib.redirect_stdout(stream):
        assert fim_magic.infill(HOLE, model="scripted").text == FILLED


def test_progress_and_diffs_are_drawn_where_that_can_be(stream):
    with TerminalProgress(stream) as show:
        for done in range(0, 101, 50):
            show(Progress("Loading █", done, 100, "tensors"))
    live = LiveDiff(Document("x = ", "\n"), stream)
    live.show("1")
    live.clear()


def test_progress_goes_to_whatever_standard_error_is(stream):
    with contextlib.redirect_stderr(stream), TerminalProgress() as show:
        show(Progress("Loading", 1, 2))


def test_what_is_said_never_ends_what_it_is_said_of(stream):
    with contextlib.redirect_stdout(stream):
        say("total = 'größer █'")
    assert isinstance(is_terminal(stream), bool)
    assert isinstance(can_encode(stream, "é"), bool)
    assert isinstance(write(stream, "é"), bool)


def test_what_an_encoding_lacks_is_escaped():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    assert write(stream, "é 模")
    assert raw.getvalue() == "é \\u6a21".encode("latin-1")
    taken = io.StringIO()  # without an encoding, as pages and captured outputs are
    assert write(taken, "é 模")
    assert taken.getvalue() == "é 模"


@pytest.mark.parametrize(("term", "draws"), [("dumb", False), ("xterm", True)])
def test_a_terminal_that_calls_itself_dumb_is_not_drawn_on(monkeypatch, term, draws):
    monkeypatch.setenv("TERM", term)
    stream = io.StringIO()
    stream.isatty = lambda: True
    assert is_terminal(stream) is draws
    with TerminalProgress(stream) as show:
        show(Progress("Loading", 1, 2))
    assert ("\r" in stream.getvalue()) is draws


# --- the command line among others ---------------------------------------------------------------


@pytest.mark.parametrize("columns", [0, 1, 2, 5, 20])
def test_windows_may_be_narrow(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setenv("TERM", "xterm")
    with TerminalProgress(stream) as show:
        show(Progress("Fetching a model", 1, 2))
    live = LiveDiff(Document("def f():\n    x = ", "\n"), stream)
    live.show("1 + 模型")
    live.clear()
    with pytest.raises(SystemExit, match="0"):
        cli.main(["infill", "--help"])
    assert cli.main(["models", "qwen"]) == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
def test_the_text_of_a_file_comes_out_as_its_bytes(monkeypatch, tmp_path, engine, encoding):
    """Files are read as UTF-8, so another program gets UTF-8, also where the locale is C."""
    path = tmp_path / "cell.py"
    text = "# größer 模型\r\n" + HOLE
    path.write_bytes(text.encode())
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert cli.main(["infill", str(path), "-m", "scripted"]) == 0
    assert raw.getvalue() == text.replace("<cursor>", ANSWER).encode()


@pytest.mark.parametrize("arguments", [["--diff"], ["--json"]], ids=["diff", "json"])
def test_what_is_for_people_is_escaped_where_the_encoding_lacks_it(monkeypatch, tmp_path, engine, arguments):
    path = tmp_path / "cell.py"
    path.write_text("# größer 模型\n" + HOLE, "utf-8")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert cli.main(["infill", str(path), "-m", "scripted", *arguments]) == 0
    assert "模" in raw.getvalue().decode("unicode-escape")


def test_an_answer_that_could_go_nowhere_is_not_waited_for(monkeypatch, tmp_path, engine, capsys):
    path = tmp_path / "cell.py"
    path.write_text(HOLE)
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["infill", str(path), "-m", "scripted"]) == 1
    assert "Standard output is closed" in capsys.readouterr().err
    assert engine.prompts == []


def test_without_standard_error_its_texts_are_not_put_into_the_answer(monkeypatch, tmp_path, engine, capsys):
    path = tmp_path / "cell.py"
    path.write_text(HOLE)
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["infill", str(path), "-m", "scripted"]) == 0
    assert capsys.readouterr().out == FILLED


PIPES = {
    "head": ("| head -1", 141, ""),
    "full": ("> /dev/full", 1, "could not be written: No space left on device"),
    "takes-a-part": ("> file", 1, "could not be written: File too large"),
    "closed": (">&-", 0, ""),
    "all-closed": ("<&- >&- 2>&-", 0, ""),
    "both-to-head": ("2>&1 | head -1", 141, ""),
}
PRINTS = "import sys; from fim_magic.cli_process import run; sys.exit(run(lambda: print('line\\n' * 99999) or 0))"


SAYS = PRINTS.replace("import sys;", "import sys; from fim_magic.visible import say;").replace("print(", "say(")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="of Linux")
@pytest.mark.parametrize(
    ("program", "unbuffered"),
    [(PRINTS, ""), (SAYS, ""), (PRINTS, "1"), (SAYS, "1")],
    ids=["prints", "says", "prints-unbuffered", "says-unbuffered"],
)
@pytest.mark.parametrize(("rest", "status", "said"), PIPES.values(), ids=PIPES)
def test_commands_end_as_their_neighbours_do(rest, status, said, program, unbuffered, tmp_path):
    ended = subprocess.run(
        ["bash", "-c", f'ulimit -f 4; "{sys.executable}" -c "{program}" {rest}; exit ${{PIPESTATUS[0]}}'],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, bool(ended.stderr)) == (status, bool(said)), ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_standard_input_may_be_closed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main(["infill", "-", "-m", "scripted"]) == 1
    assert "Standard input is closed" in capsys.readouterr().err


class InterruptedImport:
    """Ctrl-C while Python looks for a module."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, name, *_):
        if name == self.name:
            raise KeyboardInterrupt


@pytest.mark.parametrize("module", ["fim_magic.cli", "fim_magic.settings", "fim_magic.reports"])
def test_ctrl_c_ends_it_without_a_traceback_while_modules_are_read(monkeypatch, capsys, module):
    package, _, name = module.rpartition(".")
    monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr(sys.modules[package], name)
    monkeypatch.setattr(sys, "meta_path", [InterruptedImport(module), *sys.meta_path])
    monkeypatch.setattr(sys, "argv", ["fim-magic", "models"])
    assert main() == 130
    assert capsys.readouterr().err == "\nfim-magic: interrupted\n"


def test_ctrl_c_that_a_library_has_taken_for_its_own_failure_is_ctrl_c(capsys):
    """As an import of transformers that is interrupted says that a module could not be imported."""

    def command():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("could not import module") from None

    assert cli_process.run(command) == 130
    assert capsys.readouterr().err == "\nfim-magic: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- a guest in the process ----------------------------------------------------------------------


def test_the_users_random_stream_stays_and_fills_differ(engine):
    random.seed(42)
    before = random.getstate()
    seeds = {fim_magic.infill(HOLE, model="scripted", temperature=0.8).seed for _ in range(3)}
    assert random.getstate() == before
    assert len(seeds) == 3


def test_a_seed_that_is_given_is_taken(engine):
    assert {fim_magic.infill(HOLE, model="scripted", temperature=0.8, seed=7).seed for _ in range(2)} == {7}


# --- threads that ask at once --------------------------------------------------------------------


@pytest.fixture
def slow(engine):
    """An engine that gives no token until it may; whoever asks meanwhile finds it busy."""
    engine.may_go_on.clear()
    yield engine
    engine.may_go_on.set()


def in_thread(call):
    """Run a call on a thread of its own. Returns the thread, and where its result will be."""
    results = []

    def work():
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, results


def ask(**options):
    return fim_magic.infill(HOLE, model="scripted", **options).text


def until_busy():
    deadline = time.monotonic() + 30
    while not pipeline.busy() and time.monotonic() < deadline:
        time.sleep(0.005)


def test_threads_get_their_answers_one_after_another(slow):
    threads = [in_thread(ask) for _ in range(8)]
    until_busy()
    slow.may_go_on.set()
    for thread, _ in threads:
        thread.join(30)
    assert [results for _, results in threads] == [[FILLED]] * 8


@pytest.mark.parametrize("seconds", [0, 0.05, 0.25])
def test_the_waiting_has_an_end(slow, seconds):
    first, results = in_thread(ask)
    until_busy()
    with pytest.raises(BusyError, match="busy with another request") as refused:
        ask(wait_seconds=seconds)
    assert (f"after {seconds:g} s" in str(refused.value)) == bool(seconds)
    slow.may_go_on.set()
    first.join(30)
    assert results == [FILLED]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "long", True, None])
def test_how_long_to_wait_is_a_number_of_seconds(engine, seconds):
    if seconds in (None, True):  # None counts as not given, and True is 1 in Python
        assert ask(wait_seconds=seconds) == FILLED
        return
    with pytest.raises(OptionError, match="wait_seconds is a number of seconds"):
        ask(wait_seconds=seconds)


def test_how_long_to_wait_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_WAIT_SECONDS", "1.5")
    assert Settings().waiting() == 1.5
    assert Settings().waiting(wait_seconds=3) == 3
    monkeypatch.setenv("FIM_MAGIC_WAIT_SECONDS", "soon")
    with pytest.raises(OptionError, match="FIM_MAGIC_WAIT_SECONDS holds 'soon'"):
        Settings().waiting()


def test_ctrl_c_ends_the_waiting(slow):
    first, results = in_thread(ask)
    until_busy()
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        ask()
    slow.may_go_on.set()
    first.join(30)
    timer.join()
    assert results == [FILLED]  # it was not the one that was to stop
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("end", ["closed", "dropped", "kept"])
def test_a_stream_that_nobody_reads_on_locks_nobody_out(engine, end):
    _, request = Settings().request(HOLE)
    events = pipeline.run(request, engine)
    next(events)
    with pytest.raises(BusyError, match="this same thread"):  # at once: it would wait for itself
        ask(wait_seconds=3600)
    if end == "closed":
        events.close()
    elif end == "dropped":
        del events
    else:
        other, results = in_thread(lambda: ask(wait_seconds=0.1))
        other.join(30)
        assert isinstance(results[0], BusyError)
        *_, finished = events
        assert finished.result.text == FILLED
    assert ask() == FILLED


@pytest.mark.skipif(not hasattr(os, "fork"), reason="of POSIX")
def test_a_child_that_was_forked_meanwhile_waits_for_nobody(slow):
    first, _ = in_thread(ask)
    until_busy()
    child = os.fork()
    if not child:
        signal.alarm(60)
        slow.may_go_on = threading.Event()  # the one that the other thread may hold
        slow.may_go_on.set()
        os._exit(0 if ask(wait_seconds=0) == FILLED else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert pipeline.busy()
    slow.may_go_on.set()
    first.join(30)


def test_a_request_that_failed_leaves_the_turn_to_others(engine, monkeypatch):
    monkeypatch.setattr(engine, "before_step", lambda _step: 1 / 0)
    with pytest.raises(FaultError, match="ZeroDivisionError"):
        ask()
    monkeypatch.undo()
    assert ask() == FILLED


# --- files that change under a model's name ------------------------------------------------------


@pytest.fixture
def models():
    manager = ModelManager()
    yield manager
    manager.unload()


def write_folder(path, seed, family="qwen2"):
    build(family, path, seed=seed)


def write_elsewhere_and_move(path, seed):
    """As a training run does that keeps the last whole checkpoint."""
    write_folder(path.with_name("new"), seed)
    if path.exists():
        path.rename(path.with_name("old"))
    path.with_name("new").rename(path)


def write_behind_link(path, seed):
    folder = path.with_name(f"step-{seed}")
    write_folder(folder, seed)
    path.unlink(missing_ok=True)
    path.symlink_to(folder)


WAYS = {"in-place": write_folder, "moved": write_elsewhere_and_move, "link": write_behind_link}


def weights_of(loaded):
    """What tells two seeds apart."""
    return tuple(loaded.engine.score([1, 2, 3], [4, 5]))


@pytest.mark.parametrize("write_model", WAYS.values(), ids=WAYS)
def test_a_folder_that_was_written_anew_is_loaded_anew(models, tmp_path, write_model):
    path = tmp_path / "mine"
    write_model(path, 1)
    spec = ModelSpec.of(str(path))
    first = models.use(spec)
    before = weights_of(first)
    assert models.use(spec) is first  # nothing has changed
    write_model(path, 2)
    shown = []
    second = models.use(spec, shown.append)
    assert weights_of(second) != before
    assert any("has changed on the disk" in notice for notice in second.notices)
    assert "has changed on the disk" in shown[0].what
    assert models.use(spec) is second


def test_auto_is_what_is_loaded_also_when_its_files_have_changed(models, tmp_path):
    write_folder(tmp_path, 1)
    spec = ModelSpec.of(str(tmp_path))
    before = weights_of(models.use(spec))
    write_folder(tmp_path, 2)
    coming = models.begin(ModelSpec.of("auto"))  # in the background, as %fim use does it
    assert any("has changed on the disk" in notice for notice in coming.notices)
    models.wait(coming)
    assert models.loaded.spec == spec
    assert weights_of(models.loaded) != before


def add_line_end(path):
    path.write_text(path.read_text() + "\n")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build("qwen2", tmp_path_factory.mktemp("built"))


PARTS = {
    "config": ("config.json", add_line_end),
    "tokenizer": ("tokenizer.json", add_line_end),
    "same-bytes-other-file": ("tokenizer.json", lambda path: (path.rename(f"{path}~"), shutil.copy2(f"{path}~", path))),
    "time-alone": ("model.safetensors", lambda path: os.utime(path, (1, 1))),
    "new-part": ("generation_config.json", lambda path: path.write_text("{}")),
    "removed-part": ("tokenizer_config.json", lambda path: path.unlink()),
    "adapter": ("adapter_config.json", lambda path: path.write_text("{}")),
}


@pytest.mark.parametrize(("name", "change"), PARTS.values(), ids=PARTS)
def test_each_part_of_a_checkpoint_counts(built, tmp_path, name, change):
    folder = shutil.copytree(built, tmp_path / "mine")
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "generation_config.json").unlink(missing_ok=True)
    files = ModelFiles.of(folder)
    assert not files.have_changed
    change(folder / name)
    assert files.have_changed


@pytest.mark.parametrize("name", ["trainer_state.json", "optimizer.pt", "README.md", "runs/events.out", "train.log"])
def test_what_a_training_run_writes_beside_it_does_not_count(built, tmp_path, name):
    files = ModelFiles.of(shutil.copytree(built, tmp_path / "mine"))
    (tmp_path / "mine" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "mine" / name).write_text("step 100")
    assert not files.have_changed


def test_a_relative_path_is_another_folder_elsewhere(models, tmp_path, monkeypatch):
    for place, seed in (("one", 1), ("two", 2)):
        write_folder(tmp_path / place / "mine", seed)
    found = []
    for place in ("one", "two"):
        monkeypatch.chdir(tmp_path / place)
        found.append(weights_of(models.use(ModelSpec.of("./mine"))))
    assert found[0] != found[1]


def test_a_folder_that_is_gone_answers_on_and_says_so(models, tmp_path):
    write_folder(tmp_path / "mine", 1)
    spec = ModelSpec.of(str(tmp_path / "mine"))
    before = weights_of(models.use(spec))
    (tmp_path / "mine").rename(tmp_path / "moved")
    again = models.use(spec)
    assert weights_of(again) == before
    assert any("is gone from the disk" in notice for notice in again.notices)
    assert models.use(spec) is again


@pytest.mark.parametrize("engine", ["torch", "gguf"])
def test_a_gguf_file_that_was_written_anew_is_loaded_anew(models, tmp_path, engine):
    pytest.importorskip("xllamacpp")
    path = tmp_path / "mine.gguf"
    write_gguf(path)
    spec = ModelSpec.of(str(path), engine=engine)
    first = models.use(spec)
    assert models.use(spec) is first
    write_gguf(path, tied=True)
    second = models.use(spec)
    assert second is not first
    assert any("has changed on the disk" in notice for notice in second.notices)


def test_which_engine_is_faster_was_measured_of_a_file_and_not_of_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mine.gguf"
    path.write_bytes(b"GGUF 1")
    fastest.remember(str(path), "gguf")
    assert fastest.fastest(str(path)) == "gguf"
    monkeypatch.chdir(tmp_path)
    assert fastest.fastest("mine.gguf") == "gguf"
    path.write_bytes(b"GGUF with other weights")
    assert fastest.fastest(str(path)) is None


def test_the_notebook_says_it_once(shell, tmp_path):
    write_folder(tmp_path / "mine", 1)
    said = [run_cell(shell, f"%%fim --model {tmp_path / 'mine'} --max-new-tokens 1\nx = <cursor>\n") for _ in range(2)]
    write_folder(tmp_path / "mine", 2)
    said += [run_cell(shell, f"%%fim --model {tmp_path / 'mine'} --max-new-tokens 1\nx = <cursor>\n") for _ in range(2)]
    assert ["has changed on the disk at" in text for text in said] == [False, False, True, False]


# --- which file is this notebook's ---------------------------------------------------------------

EXERCISE = 'def median(numbers):\n    """Return the middle one."""\n    # your code here\n    return middle\n'
EDITED = 'def median(numbers):\n    """Return the middle one."""\n    <cursor>\n    return middle\n'
OTHER = ["import numpy as np", "%load_ext fim_magic", "x = 1", "df.head()", "print('of another notebook')"]


def write_notebook(path, cells, filling=None, ids=()):
    """Write a notebook with these code cells."""
    metadata = {} if filling is None else {"fim_magic": {"filling": filling}}
    rows = [{"cell_type": "code", "source": source, "metadata": {}, "outputs": []} for source in cells]
    for row, cell_id in zip(rows, ids, strict=False):
        row["id"] = cell_id
    path.write_text(json.dumps({"cells": rows, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}), "utf-8")
    return path


@pytest.fixture
def named(tmp_path, monkeypatch):
    """The file that the environment names."""
    path = tmp_path / "Untitled.ipynb"
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    return path


# What the file holds, what ran in this session, what is filled, and whether the file is this session's.
FILES = {
    "another": (OTHER, ["prices = [1, 2, 3]", "total = sum(prices)"], "x = <cursor>", False),
    "another-with-the-same-imports": (OTHER, ["import numpy as np", "y = 2"], "x = <cursor>", False),
    "another-with-the-same-magic": (OTHER, ["%load_ext fim_magic"], "x = <cursor>", False),
    "another-with-the-same-short-cell": (OTHER, ["df.head()", "x = 1"], "y = <cursor>", False),
    "another-with-comments": (["# a title of many many characters"], ["# a title of many many characters"], "x", False),
    "not-saved-yet": ([], ["prices = [1, 2, 3]"], "x = <cursor>", False),
    "nothing-ran": (OTHER, [], "x = <cursor>", False),
    "a-cell-that-ran": (
        [*OTHER, "prices = [1.5, 2.5, 3.5, 4.5]"],
        ["prices = [1.5, 2.5, 3.5, 4.5]"],
        "x = <cursor>",
        True,
    ),
    "short-cells-that-ran": (
        ["prices = [1, 2]", "total = 36"],
        ["prices = [1, 2]", "total = 36"],
        "x = <cursor>",
        True,
    ),
    "white-space": (["prices = [1.5, 2.5, 3.5, 4.5]  \n"], ["prices = [1.5, 2.5, 3.5, 4.5]"], "x = <cursor>", True),
    "the-cell-itself": (["x = 1", "%%fim\ny = <cursor>"], [], "y = <cursor>", True),
    "the-exercise-edited": ([EXERCISE], [], EDITED, True),
    "the-exercise-edited-much": (
        [EXERCISE],
        [],
        EDITED.replace("<cursor>", "xs = sorted(numbers)\n    <cursor>"),
        True,
    ),
    "another-with-many-short-calls": (
        ["df.head()", "df.describe()", "plt.figure(figsize=(10, 6))", "plt.show()", "df.info()"],
        ["df.head()", "df.describe()", "plt.figure(figsize=(10, 6))", "plt.show()", "df.info()"],
        "x = <cursor>",
        False,
    ),
    "markdown-with-the-code": (["x = 1"], ["# prices = [1.5, 2.5, 3.5, 4.5]"], "x", False),
    "a-thousand-lines-of-the-same": (["a = 1\n" * 20000], [], "a = 1\n" * 20000 + "b = 2", False),
    "another-exercise": (["def mean(xs):\n    return sum(xs) / len(xs)\n"], [], EDITED, False),
}


@pytest.mark.parametrize(("stored", "ran", "current", "same"), FILES.values(), ids=FILES)
def test_a_file_is_believed_where_it_holds_cells_of_this_session(shell, named, stored, ran, current, same):
    write_notebook(named, stored)
    found = find_notebook(shell, ran, current)
    assert (found.named, found.path) == (named, named if same else None)
    assert bool(found.why_not) != same


@pytest.mark.parametrize(("seen", "same"), [({"b"}, True), ({"a", "z"}, True), ({"z"}, False), (set(), False)])
def test_a_cells_id_tells_its_notebook(shell, named, seen, same):
    write_notebook(named, ["", "x"], ids=("a", "b"))
    assert (find_notebook(shell, ["%load_ext fim_magic"], "", seen).path is not None) == same


# Ids of cells that ran, and whether a text that is in both is enough: not where both have ids, and all are different.
@pytest.mark.parametrize(
    ("seen", "same"), [({"z"}, False), (set(), True), ({"vscode-notebook-cell:/n.ipynb#W0"}, True)]
)
def test_where_ids_differ_a_short_text_in_both_is_chance(shell, named, seen, same):
    write_notebook(named, ["threshold = choose(0.25)"], ids=("a",))
    assert (find_notebook(shell, ["threshold = choose(0.25)"], "", seen).path is not None) == same


def test_an_id_that_a_file_lacks_is_no_id(shell, named):
    write_notebook(named, ["x = 1"])
    assert find_notebook(shell, [], "", {""}).path is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 3}', '{"cells": [{}]}', '{"cells": [{"id": {}}]}'])
def test_a_file_that_cannot_be_read_is_not_believed(shell, named, text):
    named.write_text(text)
    assert find_notebook(shell, ["x = 1"]) == SessionNotebook(None, named, "it could not be read, or has no cells yet")


def test_another_notebook_switches_nothing_off_and_lends_nothing(shell, named, engine):
    """The notebook was renamed, and a new one made under its old name."""
    shell.run_line_magic("config", "FimMagics.model = 'scripted'")
    write_notebook(named, [*OTHER, "secret_of_another = 1"], filling="off")
    assert "switched off" not in run_cell(shell, "%%fim\n" + HOLE)
    assert len(engine.prompts) > 0
    assert "secret_of_another" not in defined_names(shell)
    doctor = reports.doctor(lambda: {}, shell.magics_manager.registry["FimMagics"].session.notebook())
    assert "Untitled.ipynb, not used: it holds none of the cells that ran here" in doctor


@pytest.mark.parametrize("ran", [HOLE, "prices = [1.5, 2.5, 3.5, 4.5]"], ids=["the-cell", "a-cell-above"])
def test_this_notebook_switches_itself_off(shell, named, engine, ran):
    shell.run_line_magic("config", "FimMagics.model = 'scripted'")
    write_notebook(named, [*OTHER, ran], filling="off")
    run_cell(shell, ran.replace("<cursor>", "pass"))
    assert "switched off" in run_cell(shell, "%%fim\n" + (HOLE if ran == HOLE else "x = <cursor>"))
    assert engine.prompts == []
    doctor = reports.doctor(lambda: {}, shell.magics_manager.registry["FimMagics"].session.notebook())
    assert "Untitled.ipynb\n" in doctor


# What becomes of the file behind the kernel's back, after it has said "off" once.
GONE = {
    "renamed": lambda path: path.rename(path.with_name("mine.ipynb")),
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_text(""),
    "another-in-its-place": lambda path: write_notebook(path, OTHER),
}


@pytest.mark.parametrize("change", GONE.values(), ids=GONE)
def test_a_notebook_that_was_renamed_stays_switched_off(shell, named, engine, change):
    shell.run_line_magic("config", "FimMagics.model = 'scripted'")
    write_notebook(named, [HOLE], filling="off")
    assert "switched off" in run_cell(shell, "%%fim\n" + HOLE)
    change(named)
    assert "switched off" in run_cell(shell, "%%fim\n" + HOLE)
    assert engine.prompts == []
    write_notebook(named, [HOLE], filling="on")  # as its teacher says now
    assert "switched off" not in run_cell(shell, "%%fim\n" + HOLE)


# Python's interface asked only the settings in the environment: not the notebook, and not IPython's configuration.
SWITCHES = {
    "on": ("on", "on", ""),
    "the-notebook-says-hints": ("hints", "on", "gives hints, not answers"),
    "the-notebook-says-off": ("off", "on", "switched off in this notebook"),
    "the-configuration-says-off": ("on", "off", "switched off in this notebook"),
    "the-configuration-says-hints": ("on", "hints", "gives hints, not answers"),
    "the-stricter-counts": ("hints", "off", "switched off in this notebook"),
}


@pytest.mark.parametrize("loaded", [True, False], ids=["with-the-extension", "without-it"])
@pytest.mark.parametrize("door", ["infill", "complete"])
@pytest.mark.parametrize(("metadata", "configured", "words"), SWITCHES.values(), ids=SWITCHES)
def test_python_obeys_the_switch_of_the_magics(shell, named, engine, metadata, configured, words, door, loaded):
    call = f"from fim_magic import {door}; answer = {door}({HOLE!r}, model='scripted', candidates=1)"
    write_notebook(named, [*OTHER, call], filling=metadata)
    if loaded:
        shell.run_line_magic("config", f"FimMagics.filling = {configured!r}")
    else:
        shell.run_line_magic("unload_ext", "fim_magic")
        MODELS.adopt(engine)
        shell.config.FimMagics.filling = configured
    said = run_cell(shell, call)
    assert words in said
    assert bool(engine.prompts) == (not words)
    assert ("answer" in shell.user_ns) == (not words)


def test_python_asks_no_notebook_of_others(shell, named, engine):
    write_notebook(named, OTHER, filling="off")
    assert run_cell(shell, f"import fim_magic; fim_magic.infill({HOLE!r}, model='scripted')").count("Error") == 0
    assert engine.prompts


def test_a_program_beside_the_notebook_is_none(named, engine):
    named.write_text("{")
    InteractiveShell.clear_instance()
    assert fim_magic.infill(HOLE, model="scripted", candidates=1).middle


def test_a_notebook_that_cannot_be_read_does_not_allow_all(shell, named, engine):
    shell.run_line_magic("config", "FimMagics.model = 'scripted'")
    write_notebook(named, [HOLE], filling="off")
    named.write_text(named.read_text("utf-8")[:-5], "utf-8")  # a save that is under way
    assert "Save the notebook, and run the cell again" in run_cell(shell, "%%fim\n" + HOLE)
    assert engine.prompts == []


# --- how long a prompt may be --------------------------------------------------------------------

LONG = "".join(f"value_{n} = {n}\n" for n in range(700)) + HOLE


class Ticking:
    """A clock that goes on by so much whenever it is looked at: three times in a measurement."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


def reading(rate):
    """Return an engine that reads so many tokens in a second, as it was measured."""
    engine = ScriptedEngine(ANSWER)
    engine.context_length = 10**6
    readable_tokens(engine, [1] * 512, Ticking(256 / rate))  # two steps from the beginning to the end
    engine.prompts.clear()
    return engine


@pytest.mark.parametrize(
    ("rate", "tokens"),
    [(0.001, 1024), (15, 1024), (102, 1024), (205, 2048), (240, 2048), (300, 2048), (500, 4096), (5000, 32768)],
)
def test_the_limit_is_what_is_read_in_ten_seconds_as_a_power_of_two(rate, tokens):
    assert limit_for(rate) == tokens
    assert readable_tokens(reading(rate), []) == tokens


def test_what_is_slow_is_not_measured_to_its_end():
    engine = ScriptedEngine(ANSWER)
    readable_tokens(engine, [1] * 512, Ticking(5.0))
    assert len(engine.prompts) == 1  # and not a second time, when everything is awake
    readable_tokens(engine, [1] * 512, Ticking(0.001))
    assert len(engine.prompts) == 1  # once for each model


# What --max-prompt-tokens is given, how many tokens a second are read, and the most that the prompt may have.
LIMITS = {
    "slow": ("auto", 20, 1024),
    "usual": ("auto", 300, 2048),
    "fast": ("auto", 10**6, None),
    "more": (8192, 20, 8192),
    "less": (64, 10**6, 64),
    "all": (10**9, 20, None),
}


@pytest.mark.parametrize(("given", "rate", "limit"), LIMITS.values(), ids=LIMITS)
def test_a_long_text_is_read_as_far_as_time_allows(given, rate, limit):
    engine = reading(rate)
    _, request = Settings().request(LONG, max_prompt_tokens=given)
    *_, finished = pipeline.run(request, engine)
    result = finished.result
    assert result.text == LONG.replace("<cursor>", ANSWER)
    assert result.max_prompt_tokens == limit
    assert len(engine.prompts[0]) == result.prompt_tokens <= (limit or 10**6)
    said, told = line(result), dict(facts(result))["Prompt"]
    dropped = result.dropped_prefix_tokens + result.dropped_suffix_tokens
    assert (f"prompt shortened by {dropped:,} tokens" in said) == (limit is not None)
    assert (f"{result.dropped_prefix_tokens:,} at its start" in told) == (limit is not None)
    assert ("; --max-prompt-tokens N asks for more" in told) == (limit is not None)
    assert ("in about 10 s" in told) == (given == "auto" and limit is not None)


@pytest.mark.parametrize("rate", [0.001, 20, 10**6])
def test_short_prompts_stay_as_they_were(rate):
    engine = reading(rate)
    prompts = [prompt_for(request, engine) for request in (Settings().request(HOLE)[1], Request(parse(HOLE)))]
    assert prompts[0].ids == prompts[1].ids
    assert prompts[0].limit is None
    assert engine.prompts == []


def test_a_request_that_is_made_by_itself_has_the_whole_context():
    """So does the evaluation, whose prompts must not depend on a machine."""
    engine = reading(20)
    assert len(prompt_for(Request(parse(LONG)), engine).ids) > 9000
    assert engine.prompts == []


def test_a_record_says_the_limit_and_replay_takes_it():
    slow, fast = reading(20), reading(10**6)
    *_, finished = pipeline.run(Settings().request(LONG)[1], slow)
    kept = record(finished.result)
    assert kept["max_prompt_tokens"] == 1024
    again = request_of(Recorded(1, LONG, kept))
    *_, other = pipeline.run(again, fast)
    assert other.result.prompt_sha256 == finished.result.prompt_sha256
    unlimited = record(
        next(e for e in pipeline.run(Settings().request(HOLE)[1], slow) if isinstance(e, Finished)).result
    )
    assert "max_prompt_tokens" not in unlimited


@pytest.mark.parametrize("value", ["all", 0, 15, -1, 1.5, "8k", True, float("nan")])
def test_a_limit_that_makes_no_sense_is_told(value):
    with pytest.raises(OptionError, match="--max-prompt-tokens is auto, or at least 16"):
        Settings().request(HOLE, max_prompt_tokens=value)


def test_a_model_that_is_busy_is_not_measured(slow):
    first, _ = in_thread(ask)
    until_busy()
    with pytest.raises(BusyError):
        readable_tokens(ScriptedEngine(), [1] * 512)
    slow.may_go_on.set()
    first.join(30)


# --- adapters ------------------------------------------------------------------------------------

LORA = {"peft_type": "LORA", "base_model_name_or_path": "Qwen/Qwen2.5-Coder-0.5B", "r": 8}

# What adapter_config.json holds, and what is said of the model that the adapter changes.
ADAPTERS = {
    "hub": (json.dumps(LORA), "the weights of 'Qwen/Qwen2.5-Coder-0.5B'."),
    "folder": (json.dumps(LORA | {"base_model_name_or_path": "/models/mine"}), "of '/models/mine'."),
    "controls": (
        json.dumps(LORA | {"base_model_name_or_path": "a\x1b]0;owned\x07\u202e"}),
        "'a\\x1b]0;owned\\x07\\u202e'",
    ),
    "long": (json.dumps(LORA | {"base_model_name_or_path": "a" * 9999}), "a" * 200 + "\\u2026"),
    "no-name": (json.dumps({"peft_type": "LORA"}), "which it does not name"),
    "null": (json.dumps(LORA | {"base_model_name_or_path": None}), "which it does not name"),
    "number": (json.dumps(LORA | {"base_model_name_or_path": 7}), "which it does not name"),
    "list": ("[]", "which it does not name"),
    "broken": ("{", "which it does not name"),
    "empty": ("", "which it does not name"),
    "deep": ("[" * 100_000, "which it does not name"),
    "huge": (" " * 2**24 + json.dumps(LORA), "which it does not name"),
}


@pytest.mark.parametrize(("text", "said"), ADAPTERS.values(), ids=ADAPTERS)
def test_an_adapter_is_told_for_what_it_is(models, tmp_path, text, said):
    (tmp_path / "adapter_config.json").write_text(text)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    assert is_adapter(tmp_path)
    assert said in explain(tmp_path)
    assert "%pip install peft" in explain(tmp_path)
    assert "merge_and_unload()" in explain(tmp_path)
    assert explain(tmp_path).isprintable()
    with pytest.raises(ModelError, match="holds an adapter") as refused:
        models.use(ModelSpec.of(str(tmp_path)))
    assert str(refused.value).isprintable()


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A checkpoint, an adapter of it which changes what it says, and the model with both."""
    peft = pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("adapted")
    base = build("qwen2", folder / "base")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        config = peft.LoraConfig(
            r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False
        )
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
    model.save_pretrained(folder / "adapter")
    return folder, model


@pytest.fixture
def write_adapter(adapted, tmp_path):
    """`write_adapter(r=8)` writes it, with such changes to its configuration, and returns its folder."""

    def write(**changes):
        shutil.copytree(adapted[0] / "adapter", tmp_path / "mine", dirs_exist_ok=True)
        path = tmp_path / "mine" / "adapter_config.json"
        known = json.loads(path.read_text()) | {"base_model_name_or_path": str(adapted[0] / "base")}
        path.write_text(json.dumps(known | changes))
        return path.parent

    return write


def test_an_adapter_is_merged_into_its_model(models, adapted, write_adapter):
    base, mine = adapted[0] / "base", write_adapter()
    plain = weights_of(models.use(ModelSpec.of(str(base))))
    random_state = torch.get_rng_state()
    loaded = models.use(ModelSpec.of(str(mine)))
    assert torch.equal(torch.get_rng_state(), random_state)
    with torch.no_grad():
        logits = adapted[1](input_ids=torch.tensor([[1, 2, 3, 4, 5]])).logits[0].float()
    logprobs = torch.log_softmax(logits, dim=-1)
    expected = [float(logprobs[2, 4]), float(logprobs[3, 5])]
    assert weights_of(loaded) == pytest.approx(expected, abs=0.05)
    assert weights_of(loaded) != pytest.approx(plain, abs=0.05)
    assert loaded.notices[0] == f"{mine} is an adapter (LoRA). It is merged into the weights of {base}."
    write_adapter(lora_alpha=1)  # a part of it has changed
    assert weights_of(models.use(ModelSpec.of(str(mine)))) != pytest.approx(expected, abs=0.05)


def test_what_else_is_in_an_adapters_folder_changes_nothing(models, adapted, write_adapter):
    """Some programs write the model's configuration and tokenizer there, too."""
    mine = write_adapter()
    before = weights_of(models.use(ModelSpec.of(str(mine))))
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(adapted[0] / "base" / name, mine)
    assert weights_of(models.use(ModelSpec.of(str(mine)))) == before


def test_an_adapter_beside_a_models_own_weights_is_told(models, adapted, write_adapter):
    """transformers would merge it where peft is installed, by what its configuration says, and else not."""
    mine = write_adapter(megatron_config={"a": 1}, megatron_core="antigravity")
    shutil.copytree(adapted[0] / "base", mine, dirs_exist_ok=True)
    with pytest.raises(ModelError, match="holds a model and an adapter"):
        models.use(ModelSpec.of(str(mine)))
    assert "antigravity" not in sys.modules


# What somebody else's adapter_config.json says, and what is said of it.
HOSTILE_ADAPTERS = {
    "module": (
        {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
        "'megatron_config', which cannot be merged",
    ),
    "kind": ({"peft_type": "PREFIX_TUNING"}, "'PREFIX_TUNING', and only LORA"),
    "kind-list": ({"peft_type": ["LORA"]}, "only LORA"),
    "unknown-field": ({"run_this": "rm"}, "'run_this', which cannot be merged"),
    "other-modules": ({"target_modules": ["k_proj"]}, "belongs to nothing"),
    "no-modules": ({"target_modules": ["nothing"]}, "could not be loaded"),
    "rank": ({"r": 8}, "could not be loaded"),
    "rank-text": ({"r": "eight"}, "the rank is 'eight'"),
    "rank-huge": ({"r": 10**7}, "the rank is 10000000"),
    "rank-true": ({"r": True}, "the rank is True"),
    "rank-pattern": ({"rank_pattern": {"q_proj": 10**7}}, "the rank is 10000000"),
    "rank-pattern-list": ({"rank_pattern": [10**7]}, "the rank is [10000000]"),
    "not-here": ({"base_model_name_or_path": "somebody/elses-model"}, "nothing was fetched"),
    "base-nowhere": ({"base_model_name_or_path": "/no/such/folder"}, "nothing was fetched"),
    "base-odd": ({"base_model_name_or_path": "a\0b/../c"}, "nothing was fetched"),
    "itself": ({"base_model_name_or_path": "."}, "nothing was fetched"),
}


@pytest.mark.parametrize(("changes", "said"), HOSTILE_ADAPTERS.values(), ids=HOSTILE_ADAPTERS)
def test_an_adapter_decides_nothing_but_where_its_numbers_belong(models, write_adapter, monkeypatch, changes, said):
    mine = write_adapter(**changes)
    monkeypatch.chdir(mine)
    with pytest.raises(ModelError) as refused:
        models.use(ModelSpec.of(str(mine)))
    assert said in str(refused.value)
    assert "antigravity" not in sys.modules


def test_what_only_training_needs_is_passed_over(models, write_adapter):
    before = weights_of(models.use(ModelSpec.of(str(write_adapter()))))
    mine = write_adapter(init_lora_weights="pissa", lora_dropout=0.5, inference_mode=False)
    assert weights_of(models.use(ModelSpec.of(str(mine)))) == before


@pytest.mark.parametrize("options", [{"quantize": "8bit"}, {"allow_code": True}, {"engine": "gguf"}])
def test_what_is_not_for_adapters_is_told(models, write_adapter, options):
    with pytest.raises(OptionError, match="Omit"):
        models.use(ModelSpec.of(str(write_adapter()), **options))


def test_without_its_numbers_an_adapter_is_not_looked_for_elsewhere(models, write_adapter):
    mine = write_adapter()
    (mine / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"neither adapter_model\.safetensors nor"):
        models.use(ModelSpec.of(str(mine)))


@pytest.mark.parametrize("lines", [5_000, 20_000, 80_000])
def test_long_cells_that_repeat_a_line_are_compared_in_no_time(lines):
    """Two such cells took minutes: each line was compared with each."""
    began = time.process_time()
    assert alike("a = 1\n" * lines, "a = 1\n" * lines + "b = 2") > 0.99
    assert time.process_time() - began < 5
