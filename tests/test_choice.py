"""Which engine runs a model."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import types
from dataclasses import replace

import pytest
from scripted import ScriptedEngine

import fim_magic.engines.llama_cpp
from fim_magic import catalog
from fim_magic.engines import memory
from fim_magic.errors import ModelError, OptionError
from fim_magic.loading import choice, gpus, registry
from fim_magic.loading.choice import engine_for
from fim_magic.loading.fastest import remember


@pytest.fixture(autouse=True)
def _machine(tmp_path, monkeypatch):
    """One without a GPU, where nothing was measured and nothing is loaded."""
    monkeypatch.setenv("FIM_MAGIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gpus, "may_have_gpu", lambda: False)
    registry.unload()
    yield
    registry.unload()


class Binding:
    """Stands for `fim_magic.engines.llama_cpp.gguf`."""

    def __init__(self) -> None:
        self.installed = True
        self.asked: list[tuple[pathlib.Path, dict]] = []

    def available(self) -> bool:
        return self.installed

    def load(self, path, **options):
        self.asked.append((path, options))
        engine = ScriptedEngine("x")
        engine.info = replace(engine.info, model=options["name"], revision=options["revision"])
        return engine


@pytest.fixture
def binding(monkeypatch):
    binding = Binding()
    module = types.ModuleType("fim_magic.engines.llama_cpp.gguf")
    module.available = binding.available
    module.GgufEngine = types.SimpleNamespace(load=binding.load)
    monkeypatch.setitem(sys.modules, "fim_magic.engines.llama_cpp.gguf", module)
    monkeypatch.setattr(fim_magic.engines.llama_cpp, "gguf", module, raising=False)
    monkeypatch.setattr(choice, "FASTER_ON_A_CPU", "gguf")  # so that what is undecided shows
    return binding


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "my model.gguf"
    path.write_bytes(b"GGUF" + bytes(1000))
    return path


def chosen(*, is_gguf=True, asked=None, quantize=None):
    return engine_for("tiny", is_gguf=is_gguf, asked=asked, quantize=quantize)


def test_without_a_measurement_it_is_what_is_built_in_and_it_says_how_to_measure(binding):
    engine, why = chosen()
    assert engine == choice.FASTER_ON_A_CPU
    assert "fim-magic bench --model tiny" in why


@pytest.mark.parametrize("measured", ["torch", "gguf"])
def test_what_was_measured_to_be_faster_is_taken(binding, measured):
    remember("tiny", measured)
    assert chosen() == (measured, "fim-magic bench found it to be the faster one here")


def test_on_a_gpu_it_is_torch(binding, monkeypatch):
    monkeypatch.setattr(gpus, "may_have_gpu", lambda: True)
    monkeypatch.setattr(gpus, "free_memory", lambda: {"cuda:0": 10, "cpu": 10})
    remember("tiny", "gguf")
    assert chosen() == ("torch", "it computes on the GPU")
    assert chosen(asked="gguf")[0] == "gguf"


def test_a_gpu_that_torch_does_not_find_is_none(binding, monkeypatch):
    monkeypatch.setattr(gpus, "may_have_gpu", lambda: True)
    monkeypatch.setattr(gpus, "free_memory", lambda: {"cpu": 10})
    assert chosen()[0] == choice.FASTER_ON_A_CPU


def test_without_the_binding_it_is_torch_and_it_says_what_is_missing(binding):
    binding.installed = False
    engine, why = chosen()
    assert engine == "torch"
    assert "%pip install fim-magic[gguf]" in why


def test_what_llama_cpp_cannot_do_torch_does(binding):
    assert chosen(is_gguf=False) == ("torch", "")
    assert chosen(quantize="4bit") == ("torch", "")


@pytest.mark.parametrize("engine", ["torch", "gguf"])
def test_what_is_asked_for_is_taken(binding, engine):
    remember("tiny", "torch" if engine == "gguf" else "gguf")
    assert chosen(asked=engine) == (engine, "as asked for")


@pytest.mark.parametrize(
    ("how", "installed", "told"),
    [
        ({"asked": "gguf", "is_gguf": False}, True, "tiny is none. Leave it away (%fim use tiny)"),
        ({"asked": "gguf", "quantize": "4bit"}, True, "--quantize 4bit is for --engine torch"),
        ({"asked": "gguf"}, False, "Type `%pip install fim-magic[gguf]`"),
        ({"asked": "onnx"}, True, "--engine is one of auto, torch, gguf; 'onnx' is not."),
    ],
)
def test_what_cannot_be_is_told_with_the_line_to_type(binding, how, installed, told):
    binding.installed = installed
    with pytest.raises(OptionError) as caught:
        chosen(**how)
    assert told in str(caught.value)


# --- through the registry ------------------------------------------------------------------------


def test_a_file_is_run_by_llama_cpp_as_it_is(binding, gguf):
    loaded = registry.use(str(gguf), family="mellum")
    ((path, options),) = binding.asked
    assert path == gguf
    assert (options["name"], options["revision"], options["named"]) == (str(gguf), "local file", "Mellum")
    assert (loaded.runtime, loaded.placement) == ("gguf", None)
    assert "usually" in loaded.runtime_why
    assert registry.use(str(gguf), family="mellum", engine="gguf") is loaded


def test_a_file_of_the_catalogue_is_fetched_and_not_converted(binding, put_in_cache):
    gguf = put_in_cache(catalog.DEFAULT.gguf)
    loaded = registry.use(catalog.DEFAULT.name, engine="gguf")
    ((path, options),) = binding.asked
    assert (path, options["revision"]) == (gguf, catalog.DEFAULT.gguf.sha256[:12])
    assert options["named"] == catalog.DEFAULT.family
    assert loaded.runtime_why == "as asked for"


def test_auto_takes_both_the_model_and_its_engine(binding, put_in_cache):
    put_in_cache(catalog.DEFAULT.gguf)
    loaded = registry.use("auto")
    assert (loaded.engine.info.model, loaded.runtime) == (catalog.DEFAULT.name, "gguf")
    assert "no GPU" in loaded.why


def test_a_checkpoint_is_never_run_by_llama_cpp(binding, checkpoint):
    folder = str(checkpoint("qwen2"))
    assert registry.use(folder).runtime == "torch"
    with pytest.raises(OptionError, match=r"--engine gguf runs \.gguf files"):
        registry.use(folder, engine="gguf")
    assert registry.loaded().runtime == "torch"
    assert binding.asked == []


def test_a_file_that_does_not_fit_the_memory_is_refused_before_it_is_fetched(binding, monkeypatch):
    monkeypatch.setattr(memory, "free_ram", lambda: 400_000_000)
    seen = []
    with pytest.raises(
        ModelError, match=r"does not fit: its weights take 0\.5 GB, and free are 0\.4 GB on cpu\..*%fim use"
    ):
        registry.use(catalog.DEFAULT.name, seen.append)
    assert not [progress for progress in seen if progress.what.startswith("Fetching")]


def test_a_file_that_is_not_there_is_told(binding, tmp_path):
    with pytest.raises(ModelError, match="could not be read"):
        registry.use(str(tmp_path / "no.gguf"))


def test_llama_cpp_loads_in_the_background_too(binding, gguf):
    assert isinstance(registry.begin(str(gguf)), registry.Coming)
    assert registry.use(str(gguf)).runtime == "gguf"


def test_choosing_for_a_file_without_a_gpu_imports_no_torch(tmp_path, gguf):
    script = (
        "import sys, types\n"
        "from fim_magic.engines import EngineInfo, EngineReport\n"
        "from fim_magic.loading import choice, gpus, registry\n"
        "gpus.may_have_gpu = lambda: False\n"
        "choice.FASTER_ON_A_CPU = 'gguf'\n"
        "module = types.ModuleType('fim_magic.engines.llama_cpp.gguf')\n"
        "module.available = lambda: True\n"
        "engine = types.SimpleNamespace(info=EngineInfo('m', '', '', 'cpu', ''), report=EngineReport)\n"
        "module.GgufEngine = types.SimpleNamespace(load=lambda path, **_: engine)\n"
        "sys.modules['fim_magic.engines.llama_cpp.gguf'] = module\n"
        "import fim_magic.engines.llama_cpp; fim_magic.engines.llama_cpp.gguf = module\n"
        "registry.use(sys.argv[1])\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(gguf)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
