"""Resolve: which checkpoint a spec means, and which engine runs it. Nothing is fetched or loaded for that."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fim_magic import catalog
from fim_magic.engines.gguf_header import require_gguf
from fim_magic.engines.server.address import ServerAddress, is_address
from fim_magic.errors import FimError, ModelError, OptionError
from fim_magic.formats import family_names
from fim_magic.loading.adapter import base_of, can_merge, explain, explain_base, is_adapter
from fim_magic.loading.fastest import fastest
from fim_magic.loading.spec import is_on_disk, split_revision

if TYPE_CHECKING:
    from fim_magic.loading.loaders import Loader
    from fim_magic.loading.memory import MemoryProbe
    from fim_magic.loading.served import IdentifiedServer
    from fim_magic.loading.spec import ModelSpec

_log = logging.getLogger(__name__)
_OLLAMA_NAME = re.compile(r"sha256-[0-9a-f]{64}")

FASTER_ON_A_CPU = "torch"
"""Which engine runs a GGUF file on a CPU where it was not measured: `.github/DECISIONS.md` has the figures.

llama.cpp makes tokens faster and reads prompts slower; on processors with less than AVX2, and for long answers, it may
be the faster one.
"""


@dataclass(frozen=True)
class Source:
    """Where a checkpoint is.

    Attributes:
        name: What the user calls it, without the revision.
        entry: What the catalogue knows of it.
        gguf: A file of the catalogue,
        repo: or a repository on the Hub,
        path: or a folder or a .gguf file on this machine,
        address: or a server that runs it.
        revision: Of the repository; None is its main branch.
        tokenizer: Whose tokenizer a server's model has, where the user says it.
        server: What the server has said of itself, when it was asked.
        precision: "exact" or "packed", or "auto" for what is faster here; of what is not a .gguf file for torch on a
            CPU, "exact". On a CPU also "8bit" or "4bit", in which the weights are quantised.
        adapter: The folder of a LoRA adapter that is merged into the checkpoint's weights; None without one.
    """

    name: str
    entry: catalog.Entry | None = None
    gguf: catalog.GgufFile | None = None
    repo: str = ""
    path: Path = Path()
    address: ServerAddress | None = None
    revision: str | None = None
    adapter: Path | None = None
    tokenizer: str | None = None
    server: IdentifiedServer | None = None
    precision: str = "exact"

    @property
    def is_gguf(self) -> bool:
        return self.gguf is not None or _is_gguf(self.path)

    @property
    def named_paths(self) -> tuple[Path, ...]:
        """What of it is a path on this machine, and may change there: what is fetched stays as it is."""
        checkpoint = () if self.gguf is not None or self.repo or self.address is not None else (self.path,)
        return checkpoint if self.adapter is None else (*checkpoint, self.adapter)

    @property
    def remark(self) -> str:
        """What the user should know of it, or ""."""
        if self.adapter is None:
            return ""
        return f"{self.name} is an adapter (LoRA). It is merged into the weights of {self.repo or self.path}."


@dataclass(frozen=True)
class Resolved:
    """What a spec means on this machine.

    Attributes:
        spec: What is asked for.
        source: Where the checkpoint is.
        why: Why "auto" chose it, or "".
        engine_name: The name of the engine that runs it.
        engine_reason: Why that one, or "".
        family: As the user or the catalogue states it, or "".
    """

    spec: ModelSpec
    source: Source
    why: str
    engine_name: str
    engine_reason: str
    family: str


def _is_gguf(path: Path) -> bool:
    """Whether a path is that of a GGUF file, by its name; a folder may have any name.

    A file of Ollama's has a checksum for its name, and is looked into.
    """
    if not _OLLAMA_NAME.fullmatch(path.name):
        return path.suffix == ".gguf" and not path.is_dir()
    try:
        return require_gguf(path) > 0
    except ModelError:
        return False


Resolve = Callable[["ModelSpec", "Mapping[str, Loader]", "MemoryProbe"], Resolved]


def resolve(
    spec: ModelSpec, loaders: Mapping[str, Loader], memory: MemoryProbe, *, faster_on_cpu: str = FASTER_ON_A_CPU
) -> Resolved:
    """Decide which checkpoint a spec means, and which engine runs it.

    Args:
        spec: What is asked for.
        loaders: The engines that there are, by name.
        memory: Of this machine; "auto" depends on it.
        faster_on_cpu: The engine for GGUF files that were not measured here.

    Raises:
        ModelError: There is no such model.
        OptionError: An option makes no sense for it, or not here. The message says what to type.
    """
    family = _known_family(spec.family)
    source, why = find_source(spec.name, memory)
    if source.adapter is not None:
        _require_as_it_is(source, spec)
    if source.address is not None:
        source = replace(source, tokenizer=spec.tokenizer)
    elif spec.tokenizer is not None:
        raise OptionError(
            f"--tokenizer is for models that a server runs, and {source.name} brings its own along. Omit it."
        )
    if spec.allow_code and not source.repo:
        raise OptionError(
            f"--allow-code is for repositories on the Hub, at the commit whose code you have read; {source.name} "
            "comes from elsewhere. Omit it."
        )
    engine_name, engine_reason = choose_engine(source, spec, loaders, memory, faster_on_cpu)
    source = replace(source, precision=_choose_precision(source, spec, engine_name, memory))
    family = family or (source.entry.family if source.entry is not None else "")
    return Resolved(spec, source, why, engine_name, engine_reason, family)


def find_source(name: str, memory: MemoryProbe) -> tuple[Source, str]:
    """Find the checkpoint that a name means, and why it was chosen for "auto", else "".

    Raises:
        ModelError: There is no such model.
    """
    if name != "auto":
        return named_source(name), ""
    sizes = memory.gpus().values()
    entry, why = catalog.choose(sum(sizes) if sizes else None)
    return named_source(entry.name), why


def named_source(name: str) -> Source:
    """Find the checkpoint that a name means, other than "auto".

    Raises:
        ModelError: There is no such model.
    """
    if is_address(name):
        address = ServerAddress.of(name)
        return Source(address.name, address=address)
    base, revision = split_revision(name)
    entry = catalog.find(base)
    if entry is not None and entry.gguf is not None and not (revision and entry.repo):
        _require_no_revision(base, revision, "it is one file, always the same")
        return Source(base, entry, gguf=entry.gguf)
    if entry is not None:
        return Source(base, entry, repo=entry.repo, revision=revision)
    path, is_checkpoint = look_for(base)
    if base and is_adapter(path):
        return _adapted(base, path)
    if is_checkpoint:
        _require_no_revision(base, revision, "it is on this machine, as it is")
        return Source(base, path=path)
    if base and path.is_dir():
        raise ModelError(
            f"The folder {base!r} holds no checkpoint: there is no config.json in it. Name the folder that has "
            "config.json, tokenizer.json and safetensors, such as one that save_pretrained() made."
        )
    if base.count("/") == 1 and not path.exists() and not base.startswith((".", "~", "/")):
        return Source(base, catalog.by_repo(base), repo=base, revision=revision)
    raise catalog.unknown(base)


def _adapted(name: str, folder: Path) -> Source:
    """Find the model that an adapter changes, on this machine: its name comes from whoever made the adapter."""
    from fim_magic.weights.snapshot import local_snapshot

    base = base_of(folder)
    if not base or not can_merge():
        raise ModelError(explain(folder))
    try:
        path, is_checkpoint = look_for(base)
        if is_checkpoint and path.suffix != ".gguf":
            return Source(name, path=path, adapter=folder)
        if base.count("/") == 1 and local_snapshot(base, None, code=False) is not None:
            return Source(name, catalog.by_repo(base), repo=base, adapter=folder)
    except FimError:  # it is the name of nothing
        _log.info("The model that an adapter changes cannot be looked for.", exc_info=True)
    raise ModelError(explain_base(folder))


def look_for(name: str) -> tuple[Path, bool]:
    """Return the path that a name may be, and whether it is a .gguf file's or a folder's with a checkpoint.

    Raises:
        ModelError: It is the name of no path here, or of one that may not be looked into.
    """
    try:
        path = Path(name).expanduser() if is_on_disk(name) or name.startswith("~") else Path(name)
        return path, _is_gguf(path) or (path / "config.json").is_file()
    except PermissionError as error:
        raise ModelError(
            f"{name} could not be looked at ({error.strerror}). Check who may read it, or name another model."
        ) from error
    except (OSError, RuntimeError, ValueError) as error:  # as `is_on_disk` says
        raise catalog.unknown(name) from error


def _require_as_it_is(source: Source, spec: ModelSpec) -> None:
    for option in ("--allow-code",) * spec.allow_code + (f"--quantize {spec.quantize}",) * bool(spec.quantize):
        raise OptionError(
            f"{option} is not for adapters, which are merged into weights as they were trained on. Omit it, or merge "
            f"{source.name} into a checkpoint first."
        )


def _require_no_revision(name: str, revision: str | None, because: str) -> None:
    if revision is not None:
        raise ModelError(f"{name} has no revisions: {because}. Omit @{revision}: %fim use {name}")


def _known_family(family: str | None) -> str:
    """Return a family as the table writes it, or "" where none is named."""
    if family is None:
        return ""
    names = {name.lower(): name for name in family_names()}
    if family.lower() not in names:
        raise OptionError(f"There is no family called {family!r}. It is one of {', '.join(names.values())}.")
    return names[family.lower()]


# --- which engine --------------------------------------------------------------------------------


def choose_engine(
    source: Source, spec: ModelSpec, loaders: Mapping[str, Loader], memory: MemoryProbe, faster_on_cpu: str
) -> tuple[str, str]:
    """Decide which engine runs a checkpoint; see [`resolve`][].

    Returns:
        Its name, and why: half a sentence, or "" where there was nothing to decide.
    """
    if spec.engine is not None and spec.engine not in loaders:
        raise OptionError(f"--engine is one of auto, {', '.join(loaders)}; {spec.engine!r} is not.")
    if source.address is not None:
        return _choose_server(source, spec)
    if spec.engine == "server":
        raise OptionError(
            f"--engine server is for models that a server runs, and {source.name} is none. Name its address: "
            "%fim use vllm://HOST:8000/OWNER/NAME"
        )
    if spec.engine == "gguf":
        _require_gguf(source, spec, loaders)
    if spec.engine is not None:
        return spec.engine, "as asked for"
    if not source.is_gguf or spec.quantize is not None:
        return "torch", ""
    if memory.gpus():
        return "torch", "it computes on the GPU"
    if not loaders["gguf"].is_installed():
        return "torch", "llama.cpp is not installed; `%pip install fim-magic[gguf]` brings it"
    measured = fastest(source.name)
    if measured is not None:
        return measured, "fim-magic bench found it to be the faster one here"
    return (
        faster_on_cpu,
        f"it usually is the faster one on a CPU; fim-magic bench --model {source.name} measures it here",
    )


def _choose_precision(source: Source, spec: ModelSpec, engine_name: str, memory: MemoryProbe) -> str:
    """Decide what the attribute of [`Source`][] says; what was measured here is asked for later."""
    on_cpu = engine_name == "torch" and not memory.gpus()
    if on_cpu and spec.quantize is not None:
        return _quantised(source, spec, spec.quantize)
    if on_cpu and source.is_gguf:
        return spec.precision or "auto"
    if spec.precision == "packed":
        raise OptionError(
            f"--precision packed is for .gguf files that torch runs on a CPU, in the bits that they are stored in; "
            f"{source.name} is loaded otherwise here. Omit it."
        )
    return "exact"


def _quantised(source: Source, spec: ModelSpec, quantize: str) -> str:
    if spec.precision == "exact":
        raise OptionError(
            f"--precision exact keeps the weights as they are, and --quantize {quantize} does not. Omit one of them: "
            f"%fim use {source.name} --quantize {quantize}"
        )
    if spec.precision == "packed":
        raise OptionError(
            f"--precision packed is for the bits that a .gguf file is stored in, and --quantize {quantize} for others. "
            f"Omit one of them: %fim use {source.name} --quantize {quantize}"
        )
    return quantize


def _choose_server(source: Source, spec: ModelSpec) -> tuple[str, str]:
    option = f"--quantize {spec.quantize}" if spec.quantize else ""
    if spec.engine not in (None, "server"):
        option = f"--engine {spec.engine}"
    if option:
        raise OptionError(
            f"{option} is for models that are loaded here; {source.name} runs on a server, which has decided on that. "
            "Omit it."
        )
    return "server", ""


def _require_gguf(source: Source, spec: ModelSpec, loaders: Mapping[str, Loader]) -> None:
    if not source.is_gguf:
        raise OptionError(
            f"--engine gguf runs .gguf files, and {source.name} is none. Omit it (%fim use {source.name}), or name "
            "such a file: %fim use PATH.gguf --engine gguf"
        )
    if spec.quantize is not None:
        raise OptionError(
            f"--quantize {spec.quantize} is for --engine torch: a .gguf file is run in the bits that it is stored in. "
            "Omit one of them."
        )
    if not loaders["gguf"].is_installed():
        raise OptionError(
            "--engine gguf needs llama.cpp, which is not installed here. Type `%pip install fim-magic[gguf]` and try "
            "again, or omit it."
        )
