"""What a session, its process and its machine may be like: each row is one of them, and what is right there."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from scripted import ScriptedEngine

import fim_magic
from fim_magic import cli
from fim_magic.document import Document
from fim_magic.loading.manager import MODELS
from fim_magic.progress import Progress, TerminalProgress
from fim_magic.review.terminal import LiveDiff
from fim_magic.streams import can_encode, is_terminal, say, write

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
    "closed": (">&-", 0, ""),
    "all-closed": ("<&- >&- 2>&-", 0, ""),
    "both-to-head": ("2>&1 | head -1", 141, ""),
}
PRINTS = "import sys; from fim_magic.cli_process import run; sys.exit(run(lambda: print('line\\n' * 99999) or 0))"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="of Linux")
@pytest.mark.parametrize(("rest", "status", "said"), PIPES.values(), ids=PIPES)
def test_commands_end_as_their_neighbours_do(rest, status, said):
    ended = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{PRINTS}" {rest}; exit ${{PIPESTATUS[0]}}'],
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


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("seconds", [0.08, 0.3])
def test_ctrl_c_ends_it_without_a_traceback_while_modules_are_read(seconds):
    """0.08 s is in the midst of the imports, when nothing of the command line is there to catch it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fim_magic", "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    # Before Python has come to us, and when it is done, nothing of ours runs.
    assert "fim_magic" not in said


# --- a guest in the process ----------------------------------------------------------------------


def test_the_users_random_stream_stays_and_fills_differ(engine):
    random.seed(42)
    before = random.getstate()
    seeds = {fim_magic.infill(HOLE, model="scripted", temperature=0.8).seed for _ in range(3)}
    assert random.getstate() == before
    assert len(seeds) == 3


def test_a_seed_that_is_given_is_taken(engine):
    assert {fim_magic.infill(HOLE, model="scripted", temperature=0.8, seed=7).seed for _ in range(2)} == {7}
