"""What can serve a model on this machine: its memory, and the servers that are installed."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fim_magic.loading.memory import THIS_MACHINE, MemoryProbe

INSTALL_VLLM = "python -m venv vllm-env && vllm-env/bin/pip install vllm"
"""In an environment of its own: it wants other versions of the libraries that fim-magic uses."""

INSTALL_LLAMA_SERVER = "pip install 'fim-magic[gguf]'"

OWN_LLAMA_SERVER = "fim_magic.serve.llama"
"""The module that runs llama.cpp's server out of xllamacpp."""

_VLLM = "vllm"
_VLLM_MODULE = "vllm.entrypoints.openai.api_server"


@dataclass(frozen=True)
class ServingMachine:
    """What a machine has to serve models with.

    Attributes:
        gpus: Free bytes on each CUDA device.
        ram: Free bytes of the CPU's memory.
        vllm: The words that start vLLM, before its options; none where it is not installed. The model's name is an
            option of the module (`--model`) and stands by itself behind the command.
        llama_server: As for vLLM.
    """

    gpus: tuple[int, ...] = ()
    ram: int = 0
    vllm: tuple[str, ...] = ()
    llama_server: tuple[str, ...] = ()


def look_at_machine(
    memory: MemoryProbe = THIS_MACHINE,
    which: Callable[[str], str | None] = shutil.which,
    has_module: Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None,
) -> ServingMachine:
    """Look what there is. torch is imported only where there may be a GPU.

    Args:
        memory: Of the machine.
        which: Finds a program on the PATH.
        has_module: Says whether this Python can import a module.
    """
    return ServingMachine(
        gpus=tuple(size for device, size in memory.gpus().items() if device.startswith("cuda")),
        ram=memory.free_ram(),
        vllm=_vllm(which, has_module),
        llama_server=_llama_server(which, has_module),
    )


def _vllm(which: Callable[[str], str | None], has_module: Callable[[str], bool]) -> tuple[str, ...]:
    """The command, or the module where only that is there or only that works.

    The command asks for the version of a package called vllm, and fails where a build for CPUs has another name.
    """
    command = which(_VLLM)
    if command is not None:
        python = Path(command).resolve().parent / "python"  # pipx and uv put a link on the PATH
        renamed = _has_distribution(python, "vllm_*") and not _has_distribution(python, "vllm-*")
        return (str(python), "-m", _VLLM_MODULE) if renamed else (_VLLM, "serve")
    return (sys.executable, "-m", _VLLM_MODULE) if has_module(_VLLM) else ()


def _has_distribution(python: Path, pattern: str) -> bool:
    """Whether an environment, by the path of its Python, has a package whose name and version fit a pattern."""
    return any(True for _ in python.parent.parent.glob(f"lib/python3*/site-packages/{pattern}.dist-info"))


def _llama_server(which: Callable[[str], str | None], has_module: Callable[[str], bool]) -> tuple[str, ...]:
    if which("llama-server") is not None:
        return ("llama-server",)
    return (sys.executable, "-m", OWN_LLAMA_SERVER) if has_module("xllamacpp") else ()
