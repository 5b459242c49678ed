"""What tests share that ask a server without a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_servers import FakeLlamaServer, FakeServer, FakeVllm, write_served


@pytest.fixture(scope="session")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a server's model needs here; no test changes it."""
    return write_served(tmp_path_factory.mktemp("served"))


@pytest.fixture(params=[FakeVllm, FakeLlamaServer], ids=lambda kind: kind.kind)
def fake_server(request: pytest.FixtureRequest, served_folder: Path) -> Iterator[FakeServer]:
    """A vLLM, and in its turn a llama-server, whose model says anything: a test may change what it says and wants."""
    with request.param(served_folder) as server:
        yield server
