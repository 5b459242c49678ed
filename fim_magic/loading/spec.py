"""Which model is asked for, and how it is to be loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fim_magic import catalog
from fim_magic.engines.server.address import ServerAddress, is_address


@dataclass(frozen=True)
class ModelSpec:
    """Which model is asked for, and how it is to be loaded.

    Attributes:
        name: A short name of the catalogue, a folder, a .gguf file, `owner/name` on the Hub, or the address of a server
            (`vllm://host:8000/owner/name`); or "auto" for what is
            loaded already, and otherwise for what suits this machine. What comes from the Hub can be pinned:
            `NAME@REVISION`, a branch, a tag or a commit.
        quantize: "8bit" or "4bit", on CUDA or on a CPU; or None.
        family: The family's name, for a checkpoint that does not tell it; or None.
        engine: "torch"; "gguf", which runs a .gguf file with llama.cpp; or None for the faster one of those that can.
        tokenizer: For a model on a server: whose tokenizer it has, a folder or `owner/name` on the Hub; or None.
        precision: "packed": in 4 and 8 bits on a CPU, of a .gguf file; "exact": in float16 or more; or None for packed
            where it is as fast here.
        allow_code: Whether code that the checkpoint brings along may run. The name must then pin the whole commit.
    """

    name: str
    quantize: str | None = None
    family: str | None = None
    engine: str | None = None
    tokenizer: str | None = None
    allow_code: bool = False
    precision: str | None = None

    @classmethod
    def of(cls, name: str, **options: Any) -> ModelSpec:
        """Return the spec for a name as a user writes it, in any letter case, and the other attributes."""
        if is_address(name):
            return cls(ServerAddress.of(name).name, **options)
        base, revision = split_revision(name)
        entry = catalog.find(base)
        if entry is not None:
            name = entry.name if revision is None else f"{entry.name}@{revision}"
        return cls(name, **options)

    def is_answered_by(self, other: ModelSpec, model: str = "", engine_name: str = "") -> bool:
        """Whether what was loaded for another spec is what this one asks for.

        Args:
            other: The other spec.
            model: The name of the model that was loaded for it, where that is known.
            engine_name: The engine that runs it, "torch" or "gguf".
        """
        if self.engine not in (other.engine, engine_name) and not (self.name == "auto" and self.engine is None):
            return False
        if self.name == "auto":
            return all(mine in (None, theirs) for mine, theirs in zip(self._variant, other._variant, strict=True))
        names = (other.name, model) if other.name == "auto" else (other.name,)
        return self.name in names and self._variant == other._variant

    @property
    def _variant(self) -> tuple[str | None, ...]:
        """What makes another model of one name."""
        return (self.quantize, self.family, self.tokenizer, self.precision)


def split_revision(name: str) -> tuple[str, str | None]:
    """Split NAME@REVISION. A path may have an @ in it."""
    base, separator, revision = name.rpartition("@")
    return (base, revision) if separator and not is_on_disk(name) else (name, None)


def is_on_disk(name: str) -> bool:
    """Whether a name is the path of something that is there."""
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, of no user's home directory, with characters of no path
        return False
