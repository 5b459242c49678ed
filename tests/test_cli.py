from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import ScriptedEngine

from fim_magic import cli
from fim_magic.engines import registry

HOLE = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"
ANSWER = "total = sum(xs)"
FILLED = "def mean(xs):\n    total = sum(xs)\n    return total / len(xs)\n"
RUN_ON = ANSWER + "\n    return total / len(xs)\n\ndef median(xs):\n"


@pytest.fixture(autouse=True)
def engine():
    engine = ScriptedEngine(RUN_ON)
    registry.adopt(engine)
    yield engine
    registry.unload()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cell.py"
    path.write_bytes(HOLE.encode())
    return str(path)


def run(*arguments: str) -> int:
    return cli.main([*arguments, "--model", "scripted"])


def test_infill_prints_the_rebuilt_text_and_nothing_else(file, capsys):
    assert run("infill", file) == 0
    assert capsys.readouterr().out == FILLED


def test_infill_reads_standard_input(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(HOLE))
    assert run("infill", "-") == 0
    assert capsys.readouterr().out == FILLED


def test_windows_line_ends_come_out_as_they_went_in(tmp_path, capsys):
    path = tmp_path / "windows.py"
    path.write_bytes(HOLE.replace("\n", "\r\n").encode())
    assert run("infill", str(path)) == 0
    assert capsys.readouterr().out == FILLED.replace("\n", "\r\n")


def test_json_has_the_text_the_candidates_and_what_was_trimmed(file, capsys):
    assert run("infill", "--json", file) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["text"] == FILLED
    assert told["middle"] == ANSWER
    (candidate,) = told["candidates"]
    assert candidate["cut_by"] == "repeats-suffix"
    assert candidate["middle"] + candidate["trimmed"] in RUN_ON


def test_diff_marks_the_added_line(file, capsys):
    assert run("infill", "--diff", file) == 0
    lines = capsys.readouterr().out.splitlines()
    added = next(line for line in lines if ANSWER in line)
    kept = next(line for line in lines if "return total" in line)
    assert added.lstrip()[0] in "+~"
    assert kept.lstrip()[0] not in "+~"


def test_complete_keeps_the_text_after_the_marker_from_the_model(file, engine, capsys):
    assert run("infill", "--complete", file) == 0
    prompt = engine.tokenizer.decode(engine.prompts[0])
    assert prompt == "def mean(xs):\n    "
    assert capsys.readouterr().out == FILLED


def test_demo_shows_the_diff(engine, capsys):
    engine.answers = (ANSWER,)
    assert run("demo") == 0
    assert ANSWER in capsys.readouterr().out


def test_diff_grows_in_place_on_a_terminal(file):
    """On a real pseudo-terminal: the diff is redrawn, and what is left on the screen is the finished one."""
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]);"
        "from scripted import ScriptedEngine; from fim_magic import cli; from fim_magic.engines import registry;"
        f"engine = ScriptedEngine({RUN_ON!r}); engine.before_step = lambda step: time.sleep(0.02);"
        "registry.adopt(engine); sys.exit(cli.main(['infill', '--diff', sys.argv[2], '--model', 'scripted']))"
    )
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parent), file],
        stdout=slave,
        stderr=subprocess.DEVNULL,
    )
    os.close(slave)
    written = read_all(master, child)
    assert child.returncode == 0
    assert "\x1b[J" in written  # it was redrawn
    final = written.rpartition("\x1b[J")[2]
    assert ANSWER in plain(final).replace("│", "")
    assert "def median" not in final


def read_all(master: int, child: subprocess.Popen) -> str:
    written = b""
    while True:
        ready, _, _ = select.select([master], [], [], 60)
        assert ready, "the command wrote nothing for a minute"
        try:
            chunk = os.read(master, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not chunk:
            break
        written += chunk
    child.wait(60)
    os.close(master)
    return written.decode()


def plain(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["infill", "no-such-file.py"], "could not be read"),
        (["infill", "FILE", "-n", "0"], "--candidates is from 1 to 64"),
        (["infill", "FILE", "--temperature", "-1"], "--temperature is 0 or more"),
        (["infill", "FILE", "--order", "mps"], "--order is one of"),
        (["infill", "FILE", "--order", "spm"], "not trained with the suffix first"),
        (["infill", "FILE", "--max-new-tokens", "5000"], "leaves no room"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_paragraph(arguments, told, file, capsys):
    assert run(*[file if argument == "FILE" else argument for argument in arguments]) == 1
    errors = capsys.readouterr().err
    assert told in errors
    assert "Traceback" not in errors


def test_a_file_without_a_marker_is_an_error(tmp_path, capsys):
    path = tmp_path / "cell.py"
    path.write_text("x = 1\n")
    assert run("infill", str(path)) == 1
    assert "no cursor marker" in capsys.readouterr().err


def test_a_file_that_is_not_text_is_an_error(tmp_path, capsys):
    path = tmp_path / "cell.bin"
    path.write_bytes(b"\xff\xfe\x00")
    assert run("infill", str(path)) == 1
    assert "not UTF-8" in capsys.readouterr().err


def test_an_unknown_model_is_an_error_with_its_neighbour(file, capsys):
    assert cli.main(["infill", file, "--model", "starcoder2-3bb"]) == 1
    assert "starcoder2-3b" in capsys.readouterr().err


def test_interrupted_prints_the_partial_text_and_says_so(file, engine, capsys):
    import signal

    def interrupt_at(step: int) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    engine.before_step = interrupt_at
    assert run("infill", file) == 130
    assert "total" in capsys.readouterr().out


def test_models_and_doctor_print(capsys):
    assert cli.main(["models"]) == 0
    assert "qwen2.5-coder-0.5b" in capsys.readouterr().out
    assert cli.main(["doctor"]) == 0
    assert "transformers" in capsys.readouterr().out
