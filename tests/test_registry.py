from __future__ import annotations

import dataclasses
import gc
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from checkpoints import build, change_config
from safetensors.torch import load_file, save_file
from scripted import ScriptedEngine

from fim_magic import catalog
from fim_magic.engines.memory import give_back
from fim_magic.engines.torch import placement
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.errors import FetchError, ModelError, OptionError
from fim_magic.events import Finished
from fim_magic.loading import gpus, registry, sources
from fim_magic.loading.registry import ModelSpec
from fim_magic.pipeline import run
from fim_magic.settings import Settings

GB = 10**9
FIRST, SECOND = "a" * 40, "ab" + "1" * 38


@pytest.fixture(autouse=True)
def _nothing_loaded():
    registry.unload()
    yield
    registry.unload()


@pytest.fixture
def hub(checkpoint, tmp_path, monkeypatch):
    """`hub(repo, kind, commit)` puts a checkpoint into the Hub's cache, as its main branch. The Hub itself is away."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(repo, kind="qwen2", commit=FIRST):
        folder = tmp_path / f"models--{repo.replace('/', '--')}"
        shutil.copytree(checkpoint(kind), folder / "snapshots" / commit)
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
        return repo

    return put


@pytest.fixture
def free(monkeypatch):
    """`free(cpu=8)` is a machine with that many GB free, and no GPU."""

    def make(**devices):
        left = {device: int(size * GB) for device, size in devices.items()}
        monkeypatch.setattr(placement, "free_memory", lambda: left)
        monkeypatch.setattr(registry, "free_memory", lambda: left)
        monkeypatch.setattr(gpus, "free_memory", lambda: left)
        monkeypatch.setattr(gpus, "may_have_gpu", lambda: True)

    return make


def generate(engine):
    _, request = Settings().request("x = <cursor>\n", max_new_tokens=2)
    list(run(request, engine))


def test_a_folder_is_a_model(checkpoint):
    folder = str(checkpoint("qwen2"))
    loaded = registry.use(folder)
    assert registry.loaded() is loaded
    assert (loaded.asked_for, loaded.engine.info.model, loaded.engine.info.revision) == (folder, folder, "local folder")
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
    monkeypatch.setattr(registry.MODELS, "_load", None)
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
    registry.use(str(checkpoint("llama")))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError):
        registry.use(str(tmp_path))
    assert registry.loaded() is None
    generate(registry.use(str(checkpoint("qwen2"))).engine)


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_configuration_that_is_none_is_found_before_the_other_model_goes(checkpoint, tmp_path, text):
    loaded = registry.use(str(checkpoint("qwen2")))
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json"):
        registry.use(str(tmp_path))
    assert registry.loaded() is loaded


@pytest.mark.parametrize("error", [ModelError("no"), KeyboardInterrupt()])
def test_what_was_loaded_until_it_failed_does_not_stay(checkpoint, monkeypatch, error):
    parts = []

    def half(*_, **__):
        tensor = torch.ones(1000)
        parts.append(weakref.ref(tensor))
        raise error

    monkeypatch.setattr(LocalEngine, "load", half)
    with pytest.raises(type(error)) as caught:
        registry.use(str(checkpoint("qwen2")))
    assert caught.value is error
    assert parts[0]() is None
    assert registry.loaded() is None
    monkeypatch.undo()
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


def test_letter_case_of_a_short_name_does_not_matter(monkeypatch):
    engine = ScriptedEngine("x")
    engine.info = replace(engine.info, model="qwen2.5-coder-0.5b")
    registry.adopt(engine)
    assert registry.use("Qwen2.5-Coder-0.5B").engine is engine
    registry.unload()


def test_a_folder_without_a_checkpoint_is_told_as_that(tmp_path):
    with pytest.raises(ModelError, match=r"there is no config\.json in it"):
        registry.use(str(tmp_path))


def test_a_gguf_file_that_is_not_there_is_told_as_that(tmp_path):
    with pytest.raises(ModelError, match="could not be read"):
        registry.use(str(tmp_path / "model.gguf"))


# --- revisions -----------------------------------------------------------------------------------


def test_a_repository_says_which_commit_it_is(hub):
    loaded = registry.use(hub("owner/model"))
    assert (loaded.engine.info.model, loaded.engine.info.revision) == ("owner/model", FIRST[:12])


def test_a_revision_is_loaded_beside_the_main_branch(hub):
    hub("owner/model", "qwen2", FIRST)
    hub("owner/model", "starcoder", SECOND)  # main has moved on
    assert registry.use("owner/model").engine.family.name == "StarCoder"
    pinned = registry.use(f"owner/model@{FIRST}")
    assert (pinned.engine.family.name, pinned.engine.info.revision) == ("Qwen2.5-Coder", FIRST[:12])
    assert (pinned.engine.info.model, pinned.asked_for) == ("owner/model", f"owner/model@{FIRST}")
    assert registry.use(f"owner/model@{FIRST}") is pinned
    assert registry.use("owner/model").engine.family.name == "StarCoder"


def test_the_short_commit_that_is_shown_can_be_typed(hub):
    hub("owner/model", "qwen2", FIRST)
    hub("owner/model", "starcoder", SECOND)
    shown = registry.use(f"owner/model@{FIRST}").engine.info.revision
    again = registry.use(f"owner/model@{shown}")
    assert (again.engine.family.name, again.engine.info.revision) == ("Qwen2.5-Coder", shown)


def test_a_short_name_can_be_pinned_in_any_letter_case(hub):
    hub("bigcode/starcoder2-3b", "starcoder2")
    loaded = registry.use(f"StarCoder2-3B@{FIRST}")
    assert (loaded.engine.info.model, loaded.asked_for) == ("starcoder2-3b", f"starcoder2-3b@{FIRST}")


@pytest.mark.parametrize("revision", ["", "..", "../../x", "a b", "main/", "x" * 20 + "\n"])
def test_what_cannot_be_a_revision_is_refused(hub, revision):
    with pytest.raises(FetchError, match="no revision"):
        registry.use(f"{hub('owner/model')}@{revision}")


def test_a_revision_that_is_nowhere_is_told(hub):
    with pytest.raises(FetchError, match="owner/model"):
        registry.use(f"{hub('owner/model')}@v9")


def test_folders_and_files_have_no_revisions(checkpoint, tmp_path):
    folder = checkpoint("qwen2")
    with pytest.raises(ModelError, match=r"has no revisions.*%fim use"):
        registry.use(f"{folder}@main")
    with pytest.raises(ModelError, match="has no revisions"):
        registry.use(f"{tmp_path / 'model.gguf'}@main")
    with pytest.raises(ModelError, match="has no revisions"):
        registry.use(f"{catalog.DEFAULT.name}@main")


def test_a_path_may_have_an_at_in_it(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "tuned@home")
    assert registry.use(str(folder)).engine.info.model == str(folder)


# --- how it is loaded ----------------------------------------------------------------------------


def test_another_family_loads_anew(checkpoint):
    folder = str(checkpoint("starcoder"))
    first = registry.use(folder)
    named = registry.use(folder, family="mellum")
    assert named.engine is not first.engine
    assert named.engine.family.name == "Mellum"
    assert registry.use(folder, family="mellum") is named
    assert registry.use(folder).engine.family.name == "StarCoder"


def test_an_unknown_family_is_told_and_what_is_loaded_stays(checkpoint):
    loaded = registry.use(str(checkpoint("qwen2")))
    with pytest.raises(OptionError, match=r"no family called 'StarCodr'.*StarCoder2"):
        registry.use(str(checkpoint("starcoder")), family="StarCodr")
    assert registry.loaded() is loaded


def test_auto_is_what_is_loaded_however_it_is(checkpoint):
    loaded = registry.use(str(checkpoint("starcoder")), family="Mellum")
    assert registry.use("auto") is loaded
    assert registry.use("auto", family="Mellum") is loaded


def test_how_it_was_asked_for_is_what_counts():
    loaded = registry.Loaded(ScriptedEngine("x"), ModelSpec("auto", quantize="4bit"), "why", 0.0)
    assert loaded.answers(ModelSpec("auto"))
    assert loaded.answers(ModelSpec("auto", "4bit"))
    assert not loaded.answers(ModelSpec("auto", "8bit"))
    assert not loaded.answers(ModelSpec("auto", None, "Mellum"))
    assert loaded.answers(ModelSpec("scripted", "4bit"))
    assert not loaded.answers(ModelSpec("scripted"))
    pinned = dataclasses.replace(loaded, spec=ModelSpec("scripted@v1"))
    assert pinned.answers(ModelSpec("scripted@v1"))
    assert not pinned.answers(ModelSpec("scripted"))


def test_another_engine_is_another_model():
    chosen = registry.Loaded(ScriptedEngine("x"), ModelSpec("scripted"), "", 0.0, runtime="gguf")
    asked = registry.Loaded(ScriptedEngine("x"), ModelSpec("scripted", engine="torch"), "", 0.0, runtime="torch")
    assert chosen.answers(ModelSpec("scripted", engine="gguf"))
    assert not chosen.answers(ModelSpec("scripted", engine="torch"))
    assert not chosen.answers(ModelSpec("auto", engine="torch"))
    assert asked.answers(ModelSpec("scripted", engine="torch"))
    assert not asked.answers(ModelSpec("scripted"))  # which may be the other one
    assert asked.answers(ModelSpec("auto"))


def test_the_catalogue_tells_the_family_of_its_repositories(hub, monkeypatch):
    asked = []
    load = LocalEngine.load.__func__

    def recorded(cls, folder, **options):
        asked.append(options["named"])
        return load(cls, folder, **options)

    monkeypatch.setattr(LocalEngine, "load", classmethod(recorded))
    registry.use(hub("bigcode/starcoder2-3b", "starcoder2"))
    registry.use("starcoder2-3b")
    registry.use(hub("owner/model", "starcoder2"))
    registry.use("starcoder2-3b", family="starcoder2")
    assert asked == ["StarCoder2", "StarCoder2", "", "StarCoder2"]


def test_a_word_for_quantising_that_does_not_exist_leaves_what_is_loaded(checkpoint):
    loaded = registry.use(str(checkpoint("qwen2")))
    with pytest.raises(OptionError, match="8bit or 4bit"):
        registry.use(str(checkpoint("llama")), quantize="2bit")
    assert registry.loaded() is loaded


def test_quantising_without_a_gpu_is_refused_before_anything_is_fetched(hub, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OptionError, match="CUDA"):
        registry.use("owner/model", quantize="4bit")


def test_it_says_where_it_was_placed(checkpoint):
    loaded = registry.use(str(checkpoint("qwen2")))
    assert loaded.engine.info.place.startswith(loaded.placement.description)
    assert loaded.placement.weights == loaded.engine.report().weight_bytes


# --- code that a checkpoint brings ---------------------------------------------------------------


@pytest.mark.parametrize("revision", ["", "@main", f"@{FIRST[:12]}", "@v1.0"])
def test_code_runs_only_at_a_whole_commit(hub, revision):
    hub("owner/other")
    with pytest.raises(OptionError) as caught:
        registry.use(f"owner/model{revision}", allow_code=True)
    assert "%fim use owner/model@COMMIT --allow-code" in str(caught.value)
    assert registry.loaded() is None


def test_code_of_a_folder_never_runs(checkpoint):
    with pytest.raises(OptionError, match="--allow-code is for repositories"):
        registry.use(str(checkpoint("qwen2")), allow_code=True)


@pytest.mark.parametrize("allowed", [True, False])
def test_the_engine_is_told_whether_code_is_allowed(hub, monkeypatch, allowed):
    asked = []
    monkeypatch.setattr(
        LocalEngine, "load", classmethod(lambda cls, folder, **options: asked.append(options) or ScriptedEngine("x"))
    )
    registry.use(f"{hub('owner/model')}@{FIRST}", allow_code=allowed)
    assert asked[0]["allow_code"] is allowed


# --- what the user should know of it -------------------------------------------------------------


def test_a_licence_with_limits_is_told_with_the_model(hub):
    note = "Its licence is for research: commercial use is forbidden."
    hub("Qwen/Qwen2.5-Coder-3B", "qwen2")
    assert registry.use("qwen2.5-coder-3b").notices == (note,)
    assert registry.use("Qwen/Qwen2.5-Coder-3B").notices == (note,)


def test_what_loading_has_to_say_is_told(checkpoint, tmp_path):
    assert registry.use(str(checkpoint("qwen2"))).notices == ()
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "old")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    (notice,) = registry.use(str(folder)).notices
    assert "pickle" in notice


def test_a_context_that_is_kept_short_is_told(checkpoint, monkeypatch, free):
    folder = checkpoint("qwen2")
    size = registry.use(str(folder)).engine.report().weight_bytes
    registry.unload()
    monkeypatch.setattr(placement, "_WORKING", 0)
    per_token = 2 * 2 * 2 * 8 * 4  # layers, keys and values, heads, their width, float32
    free(cpu=(size + 700 * per_token) / GB)
    loaded = registry.use(str(folder))
    assert len(loaded.notices) == 1
    assert "700 tokens" in loaded.notices[0]
    assert loaded.engine.context_length == 700


# --- memory --------------------------------------------------------------------------------------


def test_a_model_that_cannot_fit_is_refused_before_it_is_fetched(checkpoint, hub, free):
    loaded = registry.use(str(checkpoint("qwen2")))
    free(cpu=8)
    with pytest.raises(ModelError, match=r"qwen2\.5-coder-7b does not fit") as caught:
        registry.use("qwen2.5-coder-7b")
    assert "8.0 GB on cpu" in str(caught.value)
    assert registry.loaded() is loaded


def test_what_is_on_this_machine_is_judged_by_its_files(hub, free):
    hub("Qwen/Qwen2.5-Coder-7B")  # of which this is a tiny one
    free(cpu=8)
    assert registry.use("qwen2.5-coder-7b").engine.info.model == "qwen2.5-coder-7b"


def test_a_checkpoint_that_cannot_fit_leaves_what_is_loaded(checkpoint, free):
    loaded = registry.use(str(checkpoint("qwen2")))
    free(cpu=0.1)
    with pytest.raises(ModelError, match="does not fit"):
        registry.use(str(checkpoint("llama")))
    assert registry.loaded() is loaded


@pytest.mark.parametrize(
    ("devices", "name"),
    [
        pytest.param({"cpu": 64}, "qwen2.5-coder-0.5b", id="no GPU"),
        pytest.param({"cuda:0": 1, "cpu": 64}, "qwen2.5-coder-0.5b", id="a small one"),
        pytest.param({"cuda:0": 12, "cuda:1": 12, "cpu": 64}, "qwen2.5-coder-7b", id="two together"),
        pytest.param({"mps": 8, "cpu": 9}, "qwen2.5-coder-1.5b", id="Apple's"),
    ],
)
def test_auto_chooses_by_what_is_free_on_all_gpus(free, devices, name):
    free(**devices)
    source, why = sources.choose("auto")
    assert source.name == name
    assert ("GPU memory" in why) == ("cpu" not in why.lower())


def resident():
    give_back()  # what malloc keeps of what other tests of this process have freed
    return psutil.Process().memory_info().rss


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Two checkpoints of 200 MB when loaded: stored in bfloat16, as vendors do, so that a CPU widens and copies them."""
    shape = {"hidden_size": 512, "vocab_size": 48_000}  # large tensors, of which malloc keeps nothing
    folders = []
    for name in ("first", "second"):
        folder = build("qwen2", tmp_path_factory.mktemp(name), **shape)
        path = folder / "model.safetensors"
        halved = {key: tensor.bfloat16() for key, tensor in load_file(path).items()}
        save_file(halved, path, metadata={"format": "pt"})
        change_config(folder, dtype="bfloat16")
        folders.append(str(folder))
    return folders


def test_choosing_another_model_frees_the_first_ones_memory(large):
    first, second = large
    size = registry.use(first).engine.report().weight_bytes
    generate(registry.loaded().engine)  # what the libraries take once and keep is not a model's
    registry.unload()
    assert size > 190e6
    without = resident()
    at_loading = []

    def note(progress):
        if progress.what.startswith("Loading"):
            at_loading.append(resident())

    generate(registry.use(first, note).engine)
    with_first = resident()
    generate(registry.use(second, note).engine)
    with_second = resident()
    with_packed = size + registry.loaded().engine.report().packed_bytes
    registry.unload()
    after = resident()
    margin = 0.15 * size  # what malloc and the libraries keep for the next time
    # One model, not two. It may seem smaller: what earlier tests of this process have freed is taken again.
    for held in (with_first, with_second):
        assert 0.7 * with_packed < held - without < with_packed + margin
    assert at_loading[1] - without < margin  # nor two for a moment
    assert after - without < margin


def test_what_is_loaded_counts_as_free_for_the_next_one(large, free):
    first, second = large
    loaded = registry.use(first)
    size, packed = loaded.placement.weights, loaded.engine.report().packed_bytes
    free(cpu=(placement._WORKING + 0.9 * size) / GB)  # too little beside the first, more than enough without it
    assert registry.use(second).placement.free == pytest.approx(placement._WORKING + 1.9 * size + packed, rel=0.001)
    registry.unload()
    with pytest.raises(ModelError, match="does not fit"):
        registry.use(second)


def test_weights_that_are_mapped_from_their_file_are_freed_too(tmp_path):
    folder = build("qwen2", tmp_path / "big", hidden_size=512, intermediate_size=2048, num_hidden_layers=12)
    engine = registry.use(str(folder)).engine
    size = engine.report().weight_bytes
    generate(engine)  # uses every weight, so that all are in memory
    with_model = resident()
    del engine
    registry.unload()
    assert with_model - resident() > 0.9 * size


@pytest.mark.parametrize("stored", ["bfloat16", "float32"])
def test_what_the_plan_says_unloading_gives_back_is_what_it_gives_back(large, tmp_path, stored):
    """Of mapped weights nothing: the system counts their memory as free all the time."""
    folder = large[0] if stored == "bfloat16" else str(build("qwen2", tmp_path / "m", hidden_size=512))
    # In a process of its own: what other tests have left behind would hold some of the memory.
    ask = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_registry; test_registry.print_given_back(sys.argv[2])"
    )
    told = subprocess.run(
        [sys.executable, "-c", ask, str(Path(__file__).parent), folder], capture_output=True, text=True, check=True
    )
    held, size, given_back = map(int, told.stdout.split())
    assert given_back == pytest.approx(held, abs=0.15 * size + 10e6)


def print_given_back(folder):
    """Load a model, use it and unload it; print what it held, the size of its weights, and what came back, in bytes."""
    loaded = registry.use(folder)
    held, size = loaded.placement.held["cpu"], loaded.engine.report().weight_bytes
    generate(loaded.engine)
    give_back()
    with_model = anonymous()
    del loaded
    registry.unload()
    print(held, size, with_model - anonymous())


def anonymous():
    """The bytes of this process that no file holds."""
    gc.collect()
    memory = psutil.Process().memory_info()
    return memory.rss - getattr(memory, "shared", 0)
