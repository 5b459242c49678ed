from __future__ import annotations

import gc

import psutil
import pytest
from checkpoints import build
from scripted import ScriptedEngine

from fim_magic.engines import registry
from fim_magic.errors import ModelError
from fim_magic.request import Finished, run
from fim_magic.settings import Settings


@pytest.fixture(autouse=True)
def _nothing_loaded():
    registry.unload()
    yield
    registry.unload()


def test_a_folder_is_a_model(checkpoint):
    folder = str(checkpoint("qwen2"))
    loaded = registry.use(folder)
    assert registry.loaded() is loaded
    assert (loaded.asked_for, loaded.engine.model, loaded.engine.revision) == (folder, folder, "local folder")
    assert loaded.why == ""
    assert loaded.seconds > 0
    _, request = Settings().request("x = <cursor>\n", max_new_tokens=4)
    assert isinstance(list(run(request, loaded.engine))[-1], Finished)


def test_loading_is_told_as_progress(checkpoint):
    told = []
    registry.use(str(checkpoint("qwen2")), told.append)
    assert told[-1].what.startswith("Loading ")


def test_the_same_name_is_not_loaded_twice(checkpoint, monkeypatch):
    folder = str(checkpoint("qwen2"))
    first = registry.use(folder)
    monkeypatch.setattr(registry, "_load", None)
    assert registry.use(folder) is first


def test_another_name_replaces_it(checkpoint):
    first = registry.use(str(checkpoint("qwen2")))
    second = registry.use(str(checkpoint("llama")))
    assert registry.loaded() is second
    assert second.engine is not first.engine
    assert second.engine.family.name == "llama"


def test_a_folder_in_the_home_directory(checkpoint, monkeypatch):
    folder = checkpoint("qwen2")
    monkeypatch.setenv("HOME", str(folder.parent))
    assert registry.use(f"~/{folder.name}").engine.family.name == "Qwen2.5-Coder"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("starcoder2-3", "Did you mean starcoder2-3b"),
        ("qwen2.5-coder-15b", "qwen2.5-coder-1.5b"),
        ("zzz", "There is no model called 'zzz'"),
        ("./no/such/folder", "a folder with a checkpoint"),
        ("", "There is no model called ''"),
    ],
)
def test_an_unknown_name_is_told_and_what_is_loaded_stays(checkpoint, name, said):
    loaded = registry.use(str(checkpoint("qwen2")))
    with pytest.raises(ModelError) as caught:
        registry.use(name)
    assert said in str(caught.value)
    assert registry.loaded() is loaded


def test_a_checkpoint_that_does_not_load_leaves_nothing(checkpoint, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError):
        registry.use(str(tmp_path))
    assert registry.loaded() is None
    registry.use(str(checkpoint("qwen2")))


def test_an_engine_of_the_callers_own_is_used_by_its_name():
    engine = ScriptedEngine("x")
    adopted = registry.adopt(engine)
    assert registry.use("scripted") is adopted
    assert adopted.engine is engine


def test_unloading_says_whether_there_was_something():
    assert registry.unload() is False
    registry.adopt(ScriptedEngine("x"))
    assert registry.unload() is True
    assert registry.loaded() is None


def test_unloading_gives_the_memory_back(tmp_path):
    folder = build("qwen2", tmp_path / "big", hidden_size=1024, intermediate_size=4096, num_hidden_layers=6)
    gc.collect()
    process = psutil.Process()
    engine = registry.use(str(folder)).engine
    weights = engine.weight_bytes
    assert weights > 300e6
    # Use every weight, so that those read through a memory map are in memory too.
    _, request = Settings().request("x = <cursor>\n", max_new_tokens=2)
    list(run(request, engine))
    with_model = process.memory_info().rss
    del engine
    registry.unload()
    assert with_model - process.memory_info().rss > 0.6 * weights


def test_letter_case_of_a_short_name_does_not_matter(monkeypatch):
    engine = ScriptedEngine("x")
    engine.model = "qwen2.5-coder-0.5b"
    registry.adopt(engine)
    assert registry.use("Qwen2.5-Coder-0.5B").engine is engine
    registry.unload()


def test_a_folder_without_a_checkpoint_is_told_as_that(tmp_path):
    with pytest.raises(ModelError, match=r"there is no config\.json in it"):
        registry.use(str(tmp_path))


def test_a_gguf_file_that_is_not_there_is_told_as_that(tmp_path):
    with pytest.raises(ModelError, match="could not be read"):
        registry.use(str(tmp_path / "model.gguf"))
