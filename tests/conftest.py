"""What several test files share."""

from __future__ import annotations

import os
import signal
import threading

# Before torch is imported: two workers that compute with two threads each on two cores wait for each other most of the
# time, and take twice as long.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from checkpoints import KINDS, build
from hypothesis import settings

from fim_magic.weights import write_manifest

pytest_plugins = ["real_servers", "server_fixtures"]
pytest.register_assert_rewrite("contract")
settings.register_profile("fim-magic", deadline=None, derandomize=True, max_examples=200)
settings.load_profile("fim-magic")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """`checkpoint(name)` is the folder of a tiny checkpoint of that kind, written once a session."""
    root = tmp_path_factory.mktemp("checkpoints")

    def folder(name):
        path = root / name
        return path if path.exists() else build(name, path)

    return folder


@pytest.fixture(scope="session")
def engine(checkpoint):
    """`engine(name)` is a loaded tiny engine of that kind, loaded once a session."""
    from fim_magic.engines.torch.local import LocalEngine

    loaded = {}

    def load(name):
        assert name in KINDS
        if name not in loaded:
            loaded[name] = LocalEngine.load(checkpoint(name), name=name, revision="tiny")
        return loaded[name]

    return load


@pytest.fixture
def put_in_cache(tmp_path, monkeypatch):
    """`put_in_cache(file)` puts a file of the right size, with nothing in it, where the catalogue's files are kept."""
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))

    def put(file):
        path = tmp_path / "cache" / "gguf" / file.sha256[:12] / file.filename
        path.parent.mkdir(parents=True)
        with path.open("wb") as empty:
            empty.truncate(file.size)
        write_manifest(path.parent, known={file.filename: file.sha256})  # as if it had been found right
        return path

    return put


@pytest.fixture(autouse=True)
def _interruptible():
    """Ctrl-C is for tests to try; pytest-xdist has its workers ignore it."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    """Tests must not read the developer's own FIM_MAGIC_ environment, except where the caches are."""
    for name in list(os.environ):
        if name.startswith("FIM_MAGIC_") and name != "FIM_MAGIC_CACHE":
            monkeypatch.delenv(name)
