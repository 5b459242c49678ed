"""A server's key goes to its own host and appears nowhere: in no output, log, record, error, traceback or process."""

from __future__ import annotations

import copy
import io
import logging
import os
import pickle
import subprocess
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout

import pytest
from IPython.core.ultratb import VerboseTB
from IPython.utils.capture import capture_output
from scripted_server import answer, cut, stream
from shells import extended_shell

import fim_magic
from fim_magic import cli
from fim_magic.child_environment import KEYS, without_keys
from fim_magic.context import redacted
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.keys import ServerKey, key_for
from fim_magic.errors import FimError, OptionError
from fim_magic.loading.manager import MODELS
from fim_magic.provenance import full_record
from fim_magic.sandbox import run as run_in_sandbox
from fim_magic.sandbox.environment import variables

KEY = "sesame-4Fq8Zk2Lw9"
HOLE = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"


@pytest.fixture
def server(fake_server, monkeypatch):
    fake_server.key = KEY
    fake_server.says("total = sum(xs)")
    monkeypatch.setenv(KEYS, f"other.example:8000=another {fake_server.host}={KEY}")
    yield fake_server
    MODELS.unload()


@pytest.fixture
def logged():
    """All that any logger says, at its most talkative."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root, before = logging.getLogger(), logging.getLogger().level
    names = [
        "fim_magic",
        *(name for name in logging.root.manager.loggerDict if name.startswith(("http", "h11", "hpack"))),
    ]
    levels = {name: logging.getLogger(name).level for name in names}
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(before)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


# --- whose it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "address", "key"),
    [
        ("gpu:8000=a", "vllm://gpu:8000/m", "a"),
        ("gpu:8000=a", "vllm://gpu/m", "a"),
        ("gpu:8000=a", "vllm+https://gpu:8000/m", "a"),
        ("gpu:8000=a", "vllm://gpu:8001", ""),
        ("gpu:8000=a", "vllm://gpu.example:8000", ""),
        ("gpu:8000=a", "vllm://evil.example/gpu:8000", ""),
        ("gpu:8000=a gpu:8001=b", "vllm://gpu:8001", "b"),
        ("gpu=a", "https://gpu", "a"),
        ("gpu:443=a", "https://gpu", "a"),
        ("gpu=a", "http://gpu", ""),
        ("gpu=a", "vllm://gpu:443", ""),
        ("https://gpu:8000=a", "vllm+https://gpu:8000", "a"),
        ("https://gpu:8000=a", "vllm://gpu:8000", ""),
        ("gpu:8000=a https://gpu:8000=b", "vllm+https://gpu:8000", "b"),
        ("gpu:8000=a=b==", "vllm://gpu", "a=b=="),
        ("gpu:8000=a,b", "vllm://gpu", "a,b"),
        ("", "vllm://gpu", ""),
    ],
)
def test_a_key_belongs_to_one_host(kept, address, key, monkeypatch):
    monkeypatch.setenv(KEYS, kept)
    assert key_for(ServerAddress.of(address)) == key


@pytest.mark.parametrize("kept", [KEY, f"gpu:8000:{KEY}", f"{KEY}=", f"={KEY}", f"gpu:8000={KEY}é", f"me:{KEY}@gpu=x"])
def test_what_cannot_be_read_is_not_repeated(kept, monkeypatch):
    monkeypatch.setenv(KEYS, kept)
    with pytest.raises(OptionError, match=KEYS) as told:
        key_for(ServerAddress.of("vllm://gpu"))
    assert KEY not in "".join(traceback.format_exception(told.value))


@pytest.mark.parametrize(
    ("kept", "mark"),
    [
        (f"gpu:8000={KEY},other:8000=b", ","),
        (f"gpu:8000={KEY}, other:8000=b", ","),
        (f"other:8000=b,https://gpu={KEY}", ","),
        (f"gpu={KEY},other=b,third=c", ","),
        (f"gpu:8000={KEY};other:8000=b", ";"),
        (f"gpu:8000={KEY};", ";"),
    ],
)
def test_items_with_other_marks_between_them_are_no_key(kept, mark, monkeypatch):
    monkeypatch.setenv(KEYS, kept)
    with pytest.raises(OptionError) as told:
        key_for(ServerAddress.of("vllm://gpu"))
    assert f"has '{mark}' between its items" in str(told.value)
    assert f'export {KEYS}="HOST:PORT=KEY HOST:PORT=KEY"' in str(told.value)
    assert KEY not in "".join(traceback.format_exception(told.value))


def test_a_keyring_is_asked_where_the_environment_has_none(monkeypatch):
    asked = []

    class Keyring:
        @staticmethod
        def get_password(service, name):
            asked.append((service, name))
            return "from-the-ring" if name == "gpu:8000" else None

    monkeypatch.setitem(sys.modules, "keyring", Keyring)
    assert key_for(ServerAddress.of("vllm+https://gpu:8000")) == "from-the-ring"
    assert asked == [("fim-magic", "https://gpu:8000"), ("fim-magic", "gpu:8000")]
    assert key_for(ServerAddress.of("vllm://other")) == ""


# --- where it does not appear --------------------------------------------------------------------


def test_a_key_and_what_holds_one_do_not_show_it():
    key = ServerKey(KEY)
    connection = ServerConnection(ServerAddress.of("vllm://gpu"), key)
    for thing in (key, [key], connection, vars(connection), connection._client, {"key": key}):
        assert KEY not in repr(thing)
    assert KEY not in f"{connection}"


ECHO = f"Incorrect API key provided: {KEY}. You sent Authorization: Bearer {KEY}"


def failures(server):
    """What a server may do to a request, each with whether it repeats the key that it was sent."""
    echo = {"error": {"message": ECHO, "code": 400}}
    for behaviour, repeats in (
        (answer(echo, 400), True),
        (answer(echo, 500), True),
        (stream({"error": echo["error"]}), True),
        (stream(ECHO), True),
        (cut, False),
        (answer({"error": {"message": "out of memory"}}, 500), False),
        (answer({}, 307, Location="http://evil.example/"), False),
        (stream("no JSON"), False),
    ):
        server.script(server.completions, behaviour)
        yield repeats


def test_it_is_in_nothing_that_a_notebook_shows_or_keeps(server, logged, tmp_path):
    with extended_shell(tmp_path) as shell, capture_output() as captured:
        shell.run_line_magic("xmode", "Verbose")
        for cell in (
            f"%fim use {server.address}",
            f"%%fim\n{HOLE}",
            "%fim status",
            "%fim log",
            "%fim log 1",
            "%fim prompt",
            "%fim doctor",
            "%fim replay",
            "%fim allow",
        ):
            shell.run_cell(cell, store_history=True)
        (entry,) = shell.magics_manager.registry["FimMagics"].session.history.entries[:1]
        for _ in failures(server):
            shell.run_cell(f"%%fim\n{HOLE}", store_history=True)
        shell.run_cell(f"import fim_magic\nfim_magic.infill({HOLE!r}, model={server.address!r})")
    assert any(KEY in asked.headers.get("authorization", "") for asked in server.requests)  # it was used
    assert "total = sum(xs)" in captured.stdout
    displayed = "".join(str(output.data) + str(output.metadata) for output in captured.outputs)
    assert KEY not in captured.stdout + captured.stderr + displayed
    assert KEY not in logged.getvalue()
    assert "POST" in logged.getvalue()  # what http clients log was seen
    assert KEY not in repr(entry) + repr(full_record(entry.result))


def test_it_is_in_no_error_and_no_traceback(server, logged):
    for repeats in failures(server):
        with pytest.raises(FimError) as told:
            fim_magic.infill(HOLE, model=server.address)
        error = told.value
        plain = "".join(traceback.format_exception(error))
        assert KEY not in plain + repr(error) + str(error.args)
        if not repeats:  # a debugger shows what came, and that is the server's own text
            chain = traceback.TracebackException.from_exception(error, capture_locals=True)
            assert KEY not in "".join(chain.format())
            assert KEY not in VerboseTB().text(type(error), error, error.__traceback__)
    assert KEY not in logged.getvalue()


@pytest.mark.parametrize("wrong", [f"{KEY}-wrong", ""])
def test_a_wrong_one_is_not_repeated(wrong, server, tmp_path, monkeypatch):
    monkeypatch.setenv(KEYS, f"{server.host}={wrong}" if wrong else "")
    path = tmp_path / "cell.py"
    path.write_text(HOLE)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert cli.main(["infill", str(path), "--model", server.address]) == 1
        cli.main(["doctor", "--model", server.address])
    assert f"{KEYS} to {server.host}=KEY" in err.getvalue()
    assert KEY not in out.getvalue() + err.getvalue()


def test_another_host_does_not_get_it(server, served_folder, monkeypatch):
    monkeypatch.setenv(KEYS, f"{server.host}={KEY}")
    with type(server)(served_folder) as other:
        other.says("total = max(xs)")
        fim_magic.infill(HOLE, model=other.address)
        assert other.requests
        assert not any("authorization" in asked.headers for asked in other.requests)
        server.script("/v1/models", answer({}, 307, Location=f"{other.url}/v1/models"))
        server.script("/props", answer({}, 307, Location=f"{other.url}/props"))
        before = len(other.requests)
        with pytest.raises(FimError, match="sends on to another address"):
            fim_magic.infill(HOLE, model=server.address)
        assert len(other.requests) == before


def test_a_loaded_model_can_be_copied_and_kept_only_without_it(server):
    fim_magic.infill(HOLE, model=server.address)
    assert MODELS.loaded is not None
    assert KEY not in repr(MODELS.loaded) + repr(MODELS.loaded.engine) + repr(vars(MODELS.loaded.engine))
    for keep in (pickle.dumps, copy.deepcopy):
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            keep(MODELS.loaded)


# --- programs that are started -------------------------------------------------------------------


def test_programs_that_are_started_do_not_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv(KEYS, f"gpu:8000={KEY}")
    assert KEYS not in variables(tmp_path)
    outcome = run_in_sandbox(f"import os\nassert {KEYS!r} not in os.environ")
    assert outcome.ok, outcome
    printed = subprocess.run(
        [sys.executable, "-c", "import os; print(dict(os.environ))"],
        env=without_keys(),
        capture_output=True,
        check=True,
    )
    assert KEY.encode() not in printed.stdout
    assert set(without_keys()) == set(os.environ) - {KEYS}


@pytest.mark.parametrize(
    "line",
    [
        f'os.environ["{KEYS}"] = "gpu:8000={KEY}"',
        f"{KEYS}=gpu:8000={KEY}",
        f"os.environ.setdefault('{KEYS}', 'https://gpu={KEY}')",
        f"# export {KEYS}=gpu:8000={KEY}",
    ],
)
def test_in_a_cell_it_is_seen_to_be_a_secret(line):
    assert KEY not in redacted(line)


def test_an_address_in_a_cell_stays_but_for_a_login():
    assert redacted('use("vllm://gpu.example:8000/bigcode/starcoder2-15b")').count("starcoder2-15b") == 1
    assert KEY not in redacted(f'use("vllm://me:{KEY}@gpu.example:8000/m")')
