"""Every kind of server, from its address to a filled cell, and what each is sent."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import suppress

import checkpoints
import pytest
from fake_servers import FakeLlamaServer, FakeVllm, write_served
from fake_text_servers import FakeCompletions, FakeOllama, FakeSglang, FakeTgi
from huggingface_hub import constants
from scripted_server import ScriptedServer, answer, content, stream
from test_server_faults import changed, fields_of
from tokenizers import decoders, pre_tokenizers

from fim_magic import catalog, cli
from fim_magic.catalog import GgufFile
from fim_magic.engines import ANY, GREEDY
from fim_magic.engines.server.address import KINDS as KIND_NAMES
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialects import DIALECTS, identify
from fim_magic.engines.server.engine import ServerEngine
from fim_magic.errors import FetchError, FimError, ModelError, ServerError
from fim_magic.loading.manager import MODELS
from fim_magic.loading.resolve import named_source
from fim_magic.loading.served import bring_of_file
from fim_magic.pipeline import run
from fim_magic.settings import Settings

HOLE = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"
ANSWER = "total = sum(xs)"
FILLED = HOLE.replace("<cursor>", ANSWER)
KINDS = [FakeVllm, FakeLlamaServer, FakeSglang, FakeTgi, FakeOllama, FakeCompletions]
BY_TEXT = [FakeTgi, FakeOllama, FakeCompletions]


def answering(request, served_folder):
    with request.param(served_folder) as server:
        server.says(ANSWER)
        yield server
    MODELS.unload()


server = pytest.fixture(params=KINDS, ids=lambda kind: kind.kind)(answering)
text_server = pytest.fixture(params=BY_TEXT, ids=lambda kind: kind.kind)(answering)


def filled(server, tmp_path, *options, text=HOLE, address="", code=0):
    path = tmp_path / "cell.py"
    path.write_text(text)
    given = ["--tokenizer", str(server.folder)]
    found = cli.main(["infill", str(path), "--model", address or server.address, *given, *options])
    assert found == code
    return path


def engine_of(server, address=""):
    connection = ServerConnection(ServerAddress.of(address or server.address))
    dialect, served = identify(connection)
    engine = ServerEngine.load(connection, dialect, served, server.folder, name=connection.address.name)
    return engine.proved(server.folder, "the folder")


def test_each_kind_fills_a_cell(server, tmp_path, capsys):
    filled(server, tmp_path)
    assert capsys.readouterr().out == FILLED


def test_log_probabilities_stand_with_their_tokens(served_folder):
    """SGLang tells none of tokens that it was held to."""
    with FakeSglang(served_folder) as server:
        server.says(ANSWER)
        _, request = Settings().request(HOLE, candidates=1, max_new_tokens=12)
        *_, last = run(request, engine_of(server))
    (candidate,) = last.result.candidates
    assert candidate.middle == ANSWER
    is_told = [logprob is not None for logprob in candidate.logprobs]
    assert is_told == [end > 0 for end in candidate.token_ends]  # what is generated again is no part of the text
    assert set(is_told) == {False, True}
    assert candidate.mean_logprob == pytest.approx(0.0, abs=1e-6)


def test_a_plain_url_is_asked_what_it_is(server, tmp_path):
    connection = ServerConnection(ServerAddress.of(server.url))
    dialect, served = identify(connection)
    assert dialect.name == server.kind
    assert served.name == server.name


def test_another_kind_is_told_with_the_line_to_type(server):
    for kind in set(KIND_NAMES) - {server.kind, "openai"}:
        with pytest.raises(ServerError, match=f"It answers as {server.kind}") as told:
            identify(ServerConnection(ServerAddress.of(f"{kind}://{server.host}/{server.name}")))
        line = str(told.value).partition("%fim use ")[2]
        assert line == f"{server.address}/{server.name}"
        assert identify(ServerConnection(ServerAddress.of(line)))[1].name == server.name


def test_another_model_is_refused_with_the_line_to_type(server):
    kinds = [server.kind, "http", next(kind for kind in ("vllm", "tgi") if kind != server.kind)]
    for kind in kinds:
        with pytest.raises(ServerError) as told:
            identify(ServerConnection(ServerAddress.of(f"{kind}://{server.host}/other/model")))
        line = str(told.value).partition("%fim use ")[2]
        if kind != kinds[-1]:
            assert "no model called 'other/model" in str(told.value)
        assert line == f"{server.kind if kind != 'http' else kind}://{server.host}/{server.name}"
        assert identify(ServerConnection(ServerAddress.of(line)))[1].name == server.name


@pytest.mark.parametrize(
    ("instead", "why"),
    [
        (answer({}, 404), "refused (404)"),
        (answer({}, 405), "refused (405)"),
        (content(b"<html>", 200, "text/html"), "no JSON"),
        (answer([1]), "does not tell its version"),
        (answer({"version": None}), "does not tell its version"),
    ],
)
def test_what_is_not_of_its_kind_is_asked_what_it_is(served_folder, instead, why):
    with FakeTgi(served_folder) as server:
        server.script("/version", instead)
        with pytest.raises(ServerError) as told:
            identify(ServerConnection(ServerAddress.of(f"vllm://{server.host}")))
        assert why in str(told.value)
        assert f"%fim use tgi://{server.host}" in str(told.value)


def test_a_key_that_another_kind_lacks_is_told(served_folder):
    with FakeSglang(served_folder, key="sesame") as server:
        server.script("/version", answer({}, 404))
        with pytest.raises(ServerError, match="wants a key"):
            identify(ServerConnection(ServerAddress.of(f"vllm://{server.host}")))


@pytest.mark.parametrize("wanted", ["tiny/qwen2", "coder", "/models/q.gguf", "models/q.gguf", "q.gguf", "q", "q4"])
def test_a_llama_server_s_model_has_several_names(served_folder, wanted):
    with FakeLlamaServer(served_folder) as server:
        props = {"default_generation_settings": {"n_ctx": 512}, "model_path": "/models/q.gguf"}
        server.script("/props", answer(props | {"model_alias": server.name}))
        server.script("/v1/models", answer({"data": [{"id": server.name, "aliases": [server.name, "coder", "q4"]}]}))
        assert identify(ServerConnection(ServerAddress.of(f"{server.address}/{wanted}")))[1].name == server.name


@pytest.mark.parametrize("name", ["/models/qwen", "/models/qwen/", "a b", "C:\\models\\qwen"])
@pytest.mark.parametrize("kind", [FakeVllm, FakeTgi], ids=lambda kind: kind.kind)
def test_the_line_to_type_for_any_name_is_right(served_folder, name, kind):
    with kind(served_folder, name=name) as server:
        with pytest.raises(ServerError) as told:
            identify(ServerConnection(ServerAddress.of(f"{server.address}/other")))
        line = str(told.value).partition("%fim use ")[2]
        assert identify(ServerConnection(ServerAddress.of(line)))[1].name == name


@pytest.mark.parametrize("plain", [False, True])
def test_a_server_is_asked_what_it_is_once_for_each_load(server, tmp_path, plain):
    filled(server, tmp_path, address=server.url if plain else "")
    asked = Counter(request.path for request in server.requests if request.method == "GET")
    assert set(asked.values()) == {1}, asked


def test_each_says_what_it_can(server):
    engine = engine_of(server)
    able = engine.capabilities
    assert able.takes_ids == (server.kind in ("vllm", "llama-server", "sglang"))
    assert able.scores == (server.kind in ("vllm", "sglang"))
    assert able.constrains == (server.kind in ("vllm", "llama-server", "sglang"))


def test_several_candidates_are_sampled_with_seeds(server, tmp_path, capsys):
    server.says(ANSWER, "total = 0", "total = 1")
    filled(server, tmp_path, "-n", "3", "--seed", "5")
    assert capsys.readouterr().out in (
        FILLED,
        HOLE.replace("<cursor>", "total = 0"),
        HOLE.replace("<cursor>", "total = 1"),
    )


def test_what_is_sent_as_a_text_is_read_as_our_ids(text_server, tmp_path, capsys):
    filled(text_server, tmp_path, "--context", "none")
    asked = [request.body for request in text_server.asked(text_server.completions)]
    text = asked[-1].get("prompt") or asked[-1]["inputs"]
    assert text.startswith("<|fim_prefix|>def mean(xs):")
    assert text.endswith("return total / len(xs)\n<|fim_middle|>")
    assert text_server.prompt_ids(text).count(text_server.tokenizer.sentinel("<|fim_middle|>")) == 1


@pytest.mark.parametrize("place", ["code", "string"])
def test_text_that_looks_like_a_sentinel_is_not_sent(text_server, tmp_path, capsys, place):
    line = "# <|fim_middle|>" if place == "code" else "x = '<|file_sep|>'"
    before = len(text_server.asked(text_server.completions))
    engine_of(text_server)
    known = len(text_server.asked(text_server.completions)) - before
    filled(text_server, tmp_path, text=f"{line}\n{HOLE}", code=1)
    told = capsys.readouterr().err
    assert "<|fim_middle|>" in told if place == "code" else "<|file_sep|>" in told
    assert "Nothing was sent" in told
    assert len(text_server.asked(text_server.completions)) - before == 2 * known  # those of the proof, twice


def test_such_text_is_sent_to_those_that_take_ids(served_folder, tmp_path, capsys):
    text = f"# <|fim_middle|>\n{HOLE}"
    with FakeSglang(served_folder) as server:
        server.says(ANSWER)
        filled(server, tmp_path, text=text)
        assert capsys.readouterr().out == text.replace("<cursor>", ANSWER)
    MODELS.unload()


def test_another_vocabulary_is_refused(server, tmp_path):
    other = write_served(tmp_path / "other")
    written = json.loads((other / "tokenizer.json").read_text())
    written["model"]["merges"] = written["model"]["merges"][:20]
    ids = written["model"]["vocab"]
    ids["e"], ids["t"] = ids["t"], ids["e"]
    (other / "tokenizer.json").write_text(json.dumps(written))
    connection = ServerConnection(ServerAddress.of(server.address))
    dialect, served = identify(connection)
    engine = ServerEngine.load(connection, dialect, served, other, name="x")
    with pytest.raises(ModelError, match="encodes text in another way"):
        engine.proved(other, "the other")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (FakeVllm, "go as token ids; that the server reads them as they are meant is proved by its own ids"),
        (FakeTgi, "go as text; that the server reads them as they are meant is proved by its own ids"),
        (FakeCompletions, "go as text; that the server reads them as they are meant is proved by how many tokens"),
    ],
)
def test_doctor_says_by_what_it_is_proved_that_prompts_arrive(served_folder, monkeypatch, capsys, kind, said):
    with kind(served_folder, key="sesame") as server:
        server.says(ANSWER)
        monkeypatch.setenv("FIM_MAGIC_SERVER_KEYS", f"{server.host}=sesame")
        words = ["doctor", "--model", server.address, "--tokenizer", str(served_folder), "--prove"]
        assert cli.main(words) == 1  # it answers the same to everything
        shown = capsys.readouterr()
        assert said in " ".join(shown.out.split())
        assert "sesame" not in shown.out + shown.err
    MODELS.unload()


REBUILT = (pre_tokenizers.Split(" ", "merged_with_previous"), decoders.Replace("▁", " "))
"""What transformers puts into tokenizers that it takes for Llama's."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_tokenizer_that_the_server_has_rebuilt_matters_where_texts_are_sent(served_folder, kind):
    with kind(served_folder) as server:
        server.says(ANSWER)
        server.rebuild_tokenizer(*REBUILT)
        if kind in BY_TEXT:
            with pytest.raises(ModelError, match=r"If the folder is the model's own: .* %fim use vllm://"):
                engine_of(server)
            return
        engine = engine_of(server)
        (notice,) = engine.info.notices
        assert "makes no difference if this tokenizer is the model's own" in notice
        assert "other tokens" in engine.info.server.proved_by
        _, request = Settings().request(HOLE, candidates=1, max_new_tokens=12)
        *_, last = run(request, engine)
        assert last.result.candidates[0].middle == ANSWER
        server.script("/detokenize", answer({"error": "Not Found"}, 404))
        with pytest.raises(ModelError, match="encodes text in another way"):
            engine_of(server)


@pytest.mark.parametrize("takes_ids", ["", "plain", "as-vllm"])
def test_an_endpoint_of_completions_gets_ids_if_it_shows_that_it_takes_them(served_folder, tmp_path, capsys, takes_ids):
    with FakeCompletions(served_folder) as server:
        server.says(ANSWER)
        server.takes_ids = takes_ids
        engine = engine_of(server)
        assert engine.capabilities.takes_ids == bool(takes_ids)
        assert engine.capabilities.scores == (takes_ids == "as-vllm")
        text = HOLE if not takes_ids else f"# <|fim_middle|>\n{HOLE}"
        filled(server, tmp_path, "--context", "none", text=text)
        assert capsys.readouterr().out == text.replace("<cursor>", ANSWER)
        sent = server.asked("/v1/completions")[-1].body["prompt"]
        assert isinstance(sent, list) == bool(takes_ids)
    MODELS.unload()


def test_an_endpoint_that_reads_ids_as_something_else_gets_texts(served_folder, tmp_path):
    with FakeCompletions(served_folder) as server:
        server.takes_ids, server.shift = "plain", 1
        assert not engine_of(server).capabilities.takes_ids


def test_an_endpoint_that_counts_nothing_is_used_and_that_is_said(served_folder, tmp_path):
    with FakeCompletions(served_folder) as server:
        server.tells_usage = False
        (notice,) = engine_of(server).info.notices
        assert "not proved" in notice


def test_transformers_is_given_a_whole_configuration(served_folder, tmp_path, capsys):
    with FakeCompletions(served_folder) as server:
        server.says(ANSWER)
        server.is_transformers = True
        filled(server, tmp_path, "--temperature", "0.5", "--seed", "3")
        assert capsys.readouterr().out == FILLED
        asked = server.asked("/v1/completions")[-1].body
        given = json.loads(asked["generation_config"])
        assert given["do_sample"] is True
        assert given["top_k"] == 0
        assert set(given["eos_token_id"]) >= {server.tokenizer.sentinel(s) for s in ("<|endoftext|>", "<|fim_pad|>")}
        assert asked.keys() <= {
            "model",
            "prompt",
            "max_tokens",
            "temperature",
            "top_p",
            "seed",
            "stream",
            "generation_config",
        }
    MODELS.unload()


def test_the_tokenizer_of_an_ollama_model_is_that_of_its_own_file(served_folder, tmp_path):
    with FakeOllama(served_folder) as server:
        _, served = identify(ServerConnection(ServerAddress.of(server.address)))
        assert served.sources[0] == str(served_folder)
        assert served.context_length == server.context  # as it is loaded
        assert served.precision == "Q4_K_M"
        server.is_loaded = False
        _, served = identify(ServerConnection(ServerAddress.of(server.address)))
        assert served.context_length == 8192
        server.shown = {"parameters": 'stop                           "x"\nnum_ctx                        2048'}
        _, served = identify(ServerConnection(ServerAddress.of(server.address)))
        assert served.context_length == 2048


def test_a_file_of_ollama_s_is_known_by_what_is_in_it(tmp_path):
    name = "sha256-" + "0a" * 32
    (tmp_path / name).write_bytes(b"GGUF" + bytes(20))
    assert named_source(str(tmp_path / name)).is_gguf
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ModelError):
        named_source(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "info", "found"),
    [
        ("hf.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF:Q4_K_M", {}, "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"),
        ("mine:latest", {"general.base_model.0.repo_url": "https://huggingface.co/a/b"}, "a/b"),
        ("qwen2.5-coder:7b-instruct-q4_0", {}, "qwen2.5-coder-7b"),
    ],
)
def test_where_the_tokenizer_of_an_ollama_model_may_come_from(served_folder, name, info, found):
    with FakeOllama(served_folder, name=name) as server:
        server.shown = {"model_info": info, "modelfile": ""}
        _, served = identify(ServerConnection(ServerAddress.of(f"{server.address}/{name}")))
        assert found in served.sources


def test_a_tokenizer_alone_is_brought_where_a_repository_has_it(served_folder, tmp_path, monkeypatch, capsys):
    """And not the whole file of the catalogue, in which it is as well."""
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (repo,) = catalog.find("qwen2.5-coder-0.5b").tokenizer_repos
    commit = "1" * 40
    cached = tmp_path / f"models--{repo.replace('/', '--')}"
    shutil.copytree(served_folder, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    with FakeOllama(served_folder, name="qwen2.5-coder:0.5b") as server:
        server.says(ANSWER)
        server.shown = {"modelfile": ""}
        path = tmp_path / "cell.py"
        path.write_text(HOLE)
        assert cli.main(["infill", str(path), "--model", server.address]) == 0
    assert capsys.readouterr().out == FILLED
    assert not list((tmp_path / "cache").rglob("*.gguf"))
    MODELS.unload()


def test_the_size_of_a_file_that_is_fetched_for_its_tokenizer_is_told_before(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    gguf = GgufFile("alone.gguf", 491_400_064, "0" * 64)
    seen = []
    with pytest.raises(FetchError):  # nobody has it
        bring_of_file(gguf, None, lambda progress: seen.append(progress.what), pytest.fail)
    assert seen[0] == "Fetching all of alone.gguf for its tokenizer, 491 MB"


def test_an_ollama_model_that_runs_elsewhere_is_refused(served_folder):
    with FakeOllama(served_folder) as server:
        server.shown = {"remote_host": "https://ollama.com:443", "remote_model": "big"}
        with pytest.raises(ModelError, match=r"sends what it is asked on to https://ollama\.com:443"):
            identify(ServerConnection(ServerAddress.of(server.address)))


def test_a_model_that_completes_no_text_is_refused_with_one_that_infills(served_folder):
    with FakeOllama(served_folder, name="nomic:latest") as server:
        server.shown = {"capabilities": ["embedding"]}
        with pytest.raises(ModelError, match=r"%fim use qwen2\.5-coder-0\.5b"):
            identify(ServerConnection(ServerAddress.of(server.address)))


def test_a_tag_may_be_left_out(served_folder):
    with FakeOllama(served_folder, name="mine:latest") as server:
        assert identify(ServerConnection(ServerAddress.of(f"{server.address}/mine")))[1].name == "mine:latest"


def test_an_endpoint_that_only_chats_is_refused_with_one_that_infills(served_folder):
    with FakeCompletions(served_folder) as server:
        server.script("/v1/completions", answer({"error": {"message": "Not Found", "code": 404}}, 404))
        with pytest.raises(FimError, match=r"chat.*%fim use qwen2\.5-coder-0\.5b"):
            engine_of(server)


def test_a_model_that_cannot_infill_says_so_as_local_ones_do(tmp_path, capsys):
    other = write_served(tmp_path / "other")
    checkpoints.tokenizer(checkpoints.PLAIN).save(str(other / "tokenizer.json"))
    checkpoints.change_config(other, model_type="llama")
    with FakeVllm(other) as server:
        filled(server, tmp_path, code=1)
        told = capsys.readouterr().err
        assert "cannot fill in the middle" in told
        assert "%fim use qwen2.5-coder-0.5b" in told
    MODELS.unload()


def test_a_server_of_no_known_kind_names_the_kinds(served_folder):
    with ScriptedServer() as server:
        with pytest.raises(ServerError, match="ollama://"):
            identify(ServerConnection(ServerAddress.of(server.url)))
        with pytest.raises(ServerError, match=r"no SGLang.*Nor is it of another kind"):
            identify(ServerConnection(ServerAddress.of(f"sglang://{server.host}")))


def test_a_key_that_lacks_is_asked_for_and_not_hidden_behind_the_kinds(served_folder):
    with FakeLlamaServer(served_folder, key="sesame") as server:
        server.script("/openapi.json", answer({"error": "Invalid API Key"}, 401))
        server.script("/version", answer({"error": "Invalid API Key"}, 401))
        with pytest.raises(ServerError, match="wants a key"):
            identify(ServerConnection(ServerAddress.of(server.url)))


def test_every_kind_that_an_address_can_name_has_a_dialect():
    assert set(DIALECTS) == set(KIND_NAMES)


WRONG = [None, True, -1, 3.5, 2**31, 10**400, "5", "x", [], {}, [[]], float("nan"), float("inf")]

EVENTS = {
    "sglang": {
        "output_ids": [65],
        "meta_info": {"finish_reason": None, "completion_tokens": 1, "prompt_tokens": 20, "cached_tokens": 3}
        | {"output_token_logprobs": [[-0.5, 65, None]], "output_top_logprobs": [[[-0.5, 65, None]]]},
    },
    "tgi": {
        "index": 1,
        "token": {"id": 65, "text": "a", "logprob": -0.5, "special": False},
        "top_tokens": [{"id": 65, "text": "a", "logprob": -0.5, "special": False}],
        "generated_text": None,
        "details": None,
    },
    "ollama": {"response": "a", "done": False, "logprobs": [{"token": "a", "logprob": -0.5}]},
    "openai": {"choices": [{"index": 0, "text": "a", "finish_reason": None}], "usage": None},
}


@pytest.mark.parametrize("kind", [FakeSglang, FakeTgi, FakeOllama, FakeCompletions], ids=lambda kind: kind.kind)
def test_a_wrong_value_in_any_field_of_an_event_is_told_or_makes_no_difference(served_folder, kind):
    """Missing, null, of another type, huge, negative, beyond the vocabulary, not a number."""
    with kind(served_folder) as server:
        engine = engine_of(server)
        prompt = engine.tokenizer.encode("def f(x):\n    return")
        whole = EVENTS[kind.kind]
        for place in fields_of(whole):
            for wrong in WRONG:
                server.script(server.completions, stream(changed(whole, place, wrong)))
                generation = engine.generate(
                    prompt, beginnings=[ANY], sampling=GREEDY, stop_ids=frozenset([3]), limit=5
                )
                tokens = []
                with suppress(ServerError):
                    new = None
                    while new is None or new:
                        new = generation.step()
                        tokens += new or []
                for token in tokens:
                    assert engine.tokenizer.knows(token.id), (place, wrong)
                    assert token.logprob is None or -1e9 < token.logprob <= 0.01, (place, wrong)
