"""With a server, torch, transformers and what they bring are neither imported nor needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from fake_servers import FakeLlamaServer, FakeVllm
from gguf_files import write_gguf
from without_torch import LEFT_OUT

from fim_magic.engines.torch.conversion_apart import tokenizer_of_gguf
from fim_magic.engines.torch.gguf_conversion import converted_tokenizer
from fim_magic.errors import ModelError
from fim_magic.weights.manifest import MANIFEST

ROOT = Path(__file__).parent.parent.parent
HOLE = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"
ANSWER = "total = sum(xs)"
FILLED = HOLE.replace("<cursor>", ANSWER)


@pytest.fixture(scope="module", params=[FakeVllm, FakeLlamaServer], ids=lambda kind: kind.kind)
def told(request, served_folder, tmp_path_factory):
    """What happened in a process without these libraries."""
    path = tmp_path_factory.mktemp("cells") / "cell.py"
    path.write_text(HOLE)
    # Nobody outside is asked whether they answer.
    offline = {"HF_HUB_OFFLINE": "1", "PIP_INDEX_URL": "http://127.0.0.1:1/", "PIP_NO_INDEX": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FIM_MAGIC_")}
    environment = kept | offline | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"}
    with request.param(served_folder) as server:
        server.says(ANSWER, "total = len(xs)")
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("without_torch.py")), server.address, str(path)],
            capture_output=True,
            encoding="utf-8",
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return {**json.loads(done.stdout.splitlines()[-1]), "address": server.address, "host": server.host}


def test_none_of_them_is_imported_nor_looked_for(told):
    assert told["imported"] == []
    assert told["notebook"]["sought"] == []
    assert told["sought"] == []


def test_a_notebook_works(told):
    notebook = told["notebook"]
    for name in ("fim", "check", "replay", "again"):
        assert f"+     {ANSWER}" in notebook[name], name
    assert notebook["accepted"] == FILLED
    assert "sentinel" in notebook["prompt"]
    assert "The same answers as before" in notebook["replay"]
    assert told["host"] in notebook["status"]
    assert told["host"] in notebook["log"]
    assert told["host"] in notebook["all"]
    assert "unloaded" in notebook["unload"]


def test_a_shell_and_python_work(told):
    status, out, err = told["infill"]
    assert (status, out) == (0, FILLED)
    assert told["host"] in err
    assert told["python"] == FILLED


def test_reports_say_what_holds_without_them(told):
    for text in (told["notebook"]["doctor"], told["doctor"][1]):
        assert "torch, which they need, is not installed" in text
    assert "answers          yes" in told["notebook"]["doctor"]
    status, out, _ = told["model"]
    assert status == 0
    assert "answers   yes" in out
    for text in (told["notebook"]["models"], told["models"][1]):
        assert "qwen2.5-coder-0.5b" in text


# --- what a llama-server's file says of its tokenizer --------------------------------------------


def test_a_gguf_tokenizer_is_the_same_from_another_process(tmp_path, monkeypatch):
    path = write_gguf(tmp_path / "tiny.gguf").path
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "here"))
    here = converted_tokenizer(path)
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "apart"))
    seen = []
    apart = tokenizer_of_gguf(path, seen.append)
    assert apart != here
    assert contents(here) == contents(apart)
    assert any("tokenizer of tiny.gguf" in progress.what for progress in seen)
    assert tokenizer_of_gguf(path, lambda _: pytest.fail("it is here already")) == apart


def test_what_is_wrong_with_a_file_is_said_as_in_this_process(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    path = write_gguf(tmp_path / "tiny.gguf").path
    path.write_bytes(path.read_bytes()[:2000])
    messages = []
    for read in (converted_tokenizer, tokenizer_of_gguf):
        with pytest.raises(ModelError) as told:
            read(path)
        messages.append(str(told.value))
    assert messages[0] == messages[1]


def contents(folder):
    """Of all files but the list with their times."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != MANIFEST}


class StoppedError(Exception):
    pass


def test_reading_can_be_stopped_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    path = write_gguf(tmp_path / "tiny.gguf").path

    def stop(progress):
        raise StoppedError

    with pytest.raises(StoppedError):
        tokenizer_of_gguf(path, stop)
    assert not any((tmp_path / "cache" / "converted").glob("tiny*"))
    assert tokenizer_of_gguf(path).is_dir()


# --- the installation ----------------------------------------------------------------------------


def names(requirements):
    return {re.match(r"[\w.-]+", line)[0]: line for line in requirements}


def test_the_list_for_servers_is_the_dependencies_without_these():
    text = (ROOT / "pyproject.toml").read_text("utf-8").partition("\ndependencies = [")[2].partition("\n]")[0]
    project = names(re.findall(r'^  "([^"]+)",', text, re.MULTILINE))
    assert len(project) > 10
    lines = (ROOT / "requirements-server.txt").read_text("utf-8").splitlines()
    listed = names(line for line in lines if not line.startswith("#"))
    assert set(project) - set(listed) == set(LEFT_OUT) - {"pandas"}
    assert set(listed) <= set(project)
    assert [line for name, line in listed.items() if line != project[name]] == []


def test_nothing_on_the_list_brings_them_in():
    """As of the releases that are installed here."""
    listed = names((ROOT / "requirements-server.txt").read_text("utf-8").splitlines()[2:])
    reached, waiting = set(), list(listed)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in reached:
            continue
        reached.add(name)
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another system
            continue
        waiting += [re.match(r"[\w.-]+", line)[0] for line in needed if "extra ==" not in line]
    assert "httpx2" in reached or "httpx" in reached
    assert reached & set(LEFT_OUT) == set()
