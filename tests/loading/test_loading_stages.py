"""The stages of loading, each by itself: where a checkpoint is placed, whether it is here, and how it is loaded."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from scripted import ScriptedEngine

from fim_magic import catalog
from fim_magic.engines.out_of_memory import FOR_A_REQUEST, FOR_LOADING, OutOfMemoryError
from fim_magic.errors import ModelError
from fim_magic.loading.fetch import config_of, fetch_folder, fetch_gguf, is_here
from fim_magic.loading.load import load
from fim_magic.loading.loaders import LOADERS
from fim_magic.loading.memory import MemoryProbe
from fim_magic.loading.place import place_in_torch, require_room_in_llama_cpp
from fim_magic.loading.resolve import Source
from fim_magic.progress import silent

GB = 10**9


def test_what_the_present_model_holds_is_free_for_the_next():
    memory = MemoryProbe(lambda: {"cuda:0": 2, "cpu": 3}, lambda: 3, lambda: True, held=lambda: {"cpu": 4})
    assert memory.for_next() == {"cuda:0": 2, "cpu": 7}
    assert memory.ram_for_next() == 7
    assert memory.gpus() == {"cuda:0": 2}
    assert replace(memory, may_have_gpu=lambda: False).gpus() == {}


def test_a_folder_is_placed_where_it_fits(checkpoint):
    folder = checkpoint("qwen2")
    found = place_in_torch(folder, "tiny", None, MemoryProbe(free_memory=lambda: {"cpu": GB}))
    assert (found.description, found.free) == ("cpu, float32", GB)
    with pytest.raises(ModelError, match="tiny does not fit"):
        place_in_torch(folder, "tiny", None, MemoryProbe(free_memory=lambda: {"cpu": 1000}))


def test_a_gguf_file_fits_where_the_present_model_makes_room():
    source = Source(catalog.DEFAULT.name, catalog.DEFAULT, gguf=catalog.DEFAULT.gguf)
    memory = MemoryProbe(free_ram=lambda: 400_000_000)
    with pytest.raises(ModelError, match="does not fit"):
        require_room_in_llama_cpp(source, None, memory)
    require_room_in_llama_cpp(source, None, replace(memory, held=lambda: {"cpu": 100_000_000}))


def test_what_is_on_this_machine_is_taken_as_it_is(checkpoint, tmp_path):
    folder, file = Source("tiny", path=checkpoint("qwen2")), Source("tiny", path=tmp_path / "tiny.gguf")
    assert is_here(folder)
    assert fetch_folder(folder, silent) == (checkpoint("qwen2"), "local folder")
    assert not is_here(file)
    file.path.touch()
    assert is_here(file)
    assert fetch_gguf(file, silent) == (file.path, "local file")


def test_a_configuration_is_an_object(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert config_of(tmp_path, "tiny") == {"model_type": "llama"}
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="holds no configuration"):
        config_of(tmp_path, "tiny")


@pytest.mark.parametrize("warm_up", [True, False])
def test_an_engine_is_warmed_up_only_if_that_is_asked_for(warm_up):
    engine, steps = ScriptedEngine("x"), []
    engine.warm_up = lambda: steps.append("warmed up")
    ready = SimpleNamespace(source=Source("tiny"), path=Path())
    loader = replace(LOADERS["torch"], load=lambda *_: engine)
    assert load(ready, loader, lambda progress: steps.append(progress.what), warm_up=warm_up) is engine
    assert steps == ["Loading tiny", *(["Warming up tiny", "warmed up"] if warm_up else [])]


def test_a_load_that_fails_keeps_nothing_in_memory():
    parts = []

    def half(*_):
        tensor = torch.ones(1000)
        parts.append(weakref.ref(tensor))
        raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        load(SimpleNamespace(source=Source("tiny")), replace(LOADERS["torch"], load=half), silent)
    assert parts[0]() is None


def test_a_model_that_runs_out_of_memory_while_it_is_warmed_up_is_not_said_to_be_loaded():
    engine = ScriptedEngine("x")

    def warm_up():
        raise OutOfMemoryError("There is not enough memory for reading the prompt.", FOR_A_REQUEST)

    engine.warm_up = warm_up
    loader = replace(LOADERS["torch"], load=lambda *_: engine)
    with pytest.raises(ModelError) as caught:
        load(SimpleNamespace(source=Source("tiny")), loader, silent, warm_up=True)
    assert str(caught.value) == f"There is not enough memory for reading the prompt. {FOR_LOADING}."
