"""Text goes to another host only when the user has allowed that one, and no more of the notebook than they have.

The servers listen on loopback, where 0.0.0.0 reaches them: an address that is not known to be this machine's.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys

import pytest
import traitlets
from fake_servers import FakeVllm
from nbformat.v4 import new_code_cell, new_notebook, new_output, writes
from scripted import ScriptedEngine
from scripted_server import answer
from shells import extended_shell, run_cell

import fim_magic
from fim_magic import allowed_hosts, caret, cli
from fim_magic.allowed_hosts import NOTHING_ALLOWED, Permission
from fim_magic.candidate import Result
from fim_magic.context import MODES, Context, ContextCell, File, NameDescription
from fim_magic.document import Document
from fim_magic.engines import Destination, EngineInfo, ServerInfo
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.hosts import is_listed, listed_host
from fim_magic.errors import ModelError, NotAllowedError, OptionError
from fim_magic.evaluate import command
from fim_magic.loading.consent import needs_consent
from fim_magic.loading.manager import MODELS, ModelManager
from fim_magic.loading.spec import ModelSpec
from fim_magic.provenance import of_cell, record
from fim_magic.review import caption
from fim_magic.settings import REMOTE_CONTEXTS, Settings

HOLE = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"
ANSWER = "total = sum(xs)"
FILLED = HOLE.replace("<cursor>", ANSWER)
ABOVE = "def spread(xs):\n    return max(xs) - min(xs)"
NAMES = "xs = [1, 2, 3]"


@pytest.fixture
def server(served_folder, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with FakeVllm(served_folder, name="team/coder") as server:
        server.says(ANSWER)
        yield server
    MODELS.unload()


@pytest.fixture
def host(server):
    return f"0.0.0.0:{server.port}"


@pytest.fixture
def remote(host, served_folder):
    """What is typed behind %fim use: another host does not say which folder of this machine holds a tokenizer."""
    return f"vllm://{host} --tokenizer {served_folder}"


@pytest.fixture
def shell(tmp_path):
    with extended_shell(tmp_path) as shell:
        yield shell


def prompts(server):
    bodies = [asked.body for asked in server.asked("/v1/completions")]  # of one that was closed early, not all of it
    sent = [body["prompt"] for body in bodies if isinstance(body, dict)]
    several = [each if isinstance(each[0], list) else [each] for each in sent]  # as a text is scored
    return [server.tokenizer.decode(ids) for each in several for ids in each]


def texts(server):
    """All that any request held."""
    sent = json.dumps([asked.body for asked in server.requests if not isinstance(asked.body, bytes)])
    return sent + "".join(prompts(server))


# --- which hosts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "listed"),
    [
        ("gpu.example:8000", "gpu.example:8000"),
        (" GPU.example:8000 ", "gpu.example:8000"),
        ("gpu.example", "https://gpu.example"),
        ("gpu.example:443", "https://gpu.example"),
        ("gpu.example:80", "gpu.example:80"),
        ("https://gpu.example:8443", "https://gpu.example:8443"),
        ("http://gpu.example", "gpu.example:80"),
        ("vllm://gpu.example/owner/name", "gpu.example:8000"),
        ("openai://api.example/v1/owner/name", "https://api.example"),
        ("vllm+https://gpu.example/owner/name", "https://gpu.example"),
        ("[::1]:8000", "[::1]:8000"),
        ("ехample:8000", "xn--ample-ywe6i:8000"),  # the first two letters are Cyrillic
    ],
)
def test_a_host_is_compared_in_one_form(entry, listed):
    assert listed_host(entry) == listed


@pytest.mark.parametrize("entry", ["", "gpu.example:99999", "a b:1", "gpu/x", "::1", "*", "nope://gpu", "gpu:８０"])
def test_what_is_no_host_is_refused(entry):
    with pytest.raises(OptionError, match="HOST:PORT"):
        listed_host(entry)


@pytest.mark.parametrize(
    "entry", ["gpu:8000=sesame", "me:sesame@gpu:8000", "https://me:sesame@gpu", "vllm://sesame@gpu"]
)
def test_a_key_in_the_place_of_a_host_is_not_repeated(entry):
    with pytest.raises(OptionError) as told:
        listed_host(entry)
    assert "sesame" not in str(told.value)


@pytest.mark.parametrize(
    ("entry", "address", "meant"),
    [
        ("gpu:8000", "vllm://gpu:8000", True),
        ("gpu:8000", "vllm://gpu", True),
        ("gpu:8000", "vllm+https://gpu:8000", True),
        ("gpu:8000", "vllm://gpu:8001", False),
        ("gpu:8000", "vllm://gpu.example:8000", False),
        ("https://gpu:8000", "vllm+https://gpu:8000", True),
        ("https://gpu:8000", "vllm://gpu:8000", False),
        ("gpu", "https://gpu/v1/owner/name", True),
        ("gpu", "https://gpu:443", True),
        ("gpu", "http://gpu", False),
        ("gpu", "http://gpu:443", False),
        ("gpu:443", "vllm://gpu:443", False),
    ],
)
def test_an_entry_means_one_host_by_one_way(entry, address, meant):
    found = ServerAddress.of(address)
    assert is_listed(found.host, frozenset({listed_host(entry)}), is_encrypted=found.is_encrypted) is meant


@pytest.mark.parametrize(
    "address",
    [
        "vllm://me:sesame@gpu:8000/m",
        "vllm://sesame@gpu",
        "vllm://me:sesame@gpu:port",
        "vllm://me:ses/ame@gpu",
        "vllm://gpu/?key=sesame",
        "vllm://gpu/m#sesame",
        "nope://me:sesame@gpu",
    ],
)
def test_a_key_in_an_address_is_not_repeated(address):
    with pytest.raises(ModelError) as told:
        ServerAddress.of(address)
    assert "sesame" not in str(told.value).replace("/", "")


@pytest.mark.parametrize(
    "address",
    [
        "vllm://gpu/a%0Ab",
        "vllm://gpu/a%00b",
        "vllm://gp\nu:8000",
        "vllm://gpu/\u202em",
        "http://gpu/x%0d%0aHost:other/v1/m",
        "vllm://[v1.a]:8000",
        "vllm://[fe80::1%a%20b]",
    ],
)
def test_what_no_request_can_hold_is_no_address(address):
    with pytest.raises(ModelError, match="not the address of a server") as told:
        ServerAddress.of(address)
    assert str(told.value).isprintable()


@pytest.mark.parametrize(
    ("address", "url", "model"),
    [
        ("vllm://gpu/100%25", "http://gpu:8000", "100%"),
        ("vllm://gpu/%2541", "http://gpu:8000", "%41"),
        ("vllm://gpu/a%3Fb%23c", "http://gpu:8000", "a?b#c"),
        ("vllm://gpu/a%20b", "http://gpu:8000", "a b"),
        ("http://gpu/v1/v1", "http://gpu:80", "v1"),
        ("http://gpu/v1/a/v1/b", "http://gpu:80", "a/v1/b"),
        ("https://gpu/a%3Fb%20c/v1/m", "https://gpu/a%3Fb%20c", "m"),
        ("vllm://[0:0:0:0:0:0:0:1]", "http://[::1]:8000", ""),
        ("openai://api.example/v1/m", "https://api.example", "m"),
        ("openai://api.example:8000/m", "http://api.example:8000", "m"),
        ("openai+http://api.example/m", "http://api.example:8000", "m"),
        ("openai+https://gpu/m", "https://gpu", "m"),
        ("openai://gpu/m", "http://gpu:8000", "m"),
        ("openai://gpu.local/m", "http://gpu.local:8000", "m"),
        ("openai://10.0.0.5/m", "http://10.0.0.5:8000", "m"),
        ("openai://[fe80::1]/m", "http://[fe80::1]:8000", "m"),
        ("openai://localhost", "http://localhost:8000", ""),
        ("vllm://gpu.example/m", "http://gpu.example:8000", "m"),
        ("vllm://[FE80:0::1%25eth0]:80/m", "http://[fe80::1%eth0]:80", "m"),
    ],
)
def test_an_address_is_read_from_its_own_name(address, url, model):
    found = ServerAddress.of(address)
    assert (found.url, found.model) == (url, model)
    assert ServerAddress.of(found.name) == found


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("vllm+https://gpu", "vllm://gpu:8000"),
        ("openai://api.example/v1/m", "openai://api.example:8000/m"),
        ("openai+https://gpu:8443/a/v1/m", "openai://gpu:8443/a/v1/m"),
        ("https://gpu", "http://gpu:80"),
    ],
)
def test_a_way_without_https_is_named_so_that_it_has_none(address, line):
    found = ServerAddress.of(address).unencrypted()
    assert found.name == line
    assert not ServerAddress.of(line).is_encrypted


def test_a_name_that_a_server_gives_stands_in_the_line_to_type():
    address = ServerAddress("vllm", "http://gpu:8000", "a b?\x1b[31m\n")
    assert address.name == "vllm://gpu:8000/a%20b%3F%1B[31m%0A"


def info_of(address):
    where = ServerAddress.of(address)
    server = ServerInfo(where.host, "vLLM 0.32.0", "team/coder", where.is_encrypted, where.is_loopback)
    return EngineInfo(address, "", "vLLM 0.32.0", where.host, "", where.destination, server=server)


@pytest.mark.parametrize(
    "address", ["vllm://127.0.0.1:8000", "vllm://localhost", "vllm://[::1]:8000", "vllm://127.9.9.9"]
)
def test_this_machine_need_not_be_allowed(address):
    assert NOTHING_ALLOWED.allows(info_of(address))


@pytest.mark.parametrize(
    "address", ["vllm://gpu:8000", "vllm://0.0.0.0", "vllm://10.0.0.1", "vllm://localhost.example"]
)
def test_another_has_to_be(address):
    assert not NOTHING_ALLOWED.allows(info_of(address))
    assert Permission.of([address]).allows(info_of(address))


def test_a_host_that_tells_nothing_of_itself_cannot_be_allowed():
    info = EngineInfo("m", "", "a server", "gpu:8000", "", Destination.HOST)
    assert not Permission.of(["gpu:8000"]).allows(info)
    with pytest.raises(NotAllowedError, match="gpu:8000"):
        NOTHING_ALLOWED.require(info)


def test_the_refusal_is_one_paragraph_with_all_that_it_takes():
    with pytest.raises(NotAllowedError) as told:
        NOTHING_ALLOWED.require(info_of("vllm://gpu:8000"))
    said = str(told.value)
    assert "\n" not in said
    for part in ("Nothing was sent", "team/coder", "gpu:8000", "stay here", "unencrypted", "%fim allow gpu:8000"):
        assert part in said
    assert "unencrypted" not in allowed_hosts.refusal(info_of("vllm+https://gpu:8000"), "none")
    assert "go along" in allowed_hosts.refusal(info_of("vllm://gpu:8000"), "auto")


# --- in a notebook -------------------------------------------------------------------------------


def test_nothing_goes_before_the_user_has_allowed_it_and_it_is_asked_once(shell, server, host, remote):
    used = run_cell(shell, f"%fim use {remote}")
    assert f"%fim allow {host}" in used
    refused = run_cell(shell, f"%%fim\n{HOLE}")
    assert f"%fim allow {host}" in refused
    assert "team/coder" in refused
    assert server.asked("/v1/completions") == []
    assert "mean" not in texts(server).replace(
        "def mean(xs):\\n    total = sum(xs)", ""
    )  # the vocabulary's proof has one
    assert host in run_cell(shell, f"%fim allow {host}")
    for _ in range(2):
        assert f"+     {ANSWER}" in run_cell(shell, f"%%fim\n{HOLE}")
    assert prompts(server)


def test_what_would_go_can_be_seen_before(shell, server, remote):
    run_cell(shell, f"%fim use {remote}")
    long = "x = 1\n" * 2000
    for hole in (HOLE, long + HOLE):  # a long prompt is measured by sending a part of it
        assert "fim_prefix" in run_cell(shell, f"%%fim --show-prompt --max-new-tokens 20\n{hole}")
    assert server.asked("/v1/completions") == []


@pytest.mark.parametrize(
    ("configured", "typed", "cells", "names"),
    [
        ("none", "", False, False),
        ("cells", "", True, False),
        ("names", "", False, True),
        ("auto", "", True, True),
        ("none", "--context auto", True, True),
        ("none", "--context cells", True, False),
        ("auto", "--context none", False, False),
    ],
)
def test_no_more_goes_along_than_is_allowed(configured, typed, cells, names, shell, server, host, remote):
    run_cell(shell, f"{NAMES}\n{ABOVE}")
    run_cell(shell, f"%config FimMagics.remote_context = '{configured}'")
    run_cell(shell, f"%fim use {remote}")
    run_cell(shell, f"%fim allow {host}")
    run_cell(shell, f"%%fim {typed}\n{HOLE}")
    sent = texts(server)
    assert ("max(xs) - min(xs)" in sent) is cells
    assert ("# xs" in sent) is names
    shown = run_cell(shell, "%fim prompt")
    assert ("context" in shown) is (cells or names)


def test_ghost_text_obeys(shell, server, host, remote):
    run_cell(shell, f"{NAMES}\n{ABOVE}")
    run_cell(shell, f"%fim use {remote}")

    async def filled():
        found = ""
        async for update in caret.fill(shell, Document("def mean(xs):\n    ", "\n    return total / len(xs)\n")):
            found = update if isinstance(update, str) else found
        return found

    with pytest.raises(NotAllowedError, match="%fim allow"):
        asyncio.run(filled())
    assert server.asked("/v1/completions") == []
    run_cell(shell, f"%fim allow {host}")
    assert asyncio.run(filled()) == ANSWER
    assert "max(xs)" not in texts(server)


def test_what_was_gathered_for_this_machine_does_not_go_to_another_later(shell, server, host, remote):
    MODELS.adopt(ScriptedEngine(ANSWER))
    run_cell(shell, f"{NAMES}\n{ABOVE}")
    run_cell(shell, f"%%fim\n{HOLE}")  # with the model "auto", and so with whatever is loaded when it is made again
    assert FimMagics(shell).session.history.entry("1").request.context.cells
    run_cell(shell, f"%fim use {remote}")
    assert "%fim allow" in run_cell(shell, "%fim replay 1")
    assert server.asked("/v1/completions") == []
    run_cell(shell, f"%fim allow {host}")
    run_cell(shell, "%fim replay 1")
    assert prompts(server)
    assert "max(xs)" not in texts(server)


def FimMagics(shell):
    return shell.magics_manager.registry["FimMagics"]


def test_further_answers_ask_anew_whether_they_may(shell, server, host, remote):
    run_cell(shell, f"%fim use {remote}")
    run_cell(shell, f"%fim allow {host}")
    run_cell(shell, f"%%fim\n{HOLE}")
    session = FimMagics(shell).session
    entry = session.history.entry("1")
    run_cell(shell, "%config FimMagics.allowed_hosts = []")
    before = len(server.requests)
    with pytest.raises(NotAllowedError):
        session._another(entry.request, entry.model, entry.loading, None, lambda *_: None)
    assert len(server.requests) == before


def test_what_is_allowed_can_be_asked(shell, server, host, remote):
    assert "no other host" in run_cell(shell, "%fim allow")
    assert "HOST:PORT" in run_cell(shell, "%fim allow a b")
    run_cell(shell, "%fim allow https://gateway.example/team/v1/owner/name")
    assert "https://gateway.example" in run_cell(shell, "%fim allow")
    run_cell(shell, f"%fim use {remote}")
    run_cell(shell, "%%fim --show-prompt\nx = <cursor>")  # waits until it is loaded
    assert f"%fim allow {host}" in run_cell(shell, "%fim allow")
    assert "not allowed yet" in run_cell(shell, "%fim status")
    assert f"{host}, https://gateway.example" in run_cell(shell, f"%fim allow {host}")
    assert "allowed, with --context none" in run_cell(shell, "%fim status")


def test_a_way_that_is_not_encrypted_is_told_once(shell, server, host, remote):
    run_cell(shell, f"%fim use {remote}")
    run_cell(shell, f"%fim allow {host}")
    told = [run_cell(shell, f"%%fim\n{HOLE}") for _ in range(2)]
    assert [f"The way to {host} is not encrypted" in text for text in told] == [True, False]


# --- from Python and from a shell ----------------------------------------------------------------


def test_python_obeys(server, host, served_folder, monkeypatch):
    ask = {"model": f"vllm://{host}", "tokenizer": str(served_folder)}
    with pytest.raises(NotAllowedError, match=f"FIM_MAGIC_ALLOWED_HOSTS={host}"):
        fim_magic.infill(HOLE, **ask)
    assert server.asked("/v1/completions") == []
    assert fim_magic.infill(HOLE, **ask, allowed_hosts=[host]).text == FILLED
    monkeypatch.setenv("FIM_MAGIC_ALLOWED_HOSTS", f"gpu.example:8000, {host}")
    assert fim_magic.infill(HOLE, **ask).text == FILLED


def test_python_in_a_notebook_may_what_its_session_may(shell, server, host, remote, served_folder):
    run_cell(shell, f"%fim allow {host}")
    code = f"import fim_magic\nmade = fim_magic.infill({HOLE!r}, model='vllm://{host}', tokenizer={str(served_folder)!r}).text"
    run_cell(shell, code)
    assert shell.user_ns.get("made") == FILLED


@pytest.fixture
def notebook(tmp_path):
    path = tmp_path / "notebook.ipynb"
    path.write_text(writes(new_notebook(cells=[new_code_cell(ABOVE), new_code_cell(f"%%fim\n{HOLE}")])))
    return path


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_command_that_nobody_watches_is_refused(server, host, served_folder, notebook, capsys):
    assert cli.main(["infill", str(notebook), "--model", f"vllm://{host}", "--tokenizer", str(served_folder)]) == 1
    assert f"FIM_MAGIC_ALLOWED_HOSTS={host}" in capsys.readouterr().err
    assert server.asked("/v1/completions") == []


@pytest.mark.parametrize(("typed", "goes"), [("y\n", True), ("n\n", False), ("", False)])
def test_on_a_terminal_it_is_asked(typed, goes, server, host, served_folder, notebook, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    monkeypatch.setattr(sys, "stderr", Terminal())
    status = cli.main(["infill", str(notebook), "--model", f"vllm://{host}", "--tokenizer", str(served_folder)])
    assert (status, bool(prompts(server))) == ((0, True) if goes else (1, False))
    said = sys.stderr.getvalue()
    assert said.count("[y/N]") == 1
    assert f"team/coder (vLLM 0.32.0) runs on another host, {host}" in said


@pytest.mark.parametrize(
    ("configured", "typed", "goes"), [("none", (), False), ("cells", (), True), ("none", ("--context", "cells"), True)]
)
def test_other_cells_of_a_file_stay_here(configured, typed, goes, server, host, served_folder, notebook, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_ALLOWED_HOSTS", host)
    monkeypatch.setenv("FIM_MAGIC_REMOTE_CONTEXT", configured)
    assert (
        cli.main(["infill", str(notebook), "--model", f"vllm://{host}", "--tokenizer", str(served_folder), *typed]) == 0
    )
    assert ("max(xs)" in texts(server)) is goes


def test_our_own_text_need_not_be_allowed(server, host, served_folder, capsys):
    assert cli.main(["demo", "--model", f"vllm://{host}", "--tokenizer", str(served_folder)]) == 0
    assert prompts(server)


def test_own_files_of_an_evaluation_have_to_be_allowed_and_benchmarks_not():
    info = info_of("vllm://gpu:8000")
    assert command._permission_for(info, NOTHING_ALLOWED, is_public=True).allows(info)
    with pytest.raises(NotAllowedError, match="All other cells"):
        command._permission_for(info, NOTHING_ALLOWED, is_public=False)
    assert command._permission_for(info, Permission.of(["gpu:8000"]), is_public=False).context == "all"


# --- records -------------------------------------------------------------------------------------


def filled(server, served_folder, address):
    return fim_magic.infill(HOLE, model=address, tokenizer=str(served_folder), allowed_hosts=[address])


def test_records_captions_and_the_log_name_host_and_server(shell, server, host, served_folder, remote):
    result = filled(server, served_folder, f"vllm://{host}")
    assert isinstance(result, Result)
    told = {"host": host, "software": "vLLM 0.32.0", "model": "team/coder"}
    assert record(result)["server"] == told
    assert of_cell(record(result), 0)["server"] == told
    assert f"coder on {host} · " in caption.line(result)
    facts = dict(caption.facts(result))
    assert facts["Model"].startswith(f"vllm://{host}")
    assert facts["Server"] == f"team/coder, run by vLLM 0.32.0 at {host} (another host, not encrypted)"
    run_cell(shell, f"%fim allow {host}")
    run_cell(shell, f"%fim use {remote}")
    assert f"on {host}" in run_cell(shell, f"%%fim\n{HOLE}")
    assert host in run_cell(shell, "%fim log")
    assert host in run_cell(shell, "%fim log 1")


def test_a_line_keeps_its_host_and_its_length():
    long = ServerInfo("gpu-server-seven.department.university.example:8000", "vLLM", "o/" + "m" * 90, True, False)
    shown = caption._fitted(long.model, ["9 of 9", "100.1 s"], ["a name is not defined " * 5], long.host)
    assert len(shown) <= caption.COLUMNS
    assert " on gpu-server-seven" in shown


def test_a_record_of_a_model_in_this_process_names_no_server():
    MODELS.adopt(ScriptedEngine(ANSWER))
    assert "server" not in record(fim_magic.infill(HOLE, model="scripted"))


def recorded(tmp_path, server, served_folder, address):
    """A notebook whose record names a model on a server."""
    saved = record(filled(server, served_folder, address))
    MODELS.unload()
    output = new_output("display_data", metadata={"fim_magic": saved})
    path = tmp_path / "theirs.ipynb"
    path.write_text(writes(new_notebook(cells=[new_code_cell(f"%%fim\n{HOLE}", outputs=[output])])))
    server.requests.clear()
    return path


@pytest.mark.parametrize("name", ["0.0.0.0", "127.0.0.1"])
def test_a_server_that_only_a_notebook_names_is_not_even_asked_what_it_runs(
    name, server, served_folder, tmp_path, capsys
):
    path = recorded(tmp_path, server, served_folder, f"vllm://{name}:{server.port}")
    assert cli.main(["replay", str(path), "--tokenizer", str(served_folder)]) == 1
    assert "--model" in capsys.readouterr().out
    assert server.requests == []


@pytest.mark.parametrize(("typed", "goes"), [("y\n", True), ("n\n", False)])
def test_replaying_asks_once_for_both(typed, goes, server, host, served_folder, tmp_path, capsys, monkeypatch):
    path = recorded(tmp_path, server, served_folder, f"vllm://{host}")
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert cli.main(["replay", str(path), "--tokenizer", str(served_folder)]) == (0 if goes else 1)
    assert sys.stderr.getvalue().count("[y/N]") == 1
    assert bool(prompts(server)) is goes


def test_another_server_is_a_reason_for_another_answer(server, host, served_folder, tmp_path, capsys, monkeypatch):
    path = recorded(tmp_path, server, served_folder, f"vllm://{host}")
    monkeypatch.setenv("FIM_MAGIC_ALLOWED_HOSTS", host)
    server.says("total = max(xs)")
    server.script("/version", answer({"version": "0.33.0"}))
    assert cli.main(["replay", str(path), "--tokenizer", str(served_folder)]) == 1
    assert "it was made with team/coder by vLLM 0.32.0" in capsys.readouterr().out


def test_a_host_that_is_allowed_is_asked_without_a_question(server, host, served_folder, tmp_path, monkeypatch):
    path = recorded(tmp_path, server, served_folder, f"vllm://{host}")
    monkeypatch.setenv("FIM_MAGIC_ALLOWED_HOSTS", host)
    assert cli.main(["replay", str(path), "--tokenizer", str(served_folder)]) == 0


def test_a_record_does_not_choose_what_a_loaded_server_gets():
    manager = ModelManager()
    engine = ScriptedEngine(ANSWER)
    engine.info = info_of("vllm://gpu:8000")
    manager.adopt(engine)
    assert needs_consent(ModelSpec("vllm://gpu:8000"), manager)
    assert not needs_consent(ModelSpec("vllm://gpu:8000"), manager, Permission.of(["gpu:8000"]))
    engine.info = info_of("vllm://127.0.0.1:8000")
    manager.adopt(engine)
    assert not needs_consent(ModelSpec("vllm://127.0.0.1:8000"), manager)
    assert needs_consent(ModelSpec("vllm://127.0.0.1:9000"), manager)


# --- settings ------------------------------------------------------------------------------------


def test_settings_come_from_the_environment_and_say_what_is_wrong(monkeypatch):
    assert set(REMOTE_CONTEXTS) == set(MODES)
    monkeypatch.setenv("FIM_MAGIC_ALLOWED_HOSTS", "a:1 b:2,c:3")
    monkeypatch.setenv("FIM_MAGIC_REMOTE_CONTEXT", "names")
    assert Settings().permission() == Permission.of(["a:1", "b:2", "c:3"], "names")
    assert Settings(allowed_hosts=["d:4"]).permission("all") == Permission.of(["d:4"], "all")
    with pytest.raises(OptionError, match="allowed hosts"):
        Settings(allowed_hosts=["a b"]).permission()
    with pytest.raises(traitlets.TraitError):
        Settings(remote_context="everything")


def test_a_context_is_limited_to_each_mode():
    whole = Context(
        files=(File("a.py", "a"),),
        cells=(ContextCell("b"),),
        below=(ContextCell("c"),),
        described=(NameDescription("d", "# d: int"),),
    )
    shown = {mode: whole.limited_to(mode) for mode in MODES}
    assert {mode: (bool(one.cells), bool(one.below), bool(one.described)) for mode, one in shown.items()} == {
        "none": (False, False, False),
        "cells": (True, False, False),
        "names": (False, False, True),
        "auto": (True, False, True),
        "all": (True, True, True),
    }
