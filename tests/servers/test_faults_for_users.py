"""What a user sees of a server that fails: in a notebook, at the command line, and in Python."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from fake_servers import FakeLlamaServer, FakeVllm
from IPython.utils.capture import capture_output
from scripted_server import CUT, answer, content, nobody_listens, stream
from shells import extended_shell

import fim_magic
from fim_magic import caret, cli
from fim_magic.candidate import Ending
from fim_magic.document import Document
from fim_magic.errors import ModelError, ServerError
from fim_magic.interruption import BrokenOffError
from fim_magic.loading.manager import MODELS

HOLE = "def mean(xs):\n<cursor>\n    return total / len(xs)\n"
ANSWER = "    total = sum(xs)"
PARTIAL = "    total = su"
KEY = "sesame-of-the-test"


@pytest.fixture
def server(fake_server, monkeypatch):
    fake_server.key = KEY
    fake_server.says(ANSWER)
    monkeypatch.setenv("FIM_MAGIC_SERVER_KEYS", f"{fake_server.host}={KEY}")
    yield fake_server
    MODELS.unload()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cell.py"
    path.write_text(HOLE)
    return str(path)


def partly(server):
    """The stream that breaks off behind `PARTIAL`."""
    ids = server.tokenizer.encode(PARTIAL)
    if server.kind == "vllm":
        events = [{"choices": [{"index": 0, "token_ids": [token], "finish_reason": None}]} for token in ids]
    else:
        events = [{"index": 0, "tokens": [token], "stop": False} for token in ids]
    return stream(*events, CUT)


REFUSALS = {
    "401": (answer({"error": "Unauthorized"}, 401), "wants a key"),
    "403": (answer({}, 403), "wants a key"),
    "404": (answer({"error": {"message": "The model does not exist."}}, 404), "refused (404: The model does not"),
    "413": (content(b"", 413), "--context none"),
    "429": (answer({}, 429, Retry_After="3000"), "too busy (429), and asks to wait 3000 s"),
    "500": (answer({"error": {"message": "CUDA out of memory"}}, 500), "failed (500: CUDA out of memory)"),
    "redirect": (content(b"", 307, Location="http://other.invalid/"), "sends on to another address"),
    "page": (content(b"<html>\x1b[31m", 200, "text/html"), "no JSON"),
    "cut": (stream(CUT), "broke off"),
    "escapes": (answer({"error": {"message": "\x1b]0;x\x07<script>{0}%s"}}, 500), "<script>{0}%s"),
}


def test_the_command_line_tells_it_in_a_paragraph(server, file, capsys):
    for how, (behaviour, says) in REFUSALS.items():
        server.script(server.completions, behaviour)
        assert cli.main(["infill", file, "--model", server.address]) == 1
        out, err = capsys.readouterr()
        assert out == "", how
        assert says in err, how
        assert not re.search(r"Traceback|\x1b|\x07", err), how
        assert KEY not in err, how


@contextmanager
def notebook(server, tmp_path):
    """A shell with the server's model in it."""
    with extended_shell(tmp_path) as shell, capture_output() as captured:
        shell.run_line_magic("config", f"FimMagics.model = {server.address!r}")
        shell.run_cell(f"%%fim -n 1\n{HOLE}")  # so that it is loaded
        assert ANSWER in captured.stdout, captured.stderr
        yield shell


def run_cell(shell, cell):
    with capture_output() as captured:
        shell.run_cell(cell)
    return captured


def test_a_cell_tells_it_in_a_paragraph_and_the_next_one_runs(server, tmp_path):
    with notebook(server, tmp_path) as shell:
        for how, (behaviour, says) in REFUSALS.items():
            server.script(server.completions, behaviour)
            captured = run_cell(shell, f"%%fim -n 1\n{HOLE}")
            told = captured.stdout + captured.stderr
            assert says in told, how
            assert not re.search(r"Traceback|\x1b\]|\x07", told), how
            assert KEY not in told, how
        server.unscript(server.completions)
        assert ANSWER in run_cell(shell, f"%%fim -n 1\n{HOLE}").stdout


FAILING = ["vllm://NOBODY", "there/is/no/such-model", "qwen2.5-coder-0.5b --engine steam", "starcoder2-3b --bogus"]
"""What may stand behind %fim use, and fails."""


@pytest.fixture
def vllm(served_folder):
    with FakeVllm(served_folder) as server:
        server.says(ANSWER)
        yield server
    MODELS.unload()


def test_where_the_first_use_has_failed_nothing_is_filled_by_another_model(vllm, tmp_path):
    refusal = "No model is chosen: the last %fim use failed"
    with nobody_listens() as host, extended_shell(tmp_path) as shell:
        for typed in FAILING:
            shell.run_line_magic("unload_ext", "fim_magic")
            shell.run_line_magic("load_ext", "fim_magic")
            run_cell(shell, f"%fim use {typed.replace('NOBODY', host)}")
            assert refusal in run_cell(shell, f"%%fim\n{HOLE}").stderr, typed
        python = f"import fim_magic\nfim_magic.infill({HOLE!r})"
        for cell in (f"%%complete\n{HOLE}", f"%%fim --show-prompt\n{HOLE}", "%fim", python):
            captured = run_cell(shell, cell)
            assert refusal in captured.stdout + captured.stderr, cell
        with pytest.raises(ModelError, match="%fim use auto"):
            asyncio.run(anext(caret.fill(shell, Document("x = ", ""))))
        assert MODELS.loaded is None
        assert MODELS.loading is None
        assert ANSWER in run_cell(shell, f"%%fim -n 1 --model {vllm.address}\n{HOLE}").stdout
        run_cell(shell, "%fim unload")
        run_cell(shell, f"%fim use {vllm.address}")
        assert ANSWER in run_cell(shell, f"%%fim -n 1\n{HOLE}").stdout


@pytest.mark.parametrize("line", ["%fim use {}", "%config FimMagics.model = '{}'"])
def test_the_model_in_use_stays_where_another_cannot_be_used(line, vllm, tmp_path):
    with nobody_listens() as host, extended_shell(tmp_path) as shell:
        run_cell(shell, line.format(vllm.address))
        for typed in FAILING:
            told = run_cell(shell, f"%fim use {typed.replace('NOBODY', host)}")
            assert f"{vllm.address} stays in use." in told.stdout, typed
        assert "stays in use" not in run_cell(shell, "%fim use").stdout  # nothing was named
        assert ANSWER in run_cell(shell, f"%%fim -n 1\n{HOLE}").stdout
        assert f"Model     {vllm.address}" in run_cell(shell, "%fim").stdout


def test_a_pause_that_a_server_asks_for_is_shown(vllm, file, capsys):
    behave = vllm.answer
    refused = {"/version", vllm.completions}

    def busy_once(exchange):
        if exchange.asked.path in refused:
            refused.discard(exchange.asked.path)
            exchange.json({}, 429)
        else:
            behave(exchange)

    vllm.answer = busy_once
    assert cli.main(["infill", file, "--model", vllm.address]) == 0
    told = capsys.readouterr()
    assert told.out == HOLE.replace("<cursor>", ANSWER)
    assert told.err.count(f"Waiting for {vllm.host} ") >= 2


def test_a_server_that_is_not_there(tmp_path, file, capsys):
    with nobody_listens() as host:
        assert cli.main(["infill", file, "--model", f"vllm://{host}"]) == 1
    assert f"No server answers at {host}" in capsys.readouterr().err


def test_the_wrong_kind_and_the_wrong_model(served_folder, file, capsys):
    with FakeLlamaServer(served_folder) as server:
        assert cli.main(["infill", file, "--model", f"vllm://{server.host}"]) == 1
        assert f"It answers as llama-server. Name it so: %fim use {server.address}" in capsys.readouterr().err
    with FakeVllm(served_folder) as server:
        assert cli.main(["infill", file, "--model", f"{server.address}/other/model"]) == 1
        assert "no model called 'other/model'; it has tiny/qwen2" in capsys.readouterr().err


def test_the_command_line_prints_what_has_come_and_says_why_there_is_no_more(server, file, capsys):
    server.script(server.completions, partly(server))
    assert cli.main(["infill", file, "--model", server.address]) == 1
    out, err = capsys.readouterr()
    assert out == HOLE.replace("<cursor>", PARTIAL)
    assert f"The server at {server.host} broke off" in err


def test_json_says_that_an_answer_is_partial(server, file, capsys):
    server.script(server.completions, partly(server))
    assert cli.main(["infill", "--json", file, "--model", server.address]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["ending"] for one in told["candidates"]] == ["broken off"]


def test_a_cell_shows_what_has_come_and_it_can_be_accepted(server, tmp_path):
    with notebook(server, tmp_path) as shell:
        server.script(server.completions, partly(server))
        shown = run_cell(shell, f"%%fim\n{HOLE}").stdout
        assert f"+ {PARTIAL}" in shown
        assert "partial: broke off" in shown
        assert shown.index(f"The server at {server.host} broke off") > shown.index("partial:")
        assert "partial: the server broke off" in run_cell(shell, "%fim log 2").stdout
        server.unscript(server.completions)
        assert "partial" not in run_cell(shell, "%fim log 1").stdout
        run_cell(shell, "%fim accept")
        assert shell.rl_next_input == HOLE.replace("<cursor>", PARTIAL)


def test_a_hint_is_none_of_half_an_answer(server, tmp_path):
    with notebook(server, tmp_path) as shell:
        server.script(server.completions, partly(server))
        captured = run_cell(shell, f"%%fim --hint\n{HOLE}")
        assert "broke off" in captured.stderr + captured.stdout
        assert "total" not in captured.stdout


def test_python_raises_it_with_what_has_come(server):
    server.script(server.completions, partly(server))
    with pytest.raises(BrokenOffError, match=f"The server at {server.host} broke off") as caught:
        fim_magic.infill(HOLE, model=server.address, candidates=1)
    assert isinstance(caught.value, ServerError)
    assert caught.value.result.candidates[0].ending is Ending.BROKEN_OFF
    assert caught.value.result.text == HOLE.replace("<cursor>", PARTIAL)
    server.script(server.completions, content(b"", 500))
    with pytest.raises(ServerError) as caught:
        fim_magic.infill(HOLE, model=server.address, candidates=1)
    assert not isinstance(caught.value, BrokenOffError)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal to send to one process")
@pytest.mark.parametrize("phase", ["before it answers", "in the stream"])
def test_ctrl_c_ends_the_process_and_the_request(server, file, phase):
    def silent(exchange):
        if phase == "in the stream":
            exchange.head()
            for token in server.tokenizer.encode(PARTIAL):
                choice = {"index": 0, "token_ids": [token], "finish_reason": None}
                exchange.event({"choices": [choice], "tokens": [token], "stop": False})
        os.kill(process.pid, signal.SIGINT)
        exchange.wait()

    server.script(server.completions, silent)
    process = subprocess.Popen(
        [sys.executable, "-m", "fim_magic", "infill", file, "--model", server.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert server.asked(server.completions)[-1].was_closed.wait(10)
    if phase == "in the stream":
        assert out.startswith("def mean(xs):\n")
