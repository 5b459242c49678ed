"""Which engine runs a model."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from scripted import ScriptedEngine

from fim_magic import catalog
from fim_magic.errors import ModelError, OptionError
from fim_magic.loading.fastest import remember
from fim_magic.loading.loaded import PendingLoad
from fim_magic.loading.loaders import LOADERS, Loader
from fim_magic.loading.manager import ModelManager
from fim_magic.loading.memory import MemoryProbe
from fim_magic.loading.prepare import Ready
from fim_magic.loading.resolve import Source, choose_engine, resolve
from fim_magic.loading.spec import ModelSpec

NO_GPU = MemoryProbe(may_have_gpu=lambda: False)
RESOLVE = partial(resolve, faster_on_cpu="gguf")  # so that what is undecided shows


@pytest.fixture(autouse=True)
def _nothing_was_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))


class LlamaCpp:
    """Stands for llama.cpp."""

    def __init__(self) -> None:
        self.installed = True
        self.ready: list[Ready] = []

    @property
    def loaders(self) -> dict[str, Loader]:
        own = replace(LOADERS["gguf"], is_installed=lambda: self.installed, load=self.load)
        return LOADERS | {"gguf": own}

    def load(self, ready, _on_progress):
        self.ready.append(ready)
        engine = ScriptedEngine("x")
        engine.info = replace(engine.info, model=ready.source.name, revision=ready.revision)
        return engine


@pytest.fixture
def llama_cpp():
    return LlamaCpp()


@pytest.fixture
def models(llama_cpp):
    models = ModelManager(llama_cpp.loaders, RESOLVE, NO_GPU)
    yield models
    models.unload()


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "my model.gguf"
    path.write_bytes(b"GGUF" + bytes(1000))
    return path


@pytest.fixture
def chosen(llama_cpp):
    def choose(*, is_gguf=True, asked=None, quantize=None, memory=NO_GPU):
        source = Source("tiny", path=Path("tiny.gguf" if is_gguf else "tiny"))
        return choose_engine(source, ModelSpec("tiny", quantize, engine=asked), llama_cpp.loaders, memory, "gguf")

    return choose


def test_without_a_measurement_it_is_what_is_built_in_and_it_says_how_to_measure(chosen):
    engine, why = chosen()
    assert engine == "gguf"
    assert "fim-magic bench --model tiny" in why


@pytest.mark.parametrize("measured", ["torch", "gguf"])
def test_what_was_measured_to_be_faster_is_taken(chosen, measured):
    remember("tiny", measured)
    assert chosen() == (measured, "fim-magic bench found it to be the faster one here")


def test_on_a_gpu_it_is_torch(chosen):
    gpu = MemoryProbe(free_memory=lambda: {"cuda:0": 10, "cpu": 10}, may_have_gpu=lambda: True)
    remember("tiny", "gguf")
    assert chosen(memory=gpu) == ("torch", "it computes on the GPU")
    assert chosen(memory=gpu, asked="gguf")[0] == "gguf"


def test_a_gpu_that_torch_does_not_find_is_none(chosen):
    none = MemoryProbe(free_memory=lambda: {"cpu": 10}, may_have_gpu=lambda: True)
    assert chosen(memory=none)[0] == "gguf"


def test_without_the_binding_it_is_torch_and_it_says_what_is_missing(chosen, llama_cpp):
    llama_cpp.installed = False
    engine, why = chosen()
    assert engine == "torch"
    assert "%pip install fim-magic[gguf]" in why


def test_what_llama_cpp_cannot_do_torch_does(chosen):
    assert chosen(is_gguf=False) == ("torch", "")
    assert chosen(quantize="4bit") == ("torch", "")


@pytest.mark.parametrize("engine", ["torch", "gguf"])
def test_what_is_asked_for_is_taken(chosen, engine):
    remember("tiny", "torch" if engine == "gguf" else "gguf")
    assert chosen(asked=engine) == (engine, "as asked for")


@pytest.mark.parametrize(
    ("how", "installed", "told"),
    [
        ({"asked": "gguf", "is_gguf": False}, True, "tiny is none. Omit it (%fim use tiny)"),
        ({"asked": "gguf", "quantize": "4bit"}, True, "--quantize 4bit is for --engine torch"),
        ({"asked": "gguf"}, False, "Type `%pip install fim-magic[gguf]`"),
        ({"asked": "onnx"}, True, "--engine is one of auto, torch, gguf; 'onnx' is not."),
    ],
)
def test_what_cannot_be_is_told_with_the_line_to_type(chosen, llama_cpp, how, installed, told):
    llama_cpp.installed = installed
    with pytest.raises(OptionError) as caught:
        chosen(**how)
    assert told in str(caught.value)


# --- through the manager -------------------------------------------------------------------------


def test_a_file_is_run_by_llama_cpp_as_it_is(models, llama_cpp, gguf):
    loaded = models.use(ModelSpec.of(str(gguf), family="mellum"))
    (ready,) = llama_cpp.ready
    assert ready.path == gguf
    assert (ready.source.name, ready.revision, ready.family) == (str(gguf), "local file", "Mellum")
    assert (loaded.engine_name, loaded.placement) == ("gguf", None)
    assert "usually" in loaded.engine_reason
    assert models.use(ModelSpec.of(str(gguf), family="mellum", engine="gguf")) is loaded


def test_a_file_of_the_catalogue_is_fetched_and_not_converted(models, llama_cpp, put_in_cache):
    gguf = put_in_cache(catalog.DEFAULT.gguf)
    loaded = models.use(ModelSpec.of(catalog.DEFAULT.name, engine="gguf"))
    (ready,) = llama_cpp.ready
    assert (ready.path, ready.revision) == (gguf, catalog.DEFAULT.gguf.sha256[:12])
    assert ready.family == catalog.DEFAULT.family
    assert loaded.engine_reason == "as asked for"


def test_auto_takes_both_the_model_and_its_engine(models, put_in_cache):
    put_in_cache(catalog.DEFAULT.gguf)
    loaded = models.use(ModelSpec.of("auto"))
    assert (loaded.engine.info.model, loaded.engine_name) == (catalog.DEFAULT.name, "gguf")
    assert "no GPU" in loaded.why


def test_a_checkpoint_is_never_run_by_llama_cpp(models, llama_cpp, checkpoint):
    folder = str(checkpoint("qwen2"))
    assert models.use(ModelSpec.of(folder)).engine_name == "torch"
    with pytest.raises(OptionError, match=r"--engine gguf runs \.gguf files"):
        models.use(ModelSpec.of(folder, engine="gguf"))
    assert models.loaded.engine_name == "torch"
    assert llama_cpp.ready == []


def test_a_file_that_does_not_fit_the_memory_is_refused_before_it_is_fetched(llama_cpp):
    models = ModelManager(llama_cpp.loaders, RESOLVE, replace(NO_GPU, free_ram=lambda: 400_000_000))
    with pytest.raises(
        ModelError, match=r"does not fit: its weights take 0\.5 GB, and free are 0\.4 GB on cpu\..*%fim use"
    ):
        models.use(ModelSpec.of(catalog.DEFAULT.name))


def test_a_file_that_is_not_there_is_told(models, tmp_path):
    with pytest.raises(ModelError, match="could not be read"):
        models.use(ModelSpec.of(str(tmp_path / "no.gguf")))


def test_llama_cpp_loads_in_the_background_too(models, gguf):
    assert isinstance(models.begin(ModelSpec.of(str(gguf))), PendingLoad)
    assert models.use(ModelSpec.of(str(gguf))).engine_name == "gguf"


def test_choosing_for_a_file_without_a_gpu_imports_no_torch(tmp_path, gguf):
    script = (
        "import sys, types\n"
        "from dataclasses import replace\n"
        "from functools import partial\n"
        "from fim_magic.engines import EngineInfo, EngineReport\n"
        "from fim_magic.loading.loaders import LOADERS\n"
        "from fim_magic.loading.manager import ModelManager\n"
        "from fim_magic.loading.memory import MemoryProbe\n"
        "from fim_magic.loading.resolve import resolve\n"
        "from fim_magic.loading.spec import ModelSpec\n"
        "engine = types.SimpleNamespace(info=EngineInfo('m', '', '', 'cpu', ''), report=EngineReport)\n"
        "loader = replace(LOADERS['gguf'], is_installed=lambda: True, load=lambda *_: engine)\n"
        "faster = partial(resolve, faster_on_cpu='gguf')\n"
        "no_gpu = MemoryProbe(may_have_gpu=lambda: False)\n"
        "ModelManager(LOADERS | {'gguf': loader}, faster, no_gpu).use(ModelSpec(sys.argv[1]))\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(gguf)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
