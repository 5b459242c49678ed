"""The model that is measured, as each arm needs it: a folder, a GGUF file, or weights made in place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from fim_magic.engines import Engine
from fim_magic.engines.torch.checkpoint import load_checkpoint
from fim_magic.engines.torch.devices import dtype_for
from fim_magic.engines.torch.footprint import weights_in
from fim_magic.engines.torch.library_model import LibraryModel
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.engines.torch.placement import plan
from fim_magic.errors import OptionError
from fim_magic.evaluate.speed.random_weights import build, config_of, tokenizer_for, write_quantised
from fim_magic.loading.loaders import LOADERS
from fim_magic.loading.memory import THIS_MACHINE, MemoryProbe
from fim_magic.loading.resolve import find_source
from fim_magic.loading.spec import ModelSpec
from fim_magic.progress import OnProgress, ignore, silent
from fim_magic.regular_files import read_json


@dataclass(frozen=True)
class Subject:
    """What is measured. It can be handed to another process as JSON (`dataclasses.asdict`)."""

    name: str  # for the report
    folder: str = ""  # in transformers layout, or "" for random weights that are not quantised
    gguf: str = ""  # the GGUF file that the folder was made from, or ""
    family: str = ""  # as the catalogue states it, or ""
    revision: str = ""  # which version of the checkpoint
    size: str = ""  # of random weights, or ""
    layout: str = "llama"  # of random weights
    quantize: str = ""  # in how many bits random weights are, on a CPU, in `folder`; or ""
    packed: str = ""  # the folder with the GGUF file's weights packed, where fim-magic computes with those; or ""
    why: str = field(default="", compare=False)  # why "auto" chose it, or ""

    @property
    def is_random(self) -> bool:
        return self.size != ""


def find(
    name: str, on_progress: OnProgress = silent, precision: str = "auto", memory: MemoryProbe = THIS_MACHINE
) -> Subject:
    """Bring a model to this machine, without loading it; `name` and `precision` are what `--model` and so on take."""
    source, why = find_source(ModelSpec.of(name).name, memory)
    if precision == "packed" and not source.is_gguf:
        raise OptionError(
            f"--precision packed is for .gguf files, and {source.name} is none: fim-magic bench --precision packed "
            "--model qwen2.5-coder-0.5b"
        )
    folder, revision = LOADERS["torch"].fetch(source, on_progress, False, ignore)
    computed_with = folder
    if precision != "exact" and source.is_gguf and not memory.gpus():
        computed_with, _ = LOADERS["torch"].fetch(replace(source, precision=precision), on_progress, False, ignore)
    packed = "" if computed_with == folder else str(computed_with)
    gguf = str(LOADERS["gguf"].fetch(source, on_progress, False, ignore)[0]) if source.is_gguf else ""
    family = source.entry.family if source.entry else ""
    return Subject(source.name, str(folder), gguf, family, revision, packed=packed, why=why)


def made_in_place(
    size: str, layout: str, quantize: str = "", folder: Path = Path(), on_progress: OnProgress = silent
) -> Subject:
    """Return a subject with random weights; quantised ones, "8bit" or "4bit", are written to a folder at once."""
    config_of(size, layout)
    name = f"random weights, {size}, {layout} layout"
    if not quantize:
        return Subject(name, revision="random", size=size, layout=layout)
    write_quantised(folder, size, layout, quantize, on_progress)
    name = f"{name}, {quantize.removesuffix('bit')} bits"
    return Subject(name, str(folder), revision="random", size=size, layout=layout, quantize=quantize)


def device_for(subject: Subject) -> torch.device:
    """Return where it is measured: on the GPU, if there is one."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if torch.backends.mps.is_available() and not subject.gguf:
        return torch.device("mps")
    return torch.device("cpu")


def load_plain(subject: Subject, device: torch.device) -> Any:
    """Load it as a tutorial does, with `from_pretrained()`, in the precision in which the device computes well."""
    dtype = dtype_for(device)
    if subject.is_random:
        return build(subject.size, subject.layout, device, dtype)
    try:
        model = AutoModelForCausalLM.from_pretrained(subject.folder, dtype=dtype, local_files_only=True)
    except (OSError, ValueError):  # one that transformers loads only with the code that it brings along
        model, _ = load_checkpoint(Path(subject.folder), subject.name)
    return model.to(device).eval()


def load_engine(subject: Subject, device: torch.device) -> LocalEngine:
    """Load it as fim-magic does."""
    folder = Path(subject.packed or subject.folder)
    if subject.quantize or subject.packed:
        return LocalEngine.load(folder, name=subject.name, revision=subject.revision, named=subject.family)
    if subject.is_random:
        model = build(subject.size, subject.layout, device, dtype_for(device))
        return LocalEngine(LibraryModel(model), tokenizer_for(model), subject.name, subject.revision)
    config = read_json(folder / "config.json")
    placement = plan(weights_in(folder, config), config, name=subject.name)
    return LocalEngine.load(
        folder, name=subject.name, revision=subject.revision, placement=placement, named=subject.family
    )


def load_gguf(subject: Subject) -> Engine | None:
    """Load its GGUF file with our llama.cpp engine, or return None where that cannot be."""
    if not has_gguf_engine(subject):
        return None
    from fim_magic.engines.llama_cpp import gguf

    engine: Engine = gguf.GgufEngine.load(
        Path(subject.gguf), name=subject.name, revision=subject.revision, named=subject.family
    )
    return engine


def has_gguf_engine(subject: Subject) -> bool:
    """Whether llama.cpp can run it here: it is a GGUF file, and the binding is installed."""
    from fim_magic.engines.llama_cpp import gguf

    return bool(subject.gguf) and gguf.available()


def vocabulary_of(subject: Subject) -> int:
    """Return how many ids random weights have, for prompts of any ids; 0 for a checkpoint, which gets real code."""
    return int(config_of(subject.size, subject.layout).vocab_size) if subject.is_random else 0
