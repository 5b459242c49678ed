"""`fim-magic serve`: what it prints, and servers that it starts."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest
from gguf_files import write_gguf

from fim_magic import catalog, cli
from fim_magic.errors import ModelError, OptionError, ServerError
from fim_magic.loading.resolve import named_source
from fim_magic.loading.spec import ModelSpec
from fim_magic.serve import process
from fim_magic.serve.commands import Flag, ServerCommand
from fim_magic.serve.keys import ready_key, usual_key_file
from fim_magic.serve.model import checkpoint_for

pytest.importorskip("xllamacpp")

FAKE = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        Handler.asked = getattr(Handler, "asked", 0) + 1
        self.send_response(503 if Handler.asked < 3 else 200)
        self.end_headers()
    def log_message(self, *args): pass
seen = [os.environ.get("THE_KEY", ""), os.environ.get("FIM_MAGIC_SERVER_KEYS", ""), *sys.argv]
open(sys.argv[2], "w").write("\\n".join(seen))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def command_for(tmp_path: Path, program: str, port: int) -> ServerCommand:
    return ServerCommand(
        server="vllm",
        why="",
        model="m",
        program=(sys.executable, "-c", program),
        flags=(Flag(str(port)), Flag(str(tmp_path / "seen"))),
        host="127.0.0.1",
        port=port,
        key_file=tmp_path / "key",
        key_variable="THE_KEY",
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tiny(tmp_path):
    return write_gguf(tmp_path / "tiny one.gguf", context=512).path


# --- the key -------------------------------------------------------------------------------------


def test_a_key_is_made_once_for_an_address_and_only_its_owner_reads_it(cache):
    file = usual_key_file("127.0.0.1", 8000)
    key = ready_key(file)
    assert len(key) >= 40
    assert ready_key(file) == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = usual_key_file("127.0.0.1", 8001)
    assert ready_key(other) != key
    assert usual_key_file("../../x", 1).parent == file.parent


def test_a_key_file_that_others_read_is_refused(tmp_path):
    file = tmp_path / "key"
    file.write_text("sesame", "ascii")
    file.chmod(0o644)
    with pytest.raises(OptionError, match="chmod 600"):
        ready_key(file, is_ours=False)
    file.chmod(0o600)
    assert ready_key(file, is_ours=False) == "sesame"


@pytest.mark.parametrize("content", ["", "two words", "é", "x" * 5000])
def test_a_file_without_a_key_is_refused(tmp_path, content):
    file = tmp_path / "key"
    file.write_text(content, "utf-8")
    file.chmod(0o600)
    with pytest.raises(OptionError, match="--key-file"):
        ready_key(file, is_ours=False)


def test_a_key_file_in_no_folder_is_refused(tmp_path):
    with pytest.raises(OptionError, match="--key-file"):
        ready_key(tmp_path / "none" / "key", is_ours=False)


# --- what is served ------------------------------------------------------------------------------


def test_a_gguf_file_says_what_it_takes(tiny):
    found = checkpoint_for(named_source(str(tiny)), ModelSpec(str(tiny)))
    assert (found.name, found.path, found.context, found.heads) == ("tiny one", tiny, 512, 2)
    assert found.token_bytes == 2 * 1 * (32 + 32) * 2  # layers, heads of keys and values, their widths, float16
    assert found.weight_bytes == tiny.stat().st_size


def test_a_repository_that_is_not_here_is_known_by_the_catalogue(cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(cache / "hub"))
    found = checkpoint_for(named_source("starcoder2-15b@v1"), ModelSpec("starcoder2-15b@v1"))
    entry = catalog.find("starcoder2-15b")
    assert (found.name, found.repo, found.revision) == (entry.repo, entry.repo, "v1")
    assert found.context == entry.context
    assert found.weight_bytes == int(entry.parameters * 2e9)


@pytest.mark.parametrize(
    ("name", "allow_code", "kind", "said"),
    [
        ("vllm://127.0.0.1:8000", False, ModelError, "runs on a server already"),
        ("qwen2.5-coder-0.5b", False, ModelError, "fim-magic fetch qwen2.5-coder-0.5b"),
        ("refact-1.6b", False, ModelError, "--allow-code"),
        ("owner/name", True, OptionError, "OWNER/NAME@COMMIT"),
        ("owner/name@main", True, OptionError, "OWNER/NAME@COMMIT"),
    ],
)
def test_what_cannot_be_served_is_refused(cache, name, allow_code, kind, said):
    with pytest.raises(kind, match=said):
        checkpoint_for(named_source(name), ModelSpec(name, allow_code=allow_code))


# --- the command line ----------------------------------------------------------------------------


def test_the_command_is_printed_and_nothing_is_started(cache, tiny, capsys, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    words = ["--users", "2", "--port", "9123", "--ctx", "300", "--", "--threads", "3"]
    assert cli.main(["serve", tiny.name, *words]) == 0
    told = capsys.readouterr().out
    assert "--port 9123" in told
    assert "-c 600 -np 2" in told
    assert f"-m '{tiny}'" in told
    assert "--metrics --threads 3" in told
    assert "%fim use llama-server://127.0.0.1:9123/tiny%20one" in told
    assert (cache / "server-keys" / "127.0.0.1-9123").read_text("ascii").strip() not in told


def test_a_name_of_nothing_is_refused(cache, capsys):
    assert cli.main(["serve", "qwen2.5-coder-0.5"]) == 1
    assert "Did you mean qwen2.5-coder-0.5b" in capsys.readouterr().err


def test_a_port_that_is_taken_is_refused(cache, tiny, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["serve", str(tiny), "--run", "--port", str(port)]) == 1
    assert f"Take another port, --port {port + 1}" in capsys.readouterr().err


# --- processes -----------------------------------------------------------------------------------


def test_a_server_gets_its_key_in_the_environment_and_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_SERVER_KEYS", "gpu.example:1=of-another")
    monkeypatch.chdir(tmp_path)
    if sys.version_info >= (3, 11):  # as `SAFE_PATH` says: what lies in the current folder is no part of it
        (tmp_path / "socketserver.py").write_text("raise SystemExit('Not asked for.')")
    port = free_port()
    command = command_for(tmp_path, FAKE, port)
    ready: list[float] = []

    def on_ready(seconds: float) -> None:
        ready.append(seconds)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    assert process.run_server(command, "sesame", on_ready, look_seconds=0.02) == 0
    assert len(ready) == 1
    key, others, *typed = (tmp_path / "seen").read_text("utf-8").splitlines()
    assert (key, others) == ("sesame", "")
    assert not any("sesame" in word for word in typed)
    assert not process.answers(command)


def test_a_server_that_does_not_heed_ctrl_c_is_ended_all_the_same(tmp_path):
    command = command_for(tmp_path, "import signal; signal.signal(2, signal.SIG_IGN)" + FAKE, free_port())

    def on_ready(_seconds: float) -> None:
        for seconds in (0.1, 0.5):
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()

    assert process.run_server(command, "sesame", on_ready, look_seconds=0.02) == 0
    assert not process.answers(command)


def test_a_server_that_is_started_where_ctrl_c_is_ignored_is_told_to_end(tmp_path):
    """As by a script, with `&`: what is started inherits that."""
    told = "def told(*_):\n    open(sys.argv[2], 'w').write('told')\n    sys.exit()\nsignal.signal(15, told)\n"
    command = command_for(
        tmp_path, FAKE.replace("http.server.HTTPServer", f"{told}http.server.HTTPServer"), free_port()
    )
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit):
            process.run_server(command, "k", lambda _: os.kill(os.getpid(), signal.SIGTERM), look_seconds=0.02)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "seen").read_text("utf-8") == "told"


def test_a_server_that_is_started_by_nohup_outlives_its_terminal(tmp_path):
    def on_ready(_seconds: float) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        command = command_for(tmp_path, FAKE, free_port())
        assert process.run_server(command, "k", on_ready, look_seconds=0.02) == 0  # ended by Ctrl-C, not before
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_server_that_ends_before_it_answers_is_an_error(tmp_path):
    command = command_for(tmp_path, "raise SystemExit(3)", free_port())
    with pytest.raises(ServerError, match="ended with status 3 before it answered"):
        process.run_server(command, "sesame", lambda _seconds: None, look_seconds=0.02)


def test_a_server_that_cannot_be_started_is_an_error(tmp_path):
    command = ServerCommand("vllm", "", "m", ("/no/such/program",), (), "127.0.0.1", free_port(), tmp_path / "key")
    with pytest.raises(ServerError, match="cannot be started"):
        process.run_server(command, "sesame", lambda _seconds: None)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_real_llama_server_is_started_asked_and_ended(tmp_path, tiny, how):
    port = free_port()
    environment = {
        **os.environ,
        "FIM_MAGIC_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": "",  # where a llama-server could be
    }
    words = ["serve", str(tiny), "--run", "--port", str(port), "--users", "2"]
    started = subprocess.Popen(
        [sys.executable, "-m", "fim_magic", *words], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    told = []
    for line in started.stderr:
        told.append(line.decode())
        if told[-1].startswith("The key is in"):
            break
    assert any(line.startswith("Ready after") for line in told), told
    key = (tmp_path / "cache" / "server-keys" / f"127.0.0.1-{port}").read_text("ascii").strip()
    url = f"http://127.0.0.1:{port}"
    with httpx2.Client(base_url=url, trust_env=False) as client:
        assert client.get("/props").status_code == 401
        client.headers["Authorization"] = f"Bearer {key}"
        props = client.get("/props").json()
        assert (props["total_slots"], props["model_alias"]) == (2, "tiny one")
        assert props["default_generation_settings"]["n_ctx"] == 512
        assert client.get("/slots").status_code == 501
        assert client.get("/metrics").status_code == 200
    started.send_signal(how)
    output, rest = started.communicate(timeout=60)
    assert started.returncode == (0 if how == signal.SIGINT else 128 + how)
    assert key not in output.decode() + rest.decode() + "".join(told)
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", port)) != 0
