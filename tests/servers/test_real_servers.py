"""The servers that tests start: each answers an infilling prompt sent by hand, and counts what it does."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
import urllib.error
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from IPython.core.interactiveshell import InteractiveShell
from real_servers import RealServer, model_folder
from shells import new_shell, run_cell
from tokenizers import Tokenizer

from fim_magic.loading.manager import MODELS

pytestmark = pytest.mark.servers

PREFIX, SUFFIX = "def mean(xs):\n    ", "\n    return total / len(xs)\n"
LIMIT = 8
STEPS_TO_END = 40
"""Steps that a server may take until it has seen that a connection is closed, out of the 1500 that were asked for."""


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(model_folder() / "tokenizer.json"))


@pytest.fixture(scope="module")
def prompt(tokenizer):
    def ids(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    before, after, middle = (tokenizer.token_to_id(f"<|fim_{name}|>") for name in ("prefix", "suffix", "middle"))
    return [before, *ids(PREFIX), after, *ids(SUFFIX), middle]


@pytest.fixture
def completion(prompt):
    """What asks for a completion by hand, in the words of servers that take ids."""
    return {"prompt": prompt, "temperature": 0, "max_tokens": LIMIT}


def moved(server: RealServer, ask):
    before = server.counters()
    answer = ask()
    return answer, before, server.counters()


def test_llama_server_answers_ids_with_ids_and_counts_them(llama_server, completion, tokenizer):
    answer, before, after = moved(
        llama_server, lambda: llama_server.ask("/completion", {**completion, "n_predict": LIMIT, "return_tokens": True})
    )
    assert answer["content"].startswith("total = ")
    assert tokenizer.decode(answer["tokens"]) == answer["content"]
    assert after.generated == before.generated + LIMIT
    assert after.running == 0
    assert after.steps > before.steps
    assert after.processor_seconds > before.processor_seconds


def test_vllm_answers_ids_with_ids_and_counts_them(vllm_server, completion, tokenizer):
    asked = {**completion, "model": vllm_server.model, "return_token_ids": True, "skip_special_tokens": False}
    answer, before, after = moved(vllm_server, lambda: vllm_server.ask("/v1/completions", asked))
    (choice,) = answer["choices"]
    assert choice["text"].startswith("total = ")
    assert choice["prompt_token_ids"] == completion["prompt"]
    assert tokenizer.decode(choice["token_ids"], skip_special_tokens=False) == choice["text"]
    assert after.generated == before.generated + LIMIT
    assert after.running == 0
    assert after.steps > before.steps
    assert after.processor_seconds > before.processor_seconds


def test_transformers_answers_text_and_counts_the_prompt(transformers_server, completion, tokenizer):
    text = tokenizer.decode(completion["prompt"], skip_special_tokens=False)
    asked = {**completion, "prompt": text, "model": transformers_server.model}
    answer, before, after = moved(transformers_server, lambda: transformers_server.ask("/v1/completions", asked))
    assert answer["choices"][0]["text"].startswith("total = ")
    assert answer["usage"]["prompt_tokens"] == len(completion["prompt"])
    assert after.generated is None
    assert after.processor_seconds > before.processor_seconds


def test_a_server_with_a_key_refuses_another(llama_server, vllm_server, completion):
    for server in (llama_server, vllm_server):
        request = RealServer(server.kind, server.url, "another", server.model, server.process, server.log)
        with pytest.raises(urllib.error.HTTPError) as refused:
            request.ask("/v1/completions", {**completion, "model": server.model})
        assert refused.value.code == 401


def test_the_lines_that_serve_prints_fill_a_cell(vllm_server, tmp_path, monkeypatch):
    lines = lines_for_users(vllm_server)
    exports = [line for line in lines if line.startswith("export FIM_MAGIC_SERVER_KEYS")]
    say = f'{exports[0]}\nprintf %s "$FIM_MAGIC_SERVER_KEYS"'
    keys = subprocess.run(["bash", "-c", say], check=True, stdout=subprocess.PIPE, text=True).stdout
    monkeypatch.setenv("FIM_MAGIC_SERVER_KEYS", keys)
    shell = new_shell(monkeypatch, tmp_path)
    told = [run_cell(shell, line) for line in lines if line.startswith("%")]
    assert len(told) == 2
    told.append(run_cell(shell, f"%%fim -n 1\n{PREFIX}<cursor>{SUFFIX}"))
    assert "+     total = " in told[-1]
    assert vllm_server.key in keys
    assert vllm_server.key not in vllm_server.log.read_text("utf-8", errors="replace") + "".join(told)
    shell.run_line_magic("unload_ext", "fim_magic")
    InteractiveShell.clear_instance()
    MODELS.unload()


def lines_for_users(server):
    """What `fim-magic serve --run` has printed for users; it does so at the next look after the server answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        _, ready, told = server.log.read_text("utf-8", errors="replace").rpartition("\nReady after ")
        if ready and "The key is in" in told:
            return [line.strip() for line in told.splitlines()]
        time.sleep(0.1)
    pytest.fail(server.end_of_log())


@pytest.mark.parametrize(("name", "path"), [("llama_server", "/completion"), ("vllm_server", "/v1/completions")])
def test_the_counters_tell_that_a_closed_request_has_ended(request, name, path, completion):
    server = request.getfixturevalue(name)
    before = server.counters()
    asked = {**completion, "model": server.model, "max_tokens": 1500, "n_predict": 1500, "ignore_eos": True}
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=300)) as connection:
        headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps({**asked, "stream": True}), headers)
        answer = connection.getresponse()
        chunks = 0
        while chunks < 5:
            chunks += answer.readline().startswith(b"data: ")
        assert server.counters().running == 1
        answer.close()
    deadline = time.monotonic() + 60  # the machine may be busy; what is asserted are the steps
    while server.counters().running and time.monotonic() < deadline:
        time.sleep(0.1)
    after = server.counters()
    assert after.running == 0
    assert after.steps - before.steps < STEPS_TO_END
