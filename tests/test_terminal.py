"""Terminal IPython, as a person at a keyboard has it: on a real pseudo-terminal."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pexpect
import pytest

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07")
SETUP = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
    "from scripted import ScriptedEngine; from fim_magic.loading.manager import MODELS; "
    "MODELS.adopt(ScriptedEngine('sum(xs)'))"
)


@pytest.fixture
def terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm-256color")
    child = pexpect.spawn(
        sys.executable,
        [
            *("-m", "IPython", "--no-banner", "--no-confirm-exit", "--InteractiveShell.autoindent=False"),
            f"--InteractiveShellApp.exec_lines={SETUP}",
            "--InteractiveShellApp.extensions=fim_magic",
        ],
        encoding="utf-8",
        dimensions=(40, 100),
        timeout=30,
    )
    child.expect(r"In \[")
    yield child
    child.close(force=True)


def type_cell(child: pexpect.spawn, *lines: str) -> None:
    for line in lines[:-1]:
        child.send(line + "\r")
        child.expect_exact("...:")  # the prompt of the next line
    child.send(lines[-1] + "\x1b\r")  # Esc, Enter: run it


def test_accept_prepares_the_next_prompt(terminal):
    type_cell(terminal, "%%fim --accept", "total = <cursor>  # of xs")
    terminal.expect(r"scripted · \d+\.\d s")
    terminal.expect(r"In \[")
    # The prompt after the diff already holds the rebuilt line: entering it runs it.
    terminal.send("\r")
    terminal.expect(r"NameError")
    shown = ESCAPES.sub("", terminal.before)
    assert "total = sum(xs)  # of xs" in shown


def test_fim_shows_the_diff_in_colour_and_fim_accept_prepares_the_prompt(terminal):
    type_cell(terminal, "%%fim", "total = <cursor>")
    terminal.expect(r"scripted · \d+\.\d s")
    assert "sum(xs)" in terminal.before
    assert "\x1b[" in terminal.before
    terminal.expect(r"In \[")
    terminal.send("%fim accept\r")
    terminal.expect(r"In \[")
    terminal.send("\r")
    terminal.expect(r"NameError")
    assert "total = sum(xs)" in ESCAPES.sub("", terminal.before)


def test_fim_prompt_shows_every_token_in_the_colour_of_its_piece(terminal):
    type_cell(terminal, "%%fim", "total = <cursor>  # of xs")
    terminal.expect(r"scripted · \d+\.\d s")
    terminal.expect(r"In \[")
    terminal.send("%fim prompt\r")
    terminal.expect(r"PSM, \d+ tokens")
    terminal.expect(r"In \[")
    shown = terminal.before
    assert re.search(r"prefix +\x1b\[30;46mt\x1b\[0m +\x1b\[30;106mo\x1b\[0m", shown)
    assert re.search(r"suffix +\x1b\[30;43m␣\x1b\[0m", shown)
    assert re.search(r"8 tokens +83 78 83 64 75 220 28 220\r\n", ESCAPES.sub("", shown))


def test_an_error_is_one_line(terminal):
    type_cell(terminal, "%%fim", "total = 1")
    terminal.expect(r"There is no cursor marker")
    terminal.expect(r"In \[")
    assert "Traceback" not in terminal.before
