"""A served model from an address to a filled cell, against servers without a model."""

from __future__ import annotations

import json

import pytest
from IPython.utils.capture import capture_output
from scripted_server import stream
from shells import extended_shell

from fim_magic import cli
from fim_magic.loading.manager import MODELS

HOLE = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"
ANSWER = "total = sum(xs)"
FILLED = HOLE.replace("<cursor>", ANSWER)


@pytest.fixture
def server(fake_server):
    fake_server.says(ANSWER)
    yield fake_server
    MODELS.unload()


def test_the_command_line_asks_a_server(server, tmp_path, capsys):
    path = tmp_path / "cell.py"
    path.write_text(HOLE)
    assert cli.main(["infill", str(path), "--model", server.address]) == 0
    assert capsys.readouterr().out == FILLED


def test_the_magics_ask_a_server(server, tmp_path):
    with extended_shell(tmp_path) as shell, capture_output() as captured:
        shell.run_cell(f"%fim use {server.address}")
        shell.run_cell(f"%%fim\n{HOLE}")
        assert f"+     {ANSWER}" in captured.stdout
        shell.run_cell("%fim accept")
        text = getattr(shell, "rl_next_input", None)
    assert text == FILLED


def test_what_was_sent_is_our_own_prompt(server, tmp_path, capsys):
    path = tmp_path / "cell.py"
    path.write_text(HOLE)
    assert cli.main(["infill", str(path), "--model", server.address, "--context", "none"]) == 0
    (asked, *_) = server.asked(server.completions)
    prompt = server.tokenizer.decode(asked.body["prompt"])
    assert prompt.startswith("<|fim_prefix|>def mean(xs):")
    assert prompt.endswith("return total / len(xs)\n<|fim_middle|>")


def test_a_path_can_be_scripted_event_by_event(server):
    import httpx2

    server.script("/x", stream({"a": 1}, b"data: [DO", b"NE]\n\n"))
    assert httpx2.get(f"{server.url}/x").text == f"data: {json.dumps({'a': 1})}\n\ndata: [DONE]\n\n"
