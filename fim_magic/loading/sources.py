"""Which model is asked for, and which checkpoint that means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fim_magic import catalog
from fim_magic.errors import ModelError, OptionError
from fim_magic.formats import family_names
from fim_magic.loading.gpus import gpus


@dataclass(frozen=True)
class ModelSpec:
    """Which model is asked for, and how it is to be loaded.

    Attributes:
        name: A short name of the catalogue, a folder, a .gguf file, or `owner/name` on the Hub; or "auto" for what is
            loaded already, and otherwise for what suits this machine. What comes from the Hub can be pinned:
            `NAME@REVISION`, a branch, a tag or a commit.
        quantize: "8bit" or "4bit", on CUDA; or None.
        family: The family's name, for a checkpoint that does not tell it; or None.
        engine: "torch"; "gguf", which runs a .gguf file with llama.cpp; or None for the faster one of those that can.
        allow_code: Whether code that the checkpoint brings along may run. The name must then pin the whole commit.
    """

    name: str
    quantize: str | None = None
    family: str | None = None
    engine: str | None = None
    allow_code: bool = False

    @classmethod
    def of(cls, name: str, **options: Any) -> ModelSpec:
        """Return what a name, as a user writes it, and options ask for."""
        return cls(written_as_in_catalogue(name), **options)

    def is_answered_by(self, other: ModelSpec, model: str = "", runtime: str = "") -> bool:
        """Whether what was loaded for another call is what this one asks for.

        Args:
            other: What the other call asked for.
            model: The name of what it got, where that is known.
            runtime: The engine that it got, "torch" or "gguf".
        """
        if self.engine not in (other.engine, runtime) and not (self.name == "auto" and self.engine is None):
            return False
        if self.name == "auto":
            return self.quantize in (None, other.quantize) and self.family in (None, other.family)
        names = (other.name, model) if other.name == "auto" else (other.name,)
        return self.name in names and (self.quantize, self.family) == (other.quantize, other.family)


@dataclass(frozen=True)
class Source:
    """Where a checkpoint is.

    Attributes:
        name: What the user calls it, without the revision.
        entry: What the catalogue knows of it.
        gguf: A file of the catalogue,
        repo: or a repository on the Hub,
        path: or a folder or a .gguf file on this machine.
        revision: Of the repository; None is its main branch.
    """

    name: str
    entry: catalog.Entry | None = None
    gguf: catalog.GgufFile | None = None
    repo: str = ""
    path: Path = Path()
    revision: str | None = None

    @property
    def is_gguf(self) -> bool:
        """Whether it is a .gguf file."""
        return self.gguf is not None or self.path.suffix == ".gguf"


def written_as_in_catalogue(name: str) -> str:
    """Return a name in the letter case of the catalogue, if it is there."""
    base, revision = _split(name)
    entry = catalog.find(base)
    return name if entry is None else entry.name + ("" if revision is None else f"@{revision}")


def _split(name: str) -> tuple[str, str | None]:
    """Split NAME@REVISION. A path may have an @ in it."""
    base, at, revision = name.rpartition("@")
    return (name, None) if not at or _on_disk(name) else (base, revision)


def _on_disk(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (
        OSError,
        RuntimeError,
        ValueError,
    ):  # too long, a home directory that nobody has, a character that no path has
        return False


def choose(name: str) -> tuple[Source, str]:
    """Find what a name means, and for "auto" why.

    Raises:
        ModelError: There is no such model.
    """
    if name != "auto":
        return _source(name), ""
    sizes = gpus().values()
    entry, why = catalog.choose(sum(sizes) if sizes else None)
    return _source(entry.name), why


def _source(name: str) -> Source:
    base, revision = _split(name)
    entry = catalog.find(base)
    if entry is not None and entry.gguf is not None and not (revision and entry.repo):
        _require_no_revision(base, revision, "it is one file, always the same")
        return Source(base, entry, gguf=entry.gguf)
    if entry is not None:
        return Source(base, entry, repo=entry.repo, revision=revision)
    path = Path(base).expanduser() if _on_disk(base) or base.startswith("~") else Path(base)
    if path.suffix == ".gguf" or (path / "config.json").is_file():
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


def _require_no_revision(name: str, revision: str | None, because: str) -> None:
    if revision is not None:
        raise ModelError(f"{name} has no revisions: {because}. Leave @{revision} away: %fim use {name}")


def known_family(family: str | None) -> str:
    """Return a family as the table writes it, or "" where none is named.

    Raises:
        OptionError: There is no such family.
    """
    if family is None:
        return ""
    names = {name.lower(): name for name in family_names()}
    if family.lower() not in names:
        raise OptionError(f"There is no family called {family!r}. It is one of {', '.join(names.values())}.")
    return names[family.lower()]
