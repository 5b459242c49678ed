"""Real servers on loopback, started for the tests that ask for them, with the real model of 0.5B.

The fixtures `vllm_server`, `llama_server` and `transformers_server` start each once a session. A test that asks for one
has the marker `servers`; where it fails, the end of the server's log stands in its report. Those that ask for vLLM come
last: it starts while others run.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from server_environments import TRANSFORMERS, VLLM, python_of

import fim_magic
from fim_magic import catalog, weights
from fim_magic.serve.keys import ready_key

MODEL = "qwen2.5-coder-0.5b"
FIXTURES = ("vllm_server", "llama_server", "transformers_server")
_MOST_SECONDS_TO_START = 600  # not how long it may take, but when it hangs
_MOST_SECONDS_TO_END = 120  # likewise
_OUR_COMMAND = f"""\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, also where the tests run in the background
sys.path.insert(0, {str(Path(fim_magic.__file__).parent.parent)!r})
from fim_magic.cli import main
sys.exit(main())
"""
"""`fim-magic`, without a PYTHONPATH, which servers of other environments would inherit."""


@dataclass(frozen=True)
class Counters:
    """What a server says that it has done since it started; None where it does not count that.

    Attributes:
        generated: Tokens that it computed for answers. llama-server counts those of a request when it ends.
        steps: Times that it computed, for one token of each request under way.
        prompt: Tokens of prompts that it was given; llama-server leaves out those that it still had from before.
        running: Requests under way.
        processor_seconds: That its processes were computing, which the system counts for each of them.
    """

    generated: int | None
    steps: int | None
    prompt: int | None
    running: int | None
    processor_seconds: float


@dataclass
class RealServer:
    """A server that runs.

    Attributes:
        kind: "vllm", "llama-server" or "transformers".
        url: Without a path.
        key: What it asks for as the bearer, or None where it takes no key.
        model: The name that its requests have to give.
        process: Its first process, the leader of a group of its own.
        log: The file with all that it printed.
        ends_by: The signal that ends it.
        names: What it calls the [`Counters`][] that it has.
    """

    kind: str
    url: str
    key: str | None
    model: str
    process: subprocess.Popen[bytes]
    log: Path
    ends_by: signal.Signals = signal.SIGTERM
    names: Mapping[str, str] = field(default_factory=dict)

    def ask(self, path: str, body: Any = None, *, seconds: float = 300) -> Any:
        """Send one request by hand, and return the answer, read as JSON where it is.

        Raises:
            urllib.error.HTTPError: The server refused it.
        """
        request = urllib.request.Request(self.url + path, headers={"Content-Type": "application/json"})
        if self.key is not None:
            request.add_header("Authorization", f"Bearer {self.key}")
        if body is not None:
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=seconds) as response:
            text = response.read().decode()
            return json.loads(text) if "json" in response.headers.get("Content-Type", "") else text

    def counters(self) -> Counters:
        metrics = self.ask("/metrics") if self.names else ""
        counted = {ours: _metric(metrics, name) for ours, name in self.names.items()}
        fields = ("generated", "steps", "prompt", "running")
        return Counters(*(counted.get(name) for name in fields), processor_seconds=self._processor_seconds())

    def _processor_seconds(self) -> float:
        first = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in (first, *first.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def end_of_log(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text("utf-8", errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End it, and see that none of its processes is left."""
        if self.process.poll() is not None:
            return
        first = psutil.Process(self.process.pid)
        processes = [first, *first.children(recursive=True)]
        first.send_signal(self.ends_by)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_MOST_SECONDS_TO_END)
        _, left = psutil.wait_procs(processes, 5)
        for process in left:
            process.kill()
        assert not left, f"{self.kind} has left processes of its own:\n{self.end_of_log()}"


def _metric(text: str, name: str) -> int:
    """The sum of a metric over its labels, in the format of Prometheus."""
    found = re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
    assert found, f"{name} is not among the counters:\n{text}"
    return round(sum(map(float, found)))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _started(
    server: Callable[..., RealServer], command: Sequence[Any], variables: Mapping[str, str], folder: Path
) -> Iterator[RealServer]:
    """Start a server, which answers at some later time, and stop it at the end."""
    port = _free_port()
    log = folder / "server.log"
    ours = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(part).replace("{port}", str(port)) for part in command],
            cwd=folder,
            env={**ours, "HF_HUB_OFFLINE": "1", **variables},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = server(url=f"http://127.0.0.1:{port}", process=process, log=log)
    try:
        yield started
    finally:
        started.stop()


def _waited_for(server: RealServer) -> RealServer:
    """Return a server as soon as it answers."""
    deadline = time.monotonic() + _MOST_SECONDS_TO_START
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            pytest.fail(f"{server.kind} ended while it started:\n{server.end_of_log()}")
        try:
            server.ask("/v1/models", seconds=10)
            return server
        except (urllib.error.HTTPError, OSError):
            time.sleep(0.2)
    pytest.fail(f"{server.kind} did not answer:\n{server.end_of_log()}")


def model_file() -> Path:
    """The real model as a .gguf file."""
    entry = catalog.find(MODEL)
    assert entry is not None and entry.gguf is not None
    return weights.fetch(entry.gguf)


def model_folder() -> Path:
    """The real model as transformers reads it, which is what the engine in torch computes with."""
    from fim_magic.engines.torch.gguf_conversion import converted

    entry = catalog.find(MODEL)
    assert entry is not None and entry.gguf is not None
    return converted(weights.fetch(entry.gguf), entry.gguf.sha256)


def _named(folder: Path, links: Path) -> Path:
    """Return `links`: a folder with the model's name and files, and the class of it, which transformers serve asks for."""
    links.mkdir()
    for file in folder.iterdir():
        (links / file.name).symlink_to(file)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (links / "config.json").unlink()
    (links / "config.json").write_text(json.dumps({**config, "architectures": ["Qwen2ForCausalLM"]}), "utf-8")
    return links


@pytest.fixture(scope="session")
def vllm_server(vllm_that_starts: RealServer) -> RealServer:
    return _waited_for(vllm_that_starts)


@pytest.fixture(scope="session", autouse=True)
def _vllm_starts_meanwhile(request: pytest.FixtureRequest) -> None:
    """It takes a minute, in which other tests run: those that need it stand last."""
    if any("vllm_server" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("vllm_that_starts")


@pytest.fixture(scope="session")
def vllm_that_starts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """vLLM as a user starts it: by `fim-magic serve --run`, with vLLM's environment first on the PATH."""
    folder = tmp_path_factory.mktemp("vllm")
    key = ready_key(folder / "key", is_ours=False)
    names = {
        "generated": "vllm:generation_tokens_total",
        "steps": "vllm:iteration_tokens_total_count",
        "prompt": "vllm:prompt_tokens_total",
        "running": "vllm:num_requests_running",
    }
    with _started(
        lambda **of: RealServer(kind="vllm", key=key, model=MODEL, names=names, ends_by=signal.SIGINT, **of),
        [
            *(sys.executable, "-c", _OUR_COMMAND, "serve", _named(model_folder(), folder / MODEL), "--run"),
            *("--server", "vllm", "--users", 16, "--ctx", 2048, "--port", "{port}", "--key-file", folder / "key"),
            *("--", "--dtype", "float32", "--enforce-eager"),
        ],
        {"PATH": f"{python_of(VLLM).parent}{os.pathsep}{os.environ['PATH']}", "VLLM_CPU_KVCACHE_SPACE": "1"},
        folder,
    ) as server:
        yield server


@pytest.fixture(scope="session")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    key = secrets.token_urlsafe()
    names = {
        "generated": "llamacpp:tokens_predicted_total",
        "steps": "llamacpp:n_decode_total",
        "prompt": "llamacpp:prompt_tokens_total",
        "running": "llamacpp:requests_processing",
    }
    folder = tmp_path_factory.mktemp("llama-server")
    (folder / "key").write_text(key, "ascii")
    with _started(
        lambda **of: RealServer(kind="llama-server", key=key, model=MODEL, names=names, **of),
        [
            *(sys.executable, "-m", "fim_magic.serve.llama", "-m", model_file(), "--alias", MODEL, "--port", "{port}"),
            *("-np", 4, "-c", 4 * 2048, "--api-key-file", folder / "key", "--metrics"),
        ],
        {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        folder,
    ) as server:
        yield _waited_for(server)


@pytest.fixture(scope="session")
def transformers_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    own = tmp_path_factory.mktemp("transformers")
    served = _named(model_folder(), own / MODEL)
    with _started(
        lambda **of: RealServer(kind="transformers", key=None, model=str(served), **of),
        [
            *(python_of(TRANSFORMERS), "-m", "transformers.cli.transformers", "serve", served),
            *("--host", "127.0.0.1", "--port", "{port}", "--device", "cpu", "--dtype", "float32"),
        ],
        {},
        own,
    ) as server:
        yield _waited_for(server)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not set(FIXTURES).isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("servers")
    items.sort(key=_waits_for_vllm)


def _waits_for_vllm(item: pytest.Item) -> bool:
    if item.get_closest_marker("servers") is None:
        return False
    return "vllm_server" in getattr(item, "fixturenames", ()) or "vllm" in item.name


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    report = yield
    if report.failed:
        for name in FIXTURES:
            server = getattr(item, "funcargs", {}).get(name)
            if server is not None:
                report.sections.append((f"the end of the log of {server.kind}", server.end_of_log()))
    return report
