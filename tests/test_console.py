"""`jupyter console`, on a real pseudo-terminal: a kernel, and no page that shows it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pexpect
import pytest

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07")
TESTS = Path(__file__).parent
SETUP = (
    f"import sys; sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]; "
    "from scripted import ScriptedEngine; from fim_magic.loading.manager import MODELS; "
    "MODELS.adopt(ScriptedEngine('sum(xs)'))"
)


@pytest.fixture
def console(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    profile = tmp_path / "profile_default"
    profile.mkdir()
    settings = {"InteractiveShellApp": {"exec_lines": [SETUP], "extensions": ["fim_magic"]}}
    (profile / "ipython_config.json").write_text(json.dumps(settings))
    child = pexpect.spawn(sys.executable, ["-m", "jupyter_console"], encoding="utf-8", dimensions=(40, 100), timeout=60)
    child.expect(r"In \[")
    yield child
    child.close(force=True)


def enter(child, *lines):
    for line in lines[:-1]:
        child.send(line + "\r")
        child.expect_exact("...:")
    child.send(lines[-1] + "\x1b\r")  # Esc, Enter: run it


def shown(child):
    return ESCAPES.sub("", child.before)


def test_the_diff_is_text_and_fim_accept_prepares_the_next_prompt(console):
    enter(console, "%%fim", "total = <cursor>  # of xs")
    console.expect(r"scripted · \d+\.\d s")
    assert "~ total = ⟦sum(xs)⟧  # of xs" in shown(console)
    assert "HBox" not in shown(console)
    console.expect(r"In \[")
    enter(console, "%fim accept")
    console.expect(r"In \[")
    console.expect_exact("# of xs")
    console.send("\x1b\r")  # the prompt holds the rebuilt line: entering it runs it
    console.expect(r"NameError")


def test_an_error_is_one_line(console):
    enter(console, "%%fim", "total = 1")
    console.expect(r"There is no cursor marker")
    console.expect(r"In \[")
    assert "Traceback" not in shown(console)
