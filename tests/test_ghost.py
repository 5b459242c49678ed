"""Ghost text in terminal IPython: on a real pseudo-terminal, and what computes it, through a real shell.

Jupyter AI 2, whose models IPython's own way imports, cannot be installed beside what is needed here. `JUPYTER_AI` stands in
for them, with the fields of its last releases, all of them without defaults, as the strictest release had them.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import re
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pexpect
import pytest
from prompt_toolkit import PromptSession
from prompt_toolkit.data_structures import Point
from prompt_toolkit.input import DummyInput
from prompt_toolkit.layout import UIContent
from prompt_toolkit.output import DummyOutput
from scripted import RecordingModels, ScriptedEngine, loaders_with
from shells import extended_shell

from fim_magic import caret, ghost
from fim_magic.document import Document
from fim_magic.errors import BusyError, FimError, ModelError
from fim_magic.events import Finished
from fim_magic.formats import FAMILIES
from fim_magic.formats.families import Part
from fim_magic.loading.manager import MODELS, ModelManager
from fim_magic.loading.spec import ModelSpec
from fim_magic.outcomes import TALLY
from fim_magic.pipeline import busy, run
from fim_magic.progress import Progress
from fim_magic.request import Request

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07")
GREY = "\x1b[0;38;5;241m"  # of prompt_toolkit's suggestions
FILL, LEFT, RIGHT, UP, END, CTRL_C, CTRL_E, BACKSPACE = (
    "\x1b[19~",
    "\x1b[D",
    "\x1b[C",
    "\x1b[A",
    "\x1b[F",
    "\x03",
    "\x05",
    "\x7f",
)

JUPYTER_AI = """
from dataclasses import dataclass
from typing import Any

@dataclass
class InlineCompletionRequest:
    number: int
    prefix: str
    suffix: str
    mime: str
    stream: bool
    path: Any
    language: Any
    cell_id: Any

@dataclass
class InlineCompletionItem:
    insertText: str
    filterText: Any
    isIncomplete: Any
    token: Any

@dataclass
class InlineCompletionList:
    items: list

@dataclass
class InlineCompletionReply:
    list: InlineCompletionList
    reply_to: int
    error: Any

@dataclass
class InlineCompletionStreamChunk:
    type: str
    response: InlineCompletionItem
    reply_to: int
    done: bool
    error: Any
"""


@pytest.fixture
def jupyter_ai(tmp_path, monkeypatch):
    """A folder where Jupyter AI's models can be imported from, here and in a process that has it as PYTHONPATH."""
    folder = tmp_path / "stand-in"
    models = folder / "jupyter_ai" / "completions" / "models.py"
    models.parent.mkdir(parents=True)
    models.write_text(JUPYTER_AI)
    for name in ("jupyter_ai/__init__.py", "jupyter_ai/completions/__init__.py", "jupyter_ai_magics.py"):
        (folder / name).touch()
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "jupyter_ai"]:
        del sys.modules[name]


# --- at the keyboard -------------------------------------------------------------------------------

SETUP = f"""
import sys, threading
sys.path.insert(0, {str(Path(__file__).parent)!r})
from scripted import ScriptedEngine
from fim_magic.loading.manager import MODELS
engine = ScriptedEngine({{answer!r}})
MODELS.adopt(engine)
def stuck(at):
    engine.before_step = lambda step: engine.may_go_on.clear() if step == at else None
def steps():
    engine.may_go_on.set()
    [thread.join() for thread in threading.enumerate() if thread.name == "fim-magic fills"]
    return len(engine.allowed)
"""


@pytest.fixture
def open_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")  # nobody here answers where the cursor is
    children = []

    def open_(*options, answer="sum(xs)"):
        child = pexpect.spawn(
            sys.executable,
            [
                *("-m", "IPython", "--no-banner", "--no-confirm-exit", "--InteractiveShell.autoindent=False"),
                f"--InteractiveShellApp.exec_lines={SETUP.format(answer=answer)}",
                "--InteractiveShellApp.extensions=fim_magic",
                *options,
            ],
            encoding="utf-8",
            dimensions=(40, 100),
            timeout=30,
        )
        children.append(child)
        child.expect(r"In \[")
        enter(child, "xs = [1, 2]")
        return child

    yield open_
    for child in children:
        child.close(force=True)


@pytest.fixture
def terminal(open_terminal):
    return open_terminal()


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """Have what becomes of answers counted; call it to get the counts, of one model."""
    monkeypatch.setenv("FIM_MAGIC_STATS", "1")
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))

    def counts():
        (found,) = TALLY.read().values()
        return found

    return counts


def enter(child: pexpect.spawn, line: str) -> None:
    child.send(line + "\r")
    child.expect(r"In \[")


def prints(child: pexpect.spawn, expression: str, value: str) -> None:
    child.send(f"print('=', {expression})\r")
    child.expect_exact(f"= {value}\r\n")


def drawn(child: pexpect.spawn, wanted: str) -> str:
    """Have the prompt drawn anew, as it is when a window changes its size, until it shows `wanted`."""
    screen = ""
    for width in range(101, 160):
        child.setwinsize(40, width)
        screen = ""
        with contextlib.suppress(pexpect.TIMEOUT):
            while True:
                screen += child.read_nonblocking(4096, timeout=0.2)
        screen = screen.rpartition("\x1b[J")[2]  # what comes before was drawn earlier
        if wanted in re.sub(r" *\r", "", ESCAPES.sub("", screen)):
            return screen
    return pytest.fail(f"{wanted!r} is not shown in {screen!r}")


@pytest.mark.parametrize(("mode", "takes"), [("emacs", RIGHT), ("emacs", CTRL_E), ("vi", RIGHT), ("vi", END)])
def test_the_key_shows_grey_text_at_the_end_of_a_line_and_an_arrow_takes_it(counted, open_terminal, mode, takes):
    terminal = open_terminal(f"--TerminalInteractiveShell.editing_mode={mode}")
    terminal.send("total = " + FILL)
    assert GREY + "sum(xs)" in drawn(terminal, "total = sum(xs)")
    enter(terminal, takes)
    prints(terminal, "total", "3")
    terminal.send("%fim log\r")
    terminal.expect_exact("accepted")
    assert counted() == {"offered": 1, "accepted": 1}


@pytest.mark.parametrize(("mode", "takes"), [("emacs", RIGHT), ("vi", CTRL_E)])
def test_in_the_middle_of_a_line_what_stands_behind_moves_and_the_model_sees_it(open_terminal, mode, takes):
    terminal = open_terminal(f"--TerminalInteractiveShell.editing_mode={mode}")
    terminal.send("total = () * 7" + LEFT * 5 + FILL)
    assert GREY + "sum(xs)" in drawn(terminal, "total = (sum(xs)) * 7")
    enter(terminal, takes)
    prints(terminal, "total", "21")
    prints(terminal, "engine.tokenizer.decode(engine.prompts[0])[-32:]", "<|fim_suffix|>) * 7<|fim_middle|>"[-32:])


def test_in_a_cell_of_several_lines_the_lines_below_move_down(open_terminal):
    terminal = open_terminal(answer="; a = sum(xs)\n    b = a * 5")
    terminal.send("if True:\r")
    terminal.expect_exact("...:")
    terminal.send("    pass\r")
    terminal.expect_exact("...:")
    terminal.send("    c = b" + UP + END + FILL)
    lines = ("if True:", "    pass; a = sum(xs)", "    b = a * 5", "    c = b")
    drawn(terminal, "\n   ...: ".join(lines))
    terminal.send(RIGHT)
    terminal.send("\x1b\r")
    terminal.expect(r"In \[")
    prints(terminal, "c", "15")


def test_typing_on_drops_it_and_stops_the_model(counted, terminal):
    enter(terminal, "stuck(2)")
    terminal.send("total = " + FILL)
    assert GREY + "sum" in drawn(terminal, "total = sum")
    enter(terminal, "4")
    prints(terminal, "total", "4")
    prints(terminal, "steps() in (3, 4)", "True")  # of 8: the one that it was in was its last
    assert counted() == {"offered": 1, "rejected": 1}


def test_what_was_dropped_does_not_come_back(terminal):
    terminal.send("total = " + FILL)
    drawn(terminal, "total = sum(xs)")
    terminal.send("4" + BACKSPACE + RIGHT)
    enter(terminal, "7")
    prints(terminal, "total", "7")


def test_an_arrow_takes_what_is_there_before_the_model_is_done(terminal):
    enter(terminal, "stuck(2)")
    terminal.send("total = " + FILL)
    drawn(terminal, "total = sum")
    enter(terminal, RIGHT)
    prints(terminal, "total is sum", "True")
    prints(terminal, "steps() in (3, 4)", "True")


def test_ctrl_c_stops_the_model_and_leaves_what_is_typed(terminal):
    enter(terminal, "stuck(0)")
    terminal.send("total = " + FILL)
    drawn(terminal, "total = s")
    enter(terminal, CTRL_C + "5")
    prints(terminal, "total", "5")
    prints(terminal, "steps() in (1, 2)", "True")


def test_what_is_to_be_waited_for_is_said_below(terminal):
    enter(terminal, "engine.may_go_on.clear()")
    terminal.send("total = " + FILL)
    drawn(terminal, "Filling in at the cursor (Ctrl-C stops it) …")
    enter(terminal, "6")
    prints(terminal, "total", "6")
    prints(terminal, "steps() in (0, 1)", "True")


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        ("%config FimMagics.filling = 'off'", "Filling is switched off in this notebook"),
        (
            "import threading, fim_magic.pipeline as p; t = p.TURN.taken(threading.Event()); t.__enter__()",
            "The model is busy with another request",
        ),
        ("%config FimMagics.model = 'no-such-model'", "no-such-model"),
        ("engine.answers = ('',)", "The model has nothing to put here."),
        ("engine.before_step = lambda step: 1 / 0", "This did not work: ZeroDivisionError"),
    ],
)
def test_an_error_is_told_below_and_what_is_typed_stays(terminal, cause, told):
    enter(terminal, cause)
    terminal.send("total = " + FILL)
    screen = ESCAPES.sub("", drawn(terminal, told))
    assert "total =" in screen
    assert "Traceback" not in screen
    enter(terminal, "8")
    prints(terminal, "total", "8")


def test_unloading_the_extension_takes_the_key_away(terminal):
    enter(terminal, "%unload_ext fim_magic")
    terminal.send("total = " + FILL)
    enter(terminal, "9")
    prints(terminal, "total", "9")
    prints(terminal, "engine.prompts", "[]")


def test_ipythons_own_ghost_text_asks_the_provider(open_terminal, jupyter_ai, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(jupyter_ai))
    profile = tmp_path / "profile_default"
    profile.mkdir()
    (profile / "ipython_config.py").write_text(
        "c.TerminalInteractiveShell.llm_provider_class = 'fim_magic.ghost.Provider'\n"
        "c.TerminalInteractiveShell.shortcuts = [\n"
        "    {'new_keys': ['f9'], 'command': 'IPython:auto_suggest.llm_autosuggestion', 'create': True}\n"
        "]\n"
    )
    terminal = open_terminal()
    terminal.send("total = \x1b[20~")
    assert GREY + "sum(xs)" in drawn(terminal, "total = sum(xs)")
    terminal.send(RIGHT)
    terminal.send("\x1b\r")
    terminal.expect(r"In \[")
    prints(terminal, "total", "3")


# --- what computes it ------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path):
    with extended_shell(tmp_path) as shell:
        yield shell


@pytest.fixture
def scripted(shell):
    scripted = ScriptedEngine("sum(xs)")
    MODELS.adopt(scripted)
    yield scripted
    scripted.may_go_on.set()
    ended()
    MODELS.unload()


def session_of(shell):
    return shell.magics_manager.registry["FimMagics"].session


def ended():
    """Wait until nothing fills any more."""
    for thread in threading.enumerate():
        if thread.name == "fim-magic fills":
            thread.join(30)
            assert not thread.is_alive()


def filled(shell, prefix, suffix="", **options):
    async def collect():
        return [said async for said in caret.fill(shell, Document(prefix, suffix), **options)]

    return asyncio.run(collect())


def test_fill_tells_all_of_the_answer_each_time_that_it_has_grown(shell, scripted):
    said = filled(shell, "total = ", "\n")
    assert [text for text in said if isinstance(text, str)][:3] == ["s", "su", "sum"]
    assert said[-1] == "sum(xs)"
    assert scripted.tokenizer.decode(scripted.prompts[0]) == "<|fim_prefix|>total = <|fim_suffix|>\n<|fim_middle|>"


def test_a_whole_answer_is_in_the_log_and_its_prompt_is_kept(shell, scripted, capsys):
    filled(shell, "total = ", "\n")
    shell.run_line_magic("fim", "log")
    assert "total = …" in capsys.readouterr().out
    shell.run_line_magic("fim", "prompt")
    assert "8 prefix" in capsys.readouterr().out


def test_markers_at_the_prompt_are_text(shell, scripted):
    filled(shell, "'<cursor>' in ", " + '█'")
    assert "'<cursor>' in <|fim_suffix|> + '█'<|fim_middle|>" in scripted.tokenizer.decode(scripted.prompts[0])


def test_settings_and_options_count(shell, scripted):
    shell.run_line_magic("config", "FimMagics.max_new_tokens = 3")
    shell.run_line_magic("config", "FimMagics.candidates = 4")  # there is room for one
    assert filled(shell, "total = ")[-1] == "sum"
    assert filled(shell, "total = ", max_new_tokens=2)[-1] == "su"


def test_left_to_right_only_where_the_model_cannot_infill_and_nothing_stands_behind(shell, scripted):
    family = next(row for row in FAMILIES if not row.can_infill and row.complete == (Part.PREFIX,) and row.stop)
    no_infilling = ScriptedEngine("sum(xs)", family=family)
    MODELS.adopt(no_infilling)
    assert filled(shell, "total = ", "\n")[-1] == "sum(xs)"
    assert no_infilling.tokenizer.decode(no_infilling.prompts[0]).endswith("total = ")
    with pytest.raises(ModelError, match="cannot fill in the middle"):
        filled(shell, "total = ", "  # of xs")


@pytest.mark.parametrize("filling", ["off", "hints"])
def test_a_classroom_that_allows_no_answers_gets_none(shell, scripted, filling):
    shell.run_line_magic("config", f"FimMagics.filling = '{filling}'")
    with pytest.raises(FimError, match="written by hand"):
        filled(shell, "total = ")
    assert scripted.prompts == []


def test_the_model_is_in_use_while_it_fills(shell, scripted):
    idle = shell.magics_manager.registry["FimMagics"].session._idle
    users = []
    scripted.before_step = lambda _step: users.append(idle._users)
    filled(shell, "total = ")
    assert set(users) == {1}
    assert idle._users == 0


def test_what_should_be_known_of_a_model_is_printed_once(shell, scripted, capsys):
    session_of(shell).models = RecordingModels(scripted, "Its licence forbids this.")
    filled(shell, "total = ")
    filled(shell, "total = ")
    assert capsys.readouterr().out == "Its licence forbids this.\n"


def test_a_model_is_used_as_fim_use_has_loaded_it(shell, scripted):
    models = session_of(shell).models = RecordingModels(scripted)
    magics = shell.magics_manager.registry["FimMagics"]
    magics.model, magics.session.used = "phi", {"model": "phi", "quantize": "4bit", "allow_code": True}
    filled(shell, "total = ")
    spec = ModelSpec("phi", quantize="4bit", family=None, engine=None, allow_code=True)
    assert models.specs == [spec, spec]  # begun in the background, and waited for


def test_without_the_extension_it_says_how_to_load_it(shell):
    shell.run_line_magic("unload_ext", "fim_magic")
    with pytest.raises(FimError, match="%load_ext fim_magic"):
        filled(shell, "total = ")
    shell.run_line_magic("load_ext", "fim_magic")


def test_a_model_in_memory_answers_on_the_thread_as_it_does_elsewhere(shell, engine):
    qwen = engine("qwen2")
    MODELS.adopt(qwen)
    document = Document("def mean(xs):\n    ", "\n    return total\n")
    *_, last = run(Request(document, max_new_tokens=8), qwen)
    assert isinstance(last, Finished)
    said = filled(shell, document.prefix, document.suffix, max_new_tokens=8)
    assert ([text for text in said if isinstance(text, str)] or [""])[-1] == last.result.middle


# --- stopping --------------------------------------------------------------------------------------


def stopped_at(answers, text, then=lambda: None):
    """Read a stream up to `text`, and cancel the task that reads."""

    async def read(reached):
        async for said in answers:
            if said == text:
                reached.set()

    async def main():
        reached = asyncio.Event()
        task = asyncio.create_task(read(reached))
        await asyncio.wait_for(reached.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        then()

    asyncio.run(main())


def stuck(scripted, at):
    scripted.before_step = lambda step: scripted.may_go_on.clear() if step == at else None


def test_cancelling_stops_the_model_at_its_next_token(shell, scripted):
    stuck(scripted, 2)
    stopped_at(caret.fill(shell, Document("total = ", "")), "sum", scripted.may_go_on.set)
    ended()
    assert len(scripted.allowed) in (3, 4)  # of 8: it may have begun another one
    assert not busy()
    scripted.before_step = lambda _step: None
    assert filled(shell, "total = ")[-1] == "sum(xs)"


def test_the_next_one_waits_until_a_cancelled_one_has_left_its_step(shell, scripted):
    stuck(scripted, 2)

    async def twice():
        first = caret.fill(shell, Document("total = ", ""))
        async for said in first:
            if said == "sum":
                break
        await first.aclose()
        assert busy()
        scripted.before_step = lambda _step: None
        second = caret.fill(shell, Document("total = ", ""))
        asyncio.get_running_loop().call_later(0.05, scripted.may_go_on.set)
        return [said async for said in second]

    assert asyncio.run(twice())[-1] == "sum(xs)"


def test_the_end_of_the_process_waits_until_the_model_has_left_its_step(shell, scripted, monkeypatch):
    at_exit = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setattr(atexit, "unregister", at_exit.remove)
    stuck(scripted, 2)

    async def leave():
        answers = caret.fill(shell, Document("total = ", ""))
        async for said in answers:
            if said == "sum":
                break
        threading.Timer(0.05, scripted.may_go_on.set).start()
        at_exit[0]()

    asyncio.run(leave())
    assert len(scripted.allowed) in (3, 4)
    assert not busy()
    assert at_exit == []


def test_others_that_use_the_model_make_it_busy(shell, scripted):
    events = run(Request(Document("x", "")), scripted)
    next(events)
    with pytest.raises(BusyError):
        filled(shell, "total = ")
    events.close()


def test_cancelling_leaves_a_model_that_is_being_loaded(shell, checkpoint):
    may_end = threading.Event()

    def load(_ready, _on_progress):
        assert may_end.wait(60)
        return ScriptedEngine("sum(xs)")

    models = session_of(shell).models = ModelManager(loaders_with(load=load))
    shell.magics_manager.registry["FimMagics"].model = str(checkpoint("qwen2"))

    async def told():
        async for said in caret.fill(shell, Document("total = ", "")):
            if isinstance(said, Progress) and said.what.startswith("Loading"):
                yield "Loading"

    stopped_at(told(), "Loading")
    ended()
    coming = models.loading
    assert coming is not None
    assert not coming.load.abandoned
    may_end.set()
    assert filled(shell, "total = ")[-1] == "sum(xs)"


# --- the provider ----------------------------------------------------------------------------------


def asked(prefix="total = ", suffix=""):
    return SimpleNamespace(prefix=prefix, suffix=suffix, number=7)


def test_the_provider_streams_as_jupyter_ais_do(shell, scripted, jupyter_ai):
    from jupyter_ai.completions import models

    async def collect():
        return [reply async for reply in ghost.Provider().stream_inline_completions(asked())]

    first, *chunks = asyncio.run(collect())
    assert isinstance(first, models.InlineCompletionReply)
    assert [(item.insertText, item.isIncomplete) for item in first.list.items] == [("", True)]
    assert all(isinstance(chunk, models.InlineCompletionStreamChunk) for chunk in chunks)
    assert [chunk.response.insertText for chunk in chunks[:2]] == ["s", "su"]
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].response.insertText == "sum(xs)"
    assert chunks[-1].response.isIncomplete is False
    assert {reply.reply_to for reply in (first, *chunks)} == {7}
    assert len({item.token for item in (*first.list.items, *(chunk.response for chunk in chunks))}) == 1


@pytest.mark.parametrize(("suffix", "seen"), [("\n\n\n\n", ""), ("\n  # of xs", "\n  # of xs")])
def test_the_provider_infills_but_before_ipythons_empty_lines(shell, scripted, jupyter_ai, suffix, seen):
    async def collect():
        return [reply async for reply in ghost.Provider().stream_inline_completions(asked("total = ", suffix))]

    asyncio.run(collect())
    assert scripted.tokenizer.decode(scripted.prompts[0]).endswith(f"total = <|fim_suffix|>{seen}<|fim_middle|>")


def test_the_providers_options_are_those_of_a_request(shell, scripted, jupyter_ai):
    async def last():
        replies = ghost.Provider(max_new_tokens=3).stream_inline_completions(asked())
        return [reply async for reply in replies][-1].response.insertText

    assert asyncio.run(last()) == "sum"


def test_cancelling_the_provider_stops_the_model(shell, scripted, jupyter_ai):
    stuck(scripted, 2)

    async def texts():
        async for reply in ghost.Provider().stream_inline_completions(asked()):
            yield getattr(reply, "response", reply.reply_to) != 7 and reply.response.insertText

    stopped_at(texts(), "sum", scripted.may_go_on.set)
    ended()
    assert len(scripted.allowed) in (3, 4)  # of 8: it may have begun another one
    assert not busy()


# --- what is drawn ---------------------------------------------------------------------------------


def prompt():
    return SimpleNamespace(pt_app=PromptSession(input=DummyInput(), output=DummyOutput(), multiline=True))


def lines_of(content):
    return ["".join(text for _, text, *_ in content.get_line(at)) for at in range(content.line_count)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("X", ["one", "tXwo", "three"]),
        ("X\n", ["one", "tX", "wo", "three"]),
        ("X\nY\nZ", ["one", "tX", "Y", "Zwo", "three"]),
        ("\N{RIGHT-TO-LEFT OVERRIDE}\x1b[2J", ["one", "t<U+202E><U+001B>[2Jwo", "three"]),
    ],
)
def test_the_ghost_stands_at_the_caret_and_moves_what_is_behind_it(text, lines):
    typed = ["one", "two", "three"]
    content = UIContent(lambda at: [("class:a", typed[at])], 3, Point(x=1, y=1))
    drawn_ = ghost._with_ghost(content, text)
    assert lines_of(drawn_) == lines
    assert drawn_.cursor_position == Point(x=1, y=1)
    assert ("class:auto-suggestion", lines[1][1 : len(lines[1]) - 2 * ("\n" not in text)]) in drawn_.get_line(1)


def test_register_changes_the_prompt_once_and_unregister_changes_it_back():
    shell = prompt()
    layout = shell.pt_app.layout
    before = (layout.container, layout.current_control)
    ghost.register(shell)
    ghost.register(shell)
    assert layout.current_control is not before[1]
    assert layout.current_control.ghost._typed is before[1]
    assert layout.current_control.buffer is shell.pt_app.default_buffer
    ghost.unregister(shell)
    assert (layout.container, layout.current_control) == before
    ghost.unregister(shell)
    assert (layout.container, layout.current_control) == before


def test_a_shell_without_a_prompt_is_left_as_it_is(shell):
    ghost.register(shell)
    ghost.unregister(shell)
    ghost.register(SimpleNamespace(pt_app=None))


def test_the_keys_that_it_takes_are_free():
    session = PromptSession(input=DummyInput(), output=DummyOutput())
    named = [
        binding.handler.__name__
        for binding in session.app.key_bindings.bindings + session.app._default_bindings.bindings
        if binding.keys == (ghost.KEY,)
    ]
    assert named == ["_ignore"]
