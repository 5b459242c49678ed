from __future__ import annotations

import pytest
from scripted import ScriptedEngine

from fim_magic import catalog, reports, weights
from fim_magic.candidate import Candidate, Ending, Result
from fim_magic.document import Document
from fim_magic.engines import registry


@pytest.fixture(autouse=True)
def no_model():
    registry.unload()
    yield
    registry.unload()


def result(**changes) -> Result:
    values = {
        "document": Document("a", "b"),
        "candidates": (Candidate("x", Ending.STOP_TOKEN, token_ids=(1, 2, 3), logprobs=(-1.0,) * 3),),
        "model": "m",
        "revision": "r",
        "method": "fim",
        "order": "psm",
        "prompt_tokens": 5,
        "dropped_prefix_tokens": 0,
        "dropped_suffix_tokens": 0,
        "seed": None,
        "first_token_seconds": 1.0,
        "seconds": 2.0,
    }
    return Result(**(values | changes))


def test_status_without_a_model_says_how_to_get_one():
    assert "%fim use NAME" in reports.status(None)


def test_status_tells_model_place_and_last_request():
    registry.adopt(ScriptedEngine("x"))
    told = reports.status(result())
    assert "scripted (test), Qwen2.5-Coder" in told
    assert "cpu, scripted" in told
    assert "3 tokens in 2.0 s (2.0 tokens/s), ended by itself" in told


def test_models_lists_every_entry_with_its_licence_and_marks_the_loaded_one():
    engine = ScriptedEngine("x")
    engine.model = "starcoder2-3b"
    registry.adopt(engine)
    told = reports.models()
    for entry in catalog.ENTRIES:
        row = next(line for line in told.splitlines() if line.startswith(entry.name + " "))
        assert entry.licence in row
        assert ("*" in row) == (entry.name == "starcoder2-3b")
    smollm = next(line for line in told.splitlines() if line.startswith("smollm2"))
    assert " no " in smollm


def test_doctor_names_what_to_do_where_something_is_wrong(monkeypatch, tmp_path):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "not" / "there"))
    monkeypatch.setattr(weights, "reachable", lambda: {"Hugging Face Hub": False, "PyPI": True})
    told = reports.doctor()
    assert "transformers" in told
    assert str(tmp_path / "not" / "there") in told
    hub = next(line for line in told.splitlines() if "Hugging Face Hub" in line)
    assert hub.startswith("!")
    assert "models that are in the cache work" in hub
    pypi = next(line for line in told.splitlines() if "PyPI" in line)
    assert pypi.startswith(" ")


def test_doctor_really_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path))
    (tmp_path / "weights").write_bytes(bytes(200_000_000))
    assert f"{tmp_path} (0.2 GB)" in reports.doctor()
