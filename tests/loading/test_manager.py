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
from scripted import ScriptedEngine, loaders_with

from fim_magic import catalog
from fim_magic.engines.memory import free_memory, give_back
from fim_magic.engines.torch import placement
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.errors import FetchError, ModelError, OptionError
from fim_magic.events import Finished
from fim_magic.loading.fetch import fetch_folder
from fim_magic.loading.load import load_in_torch
from fim_magic.loading.loaded import Loaded
from fim_magic.loading.manager import ModelManager
from fim_magic.loading.memory import MemoryProbe
from fim_magic.loading.resolve import find_source, resolve
from fim_magic.loading.spec import ModelSpec
from fim_magic.pipeline import run
from fim_magic.settings import Settings

GB = 10**9
FIRST, SECOND = "a" * 40, "ab" + "1" * 38


class Machine:
    """`machine(cpu=8)` has that many GB free, and no GPU. Before that, it is this one."""

    def __init__(self) -> None:
        self.devices: dict[str, int] = {}

    def __call__(self, **devices: float) -> None:
        self.devices = {device: int(size * GB) for device, size in devices.items()}

    def free_memory(self) -> dict[str, int]:
        return dict(self.devices) or free_memory()


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def memory(machine):
    return MemoryProbe(free_memory=machine.free_memory, may_have_gpu=lambda: True)


@pytest.fixture
def manager(memory):
    """`manager(fetch=...)` makes one with these stages of the torch loader."""
    made = []

    def make(*, resolve=resolve, **stages):
        made.append(ModelManager(loaders_with(**stages), resolve, memory))
        return made[-1]

    yield make
    for models in made:
        models.unload()


@pytest.fixture
def models(manager):
    return manager()


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


def generate(engine):
    _, request = Settings().request("x = <cursor>\n", max_new_tokens=2)
    list(run(request, engine))


def test_a_folder_is_a_model(models, checkpoint):
    folder = str(checkpoint("qwen2"))
    loaded = models.use(ModelSpec.of(folder))
    assert models.loaded is loaded
    assert (loaded.spec.name, loaded.engine.info.model, loaded.engine.info.revision) == (folder, folder, "local folder")
    assert loaded.why == ""
    assert loaded.seconds > 0
    _, request = Settings().request("x = <cursor>\n", max_new_tokens=4)
    assert isinstance(list(run(request, loaded.engine))[-1], Finished)


def test_loading_is_told_as_progress(models, checkpoint):
    told = []
    models.use(ModelSpec.of(str(checkpoint("qwen2"))), told.append)
    assert told[-1].what.startswith("Loading ")


def test_the_same_name_is_not_loaded_twice(manager, checkpoint):
    folder, loads = str(checkpoint("qwen2")), []
    models = manager(load=lambda ready, _: loads.append(ready) or ScriptedEngine("x"))
    first = models.use(ModelSpec.of(folder))
    assert models.use(ModelSpec.of(folder)) is first
    assert len(loads) == 1


def test_another_name_replaces_it(models, checkpoint):
    first = models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    second = models.use(ModelSpec.of(str(checkpoint("llama"))))
    assert models.loaded is second
    assert second.engine is not first.engine
    assert second.engine.family.name == "llama"


def test_a_folder_in_the_home_directory(models, checkpoint, monkeypatch):
    folder = checkpoint("qwen2")
    monkeypatch.setenv("HOME", str(folder.parent))
    assert models.use(ModelSpec.of(f"~/{folder.name}")).engine.family.name == "Qwen2.5-Coder"


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
def test_an_unknown_name_is_told_and_what_is_loaded_stays(models, checkpoint, name, said):
    loaded = models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    with pytest.raises(ModelError) as caught:
        models.use(ModelSpec.of(name))
    assert said in str(caught.value)
    assert models.loaded is loaded


def test_a_checkpoint_that_does_not_load_leaves_nothing(models, checkpoint, tmp_path):
    models.use(ModelSpec.of(str(checkpoint("llama"))))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError):
        models.use(ModelSpec.of(str(tmp_path)))
    assert models.loaded is None
    generate(models.use(ModelSpec.of(str(checkpoint("qwen2")))).engine)


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_configuration_that_is_none_is_found_before_the_other_model_goes(models, checkpoint, tmp_path, text):
    loaded = models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json"):
        models.use(ModelSpec.of(str(tmp_path)))
    assert models.loaded is loaded


@pytest.mark.parametrize("error", [ModelError("no"), KeyboardInterrupt()])
def test_what_was_loaded_until_it_failed_does_not_stay(manager, checkpoint, error):
    parts = []

    def half(*given):
        if parts:  # the second time
            return load_in_torch(*given)
        tensor = torch.ones(1000)
        parts.append(weakref.ref(tensor))
        raise error

    models = manager(load=half)
    with pytest.raises(type(error)) as caught:
        models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    assert caught.value is error
    assert parts[0]() is None
    assert models.loaded is None
    models.use(ModelSpec.of(str(checkpoint("qwen2"))))


def test_an_engine_of_the_callers_own_is_used_by_its_name(models):
    engine = ScriptedEngine("x")
    adopted = models.adopt(engine)
    assert models.use(ModelSpec.of("scripted")) is adopted
    assert adopted.engine is engine


def test_unloading_says_whether_there_was_something(models):
    assert models.unload() is False
    models.adopt(ScriptedEngine("x"))
    assert models.unload() is True
    assert models.loaded is None


def test_letter_case_of_a_short_name_does_not_matter(models, monkeypatch):
    engine = ScriptedEngine("x")
    engine.info = replace(engine.info, model="qwen2.5-coder-0.5b")
    models.adopt(engine)
    assert models.use(ModelSpec.of("Qwen2.5-Coder-0.5B")).engine is engine
    models.unload()


def test_a_folder_without_a_checkpoint_is_told_as_that(models, tmp_path):
    with pytest.raises(ModelError, match=r"there is no config\.json in it"):
        models.use(ModelSpec.of(str(tmp_path)))


def test_a_gguf_file_that_is_not_there_is_told_as_that(models, tmp_path):
    with pytest.raises(ModelError, match="could not be read"):
        models.use(ModelSpec.of(str(tmp_path / "model.gguf")))


# --- revisions -----------------------------------------------------------------------------------


def test_a_repository_says_which_commit_it_is(models, hub):
    loaded = models.use(ModelSpec.of(hub("owner/model")))
    assert (loaded.engine.info.model, loaded.engine.info.revision) == ("owner/model", FIRST[:12])


def test_a_revision_is_loaded_beside_the_main_branch(models, hub):
    hub("owner/model", "qwen2", FIRST)
    hub("owner/model", "starcoder", SECOND)  # main has moved on
    assert models.use(ModelSpec.of("owner/model")).engine.family.name == "StarCoder"
    pinned = models.use(ModelSpec.of(f"owner/model@{FIRST}"))
    assert (pinned.engine.family.name, pinned.engine.info.revision) == ("Qwen2.5-Coder", FIRST[:12])
    assert (pinned.engine.info.model, pinned.spec.name) == ("owner/model", f"owner/model@{FIRST}")
    assert models.use(ModelSpec.of(f"owner/model@{FIRST}")) is pinned
    assert models.use(ModelSpec.of("owner/model")).engine.family.name == "StarCoder"


def test_the_short_commit_that_is_shown_can_be_typed(models, hub):
    hub("owner/model", "qwen2", FIRST)
    hub("owner/model", "starcoder", SECOND)
    shown = models.use(ModelSpec.of(f"owner/model@{FIRST}")).engine.info.revision
    again = models.use(ModelSpec.of(f"owner/model@{shown}"))
    assert (again.engine.family.name, again.engine.info.revision) == ("Qwen2.5-Coder", shown)


def test_a_short_name_can_be_pinned_in_any_letter_case(models, hub):
    hub("bigcode/starcoder2-3b", "starcoder2")
    loaded = models.use(ModelSpec.of(f"StarCoder2-3B@{FIRST}"))
    assert (loaded.engine.info.model, loaded.spec.name) == ("starcoder2-3b", f"starcoder2-3b@{FIRST}")


@pytest.mark.parametrize("revision", ["", "..", "../../x", "a b", "main/", "x" * 20 + "\n"])
def test_what_cannot_be_a_revision_is_refused(models, hub, revision):
    with pytest.raises(FetchError, match="no revision"):
        models.use(ModelSpec.of(f"{hub('owner/model')}@{revision}"))


def test_a_revision_that_is_nowhere_is_told(models, hub):
    with pytest.raises(FetchError, match="owner/model"):
        models.use(ModelSpec.of(f"{hub('owner/model')}@v9"))


def test_folders_and_files_have_no_revisions(models, checkpoint, tmp_path):
    folder = checkpoint("qwen2")
    with pytest.raises(ModelError, match=r"has no revisions.*%fim use"):
        models.use(ModelSpec.of(f"{folder}@main"))
    with pytest.raises(ModelError, match="has no revisions"):
        models.use(ModelSpec.of(f"{tmp_path / 'model.gguf'}@main"))
    with pytest.raises(ModelError, match="has no revisions"):
        models.use(ModelSpec.of(f"{catalog.DEFAULT.name}@main"))


def test_a_path_may_have_an_at_in_it(models, checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "tuned@home")
    assert models.use(ModelSpec.of(str(folder))).engine.info.model == str(folder)


# --- how it is loaded ----------------------------------------------------------------------------


def test_another_family_loads_anew(models, checkpoint):
    folder = str(checkpoint("starcoder"))
    first = models.use(ModelSpec.of(folder))
    named = models.use(ModelSpec.of(folder, family="mellum"))
    assert named.engine is not first.engine
    assert named.engine.family.name == "Mellum"
    assert models.use(ModelSpec.of(folder, family="mellum")) is named
    assert models.use(ModelSpec.of(folder)).engine.family.name == "StarCoder"


def test_an_unknown_family_is_told_and_what_is_loaded_stays(models, checkpoint):
    loaded = models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    with pytest.raises(OptionError, match=r"no family called 'StarCodr'.*StarCoder2"):
        models.use(ModelSpec.of(str(checkpoint("starcoder")), family="StarCodr"))
    assert models.loaded is loaded


def test_auto_is_what_is_loaded_however_it_is(models, checkpoint):
    loaded = models.use(ModelSpec.of(str(checkpoint("starcoder")), family="Mellum"))
    assert models.use(ModelSpec.of("auto")) is loaded
    assert models.use(ModelSpec.of("auto", family="Mellum")) is loaded


def test_how_it_was_asked_for_is_what_counts():
    loaded = Loaded(ScriptedEngine("x"), ModelSpec("auto", quantize="4bit"), "why", 0.0)
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
    chosen = Loaded(ScriptedEngine("x"), ModelSpec("scripted"), "", 0.0, engine_name="gguf")
    asked = Loaded(ScriptedEngine("x"), ModelSpec("scripted", engine="torch"), "", 0.0, engine_name="torch")
    assert chosen.answers(ModelSpec("scripted", engine="gguf"))
    assert not chosen.answers(ModelSpec("scripted", engine="torch"))
    assert not chosen.answers(ModelSpec("auto", engine="torch"))
    assert asked.answers(ModelSpec("scripted", engine="torch"))
    assert not asked.answers(ModelSpec("scripted"))  # which may be the other one
    assert asked.answers(ModelSpec("auto"))


def test_the_catalogue_tells_the_family_of_its_repositories(models, hub, monkeypatch):
    asked = []
    load = LocalEngine.load.__func__

    def recorded(cls, folder, **options):
        asked.append(options["named"])
        return load(cls, folder, **options)

    monkeypatch.setattr(LocalEngine, "load", classmethod(recorded))
    models.use(ModelSpec.of(hub("bigcode/starcoder2-3b", "starcoder2")))
    models.use(ModelSpec.of("starcoder2-3b"))
    models.use(ModelSpec.of(hub("owner/model", "starcoder2")))
    models.use(ModelSpec.of("starcoder2-3b", family="starcoder2"))
    assert asked == ["StarCoder2", "StarCoder2", "", "StarCoder2"]


def test_a_word_for_quantising_that_does_not_exist_leaves_what_is_loaded(models, checkpoint):
    loaded = models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    with pytest.raises(OptionError, match="8bit or 4bit"):
        models.use(ModelSpec.of(str(checkpoint("llama")), quantize="2bit"))
    assert models.loaded is loaded


def test_quantising_on_apples_gpus_is_refused_before_anything_is_fetched(manager, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("fim_magic.engines.torch.devices.Devices.has_metal", lambda _: True)
    models = manager(fetch=lambda *_: pytest.fail("it was fetched"))
    with pytest.raises(OptionError, match="Apple's GPUs"):
        models.use(ModelSpec.of("owner/model", quantize="4bit"))


def test_it_says_where_it_was_placed(models, checkpoint):
    loaded = models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    assert loaded.engine.info.runs_on.startswith(loaded.placement.description)
    assert loaded.placement.weights == loaded.engine.report().weight_bytes


# --- code that a checkpoint brings ---------------------------------------------------------------


@pytest.mark.parametrize("revision", ["", "@main", f"@{FIRST[:12]}", "@v1.0"])
def test_code_runs_only_at_a_whole_commit(models, hub, revision):
    hub("owner/other")
    with pytest.raises(OptionError) as caught:
        models.use(ModelSpec.of(f"owner/model{revision}", allow_code=True))
    assert "%fim use owner/model@COMMIT --allow-code" in str(caught.value)
    assert models.loaded is None


def test_code_of_a_folder_never_runs(models, checkpoint):
    with pytest.raises(OptionError, match="--allow-code is for repositories"):
        models.use(ModelSpec.of(str(checkpoint("qwen2")), allow_code=True))


@pytest.mark.parametrize("allowed", [True, False])
def test_the_engine_is_told_whether_code_is_allowed(models, hub, monkeypatch, allowed):
    asked = []
    monkeypatch.setattr(
        LocalEngine, "load", classmethod(lambda cls, folder, **options: asked.append(options) or ScriptedEngine("x"))
    )
    models.use(ModelSpec.of(f"{hub('owner/model')}@{FIRST}", allow_code=allowed))
    assert asked[0]["allow_code"] is allowed


# --- what the user should know of it -------------------------------------------------------------


def test_a_licence_with_limits_is_told_with_the_model(manager, hub):
    def limited(*given):
        found = resolve(*given)
        entry = replace(found.source.entry, licence_note="For research only.")
        return replace(found, source=replace(found.source, entry=entry))

    models = manager(resolve=limited)
    hub("bigcode/starcoder2-3b", "starcoder2")
    assert models.use(ModelSpec.of("starcoder2-3b")).notices == ("For research only.",)
    assert models.use(ModelSpec.of("bigcode/starcoder2-3b")).notices == ("For research only.",)


def test_what_loading_has_to_say_is_told(models, checkpoint, tmp_path):
    assert models.use(ModelSpec.of(str(checkpoint("qwen2")))).notices == ()
    folder = shutil.copytree(checkpoint("qwen2"), tmp_path / "old")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    (notice,) = models.use(ModelSpec.of(str(folder))).notices
    assert "pickle" in notice


def test_a_context_that_is_kept_short_is_told(models, checkpoint, machine):
    folder = checkpoint("qwen2")
    size = models.use(ModelSpec.of(str(folder))).engine.report().weight_bytes
    models.unload()
    per_token = 2 * 2 * 2 * 8 * 4  # layers, keys and values, heads, their width, float32
    machine(cpu=(placement._WORKING + size + 700 * per_token) / GB)
    loaded = models.use(ModelSpec.of(str(folder)))
    assert len(loaded.notices) == 1
    assert "700 tokens" in loaded.notices[0]
    assert loaded.engine.context_length == 700


# --- memory --------------------------------------------------------------------------------------


def test_a_model_that_cannot_fit_is_refused_before_it_is_fetched(manager, checkpoint, machine):
    fetched = []
    models = manager(fetch=lambda *given: fetched.append(given) or fetch_folder(*given))
    loaded = models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    machine(cpu=8)
    fetched.clear()
    with pytest.raises(ModelError, match=r"qwen2\.5-coder-7b does not fit") as caught:
        models.use(ModelSpec.of("qwen2.5-coder-7b"))
    assert "8.0 GB on cpu" in str(caught.value)
    assert fetched == []
    assert models.loaded is loaded


def test_what_is_on_this_machine_is_judged_by_its_files(models, hub, machine):
    hub("Qwen/Qwen2.5-Coder-7B")  # of which this is a tiny one
    machine(cpu=8)
    assert models.use(ModelSpec.of("qwen2.5-coder-7b")).engine.info.model == "qwen2.5-coder-7b"


def test_a_checkpoint_that_cannot_fit_leaves_what_is_loaded(models, checkpoint, machine):
    loaded = models.use(ModelSpec.of(str(checkpoint("qwen2"))))
    machine(cpu=0.1)
    with pytest.raises(ModelError, match="does not fit"):
        models.use(ModelSpec.of(str(checkpoint("llama"))))
    assert models.loaded is loaded


@pytest.mark.parametrize(
    ("devices", "name"),
    [
        pytest.param({"cpu": 64}, "qwen2.5-coder-0.5b", id="no GPU"),
        pytest.param({"cuda:0": 1, "cpu": 64}, "qwen2.5-coder-0.5b", id="a small one"),
        pytest.param({"cuda:0": 12, "cuda:1": 12, "cpu": 64}, "qwen2.5-coder-7b", id="two together"),
        pytest.param({"mps": 8, "cpu": 9}, "qwen2.5-coder-1.5b", id="Apple's"),
    ],
)
def test_auto_chooses_by_what_is_free_on_all_gpus(machine, memory, devices, name):
    machine(**devices)
    source, why = find_source("auto", memory)
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


def test_choosing_another_model_frees_the_first_ones_memory(models, large):
    first, second = large
    size = models.use(ModelSpec.of(first)).engine.report().weight_bytes
    generate(models.loaded.engine)  # what the libraries take once and keep is not a model's
    models.unload()
    assert size > 190e6
    without = resident()
    at_loading = []

    def note(progress):
        if progress.what.startswith("Loading"):
            at_loading.append(resident())

    generate(models.use(ModelSpec.of(first), note).engine)
    with_first = resident()
    generate(models.use(ModelSpec.of(second), note).engine)
    with_second = resident()
    with_packed = size + models.loaded.engine.report().packed_bytes
    models.unload()
    after = resident()
    margin = 0.15 * size  # what malloc and the libraries keep for the next time
    # One model, not two. It may seem smaller: what earlier tests of this process have freed is taken again.
    for held in (with_first, with_second):
        assert 0.7 * with_packed < held - without < with_packed + margin
    assert at_loading[1] - without < margin  # nor two for a moment
    assert after - without < margin


def test_what_is_loaded_counts_as_free_for_the_next_one(models, large, machine):
    first, second = large
    loaded = models.use(ModelSpec.of(first))
    size, packed = loaded.placement.weights, loaded.engine.report().packed_bytes
    machine(cpu=(placement._WORKING + 0.9 * size) / GB)  # too little beside the first, more than enough without it
    assert models.use(ModelSpec.of(second)).placement.free == pytest.approx(
        placement._WORKING + 1.9 * size + packed, rel=0.001
    )
    models.unload()
    with pytest.raises(ModelError, match="does not fit"):
        models.use(ModelSpec.of(second))


def test_weights_that_are_mapped_from_their_file_are_freed_too(models, tmp_path):
    folder = build("qwen2", tmp_path / "big", hidden_size=512, intermediate_size=2048, num_hidden_layers=12)
    engine = models.use(ModelSpec.of(str(folder))).engine
    size = engine.report().weight_bytes
    generate(engine)  # uses every weight, so that all are in memory
    with_model = resident()
    del engine
    models.unload()
    assert with_model - resident() > 0.9 * size


@pytest.mark.parametrize("stored", ["bfloat16", "float32"])
def test_what_the_plan_says_unloading_gives_back_is_what_it_gives_back(large, tmp_path, stored):
    """Of mapped weights nothing: the system counts their memory as free all the time."""
    folder = large[0] if stored == "bfloat16" else str(build("qwen2", tmp_path / "m", hidden_size=512))
    # In a process of its own: what other tests have left behind would hold some of the memory.
    ask = "import sys; sys.path[:0] = sys.argv[2:]; import test_manager; test_manager.print_given_back(sys.argv[1])"
    told = subprocess.run(
        [sys.executable, "-c", ask, folder, *map(str, Path(__file__).parents[:2])],
        capture_output=True,
        text=True,
        check=True,
    )
    held, size, given_back = map(int, told.stdout.split())
    assert given_back == pytest.approx(held, abs=0.15 * size + 10e6)


def print_given_back(folder):
    """Load a model, use it and unload it; print what it held, the size of its weights, and what came back, in bytes."""
    models = ModelManager()
    loaded = models.use(ModelSpec.of(folder))
    held, size = loaded.held["cpu"], loaded.engine.report().weight_bytes
    generate(loaded.engine)
    give_back()
    with_model = anonymous()
    del loaded
    models.unload()
    print(held, size, with_model - anonymous())


def anonymous():
    """The bytes of this process that no file holds."""
    gc.collect()
    memory = psutil.Process().memory_info()
    return memory.rss - getattr(memory, "shared", 0)
