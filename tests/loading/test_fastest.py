"""What was measured to be the faster engine is remembered, for this machine and these versions only."""

from __future__ import annotations

import json
import threading

import pytest

from fim_magic.loading import fastest as module
from fim_magic.loading.fastest import describe_machine, fastest, installed_version, remember


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_nothing_is_known_before_it_was_measured(cache):
    assert fastest("tiny") is None
    assert not cache.exists()  # asking leaves no trace


def test_what_was_measured_last_counts_for_each_model():
    remember("tiny", "torch")
    remember("other", "gguf")
    assert (fastest("tiny"), fastest("other"), fastest("third")) == ("torch", "gguf", None)
    remember("tiny", "gguf")
    assert (fastest("tiny"), fastest("other")) == ("gguf", "gguf")


def test_an_engine_that_does_not_exist_is_not_remembered():
    with pytest.raises(ValueError, match="onnx"):
        remember("tiny", "onnx")
    assert fastest("tiny") is None


@pytest.mark.parametrize("changed", ["processor", "cores", "version"])
def test_it_counts_for_the_machine_and_the_versions_that_it_was_measured_with(changed):
    remember("tiny", "torch")
    another = describe_machine(**{changed: lambda *_: "another"})
    assert fastest("tiny", another) is None
    remember("tiny", "gguf", another)
    assert fastest("tiny", another) == "gguf"
    assert fastest("tiny") == "torch"


def test_every_package_that_computes_is_part_of_the_key():
    remember("tiny", "torch")
    for package in ("torch", "transformers", *module._PACKAGES):
        newer = describe_machine(version=lambda name, new=package: "99" if name == new else installed_version(name))
        assert fastest("tiny", newer) is None
    assert fastest("tiny") == "torch"


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"3",
        b'{"a": 1}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_says_nothing_and_is_replaced(cache, damage):
    remember("tiny", "torch")
    (cache / "fastest.json").write_bytes(damage)
    assert fastest("tiny") is None
    remember("tiny", "gguf")
    assert fastest("tiny") == "gguf"


@pytest.mark.parametrize("value", ["onnx", None, 3, ["torch"], {"torch": 1}])
def test_a_damaged_record_says_nothing(cache, value):
    remember("tiny", "torch")
    path = cache / "fastest.json"
    records = json.loads(path.read_text())
    for models in records.values():
        models["tiny"] = value
    path.write_text(json.dumps(records))
    assert fastest("tiny") is None


def test_a_cache_that_cannot_be_written_is_no_error(cache):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file where the folder would be")
    remember("tiny", "torch")
    assert fastest("tiny") is None


def test_a_write_that_fails_leaves_the_old_records_and_nothing_else(cache, monkeypatch):
    remember("tiny", "torch")

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.Path, "replace", full)
    remember("tiny", "gguf")
    monkeypatch.undo()
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(cache))
    assert fastest("tiny") == "torch"
    assert sorted(path.name for path in cache.iterdir()) == ["fastest.json", "locks"]


def test_several_at_once_lose_nothing():
    threads = [threading.Thread(target=remember, args=(f"model {n}", "gguf")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [fastest(f"model {n}") for n in range(8)] == ["gguf"] * 8
